#include "search_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tokens of choices are 1 .. n_inside, 0 ends one, and the model knows some more. */
#define N_OUTSIDE 4

typedef struct {
    search_style style;
    uint64_t seed;
    int n_inside;
} made_model;

static uint64_t mix(uint64_t state, int32_t token)
{
    uint64_t next = state ^ ((uint64_t)token + 1) * 0xD6E8FEB86659FD93u;

    return emt_random(&next);
}

/* After what `state` was made of. */
static float logit(const made_model *model, uint64_t state, int32_t token)
{
    uint64_t next = mix(state, token);
    const double u = emt_uniform(&next), sign = emt_uniform(&next) < 0.5 ? -1 : 1;
    const bool outside = token > model->n_inside;

    switch (model->style) {
    case STYLE_FLAT:
        return (float)(sign * u);
    case STYLE_PEAKED:
        return (float)(sign * 12 * u);
    case STYLE_ABOVE:
        return (float)(token == 1 || (token == 2 && state % 2 == 0) ? u : -80);
    case STYLE_NEAR:
        return (float)(1e-6 * u);
    case STYLE_EVEN:
        return 1;
    case STYLE_ONE:
        return token == 1 ? 60 : 0;
    case STYLE_LEAK:
        return (float)(u + (outside ? 20 : 0));
    case STYLE_FAR:
        return outside ? 0 : (float)(-1e6 * (0.5 + u));
    case N_STYLES:
        break;
    }
    return NAN;
}

static float log_sum(const made_model *model, uint64_t state)
{
    double sum = 0;
    float rounded;

    for (int32_t token = 0; token <= model->n_inside + N_OUTSIDE; token++)
        sum += exp((double)logit(model, state, token));
    rounded = (float)log(sum);
    return model->style == STYLE_ABOVE ? rounded - 0x1p-17f : rounded;
}

/* --- Choices ------------------------------------------------------------------------------- */

static int32_t draw_token(int n_inside, uint64_t *random)
{
    return 1 + (int32_t)(emt_random(random) % (uint64_t)n_inside);
}

/* A candidate for the next choice of `c`, whose first ones stand. Returns its length. */
static int draw_choice(int32_t *out, const search_case *c, search_shape shape, int n_inside,
                       uint64_t *random)
{
    int n = 0, wanted = 1 + (int)(emt_random(random) % 6);

    switch (shape) {
    case SHAPE_SINGLES:
        wanted = 1;
        break;
    case SHAPE_CHAINS:
        wanted = 1 + (int)(emt_random(random) % 40);
        break;
    case SHAPE_DEEP:
        wanted += 20;
        while (n < 20)
            out[n++] = 1;
        break;
    case SHAPE_NESTED:
        if (c->n > 0 && emt_random(random) % 4 > 0) {
            const int from = (int)(emt_random(random) % (uint64_t)c->n);

            n = c->begin[from + 1] - c->begin[from];
            memcpy(out, c->ids + c->begin[from], (size_t)n * sizeof *out);
            wanted = n + 1 + (int)(emt_random(random) % 2);
        }
        break;
    default:
        break;
    }
    if (wanted > SEARCH_MOST_TOKENS - 1)
        wanted = SEARCH_MOST_TOKENS - 1;
    while (n < wanted)
        out[n++] = draw_token(n_inside, random);
    if (shape == SHAPE_ENDED || (shape == SHAPE_DEEP && emt_random(random) % 2 == 0))
        out[n++] = 0;
    return n;
}

static bool holds(const search_case *c, const int32_t *ids, int n)
{
    for (int i = 0; i < c->n; i++)
        if (c->begin[i + 1] - c->begin[i] == n &&
            memcmp(c->ids + c->begin[i], ids, (size_t)n * sizeof *ids) == 0)
            return true;
    return false;
}

static void draw_choices(search_case *c, search_shape shape, int n, int n_inside, uint64_t *random)
{
    /* Where few are left to draw, there are fewer choices. */
    for (int attempt = 0; c->n < n && attempt < 4 * n; attempt++) {
        int32_t ids[SEARCH_MOST_TOKENS];
        const int n_ids = draw_choice(ids, c, shape, n_inside, random);

        if (holds(c, ids, n_ids))
            continue;
        memcpy(c->ids + c->begin[c->n], ids, (size_t)n_ids * sizeof *ids);
        c->begin[c->n + 1] = c->begin[c->n] + n_ids;
        c->n++;
    }
}

/* --- Numbers ------------------------------------------------------------------------------- */

static void fill_edges(search_case *c, const made_model *model)
{
    for (int i = 0; i < c->n; i++) {
        uint64_t state = model->seed;

        for (int32_t k = c->begin[i]; k < c->begin[i + 1]; k++) {
            const double edge =
                (double)logit(model, state, c->ids[k]) - (double)log_sum(model, state);

            c->edges[k] = edge < 0 ? edge : 0;
            state = mix(state, c->ids[k]);
        }
    }
}

static void fill_nodes(search_case *c, const made_model *model)
{
    const emc_choices *choices = c->choices;
    uint64_t *states = calloc((size_t)choices->n_nodes, sizeof *states);

    assert_non_null(states);
    states[0] = model->seed;
    for (int v = 0; v < choices->n_nodes; v++) {
        const emc_choice_node *node = &choices->nodes[v];

        if (v > 0) {
            c->logits[v] = logit(model, states[node->parent], choices->tokens[v]);
            states[v] = mix(states[node->parent], choices->tokens[v]);
        }
        if (node->n_children > 0)
            c->log_sums[v] = log_sum(model, states[v]);
    }
    free(states);
}

/* Few tokens for few choices, so that beginnings are shared. */
static int most_token(search_shape shape, int n)
{
    return shape == SHAPE_SINGLES ? n + 3 : n > 100 ? 24 : 2 + n / 4;
}

void search_case_draw(search_case *out, search_shape shape, int n, uint64_t *random)
{
    const int n_inside = most_token(shape, n);
    const size_t n_ids = (size_t)n * SEARCH_MOST_TOKENS;

    *out = (search_case){.ids = calloc(n_ids, sizeof(int32_t)),
                         .begin = calloc((size_t)n + 1, sizeof(int32_t)),
                         .priors = calloc((size_t)n, sizeof(double))};
    assert_true(out->ids && out->begin && out->priors);
    draw_choices(out, shape, n, n_inside, random);
    for (int i = 0; i < out->n; i++)
        out->priors[i] = -8 * emt_uniform(random);
    EMT_OK(emc_choices_open(&out->choices, out->ids, out->begin, out->n, n_inside + 1,
                            SEARCH_MOST_TOKENS));
}

void search_case_open(search_case *out, search_shape shape, search_style style, int n,
                      uint64_t *random)
{
    const made_model model = {style, emt_random(random), most_token(shape, n)};
    search_case c;

    search_case_draw(&c, shape, n, random);
    c.edges = calloc((size_t)c.begin[c.n], sizeof(double));
    c.logits = calloc((size_t)c.choices->n_nodes, sizeof(float));
    c.log_sums = calloc((size_t)c.choices->n_nodes, sizeof(float));
    assert_true(c.edges && c.logits && c.log_sums);
    fill_edges(&c, &model);
    fill_nodes(&c, &model);
    for (int i = 0; style == STYLE_EVEN && i < c.n; i++)
        c.priors[i] = -1; /* ties stay ties */
    *out = c;
}

void search_case_close(search_case *c)
{
    emc_choices_close(c->choices);
    free(c->ids);
    free(c->begin);
    free(c->edges);
    free(c->priors);
    free(c->logits);
    free(c->log_sums);
}

ref_search_table search_case_table(const search_case *c)
{
    return (ref_search_table){.ids = c->ids, .begin = c->begin, .edges = c->edges, .n = c->n};
}

/* --- Searches ------------------------------------------------------------------------------ */

static void show(search_end *end, const emc_search *search, const search_case *c, search_look *look,
                 void *user)
{
    emc_search_result(search, &end->found, end->log_probs, end->scores);
    if (look)
        look(c, end, user);
}

/* The numbers of one round, each node of it once. */
static void answer(emc_search *search, const search_case *c, const int32_t *nodes, int n,
                   uint64_t *shuffle, int bad)
{
    int32_t *order = malloc((size_t)n * sizeof *order);

    assert_non_null(order);
    memcpy(order, nodes, (size_t)n * sizeof *order);
    for (int i = n - 1; shuffle && i > 0; i--) {
        const int j = (int)(emt_random(shuffle) % (uint64_t)(i + 1));
        const int32_t kept = order[i];

        order[i] = order[j];
        order[j] = kept;
    }
    for (int i = 0; i < n; i++) {
        const emc_choice_node *node = &c->choices->nodes[order[i]];
        float *logits = c->logits + node->first_child;
        const float kept = logits[0];

        if (order[i] == bad)
            logits[0] = bad % 3 == 0 ? NAN : bad % 3 == 1 ? INFINITY : -INFINITY;
        emc_search_take(search, order[i], logits, c->log_sums[order[i]]);
        logits[0] = kept;
    }
    free(order);
}

/* Parents before children, nothing twice, nothing that was asked for before. */
static void check_round(const search_case *c, const int32_t *nodes, int n, bool *asked)
{
    for (int i = 0; i < n; i++) {
        const emc_choice_node *node = &c->choices->nodes[nodes[i]];

        assert_true(node->n_children > 0);
        assert_false(asked[nodes[i]]);
        assert_true(nodes[i] == 0 || asked[node->parent]);
        asked[nodes[i]] = true;
    }
}

void search_case_run(search_end *out, emc_search *search, const emc_search_rules *rules,
                     emc_search_policy policy, const search_case *c, search_look *look, void *user,
                     uint64_t *shuffle, int bad)
{
    bool *asked = calloc((size_t)c->choices->n_nodes, sizeof *asked);
    search_end end = {.log_probs = malloc((size_t)c->n * sizeof(double)),
                      .scores = malloc((size_t)c->n * sizeof(double))};
    const int32_t *nodes;
    int n;

    assert_true(asked && end.log_probs && end.scores);
    EMT_OK(emc_search_begin(search, rules, policy));
    show(&end, search, c, look, user);
    for (emc_search_next_round(search, &nodes, &n); n > 0;
         emc_search_next_round(search, &nodes, &n)) {
        assert_true(end.n_rounds > 0 || nodes[0] == 0);
        check_round(c, nodes, n, asked);
        answer(search, c, nodes, n, shuffle, bad);
        end.n_rounds++;
        end.finite = emc_search_is_finite(search);
        if (end.finite)
            show(&end, search, c, look, user);
    }
    if (end.finite)
        show(&end, search, c, look, user);
    free(asked);
    *out = end;
}

void search_end_close(search_end *end)
{
    free(end->log_probs);
    free(end->scores);
}
