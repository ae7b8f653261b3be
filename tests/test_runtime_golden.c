/*
 * Does the whole model compute what the reference library computes?
 *
 * The golden models (tests/golden/make_runtime.py) cover 1, 2, 4, 5 and 8 queries a K/V head,
 * head_dim beside hidden / heads, tied and untied heads, YaRN, F32 and BF16, one file and
 * several, and adapters: plain, rslora with patterns, DoRA, of embedding and head, and a tied
 * model that an adapter unties. Prompts are up to 300 tokens long, so they cross two pages;
 * with the heads of the published models (head_dim 128 and 64), up to 2,000.
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
    {"group1", "group1"},    {"group2", "group2"}, {"group4", "group4"},   {"group5", "group5"},
    {"group8", "group8"},    {"lora", "group4"},   {"rslora", "group2"},   {"dora", "group1"},
    {"embedding", "group8"}, {"untied", "group1"}, {"wide128", "wide128"}, {"wide64", "wide64"},
    {"heads4", "heads4"},
};

/* How far apart, over the kept logits of one prompt or more. */
typedef struct {
    double range;   /* of the exact logits */
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
        out->most = error <= out->most ? out->most : error; /* NaN stays */
        out->squares += error * error;
    }
    out->range = fmax(out->range, most - least);
    out->n += n;
}

static double rms(const distance *d)
{
    return sqrt(d->squares / d->n);
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
        engine = case_engine(model, NULL);
        for (int p = 0; p < CASE_PROMPTS; p++) {
            float *want = case_logits(&c, "f32", p), *got = our_rows(engine, &c, p, vocab);
            distance d = {0};

            add_distance(&d, got, want, want, c.n_positions[p] * vocab);
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

/*
 * How far may a bf16 run be from an exact one? A rounding errs by at most 2^-8 of its value and, as
 * values lie evenly between two bf16 numbers and their mantissas evenly in [1, 2), by 2^-9 * 0.83
 * root mean square. A value on its way to the logits is rounded twice a layer in the residual and
 * seven times in the branches (norm, projection, rotation, attention; norm, gate and up, their
 * product), and once in the last norm: 9 n_layers + 1 independent errors, if each counted as much
 * as the value itself. Attention adds to that: an error of q or k is multiplied by the score, up
 * to 20 in these models with their large norms, before it reaches a probability. Four times the
 * sum of squares covers it, by a factor of two over what is seen; a wrong formula gives errors of
 * the size of the logits themselves, thirty times as much.
 *
 * A GPU rounds an adapter's A and B, the product with A, and the product of the weights before the
 * adapter's is added to it (emc_lora_spec): four more for each of four matrices a layer.
 */
static double bf16_tolerance(int n_layers, bool rounds_adapter, double logits_rms)
{
    const int n_roundings = (rounds_adapter ? 25 : 9) * n_layers + 1;

    return 4 * 0x1p-9 * 0.83 * sqrt(n_roundings) * logits_rms;
}

/* Where the exact logits leave no doubt, both runs would give the same token. */
static void check_best(const char *name, const float *got, const float *exact, int vocab,
                       double doubt)
{
    int best = 0, second = -1;

    for (int i = 1; i < vocab; i++)
        if (exact[i] > exact[best])
            best = i;
    for (int i = 0; i < vocab; i++)
        if (i != best && (second < 0 || exact[i] > exact[second]))
            second = i;
    if (exact[best] - exact[second] <= doubt)
        return;
    for (int i = 0; i < vocab; i++)
        if (i != best && !(got[i] < got[best]))
            fail_msg("%s: token %d in place of %d", name, i, best);
}

/* A virtual GPU takes its time: a part of the cases, each with its longest prompt. */
static bool in_haste(void)
{
    return !case_on_cpu() && !case_full();
}

static bool left_out(const char *name)
{
    static const char *const kept[] = {"group1", "group5", "rslora", "wide64", "wide128"};

    for (size_t i = 0; i < EMC_COUNT(kept); i++)
        if (strcmp(name, kept[i]) == 0)
            return false;
    return in_haste();
}

/* Against the exact logits, and against the reference library's own bf16 run. */
static void bfloat16_logits(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        distance ours = {0}, theirs = {0}, size = {0}, between = {0};
        runtime_case c;
        emc_model *model;
        emc_engine *engine;
        int vocab, n_layers;

        if (left_out(cases[i].name))
            continue;
        case_open(&c, cases[i].name, cases[i].base);
        const bool rounds_adapter = !case_on_cpu() && c.adapter_dir[0];
        model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
        vocab = emc_model_get_info(model)->vocab;
        n_layers = emc_model_get_info(model)->n_layers;
        engine = case_engine(model, NULL);
        for (int p = in_haste() ? CASE_PROMPTS - 1 : 0; p < CASE_PROMPTS; p++) {
            const int n = c.n_positions[p] * vocab;
            float *exact = case_logits(&c, "f32", p), *rounded = case_logits(&c, "bf16", p);
            float *got = our_rows(engine, &c, p, vocab), *zero = calloc((size_t)n, sizeof *zero);
            distance all = {0};

            add_distance(&ours, got, exact, exact, n);
            add_distance(&theirs, rounded, exact, exact, n);
            add_distance(&between, got, rounded, exact, n);
            add_distance(&size, zero, exact, exact, n);
            add_distance(&all, zero, exact, exact, n);
            /* Six standard deviations to either side, for each of two logits. */
            for (int q = 0; q < c.n_positions[p]; q++)
                check_best(cases[i].name, got + (size_t)q * vocab, exact + (size_t)q * vocab, vocab,
                           12 * bf16_tolerance(n_layers, rounds_adapter, rms(&all)));
            free(exact);
            free(rounded);
            free(got);
            free(zero);
        }
        const double tolerance = bf16_tolerance(n_layers, rounds_adapter, rms(&size));
        print_message("%s: error %.3g, reference's %.3g, between them %.3g; allowed %.3g\n",
                      cases[i].name, rms(&ours), rms(&theirs), rms(&between), tolerance);
        if (!(rms(&ours) <= tolerance))
            fail_msg("%s: error %g, allowed %g", cases[i].name, rms(&ours), tolerance);
        /* Two runs with errors of their own. */
        if (!(rms(&between) <= sqrt(2) * tolerance))
            fail_msg("%s: %g from the reference's bf16, allowed %g", cases[i].name, rms(&between),
                     sqrt(2) * tolerance);
        /* We round less often, so we should not be further off than the reference, which computes
         * what an adapter adds in f32. */
        if (!rounds_adapter && !(rms(&ours) <= 1.25 * rms(&theirs)))
            fail_msg("%s: error %g, the reference's is %g", cases[i].name, rms(&ours),
                     rms(&theirs));
        emc_engine_close(engine);
        emc_model_close(model);
        case_close(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(bfloat16_logits),
                                       cmocka_unit_test(float32_logits)};
    const struct CMUnitTest on_gpu[] = {cmocka_unit_test(bfloat16_logits)};

    return case_on_cpu() ? cmocka_run_group_tests(tests, NULL, NULL)
                         : cmocka_run_group_tests(on_gpu, NULL, NULL);
}
