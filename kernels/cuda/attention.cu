// Who attends to whom: checks, and the kernel that suits a size.
#include "kernels/cuda/attention.cuh"

static bool has_tensor_core_kernel(int head_dim)
{
    return head_dim == 128 || head_dim == 64;
}

static emc_status check_sizes(const emc_attention_args *args)
{
    const int dim = args->head_dim, n_heads = args->n_heads, n_kv_heads = args->n_kv_heads;
    const int n_flat = args->n_items - args->n_causal_items;

    if (args->rows < 1 || args->n_items < 1)
        return emc_fail(EMC_ERR_ARG, "attention: rows=%d n_items=%d, need both >= 1", args->rows,
                        args->n_items);
    if (dim < 8 || dim % 8 != 0 || dim > 256)
        return emc_fail(EMC_ERR_ARG, "attention: head_dim=%d, need a multiple of 8 up to 256", dim);
    if (n_kv_heads < 1 || n_heads < 1 || n_heads % n_kv_heads != 0)
        return emc_fail(EMC_ERR_ARG,
                        "attention: n_heads=%d n_kv_heads=%d, need one to divide the other",
                        n_heads, n_kv_heads);
    if (args->q_stride / dim < n_heads || args->q_stride % CUDA_CHUNK != 0)
        return emc_fail(EMC_ERR_ARG, "attention: n_heads=%d head_dim=%d do not fit q_stride=%d",
                        n_heads, dim, args->q_stride);
    if (args->n_causal_items < 0 || n_flat < 0)
        return emc_fail(EMC_ERR_ARG, "attention: n_causal_items=%d of n_items=%d",
                        args->n_causal_items, args->n_items);
    if (args->n_causal_items > 0 &&
        (args->max_causal_rows < 1 || args->max_causal_rows > EMC_MAX_ITEM_ROWS))
        return emc_fail(EMC_ERR_ARG, "attention: max_causal_rows=%d, need 1 to %d",
                        args->max_causal_rows, EMC_MAX_ITEM_ROWS);
    if (n_flat > 0 && (args->max_flat_rows < 1 || args->max_flat_rows > EMC_MAX_ITEM_ROWS ||
                       args->max_flat_keys < 1))
        return emc_fail(EMC_ERR_ARG,
                        "attention: max_flat_rows=%d max_flat_keys=%d, need 1 to %d rows, a key",
                        args->max_flat_rows, args->max_flat_keys, EMC_MAX_ITEM_ROWS);
    if (!(args->scale > 0.f && args->scale < INFINITY))
        return emc_fail(EMC_ERR_ARG, "attention: scale=%g, need a positive number",
                        (double)args->scale);
    return EMC_OK;
}

static emc_status check_tensors(const emc_attention_args *args)
{
    const size_t width = (size_t)args->n_heads * (size_t)args->head_dim, rows = (size_t)args->rows;

    if (!cuda_aligned(args->out) || !cuda_aligned(args->q) || !cuda_aligned(args->k_cache) ||
        !cuda_aligned(args->v_cache) || !args->items || !args->page_table || !args->path_slots ||
        !args->path_lens)
        return emc_fail(EMC_ERR_ARG,
                        "attention: rows=%d, a tensor is missing or not 16-byte aligned",
                        args->rows);
    if (cuda_overlap(args->out, rows * width * sizeof(__nv_bfloat16), args->q,
                     ((rows - 1) * (size_t)args->q_stride + width) * sizeof(__nv_bfloat16)))
        return emc_fail(EMC_ERR_ARG, "attention: rows=%d, out overlaps q", args->rows);
    return EMC_OK;
}

static attention_problem problem_of(const emc_attention_args *args)
{
    attention_problem p;

    p.out = (__nv_bfloat16 *)args->out;
    p.q = (const __nv_bfloat16 *)args->q;
    p.k_cache = (const __nv_bfloat16 *)args->k_cache;
    p.v_cache = (const __nv_bfloat16 *)args->v_cache;
    p.items = args->items;
    p.page_table = args->page_table;
    p.path_slots = args->path_slots;
    p.path_lens = args->path_lens;
    p.q_stride = args->q_stride;
    p.n_heads = args->n_heads;
    p.n_kv_heads = args->n_kv_heads;
    p.group = args->n_heads / args->n_kv_heads;
    p.head_dim = args->head_dim;
    p.scale_log2 = args->scale * 1.4426950408889634f;
    p.headroom = ATTENTION_HEADROOM / p.scale_log2;
    return p;
}

emc_status cuda_attention(emc_device *dev, const emc_attention_args *args)
{
    cuda_device *cuda = cuda_use(dev);
    const int n_causal = args->n_causal_items, n_flat = args->n_items - n_causal;

    EMC_TRY(check_sizes(args));
    EMC_TRY(check_tensors(args));
    attention_problem p = problem_of(args);
    if (!has_tensor_core_kernel(p.head_dim))
        return attention_plain(cuda, p, args->n_items,
                               max(args->max_causal_rows, args->max_flat_rows));
    if (n_causal > 0)
        EMC_TRY(attention_causal(cuda, p, n_causal));
    p.items += n_causal;
    if (n_flat > 0)
        EMC_TRY(attention_flat(cuda, p, n_flat, args->max_flat_rows, args->max_flat_keys, false));
    return EMC_OK;
}

emc_status cuda_prepare_attention(emc_device *dev, const emc_attention_args *args)
{
    const int n_flat = args->n_items - args->n_causal_items;

    EMC_TRY(check_sizes(args));
    if (n_flat < 1 || !has_tensor_core_kernel(args->head_dim))
        return EMC_OK;
    return attention_flat(cuda_use(dev), problem_of(args), n_flat, args->max_flat_rows,
                          args->max_flat_keys, true);
}
