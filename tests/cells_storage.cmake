# Tests of cells/ that write files of chosen storage.
foreach(subject storage ranked)
  emt_add_test(NAME test_cells_${subject}
               SOURCES test_cells_${subject}.c cells_files.c cells_break.c
               LINKS emc_cells emc_base ${HDF5_C_LIBRARIES} ZLIB::ZLIB)
  target_include_directories(test_cells_${subject} SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
endforeach()
emt_add_test(NAME test_cells_top SOURCES test_cells_top.c LINKS emc_cells emc_base)
