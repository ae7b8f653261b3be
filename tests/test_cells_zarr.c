/* Are zarr stores read as their writers meant them, and forged ones refused? */
#include "zarr_files.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "cells/codec.h"
#include "cells/source.h"

/* ---- Codecs, in their plainest form where their library may be absent. */

static size_t as_is(unsigned char *to, const unsigned char *from, size_t n)
{
    memcpy(to, from, n);
    return n;
}

static size_t with_gzip(unsigned char *to, const unsigned char *from, size_t n)
{
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)from, .avail_in = (unsigned)n};

    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_out = to;
    z.avail_out = 256;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return z.total_out;
}

static size_t with_shuffle(unsigned char *to, const unsigned char *from, size_t n)
{
    for (size_t i = 0; i < n / 8; i++)
        for (size_t b = 0; b < 8; b++)
            to[b * (n / 8) + i] = from[i * 8 + b];
    return n;
}

static size_t with_zstd(unsigned char *to, const unsigned char *from, size_t n)
{
    const unsigned char head[] = {0x28,
                                  0xB5,
                                  0x2F,
                                  0xFD,
                                  0x20,
                                  (unsigned char)n,
                                  (unsigned char)(n << 3 | 1),
                                  (unsigned char)(n >> 5),
                                  0};

    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, from, n);
    return n + sizeof head;
}

/* 4 bytes of size, then a run of literals. */
static size_t with_lz4(unsigned char *to, const unsigned char *from, size_t n)
{
    const unsigned char head[] = {(unsigned char)n, 0, 0, 0, 0xF0, (unsigned char)(n - 15)};

    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, from, n);
    return n + sizeof head;
}

static size_t with_blosc(unsigned char *to, const unsigned char *from, size_t n)
{
    const unsigned char head[16] = {
        2, 1, 2, 8, (unsigned char)n, 0, 0, 0, (unsigned char)n, 0, 0, 0, (unsigned char)(n + 16)};

    memcpy(to, head, sizeof head);
    memcpy(to + sizeof head, from, n);
    return n + sizeof head;
}

#define NO_CODEC ORDER_C "null"

static const struct {
    const char *more;
    bool columns_first, big_endian;
    char separator;
    size_t (*pack)(unsigned char *to, const unsigned char *from, size_t n);
    cells_codec codec;
} storages[] = {
    {NO_CODEC, false, false, '.', as_is, CELLS_CODEC_NONE},
    {NO_CODEC, false, true, '.', as_is, CELLS_CODEC_NONE},
    {"\"order\": \"F\", \"filters\": null, \"compressor\": null", true, false, '.', as_is,
     CELLS_CODEC_NONE},
    {NO_CODEC ", \"dimension_separator\": \"/\"", false, false, '/', as_is, CELLS_CODEC_NONE},
    {ORDER_C "{\"id\": \"zlib\", \"level\": 1}", false, false, '.', with_zlib, CELLS_CODEC_ZLIB},
    {ORDER_C "{\"id\": \"gzip\", \"level\": 1}", false, false, '.', with_gzip, CELLS_CODEC_GZIP},
    {ORDER_C "{\"id\": \"zstd\", \"level\": 1}", false, false, '.', with_zstd, CELLS_CODEC_ZSTD},
    {ORDER_C "{\"id\": \"lz4\"}", false, false, '.', with_lz4, CELLS_CODEC_LZ4},
    {ORDER_C "{\"id\": \"blosc\", \"cname\": \"lz4\"}", false, false, '.', with_blosc,
     CELLS_CODEC_BLOSC},
    {"\"order\": \"C\", \"compressor\": null, \"filters\": "
     "[{\"id\": \"shuffle\", \"elementsize\": 8}]",
     false, false, '.', with_shuffle, CELLS_CODEC_NONE},
};

static void reads_dense(void **state)
{
    static const emc_cells_options small = {.max_rows = 1}, three = {.max_rows = 3};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(storages); i++) {
        const char *store = make_frames();
        put_dense(store, storages[i].more, storages[i].columns_first, storages[i].big_endian,
                  storages[i].separator, storages[i].pack);
        if (!cells_codec_version(storages[i].codec)) {
            emc_cells *cells;
            EMT_OK(emc_cells_open(&cells, store, NULL));
            emc_cell_block block;
            EMT_FAILS(EMC_ERR_FORMAT, cells_codec_name(storages[i].codec),
                      emc_cells_next(cells, &block));
            emc_cells_close(cells);
            continue;
        }
        check_matrix(store, NULL);
        check_matrix(store, &small);
        check_matrix(store, &three);
    }
}

/* ---- Sparse */

static void reads_sparse(void **state)
{
    static const emc_cells_options small = {.max_rows = 2};
    static const emc_cells_options layer = {.layer = "counts"}, raw = {.layer = "raw"};
    const char *store = make_frames();

    (void)state;
    put_sparse(store, "X", false);
    put_text(store, "layers/.zgroup", "{\"zarr_format\": 2}");
    put_sparse(store, "layers/counts", true);
    check_matrix(store, NULL);
    check_matrix(store, &small);
    check_matrix(store, &layer);
    /* raw, with genes of its own */
    put_text(store, "raw/.zgroup", "{\"zarr_format\": 2}");
    put_sparse(store, "raw/X", false);
    put_text(store, "raw/var/.zgroup", "{\"zarr_format\": 2}");
    put_text(store, "raw/var/.zattrs", "{\"_index\": \"_index\"}");
    put_array(store, "raw/var/_index", "4", "4", "<U5", "");
    unsigned char wide[80] = {0};
    for (int i = 0; i < 4; i++)
        for (size_t j = 0; gene_names[i][j]; j++)
            wide[20 * i + 4 * (int)j] = (unsigned char)gene_names[i][j];
    put_piece(store, "raw/var/_index/0", wide, sizeof wide);
    check_matrix(store, &raw);
}

/* ---- Columns, and what is offered */

static void reads_columns(void **state)
{
    static const char *const columns[] = {"stage", "good", "size"};
    static const char *const want[5][3] = {{"day 5", "True", "1"},
                                           {"day 6", "False", "0.5"},
                                           {NULL, "True", "0"},
                                           {"day 6", "False", "0"},
                                           {"day 5", NULL, "0"}};
    emc_cells_options options = {.obs_columns = columns, .n_obs_columns = 3};
    cells_catalog catalog = {0};
    emc_cells *cells;
    const char *store = make_frames();
    const char *const none[] = {"age"};

    (void)state;
    put_sparse(store, "X", false);
    EMT_OK(emc_cells_open(&cells, store, &options));
    for (int r = 0; r < 5; r++)
        for (int c = 0; c < 3; c++) {
            const char *got = emc_cells_obs(cells, r, c);
            if (want[r][c])
                assert_string_equal(got ? got : "(missing)", want[r][c]);
            else
                assert_null(got);
        }
    emc_cells_close(cells);
    options.obs_columns = none;
    options.n_obs_columns = 1;
    EMT_FAILS(EMC_ERR_USAGE, "no column \"age\"; it has: good, size, stage",
              emc_cells_open(&cells, store, &options));
    const emc_cells_options layer = {.layer = "counts"};
    EMT_FAILS(EMC_ERR_USAGE, "no layer \"counts\"; there are: X",
              emc_cells_open(&cells, store, &layer));
    EMT_OK(cells_format_zarr.list(&catalog, store, &layer));
    assert_string_equal(catalog.format, "zarr");
    assert_int_equal(catalog.matrices.n, 1);
    assert_string_equal(cells_strings_at(&catalog.matrices, 0), "X");
    assert_int_equal(catalog.columns.n, 3);
    assert_string_equal(cells_strings_at(&catalog.columns, 2), "stage");
    cells_strings_free(&catalog.matrices);
    cells_strings_free(&catalog.columns);
}

/* ---- Format 3 */

static void put_array_3(const char *store, const char *key, const char *shape, const char *chunks,
                        const char *type, const char *codecs)
{
    char name[256], text[1024];

    snprintf(name, sizeof name, "%s/zarr.json", key);
    snprintf(text, sizeof text,
             "{\"zarr_format\": 3, \"node_type\": \"array\", \"shape\": [%s], \"data_type\": "
             "\"%s\", \"chunk_grid\": {\"name\": \"regular\", \"configuration\": "
             "{\"chunk_shape\": [%s]}}, \"chunk_key_encoding\": {\"name\": \"default\", "
             "\"configuration\": {\"separator\": \"/\"}}, \"fill_value\": 0, \"codecs\": [%s], "
             "\"attributes\": {}}",
             shape, type, chunks, codecs);
    put_text(store, name, text);
}

static void put_group_3(const char *store, const char *key, const char *attributes)
{
    char name[256], text[512];

    snprintf(name, sizeof name, "%s%szarr.json", key, *key ? "/" : "");
    snprintf(text, sizeof text,
             "{\"zarr_format\": 3, \"node_type\": \"group\", \"attributes\": {%s}}", attributes);
    put_text(store, name, text);
}

static const char *make_format_3(const char *codecs)
{
    static char path[1024];
    unsigned char values[8 * 20];

    snprintf(path, sizeof path, "%s", make_folder());
    put_group_3(path, "", "\"encoding-type\": \"anndata\"");
    put_group_3(path, "obs", "\"_index\": \"_index\"");
    put_array_3(path, "obs/_index", "5", "5", "string", "{\"name\": \"vlen-utf8\"}");
    put_strings(path, "obs/_index/c/0", cell_names, 5);
    put_group_3(path, "var", "\"_index\": \"_index\"");
    put_array_3(path, "var/_index", "4", "4", "string", "{\"name\": \"vlen-utf8\"}");
    put_strings(path, "var/_index/c/0", gene_names, 4);
    put_array_3(path, "X", "5, 4", "5, 4", "float64", codecs);
    put_piece(path, "X/c/0/0", values, fill(values, 0, 0, 5, 4, false, false));
    return path;
}

static void reads_format_3(void **state)
{
    static const char bytes[] =
        "{\"name\": \"bytes\", \"configuration\": {\"endian\": \"little\"}}";
    const char *store = make_format_3(bytes);
    unsigned char values[8 * 20], piece[256];
    char codecs[256];
    emc_cells *cells;

    (void)state;
    check_matrix(store, NULL);
    snprintf(codecs, sizeof codecs, "%s, {\"name\": \"gzip\", \"configuration\": {\"level\": 5}}",
             bytes);
    store = make_format_3(codecs);
    fill(values, 0, 0, 5, 4, false, false);
    put_piece(store, "X/c/0/0", piece, with_gzip(piece, values, sizeof values));
    check_matrix(store, NULL);
    /* RFC 3720's test: 32 bytes of zeros have the checksum aa 36 91 8a. */
    snprintf(codecs, sizeof codecs, "%s, {\"name\": \"crc32c\"}", bytes);
    put_array_3(store, "X", "5, 4", "1, 4", "float64", codecs);
    for (int r = 0; r < 5; r++) {
        char key[32];
        snprintf(key, sizeof key, "X/c/%d/0", r);
        memcpy(piece,
               "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xaa\x36\x91\x8a",
               36);
        put_piece(store, key, piece, 36);
    }
    EMT_OK(emc_cells_open(&cells, store, NULL));
    emc_cell_block block;
    EMT_OK(emc_cells_next(cells, &block));
    assert_int_equal(block.indptr[block.n_rows], 0);
    emc_cells_close(cells);
    piece[35] ^= 1;
    put_piece(store, "X/c/2/0", piece, 36);
    EMT_OK(emc_cells_open(&cells, store, NULL));
    EMT_FAILS(EMC_ERR_FORMAT, "X/c/2/0: its checksum is wrong", emc_cells_next(cells, &block));
    emc_cells_close(cells);
    put_array_3(store, "X", "5, 4", "5, 4", "float64", "{\"name\": \"sharding_indexed\"}");
    EMT_FAILS(EMC_ERR_FORMAT,
              "stored in shards (zarr 3), which are not read; convert the data "
              "with ad.read_zarr(...).write_h5ad(...)",
              emc_cells_open(&cells, store, NULL));
}

/* ---- Real stores beside the .h5ad files of the same objects */

static void reads_real_stores(void **state)
{
    static const struct {
        const char *name, *layer;
        double weighed; /* sum of value times (gene + 1), by anndata 0.12 */
    } stores[] = {{"data/formats_h5ad/anndata_v0.7.0.zarr.zip", "X", 3028},
                  {"data/formats_h5ad/anndata_v0.7.0.zarr.zip", "raw", 12347},
                  {"data/formats_h5ad/anndata_v0.7.8.zarr.zip", "X", 3431},
                  {"data/formats_h5ad/anndata_v0.7.8.zarr.zip", "raw", 12180}};
    static const char *const columns[] = {"cat_ordered"};

    (void)state;
    emt_need_shared(stores[0].name);
    if (!cells_codec_version(CELLS_CODEC_BLOSC) || !has_zip(emt_shared(stores[0].name)))
        skip();
    for (size_t i = 0; i < EMC_COUNT(stores); i++) {
        const emc_cells_options options = {
            .layer = stores[i].layer, .obs_columns = columns, .n_obs_columns = 1};
        emc_cells *cells;
        emc_cell_block block;
        double sum = 0;
        EMT_OK(emc_cells_open(&cells, emt_shared(stores[i].name), &options));
        EMT_OK(emc_cells_next(cells, &block));
        assert_int_equal(block.n_rows, 30);
        assert_string_equal(block.cell_ids[29], "cell29");
        for (int64_t k = 0; k < block.indptr[block.n_rows]; k++)
            sum += block.values[k] * (block.genes[k] + 1);
        assert_true(sum == stores[i].weighed);
        assert_string_equal(emc_cells_obs(cells, 0, 0), i < 2 ? "w" : "M");
        emc_cells_close(cells);
    }
    emc_cells *cells;
    EMT_FAILS(
        EMC_ERR_FORMAT, "no matrix: neither X nor raw nor a layer",
        emc_cells_open(&cells, emt_shared("data/formats_h5ad/anndata_v0.11.4.zarr.zip"), NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_dense),       cmocka_unit_test(reads_sparse),
        cmocka_unit_test(reads_columns),     cmocka_unit_test(reads_format_3),
        cmocka_unit_test(reads_real_stores),
    };

    return cmocka_run_group_tests_name("cells: zarr", tests, NULL, NULL);
}
