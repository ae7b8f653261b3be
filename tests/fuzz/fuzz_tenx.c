/* 10x .h5 files of Cell Ranger 2 and 3, and loom files, edited. */
#include "fuzz_cells.h"
#include <stdio.h>
#include <string.h>

#include "h5_file.h"

#define N_CELLS 4
#define N_GENES 5

static const int64_t indptr[] = {0, 2, 2, 5, 6};
static const int64_t indices[] = {0, 3, 1, 2, 4, 0};
static const int64_t values[] = {5, 1, 2, 7, 1, 3};
static const int64_t shape[] = {N_GENES, N_CELLS};

static void matrix(h5_items *items, const char *const names[4], bool packed)
{
    h5_item *data = h5_numbers(items, names[0], TYPE_I32, 6, values);
    h5_item *at = h5_numbers(items, names[1], TYPE_I64, 6, indices);

    h5_numbers(items, names[2], TYPE_I64, N_CELLS + 1, indptr);
    h5_numbers(items, names[3], TYPE_I32, 2, shape);
    if (packed) {
        data->chunk[0] = at->chunk[0] = 4;
        data->filters = at->filters = 3;
    }
}

static void version_3(h5_items *items, bool packed)
{
    static const char *const names[] = {"matrix/data", "matrix/indices", "matrix/indptr",
                                        "matrix/shape"};
    static const int64_t types[] = {32, 32, 32, 32, 33}, genomes[] = {29, 29, 29, 29, 30};

    h5_add(items, ITEM_GROUP, "matrix");
    matrix(items, names, packed);
    h5_texts(items, "matrix/barcodes", "c1 c2 c3 c4");
    h5_add(items, ITEM_GROUP, "matrix/features");
    h5_texts(items, "matrix/features/name", "ACTB GAPDH SOX2 POU5F1 MT-CO1");
    h5_texts(items, "matrix/features/id", "ENSG00000111640 ENSG00000111640.5 A B C");
    h5_numbers(items, "matrix/features/feature_type", TYPE_TEXT, N_GENES, types);
    h5_numbers(items, "matrix/features/genome", TYPE_TEXT, N_GENES, genomes);
}

static void version_2(h5_items *items, const char *genome)
{
    char names[7][32];
    static const char *const parts[7] = {"data",  "indices",    "indptr",  "shape",
                                         "genes", "gene_names", "barcodes"};
    const char *list[4];

    h5_add(items, ITEM_GROUP, genome);
    for (int i = 0; i < 7; i++)
        snprintf(names[i], sizeof names[i], "%s/%s", genome, parts[i]);
    for (int i = 0; i < 4; i++)
        list[i] = names[i];
    matrix(items, list, false);
    h5_texts(items, names[4], "ENSG00000111640 A B C D");
    h5_texts(items, names[5], "ACTB GAPDH SOX2 POU5F1 MT-CO1");
    h5_texts(items, names[6], "c1 c2 c3 c4");
}

static void loom(h5_items *items)
{
    h5_item *item = h5_numbers(items, "matrix", TYPE_F32, 0, NULL);

    item->n_dims = 2;
    item->dims[0] = N_GENES;
    item->dims[1] = N_CELLS;
    item->chunk[0] = item->chunk[1] = 3;
    item->filters = 1;
    item->n_values = N_CELLS * N_GENES;
    for (int i = 0; i < item->n_values; i++)
        item->values[i] = i % 4;
    h5_add(items, ITEM_GROUP, "row_attrs");
    h5_texts(items, "row_attrs/Gene", "ACTB GAPDH SOX2 POU5F1 MT-CO1");
    h5_texts(items, "row_attrs/Accession", "ENSG00000111640 A B C D");
    h5_add(items, ITEM_GROUP, "col_attrs");
    h5_texts(items, "col_attrs/CellID", "c1 c2 c3 c4");
    h5_numbers(items, "col_attrs/n", TYPE_I64, N_CELLS, values);
    h5_texts(items, "col_attrs/label", "A B A B");
    h5_add(items, ITEM_GROUP, "layers");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};
    const fuzz_input options = fuzz_take(&input, FUZZ_OPTION_BYTES);
    static h5_items items;
    const int kind = fuzz_below(&input, 5);
    const char *path = fuzz_path(kind == 4 ? "x.loom" : "x.h5");

    items.n = 0;
    if (kind < 2)
        version_3(&items, kind == 1);
    else if (kind < 4)
        version_2(&items, "hg19");
    if (kind == 3)
        version_2(&items, "mm10");
    if (kind == 4)
        loom(&items);
    /* Else this would be a test of one refusal. */
    const bool is_good =
        input.n == 0 && options.n == 4 && memcmp(options.at, "\0\0\0\0", 4) == 0 && kind != 3;
    h5_edit(&items, &input);
    h5_write(&items, path);
    fuzz_require(fuzz_cells(path, options) || !is_good, "a file without an edit is good");
    return 0;
}
