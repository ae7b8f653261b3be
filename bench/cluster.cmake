# What many workers of one run folder make of their time: real claims, played devices.
add_executable(bench_cluster cluster/bench_cluster.c cluster/simulate.c)
target_link_libraries(bench_cluster PRIVATE emc_annotate emc_base emc_flags m)
target_include_directories(bench_cluster PRIVATE ${CMAKE_SOURCE_DIR})
add_test(NAME bench_cluster COMMAND bench_cluster --check)
