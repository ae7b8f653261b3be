/* A recipe's JSON to its plain struct; everything is checked here. */

#include "annotate/dataset/recipe.h"

const char *emc_part_name(emc_part_of_split part)
{
    static const char *const names[EMC_N_PARTS] = {"train", "validation", "test"};

    return (unsigned)part < EMC_N_PARTS ? names[part] : "";
}
