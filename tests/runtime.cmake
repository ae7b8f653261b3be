emt_add_test(NAME test_runtime_pages SOURCES test_runtime_pages.c LINKS emc_runtime)
emt_add_test(NAME test_runtime_choices SOURCES test_runtime_choices.c LINKS emc_runtime)
emt_add_test(NAME test_runtime_golden SOURCES test_runtime_golden.c runtime_case.c
  LINKS emc_runtime)
