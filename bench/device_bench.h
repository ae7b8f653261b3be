#pragma once
/*
 * What benches of single operations share: a device, buffers beyond the caches, times by the
 * device's own events, and the ceilings of the machine, measured in the same run.
 *
 *   bench_x [--device cpu|cuda|cuda:N] [--quick]
 *
 * Without --device it is the first GPU, or else the CPU. Output is Markdown. Activations are bf16.
 */

#include "kernels/ops.h"

#define DEVICE_BENCH_MAX_COPIES 32

typedef struct {
    emc_device *dev;
    bool quick; /* small sizes and one repetition: whether it runs, not how fast */
    bool is_gpu;
    int n_sms;            /* 0: no GPU */
    double copy_per_s;    /* bytes read and written by a large copy; 0: not measured yet */
    double product_per_s; /* operations of a large product; likewise */
    void *memory[256];    /* what device_bench_take gave */
    int n_memory;
    uint16_t *random; /* host: normal numbers in bf16 */
} device_bench;

/* One call of what is measured, on the copy-th set of buffers. */
typedef emc_status (*device_bench_call)(void *context, int copy);

typedef struct {
    double seconds; /* of one call: the median of the repetitions */
    double spread;  /* slowest less fastest, as a share of it */
} device_bench_time;

/* The body of a bench's main: opens the device, prints it, calls `run` and prints its error.
 * Returns the exit code. */
int device_bench_main(int argc, char **argv, const char *name,
                      emc_status (*run)(device_bench *bench));

/* Rows that suit the device: one or the other, or 3 with --quick. */
int device_bench_rows(const device_bench *bench, int on_gpu, int on_cpu);

/* How many sets of buffers of n_bytes each go well beyond the caches. */
int device_bench_copies(const device_bench *bench, size_t n_bytes);

/* Memory of the device until device_bench_release: zeros; normal numbers times 2^exponent in bf16;
 * these 32-bit values. */
emc_status device_bench_take(device_bench *bench, void **out, size_t n_bytes);
emc_status device_bench_normals(device_bench *bench, void **out, size_t n, int exponent);
emc_status device_bench_words(device_bench *bench, void **out, const void *words, size_t n);
void device_bench_release(device_bench *bench);

/* Host memory with n normal numbers times 2^exponent in bf16, for matrices. The caller frees it. */
emc_status device_bench_host_normals(device_bench *bench, uint16_t **out, size_t n, int exponent);

/* Warms up, then takes the median over repetitions of many calls each, the sets in turn. */
emc_status device_bench_measure(device_bench *bench, device_bench_call call, void *context,
                                int n_copies, device_bench_time *out);

/* Each measures its ceiling, where that has not been done, and prints the head of a table. */
emc_status device_bench_bytes_table(device_bench *bench);
emc_status device_bench_flops_table(device_bench *bench);

/* The same without a table. */
emc_status device_bench_product_ceiling(device_bench *bench);

/* A row of it. The share is that of the ceiling. */
void device_bench_bytes_row(const device_bench *bench, const char *what, device_bench_time time,
                            double n_bytes);
void device_bench_flops_row(const device_bench *bench, const char *what, device_bench_time time,
                            double n_operations);
