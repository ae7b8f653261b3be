/* How does an input change a file before it is written? */
#include "h5_file.h"

#include <stdio.h>
#include <string.h>

const char *const h5_words[] = {
    "",
    "A",
    "B",
    "C",
    "D",
    "ACTB",
    "GAPDH",
    "SOX2",
    "POU5F1",
    "MT-CO1",
    "c1",
    "c2",
    "c3",
    "c4",
    "ENSG00000111640",
    "ENSG00000111640.5",
    "ENSG00000075624",
    "ENSG00000181449",
    "0",
    "1",
    "2",
    "nan",
    "na\xefve",
    "\xff\xfe",
    "a\tb",
    "a\nb",
    " ",
    "\"q\"",
    "<|im_end|>",
    "hg19",
    "mm10",
    "hg19_ACTB",
    "Gene Expression",
    "Antibody Capture",
    "encoding-type",
    "encoding-version",
    "shape",
    "_index",
    "column-order",
    "categories",
    "codes",
    "mask",
    "values",
    "ordered",
    "h5sparse_format",
    "h5sparse_shape",
    "csr_matrix",
    "csc_matrix",
    "array",
    "dataframe",
    "categorical",
    "string-array",
    "nullable-string-array",
    "nullable-integer",
    "nullable-boolean",
    "raw",
    "anndata",
    "0.1.0",
    "0.2.0",
    "obs",
    "var",
    "X",
    "layers",
    "uns",
    "obs/_index",
    "var/_index",
    "index",
    "label",
    "n",
    "kind",
    "feature_name",
    "counts",
    "data",
    "indices",
    "indptr",
    "X/data",
    "X/indices",
    "X/indptr",
    "raw/X",
    "raw/var",
    "obs/label",
    "obs/label/codes",
    "obs/label/categories",
    "obs/n",
    "uns/label_categories",
    "obs/__categories",
    "matrix",
    "matrix/data",
    "matrix/indices",
    "matrix/indptr",
    "matrix/shape",
    "matrix/barcodes",
    "matrix/features",
    "matrix/features/id",
    "matrix/features/name",
    "matrix/features/genome",
    "matrix/features/feature_type",
    "hg19/genes",
    "hg19/gene_names",
    "hg19/barcodes",
    "row_attrs",
    "col_attrs",
    "row_attrs/Gene",
    "col_attrs/CellID",
    "row_attrs/Accession",
    "layers/counts",
    "col_graphs",
    "attrs",
    "attrs/LOOM_SPEC_VERSION",
    "LOOM_SPEC_VERSION",
    "3.0.0",
    "CellID",
    "Gene",
    "Accession",
    "filetype",
    "chemistry_description",
    "/",
    ".",
    "..",
    "X/..",
    "obs/.",
    "a name of more than forty-eight bytes, which does not fit in everything that holds names",
};
const int h5_n_words = (int)EMC_COUNT(h5_words);

int h5_word(const char *text)
{
    for (int i = 0; i < h5_n_words; i++)
        if (strcmp(h5_words[i], text) == 0)
            return i;
    fuzz_require(false, "a word of the list");
    return 0;
}

h5_item *h5_add(h5_items *items, h5_item_kind kind, const char *name)
{
    fuzz_require(items->n < H5_MOST_ITEMS, "room for an item");
    h5_item *item = &items->items[items->n++];

    memset(item, 0, sizeof *item);
    item->kind = kind;
    snprintf(item->name, sizeof item->name, "%s", name);
    return item;
}

h5_item *h5_numbers(h5_items *items, const char *name, h5_item_type type, int n,
                    const int64_t *values)
{
    h5_item *item = h5_add(items, ITEM_DATASET, name);

    item->type = type;
    item->n_dims = 1;
    item->dims[0] = (uint64_t)n;
    item->n_values = n;
    if (n > 0)
        memcpy(item->values, values, (size_t)n * sizeof *values);
    return item;
}

h5_item *h5_texts(h5_items *items, const char *name, const char *words)
{
    h5_item *item = h5_numbers(items, name, TYPE_TEXT, 0, NULL);

    while (*words) {
        char text[64];
        const size_t n = strcspn(words, " ");
        snprintf(text, sizeof text, "%.*s", (int)n, words);
        item->values[item->n_values++] = h5_word(text);
        words += n + (words[n] == ' ');
    }
    item->dims[0] = (uint64_t)item->n_values;
    return item;
}

static h5_note *free_note(h5_item *item)
{
    for (int i = 0; i < H5_MOST_NOTES; i++)
        if (!item->notes[i].kind)
            return &item->notes[i];
    return &item->notes[H5_MOST_NOTES - 1];
}

void h5_note_text(h5_item *item, const char *name, const char *text)
{
    *free_note(item) =
        (h5_note){.name = (uint8_t)h5_word(name), .kind = 1, .text = (uint8_t)h5_word(text)};
}

void h5_note_ints(h5_item *item, const char *name, int n, int64_t a, int64_t b)
{
    *free_note(item) = (h5_note){
        .name = (uint8_t)h5_word(name), .kind = 3, .n = (uint8_t)n, .values = {a, b, 1, 1}};
}

/* Numbers near the borders of every type, or what the input says. */
static int64_t special(fuzz_input *input)
{
    static const int64_t numbers[] = {0,
                                      1,
                                      2,
                                      3,
                                      4,
                                      5,
                                      7,
                                      8,
                                      -1,
                                      -2,
                                      127,
                                      128,
                                      255,
                                      256,
                                      32767,
                                      65535,
                                      65536,
                                      INT32_MAX,
                                      INT32_MIN,
                                      UINT32_MAX,
                                      INT64_MAX,
                                      INT64_MIN,
                                      INT64_MAX - 1,
                                      1LL << 20,
                                      1LL << 31,
                                      1LL << 40,
                                      1LL << 53,
                                      1LL << 60,
                                      1LL << 62,
                                      1000000};
    const int choice = fuzz_below(input, EMC_COUNT(numbers) + 2);

    if (choice < (int)EMC_COUNT(numbers))
        return numbers[choice];
    return (int64_t)fuzz_u64(input, choice == (int)EMC_COUNT(numbers) ? 1 : 8);
}

/* The new shape of a dataset, which may be a claim without values. */
static void edit_shape(h5_item *item, fuzz_input *input)
{
    item->n_dims = fuzz_below(input, 5) - 1;
    for (int i = 0; i < item->n_dims; i++)
        item->dims[i] = (uint64_t)special(input);
}

static void edit_chunk(h5_item *item, fuzz_input *input)
{
    for (int i = 0; i < 3; i++)
        item->chunk[i] = (uint64_t)special(input) & 0xffff;
    item->filters = fuzz_u8(input);
}

static void edit_note(h5_item *item, fuzz_input *input)
{
    h5_note *note = &item->notes[fuzz_below(input, H5_MOST_NOTES)];

    switch (fuzz_below(input, 4)) {
    case 0:
        note->kind = (uint8_t)fuzz_below(input, 6);
        break;
    case 1:
        note->text = fuzz_u8(input);
        break;
    case 2:
        note->name = (uint8_t)fuzz_below(input, h5_n_words);
        break;
    default:
        note->n = (uint8_t)fuzz_below(input, 5);
        note->values[fuzz_below(input, 4)] = special(input);
        break;
    }
}

static void edit_item(h5_items *items, h5_item *item, fuzz_input *input)
{
    switch (fuzz_below(input, 12)) {
    case 0:
        item->name[0] = '\0';
        break;
    case 1:
        item->type = (h5_item_type)fuzz_below(input, N_TYPES);
        break;
    case 2:
        edit_shape(item, input);
        break;
    case 3:
        edit_chunk(item, input);
        break;
    case 4:
        item->values[fuzz_below(input, H5_MOST_VALUES)] = special(input);
        break;
    case 5: /* the length of a list, and its values with it */
        item->n_values = fuzz_below(input, H5_MOST_VALUES + 1);
        item->dims[0] = (uint64_t)item->n_values;
        break;
    case 6:
        edit_note(item, input);
        break;
    case 7:
        item->kind = (h5_item_kind)fuzz_below(input, 5);
        item->target = fuzz_u8(input);
        break;
    case 8:
        snprintf(item->name, sizeof item->name, "%s", h5_words[fuzz_below(input, h5_n_words)]);
        break;
    case 9:
        item->raw = fuzz_take(input, fuzz_u8(input));
        break;
    case 10:
        item->dims[fuzz_below(input, 3)] = (uint64_t)special(input);
        break;
    default: /* a copy under another name */
        if (items->n < H5_MOST_ITEMS) {
            h5_item *copy = &items->items[items->n++];
            *copy = *item;
            snprintf(copy->name, sizeof copy->name, "%s", h5_words[fuzz_below(input, h5_n_words)]);
        }
        break;
    }
}

void h5_edit(h5_items *items, fuzz_input *input)
{
    for (int i = 0; input->n > 0 && i < 64; i++) {
        h5_item *item = &items->items[fuzz_below(input, items->n)];
        edit_item(items, item, input);
    }
}
