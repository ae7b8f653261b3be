/*
 * The ids of a list of genes without tokenising it: each gene's are computed once a file.
 *
 * It gives what tokenising the whole prompt gives, for three reasons. The text before the list is
 * cut at the tokenizer's stable head, whose ids nothing behind it changes; what is left of it (a
 * blank) is tokenised together with the first gene. Between genes the pre-tokenizer's pieces end
 * by the rule of can_be_copied. And the seam behind the list is checked by the table. All this is
 * compared with full tokenisation, once a file, for every gene.
 */

#include <stdlib.h>
#include <string.h>

#include "annotate/prompt_state.h"
#include "base/size.h"

static bool is_ascii_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* The symbol's pieces end where it ends, whatever stands before and behind it in a list: its last
 * byte is a letter or digit and the separator's first is neither. Plain ASCII, so that normal form
 * C changes nothing. The table and the comparison below check this again by other ways. */
static bool can_be_copied(const char *name, char separator)
{
    size_t n = 0;

    for (; name[n]; n++) {
        if (name[n] <= ' ' || name[n] > '~')
            return false;
    }
    return n > 0 && is_ascii_word(name[n - 1]) && separator > 0 && separator <= '~' &&
           !is_ascii_word(separator);
}

/* Whether the list can be put together from the table; its places are then in p->places. */
static bool find_places(emc_prompter *p, const int32_t *genes, int n)
{
    if (n == 0 || (p->varies && n != p->n_max))
        return false;
    for (int i = 0; i < n; i++) {
        p->places[i] = p->in_table[genes[i]];
        if (p->places[i] < 0)
            return false;
    }
    return true;
}

/* Head, lead with the first gene, the others from the table, tail. */
static emc_status copy_ids(emc_prompter *p, const int32_t *genes, int n, emc_ids *out)
{
    emc_ids_clear(out);
    EMC_TRY(emc_ids_add(out, p->head_ids.ids, p->head_ids.n));
    emc_text_clear(&p->first);
    EMC_TRY(
        emc_text_add(&p->first, p->before.text.bytes + p->n_head, p->before.text.n - p->n_head));
    EMC_TRY(emc_text_add_string(&p->first, p->names[genes[0]]));
    EMC_TRY(emc_tokenizer_encode(p->tokenizer, p->first.bytes, p->first.n, 0, out));
    /* The table writes its first gene without a separator: those ids are left out. */
    emc_ids_clear(&p->scratch);
    EMC_TRY(emc_gene_table_append(p->table, p->places, 1, &p->scratch));
    const size_t n_first = p->scratch.n;
    emc_ids_clear(&p->scratch);
    EMC_TRY(emc_gene_table_append(p->table, p->places, (size_t)n, &p->scratch));
    EMC_TRY(emc_ids_add(out, p->scratch.ids + n_first, p->scratch.n - n_first));
    return emc_ids_add(out, p->after_ids.ids, p->after_ids.n);
}

emc_status emc_prompter_render(emc_prompter *prompter, const int32_t *genes, int n, bool with_text,
                               emc_rendered *out)
{
    emc_prompter *p = prompter;

    if (n < 0 || n > p->n_max)
        return emc_fail(EMC_ERR_ARG, "prompt: %d genes, at most %d are listed", n, p->n_max);
    for (int i = 0; i < n; i++) {
        if (genes[i] < 0 || genes[i] >= p->n_names)
            return emc_fail(EMC_ERR_ARG, "prompt: no gene %d, there are %d", (int)genes[i],
                            p->n_names);
    }
    if (p->fast && !with_text && find_places(p, genes, n)) {
        emc_prompt_clear(&out->prompt);
        return copy_ids(p, genes, n, &out->ids);
    }
    emc_text_clear(&p->list);
    for (int i = 0; i < n; i++)
        EMC_TRY(emc_prompter_add_gene(p, p->names[genes[i]]));
    return emc_prompter_render_list(p, n, out);
}

/* Full lists that together hold every gene of the table, compared with full tokenisation. genes
 * [n + n_max] are those genes, with room for as many again as a list holds. */
static emc_status verify(emc_prompter *p, int32_t *genes, int n, bool *same)
{
    emc_rendered whole = {0};
    emc_ids copied = {0};
    emc_status status = EMC_OK;

    *same = n > 0;
    /* The last list is filled up from the front. */
    for (int i = 0; i < p->n_max && n > 0; i++)
        genes[n + i] = genes[i];
    for (int begin = 0; begin < n && *same && status == EMC_OK; begin += p->n_max) {
        status = emc_prompter_render(p, genes + begin, p->n_max, true, &whole);
        find_places(p, genes + begin, p->n_max);
        if (status == EMC_OK)
            status = copy_ids(p, genes + begin, p->n_max, &copied);
        *same = status == EMC_OK && copied.n == whole.ids.n &&
                memcmp(copied.ids, whole.ids.ids, copied.n * sizeof(*copied.ids)) == 0;
    }
    emc_ids_free(&copied);
    emc_rendered_free(&whole);
    return status;
}

/* Fills the table with the genes that can be copied; genes [n_names + n_max] lists them. */
static emc_status fill_table(emc_prompter *p, int32_t *genes, int *n_genes)
{
    const char **names = NULL;
    int n = 0;

    EMC_TRY(emc_alloc(&names, (size_t)p->n_names, sizeof(*names), "genes"));
    for (int32_t i = 0; i < p->n_names; i++) {
        const bool copied = can_be_copied(p->names[i], p->info->gene_separator[0]);
        p->in_table[i] = copied ? n : -1;
        if (copied) {
            genes[n] = i;
            names[n++] = p->names[i];
        }
    }
    emc_status status =
        emc_gene_table_open(&p->table, p->tokenizer, names, (size_t)n, p->info->gene_separator);
    for (int32_t i = 0; i < n && status == EMC_OK; i++) {
        if (!emc_gene_table_is_exact(p->table, &i, 1))
            status = emc_fail(EMC_ERR_INTERNAL, "gene \"%s\": the table disagrees", names[i]);
    }
    free(names);
    *n_genes = n;
    return status;
}

void emc_prompter_drop_genes(emc_prompter *p)
{
    emc_gene_table_close(p->table);
    free(p->in_table);
    free(p->places);
    p->table = NULL;
    p->in_table = NULL;
    p->places = NULL;
    p->fast = false;
}

emc_status emc_prompter_set_genes(emc_prompter *prompter, const char *const *names, int n_names)
{
    emc_prompter *p = prompter;
    const emc_prompt nothing = {0};
    const size_t n_places = (size_t)p->n_max;
    int32_t *genes = NULL;
    bool fits = false, same = false;
    int n = 0;
    emc_status status;

    emc_prompter_drop_genes(p);
    p->names = names;
    p->n_names = n_names;
    if (!p->tokenizer)
        return EMC_OK;
    EMC_TRY(emc_alloc(&p->in_table, (size_t)n_names, sizeof(*p->in_table), "genes"));
    EMC_TRY(emc_alloc(&p->places, n_places, sizeof(*p->places), "genes"));
    EMC_TRY(emc_alloc(&genes, (size_t)n_names + n_places, sizeof(*genes), "genes"));
    status = fill_table(p, genes, &n);
    /* The seam before the list is the stable head's; the table answers for the one behind it. */
    if (status == EMC_OK)
        status = emc_gene_table_fits(p->table, &nothing, &p->after, &fits, NULL);
    if (status == EMC_OK && fits)
        status = verify(p, genes, n, &same);
    free(genes);
    p->fast = same;
    return status;
}
