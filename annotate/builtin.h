#pragma once
/* The profiles that are part of the program: files of annotate/profiles/, embedded by the build. */

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char *name;
    const char *text; /* ends in a NUL beyond n_bytes */
    size_t n_bytes;
} emc_builtin;

/* In the order of the build's list; ends with a NULL name. */
extern const emc_builtin emc_builtins[];

#ifdef __cplusplus
}
#endif
