# The command as users meet it.
if(EMCELL_ENGINE_ONLY)
  return()
endif()
foreach(subject cli readme)
  add_test(NAME test_${subject}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/${subject}_test.sh $<TARGET_FILE:emcell>
      ${CMAKE_SOURCE_DIR})
endforeach()
