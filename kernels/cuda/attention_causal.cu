// attention of prompts: up to 128 rows of one sequence, each seeing the prefix and what is before
// it.
//
// Mathematics: FlashAttention-2 forward (Dao 2023, arXiv:2307.08691), softmax in base 2.
//
// Mapping: a block owns the rows of one item for one head; each of 4 warps owns 32 rows and walks
// the keys in tiles of 64: the prefix, then own keys. 32 rows a warp and not 16, because every
// fragment of K or V then feeds two products, and shared memory is what bounds mma.sync here: for
// 128 rows and 64 keys (head_dim 128) ldmatrix reads 160 KiB and copies write 32, 1536 cycles of
// shared memory at 128 bytes each, against 4 x 256 products, 1024 cycles at the peak of H100's
// tensor cores and about 1640 at what mma.sync has been seen to reach there. With 16 rows a warp
// it would be 2300, even with Q in registers. 4 warps of 255 registers leave room for two blocks
// on an SM (one where shared memory is 100 KiB): one multiplies while the other takes exponentials.
// Blocks start in the order of items: the last to start should be those with few keys.
//
// Copies: K and V tiles pass through a ring of three slots by 16-byte cp.async: a tile is asked
// for two phases (Q K^T of a tile, P V of a tile) before it is used. Page numbers are read a tile
// earlier still. Tiles are swizzled, so ldmatrix meets no bank conflict.
//
// Waste: a warp skips tiles that none of its rows sees. For 600 own tokens behind a prefix of 300
// (items of 128, 128, 128, 128 and 88 rows) 399,360 pairs of row and key are multiplied for
// 360,300 useful ones: 1.11. Warps change rows from block to block, so that the two blocks of an
// SM are not idle on the same scheduler.
//
// Numerics: P is rounded to bf16 for P V, its sum l is taken before that. The maximum m that
// scores are relative to follows the true one with headroom (attention.cuh), a decision of each
// row's own: most tiles need no rescaling of O.
//
// A row's bits are its own. Tiles begin where a segment begins, wherever the rows were cut. An
// element of an mma result depends on its own row of A alone. A tile that a row does not see adds
// nothing, exactly: scores are -infinity, so m stays, P is 0, and O and l get zeros added; so
// whether a neighbour makes the warp compute it does not show. When a neighbour rescales, the row
// multiplies by 1. The division adds +0, so that a zero has no sign. Keys past the end are zeros,
// since 0 * NaN would not be; and a NaN in V of a later row of the same item, which is read in the
// same tile, is noticed at the end: then the block computes again without it for those rows that
// do not see it.
#include "kernels/cuda/attention.cuh"

constexpr int ROWS = EMC_MAX_ITEM_ROWS; // of a block
constexpr int WARPS = 4;
constexpr int THREADS = WARPS * 32;
constexpr int WARP_ROWS = ROWS / WARPS;
constexpr int KEYS = 64; // of a tile
constexpr int N_SLOTS = 3;
static_assert(WARP_ROWS == 32 && EMC_PAGE_POSITIONS % KEYS == 0, "");

// What all threads of a block know. It lies in shared memory, for want of registers.
struct block_state {
    int n_prefix_tiles, n_tiles;
    int prefix_page, own_page; // in page_table
    int prefix_len, own_len;   // own_len: what the last row sees
    int own_seen;              // what the first row sees
    int row0, n_rows;
    int head, kv_head;
    int has_paths, not_finite; // 1: some row
    int first_bad;             // own position, see clean_tile
    int turn;                  // see first_row
    int clean;                 // 1: V without what clean_tile finds
};

template <int DIM> struct layout {
    static constexpr int ROW_BYTES = DIM * 2;
    static constexpr int SLOT_BYTES = KEYS * ROW_BYTES;
    static constexpr int RING = ROWS * ROW_BYTES; // after Q
    static constexpr int STATE = RING + N_SLOTS * SLOT_BYTES;
    static constexpr int BYTES = STATE + (int)sizeof(block_state);
    // Slot i, counted round.
    static __device__ __forceinline__ uint32_t slot_at(int i)
    {
        return (uint32_t)(RING + (i < N_SLOTS ? i : i - N_SLOTS) * SLOT_BYTES);
    }
    // With paths, O of all rows as f32, then m and l, take the place of Q and the ring.
    static constexpr int SUMS = ROWS * DIM * (int)sizeof(float);
    static_assert(SUMS + ROWS * 2 * (int)sizeof(float) <= STATE, "");
};

// Copies rows of DIM values into a swizzled tile; those from n_valid on become zeros.
template <int DIM, int N>
static __device__ __forceinline__ void copy_rows(smem_addr dst, const __nv_bfloat16 *src,
                                                 int stride, int n_valid)
{
    constexpr int CHUNKS = DIM / CUDA_CHUNK, STEP = THREADS / CHUNKS;
    const int thread = (int)computed_here(threadIdx.x);
    const int row = thread / CHUNKS, chunk = thread % CHUNKS;

    static_assert(STEP % 8 == 0 && N % STEP == 0, "one swizzle for all rows of a thread");
    dst += swizzle<DIM>(row, chunk);
    src += (long long)row * stride + chunk * CUDA_CHUNK;
#pragma unroll
    for (int i = 0; i < N; i += STEP)
        cp_async_16(dst + (uint32_t)(i * DIM * 2), src + (long long)i * stride, row + i < n_valid);
}

// The first of the calling warp's rows. Blocks differ in their turn, see Waste.
static __device__ __forceinline__ int first_row(const block_state &w)
{
    return ((int)computed_here(threadIdx.x) / 32 + w.turn) % WARPS * WARP_ROWS;
}

static __device__ __forceinline__ int tile_key(const block_state &w, int t)
{
    return (t < w.n_prefix_tiles ? t : t - w.n_prefix_tiles) * KEYS;
}

static __device__ __forceinline__ int tile_page(const attention_problem &p, const block_state &w,
                                                int t)
{
    const int first = t < w.n_prefix_tiles ? w.prefix_page : w.own_page;
    return t < w.n_tiles ? __ldg(p.page_table + first + tile_key(w, t) / EMC_PAGE_POSITIONS) : 0;
}

// The row of k_cache and v_cache, as [*, DIM], where tile t lies. 2^32 rows are 1 TiB of keys.
static __device__ __forceinline__ unsigned tile_row(const attention_problem &p,
                                                    const block_state &w, int page, int t)
{
    return ((unsigned)page * (unsigned)p.n_kv_heads + (unsigned)w.kv_head) * EMC_PAGE_POSITIONS +
           (unsigned)tile_key(w, t) % EMC_PAGE_POSITIONS;
}

static __device__ __forceinline__ int tile_valid(const block_state &w, int t)
{
    return (t < w.n_prefix_tiles ? w.prefix_len : w.own_len) - tile_key(w, t);
}

// A NaN or infinity in a row of V that not every row of the item sees becomes 0; the first such
// own position goes to *first_bad.
template <int DIM>
static __device__ __forceinline__ void clean_tile(unsigned char *tile, int key0, int n_keys,
                                                  int seen_by_all, int *first_bad)
{
    for (int i = (int)threadIdx.x; i < KEYS * DIM; i += THREADS) {
        const int row = i / DIM, d = i % DIM;
        __nv_bfloat16 *v = reinterpret_cast<__nv_bfloat16 *>(
            tile + swizzle<DIM>(row, d / CUDA_CHUNK) + d % CUDA_CHUNK * 2);
        if (row >= n_keys || key0 + row < seen_by_all || isfinite(__bfloat162float(*v)))
            continue;
        *v = __float2bfloat16(0.f);
        atomicMin(first_bad, key0 + row);
    }
}

// O, m and l of a warp's 32 rows, as mma fragments: [mi] 16 rows, of which a lane has row
// lane / 4 and the one 8 below it.
template <int DIM> struct fragments {
    float o[2][DIM / 8][4];
    float m[2][2], l[2][2];
};

// One block's work. clean: V without what clean_tile finds.
template <int DIM>
static __device__ __forceinline__ void walk_keys(fragments<DIM> &f, const attention_problem &p,
                                                 unsigned char *smem)
{
    typedef layout<DIM> L;
    block_state &w = *reinterpret_cast<block_state *>(smem + L::STATE);
    const smem_addr base = smem_addr_of(smem);
    int slot = 0; // of K; V is in the next one
    const float c = p.scale_log2, headroom = p.headroom;

#pragma unroll
    for (int mi = 0; mi < 2; mi++) {
#pragma unroll
        for (int n = 0; n < DIM / 8; n++)
#pragma unroll
            for (int e = 0; e < 4; e++)
                f.o[mi][n][e] = 0.f;
        f.m[mi][0] = f.m[mi][1] = -INFINITY;
        f.l[mi][0] = f.l[mi][1] = 0.f;
    }

    // Before the loop: Q and K of tile 0 are one group, V of tile 0 the next.
    unsigned row = tile_row(p, w, tile_page(p, w, 0), 0);
    int next_page = tile_page(p, w, 1);
    copy_rows<DIM, ROWS>(base, p.q + (long long)w.row0 * p.q_stride + (long long)w.head * DIM,
                         p.q_stride, w.n_rows);
    copy_rows<DIM, KEYS>(base + L::slot_at(0), p.k_cache + (size_t)row * DIM, DIM,
                         tile_valid(w, 0));
    cp_async_commit();
    copy_rows<DIM, KEYS>(base + L::slot_at(1), p.v_cache + (size_t)row * DIM, DIM,
                         tile_valid(w, 0));
    cp_async_commit();

    for (int t = 0; t < w.n_tiles; t++) {
        const bool own = t >= w.n_prefix_tiles;
        const int warp_row = first_row(w);
        const int key0 = tile_key(w, t);
        const bool live = warp_row < w.n_rows &&
                          (!own || key0 < min(w.own_seen + warp_row + WARP_ROWS - 1, w.own_len));
        uint32_t weights[2][KEYS / 16][4];

        // Phase 1: S = Q K^T.
        cp_async_wait<1>(); // K(t); V(t) may be in flight
        __syncthreads();    // K(t) is visible to all, and all are done with V(t - 1)
        if (t + 1 < w.n_tiles) {
            row = tile_row(p, w, next_page, t + 1);
            copy_rows<DIM, KEYS>(base + L::slot_at(slot + 2), p.k_cache + (size_t)row * DIM, DIM,
                                 tile_valid(w, t + 1));
            next_page = tile_page(p, w, t + 2);
        }
        cp_async_commit();
        if (live) {
            const int lane = (int)computed_here(threadIdx.x) & 31;
            const smem_addr q_at =
                base + (uint32_t)(warp_row * L::ROW_BYTES) + matrices_a<DIM>(lane);
            const smem_addr k_at = base + L::slot_at(slot) + matrices_b<DIM>(lane);
            float s[2][KEYS / 8][4];
#pragma unroll
            for (int i = 0; i < KEYS; i++)
                s[i / (KEYS / 2)][i / 4 % (KEYS / 8)][i % 4] = 0.f;
#pragma unroll
            for (int kk = 0; kk < DIM / 16; kk++) {
                uint32_t q[2][4];
                ldmatrix_x4(q[0], q_at ^ (uint32_t)(kk * 32));
                ldmatrix_x4(q[1], (q_at ^ (uint32_t)(kk * 32)) + 16 * L::ROW_BYTES);
#pragma unroll
                for (int n = 0; n < KEYS / 16; n++) {
                    uint32_t k[4];
                    ldmatrix_x4(k,
                                (k_at ^ (uint32_t)(kk * 32)) + (uint32_t)(n * 16 * L::ROW_BYTES));
#pragma unroll
                    for (int mi = 0; mi < 2; mi++) {
                        mma_bf16_16816(s[mi][2 * n], q[mi], k[0], k[1]);
                        mma_bf16_16816(s[mi][2 * n + 1], q[mi], k[2], k[3]);
                    }
                }
            }

            // What a row does not see. Row i of the item sees own_seen + i own keys.
            const int end = own ? w.own_seen + warp_row : w.prefix_len;
            if (key0 + KEYS > end) {
#pragma unroll
                for (int mi = 0; mi < 2; mi++)
#pragma unroll
                    for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                        for (int e = 0; e < 4; e++) {
                            const int key = key0 + n * 8 + (lane & 3) * 2 + (e & 1);
                            const int row = mi * 16 + (lane >> 2) + (e >> 1) * 8;
                            if (key >= end + (own ? row : 0))
                                s[mi][n][e] = -INFINITY;
                        }
            }

            // m, and what follows from a larger one. Every row sees the first key of the first
            // tile, so m is finite from there on.
            float highest[2][2];
            bool grows = false;
#pragma unroll
            for (int mi = 0; mi < 2; mi++)
#pragma unroll
                for (int h = 0; h < 2; h++) {
                    float x = s[mi][0][2 * h];
#pragma unroll
                    for (int n = 0; n < KEYS / 8; n++)
                        x = fmaxf(x, fmaxf(s[mi][n][2 * h], s[mi][n][2 * h + 1]));
                    highest[mi][h] = quad_max(x);
                    grows = grows || highest[mi][h] > f.m[mi][h] + headroom;
                }
            if (__any_sync(~0u, grows)) {
#pragma unroll
                for (int mi = 0; mi < 2; mi++)
#pragma unroll
                    for (int h = 0; h < 2; h++) {
                        const float m = f.m[mi][h];
                        const bool grow = highest[mi][h] > m + headroom;
                        const float shrink = grow ? exp2_approx((m - highest[mi][h]) * c) : 1.f;
                        f.m[mi][h] = grow ? highest[mi][h] : m;
                        f.l[mi][h] *= shrink;
#pragma unroll
                        for (int n = 0; n < DIM / 8; n++) {
                            f.o[mi][n][2 * h] *= shrink;
                            f.o[mi][n][2 * h + 1] *= shrink;
                        }
                    }
            }

            // P = exp2(S - m), rounded, and its sums.
            float base_of[2][2];
#pragma unroll
            for (int mi = 0; mi < 2; mi++)
#pragma unroll
                for (int h = 0; h < 2; h++)
                    base_of[mi][h] = -(f.m[mi][h] * c);
#pragma unroll
            for (int n = 0; n < KEYS / 8; n++)
#pragma unroll
                for (int mi = 0; mi < 2; mi++) {
                    float *x = s[mi][n];
#pragma unroll
                    for (int e = 0; e < 4; e++)
                        x[e] = exp2_approx(fmaf(x[e], c, base_of[mi][e >> 1]));
                    f.l[mi][0] += x[0] + x[1];
                    f.l[mi][1] += x[2] + x[3];
                    weights[mi][n / 2][n % 2 * 2] = pack_bf16(x[0], x[1]);
                    weights[mi][n / 2][n % 2 * 2 + 1] = pack_bf16(x[2], x[3]);
                }
        }

        // Phase 2: P = exp2(S - m), O += P V.
        cp_async_wait<1>(); // V(t); K(t + 1) may be in flight
        __syncthreads();    // V(t) is visible to all, and all are done with K(t)
        if (t + 1 < w.n_tiles)
            copy_rows<DIM, KEYS>(base + L::slot_at(slot), p.v_cache + (size_t)row * DIM, DIM,
                                 tile_valid(w, t + 1));
        cp_async_commit();
        if (w.clean && own) {
            clean_tile<DIM>(smem + L::slot_at(slot + 1), key0, tile_valid(w, t), w.own_seen,
                            &w.first_bad);
            __syncthreads();
        }
        if (live) {
            const smem_addr v_at =
                base + L::slot_at(slot + 1) + matrices_a<DIM>((int)computed_here(threadIdx.x) & 31);
#pragma unroll
            for (int kk = 0; kk < KEYS / 16; kk++) {
#pragma unroll
                for (int n = 0; n < DIM / 16; n++) {
                    uint32_t v[4];
                    ldmatrix_x4_trans(v, (v_at ^ (uint32_t)(n * 32)) +
                                             (uint32_t)(kk * 16 * L::ROW_BYTES));
#pragma unroll
                    for (int mi = 0; mi < 2; mi++) {
                        mma_bf16_16816(f.o[mi][2 * n], weights[mi][kk], v[0], v[1]);
                        mma_bf16_16816(f.o[mi][2 * n + 1], weights[mi][kk], v[2], v[3]);
                    }
                }
            }
        }
        slot = slot == 0 ? 2 : slot - 1;
    }
    cp_async_wait<0>(); // the last groups are empty, but nothing may outlive the block
#pragma unroll
    for (int mi = 0; mi < 2; mi++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            f.l[mi][h] = lanes_sum<4>(f.l[mi][h]);
}

// O / l through the warp's own rows of Q's place, so that stores are 16 bytes. Rows that see own
// keys from first_bad on are left alone.
template <int DIM>
static __device__ __forceinline__ void
store_rows(const fragments<DIM> &f, const attention_problem &p, unsigned char *smem, int first_bad)
{
    const block_state &w = *reinterpret_cast<const block_state *>(smem + layout<DIM>::STATE);
    const int warp_row = first_row(w);
    const int lane = (int)computed_here(threadIdx.x) & 31;

#pragma unroll
    for (int mi = 0; mi < 2; mi++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const float inverse = __fdividef(1.f, f.l[mi][h]);
            const int row = warp_row + mi * 16 + h * 8 + (lane >> 2);
#pragma unroll
            for (int n = 0; n < DIM / 8; n++)
                *reinterpret_cast<uint32_t *>(smem + swizzle<DIM>(row, n) + (lane & 3) * 4) =
                    pack_bf16(fmaf(f.o[mi][n][2 * h], inverse, 0.f),
                              fmaf(f.o[mi][n][2 * h + 1], inverse, 0.f));
        }
    __syncwarp();
    constexpr int CHUNKS = DIM / CUDA_CHUNK;
    for (int i = lane; i < WARP_ROWS * CHUNKS; i += 32) {
        const int row = warp_row + i / CHUNKS, chunk = i % CHUNKS;
        if (row < w.n_rows && w.own_seen + row <= first_bad)
            *reinterpret_cast<uint4 *>(p.out +
                                       ((long long)(w.row0 + row) * p.n_heads + w.head) * DIM +
                                       chunk * CUDA_CHUNK) =
                *reinterpret_cast<const uint4 *>(smem + swizzle<DIM>(row, chunk));
    }
}

// The same where a row of the block has a path: one row after the other, from f32 sums in the
// place of Q and the ring.
template <int DIM>
static __device__ __forceinline__ void store_with_paths(const fragments<DIM> &f,
                                                        const attention_problem &p,
                                                        unsigned char *smem, int first_bad)
{
    const block_state &w = *reinterpret_cast<const block_state *>(smem + layout<DIM>::STATE);
    const int warp_row = first_row(w);
    const int lane = (int)computed_here(threadIdx.x) & 31;
    float *sums = reinterpret_cast<float *>(smem);
    float2 *ml = reinterpret_cast<float2 *>(smem + layout<DIM>::SUMS);

#pragma unroll
    for (int mi = 0; mi < 2; mi++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int row = warp_row + mi * 16 + h * 8 + (lane >> 2);
            if ((lane & 3) == 0)
                ml[row] = make_float2(f.m[mi][h], f.l[mi][h]);
#pragma unroll
            for (int n = 0; n < DIM / 8; n++)
                *reinterpret_cast<float2 *>(sums + row * DIM + n * 8 + (lane & 3) * 2) =
                    make_float2(f.o[mi][n][2 * h], f.o[mi][n][2 * h + 1]);
        }
    __syncwarp();
    for (int row = warp_row; row < min(warp_row + WARP_ROWS, w.n_rows); row++) {
        row_state<DIM / 64> state;
        state.m = ml[row].x;
        state.l = ml[row].y;
        for (int i = 0; i < DIM / 64; i++)
            state.o[i] = *reinterpret_cast<const float2 *>(sums + row * DIM + 64 * i + 2 * lane);
        if (w.own_seen + row <= first_bad)
            row_finish(state, p, w.row0 + row, w.head);
    }
}

// Grid: heads, of one item after the other.
template <int DIM>
static __global__ void __launch_bounds__(THREADS, 2)
    attention_causal_kernel(const attention_problem p)
{
    EMC_DYNAMIC_SMEM(smem);
    typedef layout<DIM> L;
    block_state &w = *reinterpret_cast<block_state *>(smem + L::STATE);

    if (threadIdx.x == 0) {
        const emc_attention_item item = p.items[blockIdx.x / (unsigned)p.n_heads];
        w.row0 = item.row0;
        w.n_rows = item.n_rows;
        w.own_seen = item.own_seen;
        w.head = (int)(blockIdx.x % (unsigned)p.n_heads);
        w.kv_head = w.head / p.group;
        w.n_prefix_tiles = (item.prefix_len + KEYS - 1) / KEYS;
        w.prefix_page = item.prefix_page;
        w.own_page = item.own_page;
        w.prefix_len = item.prefix_len;
        w.own_len = item.own_seen + item.n_rows - 1;
        w.n_tiles = w.n_prefix_tiles + (w.own_len + KEYS - 1) / KEYS;
        w.has_paths = w.not_finite = 0;
        w.first_bad = INT32_MAX;
        w.turn = (int)(blockIdx.x * 2654435769u >> 30);
        w.clean = 0;
    }
    __syncthreads();
#pragma unroll 1
    for (;;) {
        fragments<DIM> f;
        walk_keys<DIM>(f, p, smem);

        float zero = 0.f; // stays 0 unless something is infinite or NaN
#pragma unroll
        for (int i = 0; i < 2 * (DIM / 8) * 4; i++)
            zero = fmaf(f.o[i / (DIM / 2)][i / 4 % (DIM / 8)][i % 4], 0.f, zero);
        const int warp_row = first_row(w);
        if (!w.clean && !(zero == 0.f) && warp_row < w.n_rows)
            atomicOr(&w.not_finite, 1);
        if ((int)threadIdx.x < w.n_rows && __ldg(p.path_lens + w.row0 + (int)threadIdx.x) > 0)
            atomicOr(&w.has_paths, 1);
        __syncthreads();
        const int first_bad = w.first_bad;
        if (w.has_paths)
            store_with_paths<DIM>(f, p, smem, first_bad);
        else
            store_rows<DIM>(f, p, smem, first_bad);
        if (!w.not_finite || w.clean)
            break;
        __syncthreads();
        if (threadIdx.x == 0)
            w.clean = 1;
        __syncthreads();
    }
}

template <int DIM>
static emc_status launch(cuda_device *cuda, const attention_problem &p, int n_items)
{
    const long long blocks = (long long)n_items * p.n_heads;
    const int n_bytes = layout<DIM>::BYTES;
    const char *what = "attention: n_causal_items=%d n_heads=%d head_dim=%d";

    if (blocks > INT32_MAX)
        return emc_fail(EMC_ERR_ARG, "attention: n_items=%d n_heads=%d: more than a GPU's grid",
                        n_items, p.n_heads);
    EMC_TRY(cuda_check(EMC_OPT_IN_SMEM(attention_causal_kernel<DIM>, n_bytes), what, n_items,
                       p.n_heads, DIM));
    EMC_TRY(cuda_check(EMC_ALL_SMEM(attention_causal_kernel<DIM>), what, n_items, p.n_heads, DIM));
    return cuda_check(EMC_LAUNCH(attention_causal_kernel<DIM>, ((unsigned)blocks), (THREADS),
                                 n_bytes, cuda->stream, p),
                      what, n_items, p.n_heads, DIM);
}

emc_status attention_causal(cuda_device *cuda, const attention_problem &p, int n_items)
{
    return p.head_dim == 128 ? launch<128>(cuda, p, n_items) : launch<64>(cuda, p, n_items);
}
