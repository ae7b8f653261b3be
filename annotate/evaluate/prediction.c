/* Predictions, one a line: kept as they come, read back by a later run. */

#include "annotate/evaluate/prediction.h"

const char *emc_outcome_name(emc_outcome outcome)
{
    static const char *const names[EMC_N_OUTCOMES] = {"label", "unknown", "invalid", "off_list",
                                                      "empty", "refused", "failed"};

    return (unsigned)outcome < EMC_N_OUTCOMES ? names[outcome] : "";
}
