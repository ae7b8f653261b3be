# Tests of cells/
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)

foreach(subject read rank)
  emt_add_test(NAME test_cells_${subject} SOURCES test_cells_${subject}.c
               LINKS emc_cells emc_base ZLIB::ZLIB)
endforeach()
