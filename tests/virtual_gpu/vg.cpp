// vg.cpp: how does a CPU run a CUDA kernel so that its mistakes show?
//
// One block at a time, one fiber per thread. A fiber runs until it must wait (barrier, warp
// operation); the next ready one is chosen in forward, reverse or random order. Shared memory is
// one poisoned arena. Device memory is one reserved range with guard pages, so that a pointer tells
// by its address what it is. Kernels built with -fsanitize=thread report each load and store to
// the __tsan_ functions at the end of this file, which keep shadow state: bounds, alignment,
// initialised bytes, bytes in flight, races inside and between blocks. libtsan is not linked.
#include "virtual_gpu/vg_device.h"
#include "virtual_gpu/vg.h"
#include <chrono>
#include <functional>
#include <execinfo.h>
#include <map>
#include <memory>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>
#include <string>
#include <vector>
#ifdef VG_UCONTEXT
#include <ucontext.h>
#endif
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim

namespace
{
constexpr size_t PAGE = 4096, STACK = 64 << 10, SMEM_MAX = 227 << 10;
constexpr int MAX_THREADS = 1024;
constexpr unsigned char POISON = 0xff; // NaN as bf16, f32 and f64; -1 as an index

// ---------------------------------------------------------------- fibers
enum Wait { READY, IN_WARP, IN_BARRIER, IN_MBAR, EXITED };
struct Copy {
    uint32_t dst;
    const void *src;
    bool valid, landed;
};
struct Fiber {
    void *sp;
#ifdef VG_UCONTEXT
    ucontext_t ctx;
#endif
    uint3 tid;
    int index;
    Wait wait;
    VgSite at;
    VgWarpFn fn;
    void *args;
    unsigned mask;
    bool aligned;
    int barrier, count;
    uint32_t mbar;
    uint16_t fences;            // fence.proxy.async so far
    std::vector<Copy> copies;   // not yet waited for
    std::vector<size_t> groups; // end of each committed group within `copies`
};
Fiber fibers[MAX_THREADS];
char *stacks;
Fiber *self; // the running fiber
[[maybe_unused]] void *main_sp;
unsigned ready[32];   // per warp: lanes that can run
unsigned arrived[32]; // per warp: lanes waiting in a warp operation
int in_barrier[16];   // threads waiting in each barrier
int n_threads, n_warps, n_live;
unsigned block_epoch = 1, warp_epoch[32];

struct Call {
    void (*run)(const void *);
    std::shared_ptr<std::vector<max_align_t>> params;
};
struct {
    uint3 block;
    dim3 block_dim, grid_dim;
    const char *name;
    size_t smem;
    Call call;
    bool running;
} cur;
unsigned launch_id;
VgOptions opt;
VgStats stats;
std::string error_text;
cudaError_t sticky = cudaSuccess;
uint64_t rng = 1;
uint32_t next_random()
{
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return (uint32_t)(rng >> 16);
}

#ifdef VG_UCONTEXT
ucontext_t main_ctx; // main_sp stays unused
#else
// Saves the callee-saved registers and the stack pointer, loads the other's. No system call.
extern "C" void vg_switch(void **save, void *load);
asm(R"(
.text
.globl vg_switch
.type vg_switch,@function
vg_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size vg_switch,.-vg_switch
.section .note.GNU-stack,"",@progbits
.text
)");
#endif

void to_main()
{
#ifdef VG_UCONTEXT
    swapcontext(&self->ctx, &main_ctx);
#else
    vg_switch(&self->sp, main_sp);
#endif
}

void deadlock();
bool land_bulk(); // lets the oldest bulk copy in flight arrive
void reset_hopper();

Fiber *pick()
{
    if (opt.order == VG_FORWARD) {
        for (int w = 0; w < n_warps; w++)
            if (ready[w]) return &fibers[w * 32 + __builtin_ctz(ready[w])];
    } else if (opt.order == VG_REVERSE) {
        for (int w = n_warps - 1; w >= 0; w--)
            if (ready[w]) return &fibers[w * 32 + 31 - __builtin_clz(ready[w])];
    } else {
        uint32_t r = next_random();
        for (int i = 0, w = (int)(r >> 8) % n_warps; i < n_warps;
             i++, w = w + 1 == n_warps ? 0 : w + 1)
            if (ready[w]) {
                unsigned k = r & 31, m = ready[w];
                m = m >> k | (k ? m << (32 - k) : 0);
                return &fibers[w * 32 + ((__builtin_ctz(m) + k) & 31)];
            }
    }
    return nullptr;
}

// Leaves the current fiber; comes back when it is ready and picked.
void give_way()
{
    Fiber *me = self, *to = pick();
    while (!to && n_live && land_bulk()) to = pick();
    if (!to) {
        if (n_live) deadlock();
        to_main();
    }
    if (to == me) return;
    stats.switches++;
    self = to;
#ifdef VG_UCONTEXT
    swapcontext(&me->ctx, &to->ctx);
#else
    vg_switch(&me->sp, to->sp);
#endif
}
void set_ready(Fiber *f)
{
    f->wait = READY;
    ready[f->index >> 5] |= 1u << (f->index & 31);
}
void set_waiting(Fiber *f, Wait w)
{
    f->wait = w;
    ready[f->index >> 5] &= ~(1u << (f->index & 31));
}

unsigned live_mask(int warp)
{
    unsigned m = 0;
    for (int l = 0; l < 32; l++)
        if (fibers[warp * 32 + l].wait != EXITED) m |= 1u << l;
    return m;
}

// Runs the operation `f` waits for, if all live lanes of its mask are in it.
bool try_warp_op(Fiber *f)
{
    int w = f->index >> 5;
    unsigned need = f->mask;
    if (n_live != n_threads) need &= live_mask(w);
    if ((arrived[w] & need) != need) return false;
    void *args[32] = {};
    for (unsigned m = need; m; m &= m - 1) {
        Fiber *g = &fibers[w * 32 + __builtin_ctz(m)];
        if (g->fn != f->fn || g->mask != f->mask || g->at.what != f->at.what ||
            (f->aligned && (g->at.line != f->at.line || g->at.file != f->at.file)))
            return false;
        args[g->index & 31] = g->args;
    }
    stats.warp_ops++;
    f->fn(args, need);
    arrived[w] &= ~need;
    for (unsigned m = need; m; m &= m - 1) set_ready(&fibers[w * 32 + __builtin_ctz(m)]);
    return true;
}

// Opens barrier `id` if enough threads are in it: `count` of them, or for 0 every live one.
bool try_barrier(int id, int count)
{
    if (!in_barrier[id] || in_barrier[id] < (count ? count : n_live)) return false;
    int line[32] = {};
    for (int t = 0; t < n_threads; t++) {
        Fiber &f = fibers[t];
        if (f.wait != IN_BARRIER || f.barrier != id) continue;
        // __syncthreads in a branch must be reached by all or none; a named barrier by whole warps.
        int &first = line[count ? t >> 5 : 0];
        if (first && first != f.at.line)
            vg_fail("threads of one %s in different barriers: line %d and line %d",
                    count ? "warp" : "block", first, f.at.line);
        first = f.at.line;
        set_ready(&f);
    }
    in_barrier[id] = 0;
    block_epoch++; // exact for whole-block barriers; named ones would need vector clocks
    return true;
}

void deadlock()
{
    std::string s;
    for (int t = 0; t < n_threads;) { // one line per run of threads that wait alike
        int u = t;
        while (u < n_threads && fibers[u].wait == fibers[t].wait &&
               fibers[u].at.line == fibers[t].at.line && fibers[u].mask == fibers[t].mask &&
               fibers[u].at.what == fibers[t].at.what)
            u++;
        char buf[300];
        if (fibers[t].wait == EXITED)
            snprintf(buf, sizeof buf, "\n    threads %d-%d have left", t, u - 1);
        else
            snprintf(buf, sizeof buf, "\n    threads %d-%d wait in %s mask %08x at %s:%d", t, u - 1,
                     fibers[t].at.what, fibers[t].mask, fibers[t].at.file, fibers[t].at.line);
        if (s.size() < 1200) s += buf;
        t = u;
    }
    vg_fail("deadlock, nobody can go on:%s", s.c_str());
}

void fiber_main()
{
    cur.call.run(cur.call.params->data());
    Fiber *f = self;
    if (!f->copies.empty()) vg_fail("thread leaves with cp.async in flight");
    set_waiting(f, EXITED);
    n_live--;
    if (n_live) { // others may have waited for us only
        unsigned w = (unsigned)f->index >> 5;
        for (unsigned m = arrived[w]; m; m &= m - 1)
            if (try_warp_op(&fibers[w * 32 + (unsigned)__builtin_ctz(m)])) break;
        try_barrier(0, 0);
    }
    give_way();
    abort();
}

void start_fiber(int t)
{
    Fiber &f = fibers[t];
    f.index = t;
    f.tid = {t % cur.block_dim.x, t / cur.block_dim.x % cur.block_dim.y,
             t / cur.block_dim.x / cur.block_dim.y};
    f.copies.clear();
    f.groups.clear();
    f.mask = 0;
    f.fences = 0;
    f.at = {"", "", 0};
    char *stack = stacks + (size_t)t * (STACK + PAGE) + PAGE;
#ifdef VG_UCONTEXT
    getcontext(&f.ctx);
    f.ctx.uc_stack.ss_sp = stack;
    f.ctx.uc_stack.ss_size = STACK;
    makecontext(&f.ctx, fiber_main, 0);
#else
    void **sp = (void **)(stack + STACK);
    *--sp = nullptr;            // where fiber_main would return to
    *--sp = (void *)fiber_main; // what vg_switch returns into: rsp is 8 mod 16 there
    sp -= 6;
    memset(sp, 0, 6 * sizeof *sp);
    f.sp = sp;
#endif
    set_ready(&f);
}

// ---------------------------------------------------------------- memory
// Shared memory of the running block: first its static variables, then the dynamic part.
constexpr size_t STATIC_MAX = 48 << 10;
alignas(1024) unsigned char arena[STATIC_MAX + SMEM_MAX];
unsigned char *const dynamic_smem = arena + STATIC_MAX;
struct Static {
    const void *key;
    size_t at;
};
std::vector<Static> statics; // of the running kernel
size_t static_used;
} // namespace
extern "C" unsigned char __executable_start[], end[];
namespace
{
constexpr size_t HEAP = (size_t)8 << 30;
unsigned char *heap, *heap_init; // device memory; one "was written" byte per byte
size_t heap_used = PAGE;
struct Allocation {
    size_t start, size;
    bool freed;
};
std::vector<Allocation> allocs{{0, 0, true}};
uint32_t *page_owner;
// Who touched a 2-byte granule of device memory last in which launch: for races between blocks.
struct Touch {
    uint32_t launch, block;
};
struct Granule {
    Touch w, r;
};
Granule *heap_touch;

// Shadow of one shared byte. Epochs: the block's barrier count, the warp's __syncwarp count.
struct Shadow {
    uint32_t w_block, w_warp, r_block, r_warp;
    uint16_t w_tid, r_tid, w_fences;
    uint8_t state; // 0 never written, 1 written, 2 cp.async in flight
    uint8_t w_atomic;
    uint8_t r_many; // since r_block: 0 one reader, 1 several in a warp, 2 several warps
};
std::vector<Shadow> shadow;

bool unordered(int t, unsigned u, uint32_t b, uint32_t w)
{
    if ((int)u == t || b != block_epoch) return false;
    return (int)u >> 5 != t >> 5 || w == warp_epoch[t >> 5];
}

void shared_access(int t, size_t at, unsigned n, bool write, bool atomic = false)
{
    if (at < STATIC_MAX ? at + n > static_used : at + n > STATIC_MAX + cur.smem)
        vg_fail("shared %s of %u bytes at %s %zu, size is %zu", write ? "write" : "read", n,
                at < STATIC_MAX ? "static" : "dynamic", at < STATIC_MAX ? at : at - STATIC_MAX,
                at < STATIC_MAX ? static_used : cur.smem);
    unsigned we = warp_epoch[t >> 5];
    for (unsigned i = 0; i < n; i++) {
        Shadow &s = shadow[at + i];
        if (s.state == 2)
            vg_fail("shared %s hits bytes with a cp.async of thread %d in flight (offset %zu)",
                    write ? "write" : "read", s.w_tid, at + i);
        if (s.state == 0 && (!write || atomic))
            vg_fail("shared read of bytes nobody wrote (offset %zu)", at + i);
        if (s.state && !(atomic && s.w_atomic) && unordered(t, s.w_tid, s.w_block, s.w_warp))
            vg_fail("race: shared %s, thread %d wrote offset %zu without a barrier since",
                    write ? "write" : "read", s.w_tid, at + i);
        if (write) {
            if (s.r_block == block_epoch &&
                (s.r_many == 2 || (s.r_many == 1 && (s.r_tid >> 5 != t >> 5 || s.r_warp == we)) ||
                 (s.r_many == 0 && unordered(t, s.r_tid, s.r_block, s.r_warp))))
                vg_fail("race: shared write, thread %d read offset %zu without a barrier since",
                        s.r_tid, at + i);
            s.w_block = block_epoch, s.w_warp = we, s.w_tid = (uint16_t)t, s.state = 1,
            s.w_atomic = atomic, s.r_block = 0, s.w_fences = fibers[t].fences;
        } else if (s.r_block != block_epoch) {
            s.r_block = block_epoch, s.r_warp = we, s.r_tid = (uint16_t)t, s.r_many = 0;
        } else if (s.r_tid >> 5 != t >> 5) {
            s.r_many = 2;
        } else if (s.r_many < 2) {
            if (s.r_warp != we)
                s.r_many = 0, s.r_tid = (uint16_t)t;
            else if (s.r_tid != t)
                s.r_many = 1;
            s.r_warp = we;
        }
    }
}

void global_access(size_t at, unsigned n, bool write, bool atomic)
{
    const char *what = write ? "write" : "read";
    Allocation &a = allocs[page_owner[at / PAGE]];
    if (a.freed || at < a.start || at + n > a.start + a.size)
        vg_fail("global %s of %u bytes outside every allocation (nearest: %zu bytes, offset %td%s)",
                what, n, a.size, (ptrdiff_t)at - (ptrdiff_t)a.start, a.freed ? ", freed" : "");
    uint32_t b = cur.block.x + cur.grid_dim.x * (cur.block.y + cur.grid_dim.y * cur.block.z);
    for (unsigned i = 0; i < n; i++) {
        if ((!write || atomic) && !heap_init[at + i])
            vg_fail("global read of bytes nobody wrote (offset %zu of %zu)", at + i - a.start,
                    a.size);
        if (write) heap_init[at + i] = 1;
    }
    if (atomic) return;
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

void access(const void *p, unsigned n, bool write, bool atomic = false)
{
    if (!cur.running) return;
    stats.accesses++;
    uintptr_t a = (uintptr_t)p;
    size_t s = a - (uintptr_t)(stacks + (size_t)self->index * (STACK + PAGE));
    if (s < STACK + PAGE) return; // its own local memory
    if (n <= 16 && !(n & (n - 1)) && a % n)
        vg_fail("misaligned %s: %u bytes at %p", write ? "write" : "read", n, p);
    size_t sh = a - (uintptr_t)arena, h = a - (uintptr_t)heap;
    if (sh < sizeof arena) {
        shared_access(self->index, sh, n, write, atomic);
    } else if (h < HEAP) {
        global_access(h, n, write, atomic);
    } else if (a - (uintptr_t)stacks < MAX_THREADS * (STACK + PAGE)) {
        vg_fail("%s of another thread's local memory", write ? "write" : "read");
    } else if (!write && a - (uintptr_t)cur.call.params->data() <
                             cur.call.params->size() * sizeof(max_align_t)) {
    } else if (write ||
               a - (uintptr_t)__executable_start >= (uintptr_t)(end - __executable_start)) {
        vg_fail("kernel %s of host memory %p", write ? "write" : "read", p);
    }
}

#ifdef VG_CHECK
constexpr bool CHECK = true;
#else
constexpr bool CHECK = false;
#endif

void on_segv(int sig, siginfo_t *i, void *)
{
    size_t h = (uintptr_t)i->si_addr - (uintptr_t)heap;
    if (!cur.running) {
        fprintf(stderr, "%s in host code at %p%s\n", strsignal(sig), i->si_addr,
                h < HEAP ? " (device memory)" : "");
        _exit(139);
    }
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, sig), sigprocmask(SIG_UNBLOCK, &set, nullptr);
    vg_fail("invalid address %p%s", i->si_addr, h < HEAP ? " (guard page of device memory)" : "");
}

void init()
{
    static bool done;
    if (done) return;
    done = true;
    auto map = [](size_t n, int prot) {
        void *p = mmap(nullptr, n, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) perror("mmap"), abort();
        return p;
    };
    heap = (unsigned char *)map(HEAP, PROT_NONE);
    stacks = (char *)map(MAX_THREADS * (STACK + PAGE), PROT_READ | PROT_WRITE);
    for (int t = 0; t < MAX_THREADS; t++)
        mprotect(stacks + (size_t)t * (STACK + PAGE), PAGE, PROT_NONE);
    page_owner = (uint32_t *)map(HEAP / PAGE * 4, PROT_READ | PROT_WRITE);
    if (CHECK) {
        heap_init = (unsigned char *)map(HEAP, PROT_READ | PROT_WRITE);
        heap_touch = (Granule *)map(HEAP / 2 * sizeof(Granule), PROT_READ | PROT_WRITE);
        shadow.resize(sizeof arena);
    }
    stack_t alt = {};
    alt.ss_size = 256 << 10;
    alt.ss_sp = map(alt.ss_size, PROT_READ | PROT_WRITE);
    sigaltstack(&alt, nullptr);
    struct sigaction sa = {};
    sa.sa_sigaction = on_segv;
    sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &sa, nullptr);
    sigaction(SIGBUS, &sa, nullptr);
}

std::map<const void *, size_t> smem_opt_in;

void run_grid(const char *name, dim3 grid, dim3 block, size_t smem, Call call)
{
    if (sticky) return;
    auto t0 = std::chrono::steady_clock::now();
    launch_id++;
    rng = opt.seed * 0x9e3779b97f4a7c15ull + launch_id;
    cur.name = name, cur.block_dim = block, cur.grid_dim = grid, cur.smem = smem, cur.call = call;
    statics.clear(), static_used = 0;
    n_threads = (int)(block.x * block.y * block.z), n_warps = (n_threads + 31) / 32;
    size_t n_blocks = (size_t)grid.x * grid.y * grid.z;
    size_t step = 1, at = 0;
    if (opt.order == VG_RANDOM) { // a walk that visits every block once
        at = next_random() % n_blocks;
        do step = 1 + next_random() % n_blocks;
        while (std::__gcd(step, n_blocks) != 1);
    }
    for (size_t i = 0; i < n_blocks && !sticky; i++, at = (at + step) % n_blocks) {
        size_t id = opt.order == VG_REVERSE ? n_blocks - 1 - i : at;
        cur.block = {(unsigned)(id % grid.x), (unsigned)(id / grid.x % grid.y),
                     (unsigned)(id / grid.x / grid.y)};
        // What the block can see: all of the static part before the first block has laid it out.
        size_t n_static = i ? static_used : STATIC_MAX;
        memset(arena, POISON, n_static);
        memset(dynamic_smem, POISON, smem);
        if (CHECK) {
            memset((void *)&shadow[0], 0, n_static * sizeof(Shadow));
            memset((void *)&shadow[STATIC_MAX], 0, smem * sizeof(Shadow));
        }
        n_live = n_threads, block_epoch++, reset_hopper();
        memset(in_barrier, 0, sizeof in_barrier);
        for (int w = 0; w < n_warps; w++) arrived[w] = ready[w] = 0, warp_epoch[w] = 1;
        for (int t = n_threads; t < n_warps * 32; t++) fibers[t].wait = EXITED;
        for (int t = 0; t < n_threads; t++) start_fiber(t);
        cur.running = true, stats.blocks++;
        self = pick();
#ifdef VG_UCONTEXT
        swapcontext(&main_ctx, &self->ctx);
#else
        vg_switch(&main_sp, self->sp);
#endif
        cur.running = false;
    }
    stats.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - t0).count();
}
} // namespace

// ---------------------------------------------------------------- language
extern "C" uint3 vg_thread_idx() { return self->tid; }
extern "C" uint3 vg_block_idx() { return cur.block; }
extern "C" dim3 vg_block_dim_() { return cur.block_dim; }
extern "C" dim3 vg_grid_dim_() { return cur.grid_dim; }
int vg_lane() { return self->index & 31; }
void *vg_dynamic_smem() { return dynamic_smem; }
void *vg_static_smem(const void *key, size_t n_bytes, size_t align)
{
    for (const Static &s : statics)
        if (s.key == key) return arena + s.at;
    size_t at = (static_used + align - 1) / align * align;
    if (at + n_bytes > STATIC_MAX || at + n_bytes + cur.smem > SMEM_MAX)
        vg_fail("too much static shared memory: %zu bytes", at + n_bytes);
    statics.push_back({key, at});
    static_used = at + n_bytes;
    return arena + at;
}

uint32_t vg_smem_offset(const void *p)
{
    size_t at = (uintptr_t)p - (uintptr_t)arena;
    if (at >= sizeof arena) vg_fail("%p is not a shared address", p);
    return (uint32_t)at;
}

// Records the first error with its place and abandons the launch; the device is broken from then
// on.
void vg_fail(const char *fmt, ...)
{
    char buf[2000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(buf, sizeof buf, fmt, ap);
    va_end(ap);
    if (error_text.empty()) {
        char where[200];
        snprintf(where, sizeof where, "%s, block (%u,%u,%u), thread %d: ", cur.name, cur.block.x,
                 cur.block.y, cur.block.z, self->index);
        error_text = std::string(where) + buf;
        void *pc[24];
        for (int i = 1, n = backtrace(pc, 24), lines = 0; i < n && lines < 3; i++) {
            char cmd[200],
                line[400]; // a prototype may call addr2line; a product reads DWARF itself
            snprintf(cmd, sizeof cmd, "addr2line -i -s -e /proc/%d/exe %p", (int)getpid(),
                     (void *)((char *)pc[i] - 1 - (uintptr_t)__executable_start));
            FILE *f = popen(cmd, "r");
            while (f && fgets(line, sizeof line, f))
                if (lines < 3 && !strstr(line, "vg") && !strstr(line, "??") &&
                    !strstr(line, ".h:") && !strstr(line, "tuple"))
                    error_text +=
                        std::string("\n    at ") + std::string(line, strcspn(line, " \n")),
                        lines++;
            if (f) pclose(f);
        }
    }
    sticky = cudaErrorLaunchFailure;
    to_main();
    abort();
}

void vg_warp_op(VgWarpFn fn, void *args, unsigned mask, bool aligned, VgSite at)
{
    Fiber *f = self;
    f->fn = fn, f->args = args, f->mask = mask, f->aligned = aligned, f->at = at;
    int w = f->index >> 5;
    if (!(mask >> (f->index & 31) & 1))
        vg_fail("%s: the calling lane is not in mask %08x", at.what, mask);
    arrived[w] |= 1u << (f->index & 31);
    set_waiting(f, IN_WARP);
    if (!try_warp_op(f) || opt.order != VG_FORWARD) give_way();
}

void vg_barrier(int id, int count, VgSite at)
{
    Fiber *f = self;
    f->barrier = id, f->count = count, f->at = at, f->mask = 0;
    set_waiting(f, IN_BARRIER);
    in_barrier[id]++;
    try_barrier(id, count);
    give_way();
}

void vg_syncwarp(void *const *, unsigned) { warp_epoch[self->index >> 5]++; }

void vg_shfl(void *const args[32], unsigned mask)
{
    for (unsigned m = mask; m; m &= m - 1) {
        VgShfl *s = (VgShfl *)args[__builtin_ctz(m)];
        if (!(mask >> s->source & 1))
            vg_fail("shuffle: lane %d reads lane %d, which does not take part (mask %08x)",
                    __builtin_ctz(m), s->source, mask);
        s->result = ((VgShfl *)args[s->source])->value;
    }
}

void vg_vote(void *const args[32], unsigned mask)
{
    unsigned b = 0;
    for (unsigned m = mask; m; m &= m - 1)
        if (((VgVote *)args[__builtin_ctz(m)])->p) b |= m & -m;
    for (unsigned m = mask; m; m &= m - 1) ((VgVote *)args[__builtin_ctz(m)])->ballot = b;
}

void vg_atomic_access(void *p, unsigned n)
{
    if (CHECK) access(p, n, true, true);
}

// ---------------------------------------------------------------- cp.async
static void land(Copy &c)
{
    if (c.landed) return;
    c.landed = true;
    if (c.valid)
        memcpy(arena + c.dst, c.src, 16);
    else
        memset(arena + c.dst, 0, 16);
}

void vg_cp_async_16(smem_addr dst, const void *src, bool valid, VgSite at)
{
    Fiber *f = self;
    f->at = at;
    if (dst % 16 || (uintptr_t)src % 16)
        vg_fail("cp.async: misaligned, shared %u, global %p", dst, src);
    if (dst + 16 > STATIC_MAX + cur.smem) vg_fail("cp.async beyond shared memory: offset %u", dst);
    if (CHECK) {
        if (valid) access(src, 16, false);
        shared_access(f->index, dst, 16, true);
        for (int i = 0; i < 16; i++) shadow[dst + i].state = 2;
    }
    f->copies.push_back({dst, src, valid, false});
    if (opt.async == VG_EARLY || (opt.async == VG_COIN && next_random() & 1))
        land(f->copies.back());
}

void vg_cp_async_commit() { self->groups.push_back(self->copies.size()); }

void vg_cp_async_wait(int n)
{
    Fiber *f = self;
    if ((int)f->groups.size() <= n) return;
    size_t done = f->groups.size() - n, last = f->groups[done - 1];
    for (size_t i = 0; i < last; i++) {
        land(f->copies[i]);
        if (CHECK)
            for (int b = 0; b < 16; b++) {
                Shadow &s = shadow[f->copies[i].dst + b];
                s.state = 1, s.w_block = block_epoch, s.w_warp = warp_epoch[f->index >> 5],
                s.w_tid = (uint16_t)f->index;
            }
    }
    f->copies.erase(f->copies.begin(), f->copies.begin() + (ptrdiff_t)last);
    f->groups.erase(f->groups.begin(), f->groups.begin() + (ptrdiff_t)done);
    for (size_t &g : f->groups) g -= last;
}

// ---------------------------------------------------------------- matrix instructions
struct Ldmatrix {
    VgU4 r;
    smem_addr row;
    bool trans;
};
static void run_ldmatrix(void *const args[32], unsigned)
{
    uint16_t m[4][8][8];
    for (int l = 0; l < 32; l++) {
        uint32_t row = ((Ldmatrix *)args[l])->row;
        if (row % 16)
            vg_fail("ldmatrix: lane %d gives a row address that is not 16-byte aligned (%u)", l,
                    row);
        if (row + 16 > sizeof arena) vg_fail("ldmatrix: row address %u", row);
        if (CHECK) shared_access((self->index & ~31) + l, row, 16, false);
        memcpy(m[l / 8][l % 8], arena + row, 16);
    }
    for (int i = 0; i < 4; i++) { // 8 rows are one access; 8 bank groups of 16 bytes
        int group[8] = {};
        for (int l = 8 * i; l < 8 * i + 8; l++) group[((Ldmatrix *)args[l])->row / 16 % 8]++;
        stats.ldmatrix_rows++,
            stats.ldmatrix_conflicts += (unsigned)*std::max_element(group, group + 8) - 1;
    }
    for (int l = 0; l < 32; l++) {
        Ldmatrix *a = (Ldmatrix *)args[l];
        int r = l / 4, c = l % 4 * 2;
        for (int i = 0; i < 4; i++)
            a->r.x[i] = a->trans ? m[i][c][r] | (uint32_t)m[i][c + 1][r] << 16
                                 : m[i][r][c] | (uint32_t)m[i][r][c + 1] << 16;
    }
}
VgU4 vg_ldmatrix_x4(smem_addr row, bool trans, VgSite at)
{
    Ldmatrix a = {{}, row, trans};
    vg_warp_op(run_ldmatrix, &a, ~0u, true, at);
    return a.r;
}

struct Mma {
    VgF4 d;
    VgU4 a;
    uint32_t b0, b1;
};
static float lo(uint32_t x)
{
    x <<= 16;
    float f;
    memcpy(&f, &x, 4);
    return f;
}
static float hi(uint32_t x)
{
    x &= 0xffff0000u;
    float f;
    memcpy(&f, &x, 4);
    return f;
}

#ifdef __x86_64__
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#endif
static void
mma_core(double (&c)[16][8], const double (&a)[16][16], const double (&b)[16][8])
{
    for (int i = 0; i < 16; i++) {
        double row[8];
        memcpy(row, c[i], sizeof row);
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++) row[j] += a[i][k] * b[k][j];
        memcpy(c[i], row, sizeof row);
    }
}

// The products are exact; their sum is taken in double and cut to f32 towards zero, as measured on
// tensor cores (Fasi et al. 2021). It is not bit-exact to any chip.
static float cut(double x)
{
    float f = (float)x;
    uint32_t u;
    memcpy(&u, &f, 4);
    u -= fabs((double)f) > fabs(x); // one step towards zero; infinity becomes the largest float
    memcpy(&f, &u, 4);
    return f;
}
static void run_mma(void *const args[32], unsigned)
{
    double a[16][16], b[16][8], c[16][8];
    for (int l = 0; l < 32; l++) {
        const Mma *m = (const Mma *)args[l];
        int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++) {
            int r = g + (i & 1) * 8, k = t + (i >> 1) * 8;
            a[r][k] = lo(m->a.x[i]), a[r][k + 1] = hi(m->a.x[i]);
            c[g + (i >> 1) * 8][t + (i & 1)] = m->d.x[i];
        }
        b[t][g] = lo(m->b0), b[t + 1][g] = hi(m->b0), b[t + 8][g] = lo(m->b1),
        b[t + 9][g] = hi(m->b1);
    }
    mma_core(c, a, b);
    for (int l = 0; l < 32; l++) {
        Mma *m = (Mma *)args[l];
        int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++) m->d.x[i] = cut(c[g + (i >> 1) * 8][t + (i & 1)]);
    }
}
VgF4 vg_mma_bf16_16816(VgF4 d, VgU4 a, uint32_t b0, uint32_t b1, VgSite at)
{
    Mma m = {d, a, b0, b1};
    vg_warp_op(run_mma, &m, ~0u, true, at);
    return m.d;
}

// ---------------------------------------------------------------- sm_90a
// An mbarrier's state lives beside the arena; its 8 bytes stay poisoned, so nobody can peek.
namespace
{
struct Mbar {
    int count, pending, tx;
    unsigned phase;
};
std::map<uint32_t, Mbar> mbars;
struct Bulk {
    uint32_t dst, n_bytes, bar;
    const void *src;
};
std::vector<Bulk> bulks; // issued, not yet arrived

Mbar &mbar_at(uint32_t bar)
{
    auto it = mbars.find(bar);
    if (it == mbars.end()) vg_fail("mbarrier at %u was never initialised", bar);
    return it->second;
}
void mbar_update(uint32_t bar, Mbar &m)
{
    if (m.pending || m.tx) return;
    m.phase++, m.pending = m.count;
    for (int t = 0; t < n_threads; t++)
        if (fibers[t].wait == IN_MBAR && fibers[t].mbar == bar) set_ready(&fibers[t]);
}
void arrive_bulk(const Bulk &b)
{
    memcpy(arena + b.dst, b.src, b.n_bytes);
    if (CHECK)
        for (uint32_t i = 0; i < b.n_bytes; i++) { // ordered for whoever waits on the mbarrier
            Shadow &s = shadow[b.dst + i];
            s.state = 1, s.w_block = block_epoch - 1, s.w_fences = 0xffff, s.r_block = 0;
        }
    Mbar &m = mbar_at(b.bar);
    m.tx -= (int)b.n_bytes;
    mbar_update(b.bar, m);
}
// Late: only when nobody can go on without it.
bool land_bulk()
{
    if (bulks.empty()) return false;
    Bulk b = bulks.front();
    bulks.erase(bulks.begin());
    arrive_bulk(b);
    return true;
}

// wgmma: each warp computes its 16 rows. Results appear at the wait; until then d holds NaN.
struct Acc {
    float *d;
    float v[128];
    int in_flight;
};
struct Product {
    uint64_t a, b;
    bool add, done;
    int n;
    float *d[32];
};
std::vector<Product> products[32]; // per warp, in flight
std::vector<size_t> product_groups[32];
std::vector<Acc> accs[MAX_THREADS];
void reset_hopper()
{
    mbars.clear(), bulks.clear();
    for (int w = 0; w < n_warps; w++) products[w].clear(), product_groups[w].clear();
    for (int t = 0; t < n_threads; t++) accs[t].clear();
}
Acc &acc_of(int t, float *d)
{
    for (Acc &a : accs[t])
        if (a.d == d) return a;
    accs[t].push_back({d, {}, 0});
    return accs[t].back();
}

// Address of element (row, k) of a K-major bf16 operand. Bits of the descriptor: 0-13 start / 16,
// 32-45 stride between groups of 8 rows / 16, 62-63 swizzle (1: 128 bytes, 2: 64, 3: 32, 0: none).
// The swizzle XORs address bits 4-6 with bits 7-9, so it works on final addresses.
uint32_t operand_at(uint64_t desc, int row, int k)
{
    if (desc >> 62 != 1) vg_fail("wgmma: only the 128-byte swizzle is modelled");
    uint32_t a = (uint32_t)(desc & 0x3fff) << 4, stride = (uint32_t)(desc >> 32 & 0x3fff) << 4;
    a += (uint32_t)(row / 8) * stride + (uint32_t)(row % 8) * 128 + (uint32_t)k * 2;
    return a ^ (a >> 7 & 7) << 4;
}
float operand(uint64_t desc, int row, int k)
{
    uint32_t at = operand_at(desc, row, k);
    if (at + 2 > sizeof arena) vg_fail("wgmma: operand address %u", at);
    if (CHECK) {
        Shadow &s = shadow[at];
        if (s.state == 1 && s.w_fences != 0xffff && s.w_fences == fibers[s.w_tid].fences)
            vg_fail("wgmma reads what thread %d wrote without fence.proxy.async (offset %u)",
                    s.w_tid, at);
        shared_access(self->index, at, 2, false);
    }
    uint16_t x;
    memcpy(&x, arena + at, 2);
    return lo(x);
}
void run_product(int w, Product &p)
{
    if (p.done) return;
    p.done = true;
    for (int n0 = 0; n0 < p.n; n0 += 8) {
        double a[16][16], b[16][8], c[16][8] = {};
        for (int k = 0; k < 16; k++) {
            for (int r = 0; r < 16; r++) a[r][k] = operand(p.a, w % 4 * 16 + r, k);
            for (int j = 0; j < 8; j++) b[k][j] = operand(p.b, n0 + j, k);
        }
        for (int pass = 0; pass < 2; pass++) {
            for (int l = 0; l < 32; l++)
                for (int i = 0; i < 4; i++) {
                    float &d = acc_of(w * 32 + l, p.d[l]).v[n0 / 2 + i];
                    double &x = c[l / 4 + (i >> 1) * 8][l % 4 * 2 + (i & 1)];
                    if (pass == 0)
                        x = p.add ? d : 0;
                    else
                        d = cut(x);
                }
            if (pass == 0) mma_core(c, a, b);
        }
    }
}
struct Wgmma {
    float *d;
    int n;
    uint64_t a, b;
    bool add;
};
void issue_wgmma(void *const args[32], unsigned)
{
    int w = self->index >> 5;
    Wgmma *g = (Wgmma *)args[0];
    Product p = {g->a, g->b, g->add, false, g->n, {}};
    for (int l = 0; l < 32; l++) {
        Wgmma *h = (Wgmma *)args[l];
        if (h->a != g->a || h->b != g->b || h->add != g->add)
            vg_fail("wgmma: lanes disagree on the descriptors");
        p.d[l] = h->d;
        Acc &acc = acc_of(w * 32 + l, h->d);
        if (acc.in_flight++ == 0) memcpy(acc.v, h->d, (size_t)h->n / 2 * 4);
        memset(h->d, POISON, (size_t)h->n / 2 * 4);
    }
    if (opt.async == VG_EARLY) run_product(w, p);
    products[w].push_back(p);
}
void commit_wgmma(void *const *, unsigned)
{
    int w = self->index >> 5;
    product_groups[w].push_back(products[w].size());
}
void wait_wgmma(void *const args[32], unsigned)
{
    int w = self->index >> 5, n = *(int *)args[0];
    if ((int)product_groups[w].size() <= n) return;
    size_t done = product_groups[w].size() - n, last = product_groups[w][done - 1];
    for (size_t i = 0; i < last; i++) {
        Product &p = products[w][i];
        run_product(w, p);
        for (int l = 0; l < 32; l++) {
            Acc &a = acc_of(w * 32 + l, p.d[l]);
            if (--a.in_flight == 0) memcpy(a.d, a.v, (size_t)p.n / 2 * 4);
        }
    }
    products[w].erase(products[w].begin(), products[w].begin() + (ptrdiff_t)last);
    product_groups[w].erase(product_groups[w].begin(), product_groups[w].begin() + (ptrdiff_t)done);
    for (size_t &g : product_groups[w]) g -= last;
}
} // namespace
void vg_mbar_init(smem_addr bar, int count) { mbars[bar] = {count, count, 0, 0}; }
void vg_mbar_arrive(smem_addr bar, int n_bytes)
{
    Mbar &m = mbar_at(bar);
    m.tx += n_bytes, m.pending--;
    mbar_update(bar, m);
}
void vg_mbar_wait(smem_addr bar, int parity, VgSite at)
{
    if ((mbar_at(bar).phase & 1) != (unsigned)parity) return;
    self->mbar = bar, self->at = at, self->mask = 0;
    set_waiting(self, IN_MBAR);
    give_way();
}
void vg_bulk_copy(smem_addr dst, const void *src, int n_bytes, smem_addr bar)
{
    if (dst % 16 || (uintptr_t)src % 16 || n_bytes % 16) vg_fail("bulk copy: not 16-byte aligned");
    if (CHECK)
        for (int i = 0; i < n_bytes; i += 16) {
            access((const char *)src + i, 16, false);
            shared_access(self->index, dst + i, 16, true);
            for (int j = 0; j < 16; j++) shadow[dst + i + j].state = 2;
        }
    Bulk b = {dst, (uint32_t)n_bytes, bar, src};
    if (opt.async == VG_EARLY)
        arrive_bulk(b);
    else
        bulks.push_back(b);
}
void vg_fence_proxy_async() { self->fences++; }
void vg_wgmma(float *d, int n, uint64_t a, uint64_t b, bool add, VgSite at)
{
    Wgmma g = {d, n, a, b, add};
    vg_warp_op(issue_wgmma, &g, ~0u, true, at);
}
void vg_wgmma_commit(VgSite at) { vg_warp_op(commit_wgmma, nullptr, ~0u, true, at); }
void vg_wgmma_wait(int n, VgSite at) { vg_warp_op(wait_wgmma, &n, ~0u, true, at); }

// ---------------------------------------------------------------- runtime: lazy streams
// Work is queued and runs as late as the rules allow: when something waits for it. Code that reads
// a result before waiting, or reuses a host buffer too early, gets the wrong bytes every time.
struct VgEvent {
    unsigned long long recorded, done;
};
struct VgOp {
    std::function<void()> run;
    VgEvent *wait;
    unsigned long long wait_for;
};
struct VgStream {
    std::vector<VgOp> queue;
};
static std::vector<VgStream *> streams;
static VgStream *null_stream;
static VgStream *stream_of(cudaStream_t s)
{
    init();
    if (s) return (VgStream *)s;
    if (!null_stream) streams.push_back(null_stream = new VgStream);
    return null_stream;
}
static bool step(VgStream *s)
{
    if (s->queue.empty()) return false;
    VgOp &o = s->queue.front();
    if (o.wait && o.wait->done < o.wait_for) return false;
    auto run = std::move(o.run);
    s->queue.erase(s->queue.begin());
    if (run) run();
    return true;
}
// Runs `s` dry; other streams move only when `s` is stuck behind their events.
static cudaError_t drain(VgStream *s)
{
    while (!s->queue.empty())
        if (!step(s)) {
            bool moved = false;
            for (VgStream *o : streams)
                if (o != s && step(o)) {
                    moved = true;
                    break;
                }
            if (!moved) {
                error_text = "streams wait for each other";
                return sticky = cudaErrorUnknown;
            }
        }
    return sticky;
}
static void mark_written(void *p, size_t n)
{
    size_t h = (uintptr_t)p - (uintptr_t)heap;
    if (CHECK && h < HEAP) memset(heap_init + h, 1, n);
}
static void check_range(const void *p, size_t n)
{
    size_t h = (uintptr_t)p - (uintptr_t)heap;
    if (h >= HEAP) return;
    Allocation &a = allocs[page_owner[h / PAGE]];
    if (a.freed || h < a.start || h + n > a.start + a.size) {
        error_text = "copy outside a device allocation", sticky = cudaErrorInvalidValue;
    }
}

extern "C" {
cudaError_t cudaMalloc(void **p, size_t n)
{
    init();
    size_t pages = (n + PAGE - 1) / PAGE, room = pages * PAGE;
    if (n == 0 || heap_used + room + PAGE > HEAP) return *p = nullptr, cudaErrorMemoryAllocation;
    size_t start =
        heap_used + (room - n) / 256 * 256; // 256-byte aligned, its end close to the guard page
    mprotect(heap + heap_used, room, PROT_READ | PROT_WRITE);
    memset(heap + heap_used, POISON, room);
    for (size_t i = 0; i <= pages; i++) page_owner[heap_used / PAGE + i] = (uint32_t)allocs.size();
    allocs.push_back({start, n, false});
    heap_used += room + PAGE;
    *p = heap + start;
    return cudaSuccess;
}
cudaError_t cudaFree(void *p) // never reused, so a stale pointer keeps failing
{
    if (!p) return cudaSuccess;
    cudaDeviceSynchronize();
    size_t h = (uintptr_t)p - (uintptr_t)heap;
    if (h >= HEAP) return cudaErrorInvalidValue;
    Allocation &a = allocs[page_owner[h / PAGE]];
    if (a.freed || a.start != h) return cudaErrorInvalidValue;
    a.freed = true;
    size_t first = a.start / PAGE * PAGE,
           room = (a.start + a.size + PAGE - 1) / PAGE * PAGE - first;
    madvise(heap + first, room, MADV_DONTNEED);
    mprotect(heap + first, room, PROT_NONE);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, cudaMemcpyKind, cudaStream_t st)
{
    check_range(d, n), check_range(s, n);
    if (sticky) return sticky;
    stream_of(st)->queue.push_back({[=] {
                                        memcpy(d, s, n);
                                        mark_written(d, n);
                                    },
                                    nullptr, 0});
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t st)
{
    check_range(d, n);
    if (sticky) return sticky;
    stream_of(st)->queue.push_back({[=] {
                                        memset(d, v, n);
                                        mark_written(d, n);
                                    },
                                    nullptr, 0});
    return cudaSuccess;
}
cudaError_t cudaMemcpy(void *d, const void *s, size_t n, cudaMemcpyKind k)
{
    cudaMemcpyAsync(d, s, n, k, nullptr);
    return cudaDeviceSynchronize();
}
cudaError_t cudaStreamCreate(cudaStream_t *s)
{
    init();
    streams.push_back(new VgStream);
    *s = (cudaStream_t)streams.back();
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s)
{
    cudaError_t e = drain((VgStream *)s);
    streams.erase(std::find(streams.begin(), streams.end(), (VgStream *)s));
    delete (VgStream *)s;
    return e;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) { return drain(stream_of(s)); }
cudaError_t cudaDeviceSynchronize()
{
    for (size_t i = streams.size(); i-- > 0;) drain(streams[i]);
    return sticky;
}
cudaError_t cudaEventCreate(cudaEvent_t *e)
{
    *e = (cudaEvent_t) new VgEvent();
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e)
{
    delete (VgEvent *)e;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t ev, cudaStream_t s)
{
    VgEvent *e = (VgEvent *)ev;
    unsigned long long n = ++e->recorded;
    stream_of(s)->queue.push_back({[=] { e->done = n; }, nullptr, 0});
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t ev, unsigned)
{
    VgEvent *e = (VgEvent *)ev;
    stream_of(s)->queue.push_back({nullptr, e, e->recorded});
    return cudaSuccess;
}
cudaError_t cudaEventSynchronize(cudaEvent_t ev)
{
    VgEvent *e = (VgEvent *)ev;
    for (bool moved = true; e->done < e->recorded && moved;) {
        moved = false;
        for (VgStream *o : streams)
            if (step(o)) {
                moved = true;
                break;
            }
    }
    return sticky;
}
cudaError_t cudaFuncSetAttribute(const void *fn, cudaFuncAttribute attr, int v)
{
    if (attr != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (v < 0 || (size_t)v > SMEM_MAX) return cudaErrorInvalidValue;
    smem_opt_in[fn] = (size_t)v;
    return cudaSuccess;
}
cudaError_t cudaGetLastError() { return sticky; }
cudaError_t cudaSetDevice(int) { return cudaSuccess; }
cudaError_t cudaMallocHost(void **p, size_t n)
{
    return *p = malloc(n), cudaSuccess;
}
cudaError_t cudaFreeHost(void *p)
{
    free(p);
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *n_free, size_t *n_whole)
{
    *n_free = HEAP - heap_used, *n_whole = HEAP;
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t, cudaEvent_t)
{
    return *ms = 1, cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int)
{
    *p = {};
    strcpy(p->name, "virtual GPU");
    p->multiProcessorCount = 4, p->major = 9, p->minor = 0;
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t) { return error_text.c_str(); }
}

cudaError_t vg_launch(const char *name, const void *fn, dim3 grid, dim3 block, size_t smem,
                      cudaStream_t stream, void (*run)(const void *), const void *params,
                      size_t n_bytes)
{
    init();
    if (sticky) return sticky;
    unsigned n = block.x * block.y * block.z;
    size_t limit =
        smem_opt_in.count(fn) ? std::max(smem_opt_in[fn], (size_t)48 << 10) : (size_t)48 << 10;
    if (!n || n > MAX_THREADS || !grid.x || !grid.y || !grid.z || grid.y > 65535 ||
        grid.z > 65535 || smem > limit)
        return cudaErrorInvalidValue;
    Call call = {run,
                 std::make_shared<std::vector<max_align_t>>(n_bytes / sizeof(max_align_t) + 1)};
    memcpy(call.params->data(), params, n_bytes);
    stream_of(stream)->queue.push_back(
        {[=] { run_grid(name, grid, block, smem, call); }, nullptr, 0});
    return cudaSuccess;
}

void vg_set(const VgOptions &o) { opt = o; }
const char *vg_error() { return error_text.c_str(); }
void vg_clear()
{
    error_text.clear(), sticky = cudaSuccess;
    for (VgStream *s : streams) s->queue.clear();
}
VgStats vg_stats(bool reset)
{
    VgStats s = stats;
    if (reset) stats = {};
    return s;
}

// ---------------------------------------------------------------- hooks of -fsanitize=thread
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
#define VG_HOOK(n)                                                                                 \
    void __tsan_read##n(void *p) { access(p, n, false); }                                          \
    void __tsan_write##n(void *p) { access(p, n, true); }
VG_HOOK(1)
VG_HOOK(2) VG_HOOK(4) VG_HOOK(8) VG_HOOK(16)
// "unaligned" says what the type promises, not what the address is: no alignment check here.
#define VG_HOOK_U(n)                                                                               \
    void __tsan_unaligned_read##n(void *p)                                                         \
    {                                                                                              \
        for (int i = 0; i < n; i++) access((char *)p + i, 1, false);                               \
    }                                                                                              \
    void __tsan_unaligned_write##n(void *p)                                                        \
    {                                                                                              \
        for (int i = 0; i < n; i++) access((char *)p + i, 1, true);                                \
    }
    VG_HOOK_U(2) VG_HOOK_U(4) VG_HOOK_U(8)
        VG_HOOK_U(16) void __tsan_read_range(void *p, unsigned long n)
{
    for (unsigned long i = 0; i < n; i++) access((char *)p + i, 1, false);
}
void __tsan_write_range(void *p, unsigned long n)
{
    for (unsigned long i = 0; i < n; i++) access((char *)p + i, 1, true);
}
}
