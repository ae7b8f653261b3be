# Benches of tokenizer/
add_executable(bench_tokenizer bench_tokenizer.c)
target_link_libraries(bench_tokenizer PRIVATE emc_tokenizer emc_flags m)
target_include_directories(bench_tokenizer PRIVATE ${CMAKE_SOURCE_DIR})
add_test(NAME bench_tokenizer
  COMMAND bench_tokenizer --quick ${CMAKE_SOURCE_DIR}/../shared/data/qwen3-tokenizer)
set_tests_properties(bench_tokenizer PROPERTIES SKIP_RETURN_CODE 77)
