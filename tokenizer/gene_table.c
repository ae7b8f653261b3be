/* How do the ids of a ranked list of genes become copies? The header says why that is exact. */
#include "tokenizer/gene_table.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "tokenizer/vocab.h"

#define BLANK (EMC_CHAR_SPACE | EMC_CHAR_NEWLINE)

typedef struct {
    size_t name, n_name; /* the symbol in table->names */
    size_t first, rest;  /* the ids of the symbol, and of separator and symbol */
    uint32_t n_first, n_rest;
    bool is_exact;
} gene;

struct emc_gene_table {
    const emc_tokenizer *tok;
    gene *genes;
    size_t n_genes;
    emc_ids ids;
    emc_text names;
    char *separator;
    size_t n_separator;
};

/* Whether a piece ends at `at` when text[0..n) is split from `pos`, a piece's start. */
static bool ends_at(const emc_tokenizer *tok, const char *text, size_t n, size_t pos, size_t at)
{
    while (pos < at)
        pos = emc_unicode_split(tok->unicode, text, n, pos);
    return pos == at;
}

static bool is_stable(const emc_tokenizer *tok, const char *text, size_t n)
{
    size_t n_valid;

    return !(emc_unicode_scan(tok->unicode, text, n, &n_valid) & EMC_CHAR_UNSTABLE);
}

/* The last character of a text that is not empty. */
static uint32_t last_char(const char *text, size_t n)
{
    size_t pos = n - 1;

    while (pos > 0 && ((unsigned char)text[pos] & 0xC0) == 0x80)
        pos--;
    return emc_utf8_next(text, &pos);
}

/*
 * `text` is separator, symbol, separator. A piece must end behind the symbol, both as the first
 * of a list and later. A symbol that ends in a blank is left out: where its last piece ends
 * depends on more than one character behind it.
 */
static bool is_exact_symbol(const emc_tokenizer *tok, const char *text, size_t n_separator,
                            size_t n_symbol)
{
    const char *symbol = text + n_separator;

    return n_symbol > 0 && is_stable(tok, text, 2 * n_separator + n_symbol) &&
           !(tok->unicode->kinds[last_char(symbol, n_symbol)] & BLANK) &&
           ends_at(tok, text, 2 * n_separator + n_symbol, 0, n_separator + n_symbol) &&
           ends_at(tok, symbol, n_symbol + n_separator, 0, n_symbol);
}

static emc_status add_gene(emc_gene_table *table, const char *name, emc_text *text)
{
    const size_t n = strlen(name);
    gene *g = &table->genes[table->n_genes];

    g->name = table->names.n;
    g->n_name = n;
    EMC_TRY(emc_text_add(&table->names, name, n));
    emc_text_clear(text);
    EMC_TRY(emc_text_add(text, table->separator, table->n_separator));
    EMC_TRY(emc_text_add(text, name, n));
    EMC_TRY(emc_text_add(text, table->separator, table->n_separator));
    g->first = table->ids.n;
    EMC_TRY(emc_tokenizer_encode(table->tok, name, n, 0, &table->ids));
    g->rest = table->ids.n;
    EMC_TRY(emc_tokenizer_encode(table->tok, text->bytes, table->n_separator + n, 0, &table->ids));
    if (table->ids.n - g->first > UINT32_MAX)
        return emc_fail(EMC_ERR_FORMAT, "a gene name of %zu bytes", n);
    g->n_first = (uint32_t)(g->rest - g->first);
    g->n_rest = (uint32_t)(table->ids.n - g->rest);
    g->is_exact = is_exact_symbol(table->tok, text->bytes, table->n_separator, n);
    table->n_genes++;
    return EMC_OK;
}

emc_status emc_gene_table_open(emc_gene_table **out, const emc_tokenizer *tok,
                               const char *const *names, size_t n_names, const char *separator)
{
    emc_gene_table *table = NULL;
    emc_text text = {0};
    emc_status status;

    *out = NULL;
    if (!*separator)
        return emc_fail(EMC_ERR_ARG, "the gene separator is empty, wanted at least a blank");
    if (n_names > INT32_MAX)
        return emc_fail(EMC_ERR_ARG, "%zu genes, wanted at most %d", n_names, INT32_MAX);
    EMC_TRY(emc_alloc(&table, 1, sizeof *table, "the gene table"));
    table->tok = tok;
    table->n_separator = strlen(separator);
    status = emc_copy_string(&table->separator, separator);
    if (status != EMC_OK)
        goto done;
    status = emc_alloc(&table->genes, n_names, sizeof *table->genes, "the gene table");
    for (size_t i = 0; i < n_names && status == EMC_OK; i++) {
        status = add_gene(table, names[i], &text);
        if (status != EMC_OK)
            emc_fail_in(status, "gene %zu", i);
    }
    if (status != EMC_OK)
        goto done;
    *out = table;
    table = NULL;
done:
    emc_gene_table_close(table);
    emc_text_free(&text);
    return status;
}

void emc_gene_table_close(emc_gene_table *table)
{
    if (!table)
        return;
    free(table->genes);
    emc_ids_free(&table->ids);
    emc_text_free(&table->names);
    free(table->separator);
    free(table);
}

bool emc_gene_table_is_exact(const emc_gene_table *table, const int32_t *genes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (genes[i] < 0 || (size_t)genes[i] >= table->n_genes || !table->genes[genes[i]].is_exact)
            return false;
    return true;
}

static emc_status check_indices(const emc_gene_table *table, const int32_t *genes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (genes[i] < 0 || (size_t)genes[i] >= table->n_genes)
            return emc_fail(EMC_ERR_ARG, "gene %d of a table of %zu", genes[i], table->n_genes);
    return EMC_OK;
}

emc_status emc_gene_table_write(const emc_gene_table *table, const int32_t *genes, size_t n,
                                emc_text *out)
{
    EMC_TRY(check_indices(table, genes, n));
    for (size_t i = 0; i < n; i++) {
        const gene *g = &table->genes[genes[i]];
        if (i > 0)
            EMC_TRY(emc_text_add(out, table->separator, table->n_separator));
        EMC_TRY(emc_text_add(out, table->names.bytes + g->name, g->n_name));
    }
    return EMC_OK;
}

emc_status emc_gene_table_append(const emc_gene_table *table, const int32_t *genes, size_t n,
                                 emc_ids *out)
{
    size_t total = 0;

    for (size_t i = 0; i < n; i++) {
        if (genes[i] < 0 || (size_t)genes[i] >= table->n_genes)
            return check_indices(table, genes, n);
        const gene *g = &table->genes[genes[i]];
        if (!g->is_exact)
            return emc_fail(EMC_ERR_CONFIG,
                            "gene \"%.*s\" needs the whole list tokenised: it joins what follows",
                            g->n_name < 60 ? (int)g->n_name : 60, table->names.bytes + g->name);
        total += i > 0 ? g->n_rest : g->n_first;
    }
    if (total > out->capacity - out->n)
        EMC_TRY(emc_reserve(&out->ids, &out->capacity, out->n + total, sizeof *out->ids,
                            "a list of ids"));
    int32_t *to = out->ids + out->n;
    for (size_t i = 0; i < n; i++) {
        const gene *g = &table->genes[genes[i]];
        const int32_t *from = table->ids.ids + (i > 0 ? g->rest : g->first);
        const uint32_t count = i > 0 ? g->n_rest : g->n_first;
        for (uint32_t k = 0; k < count; k++)
            *to++ = from[k];
    }
    out->n += total;
    return EMC_OK;
}

/* Whether every exact symbol may follow `tail`: its pieces stay what they are without one. */
static emc_status fits_before(const emc_gene_table *table, const char *tail, size_t n, bool *fits)
{
    const emc_unicode *u = table->tok->unicode;
    emc_text text = {0};
    emc_status status = EMC_OK;

    *fits = is_stable(table->tok, tail, n);
    for (size_t i = 0; i < table->n_genes && *fits && n > 0 && status == EMC_OK; i++) {
        const gene *g = &table->genes[i];
        if (!g->is_exact)
            continue;
        emc_text_clear(&text);
        status = emc_text_add(&text, tail, n);
        if (status == EMC_OK)
            status = emc_text_add(&text, table->names.bytes + g->name, g->n_name);
        for (size_t pos = 0; pos < n && *fits && status == EMC_OK;) {
            const size_t end = emc_unicode_split(u, text.bytes, text.n, pos);
            *fits = end == emc_unicode_split(u, tail, n, pos);
            pos = end;
        }
    }
    emc_text_free(&text);
    return status;
}

/* Whether every exact symbol may stand before `after`. No symbol ends in a blank, so the end of
 * its last piece depends on one character behind it. */
static emc_status fits_after(const emc_gene_table *table, const emc_prompt *after, bool *fits)
{
    const emc_tokenizer *tok = table->tok;
    size_t n_char = 0;
    emc_text text = {0};
    emc_status status = EMC_OK;

    *fits = true;
    if (after->text.n == 0)
        return EMC_OK;
    if (after->n_trusted && after->trusted[0].begin == 0 &&
        emc_vocab_added_at(tok, after->text.bytes, after->trusted[0].end) > 0)
        return EMC_OK; /* a section starts here whatever stands before */
    emc_utf8_next(after->text.bytes, &n_char);
    *fits = is_stable(tok, after->text.bytes, n_char);
    for (size_t i = 0; i < table->n_genes && *fits && status == EMC_OK; i++) {
        const gene *g = &table->genes[i];
        if (!g->is_exact)
            continue;
        emc_text_clear(&text);
        status = emc_text_add(&text, table->names.bytes + g->name, g->n_name);
        if (status == EMC_OK)
            status = emc_text_add(&text, after->text.bytes, n_char);
        *fits = status == EMC_OK && ends_at(tok, text.bytes, text.n, 0, g->n_name);
    }
    emc_text_free(&text);
    return status;
}

emc_status emc_gene_table_fits(const emc_gene_table *table, const emc_prompt *before,
                               const emc_prompt *after, bool *fits, size_t *inexact)
{
    size_t head, n_valid;

    *fits = false;
    if (inexact) {
        *inexact = 0;
        for (size_t i = 0; i < table->n_genes; i++)
            *inexact += !table->genes[i].is_exact;
    }
    EMC_TRY(emc_tokenizer_stable_head(table->tok, before->text.bytes, before->text.n,
                                      before->trusted, before->n_trusted, &head));
    emc_unicode_scan(table->tok->unicode, after->text.bytes, after->text.n, &n_valid);
    if (n_valid < after->text.n)
        return emc_fail(EMC_ERR_FORMAT, "the text after the genes is not UTF-8 at byte %zu",
                        n_valid);
    EMC_TRY(fits_before(table, before->text.bytes + head, before->text.n - head, fits));
    return *fits ? fits_after(table, after, fits) : EMC_OK;
}

static emc_status add_prompt(emc_prompt *out, const emc_prompt *part)
{
    size_t pos = 0;

    for (size_t i = 0; i < part->n_trusted; i++) {
        const emc_byte_range r = part->trusted[i];
        EMC_TRY(emc_prompt_add(out, part->text.bytes + pos, r.begin - pos, false));
        EMC_TRY(emc_prompt_add(out, part->text.bytes + r.begin, r.end - r.begin, true));
        pos = r.end;
    }
    return pos < part->text.n
               ? emc_prompt_add(out, part->text.bytes + pos, part->text.n - pos, false)
               : EMC_OK;
}

emc_status emc_gene_table_verify(const emc_gene_table *table, const emc_prompt *before,
                                 const int32_t *genes, size_t n, const emc_prompt *after,
                                 bool *same)
{
    emc_prompt whole = {0};
    emc_text list = {0};
    emc_ids want = {0}, got = {0};
    emc_status status;

    *same = false;
    EMC_TRY(check_indices(table, genes, n));
    if (!emc_gene_table_is_exact(table, genes, n))
        return EMC_OK;
    status = emc_gene_table_write(table, genes, n, &list);
    if (status == EMC_OK)
        status = add_prompt(&whole, before);
    if (status == EMC_OK)
        status = emc_prompt_add(&whole, list.bytes, list.n, false);
    if (status == EMC_OK)
        status = add_prompt(&whole, after);
    if (status == EMC_OK)
        status = emc_prompt_encode(table->tok, &whole, &want);
    if (status == EMC_OK)
        status = emc_prompt_encode(table->tok, before, &got);
    if (status == EMC_OK)
        status = emc_gene_table_append(table, genes, n, &got);
    if (status == EMC_OK)
        status = emc_prompt_encode(table->tok, after, &got);
    *same = status == EMC_OK && want.n == got.n &&
            (want.n == 0 || memcmp(want.ids, got.ids, want.n * sizeof *want.ids) == 0);
    emc_prompt_free(&whole);
    emc_text_free(&list);
    emc_ids_free(&want);
    emc_ids_free(&got);
    return status;
}
