/* Which of the library's algorithms runs a product fastest?
 *
 * The library's heuristic proposes; those that cut the sum over k are refused; the others are timed
 * by events on random numbers (power, and so the clock, depends on the values), in rounds that
 * take every candidate once, so that a clock that drifts drifts for all of them. The least median
 * wins, near a tie the one the heuristic put first, if rows keep their bits when they change
 * places: that an algorithm calls itself whole is not all that is asked. */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cuda/gemm_plan.h"

#define MAX_CANDIDATES 12
#define MAX_ROUNDS     7

/* A time shorter than this is repeated within a round: events resolve about a microsecond. */
#define LEAST_MS  0.2f
#define MOST_RUNS 20

/* No more rounds once a candidate has had this much on average. */
#define ENOUGH_MS 40.0f

/* A later candidate wins below this part of the best time so far. What a choice decides is bits,
 * and two machines of one kind shall decide alike: the order of the heuristic is the same on both,
 * a difference as small as the noise of a measurement is not. */
#define CLEARLY_LESS 0.97f

/* So many rows are compared where they were and where they are moved to. In bf16 only one value in
 * some thousands tells another order of a sum. */
#define SAMPLES 64

/* Random values are made on the host and repeated on the device; a prime, so that rows differ. */
#define N_RANDOM 524287

typedef struct {
    const cublasLtMatmulAlgo_t *algo;
    float ms[MAX_ROUNDS]; /* of one run */
    float median;
    bool failed;
} candidate;

typedef struct {
    cuda_gemm *gemm;
    const char *name;
    cuda_gemm_plan *plan;
    char *memory; /* x with `shift` rows more, w, d */
    int shift;
    size_t x_bytes, w_bytes, d_bytes;
    cudaEvent_t from, to;
    cublasLtMatmulHeuristicResult_t proposals[CUDA_GEMM_MAX_PROPOSALS];
    candidate candidates[MAX_CANDIDATES];
    int n_candidates;
} measurement;

/* --- What may be measured --------------------------------------------------------------------- */

static cublasStatus_t set_preference(const cuda_gemm *gemm, const cuda_gemm_plan *plan,
                                     cublasLtMatmulPreferenceOpaque_t *preference)
{
    const uint32_t scheme = CUBLASLT_REDUCTION_SCHEME_NONE;
    const uint64_t workspace = gemm->workspace_bytes;
    const struct {
        cublasLtMatmulPreferenceAttributes_t attribute;
        const void *value;
        size_t n_bytes;
    } wanted[] = {
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &scheme, sizeof scheme},
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &plan->alignment_w, sizeof(uint32_t)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &plan->alignment_x, sizeof(uint32_t)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &plan->alignment_d, sizeof(uint32_t)},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &plan->alignment_d, sizeof(uint32_t)},
    };
    cublasStatus_t status = cublasLtMatmulPreferenceInit(preference);

    for (size_t i = 0; i < EMC_COUNT(wanted) && status == CUBLAS_STATUS_SUCCESS; i++)
        status = cublasLtMatmulPreferenceSetAttribute(preference, wanted[i].attribute,
                                                      wanted[i].value, wanted[i].n_bytes);
    return status;
}

cublasStatus_t cuda_gemm_propose(const cuda_gemm *gemm, cuda_gemm_plan *plan,
                                 cublasLtMatmulHeuristicResult_t *proposals, int *n)
{
    cublasLtMatmulPreferenceOpaque_t preference;
    cublasStatus_t status;
    int n_all = 0;

    *n = 0;
    memset(&preference, 0, sizeof preference);
    status = set_preference(gemm, plan, &preference);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulAlgoGetHeuristic(gemm->handle, &plan->op, &plan->w, &plan->x,
                                                &plan->d, &plan->d, &preference,
                                                CUDA_GEMM_MAX_PROPOSALS, proposals, &n_all);
    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    for (int i = 0; i < n_all; i++)
        if (proposals[i].state == CUBLAS_STATUS_SUCCESS && cuda_gemm_is_whole(&proposals[i].algo) &&
            proposals[i].workspaceSize <= gemm->workspace_bytes)
            proposals[(*n)++] = proposals[i];
    return CUBLAS_STATUS_SUCCESS;
}

static emc_status find_candidates(measurement *m)
{
    int n;

    EMC_TRY(cuda_gemm_check(cuda_gemm_propose(m->gemm, m->plan, m->proposals, &n), m->name,
                            &m->plan->choice.shape));
    m->n_candidates = n < MAX_CANDIDATES ? n : MAX_CANDIDATES;
    for (int i = 0; i < m->n_candidates; i++)
        m->candidates[i].algo = &m->proposals[i].algo;
    return EMC_OK;
}

/* --- Memory ----------------------------------------------------------------------------------- */

static size_t rounded_up(size_t n_bytes)
{
    return (n_bytes + 255) / 256 * 256;
}

static void fill_random(uint16_t *out, size_t n)
{
    uint32_t state = 0x9E3779B9u;

    for (size_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        out[i] = emc_f32_to_bf16((float)(int32_t)state * 0x1p-31f);
    }
}

/* Random bf16 numbers everywhere; pairs of them are fine as f32, too. */
static emc_status fill_memory(measurement *m)
{
    const cudaStream_t stream = m->gemm->cuda->stream;
    const size_t whole = m->x_bytes + m->w_bytes + m->d_bytes;
    const size_t most = (size_t)N_RANDOM * sizeof(uint16_t);
    size_t filled = whole < most ? whole : most;
    uint16_t *random = NULL;
    emc_status status;

    EMC_TRY(
        cuda_take(m->gemm->cuda, (void **)&m->memory, whole, "tensors to measure products with"));
    EMC_TRY(emc_alloc(&random, filled / sizeof *random, sizeof *random, "random numbers"));
    fill_random(random, filled / sizeof *random);
    status = cuda_check(cudaMemcpyAsync(m->memory, random, filled, cudaMemcpyHostToDevice, stream),
                        "%s: random numbers", m->name);
    while (status == EMC_OK && filled < whole) {
        const size_t more = filled < whole - filled ? filled : whole - filled;
        status = cuda_check(
            cudaMemcpyAsync(m->memory + filled, m->memory, more, cudaMemcpyDeviceToDevice, stream),
            "%s: random numbers", m->name);
        filled += more;
    }
    if (status == EMC_OK)
        status = cuda_check(cudaStreamSynchronize(stream), "%s: random numbers", m->name);
    free(random);
    return status;
}

static emc_status take_memory(measurement *m)
{
    const cuda_gemm_shape *s = &m->plan->choice.shape;
    const size_t rows = (size_t)s->rows, k = (size_t)s->k;

    m->shift = s->rows / 2 | 1; /* into other tiles, to another place in them */
    m->x_bytes = rounded_up((rows + (size_t)m->shift) * k * 2);
    m->w_bytes = rounded_up((size_t)s->n * k * 2);
    m->d_bytes = rounded_up(rows * (size_t)s->d_stride * emc_dtype_bytes(s->d_dtype));
    EMC_TRY(fill_memory(m));
    EMC_TRY(cuda_check(cudaEventCreate(&m->from), "an event"));
    return cuda_check(cudaEventCreate(&m->to), "an event");
}

/* --- Time ------------------------------------------------------------------------------------- */

/* One run. A candidate that cannot run has failed, and leaves no error behind that the next call
 * would be taken for; a device that is lost is an error. */
static emc_status try_launch(measurement *m, candidate *c, const void *x, const void *w, void *d)
{
    const cublasStatus_t status = cuda_gemm_launch(m->gemm, m->plan, c->algo, d, x, w, d);

    if (status == CUBLAS_STATUS_SUCCESS)
        return EMC_OK;
    c->failed = true;
    (void)cudaGetLastError();
    return cuda_check(cudaDeviceSynchronize(), "%s: measuring", m->name);
}

/* Milliseconds of one run of `runs` in a row. A candidate that cannot run has failed; what is
 * returned is the device's own trouble. */
static emc_status time_runs(measurement *m, candidate *c, int runs, float *ms)
{
    const cudaStream_t stream = m->gemm->cuda->stream;
    char *const x = m->memory, *const w = x + m->x_bytes, *const d = w + m->w_bytes;

    *ms = 0;
    EMC_TRY(cuda_check(cudaEventRecord(m->from, stream), "%s: measuring", m->name));
    for (int i = 0; i < runs && !c->failed; i++)
        EMC_TRY(try_launch(m, c, x, w, d));
    EMC_TRY(cuda_check(cudaEventRecord(m->to, stream), "%s: measuring", m->name));
    EMC_TRY(cuda_check(cudaEventSynchronize(m->to), "%s: measuring", m->name));
    EMC_TRY(cuda_check(cudaEventElapsedTime(ms, m->from, m->to), "%s: measuring", m->name));
    *ms /= (float)runs;
    return EMC_OK;
}

/* Runs every candidate once, so that its code is on the GPU, and drops those that cannot. */
static emc_status warm_up(measurement *m, int *runs)
{
    float least_ms = 1e30f;
    int kept = 0;

    for (int i = 0; i < m->n_candidates; i++) {
        candidate *c = &m->candidates[i];
        float ms;
        EMC_TRY(time_runs(m, c, 1, &ms));
        if (c->failed)
            continue;
        EMC_TRY(time_runs(m, c, 1, &ms));
        least_ms = ms < least_ms ? ms : least_ms;
        m->candidates[kept++] = *c;
    }
    m->n_candidates = kept;
    *runs = least_ms > LEAST_MS ? 1 : MOST_RUNS;
    if (least_ms > LEAST_MS / MOST_RUNS && least_ms <= LEAST_MS)
        *runs = (int)(LEAST_MS / least_ms) + 1;
    return EMC_OK;
}

static int by_size(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;

    return (x > y) - (x < y);
}

static emc_status time_all(measurement *m)
{
    int runs, n_rounds = 0;
    float spent_ms = 0;

    EMC_TRY(warm_up(m, &runs));
    while (m->n_candidates > 1 && n_rounds < MAX_ROUNDS &&
           spent_ms <= ENOUGH_MS * (float)m->n_candidates) {
        for (int i = 0; i < m->n_candidates; i++) {
            float ms;
            EMC_TRY(time_runs(m, &m->candidates[i], runs, &ms));
            m->candidates[i].ms[n_rounds] = ms;
            spent_ms += ms * (float)runs;
        }
        n_rounds++;
    }
    for (int i = 0; i < m->n_candidates && n_rounds > 0; i++) {
        qsort(m->candidates[i].ms, (size_t)n_rounds, sizeof(float), by_size);
        m->candidates[i].median = m->candidates[i].ms[n_rounds / 2];
    }
    return EMC_OK;
}

/* --- Bits ------------------------------------------------------------------------------------- */

/* From one sample to the next. */
static int sample_step(const measurement *m)
{
    const int step = (m->plan->choice.shape.rows - m->shift) / SAMPLES;

    return step > 0 ? step : 1;
}

/* Runs the candidate on x from row `first` on; then `rows` gets samples of d from row `from` on. */
static emc_status sample(measurement *m, candidate *c, int first, int from, char *rows)
{
    const cudaStream_t stream = m->gemm->cuda->stream;
    const cuda_gemm_shape *s = &m->plan->choice.shape;
    const size_t size = emc_dtype_bytes(s->d_dtype), n_bytes = (size_t)s->n * size;
    char *const x = m->memory, *const w = x + m->x_bytes, *const d = w + m->w_bytes;
    const int step = sample_step(m);
    const char *const moved = x + (size_t)first * (size_t)s->k * 2;

    EMC_TRY(cuda_check(cudaMemsetAsync(d, 0, m->d_bytes, stream), "%s: comparing", m->name));
    EMC_TRY(try_launch(m, c, moved, w, d));
    for (int r = 0; r < s->rows - m->shift; r += step, rows += n_bytes)
        EMC_TRY(
            cuda_check(cudaMemcpyAsync(rows, d + (size_t)(from + r) * (size_t)s->d_stride * size,
                                       n_bytes, cudaMemcpyDeviceToHost, stream),
                       "%s: comparing", m->name));
    return cuda_check(cudaStreamSynchronize(stream), "%s: comparing", m->name);
}

/* Whether rows that are moved by `shift` come out as before; true where there are too few. */
static emc_status keeps_bits(measurement *m, candidate *c, bool *same)
{
    const cuda_gemm_shape *s = &m->plan->choice.shape;
    const int n_rows = s->rows > m->shift ? cuda_blocks(s->rows - m->shift, sample_step(m)) : 0;
    const size_t n_bytes = (size_t)n_rows * (size_t)s->n * emc_dtype_bytes(s->d_dtype);
    char *rows = NULL;
    emc_status status;

    *same = true;
    if (n_rows == 0)
        return EMC_OK;
    EMC_TRY(emc_alloc(&rows, 2, n_bytes, "rows to compare"));
    status = sample(m, c, 0, m->shift, rows);
    if (status == EMC_OK)
        status = sample(m, c, m->shift, 0, rows + n_bytes);
    *same = !c->failed && memcmp(rows, rows + n_bytes, n_bytes) == 0;
    free(rows);
    return status;
}

/* The first of the fastest that keeps bits; none is left otherwise. */
static emc_status take_best(measurement *m)
{
    while (m->n_candidates > 0) {
        int best = 0;
        bool same;
        for (int i = 1; i < m->n_candidates; i++)
            if (m->candidates[i].median < CLEARLY_LESS * m->candidates[best].median)
                best = i;
        EMC_TRY(keeps_bits(m, &m->candidates[best], &same));
        if (same) {
            m->plan->choice.algo = *m->candidates[best].algo;
            return EMC_OK;
        }
        m->n_candidates--;
        memmove(&m->candidates[best], &m->candidates[best + 1],
                (size_t)(m->n_candidates - best) * sizeof m->candidates[0]);
    }
    return EMC_OK;
}

emc_status cuda_gemm_measure(cuda_gemm *gemm, const char *name, cuda_gemm_plan *plan)
{
    const cuda_gemm_shape *s = &plan->choice.shape;
    measurement *m = NULL;
    emc_status status;

    EMC_TRY(emc_alloc(&m, 1, sizeof *m, "a measurement"));
    m->gemm = gemm;
    m->name = name;
    m->plan = plan;
    status = find_candidates(m);
    if (status == EMC_OK && m->n_candidates > 0)
        status = take_memory(m);
    if (status == EMC_OK && m->n_candidates > 0)
        status = time_all(m);
    if (status == EMC_OK)
        status = take_best(m);
    if (status == EMC_OK && m->n_candidates == 0)
        status = emc_fail(EMC_ERR_DEVICE,
                          "cuda: %s: rows=%d n=%d k=%d: cuBLASLt has no algorithm for it that "
                          "sums in one piece and gives a row the same bits in every place",
                          name, s->rows, s->n, s->k);
    if (m->from)
        (void)cudaEventDestroy(m->from);
    if (m->to)
        (void)cudaEventDestroy(m->to);
    (void)cudaFree(m->memory);
    free(m);
    return status;
}
