#pragma once
/* Which label does a text mean? The closed set of labels, their synonyms and the hierarchy. */

#include <stddef.h>

#include "annotate/profile.h"
#include "base/status.h"
#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_labels emc_labels;

/* The profile's own labels. The profile must outlive the labels. EMC_ERR_CONFIG: it has none, or
 * two of them, or two synonyms, mean the same after normalising. */
emc_status emc_labels_from_profile(emc_labels **out, const emc_profile *profile);

/* A user's list: one label a line, or label TAB Cell Ontology id; blank lines and lines that begin
 * with '#' are skipped. EMC_ERR_FORMAT names the line: not UTF-8, an empty label, a duplicate
 * (after normalising), an id that is not CL:0000000 in form. Fewer than two labels is refused. */
emc_status emc_labels_read(emc_labels **out, const char *path);

/* Labels that a run folder names. The list must outlive the labels. EMC_ERR_CONFIG as above. */
emc_status emc_labels_from_list(emc_labels **out, const emc_profile_label *list, int n);

void emc_labels_close(emc_labels *labels); /* NULL is fine */

int emc_labels_count(const emc_labels *labels);
/* Borrowed; synonyms, parent and ids as far as they are known. 0 <= index < count. */
const emc_profile_label *emc_labels_get(const emc_labels *labels, int index);

/*
 * The parents of a label, nearest first, as names (labels and groups). Returns how many there are
 * and writes at most `capacity` of them. The hierarchy has no cycles, which opening checks.
 */
int emc_labels_ancestors(const emc_labels *labels, int index, const char **out, int capacity);

typedef enum {
    EMC_MATCH_NONE,       /* means no label */
    EMC_MATCH_EXACT,      /* byte for byte */
    EMC_MATCH_NORMAL,     /* the same after normalising */
    EMC_MATCH_SYNONYM,    /* a synonym after normalising */
    EMC_MATCH_SUBCLUSTER, /* after dropping a number at the end: "CTB_2" */
    EMC_MATCH_EXTRACTED,  /* found inside a longer answer, as the only label there */
    EMC_MATCH_AMBIGUOUS   /* means several labels; never guessed */
} emc_match_kind;

typedef struct {
    emc_match_kind kind;
    int label;     /* index; -1 for none and ambiguous */
    int ambiguous; /* which of the profile's ambiguous terms; -1 for none, and for several labels */
    bool is_like;  /* the text said "-like": an embryo model's cell, not an embryo's */
} emc_label_match;

/* A single name: a synonym table's cell, a gold label. text need not be UTF-8 (then no match). */
emc_status emc_labels_match(const emc_labels *labels, const char *text, size_t n,
                            emc_label_match *out);

/* Where in an answer its label was found. */
typedef enum {
    EMC_RUNG_NONE,       /* "": nowhere */
    EMC_RUNG_WHOLE,      /* "whole": the text is the label */
    EMC_RUNG_MEMBER,     /* "json": a member "answer", "label", "cell_type" or "prediction", or
                            what stands in \boxed{} */
    EMC_RUNG_CUE,        /* "cue": behind the last "Answer:", "Cell type:", ... */
    EMC_RUNG_FIRST_LINE, /* "first_line" */
    EMC_RUNG_INSIDE      /* "inside": the only label that the text names */
} emc_rung;
const char *emc_rung_name(emc_rung rung);

typedef struct {
    emc_label_match match;
    emc_rung rung;
    const char *part; /* of the text: what was taken for the answer; NULL for none */
    size_t n_part;
} emc_found_label;

/*
 * A model's whole answer: the think block is stripped, then the rungs above are tried in that
 * order; the first that means a label (or is ambiguous) decides. Inside a sentence
 * a name of up to three letters counts in capitals only, and an ambiguous word beside a label that
 * it may mean is no contradiction. Text that is not UTF-8 means nothing.
 */
emc_status emc_labels_find_answer(const emc_labels *labels, const char *text, size_t n,
                                  emc_found_label *out);

/* The same, without where. */
emc_status emc_labels_parse_answer(const emc_labels *labels, const char *text, size_t n,
                                   emc_label_match *out);

/*
 * The form in which names are compared, appended to *out: compatibility forms of the Latin letters,
 * digits and punctuation folded to ASCII (full width, ligatures, typographic dashes and quotes,
 * superscripts; not all of NFKC), ASCII, Latin-1, Greek and Cyrillic lower-cased, list numbers
 * ("3. ", "3) ", "(3) "), quotes, markdown and a final stop trimmed, runs of blank, underscore,
 * hyphen, dot, slash, comma and bracket made one blank (a hyphen at the end of a word stays, for
 * CD16- is not CD16), haem to hem, a word "cell" or "cells" at the end dropped
 * unless the rest holds no letter ("8 cell" stays), and the last word made singular.
 * is_like may be NULL.
 */
emc_status emc_label_normalise(emc_text *out, const char *text, size_t n, bool *is_like);

/* Words of the longest name; whether an ambiguous term may mean a label. For parsing. */
int emc_labels_max_words(const emc_labels *labels);
bool emc_labels_may_mean(const emc_labels *labels, int ambiguous, int label);

/* Removes think blocks: everything up to the last "</think>", and an unclosed "<think>" to the end.
 * Gives the part of `text` that is left, blanks at both ends trimmed. Nothing is copied. */
void emc_strip_think(const char **text, size_t *n);

#ifdef __cplusplus
}
#endif
