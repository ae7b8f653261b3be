#pragma once
/* Numbers as text, what printf gives and several times as fast: tables have millions of them. */

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EMC_DECIMAL_BYTES 32 /* room for any number of at most 17 digits */

/* Writes what printf("%.*g", digits, value) writes in the C locale, rounded to nearest, and a NUL.
 * digits 1 to 17. Returns the length without the NUL. */
size_t emc_decimal_write(char out[EMC_DECIMAL_BYTES], double value, int digits);

#ifdef __cplusplus
}
#endif
