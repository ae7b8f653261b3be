/*
 * Does the host keep up with the model? From .h5ad to token ids on one core, as the reading thread
 * of a run does it: rows, ranking, prompt ids.
 *
 *     bench_prompts [--quick] FILE TOKENIZER_DIR [PROFILE]
 *
 * Time is this thread's on its core. The design asks for 1,000 cells a second on two cores.
 */
#include "annotate/input.h"
#include "annotate/prompt.h"
#include "bench/bench.h"

typedef struct {
    emc_profile *profile;
    emc_tokenizer *tokenizer;
    emc_input *input;
    emc_prompter *prompter;
} setting;

static emc_status set_up(setting *s, const char *file, const char *tokenizer, const char *profile)
{
    const emc_input_options options = {.min_gene_match = -1};

    EMC_TRY(emc_profile_open(&s->profile, profile));
    EMC_TRY(emc_tokenizer_open(&s->tokenizer, tokenizer));
    EMC_TRY(emc_input_open(&s->input, file, &options, emc_profile_get(s->profile), NULL, 0));
    const emc_prompter_options wanted = {.profile = s->profile, .tokenizer = s->tokenizer};
    EMC_TRY(emc_prompter_open(&s->prompter, &wanted));
    const emc_genes *genes = emc_input_genes(s->input);
    return emc_prompter_set_genes(s->prompter, emc_genes_names(genes), emc_genes_count(genes));
}

static void tear_down(setting *s)
{
    emc_prompter_close(s->prompter);
    emc_input_close(s->input);
    emc_tokenizer_close(s->tokenizer);
    emc_profile_close(s->profile);
}

typedef struct {
    int64_t n_cells, n_tokens;
    double seconds, rendering;
} measure;

static emc_status run_once(setting *s, measure *out)
{
    emc_rendered rendered = {0};
    emc_status status = emc_input_seek(s->input, 0, emc_input_n_cells(s->input));
    const double begin = bench_thread_now();

    *out = (measure){0};
    while (status == EMC_OK) {
        emc_input_cell cell;
        bool more;
        status = emc_input_next(s->input, &cell, &more);
        if (status != EMC_OK || !more)
            break;
        const double before = bench_thread_now();
        status = emc_prompter_render(s->prompter, cell.ranked.genes, cell.ranked.n_top, false,
                                     &rendered);
        out->rendering += bench_thread_now() - before;
        out->n_cells++;
        out->n_tokens += (int64_t)rendered.ids.n;
    }
    out->seconds = bench_thread_now() - begin;
    emc_rendered_free(&rendered);
    return status;
}

int main(int argc, char **argv)
{
    const bool quick = bench_is_quick(argc, argv);
    const char *args[3] = {NULL, NULL, NULL};
    setting s = {0};
    bench_runs runs = {0};
    measure m = {0};
    int n = 0;

    for (int i = 1; i < argc && n < 3; i++)
        if (strcmp(argv[i], "--quick") != 0)
            args[n++] = argv[i];
    if (n < 2) {
        fprintf(stderr, "usage: bench_prompts [--quick] FILE TOKENIZER_DIR [PROFILE]\n");
        return 2;
    }
    emc_status status = set_up(&s, args[0], args[1], args[2]);
    for (int i = 0; i < (quick ? 1 : 7) && status == EMC_OK; i++) {
        status = run_once(&s, &m);
        bench_add(&runs, m.seconds);
    }
    if (status == EMC_OK)
        printf("%s, profile %s: %.0f cells/s a core (spread %.0f %%), rendering alone %.0f "
               "cells/s, %.0f tokens a cell, ids are %s\n",
               args[0], emc_profile_get(s.profile)->name, (double)m.n_cells / bench_median(&runs),
               100 * bench_spread(&runs), (double)m.n_cells / m.rendering,
               (double)m.n_tokens / (double)m.n_cells,
               emc_prompter_is_fast(s.prompter) ? "copied" : "computed");
    else
        fprintf(stderr, "bench_prompts: %s\n", emc_message());
    tear_down(&s);
    return status == EMC_OK ? 0 : 1;
}
