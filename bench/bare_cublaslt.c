#include "bare_cublaslt.h"

#ifdef BENCH_HAS_CUBLASLT

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#define MAX_ALGORITHMS  32
#define CALLS           5
#define REPETITIONS     3
#define WORKSPACE_BYTES ((size_t)64 << 20)

typedef struct {
    cublasLtHandle_t handle;
    cublasLtMatmulDescOpaque_t operation;
    cublasLtMatrixLayoutOpaque_t w, x, y;
    cublasLtMatmulPreferenceOpaque_t preference;
    cudaEvent_t begin, end;
    void *workspace;
} product;

#define TRY_LT(call)                                                                               \
    do {                                                                                           \
        const cublasStatus_t status_ = (call);                                                     \
        if (status_ != CUBLAS_STATUS_SUCCESS)                                                      \
            return emc_fail(EMC_ERR_DEVICE, "%s: %s", #call, cublasLtGetStatusString(status_));    \
    } while (0)

#define TRY_CUDA(call)                                                                             \
    do {                                                                                           \
        const cudaError_t error_ = (call);                                                         \
        if (error_ != cudaSuccess)                                                                 \
            return emc_fail(EMC_ERR_DEVICE, "%s: %s", #call, cudaGetErrorString(error_));          \
    } while (0)

bool bare_cublaslt_is_there(void)
{
    return true;
}

/* The library counts columns first: y^T = (w^T)^T x^T. */
static emc_status open_product(product *p, int rows, int n, int k)
{
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const size_t workspace_bytes = WORKSPACE_BYTES;
    const uint32_t alignment = 16;
    const cublasLtMatmulPreferenceAttributes_t of_matrices[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};

    TRY_LT(cublasLtCreate(&p->handle));
    TRY_LT(cublasLtMatmulDescInit(&p->operation, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    TRY_LT(cublasLtMatmulDescSetAttribute(&p->operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                          sizeof transposed));
    TRY_LT(cublasLtMatrixLayoutInit(&p->w, CUDA_R_16BF, (uint64_t)k, (uint64_t)n, k));
    TRY_LT(cublasLtMatrixLayoutInit(&p->x, CUDA_R_16BF, (uint64_t)k, (uint64_t)rows, k));
    TRY_LT(cublasLtMatrixLayoutInit(&p->y, CUDA_R_16BF, (uint64_t)n, (uint64_t)rows, n));
    TRY_LT(cublasLtMatmulPreferenceInit(&p->preference));
    TRY_LT(cublasLtMatmulPreferenceSetAttribute(&p->preference,
                                                CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                &workspace_bytes, sizeof workspace_bytes));
    for (size_t i = 0; i < EMC_COUNT(of_matrices); i++)
        TRY_LT(cublasLtMatmulPreferenceSetAttribute(&p->preference, of_matrices[i], &alignment,
                                                    sizeof alignment));
    TRY_CUDA(cudaMalloc(&p->workspace, workspace_bytes));
    TRY_CUDA(cudaEventCreate(&p->begin));
    TRY_CUDA(cudaEventCreate(&p->end));
    return EMC_OK;
}

static void close_product(product *p)
{
    if (p->begin)
        (void)cudaEventDestroy(p->begin);
    if (p->end)
        (void)cudaEventDestroy(p->end);
    (void)cudaFree(p->workspace);
    if (p->handle)
        (void)cublasLtDestroy(p->handle);
}

static emc_status time_calls(product *p, const cublasLtMatmulAlgo_t *algorithm, void *y,
                             const void *x, const void *w, double *seconds)
{
    const float one = 1.0f, zero = 0.0f;
    float ms;

    TRY_CUDA(cudaEventRecord(p->begin, NULL));
    for (int i = 0; i < CALLS; i++)
        TRY_LT(cublasLtMatmul(p->handle, &p->operation, &one, w, &p->w, x, &p->x, &zero, y, &p->y,
                              y, &p->y, algorithm, p->workspace, WORKSPACE_BYTES, NULL));
    TRY_CUDA(cudaEventRecord(p->end, NULL));
    TRY_CUDA(cudaEventSynchronize(p->end));
    TRY_CUDA(cudaEventElapsedTime(&ms, p->begin, p->end));
    *seconds = 1e-3 * (double)ms / CALLS;
    return EMC_OK;
}

static emc_status find_best(product *p, void *y, const void *x, const void *w, double *seconds)
{
    cublasLtMatmulHeuristicResult_t offered[MAX_ALGORITHMS];
    int n_offered = 0;

    TRY_LT(cublasLtMatmulAlgoGetHeuristic(p->handle, &p->operation, &p->w, &p->x, &p->y, &p->y,
                                          &p->preference, MAX_ALGORITHMS, offered, &n_offered));
    *seconds = 0.0;
    for (int i = 0; i < n_offered; i++) {
        /* Some are offered that then refuse the work. */
        bool works = offered[i].state == CUBLAS_STATUS_SUCCESS;
        for (int repetition = 0; works && repetition <= REPETITIONS; repetition++) {
            double this = 0.0;
            works = time_calls(p, &offered[i].algo, y, x, w, &this) == EMC_OK;
            if (works && repetition > 0 && (*seconds == 0.0 || this < *seconds))
                *seconds = this;
        }
    }
    return *seconds > 0.0
               ? EMC_OK
               : emc_fail(EMC_ERR_DEVICE, "no algorithm of cuBLASLt's %d works", n_offered);
}

emc_status bare_cublaslt_best(void *y, const void *x, const void *w, int rows, int n, int k,
                              double *seconds)
{
    product p = {0};
    emc_status status = open_product(&p, rows, n, k);

    if (status == EMC_OK)
        status = find_best(&p, y, x, w, seconds);
    close_product(&p);
    return status;
}

#else

bool bare_cublaslt_is_there(void)
{
    return false;
}

emc_status bare_cublaslt_best(void *y, const void *x, const void *w, int rows, int n, int k,
                              double *seconds)
{
    (void)y;
    (void)x;
    (void)w;
    (void)rows;
    *seconds = 0.0;
    return emc_fail(EMC_ERR_DEVICE, "the build has no cuBLASLt for [%d, %d]", n, k);
}

#endif
