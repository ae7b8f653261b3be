/* Which files does a run leave behind, and what keeps it from overwriting others? */
#include "annotate/results.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/results_parts.h"
#include "base/file.h"
#include "base/text.h"
#include "cells/result.h"

void emc_results_defaults(emc_results_options *options)
{
    memset(options, 0, sizeof(*options));
    options->output_path = "-";
    options->top_k = EMC_TOP;
    options->min_prop = -1;
}

static bool ends_in_h5ad(const char *path)
{
    const size_t n = strlen(path);

    return n >= 5 && strcmp(path + n - 5, ".h5ad") == 0;
}

bool results_is_h5ad(const emc_results_options *options)
{
    if (options->h5ad == EMC_H5AD_IN_PLACE)
        return true;
    if (options->output_format)
        return strcmp(options->output_format, "h5ad") == 0;
    return ends_in_h5ad(options->output_path);
}

static emc_status check_format(const emc_results_options *options)
{
    static const char *const formats[] = {"csv", "tsv", "jsonl", "h5ad"};
    const char *format = options->output_format;
    bool known = !format;

    for (size_t i = 0; !known && i < EMC_COUNT(formats); i++)
        known = strcmp(format, formats[i]) == 0;
    if (!known)
        return emc_fail(EMC_ERR_USAGE, "output format \"%s\": wanted csv, tsv, jsonl or h5ad",
                        format);
    if (options->top_k < 1 || options->top_k > EMC_TOP)
        return emc_fail(EMC_ERR_USAGE, "--top-k %d: wanted 1 to %d", options->top_k, EMC_TOP);
    if (options->min_prop > 1)
        return emc_fail(EMC_ERR_USAGE, "--min-prop %g: wanted 0 to 1", options->min_prop);
    if (options->min_prop >= 0 && !options->groupby)
        return emc_fail(EMC_ERR_USAGE, "--min-prop needs --groupby COLUMN");
    if (!results_is_h5ad(options))
        return EMC_OK;
    if (options->h5ad != EMC_H5AD_IN_PLACE && strcmp(options->output_path, "-") == 0)
        return emc_fail(EMC_ERR_USAGE,
                        "an .h5ad cannot be written to standard output; name a file");
    if (format && options->h5ad == EMC_H5AD_IN_PLACE && strcmp(format, "h5ad") != 0)
        return emc_fail(EMC_ERR_USAGE,
                        "--in-place writes into the .h5ad; leave out "
                        "--output-format %s",
                        format);
    if (options->h5ad == EMC_H5AD_IN_PLACE && strcmp(options->output_path, "-") != 0)
        return emc_fail(EMC_ERR_USAGE,
                        "--in-place writes into the input, and nothing to --output %s; leave one "
                        "of them out",
                        options->output_path);
    return EMC_OK;
}

/* A name that says no kind is told now, not after the work. */
static emc_status check_tables(const emc_results_options *o)
{
    if (o->probabilities_path)
        EMC_TRY(emc_table_check(o->probabilities_path, EMC_TABLE_BY_NAME));
    if (results_is_h5ad(o) || o->output_format)
        return EMC_OK;
    return emc_table_check(o->output_path, EMC_TABLE_BY_NAME);
}

/* What only an .h5ad can hold is not left out in silence. */
static emc_status check_needs_h5ad(const emc_results_options *o)
{
    const struct {
        bool given;
        const char *name;
    } options[] = {
        {o->h5ad != EMC_H5AD_COPY, "--h5ad"},
        {o->obsm_probabilities, "--obsm-probabilities"},
        {o->celltypist_names, "--celltypist-names"},
        {o->cellxgene, "--cellxgene"},
        {o->overwrite_columns, "--overwrite-columns"},
        {o->key_added != NULL, "--key-added"},
    };

    for (size_t i = 0; !results_is_h5ad(o) && i < EMC_COUNT(options); i++) {
        if (options[i].given)
            return emc_fail(EMC_ERR_USAGE, "%s needs an .h5ad output; %s is a table",
                            options[i].name, o->output_path);
    }
    return EMC_OK;
}

static emc_status check_probabilities(const emc_results_options *o, const emc_results_run *run)
{
    const char *name = o->probabilities_path ? "--probabilities" : "--obsm-probabilities";

    if (!o->probabilities_path && !o->obsm_probabilities)
        return EMC_OK;
    if (run->generated)
        return emc_fail(EMC_ERR_USAGE, "%s: a generated answer has none; use --answer exact", name);
    if (!run->has_probabilities)
        return emc_fail(EMC_ERR_USAGE,
                        "%s: this run has not kept them; ask for them when it is started", name);
    for (int i = 0; o->probabilities_path && i < emc_labels_count(run->labels); i++) {
        if (strcmp(emc_labels_get(run->labels, i)->label, "cell_id") == 0)
            return emc_fail(EMC_ERR_USAGE,
                            "--probabilities: the label \"cell_id\" has the name of the column "
                            "before it; call it something else");
    }
    return EMC_OK;
}

static emc_status spare(const char *option, const char *output, const char *read)
{
    if (!output || !read || strcmp(output, "-") == 0 || !emc_same_file(output, read))
        return EMC_OK;
    return emc_fail(EMC_ERR_USAGE, "--%s %s: would overwrite %s, which is read; name another file",
                    option, output, read);
}

/* No result may replace what the run reads, or the other result. */
static emc_status check_files(const emc_results_options *options, const emc_results_run *run)
{
    const char *output = options->h5ad == EMC_H5AD_IN_PLACE ? NULL : options->output_path;
    const char *matrix = options->probabilities_path;

    if (matrix && output && emc_same_file(output, matrix))
        return emc_fail(EMC_ERR_USAGE, "%s: named for the results and for the probabilities",
                        matrix);
    EMC_TRY(spare("output", output, run->input_path));
    return spare("probabilities", matrix, run->input_path);
}

/* A regular file is made beside its name and removed again, so that a folder that is not there or
 * not writable is told before the work. */
static emc_status check_writable(const char *path)
{
    emc_out_file *file;
    struct stat st;

    if (!path || strcmp(path, "-") == 0 ||
        (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)))
        return EMC_OK;
    EMC_TRY(emc_out_file_open(&file, path));
    emc_out_file_close(file);
    return EMC_OK;
}

static emc_status check_groups(const emc_results_options *options, const emc_results_run *run)
{
    emc_groups *groups;

    if (!options->groupby)
        return EMC_OK;
    EMC_TRY(emc_groups_open(&groups, run->input_path, options->groupby, options->allow_external));
    emc_groups_close(groups);
    return EMC_OK;
}

emc_status emc_results_check(const emc_results_options *options, const emc_results_run *run)
{
    EMC_TRY(check_format(options));
    EMC_TRY(check_needs_h5ad(options));
    EMC_TRY(check_probabilities(options, run));
    EMC_TRY(check_files(options, run));
    EMC_TRY(check_tables(options));
    if (options->h5ad != EMC_H5AD_IN_PLACE)
        EMC_TRY(check_writable(options->output_path));
    EMC_TRY(check_writable(options->probabilities_path));
    EMC_TRY(check_groups(options, run));
    return results_is_h5ad(options) ? results_h5ad_check(options, run) : EMC_OK;
}

static emc_status add_rows(const emc_results_options *options, const emc_result_source *source,
                           results_tables *tables, results_h5ad *h5ad)
{
    emc_result_row row;
    bool more;

    EMC_TRY(source->rewind(source->context));
    for (;;) {
        EMC_TRY(source->next(source->context, &row, &more));
        if (!more)
            return EMC_OK;
        EMC_TRY(results_tables_add(tables, &row));
        if (h5ad)
            EMC_TRY(results_h5ad_add(h5ad, &row));
        if (options->cancel && *options->cancel)
            return emc_fail(EMC_ERR_CANCELLED, "stopped while results were written");
    }
}

emc_status emc_results_write(const emc_results_options *options, const emc_results_run *run,
                             const emc_result_source *source)
{
    results_survey survey = {0};
    results_tables *tables = NULL;
    results_h5ad *h5ad = NULL;
    emc_status status;

    EMC_TRY(emc_results_check(options, run));
    status = results_survey_make(&survey, options, run, source);
    if (status == EMC_OK)
        status = results_tables_open(&tables, options, run, &survey);
    if (status == EMC_OK && results_is_h5ad(options))
        status = results_h5ad_open(&h5ad, options, run, &survey);
    if (status == EMC_OK)
        status = add_rows(options, source, tables, h5ad);
    if (status == EMC_OK && h5ad)
        status = results_h5ad_commit(h5ad);
    if (status == EMC_OK)
        status = results_tables_commit(tables);
    results_h5ad_close(h5ad);
    results_tables_close(tables);
    results_survey_free(&survey);
    return status;
}
