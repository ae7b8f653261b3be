// What may a kernel use besides plain CUDA C++?
//
// Every PTX instruction the kernels need, as a named inline function, plus the launch macro.
// With EMC_VIRTUAL_GPU the same names come from the stand-in, which runs them on the CPU.
#pragma once
#include <stdint.h>

#ifdef EMC_VIRTUAL_GPU
#include "virtual_gpu/vg_device.cuh"
#else
#include <cuda_bf16.h>
#include <cuda_runtime.h>

// The only way to launch. Arguments are evaluated here, once, and converted to the kernel's types.
// More than 48 KiB of dynamic shared memory needs EMC_OPT_IN_SMEM once per kernel and device.
#define EMC_LAUNCH(kernel, grid, block, smem_bytes, stream, ...)                                   \
    emc_launch(kernel, dim3 grid, dim3 block, smem_bytes, stream, __VA_ARGS__)
#define EMC_OPT_IN_SMEM(kernel, bytes)                                                             \
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(bytes))
// As much of the L1 as can be becomes shared memory, so that as many blocks fit as were counted on.
#define EMC_ALL_SMEM(kernel)                                                                       \
    cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,                   \
                         cudaSharedmemCarveoutMaxShared)

template <class... P, class... A>
static inline cudaError_t emc_launch(void (*kernel)(P...), dim3 grid, dim3 block, size_t smem,
                                     cudaStream_t stream, A... args)
{
    cudaLaunchConfig_t cfg = {};
    cfg.gridDim = grid;
    cfg.blockDim = block;
    cfg.dynamicSmemBytes = smem;
    cfg.stream = stream;
    return cudaLaunchKernelEx(&cfg, kernel, P(args)...);
}

// The block's dynamic shared memory, 1024-byte aligned. `extern __shared__` has no host equivalent.
#define EMC_DYNAMIC_SMEM(name)       extern __shared__ __align__(1024) unsigned char name[]

// A static shared variable: EMC_SHARED(float, sums, [32]); a scalar leaves dims empty.
#define EMC_SHARED(type, name, dims) __shared__ type name dims

// A byte address inside shared memory, as the .shared instructions want it.
typedef uint32_t smem_addr;

static __device__ __forceinline__ smem_addr smem_addr_of(const void *p)
{
    return (smem_addr)__cvta_generic_to_shared(p);
}

// Asynchronous 16-byte copy, global to shared. !valid writes 16 zero bytes and reads nothing.
static __device__ __forceinline__ void cp_async_16(smem_addr dst, const void *src, bool valid)
{
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(dst),
                 "l"(__cvta_generic_to_global(src)), "r"(valid ? 16 : 0)
                 : "memory");
}
static __device__ __forceinline__ void cp_async_commit()
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}
// Waits until at most N of this thread's groups are in flight. Others need a barrier to see it.
template <int N> static __device__ __forceinline__ void cp_async_wait()
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

// Four 8x8 matrices of 16-bit values; lanes 8i..8i+7 give the row addresses of matrix i.
static __device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], smem_addr row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}
static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t (&r)[4], smem_addr row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(row)
                 : "memory");
}

// d += a b for one warp: a 16x16, b 16x8 (bf16), d 16x8 (f32), PTX fragment layout.
static __device__ __forceinline__ void mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4],
                                                      uint32_t b0, uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// 2^x, relative error at most 2 ulp, subnormal results become 0.
static __device__ __forceinline__ float exp2_approx(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
#endif

// x, but the compiler does not know: what depends on it is computed here and not earlier, where it
// would occupy registers.
static __device__ __forceinline__ uint32_t computed_here(uint32_t x)
{
#ifndef EMC_VIRTUAL_GPU
    asm volatile("" : "+r"(x));
#endif
    return x;
}

// ---- Eight bf16 values, as kernels load and store them: 16 bytes, the first value lowest.

static __device__ __forceinline__ void widen(float (&f)[8], uint4 v)
{
    const uint32_t pair[4] = {v.x, v.y, v.z, v.w};

#pragma unroll
    for (int i = 0; i < 4; i++) {
        f[2 * i] = __uint_as_float(pair[i] << 16);
        f[2 * i + 1] = __uint_as_float(pair[i] & 0xffff0000u);
    }
}

// Two values, each rounded once, the first in the low half.
static __device__ __forceinline__ uint32_t pack_bf16(float low, float high)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return *reinterpret_cast<const uint32_t *>(&pair);
}

static __device__ __forceinline__ uint4 narrow(const float (&f)[8])
{
    return make_uint4(pack_bf16(f[0], f[1]), pack_bf16(f[2], f[3]), pack_bf16(f[4], f[5]),
                      pack_bf16(f[6], f[7]));
}

// ---- The same in every lane: sums and largest values over groups of LANES neighbouring lanes.
// Additions pair up in a fixed tree, so that the bits depend on the values alone.

template <int LANES, class T> static __device__ __forceinline__ T lanes_sum(T x)
{
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2)
        x += __shfl_xor_sync(~0u, x, step);
    return x;
}

template <int LANES, class T> static __device__ __forceinline__ T lanes_max(T x)
{
#pragma unroll
    for (int step = LANES / 2; step > 0; step /= 2) {
        const T other = __shfl_xor_sync(~0u, x, step);
        x = other > x ? other : x;
    }
    return x;
}
