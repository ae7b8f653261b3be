# The command as users meet it.
if(NOT EMCELL_ENGINE_ONLY)
  foreach(subject cli exact faults readme atlas)
    add_test(NAME test_${subject}
      COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/${subject}_test.sh $<TARGET_FILE:emcell>
        ${CMAKE_SOURCE_DIR})
  endforeach()
  add_executable(make_run make_run.c)
  target_link_libraries(make_run PRIVATE emc_annotate emc_flags)
  add_test(NAME test_status COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/status_test.sh
    $<TARGET_FILE:emcell> $<TARGET_FILE:make_run>)
endif()

# The same command over the virtual GPU.
if(EMCELL_VIRTUAL_GPU)
  add_executable(emcell_virtual emcell_virtual.c)
  target_link_libraries(emcell_virtual PRIVATE emc_cli emc_cuda_fast emc_flags)
  target_include_directories(emcell_virtual PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  add_test(NAME test_gpus_virtual
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/gpus_virtual_test.sh $<TARGET_FILE:emcell_virtual>
      ${CMAKE_SOURCE_DIR})
  if(EMCELL_FULL_TESTS)
    set_tests_properties(test_gpus_virtual PROPERTIES ENVIRONMENT EMT_FULL=1)
  endif()
  add_test(NAME test_cli_virtual
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/cli_virtual_test.sh $<TARGET_FILE:emcell_virtual>
      ${CMAKE_SOURCE_DIR})
endif()

emt_add_test(NAME test_cli_ranks SOURCES test_cli_ranks.c ${CMAKE_SOURCE_DIR}/cli/ranks.c
  LINKS emc_base)
target_include_directories(test_cli_ranks PRIVATE ${CMAKE_BINARY_DIR}/include/cli)

# What `emcell bench` counts, beside counts made by hand.
emt_add_test(NAME test_bench_cost SOURCES test_bench_cost.c ${CMAKE_SOURCE_DIR}/cli/bench_cost.c
  LINKS emc_runtime emc_base)
target_include_directories(test_bench_cost PRIVATE ${CMAKE_BINARY_DIR}/include/cli)
