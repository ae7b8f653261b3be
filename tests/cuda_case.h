#pragma once
/* What tests of the CUDA device on virtual GPUs have in common. */

#include "emt_device.h"
#include "kernels/cuda.h"
#include "virtual_gpu/vg.h"
#include "virtual_gpu/vg_cublaslt.h"

/* Before and after each test: defaults, and nothing that was taken may be left. */
int cuda_case_set_up(void **state);
int cuda_case_tear_down(void **state);

#define CUDA_CASE(test) cmocka_unit_test_setup_teardown(test, cuda_case_set_up, cuda_case_tear_down)

/* vg_defaults, changed by the caller, then vg_set. */
void cuda_case_set(const vg_options *options);

/* GPU 0, with a plan or a cache file, or NULL. */
emc_device *cuda_case_open(const char *chosen, const char *cache_path);
void cuda_case_close(emc_device *dev);

/* A matrix of normal bf16 numbers, [n, k]; `part` keeps its memory. */
emc_matrix *cuda_case_matrix(emc_device *dev, emt_weights *part, int n, int k);

/* out = x w^T of seeded numbers in rows rows, as bf16 bits [rows, n], owned by the caller: each
 * row r is the seeded row (r + first) % rows. EMC_OK or the operation's error, then *out is NULL.
 */
emc_status cuda_case_product(emc_device *dev, uint16_t **out, int rows, int n, int k, int first);
