# Tests of annotate/
foreach(subject profile labels)
  emt_add_test(NAME test_annotate_${subject} SOURCES test_annotate_${subject}.c
    LINKS emc_annotate)
endforeach()
