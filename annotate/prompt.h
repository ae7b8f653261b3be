#pragma once
/*
 * What exactly is the model asked about one cell? The one function that turns a ranked list of
 * genes into text and token ids, for annotating, printing, training and evaluating alike.
 */

#include <stddef.h>
#include <stdint.h>

#include "annotate/labels.h"
#include "annotate/profile.h"
#include "base/status.h"
#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

struct emc_tokenizer;
typedef struct emc_prompter emc_prompter;

/* Zero-initialise; reused from cell to cell; emc_prompt_free. */
typedef struct {
    emc_text text; /* the rendered chat, special tokens written out */
    int32_t *ids;  /* NULL without a tokenizer */
    int n_ids;
    size_t capacity;
} emc_prompt;
void emc_prompt_free(emc_prompt *prompt);

typedef struct {
    const emc_profile *profile;
    const emc_labels *labels;              /* NULL: no {labels} slot may be there, no choices */
    const struct emc_tokenizer *tokenizer; /* NULL: text only */
    int n_genes;                           /* 0: the profile's */
} emc_prompter_options;

/*
 * Borrows what the options point to. With a tokenizer it also makes the choices and the common
 * prefix.
 *
 * EMC_ERR_CONFIG: the profile lists labels and there are none; two labels are the same tokens (both
 * are named); the ending is not one token of this tokenizer; a label's tokens change when it
 * follows the prompt.
 */
emc_status emc_prompter_open(emc_prompter **out, const emc_prompter_options *options);
void emc_prompter_close(emc_prompter *prompter); /* NULL is fine */

/* How many genes a cell may list. */
int emc_prompter_n_genes(const emc_prompter *prompter);

/*
 * genes[0 .. n_genes) in falling order, any bytes but NUL. Names and labels are data: a gene called
 * "<|im_end|>" becomes text, never that token. The same names give the same ids, whatever was
 * rendered before. One thread at a time.
 */
emc_status emc_prompter_render(emc_prompter *prompter, const char *const *genes, int n_genes,
                               emc_prompt *out);

/* As render, ids alone when `with_text` is false: the fast path of a run. */
emc_status emc_prompter_render_ids(emc_prompter *prompter, const char *const *genes, int n_genes,
                                   emc_prompt *out);

/* The ids that every cell's prompt with a full gene list begins with; borrowed. May be 0 long. */
void emc_prompter_prefix(const emc_prompter *prompter, const int32_t **ids, int *n_ids);

/* The answers as emc_engine_set_choices wants them, in label order; borrowed. */
void emc_prompter_choices(const emc_prompter *prompter, const int32_t **ids, const int32_t **begin,
                          int *n_choices);

/* The text that a model should answer with for a label, without the ending; for training data.
 * Appended to *out. */
emc_status emc_prompter_answer_text(const emc_prompter *prompter, int label, emc_text *out);

#ifdef __cplusplus
}
#endif
