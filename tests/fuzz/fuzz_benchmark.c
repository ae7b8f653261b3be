/* A benchmark's folder, the predictions of one, a page made of an evaluation, and the questions of
 * CellVerse: what others wrote. */
#include <stdio.h>
#include <string.h>

#include "annotate/evaluate/benchmark.h"
#include "annotate/evaluate/benchmark_make.h"
#include "annotate/evaluate/prediction.h"
#include "annotate/report/report.h"
#include "fuzz.h"

static void read_predictions(const emc_benchmark *benchmark)
{
    emc_predictions *predictions;
    const int n = emc_benchmark_n_items(benchmark);

    fuzz_check(
        emc_predictions_open(&predictions, n, emc_labels_count(emc_benchmark_labels(benchmark))),
        NULL);
    fuzz_check(emc_predictions_read(predictions, benchmark, fuzz_path("bench/p.jsonl")), NULL);
    for (int i = 0; i < n; i++) {
        const emc_prediction *p = emc_predictions_get(predictions, i);
        emc_text line = {0};
        if (p)
            fuzz_check(emc_prediction_write(&line, benchmark, i, p), NULL);
        emc_text_free(&line);
    }
    emc_predictions_close(predictions);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"items.jsonl",  "manifest.json", "labels.json",
                                        "markers.json", "p.jsonl",       "evaluation.json",
                                        "q.json"};
    const fuzz_input input = {data, n_bytes};
    char output[512];
    emc_benchmark *benchmark;
    int64_t n;

    fuzz_files(input, "bench", names, 7, false);
    fuzz_check(emc_benchmark_open(&benchmark, fuzz_path("bench")), NULL);
    if (benchmark) {
        for (int i = 0; i < emc_benchmark_n_items(benchmark); i++) {
            const emc_bench_item *item = emc_benchmark_item(benchmark, i);
            fuzz_require(item->n_genes > 0 || item->n_messages > 0, "an item asks something");
        }
        read_predictions(benchmark);
    }
    emc_benchmark_close(benchmark);
    snprintf(output, sizeof output, "%s", fuzz_path("page.html"));
    fuzz_check(emc_report_evaluation(fuzz_path("bench"), output), NULL);
    snprintf(output, sizeof output, "%s", fuzz_folder("made"));
    const emc_benchmark_make_options options = {.output_dir = output, .force = true};
    fuzz_check(emc_benchmark_import_cellverse(&n, fuzz_path("bench/q.json"), &options), NULL);
    return 0;
}
