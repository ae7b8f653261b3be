# Tests of loader/
emt_add_test(NAME test_loader_checkpoint
  SOURCES test_loader_checkpoint.c loader_files.c
  LINKS emc_loader)
