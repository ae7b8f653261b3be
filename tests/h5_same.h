#pragma once
/* Compares .h5ad files object by object, with the HDF5 library alone. */

#include "emt.h"

/* Everything in `before` is in `after` with the same type, shape, storage, attributes and values.
 * obs may have gained members, and its column-order with them. Fails the test otherwise. */
void h5_check_same(const char *before, const char *after);

/* A file of results alone: so many cells called "cell 0", ..., no genes, no X. */
void h5_check_alone(const char *path, int64_t n_cells);

/* n float32 of a dataset, owned by the caller. */
float *h5_floats(const char *path, const char *name, size_t n);

/* The names in an attribute with commas between them, owned by the caller. */
char *h5_names_attribute(int64_t file, const char *object, const char *name);
