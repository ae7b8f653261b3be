# Tests of cells/
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)

foreach(subject read text genes rank result)
  emt_add_test(NAME test_cells_${subject} SOURCES test_cells_${subject}.c
               LINKS emc_cells emc_base ZLIB::ZLIB)
endforeach()
# Breaks good files on purpose, for which it needs the HDF5 library itself.
emt_add_test(NAME test_cells_bad SOURCES test_cells_bad.c
             LINKS emc_cells emc_base ${HDF5_C_LIBRARIES})
target_include_directories(test_cells_bad SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
