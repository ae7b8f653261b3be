#include "naive_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/prompt.h"
#include "annotate/run.h"
#include "emt.h"
#include "runtime/emcell.h"

typedef struct {
    emc_profile *profile;
    emc_labels *labels;
    emc_tokenizer *tokenizer;
    emc_prompter *prompter;
    emc_model *model;
    emc_engine *engine;
    const int32_t *ids, *begin; /* of the labels */
    int n_labels, vocab;
} naive;

static void open_naive(naive *v, const char *model_dir)
{
    const emc_model_options wanted = {
        .model_dir = model_dir, .dtype = EMC_DTYPE_FLOAT32, .device = "cpu", .n_threads = 1};

    *v = (naive){0};
    EMT_OK(emc_profile_open(&v->profile, "embryo"));
    EMT_OK(emc_labels_from_profile(&v->labels, v->profile));
    EMT_OK(emc_tokenizer_open(&v->tokenizer, model_dir));
    EMT_OK(emc_prompter_open(&v->prompter, &(emc_prompter_options){.profile = v->profile,
                                                                   .labels = v->labels,
                                                                   .tokenizer = v->tokenizer}));
    emc_prompter_choices(v->prompter, &v->ids, &v->begin, &v->n_labels);
    assert_int_equal(v->n_labels, N_LABELS);
    EMT_OK(emc_model_open(&v->model, &wanted));
    EMT_OK(emc_engine_open(&v->engine, v->model, NULL));
    v->vocab = emc_model_get_info(v->model)->vocab;
}

static void close_naive(naive *v)
{
    emc_engine_close(v->engine);
    emc_model_close(v->model);
    emc_prompter_close(v->prompter);
    emc_tokenizer_close(v->tokenizer);
    emc_labels_close(v->labels);
    emc_profile_close(v->profile);
}

static double log_prob(const float *logits, int vocab, int32_t id)
{
    double most = -INFINITY, sum = 0;

    for (int i = 0; i < vocab; i++)
        most = fmax(most, logits[i]);
    for (int i = 0; i < vocab; i++)
        sum += exp(logits[i] - most);
    return logits[id] - most - log(sum);
}

/* Prompt and label as one text, for each label anew. */
static void ask_naively(const naive *v, const int32_t *prompt, int n_prompt, label_logs *out)
{
    for (int label = 0; label < v->n_labels; label++) {
        const int n = v->begin[label + 1] - v->begin[label], n_all = n_prompt + n;
        const int32_t *answer = v->ids + v->begin[label];
        int32_t *all = malloc((size_t)n_all * sizeof(*all));
        float *logits = malloc((size_t)n_all * (size_t)v->vocab * sizeof(*logits));
        memcpy(all, prompt, (size_t)n_prompt * sizeof(*all));
        memcpy(all + n_prompt, answer, (size_t)n * sizeof(*all));
        EMT_OK(emc_engine_logits(v->engine, all, n_all, logits));
        out[label] = (label_logs){.n = n};
        for (int i = 0; i < n; i++) {
            const float *row = logits + (size_t)(n_prompt - 1 + i) * (size_t)v->vocab;
            const double log_p = log_prob(row, v->vocab, answer[i]);
            out[label].first += i == 0 ? log_p : 0;
            out[label].joint += log_p;
        }
        free(logits);
        free(all);
    }
}

double naive_score(emc_scoring_rule rule, const label_logs *logs, double log_prior)
{
    switch (rule) {
    case EMC_SCORING_MEAN:
        return logs->joint / logs->n;
    case EMC_SCORING_FIRST:
        return logs->first;
    case EMC_SCORING_PRIOR:
        return logs->joint - log_prior;
    default:
        return logs->joint;
    }
}

typedef struct {
    const naive *v;
    naive_answers *answers;
    int n;
} asking;

static emc_status ask_cell(void *context, const emc_cell_prompt *prompt)
{
    asking *a = context;

    if (prompt->status != EMC_CELL_OK || a->answers->n == a->n)
        return EMC_OK;
    const int at = a->answers->n++;
    snprintf(a->answers->cell_ids[at], sizeof(a->answers->cell_ids[at]), "%s", prompt->cell_id);
    ask_naively(a->v, prompt->ids, prompt->n_ids, a->answers->cells[at]);
    return EMC_OK;
}

void naive_make(naive_answers *answers, int n, const char *cells, const char *model_dir)
{
    naive v;
    asking a = {&v, answers, n};
    emc_prompts_options o = {.input_path = cells, .tokenizer_dir = model_dir};
    emc_rendered empty = {0};

    assert_true(n <= N_NAIVE);
    *answers = (naive_answers){0};

    o.input.min_gene_match = -1;
    open_naive(&v, model_dir);
    EMT_OK(emc_prompts(&o, ask_cell, &a));
    assert_int_equal(answers->n, n);
    EMT_OK(emc_prompter_render_names(v.prompter, NULL, 0, &empty));
    assert_non_null(strstr(empty.prompt.text.bytes, "\nGenes: \nCell type:"));
    ask_naively(&v, empty.ids.ids, (int)empty.ids.n, answers->empty);
    emc_rendered_free(&empty);
    close_naive(&v);
}
