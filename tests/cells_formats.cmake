# Formats beside .h5ad and text tables: they make their files with the HDF5 library itself.
foreach(subject loom mtx stream tenx)
  emt_add_test(NAME test_cells_${subject} SOURCES test_cells_${subject}.c
               LINKS emc_cells emc_base ${HDF5_C_LIBRARIES} ZLIB::ZLIB)
  target_include_directories(test_cells_${subject} SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
endforeach()
