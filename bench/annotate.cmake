# Benches of annotate/
add_executable(bench_prompts bench_prompts.c)
target_link_libraries(bench_prompts PRIVATE emc_annotate emc_flags)
target_include_directories(bench_prompts PRIVATE ${CMAKE_SOURCE_DIR})
add_test(NAME bench_prompts
  COMMAND bench_prompts --quick ${CMAKE_SOURCE_DIR}/tests/golden/annotate/cells.h5ad
    ${CMAKE_SOURCE_DIR}/tests/golden/annotate/model)
