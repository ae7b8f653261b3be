#pragma once
/*
 * What did a system say about an item, and what was made of it, stage by stage? One line of
 * predictions/SYSTEM.jsonl each, so that a score can be disputed and a broken run goes on.
 */

#include <stdint.h>

#include "annotate/evaluate/benchmark.h"
#include "annotate/labels.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Every item ends in exactly one of these. All but LABEL and UNKNOWN count as wrong; UNKNOWN is
 * right where the gold label is none of the set. */
typedef enum {
    EMC_OUTCOME_LABEL,    /* "label": one label of the set, and one of the candidates */
    EMC_OUTCOME_UNKNOWN,  /* "unknown": the system says that it is none, or does not decide */
    EMC_OUTCOME_INVALID,  /* "invalid": the words mean no label, or several */
    EMC_OUTCOME_OFF_LIST, /* "off_list": a label of the set that was not offered */
    EMC_OUTCOME_EMPTY,    /* "empty": nothing, or nothing but thoughts */
    EMC_OUTCOME_REFUSED,  /* "refused": the model declines to answer */
    EMC_OUTCOME_FAILED    /* "failed": no answer came; asked again when the evaluation goes on */
} emc_outcome;
#define EMC_N_OUTCOMES 7
const char *emc_outcome_name(emc_outcome outcome);

/* Strings and probs belong to the set of predictions (emc_predictions). */
typedef struct {
    emc_outcome outcome;
    int label; /* LABEL, OFF_LIST: which; else -1 */
    /* The ladder, for systems that answer in words; NULL for those that do not. */
    const char *raw;       /* as it came */
    const char *stripped;  /* without thoughts and wrappers */
    const char *extracted; /* the part that was taken for the answer */
    const char *step;      /* which rung found it: "whole", "cue", "json", "first_line", "inside" */
    emc_match_kind match;
    bool format_ok; /* the whole stripped text is the answer in the form that was asked for */
    bool truncated; /* it ended for its length */
    bool several;   /* it names more than one label */
    bool is_like;
    /* For systems that have numbers. */
    const double *probs; /* [n_labels], over the candidates, 0 elsewhere; NULL */
    double score;        /* of the label: its probability; NaN: none */
    /* What it took. 0: not known. */
    int n_prompt_tokens, n_answer_tokens, n_tries;
    double seconds;
    const char *error; /* FAILED: one line; else NULL */
} emc_prediction;

typedef struct emc_predictions emc_predictions;

/* An empty set for n_items; each begins as not there. */
emc_status emc_predictions_open(emc_predictions **out, int n_items, int n_labels);
void emc_predictions_close(emc_predictions *predictions); /* NULL is fine */
/* NULL: not there yet. */
const emc_prediction *emc_predictions_get(const emc_predictions *predictions, int item);
int emc_predictions_count(const emc_predictions *predictions);
/* Copies strings and probs; replaces what was there. Any thread, one at a time per set. */
emc_status emc_predictions_put(emc_predictions *predictions, int item,
                               const emc_prediction *prediction);

/* One line of JSON without its line end, appended; and back. `name` and line are for messages.
 * Numbers keep all their digits. EMC_ERR_FORMAT: not such a line, an id that is no item,
 * labels that are not the benchmark's. */
emc_status emc_prediction_write(emc_text *out, const emc_benchmark *benchmark, int item,
                                const emc_prediction *prediction);
emc_status emc_predictions_read(emc_predictions *predictions, const emc_benchmark *benchmark,
                                const char *path);

/*
 * The answer ladder of a text in words: think block and wrappers are stripped; the whole text, a
 * JSON member ("answer", "label", "cell_type", "prediction"), the text after the last cue, the
 * first line, and last the only label named inside are tried, in that order. Fills outcome, label
 * and the ladder's members of *out (strings borrowed from `work`, which is reused from call to
 * call). candidates as in emc_bench_item. ended: false when the text stopped for its length.
 * Refusals are told by a short list of phrases, only where no label was found.
 */
emc_status emc_prediction_from_text(emc_prediction *out, emc_text *work, const emc_labels *labels,
                                    const int *candidates, int n_candidates, const char *text,
                                    size_t n, bool ended);

/* From probabilities over the candidates: the likeliest, ties to the lower label. unknown_below as
 * in emc_thresholds. */
void emc_prediction_from_probs(emc_prediction *out, const double *probs, int n_labels,
                               double unknown_below);

#ifdef __cplusplus
}
#endif
