# Benches of kernels/
if(EMC_HAS_CPU)
  add_executable(bench_gemm_cpu bench_gemm_cpu.c bare_matmul.c)
  target_include_directories(bench_gemm_cpu PRIVATE ${DNNL_INCLUDE_DIR})
  target_link_libraries(bench_gemm_cpu PRIVATE emc_kernels emc_flags ${DNNL_LIBRARY}
    ${CMAKE_DL_LIBS})
  add_test(NAME bench_gemm_cpu COMMAND bench_gemm_cpu --quick)
  add_executable(bench_attention_cpu bench_attention_cpu.c)
  target_link_libraries(bench_attention_cpu PRIVATE emc_kernels emc_flags m)
  add_test(NAME bench_attention_cpu COMMAND bench_attention_cpu --quick)
endif()

# One program an operation, on any device (device_bench.h).
add_library(device_bench STATIC device_bench.c)
target_link_libraries(device_bench PUBLIC emc_kernels emc_cuda m PRIVATE emc_flags)
foreach(operation swiglu)
  add_executable(bench_${operation} bench_${operation}.c)
  target_link_libraries(bench_${operation} PRIVATE device_bench emc_flags)
  if(EMC_HAS_CPU)
    add_test(NAME bench_${operation} COMMAND bench_${operation} --quick --device cpu)
  endif()
endforeach()
