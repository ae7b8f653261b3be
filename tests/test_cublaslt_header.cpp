// Do the virtual GPU's names for cuBLASLt have the values of NVIDIA's header? Compiled where a
// toolkit with that header is; elsewhere the test says that it has not run.
#include <stdio.h>

#ifdef TEST_TOOLKIT_HEADER
#include <cuda_runtime_api.h>
#include <library_types.h>
#include <stddef.h>
#include <stdint.h>
#include TEST_TOOLKIT_HEADER

#define VG_CUBLASLT_TYPES_ONLY
namespace ours
{
#include "virtual_gpu/include/cublasLt.h"
}

#define SAME(name) static_assert((int)ours::name == (int)::name, #name)
#define SAME_SIZE(type)                                                                            \
    static_assert(sizeof(ours::type) == sizeof(::type) && alignof(ours::type) == alignof(::type),  \
                  #type)
#define SAME_MEMBER(type, member)                                                                  \
    static_assert(offsetof(ours::type, member) == offsetof(::type, member) &&                      \
                      sizeof(ours::type::member) == sizeof(::type::member),                        \
                  #type "." #member)

SAME(CUBLAS_STATUS_SUCCESS);
SAME(CUBLAS_STATUS_NOT_INITIALIZED);
SAME(CUBLAS_STATUS_ALLOC_FAILED);
SAME(CUBLAS_STATUS_INVALID_VALUE);
SAME(CUBLAS_STATUS_ARCH_MISMATCH);
SAME(CUBLAS_STATUS_EXECUTION_FAILED);
SAME(CUBLAS_STATUS_INTERNAL_ERROR);
SAME(CUBLAS_STATUS_NOT_SUPPORTED);
SAME(CUBLAS_OP_N);
SAME(CUBLAS_OP_T);
SAME(CUBLAS_COMPUTE_32F);
SAME(CUBLASLT_MATMUL_DESC_TRANSA);
SAME(CUBLASLT_MATMUL_DESC_TRANSB);
SAME(CUBLASLT_REDUCTION_SCHEME_NONE);
SAME(CUBLASLT_REDUCTION_SCHEME_INPLACE);
SAME(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
SAME(CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE);
SAME(CUBLASLT_REDUCTION_SCHEME_MASK);
SAME(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
SAME(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
SAME(CUBLASLT_ALGO_CONFIG_ID);
SAME(CUBLASLT_ALGO_CONFIG_TILE_ID);
SAME(CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
SAME(CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME);
SAME(CUBLASLT_ALGO_CONFIG_STAGES_ID);
SAME_SIZE(cublasStatus_t);
SAME_SIZE(cublasOperation_t);
SAME_SIZE(cublasComputeType_t);
SAME_SIZE(cublasLtHandle_t);
SAME_SIZE(cublasLtMatrixLayoutOpaque_t);
SAME_SIZE(cublasLtMatmulDescOpaque_t);
SAME_SIZE(cublasLtMatmulPreferenceOpaque_t);
SAME_SIZE(cublasLtMatmulAlgo_t);
SAME_SIZE(cublasLtMatmulHeuristicResult_t);
SAME_MEMBER(cublasLtMatmulHeuristicResult_t, algo);
SAME_MEMBER(cublasLtMatmulHeuristicResult_t, workspaceSize);
SAME_MEMBER(cublasLtMatmulHeuristicResult_t, state);
SAME_MEMBER(cublasLtMatmulHeuristicResult_t, wavesCount);

int main()
{
    printf("compared with " TEST_TOOLKIT_HEADER "\n");
    return 0;
}
#else
int main()
{
    printf("NOT RUN: no cublasLt.h of a CUDA toolkit is at hand\n");
    return 77;
}
#endif
