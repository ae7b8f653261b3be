/* Stands for operations that are not written yet, so that the others can be tested. Goes away. */
#include "kernels/cuda/gemm.h"
#define WEAK __attribute__((weak))
#define NONE return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__);
WEAK emc_status cuda_check_product(const char *name, const void *x, int rows, const emc_matrix *w, int first, int n, const emc_lora *lora) { (void)name; (void)x; (void)rows; (void)w; (void)first; (void)n; (void)lora; return emc_fail(EMC_ERR_INTERNAL, "cuda: %s is not written yet", __func__); }
