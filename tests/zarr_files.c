#include "zarr_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

const double matrix[5][4] = {
    {1, 0, 2.5, 0}, {0, 0, 0, 7}, {3, 1, 8, 0}, {0, 0, 0, 0}, {0, 4, 0, 9}};

/* Writes a piece below the store, with the folders on its way. */
void put_piece(const char *store, const char *key, const void *bytes, size_t n)
{
    char path[1024];

    snprintf(path, sizeof path, "%s/%s", store, key);
    for (char *p = path + strlen(store); *p; p++)
        if (*p == '/') {
            *p = '\0';
            mkdir(path, 0777);
            *p = '/';
        }
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

void put_text(const char *store, const char *key, const char *text)
{
    put_piece(store, key, text, strlen(text));
}

/* The metadata of an array in format 2. */
void put_array(const char *store, const char *key, const char *shape, const char *chunks,
               const char *dtype, const char *more)
{
    char name[256], text[1024];

    snprintf(name, sizeof name, "%s/.zarray", key);
    snprintf(text, sizeof text,
             "{\"zarr_format\": 2, \"shape\": [%s], \"chunks\": [%s], \"dtype\": \"%s\", "
             "\"fill_value\": 0, %s}",
             shape, chunks, dtype,
             *more ? more : "\"order\": \"C\", \"compressor\": null, \"filters\": null");
    put_text(store, name, text);
}

/* A chunk of strings; texts end in an empty one. */
void put_strings(const char *store, const char *key, const char *const *texts, unsigned n)
{
    unsigned char bytes[4096] = {(unsigned char)n};
    size_t at = 4;

    for (unsigned i = 0; i < n; i++) {
        const size_t length = strlen(texts[i]);
        bytes[at] = (unsigned char)length;
        memset(bytes + at + 1, 0, 3);
        memcpy(bytes + at + 4, texts[i], length);
        at += 4 + length;
    }
    put_piece(store, key, bytes, at);
}

const char *const cell_names[] = {"c0", "c1", "c2", "c\xc3\xa9", "c4"};
const char *const gene_names[] = {"ACTB", "GAPDH", "SOX2", "NANOG"};

static int n_stores;

const char *make_folder(void)
{
    static char path[1024];
    char name[32];

    snprintf(name, sizeof name, "store%d.zarr", n_stores++);
    snprintf(path, sizeof path, "%s", emt_temp(name));
    assert_int_equal(mkdir(path, 0777), 0);
    return path;
}

const char *make_frames(void)
{
    static char path[1024];
    const char *const stages[] = {"day 5", "day 6"};

    snprintf(path, sizeof path, "%s", make_folder());
    put_text(path, ".zgroup", "{\"zarr_format\": 2}");
    put_text(path, ".zattrs", "{\"encoding-type\": \"anndata\", \"encoding-version\": \"0.1.0\"}");
    put_text(path, "obs/.zgroup", "{\"zarr_format\": 2}");
    put_text(path, "obs/.zattrs", "{\"_index\": \"cell\", \"encoding-type\": \"dataframe\"}");
    put_array(path, "obs/cell", "5", "5", "|O", STRINGS_ARRAY);
    put_strings(path, "obs/cell/0", cell_names, 5);
    put_text(path, "var/.zgroup", "{\"zarr_format\": 2}");
    put_text(path, "var/.zattrs", "{\"_index\": \"gene\", \"encoding-type\": \"dataframe\"}");
    put_array(path, "var/gene", "4", "3", "|O", STRINGS_ARRAY);
    put_strings(path, "var/gene/0", gene_names, 3);
    /* Whole chunks stand at the edge, too: the rest of them is empty. */
    put_strings(path, "var/gene/1", (const char *const[]){"NANOG", "", ""}, 3);
    /* A categorical of today, a boolean with a mask, and a float. */
    put_text(path, "obs/stage/.zgroup", "{\"zarr_format\": 2}");
    put_text(path, "obs/stage/.zattrs", "{\"encoding-type\": \"categorical\"}");
    put_array(path, "obs/stage/codes", "5", "5", "|i1", "");
    put_piece(path, "obs/stage/codes/0", "\x00\x01\xff\x01\x00", 5);
    put_array(path, "obs/stage/categories", "2", "2", "|O", STRINGS_ARRAY);
    put_strings(path, "obs/stage/categories/0", stages, 2);
    put_text(path, "obs/good/.zgroup", "{\"zarr_format\": 2}");
    put_text(path, "obs/good/.zattrs", "{\"encoding-type\": \"nullable-boolean\"}");
    put_array(path, "obs/good/values", "5", "5", "|b1", "");
    put_piece(path, "obs/good/values/0", "\x01\x00\x01\x00\x01", 5);
    put_array(path, "obs/good/mask", "5", "5", "|b1", "");
    put_piece(path, "obs/good/mask/0", "\x00\x00\x00\x00\x01", 5);
    put_array(path, "obs/size", "5", "2", ">f4", "");
    put_piece(path, "obs/size/0", "\x3f\x80\x00\x00\x3f\x00\x00\x00", 8); /* 1, 0.5; the rest: 0 */
    return path;
}

/* One chunk of X; values of rows r0.. and columns c0.., 0 past the edge. */
size_t fill(unsigned char *to, int r0, int c0, int rows, int columns, bool columns_first,
            bool big_endian)
{
    for (int i = 0; i < rows * columns; i++) {
        const int r = columns_first ? i % rows : i / columns;
        const int c = columns_first ? i / rows : i % columns;
        union {
            double f;
            unsigned char bytes[8];
        } x = {r0 + r < 5 && c0 + c < 4 ? matrix[r0 + r][c0 + c] : 0};
        for (int b = 0; b < 8; b++)
            to[i * 8 + b] = x.bytes[big_endian ? 7 - b : b];
    }
    return (size_t)rows * (size_t)columns * 8;
}

/* A dense X in chunks of 2 x 3. The chunk of rows 2, 3 and column 3 is all zero: not written. */
void put_dense(const char *store, const char *more, bool columns_first, bool big_endian,
               char separator, size_t (*pack)(unsigned char *, const unsigned char *, size_t))
{
    put_array(store, "X", "5, 4", "2, 3", big_endian ? ">f8" : "<f8", more);
    for (int r = 0; r < 3; r++)
        for (int c = 0; c < 2; c++) {
            unsigned char values[48], piece[256];
            char key[32];
            if (r == 1 && c == 1)
                continue;
            fill(values, 2 * r, 3 * c, 2, 3, columns_first, big_endian);
            const size_t n = pack(piece, values, sizeof values);
            snprintf(key, sizeof key, "X/%d%c%d", r, separator, c);
            put_piece(store, key, piece, n);
        }
}

void check_matrix(const char *path, const emc_cells_options *options)
{
    emc_cells *cells;
    emc_cell_block block;
    double got[5][4] = {{0}};
    int n = 0;

    EMT_OK(emc_cells_open(&cells, path, options));
    assert_string_equal(emc_cells_format(cells), "zarr");
    assert_int_equal(emc_cells_n_cells(cells), 5);
    assert_int_equal(emc_cells_n_genes(cells), 4);
    for (;;) {
        EMT_OK(emc_cells_next(cells, &block));
        if (block.n_rows == 0)
            break;
        assert_int_equal(block.first_row, n);
        for (int r = 0; r < block.n_rows; r++, n++) {
            assert_string_equal(block.cell_ids[r], cell_names[n]);
            for (int64_t k = block.indptr[r]; k < block.indptr[r + 1]; k++)
                got[n][block.genes[k]] += block.values[k];
        }
    }
    for (int i = 0; i < 4; i++)
        assert_string_equal(emc_cells_gene_names(cells)[i], gene_names[i]);
    assert_memory_equal(got, matrix, sizeof got);
    emc_cells_close(cells);
}

void put_sparse(const char *store, const char *key, bool by_genes)
{
    char name[64];
    int32_t indptr[6] = {0}, indices[20];
    float data[20];
    int n = 0;
    const int n_major = by_genes ? 4 : 5, n_minor = by_genes ? 5 : 4;

    for (int i = 0; i < n_major; i++) {
        for (int j = n_minor - 1; j >= 0; j--) { /* in falling order: any is fine */
            const double value = by_genes ? matrix[j][i] : matrix[i][j];
            if (value != 0) {
                indices[n] = j;
                data[n++] = (float)value;
            }
        }
        indptr[i + 1] = n;
    }
    snprintf(name, sizeof name, "%s/.zgroup", key);
    put_text(store, name, "{\"zarr_format\": 2}");
    snprintf(name, sizeof name, "%s/.zattrs", key);
    put_text(store, name,
             by_genes ? "{\"encoding-type\": \"csc_matrix\", \"shape\": [5, 4]}"
                      : "{\"encoding-type\": \"csr_matrix\", \"shape\": [5, 4]}");
    snprintf(name, sizeof name, "%s/indptr", key);
    put_array(store, name, by_genes ? "5" : "6", "6", "<i4", "");
    snprintf(name, sizeof name, "%s/indptr/0", key);
    put_piece(store, name, indptr, 24);
    snprintf(name, sizeof name, "%s/indices", key);
    put_array(store, name, "8", "3", "<i4", "");
    snprintf(name, sizeof name, "%s/data", key);
    put_array(store, name, "8", "3", "<f4", "");
    assert_int_equal(n, 8);
    for (int c = 0; c < 3; c++) {
        snprintf(name, sizeof name, "%s/indices/%d", key, c);
        put_piece(store, name, indices + 3 * c, 12);
        snprintf(name, sizeof name, "%s/data/%d", key, c);
        put_piece(store, name, data + 3 * c, 12);
    }
}

size_t with_zlib(unsigned char *to, const unsigned char *from, size_t n)
{
    uLongf room = 256;

    assert_int_equal(compress2(to, &room, from, n, 6), Z_OK);
    return room;
}

bool has_zip(const char *path)
{
    emc_cells *cells;

    if (emc_cells_open(&cells, path, NULL) == EMC_OK)
        emc_cells_close(cells);
    else if (strstr(emc_message(), "cannot read zip files"))
        return false;
    return true;
}
