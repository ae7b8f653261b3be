#pragma once
/*
 * Inside cells/: the compressed chunks that HDF5 itself cannot read. Decoders of LZF (32000),
 * blosc (32001), LZ4 (32004) and zstd (32015) are given to the library where nobody else has given
 * one. They stay: taking one out would close every dataset of the program that uses it. All but
 * the list are called between cells_h5_enter and cells_h5_leave.
 */

#include <hdf5.h>

#include "base/status.h"

/* Adds what is missing. Cheap when nothing is. */
void cells_filters_register(void);

/* EMC_ERR_FORMAT: the dataset uses a filter that cannot be read (the message names it and the way
 * to repack), or a pipeline that nobody writes. `created` is its creation list. */
emc_status cells_filters_check(hid_t dataset, hid_t created, const char *path);

/* The next H5Dread of this thread is of this dataset: its chunks must hold what its shape says,
 * no more and no less. Call it before a read of a dataset that may be compressed, and with -1 after
 * it. */
void cells_filters_expect(hid_t dataset);

/* "gzip 4, shuffle"; "none" without filters. Cut to n bytes. */
void cells_filters_describe(char *text, size_t n, hid_t dataset);
