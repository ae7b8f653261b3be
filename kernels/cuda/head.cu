// log-sum-exp, best ids and wanted logits of rows, whose logits are never stored as a whole.
//
// The vocabulary is cut into slabs of SLAB ids, the same for every call, so that bits do not depend
// on the number of rows. For each slab, in order, cuBLASLt writes f32 logits [batch_rows, SLAB]
// into scratch memory, with an update a second product adds to them, and head_slab_kernel folds
// them into a partial result per row: the largest logit, the sum of exponentials relative to it,
// and the best n_top keys. The last slab's kernel writes the results.
//
// Mapping of the kernel: a block a row; a thread has VALUES logits of the slab in registers, in
// groups of four that lie a block's width apart. A logit and its id make one 64-bit key, so that
// "larger, or equal with a lower id" is one comparison of integers. A key is picked by a tree over
// the block; then only the thread it came from looks for its next one.
//
// Bytes: 8 for a logit (written by the product, read here), through an L2 that holds the slab of
// 512 rows (16 MiB). Beside the product, 2 * k operations for a logit, that is little.
//
// Numbers: f32 logits. A thread adds its exponentials in four sums, threads and slabs are added in
// double, each in a fixed order. A NaN logit is never among the best, and makes log_sum NaN.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm.h"

constexpr int SLAB = 8192;
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr int GROUPS = SLAB / (4 * THREADS); // of four logits, of a thread
constexpr int VALUES = 4 * GROUPS;

typedef unsigned long long head_key; // 0: none

// What a row's slabs have given so far.
struct alignas(32) head_part {
    head_key top[EMC_MAX_TOP]; // falling
    double sum;                // of exp(logit - max)
    float max;
};

typedef struct {
    const float *logits; // [rows, SLAB], the slab's
    head_part *parts;    // [rows]
    const float *scale;  // of the slab's columns, or NULL
    const int32_t *wanted_begin;
    const int32_t *wanted;
    float *wanted_logits;
    float *log_sum;
    int32_t *top_ids;
    float *top_logits;
    float *all_logits;
    int vocab, first_id, n_ids, n_top;
    int first; // row of the matrix that is the slab's first column
    int n;     // columns
} head_job;

// Rises with the logit and falls with the id; -0 and 0 are one.
static __device__ __forceinline__ head_key key_of(float logit, int id)
{
    const uint32_t bits = __float_as_uint(logit + 0.0f);
    const uint32_t rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;

    return isnan(logit) ? 0 : (head_key)rising << 32 | (uint32_t)~id;
}

static __device__ __forceinline__ int key_id(head_key key)
{
    return (int)~(uint32_t)key;
}

static __device__ __forceinline__ float key_logit(head_key key)
{
    const uint32_t rising = (uint32_t)(key >> 32);

    return __uint_as_float(rising & 0x80000000u ? rising & 0x7fffffffu : ~rising);
}

static __device__ __forceinline__ float larger(float a, float b)
{
    return b > a ? b : a;
}

// The largest over the block, the same in every thread. Nobody may write `slots` again before the
// next barrier.
template <class T> static __device__ __forceinline__ T block_max(T x, T *slots)
{
    x = lanes_max<32>(x);
    if (threadIdx.x % 32 == 0)
        slots[threadIdx.x / 32] = x;
    __syncthreads();
    return lanes_max<WARPS>(slots[threadIdx.x % WARPS]);
}

// This thread's logits of the row: columns 4 * (threadIdx.x + g * THREADS) + 0..3, or -inf.
static __device__ __forceinline__ void load_logits(float (&value)[VALUES], const head_job &job,
                                                   int row)
{
    const float *logits = job.logits + (size_t)row * SLAB;

#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
        const int column = 4 * (threadIdx.x + g * THREADS);
        float4 four = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
        if (column + 4 <= job.n) {
            four = *(const float4 *)(logits + column);
        } else if (column < job.n) { // the vocabulary's end: at most three
            four.x = logits[column];
            four.y = column + 1 < job.n ? logits[column + 1] : -INFINITY;
            four.z = column + 2 < job.n ? logits[column + 2] : -INFINITY;
        }
        value[4 * g] = four.x;
        value[4 * g + 1] = four.y;
        value[4 * g + 2] = four.z;
        value[4 * g + 3] = four.w;
    }
    if (!job.scale)
        return;
#pragma unroll
    for (int i = 0; i < VALUES; i++) {
        const int column = 4 * (threadIdx.x + i / 4 * THREADS) + i % 4;
        if (column < job.n)
            value[i] *= job.scale[column];
    }
}

// Logits that the caller asked for by id, or all of them.
static __device__ __forceinline__ void copy_logits(const head_job &job,
                                                   const float (&value)[VALUES], int row)
{
    for (int i = job.wanted_begin[row] + threadIdx.x; i < job.wanted_begin[row + 1]; i += THREADS) {
        const int place = job.wanted[i] - job.first_id, column = place - job.first;
        if (column >= 0 && column < job.n) {
            const float logit = job.logits[(size_t)row * SLAB + column];
            job.wanted_logits[i] = job.scale ? logit * job.scale[column] : logit;
        } else if (job.first == 0 && (place < 0 || place >= job.vocab)) { // of another slice
            job.wanted_logits[i] = 0.0f;
        }
    }
    if (!job.all_logits)
        return;
#pragma unroll
    for (int i = 0; i < VALUES; i++) {
        const int column = 4 * (threadIdx.x + i / 4 * THREADS) + i % 4;
        if (column < job.n)
            job.all_logits[(size_t)row * job.vocab + job.first + column] = value[i];
    }
}

// Thread 0 has the row's sum and maximum, this slab's included.
static __device__ __forceinline__ void fold_sum(const head_job &job, const float (&value)[VALUES],
                                                head_part *part)
{
    EMC_SHARED(float, warp_max, [WARPS]);
    EMC_SHARED(double, warp_sum, [WARPS]);
    float max = -INFINITY, sums[4] = {0, 0, 0, 0};

#pragma unroll
    for (int i = 0; i < VALUES; i++)
        max = larger(max, value[i]);
    max = block_max(max, warp_max);
    const float base = max > -INFINITY ? max : 0.0f;
#pragma unroll
    for (int i = 0; i < VALUES; i++)
        sums[i % 4] += expf(value[i] - base);
    const double sum = lanes_sum<32>((double)((sums[0] + sums[1]) + (sums[2] + sums[3])));
    if (threadIdx.x % 32 == 0)
        warp_sum[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x != 0)
        return;
    double whole = 0.0;
    for (int warp = 0; warp < WARPS; warp++)
        whole += warp_sum[warp];
    if (job.first == 0) {
        part->sum = whole;
        part->max = max;
    } else if (max > part->max) {
        part->sum = part->sum * exp((double)part->max - (double)max) + whole;
        part->max = max;
    } else if (max > -INFINITY) {
        part->sum += whole * exp((double)max - (double)part->max);
    } else { // 0, or a NaN, which then stays
        part->sum += whole;
    }
}

// The largest key of this thread below `below`: of its logits, or the one from earlier slabs.
static __device__ __forceinline__ head_key next_key(const head_job &job,
                                                    const float (&value)[VALUES], head_key earlier,
                                                    head_key below)
{
    head_key best = earlier < below ? earlier : 0;

#pragma unroll
    for (int i = 0; i < VALUES; i++) {
        const int column = 4 * (threadIdx.x + i / 4 * THREADS) + i % 4;
        const int id = job.first_id + job.first + column;
        const head_key key = key_of(value[i], id);
        if (column < job.n && id < job.n_ids && key < below && key > best)
            best = key;
    }
    return best;
}

static __device__ __forceinline__ void fold_top(const head_job &job, const float (&value)[VALUES],
                                                head_part *part)
{
    EMC_SHARED(head_key, slots, [2][WARPS]);
    const int place = threadIdx.x;
    const head_key earlier = job.first > 0 && place < job.n_top ? part->top[place] : 0;
    head_key best = next_key(job, value, earlier, ~0ull);

    for (int i = 0; i < job.n_top; i++) {
        // Two sets of slots by turns: a barrier lies between their uses.
        const head_key picked = block_max(best, slots[i % 2]);
        if (picked != 0 && best == picked)
            best = next_key(job, value, earlier, picked);
        if (threadIdx.x == 0)
            part->top[i] = picked;
    }
}

static __device__ __forceinline__ void finish_row(const head_job &job, const head_part *part,
                                                  int row)
{
    const int place = threadIdx.x;

    if (place == 0)
        job.log_sum[row] = (float)((double)part->max + log(part->sum));
    if (place >= job.n_top)
        return;
    const head_key key = part->top[place];
    const size_t at = (size_t)row * job.n_top + place;
    job.top_ids[at] = key ? key_id(key) : -1;
    if (job.top_logits)
        job.top_logits[at] = key ? key_logit(key) : NAN;
}

// Grid: one block per row.
static __global__ void __launch_bounds__(THREADS)
    head_slab_kernel(const __grid_constant__ head_job job)
{
    const int row = blockIdx.x;
    head_part *part = &job.parts[row];
    float value[VALUES];

    load_logits(value, job, row);
    copy_logits(job, value, row);
    fold_sum(job, value, part);
    fold_top(job, value, part);
    if (job.first + job.n < job.vocab)
        return;
    __syncthreads(); // thread 0 wrote `part`
    finish_row(job, part, row);
}

// The products of one call, and how its scratch memory is laid out: logits, parts, x A^T.
typedef struct {
    int rows; // that the products have
    cuda_product down;
    size_t parts_at, down_at, n_bytes;
} head_plan;

static size_t round_up(size_t n)
{
    return (n + 255) / 256 * 256;
}

static head_plan make_plan(const emc_head_args *args)
{
    head_plan plan = {};
    const size_t rows = (size_t)(args->batch_rows > args->rows ? args->batch_rows : args->rows);

    plan.rows = (int)rows;
    plan.parts_at = round_up(rows * SLAB * sizeof(float));
    plan.down_at = plan.parts_at + round_up(rows * sizeof(head_part));
    plan.n_bytes = plan.down_at;
    if (args->lora) {
        plan.down.x = args->x;
        plan.down.w = args->lora->a.d;
        plan.down.rows = plan.rows;
        plan.down.n = plan.down.d_stride = args->lora->padded;
        plan.down.k = args->w->k;
        plan.down.d_dtype = EMC_BF16;
        plan.n_bytes += rows * (size_t)args->lora->padded * sizeof(__nv_bfloat16);
    }
    return plan;
}

// Logits of the slab that begins at `first`, before and after the update.
static cuda_product slab_product(const emc_head_args *args, const head_plan *plan, int first)
{
    const int left = args->w->n_rows - first;
    cuda_product product = {};

    product.x = args->x;
    product.w = (const __nv_bfloat16 *)args->w->d + (size_t)first * args->w->k;
    product.rows = plan->rows;
    product.n = left < SLAB ? left : SLAB;
    product.k = args->w->k;
    product.d_stride = SLAB;
    product.d_dtype = EMC_F32;
    return product;
}

static cuda_product slab_update(const emc_head_args *args, const cuda_product *whole,
                                const void *down, int first)
{
    cuda_product product = *whole;

    product.x = down;
    product.w = (const __nv_bfloat16 *)args->lora->b.d + (size_t)first * args->lora->padded;
    product.k = args->lora->padded;
    product.c = product.d;
    return product;
}

static emc_status check(const emc_head_args *args)
{
    return emc_check_head(args, cuda_matrix_shape(args->w), cuda_lora_shape(args->lora));
}

emc_status cuda_prepare_head(emc_device *dev, const emc_head_args *args)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(check(args));
    const int vocab = args->w->n_rows, last = (vocab - 1) / SLAB * SLAB;
    const head_plan plan = make_plan(args);
    char *scratch;

    EMC_TRY(cuda_fit(cuda, &cuda->head, plan.n_bytes, "the logits of a slab"));
    scratch = (char *)cuda->head.d;
    if (args->lora) {
        cuda_product down = plan.down;
        down.d = scratch + plan.down_at;
        EMC_TRY(cuda_gemm_prepare(cuda->gemm, "head", &down));
    }
    // All slabs but the last are of one size.
    for (int first = 0; first <= last; first += last > 0 ? last : SLAB) {
        cuda_product product = slab_product(args, &plan, first);
        product.d = scratch;
        EMC_TRY(cuda_gemm_prepare(cuda->gemm, "head", &product));
        if (!args->lora)
            continue;
        product = slab_update(args, &product, scratch + plan.down_at, first);
        EMC_TRY(cuda_gemm_prepare(cuda->gemm, "head", &product));
    }
    return EMC_OK;
}

static head_job make_job(const emc_head_args *args)
{
    head_job job = {};

    job.wanted_begin = args->wanted_begin;
    job.wanted = args->wanted;
    job.wanted_logits = args->wanted_logits;
    job.log_sum = args->log_sum;
    job.top_ids = args->top_ids;
    job.top_logits = args->top_logits;
    job.all_logits = args->all_logits;
    job.vocab = args->w->n_rows;
    job.first_id = args->first_id;
    job.n_ids = args->n_ids;
    job.n_top = args->n_top;
    return job;
}

emc_status cuda_head(emc_device *dev, const emc_head_args *args)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(check(args));
    const int vocab = args->w->n_rows;
    const head_plan plan = make_plan(args);
    head_job job = make_job(args);
    cuda_product down = plan.down;

    EMC_TRY(cuda_fit(cuda, &cuda->head, plan.n_bytes, "the logits of a slab"));
    char *scratch = (char *)cuda->head.d;
    job.logits = (const float *)scratch;
    job.parts = (head_part *)(scratch + plan.parts_at);
    down.d = scratch + plan.down_at;
    if (args->lora)
        EMC_TRY(cuda_gemm_run(cuda->gemm, "head", &down));
    for (int first = 0; first < vocab; first += SLAB) {
        cuda_product product = slab_product(args, &plan, first);
        product.d = scratch;
        EMC_TRY(cuda_gemm_run(cuda->gemm, "head", &product));
        if (args->lora) {
            const cuda_product update = slab_update(args, &product, down.d, first);
            EMC_TRY(cuda_gemm_run(cuda->gemm, "head", &update));
        }
        job.first = first;
        job.n = product.n;
        job.scale =
            args->lora && args->lora->column_scale ? args->lora->column_scale + first : NULL;
        EMC_TRY(
            cuda_check(EMC_LAUNCH(head_slab_kernel, (args->rows), (THREADS), 0, cuda->stream, job),
                       "head: rows=%d vocab=%d ids from %d", args->rows, vocab, first));
    }
    return EMC_OK;
}
