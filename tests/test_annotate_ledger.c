/* The ledger, one process and a clock that is moved by hand: who gets what, when, and what stays.
 */
#include "ledger_case.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"

static void test_order(void **state)
{
    (void)state;
    const char *run = make_run("order");
    const emc_ledger_options second = {.rank = 1, .world = 2};
    emc_ledger *a = open_ledger(run, 5, NULL), *b = open_ledger(run, 5, &second);

    expect_claim(a, 0);
    expect_claim(b, 2); /* 5 / 2, rounded down */
    expect_claim(a, 1);
    expect_claim(a, 3); /* 2 is b's */
    expect_claim(b, 4);
    expect_outcome(b, EMC_CLAIM_WAIT);
    EMT_OK(emc_ledger_release(a, 1));
    expect_claim(b, 1); /* once around */
    static const int64_t of_a[] = {0, 3}, of_b[] = {1, 2, 4};
    for (size_t i = 0; i < EMC_COUNT(of_a); i++)
        publish(a, of_a[i]);
    expect_outcome(a, EMC_CLAIM_WAIT); /* b has the rest */
    for (size_t i = 0; i < EMC_COUNT(of_b); i++)
        publish(b, of_b[i]);
    expect_outcome(a, EMC_CLAIM_FINISHED);
    expect_outcome(b, EMC_CLAIM_FINISHED);
    assert_int_equal(count_files(run, "done", ".shard"), 5);
    assert_int_equal(count_files(run, "done", ""), 5);
    assert_int_equal(count_files(run, "claims", ""), 0);
    assert_int_equal(count_files(run, "workers", ".json"), 2);
    emc_ledger_close(a);
    emc_ledger_close(b);
    assert_int_equal(count_files(run, "workers", ""), 0);

    /* A finished folder, and one without shards. */
    a = open_ledger(run, 5, NULL);
    expect_outcome(a, EMC_CLAIM_FINISHED);
    emc_ledger_close(a);
    a = open_ledger(run, 0, NULL);
    expect_outcome(a, EMC_CLAIM_FINISHED);
    emc_ledger_close(a);
    emc_ledger_close(NULL);
}

static void test_publish(void **state)
{
    (void)state;
    const char *run = make_run("publish");
    emc_ledger *ledger = open_ledger(run, 3, NULL);

    EMT_FAILS(EMC_ERR_ARG, "not claimed", emc_ledger_publish(ledger, 0, "x", 1));
    EMT_FAILS(EMC_ERR_ARG, "not claimed", emc_ledger_release(ledger, 0));
    EMT_FAILS(EMC_ERR_ARG, "not claimed", emc_ledger_fail(ledger, 0, "x", NULL));
    EMT_FAILS(EMC_ERR_ARG, "not this worker", emc_ledger_unlock_merge(ledger));
    EMT_FAILS(EMC_ERR_ARG, "no shard 3", emc_ledger_reject(ledger, 3));
    expect_claim(ledger, 0);
    expect_claim(ledger, 1);
    expect_claim(ledger, 2);
    publish(ledger, 1); /* in any order */
    expect_content(run, 1);
    /* Another was first: its file stays. */
    put_text(in_run(run, "done", "000002.shard"), "first");
    publish(ledger, 2);
    char *text = emt_read(in_run(run, "done", "000002.shard"), NULL);
    assert_string_equal(text, "first");
    free(text);
    assert_int_equal(count_files(run, "done", ""), 2);
    assert_int_equal(count_files(run, "claims", ""), 1);
    emc_ledger_close(ledger); /* gives 0 back */
    assert_int_equal(count_files(run, "claims", ""), 0);
    ledger = open_ledger(run, 3, NULL);
    expect_claim(ledger, 0);
    emc_ledger_close(ledger);
}

/* What others publish is seen without being told. */
static void test_others_are_seen(void **state)
{
    (void)state;
    const char *run = make_run("others");
    fake_clock clock = {100};
    const emc_ledger_options options = silent(&clock);
    emc_ledger *a = open_ledger(run, 6, &options), *b = open_ledger(run, 6, &options);

    for (int64_t s = 0; s < 4; s++) {
        expect_claim(a, s);
        publish(a, s);
    }
    expect_claim(b, 4); /* with a list of done/ that is old, and no time to read another */
    clock.now += 10;
    expect_claim(a, 5);
    expect_outcome(b, EMC_CLAIM_WAIT);
    publish(a, 5);
    publish(b, 4);
    expect_outcome(b, EMC_CLAIM_FINISHED);
    emc_ledger_close(a);
    emc_ledger_close(b);
}

/* Hours of a worker that says nothing: free after the lease, by the clock of who waits. */
static void test_leases(void **state)
{
    (void)state;
    const char *run = make_run("leases");
    fake_clock clock = {1e6};
    const emc_ledger_options options = silent(&clock);
    emc_ledger *a = open_ledger(run, 1, &options), *b = open_ledger(run, 1, &options);
    char beat[2048];

    snprintf(beat, sizeof beat, "%s", in_run(run, "workers", a->me.name));
    strcat(beat, ".json");
    expect_claim(a, 0);
    expect_outcome(b, EMC_CLAIM_WAIT);
    clock.now += 89;
    expect_outcome(b, EMC_CLAIM_WAIT);
    /* A beat; and wall clocks that jump, forward and back by a century. */
    put_text(beat, "{}");
    clock.now += 2;
    expect_outcome(b, EMC_CLAIM_WAIT);
    clock.now += 89;
    expect_outcome(b, EMC_CLAIM_WAIT);
    static const time_t jumps[] = {0, 4102444800, 1};
    for (size_t i = 0; i < EMC_COUNT(jumps); i++) {
        const struct timespec times[2] = {{jumps[i], 0}, {jumps[i], 0}};
        assert_int_equal(utimensat(AT_FDCWD, beat, times, 0), 0);
        clock.now += 2;
        expect_outcome(b, EMC_CLAIM_WAIT);
        clock.now += 88;
        expect_outcome(b, EMC_CLAIM_WAIT);
    }
    clock.now += 2;
    expect_claim(b, 0);
    assert_int_equal(count_files(run, "claims", ""), 2);

    /* The one that was halted goes on: it cannot take back, and what it publishes is first or
     * equal. */
    expect_outcome(a, EMC_CLAIM_WAIT);
    publish(a, 0);
    assert_int_equal(count_files(run, "claims", ""), 2); /* b's to remove */
    publish(b, 0);
    expect_content(run, 0);
    assert_int_equal(count_files(run, "claims", ""), 0);
    emc_ledger_close(a);
    emc_ledger_close(b);
}

static void test_the_heart_beats(void **state)
{
    (void)state;
    const char *run = make_run("heart");
    const emc_ledger_options options = {.heartbeat_s = 0.005};
    emc_ledger *ledger = open_ledger(run, 4, &options);
    emc_ledger_state seen = {0};

    expect_claim(ledger, 0);
    emc_ledger_report(ledger, 12345, 77.5);
    for (int i = 0; i < 2000; i++) { /* until it shows; ten seconds at most */
        EMT_OK(emc_ledger_look(&seen, run, 4, 3));
        assert_int_equal(seen.n_workers, 1);
        if (seen.workers[0].cells_done == 12345)
            break;
        emc_ledger_state_free(&seen);
        usleep(5000);
    }
    assert_non_null(seen.workers);
    assert_int_equal(seen.workers[0].cells_done, 12345);
    assert_true(seen.workers[0].cells_per_s == 77.5);
    assert_true(seen.workers[0].alive && seen.workers[0].here);
    assert_int_equal(seen.workers[0].n_claims, 1);
    assert_int_equal(seen.workers[0].pid, getpid());
    emc_ledger_state_free(&seen);
    emc_ledger_close(ledger);
}

static void test_a_dead_process(void **state)
{
    (void)state;
    const char *run = make_run("dead");
    fake_clock clock = {5};
    const emc_ledger_options options = silent(&clock);
    siginfo_t info;
    int code;

    const pid_t pid = leave_claims(run, 3, 2, NULL);
    /* Dead, and nobody has asked for its exit code. */
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(info.si_status, 0);
    assert_int_equal(count_files(run, "done", ".tmp"), 1);
    emc_ledger *ledger = open_ledger(run, 3, &options);
    assert_int_equal(count_files(run, "done", ".tmp"), 0);
    assert_int_equal(count_files(run, "workers", ".json"), 1);
    expect_claim(ledger, 0); /* at once, and in order */
    waitpid(pid, &code, 0);
    expect_claim(ledger, 1);
    expect_claim(ledger, 2);
    for (int64_t s = 0; s < 3; s++)
        publish(ledger, s);
    assert_int_equal(count_files(run, "claims", ""), 0);
    emc_ledger_close(ledger);
}

/* Killed between the link into done/ and the end of its claim. */
static void test_a_claim_of_what_is_done(void **state)
{
    (void)state;
    const char *run = make_run("left");
    fake_clock clock = {5};
    const emc_ledger_options options = silent(&clock);
    emc_ledger *early;
    int code;

    early = open_ledger(run, 2, &options);
    waitpid(leave_claims(run, 2, 2, NULL), &code, 0);
    assert_int_equal(code, 0);
    put_text(in_run(run, "done", "000000.shard"), "x");
    expect_claim(early, 1);
    put_text(in_run(run, "done", "000001.shard"), "x");
    publish(early, 1);
    expect_outcome(early, EMC_CLAIM_FINISHED);
    emc_ledger_close(early);
    emc_ledger_close(open_ledger(run, 2, &options));
    assert_int_equal(count_files(run, "claims", ""), 0);
}

/* Between a look at the folder and the claim that follows from it, others do not stand still. Each
 * case is what they may have done meanwhile. */
static void test_the_second_look(void **state)
{
    (void)state;
    const char *run = make_run("second");
    fake_clock clock = {0};
    const emc_ledger_options options = silent(&clock);
    emc_ledger *ledger = open_ledger(run, 6, &options);
    const ledger_claim three = {.shard = 3, .turn = 1}, four = {.shard = 4, .turn = 1},
                       five = {.shard = 5, .turn = 1};
    emc_hash sign;
    bool got = true;

    put_text(in_run(run, "done", "000000.shard"), "done by another");
    EMT_OK(ledger_take(ledger, 0, NULL, NULL, &got));
    assert_false(got);
    put_text(in_run(run, "failed", "000001.3.json"), "parked by another");
    EMT_OK(ledger_take(ledger, 1, NULL, NULL, &got));
    assert_false(got);
    put_text(in_run(run, "claims", "000002.2"), "another ends its claim, the first turn first");
    EMT_OK(ledger_take(ledger, 2, NULL, NULL, &got));
    assert_false(got);
    put_text(in_run(run, "claims", "000003.1"), "judged");
    ledger_is_free(ledger, &three, &sign, NULL);
    put_text(in_run(run, "claims", "000003.1"), "claimed anew");
    EMT_OK(ledger_take(ledger, 3, &three, &sign, &got));
    assert_false(got);
    put_text(in_run(run, "claims", "000004.1"), "judged");
    ledger_is_free(ledger, &four, &sign, NULL);
    unlink(in_run(run, "claims", "000004.1"));
    EMT_OK(ledger_take(ledger, 4, &four, &sign, &got));
    assert_false(got);
    assert_int_equal(count_files(run, "claims", ""), 2); /* nothing of ours is left */
    put_text(in_run(run, "claims", "000005.1"), "judged");
    ledger_is_free(ledger, &five, &sign, NULL);
    EMT_OK(ledger_take(ledger, 5, &five, &sign, &got));
    assert_true(got);
    emc_ledger_close(ledger);
}

/* Claims as others would have made them: this process's, with one member changed. */
static void test_whose_claim(void **state)
{
    (void)state;
    fake_clock clock = {0};
    static const struct {
        const char *member, *value, *job;
        int restart;
        bool at_once;
    } cases[] = {
        {"start", "12", NULL, 0, true},       /* the pid is another process's now */
        {"pid", "2147483646", NULL, 0, true}, /* no such process */
        {"host", "\"elsewhere\"", NULL, 0, false},
        {"boot", "\"another\"", NULL, 0, false},
        {"boot", "\"\"", NULL, 0, false},   /* a system without /proc */
        {"pid_space", "1", NULL, 0, false}, /* a container */
        {"job", "\"77\"", "77", 1, false},  /* this very process, alive, whatever the job */
    };

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        char name[32];
        snprintf(name, sizeof name, "whose%zu", i);
        const char *run = make_run(name);
        emc_ledger_options options = silent(&clock);
        emc_ledger *a = open_ledger(run, 1, &options);
        expect_claim(a, 0);
        edit_claim(in_run(run, "claims", "000000.1"), cases[i].member, cases[i].value);
        options.job = cases[i].job;
        options.restart = cases[i].restart;
        emc_ledger *b = open_ledger(run, 1, &options);
        if (!cases[i].at_once) {
            expect_outcome(b, EMC_CLAIM_WAIT);
            clock.now += 90;
        }
        expect_claim(b, 0);
        publish(b, 0);
        emc_ledger_close(a);
        emc_ledger_close(b);
    }
}

static void test_a_job_started_anew(void **state)
{
    (void)state;
    fake_clock clock = {0};
    static const struct {
        const char *job;
        int restart;
        bool at_once;
    } cases[] = {{"77", 1, true},  {"77", 5, true}, {"77", 0, false},
                 {"78", 1, false}, {"", 1, false},  {NULL, 1, false}};

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        char name[32];
        snprintf(name, sizeof name, "job%zu", i);
        const char *run = make_run(name);
        emc_ledger_options options = silent(&clock);
        options.job = i < 4 ? "77" : "";
        emc_ledger *a = open_ledger(run, 1, &options);
        expect_claim(a, 0);
        edit_claim(in_run(run, "claims", "000000.1"), "host", "\"elsewhere\"");
        options.job = cases[i].job;
        options.restart = cases[i].restart;
        emc_ledger *b = open_ledger(run, 1, &options);
        if (cases[i].at_once)
            expect_claim(b, 0);
        else
            expect_outcome(b, EMC_CLAIM_WAIT);
        emc_ledger_close(a);
        emc_ledger_close(b);
    }
}

static void test_parking(void **state)
{
    (void)state;
    const char *run = make_run("parking");
    emc_ledger *a = open_ledger(run, 2, NULL), *b = open_ledger(run, 2, NULL);
    emc_ledger_state seen;
    bool parked = true;
    char long_reason[3000];

    for (int i = 1; i <= 3; i++) {
        emc_ledger *worker = i == 2 ? b : a;
        if (i == 2)
            expect_claim(a, 1); /* a has 1, so that b gets 0 */
        if (i == 3)
            EMT_OK(emc_ledger_release(a, 1));
        expect_claim(worker, 0);
        EMT_OK(
            emc_ledger_fail(worker, 0, i == 3 ? "no \"memory\"\nfor \xC3\xA9" : "first", &parked));
        assert_int_equal(parked, i == 3);
    }
    expect_claim(b, 1);
    publish(b, 1);
    expect_outcome(a, EMC_CLAIM_FINISHED);
    expect_outcome(b, EMC_CLAIM_FINISHED);
    EMT_OK(emc_ledger_look(&seen, run, 2, 3));
    assert_int_equal(seen.n_parked, 1);
    assert_int_equal(seen.n_done, 1);
    assert_int_equal(seen.n_failed, 1);
    assert_int_equal(seen.failed[0].shard, 0);
    assert_int_equal(seen.failed[0].n_tries, 3);
    assert_true(seen.failed[0].parked);
    assert_string_equal(seen.failed[0].reason, "no \"memory\"\nfor \xC3\xA9");
    emc_ledger_state_free(&seen);

    EMT_OK(emc_ledger_forgive(a));
    EMT_OK(emc_ledger_forgive(b)); /* nothing left to forgive */
    assert_int_equal(count_files(run, "failed", ""), 0);
    expect_claim(b, 0);
    memset(long_reason, 'x', sizeof long_reason);
    long_reason[sizeof long_reason - 1] = '\0';
    EMT_OK(emc_ledger_fail(b, 0, long_reason, NULL));
    EMT_OK(emc_ledger_look(&seen, run, 2, 3));
    assert_int_equal(seen.n_parked, 0);
    assert_int_equal(seen.failed[0].n_tries, 1);
    assert_int_equal(strlen(seen.failed[0].reason), sizeof seen.failed[0].reason - 1);
    emc_ledger_state_free(&seen);
    emc_ledger_close(a);
    emc_ledger_close(b);
}

static void test_reject(void **state)
{
    (void)state;
    const char *run = make_run("reject");
    emc_ledger *ledger = open_ledger(run, 2, NULL);

    expect_claim(ledger, 0);
    publish(ledger, 0);
    for (int i = 1; i <= 2; i++) {
        char name[64];
        put_text(in_run(run, "done", "000000.shard"), i == 1 ? "bad 1" : "bad 2");
        EMT_OK(emc_ledger_reject(ledger, 0));
        snprintf(name, sizeof name, "000000.damaged-%d", i);
        char *text = emt_read(in_run(run, "failed", name), NULL);
        assert_string_equal(text, i == 1 ? "bad 1" : "bad 2");
        free(text);
        assert_int_equal(count_files(run, "done", ""), 0);
    }
    EMT_OK(emc_ledger_reject(ledger, 0)); /* gone already */
    EMT_OK(emc_ledger_forgive(ledger));
    assert_int_equal(count_files(run, "failed", ""), 2); /* nothing is silently deleted */
    expect_claim(ledger, 1);
    expect_claim(ledger, 0);
    publish(ledger, 0);
    expect_content(run, 0);
    emc_ledger_close(ledger);
}

static void test_merge_lock(void **state)
{
    (void)state;
    const char *run = make_run("merge");
    fake_clock clock = {0};
    const emc_ledger_options options = silent(&clock);
    emc_ledger *a = open_ledger(run, 1, &options), *b = open_ledger(run, 1, &options);
    bool got = false;

    EMT_OK(emc_ledger_lock_merge(a, &got));
    assert_true(got);
    EMT_OK(emc_ledger_lock_merge(a, &got)); /* it has it */
    assert_true(got);
    EMT_OK(emc_ledger_lock_merge(b, &got));
    assert_false(got);
    EMT_OK(emc_ledger_unlock_merge(a));
    EMT_OK(emc_ledger_lock_merge(b, &got));
    assert_true(got);
    EMT_OK(emc_ledger_lock_merge(a, &got));
    assert_false(got);
    clock.now += 90;
    EMT_OK(emc_ledger_lock_merge(a, &got));
    assert_true(got);
    EMT_OK(emc_ledger_unlock_merge(a));
    assert_int_equal(count_files(run, "claims", ""), 0);
    /* Of a process that is dead. */
    EMT_OK(emc_ledger_lock_merge(a, &got));
    assert_true(got);
    edit_claim(in_run(run, "claims", "merge.lock.1"), "start", "12");
    EMT_OK(emc_ledger_lock_merge(b, &got));
    assert_true(got);
    expect_claim(a, 0); /* no shard's business */
    emc_ledger_close(a);
    emc_ledger_close(b);
    assert_int_equal(count_files(run, "claims", ""), 0);
}

/* Many wait at a run's end, on a shared disk: who asks each second must not read every claim and
 * every heartbeat each time, and yet see a death in time. */
static void test_waiting_asks_little(void **state)
{
    (void)state;
    const char *run = make_run("waiting");
    fake_clock clock = {0};
    const emc_ledger_options options = silent(&clock);
    const ledger_owner there = {.name = "a-1-0000000000000001", .host = "a", .pid = 1},
                       other = {.name = "b-1-0000000000000002", .host = "b", .pid = 1};
    emc_ledger *a, *b;

    EMT_OK(ledger_open_as(&a, run, 40, &options, &there));
    EMT_OK(ledger_open_as(&b, run, 40, &options, &other));
    for (int64_t i = 0; i < 40; i++)
        expect_claim(a, i);
    expect_outcome(b, EMC_CLAIM_WAIT);
    /* Each claim, whether it is done and whether it is parked; and one heartbeat for all. */
    assert_int_equal(b->n_looks, 3 * 40 + 1);
    for (int i = 0; i < 9; i++) {
        clock.now += 1;
        expect_outcome(b, EMC_CLAIM_WAIT);
    }
    assert_int_equal(b->n_looks, 3 * 40 + 1);
    assert_int_equal(ledger_beat(a), 0);
    clock.now += 1;
    expect_outcome(b, EMC_CLAIM_WAIT);
    assert_int_equal(b->n_looks, 2 * (3 * 40 + 1));
    /* What is given back or done is seen at once all the same. */
    EMT_OK(emc_ledger_release(a, 5));
    expect_claim(b, 5);
    publish(a, 6);
    expect_outcome(b, EMC_CLAIM_WAIT);
    assert_int_equal(b->done[6], 1);
    /* The last sign of life was seen at second 10. */
    ledger_abandon(a);
    clock.now = 99;
    expect_outcome(b, EMC_CLAIM_WAIT);
    clock.now = 100;
    expect_claim(b, 7);
    emc_ledger_close(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_publish),
        cmocka_unit_test(test_others_are_seen),
        cmocka_unit_test(test_leases),
        cmocka_unit_test(test_the_heart_beats),
        cmocka_unit_test(test_a_dead_process),
        cmocka_unit_test(test_a_claim_of_what_is_done),
        cmocka_unit_test(test_the_second_look),
        cmocka_unit_test(test_whose_claim),
        cmocka_unit_test(test_a_job_started_anew),
        cmocka_unit_test(test_parking),
        cmocka_unit_test(test_reject),
        cmocka_unit_test(test_merge_lock),
        cmocka_unit_test(test_waiting_asks_little),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
