# Tests of compressed chunks in HDF5, and of zarr stores.
emt_add_test(NAME test_cells_filters SOURCES test_cells_filters.c
             LINKS emc_cells emc_base ${HDF5_C_LIBRARIES})
target_include_directories(test_cells_filters SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
foreach(subject zarr zarr_bad)
  emt_add_test(NAME test_cells_${subject} SOURCES test_cells_${subject}.c zarr_files.c
               LINKS emc_cells emc_base ZLIB::ZLIB)
endforeach()
