#include "cells_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Entries that are written at a time. */
#define PIECE ((hsize_t)1 << 20)

#define CHECK(call)                                                                                \
    do {                                                                                           \
        if (!(call)) {                                                                             \
            fprintf(stderr, "%s:%d: %s failed\n", __FILE__, __LINE__, #call);                      \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;

    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Counts as they are: most of them 1, few of them large. */
static double draw_count(uint64_t *state)
{
    const uint64_t bits = next_random(state);
    const int zeros = bits ? __builtin_ctzll(bits) : 63;

    return zeros < 3 ? 1 + zeros / 2 : 2 + (double)((bits >> 40) % (3u << (zeros < 8 ? zeros : 8)));
}

int file_row(const file_spec *spec, int64_t row, int32_t *genes, double *values)
{
    uint64_t state = spec->seed * 1000003u + (uint64_t)row * 0xD1342543DE82EF95u + 1;
    const int wanted =
        spec->least + (int)(next_random(&state) % (uint64_t)(spec->most - spec->least + 1));
    int n = 0;

    if (spec->empty_every && row % spec->empty_every == spec->empty_every - 1)
        return 0;
    /* Steps of an even spread whose mean reaches the last gene at about the wanted number. */
    const uint64_t steps = wanted ? (uint64_t)(2 * spec->n_genes / wanted) : 1;
    for (int64_t gene = -1; n < wanted;) {
        gene += 1 + (int64_t)(next_random(&state) % (steps > 1 ? steps - 1 : 1));
        if (gene >= spec->n_genes)
            break;
        genes[n] = (int32_t)gene;
        values[n] = draw_count(&state);
        if (spec->ceiling > 0 && values[n] > spec->ceiling)
            values[n] = spec->ceiling;
        n++;
    }
    if (spec->repeated && n > 0 && row % 3 == 0) {
        genes[n] = genes[n / 2];
        values[n] = 3;
        n++;
    }
    for (int i = 0; spec->unsorted && i < n / 2; i++) {
        const int32_t gene = genes[i];
        const double value = values[i];
        genes[i] = genes[n - 1 - i];
        values[i] = values[n - 1 - i];
        genes[n - 1 - i] = gene;
        values[n - 1 - i] = value;
    }
    return n;
}

static hid_t or_else(hid_t type, hid_t usual)
{
    return type ? type : usual;
}

/* A dataset of one or two dimensions. */
static hid_t create(hid_t group, const char *name, hid_t type, int n_dims, const hsize_t *dims,
                    const file_spec *spec)
{
    const hid_t space = H5Screate_simple(n_dims, dims, NULL);
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t chunk[2] = {spec->chunk, n_dims == 2 ? dims[1] : 0};

    if (spec->chunk) {
        if (chunk[0] > dims[0])
            chunk[0] = dims[0] ? dims[0] : 1;
        CHECK(H5Pset_chunk(list, n_dims, chunk) >= 0);
        if (spec->shuffle)
            CHECK(H5Pset_shuffle(list) >= 0);
        if (spec->gzip)
            CHECK(H5Pset_deflate(list, (unsigned)spec->gzip) >= 0);
        if (spec->szip && H5Tget_class(type) != H5T_STRING)
            CHECK(H5Pset_szip(list, H5_SZIP_NN_OPTION_MASK, 8) >= 0);
        if (spec->fletcher)
            CHECK(H5Pset_fletcher32(list) >= 0);
    }
    const hid_t dataset = H5Dcreate2(group, name, type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    CHECK(dataset >= 0);
    H5Pclose(list);
    H5Sclose(space);
    return dataset;
}

static void write_at(hid_t dataset, hid_t memory, hsize_t start, hsize_t n, const void *from)
{
    const hid_t space = H5Dget_space(dataset), in = H5Screate_simple(1, &n, NULL);

    if (n > 0) {
        CHECK(H5Sselect_hyperslab(space, H5S_SELECT_SET, &start, NULL, &n, NULL) >= 0);
        CHECK(H5Dwrite(dataset, memory, in, space, H5P_DEFAULT, from) >= 0);
    }
    H5Sclose(in);
    H5Sclose(space);
}

static void write_text(hid_t object, const char *name, const char *value)
{
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);

    CHECK(H5Tset_size(type, strlen(value) + 1) >= 0);
    const hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    CHECK(attribute >= 0 && H5Awrite(attribute, type, value) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
}

static void write_shape(hid_t object, int64_t n, int64_t m)
{
    const int64_t shape[2] = {n, m};
    const hsize_t two = 2;
    const hid_t space = H5Screate_simple(1, &two, NULL);
    const hid_t attribute =
        H5Acreate2(object, "shape", H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);

    CHECK(attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_INT64, shape) >= 0);
    H5Aclose(attribute);
    H5Sclose(space);
}

/* Names of variable length, all at once. */
static void write_given_names(hid_t group, const char *name, const char *const *names, int64_t n)
{
    const hsize_t dims = (hsize_t)n;
    const hid_t type = H5Tcopy(H5T_C_S1);
    const file_spec plain = {0};

    H5Tset_cset(type, H5T_CSET_UTF8);
    CHECK(H5Tset_size(type, H5T_VARIABLE) >= 0);
    const hid_t dataset = create(group, name, type, 1, &dims, &plain);
    write_at(dataset, type, 0, dims, names);
    H5Dclose(dataset);
    H5Tclose(type);
}

/* Names "<stem><i><ending>", of variable length as anndata writes them, or fixed. */
static void write_names(hid_t group, const char *name, const char *stem, const char *ending,
                        int64_t n, bool fixed)
{
    enum { LENGTH = 32, BAND = 4096 };
    const hsize_t dims = (hsize_t)n;
    const hid_t type = H5Tcopy(H5T_C_S1);
    char(*texts)[LENGTH] = calloc(BAND, LENGTH);
    const char **pointers = calloc(BAND, sizeof *pointers);

    CHECK(texts && pointers);
    H5Tset_cset(type, H5T_CSET_UTF8);
    CHECK(H5Tset_size(type, fixed ? LENGTH : H5T_VARIABLE) >= 0);
    const file_spec plain = {.chunk = 4096, .gzip = fixed ? 4 : 0};
    const hid_t dataset = create(group, name, type, 1, &dims, &plain);
    for (int64_t first = 0; first < n; first += BAND) {
        const int64_t count = n - first < BAND ? n - first : BAND;
        memset(texts, 0, (size_t)BAND * LENGTH);
        for (int64_t i = 0; i < count; i++) {
            snprintf(texts[i], LENGTH, "%s%lld%s", stem, (long long)(first + i), ending);
            pointers[i] = texts[i];
        }
        write_at(dataset, type, (hsize_t)first, (hsize_t)count,
                 fixed ? (void *)texts : (void *)pointers);
    }
    free(texts);
    free(pointers);
    H5Dclose(dataset);
    H5Tclose(type);
}

/* data, indices and indptr of rows, as they are made. */
static void write_rows(hid_t group, const file_spec *spec, hid_t value_type, hid_t index_type,
                       hid_t pointer_type)
{
    const hsize_t n_pointers = (hsize_t)spec->n_cells + 1;
    int64_t *indptr = calloc(n_pointers, sizeof *indptr);
    int32_t *genes = malloc((PIECE + (hsize_t)spec->most + 1) * sizeof *genes);
    double *values = malloc((PIECE + (hsize_t)spec->most + 1) * sizeof *values);
    hsize_t n = 0, start = 0;

    CHECK(indptr && genes && values);
    for (int64_t i = 0; i < spec->n_cells; i++)
        indptr[i + 1] = indptr[i] + file_row(spec, i, genes, values);
    const hsize_t n_values = (hsize_t)indptr[spec->n_cells];
    const hid_t data = create(group, "data", value_type, 1, &n_values, spec);
    const hid_t indices = create(group, "indices", index_type, 1, &n_values, spec);
    const hid_t pointers = create(group, "indptr", pointer_type, 1, &n_pointers, spec);
    write_at(pointers, H5T_NATIVE_INT64, 0, n_pointers, indptr);
    for (int64_t i = 0; i < spec->n_cells; i++) {
        n += (hsize_t)file_row(spec, i, genes + n, values + n);
        if (n < PIECE && i + 1 < spec->n_cells)
            continue;
        write_at(data, H5T_NATIVE_DOUBLE, start, n, values);
        write_at(indices, H5T_NATIVE_INT32, start, n, genes);
        start += n;
        n = 0;
    }
    H5Dclose(data);
    H5Dclose(indices);
    H5Dclose(pointers);
    free(indptr);
    free(genes);
    free(values);
}

/* All in memory: for small files. */
static void write_columns(hid_t group, const file_spec *spec)
{
    const hsize_t n_pointers = (hsize_t)spec->n_genes + 1;
    int64_t *indptr = calloc(n_pointers + 1, sizeof *indptr);
    int32_t *genes = malloc((size_t)(spec->most + 1) * sizeof *genes);
    double *row_values = malloc((size_t)(spec->most + 1) * sizeof *row_values);

    CHECK(indptr && genes && row_values);
    for (int64_t i = 0; i < spec->n_cells; i++) {
        const int n = file_row(spec, i, genes, row_values);
        for (int k = 0; k < n; k++)
            indptr[genes[k] + 2]++;
    }
    for (int g = 0; g < spec->n_genes; g++)
        indptr[g + 2] += indptr[g + 1];
    const hsize_t n_values = (hsize_t)indptr[spec->n_genes + 1];
    int32_t *rows = malloc((n_values + 1) * sizeof *rows);
    double *values = malloc((n_values + 1) * sizeof *values);
    CHECK(rows && values);
    for (int64_t i = 0; i < spec->n_cells; i++) {
        const int n = file_row(spec, i, genes, row_values);
        for (int k = 0; k < n; k++) {
            const int64_t to = indptr[genes[k] + 1]++;
            rows[to] = (int32_t)i;
            values[to] = row_values[k];
        }
    }
    const hid_t data =
        create(group, "data", or_else(spec->value_type, H5T_IEEE_F32LE), 1, &n_values, spec);
    const hid_t indices =
        create(group, "indices", or_else(spec->index_type, H5T_STD_I32LE), 1, &n_values, spec);
    const hid_t pointers =
        create(group, "indptr", or_else(spec->pointer_type, H5T_STD_I32LE), 1, &n_pointers, spec);
    write_at(data, H5T_NATIVE_DOUBLE, 0, n_values, values);
    write_at(indices, H5T_NATIVE_INT32, 0, n_values, rows);
    write_at(pointers, H5T_NATIVE_INT64, 0, n_pointers, indptr);
    H5Dclose(data);
    H5Dclose(indices);
    H5Dclose(pointers);
    free(indptr);
    free(genes);
    free(row_values);
    free(rows);
    free(values);
}

static void write_dense(hid_t file, const file_spec *spec)
{
    const hsize_t dims[2] = {(hsize_t)spec->n_cells, (hsize_t)spec->n_genes};
    double *all = calloc(dims[0] * dims[1], sizeof *all);
    int32_t *genes = malloc((size_t)(spec->most + 1) * sizeof *genes);
    double *values = malloc((size_t)(spec->most + 1) * sizeof *values);
    const hid_t data = create(file, "X", or_else(spec->value_type, H5T_IEEE_F32LE), 2, dims, spec);

    CHECK(all && genes && values);
    for (int64_t i = 0; i < spec->n_cells; i++) {
        const int n = file_row(spec, i, genes, values);
        for (int k = 0; k < n; k++)
            all[(hsize_t)i * dims[1] + (hsize_t)genes[k]] += values[k];
    }
    CHECK(H5Dwrite(data, H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
    H5Dclose(data);
    free(all);
    free(genes);
    free(values);
}

static hid_t new_group(hid_t file, const char *name)
{
    const hid_t group = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);

    CHECK(group >= 0);
    return group;
}

void file_write_h5ad(const char *path, const file_spec *spec)
{
    const hid_t list = H5Pcreate(H5P_FILE_CREATE);
    hid_t group;

    CHECK(H5Pset_userblock(list, spec->user_block) >= 0);
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, list, H5P_DEFAULT);
    CHECK(file >= 0);
    H5Pclose(list);
    group = new_group(file, "obs");
    write_text(group, "_index", "_index");
    write_names(group, "_index", "cell-", "", spec->n_cells, spec->fixed_ids);
    H5Gclose(group);
    group = new_group(file, "var");
    write_text(group, "_index", "_index");
    if (spec->gene_names)
        write_given_names(group, "_index", spec->gene_names, spec->n_genes);
    else
        write_names(group, "_index", "GENE", "", spec->n_genes, false);
    H5Gclose(group);
    if (spec->layout == FILE_DENSE) {
        write_dense(file, spec);
    } else {
        group = new_group(file, "X");
        write_text(group, "encoding-type", spec->layout == FILE_CSC ? "csc_matrix" : "csr_matrix");
        write_text(group, "encoding-version", "0.1.0");
        write_shape(group, spec->n_cells, spec->n_genes);
        if (spec->layout == FILE_CSC)
            write_columns(group, spec);
        else
            write_rows(group, spec, or_else(spec->value_type, H5T_IEEE_F32LE),
                       or_else(spec->index_type, H5T_STD_I32LE),
                       or_else(spec->pointer_type, H5T_STD_I64LE));
        H5Gclose(group);
    }
    CHECK(H5Fclose(file) >= 0);
}

/* The same short text n times. */
static void write_constant(hid_t group, const char *name, const char *text, int64_t n)
{
    const hsize_t dims = (hsize_t)n;
    const hid_t type = H5Tcopy(H5T_C_S1);
    const size_t length = strlen(text) + 1;
    char *all = malloc((size_t)n * length);
    const file_spec plain = {0};

    CHECK(all && H5Tset_size(type, length) >= 0);
    for (int64_t i = 0; i < n; i++)
        memcpy(all + (size_t)i * length, text, length);
    const hid_t dataset = create(group, name, type, 1, &dims, &plain);
    CHECK(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, all) >= 0);
    H5Dclose(dataset);
    H5Tclose(type);
    free(all);
}

void file_write_tenx(const char *path, const file_spec *spec)
{
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hsize_t two = 2;
    const int32_t shape[2] = {spec->n_genes, (int32_t)spec->n_cells};
    const file_spec plain = {0};

    CHECK(file >= 0);
    const hid_t group = new_group(file, "matrix");
    write_rows(group, spec, H5T_STD_I32LE, H5T_STD_I64LE, H5T_STD_I64LE);
    const hid_t dataset = create(group, "shape", H5T_STD_I32LE, 1, &two, &plain);
    CHECK(H5Dwrite(dataset, H5T_NATIVE_INT32, H5S_ALL, H5S_ALL, H5P_DEFAULT, shape) >= 0);
    H5Dclose(dataset);
    write_names(group, "barcodes", "CELL-", "-1", spec->n_cells, true);
    const hid_t features = new_group(group, "features");
    write_names(features, "id", "ENSG00000", "", spec->n_genes, true);
    write_names(features, "name", "GENE", "", spec->n_genes, true);
    write_constant(features, "feature_type", "Gene Expression", spec->n_genes);
    write_constant(features, "genome", "GRCh38", spec->n_genes);
    H5Gclose(features);
    H5Gclose(group);
    CHECK(H5Fclose(file) >= 0);
}

static gzFile open_gz(const char *folder, const char *name)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    gzFile file = gzopen(path, "wb4");
    CHECK(file);
    return file;
}

void file_write_mtx(const char *folder, const file_spec *spec)
{
    int32_t *genes = malloc((size_t)(spec->most + 1) * sizeof *genes);
    double *values = malloc((size_t)(spec->most + 1) * sizeof *values);
    int64_t n_values = 0;
    gzFile file;

    CHECK(genes && values);
    file = open_gz(folder, "barcodes.tsv.gz");
    for (int64_t i = 0; i < spec->n_cells; i++) {
        gzprintf(file, "CELL-%lld-1\n", (long long)i);
        n_values += file_row(spec, i, genes, values);
    }
    CHECK(gzclose(file) == Z_OK);
    file = open_gz(folder, "features.tsv.gz");
    for (int g = 0; g < spec->n_genes; g++)
        gzprintf(file, "ENSG%08d\tGENE%d\tGene Expression\n", g, g);
    CHECK(gzclose(file) == Z_OK);
    file = open_gz(folder, "matrix.mtx.gz");
    gzprintf(file, "%%%%MatrixMarket matrix coordinate integer general\n%%\n%d %lld %lld\n",
             spec->n_genes, (long long)spec->n_cells, (long long)n_values);
    for (int64_t i = 0; i < spec->n_cells; i++) {
        const int n = file_row(spec, i, genes, values);
        for (int k = 0; k < n; k++)
            gzprintf(file, "%d %lld %d\n", genes[k] + 1, (long long)i + 1, (int)values[k]);
    }
    CHECK(gzclose(file) == Z_OK);
    free(genes);
    free(values);
}
