# How the CUDA device is built. Included where EMCELL_CUDA is on.

# Before CUDA is enabled, else CMake picks one of its own.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90a-real 100-real 120-real 90-virtual
    CACHE STRING "GPU architectures: see CMAKE_CUDA_ARCHITECTURES of CMake")
endif()
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

function(emc_set_up_cuda target)
  set_target_properties(${target} PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-O3 -lineinfo -Xcompiler=-Wall,-fvisibility=hidden>)
  target_include_directories(${target} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(${target} PRIVATE CUDA::cudart_static CUDA::cublasLt)
endfunction()
