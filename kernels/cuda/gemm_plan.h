#pragma once
/* What the files about products share: a shape, the algorithm that was chosen for it, and what
 * that choice was made on. */

#include <cublasLt.h>

#include "base/text.h"
#include "kernels/cuda/gemm.h"

/* What decides which algorithm is run. */
typedef struct {
    int rows, n, k;
    int d_stride;
    emc_dtype d_dtype;
    bool adds; /* c is there */
} cuda_gemm_shape;

typedef struct {
    cuda_gemm_shape shape;
    cublasLtMatmulAlgo_t algo;
} cuda_gemm_choice;

/* What a choice holds good for. */
typedef struct {
    char gpu[96];
    int n_sms;
    int driver_version;
    size_t library_version;
} cuda_gemm_machine;

typedef struct {
    cuda_gemm_choice *item;
    size_t n, capacity;
} cuda_gemm_choices;

/* A choice, ready to be run. */
typedef struct {
    cuda_gemm_choice choice;
    cublasLtMatmulDescOpaque_t op;
    cublasLtMatrixLayoutOpaque_t w, x, d;
    uint32_t alignment_w, alignment_x, alignment_d; /* of addresses, in bytes */
} cuda_gemm_plan;

struct cuda_gemm {
    cuda_device *cuda;
    cublasLtHandle_t handle;
    void *workspace;
    size_t workspace_bytes;
    cuda_gemm_machine machine;
    cuda_gemm_plan *plans;
    size_t n_plans, plan_capacity;
    cuda_gemm_choices known; /* from options.chosen or the cache file */
    bool pinned;             /* these and no other */
    char *cache_path;        /* or NULL */
    emc_text chosen;
};

/* EMC_OK for CUBLAS_STATUS_SUCCESS, else EMC_ERR_DEVICE with the product's name and shape. */
emc_status cuda_gemm_check(cublasStatus_t status, const char *name, const cuda_gemm_shape *shape);

bool cuda_gemm_same(const cuda_gemm_shape *a, const cuda_gemm_shape *b);

/* False for an algorithm that cuts the sum over k into parts. */
bool cuda_gemm_is_whole(const cublasLtMatmulAlgo_t *algo);

#define CUDA_GEMM_MAX_PROPOSALS 32

/* gemm_measure.c: what the library's heuristic proposes for a plan's shape and we would run, the
 * one it thinks fastest first; room for CUDA_GEMM_MAX_PROPOSALS. */
cublasStatus_t cuda_gemm_propose(const cuda_gemm *gemm, cuda_gemm_plan *plan,
                                 cublasLtMatmulHeuristicResult_t *proposals, int *n);

/* gemm_measure.c: plan->choice.algo becomes the fastest one allowed. Waits for the device. */
emc_status cuda_gemm_measure(cuda_gemm *gemm, const char *name, cuda_gemm_plan *plan);

/* Runs plan with `algo` on these addresses. c is d where nothing is added. */
cublasStatus_t cuda_gemm_launch(cuda_gemm *gemm, const cuda_gemm_plan *plan,
                                const cublasLtMatmulAlgo_t *algo, void *d, const void *x,
                                const void *w, const void *c);

/* --- gemm_cache.c: choices as text ------------------------------------------------------------ */

/* One machine's choices as an object of JSON, without a line's end. */
emc_status cuda_gemm_write(emc_text *text, const cuda_gemm_machine *machine,
                           const cuda_gemm_choices *choices);

/* What emc_cuda_options.chosen holds. EMC_ERR_CONFIG: damaged, or of another machine. */
emc_status cuda_gemm_read_chosen(cuda_gemm_choices *out, const char *text,
                                 const cuda_gemm_machine *machine);

/* What the cache file holds for this machine: nothing, where it is absent, damaged, or has it
 * with other versions. EMC_ERR_NOMEM alone. */
emc_status cuda_gemm_read_cache(cuda_gemm_choices *out, const char *path,
                                const cuda_gemm_machine *machine);

/* From here to the unlock no other process or device has the cache file locked; it waits for them.
 * -1, which is no lock, where the folder or its file system has none: choices of processes that
 * start at the same time may then differ, or be lost. */
int cuda_gemm_lock_cache(const char *path);
void cuda_gemm_unlock_cache(int lock); /* -1 is fine */

/* Adds a choice to the cache file, or puts it in that shape's place; other machines' stay. A file
 * that cannot be written is left alone: measuring again is all that is lost. */
void cuda_gemm_add_to_cache(const char *path, const cuda_gemm_machine *machine,
                            const cuda_gemm_choice *choice);

emc_status cuda_gemm_add_choice(cuda_gemm_choices *choices, const cuda_gemm_choice *choice);
