emt_add_test(NAME test_base SOURCES test_base.c LINKS emc_base)
