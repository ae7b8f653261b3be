/* How is a product run: which shape by which algorithm of cuBLASLt?
 *
 * cuBLASLt counts columns first. Our row-major d [rows, n] = x [rows, k] w [n, k]^T is there the
 * matrix D [n, rows] = A^T B with A = w as [k, n] and B = x as [k, rows], without moving a byte.
 *
 * The sum over k of one element is made by one block of threads from the first term to the last
 * (no split of k, no reduction scheme), so with the algorithm and the row count pinned a row's bits
 * depend on that row alone. */
#include "kernels/cuda/gemm_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

/* What cuBLAS itself takes on these architectures. */
#define WORKSPACE_HOPPER ((size_t)64 << 20)
#define WORKSPACE        ((size_t)32 << 20)

/* ... and never more of a small GPU than one part in this many. */
#define WORKSPACE_PART 1024

/* Addresses of tensors; what lies at a row's stride from there may be aligned less. */
#define ALIGNMENT 16

emc_status cuda_gemm_check(cublasStatus_t status, const char *name, const cuda_gemm_shape *shape)
{
    if (status == CUBLAS_STATUS_SUCCESS)
        return EMC_OK;
    return cuda_check_library("cuBLASLt", cublasLtGetStatusString(status),
                              "%s: rows=%d n=%d k=%d to %s%s", name, shape->rows, shape->n,
                              shape->k, emc_dtype_name(shape->d_dtype),
                              shape->adds ? ", added to what is there" : "");
}

bool cuda_gemm_same(const cuda_gemm_shape *a, const cuda_gemm_shape *b)
{
    return a->rows == b->rows && a->n == b->n && a->k == b->k && a->d_stride == b->d_stride &&
           a->d_dtype == b->d_dtype && a->adds == b->adds;
}

bool cuda_gemm_is_whole(const cublasLtMatmulAlgo_t *algo)
{
    int32_t splits = 0;
    uint32_t scheme = 0;
    size_t n_written;

    if (cublasLtMatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &splits,
                                             sizeof splits, &n_written) != CUBLAS_STATUS_SUCCESS ||
        cublasLtMatmulAlgoConfigGetAttribute(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                                             sizeof scheme, &n_written) != CUBLAS_STATUS_SUCCESS)
        return false;
    return (splits == 0 || splits == 1) && scheme == CUBLASLT_REDUCTION_SCHEME_NONE;
}

/* The largest power of two, at most ALIGNMENT, that divides a stride of n elements. */
static uint32_t alignment_of(int n, emc_dtype dtype)
{
    const size_t n_bytes = (size_t)n * emc_dtype_bytes(dtype);
    uint32_t alignment = ALIGNMENT;

    while (n_bytes % alignment != 0)
        alignment /= 2;
    return alignment;
}

static cudaDataType data_type(emc_dtype dtype)
{
    return dtype == EMC_F32 ? CUDA_R_32F : CUDA_R_16BF;
}

static cublasStatus_t describe(cuda_gemm_plan *plan)
{
    const cuda_gemm_shape *s = &plan->choice.shape;
    const cublasOperation_t transposed = CUBLAS_OP_T, plain = CUBLAS_OP_N;
    const uint64_t rows = (uint64_t)s->rows, n = (uint64_t)s->n, k = (uint64_t)s->k;
    cublasStatus_t status = cublasLtMatmulDescInit(&plan->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);

    plan->alignment_w = plan->alignment_x = alignment_of(s->k, EMC_BF16);
    plan->alignment_d = alignment_of(s->d_stride, s->d_dtype);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulDescSetAttribute(&plan->op, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                                sizeof transposed);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatmulDescSetAttribute(&plan->op, CUBLASLT_MATMUL_DESC_TRANSB, &plain,
                                                sizeof plain);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatrixLayoutInit(&plan->w, CUDA_R_16BF, k, n, s->k);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatrixLayoutInit(&plan->x, CUDA_R_16BF, k, rows, s->k);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = cublasLtMatrixLayoutInit(&plan->d, data_type(s->d_dtype), n, rows, s->d_stride);
    return status;
}

cublasStatus_t cuda_gemm_launch(cuda_gemm *gemm, const cuda_gemm_plan *plan,
                                const cublasLtMatmulAlgo_t *algo, void *d, const void *x,
                                const void *w, const void *c)
{
    const float one = 1.0f, beta = plan->choice.shape.adds ? 1.0f : 0.0f;
    /* The library's descriptors are written by nobody but their setters. */
    cuda_gemm_plan *p = (cuda_gemm_plan *)plan;

    return cublasLtMatmul(gemm->handle, &p->op, &one, w, &p->w, x, &p->x, &beta, c, &p->d, d, &p->d,
                          algo, gemm->workspace, gemm->workspace_bytes, gemm->cuda->stream);
}

/* --- Plans ---------------------------------------------------------------------------------- */

/* Whether a choice is word for word what the library itself proposes for the shape. */
static bool is_proposed(const cuda_gemm *gemm, cuda_gemm_plan *plan)
{
    cublasLtMatmulHeuristicResult_t proposals[CUDA_GEMM_MAX_PROPOSALS];
    bool found = false;
    int n = 0;

    memset(proposals, 0, sizeof proposals);
    if (cuda_gemm_propose(gemm, plan, proposals, &n) != CUBLAS_STATUS_SUCCESS)
        return false;
    for (int i = 0; i < n && !found; i++)
        found = memcmp(&proposals[i].algo, &plan->choice.algo, sizeof plan->choice.algo) == 0;
    return found;
}

/* Whether the library takes a choice that was made by an earlier process. Its check may know less
 * than its heuristic: what the one proposes and the other refuses is taken, since else a run could
 * not go on with what it was started with. */
static bool still_runs(cuda_gemm *gemm, cuda_gemm_plan *plan)
{
    cublasLtMatmulHeuristicResult_t result;

    memset(&result, 0, sizeof result);
    if (cublasLtMatmulAlgoCheck(gemm->handle, &plan->op, &plan->w, &plan->x, &plan->d, &plan->d,
                                &plan->choice.algo, &result) == CUBLAS_STATUS_SUCCESS &&
        result.workspaceSize <= gemm->workspace_bytes && cuda_gemm_is_whole(&plan->choice.algo))
        return true;
    return is_proposed(gemm, plan);
}

/* The cache's choice, where another process has made one meanwhile, else the plan's, which is
 * added: who writes first decides, so that all who start together without a cache have the same
 * bits. */
static void agree(cuda_gemm *gemm, cuda_gemm_plan *plan)
{
    const int lock = cuda_gemm_lock_cache(gemm->cache_path);
    cuda_gemm_choices now = {0};
    bool adopted = false;

    (void)cuda_gemm_read_cache(&now, gemm->cache_path, &gemm->machine);
    for (size_t i = 0; i < now.n && !adopted; i++) {
        cuda_gemm_plan theirs = *plan;
        theirs.choice.algo = now.item[i].algo;
        adopted =
            cuda_gemm_same(&now.item[i].shape, &plan->choice.shape) && still_runs(gemm, &theirs);
        if (adopted)
            plan->choice.algo = theirs.choice.algo;
    }
    if (!adopted)
        cuda_gemm_add_to_cache(gemm->cache_path, &gemm->machine, &plan->choice);
    cuda_gemm_unlock_cache(lock);
    free(now.item);
}

static emc_status choose(cuda_gemm *gemm, const char *name, cuda_gemm_plan *plan)
{
    const cuda_gemm_shape *s = &plan->choice.shape;

    for (size_t i = 0; i < gemm->known.n; i++) {
        if (!cuda_gemm_same(&gemm->known.item[i].shape, s))
            continue;
        plan->choice.algo = gemm->known.item[i].algo;
        if (still_runs(gemm, plan))
            return EMC_OK;
        if (gemm->pinned)
            return emc_fail(EMC_ERR_CONFIG,
                            "cuda: %s: rows=%d n=%d k=%d: cuBLASLt refuses the algorithm that the "
                            "run was started with",
                            name, s->rows, s->n, s->k);
        break;
    }
    if (gemm->pinned)
        return emc_fail(EMC_ERR_CONFIG,
                        "cuda: %s: rows=%d n=%d k=%d: the run was started without such a product; "
                        "use the row counts, the model and the adapter that it was started with",
                        name, s->rows, s->n, s->k);
    EMC_TRY(cuda_gemm_measure(gemm, name, plan));
    if (gemm->cache_path)
        agree(gemm, plan);
    return EMC_OK;
}

static emc_status find_plan(cuda_gemm *gemm, const char *name, const cuda_product *product,
                            const cuda_gemm_plan **out)
{
    const cuda_gemm_shape shape = {.rows = product->rows,
                                   .n = product->n,
                                   .k = product->k,
                                   .d_stride = product->d_stride,
                                   .d_dtype = product->d_dtype,
                                   .adds = product->c != NULL};
    cuda_gemm_plan plan;

    for (size_t i = 0; i < gemm->n_plans; i++) {
        *out = &gemm->plans[i];
        if (cuda_gemm_same(&(*out)->choice.shape, &shape))
            return EMC_OK;
    }
    *out = NULL;
    if (shape.rows < 1 || shape.n < 1 || shape.k < 1 || shape.d_stride < shape.n ||
        (shape.d_dtype != EMC_BF16 && shape.d_dtype != EMC_F32))
        return emc_fail(EMC_ERR_INTERNAL, "cuda: %s: a product of rows=%d n=%d k=%d at stride %d",
                        name, shape.rows, shape.n, shape.k, shape.d_stride);
    memset(&plan, 0, sizeof plan);
    plan.choice.shape = shape;
    EMC_TRY(cuda_gemm_check(describe(&plan), name, &shape));
    EMC_TRY(emc_reserve(&gemm->plans, &gemm->plan_capacity, gemm->n_plans + 1, sizeof *gemm->plans,
                        "plans of products"));
    EMC_TRY(choose(gemm, name, &plan));
    gemm->plans[gemm->n_plans] = plan;
    *out = &gemm->plans[gemm->n_plans++];
    return EMC_OK;
}

static bool is_aligned(const void *address, uint32_t alignment)
{
    return address && (uintptr_t)address % alignment == 0;
}

emc_status cuda_gemm_run(cuda_gemm *gemm, const char *name, const cuda_product *product)
{
    const void *c = product->c ? product->c : product->d;
    const cuda_gemm_plan *plan;

    EMC_TRY(find_plan(gemm, name, product, &plan));
    if (!is_aligned(product->w, plan->alignment_w) || !is_aligned(product->x, plan->alignment_x) ||
        !is_aligned(product->d, plan->alignment_d) || !is_aligned(c, plan->alignment_d))
        return emc_fail(EMC_ERR_INTERNAL, "cuda: %s: rows=%d n=%d k=%d: a tensor is not aligned",
                        name, product->rows, product->n, product->k);
    return cuda_gemm_check(
        cuda_gemm_launch(gemm, plan, &plan->choice.algo, product->d, product->x, product->w, c),
        name, &plan->choice.shape);
}

emc_status cuda_gemm_prepare(cuda_gemm *gemm, const char *name, const cuda_product *product)
{
    const cuda_gemm_plan *plan;

    return find_plan(gemm, name, product, &plan);
}

/* --- Open and close --------------------------------------------------------------------------- */

const char *cuda_gemm_chosen(cuda_gemm *gemm)
{
    cuda_gemm_choices choices = {0};
    emc_status status = EMC_OK;

    emc_text_clear(&gemm->chosen);
    for (size_t i = 0; i < gemm->n_plans && status == EMC_OK; i++)
        status = cuda_gemm_add_choice(&choices, &gemm->plans[i].choice);
    if (status == EMC_OK)
        status = cuda_gemm_write(&gemm->chosen, &gemm->machine, &choices);
    free(choices.item);
    return status == EMC_OK ? gemm->chosen.bytes : "{}";
}

emc_status cuda_gemm_adopt(cuda_gemm *gemm, const char *chosen)
{
    cuda_gemm_choices choices = {0};

    EMC_TRY(cuda_gemm_read_chosen(&choices, chosen, &gemm->machine));
    free(gemm->known.item);
    gemm->known = choices;
    gemm->pinned = true;
    return EMC_OK;
}

static emc_status fill_machine(cuda_gemm_machine *machine, const cuda_device *cuda)
{
    struct cudaDeviceProp gpu;

    EMC_TRY(cuda_check(cudaGetDeviceProperties(&gpu, cuda->index), "GPU %d", cuda->index));
    EMC_TRY(cuda_check(cudaDriverGetVersion(&machine->driver_version), "the driver's version"));
    for (size_t i = 0; i + 1 < sizeof machine->gpu && gpu.name[i]; i++)
        machine->gpu[i] = gpu.name[i];
    machine->n_sms = cuda->n_sms;
    machine->library_version = cublasLtGetVersion();
    return EMC_OK;
}

static size_t workspace_bytes(const cuda_device *cuda, size_t memory)
{
    const size_t most = cuda->compute_capability >= 90 ? WORKSPACE_HOPPER : WORKSPACE;

    return memory / WORKSPACE_PART < most ? memory / WORKSPACE_PART : most;
}

static emc_status open_parts(cuda_gemm *gemm, const emc_cuda_options *options)
{
    size_t n_free, n_whole;
    cublasStatus_t created;

    EMC_TRY(fill_machine(&gemm->machine, gemm->cuda));
    if (options->chosen) {
        EMC_TRY(cuda_gemm_read_chosen(&gemm->known, options->chosen, &gemm->machine));
        gemm->pinned = true;
    } else if (options->cache_path) {
        EMC_TRY(emc_copy_string(&gemm->cache_path, options->cache_path));
        EMC_TRY(cuda_gemm_read_cache(&gemm->known, gemm->cache_path, &gemm->machine));
    }
    created = cublasLtCreate(&gemm->handle);
    if (created != CUBLAS_STATUS_SUCCESS)
        return cuda_check_library("cuBLASLt", cublasLtGetStatusString(created),
                                  "it cannot be used; version %zu", cublasLtGetVersion());
    EMC_TRY(cuda_check(cudaMemGetInfo(&n_free, &n_whole), "free memory"));
    gemm->workspace_bytes = workspace_bytes(gemm->cuda, n_whole);
    return cuda_take(gemm->cuda, &gemm->workspace, gemm->workspace_bytes,
                     "the workspace of products");
}

emc_status cuda_gemm_open(cuda_gemm **out, cuda_device *cuda, const emc_cuda_options *options)
{
    cuda_gemm *gemm = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&gemm, 1, sizeof *gemm, "products"));
    gemm->cuda = cuda;
    status = open_parts(gemm, options);
    if (status != EMC_OK) {
        cuda_gemm_close(gemm);
        return status;
    }
    *out = gemm;
    return EMC_OK;
}

void cuda_gemm_close(cuda_gemm *gemm)
{
    if (!gemm)
        return;
    if (gemm->handle)
        (void)cublasLtDestroy(gemm->handle);
    (void)cudaFree(gemm->workspace);
    emc_text_free(&gemm->chosen);
    free(gemm->known.item);
    free(gemm->plans);
    free(gemm->cache_path);
    free(gemm);
}
