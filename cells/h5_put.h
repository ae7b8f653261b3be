#pragma once
/* Inside cells/: what is written into an HDF5 file, every step checked. `path` is for messages.
 * Objects carry no times, so that equal contents are equal bytes. */

#include "cells/h5.h"

/* EMC_ERR_IO with the library's own words. A full disk is not told here: see cells/h5_disk.h. */
emc_status cells_h5_put_failed(const char *path, hid_t at, const char *doing);

/* A new or opened group; closed by the caller. */
emc_status cells_h5_put_group(hid_t *out, hid_t parent, const char *name, const char *path);

/* A text attribute in UTF-8, in place of one of that name. */
emc_status cells_h5_put_attribute(hid_t object, const char *name, const char *text,
                                  const char *path);

/* encoding-type and encoding-version. */
emc_status cells_h5_put_encoding(hid_t object, const char *type, const char *version,
                                 const char *path);

/* An array of texts as an attribute, in place of one of that name. */
emc_status cells_h5_put_names(hid_t object, const char *name, const char *const *names, size_t n,
                              const char *path);

/* The boolean of h5py: an enum of FALSE and TRUE. */
emc_status cells_h5_put_bool(hid_t object, const char *name, bool value, const char *path);

/* A scalar text, encoded as `string`. */
emc_status cells_h5_put_string(hid_t parent, const char *name, const char *text, const char *path);

/* Texts as a dataset, without attributes. *out may be NULL; else closed by the caller. */
emc_status cells_h5_put_strings(hid_t *out, hid_t parent, const char *name,
                                const char *const *texts, size_t n, const char *path);

/* A dataset of n entries without values. Closed by the caller. */
emc_status cells_h5_put_vector(hid_t *out, hid_t parent, const char *name, hid_t type, hsize_t n,
                               const char *path);

/* Entries start .. start + n - 1. */
emc_status cells_h5_put_slice(hid_t dataset, hsize_t start, hsize_t n, hid_t memory_type,
                              const void *values, const char *path);

/* The type of texts of any length, UTF-8; closed by the caller with H5Tclose; -1 on failure. */
hid_t cells_h5_text_type(void);

/* Every attribute of an object, for another file; references, which would point nowhere, are left
 * out. */
emc_status cells_h5_copy_attributes(hid_t from, hid_t to, const char *path);

/* The names of all links of a group, whatever their length and bytes; false from `each` is a
 * failure. */
emc_status cells_h5_each_link(hid_t group, const char *path,
                              emc_status (*each)(void *context, const char *name), void *context);
