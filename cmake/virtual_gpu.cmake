# What the virtual GPU needs beside the project: a C++ compiler and CUDA's headers. Where they are
# absent its tests are not built, as all tests are not where there is no cmocka.
find_path(EMC_CUDA_INCLUDE cuda_runtime.h
  HINTS ${CMAKE_SOURCE_DIR}/build/cuda-headers/include /usr/local/cuda/include
  ENV CUDA_HOME PATH_SUFFIXES include)
include(CheckLanguage)
check_language(CXX)
if(EMC_CUDA_INCLUDE AND CMAKE_CXX_COMPILER)
  enable_language(CXX)
else()
  message(STATUS "No C++ compiler or no CUDA headers: the tests on the virtual GPU are not built "
    "(scripts/setup --test brings both)")
  set(EMCELL_VIRTUAL_GPU OFF)
endif()
