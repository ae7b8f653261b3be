#pragma once
/* Inside evaluate/: what an open benchmark keeps. */

#include "annotate/evaluate/benchmark.h"
#include "annotate/evaluate/markers.h"
#include "base/json.h"
#include "base/str_map.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const char **genes; /* strings belong to markers_tree */
    int n;
} benchmark_markers;

struct emc_benchmark {
    char *folder;
    emc_benchmark_info info; /* strings belong to manifest */
    cJSON *manifest, *labels_tree, *markers_tree;
    emc_profile *profile; /* behind labels */
    emc_labels *labels;
    benchmark_markers *markers; /* [n_labels] */

    emc_bench_item *items;
    size_t n_items, room;
    void **blocks; /* strings and arrays of the items; names that come often are kept once */
    size_t n_blocks, blocks_room;
    emc_str_map *names;
    char **name_list;
    size_t n_names, names_room;
};

emc_status benchmark_read_items(emc_benchmark *b, const char *path);
void benchmark_free_items(emc_benchmark *b);

#ifdef __cplusplus
}
#endif
