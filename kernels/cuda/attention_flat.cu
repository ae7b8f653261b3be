// attention of rows that see all of their item's context: single tokens, choices, readers.
//
// Few rows, many keys: what counts is to read K and V once and with many bytes in flight. The rows
// of an item times the heads that share a K/V head are the rows of the products, 16 or 32 of them
// a block, so that a group's heads read K and V together. The context is cut into groups of 16
// keys; the 4 warps of a block take them in turn, each with a ring of its own: no barrier between
// the first group and the last. A warp has three of its four slots in flight (12 KiB at head_dim
// 128), two blocks of an SM 96 KiB; bandwidth times latency of an H200 asks for about 40.
//
// A context of more than 64 groups is split evenly over blocks; their sums go to scratch memory,
// and attention_join_kernel adds them. Path keys come last, one row after the other, in f32.
//
// Numerics as in attention_causal.cu: bf16 P, f32 sums, a maximum that follows with headroom.
//
// A row's bits are its own: which warp and which split takes a key follows from the item's
// prefix_len and own_seen, not from other items or the number of rows; sums of warps are added in
// the order of warps, sums of splits in the order of splits. That a block has 16 or 32 rows
// changes no operation on any of them.
#include "kernels/cuda/attention.cuh"

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * 32;
constexpr int KEYS = 16;         // of a group
constexpr int SPLIT_GROUPS = 64; // at most, of a split
constexpr int N_STAGES = 2;      // groups in a warp's ring, K and V of each
constexpr size_t MAX_SCRATCH = (size_t)64 << 20;
static_assert(EMC_PAGE_POSITIONS % KEYS == 0, "a group must not cross a page");

// MT: 16-row tiles of a block.
template <int DIM, int MT> struct layout {
    static constexpr int HEAD_DIM = DIM;
    static constexpr int ROW_TILES = MT;
    static constexpr int ROWS = MT * 16;
    static constexpr int ROW_BYTES = DIM * 2;
    static constexpr int SLOT_BYTES = KEYS * ROW_BYTES;
    static constexpr int RING = ROWS * ROW_BYTES; // after Q
    static constexpr int RING_BYTES = N_STAGES * 2 * SLOT_BYTES;
    // A row's sums in f32: o, m, l, and room so that 8 rows lie in different banks.
    static constexpr int PART = DIM + 8;
    static constexpr int PARTS_BYTES = WARPS * ROWS * PART * (int)sizeof(float);
    static constexpr int ALL = RING + WARPS * RING_BYTES;
    static constexpr int BYTES = ALL > PARTS_BYTES ? ALL : PARTS_BYTES;
};

// How an item's context is cut.
struct context_cut {
    int n_prefix_groups, n_groups, n_splits;
};

static __host__ __device__ __forceinline__ int ceil_div(int n, int by)
{
    return (n + by - 1) / by;
}

static __device__ __forceinline__ context_cut cut_context(const emc_attention_item &item)
{
    context_cut cut;
    cut.n_prefix_groups = ceil_div(item.prefix_len, KEYS);
    cut.n_groups = cut.n_prefix_groups + ceil_div(item.own_seen, KEYS);
    cut.n_splits = ceil_div(cut.n_groups, SPLIT_GROUPS);
    return cut;
}

// What one launch computes: pairs of item and K/V head from pair0 on, with their tiles of rows
// and splits.
struct flat_launch {
    attention_problem p;
    float *scratch; // [pair - pair0][split][tile][row][PART]
    int pair0, n_tiles, n_splits;
};

// Where a group of keys lies.
struct group_place {
    long long at; // its first value in the caches
    int n_keys;
};

static __device__ __forceinline__ group_place find_group(const attention_problem &p,
                                                         const emc_attention_item &item,
                                                         const context_cut &cut, int kv_head,
                                                         int group, int end)
{
    group_place place = {0, 0};

    if (group < end) {
        const bool own = group >= cut.n_prefix_groups;
        const int position = (own ? group - cut.n_prefix_groups : group) * KEYS;
        const int slot = segment_slot(p, own ? item.own_page : item.prefix_page, position);
        place.at = cache_row(p, slot, kv_head) * p.head_dim;
        place.n_keys = min(KEYS, (own ? item.own_seen : item.prefix_len) - position);
    }
    return place;
}

// A warp copies a group of K or V; rows past its end become zeros.
template <int DIM>
static __device__ __forceinline__ void copy_group(smem_addr dst, const __nv_bfloat16 *cache,
                                                  const group_place &place)
{
    constexpr int CHUNKS = DIM / CUDA_CHUNK, STEP = 32 / CHUNKS;
    const int lane = (int)threadIdx.x & 31, row = lane / CHUNKS, chunk = lane % CHUNKS;
    const __nv_bfloat16 *src = cache + place.at + row * DIM + chunk * CUDA_CHUNK;

    if (place.n_keys > 0)
#pragma unroll
        for (int i = 0; i < KEYS; i += STEP)
            cp_async_16(dst + swizzle<DIM>(row + i, chunk), src + i * DIM, row + i < place.n_keys);
    cp_async_commit();
}

// Adds n parts, `stride` floats apart, in their order. A part without keys has m = -infinity.
template <int PAIRS>
static __device__ __forceinline__ row_state<PAIRS> join_parts(const float *part, long long stride,
                                                              int n, float scale_log2)
{
    const int lane = (int)threadIdx.x & 31, dim = PAIRS * 64;
    row_state<PAIRS> row = row_start<PAIRS>();

    for (int i = 0; i < n; i++)
        row.m = fmaxf(row.m, part[i * stride + dim]);
    for (int i = 0; i < n; i++) {
        const float *from = part + i * stride;
        const float w =
            from[dim] == -INFINITY ? 0.f : exp2_approx((from[dim] - row.m) * scale_log2);
        row.l = fmaf(w, from[dim + 1], row.l);
#pragma unroll
        for (int j = 0; j < PAIRS; j++) {
            const float2 o = *reinterpret_cast<const float2 *>(from + 64 * j + 2 * lane);
            row.o[j] = make_float2(fmaf(w, o.x, row.o[j].x), fmaf(w, o.y, row.o[j].y));
        }
    }
    return row;
}

// A warp's groups first, first + WARPS, ... of its split: O, m, l of MT * 16 rows.
template <int DIM, int MT>
static __device__ __forceinline__ void
walk_groups(float (&o)[MT][DIM / 8][4], float (&m)[MT][2], float (&l)[MT][2],
            const attention_problem &p, const emc_attention_item &item, const context_cut &cut,
            int kv_head, int first, int end, smem_addr q_at, smem_addr ring)
{
    typedef layout<DIM, MT> L;
    const int lane = (int)threadIdx.x & 31;
    const uint32_t a_at = matrices_a<DIM>(lane), b_at = matrices_b<DIM>(lane);
    const float c = p.scale_log2, headroom = p.headroom;
    group_place now, next[N_STAGES];

#pragma unroll
    for (int i = 0; i < N_STAGES; i++) {
        const smem_addr slot = ring + (uint32_t)(i * 2 * L::SLOT_BYTES);
        next[i] = find_group(p, item, cut, kv_head, first + i * WARPS, end);
        copy_group<DIM>(slot, p.k_cache, next[i]);
        copy_group<DIM>(slot + L::SLOT_BYTES, p.v_cache, next[i]);
    }
    cp_async_wait<2 * N_STAGES>(); // Q, which came first
    __syncthreads();

    for (int group = first, stage = 0; group < end; group += WARPS, stage ^= 1) {
        const smem_addr k_slot = ring + (uint32_t)(stage * 2 * L::SLOT_BYTES);
        const smem_addr v_slot = k_slot + L::SLOT_BYTES;
        float s[MT][2][4];

        now = next[0];
        next[0] = next[1];
        next[1] = find_group(p, item, cut, kv_head, group + N_STAGES * WARPS, end);
        cp_async_wait<2 * N_STAGES - 1>(); // K of this group
        __syncwarp();
#pragma unroll
        for (int mi = 0; mi < MT; mi++)
#pragma unroll
            for (int e = 0; e < 8; e++)
                s[mi][e >> 2][e & 3] = 0.f;
#pragma unroll
        for (int kk = 0; kk < DIM / 16; kk++) {
            uint32_t k[4];
            ldmatrix_x4(k, (k_slot + b_at) ^ (uint32_t)(kk * 32));
#pragma unroll
            for (int mi = 0; mi < MT; mi++) {
                uint32_t q[4];
                ldmatrix_x4(q, ((q_at + a_at) ^ (uint32_t)(kk * 32)) +
                                   (uint32_t)(mi * 16 * L::ROW_BYTES));
                mma_bf16_16816(s[mi][0], q, k[0], k[1]);
                mma_bf16_16816(s[mi][1], q, k[2], k[3]);
            }
        }
        __syncwarp(); // all lanes have read K
        copy_group<DIM>(k_slot, p.k_cache, next[1]);

        if (now.n_keys < KEYS)
#pragma unroll
            for (int mi = 0; mi < MT; mi++)
#pragma unroll
                for (int e = 0; e < 8; e++)
                    if ((e >> 2) * 8 + (lane & 3) * 2 + (e & 1) >= now.n_keys)
                        s[mi][e >> 2][e & 3] = -INFINITY;

        float highest[MT][2];
        bool grows = false;
#pragma unroll
        for (int mi = 0; mi < MT; mi++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                highest[mi][h] = quad_max(fmaxf(fmaxf(s[mi][0][2 * h], s[mi][0][2 * h + 1]),
                                                fmaxf(s[mi][1][2 * h], s[mi][1][2 * h + 1])));
                grows = grows || highest[mi][h] > m[mi][h] + headroom;
            }
        if (__any_sync(~0u, grows)) {
#pragma unroll
            for (int mi = 0; mi < MT; mi++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    const bool grow = highest[mi][h] > m[mi][h] + headroom;
                    const float shrink = grow ? exp2_approx((m[mi][h] - highest[mi][h]) * c) : 1.f;
                    m[mi][h] = grow ? highest[mi][h] : m[mi][h];
                    l[mi][h] *= shrink;
#pragma unroll
                    for (int n = 0; n < DIM / 8; n++) {
                        o[mi][n][2 * h] *= shrink;
                        o[mi][n][2 * h + 1] *= shrink;
                    }
                }
        }
        uint32_t weights[MT][4];
#pragma unroll
        for (int mi = 0; mi < MT; mi++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float *x = s[mi][half];
#pragma unroll
                for (int e = 0; e < 4; e++)
                    x[e] = exp2_approx(fmaf(x[e], c, -(m[mi][e >> 1] * c)));
                l[mi][0] += x[0] + x[1];
                l[mi][1] += x[2] + x[3];
                weights[mi][2 * half] = pack_bf16(x[0], x[1]);
                weights[mi][2 * half + 1] = pack_bf16(x[2], x[3]);
            }

        cp_async_wait<2 * N_STAGES - 1>(); // V of this group
        __syncwarp();
#pragma unroll
        for (int n = 0; n < DIM / 16; n++) {
            uint32_t v[4];
            ldmatrix_x4_trans(v, (v_slot + a_at) ^ (uint32_t)(n * 32));
#pragma unroll
            for (int mi = 0; mi < MT; mi++) {
                mma_bf16_16816(o[mi][2 * n], weights[mi], v[0], v[1]);
                mma_bf16_16816(o[mi][2 * n + 1], weights[mi], v[2], v[3]);
            }
        }
        __syncwarp(); // all lanes have read V
        copy_group<DIM>(v_slot, p.v_cache, next[1]);
    }
    cp_async_wait<0>();
}

// Grid: tiles of rows, of one split after the other, of one pair after the other.
template <class L>
static __global__ void __launch_bounds__(THREADS, 2) attention_flat_kernel(const flat_launch f)
{
    EMC_DYNAMIC_SMEM(smem);
    constexpr int DIM = L::HEAD_DIM, MT = L::ROW_TILES;
    const attention_problem &p = f.p;
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5;
    const int tile = (int)(blockIdx.x % (unsigned)f.n_tiles);
    const int split = (int)(blockIdx.x / (unsigned)f.n_tiles % (unsigned)f.n_splits);
    const int pair = f.pair0 + (int)(blockIdx.x / (unsigned)f.n_tiles / (unsigned)f.n_splits);
    const int kv_head = pair % p.n_kv_heads;
    const emc_attention_item item = p.items[pair / p.n_kv_heads];
    const context_cut cut = cut_context(item);
    const int row0 = tile * L::ROWS, n_rows = min(L::ROWS, item.n_rows * p.group - row0);
    const smem_addr base = smem_addr_of(smem);

    if (split >= cut.n_splits || n_rows <= 0)
        return;
    // Q: row i of the tile is row (row0 + i) / group of the item, head (row0 + i) % group of the
    // K/V head.
    constexpr int CHUNKS = DIM / CUDA_CHUNK;
    for (int i = (int)threadIdx.x; i < L::ROWS * CHUNKS; i += THREADS) {
        const int row = i / CHUNKS, chunk = i % CHUNKS;
        const int from = row0 + min(row, n_rows - 1);
        cp_async_16(base + swizzle<DIM>(row, chunk),
                    p.q + (long long)(item.row0 + from / p.group) * p.q_stride +
                        (kv_head * p.group + from % p.group) * DIM + chunk * CUDA_CHUNK,
                    row < n_rows);
    }
    cp_async_commit();

    const int per_split = ceil_div(cut.n_groups, cut.n_splits);
    const int end = min((split + 1) * per_split, cut.n_groups);
    float o[MT][DIM / 8][4], m[MT][2], l[MT][2];
#pragma unroll
    for (int mi = 0; mi < MT; mi++) {
#pragma unroll
        for (int i = 0; i < DIM / 2; i++)
            o[mi][i >> 2][i & 3] = 0.f;
        m[mi][0] = m[mi][1] = -INFINITY;
        l[mi][0] = l[mi][1] = 0.f;
    }
    walk_groups<DIM, MT>(o, m, l, p, item, cut, kv_head, split * per_split + warp, end, base,
                         base + L::RING + (uint32_t)(warp * L::RING_BYTES));

    // The warps' sums, in the place of Q and the rings.
    float *parts = reinterpret_cast<float *>(smem);
    __syncthreads();
#pragma unroll
    for (int mi = 0; mi < MT; mi++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float sum = lanes_sum<4>(l[mi][h]);
            float *part = parts + (warp * L::ROWS + mi * 16 + h * 8 + (lane >> 2)) * L::PART;
#pragma unroll
            for (int n = 0; n < DIM / 8; n++)
                *reinterpret_cast<float2 *>(part + n * 8 + (lane & 3) * 2) =
                    make_float2(o[mi][n][2 * h], o[mi][n][2 * h + 1]);
            if ((lane & 3) == 0)
                *reinterpret_cast<float2 *>(part + DIM) = make_float2(m[mi][h], sum);
        }
    __syncthreads();
    for (int row = warp; row < n_rows; row += WARPS) {
        row_state<DIM / 64> state =
            join_parts<DIM / 64>(parts + row * L::PART, L::ROWS * L::PART, WARPS, p.scale_log2);
        if (cut.n_splits == 1) {
            row_finish(state, p, item.row0 + (row0 + row) / p.group,
                       kv_head * p.group + (row0 + row) % p.group);
            continue;
        }
        float *part = f.scratch + ((long long)blockIdx.x * L::ROWS + row) * L::PART;
        for (int i = 0; i < DIM / 64; i++)
            *reinterpret_cast<float2 *>(part + 64 * i + 2 * lane) = state.o[i];
        if (lane == 0)
            *reinterpret_cast<float2 *>(part + DIM) = make_float2(state.m, state.l);
    }
}

// Grid: tiles of rows, of one pair after the other. Items whose context is not split are done.
template <class L>
static __global__ void __launch_bounds__(THREADS, 4) attention_join_kernel(const flat_launch f)
{
    constexpr int DIM = L::HEAD_DIM;
    const attention_problem &p = f.p;
    const int tile = (int)(blockIdx.x % (unsigned)f.n_tiles);
    const int pair = (int)(blockIdx.x / (unsigned)f.n_tiles);
    const int kv_head = (f.pair0 + pair) % p.n_kv_heads;
    const emc_attention_item item = p.items[(f.pair0 + pair) / p.n_kv_heads];
    const context_cut cut = cut_context(item);
    const int row0 = tile * L::ROWS, n_rows = min(L::ROWS, item.n_rows * p.group - row0);

    if (cut.n_splits == 1)
        return;
    for (int row = (int)threadIdx.x >> 5; row < n_rows; row += WARPS) {
        const float *part =
            f.scratch +
            (((long long)pair * f.n_splits * f.n_tiles + tile) * L::ROWS + row) * L::PART;
        row_state<DIM / 64> state = join_parts<DIM / 64>(
            part, (long long)f.n_tiles * L::ROWS * L::PART, cut.n_splits, p.scale_log2);
        row_finish(state, p, item.row0 + (row0 + row) / p.group,
                   kv_head * p.group + (row0 + row) % p.group);
    }
}

// --- Host ------------------------------------------------------------------------------------

// How a call is cut into launches. Items whose parts do not fit the scratch memory together go one
// launch after the other.
struct flat_plan {
    int n_tiles, n_splits, n_pairs; // n_pairs: of a launch
    size_t n_bytes;                 // of scratch memory
};

template <int DIM, int MT>
static flat_plan plan_launches(const attention_problem &p, int n_items, int max_rows, int max_keys)
{
    typedef layout<DIM, MT> L;
    flat_plan plan;
    const long long n_pairs = (long long)n_items * p.n_kv_heads;

    plan.n_tiles = ceil_div(max_rows * p.group, L::ROWS);
    // Prefix and own keys fill groups of their own: at most a group more than the keys fill.
    plan.n_splits = ceil_div(max_keys / KEYS + 2, SPLIT_GROUPS);
    const size_t n_blocks = (size_t)plan.n_tiles * (size_t)plan.n_splits;
    const size_t pair_bytes = plan.n_splits > 1 ? n_blocks * L::ROWS * L::PART * sizeof(float) : 0;
    const size_t wanted = pair_bytes * (size_t)n_pairs;
    plan.n_bytes = wanted < MAX_SCRATCH ? wanted : max(MAX_SCRATCH, pair_bytes);
    long long most = INT32_MAX / (long long)n_blocks;
    if (pair_bytes > 0)
        most = min(most, (long long)(plan.n_bytes / pair_bytes));
    plan.n_pairs = (int)min(most, n_pairs);
    return plan;
}

template <int DIM, int MT>
static emc_status launch(cuda_device *cuda, const attention_problem &p, int n_items, int max_rows,
                         int max_keys, bool scratch_only)
{
    typedef layout<DIM, MT> L;
    const flat_plan plan = plan_launches<DIM, MT>(p, n_items, max_rows, max_keys);
    const int all_pairs = n_items * p.n_kv_heads;
    const char *what = "attention: n_flat_items=%d max_flat_rows=%d max_flat_keys=%d n_heads=%d "
                       "head_dim=%d";

    EMC_TRY(cuda_fit(cuda, &cuda->attention, plan.n_bytes, "split contexts"));
    if (scratch_only)
        return EMC_OK;
    EMC_TRY(cuda_check(EMC_OPT_IN_SMEM(attention_flat_kernel<L>, L::BYTES), what, n_items, max_rows,
                       max_keys, p.n_heads, DIM));
    EMC_TRY(cuda_check(EMC_ALL_SMEM(attention_flat_kernel<L>), what, n_items, max_rows, max_keys,
                       p.n_heads, DIM));
    for (int pair0 = 0; pair0 < all_pairs; pair0 += plan.n_pairs) {
        const unsigned n = (unsigned)min(plan.n_pairs, all_pairs - pair0);
        flat_launch f;
        f.p = p;
        f.scratch = (float *)cuda->attention.d;
        f.pair0 = pair0;
        f.n_tiles = plan.n_tiles;
        f.n_splits = plan.n_splits;
        EMC_TRY(cuda_check(EMC_LAUNCH(attention_flat_kernel<L>,
                                      (n * (unsigned)plan.n_tiles * (unsigned)plan.n_splits),
                                      (THREADS), L::BYTES, cuda->stream, f),
                           what, n_items, max_rows, max_keys, p.n_heads, DIM));
        if (plan.n_splits > 1)
            EMC_TRY(cuda_check(EMC_LAUNCH(attention_join_kernel<L>, (n * (unsigned)plan.n_tiles),
                                          (THREADS), 0, cuda->stream, f),
                               what, n_items, max_rows, max_keys, p.n_heads, DIM));
    }
    return EMC_OK;
}

emc_status attention_flat(cuda_device *cuda, const attention_problem &p, int n_items, int max_rows,
                          int max_keys, bool scratch_only)
{
    const bool few = max_rows * p.group <= 16;

    if (p.head_dim == 128)
        return few ? launch<128, 1>(cuda, p, n_items, max_rows, max_keys, scratch_only)
                   : launch<128, 2>(cuda, p, n_items, max_rows, max_keys, scratch_only);
    return few ? launch<64, 1>(cuda, p, n_items, max_rows, max_keys, scratch_only)
               : launch<64, 2>(cuda, p, n_items, max_rows, max_keys, scratch_only);
}
