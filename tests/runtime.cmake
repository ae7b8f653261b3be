emt_add_test(NAME test_runtime_pages SOURCES test_runtime_pages.c LINKS emc_runtime emc_loader emc_kernels)
emt_add_test(NAME test_runtime_choices SOURCES test_runtime_choices.c LINKS emc_runtime emc_loader emc_kernels)
foreach(subject search search_bounds)
  emt_add_test(NAME test_${subject} SOURCES test_${subject}.c search_case.c ref/ref_search.c
    LINKS emc_runtime m)
endforeach()
emt_add_test(NAME test_engine_exact SOURCES test_engine_exact.c runtime_case.c search_case.c
  ref/ref_search.c LINKS emc_runtime emc_loader emc_kernels m)
emt_add_virtual_test(NAME test_engine_exact SOURCES test_engine_exact.c runtime_case.c search_case.c
  ref/ref_search.c BUILDS fast LINKS emc_runtime emc_loader emc_kernels m)
foreach(subject model golden answers bits engine flight plan search)
  emt_add_test(NAME test_runtime_${subject} SOURCES test_runtime_${subject}.c runtime_case.c
    LINKS emc_runtime emc_loader emc_kernels)
endforeach()
# The same on the virtual GPU. EMCELL_FULL_TESTS adds the build that checks every access, and takes
# every golden model and all sequences in the fast one.
set(virtual_builds fast)
if(EMCELL_FULL_TESTS)
  set(virtual_builds fast check)
endif()
foreach(subject golden answers bits engine flight plan search)
  emt_add_virtual_test(NAME test_runtime_${subject} SOURCES test_runtime_${subject}.c runtime_case.c
    BUILDS ${virtual_builds} LINKS emc_runtime emc_loader emc_kernels)
endforeach()
emt_add_virtual_test(NAME test_runtime_ranks SOURCES test_runtime_ranks.c runtime_case.c
  BUILDS fast LINKS emc_runtime emc_loader emc_kernels m ENV EMT_VG_DEVICES=8)
if(EMCELL_FULL_TESTS)
  foreach(subject golden bits ranks)
    set_property(TEST test_runtime_${subject}_fast_virtual APPEND PROPERTY ENVIRONMENT EMT_FULL=1)
  endforeach()
endif()
emt_add_test(NAME test_runtime_ranks SOURCES test_runtime_ranks.c runtime_case.c
  LINKS emc_runtime emc_loader emc_kernels m)
emt_add_test(NAME test_runtime_stress SOURCES test_runtime_stress.c runtime_case.c search_case.c
  ref/ref_search.c LINKS emc_runtime emc_loader emc_kernels m)
emt_add_virtual_test(NAME test_runtime_stress SOURCES test_runtime_stress.c runtime_case.c
  search_case.c ref/ref_search.c BUILDS fast LINKS emc_runtime emc_loader emc_kernels m)
emt_add_test(NAME test_runtime_merge SOURCES test_runtime_merge.c runtime_case.c loader_files.c
  LINKS emc_runtime emc_loader emc_kernels m)
emt_add_test(NAME test_runtime_random SOURCES test_runtime_random.c runtime_case.c loader_files.c
  LINKS emc_runtime emc_loader emc_kernels m)
emt_add_test(NAME test_runtime_device SOURCES test_runtime_device.c fake_gpu.c runtime_case.c
  LINKS emc_runtime emc_loader emc_kernels)
target_link_options(test_runtime_device PRIVATE -Wl,--wrap=calloc)
if(NOT EMC_HAS_CPU)
  target_compile_definitions(test_runtime_device PRIVATE EMT_NO_CPU)
endif()
emt_add_virtual_test(NAME test_runtime_merge SOURCES test_runtime_merge.c runtime_case.c
  loader_files.c BUILDS fast LINKS emc_runtime emc_loader emc_kernels m)
emt_add_virtual_test(NAME test_runtime_gpus SOURCES test_runtime_gpus.c runtime_case.c BUILDS fast
  LINKS emc_runtime emc_loader emc_kernels)
emt_add_virtual_test(NAME test_runtime_self_check SOURCES test_runtime_self_check.c runtime_case.c
  BUILDS fast LINKS emc_runtime emc_loader emc_kernels)
# Every allocation of our own code in that test goes through its counters.
foreach(build "" _fast_virtual _check_virtual)
  if(TARGET test_runtime_engine${build})
    foreach(call malloc calloc realloc aligned_alloc posix_memalign mmap)
      target_link_options(test_runtime_engine${build} PRIVATE -Wl,--wrap=${call})
    endforeach()
  endif()
endforeach()

# The public header as a program in either language sees it. Objects of the project are C; only
# the compilation is tried as C++.
emt_add_test(NAME test_runtime_header SOURCES test_runtime_header.c LINKS emc_runtime m)
include(CheckLanguage)
check_language(CXX)
if(CMAKE_CXX_COMPILER)
  add_test(NAME test_runtime_header_cxx COMMAND ${CMAKE_CXX_COMPILER} -x c++ -std=c++17 -Wall -Wextra
    -Werror -fsyntax-only -I${CMAKE_BINARY_DIR}/include/base -I${CMAKE_BINARY_DIR}/include/runtime
    ${CMAKE_SOURCE_DIR}/tests/test_runtime_header.c)
endif()
