#include "choice_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define H5(call) assert_true((call) >= 0)
#define TEXT     24

static uint64_t mix(int cell, int gene)
{
    uint64_t state = (uint64_t)cell * 1000003u + (uint64_t)gene;

    return emt_random(&state);
}

double choice_counts(int cell, int gene)
{
    const uint64_t x = mix(cell, gene);

    return x % 2 ? (double)(1 + x / 2 % (uint64_t)(20 + cell % 50)) : 0;
}

static double part(int cell, int gene)
{
    double sum = 0;

    for (int g = 0; g < CHOICE_GENES; g++)
        sum += choice_counts(cell, g);
    return choice_counts(cell, gene) / sum;
}

double choice_log1p(int cell, int gene)
{
    return (float)log1p(1e4 * part(cell, gene));
}

double choice_log2(int cell, int gene)
{
    return (float)log2(1 + 1e6 * part(cell, gene));
}

double choice_tpm(int cell, int gene)
{
    return (float)(1e6 * part(cell, gene));
}

double choice_scaled(int cell, int gene)
{
    return choice_counts(cell, gene) / 7 - 1;
}

double choice_fpkm(int cell, int gene)
{
    return (float)(choice_counts(cell, gene) * (1.37 + 0.11 * gene));
}

double choice_corrected(int cell, int gene)
{
    return choice_counts(cell, gene) + (mix(cell, gene) % 9 == 0 ? 0.25 : 0);
}

double choice_free_log(int cell, int gene)
{
    return (float)log1p(choice_counts(cell, gene) * (0.5 + 0.1 * (cell % 7)));
}

double choice_half_log(int cell, int gene)
{
    return gene % 2 ? 0 : choice_free_log(cell, gene);
}

double choice_ones(int cell, int gene)
{
    return choice_counts(cell, gene) > 0;
}

double choice_zeros(int cell, int gene)
{
    (void)cell, (void)gene;
    return 0;
}

static void write_texts(hid_t at, const char *name, const char *texts, int n)
{
    const hsize_t dims = (hsize_t)n;
    const hid_t space = H5Screate_simple(1, &dims, NULL), type = H5Tcopy(H5T_C_S1);

    H5(H5Tset_size(type, TEXT));
    const hid_t set = H5Dcreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, texts));
    H5(H5Dclose(set));
    H5(H5Tclose(type));
    H5(H5Sclose(space));
}

static void write_attribute(hid_t at, const char *name, const char *value)
{
    const hid_t space = H5Screate(H5S_SCALAR), type = H5Tcopy(H5T_C_S1);

    H5(H5Tset_size(type, strlen(value) + 1));
    const hid_t attribute = H5Acreate2(at, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Awrite(attribute, type, value));
    H5(H5Aclose(attribute));
    H5(H5Tclose(type));
    H5(H5Sclose(space));
}

/* names NULL: prefix and a number. */
static void write_frame(hid_t file, const char *name, int n, const char *prefix,
                        const char *const *names)
{
    const hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    char *texts = calloc((size_t)n, TEXT);

    H5(group);
    assert_non_null(texts);
    for (int i = 0; i < n; i++)
        if (names)
            snprintf(texts + (size_t)i * TEXT, TEXT, "%s", names[i]);
        else
            snprintf(texts + (size_t)i * TEXT, TEXT, "%s%d", prefix, i);
    write_texts(group, "_index", texts, n);
    write_attribute(group, "_index", "_index");
    write_attribute(group, "encoding-type", "dataframe");
    H5(H5Gclose(group));
    free(texts);
}

hid_t choice_create(const char *path, int n_cells, int n_genes, const char *const *genes)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    H5(file);
    write_frame(file, "obs", n_cells, "cell", NULL);
    write_frame(file, "var", n_genes, "GENE", genes);
    return file;
}

static void need_group(hid_t file, const char *name)
{
    if (H5Lexists(file, name, H5P_DEFAULT) > 0)
        return;
    H5(H5Gclose(H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT)));
}

void choice_matrix(hid_t file, const char *name, int n_cells, int n_genes, choice_values values)
{
    const hsize_t dims[2] = {(hsize_t)n_cells, (hsize_t)n_genes};

    if (!values)
        return;
    float *numbers = malloc((size_t)n_cells * (size_t)n_genes * sizeof *numbers);
    assert_non_null(numbers);
    for (int c = 0; c < n_cells; c++)
        for (int g = 0; g < n_genes; g++)
            numbers[(size_t)c * (size_t)n_genes + (size_t)g] = (float)values(c, g);
    if (strncmp(name, "layers/", 7) == 0)
        need_group(file, "layers");
    if (strcmp(name, "raw/X") == 0) {
        need_group(file, "raw");
        write_frame(file, "raw/var", n_genes, "GENE", NULL);
    }
    const hid_t space = H5Screate_simple(2, dims, NULL);
    const hid_t set =
        H5Dcreate2(file, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, numbers));
    H5(H5Dclose(set));
    H5(H5Sclose(space));
    free(numbers);
}

void choice_column(hid_t file, const char *name, int n_cells, const char *const *categories,
                   int n_categories, int (*code)(int cell))
{
    const hsize_t dims = (hsize_t)n_cells;
    char path[64], texts[8 * TEXT] = {0};
    int8_t *codes = malloc((size_t)n_cells);

    assert_non_null(codes);
    for (int c = 0; c < n_cells; c++)
        codes[c] = (int8_t)code(c);
    for (int i = 0; i < n_categories; i++)
        snprintf(texts + (size_t)i * TEXT, TEXT, "%s", categories[i]);
    snprintf(path, sizeof path, "obs/%s", name);
    const hid_t group = H5Gcreate2(file, path, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(group);
    write_attribute(group, "encoding-type", "categorical");
    write_texts(group, "categories", texts, n_categories);
    const hid_t space = H5Screate_simple(1, &dims, NULL);
    const hid_t set =
        H5Dcreate2(group, "codes", H5T_STD_I8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Dwrite(set, H5T_NATIVE_INT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, codes));
    H5(H5Dclose(set));
    H5(H5Sclose(space));
    H5(H5Gclose(group));
    free(codes);
}

void choice_var_column(hid_t file, const char *name, int n, const char *const *texts)
{
    char path[64], *bytes = calloc((size_t)n, TEXT);

    assert_non_null(bytes);
    for (int i = 0; i < n; i++)
        snprintf(bytes + (size_t)i * TEXT, TEXT, "%s", texts[i]);
    snprintf(path, sizeof path, "var/%s", name);
    write_texts(file, path, bytes, n);
    free(bytes);
}
