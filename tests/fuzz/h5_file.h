#pragma once
/* A valid HDF5 container with whatever contents: a list of items, which an input edits before they
 * are written. */

#include "fuzz.h"

#define H5_MOST_ITEMS  48
#define H5_MOST_VALUES 64
#define H5_MOST_NOTES  4

typedef enum { ITEM_GROUP = 0, ITEM_DATASET, ITEM_HARD, ITEM_SOFT, ITEM_EXTERNAL } h5_item_kind;

typedef enum {
    TYPE_I8 = 0,
    TYPE_U8,
    TYPE_I16,
    TYPE_U16,
    TYPE_I32,
    TYPE_U32,
    TYPE_I64,
    TYPE_U64,
    TYPE_BE32,
    TYPE_F16,
    TYPE_F32,
    TYPE_F64,
    TYPE_TEXT,  /* of variable length */
    TYPE_FIXED, /* of 12 bytes */
    TYPE_BLANK, /* of 12 bytes, filled up with blanks */
    TYPE_BOOL,
    TYPE_OPAQUE,
    TYPE_COMPOUND, /* {index text of 12 bytes, label int8} */
    TYPE_VLEN,     /* lists of int32 */
    TYPE_ARRAY,    /* pairs of int32 */
    TYPE_REFERENCE,
    N_TYPES
} h5_item_type;

/* An attribute: text, or integers. */
typedef struct {
    uint8_t name; /* of h5_words */
    uint8_t kind; /* 0: none, 1: text of variable length, 2: fixed text, 3: integers, 4: a reference
                     to an item, 5: floats */
    uint8_t text; /* of h5_words */
    uint8_t n;    /* integers, up to 4 */
    int64_t values[4];
} h5_note;

/* Entry i of a dataset is values[i]; as text it is h5_words[value], as a float the number itself
 * with INT64_MIN for NaN and INT64_MAX for infinity. What has no value is not written. */
typedef struct {
    h5_item_kind kind;
    char name[48];
    h5_item_type type;
    int n_dims; /* -1: a null space */
    uint64_t dims[3];
    uint64_t chunk[3]; /* all zero: contiguous */
    uint8_t filters;   /* bits: gzip, shuffle, fletcher, scale-offset, one that is not there */
    int n_values;
    int64_t values[H5_MOST_VALUES];
    int target; /* of a link: an item */
    h5_note notes[H5_MOST_NOTES];
    fuzz_input raw; /* n > 0: the bytes of the first chunk, as they are in the file */
} h5_item;

typedef struct {
    h5_item items[H5_MOST_ITEMS];
    int n;
} h5_items;

/* Words of names and contents; their number is below 256. */
extern const char *const h5_words[];
extern const int h5_n_words;
int h5_word(const char *text);

/* Building a file; each returns the new item. */
h5_item *h5_add(h5_items *items, h5_item_kind kind, const char *name);
h5_item *h5_numbers(h5_items *items, const char *name, h5_item_type type, int n,
                    const int64_t *values);
/* Words n of them, separated by blanks. */
h5_item *h5_texts(h5_items *items, const char *name, const char *words);
void h5_note_text(h5_item *item, const char *name, const char *text);
void h5_note_ints(h5_item *item, const char *name, int n, int64_t a, int64_t b);

/* Changes what the input says, until it ends. */
void h5_edit(h5_items *items, fuzz_input *input);

/* Writes the file; what the library refuses to write is left out. */
void h5_write(const h5_items *items, const char *path);
