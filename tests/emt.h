#pragma once
/* Small helpers on top of cmocka. */

/* cmocka wants these before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/status.h"

/* The call succeeds; otherwise its message is printed. */
#define EMT_OK(call)                                                                               \
    do {                                                                                           \
        const emc_status emt_status_ = (call);                                                     \
        if (emt_status_ != EMC_OK)                                                                 \
            fail_msg("%s: %s: %s", #call, emc_status_name(emt_status_), emc_message());            \
    } while (0)

/* The call fails with this code, and its message holds `text`. */
#define EMT_FAILS(status, text, call) emt_fails(status, text, call, #call, __FILE__, __LINE__)
void emt_fails(emc_status wanted, const char *text, emc_status got, const char *call,
               const char *file, int line);

/* A path under the committed golden files, or under the shared data folder. Static storage, good
 * for the next eight calls. */
const char *emt_golden(const char *name);
const char *emt_shared(const char *name);

/* Skips the running test, with the reason on standard error, when the shared file is absent. */
void emt_need_shared(const char *name);

/* A folder of this process's own under the system's temporary folder, removed at exit. */
const char *emt_temp_dir(void);
const char *emt_temp(const char *name);

/* Writes a file under emt_temp_dir and returns its path (static storage as above). */
const char *emt_write(const char *name, const void *bytes, size_t n_bytes);

/* The whole file, NUL-terminated; fails the test when it is not there. Owned by the caller. */
char *emt_read(const char *path, size_t *n_bytes);

/* splitmix64: seeded, the same everywhere. */
uint64_t emt_random(uint64_t *state);
double emt_uniform(uint64_t *state); /* [0, 1) */
double emt_normal(uint64_t *state);
