# Tests of annotate/evaluate/

# The endpoint that answers from a script, for tests and as a program for scripts.
add_library(emt_stub_endpoint STATIC stub_endpoint.c)
target_include_directories(emt_stub_endpoint PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(emt_stub_endpoint PUBLIC Threads::Threads PRIVATE emc_flags)
add_executable(stub_endpoint stub_endpoint_main.c)
target_link_libraries(stub_endpoint PRIVATE emt_stub_endpoint emc_flags)
foreach(subject endpoint endpoint_kept endpoint_parts)
  emt_add_test(NAME test_${subject} SOURCES test_${subject}.c endpoint_case.c
               LINKS emt_stub_endpoint emc_evaluate emc_base)
endforeach()
emt_add_test(NAME test_evaluate_results SOURCES test_evaluate_results.c
  LINKS emc_evaluate emc_base m)
emt_add_test(NAME test_metrics SOURCES test_metrics.c LINKS emc_evaluate m)
foreach(subject baselines benchmark prediction)
  emt_add_test(NAME test_${subject} SOURCES test_${subject}.c LINKS emc_evaluate emc_base m)
  target_compile_definitions(test_${subject} PRIVATE EMT_BENCHMARKS="${CMAKE_SOURCE_DIR}/benchmarks")
endforeach()
add_test(NAME test_evaluate COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/evaluate_test.sh
  $<TARGET_FILE:emcell> ${CMAKE_SOURCE_DIR} $<TARGET_FILE:stub_endpoint>)
