// attention for heads of any size: one warp a row and head, 32 keys at a time, f32 throughout.
//
// It is what small models and odd sizes get; nothing here is tuned. A row's bits are its own: keys
// come in groups of 32 that begin where a segment begins, and nothing is shared between rows.
#include "kernels/cuda/attention.cuh"

constexpr int WARPS = 4;

template <int PAIRS>
static __device__ __forceinline__ void
take_segment(row_state<PAIRS> &row, const attention_problem &p, const __nv_bfloat16 *q, int kv_head,
             int first_page, int n_keys)
{
    const int lane = (int)threadIdx.x & 31;

    for (int first = 0; first < n_keys; first += 32) {
        const int n = min(32, n_keys - first);
        row_take(row, p, q, kv_head, segment_slot(p, first_page, first + min(lane, n - 1)), n);
    }
}

// Grid: rows in fours, of the longest item; then heads; then items.
template <int PAIRS>
static __global__ void __launch_bounds__(WARPS * 32, 4)
    attention_plain_kernel(const attention_problem p, int n_fours)
{
    const int four = (int)(blockIdx.x % (unsigned)n_fours);
    const int pair = (int)(blockIdx.x / (unsigned)n_fours);
    const int head = pair % p.n_heads, kv_head = head / p.group;
    const emc_attention_item item = p.items[pair / p.n_heads];
    const int i = four * WARPS + ((int)threadIdx.x >> 5), q_row = item.row0 + i;

    if (i >= item.n_rows)
        return;
    const __nv_bfloat16 *q = p.q + (long long)q_row * p.q_stride + (long long)head * p.head_dim;
    row_state<PAIRS> row = row_start<PAIRS>();
    take_segment(row, p, q, kv_head, item.prefix_page, item.prefix_len);
    take_segment(row, p, q, kv_head, item.own_page, item.own_seen + (item.causal ? i : 0));
    row_finish(row, p, q_row, head);
}

emc_status attention_plain(cuda_device *cuda, const attention_problem &p, int n_items, int max_rows)
{
    const int n_fours = cuda_blocks(max_rows, WARPS);
    const long long blocks = (long long)n_items * p.n_heads * n_fours;
    const char *what = "attention: n_items=%d max_rows=%d n_heads=%d head_dim=%d";

    if (blocks > INT32_MAX)
        return emc_fail(EMC_ERR_ARG, "attention: n_items=%d n_heads=%d: more than a GPU's grid",
                        n_items, p.n_heads);
    if (p.head_dim <= 128)
        return cuda_check(EMC_LAUNCH(attention_plain_kernel<2>, ((unsigned)blocks), (WARPS * 32), 0,
                                     cuda->stream, p, n_fours),
                          what, n_items, max_rows, p.n_heads, p.head_dim);
    return cuda_check(EMC_LAUNCH(attention_plain_kernel<4>, ((unsigned)blocks), (WARPS * 32), 0,
                                 cuda->stream, p, n_fours),
                      what, n_items, max_rows, p.n_heads, p.head_dim);
}
