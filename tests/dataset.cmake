# Tests of annotate/dataset/
foreach(subject recipe cells split)
  emt_add_test(NAME test_dataset_${subject} SOURCES test_dataset_${subject}.c cells_files.c
    LINKS emc_dataset ${HDF5_C_LIBRARIES})
  target_include_directories(test_dataset_${subject} SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
endforeach()
