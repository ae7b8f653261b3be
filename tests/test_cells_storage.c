/* Does every way of storing a matrix in HDF5 give the same rows, and is damage found? */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "cells/reader.h"
#include "cells_break.h"
#include "cells_files.h"

#define N_GENES 60

/* Names of types, as each is only known once the library runs. */
static hid_t type_of(const char *name)
{
    const struct {
        const char *name;
        hid_t type;
    } types[] = {
        {"i8", H5T_STD_I8LE},      {"u8", H5T_STD_U8BE},    {"i16", H5T_STD_I16LE},
        {"i16be", H5T_STD_I16BE},  {"u16", H5T_STD_U16LE},  {"i32", H5T_STD_I32LE},
        {"i32be", H5T_STD_I32BE},  {"u32", H5T_STD_U32LE},  {"i64", H5T_STD_I64LE},
        {"i64be", H5T_STD_I64BE},  {"u64", H5T_STD_U64LE},  {"f32", H5T_IEEE_F32LE},
        {"f32be", H5T_IEEE_F32BE}, {"f64", H5T_IEEE_F64LE}, {"f64be", H5T_IEEE_F64BE},
    };

    for (size_t i = 0; i < EMC_COUNT(types); i++)
        if (strcmp(types[i].name, name) == 0)
            return types[i].type;
    fail_msg("no type %s", name);
    return -1;
}

/* Reads rows from `from` on and compares each with what the file was made of. Rows of CSR keep the
 * file's order; others are compared gene by gene. */
static void check_from(emc_cells *cells, const file_spec *spec, int64_t from, int n_blocks)
{
    int32_t genes[N_GENES + 2];
    double values[N_GENES + 2], left[N_GENES];
    emc_cell_block block;
    int64_t row = from;
    char id[32];

    EMT_OK(emc_cells_seek(cells, from));
    for (int b = 0; b != n_blocks; b++) {
        EMT_OK(emc_cells_next(cells, &block));
        if (block.n_rows == 0)
            break;
        for (int r = 0; r < block.n_rows; r++, row++) {
            const int n = file_row(spec, row, genes, values);
            const int64_t start = block.indptr[r];
            memset(left, 0, sizeof left);
            for (int k = 0; k < n; k++)
                left[genes[k]] += values[k];
            if (spec->layout == FILE_CSR) {
                assert_int_equal(block.indptr[r + 1] - start, n);
                for (int k = 0; k < n; k++) {
                    assert_int_equal(block.genes[start + k], genes[k]);
                    assert_true(block.values[start + k] == values[k]);
                }
            }
            for (int64_t k = start; k < block.indptr[r + 1]; k++)
                left[block.genes[k]] -= block.values[k];
            for (int g = 0; g < spec->n_genes; g++)
                assert_true(left[g] == 0);
            snprintf(id, sizeof id, "cell-%d", (int)row);
            assert_string_equal(block.cell_ids[r], id);
        }
    }
    if (n_blocks < 0)
        assert_int_equal(row, spec->n_cells);
}

static void check_file(const file_spec *spec, const emc_cells_options *options)
{
    static const int max_rows[] = {0, 1, 7, 50};
    const char *path = emt_temp("storage.h5ad");
    uint64_t random = 11;

    file_write_h5ad(path, spec);
    for (size_t i = 0; i < EMC_COUNT(max_rows); i++) {
        emc_cells_options with = *options;
        emc_cells *cells;
        with.max_rows = max_rows[i];
        with.n_threads = 1 + (int)i;
        EMT_OK(emc_cells_open(&cells, path, &with));
        check_from(cells, spec, 0, -1);
        for (int k = 0; k < 20; k++) /* what one read keeps must not mislead the next */
            check_from(cells, spec, (int64_t)(emt_random(&random) % (uint64_t)spec->n_cells), 2);
        check_from(cells, spec, 0, -1);
        emc_cells_close(cells);
    }
}

static void every_storage(void **state)
{
    static const struct {
        const char *values, *indices, *pointers;
        hsize_t chunk;
        int gzip;
        bool shuffle, fletcher, unsorted, repeated;
        int empty_every;
        double ceiling;
        hsize_t user_block;
    } cases[] = {
        {"f32", "i32", "i32", 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {"f32", "i32", "i32", 0, 0, 0, 0, 0, 0, 0, 0, 1024},
        {"f32", "i32", "i64", 64, 4, 0, 0, 0, 0, 0, 0, 0},
        {"f64", "i64", "i64", 100, 4, 1, 0, 1, 0, 5, 0, 512},
        {"i64", "i64", "i32", 7, 1, 1, 0, 0, 1, 3, 0, 0},
        {"u16", "u32", "u32", 33, 9, 1, 0, 1, 1, 2, 0, 0},
        {"i32", "u16", "i64", 1, 4, 0, 0, 0, 0, 0, 0, 0},
        {"i8", "i16", "i32", 1000000, 4, 1, 0, 0, 0, 7, 127, 0},
        {"u8", "u8", "i32", 50, 4, 1, 0, 0, 0, 0, 255, 0},
        {"u64", "u64", "u64", 50, 4, 1, 0, 0, 0, 0, 0, 0},
        {"i16", "i8", "i64", 0, 0, 0, 0, 0, 0, 4, 0, 0},
        {"f32be", "i32be", "i64be", 64, 4, 1, 0, 0, 0, 0, 0, 0},
        {"f64be", "i64be", "i32be", 0, 0, 0, 0, 0, 0, 0, 0, 0},
        {"i16be", "i32", "i32", 128, 4, 0, 0, 0, 0, 0, 0, 0},
        {"f32", "i32", "i32", 64, 0, 0, 0, 0, 0, 0, 0, 0}, /* chunks as they are */
        {"f32", "i32", "i32", 64, 0, 1, 0, 0, 0, 0, 0, 0}, /* shuffled alone */
        {"f32", "i32", "i32", 64, 4, 1, 1, 0, 0, 0, 0, 0}, /* left to the library */
        {"f32", "i32", "i32", 600000, 0, 0, 0, 0, 0, 0, 0, 0},
    };
    static const file_layout layouts[] = {FILE_CSR, FILE_CSC, FILE_DENSE};
    const emc_cells_options options = {0};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        for (size_t l = 0; l < EMC_COUNT(layouts); l++) {
            const file_spec spec = {.n_cells = 150,
                                    .n_genes = N_GENES,
                                    .least = 0,
                                    .most = 30,
                                    .seed = i + 1,
                                    .layout = layouts[l],
                                    .value_type = type_of(cases[i].values),
                                    .index_type =
                                        layouts[l] == FILE_CSC ? 0 : type_of(cases[i].indices),
                                    .pointer_type = type_of(cases[i].pointers),
                                    .chunk = cases[i].chunk,
                                    .gzip = cases[i].gzip,
                                    .shuffle = cases[i].shuffle,
                                    .fletcher = cases[i].fletcher,
                                    .unsorted = cases[i].unsorted,
                                    .repeated = cases[i].repeated && layouts[l] != FILE_DENSE,
                                    .empty_every = cases[i].empty_every,
                                    .ceiling = cases[i].ceiling,
                                    .user_block = cases[i].user_block};
            check_file(&spec, &options);
        }
}

static void szip(void **state)
{
    static const file_layout layouts[] = {FILE_CSR, FILE_CSC, FILE_DENSE};
    const emc_cells_options options = {0};
    file_spec spec = {
        .n_cells = 150, .n_genes = N_GENES, .most = 30, .seed = 19, .chunk = 32, .szip = true};

    (void)state;
    if (H5Zfilter_avail(H5Z_FILTER_SZIP) <= 0) {
        print_message("SKIPPED: this HDF5 library has no szip\n");
        skip();
    }
    for (size_t l = 0; l < EMC_COUNT(layouts); l++) {
        spec.layout = layouts[l];
        check_file(&spec, &options);
    }
    emc_cells_matrix matrix;
    emc_cells *cells;
    const char *path = emt_temp("szip.h5ad");
    file_write_h5ad(path, &spec);
    EMT_OK(emc_cells_open(&cells, path, NULL));
    emc_cells_get_matrix(cells, &matrix);
    assert_non_null(strstr(matrix.filters, "szip"));
    emc_cells_close(cells);
}

static void what_is_told_of_a_matrix(void **state)
{
    file_spec spec = {
        .n_cells = 10, .n_genes = N_GENES, .least = 5, .most = 5, .seed = 3, .chunk = 16};
    const char *path = emt_temp("told.h5ad");
    emc_cells_matrix matrix;
    emc_cells *cells;

    (void)state;
    spec.gzip = 4;
    spec.shuffle = true;
    file_write_h5ad(path, &spec);
    EMT_OK(emc_cells_open(&cells, path, NULL));
    emc_cells_get_matrix(cells, &matrix);
    assert_string_equal(matrix.name, "X");
    assert_string_equal(matrix.storage, "csr");
    assert_string_equal(matrix.dtype, "float32");
    assert_string_equal(matrix.filters, "shuffle, gzip 4");
    assert_true(matrix.n_values > 30 && matrix.n_values <= 50);
    emc_cells_close(cells);
    spec = (file_spec){.n_cells = 10,
                       .n_genes = N_GENES,
                       .least = 5,
                       .most = 5,
                       .layout = FILE_DENSE,
                       .value_type = H5T_STD_I64LE};
    file_write_h5ad(path, &spec);
    EMT_OK(emc_cells_open(&cells, path, NULL));
    emc_cells_get_matrix(cells, &matrix);
    assert_string_equal(matrix.storage, "dense");
    assert_string_equal(matrix.dtype, "int64");
    assert_string_equal(matrix.filters, "none");
    assert_int_equal(matrix.n_values, 10 * N_GENES);
    emc_cells_close(cells);
}

static char logged[2048];
static int n_logged;

static void keep_log(void *context, const char *line)
{
    assert_ptr_equal(context, &n_logged);
    snprintf(logged, sizeof logged, "%s", line);
    n_logged++;
}

/* With room for few values a scratch file is used, and says so; the rows are the same. */
static void columns_in_little_memory(void **state)
{
    static const size_t budgets[] = {1, 5000, 20000};
    const file_spec spec = {.n_cells = 150,
                            .n_genes = N_GENES,
                            .least = 10,
                            .most = 30,
                            .seed = 9,
                            .layout = FILE_CSC,
                            .chunk = 100,
                            .gzip = 4};
    const char *path = emt_temp("storage.h5ad");

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(budgets); i++) {
        const emc_cells_options options = {.turn_bytes = budgets[i],
                                           .scratch_dir = emt_temp_dir(),
                                           .on_log = keep_log,
                                           .context = &n_logged};
        n_logged = 0;
        check_file(&spec, &options);
        assert_int_equal(n_logged, 4); /* once for each of its readers */
        assert_non_null(strstr(logged, "a.X = a.X.tocsr(); a.write("));
        assert_non_null(strstr(logged, path));
    }
    const emc_cells_options nowhere = {.turn_bytes = 1, .scratch_dir = emt_temp("no folder")};
    emc_cells *cells;
    EMT_FAILS(EMC_ERR_IO, "no scratch file can be made", emc_cells_open(&cells, path, &nowhere));
    assert_null(cells);
}

/* More cells than are named at a time: each is called what it is, and one name twice is found. */
static void many_names(void **state)
{
    static const int64_t rows[] = {9999, 0, 4095, 4096, 8191, 8192, 5000, 1};
    const char *path = emt_temp("names.h5ad");
    char twice[32] = "cell-5000", id[32];

    (void)state;
    for (int fixed = 0; fixed < 2; fixed++) {
        const file_spec spec = {.n_cells = 10000,
                                .n_genes = N_GENES,
                                .least = 1,
                                .most = 2,
                                .seed = 6,
                                .fixed_ids = fixed == 1};
        emc_cells *cells;
        file_write_h5ad(path, &spec);
        EMT_OK(emc_cells_open(&cells, path, NULL));
        assert_int_equal(emc_cells_n_cells(cells), 10000);
        for (size_t i = 0; i < EMC_COUNT(rows); i++) {
            snprintf(id, sizeof id, "cell-%d", (int)rows[i]);
            assert_string_equal(emc_cells_id(cells, rows[i]), id);
            assert_int_equal(emc_cells_find(cells, id), rows[i]);
        }
        check_from(cells, &spec, 3000, -1);
        emc_cells_close(cells);
    }
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, "obs/_index", H5P_DEFAULT);
    const hid_t type = H5Dget_type(dataset), space = H5Dget_space(dataset);
    const hsize_t one = 1, places[2] = {9000, 9900};
    const hid_t memory = H5Screate_simple(1, &one, NULL);
    for (int i = 0; i < 2; i++) { /* the earlier of two repetitions is told */
        H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &places[i], NULL, &one, NULL));
        H5(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, twice));
    }
    H5(H5Tclose(type));
    H5(H5Sclose(space));
    H5(H5Sclose(memory));
    H5(H5Dclose(dataset));
    H5(H5Fclose(file));
    emc_cells *cells;
    EMT_FAILS(EMC_ERR_FORMAT, "two cells are called \"cell-5000\" (5001 and 9001)",
              emc_cells_open(&cells, path, NULL));
    assert_null(cells);
}

/* ---- damage ---- */

#define CHUNK 64

/* Puts other bytes in the place of chunk 1 of a dataset, with a mask of filters left out. */
static void write_chunk(const char *path, const char *name, uint32_t mask, const void *bytes,
                        size_t n)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    const hsize_t at = CHUNK;

    H5(H5Dwrite_chunk(dataset, H5P_DEFAULT, mask, &at, n, bytes));
    H5(H5Dclose(dataset));
    H5(H5Fclose(file));
}

static size_t read_chunk(const char *path, const char *name, unsigned char *bytes)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    const hsize_t at = CHUNK;
    hsize_t n;
    uint32_t mask;

    H5(H5Dget_chunk_storage_size(dataset, &at, &n));
    H5(H5Dread_chunk(dataset, H5P_DEFAULT, &at, &mask, bytes));
    H5(H5Dclose(dataset));
    H5(H5Fclose(file));
    return (size_t)n;
}

static const file_spec packed = {.n_cells = 40,
                                 .n_genes = N_GENES,
                                 .least = 10,
                                 .most = 30,
                                 .seed = 4,
                                 .chunk = CHUNK,
                                 .gzip = 4};

static void expect_damage(const char *path, const char *name)
{
    emc_cell_block block;
    emc_cells *cells;
    char text[64];

    EMT_OK(emc_cells_open(&cells, path, NULL));
    snprintf(text, sizeof text, "/%s: chunk 1 cannot be unpacked", name);
    EMT_FAILS(EMC_ERR_FORMAT, text, emc_cells_next(cells, &block));
    assert_int_equal(strncmp(emc_message(), path, strlen(path)), 0);
    /* Cells before the damage are still there to be had. */
    EMT_OK(emc_cells_seek(cells, 0));
    EMT_FAILS(EMC_ERR_FORMAT, text, emc_cells_next(cells, &block));
    emc_cells_close(cells);
}

static void damaged_chunks(void **state)
{
    static const char *const names[] = {"X/data", "X/indices"};
    unsigned char good[CHUNK * 64], bad[CHUNK * 64], plain[CHUNK * 16];
    const char *path = emt_temp("damaged.h5ad");
    uLongf n_bad;

    (void)state;
    for (size_t d = 0; d < EMC_COUNT(names); d++) {
        file_write_h5ad(path, &packed);
        const size_t n = read_chunk(path, names[d], good);
        for (size_t at = 0; at < n; at += n / 7 + 1) { /* the head, the middle, the check sum */
            memcpy(bad, good, n);
            bad[at] ^= 0x55;
            write_chunk(path, names[d], 0, bad, n);
            expect_damage(path, names[d]);
        }
        memcpy(bad, good, n);
        bad[n - 1] ^= 1; /* the check sum alone */
        write_chunk(path, names[d], 0, bad, n);
        expect_damage(path, names[d]);
        write_chunk(path, names[d], 0, good, n - 5); /* cut short */
        expect_damage(path, names[d]);
        for (size_t length = CHUNK * 4 - 4; length <= CHUNK * 4 + 4; length += 8) {
            memset(plain, 0, sizeof plain); /* whole, but of another length */
            n_bad = sizeof bad;
            assert_int_equal(compress(bad, &n_bad, plain, length), Z_OK);
            write_chunk(path, names[d], 0, bad, n_bad);
            expect_damage(path, names[d]);
        }
        write_chunk(path, names[d], 0, good, n);
        emc_cells *cells;
        EMT_OK(emc_cells_open(&cells, path, NULL));
        check_from(cells, &packed, 0, -1);
        emc_cells_close(cells);
        /* Not packed, says its mask; then its length is wrong. */
        write_chunk(path, names[d], 1, good, n - 1);
        expect_damage(path, names[d]);
    }
}

/* A writer may leave filters out, chunk by chunk. */
static void masked_chunks(void **state)
{
    unsigned char bytes[CHUNK * 64], plain[CHUNK * 4];
    const char *path = emt_temp("masked.h5ad");
    file_spec spec = packed;
    uLongf n = sizeof plain;
    emc_cells *cells;

    (void)state;
    file_write_h5ad(path, &spec);
    const size_t n_packed = read_chunk(path, "X/data", bytes);
    assert_int_equal(uncompress(plain, &n, bytes, n_packed), Z_OK);
    assert_int_equal(n, sizeof plain);
    write_chunk(path, "X/data", 1, plain, sizeof plain);
    EMT_OK(emc_cells_open(&cells, path, NULL));
    check_from(cells, &spec, 0, -1);
    emc_cells_close(cells);
    spec.shuffle = true; /* filter 0; deflate is 1 */
    file_write_h5ad(path, &spec);
    n = compressBound(sizeof plain);
    assert_int_equal(compress(bytes, &n, plain, sizeof plain), Z_OK);
    write_chunk(path, "X/data", 1, bytes, n);
    EMT_OK(emc_cells_open(&cells, path, NULL));
    check_from(cells, &spec, 0, -1);
    emc_cells_close(cells);
    write_chunk(path, "X/data", 3, plain, sizeof plain);
    EMT_OK(emc_cells_open(&cells, path, NULL));
    check_from(cells, &spec, 0, -1);
    emc_cells_close(cells);
}

/* Chunks that nobody wrote hold the fill value. */
static void missing_chunks(void **state)
{
    const char *path = emt_temp("missing.h5ad");
    emc_cell_block block;
    emc_cells *cells;

    (void)state;
    file_write_h5ad(path, &packed);
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk = CHUNK;
    const float fill = 2.5f;
    hid_t dataset = H5Dopen2(file, "X/data", H5P_DEFAULT);
    const hid_t space = H5Dget_space(dataset);
    const hsize_t n = (hsize_t)H5Sget_simple_extent_npoints(space);
    H5(H5Dclose(dataset));
    H5(H5Sclose(space));
    drop(file, "X/data");
    H5(H5Pset_chunk(create, 1, &chunk));
    H5(H5Pset_deflate(create, 4));
    H5(H5Pset_fill_value(create, H5T_NATIVE_FLOAT, &fill));
    put(file, "X/data", H5T_IEEE_F32LE, 1, &n, create);
    set_int(file, "X/data", CHUNK + 3, 7); /* which writes chunk 1 */
    H5(H5Pclose(create));
    H5(H5Fclose(file));
    EMT_OK(emc_cells_open(&cells, path, NULL));
    EMT_OK(emc_cells_next(cells, &block));
    for (int64_t k = 0; k < block.indptr[block.n_rows]; k++)
        assert_true(block.values[k] == (k == CHUNK + 3 ? 7 : 2.5));
    emc_cells_close(cells);
}

/* Sizes that a file only claims cost no memory. */
static void claimed_sizes(void **state)
{
    file_spec spec = packed;
    const char *path = emt_temp("claims.h5ad");
    emc_cells_matrix matrix;
    emc_cells *cells;

    (void)state;
    spec.n_cells = 150;
    file_write_h5ad(path, &spec);
    EMT_OK(emc_cells_open(&cells, path, NULL));
    emc_cells_get_matrix(cells, &matrix);
    const int64_t n_values = matrix.n_values;
    emc_cells_close(cells);
    assert_true(n_values > 16 * N_GENES + 1024);
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    for (hsize_t i = 1; i < 150; i++) /* all in the first row */
        set_int(file, "X/indptr", i, n_values);
    H5(H5Fclose(file));
    EMT_FAILS(EMC_ERR_FORMAT, "/X/indptr: goes from 0 to ", emc_cells_open(&cells, path, NULL));

    spec.n_cells = 2000;
    file_write_h5ad(path, &spec);
    file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk = CHUNK, n = 2000 * 1900;
    H5(H5Pset_chunk(create, 1, &chunk));
    drop(file, "X/data");
    drop(file, "X/indices");
    put(file, "X/data", H5T_IEEE_F32LE, 1, &n, create);
    put(file, "X/indices", H5T_STD_I32LE, 1, &n, create);
    for (hsize_t i = 1; i <= 2000; i++)
        set_int(file, "X/indptr", i, (int64_t)i * 1900);
    H5(H5Pclose(create));
    H5(H5Fclose(file));
    EMT_FAILS(EMC_ERR_FORMAT, "/X/data: claims 3800000 values and holds 0 bytes",
              emc_cells_open(&cells, path, NULL));
    assert_null(cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_storage),
        cmocka_unit_test(szip),
        cmocka_unit_test(what_is_told_of_a_matrix),
        cmocka_unit_test(columns_in_little_memory),
        cmocka_unit_test(many_names),
        cmocka_unit_test(damaged_chunks),
        cmocka_unit_test(masked_chunks),
        cmocka_unit_test(missing_chunks),
        cmocka_unit_test(claimed_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
