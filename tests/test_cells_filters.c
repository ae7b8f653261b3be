/* Are chunks read that HDF5 itself cannot unpack, and hostile ones refused? */
#include "emt.h"

#include <hdf5.h>
#include <stdlib.h>
#include <string.h>

#include "cells/codec.h"
#include "cells/reader.h"

#define H5(call) assert_true((call) >= 0)

enum { N_CELLS = 5, N_GENES = 30, CHUNK_ROWS = 2 };
#define CHUNK_BYTES ((size_t)(CHUNK_ROWS * N_GENES) * sizeof(float))

/* ---- The plainest piece of each form: nothing shrinks. */

static size_t pack_lzf(unsigned char *to, const unsigned char *from, size_t n)
{
    size_t at = 0;

    for (size_t i = 0; i < n; i += 32) {
        const size_t run = n - i < 32 ? n - i : 32;
        to[at++] = (unsigned char)(run - 1); /* so many literal bytes follow, less one */
        memcpy(to + at, from + i, run);
        at += run;
    }
    return at;
}

static void put_32(unsigned char *to, size_t value, bool big_endian)
{
    for (int i = 0; i < 4; i++)
        to[big_endian ? 3 - i : i] = (unsigned char)(value >> (8 * i));
}

/* RFC 8878: one raw block in a frame of a single segment. */
static size_t pack_zstd(unsigned char *to, const unsigned char *from, size_t n)
{
    put_32(to, 0xFD2FB528u, false);
    to[4] = 0xA0; /* single segment, 4 bytes of size */
    put_32(to + 5, n, false);
    put_32(to + 9, n << 3 | 1, false); /* the last block, raw; 3 bytes */
    memcpy(to + 12, from, n);
    return n + 12;
}

/* Two blocks: one stored, one of a run of literals. */
static size_t pack_lz4(unsigned char *to, const unsigned char *from, size_t n)
{
    const size_t block = n - 10; /* the second has 10 bytes */

    put_32(to, 0, true);
    put_32(to + 4, n, true);
    put_32(to + 8, block, true);
    put_32(to + 12, block, true);
    memcpy(to + 16, from, block);
    put_32(to + 16 + block, 11, true);
    to[20 + block] = 10 << 4;
    memcpy(to + 21 + block, from + block, 10);
    return n + 21;
}

static size_t pack_blosc(unsigned char *to, const unsigned char *from, size_t n)
{
    to[0] = 2; /* version of the frame, of the codec in it, copied as it is, bytes a value */
    to[1] = 1;
    to[2] = 2;
    to[3] = 4;
    put_32(to + 4, n, false);
    put_32(to + 8, n, false);
    put_32(to + 12, n + 16, false);
    memcpy(to + 16, from, n);
    return n + 16;
}

static const struct {
    H5Z_filter_t id;
    cells_codec codec;
    size_t (*pack)(unsigned char *to, const unsigned char *from, size_t n);
    const char *name;
} filters[] = {
    {32000, CELLS_CODEC_LZF, pack_lzf, "LZF"},
    {32001, CELLS_CODEC_BLOSC, pack_blosc, "blosc"},
    {32004, CELLS_CODEC_LZ4_HDF5, pack_lz4, "LZ4"},
    {32015, CELLS_CODEC_ZSTD, pack_zstd, "zstd"},
};

/* ---- A small .h5ad whose X has one of them. */

/* Chunks are written as they are, so that the filter is only asked whether it is there. */
static size_t nothing(unsigned flags, size_t n, const unsigned settings[], size_t n_bytes,
                      size_t *buffer_bytes, void **buffer)
{
    (void)flags, (void)n, (void)settings, (void)buffer_bytes, (void)buffer;
    return n_bytes;
}

static void put_names(hid_t file, const char *group, char prefix, int n)
{
    const hid_t to = H5Gcreate2(file, group, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t type = H5Tcopy(H5T_C_S1);
    const hsize_t length = (hsize_t)n;
    char names[64][16] = {{0}};

    for (int i = 0; i < n; i++)
        snprintf(names[i], sizeof names[i], "%c%d", prefix, i);
    H5(H5Tset_size(type, sizeof names[0]));
    const hid_t space = H5Screate_simple(1, &length, NULL);
    const hid_t set = H5Dcreate2(to, "_index", type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, names));
    H5(H5Dclose(set));
    H5(H5Sclose(space));
    H5(H5Tclose(type));
    H5(H5Gclose(to));
}

static float value_at(int row, int column)
{
    return (row * 7 + column * 3) % 5 == 0 ? 0 : (float)(row + 1) + 0.5f * (float)column;
}

/* shuffle: bytes of one rank stand together, as HDF5's own filter of that name wants it. */
static void fill_chunk(unsigned char *to, int chunk, bool shuffle)
{
    float values[CHUNK_ROWS * N_GENES] = {0};
    const int n = CHUNK_ROWS * N_GENES;

    for (int i = 0; i < n; i++) {
        const int row = chunk * CHUNK_ROWS + i / N_GENES;
        values[i] = row < N_CELLS ? value_at(row, i % N_GENES) : 0;
    }
    for (int i = 0; i < n; i++)
        for (int b = 0; b < 4; b++)
            to[shuffle ? b * n + i : i * 4 + b] = ((const unsigned char *)values)[i * 4 + b];
}

typedef size_t (*packer)(unsigned char *to, const unsigned char *from, size_t n);

/* A file whose X has this filter; the first chunk is what `change` makes of it. */
static const char *make_file(H5Z_filter_t id, packer pack, bool shuffle,
                             size_t (*change)(unsigned char *piece, size_t n))
{
    const char *path = emt_temp("filtered.h5ad");
    const H5Z_class2_t stand_in = {H5Z_CLASS_T_VERS, id, 1, 1, "test", NULL, NULL, nothing};
    const hsize_t dims[2] = {N_CELLS, N_GENES}, chunk[2] = {CHUNK_ROWS, N_GENES};
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);

    put_names(file, "obs", 'c', N_CELLS);
    put_names(file, "var", 'g', N_GENES);
    if (H5Zfilter_avail(id) > 0) /* ours, which cannot write; of an earlier file */
        H5(H5Zunregister(id));
    H5(H5Zregister(&stand_in));
    const hid_t create = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, dims, NULL);
    H5(H5Pset_chunk(create, 2, chunk));
    if (shuffle)
        H5(H5Pset_shuffle(create));
    H5(H5Pset_filter(create, id, H5Z_FLAG_OPTIONAL, 0, NULL));
    const hid_t set =
        H5Dcreate2(file, "X", H5T_IEEE_F32LE, space, H5P_DEFAULT, create, H5P_DEFAULT);
    H5(set);
    for (int c = 0; c * CHUNK_ROWS < N_CELLS; c++) {
        const hsize_t at[2] = {(hsize_t)c * CHUNK_ROWS, 0};
        unsigned char values[CHUNK_BYTES], piece[2 * CHUNK_BYTES + 64];
        fill_chunk(values, c, shuffle);
        size_t n = pack(piece, values, sizeof values);
        if (c == 0 && change)
            n = change(piece, n);
        H5(H5Dwrite_chunk(set, H5P_DEFAULT, 0, at, n, piece));
    }
    H5(H5Dclose(set));
    H5(H5Sclose(space));
    H5(H5Pclose(create));
    H5(H5Fclose(file));
    H5(H5Zunregister(id));
    return path;
}

static bool is_built_in(size_t i)
{
    if (cells_codec_version(filters[i].codec))
        return true;
    fprintf(stderr, "not tested: %s, which this build lacks\n", filters[i].name);
    return false;
}

static void check_values(const char *path)
{
    emc_cells *cells;
    emc_cell_block block;
    int n = 0;

    EMT_OK(emc_cells_open(&cells, path, NULL));
    for (int first = 0; first < N_CELLS; first += block.n_rows) {
        EMT_OK(emc_cells_next(cells, &block));
        assert_true(block.n_rows > 0);
        for (int r = 0; r < block.n_rows; r++)
            for (int64_t k = block.indptr[r]; k < block.indptr[r + 1]; k++, n++)
                assert_true(block.values[k] == (double)value_at(first + r, block.genes[k]));
    }
    for (int r = 0; r < N_CELLS; r++)
        for (int c = 0; c < N_GENES; c++)
            n -= value_at(r, c) != 0;
    assert_int_equal(n, 0);
    emc_cells_close(cells);
}

static void reads_each(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(filters); i++)
        for (int shuffle = 0; shuffle < 2 && is_built_in(i); shuffle++)
            check_values(make_file(filters[i].id, filters[i].pack, shuffle, NULL));
}

/* ---- Hostile chunks */

static size_t cut_half(unsigned char *piece, size_t n)
{
    (void)piece;
    return n / 2;
}

static size_t cut_to_three(unsigned char *piece, size_t n)
{
    (void)piece, (void)n;
    return 3;
}

static size_t garble(unsigned char *piece, size_t n)
{
    memset(piece, 0xFF, n);
    return n;
}

/* The claims stand at bytes 4 to 7 of all forms but zstd's and LZF's, which has none. */
static size_t claim_two_gib(unsigned char *piece, size_t n)
{
    const bool is_zstd = piece[0] == 0x28 && piece[1] == 0xB5;

    put_32(piece + (is_zstd ? 5 : 4), 0x80000000u, piece[0] == 0);
    return n;
}

/* A piece that is whole, of half a chunk or of two. */
static packer packing;

static size_t half_a_chunk(unsigned char *piece, size_t n)
{
    unsigned char values[CHUNK_BYTES / 2] = {1};

    (void)n;
    return packing(piece, values, sizeof values);
}

static size_t chunk_and_a_half(unsigned char *piece, size_t n)
{
    unsigned char values[CHUNK_BYTES * 3 / 2] = {1};

    (void)n;
    return packing(piece, values, sizeof values);
}

static void refuses_hostile(void **state)
{
    static const struct {
        size_t (*change)(unsigned char *piece, size_t n);
        const char *text;
        bool not_lzf;
    } cases[] = {
        {cut_half, "X: reading values failed", false},
        {cut_to_three, "X: reading values failed", false},
        {garble, "X: reading values failed", false},
        {claim_two_gib, "X: reading values failed", true},
        {half_a_chunk, "holds less than its shape says", false},
        {chunk_and_a_half, "holds more than", false},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(filters); i++)
        for (size_t c = 0; c < EMC_COUNT(cases) && is_built_in(i); c++) {
            emc_cells *cells;
            emc_cell_block block;
            if (cases[c].not_lzf && filters[i].codec == CELLS_CODEC_LZF)
                continue;
            packing = filters[i].pack;
            const char *path = make_file(filters[i].id, filters[i].pack, false, cases[c].change);
            EMT_OK(emc_cells_open(&cells, path, NULL));
            EMT_FAILS(EMC_ERR_FORMAT, cases[c].text, emc_cells_next(cells, &block));
            assert_int_equal(block.n_rows, 0);
            emc_cells_close(cells);
        }
}

/* ---- What cannot be read is named, with the way out. */

static size_t pack_nothing(unsigned char *to, const unsigned char *from, size_t n)
{
    memcpy(to, from, n);
    return n;
}

static void names_the_others(void **state)
{
    static const struct {
        H5Z_filter_t id;
        const char *text;
    } others[] = {
        {307, "filter 307 (bzip2)"},      {32008, "filter 32008 (bitshuffle)"},
        {32026, "filter 32026 (blosc2)"}, {32013, "filter 32013 (ZFP)"},
        {32017, "filter 32017 (SZ)"},     {40000, "filter 40000 (test)"},
        {307, "h5repack -f GZIP=4"},
    };
    emc_cells *cells;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(others); i++) {
        const char *path = make_file(others[i].id, pack_nothing, false, NULL);
        EMT_FAILS(EMC_ERR_FORMAT, others[i].text, emc_cells_open(&cells, path, NULL));
        assert_non_null(strstr(emc_message(), "/X"));
    }
}

/* ---- A program's own filter is left alone. */

static size_t host_filter(unsigned flags, size_t n, const unsigned settings[], size_t n_bytes,
                          size_t *buffer_bytes, void **buffer)
{
    (void)flags, (void)n, (void)settings, (void)n_bytes;
    free(*buffer);
    *buffer = calloc(1, CHUNK_BYTES);
    *buffer_bytes = CHUNK_BYTES;
    for (size_t i = 0; *buffer && i < CHUNK_BYTES / sizeof(float); i++)
        ((float *)*buffer)[i] = 42;
    return *buffer ? CHUNK_BYTES : 0;
}

static void leaves_the_hosts_filter(void **state)
{
    const H5Z_class2_t host = {H5Z_CLASS_T_VERS, 32004, 1, 1, "host", NULL, NULL, host_filter};
    emc_cells *cells;
    emc_cell_block block;

    (void)state;
    const char *path = make_file(32004, pack_lz4, false, NULL);
    H5(H5Zregister(&host));
    EMT_OK(emc_cells_open(&cells, path, NULL));
    EMT_OK(emc_cells_next(cells, &block));
    assert_int_equal(block.indptr[1], N_GENES);
    assert_true(block.values[0] == 42);
    emc_cells_close(cells);
    H5(H5Zunregister(32004));
}

/* ---- The pieces themselves */

static void decodes_within_bounds(void **state)
{
    unsigned char from[100], piece[300], to[128];
    size_t got;

    (void)state;
    for (size_t i = 0; i < sizeof from; i++)
        from[i] = (unsigned char)(i * 37);
    for (size_t f = 0; f < EMC_COUNT(filters) && is_built_in(f); f++) {
        const size_t n = filters[f].pack(piece, from, sizeof from);
        const cells_codec codec = filters[f].codec;
        memset(to, 0xAA, sizeof to);
        EMT_OK(cells_codec_decode(codec, to, sizeof from, &got, piece, n, "here"));
        assert_int_equal(got, sizeof from);
        assert_memory_equal(to, from, sizeof from);
        assert_int_equal(to[sizeof from], 0xAA);
        EMT_FAILS(EMC_ERR_FORMAT, "holds more than the 99 bytes",
                  cells_codec_decode(codec, to, 99, &got, piece, n, "here"));
        for (size_t cut = 0; cut < n; cut++) {
            unsigned char *exact = malloc(cut ? cut : 1); /* so that reading past it is seen */
            memcpy(exact, piece, cut);
            if (cells_codec_decode(codec, to, sizeof from, &got, exact, cut, "here") == EMC_OK)
                assert_true(codec == CELLS_CODEC_LZF && got < sizeof from);
            free(exact);
        }
    }
}

/* The real file by h5py: every entry of X, beside what anndata reads. */
static void reads_the_real_lzf_file(void **state)
{
    const char *name = "data/formats_h5ad/anndata_v0.7.0.h5ad";
    static const struct {
        const char *layer;
        double weighed; /* sum of value times (gene + 1), by anndata 0.12 */
    } matrices[] = {{"X", 3028}, {"raw", 12347}};

    (void)state;
    emt_need_shared(name);
    if (!cells_codec_version(CELLS_CODEC_LZF))
        skip();
    for (size_t m = 0; m < EMC_COUNT(matrices); m++) {
        const emc_cells_options options = {.layer = matrices[m].layer};
        emc_cells *cells;
        emc_cell_block block;
        double sum = 0;
        EMT_OK(emc_cells_open(&cells, emt_shared(name), &options));
        EMT_OK(emc_cells_next(cells, &block));
        for (int64_t k = 0; k < block.indptr[block.n_rows]; k++)
            sum += block.values[k] * (block.genes[k] + 1);
        assert_true(sum == matrices[m].weighed);
        emc_cells_close(cells);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_each),
        cmocka_unit_test(refuses_hostile),
        cmocka_unit_test(names_the_others),
        cmocka_unit_test(leaves_the_hosts_filter),
        cmocka_unit_test(decodes_within_bounds),
        cmocka_unit_test(reads_the_real_lzf_file),
    };

    return cmocka_run_group_tests_name("cells: filters", tests, NULL, NULL);
}
