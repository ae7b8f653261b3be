/*
 * Does the whole model compute what the reference library computes?
 *
 * The golden models (tests/golden/make_runtime.py) cover 1, 2, 4, 5 and 8 queries a K/V head,
 * head_dim beside hidden / heads, tied and untied heads, YaRN, F32 and BF16, one file and
 * several, and adapters: plain, rslora with patterns, DoRA, of embedding and head, and a tied
 * model that an adapter unties. Prompts are up to 300 tokens long, so they cross two pages.
 */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime_case.h"

static const struct {
    const char *name, *base;
} cases[] = {
    {"group1", "group1"},    {"group2", "group2"}, {"group4", "group4"}, {"group5", "group5"},
    {"group8", "group8"},    {"lora", "group4"},   {"rslora", "group2"}, {"dora", "group1"},
    {"embedding", "group8"}, {"untied", "group1"},
};

/* How far apart: sums over all kept logits of one prompt. */
typedef struct {
    double range;   /* of the reference's exact logits */
    double most;    /* largest difference */
    double squares; /* sum of squared differences */
    double n;
} distance;

static void add_distance(distance *out, const float *got, const float *want, const float *exact,
                         int n)
{
    float least = exact[0], most = exact[0];

    for (int i = 0; i < n; i++) {
        const double error = fabs((double)got[i] - want[i]);

        least = fminf(least, exact[i]);
        most = fmaxf(most, exact[i]);
        out->most = !(error <= out->most) ? error : out->most;
        out->squares += error * error;
    }
    out->range = fmax(out->range, most - least);
    out->n += n;
}

/* The rows at the kept positions, one after the other. */
static float *kept_rows(const float *logits, const runtime_case *c, int prompt, int vocab)
{
    const size_t row = (size_t)vocab * sizeof *logits;
    float *out = malloc((size_t)c->n_positions[prompt] * row);

    for (int i = 0; i < c->n_positions[prompt]; i++)
        memcpy(out + (size_t)i * vocab, logits + (size_t)c->positions[prompt][i] * vocab, row);
    return out;
}

static float *our_rows(emc_engine *engine, const runtime_case *c, int prompt, int vocab)
{
    float *all = engine_logits(engine, c->ids[prompt], c->n_ids[prompt], vocab);
    float *kept = kept_rows(all, c, prompt, vocab);

    free(all);
    return kept;
}

/* Largest error at most 1e-4 of the logits' range, for every prompt on its own. */
static void float32_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        runtime_case c;
        emc_model *model;
        emc_engine *engine;
        int vocab;

        case_open(&c, cases[i].name, cases[i].base);
        model = case_model(&c, EMC_DTYPE_FLOAT32, 1);
        vocab = emc_model_get_info(model)->vocab;
        EMT_OK(emc_engine_open(&engine, model, NULL));
        for (int p = 0; p < CASE_PROMPTS; p++) {
            float *want = case_logits(&c, "f32", p), *got = our_rows(engine, &c, p, vocab);
            distance d = {0};

            add_distance(&d, got, want, want, c.n_positions[p] * vocab);
            print_message("%s prompt %d: largest error %.2g of the range %.3g\n", cases[i].name, p,
                          d.most / d.range, d.range);
            if (!(d.most <= 1e-4 * d.range))
                fail_msg("%s, prompt %d: error %g in a range of %g", cases[i].name, p, d.most,
                         d.range);
            free(want);
            free(got);
        }
        emc_engine_close(engine);
        emc_model_close(model);
        case_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(float32_logits)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
