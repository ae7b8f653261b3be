#pragma once
/* The options on several GPUs, which annotate, evaluate and bench have in common. */

#include "cli/options.h"
#include "runtime/emcell.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the options are parsed into; zero-initialised. */
typedef struct {
    int tensor_parallel_size;
    int device_timeout; /* seconds */
    const char *all_reduce_dtype;
} cli_gpu_options;

/* Rows of an option table. */
/* clang-format off */
#define CLI_GPU_OPTIONS(gpus)                                                                      \
    {CLI_COUNT, 0, "tensor-parallel-size", "N", &(gpus).tensor_parallel_size,                      \
     "GPUs that hold one model between them (1), for models that do not\n"                         \
     "fit on one; the GPUs that are left are further models"},                                     \
    {CLI_STRING, 0, "all-reduce-dtype", "NAME", &(gpus).all_reduce_dtype,                          \
     "of sums over these GPUs: auto (the model's), float32"},                                      \
    {CLI_COUNT, 0, "device-timeout", "SECONDS", &(gpus).device_timeout,                            \
     "the longest that one of them waits for another (60)"}
/* clang-format on */

/*
 * Makes sense of them; model->device has been set. Where NCCL will be used it is told, by the
 * environment, which is its only way, to add in one order: unless the user has said otherwise,
 * which is warned of. False after printing.
 */
bool cli_gpus(const char *command, const cli_gpu_options *gpus, emc_model_options *model);

#ifdef __cplusplus
}
#endif
