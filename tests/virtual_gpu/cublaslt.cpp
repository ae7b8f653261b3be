// cublaslt.cpp: what does cuBLASLt do on a virtual GPU?
//
// The product itself is a plain loop, made fast: every test of the engine runs on it. Around it
// stands what can go wrong with the real library: operands that are not in the device's memory, not
// written, not aligned, leading dimensions too small, a workspace too small; and a heuristic that
// offers algorithms one must not take: some cut the sum over k, some need more workspace than is
// offered, some fail when they are run.
#include "include/cublasLt.h"
#include "virtual_gpu/vg.h"
#include "virtual_gpu/vg_cublaslt.h"
#include "virtual_gpu/vg_library.hpp"

#include <algorithm>
#include <mutex>
#include <stdio.h>
#include <string.h>
#include <vector>

struct cublasLtContext {
    int device;
};

namespace
{
std::mutex mutex;
vg_lt_options options = {VG_LT_SOUND, false, 130100, false, -1, false, false};
vg_lt_counts counts;

// ---- What an algorithm is. Real ones are as opaque as these eight words.
constexpr uint64_t MAGIC = 0x766c616c676f3031ull;
struct Kind {
    int splits;
    cublasLtReductionScheme_t scheme;
    size_t workspace;
    bool fails;
};
// In the order the heuristic offers them: the one it thinks fastest must never be taken.
const Kind kinds[] = {
    {4, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE, 1 << 16, false},
    {0, CUBLASLT_REDUCTION_SCHEME_INPLACE, 0, false},
    {1, CUBLASLT_REDUCTION_SCHEME_NONE, 0, true},
    {1, CUBLASLT_REDUCTION_SCHEME_NONE, (size_t)1 << 40, false},
    {1, CUBLASLT_REDUCTION_SCHEME_NONE, 4096, false},
    {2, CUBLASLT_REDUCTION_SCHEME_NONE, 0, false},
    {0, CUBLASLT_REDUCTION_SCHEME_NONE, 0, false},
};
constexpr int N_KINDS = sizeof kinds / sizeof kinds[0];
static_assert(N_KINDS <= VG_MAX_ALGORITHMS, "each may be given a time");

bool is_cut(const Kind &kind)
{
    return kind.splits > 1 || kind.scheme != CUBLASLT_REDUCTION_SCHEME_NONE;
}

cublasLtMatmulAlgo_t make_algorithm(int kind)
{
    return {{MAGIC, (uint64_t)kind, options.version, ~(MAGIC + (uint64_t)kind + options.version)}};
}

// The number of the kind, or -1 for words that this version did not make.
int kind_of(const cublasLtMatmulAlgo_t *algo)
{
    const uint64_t *w = algo->data;

    if (w[0] != MAGIC || w[1] >= N_KINDS || w[2] != options.version ||
        w[3] != ~(w[0] + w[1] + w[2]))
        return -1;
    return (int)w[1];
}

// ---- Descriptors
struct Layout {
    uint64_t magic;
    uint64_t type, rows, cols;
    int64_t ld;
};
struct Desc {
    uint64_t magic;
    int32_t transa, transb;
};
struct Preference {
    uint64_t magic, workspace;
    uint32_t scheme_mask, alignment[4];
};
constexpr uint64_t LAYOUT = 0x6c61796f, DESC = 0x64657363, PREFERENCE = 0x70726566;
static_assert(sizeof(Layout) <= sizeof(cublasLtMatrixLayoutOpaque_t), "fits");
static_assert(sizeof(Preference) <= sizeof(cublasLtMatmulPreferenceOpaque_t), "fits");

const Layout *layout_of(cublasLtMatrixLayout_t layout)
{
    const Layout *l = (const Layout *)layout;
    return l && l->magic == LAYOUT ? l : nullptr;
}

// D [m, n] at ldd = A^T [m, k] B [k, n] (+ C), all column-major.
struct Shape {
    size_t m, n, k, lda, ldb, ldd;
    bool d_is_f32;
};

// What the CUDA device asks for, and nothing else: A^T B, bf16 in, bf16 or f32 out.
bool read_shape(Shape *s, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d)
{
    const Desc *op = (const Desc *)desc;
    const Layout *la = layout_of(a), *lb = layout_of(b), *lc = layout_of(c), *ld = layout_of(d);

    if (!op || op->magic != DESC || op->transa != CUBLAS_OP_T || op->transb != CUBLAS_OP_N)
        return false;
    if (!la || !lb || !lc || !ld || la->type != CUDA_R_16BF || lb->type != CUDA_R_16BF ||
        (ld->type != CUDA_R_16BF && ld->type != CUDA_R_32F) || lc->type != ld->type)
        return false;
    *s = {ld->rows,
          ld->cols,
          la->rows,
          (size_t)la->ld,
          (size_t)lb->ld,
          (size_t)ld->ld,
          ld->type == CUDA_R_32F};
    return s->m > 0 && s->n > 0 && s->k > 0 && la->cols == s->m && lb->rows == s->k &&
           lb->cols == s->n && lc->rows == s->m && lc->cols == s->n && lc->ld == ld->ld &&
           s->lda >= s->k && s->ldb >= s->k && s->ldd >= s->m;
}

// ---- The product
constexpr size_t LANES = 8;
typedef float Lanes __attribute__((vector_size(LANES * sizeof(float))));
typedef Lanes LanesAt __attribute__((aligned(sizeof(float)), may_alias));

// [count, k] bf16 at `stride` to f32, k padded with zeros to whole lanes. Backwards: the same terms
// in another order.
std::vector<float> widen(const void *from, size_t count, size_t k, size_t stride, bool backwards)
{
    const size_t padded = (k + LANES - 1) / LANES * LANES;
    std::vector<float> out(count * padded, 0.f);

    for (size_t r = 0; r < count; r++) {
        const uint16_t *row = (const uint16_t *)from + r * stride;
        for (size_t i = 0; i < k; i++) {
            const uint32_t bits = (uint32_t)row[backwards ? k - 1 - i : i] << 16;
            memcpy(&out[r * padded + i], &bits, sizeof bits);
        }
    }
    return out;
}

// Twelve sums at a time; each is made in the same order wherever it stands.
constexpr size_t TILE_A = 4, TILE_B = 3;
typedef float Sums[TILE_B][TILE_A];

__attribute__((always_inline)) inline void add_up(Sums out, const float *const a[TILE_A],
                                                  const float *const b[TILE_B], size_t k)
{
    Lanes acc[TILE_B][TILE_A] = {};

    for (size_t i = 0; i < k; i += LANES)
        for (size_t q = 0; q < TILE_B; q++)
            for (size_t p = 0; p < TILE_A; p++)
                acc[q][p] += *(const LanesAt *)(a[p] + i) * *(const LanesAt *)(b[q] + i);
    for (size_t q = 0; q < TILE_B; q++)
        for (size_t p = 0; p < TILE_A; p++) {
            const Lanes &v = acc[q][p];
            out[q][p] = ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]));
        }
}

void plain_tile(Sums out, const float *const a[TILE_A], const float *const b[TILE_B], size_t k)
{
    add_up(out, a, b, k);
}

#ifdef __x86_64__
// The same bits: multiplications and additions are rounded one by one in either.
__attribute__((target("avx2"))) void avx2_tile(Sums out, const float *const a[TILE_A],
                                               const float *const b[TILE_B], size_t k)
{
    add_up(out, a, b, k);
}
#endif

typedef void (*Tile)(Sums out, const float *const a[TILE_A], const float *const b[TILE_B],
                     size_t k);

Tile find_tile()
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2"))
        return avx2_tile;
#endif
    return plain_tile;
}

struct Product {
    Shape s;
    const void *a, *b, *c;
    void *d;
    float alpha, beta;
    int kind;
    bool backwards;
    vg_lt_fault fault;
};

float load(const void *p, size_t i, bool is_f32)
{
    float full;

    if (is_f32)
        return ((const float *)p)[i];
    const uint32_t bits = (uint32_t)((const uint16_t *)p)[i] << 16;
    memcpy(&full, &bits, sizeof full);
    return full;
}

void store(void *p, size_t i, bool is_f32, float value)
{
    uint32_t bits;

    if (is_f32) {
        ((float *)p)[i] = value;
        return;
    }
    memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        bits |= 0x400000u;
    else
        bits += 0x7fffu + ((bits >> 16) & 1u);
    ((uint16_t *)p)[i] = (uint16_t)(bits >> 16);
}

// Whether this column of D (a row to our callers) is summed the other way round.
bool is_odd(const Product &p, size_t column)
{
    return (p.fault == VG_LT_BY_PLACE && column % 2 == 1) ||
           (p.fault == VG_LT_BY_COUNT && p.s.n % 3 == 1);
}

// sums[column][m] over k's part [from, from + n_k) for every column.
void multiply(std::vector<float> &sums, const Product &p, size_t from, size_t n_k, bool backwards)
{
    const Shape &s = p.s;
    const size_t padded = (n_k + LANES - 1) / LANES * LANES;
    const std::vector<float> a = widen((const uint16_t *)p.a + from, s.m, n_k, s.lda, backwards);
    const std::vector<float> b = widen((const uint16_t *)p.b + from, s.n, n_k, s.ldb, backwards);
    const Tile tile = find_tile();

    for (size_t column = 0; column < s.n; column += TILE_B)
        for (size_t row = 0; row < s.m; row += TILE_A) {
            const float *pa[TILE_A], *pb[TILE_B];
            Sums out;
            for (size_t i = 0; i < TILE_A; i++)
                pa[i] = &a[std::min(row + i, s.m - 1) * padded];
            for (size_t i = 0; i < TILE_B; i++)
                pb[i] = &b[std::min(column + i, s.n - 1) * padded];
            tile(out, pa, pb, padded);
            for (size_t j = 0; j < TILE_B && column + j < s.n; j++)
                for (size_t i = 0; i < TILE_A && row + i < s.m; i++)
                    sums[(column + j) * s.m + row + i] += out[j][i];
        }
}

// Every operand as a whole; D and C column by column, since what lies between columns is not
// theirs.
bool check_memory(const Product &p)
{
    const Shape &s = p.s;
    const size_t size = s.d_is_f32 ? 4 : 2;

    for (size_t r = 0; r < s.m; r++)
        if (!vg_use((const uint16_t *)p.a + r * s.lda, s.k * 2, false))
            return false;
    for (size_t c = 0; c < s.n; c++)
        if (!vg_use((const uint16_t *)p.b + c * s.ldb, s.k * 2, false))
            return false;
    for (size_t c = 0; c < s.n; c++) {
        const size_t at = c * s.ldd * size;
        if ((p.beta != 0 && !vg_use((const char *)p.c + at, s.m * size, false)) ||
            !vg_use((char *)p.d + at, s.m * size, true))
            return false;
    }
    return true;
}

void run(const Product &p)
{
    const Shape &s = p.s;
    const Kind &kind = kinds[p.kind];
    const size_t parts = is_cut(kind) ? (size_t)std::max(kind.splits, 2) : 1;
    std::vector<float> sums(s.m * s.n, 0.f), others;

    vg_pass_time(p.kind);
    if (!vg_start_launch() || !check_memory(p))
        return;
    for (size_t i = 0; i < parts; i++) {
        const size_t from = s.k * i / parts, to = s.k * (i + 1) / parts;
        if (to > from)
            multiply(sums, p, from, to - from, p.backwards);
    }
    if (p.fault != VG_LT_SOUND) {
        others.assign(s.m * s.n, 0.f);
        multiply(others, p, 0, s.k, !p.backwards);
    }
    for (size_t c = 0; c < s.n; c++) {
        const float *from = &(is_odd(p, c) ? others : sums)[c * s.m];
        for (size_t r = 0; r < s.m; r++) {
            float value = p.alpha * from[r];
            if (p.beta != 0)
                value += p.beta * load(p.c, c * s.ldd + r, s.d_is_f32);
            store(p.d, c * s.ldd + r, s.d_is_f32, value);
        }
    }
}

bool is_aligned(const void *p, size_t to)
{
    return p && (uintptr_t)p % to == 0;
}

// What an address needs for a leading dimension, at most 16 bytes.
size_t alignment_for(size_t ld, size_t size)
{
    size_t alignment = 16;
    while (ld * size % alignment != 0)
        alignment /= 2;
    return alignment;
}
} // namespace

extern "C" {
vg_lt_options vg_lt_defaults(void)
{
    return {VG_LT_SOUND, false, 130100, false, -1, false, false};
}

void vg_lt_set(const vg_lt_options *o)
{
    std::lock_guard<std::mutex> lock(mutex);
    options = *o;
}

vg_lt_counts vg_lt_read_counts(void)
{
    std::lock_guard<std::mutex> lock(mutex);
    return counts;
}

void vg_lt_reset_counts(void)
{
    std::lock_guard<std::mutex> lock(mutex);
    const unsigned long long live = counts.live_handles;
    counts = {};
    counts.live_handles = live;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *handle)
{
    int device;

    *handle = nullptr;
    if (cudaGetDevice(&device) != cudaSuccess)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    std::lock_guard<std::mutex> lock(mutex);
    if (options.no_handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    *handle = new cublasLtContext{device};
    counts.live_handles++;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    std::lock_guard<std::mutex> lock(mutex);
    if (!handle)
        return CUBLAS_STATUS_NOT_INITIALIZED;
    counts.live_handles--;
    delete handle;
    return CUBLAS_STATUS_SUCCESS;
}

const char *cublasLtGetStatusString(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_ARCH_MISMATCH:
        return "CUBLAS_STATUS_ARCH_MISMATCH";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_INTERNAL_ERROR:
        return "CUBLAS_STATUS_INTERNAL_ERROR";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "unknown cuBLAS status";
}

size_t cublasLtGetVersion(void)
{
    std::lock_guard<std::mutex> lock(mutex);
    return options.version;
}

cublasStatus_t cublasLtMatrixLayoutInit(cublasLtMatrixLayout_t layout, cudaDataType type,
                                        uint64_t rows, uint64_t cols, int64_t ld)
{
    const Layout l = {LAYOUT, (uint64_t)type, rows, cols, ld};

    if (ld < 0)
        return CUBLAS_STATUS_INVALID_VALUE;
    memset(layout, 0, sizeof *layout);
    memcpy(layout, &l, sizeof l);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescInit(cublasLtMatmulDesc_t desc, cublasComputeType_t compute_type,
                                      cudaDataType_t scale_type)
{
    const Desc op = {DESC, CUBLAS_OP_N, CUBLAS_OP_N};

    if (compute_type != CUBLAS_COMPUTE_32F || scale_type != CUDA_R_32F)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    memset(desc, 0, sizeof *desc);
    memcpy(desc, &op, sizeof op);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t n_bytes)
{
    Desc *op = (Desc *)desc;

    if (!value || op->magic != DESC || n_bytes != sizeof(int32_t))
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(attribute == CUBLASLT_MATMUL_DESC_TRANSA ? &op->transa : &op->transb, value, n_bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceInit(cublasLtMatmulPreference_t preference)
{
    const Preference p = {PREFERENCE, 0, CUBLASLT_REDUCTION_SCHEME_MASK, {256, 256, 256, 256}};

    memset(preference, 0, sizeof *preference);
    memcpy(preference, &p, sizeof p);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t n_bytes)
{
    Preference *p = (Preference *)preference;
    void *to = &p->scheme_mask;
    size_t size = sizeof(uint32_t);

    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
        to = &p->workspace;
        size = sizeof p->workspace;
    } else if (attribute >= CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES) {
        to = &p->alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES];
    }
    if (!value || p->magic != PREFERENCE || n_bytes != size)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, size);
    return CUBLAS_STATUS_SUCCESS;
}

// The preferences are hints to this heuristic: our own checks must hold without them.
cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int n_wanted,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *n_results)
{
    const Preference *p = (const Preference *)preference;
    Shape shape;

    std::lock_guard<std::mutex> lock(mutex);
    *n_results = 0;
    if (!handle || n_wanted < 1 || p->magic != PREFERENCE || !read_shape(&shape, desc, a, b, c, d))
        return CUBLAS_STATUS_INVALID_VALUE;
    counts.heuristics++;
    // A caller that promises more alignment than a leading dimension has.
    if (p->alignment[0] > alignment_for(shape.lda, 2) ||
        p->alignment[1] > alignment_for(shape.ldb, 2) ||
        p->alignment[3] > alignment_for(shape.ldd, shape.d_is_f32 ? 4 : 2))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    for (int i = 0; i < N_KINDS && *n_results < n_wanted; i++) {
        cublasLtMatmulHeuristicResult_t &r = results[(*n_results)++];
        memset(&r, 0, sizeof r);
        r.algo = make_algorithm(options.refuses_all ? 0 : i);
        r.workspaceSize = kinds[i].workspace;
        r.state = i == 1 ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
        r.wavesCount = 1.f;
    }
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *result)
{
    Shape shape;

    std::lock_guard<std::mutex> lock(mutex);
    const int kind = kind_of(algo);
    if (!handle || kind < 0 || options.no_check || !read_shape(&shape, desc, a, b, c, d))
        return CUBLAS_STATUS_INVALID_VALUE;
    result->workspaceSize = kinds[kind].workspace;
    result->state = CUBLAS_STATUS_SUCCESS;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t attribute,
                                                    void *value, size_t n_bytes, size_t *n_written)
{
    std::lock_guard<std::mutex> lock(mutex);
    const int kind = kind_of(algo);
    int32_t number = kind;

    if (kind < 0 || !value || n_bytes != sizeof number)
        return CUBLAS_STATUS_INVALID_VALUE;
    if (attribute == CUBLASLT_ALGO_CONFIG_SPLITK_NUM)
        number = kinds[kind].splits;
    if (attribute == CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME)
        number = (int32_t)kinds[kind].scheme;
    memcpy(value, &number, sizeof number);
    *n_written = sizeof number;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    Product p = {};
    int device;

    if (algo && algo->data[0] == MAGIC && algo->data[1] < N_KINDS && kinds[algo->data[1]].fails) {
        vg_leave_error(cudaErrorInvalidConfiguration); // so a kernel that cannot be launched
        return CUBLAS_STATUS_EXECUTION_FAILED;
    }
    {
        std::lock_guard<std::mutex> lock(mutex);
        p.kind = algo ? kind_of(algo) : -1;
        if (!handle || p.kind < 0 ||
            !read_shape(&p.s, desc, a_layout, b_layout, c_layout, d_layout) ||
            kinds[p.kind].workspace > workspace_bytes ||
            (kinds[p.kind].workspace > 0 && !is_aligned(workspace, 256)))
            return CUBLAS_STATUS_INVALID_VALUE;
        if (options.fails_after == 0)
            return CUBLAS_STATUS_EXECUTION_FAILED;
        if (options.fails_after > 0)
            options.fails_after--;
        const size_t d_alignment = alignment_for(p.s.ldd, p.s.d_is_f32 ? 4 : 2);
        if (!is_aligned(a, alignment_for(p.s.lda, 2)) ||
            !is_aligned(b, alignment_for(p.s.ldb, 2)) || !is_aligned(d, d_alignment) ||
            !is_aligned(c, d_alignment))
            return CUBLAS_STATUS_NOT_SUPPORTED;
        p.backwards = options.own_bits && p.kind % 4 == 2;
        p.fault = options.fault;
        counts.products++;
        counts.cut += is_cut(kinds[p.kind]);
        counts.algorithms |= 1ull << p.kind;
    }
    if (cudaGetDevice(&device) != cudaSuccess || device != handle->device)
        return CUBLAS_STATUS_ARCH_MISMATCH;
    p.a = a, p.b = b, p.c = c, p.d = d;
    memcpy(&p.alpha, alpha, sizeof p.alpha);
    memcpy(&p.beta, beta, sizeof p.beta);
    return vg_enqueue(stream, "cublasLtMatmul", [p] { run(p); }) == cudaSuccess
               ? CUBLAS_STATUS_SUCCESS
               : CUBLAS_STATUS_EXECUTION_FAILED;
}
}
