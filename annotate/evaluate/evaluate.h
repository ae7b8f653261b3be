#pragma once
/*
 * A benchmark, some systems, a folder of results: the work behind `emcell evaluate`.
 *
 *   FOLDER/predictions/SYSTEM[.KIND.LEVEL].jsonl   as they come; a broken evaluation goes on there
 *   FOLDER/evaluation.json, leaderboard.csv        results.h
 *   FOLDER/report.html                             annotate/report/report.h
 */

#include "annotate/evaluate/system.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const emc_benchmark *benchmark;
    emc_system *const *systems;
    int n_systems;
    const char *split; /* that is asked; NULL: "test", or all items where none has a split */
    const char *folder;
    bool resume, force;   /* what stands there of an earlier evaluation is used, or removed */
    int limit;            /* the first so many items of the split; 0: all */
    int n_listed;         /* genes that a prompt lists at most: the profile's */
    int n_wordings;       /* of the profile, its own included; for EMC_SWEEP_WORDING */
    unsigned sweeps;      /* 1 << emc_sweep */
    const char *held_out; /* a label for the open-set pass; NULL: none */
    uint64_t seed;
    int n_bootstrap;
    const char *version;
    const char *const *command; /* argv, without secrets */
    int n_command;
    void (*on_log)(void *context, const char *line);
    void (*on_progress)(void *context, const char *system, int n_done, int n_total);
    void *context;
    const volatile sig_atomic_t *cancel;
} emc_evaluate_options;

typedef enum {
    EMC_SWEEP_N_GENES,         /* 10, 25, 50, 100, 200, 500 of the item's genes */
    EMC_SWEEP_DROPOUT,         /* 10, 25, 50 % of the genes left out at random */
    EMC_SWEEP_SHUFFLE,         /* the same genes in random order */
    EMC_SWEEP_CANDIDATE_ORDER, /* the same candidates in random order, three times */
    EMC_SWEEP_WORDING          /* each paraphrase of the profile */
} emc_sweep;
#define EMC_N_SWEEPS 5
const char *emc_sweep_name(emc_sweep sweep);

/*
 * Asks, scores, writes. Predictions of an earlier, broken evaluation of the same benchmark, system
 * settings and sweep are not asked again, but for failed ones. EMC_ERR_CANCELLED: interrupted;
 * what was answered is kept. EMC_ERR_CONFIG: the folder is another evaluation's; nothing to ask.
 */
emc_status emc_evaluate(const emc_evaluate_options *options);

#ifdef __cplusplus
}
#endif
