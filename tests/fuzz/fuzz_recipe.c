/* A recipe as JSON, and the table of columns that it joins to a small file of cells. */
#include <string.h>

#include "annotate/dataset/dataset.h"
#include "fuzz.h"

static const char cells[] = "cell,ACTB,GAPDH,B2M,CD3D,CD14,CD19,FTL,LYZ,FTH1,ENO1,PKM,PGK1\n"
                            "a0,12,11,10,9,8,7,6,5,4,3,2,1\n"
                            "a1,4,11,10,9,8,7,6,5,4,3,2,1\n"
                            "a2,12,1,10,9,8,7,6,5,4,3,2,0\n"
                            "a3,12,11,10,9,8,7,6,5,4,0,0,0\n";

static emc_status count(void *context, const emc_dataset_genes *genes)
{
    fuzz_require(genes->n_genes > 0, "a kept cell has genes");
    (*(int64_t *)context)++;
    return EMC_OK;
}

static void read_dataset(const emc_recipe *recipe)
{
    const emc_dataset_options options = {.n_threads = 1};
    emc_dataset *dataset;
    int64_t n = 0;

    fuzz_check(emc_dataset_open(&dataset, recipe, &options), NULL);
    if (dataset) {
        fuzz_check(emc_dataset_each(dataset, count, &n), NULL);
        fuzz_require(n == emc_dataset_count(dataset), "every cell is handed out");
    }
    emc_dataset_close(dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"r.json", "t.tsv"};
    const fuzz_input input = {data, n_bytes};
    emc_recipe *recipe;
    bool is_ours = true;

    fuzz_files(input, "recipe", names, 2, false);
    fuzz_write("recipe/cells.csv", cells, sizeof(cells) - 1);
    fuzz_check(emc_recipe_open(&recipe, fuzz_path("recipe/r.json"), NULL), NULL);
    if (recipe) {
        const emc_recipe_info *info = emc_recipe_get(recipe);
        for (int i = 0; i < info->n_inputs; i++)
            is_ours = is_ours && strcmp(info->inputs[i].path, "cells.csv") == 0;
        if (is_ours && info->n_inputs < 4)
            read_dataset(recipe);
    }
    emc_recipe_close(recipe);
    return 0;
}
