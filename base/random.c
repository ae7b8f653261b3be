#include "base/random.h"

#include <xxhash.h>

uint64_t emc_random_next(emc_random *random)
{
    uint64_t x = random->state += 0x9e3779b97f4a7c15u;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t emc_random_below(emc_random *random, uint64_t n)
{
    const uint64_t end = UINT64_MAX - UINT64_MAX % n; /* a multiple of n */
    uint64_t x;

    do
        x = emc_random_next(random);
    while (x >= end);
    return x % n;
}

double emc_random_share(emc_random *random)
{
    return (double)(emc_random_next(random) >> 11) * 0x1p-53;
}

void emc_random_shuffle(emc_random *random, int32_t *values, size_t n)
{
    for (size_t i = n; i > 1; i--) {
        const size_t other = (size_t)emc_random_below(random, i);
        const int32_t value = values[i - 1];
        values[i - 1] = values[other];
        values[other] = value;
    }
}

emc_random emc_random_of(uint64_t seed, const void *name, size_t n_bytes)
{
    return (emc_random){XXH3_64bits_withSeed(name, n_bytes, seed)};
}
