#pragma once
/* Inside cells/: the pieces of a zarr store by their keys ("obs/_index/.zarray"), out of a folder
 * or a zip file. Nothing is unpacked to disk. */

#include "base/text.h"
#include "cells/source.h"

typedef struct zarr_store zarr_store;

/*
 * A folder, or a zip file of one (also of one within another folder). Without allow_external no
 * symbolic link inside the folder is followed.
 * EMC_ERR_FORMAT: not a zip file, damaged, a name that leads out of it, or zip files cannot be read
 * by this build. EMC_ERR_IO: it cannot be read.
 */
emc_status zarr_store_open(zarr_store **out, const char *path, bool allow_external);
void zarr_store_close(zarr_store *store); /* NULL is fine */

/* The file's or folder's path, for messages. */
const char *zarr_store_path(const zarr_store *store);

/* All bytes of a piece into `to`, which is cleared first; *found is false when there is none.
 * EMC_ERR_FORMAT: more than `limit` bytes, no regular file, a link, damaged. */
emc_status zarr_store_read(emc_text *to, bool *found, zarr_store *store, const char *key,
                           size_t limit);

/* Whether there is a piece of this key. */
bool zarr_store_has(zarr_store *store, const char *key);

/* What stands directly in a folder of the store, in byte order: groups, arrays and pieces. Names
 * that are not UTF-8 are left out. */
emc_status zarr_store_list(cells_strings *names, zarr_store *store, const char *key);
