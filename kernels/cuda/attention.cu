// Who attends to whom: checks, and the kernel that suits a size.
#include "kernels/cuda/attention.cuh"

static bool has_tensor_core_kernel(int head_dim)
{
    return head_dim == 128 || head_dim == 64;
}

// The kernels take q in whole chunks.
static emc_status check_stride(const emc_attention_args *args)
{
    if (args->q_stride % CUDA_CHUNK != 0)
        return emc_fail(EMC_ERR_ARG, "attention: n_heads=%d head_dim=%d do not fit q_stride=%d",
                        args->n_heads, args->head_dim, args->q_stride);
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

    EMC_TRY(emc_check_attention(dev->dtype, args));
    EMC_TRY(check_stride(args));
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

    EMC_TRY(emc_check_attention_sizes(args));
    EMC_TRY(check_stride(args));
    if (n_flat < 1 || !has_tensor_core_kernel(args->head_dim))
        return EMC_OK;
    return attention_flat(cuda_use(dev), problem_of(args), n_flat, args->max_flat_rows,
                          args->max_flat_keys, true);
}
