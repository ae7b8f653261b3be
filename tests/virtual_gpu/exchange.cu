// Do reductions, counting barriers, copies of every width, ldmatrix of every size and mma behave as
// documented?
#include "kernels/cuda/device.cuh"
#include "virtual_gpu/own_kernels.h"

static __global__ void exchange_kernel(const int *x, int *out)
{
    EMC_SHARED(int, turn, [1]);
    const int t = (int)threadIdx.x, v = x[t];
    int r[EXCHANGE_N];

    if (t == 0)
        turn[0] = 0;
    r[EXCHANGE_REDUCE_ADD] = __reduce_add_sync(~0u, v);
    r[EXCHANGE_REDUCE_MAX] = __reduce_max_sync(~0u, v);
    r[EXCHANGE_REDUCE_MIN] = __reduce_min_sync(~0u, v);
    r[EXCHANGE_REDUCE_OR] = (int)__reduce_or_sync(~0u, (unsigned)v);
    r[EXCHANGE_COUNT] = __syncthreads_count(v > 0);
    r[EXCHANGE_ANY] = __syncthreads_or(v == 7) + 2 * __any_sync(~0u, v == 7);
    r[EXCHANGE_ALL] = __syncthreads_and(v != 7) + 2 * __all_sync(~0u, v != 7);
    r[EXCHANGE_SHFL_FLOAT] = (int)__shfl_up_sync(~0u, (float)v, 3, 16);
    r[EXCHANGE_BITS] = (int)__brev((unsigned)v) ^ __clz(v) ^ __popc((unsigned)v);
    // Takes turns: thread 0 goes from 0 to 1, and so on; only the one whose turn it is succeeds.
    r[EXCHANGE_CAS] = 0;
    for (int i = 0; i < (int)blockDim.x; i++) {
        if (i == t)
            r[EXCHANGE_CAS] = atomicCAS(turn, t, t + 1) == t;
        __syncthreads();
    }
    for (int i = 0; i < EXCHANGE_N; i++)
        out[i * (int)blockDim.x + t] = r[i];
}

cudaError_t own_exchange(const int *x, int *out, cudaStream_t stream)
{
    return EMC_LAUNCH(exchange_kernel, (1), (64), 0, stream, x, out);
}

constexpr int PIECE = 64; // bytes, of which n_valid count
constexpr int CP_MOST = 4096;

static __global__ void cp_async_kernel(uint4 *out, const unsigned char *x, int n, int width,
                                       int n_valid)
{
    EMC_SHARED(uint4, buffer, [CP_MOST / 16]);
    const smem_addr to = smem_addr_of(buffer);

    for (int i = (int)threadIdx.x * width; i < n; i += (int)blockDim.x * width) {
        const bool valid = i % PIECE < n_valid;
        if (width == 16)
            cp_async_16(to + (unsigned)i, x + i, valid);
        else if (width == 8)
            cp_async_8(to + (unsigned)i, x + i, valid);
        else
            cp_async_4(to + (unsigned)i, x + i, valid);
    }
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n / 16; i += (int)blockDim.x)
        out[i] = buffer[i];
}

cudaError_t own_cp_async(void *out, const void *x, int n, int width, int n_valid,
                         cudaStream_t stream)
{
    return EMC_LAUNCH(cp_async_kernel, (1), (96), 0, stream, (uint4 *)out, (const unsigned char *)x,
                      n, width, n_valid);
}

// Rows of 16 bytes, `pitch` chunks of 16 bytes apart: 1 is free of bank conflicts, 8 is the worst.
static __global__ void ldmatrix_kernel(uint32_t *out, const uint4 *x, int n, bool transposed,
                                       int pitch)
{
    EMC_SHARED(uint4, rows, [32 * 8]);
    const int lane = (int)threadIdx.x;
    uint32_t r1[1], r2[2], r4[4] = {0, 0, 0, 0};

    if (lane < 8 * n)
        rows[(lane ^ 1) * pitch] = x[lane ^ 1]; // a row that another lane points at
    __syncwarp();
    const smem_addr row = smem_addr_of(&rows[lane % (8 * n) * pitch]);
    if (n == 1) {
        transposed ? ldmatrix_x1_trans(r1, row) : ldmatrix_x1(r1, row);
        r4[0] = r1[0];
    } else if (n == 2) {
        transposed ? ldmatrix_x2_trans(r2, row) : ldmatrix_x2(r2, row);
        r4[0] = r2[0];
        r4[1] = r2[1];
    } else {
        transposed ? ldmatrix_x4_trans(r4, row) : ldmatrix_x4(r4, row);
    }
    for (int i = 0; i < n; i++)
        out[i * 32 + lane] = r4[i];
}

cudaError_t own_ldmatrix(void *out, const void *x, int n, bool transposed, bool conflicts,
                         cudaStream_t stream)
{
    return EMC_LAUNCH(ldmatrix_kernel, (1), (32), 0, stream, (uint32_t *)out, (const uint4 *)x, n,
                      transposed, conflicts ? 8 : 1);
}

// Fragments as the PTX manual lays them out: lane l holds rows l / 4 and l / 4 + 8 of a and c.
static __global__ void mma_kernel(float *c, const uint32_t *a, const uint32_t *b)
{
    const int lane = (int)threadIdx.x, g = lane / 4, t = lane % 4;
    const uint32_t fragment[4] = {a[g * 8 + t], a[(g + 8) * 8 + t], a[g * 8 + t + 4],
                                  a[(g + 8) * 8 + t + 4]};
    float d[4] = {0.f, 0.f, 0.f, 0.f};

    mma_bf16_16816(d, fragment, b[g * 8 + t], b[g * 8 + t + 4]);
    for (int i = 0; i < 4; i++)
        c[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = d[i];
}

cudaError_t own_mma(float *c, const void *a, const void *b, cudaStream_t stream)
{
    return EMC_LAUNCH(mma_kernel, (1), (32), 0, stream, c, (const uint32_t *)a,
                      (const uint32_t *)b);
}
