#pragma once
/* What the tests of estimates share: the golden models, adapted or not, and a small trie. */

#include "runtime/emcell.h"
#include "runtime_case.h"

#define N_CHOICES 4
#define N_NODES   5 /* inner ones: 10, 10-11, 10-12, 10-12-13 and 20, of depths 1, 2, 2, 3, 1 */
#define N_KEYS    9 /* the sum of those depths */
extern const int32_t choice_ids[];
extern const int32_t choice_begin[N_CHOICES + 1];

typedef struct {
    const char *name, *base; /* another name is an adapter on the base */
} estimate_model;

#define N_MODELS 12
extern const estimate_model models[N_MODELS];

/* On the device of the tests, one thread. */
emc_model_options options_of(const runtime_case *c, emc_dtype_choice dtype);

/* Opens it without weights. */
emc_model *open_shape(emc_model_options options);
