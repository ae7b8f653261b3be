#include "estimate_case.h"

#include <stdlib.h>

#include "emt.h"

const int32_t choice_ids[] = {10, 11, 5, 10, 12, 5, 10, 12, 13, 5, 20, 5};
const int32_t choice_begin[] = {0, 3, 6, 10, 12};

const estimate_model models[N_MODELS] = {
    {"group1", "group1"}, {"group2", "group2"}, {"group4", "group4"},    {"group5", "group5"},
    {"group8", "group8"}, {"wide64", "wide64"}, {"wide128", "wide128"},  {"lora", "group4"},
    {"rslora", "group2"}, {"dora", "group1"},   {"embedding", "group8"}, {"untied", "group1"},
};

emc_model_options options_of(const runtime_case *c, emc_dtype_choice dtype)
{
    const char *device = getenv("EMT_ONLY_DEVICE");

    return (emc_model_options){.model_dir = c->model_dir,
                               .adapter_dir = c->adapter_dir[0] ? c->adapter_dir : NULL,
                               .device = device ? device : "cpu",
                               .dtype = case_on_cpu() ? dtype : EMC_DTYPE_BFLOAT16,
                               .n_threads = 1};
}

emc_model *open_shape(emc_model_options options)
{
    emc_model *model;

    options.without_weights = true;
    EMT_OK(emc_model_open(&model, &options));
    return model;
}
