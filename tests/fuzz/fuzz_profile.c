/* A profile as JSON, and its labels. */
#include "annotate/labels.h"
#include "annotate/profile.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    emc_profile *profile;
    emc_labels *labels;
    const emc_status status = emc_profile_parse(&profile, (const char *)data, n_bytes, "p.json");

    fuzz_check(status, "p.json");
    if (status == EMC_OK) {
        fuzz_check(emc_labels_from_profile(&labels, profile), NULL);
        if (labels) {
            emc_label_match match;
            for (int i = 0; i < emc_labels_count(labels); i++)
                emc_labels_ancestors(labels, i, NULL, 0);
            fuzz_check(emc_labels_parse_answer(labels, (const char *)data, n_bytes, &match), NULL);
        }
        emc_labels_close(labels);
    }
    emc_profile_close(profile);
    return 0;
}
