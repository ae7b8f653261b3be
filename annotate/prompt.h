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
    const char *stage;              /* fills {stage} until a variant does; NULL: there is none */
} emc_prompter_options;

/*
 * Borrows what the options point to. With a tokenizer it also makes the common prefix and, with
 * labels, the choices.
 *
 * EMC_ERR_CONFIG: the profile lists labels and there are none, or asks for a stage and there is
 * none; two labels have the same tokens
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

/*
 * How the next prompts differ from the profile's plain ones: another of its wordings, a list of
 * candidates in the place of all labels, what fills {stage}. Everything rendered before is as if it
 * were asked anew: prefix, fixed tokens and the slow or fast way of genes. Choices stay those of
 * all labels. NULL: the plain ones again.
 *
 * EMC_ERR_CONFIG: a wording that the profile does not have, candidates where the wording has no
 * {labels}, a stage where it has no {stage}, or none where it has one. EMC_ERR_ARG: a label that is
 * not there, or twice.
 */
typedef struct {
    int wording;           /* 0: the profile's messages; k: the k-th of its paraphrases */
    const int *candidates; /* [n_candidates] labels, in the order they are listed; borrowed for the
                              call; NULL: all */
    int n_candidates;
    const char *stage; /* copied; NULL: none */
} emc_prompt_variant;
emc_status emc_prompter_set_variant(emc_prompter *prompter, const emc_prompt_variant *variant);

/* The messages of a prompt before the chat form is put around them: what an endpoint is sent and
 * what training data holds. How many; the role of one, static; its content for these genes,
 * appended to *out. EMC_ERR_ARG: no such message, more genes than emc_prompter_n_genes. */
int emc_prompter_n_messages(const emc_prompter *prompter);
const char *emc_prompter_role(const emc_prompter *prompter, int message);
emc_status emc_prompter_message(emc_prompter *prompter, int message, const char *const *genes,
                                int n_genes, emc_text *out);

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
