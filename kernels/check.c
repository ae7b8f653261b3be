/* Do the arguments of an operation keep to the limits of its contract? */
#include "kernels/check.h"

#include <limits.h>
#include <math.h>

/* Whether there is a tensor at an address that every device takes. */
static bool aligned(const void *tensor)
{
    return tensor && (uintptr_t)tensor % 16 == 0;
}

/* Whether n_a bytes at a and n_b bytes at b have any in common. */
static bool overlap(const void *a, size_t n_a, const void *b, size_t n_b)
{
    return (uintptr_t)a < (uintptr_t)b + n_b && (uintptr_t)b < (uintptr_t)a + n_a;
}

static bool is_multiple_of_8(int n)
{
    return n >= 8 && n % 8 == 0;
}

/* --- Weights ---------------------------------------------------------------------------------- */

emc_status emc_check_matrix(const emc_matrix_part *parts, int n_parts, int k, bool may_lack_data,
                            int *n_rows)
{
    int sum = 0;

    if (!parts || n_parts < 1 || k < 1)
        return emc_fail(EMC_ERR_ARG, "matrix_open: n_parts=%d k=%d, need both >= 1", n_parts, k);
    for (int i = 0; i < n_parts; i++) {
        const emc_matrix_part *part = &parts[i];
        if ((!part->data && !may_lack_data) || part->n_rows < 1 || part->n_rows > INT_MAX - sum)
            return emc_fail(EMC_ERR_ARG,
                            "matrix_open: part %d has n_rows=%d, need data and n_rows >= 1, in "
                            "all below 2^31",
                            i, part->n_rows);
        if (part->dtype != EMC_F32 && part->dtype != EMC_BF16 && part->dtype != EMC_F16)
            return emc_fail(EMC_ERR_ARG, "matrix_open: part %d has dtype %d, need F32, BF16 or F16",
                            i, (int)part->dtype);
        sum += part->n_rows;
    }
    *n_rows = sum;
    return EMC_OK;
}

emc_status emc_check_lora(const emc_lora_spec *spec)
{
    if (spec->rank < 1 || spec->n < 1 || spec->k < 1 || !spec->a || !spec->b)
        return emc_fail(EMC_ERR_ARG, "lora_open: rank=%d n=%d k=%d, need a, b and all three >= 1",
                        spec->rank, spec->n, spec->k);
    return EMC_OK;
}

/* --- Rows ------------------------------------------------------------------------------------- */

emc_status emc_check_embed(const void *out, emc_shape table, emc_shape lora, bool has_scale,
                           const int32_t *ids, int rows)
{
    if (table.n < 1 || !ids || rows < 1 || !aligned(out))
        return emc_fail(EMC_ERR_ARG,
                        "embed: rows=%d dim=%d, need a table, ids, rows >= 1 and out 16-byte "
                        "aligned",
                        rows, table.k);
    if (lora.n > 0 && (lora.k != table.n || lora.n != table.k || has_scale))
        return emc_fail(EMC_ERR_ARG,
                        "embed: a low-rank update [%d, %d] for a table [%d, %d], need them "
                        "transposed and no column scale",
                        lora.n, lora.k, table.n, table.k);
    return EMC_OK;
}

static emc_status check_norm_sizes(const char *name, int rows, int dim)
{
    if (rows < 1 || !is_multiple_of_8(dim))
        return emc_fail(EMC_ERR_ARG, "%s: rows=%d dim=%d, need rows >= 1, dim %% 8 == 0", name,
                        rows, dim);
    return EMC_OK;
}

emc_status emc_check_rmsnorm(emc_dtype dtype, const void *out, const void *x, const void *weight,
                             int rows, int dim)
{
    EMC_TRY(check_norm_sizes("rmsnorm", rows, dim));
    const size_t n_bytes = (size_t)rows * (size_t)dim * emc_dtype_bytes(dtype);
    if (!aligned(out) || !aligned(x) || !aligned(weight) ||
        (out != x && overlap(out, n_bytes, x, n_bytes)))
        return emc_fail(EMC_ERR_ARG,
                        "rmsnorm: rows=%d dim=%d, need 16-byte aligned tensors, and out to be x "
                        "or apart from it",
                        rows, dim);
    return EMC_OK;
}

emc_status emc_check_add_rmsnorm(emc_dtype dtype, const void *out, const void *x, const void *y,
                                 const void *weight, int rows, int dim)
{
    EMC_TRY(check_norm_sizes("add_rmsnorm", rows, dim));
    const size_t n_bytes = (size_t)rows * (size_t)dim * emc_dtype_bytes(dtype);
    if (!aligned(out) || !aligned(x) || !aligned(y) || !aligned(weight) ||
        overlap(x, n_bytes, y, n_bytes) || overlap(x, n_bytes, out, n_bytes) ||
        (out != y && overlap(out, n_bytes, y, n_bytes)))
        return emc_fail(EMC_ERR_ARG,
                        "add_rmsnorm: rows=%d dim=%d, need 16-byte aligned tensors, x apart from "
                        "the others, and out to be y or apart from it",
                        rows, dim);
    return EMC_OK;
}

emc_status emc_check_swiglu(emc_dtype dtype, const void *out, const void *gate_up, int rows,
                            int ffn)
{
    if (rows < 1 || !is_multiple_of_8(ffn))
        return emc_fail(EMC_ERR_ARG, "swiglu: rows=%d ffn=%d, need rows >= 1, ffn %% 8 == 0", rows,
                        ffn);
    const size_t out_bytes = (size_t)rows * (size_t)ffn * emc_dtype_bytes(dtype);
    if (!aligned(out) || !aligned(gate_up) || overlap(out, out_bytes, gate_up, 2 * out_bytes))
        return emc_fail(EMC_ERR_ARG,
                        "swiglu: rows=%d ffn=%d, need 16-byte aligned tensors that do not overlap",
                        rows, ffn);
    return EMC_OK;
}

emc_status emc_check_gather_rows(const void *out, const void *x, const int32_t *index, int n,
                                 int dim)
{
    if (n < 1 || dim < 1)
        return emc_fail(EMC_ERR_ARG, "gather_rows: n=%d dim=%d, need both >= 1", n, dim);
    if (!aligned(out) || !aligned(x) || !index)
        return emc_fail(EMC_ERR_ARG,
                        "gather_rows: n=%d dim=%d, a tensor is missing or not 16-byte aligned", n,
                        dim);
    return EMC_OK;
}

/* --- Products --------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    const void *x;
    int rows;
    int first, n;
    emc_shape w, lora;
} product;

static emc_status check_product(const product *p)
{
    if (p->rows < 1 || p->first < 0 || p->n < 1 || p->n > p->w.n || p->first > p->w.n - p->n)
        return emc_fail(EMC_ERR_ARG,
                        "%s: rows=%d first=%d n=%d of a matrix [%d, %d], need rows >= 1 and "
                        "rows of the matrix that are there",
                        p->name, p->rows, p->first, p->n, p->w.n, p->w.k);
    if (!aligned(p->x))
        return emc_fail(EMC_ERR_ARG, "%s: rows=%d k=%d, x is not 16-byte aligned", p->name, p->rows,
                        p->w.k);
    if (p->lora.n > 0 && (p->lora.n != p->w.n || p->lora.k != p->w.k))
        return emc_fail(EMC_ERR_ARG, "%s: a low-rank update [%d, %d] for a matrix [%d, %d]",
                        p->name, p->lora.n, p->lora.k, p->w.n, p->w.k);
    return EMC_OK;
}

emc_status emc_check_linear(emc_dtype dtype, const emc_linear_args *args, emc_shape w,
                            emc_shape lora)
{
    const product p = {"linear", args->x, args->rows, args->first, args->n, w, lora};

    EMC_TRY(check_product(&p));
    /* A device may write the rows that there is only room for. */
    const int rows = args->batch_rows > args->rows ? args->batch_rows : args->rows;
    const size_t out_size = emc_dtype_bytes(args->out_f32 ? EMC_F32 : dtype);
    const size_t out_bytes = out_size * (size_t)rows * (size_t)args->n;
    const size_t x_bytes = emc_dtype_bytes(dtype) * (size_t)rows * (size_t)w.k;
    if (args->out_f32 && args->residual)
        return emc_fail(EMC_ERR_ARG, "linear: rows=%d n=%d k=%d, a residual and f32 results",
                        args->rows, args->n, w.k);
    if (!aligned(args->out) || (args->residual && !aligned(args->residual)))
        return emc_fail(EMC_ERR_ARG,
                        "linear: rows=%d n=%d k=%d, out or residual is not 16-byte aligned",
                        args->rows, args->n, w.k);
    if (overlap(args->out, out_bytes, args->x, x_bytes) ||
        (args->residual && args->residual != args->out &&
         overlap(args->out, out_bytes, args->residual, out_bytes)))
        return emc_fail(EMC_ERR_ARG,
                        "linear: rows=%d n=%d k=%d, out overlaps x, or residual without being it",
                        args->rows, args->n, w.k);
    return EMC_OK;
}

emc_status emc_check_head(const emc_head_args *args, emc_shape w, emc_shape lora)
{
    const product p = {"head", args->x, args->rows, 0, w.n, w, lora};

    EMC_TRY(check_product(&p));
    if (args->first_id < 0 || args->first_id > INT_MAX - w.n)
        return emc_fail(EMC_ERR_ARG, "head: first_id=%d of %d ids", args->first_id, w.n);
    if (args->n_ids < 1 || args->n_ids > args->first_id + w.n)
        return emc_fail(EMC_ERR_ARG, "head: n_ids=%d of a vocabulary of %d", args->n_ids,
                        args->first_id + w.n);
    if (args->n_top < 1 || args->n_top > EMC_MAX_TOP)
        return emc_fail(EMC_ERR_ARG, "head: n_top=%d, need 1 to %d", args->n_top, EMC_MAX_TOP);
    if (!args->wanted_begin || !args->log_sum || !args->top_ids)
        return emc_fail(EMC_ERR_ARG, "head: rows=%d, wanted_begin, log_sum or top_ids is missing",
                        args->rows);
    return EMC_OK;
}

emc_status emc_check_merge_heads(const emc_merge_heads_args *args)
{
    if (args->rows < 1 || args->n_slices < 1 || args->stride < args->rows)
        return emc_fail(EMC_ERR_ARG,
                        "merge_heads: rows=%d n_slices=%d stride=%d, need the first two >= 1 and "
                        "stride >= rows",
                        args->rows, args->n_slices, args->stride);
    if (!args->log_sum || !args->top_ids || !args->slice_log_sums || !args->slice_ids ||
        !args->slice_logits)
        return emc_fail(EMC_ERR_ARG, "merge_heads: rows=%d, an array is missing", args->rows);
    return EMC_OK;
}

emc_status emc_check_round(emc_dtype dtype, const void *out, const float *x, size_t n)
{
    if (n < 1 || !aligned(out) || !aligned(x) ||
        overlap(out, n * emc_dtype_bytes(dtype), x, n * sizeof *x))
        return emc_fail(EMC_ERR_ARG,
                        "round: n=%zu, need n >= 1 and 16-byte aligned tensors that do not overlap",
                        n);
    return EMC_OK;
}

/* --- Collectives ------------------------------------------------------------------------------ */

emc_status emc_check_comms(emc_device *const *devices, int n, double deadline_s)
{
    if (n < 1 || !(deadline_s > 0))
        return emc_fail(EMC_ERR_ARG, "comms_open: n=%d deadline_s=%g, need n >= 1 and a time", n,
                        deadline_s);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            if (devices[i] == devices[k])
                return emc_fail(EMC_ERR_ARG, "comms_open: ranks %d and %d are one device", k, i);
    return EMC_OK;
}

emc_status emc_check_all_reduce(const void *x, size_t n, emc_dtype dtype)
{
    if (n < 1 || !aligned(x) || (dtype != EMC_F32 && dtype != EMC_BF16))
        return emc_fail(EMC_ERR_ARG,
                        "all_reduce: n=%zu dtype %d, need n >= 1, F32 or BF16, and x 16-byte "
                        "aligned",
                        n, (int)dtype);
    return EMC_OK;
}

emc_status emc_check_all_gather(const void *out, const void *x, size_t n_bytes, int rank, int n)
{
    const char *mine = (const char *)out + (size_t)rank * n_bytes;

    if (n_bytes < 1 || !aligned(out) || !x ||
        (x != mine && overlap(out, n_bytes * (size_t)n, x, n_bytes)))
        return emc_fail(EMC_ERR_ARG,
                        "all_gather: %zu bytes of %d ranks, need at least 1, out 16-byte aligned, "
                        "and x apart from it or in its place there",
                        n_bytes, n);
    return EMC_OK;
}

emc_status emc_check_broadcast(const void *x, size_t n_bytes)
{
    if (n_bytes < 1 || !x)
        return emc_fail(EMC_ERR_ARG, "broadcast: %zu bytes, need at least 1", n_bytes);
    return EMC_OK;
}

/* --- Heads of q, k and v ---------------------------------------------------------------------- */

emc_status emc_check_rope_store(const emc_rope_args *args)
{
    const int dim = args->head_dim;
    const bool q = args->q != NULL, k = args->k != NULL;

    if (args->rows < 1 || !is_multiple_of_8(dim) || dim > EMC_MAX_HEAD_DIM)
        return emc_fail(EMC_ERR_ARG,
                        "rope_store: rows=%d head_dim=%d, need rows >= 1 and head_dim a multiple "
                        "of 8 up to %d",
                        args->rows, dim, EMC_MAX_HEAD_DIM);
    if (q && (args->n_heads < 1 || args->q_stride / dim < args->n_heads))
        return emc_fail(EMC_ERR_ARG, "rope_store: n_heads=%d head_dim=%d do not fit q_stride=%d",
                        args->n_heads, dim, args->q_stride);
    if (k && (args->n_kv_heads < 1 || args->kv_stride / dim < args->n_kv_heads))
        return emc_fail(EMC_ERR_ARG,
                        "rope_store: n_kv_heads=%d head_dim=%d do not fit kv_stride=%d",
                        args->n_kv_heads, dim, args->kv_stride);
    if (k != (args->v != NULL) || (!q && !k))
        return emc_fail(EMC_ERR_ARG, "rope_store: rows=%d, need q, or k and v, or all three",
                        args->rows);
    if (!aligned(args->rope_table) || !args->positions ||
        (q && (!aligned(args->q) || !aligned(args->q_norm))) ||
        (k && (!aligned(args->k) || !aligned(args->v) || !aligned(args->k_norm) ||
               !aligned(args->k_cache) || !aligned(args->v_cache) || !args->slots)))
        return emc_fail(EMC_ERR_ARG,
                        "rope_store: rows=%d head_dim=%d, a tensor is missing or not 16-byte "
                        "aligned",
                        args->rows, dim);
    return EMC_OK;
}

static emc_status check_items(const emc_attention_args *args)
{
    const int n_flat = args->n_items - args->n_causal_items, most = EMC_MAX_ITEM_ROWS;

    if (args->n_causal_items < 0 || n_flat < 0)
        return emc_fail(EMC_ERR_ARG, "attention: n_causal_items=%d of n_items=%d",
                        args->n_causal_items, args->n_items);
    if (args->n_causal_items > 0 && (args->max_causal_rows < 1 || args->max_causal_rows > most))
        return emc_fail(EMC_ERR_ARG, "attention: max_causal_rows=%d, need 1 to %d",
                        args->max_causal_rows, most);
    if (n_flat > 0 &&
        (args->max_flat_rows < 1 || args->max_flat_rows > most || args->max_flat_keys < 1))
        return emc_fail(EMC_ERR_ARG,
                        "attention: max_flat_rows=%d max_flat_keys=%d, need 1 to %d rows, a key",
                        args->max_flat_rows, args->max_flat_keys, most);
    return EMC_OK;
}

emc_status emc_check_attention_sizes(const emc_attention_args *args)
{
    const int dim = args->head_dim, n_heads = args->n_heads, n_kv_heads = args->n_kv_heads;

    if (args->rows < 1 || args->n_items < 1)
        return emc_fail(EMC_ERR_ARG, "attention: rows=%d n_items=%d, need both >= 1", args->rows,
                        args->n_items);
    if (!is_multiple_of_8(dim) || dim > EMC_MAX_HEAD_DIM)
        return emc_fail(EMC_ERR_ARG, "attention: head_dim=%d, need a multiple of 8 up to %d", dim,
                        EMC_MAX_HEAD_DIM);
    if (n_kv_heads < 1 || n_heads < 1 || n_heads % n_kv_heads != 0)
        return emc_fail(EMC_ERR_ARG,
                        "attention: n_heads=%d n_kv_heads=%d, need one to divide the other",
                        n_heads, n_kv_heads);
    if (args->q_stride / dim < n_heads)
        return emc_fail(EMC_ERR_ARG, "attention: n_heads=%d head_dim=%d do not fit q_stride=%d",
                        n_heads, dim, args->q_stride);
    EMC_TRY(check_items(args));
    if (!(args->scale > 0.0f && args->scale < INFINITY))
        return emc_fail(EMC_ERR_ARG, "attention: scale=%g, need a positive number",
                        (double)args->scale);
    return EMC_OK;
}

emc_status emc_check_attention(emc_dtype dtype, const emc_attention_args *args)
{
    EMC_TRY(emc_check_attention_sizes(args));
    if (!aligned(args->out) || !aligned(args->q) || !aligned(args->k_cache) ||
        !aligned(args->v_cache) || !args->items || !args->page_table || !args->path_slots ||
        !args->path_lens)
        return emc_fail(EMC_ERR_ARG,
                        "attention: rows=%d, a tensor is missing or not 16-byte aligned",
                        args->rows);
    const size_t size = emc_dtype_bytes(dtype), rows = (size_t)args->rows;
    const size_t width = (size_t)args->n_heads * (size_t)args->head_dim;
    if (overlap(args->out, rows * width * size, args->q,
                ((rows - 1) * (size_t)args->q_stride + width) * size))
        return emc_fail(EMC_ERR_ARG, "attention: rows=%d, out overlaps q", args->rows);
    return EMC_OK;
}
