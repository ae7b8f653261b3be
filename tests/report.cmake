# Tests of annotate/report/
emt_add_test(NAME test_report_html SOURCES test_report_html.c LINKS emc_report)
