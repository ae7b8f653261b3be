emt_add_test(NAME test_runtime_pages SOURCES test_runtime_pages.c LINKS emc_runtime)
emt_add_test(NAME test_runtime_choices SOURCES test_runtime_choices.c LINKS emc_runtime)
foreach(subject golden answers bits engine)
  emt_add_test(NAME test_runtime_${subject} SOURCES test_runtime_${subject}.c runtime_case.c
    LINKS emc_runtime)
endforeach()
# Every allocation of our own code in that test goes through its counters.
foreach(call malloc calloc realloc aligned_alloc posix_memalign mmap)
  target_link_options(test_runtime_engine PRIVATE -Wl,--wrap=${call})
endforeach()
