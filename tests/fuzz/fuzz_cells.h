#pragma once
/* Reads a file of cells to its end, as the first bytes of an input choose, and checks all that the
 * reader promises. */

#include "fuzz.h"

/* How many bytes of an input choose the options. */
#define FUZZ_OPTION_BYTES 4

/* Whether it opened. */
bool fuzz_cells(const char *path, fuzz_input options);
