/*
 * A double is m 2^e with m < 2^53, so within the bounds below value 10^p = m 10^p / 2^-e has a
 * numerator below 2^128: quotient and remainder are exact integers, and so is the rounding.
 * Everything else is left to printf.
 */
#include "base/decimal.h"

#include <assert.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MOST_DIGITS 9     /* of the quick way; the quotient and its tenfold fit in 64 bits */
#define MOST_POWER  22    /* 10^22 < 2^74 */
#define LEAST       1e-22 /* and so two digits of an exponent are enough */
#define MOST        1e9

__extension__ typedef unsigned __int128 wide;

static const uint64_t powers[] = {
    1,        10,        100,        1000,        10000,        100000,        1000000,
    10000000, 100000000, 1000000000, 10000000000, 100000000000, 1000000000000, 10000000000000};

static wide power_of_ten(int n)
{
    return n > 13 ? (wide)powers[13] * powers[n - 13] : powers[n];
}

/* The digits of a positive number as an integer of `digits` of them, and the place of the first:
 * value = integer 10^(*place - digits + 1), rounded. False: not by this way. */
static bool find_digits(uint64_t *integer, int *place, double value, int digits)
{
    int exponent;
    /* Exact: a value of 53 bits becomes an integer. */
    const uint64_t m = (uint64_t)ldexp(frexp(value, &exponent), 53);
    const int shift = 53 - exponent;
    /* At most one too low: log10(2) = 0.30103 of the number of bits before the last. */
    int at = (int)floor((exponent - 1) * 0.30102999566398120);

    for (;; at++) {
        const int power = digits - 1 - at;
        if (power < 0 || power > MOST_POWER || shift < 1 || shift > 127)
            return false;
        const wide scaled = m * power_of_ten(power), unit = (wide)1 << shift;
        uint64_t quotient = (uint64_t)(scaled >> shift);
        const wide rest = scaled & (unit - 1), half = unit >> 1;

        if (quotient >= powers[digits])
            continue;
        quotient += rest > half || (rest == half && (quotient & 1));
        if (quotient == powers[digits]) {
            quotient /= 10;
            at++;
        }
        *integer = quotient;
        *place = at;
        return true;
    }
}

/* Without the zeros at the end, as %g has them. */
static size_t write_digits(char *out, uint64_t integer, int digits, int place)
{
    const bool is_small = place < -4 || place >= digits;
    char text[MOST_DIGITS];
    size_t n = 0;
    int kept = digits;

    for (int i = digits - 1; i >= 0; i--, integer /= 10)
        text[i] = (char)('0' + integer % 10);
    while (kept > 1 && text[kept - 1] == '0')
        kept--;
    /* Digits before the point, in fixed notation at least those up to the ones. */
    const int before = is_small ? 1 : place + 1;
    if (before <= 0) {
        out[n++] = '0';
        out[n++] = '.';
        for (int i = before; i < 0; i++)
            out[n++] = '0';
    }
    for (int i = 0; i < kept || i < before; i++) {
        if (i == before && before > 0)
            out[n++] = '.';
        out[n++] = i < kept ? text[i] : '0';
    }
    if (is_small) {
        const int size = place < 0 ? -place : place;
        out[n++] = 'e';
        out[n++] = place < 0 ? '-' : '+';
        out[n++] = (char)('0' + size / 10);
        out[n++] = (char)('0' + size % 10);
    }
    out[n] = '\0';
    return n;
}

size_t emc_decimal_write(char out[EMC_DECIMAL_BYTES], double value, int digits)
{
    const double size = fabs(value);
    uint64_t integer;
    int place;

    assert(digits >= 1 && digits <= 17);
    if (size == 0) {
        const char *zero = signbit(value) ? "-0" : "0";
        strcpy(out, zero);
        return strlen(zero);
    }
    if (digits <= MOST_DIGITS && size >= LEAST && size < MOST &&
        find_digits(&integer, &place, size, digits)) {
        const size_t n = value < 0;
        out[0] = '-';
        return n + write_digits(out + n, integer, digits, place);
    }
    return (size_t)snprintf(out, EMC_DECIMAL_BYTES, "%.*g", digits, value);
}
