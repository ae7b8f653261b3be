// hopper.cpp: mbarriers, bulk copies and wgmma (sm_90a).
#include "virtual_gpu/vg_hopper.cuh"
#include "virtual_gpu/vg_internal.hpp"

using namespace vg;

namespace
{
// An mbarrier's state lives beside the arena; its 8 bytes stay poisoned, so nobody can peek.
struct Mbar {
    int count, pending, n_bytes; // n_bytes: expected and not yet here
    unsigned phase;
};
std::map<uint32_t, Mbar> mbars;

struct Bulk {
    uint32_t dst, n_bytes, bar;
    const void *src;
};
std::vector<Bulk> bulks; // issued, not yet arrived

// wgmma: each warp computes its 16 rows. Results appear at the wait; until then d holds NaN.
struct Accumulator {
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
std::vector<Product> products[MAX_WARPS]; // in flight
std::vector<size_t> groups[MAX_WARPS];    // end of each committed group within `products`
std::vector<Accumulator> accumulators[MAX_THREADS];

Mbar &mbar_at(uint32_t bar)
{
    auto it = mbars.find(bar);

    if (it == mbars.end())
        vg_fail("mbarrier at %u was never initialised", bar);
    return it->second;
}

void mbar_update(uint32_t bar, Mbar &m)
{
    if (m.pending || m.n_bytes)
        return;
    m.phase++;
    m.pending = m.count;
    for (int t = 0; t < n_threads; t++)
        if (fibers[t].wait == IN_MBAR && fibers[t].mbar == bar)
            set_ready(&fibers[t]);
}

void arrive_bulk(const Bulk &b)
{
    memcpy(arena + b.dst, b.src, b.n_bytes);
    for (uint32_t i = 0; CHECK && i < b.n_bytes; i++) { // ordered for who waits on the mbarrier
        Shadow &s = shadow[b.dst + i];
        s.state = WRITTEN;
        s.w_block = block_epoch - 1;
        s.w_fences = NO_FENCE_NEEDED;
        s.r_block = 0;
    }
    Mbar &m = mbar_at(b.bar);
    m.n_bytes -= (int)b.n_bytes;
    mbar_update(b.bar, m);
}

Accumulator &accumulator_of(int t, float *d)
{
    for (Accumulator &a : accumulators[t])
        if (a.d == d)
            return a;
    accumulators[t].push_back({d, {}, 0});
    return accumulators[t].back();
}

// Address of element (row, k) of a K-major bf16 operand. Bits of the descriptor: 0-13 start / 16,
// 32-45 stride between groups of 8 rows / 16, 62-63 swizzle (1: 128 bytes, 2: 64, 3: 32, 0: none).
// The swizzle XORs address bits 4-6 with bits 7-9, so it works on final addresses.
uint32_t operand_at(uint64_t descriptor, int row, int k)
{
    const uint32_t start = (uint32_t)(descriptor & 0x3fff) << 4;
    const uint32_t stride = (uint32_t)(descriptor >> 32 & 0x3fff) << 4;

    if (descriptor >> 62 != 1)
        vg_fail("wgmma: only the 128-byte swizzle is modelled");
    const uint32_t a =
        start + (uint32_t)(row / 8) * stride + (uint32_t)(row % 8) * 128 + (uint32_t)k * 2;
    return a ^ (a >> 7 & 7) << 4;
}

float operand(uint64_t descriptor, int row, int k)
{
    const uint32_t at = operand_at(descriptor, row, k);
    uint16_t x;

    if (at + 2 > sizeof arena)
        vg_fail("wgmma: operand address %u", at);
    if (CHECK) {
        const Shadow &s = shadow[at];
        if (s.state == WRITTEN && s.w_fences != NO_FENCE_NEEDED &&
            s.w_fences == fibers[s.w_thread].fences)
            vg_fail("wgmma reads what thread %d wrote without fence.proxy.async (offset %u)",
                    s.w_thread, at);
        shared_access(self->index, at, 2, false);
    }
    memcpy(&x, arena + at, 2);
    return bf16_low(x);
}

// Eight columns of a warp's 16 rows.
void run_columns(int w, const Product &p, int n0)
{
    double a[16][16], b[16][8], c[16][8] = {};

    for (int k = 0; k < 16; k++) {
        for (int r = 0; r < 16; r++)
            a[r][k] = operand(p.a, w % 4 * 16 + r, k);
        for (int j = 0; j < 8; j++)
            b[k][j] = operand(p.b, n0 + j, k);
    }
    for (int pass = 0; pass < 2; pass++) {
        for (int l = 0; l < 32; l++)
            for (int i = 0; i < 4; i++) {
                float &d = accumulator_of(w * 32 + l, p.d[l]).v[n0 / 2 + i];
                double &x = c[l / 4 + (i >> 1) * 8][l % 4 * 2 + (i & 1)];
                if (pass == 0)
                    x = p.add ? d : 0;
                else
                    d = cut(x);
            }
        if (pass == 0)
            mma_core(c, a, b);
    }
}

void run_product(int w, Product &p)
{
    if (p.done)
        return;
    p.done = true;
    for (int n0 = 0; n0 < p.n; n0 += 8)
        run_columns(w, p, n0);
}

struct Wgmma {
    float *d;
    int n;
    uint64_t a, b;
    bool add;
};

void issue_wgmma(void *const args[32], unsigned)
{
    const int w = self->index >> 5;
    const Wgmma *g = (const Wgmma *)args[0];
    Product p = {g->a, g->b, g->add, false, g->n, {}};

    for (int l = 0; l < 32; l++) {
        const Wgmma *h = (const Wgmma *)args[l];
        if (h->a != g->a || h->b != g->b || h->add != g->add)
            vg_fail("wgmma: lanes disagree on the descriptors");
        p.d[l] = h->d;
        Accumulator &acc = accumulator_of(w * 32 + l, h->d);
        if (acc.in_flight++ == 0)
            memcpy(acc.v, h->d, (size_t)h->n / 2 * sizeof(float));
        memset(h->d, POISON, (size_t)h->n / 2 * sizeof(float));
    }
    products[w].push_back(p);
    if (flip_early()) // in order: each adds to what those before it have left
        for (Product &earlier : products[w])
            run_product(w, earlier);
}

void commit_wgmma(void *const *, unsigned)
{
    const int w = self->index >> 5;

    groups[w].push_back(products[w].size());
}

void wait_wgmma(void *const args[32], unsigned)
{
    const int w = self->index >> 5, n = *(const int *)args[0];

    if ((int)groups[w].size() <= n)
        return;
    const size_t done = groups[w].size() - (size_t)n, last = groups[w][done - 1];
    for (size_t i = 0; i < last; i++) {
        Product &p = products[w][i];
        run_product(w, p);
        for (int l = 0; l < 32; l++) {
            Accumulator &a = accumulator_of(w * 32 + l, p.d[l]);
            if (--a.in_flight == 0)
                memcpy(a.d, a.v, (size_t)p.n / 2 * sizeof(float));
        }
    }
    products[w].erase(products[w].begin(), products[w].begin() + (ptrdiff_t)last);
    groups[w].erase(groups[w].begin(), groups[w].begin() + (ptrdiff_t)done);
    for (size_t &g : groups[w])
        g -= last;
}
} // namespace

void vg::reset_hopper()
{
    mbars.clear();
    bulks.clear();
    for (int w = 0; w < n_warps; w++) {
        products[w].clear();
        groups[w].clear();
    }
    for (int t = 0; t < n_threads; t++)
        accumulators[t].clear();
}

// Late: only when nobody can go on without it.
bool vg::land_bulk()
{
    if (bulks.empty())
        return false;
    const Bulk b = bulks.front();
    bulks.erase(bulks.begin());
    arrive_bulk(b);
    return true;
}

void vg_mbar_init(smem_addr bar, int count)
{
    mbars[bar] = {count, count, 0, 0};
}

void vg_mbar_arrive(smem_addr bar, int n_bytes)
{
    Mbar &m = mbar_at(bar);

    m.n_bytes += n_bytes;
    m.pending--;
    mbar_update(bar, m);
}

void vg_mbar_wait(smem_addr bar, int parity, VgSite at)
{
    if ((mbar_at(bar).phase & 1) != (unsigned)parity)
        return;
    self->mbar = bar;
    self->at = at;
    self->mask = 0;
    set_waiting(self, IN_MBAR);
    give_way();
}

void vg_bulk_copy(smem_addr dst, const void *src, int n_bytes, smem_addr bar)
{
    if (dst % 16 || (uintptr_t)src % 16 || n_bytes % 16)
        vg_fail("bulk copy: not 16-byte aligned");
    for (int i = 0; CHECK && i < n_bytes; i += 16) {
        access((const char *)src + i, 16, false, (uintptr_t)src);
        shared_access(self->index, dst + (unsigned)i, 16, true);
        set_in_flight(dst + (unsigned)i, 16);
    }
    const Bulk b = {dst, (uint32_t)n_bytes, bar, src};
    if (flip_early())
        arrive_bulk(b);
    else
        bulks.push_back(b);
}

void vg_fence_proxy_async()
{
    self->fences++;
}

void vg_wgmma(float *d, int n, uint64_t a, uint64_t b, bool add, VgSite at)
{
    Wgmma g = {d, n, a, b, add};

    vg_warp_op(issue_wgmma, &g, ~0u, true, at);
}

void vg_wgmma_commit(VgSite at)
{
    vg_warp_op(commit_wgmma, nullptr, ~0u, true, at);
}

void vg_wgmma_wait(int n, VgSite at)
{
    vg_warp_op(wait_wgmma, &n, ~0u, true, at);
}
