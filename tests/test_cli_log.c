/* What the progress line says. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/size.h"
#include "cli/log.h"
#include "emt.h"

static void lines(void **state)
{
    static const struct {
        cli_progress p;
        const char *line, *json;
    } cases[] = {
        {{.done = 0, .total = -1, .seconds_left = -1, .seconds_to_first = -1, .limit = ""},
         "0 cells",
         "\"cells\": 0, \"total\": -1, \"cells_per_s\": 0.000, \"seconds_left\": null, "
         "\"cells_per_s_mean\": 0.000, \"seconds_to_first\": null, \"cells_ahead\": 0, "
         "\"cells_in_engine\": 0, \"cells_finished\": 0, \"engine_waited\": 0.0000, "
         "\"limit\": null"},
        {{.done = 120,
          .total = 914,
          .cells_per_s = 35.21,
          .cells_per_s_mean = 33.04,
          .seconds_left = 22.4,
          .seconds_to_first = 1.25,
          .n_ahead = 3,
          .n_engine = 40,
          .n_finished = 7,
          .engine_waited = 0.0125,
          .limit = "engine"},
         "120 of 914 cells, 35.2 cells/s (mean 33.0), 22 s left, limit: engine",
         "\"cells\": 120, \"total\": 914, \"cells_per_s\": 35.210, \"seconds_left\": 22.4, "
         "\"cells_per_s_mean\": 33.040, \"seconds_to_first\": 1.250, \"cells_ahead\": 3, "
         "\"cells_in_engine\": 40, \"cells_finished\": 7, \"engine_waited\": 0.0125, "
         "\"limit\": \"engine\""},
        {{.done = 1,
          .total = 5000000,
          .cells_per_s = 0.5,
          .seconds_left = 1e7,
          .engine_waited = NAN,
          .limit = "reading"},
         "1 of 5000000 cells, 0.50 cells/s, 2777 h 46 min left, limit: reading",
         NULL},
    };
    char text[512], whole[600];

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        cJSON *json;
        cli_progress_line(text, sizeof text, &cases[i].p);
        assert_string_equal(text, cases[i].line);
        cli_progress_json(text, sizeof text, &cases[i].p);
        if (cases[i].json)
            assert_string_equal(text, cases[i].json);
        snprintf(whole, sizeof whole, "{%s}", text);
        EMT_OK(emc_json_parse(&json, whole, strlen(whole), "a line"));
        cJSON_Delete(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines)};

    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
