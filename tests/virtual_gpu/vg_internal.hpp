// vg_internal.hpp: what do the files of the virtual GPU share?
//
//   devices.cpp   devices, options, errors; the lock that every call takes
//   runtime.cpp   memory, copies and queries of the CUDA runtime
//   streams.cpp   streams and events: queues that run as late as they may
//   launch.cpp    a grid, block by block
//   fibers.cpp    one fiber per thread: which runs, who waits for whom
//   warp.cpp      exchanges, votes, mma, ldmatrix, cp.async
//   nccl.cpp      collectives of several devices, over streams
//   hopper.cpp    mbarrier, bulk copies, wgmma
//   memory.cpp    what is shared and device memory, and who may touch it
//   counts.cpp    sectors and bank conflicts
#pragma once
#include "virtual_gpu/vg.h"
#include "virtual_gpu/vg_device.cuh"
#include "virtual_gpu/vg_library.hpp"

#include <signal.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

namespace vg
{
constexpr size_t PAGE = 4096, STACK = 64 << 10;
constexpr size_t STATIC_MAX = 48 << 10, SMEM_MAX = 227 << 10, SMEM_DEFAULT = 48 << 10;
constexpr int MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / 32;
constexpr unsigned char POISON = 0xff; // NaN as bf16, f32 and f64; -1 as an index
#ifdef VG_CHECK
constexpr bool CHECK = true;
#else
constexpr bool CHECK = false;
#endif

// ---- devices.cpp
struct Device {
    cudaError_t sticky;
    size_t used_bytes;
    long long launches; // since vg_set
    std::map<const void *, size_t> smem_opt_in;
};
extern Device devices[VG_MAX_DEVICES];
extern vg_options options;
extern vg_counts counts;
extern thread_local int current_device;

// Every call of the runtime holds one. error: what stands in the way of any call, a device that is
// broken included.
struct Call {
    Call();
    ~Call();
    std::lock_guard<std::recursive_mutex> lock;
    cudaError_t error;
};
// Gives the lock to other threads until one of them has changed something; what was read before
// must be read again. Not from within work. A change in the middle of a long call is told at once.
void wait_for_change();
void tell_waiters();
cudaError_t fail(cudaError_t code); // what cudaGetLastError then gives
cudaError_t found(int device, cudaError_t code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4))); // an error that a GPU might have let pass
bool is_device(int device);
uint32_t next_random();
bool flip_early(); // whether something asynchronous happens at once
void reseed(unsigned long long n);

// ---- streams.cpp
struct Stream;
struct Dependency {
    Stream *stream;
    unsigned long long at; // done when the stream has done this many
};
// Work of several streams at once: done when each of them has come to its entry.
struct Meeting {
    struct Entry {
        Stream *stream;
        unsigned long long at; // its place in the stream; 0: not queued yet
        bool left;             // never comes; its own stream fails there
    };
    std::vector<Entry> entries;
    std::function<bool()> run; // false: a device broke, nothing was done
    bool hangs;                // a fault: never done
    bool done;
};
struct Work {
    std::function<void()> run;
    std::vector<Dependency> after;
    std::shared_ptr<Meeting> meeting;
    size_t entry;
};
struct Stream {
    int device;
    bool alive, blocking;
    std::deque<Work> queue;
    unsigned long long n_queued, n_done;
    cudaError_t error; // of what it left; nothing behind that is run
};
extern int running_device; // of the work that runs now; -1: none does
cudaError_t stream_of(cudaStream_t handle, Stream **out);
cudaError_t enqueue(Stream *stream, std::function<void()> run);
// Queues an entry of a meeting, to come after what `after` says, too. The caller has checked that
// the stream is of its device.
cudaError_t join(const std::shared_ptr<Meeting> &meeting, size_t entry, Stream *stream,
                 const Dependency &after);
void leave(Meeting *meeting, size_t entry);
// Runs a stream until it has done `at` pieces of work; others move only as far as it needs. False,
// without may_wait: it would have to wait for another thread.
bool run_until(Stream *stream, unsigned long long at, bool may_wait);
void drain(Stream *stream);
void drain_device(int device);
void forget_queued();

// ---- launch.cpp
struct Block {
    uint3 index;
    dim3 block_dim, grid_dim;
    size_t smem;
    const char *name;
    void (*run)(const void *);
    std::vector<max_align_t> params;
    bool running;
    int device;
};
extern Block cur;
extern unsigned launch_id;
uint32_t block_number();

// ---- fibers.cpp
enum Wait { READY, IN_WARP, IN_BARRIER, IN_MBAR, EXITED };
struct Copy { // cp.async: n_valid bytes of src, zeros up to n_bytes
    uint32_t dst;
    const void *src;
    uint8_t n_bytes, n_valid;
    bool landed;
};
struct Fiber {
    void *sp;
    uint3 tid;
    int index;
    Wait wait;
    VgSite at;
    VgWarpFn fn;
    void *args;
    unsigned mask;
    bool aligned;
    int barrier, n_expected, votes; // votes: in, this thread's; out, the sum
    uint32_t mbar;
    uint16_t fences;            // fence.proxy.async so far
    std::vector<Copy> copies;   // not yet waited for
    std::vector<size_t> groups; // end of each committed group within `copies`
};
extern Fiber fibers[MAX_THREADS];
extern Fiber *self; // the running fiber
extern int n_threads, n_warps, n_live;
extern uint32_t block_epoch, warp_epoch[MAX_WARPS]; // counts of __syncthreads, of __syncwarp
void init_fibers();
void run_block();
void leave_block(); // from a fiber, for good
void give_way();
void set_ready(Fiber *f);
void set_waiting(Fiber *f, Wait wait);
bool in_stack_of(int thread, uintptr_t address);
bool in_any_stack(uintptr_t address);

// ---- memory.cpp
extern unsigned char arena[STATIC_MAX + SMEM_MAX]; // static variables, then the dynamic part
struct Allocation {
    size_t start, size;
    int device;
    bool freed;
};
// Shadow of one shared byte.
enum Shared : uint8_t { NEVER_WRITTEN, WRITTEN, IN_FLIGHT };
struct Shadow {
    uint32_t w_block, w_warp, r_block, r_warp;
    uint16_t w_thread, r_thread, w_fences;
    Shared state;
    uint8_t w_atomic;
    uint8_t r_many; // since r_block: 0 one reader, 1 several in a warp, 2 several warps
};
extern std::vector<Shadow> shadow;
constexpr uint16_t NO_FENCE_NEEDED = 0xffff;
void init_memory();
void new_shared_memory(bool first_block);
void shared_access(int thread, size_t at, unsigned n, bool write, bool atomic = false);
void access(const void *p, unsigned n, bool write, uintptr_t site, bool atomic = false);
void set_in_flight(size_t at, unsigned n);
cudaError_t take_memory(int device, size_t n, void **out);
Allocation *allocation_at(const void *p); // whose start this is
void give_memory(Allocation *a);
bool is_device_memory(const void *p);
// "" or what is wrong with n bytes there as one allocation of `device` (-1: of any).
std::string memory_problem(const void *p, size_t n, int device);
void mark_written(const void *p, size_t n);
bool all_written(const void *p, size_t n);
void copy_written(const void *to, const void *from, size_t n);
void fill(void *p, size_t n, unsigned char byte);
void *map_memory(size_t n, int protection);
struct SignalHandler { // turns an invalid address into an error of the kernel
    SignalHandler();
    ~SignalHandler();
    struct sigaction segv, bus;
};
void use_signal_stack(); // of this thread, so that a fiber may overflow its own

// ---- counts.cpp
extern vg_kernel_counts *kernel_counts; // of the running kernel
void count_launch(const char *name);
void count_access(int thread, uintptr_t site, uintptr_t at, unsigned n, bool shared, bool write);
void warp_met(int warp);

// ---- hopper.cpp
void reset_hopper();
bool land_bulk(); // lets the oldest bulk copy in flight arrive
typedef double MmaA[16][16];
typedef double MmaB[16][8];
void mma_core(double (&c)[16][8], const MmaA &a, const MmaB &b);
float cut(double x);

static inline float bf16_low(uint32_t x)
{
    x <<= 16;
    float f;
    memcpy(&f, &x, sizeof f);
    return f;
}
static inline float bf16_high(uint32_t x)
{
    return bf16_low(x >> 16);
}
} // namespace vg
