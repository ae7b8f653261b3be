# Tests of kernels/: one program an operation, on every device there is.
add_library(emt_device STATIC emt_device.c)
target_link_libraries(emt_device PUBLIC emt emc_kernels emc_cuda m PRIVATE emc_flags)
if(NOT EMC_HAS_CPU)
  target_compile_definitions(emt_device PRIVATE EMT_NO_CPU)
endif()

emt_add_test(NAME test_attention SOURCES test_attention.c attention_case.c ref/ref_attention.c
  LINKS emt_device)
emt_add_test(NAME test_comm SOURCES test_comm.c LINKS emt_device Threads::Threads)
emt_add_test(NAME test_embed SOURCES test_embed.c LINKS emt_device)
emt_add_test(NAME test_gather_rows SOURCES test_gather_rows.c LINKS emt_device)
emt_add_test(NAME test_head SOURCES test_head.c ref/ref_linear.c LINKS emt_device)
emt_add_test(NAME test_linear SOURCES test_linear.c ref/ref_linear.c LINKS emt_device)
emt_add_test(NAME test_rmsnorm SOURCES test_rmsnorm.c ref/ref_rows.c LINKS emt_device)
emt_add_test(NAME test_rope_store SOURCES test_rope_store.c ref/ref_rows.c LINKS emt_device)
emt_add_test(NAME test_swiglu SOURCES test_swiglu.c ref/ref_rows.c LINKS emt_device)

emt_add_virtual_test(NAME test_attention SOURCES test_attention.c attention_case.c
  ref/ref_attention.c LINKS emt_device)
emt_add_virtual_test(NAME test_attention_access SOURCES test_attention_access.c attention_case.c
  LINKS emt_device)
emt_add_virtual_test(NAME test_comm SOURCES test_comm.c LINKS emt_device Threads::Threads
  ENV EMT_VG_DEVICES=8)
emt_add_virtual_test(NAME test_embed SOURCES test_embed.c LINKS emt_device)
# Accesses to memory are counted in the check build.
emt_add_virtual_test(NAME test_kernel_access SOURCES test_kernel_access.c LINKS emt_device
  BUILDS check)
emt_add_virtual_test(NAME test_gather_rows SOURCES test_gather_rows.c LINKS emt_device)
emt_add_virtual_test(NAME test_head SOURCES test_head.c ref/ref_linear.c LINKS emt_device)
emt_add_virtual_test(NAME test_rmsnorm SOURCES test_rmsnorm.c ref/ref_rows.c LINKS emt_device)
emt_add_virtual_test(NAME test_rope_store SOURCES test_rope_store.c ref/ref_rows.c LINKS emt_device)
emt_add_virtual_test(NAME test_linear SOURCES test_linear.c ref/ref_linear.c LINKS emt_device)
emt_add_virtual_test(NAME test_swiglu SOURCES test_swiglu.c ref/ref_rows.c LINKS emt_device)
# What the stand-in says of cuBLASLt against NVIDIA's header, where a toolkit has it.
if(EMCELL_VIRTUAL_GPU)
  find_file(EMC_CUBLASLT_HEADER cublasLt.h HINTS /usr/local/cuda/include ENV CUDA_HOME
    PATH_SUFFIXES include)
  emt_add_test(NAME test_cublaslt_header SOURCES test_cublaslt_header.cpp)
  target_include_directories(test_cublaslt_header SYSTEM PRIVATE ${EMC_CUDA_INCLUDE})
  if(EMC_CUBLASLT_HEADER)
    get_filename_component(toolkit_include ${EMC_CUBLASLT_HEADER} DIRECTORY)
    target_include_directories(test_cublaslt_header SYSTEM PRIVATE ${toolkit_include})
    target_compile_definitions(test_cublaslt_header PRIVATE
      TEST_TOOLKIT_HEADER="${EMC_CUBLASLT_HEADER}")
  endif()
  # NCCL as it is looked for on a machine, no stand-in.
  emt_add_test(NAME test_nccl SOURCES test_nccl.c ${CMAKE_SOURCE_DIR}/kernels/cuda/nccl.c
    LINKS emc_base ${CMAKE_DL_LIBS})
  target_include_directories(test_nccl PRIVATE ${CMAKE_BINARY_DIR}/include/kernels)
  target_include_directories(test_nccl SYSTEM PRIVATE ${EMC_CUDA_INCLUDE})
  # What our header says of NCCL against NVIDIA's.
  find_file(EMC_NCCL_HEADER nccl.h HINTS /usr/local/cuda/include ENV CUDA_HOME
    PATH_SUFFIXES include)
  emt_add_test(NAME test_nccl_header SOURCES test_nccl_header.cpp)
  target_include_directories(test_nccl_header PRIVATE ${CMAKE_BINARY_DIR}/include/kernels)
  target_include_directories(test_nccl_header SYSTEM PRIVATE ${EMC_CUDA_INCLUDE})
  if(EMC_NCCL_HEADER)
    get_filename_component(toolkit_include ${EMC_NCCL_HEADER} DIRECTORY)
    target_include_directories(test_nccl_header SYSTEM PRIVATE ${toolkit_include})
    target_compile_definitions(test_nccl_header PRIVATE TEST_NCCL_HEADER="${EMC_NCCL_HEADER}")
  endif()
endif()

# The CUDA device beside its operations.
emt_add_virtual_test(NAME test_cuda_gemm SOURCES test_cuda_gemm.c cuda_case.c LINKS emt_device)
emt_add_virtual_test(NAME test_cuda_device SOURCES test_cuda_device.c cuda_case.c LINKS emt_device)
emt_add_virtual_test(NAME test_cuda_upload SOURCES test_cuda_upload.c cuda_case.c LINKS emt_device)

if(EMC_HAS_CPU)
  # Counts the allocations of everything that is linked in statically, our libraries that is.
  emt_add_test(NAME test_cpu_device SOURCES test_cpu_device.c LINKS emt_device)
  target_link_options(test_cpu_device PRIVATE
    LINKER:--wrap=malloc LINKER:--wrap=calloc LINKER:--wrap=realloc)

  # What depends on oneDNN's code again, on the code for lesser machines (oneDNN 2 and 3 read one
  # name of the variable each, old and new): there bf16 is multiplied as f32.
  foreach(isa SSE41 AVX2 AVX512_CORE)
    foreach(name test_linear test_head)
      add_test(NAME ${name}_${isa} COMMAND ${name})
      set_tests_properties(${name}_${isa} PROPERTIES SKIP_RETURN_CODE 77
        ENVIRONMENT "DNNL_MAX_CPU_ISA=${isa};ONEDNN_MAX_CPU_ISA=${isa}")
    endforeach()
  endforeach()
endif()
