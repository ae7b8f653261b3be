/* Are forged, broken and hostile zarr stores refused? */
#include "zarr_files.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "cells/codec.h"

/* ---- Forged and broken stores. Each starts from a good one with a CSR X of chunks of 3. */

typedef struct {
    const char *key, *text; /* the piece that is replaced; text NULL: taken away */
    const char *message;
    bool at_next;
} broken_piece;

#define ARRAY(shape, chunks, type, more)                                                           \
    "{\"zarr_format\": 2, \"shape\": [" shape "], \"chunks\": [" chunks "], \"dtype\": " type      \
    ", \"fill_value\": 0, \"order\": \"C\", " more "}"
#define PLAIN   "\"compressor\": null, \"filters\": null"
#define STRING8 "\"compressor\": null, \"filters\": [{\"id\": \"vlen-utf8\"}]"

static const broken_piece broken[] = {
    {".zgroup", "{\"zarr_format\": 7}", "zarr format 7, wanted 2 or 3", false},
    {".zgroup", "[]", ".zgroup: not a JSON object", false},
    {".zgroup", "{\"zarr_format\": 2", "not JSON", false},
    {"obs/.zgroup", NULL, NULL, false}, /* attributes alone make a group */
    {"obs/.zattrs", "{\"_index\": \"../var/gene\"}", "an index called \"../var/gene\"", false},
    {"obs/.zattrs", "{\"_index\": \"nothing\"}", "obs/nothing: not there", false},
    {"obs/.zattrs", "[1]", "not a JSON object", false},
    {"obs/cell/.zarray", ARRAY("5", "5", "[[\"a\", \"<f4\"]]", PLAIN), "before 0.7", false},
    {"obs/cell/.zarray", ARRAY("90071992547409930", "1", "\"|O\"", STRING8), "holds 9.0072e+16",
     false},
    {"obs/cell/.zarray", ARRAY("4000000000", "5", "\"|O\"", STRING8), "2147483647 entries", false},
    {"obs/cell/.zarray", ARRAY("2000000000", "5", "\"|O\"", STRING8), "entry 5 is not there",
     false},
    {"obs/cell/.zarray", ARRAY("5", "0", "\"|O\"", STRING8), "chunks holds 0", false},
    {"obs/cell/.zarray", ARRAY("-5", "5", "\"|O\"", STRING8), "shape holds -5", false},
    {"obs/cell/.zarray", ARRAY("5.5", "5", "\"|O\"", STRING8), "shape holds 5.5", false},
    {"obs/cell/.zarray", ARRAY("5, 5, 5", "5, 5, 5", "\"|O\"", STRING8), "shape of 3 numbers",
     false},
    {"obs/cell/.zarray", ARRAY("5", "5, 1", "\"|O\"", STRING8), "and chunks of 2", false},
    {"obs/cell/.zarray", ARRAY("\"5\"", "5", "\"|O\"", STRING8), "shape holds -1", false},
    {"obs/cell/.zarray", ARRAY("5", "5", "\"|O\"", PLAIN), "objects without vlen-utf8", false},
    {"obs/cell/.zarray", ARRAY("5", "5", "\"|O\"", "\"filters\": [{\"id\": \"pickle\"}]"),
     "the codec \"pickle\"", false},
    {"obs/cell/.zarray", ARRAY("5", "5", "\"<c16\"", PLAIN), "values of type <c16", false},
    {"obs/cell/.zarray", ARRAY("5", "5", "\"<U999999999\"", PLAIN), "values of type", false},
    {"obs/cell/.zarray", ARRAY("6", "6", "\"|O\"", STRING8), "holds 5 strings, wanted 6", false},
    {"obs/cell/0", "\x05\0\0\0\xff\xff\xff\xff", NULL, false}, /* see below */
    {"obs/cell/0", "", "strings, wanted 5", false},
    {"obs/cell/0", NULL, "the chunk of entry 0 is not there", false},
    {"X/.zattrs", "{\"encoding-type\": \"coo\"}", "a group of encoding coo", false},
    {"X/.zattrs", "{\"encoding-type\": \"csr_matrix\"}", "no attribute shape", false},
    {"X/.zattrs", "{\"encoding-type\": \"csr_matrix\", \"shape\": [5, 1e300]}",
     "its shape is 5 x 1e+300, but there are names for 5 cells x 4 genes", false},
    {"X/indptr/.zarray", ARRAY("9", "9", "\"<i4\"", PLAIN), "has 9 entries, wanted 6", false},
    {"X/indptr/.zarray", ARRAY("6", "6", "\"<f4\"", PLAIN), "wanted one of integers", false},
    {"X/indptr/.zarray", ARRAY("6", "2000000000", "\"<i4\"", PLAIN), "chunks of more than", false},
    {"X/indptr/.zarray", ARRAY("6", "7", "\"<i4\"", PLAIN), "holds 24 bytes, wanted 28", false},
    {"X/indptr/.zarray", ARRAY("6", "6", "\"<i4\"", "\"compressor\": {\"id\": \"zlib\"}"),
     "zlib data that is damaged", false},
    {"X/indptr/.zarray", ARRAY("6", "6", "\"<i4\"", "\"compressor\": {\"id\": \"bz2\"}"),
     "the codec \"bz2\"", false},
    {"X/indptr/.zarray", ARRAY("6", "6", "\"<i4\"", "\"compressor\": {}"), "\"id\" is missing",
     false},
    {"X/indptr/0", NULL, "ends at 0, but there are 8 values", false},
    {"X/indices/.zarray", ARRAY("7", "3", "\"<i4\"", PLAIN), "8 values for 7 indices", false},
    {"X/indices/0", "\x09\0\0\0\0\0\0\0\0\0\0\0", "entry 0 is index 9 of 4", true},
    {"X/indices/0", "\xff\xff\xff\xff\0\0\0\0\0\0\0\0", "entry 0 is index -1 of 4", true},
    {"X/data/1", "short", "X/data/1: holds 5 bytes, wanted 12", true},
    {"X/data/.zarray", ARRAY("8, 1", "3, 1", "\"<f4\"", PLAIN), "wanted one of numbers", false},
    {"X/.zgroup", NULL, NULL, false},
};

/* How many bytes stand in the text above: it may hold NULs. */
static size_t bytes_of(const broken_piece *piece)
{
    if (strncmp(piece->key, "X/indices/0", 11) == 0)
        return 12;
    return piece->key[strlen(piece->key) - 1] == '0' && piece->text[0] == 5 ? 8
                                                                            : strlen(piece->text);
}

static void refuses_broken(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(broken); i++) {
        const char *store = make_frames(), *message = broken[i].message;
        char path[1200];
        emc_cells *cells;
        emc_cell_block block;
        put_sparse(store, "X", false);
        snprintf(path, sizeof path, "%s/%s", store, broken[i].key);
        assert_int_equal(unlink(path), 0);
        if (broken[i].text)
            put_piece(store, broken[i].key, broken[i].text, bytes_of(&broken[i]));
        if (broken[i].text && broken[i].text[0] == 5)
            message = "entry 0 is cut short";
        if (!message) {
            check_matrix(store, NULL);
        } else if (broken[i].at_next) {
            EMT_OK(emc_cells_open(&cells, store, NULL));
            EMT_FAILS(EMC_ERR_FORMAT, message, emc_cells_next(cells, &block));
            emc_cells_close(cells);
        } else {
            EMT_FAILS(EMC_ERR_FORMAT, message, emc_cells_open(&cells, store, NULL));
            assert_null(cells);
            assert_true(strncmp(emc_message(), store, strlen(store)) == 0);
        }
    }
}

/* A zlib chunk of 48 bytes that unpacks to 16 MiB, and a text chunk that does to 1 GiB. */
static void bounds_bombs(void **state)
{
    const char *store = make_frames();
    const size_t n = 16 << 20;
    unsigned char *zeros = calloc(1, n), piece[4096];
    uLongf room = 1 << 20;
    unsigned char *packed = malloc(room);
    emc_cells *cells;
    emc_cell_block block;

    (void)state;
    put_dense(store, ORDER_C "{\"id\": \"zlib\"}", false, false, '.', with_zlib);
    assert_int_equal(compress2(packed, &room, zeros, n, 1), Z_OK);
    put_piece(store, "X/0.0", packed, room);
    EMT_OK(emc_cells_open(&cells, store, NULL));
    EMT_FAILS(EMC_ERR_FORMAT, "X/0.0: ", emc_cells_next(cells, &block)); /* too long as it is */
    emc_cells_close(cells);
    room = sizeof piece;
    assert_int_equal(compress2(piece, &room, zeros, 1 << 20, 9), Z_OK);
    put_piece(store, "X/0.0", piece, room);
    EMT_OK(emc_cells_open(&cells, store, NULL));
    EMT_FAILS(EMC_ERR_FORMAT, "zlib data that holds more than", emc_cells_next(cells, &block));
    emc_cells_close(cells);
    if (cells_codec_version(CELLS_CODEC_BLOSC)) {
        put_array(store, "obs/cell", "5", "5", "|O",
                  "\"order\": \"C\", \"filters\": [{\"id\": \"vlen-utf8\"}], \"compressor\": "
                  "{\"id\": \"blosc\"}");
        put_piece(store, "obs/cell/0", "\x02\x01\x02\x08\0\0\0\x40\0\0\0\x40\x20\0\0\0", 16);
        EMT_FAILS(EMC_ERR_FORMAT, "claims 1073741824 bytes of text",
                  emc_cells_open(&cells, store, NULL));
    }
    /* Two billion names out of no chunk at all. */
    char path[1200];
    put_array(store, "obs/cell", "2000000000", "5", "<i8", "");
    snprintf(path, sizeof path, "%s/obs/cell/0", store);
    assert_int_equal(unlink(path), 0);
    EMT_FAILS(EMC_ERR_FORMAT, "behind entry 0 is not there", emc_cells_open(&cells, store, NULL));
    free(zeros);
    free(packed);
}

/* ---- Links */

static void follows_no_links(void **state)
{
    const char *store = make_frames();
    static const emc_cells_options follows = {.allow_external = true};
    char inside[1200], outside[1200];
    emc_cells *cells;

    (void)state;
    put_sparse(store, "X", false);
    snprintf(inside, sizeof inside, "%s/X/data", store);
    snprintf(outside, sizeof outside, "%s-data", store);
    assert_int_equal(rename(inside, outside), 0);
    assert_int_equal(symlink(outside, inside), 0);
    assert_int_not_equal(emc_cells_open(&cells, store, NULL), EMC_OK);
    check_matrix(store, &follows);
    assert_int_equal(unlink(inside), 0);
    assert_int_equal(rename(outside, inside), 0);
    check_matrix(store, NULL);
    /* A single piece that is a link */
    snprintf(inside, sizeof inside, "%s/obs/cell/0", store);
    snprintf(outside, sizeof outside, "%s-cell", store);
    assert_int_equal(rename(inside, outside), 0);
    assert_int_equal(symlink(outside, inside), 0);
    EMT_FAILS(EMC_ERR_FORMAT, "obs/cell/0: a symbolic link, which is not followed",
              emc_cells_open(&cells, store, NULL));
    check_matrix(store, &follows);
    /* and one that is a pipe: opening it must not wait */
    assert_int_equal(unlink(inside), 0);
    assert_int_equal(mkfifo(inside, 0600), 0);
    EMT_FAILS(EMC_ERR_FORMAT, "obs/cell/0: no regular file", emc_cells_open(&cells, store, NULL));
}

/* ---- Zip files, stored, made here byte by byte. */

typedef struct {
    unsigned char bytes[65536];
    unsigned char central[16384];
    size_t n, n_central;
    int n_entries;
} zip_writer;

static size_t put_le(unsigned char *to, unsigned long value, int n)
{
    for (int i = 0; i < n; i++)
        to[i] = (unsigned char)(value >> (8 * i));
    return (size_t)n;
}

/* claims: the size that is told, where it is not the right one. */
static void zip_add(zip_writer *zip, const char *name, const void *bytes, size_t n, size_t claims)
{
    const unsigned long crc = crc32(0, bytes, (unsigned)n);
    const size_t offset = zip->n;
    const unsigned long fields[][2] = {
        {20, 2},           {0, 2}, {0, 2}, {0, 2}, {0, 2}, {crc, 4}, {n, 4}, {claims, 4},
        {strlen(name), 2}, {0, 2}};

    zip->n += put_le(zip->bytes + zip->n, 0x04034b50, 4);
    zip->n_central += put_le(zip->central + zip->n_central, 0x02014b50, 4);
    zip->n_central += put_le(zip->central + zip->n_central, 20, 2);
    for (size_t i = 0; i < EMC_COUNT(fields); i++) {
        zip->n += put_le(zip->bytes + zip->n, fields[i][0], (int)fields[i][1]);
        zip->n_central += put_le(zip->central + zip->n_central, fields[i][0], (int)fields[i][1]);
    }
    zip->n_central += put_le(zip->central + zip->n_central, 0, 6); /* comment, disk, attributes */
    zip->n_central += put_le(zip->central + zip->n_central, 0, 4);
    zip->n_central += put_le(zip->central + zip->n_central, offset, 4);
    memcpy(zip->bytes + zip->n, name, strlen(name));
    zip->n += strlen(name);
    memcpy(zip->central + zip->n_central, name, strlen(name));
    zip->n_central += strlen(name);
    memcpy(zip->bytes + zip->n, bytes, n);
    zip->n += n;
    zip->n_entries++;
}

static void zip_tree(zip_writer *zip, const char *store, const char *prefix)
{
    static const char *const keys[] = {
        ".zgroup",     "obs/.zgroup",      "obs/.zattrs",      "obs/cell/.zarray", "obs/cell/0",
        "var/.zgroup", "var/.zattrs",      "var/gene/.zarray", "var/gene/0",       "var/gene/1",
        "X/.zgroup",   "X/.zattrs",        "X/indptr/.zarray", "X/indptr/0",       "X/data/.zarray",
        "X/data/0",    "X/data/1",         "X/data/2",         "X/indices/0",      "X/indices/1",
        "X/indices/2", "X/indices/.zarray"};

    for (size_t i = 0; i < EMC_COUNT(keys); i++) {
        char path[1200], name[256];
        size_t n;
        snprintf(path, sizeof path, "%s/%s", store, keys[i]);
        snprintf(name, sizeof name, "%s%s", prefix, keys[i]);
        char *bytes = emt_read(path, &n);
        zip_add(zip, name, bytes, n, n);
        free(bytes);
    }
}

static const char *zip_write(zip_writer *zip)
{
    const size_t start = zip->n;

    memcpy(zip->bytes + zip->n, zip->central, zip->n_central);
    zip->n += zip->n_central;
    zip->n += put_le(zip->bytes + zip->n, 0x06054b50, 4);
    zip->n += put_le(zip->bytes + zip->n, 0, 4);
    zip->n += put_le(zip->bytes + zip->n, (unsigned long)zip->n_entries, 2);
    zip->n += put_le(zip->bytes + zip->n, (unsigned long)zip->n_entries, 2);
    zip->n += put_le(zip->bytes + zip->n, zip->n_central, 4);
    zip->n += put_le(zip->bytes + zip->n, start, 4);
    zip->n += put_le(zip->bytes + zip->n, 0, 2);
    return emt_write("store.zarr.zip", zip->bytes, zip->n);
}

static void reads_zip(void **state)
{
    static zip_writer zip;
    const char *store = make_frames();
    emc_cells *cells;

    (void)state;
    put_sparse(store, "X", false);
    zip_tree(&zip, store, "");
    const char *path = zip_write(&zip);
    if (!has_zip(path))
        skip();
    check_matrix(path, NULL);
    /* within a folder of its own, with a piece that was written twice: the last one counts */
    memset(&zip, 0, sizeof zip);
    zip_add(&zip, "my.zarr/X/.zattrs", "{}", 2, 2);
    zip_tree(&zip, store, "my.zarr/");
    check_matrix(zip_write(&zip), NULL);
    /* names that lead out */
    static const char *const names[] = {"../evil", "/etc/passwd", "X/../../evil", "a//b"};
    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        memset(&zip, 0, sizeof zip);
        zip_tree(&zip, store, "");
        zip_add(&zip, names[i], "x", 1, 1);
        EMT_FAILS(EMC_ERR_FORMAT, "no name inside a zarr store",
                  emc_cells_open(&cells, zip_write(&zip), NULL));
    }
    /* a piece that claims to be 3 GB */
    memset(&zip, 0, sizeof zip);
    zip_tree(&zip, store, "");
    zip_add(&zip, "X/indptr/0", "x", 1, 3000000000u);
    assert_int_not_equal(emc_cells_open(&cells, zip_write(&zip), NULL), EMC_OK);
    /* cut short */
    path = emt_write("cut.zarr.zip", zip.bytes, zip.n / 2);
    EMT_FAILS(EMC_ERR_FORMAT, "cut.zarr.zip", emc_cells_open(&cells, path, NULL));
    /* a zip file of something else */
    memset(&zip, 0, sizeof zip);
    zip_add(&zip, "word/document.xml", "x", 1, 1);
    EMT_FAILS(EMC_ERR_FORMAT, "no zarr store with obs and var",
              emc_cells_open(&cells, zip_write(&zip), NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refuses_broken),
        cmocka_unit_test(bounds_bombs),
        cmocka_unit_test(follows_no_links),
        cmocka_unit_test(reads_zip),
    };

    return cmocka_run_group_tests_name("cells: broken zarr", tests, NULL, NULL);
}
