#pragma once
/*
 * What is asked, and what is right? A benchmark is a folder:
 *
 *   manifest.json  name, version, description, source, licence, official, profile, what each file
 *                  is and its hash
 *   items.jsonl    (or .jsonl.gz) one question a line
 *   labels.json    labels, groups, ambiguous: the keys of a profile, with synonyms and hierarchy
 *   markers.json   optional: genes that speak for each label
 *
 * docs/evaluate.md has every key. An item has the ranked genes of a cell, or messages that are
 * asked as they are.
 */

#include <stdint.h>

#include "annotate/labels.h"
#include "annotate/profile.h"
#include "base/hash.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_benchmark emc_benchmark;

/* Strings and arrays belong to the benchmark. */
typedef struct {
    const char *id;           /* unique */
    const char *const *genes; /* best first; empty for ready messages */
    int n_genes;
    const double *values; /* [n_genes] as the file of the cell has them; NULL: unknown */
    double total;         /* of all values of the cell; NaN: unknown */
    bool is_log;          /* values are logarithms already */
    int label;            /* the right one; -1: none of the set is, and "unknown" is right */
    const char *gold;     /* as the item has it */
    const char *split;    /* "train", "validation", "test" */
    const char *embryo, *dataset, *stage, *batch; /* NULL: not told */
    const int *candidates; /* labels among which to choose, in the order they are offered */
    int n_candidates;      /* 0: all labels */
    const emc_profile_message *messages; /* asked as they are */
    int n_messages;
    int line; /* of the items file, from 1 */
} emc_bench_item;

typedef struct {
    const char *name, *version, *description, *source, *licence;
    const char *path;    /* the folder, as given */
    const char *profile; /* the wording that it suggests: a built-in name or a path; NULL: none */
    bool official;       /* false: not published by the makers of a paper */
    emc_hash hash;       /* of manifest, items, labels and markers */
} emc_benchmark_info;

/*
 * EMC_ERR_NOT_FOUND, EMC_ERR_FORMAT, EMC_ERR_CONFIG: one line with file and line number: not JSON,
 * an unknown key, an id twice, a label that is not in the set and means none of it (unless it is
 * "unknown"), a candidate that is none, no genes and no messages, a hash that differs.
 */
emc_status emc_benchmark_open(emc_benchmark **out, const char *folder);
void emc_benchmark_close(emc_benchmark *benchmark); /* NULL is fine */

const emc_benchmark_info *emc_benchmark_get(const emc_benchmark *benchmark);
int emc_benchmark_n_items(const emc_benchmark *benchmark);
const emc_bench_item *emc_benchmark_item(const emc_benchmark *benchmark, int index);
const emc_labels *emc_benchmark_labels(const emc_benchmark *benchmark);

/* Genes that speak for a label; [*n], NULL and 0 where none are known. From markers.json, else from
 * the built-in table by the label's name or synonyms (markers.h). */
const char *const *emc_benchmark_markers(const emc_benchmark *benchmark, int label, int *n);

/*
 * The profile that asks these items: `name_or_path` (NULL: the benchmark's suggestion, else
 * "embryo") with the benchmark's labels, groups and ambiguous words in the place of its own, so
 * that any wording can be used with any label set. Owned by the caller.
 */
emc_status emc_benchmark_profile(emc_profile **out, const emc_benchmark *benchmark,
                                 const char *name_or_path);

#ifdef __cplusplus
}
#endif
