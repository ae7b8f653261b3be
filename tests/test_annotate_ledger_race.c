/* The ledger between processes: none lost, none doubled, whoever is killed whenever. */
#include "ledger_case.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"

#define N_WORKERS 8
#define N_SHARDS  200

/* What all processes see. */
typedef struct {
    atomic_int computed[1000], n_published, n_kills, inside, most_inside, n_merges;
} board;

static board *shared_board(void)
{
    board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    assert_true(b != MAP_FAILED);
    return b;
}

/* A child must not come back into the test that forked it, so it ends with a number. */
static void need(bool fine, int code)
{
    if (!fine)
        _exit(code);
}

static void expect_children(const pid_t *pids, int n)
{
    for (int i = 0; i < n; i++) {
        int code = -1;
        assert_int_equal(waitpid(pids[i], &code, 0), pids[i]);
        assert_true(WIFEXITED(code));
        assert_int_equal(WEXITSTATUS(code), 0);
    }
}

static void expect_whole_run(const char *run, int64_t n_shards)
{
    for (int64_t s = 0; s < n_shards; s++) {
        size_t n, n_got;
        char *path, *bytes = shard_bytes(s, &n);
        EMT_OK(emc_ledger_done_path(&path, run, s));
        char *got = emt_read(path, &n_got);
        assert_int_equal(n_got, n);
        assert_memory_equal(got, bytes, n);
        free(got);
        free(path);
        free(bytes);
    }
    assert_int_equal(count_files(run, "done", ""), n_shards);
    assert_int_equal(count_files(run, "claims", ""), 0);
    assert_int_equal(count_files(run, "failed", ""), 0);
}

/* No lease ends in these tests: whatever is taken over was seen to be dead. */
static emc_ledger_options patient(int rank, int world)
{
    return (emc_ledger_options){.heartbeat_s = 0.01, .lease_s = 1e9, .rank = rank, .world = world};
}

static void publish_or_exit(emc_ledger *ledger, int64_t shard)
{
    size_t n;
    char *bytes = shard_bytes(shard, &n);

    need(emc_ledger_publish(ledger, shard, bytes, n) == EMC_OK, 13);
    free(bytes);
}

static void race(const char *run, board *b, int rank, int world)
{
    const emc_ledger_options options = patient(rank, world);
    emc_ledger *ledger;
    emc_claim outcome = EMC_CLAIM_GOT;
    int64_t shard;

    need(emc_ledger_open(&ledger, run, N_SHARDS, &options) == EMC_OK, 11);
    while (outcome != EMC_CLAIM_FINISHED) {
        need(emc_ledger_claim(ledger, &shard, &outcome) == EMC_OK, 12);
        if (outcome == EMC_CLAIM_GOT) {
            b->computed[shard]++;
            publish_or_exit(ledger, shard);
        } else if (outcome == EMC_CLAIM_WAIT) {
            usleep(500);
        }
    }
    emc_ledger_close(ledger);
    _exit(0);
}

static void run_race(const char *run, board *b, int world)
{
    pid_t pids[N_WORKERS];

    for (int i = 0; i < N_WORKERS; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            race(run, b, world > 1 ? i : 0, world);
    }
    expect_children(pids, N_WORKERS);
    for (int s = 0; s < N_SHARDS; s++)
        assert_int_equal(b->computed[s], 1);
    expect_whole_run(run, N_SHARDS);
    assert_int_equal(count_files(run, "workers", ""), 0);
}

/* All begin at shard 0: the closest race there is. */
static void test_none_lost_none_doubled(void **state)
{
    (void)state;
    board *b = shared_board();

    run_race(make_run("close"), b, 1);
    munmap(b, sizeof *b);
}

/* Every third shard is claimed by a dead process, which all find at the same time. */
static void test_a_race_for_dead_claims(void **state)
{
    (void)state;
    board *b = shared_board();
    const char *run = make_run("graves");
    int code;
    const pid_t pid = fork();

    if (pid == 0) {
        const emc_ledger_options options = patient(0, 1);
        emc_ledger *ledger;
        int64_t shard;
        emc_claim outcome;
        need(emc_ledger_open(&ledger, run, N_SHARDS, &options) == EMC_OK, 11);
        for (int s = 0; s < N_SHARDS; s++)
            need(emc_ledger_claim(ledger, &shard, &outcome) == EMC_OK && shard == s, 12);
        for (int s = 0; s < N_SHARDS; s++)
            if (s % 3 != 0)
                need(emc_ledger_release(ledger, s) == EMC_OK, 13);
        _exit(0); /* without a word */
    }
    waitpid(pid, &code, 0);
    assert_int_equal(code, 0);
    assert_int_equal(count_files(run, "claims", ".1"), (N_SHARDS + 2) / 3);
    run_race(run, b, N_WORKERS);
    munmap(b, sizeof *b);
}

/* ---- kill -9 ---- */

#define N_KILLS 60

/* Works on, but never far ahead of the kills, so that they are spread over the whole run. */
static void work_until_killed(const char *run, board *b, int rank)
{
    const emc_ledger_options options = patient(rank, 3);
    emc_ledger *ledger;
    emc_claim outcome = EMC_CLAIM_GOT;
    int64_t shard;

    need(emc_ledger_open(&ledger, run, N_SHARDS, &options) == EMC_OK, 11);
    while (outcome != EMC_CLAIM_FINISHED) {
        need(emc_ledger_claim(ledger, &shard, &outcome) == EMC_OK, 12);
        if (outcome == EMC_CLAIM_GOT) {
            /* Counted before, so that no kill can hide one. */
            b->n_published++;
            while (b->n_kills < N_KILLS && b->n_published * N_KILLS > b->n_kills * (N_SHARDS - 3))
                usleep(200);
            publish_or_exit(ledger, shard);
        } else {
            usleep(200);
        }
    }
    emc_ledger_close(ledger);
    _exit(0);
}

static pid_t start_worker(const char *run, board *b, int rank)
{
    const pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nobody behind */
        work_until_killed(run, b, rank);
    }
    assert_true(pid > 0);
    return pid;
}

/* A run of small shards, three workers, and one of them killed at a random moment, sixty times. */
static void test_kills_at_random_moments(void **state)
{
    (void)state;
    board *b = shared_board();
    const char *run = make_run("kills");
    pid_t pids[3];
    uint64_t seed = (uint64_t)getpid();
    int between = 0, published = 0;

    emc_ledger_close(open_ledger(run, N_SHARDS, NULL)); /* makes the folders, to be looked into */
    for (int i = 0; i < 3; i++)
        pids[i] = start_worker(run, b, i);
    while (b->n_kills < N_KILLS) {
        const int victim = (int)(emt_random(&seed) % 3);
        int code;
        usleep((useconds_t)(emt_random(&seed) % 12000));
        assert_int_equal(kill(pids[victim], SIGKILL), 0);
        assert_int_equal(waitpid(pids[victim], &code, 0), pids[victim]);
        /* One that ended by itself, before the run is over, has found something wrong. */
        assert_int_equal(code, SIGKILL);
        const int now = count_files(run, "done", ".shard");
        between += now > published;
        published = now;
        b->n_kills++;
        pids[victim] = start_worker(run, b, victim);
    }
    expect_children(pids, 3);
    assert_true(between >= 10); /* finished shards between the kills */
    const emc_ledger_options options = patient(0, 1);
    emc_ledger *ledger = open_ledger(run, N_SHARDS, &options);
    expect_outcome(ledger, EMC_CLAIM_FINISHED);
    emc_ledger_close(ledger);
    expect_whole_run(run, N_SHARDS);
    /* One that was killed while it wrote who it is leaves that until it is an hour old. */
    assert_int_equal(count_files(run, "workers", ".json"), 0);
    assert_int_equal(count_files(run, "workers", ".tmp"), 0);
    munmap(b, sizeof *b);
}

/* ---- the merge lock ---- */

static void merge_often(const char *run, board *b)
{
    const emc_ledger_options options = patient(0, 1);
    emc_ledger *ledger;

    need(emc_ledger_open(&ledger, run, 1, &options) == EMC_OK, 11);
    for (int n = 0; n < 20;) {
        bool got;
        need(emc_ledger_lock_merge(ledger, &got) == EMC_OK, 12);
        if (!got) {
            usleep(100);
            continue;
        }
        const int inside = ++b->inside;
        if (inside > b->most_inside)
            b->most_inside = inside;
        usleep(100);
        b->inside--;
        b->n_merges++;
        n++;
        need(emc_ledger_unlock_merge(ledger) == EMC_OK, 13);
    }
    emc_ledger_close(ledger);
    _exit(0);
}

static void test_one_merges(void **state)
{
    (void)state;
    board *b = shared_board();
    const char *run = make_run("merges");
    pid_t pids[4];

    for (int i = 0; i < 4; i++) {
        pids[i] = fork();
        if (pids[i] == 0)
            merge_often(run, b);
    }
    expect_children(pids, 4);
    assert_int_equal(b->n_merges, 80);
    assert_int_equal(b->most_inside, 1);
    munmap(b, sizeof *b);
}

/* ---- threads of one process ---- */

typedef struct {
    emc_ledger *ledger;
    board *b;
} desk;

static void *share_a_ledger(void *context)
{
    const desk *d = context;
    emc_claim outcome = EMC_CLAIM_GOT;
    int64_t shard;

    while (outcome != EMC_CLAIM_FINISHED) {
        need(emc_ledger_claim(d->ledger, &shard, &outcome) == EMC_OK, 12);
        if (outcome != EMC_CLAIM_GOT) {
            usleep(200);
        } else if (shard % 5 == 0 && d->b->computed[shard] == 0) {
            d->b->computed[shard]++;
            need(emc_ledger_fail(d->ledger, shard, "once", NULL) == EMC_OK, 13);
        } else {
            d->b->computed[shard]++;
            publish_or_exit(d->ledger, shard);
            emc_ledger_report(d->ledger, shard, 1);
        }
    }
    return NULL;
}

static void test_threads_share_a_ledger(void **state)
{
    (void)state;
    const char *run = make_run("threads");
    const emc_ledger_options options = patient(0, 1);
    desk d = {open_ledger(run, 50, &options), shared_board()};
    pthread_t threads[4];

    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, share_a_ledger, &d), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int s = 0; s < 50; s++)
        assert_int_equal(d.b->computed[s], s % 5 == 0 ? 2 : 1);
    EMT_OK(emc_ledger_forgive(d.ledger));
    emc_ledger_close(d.ledger);
    expect_whole_run(run, 50);
    munmap(d.b, sizeof *d.b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_lost_none_doubled),
        cmocka_unit_test(test_a_race_for_dead_claims),
        cmocka_unit_test(test_kills_at_random_moments),
        cmocka_unit_test(test_one_merges),
        cmocka_unit_test(test_threads_share_a_ledger),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
