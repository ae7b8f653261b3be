#pragma once
/* What a prompter keeps; for the files prompt*.c alone. */

#include "annotate/prompt.h"
#include "tokenizer/gene_table.h"

#ifdef __cplusplus
extern "C" {
#endif

struct emc_prompter {
    const emc_profile_info *info;
    const emc_labels *labels;
    const emc_tokenizer *tokenizer;
    int n_max; /* genes */

    /* The variant: which messages, what fills their slots. */
    emc_profile_wording wording;
    emc_text label_list;
    char *stage; /* NULL: none */

    /* The rendering of a full list around its genes. `lead` is what stands between the stable head
     * and the first gene: a blank, mostly, which the tokenizer joins to that gene. */
    emc_prompt before, after;
    size_t n_head;
    emc_ids head_ids, after_ids;
    bool varies; /* the text around the genes depends on how many there are */

    const char *const *names;
    int n_names;
    emc_gene_table *table;
    int32_t *in_table; /* [n_names] the gene's place in the table, -1 when it cannot be copied */
    bool fast;

    int32_t *choice_ids;
    int32_t *choice_begin;
    int n_choices;
    int n_fixed;

    /* Reused from cell to cell. */
    emc_text list, first;
    emc_ids scratch;
    int32_t *places; /* [n_max] of a cell's genes in the table */
};

/* Appends bytes begin .. end of a prompt, with what of them is trusted. */
emc_status emc_prompter_add_part(emc_prompt *out, const emc_prompt *from, size_t begin, size_t end);

/* Appends a name to the list of the cell at hand, p->list. */
emc_status emc_prompter_add_gene(emc_prompter *p, const char *name);

/* Text and ids of the n genes written in p->list, by the chat form itself. */
emc_status emc_prompter_render_list(emc_prompter *p, int n, emc_rendered *out);

/* With tokenizer and labels: ids of the answers. */
emc_status emc_prompter_make_choices(emc_prompter *p);

/* Forgets the genes. */
void emc_prompter_drop_genes(emc_prompter *p);

#ifdef __cplusplus
}
#endif
