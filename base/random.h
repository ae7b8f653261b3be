#pragma once
/* Random numbers that are the same on every machine: splitmix64 (Steele, Lea and Flood 2014). */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Any value is a good seed; equal seeds give equal numbers. */
typedef struct {
    uint64_t state;
} emc_random;

uint64_t emc_random_next(emc_random *random);

/* Evenly from 0 .. n - 1, without the bias of a bare remainder. n >= 1. */
uint64_t emc_random_below(emc_random *random, uint64_t n);

/* Evenly from [0, 1): a multiple of 2^-53. */
double emc_random_share(emc_random *random);

/* Fisher and Yates: every order of the n values is equally likely. */
void emc_random_shuffle(emc_random *random, int32_t *values, size_t n);

/* A generator of its own for one subject of a seed: by its name, such as a cell's id, so that what
 * one subject draws never depends on which others there are. */
emc_random emc_random_of(uint64_t seed, const void *name, size_t n_bytes);

#ifdef __cplusplus
}
#endif
