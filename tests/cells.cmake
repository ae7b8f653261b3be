# Tests of cells/
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)

foreach(subject read text bad_text genes rank result turn)
  emt_add_test(NAME test_cells_${subject} SOURCES test_cells_${subject}.c
               LINKS emc_cells emc_base ZLIB::ZLIB)
endforeach()
# These break good files on purpose, for which they need the HDF5 library itself.
foreach(subject bad bad_frame bad_hdf5 bad_matrix)
  emt_add_test(NAME test_cells_${subject} SOURCES test_cells_${subject}.c cells_break.c
               LINKS emc_cells emc_base ${HDF5_C_LIBRARIES})
  target_include_directories(test_cells_${subject} SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
endforeach()
# Written files, below the reader and through it.
foreach(subject h5ad_out h5ad_faults)
  emt_add_test(NAME test_cells_${subject} SOURCES test_cells_${subject}.c cells_break.c h5_same.c
               LINKS emc_cells emc_base ${HDF5_C_LIBRARIES})
  target_include_directories(test_cells_${subject} SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
endforeach()
include(cells_formats.cmake)
include(cells_storage.cmake)
include(choice.cmake)
include(cells_codecs.cmake)
