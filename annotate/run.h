#pragma once
/*
 * From a file of cells to a file of labels: the work behind `emcell annotate`.
 *
 * Reading and prompting, the model, and gathering run on a thread each, with a fixed number of
 * cells in flight, so memory does not grow with the file. Finished shards go to the run's folder,
 * which several processes may share and a later one may go on with; when all are there, the results
 * are written from them. Rows come out in the order of the input, and their bytes depend on the
 * cell, the model, the profile and the options alone: not on its neighbours, the order, the number
 * of threads, the size of a step or of a shard, or how often the run was interrupted.
 */

#include <signal.h>
#include <stdint.h>

#include "annotate/answer.h"
#include "annotate/ledger.h"
#include "annotate/profile.h"
#include "annotate/results.h"
#include "base/status.h"
#include "base/text.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How genes and cells are chosen from the file. Zero-initialised: what the profile says, all cells.
 * Strings are borrowed; see cells/reader.h and cells/select.h for what they mean. */
typedef struct {
    const char *gene_symbols; /* column of var with the symbols; NULL finds it */
    const char *gene_table;   /* a file of ids and symbols; NULL: names as the file has them */
    const char *layer;        /* NULL, "auto": the values decide; "X"; "raw"; a layer's name */
    const char *genome;       /* of a 10x file with several; NULL: there must be one */
    int transpose;            /* text tables: 0 finds out, 1 cells in rows, 2 genes in rows */
    int duplicate_genes;      /* an emc_duplicates of cells/reader.h: 0 auto, 1 refuse, 2 add up */
    bool keep_gene_names;     /* previous symbols are not renamed to current ones */
    const char *medians_path; /* NULL: the profile's */
    int n_genes;              /* 0: the profile's */
    int min_genes;            /* 0: the profile's */
    double min_gene_match;    /* see emc_gene_match; < 0: EMC_MIN_GENE_MATCH; 0 accepts anything */

    /* Which cells, in this order: those that pass every filter, of these the listed ones, of these
     * a sample, of these the first. */
    const char *const *obs_filters; /* "column==value", "column!=value" */
    int n_obs_filters;
    const char *cells_path; /* a file of cell ids */
    int64_t sample;         /* so many, drawn without replacement; 0: no drawing */
    uint64_t seed;          /* of the drawing */
    int64_t limit;          /* the first so many; 0: all */

    bool allow_external;     /* external links of HDF5 are followed */
    const char *scratch_dir; /* for a matrix that must be turned on disk; NULL: /tmp */
    int n_threads;           /* that read and rank; 0: one a core this process may use */

    /* Lines for people while the input is opened: the file, the matrix and why it, names that are
     * known, cells chosen. May be NULL. */
    void (*on_log)(void *context, const char *line);
    void *log_context;
} emc_input_options;

#define EMC_MIN_GENE_MATCH 0.5

typedef enum {
    EMC_ORDER_INPUT,   /* rows of the results come in the order of the input, at the end */
    EMC_ORDER_FINISHED /* in that of finished shards, as soon as each is: once every row of the run,
                          those of shards that were finished before, or by others, too. For tables
                          on standard output or a pipe; the set of rows is the same */
} emc_order;

typedef enum {
    EMC_STAGE_LOAD,  /* opening input and model */
    EMC_STAGE_CELLS, /* annotating */
    EMC_STAGE_WRITE  /* committing the results */
} emc_stage;

/* Which part of the way from the file to the result sets its speed. */
typedef enum {
    EMC_LIMIT_UNKNOWN, /* nothing was answered yet */
    EMC_LIMIT_READING, /* the file, and the ranking of its values */
    EMC_LIMIT_PROMPTS, /* prompts and their ids */
    EMC_LIMIT_ENGINE,  /* the model */
    EMC_LIMIT_WRITING  /* shards, and rows that are written as they finish */
} emc_limit;

/* "reading", "prompts", "engine", "writing"; "" where it is not known. Static. */
const char *emc_limit_name(emc_limit limit);

typedef struct {
    emc_stage stage;
    int64_t n_done, n_total; /* cells */
    double cells_per_s;      /* over the last seconds; 0 while not known */
    double seconds_left;     /* < 0 while not known */

    /* EMC_STAGE_CELLS, of this process. */
    double cells_per_s_mean; /* since its first cell was read; 0 while not known */
    double seconds_to_first; /* from the call to the first cell that was finished; < 0: none is */
    int n_ahead;             /* cells that are read and wait for the engine */
    int n_engine;            /* in the engine */
    int n_finished;          /* answered, waiting for an earlier cell or for being kept */
    double engine_waited;    /* the share of the last seconds in which the engine had no cell */
    emc_limit limit;         /* over the last seconds */
} emc_progress;

/* Zero-initialise, then emc_annotate_defaults. Strings are borrowed for the call. */
typedef struct {
    const char *input_path;
    emc_input_options input;

    /* What is written, and where. Its own callback and cancel are not looked at. Probabilities are
     * kept in the run folder when they are asked for here. */
    emc_results_options results;
    emc_order order;

    const char *run_dir; /* NULL: results.output_path with ".run" after it, or a temporary folder
                            where that is "-", a device or a pipe */
    const char *temporary_dir; /* where that is made; NULL: /tmp */
    bool resume;               /* start, join or go on with a run */
    bool force;                /* remove the run that is there */
    int shard_cells;           /* 0: about 20 s of work, measured after the model has opened */
    emc_ledger_options ledger; /* max_tries of a shard, and who shares the run */
    const char *version;       /* of emcell: pinned; NULL: "unknown" */
    const char *command;       /* as it was started, for the record; may be NULL */

    const char *profile;      /* built-in name or path; NULL: "embryo" */
    const char *labels_path;  /* NULL: the profile's labels */
    int answer;               /* an emc_answer_mode; -1: the profile's */
    int scoring;              /* an emc_scoring_rule; -1: the profile's */
    double probability_width; /* exact; < 0: the profile's. 0 where probabilities of all labels are
                                 kept and where a margin decides */
    bool invalid_mass;        /* exact, full: the column of that name, too */
    int max_tokens;           /* generate; 0: the profile's */
    double unknown_below;     /* < 0: the profile's */
    double margin_below;      /* < 0: the profile's */

    emc_model_options model;
    bool keep_going;               /* when a replica of the model fails, the others go on */
    int max_num_batched_tokens;    /* 0: the engine's default */
    double gpu_memory_utilization; /* 0: the engine's default */
    bool no_prefix_caching;        /* the common prefix is computed again for every cell; same bytes
                                      are not promised between on and off */

    /* Called on the thread of the call, at most some times a second, and at the end of a stage. */
    void (*on_progress)(void *context, const emc_progress *progress);
    /* One line for people, without a line end, on the thread of the call. */
    void (*on_log)(void *context, const char *line);
    /* Called once, when the engine is open; what it gets is borrowed for the call. */
    void (*on_engine)(void *context, const emc_model_info *model, const emc_memory_plan *plan);
    void *context;
    const volatile sig_atomic_t *cancel; /* not 0: stop soon; may be NULL */
    double finish_seconds; /* then, the longest time for the cells that the model works on; 0: 20 */
} emc_annotate_options;

void emc_annotate_defaults(emc_annotate_options *options);

/* What was done; strings are owned by the summary. */
typedef struct {
    int64_t n_cells;
    int64_t n_status[EMC_N_CELL_STATUSES];
    int n_labels;
    const char **labels;     /* [n_labels], in label order */
    int64_t *n_label;        /* [n_labels], cells with status ok and this label */
    char *input_description; /* format, shape, matrix */
    char *model_description; /* sizes, dtype, device; NULL when no model was needed, as the next */
    char *device_name;       /* what --device would take */
    char *chosen;            /* emc_model_chosen at the end: with the device, what bits depend on */
    char *profile_name;
    char *output_path;
    double gene_match;
    int n_genes_renamed;
    double mean_score;                          /* over the cells with a score; NaN without */
    char *run_dir;                              /* NULL when it was temporary */
    int64_t n_shards, n_shards_done, n_missing; /* shards; whole ones; cells of the others, which
                                                   have no results */
    bool written; /* by this process; false: another one of the run wrote the results */

    /* Of this process alone. */
    int64_t n_answered;
    double seconds_load, seconds_run, seconds_prefix;
    int64_t n_asked;         /* the model; of those answered */
    int64_t n_prompt_tokens; /* of the cells asked, the common prefix counted for each */
    int64_t n_answer_rows;   /* rows through the model for their answers, beside the prompts'; none
                                for generated ones */
    int prefix_tokens;
    double cells_per_s;      /* asked cells over seconds_run */
    double seconds_to_first; /* from the call to the first cell that was finished; < 0: none was */
    double engine_waited;    /* the share of the engine's time in which it had no cell, though some
                                were still to be read: what the host made the device wait */
    double device_busy;      /* the share of the engine's time that steps took on the device; 0:
                                nobody measured it */
    emc_limit limit;         /* over all of it */
    emc_engine_stats engine;
} emc_annotate_summary;

void emc_annotate_summary_close(emc_annotate_summary *summary); /* NULL is fine */

/*
 * Does the whole work. *out is NULL on failure and nothing new stands under the output names.
 *
 * Result columns, in this order (empty, or null in JSONL, where there is nothing to say):
 *   cell_id
 *   label       the answer; "unknown" with status unknown, else empty unless ok
 *   score       probability of the best label over the label set: the middle of its bounds
 *   score_low score_high   bounds on it; equal where every label's is known
 *   margin      score minus that of the second label; where every label's is known
 *   entropy     of the distribution over labels, natural logarithm; likewise
 *   status      ok, unknown, invalid, too_few_genes, empty, failed
 *   reason      why it is not ok: low_score, low_margin, no_label, ambiguous_answer, cut_off,
 *               empty_answer, few_genes, no_genes, bad_value, prompt_too_long, not_a_number
 *   cl_id       Cell Ontology id of the label
 *   label_1 prob_1 label_2 prob_2 label_3 prob_3   the likeliest labels, whatever the status; the
 *               first alone where not every label's probability is known
 *   invalid_mass   what the model would say beside the label set (where asked for)
 *   n_genes     genes in the prompt
 *   n_tokens    tokens in the prompt
 *   raw_text    what the model wrote (generate only)
 *
 * Errors: those of the profile, labels, reader, model and writer, each one line that names the
 * file. EMC_ERR_CONFIG: too few known genes (see emc_gene_match), labels without a profile's or a
 * file's, two labels of the same tokens, a prompt whose fixed part is longer than the context, a
 * run folder that was begun with other settings (each is named).
 * EMC_ERR_USAGE: an output that would replace what is read, or the other output; results that
 * cannot be written as they finish; an option that the way of answering cannot follow.
 * EMC_ERR_CREATE: a run is there and neither resume nor force is set, or its folder cannot be made.
 * EMC_ERR_CANCELLED: *cancel was set. EMC_ERR_LOST: the device failed while cells were annotated.
 * After these two and EMC_ERR_IO, finished shards are in the run folder and the line says how to go
 * on. A cell that cannot be asked costs a status, a part of the file that cannot be read costs its
 * shard, never the run.
 */
emc_status emc_annotate(emc_annotate_summary **out, const emc_annotate_options *options);

/* `emcell prompt`. Zero-initialised apart from the paths. */
typedef struct {
    const char *input_path;
    emc_input_options input;
    const char *profile; /* as above */
    const char *labels_path;
    const char *tokenizer_dir;      /* a folder with tokenizer files; NULL: text without ids */
    const char *cell_id;            /* this cell alone; NULL: all */
    const char *const *obs_columns; /* copied into "obs" */
    int n_obs_columns;
    void (*on_log)(void *context, const char *line);
    void *context;
    const volatile sig_atomic_t *cancel;
} emc_prompts_options;

typedef struct {
    const char *cell_id;
    const char *text;
    size_t n_text;
    const int32_t *ids; /* NULL without a tokenizer */
    int n_ids;
    const char *const *genes;
    int n_genes;
    emc_cell_status status; /* ok, empty, too_few_genes or failed; text is rendered for the first
                               and third */
    const char *reason;
    const char *const *obs; /* [n_obs_columns], NULL where missing */
} emc_cell_prompt;

/* Calls `each` for every cell in file order; what it gets is borrowed for that call, and a failure
 * it returns ends the work. EMC_ERR_NOT_FOUND: no cell of that id. */
emc_status emc_prompts(const emc_prompts_options *options,
                       emc_status (*each)(void *context, const emc_cell_prompt *prompt),
                       void *context);

/* The prompt as one JSON object without a line end, appended to *out: {"cell_id", "prompt", "ids",
 * "n_tokens", "genes", "n_genes", "status", "obs"}; ids and n_tokens with a tokenizer only, obs
 * with columns only. */
emc_status emc_cell_prompt_json(emc_text *out, const emc_cell_prompt *prompt,
                                const emc_prompts_options *options);

#ifdef __cplusplus
}
#endif
