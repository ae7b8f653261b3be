# What a run would take; engines are opened to compare.
foreach(subject estimate estimate_work)
  emt_add_test(NAME test_${subject} SOURCES test_${subject}.c estimate_case.c runtime_case.c
    loader_files.c LINKS emc_runtime emc_loader emc_kernels m)
  emt_add_virtual_test(NAME test_${subject} SOURCES test_${subject}.c estimate_case.c
    runtime_case.c loader_files.c BUILDS fast LINKS emc_runtime emc_loader emc_kernels m)
endforeach()
