/* Every way of answering and of scoring, end to end, beside numbers made by whole prompts. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "annotate_case.h"
#include "base/file.h"
#include "base/size.h"
#include "base/text.h"
#include "emt.h"
#include "naive_case.h"

#define MAX_CELLS 1000

/* Printed with six digits, of numbers up to 1. */
#define PRINTED 1.1e-6

/* As test_annotate_run.c: log-probabilities are a thousand times closer than they have to be. */
#define RTOL 0.002

static const emc_scoring_rule rules[] = {EMC_SCORING_JOINT, EMC_SCORING_MEAN, EMC_SCORING_FIRST,
                                         EMC_SCORING_PRIOR};

static bool is_full_run(void)
{
    return getenv("EMT_FULL") != NULL;
}

/* A plain run has one of so many pairs. */
static bool is_left_out(size_t rule, size_t way, size_t of)
{
    return !is_full_run() && (rule + way) % of != 0;
}

/* ---- results as they are read back ---- */

enum {
    CELL_ID,
    LABEL,
    SCORE,
    SCORE_LOW,
    SCORE_HIGH,
    MARGIN,
    ENTROPY,
    STATUS,
    REASON,
    LABEL_1 = 10,
    PROB_1,
    LABEL_2,
    INVALID_MASS = 16, /* where the run has it */
};

typedef struct {
    char *text;
    char *lines[MAX_CELLS]; /* whole */
    char *cut;
    char *fields[MAX_CELLS][MAX_FIELDS];
    int n, n_fields;
    emc_annotate_summary *summary;
} table;

static table read_table(const char *path)
{
    table t = {.text = emt_read(path, NULL), .cut = emt_read(path, NULL)};
    char *cursor = t.text, *cut = t.cut, *line;

    case_next_line(&cursor);
    t.n_fields = case_split(case_next_line(&cut), t.fields[0]);
    while ((line = case_next_line(&cursor)) != NULL) {
        assert_true(t.n < MAX_CELLS);
        t.lines[t.n] = line;
        assert_int_equal(case_split(case_next_line(&cut), t.fields[t.n]), t.n_fields);
        t.n++;
    }
    return t;
}

static table run(const emc_annotate_options *o)
{
    emc_annotate_summary *summary;

    EMT_OK(emc_annotate(&summary, o));
    table t = read_table(o->results.output_path);
    t.summary = summary;
    return t;
}

static void free_table(table *t)
{
    free(t->text);
    free(t->cut);
    emc_annotate_summary_close(t->summary);
}

static double number(const table *t, int cell, int column)
{
    const char *field = t->fields[cell][column];

    return *field ? atof(field) : NAN;
}

/* The built-in profile with another temperature; the same path at every call. */
static const char *profile_of(double temperature)
{
    size_t n;
    const char *text = emc_profile_builtin_text("embryo", &n);
    const char *key = "\"temperature\": 1", *at = strstr(text, key);
    emc_text out = {0};
    char name[64];

    assert_non_null(at);
    EMT_OK(emc_text_add(&out, text, (size_t)(at - text)));
    EMT_OK(emc_text_addf(&out, "\"temperature\": %g", temperature));
    EMT_OK(emc_text_add_string(&out, at + strlen(key)));
    snprintf(name, sizeof(name), "t%g.json", temperature);
    const char *path = case_keep(emt_write(name, out.bytes, out.n));
    emc_text_free(&out);
    return path;
}

static emc_annotate_options options_of(emc_answer_mode answer, emc_scoring_rule rule,
                                       double temperature, const char *output)
{
    emc_annotate_options o = case_options(emt_golden("annotate/cells.h5ad"), emt_temp(output));

    o.profile = profile_of(temperature);
    o.answer = (int)answer;
    o.scoring = (int)rule;
    return o;
}

static void check_naively(const naive_answers *answers, emc_scoring_rule rule, double temperature,
                          const table *t, const table *matrix)
{
    for (int k = 0; k < answers->n; k++) {
        double scores[N_LABELS], sum = 0, mass = 0, most = -INFINITY, entropy = 0;
        int cell = 0, best = 0;
        while (strcmp(t->fields[cell][CELL_ID], answers->cell_ids[k]) != 0)
            assert_true(++cell < t->n);
        for (int i = 0; i < N_LABELS; i++) {
            scores[i] = naive_score(rule, &answers->cells[k][i], answers->empty[i].joint);
            best = scores[i] > scores[best] ? i : best;
            most = fmax(most, scores[i]);
            mass += exp(answers->cells[k][i].joint);
        }
        for (int i = 0; i < N_LABELS; i++)
            sum += exp((scores[i] - most) / temperature);
        for (int i = 0; i < N_LABELS; i++) {
            const double want = exp((scores[i] - most) / temperature) / sum;
            const double got = number(matrix, cell, i + 1);
            if (!(fabs(got - want) <= RTOL * want + 1e-30))
                fail_msg("%s, T %g, cell %d, label %d: %g, wanted %g", emc_scoring_rule_name(rule),
                         temperature, cell, i, got, want);
            entropy -= want * log(want);
        }
        assert_string_equal(t->fields[cell][LABEL], t->fields[cell][LABEL_1]);
        assert_true(fabs(number(t, cell, PROB_1) - 1 / sum) <= RTOL + PRINTED);
        assert_true(fabs(number(matrix, cell, best + 1) - number(t, cell, SCORE)) <= PRINTED);
        assert_true(fabs(number(t, cell, ENTROPY) - entropy) <= 10 * RTOL);
        assert_true(fabs(number(t, cell, INVALID_MASS) - (1 - mass)) <= RTOL);
    }
}

static void full_probabilities_are_a_softmax_of_the_scores(void **state)
{
    static const double temperatures[] = {1, 0.5, 2.5};
    static naive_answers answers;

    (void)state;
    naive_make(&answers, N_NAIVE, emt_golden("annotate/cells.h5ad"), emt_golden("annotate/model"));
    for (size_t r = 0; r < EMC_COUNT(rules); r++) {
        for (size_t k = 0; k < EMC_COUNT(temperatures); k++) {
            if (is_left_out(r, k, 3))
                continue;
            emc_annotate_options o =
                options_of(EMC_ANSWER_FULL, rules[r], temperatures[k], "softmax.tsv");
            o.results.probabilities_path = case_keep(emt_temp("softmax_matrix.tsv"));
            o.invalid_mass = true;
            o.input.limit = 8;
            table t = run(&o), matrix = read_table(o.results.probabilities_path);
            check_naively(&answers, rules[r], temperatures[k], &t, &matrix);
            free_table(&t);
            free_table(&matrix);
        }
    }
}

/* A model that knows what it was asked, so that there is little mass beside the labels. */
static void take_demo(emc_annotate_options *o)
{
    o->model.model_dir = case_keep(emt_golden("../../demo/model"));
    o->input_path = case_keep(emt_golden("../../demo/cells.h5ad"));
}

/* ---- exact beside full ---- */

static void check_row(const table *exact, const table *full, int cell, double width, int *n_short)
{
    char *const *e = exact->fields[cell], *const *f = full->fields[cell];
    const double low = number(exact, cell, SCORE_LOW), high = number(exact, cell, SCORE_HIGH);
    const double want = number(full, cell, SCORE);

    assert_string_equal(e[CELL_ID], f[CELL_ID]);
    assert_string_equal(e[LABEL], f[LABEL]);
    assert_string_equal(e[STATUS], f[STATUS]);
    assert_string_equal(e[REASON], f[REASON]);
    assert_string_equal(e[LABEL_1], f[LABEL_1]);
    assert_string_equal(e[PROB_1], e[SCORE]);
    if (*e[MARGIN] || !*f[MARGIN]) { /* every label's is known, or the cell was not asked */
        assert_string_equal(exact->lines[cell], full->lines[cell]);
        return;
    }
    ++*n_short;
    assert_true(low <= want && want <= high); /* rounding keeps order */
    assert_true(high - low <= width + 2 * PRINTED);
    assert_true(fabs((low + high) / 2 - number(exact, cell, SCORE)) <= 2 * PRINTED);
    for (int i = LABEL_2; i < LABEL_2 + 4; i++)
        assert_string_equal(e[i], "");
    assert_string_equal(e[ENTROPY], "");
}

/* Returns how many answers were not complete. */
static int compare(emc_annotate_options *o, double width)
{
    int n_short = 0;

    o->answer = EMC_ANSWER_FULL;
    o->probability_width = -1;
    table full = run(o);
    o->answer = EMC_ANSWER_EXACT;
    o->probability_width = width;
    table exact = run(o);
    assert_int_equal(exact.n, full.n);
    for (int i = 0; i < full.n; i++)
        check_row(&exact, &full, i, width, &n_short);
    assert_true(exact.summary->n_answer_rows <= full.summary->n_answer_rows);
    free_table(&full);
    free_table(&exact);
    return n_short;
}

/* A threshold that lies as near to a cell's score as six digits tell. */
static double score_of_a_cell(const emc_annotate_options *o, int cell)
{
    emc_annotate_options again = *o;

    again.answer = EMC_ANSWER_FULL;
    table full = run(&again);
    const double score = number(&full, cell, SCORE);
    free_table(&full);
    return score;
}

static void exact_says_what_full_says(void **state)
{
    static const struct {
        double temperature, width, threshold; /* below 0: a cell's own score */
    } ways[] = {{1, 0.02, 0}, {1, 1, 0.5}, {2.5, 0.1, -1}, {0.5, 1, -1}};
    int n_short = 0;

    (void)state;
    for (size_t r = 0; r < EMC_COUNT(rules); r++) {
        for (size_t k = 0; k < EMC_COUNT(ways); k++) {
            if (is_left_out(r, k + 2, 4)) /* joint with 2.5, which no width hides */
                continue;
            emc_annotate_options o =
                options_of(EMC_ANSWER_FULL, rules[r], ways[k].temperature, "exact.tsv");
            o.input.limit = is_full_run() ? 0 : 16;
            o.unknown_below = ways[k].threshold;
            if (o.unknown_below < 0) {
                o.unknown_below = 0;
                o.unknown_below = score_of_a_cell(&o, 1);
            }
            n_short += compare(&o, ways[k].width);
        }
    }
    assert_true(n_short > 10);
}

static void exact_says_what_full_says_of_the_demo(void **state)
{
    (void)state;
    if (!is_full_run())
        skip();
    for (size_t r = 0; r < EMC_COUNT(rules); r++) {
        emc_annotate_options o = options_of(EMC_ANSWER_FULL, rules[r], 1, "demo.tsv");
        take_demo(&o);
        o.unknown_below = 0.9;
        o.shard_cells = 1000;
        (void)compare(&o, 0.02);
    }
}

/* ---- what else makes answers complete ---- */

static void assert_same(const table *a, const table *b)
{
    assert_int_equal(a->n, b->n);
    for (int i = 0; i < a->n; i++)
        assert_string_equal(a->lines[i], b->lines[i]);
}

static void width_0_probabilities_and_margins_make_exact_full(void **state)
{
    (void)state;
    for (size_t r = 0; r < EMC_COUNT(rules); r++) {
        if (is_left_out(r, 0, 4))
            continue;
        emc_annotate_options o = options_of(EMC_ANSWER_FULL, rules[r], 1, "whole.tsv");
        o.input.limit = 12;
        table full = run(&o);
        o.answer = EMC_ANSWER_EXACT;
        o.probability_width = 0;
        table whole = run(&o);
        assert_same(&whole, &full);
        free_table(&whole);
        o.probability_width = 1;
        o.results.probabilities_path = case_keep(emt_temp("whole_matrix.tsv"));
        whole = run(&o);
        assert_same(&whole, &full);
        free_table(&whole);
        o.results.probabilities_path = NULL;
        o.margin_below = 0.2;
        whole = run(&o);
        o.answer = EMC_ANSWER_FULL;
        o.probability_width = -1;
        free_table(&full);
        full = run(&o);
        assert_same(&whole, &full);
        free_table(&full);
        free_table(&whole);
    }
}

static void invalid_mass_is_known_within_the_width(void **state)
{
    static const double width = 0.0005;
    static naive_answers answers;
    bool is_made = false;

    (void)state;
    for (size_t r = 0; r < EMC_COUNT(rules); r++) {
        if (is_left_out(r, 1, 4))
            continue;
        emc_annotate_options o = options_of(EMC_ANSWER_FULL, rules[r], 1, "mass.tsv");
        take_demo(&o);
        o.input.limit = 12;
        o.invalid_mass = true;
        if (!is_made)
            naive_make(&answers, 1, o.input_path, o.model.model_dir);
        is_made = true;
        table full = run(&o);
        o.answer = EMC_ANSWER_EXACT;
        o.probability_width = width;
        table exact = run(&o);
        assert_int_equal(full.n_fields, 19);
        double mass = 1;
        for (int i = 0; i < N_LABELS; i++)
            mass -= exp(answers.cells[0][i].joint);
        assert_string_equal(full.fields[0][CELL_ID], answers.cell_ids[0]);
        assert_true(mass > 0.001 && fabs(number(&full, 0, INVALID_MASS) - mass) <= RTOL * mass);
        for (int i = 0; i < full.n; i++) {
            const double want = number(&full, i, INVALID_MASS),
                         got = number(&exact, i, INVALID_MASS);
            assert_true(isnan(want) == (*full.fields[i][SCORE] == '\0'));
            assert_true(isnan(want) == isnan(got));
            if (!isnan(want)) {
                assert_true(want > 0 && want < 0.5);
                assert_true(fabs(want - got) <= width / 2 + 2 * PRINTED);
            }
        }
        free_table(&full);
        free_table(&exact);
    }
}

static void the_greedy_label_has_bounds(void **state)
{
    emc_annotate_options o = options_of(EMC_ANSWER_FULL, EMC_SCORING_JOINT, 1, "greedy.tsv");
    char *fields[MAX_FIELDS];

    (void)state;
    o.results.probabilities_path = case_keep(emt_temp("greedy_matrix.tsv"));
    table full = run(&o), matrix = read_table(o.results.probabilities_path);
    char *text = emt_read(o.results.probabilities_path, NULL), *cursor = text;
    const int n = case_split(case_next_line(&cursor), fields);
    o.results.probabilities_path = NULL;
    o.answer = EMC_ANSWER_GREEDY;
    o.unknown_below = 0.4;
    table greedy = run(&o);
    for (int i = 0; i < full.n; i++) {
        int column = 1;
        if (!*full.fields[i][SCORE]) {
            assert_string_equal(greedy.lines[i], full.lines[i]);
            continue;
        }
        while (strcmp(fields[column], greedy.fields[i][LABEL_1]) != 0)
            assert_true(++column < n);
        const double want = number(&matrix, i, column);
        assert_true(number(&greedy, i, SCORE_LOW) <= want + PRINTED);
        assert_true(number(&greedy, i, SCORE_HIGH) >= want - PRINTED);
        assert_string_equal(greedy.fields[i][MARGIN], "");
        assert_string_equal(greedy.fields[i][STATUS],
                            number(&greedy, i, SCORE) < 0.4 ? "unknown" : "ok");
    }
    assert_true(greedy.summary->n_answer_rows < full.summary->n_answer_rows);
    free(text);
    free_table(&full);
    free_table(&matrix);
    free_table(&greedy);
}

/* ---- priors ---- */

/* Of every label, for one prompt: as many rows as a cell's full answer, once. */
static void priors_are_asked_once_a_run(void **state)
{
    emc_annotate_options o = options_of(EMC_ANSWER_FULL, EMC_SCORING_JOINT, 1, "once.tsv");

    (void)state;
    table joint = run(&o);
    o.scoring = EMC_SCORING_PRIOR;
    table prior = run(&o);
    const emc_annotate_summary *a = joint.summary, *b = prior.summary;
    assert_int_equal(a->n_answer_rows % a->n_asked, 0);
    assert_true(a->n_answer_rows == b->n_answer_rows);
    assert_true(b->engine.n_choice_rows - a->engine.n_choice_rows == a->n_answer_rows / a->n_asked);
    assert_true(b->n_shards > 1 && b->n_prompt_tokens == a->n_prompt_tokens);
    free_table(&joint);
    free_table(&prior);
}

/* ---- a run that keeps more serves ---- */

static void a_run_that_keeps_more_is_gone_on_with(void **state)
{
    emc_annotate_options o = options_of(EMC_ANSWER_EXACT, EMC_SCORING_PRIOR, 1, "more.tsv");
    emc_annotate_summary *summary;
    char *path;

    (void)state;
    o.input.limit = 36;
    o.invalid_mass = true;
    o.results.probabilities_path = case_keep(emt_temp("more_matrix.tsv"));
    table whole = run(&o);
    char *matrix = emt_read(o.results.probabilities_path, NULL);
    EMT_OK(emc_ledger_done_path(&path, whole.summary->run_dir, 1));
    assert_int_equal(unlink(path), 0);
    free(path);
    o.force = false;
    o.resume = true;
    o.invalid_mass = false;
    o.results.probabilities_path = NULL;
    table again = run(&o);
    assert_int_equal(again.summary->n_answered, 16);
    assert_int_equal(again.n_fields, whole.n_fields);
    assert_same(&again, &whole);
    o.results.probabilities_path = case_keep(emt_temp("more_again.tsv"));
    o.invalid_mass = true;
    free_table(&again);
    again = run(&o);
    assert_int_equal(again.summary->n_answered, 0);
    char *later = emt_read(o.results.probabilities_path, NULL);
    assert_string_equal(later, matrix);
    o.probability_width = 0.5;
    EMT_FAILS(EMC_ERR_CONFIG, "--probability-width was 0.02, is 0.5", emc_annotate(&summary, &o));
    o.probability_width = -1;
    o.scoring = EMC_SCORING_JOINT;
    EMT_FAILS(EMC_ERR_CONFIG, "--scoring was prior, is joint", emc_annotate(&summary, &o));
    o.answer = EMC_ANSWER_FULL;
    EMT_FAILS(EMC_ERR_CONFIG, "--answer was exact, is full", emc_annotate(&summary, &o));
    free(later);
    free(matrix);
    free_table(&whole);
    free_table(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(full_probabilities_are_a_softmax_of_the_scores),
        cmocka_unit_test(exact_says_what_full_says),
        cmocka_unit_test(exact_says_what_full_says_of_the_demo),
        cmocka_unit_test(width_0_probabilities_and_margins_make_exact_full),
        cmocka_unit_test(invalid_mass_is_known_within_the_width),
        cmocka_unit_test(the_greedy_label_has_bounds),
        cmocka_unit_test(priors_are_asked_once_a_run),
        cmocka_unit_test(a_run_that_keeps_more_is_gone_on_with),
    };

    return cmocka_run_group_tests_name("scoring", tests, NULL, NULL);
}
