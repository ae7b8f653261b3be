/* How is a model cut for ranks that compute together? */
#include "runtime/part.h"

#include <stdio.h>
#include <string.h>

/* Operations take whole groups of this many values of the MLP. */
#define WIDTH_MULTIPLE 8

/* Ranks that anybody has in one process. */
#define MOST_RANKS 64

static bool divides(const emc_model_config *c, int n)
{
    const bool kv = c->n_kv_heads % n == 0 || n % c->n_kv_heads == 0;

    return c->n_heads % n == 0 && kv && c->ffn % (n * WIDTH_MULTIPLE) == 0 && c->vocab % n == 0;
}

static emc_status refuse(const emc_model_config *c, int n_ranks)
{
    char sizes[MOST_RANKS * 4] = "1";
    size_t length = 1;

    for (int n = 2; n <= MOST_RANKS; n++)
        if (divides(c, n))
            length += (size_t)snprintf(sizes + length, sizeof sizes - length, ", %d", n);
    return emc_fail(EMC_ERR_USAGE,
                    "--tensor-parallel-size %d does not divide this model (%d heads, %d K/V heads, "
                    "MLP width %d, %d token ids): take %s",
                    n_ranks, c->n_heads, c->n_kv_heads, c->ffn, c->vocab, sizes);
}

emc_status emc_model_part_of(emc_model_part *out, const emc_model_config *c, int rank, int n_ranks)
{
    if (n_ranks < 1 || (n_ranks > 1 && (n_ranks > MOST_RANKS || !divides(c, n_ranks))))
        return refuse(c, n_ranks);
    const int n_heads = c->n_heads / n_ranks, n_ids = c->vocab / n_ranks;
    const int n_kv_heads = c->n_kv_heads > n_ranks ? c->n_kv_heads / n_ranks : 1;

    *out = (emc_model_part){.rank = rank,
                            .n_ranks = n_ranks,
                            .n_heads = n_heads,
                            .first_head = rank * n_heads,
                            .n_kv_heads = n_kv_heads,
                            .first_kv_head = rank * n_heads / (c->n_heads / c->n_kv_heads),
                            .ffn = c->ffn / n_ranks,
                            .first_ffn = rank * (c->ffn / n_ranks),
                            .vocab = n_ids,
                            .first_id = rank * n_ids};
    return EMC_OK;
}

static void add_rows(emc_matrix_slice *slice, int first, int n)
{
    slice->first_row[slice->n_parts] = first;
    slice->n_rows[slice->n_parts++] = n;
}

static void set_columns(emc_matrix_slice *slice, int first, int n, int whole)
{
    slice->first_column = first;
    slice->n_columns = n;
    slice->all_columns = n == whole;
}

void emc_matrix_slice_of(emc_matrix_slice *out, const emc_model_part *part,
                         const emc_model_config *c, emc_matrix_role role)
{
    const int dim = c->head_dim;

    *out = (emc_matrix_slice){0};
    set_columns(out, 0, c->hidden, c->hidden);
    switch (role) {
    case EMC_MATRIX_QKV:
        add_rows(out, part->first_head * dim, part->n_heads * dim);
        add_rows(out, part->first_kv_head * dim, part->n_kv_heads * dim);
        add_rows(out, part->first_kv_head * dim, part->n_kv_heads * dim);
        break;
    case EMC_MATRIX_O:
        add_rows(out, 0, c->hidden);
        set_columns(out, part->first_head * dim, part->n_heads * dim, c->n_heads * dim);
        break;
    case EMC_MATRIX_GATE_UP:
        add_rows(out, part->first_ffn, part->ffn);
        add_rows(out, part->first_ffn, part->ffn);
        break;
    case EMC_MATRIX_DOWN:
        add_rows(out, 0, c->hidden);
        set_columns(out, part->first_ffn, part->ffn, c->ffn);
        break;
    case EMC_MATRIX_EMBED:
        add_rows(out, 0, c->vocab);
        break;
    case EMC_MATRIX_HEAD:
        add_rows(out, part->first_id, part->vocab);
        break;
    }
}

void emc_matrix_slice_update(const emc_matrix_slice *slice, const int *part_rows,
                             emc_low_rank *update)
{
    const size_t rank = (size_t)update->rank, k = (size_t)update->k;
    const size_t n_columns = (size_t)slice->n_columns;
    int from = 0, to = 0;

    if (update->rank == 0)
        return;
    for (size_t r = 0; r < rank; r++)
        memmove(update->a + r * n_columns, update->a + r * k + slice->first_column,
                n_columns * sizeof *update->a);
    for (int p = 0; p < slice->n_parts; p++) {
        const size_t first = (size_t)(from + slice->first_row[p]), n = (size_t)slice->n_rows[p];

        memmove(update->b + (size_t)to * rank, update->b + first * rank,
                n * rank * sizeof *update->b);
        if (update->column_scale)
            memmove(update->column_scale + to, update->column_scale + first,
                    n * sizeof *update->column_scale);
        from += part_rows[p];
        to += slice->n_rows[p];
    }
    update->k = slice->n_columns;
    update->n = to;
}
