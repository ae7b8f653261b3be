/* The run folder: what others put there, what it lacks, what it refuses, and looking on. */
#include "ledger_case.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"

/* The linker sends the ledger's openat here: a file system that knows no O_EXCL. */
static bool without_exclusion;
int __real_openat64(int dir, const char *name, int flags, ...);
int __wrap_openat64(int dir, const char *name, int flags, ...);
int __wrap_openat64(int dir, const char *name, int flags, ...)
{
    return __real_openat64(dir, name, without_exclusion ? flags & ~O_EXCL : flags, 0666);
}

static void test_without_exclusion(void **state)
{
    (void)state;
    const char *run = make_run("twice");
    fake_clock clock = {0};
    const emc_ledger_options options = silent(&clock);
    emc_ledger *ledger;

    without_exclusion = true;
    EMT_FAILS(EMC_ERR_CREATE, "this file system makes an exclusive file twice",
              emc_ledger_open(&ledger, run, 2, &options));
    without_exclusion = false;
    assert_null(ledger);
    assert_non_null(strstr(emc_message(), "choose another --run-dir"));
    emc_ledger_close(open_ledger(run, 2, &options));
}

static double an_hour_ago(void *context)
{
    struct timespec now;

    (void)context;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec - 3600;
}

/* A file system that is ahead of this machine is noticed, and nothing else changes. */
static void test_clocks(void **state)
{
    (void)state;
    const char *run = make_run("clocks");
    fake_clock clock = {0};
    emc_ledger_options options = silent(&clock);
    emc_ledger *a = open_ledger(run, 2, &options);

    assert_true(fabs(emc_ledger_clock_ahead(a)) < 60);
    options.wall_s = an_hour_ago;
    emc_ledger *b = open_ledger(run, 2, &options);
    assert_true(fabs(emc_ledger_clock_ahead(b) - 3600) < 60);
    expect_claim(a, 0);
    expect_claim(b, 1);
    expect_outcome(b, EMC_CLAIM_WAIT);
    emc_ledger_close(a);
    emc_ledger_close(b);
}

/* Where there are no hard links. */
static void test_without_links(void **state)
{
    (void)state;
    const char *run = make_run("links");
    fake_clock clock = {0};
    const emc_ledger_options options = silent(&clock);
    emc_ledger *a = open_ledger(run, 2, &options), *b = open_ledger(run, 2, &options);

    assert_true(a->can_link);
    a->can_link = b->can_link = false;
    expect_claim(a, 0);
    expect_claim(b, 1);
    expect_outcome(a, EMC_CLAIM_WAIT);
    publish(a, 0);
    put_text(in_run(run, "done", "000001.shard"), "first");
    publish(b, 1);
    char *text = emt_read(in_run(run, "done", "000001.shard"), NULL);
    assert_string_equal(text, "first");
    free(text);
    expect_content(run, 0);
    EMT_OK(emc_ledger_reject(a, 1));
    assert_int_equal(count_files(run, "failed", "000001.damaged-1"), 1);
    assert_int_equal(count_files(run, "done", ""), 1);
    /* Killed between making the claim and writing it. */
    put_text(in_run(run, "claims", "000001.1"), "");
    expect_outcome(a, EMC_CLAIM_WAIT);
    clock.now += 90;
    expect_claim(a, 1);
    publish(a, 1);
    assert_int_equal(count_files(run, "claims", ""), 0);
    emc_ledger_close(a);
    emc_ledger_close(b);
}

/* A folder that cannot be removed stands for a claim; the rest are files. */
static void test_foreign_files(void **state)
{
    (void)state;
    const char *run = make_run("foreign");
    fake_clock clock = {0};
    const emc_ledger_options options = silent(&clock);
    static const char *const folders[] = {"claims", "workers", "done", "failed"};
    static const char *const texts[] = {
        "",
        "{",
        "{}",
        "[]",
        "null",
        "{\"worker\": 5}",
        "\xFF\xFE\x00",
        "{\"worker\": \"../../x\", \"host\": \"\", \"boot\": \"\", \"job\": \"\", \"pid\": 1, "
        "\"start\": 1, \"pid_space\": 1, \"restart\": 0}",
        "{\"worker\": \"x\", \"host\": \"\", \"boot\": \"\", \"job\": \"\", \"pid\": 1e300, "
        "\"start\": -5, \"pid_space\": 1, \"restart\": 0}"};
    char big[3 * LEDGER_BYTES], name[300];
    emc_ledger_state seen;

    emc_ledger_close(open_ledger(run, 20, NULL));
    for (size_t k = 0; k < EMC_COUNT(folders); k++) {
        for (size_t i = 0; i < EMC_COUNT(texts); i++) {
            static const char *const patterns[] = {"%06zu.1", "%06zu.1.json", "%06zu.id",
                                                   "%06zu.json", "%06zu.x.tmp"};
            for (size_t p = 0; p < EMC_COUNT(patterns); p++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
                snprintf(name, sizeof name, patterns[p], i);
#pragma GCC diagnostic pop
                put_text(in_run(run, folders[k], name), texts[i]);
            }
        }
        static const char *const names[] = {"x",
                                            "000001",
                                            "000001.",
                                            "000001.0",
                                            "1.1",
                                            "000001.01",
                                            "000001.1.1",
                                            "000099.1",
                                            "-00001.1",
                                            "000001.99999999999999999999",
                                            "merge.lock.",
                                            "merge.lock.x",
                                            "99999999999999999999.shard",
                                            "000020.shard",
                                            ".json",
                                            "000001.1.json~",
                                            ".id",
                                            "\xFF\xFF.json",
                                            "a.b.c.tmp",
                                            ".tmp"};
        for (size_t i = 0; i < EMC_COUNT(names); i++)
            put_text(in_run(run, folders[k], names[i]), "{");
        memset(name, 'n', 250);
        strcpy(name + 250, ".json");
        put_text(in_run(run, folders[k], name), "{}");
        memset(big, '[', sizeof big);
        put_file(in_run(run, folders[k], "000011.1"), big, sizeof big);
        mkdir(in_run(run, folders[k], "000012.1"), 0755);
        mkfifo(in_run(run, folders[k], "000013.1"), 0600);
        assert_int_equal(symlink("000014.1", in_run(run, folders[k], "000014.1")), 0);
        mkfifo(in_run(run, folders[k], "pipe.json"), 0600);
        mkfifo(in_run(run, folders[k], "pipe.id"), 0600);
    }
    EMT_OK(emc_ledger_look(&seen, run, 20, 1));
    assert_int_equal(seen.n_done, 0);
    assert_int_equal(seen.n_claimed + seen.n_stale + seen.n_parked, 14 - 1);
    emc_ledger_state_free(&seen);

    emc_ledger *ledger = open_ledger(run, 20, &options);
    int64_t shard;
    emc_claim outcome = EMC_CLAIM_GOT;
    for (int lease = 0; lease < 2; lease++, clock.now += 90)
        do {
            EMT_OK(emc_ledger_claim(ledger, &shard, &outcome));
            if (outcome == EMC_CLAIM_GOT)
                publish(ledger, shard);
        } while (outcome == EMC_CLAIM_GOT);
    assert_int_equal(outcome, EMC_CLAIM_FINISHED);
    for (int64_t s = 0; s < 20; s++)
        expect_content(run, s);
    emc_ledger_close(ledger);
}

static void test_names(void **state)
{
    (void)state;
    char name[LEDGER_NAME];
    static const int64_t shards[] = {LEDGER_MERGE, 0, 5, 999999, 1000000, 123456789012};

    for (size_t i = 0; i < EMC_COUNT(shards); i++) {
        ledger_claim claim;
        int64_t shard;
        int n;
        ledger_claim_name(name, shards[i], 12);
        assert_true(ledger_parse_claim(&claim, name, INT64_MAX));
        assert_int_equal(claim.shard, shards[i]);
        assert_int_equal(claim.turn, 12);
        if (i == 0)
            continue;
        assert_false(ledger_parse_claim(&claim, name, shards[i]));
        ledger_failed_name(name, shards[i], 3);
        assert_true(ledger_parse_failed(&shard, &n, name, INT64_MAX));
        assert_int_equal(shard, shards[i]);
        assert_int_equal(n, 3);
        ledger_done_name(name, shards[i]);
        assert_true(ledger_parse_done(&shard, name, shards[i] + 1));
        assert_false(ledger_parse_done(&shard, name, shards[i]));
    }
}

static void test_look(void **state)
{
    (void)state;
    const char *run = make_run("look");
    emc_ledger_state seen;
    int code;

    EMT_FAILS(EMC_ERR_NOT_FOUND, "no run folder", emc_ledger_look(&seen, "/nowhere", 3, 3));
    EMT_OK(emc_ledger_look(&seen, run, 3, 3)); /* nothing in it yet */
    assert_int_equal(seen.n_done + seen.n_claimed + seen.n_workers + seen.n_failed, 0);
    emc_ledger_state_free(&seen);

    emc_ledger *ledger = open_ledger(run, 5, NULL);
    expect_claim(ledger, 0);
    publish(ledger, 0);
    expect_claim(ledger, 1);
    waitpid(leave_claims(run, 5, 2, "j"), &code, 0);
    assert_int_equal(code, 0);
    EMT_OK(emc_ledger_look(&seen, run, 5, 3));
    assert_int_equal(seen.n_shards, 5);
    assert_int_equal(seen.n_done, 1);
    assert_int_equal(seen.done[0], 1);
    assert_int_equal(seen.done[1], 0);
    assert_int_equal(seen.n_claimed, 1);
    assert_int_equal(seen.n_stale, 2);
    assert_int_equal(seen.n_workers, 2);
    for (int i = 0; i < 2; i++) {
        const bool self = strcmp(seen.workers[i].name, ledger->me.name) == 0;
        assert_int_equal(seen.workers[i].alive, self);
        assert_int_equal(seen.workers[i].n_claims, self ? 1 : 2);
        assert_true(seen.workers[i].here);
        assert_true(seen.workers[i].beat_age_s >= 0);
        assert_string_equal(seen.workers[i].host, ledger->me.host);
    }
    emc_ledger_state_free(&seen);
    emc_ledger_close(ledger);
}

/* A part is kept with its claim, replaced by a later one, and goes when the shard is published. */
static void test_parts(void **state)
{
    (void)state;
    const char *run = make_run("parts");
    emc_ledger *ledger = open_ledger(run, 4, NULL);
    emc_ledger_state seen;
    struct rlimit before, small;
    char mine[LEDGER_NAME], name[LEDGER_NAME], *path, *text;
    int64_t shard;

    EMT_FAILS(EMC_ERR_ARG, "not claimed", emc_ledger_keep_part(ledger, 2, "x", 1));
    EMT_FAILS(EMC_ERR_ARG, "not claimed", emc_ledger_drop_part(ledger, 2));
    for (int64_t s = 0; s < 4; s++)
        expect_claim(ledger, s);
    EMT_OK(emc_ledger_drop_part(ledger, 2)); /* there is none */
    EMT_OK(emc_ledger_keep_part(ledger, 2, "first", 5));
    EMT_OK(emc_ledger_keep_part(ledger, 2, "second", 6));
    EMT_OK(emc_ledger_keep_part(ledger, 1, "x", 1));
    EMT_OK(emc_ledger_keep_part(ledger, 3, "x", 1));
    EMT_OK(emc_ledger_part_path(&path, run, 2));
    text = emt_read(path, NULL);
    assert_string_equal(text, "second");
    free(text);
    assert_int_equal(count_files(run, "parts", ""), 3);
    assert_int_equal(count_files(run, "claims", ""), 4); /* all are kept */
    /* A disk that is full: the part that was there is still there. */
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    EMT_FAILS(EMC_ERR_IO, "parts/000002.part: File too large",
              emc_ledger_keep_part(ledger, 2, "a longer one", 12));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    text = emt_read(path, NULL);
    assert_string_equal(text, "second");
    free(text);
    free(path);
    assert_int_equal(count_files(run, "parts", ".tmp"), 0);
    publish(ledger, 1);
    EMT_OK(emc_ledger_drop_part(ledger, 3));
    put_text(in_run(run, "parts", "notes.txt"), "not ours");
    EMT_OK(emc_ledger_look(&seen, run, 4, 3));
    assert_int_equal(seen.n_parts, 1);
    assert_int_equal(seen.parts[0], 2);
    emc_ledger_state_free(&seen);
    /* Of a shard that another has published meanwhile; and half a one of nobody. */
    put_text(in_run(run, "parts", "000001.part"), "late");
    put_text(in_run(run, "parts", "000002.nobody.tmp"), "half");
    snprintf(mine, sizeof mine, "000003.%.150s.tmp", ledger->me.name);
    put_text(in_run(run, "parts", mine), "half");
    EMT_OK(emc_ledger_look(&seen, run, 4, 3));
    assert_int_equal(seen.n_parts, 1);
    emc_ledger_state_free(&seen);
    emc_ledger_close(open_ledger(run, 4, NULL));
    assert_int_equal(count_files(run, "parts", "000001.part"), 0);
    assert_int_equal(count_files(run, "parts", "000002.part"), 1);
    assert_int_equal(count_files(run, "parts", ".tmp"), 1); /* its writer lives */
    emc_ledger_close(ledger);
    ledger_part_name(name, 1234567);
    assert_string_equal(name, "1234567.part");
    assert_true(ledger_parse_part(&shard, name, 1234568) && shard == 1234567);
    assert_false(ledger_parse_part(&shard, name, 1234567));
    assert_false(ledger_parse_part(&shard, "0000001.part", 10));
    assert_false(ledger_parse_part(&shard, "000001.shard", 10));
}

/* No file grows past a size, as on a disk that is full. */
static void test_a_full_disk(void **state)
{
    (void)state;
    const char *run = make_run("full");
    struct rlimit before, small;
    emc_ledger *ledger = open_ledger(run, 8, NULL);
    size_t n;
    char *bytes = shard_bytes(6, &n);

    assert_int_equal(n, 500 + 6 * 900);
    for (int64_t s = 0; s < 7; s++)
        expect_claim(ledger, s);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    EMT_FAILS(EMC_ERR_IO, "000006.shard: File too large", emc_ledger_publish(ledger, 6, bytes, n));
    assert_int_equal(count_files(run, "done", ""), 0); /* neither the name nor half a file */
    publish(ledger, 0);                                /* what fits is not lost */
    small.rlim_cur = 8;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    EMT_FAILS(EMC_ERR_IO, "000001.1.json", emc_ledger_fail(ledger, 1, "reason", NULL));
    ledger->can_link = false; /* a claim is then a file that has to be written */
    int64_t shard;
    emc_claim outcome;
    EMT_FAILS(EMC_ERR_IO, "000007.1", emc_ledger_claim(ledger, &shard, &outcome));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(count_files(run, "failed", ""), 0);
    assert_int_equal(count_files(run, "claims", ""), 6); /* all are kept; of 7 nothing is left */
    EMT_OK(emc_ledger_publish(ledger, 6, bytes, n));
    for (int64_t s = 1; s < 6; s++)
        publish(ledger, s);
    expect_claim(ledger, 7);
    publish(ledger, 7);
    for (int64_t s = 0; s < 8; s++)
        expect_content(run, s);
    free(bytes);
    emc_ledger_close(ledger);
}

/* The heart beats without a byte to spare: others see the time of its file change. */
static void test_a_full_disk_is_no_death(void **state)
{
    (void)state;
    const char *run = make_run("beats");
    const emc_ledger_options options = {.heartbeat_s = 0.005};
    struct rlimit before, small;
    struct stat first, now;
    char beat[2048];

    signal(SIGXFSZ, SIG_IGN);
    emc_ledger *ledger = open_ledger(run, 1, &options);
    snprintf(beat, sizeof beat, "%s.json", in_run(run, "workers", ledger->me.name));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 8;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    usleep(20000); /* a beat that was under way has ended, or the next look is the first */
    assert_int_equal(stat(beat, &first), 0);
    now = first;
    for (int i = 0; i < 2000 && now.st_mtim.tv_nsec == first.st_mtim.tv_nsec; i++) {
        usleep(5000);
        assert_int_equal(stat(beat, &now), 0);
    }
    assert_int_not_equal(now.st_mtim.tv_nsec, first.st_mtim.tv_nsec);
    assert_int_equal(now.st_ino, first.st_ino); /* the same file */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    emc_ledger_close(ledger);
    assert_int_equal(count_files(run, "workers", ""), 0);
}

/* Somebody tidied the folder while it is worked in. */
static void test_a_worker_whose_files_are_gone(void **state)
{
    (void)state;
    const char *run = make_run("tidied");
    fake_clock clock = {0};
    const emc_ledger_options options = silent(&clock);
    emc_ledger *a = open_ledger(run, 2, &options), *b = open_ledger(run, 2, &options);
    char path[2048];

    expect_claim(a, 0);
    snprintf(path, sizeof path, "%s.id", in_run(run, "workers", a->me.name));
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s.json", in_run(run, "workers", a->me.name));
    assert_int_equal(unlink(path), 0);
    expect_claim(a, 1); /* written out: there is nothing to link */
    expect_outcome(b, EMC_CLAIM_WAIT);
    clock.now += 89;
    expect_outcome(b, EMC_CLAIM_WAIT);
    publish(a, 1);
    clock.now += 1;
    expect_claim(b, 0);
    publish(b, 0);
    emc_ledger_close(a);
    emc_ledger_close(b);
    expect_content(run, 0);
    expect_content(run, 1);
}

/* The answer to a link was lost on the network, and the second asking finds the name taken: by
 * ourselves. */
static void test_a_lost_answer(void **state)
{
    (void)state;
    const char *run = make_run("lost");
    emc_ledger *ledger = open_ledger(run, 1, NULL);
    const int done = ledger->folders[LEDGER_DONE];

    put_text(in_run(run, "done", "a"), "a");
    put_text(in_run(run, "done", "b"), "b");
    assert_int_equal(ledger_rename_new(done, "a", done, "c", true), 0);
    assert_int_equal(ledger_rename_new(done, "a", done, "c", true), 0);
    assert_int_equal(ledger_rename_new(done, "b", done, "c", true), EEXIST);
    assert_int_equal(ledger_rename_new(done, "b", done, "c", false), EEXIST);
    assert_int_equal(ledger_rename_new(done, "b", done, "d", false), 0);
    assert_int_equal(ledger_rename_new(done, "b", done, "e", true), ENOENT);
    emc_ledger_close(ledger);
}

/* The superuser may write anywhere, so a child becomes nobody. */
static void test_a_folder_that_cannot_be_written(void **state)
{
    (void)state;
    const char *run = make_run("readonly");
    int code;

    for (int with_folders = 0; with_folders < 2; with_folders++) {
        if (with_folders) {
            chmod(run, 0755);
            emc_ledger_close(open_ledger(run, 1, NULL));
        }
        assert_int_equal(chmod(emt_temp_dir(), 0755), 0);
        assert_int_equal(chmod(run, 0555), 0);
        chmod(in_run(run, "workers", "."), 0555);
        const pid_t pid = fork();
        if (pid == 0) {
            emc_ledger *ledger;
            if (geteuid() == 0 && setuid(65534) != 0)
                _exit(1);
            if (emc_ledger_open(&ledger, run, 1, NULL) != EMC_ERR_CREATE || ledger)
                _exit(2);
            _exit(strstr(emc_message(), "Permission denied") &&
                          strstr(emc_message(), "must be writable")
                      ? 0
                      : 3);
        }
        assert_int_equal(waitpid(pid, &code, 0), pid);
        assert_int_equal(code, 0);
    }
    chmod(in_run(run, "workers", "."), 0755);
    chmod(run, 0755);
}

static void test_a_folder_that_is_not_there(void **state)
{
    (void)state;
    const char *run = make_run("gone");
    emc_ledger *ledger;
    char command[2048];
    int64_t shard;
    emc_claim outcome;
    const emc_ledger_options bad = {.rank = 2, .world = 2};

    EMT_FAILS(EMC_ERR_CREATE, "absent: No such file",
              emc_ledger_open(&ledger, emt_temp("absent"), 1, NULL));
    assert_null(ledger);
    EMT_FAILS(EMC_ERR_CREATE, "Not a directory",
              emc_ledger_open(&ledger, emt_write("file", "x", 1), 1, NULL));
    EMT_FAILS(EMC_ERR_ARG, "rank 2 of 2", emc_ledger_open(&ledger, run, 1, &bad));
    EMT_FAILS(EMC_ERR_ARG, "-1 shards", emc_ledger_open(&ledger, run, -1, NULL));
    put_text(in_run(run, ".", "claims"), "a file where a folder should be");
    EMT_FAILS(EMC_ERR_CREATE, "claims: Not a directory", emc_ledger_open(&ledger, run, 1, NULL));
    unlink(in_run(run, ".", "claims"));

    ledger = open_ledger(run, 3, NULL);
    expect_claim(ledger, 0);
    snprintf(command, sizeof command, "rm -r '%s'", run);
    assert_int_equal(system(command), 0);
    EMT_FAILS(EMC_ERR_IO, "000000.shard: No such file", emc_ledger_publish(ledger, 0, "x", 1));
    EMT_FAILS(EMC_ERR_IO, "claims", emc_ledger_claim(ledger, &shard, &outcome));
    EMT_FAILS(EMC_ERR_IO, "000000.1.json", emc_ledger_fail(ledger, 0, "x", NULL));
    emc_ledger_close(ledger);
}

static const char *worker_file(const char *run, const emc_ledger *ledger, const char *ending)
{
    char name[LEDGER_NAME];

    snprintf(name, sizeof name, "%.140s.%s", ledger->me.name, ending);
    return in_run(run, "workers", name);
}

/* Somebody else's half files stay while their writer lives. */
static void test_temporary_files(void **state)
{
    (void)state;
    const char *run = make_run("sweep");
    emc_ledger *a = open_ledger(run, 3, NULL);
    char mine[LEDGER_NAME], done[LEDGER_NAME];

    expect_claim(a, 0);
    publish(a, 0);
    snprintf(mine, sizeof mine, "000001.%.150s.tmp", a->me.name);
    snprintf(done, sizeof done, "000000.%.150s.tmp", a->me.name);
    put_text(in_run(run, "done", mine), "half");
    put_text(in_run(run, "done", done), "half"); /* nobody needs it any more */
    put_text(in_run(run, "done", "000002.nobody.tmp"), "half");
    put_text(in_run(run, "done", "notes.txt"), "not ours");
    emc_ledger_close(open_ledger(run, 3, NULL));
    assert_int_equal(count_files(run, "done", ".tmp"), 1);
    assert_int_equal(count_files(run, "done", mine), 1);
    assert_int_equal(count_files(run, "done", "notes.txt"), 1);
    /* Killed while it wrote who it is: an hour ago, and just now; and what is nobody's. */
    const struct timespec old[2] = {{1, 0}, {1, 0}};
    static const char *const names[] = {"h-1-0123456789abcdef.id", "notes.json", "h.id",
                                        "h-2-0123456789abcdef.id"};
    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        put_text(in_run(run, "workers", names[i]), "");
        if (i < 3)
            assert_int_equal(utimensat(AT_FDCWD, in_run(run, "workers", names[i]), old, 0), 0);
    }
    /* One file of three, of a worker that is dead. */
    char gone[3000], dead[LEDGER_NAME], *text = emt_read(worker_file(run, a, "id"), NULL);
    snprintf(dead, sizeof dead, "%.140s.tmp", a->me.name);
    char *digit = dead + strlen(dead) - 5; /* another number, a hexadecimal one too */
    *digit = *digit == '0' ? '1' : '0';
    put_text(in_run(run, "workers", dead), text);
    free(text);
    snprintf(gone, sizeof gone, "\"%.*s\"", (int)strlen(dead) - 4, dead);
    edit_claim(in_run(run, "workers", dead), "worker", gone);
    edit_claim(in_run(run, "workers", dead), "start", "12");
    emc_ledger_close(open_ledger(run, 3, NULL));
    for (size_t i = 0; i < EMC_COUNT(names); i++)
        assert_int_equal(count_files(run, "workers", names[i]), i > 0);
    assert_int_equal(count_files(run, "workers", ".tmp"), 0);
    assert_int_equal(count_files(run, "workers", ".id"), 3);
    /* Its own from an earlier try is written over. */
    expect_claim(a, 1);
    publish(a, 1);
    assert_int_equal(count_files(run, "done", ".tmp"), 0);
    expect_content(run, 1);
    emc_ledger_close(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_exclusion),
        cmocka_unit_test(test_clocks),
        cmocka_unit_test(test_without_links),
        cmocka_unit_test(test_foreign_files),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_look),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_a_full_disk),
        cmocka_unit_test(test_a_full_disk_is_no_death),
        cmocka_unit_test(test_a_worker_whose_files_are_gone),
        cmocka_unit_test(test_a_lost_answer),
        cmocka_unit_test(test_a_folder_that_cannot_be_written),
        cmocka_unit_test(test_a_folder_that_is_not_there),
        cmocka_unit_test(test_temporary_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
