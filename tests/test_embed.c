/* embed on every device: rows of a table in any dtype, with a low-rank update. */
#include <math.h>
#include <stdlib.h>

#include "emt_device.h"

typedef struct {
    int rows, vocab, dim, rank;
    emc_dtype dtype;
    size_t offset;
    const char *reaches;
} embed_case;

static const embed_case cases[] = {
    {1, 1, 1, 0, EMC_BF16, 0, "one value"},
    {33, 20, 7, 0, EMC_BF16, 1, "an odd address, several items"},
    {5, 20, 300, 0, EMC_F32, 2, "f32, two pieces"},
    {5, 20, 256, 0, EMC_F16, 1, "f16, one whole piece"},
    {5, 20, 257, 3, EMC_BF16, 0, "lora over a piece"},
    {5, 20, 64, 8, EMC_F32, 0, "lora on f32"},
    {20, 100, 1024, 0, EMC_BF16, 0, "width of the 0.6B model"},
    {3, 20, 4096, 0, EMC_BF16, 0, "width of the 8B model"},
    {7, 20, 127, 63, EMC_BF16, 0, "lora just under a block's rows, values and ranks"},
    {8, 20, 128, 64, EMC_BF16, 0, "lora of a block's rows, values and ranks"},
    {9, 20, 129, 65, EMC_BF16, 0, "lora just over them"},
    {5, 50, 1024, 8, EMC_BF16, 0, "lora of the 0.6B model"},
};

typedef struct {
    emt_weights parts[2];
    emc_matrix *table;
    emc_lora *lora;
    float *a, *b;
    int32_t *id;
    emt_buf ids;
} step;

/* A device that computes in bf16 may keep an update in it. */
static float in_bf16(double x)
{
    return emc_bf16_to_f32(emc_f32_to_bf16((float)x));
}

static step make_step(emc_device *dev, const embed_case *c)
{
    step s = {0};
    uint64_t seed = 4;
    const int first = c->vocab > 1 ? c->vocab / 3 : 1; /* the table is in two parts */
    emc_matrix_part parts[2];
    const int n_parts = c->vocab > 1 ? 2 : 1;

    for (int p = 0; p < n_parts; p++) {
        s.parts[p] = emt_part(dev, p == 0 ? first : c->vocab - first, c->dim, c->dtype, c->offset,
                              1.0, &seed);
        parts[p] = s.parts[p].part;
    }
    EMT_OK(dev->ops->matrix_open(dev, &s.table, parts, n_parts, c->dim));
    s.a = calloc((size_t)((c->rank + 1) * c->vocab), sizeof *s.a);
    s.b = calloc((size_t)((c->rank + 1) * c->dim), sizeof *s.b);
    for (int i = 0; i < c->rank * c->vocab; i++)
        s.a[i] = in_bf16(emt_normal(&seed));
    for (int i = 0; i < c->rank * c->dim; i++)
        s.b[i] = in_bf16(emt_normal(&seed));
    if (c->rank > 0) {
        const emc_lora_spec spec = {
            .a = s.a, .b = s.b, .rank = c->rank, .n = c->dim, .k = c->vocab};
        EMT_OK(dev->ops->lora_open(dev, &s.lora, &spec));
    }
    s.id = calloc((size_t)c->rows, sizeof *s.id);
    for (int r = 0; r < c->rows; r++)
        s.id[r] = r == 0 ? c->vocab - 1 : (int32_t)(emt_random(&seed) % (uint64_t)c->vocab);
    s.ids = emt_ints(dev, s.id, (size_t)c->rows);
    return s;
}

static void free_step(emc_device *dev, step *s)
{
    dev->ops->lora_close(dev, s->lora);
    dev->ops->matrix_close(dev, s->table);
    emt_free_weights(&s->parts[0]);
    emt_free_weights(&s->parts[1]);
    emt_free(&s->ids);
    free(s->id);
    free(s->a);
    free(s->b);
}

static void want_row(const embed_case *c, const step *s, int r, double *want, double *atol)
{
    const int id = s->id[r], first = s->parts[0].part.n_rows;
    const emt_weights *part = &s->parts[id >= first];
    const size_t row = (size_t)(id >= first ? id - first : id) * (size_t)c->dim;

    for (int d = 0; d < c->dim; d++) {
        double sum = part->value[row + (size_t)d], size = fabs(sum);
        for (int i = 0; i < c->rank; i++) {
            const double term = (double)s->a[i * c->vocab + id] * s->b[d * c->rank + i];
            sum += term;
            size += fabs(term);
        }
        want[r * c->dim + d] = sum;
        /* rank products and sums, each one rounding of at most the sum of the sizes */
        atol[r * c->dim + d] = 2.0 * c->rank * 0x1p-24 * size;
    }
}

static void on_device(emc_device *dev)
{
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const embed_case *c = &cases[i];
        step s = make_step(dev, c);
        emt_buf out = emt_poison(dev, (size_t)(c->rows * c->dim));
        double *want = calloc(out.n, sizeof *want), *atol = calloc(out.n, sizeof *atol);

        for (int r = 0; r < c->rows; r++)
            want_row(c, &s, r, want, atol);
        EMT_OK(dev->ops->embed(dev, out.d, s.table, s.lora, s.ids.d, c->rows));
        emt_fetch(&out);
        /* Without an update there is nothing left to round. */
        emt_close(c->reaches, &out, want, c->rank > 0 ? 1.01 * emt_rounding(dev) : 0.0, atol);
        emt_free(&out);
        free_step(dev, &s);
        free(want);
        free(atol);
    }
}

static void test_numbers(void **state)
{
    (void)state;
    emt_each_device(on_device);
}

static void limits(emc_device *dev)
{
    const embed_case *c = &cases[5];
    const float a[3 * 64] = {0}, b[3 * 64] = {0}, scale[64] = {0};
    emc_lora_spec spec = {.a = a, .b = b, .rank = 1, .n = 64, .k = 20, .column_scale = scale};
    step s = make_step(dev, c);
    emt_buf out = emt_poison(dev, (size_t)(c->rows * c->dim));
    emc_lora *scaled, *wrong;

    EMT_OK(dev->ops->lora_open(dev, &scaled, &spec));
    spec.column_scale = NULL;
    spec.k = 21;
    EMT_OK(dev->ops->lora_open(dev, &wrong, &spec));
    EMT_FAILS(EMC_ERR_ARG, "embed: rows=0", dev->ops->embed(dev, out.d, s.table, NULL, s.ids.d, 0));
    EMT_FAILS(EMC_ERR_ARG, "need a table", dev->ops->embed(dev, out.d, NULL, NULL, s.ids.d, 1));
    EMT_FAILS(EMC_ERR_ARG, "ids", dev->ops->embed(dev, out.d, s.table, NULL, NULL, 1));
    EMT_FAILS(EMC_ERR_ARG, "16-byte",
              dev->ops->embed(dev, (char *)out.d + 4, s.table, NULL, s.ids.d, 1));
    EMT_FAILS(EMC_ERR_ARG, "no column scale",
              dev->ops->embed(dev, out.d, s.table, scaled, s.ids.d, 1));
    EMT_FAILS(EMC_ERR_ARG, "[64, 21] for a table [20, 64]",
              dev->ops->embed(dev, out.d, s.table, wrong, s.ids.d, 1));
    dev->ops->lora_close(dev, scaled);
    dev->ops->lora_close(dev, wrong);
    free_step(dev, &s);
    emt_free(&out);
}

static void test_limits(void **state)
{
    (void)state;
    emt_each_device(limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_limits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
