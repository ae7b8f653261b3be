/*
 * Does a row's product depend on the row alone on this machine? Everything that is promised about
 * answers rests on it, and a library underneath may choose another routine for another shape.
 */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "runtime/engine.h"

#define ROWS 256 /* two tiles, so that a row also changes its tile */

/* Any fixed numbers of both signs do; a linear congruential generator gives them. */
static void fill(float *x, size_t n)
{
    uint32_t state = 1;

    for (size_t i = 0; i < n; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-30f;
    }
}

/* Where row r goes: 77 is odd, so this reaches every one of ROWS places. */
static int moved(int r)
{
    return (r * 77 + 13) % ROWS;
}

typedef struct {
    const emc_model *model;
    void *d_x;
    void *d_y;
    char *x;       /* T [ROWS, k] */
    char *turned;  /* the same rows in another order */
    char *y;       /* T [ROWS, n] */
    char *y_again; /* of `turned`, or of one row */
    int n;
    int k;
    size_t value;
} self_check;

static emc_status product(const self_check *check, char *y, const char *x, int rows)
{
    emc_device *dev = check->model->dev;
    const emc_model_matrix *matrix = &check->model->layers[0].qkv;
    const emc_linear_args args = {.out = check->d_y,
                                  .x = check->d_x,
                                  .w = matrix->w,
                                  .n = check->n,
                                  .lora = matrix->lora,
                                  .rows = rows};

    EMC_TRY(dev->ops->upload(dev, check->d_x, x, (size_t)rows * check->k * check->value));
    EMC_TRY(dev->ops->linear(dev, &args));
    return dev->ops->download(dev, y, check->d_y, (size_t)rows * check->n * check->value);
}

static emc_status compare(const self_check *check)
{
    const size_t x_row = check->k * check->value, y_row = check->n * check->value;

    for (int r = 0; r < ROWS; r++)
        memcpy(check->turned + (size_t)moved(r) * x_row, check->x + (size_t)r * x_row, x_row);
    EMC_TRY(product(check, check->y, check->x, ROWS));
    EMC_TRY(product(check, check->y_again, check->turned, ROWS));
    for (int r = 0; r < ROWS; r++)
        if (memcmp(check->y + (size_t)r * y_row, check->y_again + (size_t)moved(r) * y_row,
                   y_row) != 0)
            return emc_fail(EMC_ERR_DEVICE,
                            "self-check: row %d of a product has other bits at place %d; results "
                            "would depend on the batch, so this device is not used (%s)",
                            r, moved(r), check->model->dev->description);
    EMC_TRY(product(check, check->y_again, check->x, 1));
    if (memcmp(check->y, check->y_again, y_row) != 0)
        return emc_fail(EMC_ERR_DEVICE,
                        "self-check: a row alone has other bits than among %d; results would "
                        "depend on the batch, so this device is not used (%s)",
                        ROWS, check->model->dev->description);
    return EMC_OK;
}

static emc_status prepare(self_check *check)
{
    emc_device *dev = check->model->dev;
    const size_t n_x = (size_t)ROWS * check->k, n_y = (size_t)ROWS * check->n;
    float *values;

    EMC_TRY(dev->ops->alloc(dev, &check->d_x, n_x * check->value, "the self-check"));
    EMC_TRY(dev->ops->alloc(dev, &check->d_y, n_y * check->value, "the self-check"));
    EMC_TRY(emc_alloc(&check->x, n_x, check->value, "the self-check"));
    EMC_TRY(emc_alloc(&check->turned, n_x, check->value, "the self-check"));
    EMC_TRY(emc_alloc(&check->y, n_y, check->value, "the self-check"));
    EMC_TRY(emc_alloc(&check->y_again, n_y, check->value, "the self-check"));
    EMC_TRY(emc_alloc(&values, n_x, sizeof *values, "the self-check"));
    fill(values, n_x);
    emc_from_f32(check->x, dev->dtype, values, n_x);
    free(values);
    return EMC_OK;
}

emc_status emc_engine_self_check(const emc_model *model)
{
    const emc_model_info *info = &model->info;
    self_check check = {.model = model,
                        .n = (info->n_heads + 2 * info->n_kv_heads) * info->head_dim,
                        .k = info->hidden,
                        .value = emc_dtype_bytes(model->dev->dtype)};
    emc_status status = prepare(&check);

    if (status == EMC_OK)
        status = compare(&check);
    model->dev->ops->release(model->dev, check.d_x);
    model->dev->ops->release(model->dev, check.d_y);
    free(check.x);
    free(check.turned);
    free(check.y);
    free(check.y_again);
    return status;
}
