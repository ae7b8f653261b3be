/* Which stage limits the pipeline, by numbers and a clock of our own. */
#include <math.h>
#include <string.h>

#include "annotate/flow.h"
#include "annotate/progress.h"
#include "base/size.h"
#include "emt.h"

static void assert_close(double got, double wanted)
{
    if (!(fabs(got - wanted) <= 1e-9))
        fail_msg("%.12g, wanted %.12g", got, wanted);
}

/* Seconds of a thread add up to the time that passed, whatever the others did. */
static void time_goes_to_what_a_thread_does(void **state)
{
    emc_flow flow;
    emc_flow_view v;

    (void)state;
    emc_flow_begin(&flow, 100);
    emc_flow_does(&flow, EMC_READER, EMC_READS, 100);
    emc_flow_does(&flow, EMC_ASKER, EMC_WAITS, 101);
    emc_flow_does(&flow, EMC_READER, EMC_PROMPTS, 103);
    emc_flow_does(&flow, EMC_ASKER, EMC_WORKS, 104);
    emc_flow_does(&flow, EMC_READER, EMC_WAITS, 104);
    emc_flow_look(&flow, 110, &v);
    assert_close(v.seconds[EMC_READER][EMC_READS], 3);
    assert_close(v.seconds[EMC_READER][EMC_PROMPTS], 1);
    assert_close(v.seconds[EMC_READER][EMC_WAITS], 6);
    assert_close(v.seconds[EMC_ASKER][EMC_RESTS], 1);
    assert_close(v.seconds[EMC_ASKER][EMC_WAITS], 3);
    assert_close(v.seconds[EMC_ASKER][EMC_WORKS], 6);
    assert_close(v.seconds[EMC_KEEPER][EMC_RESTS], 10);
    assert_close(emc_flow_engine_waited(&v, NULL), 3.0 / 9);
    emc_flow_look(&flow, 109, &v); /* threads read the clock a moment before they take the lock */
    assert_close(v.seconds[EMC_READER][EMC_WAITS], 6);
    emc_flow_end(&flow);
}

/* When what is left is with other processes, or all was read, nobody is made to wait. */
static void waiting_for_nothing_is_no_waiting(void **state)
{
    emc_flow flow;
    emc_flow_view v;

    (void)state;
    emc_flow_begin(&flow, 0);
    emc_flow_does(&flow, EMC_READER, EMC_RESTS, 0);
    emc_flow_does(&flow, EMC_ASKER, EMC_WORKS, 0);
    emc_flow_does(&flow, EMC_KEEPER, EMC_WAITS, 0);
    emc_flow_does(&flow, EMC_ASKER, EMC_WAITS, 5); /* the keeper waited for the engine so far */
    emc_flow_look(&flow, 7, &v);
    assert_close(v.seconds[EMC_ASKER][EMC_WORKS], 5);
    assert_close(v.seconds[EMC_ASKER][EMC_WAITS], 0);
    assert_close(v.seconds[EMC_ASKER][EMC_RESTS], 2);
    assert_close(v.seconds[EMC_KEEPER][EMC_WAITS], 5);
    assert_close(v.seconds[EMC_KEEPER][EMC_RESTS], 2);
    assert_close(emc_flow_engine_waited(&v, NULL), 0);
    emc_flow_end(&flow);
}

static void cells_are_counted_at_each_place(void **state)
{
    emc_flow flow;
    emc_flow_view v;
    emc_progress_meter meter = {0};
    emc_progress p;

    (void)state;
    emc_flow_begin(&flow, 10);
    emc_flow_does(&flow, EMC_KEEPER, EMC_WAITS, 10);
    emc_flow_look(&flow, 12, &v);
    assert_true(v.first_at < 0);
    assert_true(emc_progress_step(&meter, 12, 0, 100, &p));
    assert_true(p.seconds_to_first < 0);
    emc_progress_flow(&meter, 12, 3, &v, &p);
    assert_true(p.seconds_to_first < 0 && p.cells_per_s_mean == 0);
    assert_int_equal(p.limit, EMC_LIMIT_UNKNOWN);
    for (int i = 0; i < 9; i++)
        emc_flow_read(&flow);
    for (int i = 0; i < 7; i++)
        emc_flow_taken(&flow);
    for (int i = 0; i < 4; i++)
        emc_flow_answered(&flow);
    emc_flow_kept(&flow, 14);
    emc_flow_kept(&flow, 15); /* not the first */
    emc_flow_look(&flow, 15, &v);
    emc_progress_step(&meter, 15, 2, 100, &p);
    emc_progress_flow(&meter, 15, 3, &v, &p);
    assert_int_equal(p.n_ahead, 2);
    assert_int_equal(p.n_engine, 3);
    assert_int_equal(p.n_finished, 2);
    assert_close(p.seconds_to_first, 11); /* from the call, which came 7 s before the threads */
    assert_close(p.cells_per_s_mean, 2.0 / 5);
    emc_flow_end(&flow);
    emc_flow_does(NULL, EMC_READER, EMC_READS, 0); /* nobody wants to know */
    emc_flow_read(NULL);
    emc_flow_taken(NULL);
    emc_flow_answered(NULL);
    emc_flow_kept(NULL, 0);
}

static void the_dearest_stage_limits(void **state)
{
    /* Seconds of work in 10 s, and cells. */
    static const struct {
        double reads, prompts, works, keeps;
        int64_t n_read, n_answered, n_kept;
        emc_limit limit;
        const char *what;
    } cases[] = {
        {1, 1, 10, 1, 1000, 1000, 1000, EMC_LIMIT_ENGINE, "the others wait"},
        {8, 2, 3, 1, 1000, 1000, 1000, EMC_LIMIT_READING, "the reader never waits"},
        {2, 8, 3, 1, 1000, 1000, 1000, EMC_LIMIT_PROMPTS, "most of it are prompts"},
        {2, 2, 3, 10, 1000, 1000, 1000, EMC_LIMIT_WRITING, "the keeper never waits"},
        {6, 4, 10, 1, 1200, 1000, 1000, EMC_LIMIT_ENGINE, "the reader runs ahead of the engine"},
        {6, 4, 10, 1, 1010, 1000, 1000, EMC_LIMIT_READING, "steps that are not full"},
        {1, 1, 0, 0, 10, 0, 0, EMC_LIMIT_UNKNOWN, "no answer yet"},
        {0, 0, 5, 1, 0, 100, 100, EMC_LIMIT_ENGINE, "all is read"},
        {0, 0, 0, 0, 0, 0, 0, EMC_LIMIT_UNKNOWN, "nothing"},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_flow_view v = {.n_read = cases[i].n_read,
                           .n_taken = cases[i].n_answered,
                           .n_answered = cases[i].n_answered,
                           .n_kept = cases[i].n_kept};
        emc_flow_view then, later;
        v.seconds[EMC_READER][EMC_READS] = cases[i].reads;
        v.seconds[EMC_READER][EMC_PROMPTS] = cases[i].prompts;
        v.seconds[EMC_ASKER][EMC_WORKS] = cases[i].works;
        v.seconds[EMC_KEEPER][EMC_WORKS] = cases[i].keeps;
        if (emc_flow_limit(&v, NULL) != cases[i].limit)
            fail_msg("%s: \"%s\"", cases[i].what, emc_limit_name(emc_flow_limit(&v, NULL)));
        /* The same after an hour in which another stage was the slow one. */
        memset(&then, 0, sizeof then);
        then.seconds[EMC_KEEPER][EMC_WORKS] = 3600;
        then.seconds[EMC_ASKER][EMC_WAITS] = 3000;
        then.n_read = then.n_taken = then.n_answered = then.n_kept = 1000;
        later = then;
        for (int t = 0; t < EMC_N_THREADS; t++)
            for (int d = 0; d < EMC_N_DEEDS; d++)
                later.seconds[t][d] += v.seconds[t][d];
        later.n_read += v.n_read;
        later.n_taken += v.n_taken;
        later.n_answered += v.n_answered;
        later.n_kept += v.n_kept;
        if (emc_flow_limit(&later, &then) != cases[i].limit)
            fail_msg("%s, later", cases[i].what);
        assert_close(emc_flow_engine_waited(&later, &then), 0);
    }
}

static void limits_have_names(void **state)
{
    static const char *const names[] = {"", "reading", "prompts", "engine", "writing"};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(names); i++)
        assert_string_equal(emc_limit_name((emc_limit)i), names[i]);
}

/* An engine that waits a quarter of the time, then never: the line tells of the last seconds. */
static void progress_tells_of_the_last_seconds(void **state)
{
    emc_flow flow;
    emc_flow_view v;
    emc_progress_meter meter = {0};
    emc_progress p;
    int64_t done = 0;

    (void)state;
    emc_flow_begin(&flow, 0);
    emc_flow_does(&flow, EMC_KEEPER, EMC_WAITS, 0);
    for (int s = 0; s < 60; s++) {
        const double waits = s < 30 ? 0.25 : 0;
        emc_flow_does(&flow, EMC_READER, s < 30 ? EMC_READS : EMC_WAITS, s);
        emc_flow_does(&flow, EMC_ASKER, waits > 0 ? EMC_WAITS : EMC_WORKS, s);
        emc_flow_does(&flow, EMC_ASKER, EMC_WORKS, s + waits);
        for (int i = 0; i < 10; i++) {
            emc_flow_read(&flow);
            emc_flow_taken(&flow);
            emc_flow_answered(&flow);
            emc_flow_kept(&flow, s + 1);
        }
        emc_flow_look(&flow, s + 1, &v);
        emc_progress_step(&meter, s + 1, done += 10, 1000, &p);
        emc_progress_flow(&meter, s + 1, 0, &v, &p);
        if (s == 29) {
            assert_close(p.engine_waited, 0.25);
            assert_int_equal(p.limit, EMC_LIMIT_READING);
        }
    }
    assert_close(p.engine_waited, 0);
    assert_int_equal(p.limit, EMC_LIMIT_ENGINE);
    assert_close(emc_flow_engine_waited(&v, NULL), 0.125);
    assert_close(p.cells_per_s, 10);
    assert_close(p.cells_per_s_mean, 10);
    emc_flow_end(&flow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_goes_to_what_a_thread_does),
        cmocka_unit_test(waiting_for_nothing_is_no_waiting),
        cmocka_unit_test(cells_are_counted_at_each_place),
        cmocka_unit_test(the_dearest_stage_limits),
        cmocka_unit_test(limits_have_names),
        cmocka_unit_test(progress_tells_of_the_last_seconds),
    };

    return cmocka_run_group_tests_name("flow", tests, NULL, NULL);
}
