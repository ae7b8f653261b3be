// runtime.cpp: memory, copies and queries of the CUDA runtime.
#include "virtual_gpu/vg_internal.hpp"

#include <sys/mman.h>

namespace vg
{
namespace
{
// Pinned memory ends at a guard page, as device memory does.
struct Pinned {
    size_t n_bytes, n_mapped;
    void *mapped;
};
std::map<uintptr_t, Pinned> pinned; // by start

bool is_pinned(const void *p, size_t n)
{
    auto it = pinned.upper_bound((uintptr_t)p);

    if (it == pinned.begin())
        return false;
    --it;
    return (uintptr_t)p + n <= it->first + it->second.n_bytes;
}

// One side of a copy, of n bytes. kind: what the caller says that this side is.
cudaError_t check_side(const char *what, const void *p, size_t n, bool device_side, bool any_side)
{
    if (!p)
        return fail(cudaErrorInvalidValue);
    if (!any_side && is_device_memory(p) != device_side)
        return found(current_device, cudaErrorInvalidValue, "%s: %p is %s memory", what, p,
                     device_side ? "host" : "device");
    if (!is_device_memory(p))
        return cudaSuccess;
    const std::string problem = memory_problem(p, n, -1);
    if (!problem.empty())
        return found(current_device, cudaErrorInvalidValue, "%s: %s", what, problem.c_str());
    return cudaSuccess;
}

cudaError_t check_copy(const void *to, const void *from, size_t n, cudaMemcpyKind kind)
{
    const bool any = kind == cudaMemcpyDefault;
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    cudaError_t error = check_side("copy to", to, n, to_device, any);

    return error ? error : check_side("copy from", from, n, from_device, any);
}

void count_copy(const void *to, const void *from, size_t n)
{
    if (is_device_memory(to) && is_device_memory(from))
        return;
    counts.copied_bytes += n;
    if (!is_pinned(is_device_memory(to) ? from : to, n))
        counts.pageable_copies++;
}

void copy_now(void *to, const void *from, size_t n)
{
    // What was free when the copy was queued may be gone now.
    for (const void *p : {(const void *)to, from})
        if (is_device_memory(p)) {
            const std::string problem = memory_problem(p, n, -1);
            if (!problem.empty()) {
                vg_found(cudaErrorIllegalAddress, "copy: %s", problem.c_str());
                return;
            }
        }
    memcpy(to, from, n);
    if (is_device_memory(to) && is_device_memory(from))
        copy_written(to, from, n);
    else if (is_device_memory(to))
        mark_written(to, n);
}
} // namespace
} // namespace vg

using namespace vg;

extern "C" {
cudaError_t cudaMalloc(void **out, size_t n)
{
    Call call;

    *out = nullptr;
    counts.waits++;
    counts.allocations++;
    if (call.error || n == 0)
        return call.error;
    return fail(take_memory(current_device, n, out));
}

cudaError_t cudaFree(void *p)
{
    Call call;

    if (!p)
        return call.error;
    counts.waits++;
    counts.allocations++;
    if (!is_device_memory(p))
        return found(current_device, cudaErrorInvalidValue, "cudaFree: %p is host memory", p);
    Allocation *a = allocation_at(p);
    if (!a)
        return found(current_device, cudaErrorInvalidValue,
                     "cudaFree: %p is not the start of an allocation", p);
    if (a->freed)
        return found(current_device, cudaErrorInvalidValue, "cudaFree: %p was freed before", p);
    const int device = a->device;
    drain_device(device);
    give_memory(allocation_at(p));
    return fail(devices[device].sticky);
}

cudaError_t cudaMallocHost(void **out, size_t n)
{
    Call call;

    *out = nullptr;
    counts.allocations++;
    if (call.error || n == 0)
        return call.error;
    const size_t room = (n + PAGE - 1) / PAGE * PAGE;
    unsigned char *mapped = (unsigned char *)map_memory(room + PAGE, PROT_READ | PROT_WRITE);
    mprotect(mapped + room, PAGE, PROT_NONE);
    memset(mapped, POISON, room);
    *out = mapped + (room - n) / 256 * 256; // 256-byte aligned, its end close to the guard page
    pinned[(uintptr_t)*out] = {n, room + PAGE, mapped};
    counts.live_host_allocations++;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **out, size_t n, unsigned)
{
    return cudaMallocHost(out, n);
}

cudaError_t cudaFreeHost(void *p)
{
    Call call;

    if (!p)
        return call.error;
    counts.waits++;
    counts.allocations++;
    auto it = pinned.find((uintptr_t)p);
    if (it == pinned.end())
        return found(current_device, cudaErrorInvalidValue,
                     "cudaFreeHost: %p is not the start of pinned memory", p);
    for (int device = 0; device < VG_MAX_DEVICES; device++)
        drain_device(device);
    munmap(it->second.mapped, it->second.n_mapped);
    pinned.erase(it);
    counts.live_host_allocations--;
    return fail(devices[current_device].sticky);
}

cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_whole)
{
    Call call;

    *n_free = *n_whole = 0;
    if (call.error)
        return call.error;
    const size_t used = devices[current_device].used_bytes;
    *n_whole = options.memory_bytes;
    *n_free = used < options.memory_bytes ? options.memory_bytes - used : 0;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t n, cudaMemcpyKind kind,
                            cudaStream_t handle)
{
    Call call;
    Stream *stream;

    if (call.error || (call.error = stream_of(handle, &stream)) || n == 0)
        return call.error;
    if ((call.error = check_copy(to, from, n, kind)))
        return call.error;
    count_copy(to, from, n);
    return enqueue(stream, [=] { copy_now(to, from, n); });
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t n, cudaMemcpyKind kind)
{
    Call call;
    const unsigned long long pageable = counts.pageable_copies;
    const cudaError_t error = cudaMemcpyAsync(to, from, n, kind, nullptr);

    counts.pageable_copies = pageable; // it waits anyway
    counts.waits++;
    return error ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind, cudaStream_t handle)
{
    Call call;
    Stream *stream;

    if (call.error || (call.error = stream_of(handle, &stream)) || width == 0 || height == 0)
        return call.error;
    if (to_pitch < width || from_pitch < width)
        return fail(cudaErrorInvalidPitchValue);
    for (size_t y = 0; y < height; y++) {
        call.error =
            check_copy((char *)to + y * to_pitch, (const char *)from + y * from_pitch, width, kind);
        if (call.error)
            return call.error;
    }
    count_copy(to, from, width * height);
    return enqueue(stream, [=] {
        for (size_t y = 0; y < height; y++)
            copy_now((char *)to + y * to_pitch, (const char *)from + y * from_pitch, width);
    });
}

cudaError_t cudaMemcpy2D(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                         size_t width, size_t height, cudaMemcpyKind kind)
{
    Call call;
    const cudaError_t error =
        cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, height, kind, nullptr);

    return error ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemsetAsync(void *p, int value, size_t n, cudaStream_t handle)
{
    Call call;
    Stream *stream;

    if (call.error || (call.error = stream_of(handle, &stream)) || n == 0)
        return call.error;
    if ((call.error = check_side("cudaMemset", p, n, true, false)))
        return call.error;
    return enqueue(stream, [=] {
        fill(p, n, (unsigned char)value);
        mark_written(p, n);
    });
}

cudaError_t cudaMemset(void *p, int value, size_t n)
{
    Call call;
    const cudaError_t error = cudaMemsetAsync(p, value, n, nullptr);

    return error ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes *a, const void *p)
{
    Call call;

    memset(a, 0, sizeof *a);
    if (call.error)
        return call.error;
    a->device = current_device;
    if (is_device_memory(p) && memory_problem(p, 1, -1).empty()) {
        a->type = cudaMemoryTypeDevice;
        a->devicePointer = (void *)p;
    } else if (is_pinned(p, 1)) {
        a->type = cudaMemoryTypeHost;
        a->hostPointer = a->devicePointer = (void *)p;
    } else {
        a->type = cudaMemoryTypeUnregistered;
        a->hostPointer = (void *)p;
    }
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *fn, cudaFuncAttribute attribute, int value)
{
    Call call;

    if (call.error || attribute != cudaFuncAttributeMaxDynamicSharedMemorySize)
        return call.error;
    if (value < 0 || (size_t)value > SMEM_MAX)
        return fail(cudaErrorInvalidValue);
    devices[current_device].smem_opt_in[fn] = (size_t)value;
    return cudaSuccess;
}

// What the compiler and the chip decide is not known here: as many registers as always fit.
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, const void *fn)
{
    Call call;

    memset(a, 0, sizeof *a);
    if (call.error)
        return call.error;
    const auto &opt_in = devices[current_device].smem_opt_in;
    const auto it = opt_in.find(fn);
    a->maxThreadsPerBlock = MAX_THREADS;
    a->numRegs = 64;
    a->binaryVersion = a->ptxVersion = options.compute_capability;
    a->maxDynamicSharedSizeBytes = (int)(it == opt_in.end() ? SMEM_DEFAULT : it->second);
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *, int n_threads,
                                                          size_t smem)
{
    Call call;

    *n = 0;
    if (call.error)
        return call.error;
    if (n_threads < 1 || n_threads > MAX_THREADS || smem > SMEM_MAX)
        return fail(cudaErrorInvalidValue);
    const size_t by_memory = (SMEM_MAX + 1024) / (smem + 1024);
    const int n_warps = (n_threads + 31) / 32;
    *n = std::min({64 / n_warps, (int)std::min(by_memory, (size_t)32), 32});
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *fn,
                                                                   int n_threads, size_t smem,
                                                                   unsigned)
{
    return cudaOccupancyMaxActiveBlocksPerMultiprocessor(n, fn, n_threads, smem);
}
}
