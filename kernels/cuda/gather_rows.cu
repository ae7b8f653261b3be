// out[i] = x[index[i]]: a copy of rows.
//
// Mapping: a block takes a piece of one row, a thread up to UNITS units of it, a block's width
// apart; blockIdx.x is the row, blockIdx.y the piece. A unit is 16 bytes where rows are a multiple
// of that, else one value.
//
// Bytes: 4 for a value. Four 16-byte loads are in flight per thread.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

constexpr int THREADS = 128;
constexpr int UNITS = 4;
constexpr int PIECE = THREADS * UNITS;

template <class UNIT>
static __global__ void __launch_bounds__(THREADS)
    gather_rows_kernel(UNIT *out, const UNIT *x, const int32_t *index, int row_units)
{
    const UNIT *from = x + (size_t)index[blockIdx.x] * row_units;
    UNIT *to = out + (size_t)blockIdx.x * row_units;

    for (int first = blockIdx.y * PIECE + threadIdx.x; first < row_units;
         first += gridDim.y * PIECE) {
        UNIT unit[UNITS];
#pragma unroll
        for (int i = 0; i < UNITS; i++)
            if (first + i * THREADS < row_units)
                unit[i] = from[first + i * THREADS];
#pragma unroll
        for (int i = 0; i < UNITS; i++)
            if (first + i * THREADS < row_units)
                to[first + i * THREADS] = unit[i];
    }
}

template <class UNIT>
static cudaError_t launch(const cuda_device *cuda, void *out, const void *x, const int32_t *index,
                          int n, int row_units)
{
    const int pieces = cuda_blocks(row_units, PIECE);

    return EMC_LAUNCH(gather_rows_kernel<UNIT>,
                      (n, pieces < CUDA_MAX_GRID_Y ? pieces : CUDA_MAX_GRID_Y), (THREADS), 0,
                      cuda->stream, (UNIT *)out, (const UNIT *)x, index, row_units);
}

emc_status cuda_copy_rows(cuda_device *cuda, const char *name, void *out, const void *x,
                          const int32_t *index, int n, int dim)
{
    const cudaError_t error = dim % CUDA_CHUNK == 0
                                  ? launch<uint4>(cuda, out, x, index, n, dim / CUDA_CHUNK)
                                  : launch<uint16_t>(cuda, out, x, index, n, dim);

    return cuda_check(error, "%s: rows=%d dim=%d", name, n, dim);
}

emc_status cuda_gather_rows(emc_device *dev, void *out, const void *x, const int32_t *index, int n,
                            int dim)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(emc_check_gather_rows(out, x, index, n, dim));
    return cuda_copy_rows(cuda, "gather_rows", out, x, index, n, dim);
}
