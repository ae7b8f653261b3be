#pragma once
/*
 * The ids of every gene symbol, computed once, so that the ids of a ranked list are copies.
 *
 * Why that is exact: the pre-tokenizer's pieces depend only on what follows their start, so text
 * may be cut into parts that are tokenised alone wherever a piece ends. The table holds for each
 * gene the ids of its symbol and of separator and symbol, and notes whether a piece ends behind
 * the symbol when a separator follows. Genes for which none does (a symbol that ends in a hyphen
 * before a line break, say) are inexact: lists with one must be tokenised whole. The seams with
 * the text before and after the list are checked by emc_gene_table_fits.
 *
 * Symbols and separator are never trusted: an added token's text in them stays text.
 * Read-only once open, so any number of threads may share it.
 */

#include "tokenizer/chat.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_gene_table emc_gene_table;

/*
 * For names[0..n_names), each UTF-8, of which nothing is kept; the tokenizer must outlive the
 * table. Lists are written with `separator` between two symbols.
 * EMC_ERR_FORMAT: a name or the separator is not UTF-8. EMC_ERR_ARG: the separator is empty.
 */
emc_status emc_gene_table_open(emc_gene_table **out, const emc_tokenizer *tok,
                               const char *const *names, size_t n_names, const char *separator);
void emc_gene_table_close(emc_gene_table *table);

/* Whether the table's ids are those of the written list: no gene of it is inexact.
 * False for an index that is not in the table. */
bool emc_gene_table_is_exact(const emc_gene_table *table, const int32_t *genes, size_t n);

/* The text of the list, which is what is tokenised whole where the table cannot be used.
 * EMC_ERR_ARG: an index that is not in the table. */
emc_status emc_gene_table_write(const emc_gene_table *table, const int32_t *genes, size_t n,
                                emc_text *out);

/*
 * Appends the ids of the list genes[0..n); none for an empty one. No memory is taken but for
 * `out` to grow. On failure `out` is as it was.
 * EMC_ERR_ARG: an index that is not in the table. EMC_ERR_CONFIG: an inexact gene.
 */
emc_status emc_gene_table_append(const emc_gene_table *table, const int32_t *genes, size_t n,
                                 emc_ids *out);

/*
 * Whether, for every list of one or more exact genes, the ids of before + list + after are the ids
 * of `before`, of the table and of `after`, each tokenised alone. *inexact (may be NULL) is how
 * many genes of the table are inexact, which says how often the table will not serve.
 * It is false, for instance, when `before` ends in a blank, which joins the first symbol. Then let
 * `before` end where emc_tokenizer_stable_head says, tokenise the rest of it together with the
 * first symbol, and take the ids of the other symbols from here; with an empty `before` this
 * function tells whether the list and `after` may be parted.
 */
emc_status emc_gene_table_fits(const emc_gene_table *table, const emc_prompt *before,
                               const emc_prompt *after, bool *fits, size_t *inexact);

/*
 * The same, tried on one list: *same is whether tokenising before + list + after whole gives the
 * ids of `before`, of the table and of `after`. False when a gene is inexact.
 * EMC_ERR_ARG: an index that is not in the table.
 */
emc_status emc_gene_table_verify(const emc_gene_table *table, const emc_prompt *before,
                                 const int32_t *genes, size_t n, const emc_prompt *after,
                                 bool *same);

#ifdef __cplusplus
}
#endif
