// fibers.cpp: which thread of a block runs, and who waits for whom?
//
// A fiber per thread. It runs until it must wait (a barrier, a warp operation, an mbarrier); then
// the next ready one is chosen in forward, reverse or random order.
#include "virtual_gpu/vg_internal.hpp"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

namespace vg
{
Fiber fibers[MAX_THREADS];
Fiber *self;
int n_threads, n_warps, n_live;
uint32_t block_epoch = 1, warp_epoch[MAX_WARPS];

namespace
{
char *stacks;
void *main_sp;
unsigned ready[MAX_WARPS];   // lanes that can run
unsigned arrived[MAX_WARPS]; // lanes waiting in a warp operation
unsigned live[MAX_WARPS];    // lanes that have not left
int in_barrier[16];          // threads waiting in each barrier

// Saves the callee-saved registers and the stack pointer, loads the other's. No system call.
extern "C" void vg_switch(void **save, void *load);
asm(R"(
.text
.globl vg_switch
.hidden vg_switch
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

Fiber *pick()
{
    if (options.order == VG_FORWARD) {
        for (int w = 0; w < n_warps; w++)
            if (ready[w])
                return &fibers[w * 32 + __builtin_ctz(ready[w])];
    } else if (options.order == VG_REVERSE) {
        for (int w = n_warps - 1; w >= 0; w--)
            if (ready[w])
                return &fibers[w * 32 + 31 - __builtin_clz(ready[w])];
    } else {
        const uint32_t r = next_random();
        const unsigned k = r & 31;
        int w = (int)((r >> 8) % (unsigned)n_warps);
        for (int i = 0; i < n_warps; i++, w = w + 1 == n_warps ? 0 : w + 1)
            if (ready[w]) {
                const unsigned m = ready[w] >> k | (k ? ready[w] << (32 - k) : 0);
                return &fibers[w * 32 + (int)(((unsigned)__builtin_ctz(m) + k) & 31)];
            }
    }
    return nullptr;
}

// Runs the operation `f` waits for, if all live lanes of its mask are in it.
bool try_warp_op(Fiber *f)
{
    const int w = f->index >> 5;
    const unsigned need = f->mask & live[w];
    void *args[32] = {};

    if ((arrived[w] & need) != need)
        return false;
    for (unsigned m = need; m; m &= m - 1) {
        Fiber *g = &fibers[w * 32 + __builtin_ctz(m)];
        if (g->fn != f->fn || g->mask != f->mask || g->at.what != f->at.what ||
            (f->aligned && (g->at.line != f->at.line || g->at.file != f->at.file)))
            return false;
        args[g->index & 31] = g->args;
    }
    counts.warp_ops++;
    f->fn(args, need);
    arrived[w] &= ~need;
    ready[w] |= need;
    for (unsigned m = need; m; m &= m - 1)
        fibers[w * 32 + __builtin_ctz(m)].wait = READY;
    if (need == live[w])
        warp_met(w);
    return true;
}

// Opens barrier `id` if enough threads are in it: `n_expected` of them, or for 0 every live one.
bool try_barrier(int id, int n_expected)
{
    int line[MAX_WARPS] = {}, n_votes = 0;

    if (!in_barrier[id] || in_barrier[id] < (n_expected ? n_expected : n_live))
        return false;
    for (int t = 0; t < n_threads; t++) {
        Fiber &f = fibers[t];
        if (f.wait != IN_BARRIER || f.barrier != id)
            continue;
        // __syncthreads in a branch must be reached by all or none; a named barrier by whole warps.
        int &first = line[n_expected ? t >> 5 : 0];
        if (first && first != f.at.line)
            vg_fail("threads of one %s in different barriers: line %d and line %d",
                    n_expected ? "warp" : "block", first, f.at.line);
        first = f.at.line;
        n_votes += f.votes;
    }
    for (int t = 0; t < n_threads; t++)
        if (fibers[t].wait == IN_BARRIER && fibers[t].barrier == id) {
            fibers[t].votes = n_votes;
            set_ready(&fibers[t]);
        }
    in_barrier[id] = 0;
    block_epoch++; // exact for whole-block barriers; named ones would need vector clocks
    for (int w = 0; w < n_warps; w++)
        warp_met(w);
    return true;
}

bool wait_alike(const Fiber &a, const Fiber &b)
{
    return a.wait == b.wait && a.at.line == b.at.line && a.mask == b.mask && a.at.what == b.at.what;
}

void deadlock()
{
    std::string s;

    for (int t = 0; t < n_threads;) {
        const Fiber &f = fibers[t];
        char text[300];
        int u = t;
        while (u < n_threads && wait_alike(fibers[u], f))
            u++;
        if (f.wait == EXITED)
            snprintf(text, sizeof text, "; threads %d-%d have left", t, u - 1);
        else
            snprintf(text, sizeof text, "; threads %d-%d wait in %s mask %08x at %s:%d", t, u - 1,
                     f.at.what, f.mask, f.at.file, f.at.line);
        if (s.size() < 1200)
            s += text;
        t = u;
    }
    vg_fail("deadlock, nobody can go on%s", s.c_str());
}

void fiber_main()
{
    cur.run(cur.params.data());
    Fiber *f = self;
    if (!f->copies.empty())
        vg_fail("thread leaves with cp.async in flight");
    set_waiting(f, EXITED);
    n_live--;
    live[f->index >> 5] &= ~(1u << (f->index & 31));
    if (n_live) { // others may have waited for us only
        const int w = f->index >> 5;
        for (unsigned m = arrived[w]; m; m &= m - 1)
            if (try_warp_op(&fibers[w * 32 + __builtin_ctz(m)]))
                break;
        try_barrier(0, 0);
    }
    give_way();
    abort();
}

void start_fiber(int t)
{
    Fiber &f = fibers[t];
    const unsigned u = (unsigned)t;

    f.index = t;
    f.tid = {u % cur.block_dim.x, u / cur.block_dim.x % cur.block_dim.y,
             u / cur.block_dim.x / cur.block_dim.y};
    f.copies.clear();
    f.groups.clear();
    f.mask = 0;
    f.fences = 0;
    f.at = {"", "", 0};
    void **sp = (void **)(stacks + (size_t)t * (STACK + PAGE) + PAGE + STACK);
    *--sp = nullptr;            // where fiber_main would return to
    *--sp = (void *)fiber_main; // what vg_switch returns into: rsp is 8 mod 16 there
    sp -= 6;
    memset(sp, 0, 6 * sizeof *sp);
    f.sp = sp;
    live[t >> 5] |= 1u << (t & 31);
    set_ready(&f);
}
} // namespace

void init_fibers()
{
    stacks = (char *)map_memory(MAX_THREADS * (STACK + PAGE), PROT_READ | PROT_WRITE);
    for (int t = 0; t < MAX_THREADS; t++)
        mprotect(stacks + (size_t)t * (STACK + PAGE), PAGE, PROT_NONE);
}

bool in_stack_of(int thread, uintptr_t address)
{
    return address - (uintptr_t)(stacks + (size_t)thread * (STACK + PAGE)) < STACK + PAGE;
}

bool in_any_stack(uintptr_t address)
{
    return address - (uintptr_t)stacks < MAX_THREADS * (STACK + PAGE);
}

void run_block()
{
    n_threads = (int)(cur.block_dim.x * cur.block_dim.y * cur.block_dim.z);
    n_warps = (n_threads + 31) / 32;
    n_live = n_threads;
    block_epoch++;
    reset_hopper();
    memset(in_barrier, 0, sizeof in_barrier);
    for (int w = 0; w < n_warps; w++) {
        arrived[w] = ready[w] = live[w] = 0;
        warp_epoch[w] = 1;
    }
    for (int t = n_threads; t < n_warps * 32; t++)
        fibers[t].wait = EXITED;
    for (int t = 0; t < n_threads; t++)
        start_fiber(t);
    cur.running = true;
    self = pick();
    vg_switch(&main_sp, self->sp);
    cur.running = false;
    for (int w = 0; w < n_warps; w++)
        warp_met(w);
}

void leave_block()
{
    vg_switch(&self->sp, main_sp);
}

// Leaves the current fiber; comes back when it is ready and picked.
void give_way()
{
    Fiber *me = self, *to = pick();

    while (!to && n_live && land_bulk())
        to = pick();
    if (!to) {
        if (n_live)
            deadlock();
        leave_block();
    }
    if (to == me)
        return;
    counts.switches++;
    self = to;
    vg_switch(&me->sp, to->sp);
}

void set_ready(Fiber *f)
{
    f->wait = READY;
    ready[f->index >> 5] |= 1u << (f->index & 31);
}

void set_waiting(Fiber *f, Wait wait)
{
    f->wait = wait;
    ready[f->index >> 5] &= ~(1u << (f->index & 31));
}
} // namespace vg

using namespace vg;

extern "C" uint3 vg_thread_idx()
{
    return self->tid;
}

int vg_lane()
{
    return self->index & 31;
}

void vg_warp_op(VgWarpFn fn, void *args, unsigned mask, bool aligned, VgSite at)
{
    Fiber *f = self;
    const int w = f->index >> 5;

    f->fn = fn;
    f->args = args;
    f->mask = mask;
    f->aligned = aligned;
    f->at = at;
    if (!(mask >> (f->index & 31) & 1))
        vg_fail("%s: the calling lane is not in mask %08x", at.what, mask);
    arrived[w] |= 1u << (f->index & 31);
    set_waiting(f, IN_WARP);
    if (!try_warp_op(f) || options.order != VG_FORWARD)
        give_way();
}

int vg_barrier(int id, int n_expected, int vote, VgSite at)
{
    Fiber *f = self;

    f->barrier = id;
    f->n_expected = n_expected;
    f->votes = vote;
    f->at = at;
    f->mask = 0;
    set_waiting(f, IN_BARRIER);
    in_barrier[id]++;
    try_barrier(id, n_expected);
    give_way();
    return f->votes;
}
