/* emcell prompt: the same rendering as a run's, without a model. */

#include <stdlib.h>
#include <string.h>

#include "annotate/input.h"
#include "annotate/labels.h"
#include "annotate/prompt.h"
#include "annotate/run.h"
#include "base/size.h"

/* What rendering a file needs, in the order it is opened. */
typedef struct {
    emc_profile *profile;
    emc_labels *labels;
    emc_tokenizer *tokenizer;
    emc_input *input;
    emc_prompter *prompter;
    emc_rendered rendered;
    const char **genes; /* [n_genes_listed] names of one cell */
} work;

static void close_work(work *w)
{
    free(w->genes);
    emc_rendered_free(&w->rendered);
    emc_prompter_close(w->prompter);
    emc_input_close(w->input);
    emc_tokenizer_close(w->tokenizer);
    emc_labels_close(w->labels);
    emc_profile_close(w->profile);
}

static emc_status open_work(work *w, const emc_prompts_options *options)
{
    emc_input_options input = options->input;
    const emc_profile_info *info;

    input.on_log = options->on_log;
    input.log_context = options->context;
    EMC_TRY(emc_profile_open(&w->profile, options->profile));
    info = emc_profile_get(w->profile);
    if (options->labels_path)
        EMC_TRY(emc_labels_read(&w->labels, options->labels_path));
    else if (info->n_labels > 0)
        EMC_TRY(emc_labels_from_profile(&w->labels, w->profile));
    if (options->tokenizer_dir)
        EMC_TRY(emc_tokenizer_open(&w->tokenizer, options->tokenizer_dir));
    EMC_TRY(emc_input_open(&w->input, options->input_path, &input, info, options->obs_columns,
                           options->n_obs_columns));
    const emc_prompter_options wanted = {
        .profile = w->profile,
        .labels = w->labels,
        .tokenizer = w->tokenizer,
        .n_genes = emc_input_n_genes_listed(w->input),
    };
    EMC_TRY(emc_prompter_open(&w->prompter, &wanted));
    const emc_genes *genes = emc_input_genes(w->input);
    EMC_TRY(emc_prompter_set_genes(w->prompter, emc_genes_names(genes), emc_genes_count(genes)));
    return emc_alloc(&w->genes, (size_t)emc_input_n_genes_listed(w->input), sizeof(*w->genes),
                     "genes of a cell");
}

static emc_status print_cell(work *w, const emc_input_cell *cell,
                             emc_status (*each)(void *context, const emc_cell_prompt *prompt),
                             void *context)
{
    const emc_genes *genes = emc_input_genes(w->input);
    const int n = cell->ranked.n_top;
    emc_cell_prompt prompt = {
        .cell_id = cell->cell_id,
        .text = "",
        .genes = w->genes,
        .n_genes = n,
        .status = cell->status,
        .reason = cell->reason,
        .obs = cell->obs,
    };

    for (int i = 0; i < n; i++)
        w->genes[i] = emc_genes_name(genes, cell->ranked.genes[i]);
    if (cell->status == EMC_CELL_OK || cell->status == EMC_CELL_TOO_FEW_GENES) {
        EMC_TRY(emc_prompter_render(w->prompter, cell->ranked.genes, n, true, &w->rendered));
        prompt.text = w->rendered.prompt.text.bytes;
        prompt.n_text = w->rendered.prompt.text.n;
        if (w->tokenizer) {
            prompt.ids = w->rendered.ids.ids;
            prompt.n_ids = (int)w->rendered.ids.n;
        }
    }
    return each(context, &prompt);
}

static emc_status print_cells(work *w, const emc_prompts_options *options,
                              emc_status (*each)(void *context, const emc_cell_prompt *prompt),
                              void *context)
{
    emc_input_cell cell;
    bool more;

    if (options->cell_id) {
        const emc_cells *cells = emc_input_cells(w->input);
        const int64_t row = emc_cells_find(cells, options->cell_id);
        const int64_t position = row < 0 ? -1 : emc_input_position(w->input, row);
        if (position < 0)
            return emc_fail(EMC_ERR_NOT_FOUND, "%s: no cell \"%s\"%s; the first is \"%s\"",
                            options->input_path, options->cell_id,
                            row < 0 ? "" : " among the chosen ones",
                            emc_cells_id(cells, emc_input_row(w->input, 0)));
        EMC_TRY(emc_input_seek(w->input, position, 1));
        EMC_TRY(emc_input_next(w->input, &cell, &more));
        return print_cell(w, &cell, each, context);
    }
    for (;;) {
        if (options->cancel && *options->cancel)
            return emc_fail(EMC_ERR_CANCELLED, "interrupted");
        EMC_TRY(emc_input_next(w->input, &cell, &more));
        if (!more)
            return EMC_OK;
        EMC_TRY(print_cell(w, &cell, each, context));
    }
}

emc_status emc_prompts(const emc_prompts_options *options,
                       emc_status (*each)(void *context, const emc_cell_prompt *prompt),
                       void *context)
{
    work w = {0};
    emc_status status = open_work(&w, options);

    if (status == EMC_OK)
        status = print_cells(&w, options, each, context);
    close_work(&w);
    return status;
}

static emc_status add_genes(emc_text *out, const emc_cell_prompt *prompt)
{
    EMC_TRY(emc_text_addf(out, ", \"n_genes\": %d, \"genes\": [", prompt->n_genes));
    for (int i = 0; i < prompt->n_genes; i++) {
        if (i > 0)
            EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(emc_text_add_json(out, prompt->genes[i], strlen(prompt->genes[i])));
    }
    return emc_text_add_string(out, "]");
}

static emc_status add_obs(emc_text *out, const emc_cell_prompt *prompt,
                          const emc_prompts_options *options)
{
    EMC_TRY(emc_text_add_string(out, ", \"obs\": {"));
    for (int i = 0; i < options->n_obs_columns; i++) {
        const char *column = options->obs_columns[i], *value = prompt->obs[i];
        if (i > 0)
            EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(emc_text_add_json(out, column, strlen(column)));
        EMC_TRY(emc_text_add_string(out, ": "));
        if (value)
            EMC_TRY(emc_text_add_json(out, value, strlen(value)));
        else
            EMC_TRY(emc_text_add_string(out, "null"));
    }
    return emc_text_add_string(out, "}");
}

emc_status emc_cell_prompt_json(emc_text *out, const emc_cell_prompt *prompt,
                                const emc_prompts_options *options)
{
    EMC_TRY(emc_text_add_string(out, "{\"cell_id\": "));
    EMC_TRY(emc_text_add_json(out, prompt->cell_id, strlen(prompt->cell_id)));
    EMC_TRY(emc_text_add_string(out, ", \"prompt\": "));
    EMC_TRY(emc_text_add_json(out, prompt->text, prompt->n_text));
    if (prompt->ids) {
        EMC_TRY(emc_text_add_string(out, ", \"ids\": ["));
        for (int i = 0; i < prompt->n_ids; i++)
            EMC_TRY(emc_text_addf(out, i > 0 ? ", %d" : "%d", (int)prompt->ids[i]));
        EMC_TRY(emc_text_addf(out, "], \"n_tokens\": %d", prompt->n_ids));
    }
    EMC_TRY(add_genes(out, prompt));
    EMC_TRY(emc_text_addf(out, ", \"status\": \"%s\"", emc_cell_status_name(prompt->status)));
    if (options->n_obs_columns > 0 && prompt->obs)
        EMC_TRY(add_obs(out, prompt, options));
    return emc_text_add_string(out, "}");
}
