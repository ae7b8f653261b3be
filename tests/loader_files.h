#pragma once
/* Checkpoint and adapter files that tests make up: true headers over sparse, empty weights. */

#include <stdbool.h>
#include <stddef.h>

#include "loader/config.h"

typedef struct {
    char name[160];
    const char *dtype; /* "BF16"; any text, to test refusals */
    int n_dims;
    size_t dims[4];
    int shard; /* for callers */
} file_tensor;

/* A folder under emt_temp_dir, empty. Static storage, good for the next eight calls. */
const char *files_folder(const char *name);

/* Writes dir/name with this header and n_data bytes of zeros that take no room on disk. */
void files_write_raw(const char *dir, const char *name, const char *header, size_t n_data);

/* A file of n_data zeros after the header of these tensors; those of another shard are left out
 * (-1: all are in). */
void files_write(const char *dir, const char *name, const file_tensor *tensors, size_t n,
                 int shard);

void files_write_text(const char *dir, const char *name, const char *text);

/* The tensors of a Qwen3 model of these sizes, BF16, with lm_head.weight when `head`. The caller
 * frees the list. */
file_tensor *files_qwen3(size_t *n, const emc_model_config *config, bool head);

/* The one of that name, which must be there. */
file_tensor *files_find(file_tensor *tensors, size_t n, const char *name);
