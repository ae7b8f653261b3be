/* Are the operations that `emcell bench` counts those that the model needs? */
#include "cli/bench.h"
#include "emt.h"

static const emc_model_info qwen3_8b = {.n_layers = 36,
                                        .n_heads = 32,
                                        .n_kv_heads = 8,
                                        .head_dim = 128,
                                        .hidden = 4096,
                                        .ffn = 12288,
                                        .vocab = 151936};

static void check_near(double got, double want, double tolerance)
{
    if (!(got > want * (1 - tolerance) && got < want * (1 + tolerance)))
        fail_msg("%.6g, wanted %.6g", got, want);
}

/* The published shape by hand: 300 shared tokens, 600 of one's own, the answer's first token. */
static void test_qwen3_8b(void **state)
{
    (void)state;
    const bench_shape shape = {.prefix = 300, .suffix = 600, .labels = 28};
    const double rows = 600, layer = 192937984.0;
    const double kept = 2.0 * 1024 * 4096; /* K and V of the last layer */
    const double pairs = 600.0 * 300 + 600.0 * 601 / 2;
    double want = 2 * 35 * layer * rows + 2 * kept * rows + 2 * (layer - kept);

    want += 4.0 * 32 * 128 * (35 * pairs + 900);
    want += 2.0 * 4096 * 151936;
    assert_true(bench_flop(&qwen3_8b, &shape, 1, 0) == want);
    check_near(bench_flop(&qwen3_8b, &shape, 1, 0), 8.32e12, 0.002); /* 8.32 TFLOP a cell */
}

/* Token by token: every row's products and every key it sees. */
static double count(const emc_model_info *m, const bench_shape *shape, int label_tokens)
{
    const double q = (double)m->n_heads * m->head_dim, kv = 2.0 * m->n_kv_heads * m->head_dim;
    double flop = 0;

    for (int layer = 0; layer < m->n_layers; layer++) {
        for (int i = 0; i < shape->suffix + shape->labels * (label_tokens - 1); i++) {
            const int node = i - shape->suffix; /* of the labels, or below 0 */
            const int depth = node < 0 ? 0 : node % (label_tokens - 1) + 1;
            const int keys =
                node < 0 ? shape->prefix + i + 1 : shape->prefix + shape->suffix + depth;
            const bool read = i >= shape->suffix - 1;

            flop += 2 * kv * m->hidden;
            if (layer + 1 == m->n_layers && !read)
                continue;
            flop += 2 * (2 * q * m->hidden + 3.0 * m->hidden * m->ffn) + 4 * q * keys;
            if (layer + 1 == m->n_layers)
                flop += 2.0 * m->hidden * m->vocab;
        }
    }
    return flop;
}

static void test_token_by_token(void **state)
{
    (void)state;
    const emc_model_info small = {.n_layers = 3,
                                  .n_heads = 6,
                                  .n_kv_heads = 2,
                                  .head_dim = 16,
                                  .hidden = 40,
                                  .ffn = 72,
                                  .vocab = 100};
    const bench_shape shapes[] = {{.suffix = 1, .labels = 1},
                                  {.suffix = 7, .labels = 2},
                                  {.prefix = 5, .suffix = 9, .labels = 3},
                                  {.prefix = 200, .suffix = 31, .labels = 30}};

    for (size_t i = 0; i < EMC_COUNT(shapes); i++)
        for (int tokens = 1; tokens < 5; tokens++)
            check_near(bench_flop(&small, &shapes[i], tokens, shapes[i].labels * (tokens - 1)),
                       count(&small, &shapes[i], tokens), 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_qwen3_8b),
        cmocka_unit_test(test_token_by_token),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
