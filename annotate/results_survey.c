/* What must be known of all rows before the first is written? */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/results_parts.h"
#include "base/size.h"

void results_survey_free(results_survey *survey)
{
    emc_groups_close(survey->groups);
    free(survey->n_label);
    free(survey->votes);
    free(survey->winner);
    free(survey->share);
    *survey = (results_survey){0};
}

static emc_status open_groups(results_survey *survey, const emc_results_options *options,
                              const emc_results_run *run)
{
    EMC_TRY(emc_groups_open(&survey->groups, run->input_path, options->groupby,
                            options->allow_external));
    if (emc_groups_n_cells(survey->groups) != run->n_cells)
        return emc_fail(EMC_ERR_FORMAT, "%s: column \"%s\" has %lld cells, the run has %lld",
                        run->input_path, options->groupby,
                        (long long)emc_groups_n_cells(survey->groups), (long long)run->n_cells);
    const size_t n = (size_t)emc_groups_count(survey->groups);
    EMC_TRY(emc_alloc(&survey->votes, n, ((size_t)survey->n_labels + 1) * sizeof(*survey->votes),
                      "the votes of groups"));
    EMC_TRY(emc_alloc(&survey->winner, n, sizeof(*survey->winner), "groups"));
    return emc_alloc(&survey->share, n, sizeof(*survey->share), "groups");
}

/* The reasons stay in the order of their bytes, so that they do not depend on the order of rows. */
static emc_status note_reason(results_survey *survey, const char *reason)
{
    int at = 0;

    while (at < survey->n_reasons && strcmp(survey->reasons[at], reason) < 0)
        at++;
    if (at < survey->n_reasons && strcmp(survey->reasons[at], reason) == 0)
        return EMC_OK;
    if (survey->n_reasons == RESULTS_MAX_REASONS)
        return emc_fail(EMC_ERR_INTERNAL, "results with more than %d reasons", RESULTS_MAX_REASONS);
    memmove(survey->reasons + at + 1, survey->reasons + at,
            (size_t)(survey->n_reasons - at) * sizeof(*survey->reasons));
    survey->reasons[at] = reason;
    survey->n_reasons++;
    return EMC_OK;
}

static emc_status note_row(results_survey *survey, const emc_result_row *row)
{
    const emc_verdict *verdict = &row->verdict;
    int vote = -1;

    survey->n_rows++;
    if (verdict->label >= survey->n_labels)
        return emc_fail(EMC_ERR_INTERNAL, "row %lld has label %d of %d", (long long)row->row,
                        verdict->label, survey->n_labels);
    if (verdict->label >= 0)
        survey->n_label[verdict->label]++;
    if (verdict->reason && verdict->reason[0])
        EMC_TRY(note_reason(survey, verdict->reason));
    if (!survey->groups)
        return EMC_OK;
    if (verdict->status == EMC_CELL_OK)
        vote = verdict->label;
    else if (verdict->status == EMC_CELL_UNKNOWN)
        vote = survey->n_labels;
    const int group = emc_groups_of(survey->groups, row->row);
    if (group >= 0 && vote >= 0)
        survey->votes[(size_t)group * ((size_t)survey->n_labels + 1) + (size_t)vote]++;
    return EMC_OK;
}

static void elect(results_survey *survey, double min_prop)
{
    const int n_choices = survey->n_labels + 1;

    for (int g = 0; g < emc_groups_count(survey->groups); g++) {
        const int64_t *votes = survey->votes + (size_t)g * (size_t)n_choices;
        int64_t total = 0;
        int best = 0;
        for (int i = 0; i < n_choices; i++) {
            total += votes[i];
            if (votes[i] > votes[best])
                best = i;
        }
        survey->share[g] = total > 0 ? (double)votes[best] / (double)total : NAN;
        survey->winner[g] = total > 0 ? best : -1;
        if (total > 0 && survey->share[g] < min_prop)
            survey->winner[g] = survey->n_labels + 1;
    }
}

emc_status results_survey_make(results_survey *survey, const emc_results_options *options,
                               const emc_results_run *run, const emc_result_source *source)
{
    emc_result_row row;
    int64_t last = -1;
    bool more;

    *survey = (results_survey){.n_labels = emc_labels_count(run->labels)};
    EMC_TRY(emc_alloc(&survey->n_label, (size_t)survey->n_labels, sizeof(*survey->n_label),
                      "counts of labels"));
    if (options->groupby)
        EMC_TRY(open_groups(survey, options, run));
    EMC_TRY(source->rewind(source->context));
    for (;;) {
        EMC_TRY(source->next(source->context, &row, &more));
        if (!more)
            break;
        if (row.row <= last || row.row >= run->n_cells)
            return emc_fail(EMC_ERR_INTERNAL, "row %lld of %lld comes after row %lld",
                            (long long)row.row, (long long)run->n_cells, (long long)last);
        last = row.row;
        EMC_TRY(note_row(survey, &row));
        if (options->cancel && *options->cancel)
            return emc_fail(EMC_ERR_CANCELLED, "stopped while results were read");
    }
    if (survey->groups)
        elect(survey, options->min_prop);
    return EMC_OK;
}

int results_survey_winner(const results_survey *survey, int64_t row, double *share)
{
    const int group = survey->groups ? emc_groups_of(survey->groups, row) : -1;

    *share = group >= 0 ? survey->share[group] : NAN;
    return group >= 0 ? survey->winner[group] : -1;
}

const char *results_winner_name(const emc_labels *labels, int winner)
{
    const int n = emc_labels_count(labels);

    if (winner < 0)
        return NULL;
    if (winner < n)
        return emc_labels_get(labels, winner)->label;
    return winner == n ? RESULTS_UNKNOWN : RESULTS_HETEROGENEOUS;
}
