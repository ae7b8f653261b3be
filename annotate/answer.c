#include "annotate/answer.h"

#include <math.h>
#include <string.h>

static const char *const status_names[EMC_N_CELL_STATUSES] = {
    "ok", "unknown", "invalid", "too_few_genes", "empty", "failed"};

const char *emc_cell_status_name(emc_cell_status status)
{
    return status_names[status];
}

void emc_verdict_not_asked(emc_verdict *out, emc_cell_status status, const char *reason)
{
    *out = (emc_verdict){.status = status, .reason = reason, .label = -1};
    for (int i = 0; i < EMC_TOP; i++) {
        out->top[i] = -1;
        out->top_prob[i] = NAN;
    }
    out->score = out->score_low = out->score_high = NAN;
    out->margin = out->entropy = out->invalid_mass = NAN;
}

/* The largest score; NaN when one of them is no score or none is above -inf. */
static double largest(const double *scores, int n)
{
    double most = -INFINITY;

    for (int i = 0; i < n; i++) {
        if (isnan(scores[i]) || scores[i] == INFINITY)
            return NAN;
        if (scores[i] > most)
            most = scores[i];
    }
    return most == -INFINITY ? NAN : most;
}

/* By scores: two that differ may round to the same probability. The first of equals stays in
 * front, so ties go to the lower index. */
static void insert_top(emc_verdict *out, const double *scores, int index, double prob)
{
    int at = EMC_TOP;

    while (at > 0 && (out->top[at - 1] < 0 || scores[index] > scores[out->top[at - 1]]))
        at--;
    for (int k = EMC_TOP - 1; k > at; k--) {
        out->top[k] = out->top[k - 1];
        out->top_prob[k] = out->top_prob[k - 1];
    }
    if (at < EMC_TOP) {
        out->top[at] = index;
        out->top_prob[at] = prob;
    }
}

static void apply_thresholds(emc_verdict *out, const emc_thresholds *thresholds)
{
    out->label = out->top[0];
    if (out->score < thresholds->unknown_below) {
        out->status = EMC_CELL_UNKNOWN;
        out->reason = "low_score";
    } else if (out->margin < thresholds->margin_below) { /* false for a margin of NaN */
        out->status = EMC_CELL_UNKNOWN;
        out->reason = "low_margin";
    }
    if (out->status != EMC_CELL_OK)
        out->label = -1;
}

void emc_verdict_from_scores(emc_verdict *out, const double *scores, int n,
                             const emc_thresholds *thresholds, double *probs)
{
    const double most = largest(scores, n), temperature = thresholds->temperature;
    double sum = 0, entropy = 0;

    if (isnan(most)) {
        emc_verdict_not_asked(out, EMC_CELL_FAILED, "not_a_number");
        for (int i = 0; i < n && probs; i++)
            probs[i] = NAN;
        return;
    }
    emc_verdict_not_asked(out, EMC_CELL_OK, "");
    /* The largest is taken off first: its exponential is 1, so nothing overflows. The sum has the
     * bits of the search's, so that a threshold cuts both at the same place. */
    for (int i = 0; i < n; i++)
        sum += exp((scores[i] - most) / temperature);
    for (int i = 0; i < n; i++) {
        const double power = (scores[i] - most) / temperature;
        const double prob = exp(power) / sum;
        if (prob > 0)
            entropy -= prob * (power - log(sum));
        if (probs)
            probs[i] = prob;
        insert_top(out, scores, i, prob);
    }
    out->score = out->score_low = out->score_high = out->top_prob[0];
    out->margin = n > 1 ? out->top_prob[0] - out->top_prob[1] : out->top_prob[0];
    out->entropy = entropy;
    apply_thresholds(out, thresholds);
}

void emc_verdict_from_found(emc_verdict *out, const emc_found *found,
                            const emc_thresholds *thresholds)
{
    emc_verdict_not_asked(out, EMC_CELL_OK, "");
    out->top[0] = found->choice;
    out->score = out->top_prob[0] = found->share;
    out->score_low = found->share_low;
    out->score_high = found->share_high;
    apply_thresholds(out, thresholds);
}

emc_status emc_verdict_from_text(emc_verdict *out, const emc_labels *labels, const char *text,
                                 size_t n, bool ended)
{
    emc_label_match match;
    const char *left = text;
    size_t n_left = n;

    emc_verdict_not_asked(out, EMC_CELL_INVALID, "no_label");
    EMC_TRY(emc_labels_parse_answer(labels, text, n, &match));
    emc_strip_think(&left, &n_left);
    if (match.label >= 0) {
        out->status = EMC_CELL_OK;
        out->reason = "";
        out->label = match.label;
        out->top[0] = match.label;
    } else if (match.kind == EMC_MATCH_AMBIGUOUS) {
        out->reason = "ambiguous_answer";
    } else if (!ended) {
        out->reason = "cut_off";
    } else if (n_left == 0) {
        out->reason = "empty_answer";
    }
    return EMC_OK;
}
