#pragma once
/*
 * One step: the rows that go through the model together, and the readers among them, the rows
 * whose logits are read. Filled on the host, queued in one go, and read when the device has come
 * so far: nothing in between waits.
 *
 * Rows of a sequence follow one another. A row's keys are those of its item (a prefix and a
 * stretch of the sequence's own pages), then its path.
 */

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    int32_t *tokens;                  /* [max_rows] */
    int32_t *positions;               /* [max_rows] */
    int32_t *slots;                   /* [max_rows] */
    int32_t *path_lens;               /* [max_rows] */
    int32_t *path_slots;              /* [max_rows, EMC_MAX_PATH] */
    int32_t *reader_rows;             /* [max_readers], rising */
    int32_t *wanted_begin;            /* [max_readers + 1] */
    int32_t *wanted;                  /* [max_wanted] */
    int32_t *page_table;              /* [max_pages] */
    emc_attention_item *items;        /* [max_rows], the causal ones first */
    emc_attention_item *reader_items; /* [max_readers], over readers in place of rows */
    int32_t *reader_positions;        /* [max_readers] */
    int32_t *reader_path_lens;        /* [max_readers] */
    int32_t *reader_path_slots;       /* [max_readers, EMC_MAX_PATH] */
    float *wanted_logits;             /* [max_wanted] */
    float *log_sums;                  /* [max_readers] */
    int32_t *best;                    /* [max_readers] */
} emc_step_arrays;

typedef struct {
    int max_rows;
    int max_readers;
    int max_wanted;
    int max_pages;
} emc_step_limits;

/* Rows or readers as the attention operation counts them. */
typedef struct {
    int n_items;
    int n_causal_items;
    int max_causal_rows;
    int max_flat_rows;
    int max_flat_keys;
    double n_pairs; /* of a row and a key that it sees */
} emc_step_items;

typedef struct {
    emc_device *dev;
    emc_step_limits limits;
    emc_step_arrays host; /* pinned: the device copies from and to it */
    emc_step_arrays device;
    void *host_memory;
    void *device_memory;
    emc_event *begin; /* its first operation is next */
    emc_event *end;   /* its results are on the host */
    int n_rows, n_readers, n_wanted, n_pages;
    int first_path_row, last_path_row; /* none: the first is the larger */
    emc_step_items items;              /* over rows */
    emc_step_items reader_items;       /* over readers */
    double copied;                     /* bytes sent and brought */
} emc_step;

emc_status emc_step_open(emc_step **out, emc_device *dev, const emc_step_limits *limits);
void emc_step_close(emc_step *step);

/* Bytes that it takes on the device. */
size_t emc_step_bytes(const emc_step_limits *limits);

/* Everything below adds to a step that this emptied. The limits are the caller's to keep. */
void emc_step_clear(emc_step *step);

/* Adds pages to the step's page table and returns the index of the first. */
int emc_step_add_pages(emc_step *step, const int32_t *pages, int n);

/* Adds a row; path is EMC_MAX_PATH slots or NULL, of which the first path_len count. Returns it. */
int emc_step_add_row(emc_step *step, int32_t token, int position, int32_t slot, const int32_t *path,
                     int path_len);

/* Rows of an item that is not causal: few, since they come from everywhere in a sequence and a
 * device makes one block of them and of the heads that share keys. */
#define EMC_FLAT_ROWS 16

/*
 * n_rows rows that are alike, fields as in kernels/ops.h, but of any number: they are cut into
 * items of at most EMC_MAX_ITEM_ROWS, or EMC_FLAT_ROWS where not causal. A causal item must begin
 * at a multiple of EMC_PAGE_POSITIONS of the own positions, so that attention's tiles of rows are
 * where they always are.
 */
void emc_step_add_items(emc_step *step, const emc_attention_item *item);

/* The last row added is read, and the logits of n ids are wanted of it. Returns the reader. */
int emc_step_add_reader(emc_step *step, const int32_t *wanted, int n);

/* As emc_step_add_items, over readers. */
void emc_step_add_reader_items(emc_step *step, const emc_attention_item *item);

/* Queues the copies of everything that was added to the device. Nothing may be added any more. */
emc_status emc_step_upload(emc_step *step);

/* Queues the copies of wanted_logits, log_sums and best to the host. */
emc_status emc_step_download(emc_step *step);

#ifdef __cplusplus
}
#endif
