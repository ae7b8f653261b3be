# From the file to the result: what is kept when it stops, what limits it, in which order it writes.
emt_add_test(NAME test_annotate_flow SOURCES test_annotate_flow.c LINKS emc_annotate)
emt_add_test(NAME test_annotate_parts SOURCES test_annotate_parts.c annotate_case.c
  LINKS emc_annotate)
emt_add_test(NAME test_cli_log SOURCES test_cli_log.c ${CMAKE_SOURCE_DIR}/cli/log.c
    ${CMAKE_SOURCE_DIR}/cli/options.c
  LINKS emc_base)
target_include_directories(test_cli_log PRIVATE ${CMAKE_BINARY_DIR}/include/cli)
# The same bytes, however the work is cut up.
add_test(NAME test_determinism COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/determinism_test.sh
  $<TARGET_FILE:emcell> ${CMAKE_SOURCE_DIR})
if(EMCELL_VIRTUAL_GPU)
  add_test(NAME test_determinism_virtual
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/determinism_test.sh $<TARGET_FILE:emcell_virtual>
      ${CMAKE_SOURCE_DIR} cuda)
endif()
