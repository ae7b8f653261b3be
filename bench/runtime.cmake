# The engine's bench is `emcell bench`.
if(EMC_HAS_CPU)
  add_test(NAME bench_engine
    COMMAND emcell bench --model ${CMAKE_SOURCE_DIR}/tests/golden/runtime/group2/model --device cpu
      --prefix 20 --suffix 60 --cells 4 --warm-up 2 --repetitions 1)
endif()
