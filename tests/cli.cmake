# The command as users meet it.
foreach(subject cli readme)
  add_test(NAME test_${subject}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/${subject}_test.sh $<TARGET_FILE:emcell>
      ${CMAKE_SOURCE_DIR})
endforeach()
