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
WEAK emc_status cuda_embed(emc_device *dev, void *out, const emc_matrix *table, const emc_lora *lora, const int32_t *ids, int rows) { (void)dev; (void)out; (void)table; (void)lora; (void)ids; (void)rows; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_rmsnorm(emc_device *dev, void *out, const void *x, const void *weight, int rows, int dim, float eps) { (void)dev; (void)out; (void)x; (void)weight; (void)rows; (void)dim; (void)eps; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_add_rmsnorm(emc_device *dev, void *out, void *x, const void *y, const void *weight, int rows, int dim, float eps) { (void)dev; (void)out; (void)x; (void)y; (void)weight; (void)rows; (void)dim; (void)eps; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_linear(emc_device *dev, const emc_linear_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_rope_store(emc_device *dev, const emc_rope_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_swiglu(emc_device *dev, void *out, const void *gate_up, int rows, int ffn) { (void)dev; (void)out; (void)gate_up; (void)rows; (void)ffn; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_gather_rows(emc_device *dev, void *out, const void *x, const int32_t *index, int n, int dim) { (void)dev; (void)out; (void)x; (void)index; (void)n; (void)dim; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_head(emc_device *dev, const emc_head_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_prepare_linear(emc_device *dev, const emc_linear_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
WEAK emc_status cuda_prepare_head(emc_device *dev, const emc_head_args *args) { (void)dev; (void)args; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
