// What the three kernels of attention share.
//
// attention.cu         checks, and who computes what
// attention_causal.cu  rows that see what came before them: a prompt. Tensor cores
// attention_flat.cu    rows that see all of their context: single tokens, choices. Tensor cores
// attention_plain.cu   any size of head, one warp a row
//
// Each keeps for a row the largest score so far m, the sum l of exp2((score - m) scale_log2), and
// the weighted sum of values o, all f32 (Milakov and Gimelshein 2018, arXiv:1805.02867), and
// divides once at the end. Scores stay as q . k; the scale is folded into the power of two.
#pragma once
#include <math.h>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

// The tensor-core kernels let a maximum lag behind the true one by up to this in the exponent, so
// that most tiles need no rescaling; a weight is then at most 2^8, as good as 1 in floating point.
constexpr float ATTENTION_HEADROOM = 8.f;

// As emc_attention_args, for a kernel.
struct attention_problem {
    __nv_bfloat16 *out;
    const __nv_bfloat16 *q, *k_cache, *v_cache;
    const emc_attention_item *items;
    const int32_t *page_table, *path_slots, *path_lens;
    int q_stride, n_heads, n_kv_heads, group, head_dim;
    float scale_log2; // scale * log2(e)
    float headroom;   // in units of q . k: ATTENTION_HEADROOM / scale_log2
};

emc_status attention_causal(cuda_device *cuda, const attention_problem &p, int n_items);
// scratch_only: take the memory that such a call needs and do nothing.
emc_status attention_flat(cuda_device *cuda, const attention_problem &p, int n_items, int max_rows,
                          int max_keys, bool scratch_only);
emc_status attention_plain(cuda_device *cuda, const attention_problem &p, int n_items,
                           int max_rows);

// --- Places ----------------------------------------------------------------------------------

// The row of k_cache and v_cache, as [*, head_dim], that holds a slot.
static __device__ __forceinline__ long long cache_row(const attention_problem &p, int slot,
                                                      int kv_head)
{
    const int page = slot / EMC_PAGE_POSITIONS;
    return ((long long)page * p.n_kv_heads + kv_head) * EMC_PAGE_POSITIONS +
           slot % EMC_PAGE_POSITIONS;
}

// The slot of a position of a segment that begins at page_table[first_page].
static __device__ __forceinline__ int segment_slot(const attention_problem &p, int first_page,
                                                   int position)
{
    return __ldg(p.page_table + first_page + position / EMC_PAGE_POSITIONS) * EMC_PAGE_POSITIONS +
           position % EMC_PAGE_POSITIONS;
}

// Byte offset of a 16-byte chunk in a tile of rows of DIM values. The XOR puts one chunk of 8
// consecutive rows into 8 different groups of banks, which is what ldmatrix reads at once.
template <int DIM> static __device__ __forceinline__ uint32_t swizzle(int row, int chunk)
{
    return (uint32_t)(row * DIM * 2 + ((chunk ^ (row & 7)) << 4));
}

// Where a lane points ldmatrix in a swizzled tile: the 16 rows from row 0 on and 16 values from
// value 0 on. XOR 32 * i moves on by 16 * i values; 16 rows of bytes more, by 16 rows. The four
// registers are then, in order, A of an mma; or with .trans B of two, 8 columns each.
template <int DIM> static __device__ __forceinline__ uint32_t matrices_a(int lane)
{
    return swizzle<DIM>(lane & 15, lane >> 4);
}

// The same for a tile whose rows are columns of B: the registers are B of two products.
template <int DIM> static __device__ __forceinline__ uint32_t matrices_b(int lane)
{
    return swizzle<DIM>((lane & 7) + (lane >> 4) * 8, (lane >> 3) & 1);
}

// --- Arithmetic ------------------------------------------------------------------------------

// Over the 4 lanes that share a row of an mma fragment, and over a warp; a NaN is ignored.
static __device__ __forceinline__ float quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
    return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

static __device__ __forceinline__ float warp_max(float x)
{
    for (int i = 16; i > 0; i /= 2)
        x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
    return x;
}

// --- One row, held by a warp -----------------------------------------------------------------

// Lane i has the values 2i and 2i + 1 of every 64. For heads of up to PAIRS * 64 values.
template <int PAIRS> struct row_state {
    float m, l;
    float2 o[PAIRS];
};

template <int PAIRS> static __device__ __forceinline__ row_state<PAIRS> row_start()
{
    row_state<PAIRS> row;
    row.m = -INFINITY;
    row.l = 0.f;
    for (int i = 0; i < PAIRS; i++)
        row.o[i] = make_float2(0.f, 0.f);
    return row;
}

static __device__ __forceinline__ float dot_row(const __nv_bfloat16 *a, const __nv_bfloat16 *b,
                                                int head_dim)
{
    float sum = 0.f;

    for (int d = 0; d < head_dim; d += CUDA_CHUNK) {
        float x[CUDA_CHUNK], y[CUDA_CHUNK];
        widen(x, *reinterpret_cast<const uint4 *>(a + d));
        widen(y, *reinterpret_cast<const uint4 *>(b + d));
#pragma unroll
        for (int i = 0; i < CUDA_CHUNK; i++)
            sum = fmaf(x[i], y[i], sum);
    }
    return sum;
}

// n <= 32 keys; lane i < n names the slot of key i. Each lane multiplies one key with q; then all
// lanes add the values of one key after the other.
template <int PAIRS>
static __device__ __forceinline__ void row_take(row_state<PAIRS> &row, const attention_problem &p,
                                                const __nv_bfloat16 *q, int kv_head, int slot,
                                                int n)
{
    const int lane = (int)threadIdx.x & 31;
    const long long at = cache_row(p, slot, kv_head) * p.head_dim;
    const float score = lane < n ? dot_row(q, p.k_cache + at, p.head_dim) : -INFINITY;
    const float highest = fmaxf(row.m, warp_max(score));
    const float shrink = exp2_approx((row.m - highest) * p.scale_log2);
    const float weight = exp2_approx((score - highest) * p.scale_log2);

    row.m = highest;
    row.l = fmaf(row.l, shrink, lanes_sum<32>(weight));
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
        row.o[i] = make_float2(row.o[i].x * shrink, row.o[i].y * shrink);
#pragma unroll 4
    for (int key = 0; key < n; key++) {
        const float w = __shfl_sync(~0u, weight, key);
        const __nv_bfloat16 *v = p.v_cache + __shfl_sync(~0u, at, key) + 2 * lane;
#pragma unroll
        for (int i = 0; i < PAIRS; i++) {
            if (64 * i + 2 * lane >= p.head_dim)
                continue;
            const float2 x =
                __bfloat1622float2(*reinterpret_cast<const __nv_bfloat162 *>(v + 64 * i));
            row.o[i].x = fmaf(w, x.x, row.o[i].x);
            row.o[i].y = fmaf(w, x.y, row.o[i].y);
        }
    }
}

// The keys of the row's path, after all others; then the result.
template <int PAIRS>
static __device__ __forceinline__ void row_finish(row_state<PAIRS> &row, const attention_problem &p,
                                                  int q_row, int head)
{
    const int lane = (int)threadIdx.x & 31, n_path = __ldg(p.path_lens + q_row);
    const __nv_bfloat16 *q = p.q + (long long)q_row * p.q_stride + (long long)head * p.head_dim;

    for (int first = 0; first < n_path; first += 32) {
        const int n = min(32, n_path - first);
        const int32_t *slots = p.path_slots + (long long)q_row * EMC_MAX_PATH + first;
        row_take(row, p, q, head / p.group, __ldg(slots + min(lane, n - 1)), n);
    }
    const float inverse = __fdividef(1.f, row.l);
    __nv_bfloat16 *out = p.out + ((long long)q_row * p.n_heads + head) * p.head_dim + 2 * lane;
#pragma unroll
    for (int i = 0; i < PAIRS; i++)
        if (64 * i + 2 * lane < p.head_dim)
            *reinterpret_cast<uint32_t *>(out + 64 * i) =
                pack_bf16(fmaf(row.o[i].x, inverse, 0.f), fmaf(row.o[i].y, inverse, 0.f));
}
