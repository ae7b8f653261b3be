/* A user's list of labels, and answers that are matched to it. */
#include <string.h>

#include "annotate/labels.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"labels.tsv", "answer.txt"};
    const fuzz_input input = {data, n_bytes};
    const char *dir = fuzz_files(input, "labels", names, EMC_COUNT(names), false);
    char path[256];
    emc_labels *labels;

    strcpy(path, dir);
    strcat(path, "/labels.tsv");
    const emc_status status = emc_labels_read(&labels, path);
    fuzz_check(status, path);
    if (status == EMC_OK) {
        emc_label_match match;
        fuzz_require(emc_labels_count(labels) >= 2, "two labels");
        for (int i = 0; i < emc_labels_count(labels); i++) {
            const char *text = emc_labels_get(labels, i)->label;
            fuzz_check(emc_labels_match(labels, text, strlen(text), &match), NULL);
            fuzz_require(match.label == i, "a label means itself");
        }
        const size_t tail = n_bytes < 200 ? n_bytes : 200;
        fuzz_check(
            emc_labels_parse_answer(labels, (const char *)data + n_bytes - tail, tail, &match),
            NULL);
    }
    emc_labels_close(labels);
    return 0;
}
