/* Makes a run folder in a state that `emcell status` is then asked about.
 * usage: make_run DIR fresh|crashed|running|finished|joining. "running" works until its input ends;
 * "joining" is one more worker of a run that is there, and does nothing until then. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/ledger.h"
#include "annotate/plan.h"
#include "annotate/shard.h"

#define N_CELLS     950
#define SHARD_CELLS 100

#define NEED(call)                                                                                 \
    do {                                                                                           \
        if ((call) != EMC_OK) {                                                                    \
            fprintf(stderr, "%s: %s\n", #call, emc_message());                                     \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

#define REASON "no \"luck\"\033[31m\nat all"

static int keep_parts(emc_ledger *ledger, const emc_plan *plan)
{
    emc_shard_writer *writer;
    emc_shard_head head;
    const void *bytes;
    size_t n_bytes;

    emc_plan_shard(plan, 7, &head);
    NEED(emc_shard_writer_open(&writer, &head));
    for (int i = 0; i < 12; i++) {
        emc_result_row row = {.row = 700 + i, .cell_id = "c"};
        emc_verdict_not_asked(&row.verdict, EMC_CELL_EMPTY, "no_genes");
        NEED(emc_shard_writer_add(writer, &row));
    }
    NEED(emc_shard_writer_cut(writer));
    NEED(emc_shard_writer_bytes(writer, &bytes, &n_bytes));
    NEED(emc_ledger_keep_part(ledger, 7, bytes, n_bytes));
    emc_shard_writer_close(writer);
    NEED(emc_ledger_keep_part(ledger, 8, "x", 1));
    return 0;
}

/* Of ten shards 2 fails three times and is parked, 3 fails once; 0, 1, 4 and the last, which is
 * half a shard, are done; 5 and 6 stay claimed; 3, 7 and 8 are open. 7 has a part of 12 cells, and
 * 8 one that is damaged. */
static int work(emc_ledger *ledger, const emc_plan *plan)
{
    static const int64_t done[] = {0, 1, 4, 9};
    emc_claim outcome;
    int64_t shard;

    for (int i = 0; i < 10; i++)
        NEED(emc_ledger_claim(ledger, &shard, &outcome));
    for (int i = 0; i < 3; i++) {
        NEED(emc_ledger_fail(ledger, 2, i == 2 ? REASON : "first", NULL));
        if (i < 2)
            NEED(emc_ledger_claim(ledger, &shard, &outcome));
    }
    NEED(emc_ledger_fail(ledger, 3, "once", NULL));
    for (size_t i = 0; i < EMC_COUNT(done); i++)
        NEED(emc_ledger_publish(ledger, done[i], "x", 1));
    if (keep_parts(ledger, plan) != 0)
        return 1;
    NEED(emc_ledger_release(ledger, 7));
    NEED(emc_ledger_release(ledger, 8));
    return 0;
}

static int finish(emc_ledger *ledger)
{
    emc_claim outcome = EMC_CLAIM_GOT;
    int64_t shard;

    for (;;) {
        NEED(emc_ledger_claim(ledger, &shard, &outcome));
        if (outcome != EMC_CLAIM_GOT)
            return 0;
        NEED(emc_ledger_publish(ledger, shard, "x", 1));
    }
}

/* After some heartbeats, until the input ends. */
static void wait_for_end(void)
{
    usleep(200000);
    puts("ready");
    fflush(stdout);
    getchar();
}

static int be_there(const char *dir, const emc_ledger_options *options)
{
    emc_ledger *ledger;

    NEED(emc_ledger_open(&ledger, dir, 10, options));
    emc_ledger_report(ledger, 7, 10.0);
    wait_for_end();
    emc_ledger_close(ledger);
    return 0;
}

int main(int argc, char **argv)
{
    const emc_ledger_options options = {.heartbeat_s = 0.02};
    emc_ledger *ledger;
    emc_plan plan = {0};
    bool first;

    if (argc != 3)
        return 2;
    plan.n_rows = plan.n_cells = N_CELLS;
    plan.shard_cells = SHARD_CELLS;
    plan.max_tries = 3;
    if (strcmp(argv[2], "joining") == 0)
        return be_there(argv[1], &options);
    if (mkdir(argv[1], 0755) != 0)
        return 2;
    NEED(emc_plan_write(&plan, argv[1], &first));
    NEED(emc_plan_read(&plan, argv[1]));
    if (strcmp(argv[2], "fresh") == 0)
        return 0;
    NEED(emc_ledger_open(&ledger, argv[1], 10, &options));
    emc_ledger_report(ledger, 350, 25.0);
    if ((strcmp(argv[2], "finished") == 0 ? finish(ledger) : work(ledger, &plan)) != 0)
        return 1;
    if (strcmp(argv[2], "crashed") == 0)
        _exit(0);
    if (strcmp(argv[2], "running") == 0)
        wait_for_end();
    emc_ledger_close(ledger);
    emc_plan_free(&plan);
    return 0;
}
