#pragma once
/* Breaks copies of good .h5ad files, and checks how they are refused. */

#include "emt.h"

#include <hdf5.h>

#include "cells/reader.h"

#define H5(call) assert_true((call) >= 0)

/* A copy under the test's temporary folder; its path. */
const char *copy_golden(const char *name);

/* One entry of a dataset. */
void set_int(hid_t file, const char *name, hsize_t at, int64_t value);
void drop(hid_t file, const char *name);

/* A new dataset without values. */
void put(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims, hid_t create);

/* A dataset of zeros in the place of whatever had the name. */
void zeros(hid_t file, const char *name, hid_t type, int n_dims, hsize_t n, hsize_t m);

/* Text of six bytes an entry, in the place of whatever had the name. */
void texts(hid_t file, const char *name, const char *bytes, hsize_t n);
void set_text_attribute(hid_t file, const char *object, const char *name, const char *value);

/* One row of a table of broken files. */
typedef struct {
    const char *name;   /* what is wrong, in a word; the name of the function that makes it so */
    const char *golden; /* the good file */
    void (*break_it)(hid_t file);
    emc_status status;
    const char *text; /* in the message */
    bool at_next;     /* the file opens, and a block fails */
    const char *layer, *gene_symbols, *column;
} broken_case;

#define BROKEN(golden_, how, status_, ...)                                                         \
    {                                                                                              \
        .name = #how, .golden = golden_, .break_it = how, .status = status_, .text = __VA_ARGS__   \
    }
/* Refused when it is opened, or when its cells are read; or an option names what it has not. What
 * follows the words are options: .layer, .gene_symbols, .column. */
#define REFUSED(golden, how, ...) BROKEN(golden, how, EMC_ERR_FORMAT, __VA_ARGS__)
#define REFUSED_LATER(golden, how, ...)                                                            \
    BROKEN(golden, how, EMC_ERR_FORMAT, __VA_ARGS__, .at_next = true)
#define NOT_THERE(golden, how, ...) BROKEN(golden, how, EMC_ERR_USAGE, __VA_ARGS__)

/* Breaks a copy for each case and wants this status and a message of one line that starts with the
 * path and holds the text. */
void check_broken(const broken_case *cases, size_t n);
void check_message(const char *path, const char *text);
