# Tests of annotate/
foreach(subject answer labels profile prompt run)
  emt_add_test(NAME test_annotate_${subject} SOURCES test_annotate_${subject}.c
    LINKS emc_annotate)
endforeach()
