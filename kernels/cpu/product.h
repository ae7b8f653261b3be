#pragma once
/* Rows times weights, tile by tile: what linear and head have in common. */

#include "kernels/cpu/device.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A finished tile: y[r][c], at row stride CPU_BLOCK, for rows row0 + r of the round and columns
 * first + column0 + c of the matrix, with the low-rank update in it. */
typedef struct {
    const float *y;
    int row0, n_rows;
    int column0, n_columns;
} cpu_tile;

typedef void (*cpu_tile_done)(void *context, const cpu_tile *tile);

typedef struct {
    const void *x; /* T [rows, k] */
    int rows;      /* at most CPU_ROUND_ROWS */
    const emc_matrix *w;
    int first, n;
    const emc_lora *lora;
    int slab; /* blocks of columns that one thread takes, in their order */
    cpu_tile_done done;
    void *context;
} cpu_product_args;

/* Calls `done` once for every tile. The tiles of one slab and one row come in column order. */
emc_status cpu_product(cpu_device *cpu, const cpu_product_args *args);

#ifdef __cplusplus
}
#endif
