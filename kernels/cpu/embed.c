/* out[r] = table[ids[r]] (+ low-rank update): a copy with a change of dtype. */
#include "kernels/cpu/device.h"
#include "kernels/cpu/math.h"

#define ROWS_PER_ITEM 16
#define PIECE         256 /* values converted at a time */

typedef struct {
    emc_dtype dtype;
    void *out;
    const emc_matrix *table;
    const emc_lora *lora;
    const int32_t *ids;
    int rows;
} job;

static void embed_row(const job *j, int row)
{
    const int id = j->ids[row];
    const cpu_part *part = cpu_matrix_part(j->table, id);
    const size_t dim = (size_t)j->table->k, size = emc_dtype_bytes(part->part.dtype);
    const char *src = (const char *)part->part.data + (size_t)(id - part->first) * dim * size;
    const emc_lora *lora = j->lora;
    float piece[PIECE];

    for (size_t c = 0; c < dim; c += PIECE) {
        const size_t n = dim - c < PIECE ? dim - c : PIECE;
        emc_to_f32(piece, src + c * size, part->part.dtype, n);
        if (lora && j->dtype == EMC_BF16) /* the weight counts as converted to T */
            for (size_t i = 0; i < n; i++)
                piece[i] = emc_bf16_to_f32(emc_f32_to_bf16(piece[i]));
        for (int i = 0; lora && i < lora->rank; i++) {
            const float a = lora->a[(size_t)i * (size_t)lora->k + (size_t)id];
            const float *b = lora->b + (size_t)i * ((size_t)lora->n + CPU_BLOCK) + c;
            for (size_t d = 0; d < n; d++)
                piece[d] += a * b[d];
        }
        cpu_narrow(cpu_at_mut(j->out, j->dtype, (size_t)row * dim + c), j->dtype, piece, n);
    }
}

static emc_status embed_rows(void *context, int worker, int item)
{
    const job *j = context;
    const int row0 = item * ROWS_PER_ITEM;

    (void)worker;
    for (int row = row0; row < row0 + ROWS_PER_ITEM && row < j->rows; row++)
        embed_row(j, row);
    return EMC_OK;
}

emc_status cpu_embed(emc_device *dev, void *out, const emc_matrix *table, const emc_lora *lora,
                     const int32_t *ids, int rows)
{
    job j = {dev->dtype, out, table, lora, ids, rows};

    EMC_TRY(emc_check_embed(out, cpu_matrix_shape(table), cpu_lora_shape(lora),
                            lora && lora->column_scale, ids, rows));
    return cpu_pool_run(cpu_of(dev)->pool, embed_rows, &j, cpu_items(rows, ROWS_PER_ITEM));
}
