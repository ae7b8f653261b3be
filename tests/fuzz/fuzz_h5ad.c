/* .h5ad files of every age and storage, edited. */
#include <string.h>

#include "fuzz_cells.h"
#include "h5_file.h"

#define N_CELLS 4
#define N_GENES 5

static const int64_t indptr[] = {0, 2, 2, 5, 6};
static const int64_t by_gene[] = {0, 2, 2, 4, 5, 6};
static const int64_t indices[] = {0, 3, 1, 2, 4, 0};
static const int64_t rows[] = {0, 3, 0, 2, 2, 2};
static const int64_t values[] = {5, 1, 2, 7, 1, 3};
static const int64_t codes[] = {0, 1, -1, 1};

static void frame(h5_items *items, const char *name, const char *index, const char *words)
{
    h5_item *group = h5_add(items, ITEM_GROUP, name);

    h5_note_text(group, "_index", "_index");
    h5_note_text(group, "encoding-type", "dataframe");
    h5_texts(items, index, words);
}

static void sparse(h5_items *items, bool csc, bool packed)
{
    h5_item *group = h5_add(items, ITEM_GROUP, "X");
    h5_item *data = h5_numbers(items, "X/data", TYPE_F32, 6, values);
    h5_item *at = h5_numbers(items, "X/indices", TYPE_I32, 6, csc ? rows : indices);

    h5_numbers(items, "X/indptr", TYPE_I32, csc ? N_GENES + 1 : N_CELLS + 1,
               csc ? by_gene : indptr);
    h5_note_text(group, "encoding-type", csc ? "csc_matrix" : "csr_matrix");
    h5_note_ints(group, "shape", 2, N_CELLS, N_GENES);
    if (packed) {
        data->chunk[0] = at->chunk[0] = 4;
        data->filters = at->filters = 3;
    }
}

static h5_item *dense(h5_items *items, const char *name)
{
    h5_item *item = h5_numbers(items, name, TYPE_F64, 0, NULL);

    item->n_dims = 2;
    item->dims[0] = N_CELLS;
    item->dims[1] = N_GENES;
    item->n_values = N_CELLS * N_GENES;
    for (int i = 0; i < item->n_values; i++)
        item->values[i] = i % 3;
    return item;
}

/* obs: a categorical, a nullable, numbers. */
static void columns(h5_items *items)
{
    h5_note_text(h5_add(items, ITEM_GROUP, "obs/label"), "encoding-type", "categorical");
    h5_numbers(items, "obs/label/codes", TYPE_I8, N_CELLS, codes);
    h5_texts(items, "obs/label/categories", "A B");
    h5_add(items, ITEM_GROUP, "obs/n");
    h5_numbers(items, "obs/n/values", TYPE_I64, N_CELLS, values);
    h5_numbers(items, "obs/n/mask", TYPE_BOOL, N_CELLS, rows);
    h5_numbers(items, "obs/kind", TYPE_F32, N_CELLS, values);
}

/* Before anndata 0.7. */
static void old(h5_items *items)
{
    static const int64_t cells[] = {10, 11 + 256, 12, 13}, genes[] = {5, 6, 7, 8, 9};

    h5_numbers(items, "obs", TYPE_COMPOUND, N_CELLS, cells);
    h5_numbers(items, "var", TYPE_COMPOUND, N_GENES, genes);
    h5_add(items, ITEM_GROUP, "uns");
    h5_texts(items, "uns/label_categories", "A B");
    dense(items, "X");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};
    const fuzz_input options = fuzz_take(&input, FUZZ_OPTION_BYTES);
    static h5_items items;
    const char *path = fuzz_path("x.h5ad");
    const int kind = fuzz_below(&input, 5);

    items.n = 0;
    if (kind == 4) {
        old(&items);
    } else {
        frame(&items, "obs", "obs/_index", "c1 c2 c3 c4");
        frame(&items, "var", "var/_index", "ACTB GAPDH SOX2 POU5F1 MT-CO1");
        columns(&items);
        if (kind == 3)
            dense(&items, "X")->chunk[0] = 2;
        else
            sparse(&items, kind == 2, kind == 1);
        h5_add(&items, ITEM_GROUP, "layers");
        dense(&items, "layers/counts");
        h5_texts(&items, "var/feature_name", "ACTB GAPDH SOX2 A B");
    }
    /* Else this would be a test of one refusal. */
    const bool is_good = input.n == 0 && options.n == 4 && memcmp(options.at, "\0\0\0\0", 4) == 0;
    h5_edit(&items, &input);
    h5_write(&items, path);
    fuzz_require(fuzz_cells(path, options) || !is_good, "a file without an edit is good");
    return 0;
}
