# Tests of annotate/
foreach(subject answer labels profile prompt shard)
  emt_add_test(NAME test_annotate_${subject} SOURCES test_annotate_${subject}.c
    LINKS emc_annotate)
endforeach()
foreach(subject bad run)
  emt_add_test(NAME test_annotate_${subject} SOURCES test_annotate_${subject}.c annotate_case.c
    LINKS emc_annotate)
endforeach()
