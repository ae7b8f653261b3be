// devices.cpp: how many virtual GPUs are there, in what state, and what did they find wrong?
#include "virtual_gpu/vg_internal.hpp"

#include <condition_variable>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <utility>

namespace vg
{
Device devices[VG_MAX_DEVICES];
vg_options options;
vg_counts counts;
thread_local int current_device;

namespace
{
std::recursive_mutex mutex;
int n_locks, n_waiting; // how often its holder has it; threads that wait for a change
std::condition_variable_any change;

// The lock, however often its holder has it.
struct WholeLock {
    int n;

    void lock()
    {
        for (int i = 0; i < n; i++)
            mutex.lock();
        n_locks = n;
    }
    void unlock()
    {
        n = std::exchange(n_locks, 0);
        for (int i = 0; i < n; i++)
            mutex.unlock();
    }
};
thread_local cudaError_t last_error = cudaSuccess;
std::string error_text;       // the first error found
std::string whole_error_text; // the same behind CUDA's own words
bool error_was_read;
uint64_t random_state = 1;

// Nobody looked: the test must fail all the same.
void end_of_process()
{
    if (error_text.empty() || error_was_read)
        return;
    fflush(nullptr);
    fprintf(stderr, "virtual GPU: an error that nobody asked for: %s\n", error_text.c_str());
    _exit(1);
}

vg_options read_environment()
{
    vg_options o = {};
    const char *schedule = getenv("EMT_VG_SCHEDULE"), *seed = getenv("EMT_VG_SEED"),
               *devices = getenv("EMT_VG_DEVICES");

    o.n_devices = devices ? atoi(devices) : 1;
    o.driver_version = CUDART_VERSION;
    o.memory_bytes = (size_t)4 << 30;
    o.n_sms = 4;
    o.compute_capability = 90;
    o.lost_device = -1;
    o.lost_after = -1;
    o.seed = seed ? (unsigned)strtoul(seed, nullptr, 10) : 1;
    if (schedule && *schedule) {
        const char *order = strchr("frx", schedule[0]);
        const char *async = schedule[1] ? strchr("lec", schedule[1]) : nullptr;
        if (!order || !async || schedule[2]) {
            fprintf(stderr, "EMT_VG_SCHEDULE=%s: it is f, r or x, then l, e or c\n", schedule);
            _exit(2);
        }
        o.order = schedule[0] == 'f' ? VG_FORWARD : schedule[0] == 'r' ? VG_REVERSE : VG_RANDOM;
        o.async = schedule[1] == 'l' ? VG_LATE : schedule[1] == 'e' ? VG_EARLY : VG_COIN;
    }
    return o;
}

void init()
{
    static bool done;
    if (done)
        return;
    done = true;
    options = read_environment();
    init_memory();
    init_fibers();
    atexit(end_of_process);
}

cudaError_t state_of_driver()
{
    // Any driver of the runtime's major version runs it.
    if (options.driver_version / 1000 < CUDART_VERSION / 1000)
        return cudaErrorInsufficientDriver;
    if (options.n_devices < 1)
        return cudaErrorNoDevice;
    return cudaSuccess;
}
} // namespace

Call::Call() : lock(mutex)
{
    n_locks++;
    init();
    use_signal_stack();
    error = state_of_driver();
    if (!error)
        error = devices[current_device].sticky;
    if (error)
        last_error = error;
}

// Whatever a call did may be what another thread waits for.
Call::~Call()
{
    if (--n_locks == 0)
        tell_waiters();
}

void tell_waiters()
{
    if (n_waiting > 0)
        change.notify_all();
}

void wait_for_change()
{
    WholeLock whole = {0};

    n_waiting++;
    change.wait(whole);
    n_waiting--;
}

cudaError_t fail(cudaError_t code)
{
    if (code)
        last_error = code;
    return code;
}

cudaError_t found(int device, cudaError_t code, const char *fmt, ...)
{
    char text[4000];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (error_text.empty()) {
        error_text = text;
        error_was_read = false;
        whole_error_text.clear();
    }
    if (!devices[device].sticky)
        devices[device].sticky = code;
    return fail(devices[device].sticky);
}

bool is_device(int device)
{
    return device >= 0 && device < options.n_devices;
}

void reseed(unsigned long long n)
{
    random_state = options.seed * 0x9e3779b97f4a7c15ull + n;
}

uint32_t next_random()
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16);
}

bool flip_early()
{
    return options.async == VG_EARLY || (options.async == VG_COIN && next_random() & 1);
}

// CUDA's own words, as its manual has them.
static const struct {
    cudaError_t code;
    const char *name, *text;
} words[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInitializationError, "cudaErrorInitializationError", "initialization error"},
    {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration",
     "invalid configuration argument"},
    {cudaErrorInvalidPitchValue, "cudaErrorInvalidPitchValue", "invalid pitch argument"},
    {cudaErrorInvalidMemcpyDirection, "cudaErrorInvalidMemcpyDirection",
     "invalid copy direction for memcpy"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorInvalidDeviceFunction, "cudaErrorInvalidDeviceFunction", "invalid device function"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorIllegalAddress, "cudaErrorIllegalAddress",
     "an illegal memory access was encountered"},
    {cudaErrorLaunchOutOfResources, "cudaErrorLaunchOutOfResources",
     "too many resources requested for launch"},
    {cudaErrorMisalignedAddress, "cudaErrorMisalignedAddress", "misaligned address"},
    {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};
} // namespace vg

using namespace vg;

cudaError_t vg_found(cudaError_t code, const char *fmt, ...)
{
    char text[2000];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return found(running_device < 0 ? current_device : running_device, code, "%s", text);
}

extern "C" {
vg_options vg_defaults(void)
{
    return read_environment();
}

bool vg_is_checking(void)
{
    return CHECK;
}

void vg_set(const vg_options *o)
{
    Call call;

    options = *o;
    options.n_devices = std::min(o->n_devices, VG_MAX_DEVICES);
    for (Device &device : devices)
        device.launches = 0;
    reseed(0);
}

const char *vg_error(void)
{
    Call call;

    error_was_read = true;
    return error_text.c_str();
}

void vg_clear(void)
{
    Call call;

    error_text.clear();
    whole_error_text.clear();
    last_error = cudaSuccess;
    for (Device &device : devices)
        device.sticky = cudaSuccess;
    forget_queued();
}

vg_counts vg_read_counts(void)
{
    Call call;

    return counts;
}

cudaError_t cudaGetDeviceCount(int *n)
{
    Call call;
    const cudaError_t error = state_of_driver();

    *n = error ? 0 : options.n_devices;
    return fail(error);
}

cudaError_t cudaSetDevice(int device)
{
    Call call;

    if (state_of_driver())
        return call.error;
    if (!is_device(device))
        return fail(cudaErrorInvalidDevice);
    current_device = device;
    return fail(devices[device].sticky);
}

cudaError_t cudaGetDevice(int *device)
{
    Call call;

    *device = current_device;
    return call.error;
}

cudaError_t cudaDriverGetVersion(int *version)
{
    Call call;

    *version = options.driver_version;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    Call call;

    if (state_of_driver())
        return call.error;
    if (!is_device(device))
        return fail(cudaErrorInvalidDevice);
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "virtual GPU"); // all of one kind
    p->totalGlobalMem = options.memory_bytes;
    p->sharedMemPerBlock = SMEM_DEFAULT;
    p->sharedMemPerBlockOptin = SMEM_MAX;
    p->sharedMemPerMultiprocessor = SMEM_MAX + 1024;
    p->reservedSharedMemPerBlock = 1024;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->warpSize = 32;
    p->maxThreadsPerBlock = MAX_THREADS;
    p->maxThreadsPerMultiProcessor = 2048;
    p->maxBlocksPerMultiProcessor = 32;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = MAX_THREADS;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 0x7fffffff;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->multiProcessorCount = options.n_sms;
    p->major = options.compute_capability / 10;
    p->minor = options.compute_capability % 10;
    p->l2CacheSize = 50 << 20;
    p->memoryBusWidth = 4096;
    p->unifiedAddressing = p->concurrentKernels = 1;
    p->asyncEngineCount = 2;
    p->pciBusID = device;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp p;
    const cudaError_t error = cudaGetDeviceProperties(&p, device);

    if (error)
        return error;
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
        *value = p.multiProcessorCount;
        break;
    case cudaDevAttrComputeCapabilityMajor:
        *value = p.major;
        break;
    case cudaDevAttrComputeCapabilityMinor:
        *value = p.minor;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = (int)SMEM_MAX;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlock:
        *value = (int)SMEM_DEFAULT;
        break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)SMEM_MAX + 1024;
        break;
    case cudaDevAttrL2CacheSize:
        *value = p.l2CacheSize;
        break;
    case cudaDevAttrMaxThreadsPerBlock:
        *value = MAX_THREADS;
        break;
    case cudaDevAttrWarpSize:
        *value = 32;
        break;
    default:
        return fail(cudaErrorNotSupported);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *id, int n, int device)
{
    Call call;

    if (!is_device(device))
        return fail(cudaErrorInvalidDevice);
    snprintf(id, (size_t)n, "0000:%02X:00.0", device);
    return cudaSuccess;
}

cudaError_t cudaDeviceReset(void)
{
    return cudaDeviceSynchronize();
}

cudaError_t cudaPeekAtLastError(void)
{
    Call call;

    return call.error ? call.error : last_error;
}

cudaError_t cudaGetLastError(void)
{
    Call call;
    const cudaError_t error = call.error ? call.error : last_error;

    last_error = cudaSuccess;
    return error;
}

const char *cudaGetErrorName(cudaError_t code)
{
    for (const auto &w : words)
        if (w.code == code)
            return w.name;
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t code)
{
    Call call;
    const char *own = "unrecognized error code";

    for (const auto &w : words)
        if (w.code == code)
            own = w.text;
    if (error_text.empty() || code == cudaSuccess || devices[current_device].sticky != code)
        return own;
    error_was_read = true;
    if (whole_error_text.empty())
        whole_error_text = std::string(own) + ": " + error_text;
    return whole_error_text.c_str();
}
}
