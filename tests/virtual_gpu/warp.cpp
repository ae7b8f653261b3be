// warp.cpp: what the lanes of a warp do together, and their copies from global to shared memory.
#include "virtual_gpu/vg_internal.hpp"

using namespace vg;

void vg_syncwarp(void *const *, unsigned)
{
    warp_epoch[self->index >> 5]++;
}

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
    unsigned ballot = 0;

    for (unsigned m = mask; m; m &= m - 1)
        if (((VgVote *)args[__builtin_ctz(m)])->p)
            ballot |= m & -m;
    for (unsigned m = mask; m; m &= m - 1)
        ((VgVote *)args[__builtin_ctz(m)])->ballot = ballot;
}

void vg_reduce(void *const args[32], unsigned mask)
{
    const VgReduce *first = (const VgReduce *)args[__builtin_ctz(mask)];
    long long x = first->value;

    for (unsigned m = mask & (mask - 1); m; m &= m - 1) {
        const VgReduce *r = (const VgReduce *)args[__builtin_ctz(m)];
        if (r->op != first->op)
            vg_fail("__reduce_*_sync: lanes disagree on the operation");
        switch (r->op) {
        case VG_ADD:
            x += r->value;
            break;
        case VG_MIN:
            x = std::min(x, r->value);
            break;
        case VG_MAX:
            x = std::max(x, r->value);
            break;
        case VG_AND:
            x &= r->value;
            break;
        case VG_OR:
            x |= r->value;
            break;
        case VG_XOR:
            x ^= r->value;
            break;
        }
    }
    for (unsigned m = mask; m; m &= m - 1)
        ((VgReduce *)args[__builtin_ctz(m)])->value = x;
}

// ---- cp.async: copies queue in their thread; a wait carries them out, or they land at once

static void land(Copy &c)
{
    if (c.landed)
        return;
    c.landed = true;
    memcpy(arena + c.dst, c.src, c.n_valid);
    memset(arena + c.dst + c.n_valid, 0, (size_t)(c.n_bytes - c.n_valid));
}

void vg_cp_async(smem_addr dst, const void *src, int n_bytes, int n_valid, VgSite at)
{
    Fiber *f = self;
    const uintptr_t site = (uintptr_t)at.file + (uintptr_t)at.line;

    f->at = at;
    if (dst % (unsigned)n_bytes || (n_valid && (uintptr_t)src % (unsigned)n_bytes))
        vg_fail("cp.async: misaligned, shared %u, global %p", dst, src);
    if (dst + (unsigned)n_bytes > STATIC_MAX + cur.smem)
        vg_fail("cp.async beyond shared memory: offset %u", dst);
    if (n_valid < 0 || n_valid > n_bytes)
        vg_fail("cp.async: %d of %d bytes", n_valid, n_bytes);
    if (CHECK) {
        if (n_valid)
            access(src, (unsigned)n_valid, false, site);
        access(arena + dst, (unsigned)n_bytes, true, site);
        set_in_flight(dst, (unsigned)n_bytes);
    }
    f->copies.push_back({dst, src, (uint8_t)n_bytes, (uint8_t)n_valid, false});
    if (flip_early())
        land(f->copies.back());
}

void vg_cp_async_commit()
{
    self->groups.push_back(self->copies.size());
}

void vg_cp_async_wait(int n)
{
    Fiber *f = self;

    if ((int)f->groups.size() <= n)
        return;
    const size_t done = f->groups.size() - (size_t)n, last = f->groups[done - 1];
    for (size_t i = 0; i < last; i++) {
        Copy &c = f->copies[i];
        land(c);
        for (unsigned b = 0; CHECK && b < c.n_bytes; b++) {
            Shadow &s = shadow[c.dst + b];
            s.state = WRITTEN;
            s.w_block = block_epoch;
            s.w_warp = warp_epoch[f->index >> 5];
            s.w_thread = (uint16_t)f->index;
        }
    }
    f->copies.erase(f->copies.begin(), f->copies.begin() + (ptrdiff_t)last);
    f->groups.erase(f->groups.begin(), f->groups.begin() + (ptrdiff_t)done);
    for (size_t &g : f->groups)
        g -= last;
}

// ---- matrix instructions

struct Ldmatrix {
    VgU4 r;
    smem_addr row;
    int n; // matrices: 1, 2 or 4; lanes beyond 8 n give no address
    bool trans;
};

static void run_ldmatrix(void *const args[32], unsigned mask)
{
    uint16_t m[4][8][8];
    const int n = ((const Ldmatrix *)args[0])->n;

    if (mask != ~0u)
        vg_fail("ldmatrix: lanes have left the warp (mask %08x)", mask);
    for (int l = 0; l < 8 * n; l++) {
        const uint32_t row = ((Ldmatrix *)args[l])->row;
        if (row % 16)
            vg_fail("ldmatrix: lane %d gives a row address that is not 16-byte aligned (%u)", l,
                    row);
        if (row + 16 > STATIC_MAX + cur.smem)
            vg_fail("ldmatrix beyond shared memory: offset %u", row);
        if (CHECK)
            shared_access((self->index & ~31) + l, row, 16, false);
        memcpy(m[l / 8][l % 8], arena + row, 16);
    }
    for (int i = 0; i < n; i++) { // 8 rows are one pass, if they are in 8 groups of banks
        int group[8] = {};
        for (int l = 8 * i; l < 8 * i + 8; l++)
            group[((Ldmatrix *)args[l])->row / 16 % 8]++;
        kernel_counts->ldmatrix_rows++;
        kernel_counts->ldmatrix_conflicts += (unsigned)*std::max_element(group, group + 8) - 1;
    }
    for (int l = 0; l < 32; l++) {
        Ldmatrix *a = (Ldmatrix *)args[l];
        const int r = l / 4, c = l % 4 * 2;
        for (int i = 0; i < n; i++)
            a->r.x[i] = a->trans ? m[i][c][r] | (uint32_t)m[i][c + 1][r] << 16
                                 : m[i][r][c] | (uint32_t)m[i][r][c + 1] << 16;
    }
}

VgU4 vg_ldmatrix(smem_addr row, int n, bool trans, VgSite at)
{
    Ldmatrix a = {{}, row, n, trans};

    vg_warp_op(run_ldmatrix, &a, ~0u, true, at);
    return a.r;
}

#ifdef __x86_64__
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#endif
void vg::mma_core(double (&c)[16][8], const MmaA &a, const MmaB &b)
{
    for (int i = 0; i < 16; i++) {
        double row[8];
        memcpy(row, c[i], sizeof row);
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 8; j++)
                row[j] += a[i][k] * b[k][j];
        memcpy(c[i], row, sizeof row);
    }
}

// The products are exact; their sum is taken in double and cut to f32 towards zero, as measured on
// tensor cores (Fasi et al. 2021). It is not bit-exact to any chip.
float vg::cut(double x)
{
    float f = (float)x;
    uint32_t u;

    memcpy(&u, &f, sizeof u);
    u -= fabs((double)f) > fabs(x); // one step towards zero; infinity becomes the largest float
    memcpy(&f, &u, sizeof f);
    return f;
}

struct Mma {
    VgF4 d;
    VgU4 a;
    uint32_t b0, b1;
};

static void run_mma(void *const args[32], unsigned mask)
{
    double a[16][16], b[16][8], c[16][8];

    if (mask != ~0u)
        vg_fail("mma: lanes have left the warp (mask %08x)", mask);
    for (int l = 0; l < 32; l++) {
        const Mma *m = (const Mma *)args[l];
        const int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++) {
            const int r = g + (i & 1) * 8, k = t + (i >> 1) * 8;
            a[r][k] = bf16_low(m->a.x[i]);
            a[r][k + 1] = bf16_high(m->a.x[i]);
            c[g + (i >> 1) * 8][t + (i & 1)] = m->d.x[i];
        }
        b[t][g] = bf16_low(m->b0);
        b[t + 1][g] = bf16_high(m->b0);
        b[t + 8][g] = bf16_low(m->b1);
        b[t + 9][g] = bf16_high(m->b1);
    }
    mma_core(c, a, b);
    for (int l = 0; l < 32; l++) {
        Mma *m = (Mma *)args[l];
        const int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++)
            m->d.x[i] = cut(c[g + (i >> 1) * 8][t + (i & 1)]);
    }
}

VgF4 vg_mma_bf16_16816(VgF4 d, VgU4 a, uint32_t b0, uint32_t b1, VgSite at)
{
    Mma m = {d, a, b0, b1};

    vg_warp_op(run_mma, &m, ~0u, true, at);
    return m.d;
}
