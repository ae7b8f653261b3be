# What a run would take; opens engines to compare.
emt_add_test(NAME test_estimate SOURCES test_estimate.c runtime_case.c loader_files.c
  LINKS emc_runtime emc_loader emc_kernels m)
emt_add_virtual_test(NAME test_estimate SOURCES test_estimate.c runtime_case.c loader_files.c
  BUILDS fast LINKS emc_runtime emc_loader emc_kernels m)
