// The instructions of sm_90a that no kernel of the engine uses yet: PTX under nvcc, the stand-in's
// otherwise. Names and layouts as the PTX manual has them.
#pragma once
#include "kernels/cuda/device.cuh"

#ifdef EMC_VIRTUAL_GPU
#include "virtual_gpu/vg_hopper.cuh"

VG_INLINE void mbar_init(smem_addr bar, int count)
{
    vg_mbar_init(bar, count);
}
VG_INLINE void mbar_arrive_expect_tx(smem_addr bar, int n_bytes)
{
    vg_mbar_arrive(bar, n_bytes);
}
VG_INLINE void mbar_wait(smem_addr bar, int parity, VG_AT)
{
    vg_mbar_wait(bar, parity, {"mbar_wait", file, line});
}
VG_INLINE void bulk_copy(smem_addr dst, const void *src, int n_bytes, smem_addr bar)
{
    vg_bulk_copy(dst, src, n_bytes, bar);
}
VG_INLINE void fence_proxy_async()
{
    vg_fence_proxy_async();
}
VG_INLINE void wgmma_fence() {}
VG_INLINE void wgmma_commit(VG_AT)
{
    vg_wgmma_commit({"wgmma.commit", file, line});
}
template <int N> VG_INLINE void wgmma_wait(float (&)[32], VG_AT)
{
    vg_wgmma_wait(N, {"wgmma.wait", file, line});
}
VG_INLINE void wgmma_m64n64k16(float (&d)[32], uint64_t a, uint64_t b, bool add, VG_AT)
{
    vg_wgmma(d, 64, a, b, add, {"wgmma", file, line});
}
#else
static __device__ __forceinline__ void mbar_init(smem_addr bar, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(bar), "r"(count) : "memory");
}
// Arrives, and expects so many bytes of bulk copies in this phase.
static __device__ __forceinline__ void mbar_arrive_expect_tx(smem_addr bar, int n_bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(bar), "r"(n_bytes)
                 : "memory");
}
static __device__ __forceinline__ void mbar_wait(smem_addr bar, int parity)
{
    asm volatile("{\n.reg .pred p;\nW: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
                 "@!p bra W;\n}\n" ::"r"(bar),
                 "r"(parity)
                 : "memory");
}
static __device__ __forceinline__ void bulk_copy(smem_addr dst, const void *src, int n_bytes,
                                                 smem_addr bar)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                 "[%0], [%1], %2, [%3];\n" ::"r"(dst),
                 "l"(__cvta_generic_to_global(src)), "r"(n_bytes), "r"(bar)
                 : "memory");
}
// Makes this thread's ordinary shared writes visible to wgmma and bulk copies.
static __device__ __forceinline__ void fence_proxy_async()
{
    asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}
static __device__ __forceinline__ void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
static __device__ __forceinline__ void wgmma_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
// The accumulators may be touched only after this.
template <int N> static __device__ __forceinline__ void wgmma_wait(float (&d)[32])
{
    asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(N) : "memory");
    for (int i = 0; i < 32; i++)
        asm volatile("" : "+f"(d[i])::"memory");
}
#define FOUR(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
// d (+)= a b^T for a warpgroup: a and b 64x16 in shared memory, rows of k, 128-byte swizzle.
static __device__ __forceinline__ void wgmma_m64n64k16(float (&d)[32], uint64_t a, uint64_t b,
                                                       bool add)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %34, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 "
                 "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,"
                 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, "
                 "%32, %33, p, 1, 1, 0, 0;\n}\n"
                 : FOUR(0), FOUR(4), FOUR(8), FOUR(12), FOUR(16), FOUR(20), FOUR(24), FOUR(28)
                 : "l"(a), "l"(b), "r"((int)add));
}
#endif

// Shared memory descriptor of a K-major bf16 tile of 128-byte rows, 128-byte swizzle: start
// address, leading offset (unused here), 1024 bytes from one group of 8 rows to the next, mode 1.
static __device__ __forceinline__ uint64_t wgmma_descriptor(smem_addr start)
{
    return (uint64_t)(start >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 |
           (uint64_t)1 << 62;
}
