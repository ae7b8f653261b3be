# Many processes on many nodes: a real Slurm of two nodes on this machine, where its packages are,
# and plain processes, under mpirun too.
set(cluster ${CMAKE_CURRENT_SOURCE_DIR}/cluster)
add_test(NAME test_cluster COMMAND ${cluster}/cluster_test.sh $<TARGET_FILE:emcell>
  ${CMAKE_SOURCE_DIR})
add_test(NAME test_shared_run COMMAND ${cluster}/shared_test.sh $<TARGET_FILE:emcell>
  ${CMAKE_SOURCE_DIR})
add_test(NAME test_slurm_template COMMAND ${cluster}/slurm_template_test.sh $<TARGET_FILE:emcell>)
add_test(NAME test_packaging COMMAND ${cluster}/packaging_test.sh $<TARGET_FILE:emcell>
  ${CMAKE_SOURCE_DIR})
set_tests_properties(test_cluster test_slurm_template PROPERTIES SKIP_RETURN_CODE 77)
if(EMCELL_FULL_TESTS)
  set_property(TEST test_cluster test_shared_run test_packaging APPEND PROPERTY ENVIRONMENT EMT_FULL=1)
endif()
