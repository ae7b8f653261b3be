/* Which of a file's matrices is ranked when nobody names one? */
#include <string.h>
#include <strings.h>

#include "cells/catalog.h"

#define MOST_LAYERS 16 /* that are opened to find one that would do */

typedef struct {
    emc_catalog *catalog;
    const emc_catalog_matrix *x, *raw; /* NULL where there is none */
    int x_at, raw_at;
} choice;

static bool has(const emc_catalog_matrix *m, emc_kind kind)
{
    return m && m->is_looked_at && m->status == EMC_OK && m->look.kind == kind;
}

/* Whether a gene was seen at all is no count to rank by. */
static bool has_counts(const emc_catalog_matrix *m)
{
    return has(m, EMC_KIND_COUNTS) && m->look.max > 1;
}

/* Ranks within a cell are those of counts. */
static bool is_monotone(const emc_catalog_matrix *m)
{
    return has(m, EMC_KIND_LOG) || has(m, EMC_KIND_NORMALISED);
}

static bool shows_more(const emc_catalog_matrix *a, const emc_catalog_matrix *b)
{
    return a && b && a->status == EMC_OK && b->status == EMC_OK &&
           a->look.n_genes_seen > b->look.n_genes_seen;
}

static const char *layer_name(const emc_catalog_matrix *m)
{
    return strncmp(m->name, "layers/", 7) == 0 ? m->name + 7 : m->name;
}

static bool is_called_counts(const emc_catalog_matrix *m)
{
    const char *name = layer_name(m);

    return strcasestr(name, "count") || strcasestr(name, "umi") || strcasecmp(name, "raw") == 0;
}

static emc_status say(emc_text *why, const choice *c, const emc_catalog_matrix *m,
                      const char *because)
{
    const bool is_raw = m == c->raw;

    EMC_TRY(emc_text_addf(why, "matrix: %s, %s (%s)%s", m->title, emc_kind_name(m->look.kind),
                          m->look.reason, because));
    if (!is_raw && shows_more(c->raw, m))
        EMC_TRY(emc_text_addf(why, "; beware: %s shows %d genes where this one shows %d, but is %s",
                              c->raw->title, c->raw->look.n_genes_seen, m->look.n_genes_seen,
                              emc_kind_name(c->raw->look.kind)));
    else if (!is_raw && c->raw && c->raw->is_looked_at && c->raw->status != EMC_OK)
        EMC_TRY(emc_text_addf(why, "; raw cannot be read: %s", c->raw->message));
    return EMC_OK;
}

static emc_status take(int *chosen, emc_text *why, const choice *c, int at, const char *because)
{
    *chosen = at;
    return say(why, c, emc_catalog_get(c->catalog, at), because);
}

/* The first layer that fits, of those with a name like counts or of the others; -1. */
static emc_status find_layer(int *found, const choice *c, bool called_counts, bool want_counts)
{
    const int n = emc_catalog_n_matrices(c->catalog);

    *found = -1;
    for (int i = 0; i < n && i < MOST_LAYERS && *found < 0; i++) {
        const emc_catalog_matrix *m = emc_catalog_get(c->catalog, i);
        if (i == c->x_at || i == c->raw_at || is_called_counts(m) != called_counts)
            continue;
        EMC_TRY(emc_catalog_look_at(c->catalog, i));
        if (has_counts(m) ? want_counts : !want_counts && is_monotone(m))
            *found = i;
    }
    return EMC_OK;
}

/* The only matrix, or the last resort among several: without values, or scaled where that may be.
 */
static emc_status take_rest(int *chosen, emc_text *why, const choice *c)
{
    const emc_kind kinds[3] = {EMC_KIND_COUNTS, EMC_KIND_EMPTY, EMC_KIND_SCALED};

    for (int k = 0; k < (emc_catalog_takes_scaled(c->catalog) ? 3 : 2); k++)
        for (int i = 0; i < emc_catalog_n_matrices(c->catalog); i++)
            if (has(emc_catalog_get(c->catalog, i), kinds[k]))
                return take(chosen, why, c, i, "");
    return EMC_OK;
}

static emc_status refuse(const choice *c)
{
    const char *path = emc_catalog_path(c->catalog);
    const int n = emc_catalog_n_matrices(c->catalog);
    const emc_catalog_matrix *first = emc_catalog_get(c->catalog, 0), *unknown = NULL;
    emc_text all = {0};
    emc_status status = EMC_OK;
    int n_readable = 0;

    for (int i = 0; status == EMC_OK && i < n; i++) {
        const emc_catalog_matrix *m = emc_catalog_get(c->catalog, i);
        if (!m->is_looked_at)
            continue;
        n_readable += m->status == EMC_OK;
        if (has(m, EMC_KIND_UNKNOWN) && !unknown)
            unknown = m;
        status = m->status == EMC_OK
                     ? emc_text_addf(&all, "%s%s is %s (%s)", all.n ? "; " : "", m->title,
                                     emc_kind_name(m->look.kind), m->look.reason)
                     : emc_text_addf(&all, "%s%s cannot be read", all.n ? "; " : "", m->title);
    }
    if (status == EMC_OK && n_readable == 0)
        status = emc_fail(first->status, "%s", first->message);
    else if (status == EMC_OK && unknown)
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: neither counts nor logarithms of them: %s; if larger values do mean "
                          "more expression, say --layer %s",
                          path, all.bytes, unknown->name);
    else if (status == EMC_OK)
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: neither counts nor logarithms of them: %s: scaled values do not say "
                          "which genes are expressed; write counts or log-counts into the file",
                          path, all.bytes);
    emc_text_free(&all);
    return status;
}

static emc_status choose(int *chosen, emc_text *why, choice *c)
{
    int layer;

    if (c->raw)
        EMC_TRY(emc_catalog_look_at(c->catalog, c->raw_at));
    if (has_counts(c->raw))
        return take(chosen, why, c, c->raw_at, "");
    if (c->x)
        EMC_TRY(emc_catalog_look_at(c->catalog, c->x_at));
    const bool raw_may = is_monotone(c->raw), raw_has_more = raw_may && shows_more(c->raw, c->x);
    if (has_counts(c->x) && !raw_has_more)
        return take(chosen, why, c, c->x_at, "");
    EMC_TRY(find_layer(&layer, c, true, true));
    if (layer >= 0 && !(raw_may && shows_more(c->raw, emc_catalog_get(c->catalog, layer))))
        return take(chosen, why, c, layer, "");
    if (raw_has_more)
        return take(chosen, why, c, c->raw_at, ", which shows more genes than X");
    if (layer >= 0)
        return take(chosen, why, c, c->raw_at, ", which shows more genes than the layer of counts");
    if (is_monotone(c->x))
        return take(chosen, why, c, c->x_at, "");
    if (raw_may)
        return take(chosen, why, c, c->raw_at, "");
    for (int want_counts = 1; want_counts >= 0; want_counts--)
        for (int called = 1; called >= 0; called--) {
            EMC_TRY(find_layer(&layer, c, called, want_counts));
            if (layer >= 0)
                return take(chosen, why, c, layer, "");
        }
    return EMC_OK;
}

emc_status emc_catalog_choose(emc_catalog *catalog, int *chosen, emc_text *why)
{
    choice c = {.catalog = catalog, .x_at = -1, .raw_at = -1};

    *chosen = -1;
    for (int i = 0; i < emc_catalog_n_matrices(catalog); i++) {
        const char *name = emc_catalog_get(catalog, i)->name;
        if (strcmp(name, "raw") == 0)
            c.raw_at = i;
        else if (strcmp(name, "X") == 0)
            c.x_at = i;
    }
    /* Formats without a matrix of that name have a main one, which comes first. */
    if (c.x_at < 0 && c.raw_at != 0)
        c.x_at = 0;
    c.x = c.x_at < 0 ? NULL : emc_catalog_get(catalog, c.x_at);
    c.raw = c.raw_at < 0 ? NULL : emc_catalog_get(catalog, c.raw_at);
    EMC_TRY(choose(chosen, why, &c));
    if (*chosen < 0)
        EMC_TRY(take_rest(chosen, why, &c));
    return *chosen < 0 ? refuse(&c) : EMC_OK;
}
