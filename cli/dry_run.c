/* emcell annotate --dry-run: the work is in annotate/dry_run.c. */
#include "cli/dry_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "annotate/dry_run.h"
#include "base/text.h"
#include "cli/common.h"
#include "cli/options.h"

#define MOST_BARS 16
#define BAR_CHARS 40
#define INDENT    "           "

/* ---- the histogram ---- */

typedef struct {
    int first, width; /* bar i counts lengths first + i * width and the width - 1 after it */
    int n;
    int64_t count[MOST_BARS];
    int64_t most;
} bars;

/* 1, 2 or 5 times a power of ten, so that the bars are few and their borders easy to read. */
static int bar_width(int span)
{
    static const int steps[] = {1, 2, 5};
    int width = 1, unit = 1;

    for (int i = 0; span / width + 2 > MOST_BARS; i++) {
        if (i % 3 == 0 && i > 0)
            unit *= 10;
        width = steps[i % 3] * unit;
    }
    return width;
}

static void make_bars(bars *b, const emc_token_counts *t)
{
    *b = (bars){.width = bar_width(t->max - t->min)};
    b->first = t->min / b->width * b->width;
    for (int i = t->min; i <= t->max; i++) {
        const int bar = (i - b->first) / b->width;
        b->count[bar] += t->n_of_length[i];
        b->n = bar + 1;
        if (b->count[bar] > b->most)
            b->most = b->count[bar];
    }
}

static emc_status add_bars(emc_text *out, const emc_token_counts *t)
{
    static const char full[] = "########################################";
    bars b;

    make_bars(&b, t);
    for (int i = 0; i < b.n; i++) {
        const int from = b.first + i * b.width;
        const int length = (int)ceil((double)b.count[i] / (double)b.most * BAR_CHARS);
        EMC_TRY(emc_text_addf(out, INDENT "%6d-%-6d |%-*.*s %9lld\n", from, from + b.width - 1,
                              BAR_CHARS, length, full, (long long)b.count[i]));
    }
    return EMC_OK;
}

/* ---- text ---- */

static emc_status add_input(emc_text *out, const emc_dry_run *d)
{
    EMC_TRY(emc_text_addf(out, "Input      %s\n", d->input_description));
    EMC_TRY(emc_text_addf(out, INDENT "%lld of %lld cells are chosen\n", (long long)d->n_cells,
                          (long long)d->n_rows));
    return emc_text_addf(out, INDENT "%.1f %% of %d gene names are known, %d would be renamed\n",
                         100 * d->gene_match, d->n_genes, d->n_genes_renamed);
}

static emc_status add_question(emc_text *out, const emc_dry_run *d)
{
    EMC_TRY(emc_text_addf(out, "Question   profile %s, answer %s, at most %d genes a cell\n",
                          d->profile_name, emc_answer_mode_name(d->answer), d->n_genes_listed));
    EMC_TRY(emc_text_addf(out,
                          INDENT "%d labels of %d tokens (the longest %d), %d inner nodes of "
                                 "their trie\n",
                          d->n_labels, d->n_choice_ids, d->longest_label, d->n_inner));
    if (d->prefix_tokens == 0)
        return emc_text_add_string(out, INDENT "no common prefix is computed beforehand\n");
    return emc_text_addf(out, INDENT "a common prefix of %d tokens, of %lld prompts\n",
                         d->prefix_tokens, (long long)d->n_with_prefix);
}

static emc_status add_cells(emc_text *out, const emc_dry_run *d)
{
    const int64_t bad = d->n_status[EMC_CELL_FAILED] - d->n_too_long;

    EMC_TRY(emc_text_addf(out, "Cells      %9lld would be asked\n",
                          (long long)d->n_status[EMC_CELL_OK]));
    const struct {
        int64_t n;
        const char *what;
    } rest[] = {
        {d->n_status[EMC_CELL_EMPTY], "empty: no gene is expressed"},
        {d->n_status[EMC_CELL_TOO_FEW_GENES], "too_few_genes: see --min-genes"},
        {d->n_too_long, "failed, prompt_too_long: see --n-genes"},
        {bad, "failed, bad_value"},
        {d->n_unread, "of shards that cannot be read and would be given up"},
    };
    for (size_t i = 0; i < EMC_COUNT(rest); i++) {
        if (rest[i].n > 0)
            EMC_TRY(emc_text_addf(out, INDENT "%9lld %s\n", (long long)rest[i].n, rest[i].what));
    }
    return d->unread_reason ? emc_text_addf(out, INDENT "%s\n", d->unread_reason) : EMC_OK;
}

static emc_status add_tokens(emc_text *out, const emc_dry_run *d)
{
    const emc_token_counts *t = &d->tokens;

    if (t->n_prompts == 0)
        return emc_text_add_string(out, "Tokens     none: no cell would be asked\n");
    EMC_TRY(emc_text_addf(out, "Tokens     %lld in %lld prompts\n", (long long)t->total,
                          (long long)t->n_prompts));
    EMC_TRY(emc_text_addf(out, INDENT "of one: min %d, median %d, 95 %% %d, max %d, mean %.1f\n",
                          t->min, t->p50, t->p95, t->max, t->mean));
    return add_bars(out, t);
}

/* "12.3 TFLOP". */
static void print_flop(char *out, size_t n, double flop)
{
    if (flop >= 1e12)
        snprintf(out, n, "%.4g TFLOP", flop * 1e-12);
    else
        snprintf(out, n, "%.4g GFLOP", flop * 1e-9);
}

static emc_status add_work(emc_text *out, const emc_dry_run *d)
{
    const emc_flop *f = &d->flop;
    const double all = f->products + f->attention + f->head + f->adapter;
    const double answers = d->answer_cost.n_rows * (double)d->tokens.n_prompts;
    char text[32];

    EMC_TRY(emc_text_addf(out, "Work       %.0f rows in %.0f steps of %d\n", d->work.n_rows,
                          d->time.n_steps, d->engine.options.max_num_batched_tokens));
    EMC_TRY(emc_text_addf(out, INDENT "prefix %d, prompts %.0f, answers %.0f (%.2f a cell%s)\n",
                          d->prefix_tokens, d->work.n_rows - answers - d->prefix_tokens, answers,
                          d->answer_cost.n_rows, d->answer_cost.is_assumed ? ", assumed" : ""));
    print_flop(text, sizeof text, all);
    EMC_TRY(emc_text_addf(out, INDENT "%s", text));
    if (all > 0)
        EMC_TRY(emc_text_addf(out, ": products %.1f %%, attention %.1f %%, head %.1f %%",
                              100 * f->products / all, 100 * f->attention / all,
                              100 * f->head / all));
    if (f->adapter > 0)
        EMC_TRY(emc_text_addf(out, ", adapter %.1f %%", 100 * f->adapter / all));
    return emc_text_add_string(out, "\n");
}

static double memory_of(const emc_memory_plan *m)
{
    return (double)m->weights + (double)m->activations + (double)m->steps + (double)m->pages;
}

static emc_status add_memory(emc_text *out, const emc_dry_run *d)
{
    const emc_memory_plan *m = &d->engine.memory;

    EMC_TRY(emc_text_addf(out,
                          "Memory     %.3f GB%s: weights %.3f (%s), activations %.3f,\n" INDENT
                          "steps %.3f, %d pages of K and V %.3f\n",
                          1e-9 * memory_of(m), strchr(d->device_name, ',') ? " on each GPU" : "",
                          1e-9 * (double)m->weights, emc_dtype_name(d->dtype),
                          1e-9 * (double)m->activations, 1e-9 * (double)m->steps, m->n_pages,
                          1e-9 * (double)m->pages));
    if (!d->fits)
        return emc_text_addf(out, INDENT "does not fit: %s\n", d->does_not_fit);
    if (m->device_whole == 0)
        return EMC_OK;
    return emc_text_addf(out, INDENT "fits: %.2f of %.2f GB are free\n",
                         1e-9 * (double)m->device_free, 1e-9 * (double)m->device_whole);
}

static emc_status add_time(emc_text *out, const emc_dry_run *d)
{
    const double seconds = d->time.seconds, n = (double)d->tokens.n_prompts;
    char took[32];

    EMC_TRY(emc_text_addf(out, "Device     %s%s%s\n", d->device_name, *d->device_reason ? "; " : "",
                          d->device_reason));
    if (*d->device_absent)
        return emc_text_addf(out, INDENT "not here: there is no estimated time\n" INDENT "%s\n",
                             d->device_absent);
    EMC_TRY(emc_text_addf(out, INDENT "%s\n", d->device));
    if (!d->is_timed)
        return emc_text_add_string(out, INDENT "it could not be measured: no estimated time\n");
    cli_duration(took, sizeof took, seconds);
    EMC_TRY(emc_text_addf(out, "Time       about %s for the cells", took));
    if (seconds > 0 && n > 0)
        EMC_TRY(emc_text_addf(out, " (%.*f cells/s)", cli_rate_digits(n / seconds), n / seconds));
    return emc_text_addf(out,
                         ", an estimate:\n" INDENT
                         "a part of the %.3g TFLOP/s and %.3g GB/s that were measured now\n",
                         1e-12 * d->ceilings.product_flops, 1e-9 * d->ceilings.copy_bytes);
}

static emc_status add_folder(emc_text *out, const emc_dry_run *d)
{
    if (d->begun)
        return emc_text_addf(out,
                             "Run        %s: %lld of %lld shards are done; all cells are "
                             "counted above\n",
                             d->run_dir, (long long)d->n_shards_done, (long long)d->n_shards);
    return emc_text_addf(out, "Run        %s would be made; nothing was written\n",
                         d->run_dir ? d->run_dir : "a temporary folder");
}

static emc_status make_text(emc_text *out, const emc_dry_run *d)
{
    EMC_TRY(add_input(out, d));
    EMC_TRY(add_question(out, d));
    EMC_TRY(add_cells(out, d));
    EMC_TRY(add_tokens(out, d));
    EMC_TRY(add_work(out, d));
    EMC_TRY(add_memory(out, d));
    EMC_TRY(add_time(out, d));
    return add_folder(out, d);
}

/* ---- JSON ---- */

/* `, "name": "value"`; null for NULL. */
static emc_status add_string(emc_text *out, const char *name, const char *value)
{
    EMC_TRY(emc_text_addf(out, ", \"%s\": ", name));
    return value ? emc_text_add_json(out, value, strlen(value)) : emc_text_add_string(out, "null");
}

static emc_status add_json_cells(emc_text *out, const emc_dry_run *d)
{
    EMC_TRY(emc_text_addf(out, "{\"n_rows\": %lld, \"n_cells\": %lld", (long long)d->n_rows,
                          (long long)d->n_cells));
    EMC_TRY(add_string(out, "input", d->input_description));
    EMC_TRY(emc_text_addf(out,
                          ", \"n_genes\": %d, \"gene_match\": %.6g, \"n_genes_renamed\": %d, "
                          "\"n_genes_listed\": %d",
                          d->n_genes, d->gene_match, d->n_genes_renamed, d->n_genes_listed));
    EMC_TRY(emc_text_add_string(out, ", \"status\": {"));
    for (int i = 0; i < EMC_N_CELL_STATUSES; i++)
        EMC_TRY(emc_text_addf(out, "%s\"%s\": %lld", i > 0 ? ", " : "",
                              emc_cell_status_name((emc_cell_status)i), (long long)d->n_status[i]));
    EMC_TRY(emc_text_addf(out, "}, \"n_too_long\": %lld, \"n_unread\": %lld",
                          (long long)d->n_too_long, (long long)d->n_unread));
    EMC_TRY(add_string(out, "unread_reason", d->unread_reason));
    return emc_text_addf(out, ", \"seconds_read\": %.3f", d->seconds_read);
}

static emc_status add_json_question(emc_text *out, const emc_dry_run *d)
{
    EMC_TRY(add_string(out, "profile", d->profile_name));
    EMC_TRY(add_string(out, "answer", emc_answer_mode_name(d->answer)));
    return emc_text_addf(out,
                         ", \"n_labels\": %d, \"n_label_tokens\": %d, \"longest_label\": %d, "
                         "\"n_inner\": %d, \"prefix_tokens\": %d, \"n_with_prefix\": %lld, "
                         "\"fixed_tokens\": %d, \"max_prompt\": %d",
                         d->n_labels, d->n_choice_ids, d->longest_label, d->n_inner,
                         d->prefix_tokens, (long long)d->n_with_prefix, d->n_fixed, d->max_prompt);
}

static emc_status add_json_tokens(emc_text *out, const emc_token_counts *t)
{
    bool first = true;

    EMC_TRY(emc_text_addf(out,
                          ", \"tokens\": {\"n_prompts\": %lld, \"total\": %lld, \"min\": %d, "
                          "\"p50\": %d, \"p95\": %d, \"max\": %d, \"mean\": %.6g, "
                          "\"histogram\": [",
                          (long long)t->n_prompts, (long long)t->total, t->min, t->p50, t->p95,
                          t->max, t->mean));
    for (int i = t->min; t->n_prompts > 0 && i <= t->max; i++) {
        if (t->n_of_length[i] == 0)
            continue;
        EMC_TRY(
            emc_text_addf(out, "%s[%d, %lld]", first ? "" : ", ", i, (long long)t->n_of_length[i]));
        first = false;
    }
    return emc_text_add_string(out, "]}");
}

static emc_status add_json_engine(emc_text *out, const emc_dry_run *d)
{
    const emc_memory_plan *m = &d->engine.memory;
    const emc_flop *f = &d->flop;

    EMC_TRY(emc_text_addf(out,
                          ", \"work\": {\"rows\": %.15g, \"readers\": %.15g, \"steps\": %.15g, "
                          "\"step_rows\": %d, \"answer_rows\": %.6g, \"answer_assumed\": %s}",
                          d->work.n_rows, d->work.n_readers, d->time.n_steps,
                          d->engine.options.max_num_batched_tokens, d->answer_cost.n_rows,
                          d->answer_cost.is_assumed ? "true" : "false"));
    EMC_TRY(emc_text_addf(out,
                          ", \"flop\": {\"products\": %.15g, \"attention\": %.15g, \"head\": "
                          "%.15g, \"adapter\": %.15g}",
                          f->products, f->attention, f->head, f->adapter));
    EMC_TRY(emc_text_addf(out,
                          ", \"memory\": {\"weights\": %zu, \"activations\": %zu, \"steps\": %zu, "
                          "\"pages\": %zu, \"n_pages\": %d, \"page_bytes\": %zu, \"device_free\": "
                          "%zu, \"device_whole\": %zu, \"fits\": %s",
                          m->weights, m->activations, m->steps, m->pages, m->n_pages, m->page_bytes,
                          m->device_free, m->device_whole, d->fits ? "true" : "false"));
    EMC_TRY(add_string(out, "does_not_fit", d->fits ? NULL : d->does_not_fit));
    return emc_text_add_string(out, "}");
}

static emc_status add_json_device(emc_text *out, const emc_dry_run *d)
{
    EMC_TRY(add_string(out, "device", d->device_name));
    EMC_TRY(add_string(out, "device_description", *d->device_absent ? NULL : d->device));
    EMC_TRY(add_string(out, "device_absent", *d->device_absent ? d->device_absent : NULL));
    EMC_TRY(add_string(out, "dtype", emc_dtype_name(d->dtype)));
    if (d->is_timed)
        EMC_TRY(emc_text_addf(out,
                              ", \"seconds\": %.6g, \"product_flops\": %.6g, \"copy_bytes\": %.6g",
                              d->time.seconds, d->ceilings.product_flops, d->ceilings.copy_bytes));
    else
        EMC_TRY(emc_text_add_string(
            out, ", \"seconds\": null, \"product_flops\": null, \"copy_bytes\": null"));
    EMC_TRY(add_string(out, "run_dir", d->run_dir));
    return emc_text_addf(out, ", \"n_shards\": %lld, \"n_shards_done\": %lld}\n",
                         (long long)d->n_shards, (long long)d->n_shards_done);
}

static emc_status make_json(emc_text *out, const emc_dry_run *d)
{
    EMC_TRY(add_json_cells(out, d));
    EMC_TRY(add_json_question(out, d));
    EMC_TRY(add_json_tokens(out, &d->tokens));
    EMC_TRY(add_json_engine(out, d));
    return add_json_device(out, d);
}

/* ---- the command ---- */

int cli_dry_run(const emc_annotate_options *options, cli_log *log)
{
    emc_dry_run *dry = NULL;
    emc_text text = {0};
    int exit_code = 0;
    emc_status status = emc_annotate_dry_run(&dry, options);

    cli_log_finish(log);
    if (status == EMC_OK)
        status = log->json ? make_json(&text, dry) : make_text(&text, dry);
    if (status == EMC_OK && (fwrite(text.bytes, 1, text.n, stdout) != text.n || fflush(stdout)))
        status = emc_fail(EMC_ERR_IO, "standard output cannot be written");
    if (status != EMC_OK) {
        exit_code = cli_log_fail(log, "annotate", status);
        /* There is nothing to go on with. */
        if (status == EMC_ERR_CANCELLED && cli_interrupted())
            exit_code = cli_interrupted();
    }
    emc_text_free(&text);
    emc_dry_run_close(dry);
    return exit_code;
}
