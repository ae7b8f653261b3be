// Do an mbarrier, bulk copies and wgmma work together? c = a b^T for one 64x64 tile.
//
// One warpgroup. One thread starts two bulk copies and everybody waits on the mbarrier; then the
// tiles are rewritten swizzled (a tensor map would do that on the way) and multiplied by wgmma.
#include "virtual_gpu/hopper.cuh"
#include "virtual_gpu/own_kernels.h"

constexpr int N = 64, ROW_BYTES = N * 2, TILE_BYTES = N * ROW_BYTES, THREADS = 128;

static __global__ void __launch_bounds__(THREADS)
    hopper_kernel(const __nv_bfloat16 *a, const __nv_bfloat16 *b, float *c)
{
    EMC_DYNAMIC_SMEM(raw);
    EMC_SHARED(uint64_t, ready, [1]);
    const int t = (int)threadIdx.x, lane = t & 31, warp = t >> 5;
    // A swizzled tile starts at 1024 bytes.
    const smem_addr bar = smem_addr_of(ready), base = (smem_addr_of(raw) + 1023) & ~1023u;
    unsigned char *smem = raw + (base - smem_addr_of(raw));

    if (t == 0)
        mbar_init(bar, 1);
    fence_proxy_async();
    __syncthreads(); // the mbarrier is ready
    if (t == 0) {
        mbar_arrive_expect_tx(bar, 2 * TILE_BYTES);
        bulk_copy(base + 2 * TILE_BYTES, a, TILE_BYTES, bar);
        bulk_copy(base + 3 * TILE_BYTES, b, TILE_BYTES, bar);
    }
    mbar_wait(bar, 0);
    for (int i = t; i < 2 * N * 8; i += THREADS) {
        const int row = i >> 3, chunk = i & 7;
        *reinterpret_cast<uint4 *>(smem + row * ROW_BYTES + ((chunk ^ (row & 7)) << 4)) =
            *reinterpret_cast<const uint4 *>(smem + 2 * TILE_BYTES + row * ROW_BYTES + chunk * 16);
    }
    fence_proxy_async();
    __syncthreads(); // both tiles are in place
    float d[32];
    for (int i = 0; i < 32; i++)
        d[i] = 0.f;
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < N / 16; k++)
        wgmma_m64n64k16(d, wgmma_descriptor(base + k * 32),
                        wgmma_descriptor(base + TILE_BYTES + k * 32), k > 0);
    wgmma_commit();
    wgmma_wait<0>(d);
#pragma unroll
    for (int i = 0; i < 32; i++)
        c[(warp * 16 + lane / 4 + (i >> 1 & 1) * 8) * N + i / 4 * 8 + lane % 4 * 2 + (i & 1)] =
            d[i];
}

cudaError_t own_wgmma(float *c, const void *a, const void *b, cudaStream_t stream)
{
    return EMC_LAUNCH(hopper_kernel, (1), (THREADS), 4 * TILE_BYTES + 1024, stream,
                      (const __nv_bfloat16 *)a, (const __nv_bfloat16 *)b, c);
}
