/* What a text or probabilities say about an item, and a set of such predictions. */

#include "annotate/evaluate/prediction.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

const char *emc_outcome_name(emc_outcome outcome)
{
    static const char *const names[EMC_N_OUTCOMES] = {"label", "unknown", "invalid", "off_list",
                                                      "empty", "refused", "failed"};

    return (unsigned)outcome < EMC_N_OUTCOMES ? names[outcome] : "";
}

/* --- a set --- */

typedef struct {
    emc_prediction prediction;
    char *strings; /* raw, stripped, extracted and error, one behind the other */
    double *probs;
    bool is_there;
} slot;

struct emc_predictions {
    slot *slots;
    int n_items, n_labels, count;
};

emc_status emc_predictions_open(emc_predictions **out, int n_items, int n_labels)
{
    emc_predictions *p;

    *out = NULL;
    EMC_TRY(emc_alloc(&p, 1, sizeof *p, "predictions"));
    p->n_items = n_items;
    p->n_labels = n_labels;
    const emc_status status =
        emc_alloc(&p->slots, (size_t)n_items + 1, sizeof *p->slots, "predictions");
    if (status != EMC_OK) {
        free(p);
        return status;
    }
    *out = p;
    return EMC_OK;
}

void emc_predictions_close(emc_predictions *predictions)
{
    if (!predictions)
        return;
    for (int i = 0; i < predictions->n_items; i++) {
        free(predictions->slots[i].strings);
        free(predictions->slots[i].probs);
    }
    free(predictions->slots);
    free(predictions);
}

const emc_prediction *emc_predictions_get(const emc_predictions *predictions, int item)
{
    const slot *s = &predictions->slots[item];

    return s->is_there ? &s->prediction : NULL;
}

int emc_predictions_count(const emc_predictions *predictions)
{
    return predictions->count;
}

/* Moves *string behind *at and says where it is then. */
static void keep_string(const char **string, char **at)
{
    if (!*string)
        return;
    const size_t n = strlen(*string) + 1;
    memcpy(*at, *string, n);
    *string = *at;
    *at += n;
}

emc_status emc_predictions_put(emc_predictions *predictions, int item,
                               const emc_prediction *prediction)
{
    slot made = {.prediction = *prediction, .is_there = true};
    emc_prediction *p = &made.prediction;
    const char **const strings[] = {&p->raw, &p->stripped, &p->extracted, &p->error};
    size_t n = 1;

    if (item < 0 || item >= predictions->n_items)
        return emc_fail(EMC_ERR_ARG, "no item %d", item);
    for (size_t i = 0; i < EMC_COUNT(strings); i++)
        n += *strings[i] ? strlen(*strings[i]) + 1 : 0;
    EMC_TRY(emc_alloc(&made.strings, n, 1, "a prediction"));
    char *at = made.strings;
    for (size_t i = 0; i < EMC_COUNT(strings); i++)
        keep_string(strings[i], &at);
    if (prediction->probs) {
        const size_t n_labels = (size_t)predictions->n_labels;
        const emc_status status =
            emc_alloc(&made.probs, n_labels, sizeof *made.probs, "a prediction");
        if (status != EMC_OK) {
            free(made.strings);
            return status;
        }
        memcpy(made.probs, prediction->probs, n_labels * sizeof *made.probs);
        p->probs = made.probs;
    }
    slot *s = &predictions->slots[item];
    predictions->count += !s->is_there;
    free(s->strings);
    free(s->probs);
    *s = made;
    return EMC_OK;
}

/* --- what a text says --- */

/* Said by those who do not answer; looked for only where no label was found. */
static bool is_refusal(const char *text)
{
    static const char *const phrases[] = {
        "i cannot",    "i can't",          "i can not",       "i'm sorry",
        "i am sorry",  "i'm unable",       "i am unable",     "i won't",
        "as an ai",    "cannot determine", "can't determine", "unable to determine",
        "not able to", "cannot provide",   "can't provide",
    };

    for (const char *at = text; *at; at++)
        for (size_t i = 0; i < EMC_COUNT(phrases); i++)
            if (strncasecmp(at, phrases[i], strlen(phrases[i])) == 0)
                return true;
    return false;
}

static bool is_unknown(const char *text, size_t n)
{
    static const char *const words[] = {"unknown", "unassigned", "none", "none of the above",
                                        "undetermined"};

    while (n > 0 && (isspace((unsigned char)text[n - 1]) || ispunct((unsigned char)text[n - 1])))
        n--;
    while (n > 0 && (isspace((unsigned char)*text) || ispunct((unsigned char)*text))) {
        text++;
        n--;
    }
    for (size_t i = 0; i < EMC_COUNT(words); i++)
        if (strlen(words[i]) == n && strncasecmp(text, words[i], n) == 0)
            return true;
    return false;
}

static bool is_offered(int label, const int *candidates, int n_candidates)
{
    for (int i = 0; i < n_candidates; i++)
        if (candidates[i] == label)
            return true;
    return n_candidates == 0;
}

/* Each part with a NUL behind it; offsets, for the text moves while it grows. NULs inside become
 * blanks. */
static emc_status add_part(emc_text *work, size_t *at, const char *text, size_t n)
{
    *at = work->n;
    EMC_TRY(emc_text_add(work, text ? text : "", text ? n : 0));
    for (size_t i = *at; i < work->n; i++)
        if (work->bytes[i] == '\0')
            work->bytes[i] = ' ';
    return emc_text_add(work, "", 1);
}

emc_status emc_prediction_from_text(emc_prediction *out, emc_text *work, const emc_labels *labels,
                                    const int *candidates, int n_candidates, const char *text,
                                    size_t n, bool ended)
{
    const char *stripped = text;
    size_t n_stripped = n, raw_at, stripped_at, extracted_at;
    emc_found_label found;

    *out = (emc_prediction){.label = -1, .score = NAN, .truncated = !ended};
    emc_text_clear(work);
    emc_strip_think(&stripped, &n_stripped);
    EMC_TRY(emc_labels_find_answer(labels, text, n, &found));
    EMC_TRY(add_part(work, &raw_at, text, n));
    EMC_TRY(add_part(work, &stripped_at, stripped, n_stripped));
    EMC_TRY(add_part(work, &extracted_at, found.part, found.n_part));
    out->raw = work->bytes + raw_at;
    out->stripped = work->bytes + stripped_at;
    out->extracted = found.part ? work->bytes + extracted_at : NULL;
    out->step = emc_rung_name(found.rung);
    out->match = found.match.kind;
    out->is_like = found.match.is_like;
    out->format_ok = found.rung == EMC_RUNG_WHOLE;
    out->several = found.match.kind == EMC_MATCH_AMBIGUOUS && found.match.ambiguous < 0;
    if (found.match.label >= 0) {
        out->label = found.match.label;
        out->outcome = is_offered(out->label, candidates, n_candidates) ? EMC_OUTCOME_LABEL
                                                                        : EMC_OUTCOME_OFF_LIST;
    } else if (n_stripped == 0) {
        out->outcome = EMC_OUTCOME_EMPTY;
    } else if (found.match.kind != EMC_MATCH_AMBIGUOUS && is_unknown(stripped, n_stripped)) {
        out->outcome = EMC_OUTCOME_UNKNOWN;
        out->format_ok = true;
    } else if (found.match.kind != EMC_MATCH_AMBIGUOUS && is_refusal(out->stripped)) {
        out->outcome = EMC_OUTCOME_REFUSED;
    } else {
        out->outcome = EMC_OUTCOME_INVALID;
    }
    return EMC_OK;
}

void emc_prediction_from_probs(emc_prediction *out, const double *probs, int n_labels,
                               double unknown_below)
{
    int best = -1;

    for (int i = 0; i < n_labels; i++)
        if (probs[i] > 0 && (best < 0 || probs[i] > probs[best]))
            best = i;
    *out = (emc_prediction){.label = -1, .score = NAN, .probs = probs};
    if (best < 0) {
        out->outcome = EMC_OUTCOME_FAILED;
        out->error = "no label has a probability above 0";
        out->probs = NULL;
        return;
    }
    out->score = probs[best];
    out->outcome = probs[best] < unknown_below ? EMC_OUTCOME_UNKNOWN : EMC_OUTCOME_LABEL;
    out->label = out->outcome == EMC_OUTCOME_LABEL ? best : -1;
}
