#pragma once
/*
 * The Unicode data that the tokenizer stands on, as sorted lists. Made by
 * scripts/make_unicode_tables; the two versions are those of the reference library.
 * Derived from the Unicode Character Database, copyright Unicode, Inc., Unicode License v3.
 */

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    uint32_t first, last; /* both belong to the range */
} emc_code_range;

typedef struct {
    uint32_t first, last, ccc;
} emc_class_range;

typedef struct {
    uint32_t code, first, second; /* one level; second is 0 where there is only one */
} emc_decomposition;

typedef struct {
    uint32_t first, second, composed;
} emc_composite;

/* Unicode 16.0: \p{L}, \p{N} and \s (White_Space). */
extern const emc_code_range emc_unicode_letters[], emc_unicode_numbers[], emc_unicode_spaces[];
extern const size_t emc_unicode_letters_count, emc_unicode_numbers_count, emc_unicode_spaces_count;

/* Unicode 9.0: combining classes other than 0; canonical decompositions, sorted by code; primary
 * composites (exclusions left out), sorted by first and second. Hangul is left to arithmetic. */
extern const emc_class_range emc_unicode_classes[];
extern const emc_decomposition emc_unicode_decompositions[];
extern const emc_composite emc_unicode_composites[];
extern const size_t emc_unicode_classes_count, emc_unicode_decompositions_count,
    emc_unicode_composites_count;

#ifdef __cplusplus
}
#endif
