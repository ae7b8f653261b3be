// counts.cpp: how well do the lanes of a warp use what memory gives them? (vg.h says what counts.)
#include "virtual_gpu/vg_internal.hpp"

namespace vg
{
vg_kernel_counts *kernel_counts;

namespace
{
std::map<std::string, vg_kernel_counts> by_name;

// One instruction, one warp, one time: what its lanes asked for.
struct WarpAccess {
    uint32_t lanes;
    uintptr_t at[32]; // by lane
};
// One instruction of one warp since its lanes last met.
struct Site {
    uintptr_t pc;
    unsigned n_bytes;
    bool shared, write;
    bool used;
    uint16_t n_times[32]; // by lane
    std::vector<WarpAccess> times;
    size_t n_used; // of `times`, which keeps its memory
};
constexpr size_t SITES = 256; // a power of two
struct Warp {
    Site sites[SITES];
    std::vector<int> in_use;
};
std::vector<Warp> warps;

Site *site_of(Warp &w, uintptr_t pc, unsigned n_bytes, bool shared, bool write)
{
    const uintptr_t key = pc * 2 + (shared ? 1 : 0);
    size_t h = (key * 0x9e3779b97f4a7c15ull) >> 56;

    for (size_t tries = 0; tries < SITES; tries++, h = (h + 1) % SITES) {
        Site &s = w.sites[h];
        if (s.used && s.pc == pc && s.shared == shared && s.write == write && s.n_bytes == n_bytes)
            return &s;
        if (!s.used) {
            s.used = true;
            s.pc = pc;
            s.n_bytes = n_bytes;
            s.shared = shared;
            s.write = write;
            s.n_used = 0;
            memset(s.n_times, 0, sizeof s.n_times);
            w.in_use.push_back((int)h);
            return &s;
        }
    }
    return nullptr;
}

void count_global(const Site &s, const WarpAccess &a)
{
    unsigned long long sectors = 0, bytes = 0;
    uintptr_t next_sector = 0, next_byte = 0, at[32];
    int n = 0;

    for (uint32_t m = a.lanes; m; m &= m - 1)
        at[n++] = a.at[__builtin_ctz(m)];
    if (!std::is_sorted(at, at + n))
        std::sort(at, at + n);
    for (int i = 0; i < n; i++) {
        const uintptr_t first = at[i], stop = first + s.n_bytes;
        const uintptr_t low = std::max(first / 32, next_sector), high = (stop - 1) / 32 + 1;
        if (high > low)
            sectors += high - low;
        next_sector = std::max(next_sector, high);
        if (stop > next_byte)
            bytes += stop - std::max(first, next_byte);
        next_byte = std::max(next_byte, stop);
    }
    (s.write ? kernel_counts->store_sectors : kernel_counts->load_sectors) += sectors;
    (s.write ? kernel_counts->least_store_sectors : kernel_counts->least_load_sectors) +=
        (bytes + 31) / 32;
}

// 32 banks of 4 bytes; lanes that ask for the same word share it.
void count_shared(const Site &s, const WarpAccess &a)
{
    const int lanes = s.n_bytes <= 4 ? 32 : s.n_bytes <= 8 ? 16 : 8;
    const unsigned n_words = (s.n_bytes + 3) / 4;

    for (int first = 0; first < 32; first += lanes) {
        uintptr_t words[128];
        int n = 0, of_bank[32] = {}, most = 0;
        for (int l = first; l < first + lanes; l++)
            for (unsigned w = 0; w < n_words && a.lanes >> l & 1; w++)
                words[n++] = a.at[l] / 4 + w;
        if (n == 0)
            continue;
        std::sort(words, words + n);
        n = (int)(std::unique(words, words + n) - words);
        for (int i = 0; i < n; i++)
            most = std::max(most, ++of_bank[words[i] % 32]);
        kernel_counts->shared_passes += (unsigned)most;
        kernel_counts->least_shared_passes++;
    }
}
} // namespace

void count_launch(const char *name)
{
    kernel_counts = &by_name[name];
    kernel_counts->launches++;
    if (CHECK && warps.empty())
        warps.resize(MAX_WARPS);
}

void count_access(int thread, uintptr_t pc, uintptr_t at, unsigned n, bool shared, bool write)
{
    Site *s = site_of(warps[(size_t)thread / 32], pc, n, shared, write);

    if (!s)
        return;
    const size_t time = s->n_times[thread % 32]++;
    if (time >= s->times.size())
        s->times.emplace_back();
    WarpAccess &a = s->times[time];
    if (time >= s->n_used) {
        a.lanes = 0;
        s->n_used = time + 1;
    }
    a.lanes |= 1u << thread % 32;
    a.at[thread % 32] = at;
}

void warp_met(int warp)
{
    if (!CHECK)
        return;
    Warp &w = warps[(size_t)warp];
    for (int i : w.in_use) {
        Site &s = w.sites[i];
        for (size_t t = 0; t < s.n_used; t++)
            if (s.shared)
                count_shared(s, s.times[t]);
            else
                count_global(s, s.times[t]);
        s.used = false;
    }
    w.in_use.clear();
}
} // namespace vg

using namespace vg;

extern "C" {
void vg_reset_counts(void)
{
    Call call;
    vg_counts fresh = {};

    fresh.live_allocations = counts.live_allocations;
    fresh.live_host_allocations = counts.live_host_allocations;
    fresh.live_streams = counts.live_streams;
    fresh.live_events = counts.live_events;
    fresh.live_bytes = fresh.peak_bytes = counts.live_bytes;
    counts = fresh;
    by_name.clear();
}

bool vg_kernel_stats(const char *name, vg_kernel_counts *out)
{
    Call call;
    const size_t n = name ? strlen(name) : 0;

    *out = {};
    for (const auto &k : by_name) {
        const char after = k.first.size() >= n ? k.first.c_str()[n] : '?';
        if (name && (k.first.compare(0, n, name) != 0 || (after && after != '<')))
            continue;
        const vg_kernel_counts &c = k.second;
        out->launches += c.launches;
        out->blocks += c.blocks;
        out->load_sectors += c.load_sectors;
        out->least_load_sectors += c.least_load_sectors;
        out->store_sectors += c.store_sectors;
        out->least_store_sectors += c.least_store_sectors;
        out->shared_passes += c.shared_passes;
        out->least_shared_passes += c.least_shared_passes;
        out->ldmatrix_rows += c.ldmatrix_rows;
        out->ldmatrix_conflicts += c.ldmatrix_conflicts;
    }
    return out->launches > 0;
}
}
