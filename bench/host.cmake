# What the host takes, beside a device that takes nothing: `emcell` with bench/null_device.c.
add_executable(emcell_null null_device.c)
target_link_libraries(emcell_null PRIVATE emc_cli emc_flags m)

add_executable(bench_host bench_host.c ${CMAKE_SOURCE_DIR}/tests/cells_files.c)
target_link_libraries(bench_host PRIVATE emc_flags ${HDF5_C_LIBRARIES} ZLIB::ZLIB)
target_include_directories(bench_host PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests)
target_include_directories(bench_host SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
add_test(NAME bench_host COMMAND bench_host --quick $<TARGET_FILE:emcell_null>
  ${CMAKE_SOURCE_DIR}/demo/model ${CMAKE_SOURCE_DIR}/demo/genes.tsv)
add_test(NAME bench_host_memory COMMAND bench_host --check-memory $<TARGET_FILE:emcell_null>
  ${CMAKE_SOURCE_DIR}/demo/model ${CMAKE_SOURCE_DIR}/demo/genes.tsv)
# Freed memory that the address sanitizer holds back would be counted as growth.
set_tests_properties(bench_host_memory PROPERTIES ENVIRONMENT ASAN_OPTIONS=quarantine_size_mb=0)
