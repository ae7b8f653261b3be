/* How do weights and their low-rank updates lie on the device? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "kernels/cuda/upload.h"

/* --- Matrices --------------------------------------------------------------------------------- */

static emc_status send_parts(cuda_device *cuda, emc_matrix *matrix, const emc_matrix_part *parts,
                             int n_parts)
{
    uint16_t *d = matrix->d;

    for (int i = 0; i < n_parts; i++) {
        const size_t n = (size_t)parts[i].n_rows * (size_t)matrix->k;
        if (parts[i].data)
            EMC_TRY(cuda_upload_add(cuda->upload, d, parts[i].data, parts[i].dtype, n));
        d += n;
    }
    return EMC_OK;
}

emc_status cuda_matrix_open(emc_device *dev, emc_matrix **out, const emc_matrix_part *parts,
                            int n_parts, int k)
{
    cuda_device *cuda = cuda_current(dev);
    emc_matrix *matrix = NULL;
    emc_status status;
    size_t n_bytes;
    int n_rows = 0;
    char what[64];

    *out = NULL;
    EMC_TRY(emc_check_matrix(parts, n_parts, k, true, &n_rows));
    (void)snprintf(what, sizeof what, "weights [%d, %d]", n_rows, k);
    if (!emc_size_mul(&n_bytes, (size_t)n_rows, (size_t)k) ||
        !emc_size_mul(&n_bytes, n_bytes, sizeof(uint16_t)))
        return emc_fail(EMC_ERR_ARG, "matrix_open: %s are too large", what);
    EMC_TRY(emc_alloc(&matrix, 1, sizeof *matrix, "a matrix"));
    matrix->n_rows = n_rows;
    matrix->k = k;
    status = cuda_take(cuda, &matrix->d, n_bytes, what);
    if (status == EMC_OK)
        status = send_parts(cuda, matrix, parts, n_parts);
    if (status != EMC_OK) {
        cuda_matrix_close(dev, matrix);
        return status;
    }
    *out = matrix;
    return EMC_OK;
}

void cuda_matrix_close(emc_device *dev, emc_matrix *matrix)
{
    cuda_device *cuda = cuda_current(dev);

    if (!matrix)
        return;
    cuda_upload_drain(cuda->upload); /* threads may still be copying to it */
    (void)cudaFree(matrix->d);
    free(matrix);
}

/* --- Low-rank updates ------------------------------------------------------------------------- */

/* A copy of [rows, columns] as bf16 with zeros beside and below it, on the device. */
static emc_status send_padded(emc_device *dev, emc_matrix *out, const float *from, int rows,
                              int columns, int padded_rows, int padded_columns)
{
    uint16_t *copy = NULL;
    emc_status status;
    size_t n;

    if (!emc_size_mul(&n, (size_t)padded_rows, (size_t)padded_columns) || n > SIZE_MAX / 2)
        return emc_fail(EMC_ERR_ARG, "lora_open: [%d, %d] is too large", rows, columns);
    EMC_TRY(emc_alloc(&copy, n, sizeof *copy, "a low-rank update"));
    for (int r = 0; r < rows; r++)
        emc_from_f32(copy + (size_t)r * (size_t)padded_columns, EMC_BF16,
                     from + (size_t)r * (size_t)columns, (size_t)columns);
    out->n_rows = padded_rows;
    out->k = padded_columns;
    status = cuda_take((cuda_device *)dev, &out->d, n * sizeof *copy, "a low-rank update");
    if (status == EMC_OK)
        status = dev->ops->upload(dev, out->d, copy, n * sizeof *copy);
    free(copy);
    return status;
}

static emc_status send_update(emc_device *dev, emc_lora *lora, const emc_lora_spec *spec)
{
    const size_t scale_bytes = (size_t)spec->n * sizeof(float);

    EMC_TRY(send_padded(dev, &lora->a, spec->a, spec->rank, spec->k, lora->padded, spec->k));
    EMC_TRY(send_padded(dev, &lora->b, spec->b, spec->n, spec->rank, spec->n, lora->padded));
    if (!spec->column_scale)
        return EMC_OK;
    EMC_TRY(cuda_take((cuda_device *)dev, (void **)&lora->column_scale, scale_bytes,
                      "a low-rank update's column scale"));
    return dev->ops->upload(dev, lora->column_scale, spec->column_scale, scale_bytes);
}

emc_status cuda_lora_open(emc_device *dev, emc_lora **out, const emc_lora_spec *spec)
{
    emc_lora *lora = NULL;
    emc_status status;

    *out = NULL;
    (void)cuda_current(dev);
    EMC_TRY(emc_check_lora(spec));
    if (spec->rank > INT32_MAX - CUDA_RANK_MULTIPLE)
        return emc_fail(EMC_ERR_ARG, "lora_open: rank=%d, need at most %d", spec->rank,
                        INT32_MAX - CUDA_RANK_MULTIPLE);
    EMC_TRY(emc_alloc(&lora, 1, sizeof *lora, "a low-rank update"));
    lora->n = spec->n;
    lora->k = spec->k;
    lora->rank = spec->rank;
    lora->padded = cuda_blocks(spec->rank, CUDA_RANK_MULTIPLE) * CUDA_RANK_MULTIPLE;
    status = send_update(dev, lora, spec);
    if (status != EMC_OK) {
        cuda_lora_close(dev, lora);
        return status;
    }
    *out = lora;
    return EMC_OK;
}

void cuda_lora_close(emc_device *dev, emc_lora *lora)
{
    if (!lora)
        return;
    (void)cuda_current(dev);
    (void)cudaFree(lora->a.d);
    (void)cudaFree(lora->b.d);
    (void)cudaFree(lora->column_scale);
    free(lora);
}
