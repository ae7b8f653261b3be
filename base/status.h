#pragma once
/* How every fallible function of emcell reports: a code, and a message kept for this thread. */

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_OK = 0,
    EMC_ERR_ARG,       /* the caller broke a limit that the header states */
    EMC_ERR_USAGE,     /* a command line or option that makes no sense */
    EMC_ERR_NOT_FOUND, /* an input that is not there */
    EMC_ERR_FORMAT,    /* an input that is not what it should be */
    EMC_ERR_CONFIG,    /* a profile, a plan or settings that do not fit together */
    EMC_ERR_CREATE,    /* an output that cannot be made */
    EMC_ERR_IO,        /* reading or writing failed underway */
    EMC_ERR_NOMEM,
    EMC_ERR_DEVICE,    /* no such device, or it failed, or it lacks memory */
    EMC_ERR_LOST,      /* the device failed underway; what was finished is kept */
    EMC_ERR_CANCELLED, /* the caller asked to stop */
    EMC_ERR_INTERNAL   /* our own mistake */
} emc_status;

#if defined(__GNUC__)
#define EMC_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define EMC_NODISCARD         __attribute__((warn_unused_result))
#else
#define EMC_PRINTF(fmt, args)
#define EMC_NODISCARD
#endif

/* Stores this thread's message (cut at 1023 bytes, never in the middle of a UTF-8 character;
 * control characters become '?', so that a message is one line) and returns `status`. */
emc_status emc_fail(emc_status status, const char *format, ...) EMC_PRINTF(2, 3);

/* Puts "text: " before this thread's message and returns `status`. */
emc_status emc_fail_in(emc_status status, const char *format, ...) EMC_PRINTF(2, 3);

/* This thread's last message; "" before the first. Borrowed until the next failure. */
const char *emc_message(void);

/* The name of a code, for logs: "format", "io", ... */
const char *emc_status_name(emc_status status);

/* The exit code that a command ends with: sysexits where there is one, 2 for usage. */
int emc_status_exit_code(emc_status status);

/* One of the two macros that return. */
#define EMC_TRY(call)                                                                              \
    do {                                                                                           \
        emc_status emc_try_status_ = (call);                                                       \
        if (emc_try_status_ != EMC_OK)                                                             \
            return emc_try_status_;                                                                \
    } while (0)

#define EMC_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#ifdef __cplusplus
}
#endif
