/* Writes a pattern of results beside any file, for the oracles: the same rows as a table and as an
 * .h5ad, in which another reader must find the same.
 *
 *   write_results LABELS INPUT N_CELLS OUTPUT [copy|obs|link|in-place] [groupby=COLUMN] [skip=N]
 *                 [min-prop=SHARE] [key=NAME] [celltypist] [cellxgene] [obsm] [overwrite]
 * [external] [probabilities=FILE]
 *
 * LABELS is written, and holds the labels of results_case.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "results_case.h"

static const char *value_of(const char *word, const char *name)
{
    const size_t n = strlen(name);

    return strncmp(word, name, n) == 0 && word[n] == '=' ? word + n + 1 : NULL;
}

static void on_log(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static bool parse(emc_results_options *options, results_case *rows, const char *word)
{
    static const char *const kinds[] = {"copy", "obs", "link", "in-place"};
    const char *value;

    for (size_t i = 0; i < EMC_COUNT(kinds); i++) {
        if (strcmp(word, kinds[i]) == 0) {
            options->h5ad = (emc_h5ad_kind)i;
            return true;
        }
    }
    if ((value = value_of(word, "groupby")))
        options->groupby = value;
    else if ((value = value_of(word, "key")))
        options->key_added = value;
    else if ((value = value_of(word, "probabilities")))
        options->probabilities_path = value;
    else if ((value = value_of(word, "skip")))
        rows->skip = atoi(value);
    else if ((value = value_of(word, "min-prop")))
        options->min_prop = atof(value);
    else if (strcmp(word, "mass") == 0)
        rows->has_invalid_mass = true;
    else if (strcmp(word, "celltypist") == 0)
        options->celltypist_names = true;
    else if (strcmp(word, "cellxgene") == 0)
        options->cellxgene = true;
    else if (strcmp(word, "obsm") == 0)
        options->obsm_probabilities = true;
    else if (strcmp(word, "overwrite") == 0)
        options->overwrite_columns = true;
    else if (strcmp(word, "external") == 0)
        options->allow_external = true;
    else
        return false;
    return true;
}

static emc_status write_all(const emc_results_options *options, results_case *rows,
                            const char *labels_path, const char *input)
{
    static const emc_fact facts[] = {{"version", "1.0"}, {"note", "\xC3\xA4, \"b\""}};
    emc_labels *labels;

    EMC_TRY(emc_labels_read(&labels, labels_path));
    rows->labels = labels;
    const emc_results_run run = {
        .input_path = input,
        .n_cells = rows->n_cells,
        .labels = labels,
        .has_probabilities = true,
        .has_invalid_mass = rows->has_invalid_mass,
        .facts = facts,
        .n_facts = EMC_COUNT(facts),
    };
    const emc_result_source source = results_case_source(rows);
    const emc_status status = emc_results_write(options, &run, &source);
    free(rows->probs);
    emc_labels_close(labels);
    return status;
}

int main(int argc, char **argv)
{
    emc_results_options options;
    results_case rows = {0};
    FILE *labels;

    emc_results_defaults(&options);
    options.on_log = on_log;
    if (argc < 5) {
        fprintf(stderr, "usage: write_results LABELS INPUT N_CELLS OUTPUT [WORD...]\n");
        return 2;
    }
    for (int i = 5; i < argc; i++) {
        if (!parse(&options, &rows, argv[i])) {
            fprintf(stderr, "write_results: %s?\n", argv[i]);
            return 2;
        }
    }
    labels = fopen(argv[1], "w");
    if (!labels || fputs(results_case_labels, labels) < 0 || fclose(labels) != 0) {
        perror(argv[1]);
        return 2;
    }
    rows.n_cells = atoll(argv[3]);
    options.output_path = argv[4];
    const emc_status status = write_all(&options, &rows, argv[1], argv[2]);
    if (status != EMC_OK)
        fprintf(stderr, "write_results: %s\n", emc_message());
    return emc_status_exit_code(status);
}
