#pragma once
/* The parts of `emcell bench`: what is asked, what was measured, and how it is printed. */

#include <signal.h>

#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

#define BENCH_MAX_RUNS       32
#define BENCH_MAX_OPERATIONS 32
#define BENCH_UNKNOWN        (-1.0)

/* One line of the table. */
typedef struct {
    int prefix, suffix;         /* tokens that all cells share, tokens of one cell */
    int labels;                 /* choices */
    int max_num_batched_tokens; /* 0: the device's default */
} bench_shape;

typedef struct {
    int cells; /* of a repetition */
    int warm_up;
    int repetitions; /* 1 to BENCH_MAX_RUNS */
    int label_tokens;
    emc_ask ask;                   /* of the choices */
    const char *answer;            /* its name */
    double gpu_memory_utilization; /* 0: the engine's default */
    uint64_t seed;
    bool trace;
    double process_start;                /* on the clock of bench_now */
    const volatile sig_atomic_t *cancel; /* not 0: stop soon */
} bench_settings;

typedef struct {
    bench_shape shape;
    int n_cells;          /* of a repetition */
    double first_label_s; /* from the start of the process to this shape's first answer */
    int n_runs;
    double seconds[BENCH_MAX_RUNS]; /* rising */
    double spread;                  /* slowest less fastest, as a share of the median */
    double device_s, wall_s;        /* of all repetitions; device_s 0: the engine did not say */
    int64_t n_rows, n_steps;        /* of a repetition, the mean */
    double choice_rows;             /* rows for labels beside the prompt's, a cell */
    double flop_per_cell;
    double joules_per_cell; /* BENCH_UNKNOWN where nobody counts */
    double used_bytes;      /* of the device's memory, by everybody; BENCH_UNKNOWN */
    emc_memory_plan plan;
    int n_operations; /* of the traced pass */
    emc_trace_entry operations[BENCH_MAX_OPERATIONS];
} bench_result;

typedef enum { BENCH_MD, BENCH_CSV, BENCH_JSON } bench_format;

typedef struct {
    const emc_model_info *model;
    const char *name; /* "random 8b", or the folder */
    emc_ceilings ceilings;
    const bench_settings *settings;
    int n_results;
    const bench_result *results;
} bench_report;

/* Seconds on the clock that goes on while the machine sleeps; and when this process began, by it.
 */
double bench_now(void);
double bench_process_start(void);

/*
 * Runs one shape on a model: an engine of its own, the prefix, cells to warm up, then the
 * repetitions, then a traced pass. EMC_ERR_CANCELLED: *settings->cancel was set.
 */
emc_status bench_run(bench_result *out, emc_model *model, const bench_shape *shape,
                     const bench_settings *settings);

/*
 * Floating-point operations that one cell needs at the least, two for each multiply-add: products
 * with the layers' weights for its own rows and for n_choice_rows inner tokens of labels, of the
 * last layer only K and V but for rows whose logits are read; 4 * head_dim for each pair of a query
 * head and a key that it sees; the vocabulary's logits of every row that is read. The shared
 * prefix, norms, rotations and an adapter beside the weights are not counted. Labels are of
 * label_tokens tokens and share none, so their rows come by whole labels.
 */
double bench_flop(const emc_model_info *model, const bench_shape *shape, int label_tokens,
                  double n_choice_rows);

emc_status bench_print(const bench_report *report, bench_format format);

#ifdef __cplusplus
}
#endif
