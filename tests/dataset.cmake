# Tests of annotate/dataset/
foreach(subject recipe cells split)
  emt_add_test(NAME test_dataset_${subject} SOURCES test_dataset_${subject}.c cells_files.c
    LINKS emc_dataset ${HDF5_C_LIBRARIES})
  target_include_directories(test_dataset_${subject} SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
endforeach()
emt_add_test(NAME test_dataset_build SOURCES test_dataset_build.c LINKS emc_dataset emc_base m)
target_compile_definitions(test_dataset_build PRIVATE EMT_DEMO="${CMAKE_SOURCE_DIR}/demo")
add_test(NAME test_dataset COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/dataset_test.sh
  $<TARGET_FILE:emcell> ${CMAKE_SOURCE_DIR})
