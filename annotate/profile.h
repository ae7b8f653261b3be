#pragma once
/*
 * How is a model asked? A profile is a JSON file with everything about it: the messages and their
 * slots, how genes are chosen and ranked, the chat form, the labels, how an answer is read.
 *
 * The text of every prompt, for annotating, printing, training and evaluating, comes from a
 * profile through annotate/prompt.h and from nowhere else. Every key has its place in one of
 * the built-in profiles.
 */

#include <stddef.h>

#include "base/status.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_profile emc_profile;

/* The three ends that a Qwen3 prompt can have, by how the model was tuned. */
typedef enum {
    EMC_THINKING_PLAIN,   /* "plain": the answer follows the assistant's header at once */
    EMC_THINKING_PREFILL, /* "empty-think-prefill": the prompt ends with an empty think block */
    EMC_THINKING_BY_MODEL /* "model-emits-think": the model writes the empty block, then the answer
                           */
} emc_thinking;

typedef enum {
    EMC_ANSWER_EXACT,   /* "exact": the best label, and as much as is wanted of its probability */
    EMC_ANSWER_FULL,    /* "full": the probability of every label */
    EMC_ANSWER_GREEDY,  /* "greedy": the label that the likeliest tokens lead to */
    EMC_ANSWER_GENERATE /* "generate": greedy text, parsed back to a label */
} emc_answer_mode;

#define EMC_PROBABILITY_WIDTH 0.02 /* where a profile says nothing */

/* What becomes of values that cannot be ranked. */
typedef enum {
    EMC_VALUES_REFUSE, /* "refuse" */
    EMC_VALUES_SKIP    /* "skip": the gene counts as not expressed */
} emc_bad_values;

typedef struct {
    const char *role;    /* "system", "user" or "assistant" */
    const char *content; /* text with slots {genes}, {labels}, {n_genes}, {stage}; "{{" and "}}" are
                            braces */
} emc_profile_message;

/* Another way to say the same: training takes several, so that a model does not hang on one. */
typedef struct {
    const emc_profile_message *messages;
    int n_messages;
} emc_profile_wording;

typedef struct {
    const char *label;
    const char *parent; /* another label or a group; NULL at the top */
    const char *cl;     /* Cell Ontology id, "CL:0000523"; NULL where no term fits */
    const char *uberon; /* NULL where none fits */
    const char *const *synonyms;
    int n_synonyms;
    const char *const *like; /* names of cells of embryo models that resemble it: "HLC" */
    int n_like;
} emc_profile_label;

/* A node of the hierarchy that is not itself an answer. */
typedef struct {
    const char *name;
    const char *parent; /* NULL at the top */
} emc_profile_group;

/* A word that means more than one label; it is reported as ambiguous, never guessed. */
typedef struct {
    const char *term;
    const char *const *labels;
    int n_labels; /* 0: a word that is known and means none of the labels precisely */
} emc_profile_ambiguous;

typedef struct {
    const char *name;
    const char *description;
    bool official;      /* false: not the wording of any published model */
    const char *source; /* where labels and wording come from */

    const emc_profile_message *messages;
    int n_messages;
    const emc_profile_wording *paraphrases; /* may be empty; slots as in messages */
    int n_paraphrases;
    const char *label_separator; /* between labels in {labels} */

    int n_genes;                  /* at most so many are listed */
    int min_genes;                /* a cell with fewer ends with status too_few_genes */
    const char *gene_separator;   /* between genes in {genes} */
    double min_value;             /* a gene is listed when its value is at least this and not 0 */
    emc_bad_values on_negative;   /* refuse: the file is refused, for its ranks mean nothing */
    emc_bad_values on_not_finite; /* refuse: the cell ends with status failed */
    const char *medians_path; /* see emc_medians_read; values are divided before ranking; or NULL */
    unsigned drop_groups;     /* of emc_gene_group (cells/genes.h): never listed */
    const char *const *drop_genes; /* further symbols never listed */
    int n_drop_genes;

    emc_thinking thinking;

    const emc_profile_label *labels; /* may be empty: the user then gives them */
    int n_labels;
    const emc_profile_group *groups;
    int n_groups;
    const emc_profile_ambiguous *ambiguous;
    int n_ambiguous;

    const char *answer_prefix; /* before the label in every answer; may be "" */
    const char *answer_suffix; /* after it, as "." */
    const char *answer_ending; /* the token that ends an answer, "<|im_end|>" */

    emc_answer_mode answer;
    int max_tokens; /* generate */
    emc_scoring_rule scoring;
    double temperature;       /* scores are divided by it before normalising; 1 as they are */
    double probability_width; /* exact: how well a probability is to be known; 0: every label's */
    double unknown_below;     /* a score below this is unknown; 0: never */
    double margin_below;      /* a margin below this is unknown; 0: never */
} emc_profile_info;

/* Names of the built-in profiles, "embryo" first; NULL past the last. */
const char *emc_profile_builtin(int index);
/* The JSON text of a built-in profile; NULL for an unknown name. */
const char *emc_profile_builtin_text(const char *name, size_t *n_bytes);

/*
 * Opens a built-in profile by its name, or a file by its path (anything that is not a built-in
 * name). NULL is "embryo".
 *
 * EMC_ERR_NOT_FOUND: neither. EMC_ERR_CONFIG or EMC_ERR_FORMAT: the text breaks a rule; the one
 * line names the file, the key and what is wanted. Unknown keys are refused by name.
 */
emc_status emc_profile_open(emc_profile **out, const char *name_or_path);

/* The same from memory; `name` is for messages. */
emc_status emc_profile_parse(emc_profile **out, const char *text, size_t n_bytes, const char *name);

void emc_profile_close(emc_profile *profile); /* NULL is fine */

/* Borrowed, read-only, checked. */
const emc_profile_info *emc_profile_get(const emc_profile *profile);

/* The JSON text as it was read; borrowed. For `emcell profile show` and for run records. */
const char *emc_profile_text(const emc_profile *profile, size_t *n_bytes);

/* "plain", "empty-think-prefill", "model-emits-think"; "exact", "full", "greedy", "generate";
 * "joint", "mean", "first", "prior". */
const char *emc_thinking_name(emc_thinking thinking);
const char *emc_answer_mode_name(emc_answer_mode mode);
const char *emc_scoring_rule_name(emc_scoring_rule rule);
/* EMC_ERR_USAGE: no such mode, no such rule. */
emc_status emc_answer_mode_parse(emc_answer_mode *out, const char *name);
emc_status emc_scoring_rule_parse(emc_scoring_rule *out, const char *name);

#ifdef __cplusplus
}
#endif
