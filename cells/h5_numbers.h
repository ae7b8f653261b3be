#pragma once
/* Inside cells/: numbers as files store them, and what they are to us. */

#include "cells/h5.h"

typedef enum {
    H5_NUMBER_NONE = 0, /* only the library can convert it */
    H5_NUMBER_I8,
    H5_NUMBER_U8,
    H5_NUMBER_I16,
    H5_NUMBER_U16,
    H5_NUMBER_I32,
    H5_NUMBER_U32,
    H5_NUMBER_I64,
    H5_NUMBER_U64,
    H5_NUMBER_F32,
    H5_NUMBER_F64
} h5_number;

typedef struct {
    h5_number number;
    size_t n_bytes;
    bool is_swapped; /* the other byte order */
} h5_number_kind;

h5_number_kind h5_number_kind_of(hid_t type);

/* n numbers at `from`, aligned for their kind; byte order is mended in place first. To int32, with
 * what does not fit clamped (integers only), or to double. `to` does not overlap `from`. */
void h5_numbers_int32(int32_t *to, void *from, h5_number_kind kind, size_t n);
void h5_numbers_double(double *to, void *from, h5_number_kind kind, size_t n);

/* Undoes the shuffle filter: first bytes of all numbers, then second bytes, ... */
void h5_numbers_unshuffle(unsigned char *to, const unsigned char *from, size_t n, size_t n_bytes);
