# How the CUDA device is built. Included where EMCELL_CUDA is on.

# Before CUDA is enabled, else CMake picks one of its own. Machine code for every kind of GPU from
# sm_80 on, and PTX for those to come.
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90a-real 100-real 120-real 90-virtual
    CACHE STRING "GPU architectures: see CMAKE_CUDA_ARCHITECTURES of CMake")
endif()
# CMake looks for nvcc in PATH alone.
find_program(CMAKE_CUDA_COMPILER nvcc
  HINTS ENV CUDACXX ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
enable_language(CUDA)
find_package(CUDAToolkit REQUIRED)

# Tells "sm_80, sm_90a and PTX of sm_90" for `emcell doctor`.
set(real "")
set(virtual "")
foreach(architecture IN LISTS CMAKE_CUDA_ARCHITECTURES)
  string(REGEX REPLACE "-.*" "" number ${architecture})
  if(NOT architecture MATCHES "-virtual$")
    list(APPEND real "sm_${number}")
  endif()
  if(NOT architecture MATCHES "-real$")
    list(APPEND virtual "PTX of sm_${number}")
  endif()
endforeach()
set(EMC_CUDA_ARCHITECTURES ${real} ${virtual})
list(JOIN EMC_CUDA_ARCHITECTURES ", " EMC_CUDA_ARCHITECTURES)

function(emc_set_up_cuda target)
  set_target_properties(${target} PROPERTIES CUDA_STANDARD 17 CUDA_STANDARD_REQUIRED ON)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:-O3 -lineinfo -Xcompiler=-Wall,-fvisibility=hidden>)
  target_include_directories(${target} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  target_compile_definitions(${target} PRIVATE EMC_CUDA_ARCHITECTURES="${EMC_CUDA_ARCHITECTURES}")
  # Programs are linked as C; what nvcc compiles is C++.
  target_link_libraries(${target} PRIVATE CUDA::cudart_static CUDA::cublasLt stdc++
    ${CMAKE_DL_LIBS})
endfunction()
