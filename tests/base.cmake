emt_add_test(NAME test_base SOURCES test_base.c LINKS emc_base)
if(NOT EMCELL_ENGINE_ONLY)
  emt_add_test(NAME test_hash SOURCES test_hash.c LINKS emc_base)
endif()
