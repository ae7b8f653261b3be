#pragma once
/* The pieces of a message: text of the profile's author, and slots for data. */

#include <stddef.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_PIECE_TEXT,
    EMC_PIECE_GENES,
    EMC_PIECE_LABELS,
    EMC_PIECE_N_GENES,
    EMC_PIECE_STAGE
} emc_piece_kind;

typedef struct {
    emc_piece_kind kind;
    const char *text; /* TEXT: borrowed from the template, n bytes; "{{" comes as a piece "{" */
    size_t n;
} emc_piece;

/*
 * The next piece of a template; *cursor begins at its first byte and moves on. *more is false at
 * the end. EMC_ERR_CONFIG: a brace that stands alone, or an unknown slot, by name.
 */
emc_status emc_template_next(const char **cursor, emc_piece *piece, bool *more);

#ifdef __cplusplus
}
#endif
