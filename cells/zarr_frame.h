#pragma once
/* Inside cells/: obs and var of a zarr store. */

#include "cells/frame.h"
#include "cells/zarr_array.h"

/* A data frame: a group with an array or a group a column. Zero-initialise; close in any case. */
typedef struct {
    zarr_node node;
    char *index; /* the name of the index */
} zarr_frame;

/* key: "obs", "raw/var". */
emc_status zarr_frame_open(zarr_frame *frame, zarr_store *store, const char *key);
void zarr_frame_close(zarr_frame *frame);

/* Any encoding as text. n < 0: any length. */
emc_status zarr_frame_column(cells_column *out, const zarr_frame *frame, const char *name,
                             int64_t n);
bool zarr_frame_has(const zarr_frame *frame, const char *name);

/* The columns in byte order, with the index. */
emc_status zarr_frame_columns(cells_strings *names, const zarr_frame *frame);

/* For the rule of gene names; borrows `frame`. */
cells_frame zarr_frame_generic(const zarr_frame *frame, const char *name);
