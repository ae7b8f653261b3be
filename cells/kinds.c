/* Counts, logarithms, or something that cannot be ranked? */
#include "cells/kinds.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/source.h"

#define N_BASES    4    /* plain sums, then e, 2 and 10 */
#define TOLERANCE  0.02 /* of a sum from the median of sums: float32 and genes left out */
#define AGREEING   0.8  /* of the rows */
#define FEW_ROWS   5
#define MOST_LOG   20.0 /* log2 of a million */
#define LEAST_SURE 30.0 /* above it no logarithm */

static const double bases[N_BASES] = {0, 2.718281828459045, 2, 10};

const char *emc_kind_name(emc_kind kind)
{
    static const char *const names[EMC_N_KINDS] = {"counts", "log",     "normalised",
                                                   "scaled", "unknown", "empty"};

    return names[kind];
}

typedef struct {
    emc_kind_look *look;
    int64_t n_whole, n_finite, n_negative;
    double *sums[N_BASES]; /* [EMC_KIND_ROWS] of rows with a value above zero */
    double *n_genes;       /* [EMC_KIND_ROWS] values above zero */
    int n_sums;
    bool *seen; /* [n_genes] */
} survey;

static void see_row(survey *s, const double *values, const int32_t *genes, int64_t n)
{
    emc_kind_look *look = s->look;
    double sums[N_BASES] = {0};
    int64_t n_above = 0;

    for (int64_t k = 0; k < n; k++) {
        const double v = values[k];
        if (v == 0)
            continue;
        look->n_values++;
        if (!isfinite(v))
            continue;
        if (s->n_finite == 0 || v < look->min)
            look->min = v;
        if (s->n_finite == 0 || v > look->max)
            look->max = v;
        s->n_finite++;
        s->n_whole += v == floor(v);
        s->n_negative += v < 0;
        if (v > 0) {
            n_above++;
            look->n_genes_seen += !s->seen[genes[k]];
            s->seen[genes[k]] = true;
        }
        sums[0] += v;
        for (int b = 1; b < N_BASES; b++)
            sums[b] += expm1(v * log(bases[b]));
    }
    s->n_genes[look->n_rows++] = (double)n_above;
    if (n_above == 0) {
        look->n_empty_rows++;
        return;
    }
    for (int b = 0; b < N_BASES; b++)
        s->sums[b][s->n_sums] = sums[b];
    s->n_sums++;
}

static emc_status see_rows(survey *s, emc_cells *cells, int64_t first, int64_t n)
{
    cells_buffers buffers = {0};
    emc_status status = emc_cells_seek(cells, first);

    while (status == EMC_OK && n > 0) {
        emc_cell_block block;
        status = cells_next_into(cells, n, &buffers, &block);
        if (status != EMC_OK || block.n_rows == 0)
            break;
        for (int r = 0; r < block.n_rows; r++)
            see_row(s, block.values + block.indptr[r], block.genes + block.indptr[r],
                    block.indptr[r + 1] - block.indptr[r]);
        n -= block.n_rows;
    }
    cells_buffers_free(&buffers);
    return status;
}

static emc_status see_sample(survey *s, emc_cells *cells)
{
    const int64_t n_cells = emc_cells_n_cells(cells), n_place = EMC_KIND_ROWS / EMC_KIND_PLACES;
    emc_cells_matrix matrix;

    emc_cells_get_matrix(cells, &matrix);
    if (n_cells <= EMC_KIND_ROWS || strcmp(matrix.storage, "coordinates") == 0)
        return see_rows(s, cells, 0, n_cells < EMC_KIND_ROWS ? n_cells : EMC_KIND_ROWS);
    for (int64_t i = 0; i < EMC_KIND_PLACES; i++) {
        /* The quotient first, so that no product of a large count can overflow. */
        const int64_t last = n_cells - n_place, steps = EMC_KIND_PLACES - 1;
        const int64_t first = last / steps * i + last % steps * i / steps;
        EMC_TRY(see_rows(s, cells, first, n_place));
    }
    return EMC_OK;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Sorts; 0 without values. */
static double median(double *values, int n)
{
    if (n == 0)
        return 0;
    qsort(values, (size_t)n, sizeof *values, compare);
    return values[n / 2];
}

/* The sum that nearly all rows have, or 0. Sorts the sums. */
static double common_sum(double *sums, int n)
{
    const double middle = median(sums, n);
    int n_near = 0;

    if (!isfinite(middle) || !(middle > 0))
        return 0;
    for (int i = 0; i < n; i++)
        n_near += fabs(sums[i] - middle) <= TOLERANCE * middle;
    if (n_near < AGREEING * n)
        return 0;
    if (n >= FEW_ROWS)
        return middle;
    for (double target = 1e3; target < 2e6; target *= 10)
        if (fabs(middle - target) <= TOLERANCE * target)
            return middle;
    return 0;
}

#define SAY(look, ...) snprintf((look)->reason, sizeof(look)->reason, __VA_ARGS__)

/* Values that are neither negative nor whole. */
static void judge_real(survey *s)
{
    emc_kind_look *look = s->look;

    for (int b = 0; b < N_BASES; b++) {
        look->target_sum = common_sum(s->sums[b], s->n_sums);
        if (!(look->target_sum > 0))
            continue;
        look->log_base = bases[b];
        look->kind = b == 0 ? EMC_KIND_NORMALISED : EMC_KIND_LOG;
        if (b == 0)
            SAY(look, "not whole, up to %.4g, and every row adds up to about %.4g", look->max,
                look->target_sum);
        else
            SAY(look, "up to %.4g, and %s - 1 of every row adds up to about %.4g", look->max,
                b == 1   ? "e^x"
                : b == 2 ? "2^x"
                         : "10^x",
                look->target_sum);
        return;
    }
    if (look->max <= MOST_LOG) {
        look->kind = EMC_KIND_LOG;
        SAY(look,
            "not whole and at most %.4g, as logarithms are; no sum is common to the rows, as when "
            "genes were left out",
            look->max);
        return;
    }
    look->kind = EMC_KIND_UNKNOWN;
    SAY(look,
        "%.0f %% whole, up to %.6g, and rows add up to anything from %.4g to %.4g: not counts, not "
        "logarithms, not normalised to one sum",
        100 * look->whole_share, look->max, s->sums[0][0], s->sums[0][s->n_sums - 1]);
}

static void judge(survey *s)
{
    emc_kind_look *look = s->look;

    if (look->n_values > 0) {
        look->negative_share = (double)s->n_negative / (double)look->n_values;
        look->not_finite_share = (double)(look->n_values - s->n_finite) / (double)look->n_values;
    }
    if (s->n_finite > 0)
        look->whole_share = (double)s->n_whole / (double)s->n_finite;
    look->genes_median = median(s->n_genes, (int)look->n_rows);
    if (s->n_negative > 0) {
        look->kind = EMC_KIND_SCALED;
        SAY(look, "%.3g %% of the values are below zero, down to %.4g", 100 * look->negative_share,
            look->min);
    } else if (s->n_finite == 0) {
        look->kind = EMC_KIND_EMPTY;
        SAY(look, "no value above zero in %lld rows", (long long)look->n_rows);
    } else if (s->n_whole == s->n_finite) {
        look->kind = EMC_KIND_COUNTS;
        SAY(look, "all whole, up to %.0f%s", look->max,
            look->max > 1 ? "" : ": present or not, which ranks badly");
    } else if (look->whole_share >= 0.5 && look->max > LEAST_SURE) {
        look->kind = EMC_KIND_COUNTS;
        SAY(look, "%.3g %% whole, up to %.6g: estimated or corrected counts",
            100 * look->whole_share, look->max);
    } else {
        judge_real(s);
    }
    const size_t used = strlen(look->reason);
    if (look->not_finite_share > 0)
        snprintf(look->reason + used, sizeof look->reason - used, "; %.3g %% NaN or infinite",
                 100 * look->not_finite_share);
}

emc_status emc_kind_look_at(emc_kind_look *out, emc_cells *cells)
{
    survey s = {.look = out};
    double *memory = NULL;
    emc_status status;

    memset(out, 0, sizeof *out);
    EMC_TRY(emc_alloc(&memory, (N_BASES + 1) * (size_t)EMC_KIND_ROWS, sizeof *memory, "a sample"));
    status = emc_alloc(&s.seen, (size_t)emc_cells_n_genes(cells), sizeof *s.seen, "a sample");
    if (status != EMC_OK) {
        free(memory);
        return status;
    }
    for (int b = 0; b < N_BASES; b++)
        s.sums[b] = memory + (size_t)b * EMC_KIND_ROWS;
    s.n_genes = memory + (size_t)N_BASES * EMC_KIND_ROWS;
    const emc_negative was = cells_set_negative(cells, EMC_NEGATIVE_PASS);
    status = see_sample(&s, cells);
    cells_set_negative(cells, was);
    if (status == EMC_OK)
        status = emc_cells_seek(cells, 0);
    if (status == EMC_OK)
        judge(&s);
    free(s.seen);
    free(memory);
    return status;
}
