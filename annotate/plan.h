#pragma once
/*
 * What a run is: run.json in its folder. Pins are what results depend on, as text; a process that
 * joins or continues a run has the same pins or is refused. Notes are for people: where the files
 * were, how the run was started. The first process writes the file, and it never changes.
 */

#include <stddef.h>
#include <stdint.h>

#include "annotate/labels.h"
#include "annotate/shard.h"
#include "base/hash.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    char *name, *value;
} emc_pin;

typedef struct {
    emc_pin *pins;
    size_t n;
} emc_pin_list;

/* Zero-initialise one of your own; then emc_plan_free. Strings are owned by the plan. */
typedef struct {
    emc_pin_list pins, notes;
    char *chosen; /* pinned: emc_model_chosen; NULL until it is known. It is not compared, for the
                     model is opened with it and refuses another kind of device */
    emc_profile_label *labels; /* label and cl alone */
    int n_labels;
    int64_t n_rows;      /* of the input file */
    int64_t n_cells;     /* chosen */
    int64_t shard_cells; /* of every shard but the last; 0: not known yet */
    int max_tries;       /* not pinned: results do not depend on it */
    bool generated;      /* rows have raw_text and no probabilities */
    bool probabilities;  /* rows have them */
    bool invalid_mass;   /* rows have it */
    emc_hash hash;       /* over all that is pinned; set by read and write */
} emc_plan;

void emc_plan_free(emc_plan *plan);

/* Adds a pin or a note; one that is there already gets the new value. */
emc_status emc_plan_pin(emc_plan *plan, const char *name, const char *format, ...) EMC_PRINTF(3, 4);
emc_status emc_plan_note(emc_plan *plan, const char *name, const char *format, ...)
    EMC_PRINTF(3, 4);
/* Copies label and cl of each. */
emc_status emc_plan_set_labels(emc_plan *plan, const emc_labels *labels);

/* The value, or NULL. Borrowed. */
const char *emc_plan_get(const emc_pin_list *list, const char *name);

/* 0 while shard_cells is. */
int64_t emc_plan_n_shards(const emc_plan *plan);
/* What shard 0 <= shard < n_shards must say of itself. */
void emc_plan_shard(const emc_plan *plan, int64_t shard, emc_shard_head *head);

/* True when dir/run.json is there. */
bool emc_plan_exists(const char *dir);

/* EMC_ERR_NOT_FOUND: dir is no run folder. EMC_ERR_FORMAT: run.json is damaged, or of another
 * version of emcell's run folders. *out is to be freed in any case. */
emc_status emc_plan_read(emc_plan *out, const char *dir);

/*
 * Sets plan->hash and gives the file its name only when it is whole and synced. *first is false,
 * and nothing is written, when another process was first. EMC_ERR_CREATE: the folder cannot be
 * written to, or its file system has no hard links. EMC_ERR_IO: disk full.
 */
emc_status emc_plan_write(emc_plan *plan, const char *dir, bool *first);

/* EMC_ERR_CONFIG: a pin or number of `now` differs from `was`; the line names each with both
 * values. Pins and shard_cells that `now` does not have yet are not looked at. */
emc_status emc_plan_compare(const emc_plan *was, const emc_plan *now, const char *dir);

#ifdef __cplusplus
}
#endif
