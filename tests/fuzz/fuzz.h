#pragma once
/* What the fuzz targets share: an input handed out piece by piece, files for readers that take a
 * path, and what must hold of every answer. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* Every target's own: 0, or -1 for an input that is of no use. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

/* What is left of an input. Past its end there are zeros. */
typedef struct {
    const uint8_t *at;
    size_t n;
} fuzz_input;

uint8_t fuzz_u8(fuzz_input *input);
uint64_t fuzz_u64(fuzz_input *input, int n_bytes);
int fuzz_below(fuzz_input *input, int limit);
/* The next n bytes, fewer at the end. */
fuzz_input fuzz_take(fuzz_input *input, size_t n);

/* Paths in a folder of this process's own, in memory where there is such a file system, removed at
 * exit. Static storage, good for the next eight calls. */
const char *fuzz_path(const char *name);
/* Writes a file there; folders of the name are made. */
const char *fuzz_write(const char *name, const void *bytes, size_t n_bytes);
/* Removes what lies under the name, with all that is in it, and makes an empty folder of it. */
const char *fuzz_folder(const char *name);

/*
 * An input of several files: FE FF FE FF and the file's number stand in front of each. What comes
 * before the first goes to file 0. Files are written into an empty folder, which is returned; an
 * absent one is not there. With fix_safetensors, the first eight bytes of *.safetensors become the
 * length of its header, up to the last '}'.
 */
const char *fuzz_files(fuzz_input input, const char *folder, const char *const *names, int n_names,
                       bool fix_safetensors);

/* Ends the process when a refusal is not what it must be: a message of one line that holds `place`
 * (NULL: any), and no fault of our own. With FUZZ_SHOW in the environment each refusal is printed,
 * which tells whether a seed does what it should. */
void fuzz_check(emc_status status, const char *place);
/* Ends the process: what must hold does not. */
void fuzz_require(bool holds, const char *what);
