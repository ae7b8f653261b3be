/* The message is per thread, so that stages running side by side cannot mix theirs up. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_BYTES 1024

static _Thread_local char message[MESSAGE_BYTES];

/* Cuts a character that snprintf left half, and makes the text one printable line. */
static void tidy(char *text)
{
    size_t n = strlen(text);

    if (n == MESSAGE_BYTES - 1) {
        size_t start = n;
        while (start > 0 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
            start--;
        if (start > 0 && (unsigned char)text[start - 1] >= 0xC0)
            text[start - 1] = '\0';
    }
    for (unsigned char *p = (unsigned char *)text; *p; p++)
        if (*p < 0x20 || *p == 0x7F)
            *p = '?';
}

emc_status emc_fail(emc_status status, const char *format, ...)
{
    char text[MESSAGE_BYTES]; /* the arguments may hold the old message */
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    tidy(text);
    memcpy(message, text, sizeof message);
    return status;
}

emc_status emc_fail_in(emc_status status, const char *format, ...)
{
    char text[MESSAGE_BYTES];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return emc_fail(status, "%s: %s", text, message);
}

const char *emc_message(void)
{
    return message;
}

/* One table for names and exit codes: sysexits.h, and 2 for usage as getopt users expect. */
static const struct {
    const char *name;
    int exit_code;
} codes[] = {
    [EMC_OK] = {"ok", 0},
    [EMC_ERR_ARG] = {"argument", 70},
    [EMC_ERR_USAGE] = {"usage", 2},
    [EMC_ERR_NOT_FOUND] = {"not found", 66},
    [EMC_ERR_FORMAT] = {"format", 65},
    [EMC_ERR_CONFIG] = {"config", 78},
    [EMC_ERR_CREATE] = {"create", 73},
    [EMC_ERR_IO] = {"io", 74},
    [EMC_ERR_NOMEM] = {"memory", 71},
    [EMC_ERR_DEVICE] = {"device", 69},
    [EMC_ERR_LOST] = {"lost", 75},
    [EMC_ERR_CANCELLED] = {"cancelled", 130},
    [EMC_ERR_INTERNAL] = {"internal", 70},
};

const char *emc_status_name(emc_status status)
{
    return (size_t)status < EMC_COUNT(codes) ? codes[status].name : "unknown";
}

int emc_status_exit_code(emc_status status)
{
    return (size_t)status < EMC_COUNT(codes) ? codes[status].exit_code : 70;
}
