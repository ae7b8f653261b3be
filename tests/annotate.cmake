# Tests of annotate/
foreach(subject answer labels profile prompt shard variants)
  emt_add_test(NAME test_annotate_${subject} SOURCES test_annotate_${subject}.c
    LINKS emc_annotate)
endforeach()
foreach(subject bad run)
  emt_add_test(NAME test_annotate_${subject} SOURCES test_annotate_${subject}.c annotate_case.c
    LINKS emc_annotate)
endforeach()
emt_add_test(NAME test_annotate_scoring
  SOURCES test_annotate_scoring.c annotate_case.c naive_case.c LINKS emc_annotate)
# Results in every form; what the oracles read.
add_executable(write_results write_results.c results_case.c)
target_link_libraries(write_results PRIVATE emc_annotate emc_base emc_flags)
foreach(subject ledger ledger_folder ledger_race)
  emt_add_test(NAME test_annotate_${subject} SOURCES test_annotate_${subject}.c ledger_case.c
    LINKS emc_annotate)
endforeach()
target_link_options(test_annotate_ledger_folder PRIVATE LINKER:--wrap=openat64)
emt_add_test(NAME test_annotate_results SOURCES test_annotate_results.c results_case.c
  LINKS emc_annotate emc_base)
# It breaks a good file, for which it needs the HDF5 library itself.
emt_add_test(NAME test_annotate_shards SOURCES test_annotate_shards.c annotate_case.c
  LINKS emc_annotate ${HDF5_C_LIBRARIES})
target_include_directories(test_annotate_shards SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
