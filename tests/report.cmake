# Tests of annotate/report/
emt_add_test(NAME test_report_html SOURCES test_report_html.c LINKS emc_report)
emt_add_test(NAME test_report_page SOURCES test_report_page.c annotate_case.c LINKS emc_report)
add_test(NAME test_report_browser COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/report_browser_test.sh
  $<TARGET_FILE:emcell> ${CMAKE_SOURCE_DIR}/demo ${CMAKE_CURRENT_SOURCE_DIR}/golden/report)
set_tests_properties(test_report_browser PROPERTIES SKIP_RETURN_CODE 77)
