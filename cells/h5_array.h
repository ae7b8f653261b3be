#pragma once
/*
 * Inside cells/: one-dimensional numbers in HDF5, read by ranges as fast as the storage allows.
 * Values stored as they are come straight from the file; chunks of deflate, with or without
 * shuffle, are taken raw and unpacked on threads; everything else goes through the library.
 */

#include "cells/h5.h"
#include "cells/team.h"

typedef struct h5_array h5_array;

/* Threads and buffers of one reader's arrays. n_threads 0: one a core. */
typedef struct h5_unpacker h5_unpacker;
emc_status h5_unpacker_open(h5_unpacker **out, int n_threads);
void h5_unpacker_close(h5_unpacker *unpacker); /* NULL is fine */

/* Takes over `dataset`, also on failure, which must be one-dimensional and hold numbers: integers
 * where as_int32. Inside the library's guard, as all of these. */
emc_status h5_array_open(h5_array **out, hid_t dataset, bool as_int32, const char *path);
void h5_array_close(h5_array *array); /* NULL is fine */

hid_t h5_array_dataset(const h5_array *array);
hsize_t h5_array_length(const h5_array *array);

/*
 * Entries start .. start + n - 1 of each array, which must have them, into to[i]: int32, or double.
 * As the library converts: integers beyond 32 bits become the nearest that fits, integers beyond
 * 53 bits are rounded. EMC_ERR_FORMAT: a chunk that cannot be unpacked, or a file cut short.
 * EMC_ERR_IO: reading failed. A long range wants memory for its packed chunks.
 */
emc_status h5_arrays_read(h5_unpacker *unpacker, h5_array *const *arrays, void *const *to,
                          int n_arrays, hsize_t start, hsize_t n);
