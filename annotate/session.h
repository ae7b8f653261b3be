#pragma once
/* Everything that is open while cells are annotated, and what of it results depend on. */

#include "annotate/input.h"
#include "annotate/labels.h"
#include "annotate/pipeline.h"
#include "annotate/plan.h"
#include "annotate/profile.h"
#include "annotate/prompt.h"
#include "annotate/run.h"
#include "base/status.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* In the order of opening. Zero-initialise with the options. */
typedef struct {
    const emc_annotate_options *options;
    emc_profile *profile;
    const emc_profile_info *info;
    emc_labels *labels;
    emc_tokenizer *tokenizer;
    emc_input *input;
    emc_prompter *prompter;
    emc_answer_mode answer;
    int max_tokens;
    emc_scoring_rule scoring;
    double probability_width;
    emc_thresholds thresholds;

    emc_model *model; /* NULL until emc_session_open_model */
    emc_engine *engine;
    int max_prompt, prefix_tokens;
    double seconds_prefix;
    double *log_priors; /* [n_labels] of a cell without genes; NULL unless they are divided by */
} emc_session;

/* All but the model: cheap, and tells most mistakes. */
emc_status emc_session_open(emc_session *session);

/* chosen: what a run's plan has of emc_model_chosen; NULL: a new run. */
emc_status emc_session_open_model(emc_session *session, const char *chosen);
void emc_session_close_model(emc_session *session);

/* The same without weights and engine, for estimates; nothing is written. */
emc_status emc_session_open_shape(emc_session *session);

/* What the engine is told: its options; the prefix, none where *n is 0. Borrowed; with the model
 * open. */
void emc_session_engine_options(const emc_session *session, emc_engine_options *out);
void emc_session_prefix(const emc_session *session, const int32_t **ids, int *n);

/* A full list of labels is what the engine chooses among. */
bool emc_session_has_choices(const emc_session *session);

/* What the engine is asked of each cell. */
emc_ask emc_session_ask(const emc_session *session);

/* How well the probability of the best label is to be known for what the plan keeps; 0: every
 * label's. */
double emc_session_width(const emc_session *session, const emc_plan *plan);

/* Tells the open engine how labels are scored and what is to be known, so that the plan's columns
 * can be filled. Again whenever the plan has changed; only while nothing is in flight. */
emc_status emc_session_score(emc_session *session, const emc_plan *plan);
void emc_session_close(emc_session *session);

/* Pins and notes that are known without the model; with it. */
emc_status emc_session_pin(const emc_session *session, emc_plan *plan);
emc_status emc_session_pin_model(const emc_session *session, emc_plan *plan);

/* What the pipeline needs of it; the callbacks are the caller's to set. */
emc_pipeline emc_session_pipeline(const emc_session *session);

/* A line for people. */
void emc_session_log(const emc_session *session, const char *line);

#ifdef __cplusplus
}
#endif
