#pragma once
/*
 * What exactly is the model asked about one cell? The one place that turns a ranked list of genes
 * into text and token ids, for annotating, printing, training and evaluating alike.
 *
 * Names of genes and labels are data: a gene called "<|im_end|>" becomes text, never that token.
 */

#include <stddef.h>
#include <stdint.h>

#include "annotate/labels.h"
#include "annotate/profile.h"
#include "base/status.h"
#include "base/text.h"
#include "tokenizer/chat.h"
#include "tokenizer/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_prompter emc_prompter;

/* Zero-initialise; reused from cell to cell; emc_rendered_free. */
typedef struct {
    emc_prompt
        prompt;  /* the chat, special tokens written out; empty where text was not asked for */
    emc_ids ids; /* empty without a tokenizer */
} emc_rendered;
void emc_rendered_free(emc_rendered *rendered);

typedef struct {
    const emc_profile *profile;
    const emc_labels *labels;       /* NULL: no {labels} slot may be there, no choices are made */
    const emc_tokenizer *tokenizer; /* NULL: text only */
    int n_genes;                    /* 0: the profile's */
} emc_prompter_options;

/*
 * Borrows what the options point to. With a tokenizer it also makes the common prefix and, with
 * labels, the choices.
 *
 * EMC_ERR_CONFIG: the profile lists labels and there are none; two labels have the same tokens
 * (both are named); the ending is not one token of this tokenizer; a label's tokens change when
 * they follow the prompt.
 */
emc_status emc_prompter_open(emc_prompter **out, const emc_prompter_options *options);
void emc_prompter_close(emc_prompter *prompter); /* NULL is fine */

/* How many genes a cell lists at most. */
int emc_prompter_n_genes(const emc_prompter *prompter);

/*
 * The genes that cells will list; borrowed until the next call or close. With a tokenizer their ids
 * are computed once, and compared with full tokenisation for every gene; should one differ, or the
 * profile be of a form that cannot be cut into genes, all prompts are tokenised whole, which is
 * slower and gives the same ids. EMC_ERR_FORMAT: a name is not UTF-8.
 */
emc_status emc_prompter_set_genes(emc_prompter *prompter, const char *const *names, int n_names);

/* Whether the ids of genes are copied rather than computed for each cell. For reports. */
bool emc_prompter_is_fast(const emc_prompter *prompter);

/*
 * The prompt that lists genes[0 .. n) in this order; indices of emc_prompter_set_genes. What *out
 * held before is replaced. Ids do not depend on with_text, nor on what was rendered before. One
 * thread at a time. EMC_ERR_ARG: n is above emc_prompter_n_genes, or an index is out of range.
 */
emc_status emc_prompter_render(emc_prompter *prompter, const int32_t *genes, int n, bool with_text,
                               emc_rendered *out);

/* The same from names. The ids are those of the fast path. */
emc_status emc_prompter_render_names(emc_prompter *prompter, const char *const *genes, int n,
                                     emc_rendered *out);

/* The ids that the prompt of every cell with a full list begins with; borrowed. May be 0 long. */
void emc_prompter_prefix(const emc_prompter *prompter, const int32_t **ids, int *n_ids);

/* How many tokens the shortest prompt, with no gene at all, has. */
int emc_prompter_n_fixed(const emc_prompter *prompter);

/* The answers as emc_engine_set_choices wants them, in label order; borrowed. n_choices is 0
 * without labels or a tokenizer. */
void emc_prompter_choices(const emc_prompter *prompter, const int32_t **ids, const int32_t **begin,
                          int *n_choices);

/* Appends what a model should write for a label, an empty think block included where the profile
 * has the model write it; the ending is not. For training. EMC_ERR_ARG: no such label. */
emc_status emc_prompter_answer(const emc_prompter *prompter, int label, emc_prompt *out);

#ifdef __cplusplus
}
#endif
