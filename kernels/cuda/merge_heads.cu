// The log-sum-exp and the best id of rows whose vocabulary was cut into slices.
//
// Mapping: a thread a row. Bytes: 12 for a row and slice, a few kilobytes in all. The sum over
// slices is in double, in their order.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"

constexpr int THREADS = 128;

static __global__ void __launch_bounds__(THREADS)
    merge_heads_kernel(const __grid_constant__ emc_merge_heads_args job)
{
    const int row = blockIdx.x * THREADS + threadIdx.x;
    float max = -INFINITY, best = -INFINITY;
    double sum = 0.0;
    int id = -1;

    if (row >= job.rows)
        return;
    for (int s = 0; s < job.n_slices; s++) {
        const size_t at = (size_t)s * job.stride + row;
        const int slice_id = job.slice_ids[at];
        if (job.slice_log_sums[at] > max)
            max = job.slice_log_sums[at];
        if (slice_id >= 0 && (id < 0 || job.slice_logits[at] > best)) {
            best = job.slice_logits[at];
            id = slice_id;
        }
    }
    const double base = max > -INFINITY ? (double)max : 0.0;
    for (int s = 0; s < job.n_slices; s++)
        sum += exp((double)job.slice_log_sums[(size_t)s * job.stride + row] - base);
    job.log_sum[row] = (float)(base + log(sum));
    job.top_ids[row] = id;
}

emc_status cuda_merge_heads(emc_device *dev, const emc_merge_heads_args *args)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(emc_check_merge_heads(args));
    return cuda_check(EMC_LAUNCH(merge_heads_kernel, (cuda_blocks(args->rows, THREADS)), (THREADS),
                                 0, cuda->stream, *args),
                      "merge_heads: rows=%d n_slices=%d", args->rows, args->n_slices);
}
