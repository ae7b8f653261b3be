# Which matrix, which cells, which genes. The files are made on the spot with the HDF5 library.
foreach(subject kinds select)
  emt_add_test(NAME test_cells_${subject} SOURCES test_cells_${subject}.c choice_case.c
               LINKS emc_cells emc_base ${HDF5_C_LIBRARIES} m)
  target_include_directories(test_cells_${subject} SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
endforeach()
foreach(subject input inspect)
  emt_add_test(NAME test_annotate_${subject} SOURCES test_annotate_${subject}.c choice_case.c
               LINKS emc_annotate emc_base ${HDF5_C_LIBRARIES} m)
  target_include_directories(test_annotate_${subject} SYSTEM PRIVATE ${HDF5_INCLUDE_DIRS})
endforeach()
add_test(NAME test_input
  COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/input_test.sh $<TARGET_FILE:emcell> ${CMAKE_SOURCE_DIR})
