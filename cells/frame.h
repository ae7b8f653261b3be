#pragma once
/* Inside cells/: a data frame of any container, as far as names of genes are looked for in it. */

#include "cells/source.h"

typedef struct cells_frame cells_frame;
struct cells_frame {
    const char *name; /* "var", "raw/var"; for people */
    const void *self; /* the container's own; borrowed */
    /* The index; *name is its own name, the caller's to free. */
    emc_status (*index)(cells_column *out, char **name, const cells_frame *frame);
    /* All columns, the index among them where it is stored as one. */
    emc_status (*columns)(cells_strings *names, const cells_frame *frame);
    bool (*has)(const cells_frame *frame, const char *column);
    emc_status (*column)(cells_column *out, const cells_frame *frame, const char *column,
                         int64_t n);
};

/* Gene names by the rule of emc_cells_options.gene_symbols: fills gene_names, gene_ids, n_genes,
 * from_symbols and names of the file. `other` (NULL: none) is asked for columns that `frame` lacks
 * when it lists the same genes. */
emc_status cells_frame_genes(cells_file *file, const cells_frame *frame, const cells_frame *other,
                             const char *wanted);

/* "a, b, c": the columns of a frame without its index, for a message. */
emc_status cells_frame_list(emc_text *text, const cells_frame *frame, const char *index,
                            const char *path);

/* "a, b, c" for a message, at most 20 of them. */
emc_status cells_list_names(emc_text *text, const cells_strings *names);

/* The fewest digits that give the same number again, as pandas prints it. n >= 32. */
void cells_print_double(char *text, size_t n, double value, bool is_float32);
