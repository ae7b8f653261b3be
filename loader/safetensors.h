#pragma once
/* One safetensors file: a checked table of tensors over a read-only mapping. */

#include <stddef.h>

#include "base/dtype.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EMC_MAX_DIMS 4

/* Row-major without gaps. Everything in it is borrowed from the file it came from. */
typedef struct {
    const char *name;
    const char *file; /* path of its file, for messages */
    emc_dtype dtype;
    int n_dims; /* 0 for a single number */
    size_t dims[EMC_MAX_DIMS];
    const void *data; /* the format promises no alignment: copy, or read with emc_to_f32 */
    size_t n_bytes;
} emc_tensor;

typedef struct emc_safetensors emc_safetensors;

/*
 * Maps the file and checks all of its header; no tensor is copied or read. The file must not be
 * shortened while it is open.
 *
 * EMC_ERR_NOT_FOUND, EMC_ERR_IO: as emc_map_open. EMC_ERR_FORMAT, with file and tensor, what was
 * wanted and what was found: the file is shorter than its header or its tensors say, or longer;
 * the header is over 100 MB, no JSON object, or __metadata__ holds more than strings; a tensor
 * lacks a field or has one too many, comes twice, has a dtype other than F32, BF16 and F16, more
 * than EMC_MAX_DIMS dimensions, a size that its shape and dtype do not give, or bytes that
 * overlap another's or leave a hole (the reference library refuses these too).
 */
emc_status emc_safetensors_open(emc_safetensors **out, const char *path);
void emc_safetensors_close(emc_safetensors *file);

/* Tensors in the order of the header; i < count. */
size_t emc_safetensors_count(const emc_safetensors *file);
const emc_tensor *emc_safetensors_tensor(const emc_safetensors *file, size_t i);

/* NULL when there is none of that name. */
const emc_tensor *emc_safetensors_find(const emc_safetensors *file, const char *name);

/* Checks a tensor against the shape wanted of it; n_dims up to 2. EMC_ERR_FORMAT names file,
 * tensor, wanted and found. */
emc_status emc_tensor_check(const emc_tensor *tensor, int n_dims, size_t dim0, size_t dim1);

#ifdef __cplusplus
}
#endif
