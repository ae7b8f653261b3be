# The bench of cells/: it makes its files with the helpers of the tests.
find_package(HDF5 REQUIRED COMPONENTS C)
find_package(ZLIB REQUIRED)

add_executable(bench_reading bench_reading.c ${CMAKE_SOURCE_DIR}/tests/cells_files.c)
target_link_libraries(bench_reading PRIVATE emc_cells emc_base emc_flags ${HDF5_C_LIBRARIES}
  ZLIB::ZLIB)
target_include_directories(bench_reading PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests)
target_include_directories(bench_reading SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
add_test(NAME bench_reading COMMAND bench_reading --quick)
