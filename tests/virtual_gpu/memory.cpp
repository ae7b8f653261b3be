// memory.cpp: what is shared and device memory, and who may touch it when?
//
// Shared memory is one poisoned arena. Device memory is one reserved range in which each allocation
// ends at a guard page, so that a pointer tells by its address what it is; freed memory is never
// used again. Kernels built with -fsanitize=thread report each load and store to the __tsan_
// functions at the end of this file (libtsan is not linked), which keep shadow state: bounds,
// alignment, written bytes, bytes in flight, races inside and between blocks.
#include "virtual_gpu/vg_internal.hpp"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

extern "C" unsigned char __executable_start[], end[];

namespace vg
{
alignas(1024) unsigned char arena[STATIC_MAX + SMEM_MAX];
std::vector<Shadow> shadow;

namespace
{
constexpr size_t HEAP = (size_t)64 << 30; // of addresses; all devices, freed memory included
// From this size on, memory is filled by mapping a file of that byte, so that only pages that are
// written to cost anything.
constexpr size_t FILL_PIECE = 16 << 20;

unsigned char *heap, *heap_written; // device memory; one "was written" byte per byte
size_t heap_used = PAGE;
std::vector<Allocation> allocations{{0, 0, 0, true}};
uint32_t *page_owner; // index into allocations

struct Static {
    const void *key;
    size_t at;
};
std::vector<Static> statics; // of the running kernel
size_t static_used;

// Who touched a 2-byte granule of device memory last, in which launch: for races between blocks.
struct Touch {
    uint32_t launch, block;
};
struct Granule {
    Touch w, r;
};
Granule *heap_touch;

bool unordered(int t, unsigned u, uint32_t block, uint32_t warp)
{
    if ((int)u == t || block != block_epoch)
        return false;
    return (int)u >> 5 != t >> 5 || warp == warp_epoch[t >> 5];
}

void global_access(size_t at, unsigned n, bool write, bool atomic)
{
    const char *what = write ? "write" : "read";
    const Allocation &a = allocations[page_owner[at / PAGE]];
    const uint32_t b = block_number();

    if (a.freed || at < a.start || at + n > a.start + a.size)
        vg_fail("global %s of %u bytes outside every allocation (nearest: %zu bytes, offset %td%s)",
                what, n, a.size, (ptrdiff_t)at - (ptrdiff_t)a.start, a.freed ? ", freed" : "");
    if (a.device != cur.device)
        vg_fail("global %s of memory of device %d by a kernel on device %d", what, a.device,
                cur.device);
    for (unsigned i = 0; i < n; i++) {
        if ((!write || atomic) && !heap_written[at + i])
            vg_fail("global read of bytes nobody wrote (offset %zu of %zu)", at + i - a.start,
                    a.size);
        if (write)
            heap_written[at + i] = 1;
    }
    if (atomic)
        return;
    for (size_t g = at / 2; g <= (at + n - 1) / 2; g++) {
        Granule &s = heap_touch[g];
        if (s.w.launch == launch_id && s.w.block != b)
            vg_fail("race: global %s, block %u wrote it in this launch (offset %zu)", what,
                    s.w.block, 2 * g - a.start);
        if (write && s.r.launch == launch_id && s.r.block != b)
            vg_fail("race: global write, block %u read it in this launch (offset %zu)", s.r.block,
                    2 * g - a.start);
        (write ? s.w : s.r) = {launch_id, b};
    }
}

bool is_parameter(uintptr_t a)
{
    return a - (uintptr_t)cur.params.data() < cur.params.size() * sizeof(max_align_t);
}

bool is_of_program(uintptr_t a)
{
    return a - (uintptr_t)__executable_start < (uintptr_t)(end - __executable_start);
}

void on_signal(int signal, siginfo_t *info, void *)
{
    const bool device = is_device_memory(info->si_addr);
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    vg_fail("invalid address %p%s", info->si_addr, device ? " (guard page of device memory)" : "");
}

// A stack for signals is a thread's own: a fiber that overflows its stack has none to handle it on.
struct SignalStack {
    SignalStack()
    {
        stack.ss_size = 256 << 10;
        stack.ss_sp = map_memory(stack.ss_size, PROT_READ | PROT_WRITE);
        sigaltstack(&stack, &before);
    }
    ~SignalStack()
    {
        sigaltstack(&before, nullptr);
        munmap(stack.ss_sp, stack.ss_size);
    }
    stack_t stack = {}, before = {};
};

int file_of(unsigned char byte)
{
    static int files[256]; // 0: none yet

    if (!files[byte]) {
        files[byte] = memfd_create("virtual GPU", MFD_CLOEXEC);
        const std::vector<unsigned char> piece(FILL_PIECE, byte);
        if (files[byte] < 0 ||
            write(files[byte], piece.data(), FILL_PIECE) != (ssize_t)FILL_PIECE) {
            perror("virtual GPU: memfd_create");
            abort();
        }
    }
    return files[byte];
}
} // namespace

void *map_memory(size_t n, int protection)
{
    void *p = mmap(nullptr, n, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (p == MAP_FAILED) {
        perror("virtual GPU: mmap");
        abort();
    }
    return p;
}

void fill(void *start, size_t n, unsigned char byte)
{
    unsigned char *p = (unsigned char *)start, *const stop = p + n;

    if (n < 2 * FILL_PIECE) {
        memset(p, byte, n);
        return;
    }
    unsigned char *const first = (unsigned char *)(((uintptr_t)p + PAGE - 1) / PAGE * PAGE);
    memset(p, byte, (size_t)(first - p));
    for (p = first; (size_t)(stop - p) >= FILL_PIECE; p += FILL_PIECE)
        if (mmap(p, FILL_PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE,
                 file_of(byte), 0) != p) {
            perror("virtual GPU: mmap");
            abort();
        }
    memset(p, byte, (size_t)(stop - p));
}

void init_memory()
{
    heap = (unsigned char *)map_memory(HEAP, PROT_NONE);
    page_owner = (uint32_t *)map_memory(HEAP / PAGE * sizeof *page_owner, PROT_READ | PROT_WRITE);
    if (CHECK) {
        heap_written = (unsigned char *)map_memory(HEAP, PROT_READ | PROT_WRITE);
        heap_touch = (Granule *)map_memory(HEAP / 2 * sizeof(Granule), PROT_READ | PROT_WRITE);
        shadow.resize(sizeof arena);
    }
}

void use_signal_stack()
{
    static thread_local SignalStack stack;
    (void)stack;
}

// Only for as long as a kernel runs: test frameworks and sanitizers have handlers of their own.
SignalHandler::SignalHandler()
{
    struct sigaction action = {};

    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &action, &segv);
    sigaction(SIGBUS, &action, &bus);
}

SignalHandler::~SignalHandler()
{
    sigaction(SIGSEGV, &segv, nullptr);
    sigaction(SIGBUS, &bus, nullptr);
}

// ---- device memory

bool is_device_memory(const void *p)
{
    return (uintptr_t)p - (uintptr_t)heap < HEAP;
}

cudaError_t take_memory(int device, size_t n, void **out)
{
    const size_t pages = n / PAGE + (n % PAGE != 0), room = pages * PAGE;

    if (n > options.memory_bytes || devices[device].used_bytes > options.memory_bytes - n)
        return cudaErrorMemoryAllocation;
    if (heap_used + room + PAGE > HEAP)
        return found(device, cudaErrorMemoryAllocation,
                     "the stand-in is out of addresses, which it never uses twice");
    // 256-byte aligned, its end close to the guard page.
    const size_t start = heap_used + (room - n) / 256 * 256;
    mprotect(heap + heap_used, room, PROT_READ | PROT_WRITE);
    fill(heap + heap_used, room, POISON);
    for (size_t i = 0; i <= pages; i++)
        page_owner[heap_used / PAGE + i] = (uint32_t)allocations.size();
    allocations.push_back({start, n, device, false});
    heap_used += room + PAGE;
    devices[device].used_bytes += n;
    counts.live_allocations++;
    counts.live_bytes += n;
    counts.peak_bytes = std::max(counts.peak_bytes, counts.live_bytes);
    *out = heap + start;
    return cudaSuccess;
}

Allocation *allocation_at(const void *p)
{
    const size_t at = (size_t)((uintptr_t)p - (uintptr_t)heap);
    Allocation &a = allocations[page_owner[at / PAGE]];

    return a.size > 0 && a.start == at ? &a : nullptr;
}

void give_memory(Allocation *a)
{
    const size_t first = a->start / PAGE * PAGE;
    const size_t room = (a->start + a->size + PAGE - 1) / PAGE * PAGE - first;

    a->freed = true;
    mmap(heap + first, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
         0);
    if (CHECK) {
        madvise(heap_written + first, room, MADV_DONTNEED);
        madvise(heap_touch + first / 2, room / 2 * sizeof(Granule), MADV_DONTNEED);
    }
    devices[a->device].used_bytes -= a->size;
    counts.live_allocations--;
    counts.live_bytes -= a->size;
}

std::string memory_problem(const void *p, size_t n, int device)
{
    const size_t at = (size_t)((uintptr_t)p - (uintptr_t)heap);
    char text[200];

    if (n == 0)
        return "";
    if (at >= HEAP) {
        snprintf(text, sizeof text, "%p is host memory", p);
        return text;
    }
    const Allocation &a = allocations[page_owner[at / PAGE]];
    if (a.freed || at < a.start || n > a.size || at - a.start > a.size - n) {
        snprintf(text, sizeof text,
                 "%zu bytes outside every allocation (nearest: %zu bytes, offset %td%s)", n, a.size,
                 (ptrdiff_t)at - (ptrdiff_t)a.start, a.freed ? ", freed" : "");
        return text;
    }
    if (device >= 0 && a.device != device) {
        snprintf(text, sizeof text, "memory of device %d used on device %d", a.device, device);
        return text;
    }
    return "";
}

void mark_written(const void *p, size_t n)
{
    if (CHECK)
        fill(heap_written + ((uintptr_t)p - (uintptr_t)heap), n, 1);
}

bool all_written(const void *p, size_t n)
{
    return !CHECK || !memchr(heap_written + ((uintptr_t)p - (uintptr_t)heap), 0, n);
}

void copy_written(const void *to, const void *from, size_t n)
{
    if (CHECK)
        memmove(heap_written + ((uintptr_t)to - (uintptr_t)heap),
                heap_written + ((uintptr_t)from - (uintptr_t)heap), n);
}

// ---- shared memory

void new_shared_memory(bool first_block)
{
    // What the block can see: all of the static part before the first block has laid it out.
    const size_t n_static = first_block ? STATIC_MAX : static_used;

    if (first_block) {
        statics.clear();
        static_used = 0;
    }
    memset(arena, POISON, n_static);
    memset(arena + STATIC_MAX, POISON, cur.smem);
    if (CHECK) {
        memset((void *)&shadow[0], 0, n_static * sizeof(Shadow));
        memset((void *)&shadow[STATIC_MAX], 0, cur.smem * sizeof(Shadow));
    }
}

static void note_read(Shadow &s, int t, uint32_t epoch)
{
    if (s.r_block != block_epoch) {
        s.r_block = block_epoch;
        s.r_warp = epoch;
        s.r_thread = (uint16_t)t;
        s.r_many = 0;
    } else if (s.r_thread >> 5 != t >> 5) {
        s.r_many = 2;
    } else if (s.r_many < 2) {
        if (s.r_warp != epoch) {
            s.r_many = 0;
            s.r_thread = (uint16_t)t;
        } else if (s.r_thread != t) {
            s.r_many = 1;
        }
        s.r_warp = epoch;
    }
}

static bool was_read_unordered(const Shadow &s, int t, uint32_t epoch)
{
    if (s.r_block != block_epoch)
        return false;
    if (s.r_many == 2)
        return true;
    if (s.r_many == 1)
        return s.r_thread >> 5 != t >> 5 || s.r_warp == epoch;
    return unordered(t, s.r_thread, s.r_block, s.r_warp);
}

void shared_access(int t, size_t at, unsigned n, bool write, bool atomic)
{
    const char *what = write ? "write" : "read";
    const bool is_static = at < STATIC_MAX;
    const uint32_t epoch = warp_epoch[t >> 5];

    if (is_static ? at + n > static_used : at + n > STATIC_MAX + cur.smem)
        vg_fail("shared %s of %u bytes at %s %zu, size is %zu", what, n,
                is_static ? "static" : "dynamic", is_static ? at : at - STATIC_MAX,
                is_static ? static_used : cur.smem);
    for (unsigned i = 0; i < n; i++) {
        Shadow &s = shadow[at + i];
        if (s.state == IN_FLIGHT)
            vg_fail("shared %s hits bytes with a copy of thread %d in flight (offset %zu)", what,
                    s.w_thread, at + i);
        if (s.state == NEVER_WRITTEN && (!write || atomic))
            vg_fail("shared read of bytes nobody wrote (offset %zu)", at + i);
        if (s.state && !(atomic && s.w_atomic) && unordered(t, s.w_thread, s.w_block, s.w_warp))
            vg_fail("race: shared %s, thread %d wrote offset %zu without a barrier since", what,
                    s.w_thread, at + i);
        if (!write) {
            note_read(s, t, epoch);
            continue;
        }
        if (was_read_unordered(s, t, epoch))
            vg_fail("race: shared write, thread %d read offset %zu without a barrier since",
                    s.r_thread, at + i);
        s.w_block = block_epoch;
        s.w_warp = epoch;
        s.w_thread = (uint16_t)t;
        s.state = WRITTEN;
        s.w_atomic = atomic;
        s.r_block = 0;
        s.w_fences = fibers[t].fences;
    }
}

void set_in_flight(size_t at, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        shadow[at + i].state = IN_FLIGHT;
}

void access(const void *p, unsigned n, bool write, uintptr_t site, bool atomic)
{
    if (!cur.running)
        return;
    const uintptr_t a = (uintptr_t)p;
    counts.accesses++;
    if (in_stack_of(self->index, a))
        return; // its own local memory
    if (n <= 16 && !(n & (n - 1)) && a % n)
        vg_fail("misaligned %s: %u bytes at %p", write ? "write" : "read", n, p);
    const size_t in_arena = a - (uintptr_t)arena, in_heap = a - (uintptr_t)heap;
    if (in_arena < sizeof arena) {
        shared_access(self->index, in_arena, n, write, atomic);
        if (!atomic)
            count_access(self->index, site, in_arena, n, true, write);
    } else if (in_heap < HEAP) {
        global_access(in_heap, n, write, atomic);
        if (!atomic)
            count_access(self->index, site, in_heap, n, false, write);
    } else if (in_any_stack(a)) {
        vg_fail("%s of another thread's local memory", write ? "write" : "read");
    } else if (write || !(is_parameter(a) || is_of_program(a))) {
        vg_fail("kernel %s of host memory %p", write ? "write" : "read", p);
    }
}
} // namespace vg

using namespace vg;

bool vg_use(const void *p, size_t n, bool write)
{
    const std::string problem = memory_problem(p, n, running_device);

    if (!problem.empty()) {
        vg_found(cudaErrorIllegalAddress, "%s", problem.c_str());
        return false;
    }
    if (n == 0)
        return true;
    if (!write && !all_written(p, n)) {
        vg_found(cudaErrorIllegalAddress, "%zu bytes at %p are read, not all were written", n, p);
        return false;
    }
    if (write)
        mark_written(p, n);
    return true;
}

void *vg_dynamic_smem()
{
    return arena + STATIC_MAX;
}

void *vg_static_smem(const void *key, size_t n_bytes, size_t align)
{
    for (const Static &s : statics)
        if (s.key == key)
            return arena + s.at;
    const size_t at = (static_used + align - 1) / align * align;
    if (at + n_bytes > STATIC_MAX || at + n_bytes + cur.smem > SMEM_MAX)
        vg_fail("too much static shared memory: %zu bytes", at + n_bytes);
    statics.push_back({key, at});
    static_used = at + n_bytes;
    return arena + at;
}

uint32_t vg_smem_offset(const void *p)
{
    const size_t at = (uintptr_t)p - (uintptr_t)arena;

    if (at >= sizeof arena)
        vg_fail("%p is not a shared address", p);
    return (uint32_t)at;
}

void vg_atomic_access(void *p, unsigned n)
{
    if (CHECK)
        access(p, n, true, 0, true);
}

// ---- what -fsanitize=thread calls

#define SITE ((uintptr_t)__builtin_return_address(0))
// "unaligned" says what the type promises, not what the address is: no check of alignment there.
static void access_bytes(const void *p, size_t n, bool write, uintptr_t site)
{
    for (size_t i = 0; i < n; i++)
        access((const char *)p + i, 1, write, site + i);
}
#define HOOK(n)                                                                                    \
    void __tsan_read##n(void *p)                                                                   \
    {                                                                                              \
        access(p, n, false, SITE);                                                                 \
    }                                                                                              \
    void __tsan_write##n(void *p)                                                                  \
    {                                                                                              \
        access(p, n, true, SITE);                                                                  \
    }
#define HOOK_UNALIGNED(n)                                                                          \
    void __tsan_unaligned_read##n(void *p)                                                         \
    {                                                                                              \
        access_bytes(p, n, false, SITE);                                                           \
    }                                                                                              \
    void __tsan_unaligned_write##n(void *p)                                                        \
    {                                                                                              \
        access_bytes(p, n, true, SITE);                                                            \
    }
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
HOOK(1)
HOOK(2)
HOOK(4)
HOOK(8)
HOOK(16)
HOOK_UNALIGNED(2)
HOOK_UNALIGNED(4)
HOOK_UNALIGNED(8)
HOOK_UNALIGNED(16)
void __tsan_read_range(void *p, unsigned long n)
{
    access_bytes(p, n, false, SITE);
}
void __tsan_write_range(void *p, unsigned long n)
{
    access_bytes(p, n, true, SITE);
}
}
