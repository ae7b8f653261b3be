# Tests of loader/
foreach(subject adapter checkpoint config damage hub official pattern safetensors)
  emt_add_test(NAME test_loader_${subject}
    SOURCES test_loader_${subject}.c loader_files.c
    LINKS emc_loader)
endforeach()
