/* How robust is an answer? The same cells with fewer genes, genes left out, another order, other
 * words. */

#include "annotate/evaluate/sweep.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "base/size.h"

static const int gene_counts[] = {10, 25, 50, 100, 200, 500};
static const int dropouts[] = {10, 25, 50}; /* percent */
#define N_ORDERS 3

const char *emc_sweep_name(emc_sweep sweep)
{
    static const char *const names[EMC_N_SWEEPS] = {"n_genes", "dropout", "shuffle",
                                                    "candidate_order", "wording"};

    return (unsigned)sweep < EMC_N_SWEEPS ? names[sweep] : "";
}

void eval_questions_free(eval_questions *q)
{
    free(q->questions);
    free(q->genes);
    free(q->values);
    free(q->candidates);
    *q = (eval_questions){0};
}

/* --- which passes --- */

typedef struct {
    eval_pass *passes;
    size_t n, room;
} pass_list;

static emc_status add_pass(pass_list *list, const eval_pass *pass)
{
    EMC_TRY(emc_reserve(&list->passes, &list->room, list->n + 1, sizeof *list->passes, "passes"));
    list->passes[list->n++] = *pass;
    return EMC_OK;
}

static emc_status add_level(pass_list *list, emc_sweep sweep, double amount, int shown)
{
    eval_pass pass = {
        .kind = emc_sweep_name(sweep), .sweep = sweep, .amount = amount, .held_out = -1};

    snprintf(pass.level, sizeof pass.level, "%d", shown);
    return add_pass(list, &pass);
}

static emc_status add_sweeps(pass_list *list, const emc_evaluate_options *o, bool uses_words,
                             const int *items, int n_items)
{
    int most_genes = 0;

    for (int i = 0; i < n_items; i++) {
        const int n = emc_benchmark_item(o->benchmark, items[i])->n_genes;
        most_genes = n > most_genes ? n : most_genes;
    }
    const unsigned wanted = o->sweeps;
    if (most_genes > 0 && (wanted & 1u << EMC_SWEEP_N_GENES))
        for (size_t i = 0; i < EMC_COUNT(gene_counts); i++)
            if (gene_counts[i] <= most_genes)
                EMC_TRY(add_level(list, EMC_SWEEP_N_GENES, gene_counts[i], gene_counts[i]));
    if (most_genes > 0 && (wanted & 1u << EMC_SWEEP_DROPOUT))
        for (size_t i = 0; i < EMC_COUNT(dropouts); i++)
            EMC_TRY(add_level(list, EMC_SWEEP_DROPOUT, dropouts[i] / 100.0, dropouts[i]));
    if (most_genes > 0 && (wanted & 1u << EMC_SWEEP_SHUFFLE))
        EMC_TRY(add_level(list, EMC_SWEEP_SHUFFLE, 1, 1));
    if (uses_words && (wanted & 1u << EMC_SWEEP_CANDIDATE_ORDER))
        for (int i = 1; i <= N_ORDERS; i++)
            EMC_TRY(add_level(list, EMC_SWEEP_CANDIDATE_ORDER, i, i));
    if (uses_words && (wanted & 1u << EMC_SWEEP_WORDING))
        for (int i = 1; i < o->n_wordings; i++)
            EMC_TRY(add_level(list, EMC_SWEEP_WORDING, i, i));
    return EMC_OK;
}

static emc_status add_held_out(pass_list *list, const emc_evaluate_options *o)
{
    eval_pass pass = {.kind = "open_set", .held_out = -1};
    emc_label_match match;

    EMC_TRY(emc_labels_match(emc_benchmark_labels(o->benchmark), o->held_out, strlen(o->held_out),
                             &match));
    if (match.label < 0)
        return emc_fail(EMC_ERR_CONFIG, "--hold-out: \"%s\" is no label of benchmark %s",
                        o->held_out, emc_benchmark_get(o->benchmark)->name);
    pass.held_out = match.label;
    snprintf(pass.level, sizeof pass.level, "%.90s",
             emc_labels_get(emc_benchmark_labels(o->benchmark), match.label)->label);
    return add_pass(list, &pass);
}

emc_status eval_passes(eval_pass **out, int *n, const emc_evaluate_options *options,
                       const char *system_kind, const int *items, int n_items)
{
    const bool uses_words =
        strcmp(system_kind, "model") == 0 || strcmp(system_kind, "endpoint") == 0;
    const bool answers_changes = strcmp(system_kind, "csv") != 0;
    pass_list list = {0};
    emc_status status = add_pass(&list, &(eval_pass){.held_out = -1});

    if (status == EMC_OK && answers_changes)
        status = add_sweeps(&list, options, uses_words, items, n_items);
    if (status == EMC_OK && answers_changes && options->held_out)
        status = add_held_out(&list, options);
    if (status != EMC_OK) {
        free(list.passes);
        list = (pass_list){0};
    }
    *out = list.passes;
    *n = (int)list.n;
    return status;
}

/* --- what they ask --- */

static emc_random random_of(const emc_evaluate_options *o, const eval_pass *pass, const char *id)
{
    emc_random level = emc_random_of(o->seed, pass->level, strlen(pass->level));
    const uint64_t seed = emc_random_next(&level) + (uint64_t)pass->sweep;

    return emc_random_of(seed, id, strlen(id));
}

/* Which of the item's genes are kept, in which order; returns how many. */
static int choose_genes(int32_t *order, const emc_evaluate_options *o, const eval_pass *pass,
                        const emc_bench_item *item)
{
    emc_random random = random_of(o, pass, item->id);
    int n = 0;

    if (pass->sweep == EMC_SWEEP_DROPOUT) {
        for (int i = 0; i < item->n_genes; i++)
            if (emc_random_share(&random) >= pass->amount)
                order[n++] = i;
        return n;
    }
    for (int i = 0; i < item->n_genes; i++)
        order[n++] = i;
    if (pass->sweep == EMC_SWEEP_N_GENES)
        return n < (int)pass->amount ? n : (int)pass->amount;
    /* Those that a prompt lists change places, so that it lists the same ones. */
    const int listed = o->n_listed > 0 && o->n_listed < n ? o->n_listed : n;
    emc_random_shuffle(&random, order, (size_t)listed);
    return n;
}

static emc_status change_genes(eval_questions *out, const emc_evaluate_options *o,
                               const eval_pass *pass)
{
    size_t total = 0;
    int32_t *order = NULL;
    int most = 0;

    for (int i = 0; i < out->n; i++) {
        total += (size_t)out->questions[i].n_genes;
        most = out->questions[i].n_genes > most ? out->questions[i].n_genes : most;
    }
    EMC_TRY(emc_alloc(&out->genes, total + 1, sizeof *out->genes, "genes"));
    EMC_TRY(emc_alloc(&out->values, total + 1, sizeof *out->values, "genes"));
    EMC_TRY(emc_alloc(&order, (size_t)most + 1, sizeof *order, "genes"));
    size_t at = 0;
    for (int i = 0; i < out->n; i++) {
        emc_question *q = &out->questions[i];
        const emc_bench_item *item = emc_benchmark_item(o->benchmark, q->item);
        const int n = choose_genes(order, o, pass, item);
        for (int g = 0; g < n; g++) {
            out->genes[at + (size_t)g] = item->genes[order[g]];
            out->values[at + (size_t)g] = item->values ? item->values[order[g]] : 0;
        }
        q->genes = out->genes + at;
        q->values = item->values ? out->values + at : NULL;
        q->n_genes = n;
        if (pass->sweep == EMC_SWEEP_N_GENES)
            q->n_listed = (int)pass->amount;
        at += (size_t)n;
    }
    free(order);
    return EMC_OK;
}

/* Items without candidates of their own share one order, so that prompts keep a common prefix. */
static emc_status change_candidates(eval_questions *out, const emc_evaluate_options *o,
                                    const eval_pass *pass)
{
    const int n_labels = emc_labels_count(emc_benchmark_labels(o->benchmark));
    size_t at = (size_t)n_labels, total = at;
    emc_random random = random_of(o, pass, "");

    for (int i = 0; i < out->n; i++)
        total += (size_t)out->questions[i].n_candidates;
    EMC_TRY(emc_alloc(&out->candidates, total, sizeof *out->candidates, "candidates"));
    for (int i = 0; i < n_labels; i++)
        out->candidates[i] = i;
    emc_random_shuffle(&random, out->candidates, (size_t)n_labels);
    for (int i = 0; i < out->n; i++) {
        emc_question *q = &out->questions[i];
        if (q->n_candidates == 0) {
            q->candidates = out->candidates;
            q->n_candidates = n_labels;
            continue;
        }
        int *own = out->candidates + at;
        at += (size_t)q->n_candidates;
        memcpy(own, q->candidates, (size_t)q->n_candidates * sizeof *own);
        random = random_of(o, pass, emc_benchmark_item(o->benchmark, q->item)->id);
        emc_random_shuffle(&random, own, (size_t)q->n_candidates);
        q->candidates = own;
    }
    return EMC_OK;
}

emc_status eval_questions_make(eval_questions *out, const emc_evaluate_options *options,
                               const eval_pass *pass, const int *items, int n_items)
{
    *out = (eval_questions){0};
    EMC_TRY(emc_alloc(&out->questions, (size_t)n_items + 1, sizeof *out->questions, "questions"));
    out->n = n_items;
    for (int i = 0; i < n_items; i++) {
        const emc_bench_item *item = emc_benchmark_item(options->benchmark, items[i]);
        out->questions[i] = (emc_question){.item = items[i],
                                           .genes = item->genes,
                                           .values = item->values,
                                           .n_genes = item->n_genes,
                                           .candidates = item->candidates,
                                           .n_candidates = item->n_candidates};
    }
    if (!pass->kind || pass->held_out >= 0)
        return EMC_OK;
    switch (pass->sweep) {
    case EMC_SWEEP_CANDIDATE_ORDER:
        return change_candidates(out, options, pass);
    case EMC_SWEEP_WORDING:
        for (int i = 0; i < n_items; i++)
            out->questions[i].wording = (int)pass->amount;
        return EMC_OK;
    default:
        return change_genes(out, options, pass);
    }
}
