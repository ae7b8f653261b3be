# Benches of runtime/
add_executable(bench_engine bench_engine.c)
target_link_libraries(bench_engine PRIVATE emc_runtime emc_flags)
add_test(NAME bench_engine
  COMMAND bench_engine --quick ${CMAKE_SOURCE_DIR}/tests/golden/runtime/group2/model)
