/* Which columns does a run add to an .h5ad, and how does a row fill them? */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/results_parts.h"
#include "base/size.h"
#include "base/text.h"

typedef enum {
    LABEL,
    SCORE,
    SCORE_LOW,
    SCORE_HIGH,
    MARGIN,
    ENTROPY,
    INVALID_MASS,
    STATUS,
    REASON,
    CL_ID,
    CLUSTER_LABEL,
    CLUSTER_SCORE,
    GROUP,
    TERM
} value_kind;

/* Names that differ, and the place of each label among them. */
typedef struct {
    const char **names;
    int n;
    int32_t *of_label; /* [n_labels], -1: none */
} category_set;

#define MAX_COLUMNS 21

struct results_h5ad {
    const emc_results_run *run;
    const results_survey *survey; /* NULL while there are no rows */
    category_set labels, clusters, cl_ids, terms, groups;
    const char *statuses[EMC_N_CELL_STATUSES];
    int32_t unknown, cluster_unknown, cluster_mixed;
    char **matrix_names; /* owned, NULL without a matrix */

    value_kind kinds[MAX_COLUMNS];
    emc_h5ad_column columns[MAX_COLUMNS];
    char *names[MAX_COLUMNS]; /* of the columns, owned */
    char *matrix;
    emc_h5ad_content content;
    emc_h5ad_kind kind;
    emc_h5ad_out *out;
    emc_h5ad_value values[MAX_COLUMNS];
    int64_t n_added;
};

/* ---- categories ---- */

/* There is room. */
static int32_t add_category(category_set *set, const char *name)
{
    for (int i = 0; i < set->n; i++) {
        if (strcmp(set->names[i], name) == 0)
            return i;
    }
    set->names[set->n] = name;
    return set->n++;
}

static emc_status reserve_set(category_set *set, int n_names, int n_labels)
{
    EMC_TRY(emc_alloc(&set->names, (size_t)n_names, sizeof(*set->names), "categories"));
    return emc_alloc(&set->of_label, (size_t)n_labels, sizeof(*set->of_label), "categories");
}

static void free_set(category_set *set)
{
    free(set->names);
    free(set->of_label);
}

/* CELLxGENE's schema forbids terms that say no more than that it is a cell. */
static bool is_forbidden(const char *cl)
{
    static const char *const ids[] = {"CL:0000255", "CL:0000257", "CL:0000548"};

    for (size_t i = 0; i < EMC_COUNT(ids); i++) {
        if (strcmp(cl, ids[i]) == 0)
            return true;
    }
    return false;
}

static emc_status make_categories(results_h5ad *h)
{
    const emc_labels *labels = h->run->labels;
    const int n = emc_labels_count(labels);

    EMC_TRY(reserve_set(&h->labels, n + 1, n));
    EMC_TRY(reserve_set(&h->clusters, n + 2, n));
    EMC_TRY(reserve_set(&h->cl_ids, n, n));
    EMC_TRY(reserve_set(&h->terms, n + 1, n));
    add_category(&h->terms, RESULTS_UNKNOWN);
    for (int i = 0; i < n; i++) {
        const emc_profile_label *label = emc_labels_get(labels, i);
        /* Terms that no cell has are warned about by the schema's checker. */
        const bool used = !h->survey || h->survey->n_label[i] > 0;
        h->labels.of_label[i] = add_category(&h->labels, label->label);
        h->clusters.of_label[i] = add_category(&h->clusters, label->label);
        h->cl_ids.of_label[i] = label->cl ? add_category(&h->cl_ids, label->cl) : -1;
        if (label->cl && used && !is_forbidden(label->cl))
            h->terms.of_label[i] = add_category(&h->terms, label->cl);
    }
    h->unknown = add_category(&h->labels, RESULTS_UNKNOWN);
    h->cluster_unknown = add_category(&h->clusters, RESULTS_UNKNOWN);
    h->cluster_mixed = add_category(&h->clusters, RESULTS_HETEROGENEOUS);
    for (int i = 0; i < EMC_N_CELL_STATUSES; i++)
        h->statuses[i] = emc_cell_status_name((emc_cell_status)i);
    if (!h->survey || !h->survey->groups)
        return EMC_OK;
    h->groups.n = emc_groups_count(h->survey->groups);
    EMC_TRY(
        emc_alloc(&h->groups.names, (size_t)h->groups.n, sizeof(*h->groups.names), "categories"));
    for (int i = 0; i < h->groups.n; i++)
        h->groups.names[i] = emc_groups_name(h->survey->groups, i);
    return EMC_OK;
}

/* ---- columns ---- */

static void categories_of(const results_h5ad *h, value_kind kind, emc_h5ad_column *column)
{
    const category_set *set = NULL;

    column->type = EMC_H5AD_CATEGORY;
    switch (kind) {
    case LABEL:
        set = &h->labels;
        break;
    case CLUSTER_LABEL:
        set = &h->clusters;
        break;
    case CL_ID:
        set = &h->cl_ids;
        break;
    case GROUP:
        set = &h->groups;
        break;
    case TERM:
        set = &h->terms;
        column->first_is_missing = true;
        break;
    case STATUS:
        column->categories = h->statuses;
        column->n_categories = EMC_N_CELL_STATUSES;
        return;
    case REASON:
        column->categories = h->survey ? h->survey->reasons : NULL;
        column->n_categories = h->survey ? h->survey->n_reasons : 0;
        return;
    default:
        column->type = EMC_H5AD_FLOAT;
        return;
    }
    column->categories = set->names;
    column->n_categories = set->n;
}

/* prefix NULL: the name as it is. */
static emc_status add_column(results_h5ad *h, value_kind kind, const char *prefix, const char *name)
{
    const int at = h->content.n_columns;
    emc_text text = {0};

    EMC_TRY(prefix ? emc_text_addf(&text, "%s_%s", prefix, name)
                   : emc_text_add_string(&text, name));
    for (int i = 0; i < at; i++) {
        if (strcmp(h->names[i], text.bytes) != 0)
            continue;
        const emc_status status = emc_fail(EMC_ERR_USAGE,
                                           "--key-added: two columns would be called \"%s\"; "
                                           "choose another name",
                                           text.bytes);
        emc_text_free(&text);
        return status;
    }
    h->names[at] = text.bytes;
    h->kinds[at] = kind;
    h->columns[at] = (emc_h5ad_column){.name = text.bytes};
    categories_of(h, kind, &h->columns[at]);
    h->content.n_columns++;
    return EMC_OK;
}

static emc_status add_columns(results_h5ad *h, const emc_results_options *options,
                              const char *prefix)
{
    static const struct {
        value_kind kind;
        const char *name;
    } always[] = {{LABEL, "label"},           {SCORE, "score"},   {SCORE_LOW, "score_low"},
                  {SCORE_HIGH, "score_high"}, {MARGIN, "margin"}, {ENTROPY, "entropy"},
                  {STATUS, "status"},         {REASON, "reason"}, {CL_ID, "cl_id"}};

    for (size_t i = 0; i < EMC_COUNT(always); i++)
        EMC_TRY(add_column(h, always[i].kind, prefix, always[i].name));
    if (h->run->has_invalid_mass)
        EMC_TRY(add_column(h, INVALID_MASS, prefix, "invalid_mass"));
    if (options->groupby) {
        EMC_TRY(add_column(h, CLUSTER_LABEL, prefix, "cluster_label"));
        EMC_TRY(add_column(h, CLUSTER_SCORE, prefix, "cluster_score"));
    }
    if (options->celltypist_names) {
        EMC_TRY(add_column(h, LABEL, NULL, "predicted_labels"));
        EMC_TRY(add_column(h, SCORE, NULL, "conf_score"));
    }
    if (options->celltypist_names && options->groupby) {
        if (strcmp(options->groupby, "over_clustering") != 0)
            EMC_TRY(add_column(h, GROUP, NULL, "over_clustering"));
        EMC_TRY(add_column(h, CLUSTER_LABEL, NULL, "majority_voting"));
    }
    if (options->cellxgene)
        EMC_TRY(add_column(h, TERM, NULL, "cell_type_ontology_term_id"));
    return EMC_OK;
}

/* A name in HDF5 has no "/", and what stands in its place must not make two labels one. */
static emc_status name_matrix(results_h5ad *h)
{
    const int n = emc_labels_count(h->run->labels);

    EMC_TRY(emc_alloc(&h->matrix_names, (size_t)n, sizeof(*h->matrix_names), "names of labels"));
    for (int i = 0; i < n; i++) {
        const char *label = emc_labels_get(h->run->labels, i)->label;
        EMC_TRY(emc_copy_string(&h->matrix_names[i], label));
        for (char *c = h->matrix_names[i]; *c; c++) {
            if (*c == '/')
                *c = '|';
        }
        for (int j = 0; j < i; j++) {
            if (strcmp(h->matrix_names[i], h->matrix_names[j]) == 0)
                return emc_fail(EMC_ERR_USAGE,
                                "--obsm-probabilities: the labels \"%s\" and \"%s\" would have the "
                                "same column, as an .h5ad has no \"/\" in names; call one of them "
                                "something else",
                                emc_labels_get(h->run->labels, j)->label, label);
        }
    }
    return EMC_OK;
}

static emc_status make_content(results_h5ad *h, const emc_results_options *options)
{
    const char *prefix = options->key_added ? options->key_added : "emcell";

    if (!*prefix || strncmp(prefix, "__", 2) == 0)
        return emc_fail(EMC_ERR_USAGE, "--key-added \"%s\": wanted a name without \"__\" before it",
                        prefix);
    EMC_TRY(make_categories(h));
    EMC_TRY(add_columns(h, options, prefix));
    h->content.columns = h->columns;
    h->content.uns = prefix;
    h->content.facts = h->run->facts;
    h->content.n_facts = h->run->n_facts;
    if (!options->obsm_probabilities)
        return EMC_OK;
    emc_text name = {0};
    EMC_TRY(emc_text_addf(&name, "%s_probabilities", prefix));
    h->matrix = name.bytes;
    EMC_TRY(name_matrix(h));
    h->content.matrix = h->matrix;
    h->content.matrix_names = (const char *const *)h->matrix_names;
    h->content.n_matrix = emc_labels_count(h->run->labels);
    return EMC_OK;
}

/* ---- opening ---- */

static emc_status settle_kind(results_h5ad *h, const emc_results_options *options)
{
    h->kind = options->h5ad;
    if (h->kind == EMC_H5AD_OBS || emc_h5ad_is(h->run->input_path))
        return EMC_OK;
    if (h->kind != EMC_H5AD_COPY)
        return emc_fail(EMC_ERR_USAGE,
                        "%s: is no .h5ad, so there is nothing to %s; leave out %s and the results "
                        "are written alone",
                        h->run->input_path, h->kind == EMC_H5AD_LINK ? "link to" : "write into",
                        h->kind == EMC_H5AD_LINK ? "--h5ad link" : "--in-place");
    h->kind = EMC_H5AD_OBS;
    return EMC_OK;
}

static emc_status prepare(results_h5ad **out, const emc_results_options *options,
                          const emc_results_run *run, const results_survey *survey)
{
    results_h5ad *h;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&h, 1, sizeof(*h), "results"));
    h->run = run;
    h->survey = survey;
    status = settle_kind(h, options);
    if (status == EMC_OK)
        status = make_content(h, options);
    if (status == EMC_OK)
        *out = h;
    else
        results_h5ad_close(h);
    return status;
}

static emc_h5ad_out_options options_of(const results_h5ad *h, const emc_results_options *options)
{
    return (emc_h5ad_out_options){
        .path = options->output_path,
        .input_path = h->run->input_path,
        .kind = h->kind,
        .n_cells = h->kind == EMC_H5AD_OBS && h->survey ? h->survey->n_rows : h->run->n_cells,
        .overwrite = options->overwrite_columns,
        .allow_external = options->allow_external,
        .cancel = options->cancel,
        .on_log = options->on_log,
        .context = options->context,
    };
}

emc_status results_h5ad_check(const emc_results_options *options, const emc_results_run *run)
{
    results_h5ad *h;

    EMC_TRY(prepare(&h, options, run, NULL));
    const emc_h5ad_out_options wanted = options_of(h, options);
    const emc_status status = emc_h5ad_out_check(&wanted, &h->content);
    results_h5ad_close(h);
    return status;
}

/* What a user should know of the file that will be there. */
static emc_status tell(const results_h5ad *h, const emc_results_options *options)
{
    emc_text line = {0};
    emc_status status = EMC_OK;
    char *reserved = NULL;

    if (!options->on_log)
        return EMC_OK;
    if (h->kind == EMC_H5AD_OBS && options->h5ad == EMC_H5AD_COPY)
        options->on_log(options->context,
                        "the input is no .h5ad: the output holds the results alone, without X");
    if (!options->cellxgene || !emc_h5ad_is(h->run->input_path))
        return EMC_OK;
    EMC_TRY(emc_h5ad_reserved(&reserved, h->run->input_path, options->allow_external));
    if (reserved) {
        status =
            emc_text_addf(&line, "CELLxGENE takes no columns that begin with \"__\": %s", reserved);
        if (status == EMC_OK)
            options->on_log(options->context, line.bytes);
    }
    emc_text_free(&line);
    free(reserved);
    return status;
}

emc_status results_h5ad_open(results_h5ad **out, const emc_results_options *options,
                             const emc_results_run *run, const results_survey *survey)
{
    results_h5ad *h;

    *out = NULL;
    EMC_TRY(prepare(&h, options, run, survey));
    const emc_h5ad_out_options wanted = options_of(h, options);
    emc_status status = tell(h, options);
    if (status == EMC_OK)
        status = emc_h5ad_out_open(&h->out, &wanted, &h->content);
    if (status == EMC_OK)
        *out = h;
    else
        results_h5ad_close(h);
    return status;
}

void results_h5ad_close(results_h5ad *h)
{
    if (!h)
        return;
    emc_h5ad_out_close(h->out);
    for (int i = 0; h->matrix_names && i < emc_labels_count(h->run->labels); i++)
        free(h->matrix_names[i]);
    for (int i = 0; i < MAX_COLUMNS; i++)
        free(h->names[i]);
    free(h->matrix);
    free(h->matrix_names);
    free_set(&h->labels);
    free_set(&h->clusters);
    free_set(&h->cl_ids);
    free_set(&h->terms);
    free_set(&h->groups);
    free(h);
}

/* ---- rows ---- */

static int32_t reason_code(const results_survey *survey, const char *reason)
{
    for (int i = 0; reason && reason[0] && i < survey->n_reasons; i++) {
        if (strcmp(survey->reasons[i], reason) == 0)
            return i;
    }
    return -1;
}

static int32_t cluster_code(const results_h5ad *h, int winner)
{
    const int n = h->survey->n_labels;

    if (winner < 0)
        return -1;
    if (winner < n)
        return h->clusters.of_label[winner];
    return winner == n ? h->cluster_unknown : h->cluster_mixed;
}

static emc_h5ad_value value_of(const results_h5ad *h, value_kind kind, const emc_result_row *row)
{
    const emc_verdict *v = &row->verdict;
    const int label = v->label;
    emc_h5ad_value value = {.code = -1};
    double share;
    const int winner = results_survey_winner(h->survey, row->row, &share);

    switch (kind) {
    case LABEL:
        value.code = label >= 0                      ? h->labels.of_label[label]
                     : v->status == EMC_CELL_UNKNOWN ? h->unknown
                                                     : -1;
        break;
    case SCORE:
        value.number = (float)v->score;
        break;
    case SCORE_LOW:
        value.number = (float)v->score_low;
        break;
    case SCORE_HIGH:
        value.number = (float)v->score_high;
        break;
    case MARGIN:
        value.number = (float)v->margin;
        break;
    case ENTROPY:
        value.number = (float)v->entropy;
        break;
    case INVALID_MASS:
        value.number = (float)v->invalid_mass;
        break;
    case STATUS:
        value.code = (int32_t)v->status;
        break;
    case REASON:
        value.code = reason_code(h->survey, v->reason);
        break;
    case CL_ID:
        value.code = label >= 0 ? h->cl_ids.of_label[label] : -1;
        break;
    case CLUSTER_LABEL:
        value.code = cluster_code(h, winner);
        break;
    case CLUSTER_SCORE:
        value.number = (float)share;
        break;
    case GROUP:
        value.code = emc_groups_of(h->survey->groups, row->row);
        break;
    case TERM:
        value.code = label >= 0 ? h->terms.of_label[label] : 0;
        break;
    }
    return value;
}

emc_status results_h5ad_add(results_h5ad *h, const emc_result_row *row)
{
    const int64_t at = h->kind == EMC_H5AD_OBS ? h->n_added : row->row;

    for (int i = 0; i < h->content.n_columns; i++)
        h->values[i] = value_of(h, h->kinds[i], row);
    h->n_added++;
    return emc_h5ad_out_row(h->out, at, row->cell_id, h->values, row->probs);
}

emc_status results_h5ad_commit(results_h5ad *h)
{
    return emc_h5ad_out_commit(h->out);
}
