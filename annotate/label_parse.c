/* Which label does a model's whole answer name? */

#include <ctype.h>
#include <string.h>

#include "annotate/label_text.h"
#include "annotate/labels.h"

#define MAX_WORDS 16 /* of a name inside a sentence; longer ones must be the whole answer */

static bool is_decided(const emc_label_match *match)
{
    return match->kind != EMC_MATCH_NONE;
}

/* The text after a cue such as "Answer:", up to the end of its line. */
static bool after_cue(const char **text, size_t *n)
{
    static const char *const cues[] = {"final answer:", "answer:", "cell type:",  "celltype:",
                                       "cell_type:",    "label:",  "prediction:", "<answer>"};
    const char *end = *text + *n, *best = NULL;

    for (size_t i = 0; i < EMC_COUNT(cues); i++) {
        const size_t length = strlen(cues[i]);
        for (const char *at = *text; at + length <= end; at++) {
            if (strncasecmp(at, cues[i], length) == 0 && at + length > best)
                best = at + length;
        }
    }
    if (!best)
        return false;
    while (best < end && isspace((unsigned char)*best))
        best++;
    *text = best;
    *n = (size_t)(end - best);
    for (const char *at = best; at < end; at++) {
        if (*at == '\n' || *at == '<') {
            *n = (size_t)(at - best);
            break;
        }
    }
    return true;
}

/* Two letters are a label only when they stand as capitals: "TE", not "te". */
static bool is_telling(const char *words, size_t n)
{
    size_t letters = 0;
    bool capitals = true;

    for (size_t i = 0; i < n; i++) {
        letters += isalnum((unsigned char)words[i]) || (unsigned char)words[i] >= 0x80;
        capitals = capitals && !islower((unsigned char)words[i]);
    }
    return letters > 3 || capitals;
}

/* What was found in a sentence so far. */
typedef struct {
    int label; /* -1: none */
    bool many; /* several labels */
    bool like;
    int vague[8]; /* ambiguous terms */
    int n_vague;
} findings;

static void note(findings *f, const emc_label_match *match)
{
    if (match->kind == EMC_MATCH_AMBIGUOUS) {
        if (f->n_vague < (int)EMC_COUNT(f->vague))
            f->vague[f->n_vague++] = match->ambiguous;
        else
            f->many = true;
        return;
    }
    f->many = f->many || (f->label >= 0 && f->label != match->label);
    f->label = match->label;
    f->like |= match->is_like;
}

/* A vague word beside a label that it may mean only repeats it. */
static void conclude(const emc_labels *labels, const findings *f, emc_label_match *out)
{
    bool clash = f->many;

    *out = (emc_label_match){.kind = EMC_MATCH_NONE, .label = -1, .ambiguous = -1};
    for (int i = 0; i < f->n_vague && f->label >= 0; i++)
        clash = clash || !emc_labels_may_mean(labels, f->vague[i], f->label);
    if (clash || (f->label < 0 && f->n_vague > 0)) {
        out->kind = EMC_MATCH_AMBIGUOUS;
        out->ambiguous = f->n_vague == 1 && !f->many ? f->vague[0] : -1;
    } else if (f->label >= 0) {
        out->kind = EMC_MATCH_EXTRACTED;
        out->label = f->label;
        out->is_like = f->like;
    }
}

/* Names inside a sentence, the longest first at each word. */
static emc_status extract(const emc_labels *labels, const char *text, size_t n,
                          emc_label_match *out)
{
    emc_text folded = {0};
    findings f = {.label = -1};
    const char *first, *word;
    size_t at = 0, length;
    emc_status status = emc_label_fold(&folded, text, n, true);

    while (status == EMC_OK && folded.n > 0 &&
           (length = emc_label_next_word(&first, folded.bytes, folded.n, &at)) > 0) {
        size_t ends[MAX_WORDS], next = at;
        int n_words = 0, most = emc_labels_max_words(labels) + 1; /* one more: "cells" */
        most = most < MAX_WORDS ? most : MAX_WORDS;
        while (n_words < most && length > 0) {
            ends[n_words++] = next;
            length = emc_label_next_word(&word, folded.bytes, folded.n, &next);
        }
        const size_t begin = (size_t)(first - folded.bytes);
        for (int k = n_words - 1; k >= 0 && status == EMC_OK; k--) {
            emc_label_match match;
            status = emc_labels_match(labels, first, ends[k] - begin, &match);
            if (status == EMC_OK && is_decided(&match) && match.kind != EMC_MATCH_SUBCLUSTER &&
                is_telling(first, ends[k] - begin)) {
                note(&f, &match);
                at = ends[k];
                break;
            }
        }
    }
    if (status == EMC_OK)
        conclude(labels, &f, out);
    emc_text_free(&folded);
    return status;
}

/* The string of a member, as `"answer": "TE"`, or what is boxed; the last one counts. Escapes are
 * not resolved: labels that need one are found by a later rung. */
static bool in_member(const char **text, size_t *n)
{
    static const char *const keys[] = {"\"answer\"",    "\"label\"",      "\"cell_type\"",
                                       "\"cell type\"", "\"prediction\"", "\\boxed"};
    const char *end = *text + *n, *best = NULL;
    char closing = '"';

    for (size_t i = 0; i < EMC_COUNT(keys); i++) {
        const size_t length = strlen(keys[i]);
        const bool boxed = keys[i][0] == '\\';
        for (const char *at = *text; at + length < end; at++) {
            const char *next = at + length;
            if (strncasecmp(at, keys[i], length) != 0)
                continue;
            while (!boxed && next < end && (isspace((unsigned char)*next) || *next == ':'))
                next++;
            if (next < end && *next == (boxed ? '{' : '"') && next + 1 > best) {
                best = next + 1;
                closing = boxed ? '}' : '"';
            }
        }
    }
    const char *stop = best ? memchr(best, closing, (size_t)(end - best)) : NULL;
    if (!stop)
        return false;
    *text = best;
    *n = (size_t)(stop - best);
    return true;
}

const char *emc_rung_name(emc_rung rung)
{
    static const char *const names[] = {"", "whole", "json", "cue", "first_line", "inside"};

    return (unsigned)rung < EMC_COUNT(names) ? names[rung] : "";
}

/* Whether this part means a label; then it is what is found. */
static emc_status try_part(const emc_labels *labels, emc_rung rung, const char *part, size_t n,
                           emc_found_label *out, bool *decided)
{
    EMC_TRY(emc_labels_match(labels, part, n, &out->match));
    *decided = is_decided(&out->match);
    if (*decided) {
        out->rung = rung;
        out->part = part;
        out->n_part = n;
    }
    return EMC_OK;
}

emc_status emc_labels_find_answer(const emc_labels *labels, const char *text, size_t n,
                                  emc_found_label *out)
{
    const char *part;
    size_t n_part;
    bool decided;

    *out = (emc_found_label){.match = {.kind = EMC_MATCH_NONE, .label = -1, .ambiguous = -1}};
    emc_strip_think(&text, &n);
    if (n == 0 || emc_utf8_valid(text, n) != n)
        return EMC_OK;
    EMC_TRY(try_part(labels, EMC_RUNG_WHOLE, text, n, out, &decided));
    if (decided)
        return EMC_OK;
    part = text;
    n_part = n;
    if (in_member(&part, &n_part)) {
        EMC_TRY(try_part(labels, EMC_RUNG_MEMBER, part, n_part, out, &decided));
        if (decided)
            return EMC_OK;
    }
    part = text;
    n_part = n;
    if (after_cue(&part, &n_part)) {
        EMC_TRY(try_part(labels, EMC_RUNG_CUE, part, n_part, out, &decided));
        if (decided)
            return EMC_OK;
    }
    part = memchr(text, '\n', n);
    if (part) {
        EMC_TRY(try_part(labels, EMC_RUNG_FIRST_LINE, text, (size_t)(part - text), out, &decided));
        if (decided)
            return EMC_OK;
    }
    EMC_TRY(extract(labels, text, n, &out->match));
    if (is_decided(&out->match)) {
        out->rung = EMC_RUNG_INSIDE;
        out->part = text;
        out->n_part = n;
    }
    return EMC_OK;
}

emc_status emc_labels_parse_answer(const emc_labels *labels, const char *text, size_t n,
                                   emc_label_match *out)
{
    emc_found_label found;

    EMC_TRY(emc_labels_find_answer(labels, text, n, &found));
    *out = found.match;
    return EMC_OK;
}
