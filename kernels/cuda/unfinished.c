/* Stands for operations that are not written yet, so that the others can be tested. Goes away. */
#include "kernels/cuda/gemm.h"
#define WEAK __attribute__((weak))
#define NONE return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__);
WEAK emc_status cuda_gemm_open(cuda_gemm **out, cuda_device *cuda, const emc_cuda_options *options) { (void)out; (void)cuda; (void)options; return EMC_OK; }
WEAK void cuda_gemm_close(cuda_gemm *gemm) { (void)gemm; }
WEAK const char *cuda_gemm_chosen(cuda_gemm *gemm) { (void)gemm; return "{}"; }
WEAK emc_status cuda_gemm_run(cuda_gemm *g, const char *n, const cuda_product *p) { (void)g; (void)n; (void)p; NONE }
WEAK emc_status cuda_gemm_prepare(cuda_gemm *g, const char *n, const cuda_product *p) { (void)g; (void)n; (void)p; NONE }
WEAK emc_status cuda_matrix_open(emc_device *dev, emc_matrix **out, const emc_matrix_part *parts, int n_parts, int k) { (void)dev; (void)out; (void)parts; (void)n_parts; (void)k; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK void cuda_matrix_close(emc_device *dev, emc_matrix *matrix) { (void)dev; (void)matrix;  }
WEAK emc_status cuda_lora_open(emc_device *dev, emc_lora **out, const emc_lora_spec *spec) { (void)dev; (void)out; (void)spec; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK void cuda_lora_close(emc_device *dev, emc_lora *lora) { (void)dev; (void)lora;  }
WEAK emc_status cuda_linear(emc_device *dev, const emc_linear_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_head(emc_device *dev, const emc_head_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_prepare_linear(emc_device *dev, const emc_linear_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_prepare_head(emc_device *dev, const emc_head_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
