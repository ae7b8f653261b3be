# `emcell annotate --dry-run`. The first breaks a good file, for which it needs the HDF5 library.
emt_add_test(NAME test_annotate_dry_run SOURCES test_annotate_dry_run.c annotate_case.c
  LINKS emc_annotate ${HDF5_C_LIBRARIES})
target_include_directories(test_annotate_dry_run SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
add_test(NAME test_dry_run
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/dry_run_test.sh $<TARGET_FILE:emcell> ${CMAKE_SOURCE_DIR})
