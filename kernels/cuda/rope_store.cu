// Norm and rotation of every head's q and k, and the way of k and v into the pages.
//
// Mapping, for head_dim 32, 64, 128 and 256: head_dim / 16 neighbouring lanes have one head, each
// lane the eight values at chunk `lane` and their partners half a head on, so that a rotation stays
// within a lane and a norm within the lanes of the head. A warp has ITEMS groups of such heads of
// one row, q before k before v; a block several warps of the same row, which then find the row's
// angles in the L1. Other head_dims, and rows that do not start at 16-byte addresses, take the
// plain kernel: a warp a head, value by value.
//
// Bytes: 4 for a value of q, k and v: each is read once and written once. The angles, 4 bytes for a
// value of a head, come from the L2 once a row and serve all its heads; a thread keeps those of its
// place. A thread has six 16-byte loads of q, k and v in flight, an SM about 70 KiB.
//
// Numbers: f32. Squares are added in order within a lane and in a tree over the lanes of a head;
// one rounding after norm and rotation together. v is copied bit for bit.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

constexpr int ITEMS = 3; // heads that a lane has a part of
constexpr int MAX_WARPS = 8;

// What becomes of a head. No pointer is ever set to NULL: the compiler then knows that all of them
// are of global memory.
typedef struct {
    const __nv_bfloat16 *src;
    __nv_bfloat16 *dst;
    const __nv_bfloat16 *norm;
    bool is_there;
    bool is_turned; // else it is copied as it is, without a norm
} head_way;

// Heads of a row are numbered q first, then k, then v. Where q, or k and v, are missing their
// number of heads is 0.
static __device__ __forceinline__ head_way find_head(const emc_rope_args &args, int row, int head,
                                                     int slot)
{
    const bool is_q = head < args.n_heads, is_k = head < args.n_heads + args.n_kv_heads;
    head_way way;

    way.is_there = head < args.n_heads + 2 * args.n_kv_heads;
    way.is_turned = is_k;
    if (is_q) {
        way.dst = (__nv_bfloat16 *)args.q + (size_t)row * args.q_stride + head * args.head_dim;
        way.src = way.dst;
        way.norm = (const __nv_bfloat16 *)args.q_norm;
        return way;
    }
    head -= args.n_heads + (is_k ? 0 : args.n_kv_heads);
    const size_t page = slot / EMC_PAGE_POSITIONS, place = slot % EMC_PAGE_POSITIONS;
    way.src = (const __nv_bfloat16 *)(is_k ? args.k : args.v) + (size_t)row * args.kv_stride +
              head * args.head_dim;
    way.dst = (__nv_bfloat16 *)(is_k ? args.k_cache : args.v_cache) +
              ((page * args.n_kv_heads + head) * EMC_PAGE_POSITIONS + place) * args.head_dim;
    way.norm = (const __nv_bfloat16 *)args.k_norm;
    return way;
}

static __device__ __forceinline__ float sum_squares(const float (&a)[8], float sum)
{
#pragma unroll
    for (int i = 0; i < 8; i++)
        sum += a[i] * a[i];
    return sum;
}

// low and high: values i and i + head_dim / 2, for eight i.
static __device__ __forceinline__ void rotate(uint4 *low, uint4 *high, uint4 low_norm,
                                              uint4 high_norm, float scale,
                                              const float4 (&angles)[4])
{
    float a[8], b[8], wa[8], wb[8];

    widen(a, *low);
    widen(b, *high);
    widen(wa, low_norm);
    widen(wb, high_norm);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        const float4 pair = angles[i / 2];
        const float c = i % 2 ? pair.z : pair.x, s = i % 2 ? pair.w : pair.y;
        const float x = a[i] * scale * wa[i], y = b[i] * scale * wb[i];
        a[i] = x * c - y * s;
        b[i] = y * c + x * s;
    }
    *low = narrow(a);
    *high = narrow(b);
}

// Grid: (rows, parts of a row's warps). Block: (32, warps).
template <int HEAD_DIM>
static __global__ void __launch_bounds__(32 * MAX_WARPS)
    rope_store_kernel(const __grid_constant__ emc_rope_args args)
{
    constexpr int LANES = HEAD_DIM / 16; // of a head
    constexpr int HALF = LANES;          // chunks of half a head
    const int row = blockIdx.x, lane = threadIdx.x % LANES;
    const int warp = blockIdx.y * blockDim.y + threadIdx.y;
    const int first = warp * ITEMS * (32 / LANES) + threadIdx.x / LANES;
    const int slot = args.n_kv_heads > 0 ? args.slots[row] : 0;
    const float4 *table =
        (const float4 *)(args.rope_table + (size_t)args.positions[row] * HEAD_DIM);
    uint4 low[ITEMS], high[ITEMS];
    float4 angles[4];
    head_way way[ITEMS];

#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        way[i] = find_head(args, row, first + i * (32 / LANES), slot);
        low[i] = high[i] = make_uint4(0, 0, 0, 0);
        if (way[i].is_there) {
            low[i] = ((const uint4 *)way[i].src)[lane];
            high[i] = ((const uint4 *)way[i].src)[lane + HALF];
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        angles[i] = table[4 * lane + i];
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
        float a[8], b[8];
        widen(a, low[i]);
        widen(b, high[i]);
        const float sum = lanes_sum<LANES>(sum_squares(b, sum_squares(a, 0.0f)));
        const float scale = rsqrtf(sum / (float)HEAD_DIM + args.eps);
        if (way[i].is_turned)
            rotate(&low[i], &high[i], ((const uint4 *)way[i].norm)[lane],
                   ((const uint4 *)way[i].norm)[lane + HALF], scale, angles);
        if (way[i].is_there) {
            ((uint4 *)way[i].dst)[lane] = low[i];
            ((uint4 *)way[i].dst)[lane + HALF] = high[i];
        }
    }
}

// Grid: (rows, heads of a row). Block: one warp.
static __global__ void __launch_bounds__(32)
    rope_store_plain_kernel(const __grid_constant__ emc_rope_args args)
{
    const int row = blockIdx.x, half = args.head_dim / 2;
    const head_way way =
        find_head(args, row, blockIdx.y, args.n_kv_heads > 0 ? args.slots[row] : 0);
    const float *table = args.rope_table + (size_t)args.positions[row] * args.head_dim;
    float sum = 0.0f;

    for (int i = threadIdx.x; way.is_turned && i < args.head_dim; i += 32) {
        const float value = __bfloat162float(way.src[i]);
        sum += value * value;
    }
    sum = lanes_sum<32>(sum);
    const float scale = rsqrtf(sum / (float)args.head_dim + args.eps);
    for (int i = threadIdx.x; i < half; i += 32) {
        const __nv_bfloat16 low = way.src[i], high = way.src[i + half];
        if (way.is_turned) {
            const float c = table[2 * i], s = table[2 * i + 1];
            const float x = __bfloat162float(low) * scale * __bfloat162float(way.norm[i]);
            const float y = __bfloat162float(high) * scale * __bfloat162float(way.norm[i + half]);
            way.dst[i] = __float2bfloat16(x * c - y * s);
            way.dst[i + half] = __float2bfloat16(y * c + x * s);
        } else {
            way.dst[i] = low;
            way.dst[i + half] = high;
        }
    }
}

template <int HEAD_DIM>
static cudaError_t launch(const cuda_device *cuda, const emc_rope_args *args, int n_heads)
{
    const int warps = cuda_blocks(n_heads, ITEMS * (512 / HEAD_DIM));
    const int in_block = warps < MAX_WARPS ? warps : MAX_WARPS;

    return EMC_LAUNCH(rope_store_kernel<HEAD_DIM>, (args->rows, cuda_blocks(warps, in_block)),
                      (32, in_block), 0, cuda->stream, *args);
}

emc_status cuda_rope_store(emc_device *dev, const emc_rope_args *args)
{
    cuda_device *cuda = cuda_use(dev);
    emc_rope_args there = *args; // with no heads of what is not there
    cudaError_t error;

    EMC_TRY(emc_check_rope_store(args));
    if (!args->q)
        there.n_heads = there.q_stride = 0;
    if (!args->k)
        there.n_kv_heads = there.kv_stride = 0;
    const int n_heads = there.n_heads + 2 * there.n_kv_heads;
    const bool whole_chunks = (there.q_stride | there.kv_stride) % CUDA_CHUNK == 0;
    if (n_heads > CUDA_MAX_GRID_Y)
        return emc_fail(EMC_ERR_ARG, "rope_store: %d heads of q, k and v, need at most %d", n_heads,
                        CUDA_MAX_GRID_Y);
    switch (whole_chunks ? args->head_dim : 0) {
    case 32:
        error = launch<32>(cuda, &there, n_heads);
        break;
    case 64:
        error = launch<64>(cuda, &there, n_heads);
        break;
    case 128:
        error = launch<128>(cuda, &there, n_heads);
        break;
    case 256:
        error = launch<256>(cuda, &there, n_heads);
        break;
    default:
        error = EMC_LAUNCH(rope_store_plain_kernel, (args->rows, n_heads), (32), 0, cuda->stream,
                           there);
    }
    return cuda_check(error, "rope_store: rows=%d n_heads=%d n_kv_heads=%d head_dim=%d", args->rows,
                      there.n_heads, there.n_kv_heads, args->head_dim);
}
