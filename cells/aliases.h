#pragma once
/* Inside cells/: the table of renamed genes, generated from aliases.tsv when the build is set up.
 */

typedef struct {
    const char *previous;
    const char *current;
} cells_alias;

/* Sorted by the bytes of `previous`, which are unique. */
extern const cells_alias cells_aliases[];
extern const int cells_n_aliases;
