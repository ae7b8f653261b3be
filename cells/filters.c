/* Which compressed chunks can this build read, and how do they reach the HDF5 library? */
#include "cells/filters.h"

#include <stdio.h>
#include <string.h>

#include "cells/codec.h"
#include "cells/h5.h"

#define LZF_ID   32000
#define BLOSC_ID 32001
#define LZ4_ID   32004
#define ZSTD_ID  32015

/* The library limits a chunk to this. */
#define LONGEST_CHUNK ((size_t)UINT32_MAX)

/* A filter is called without a word about its dataset, and the library trusts the length of what
 * comes back. So each read says first what its chunks must hold; 0: nobody did. */
static _Thread_local size_t expected_bytes;

/* Filters whose output is as long as their input, but for a checksum. */
static bool keeps_size(H5Z_filter_t id)
{
    return id == H5Z_FILTER_SHUFFLE || id == H5Z_FILTER_FLETCHER32;
}

static size_t fail_filter(const char *text)
{
    H5Epush2(H5E_DEFAULT, __FILE__, __func__, __LINE__, H5E_ERR_CLS, H5E_PLINE, H5E_CANTFILTER,
             "%s", text);
    return 0;
}

/* The most that a chunk can hold: what was announced (a checksum may stand behind it), else what
 * the piece or the filter's own settings claim. 0: not to be told. */
static size_t room_for(cells_codec codec, size_t n_settings, const unsigned *settings,
                       const void *from, size_t n_from)
{
    size_t claim = 0;

    if (expected_bytes)
        return expected_bytes + 4;
    if (codec == CELLS_CODEC_LZF)
        return n_settings > 2 ? settings[2] : 0;
    return cells_codec_claim(&claim, codec, from, n_from) && claim <= LONGEST_CHUNK ? claim : 0;
}

static size_t decode(cells_codec codec, unsigned flags, size_t n_settings, const unsigned *settings,
                     size_t n_bytes, size_t *buffer_bytes, void **buffer)
{
    size_t got = 0;

    if (!(flags & H5Z_FLAG_REVERSE))
        return fail_filter("this filter only reads");
    const size_t room = room_for(codec, n_settings, settings, *buffer, n_bytes);
    if (room == 0)
        return fail_filter("a chunk that does not tell its size");
    void *to = H5allocate_memory(room, false);
    if (!to)
        return fail_filter("no memory for a chunk");
    if (cells_codec_decode(codec, to, room, &got, *buffer, n_bytes, "a chunk") != EMC_OK) {
        H5free_memory(to);
        return fail_filter(emc_message());
    }
    if (got == 0 || got < expected_bytes) {
        H5free_memory(to);
        return fail_filter("a chunk that holds less than its shape says");
    }
    H5free_memory(*buffer);
    *buffer = to;
    *buffer_bytes = room;
    return got;
}

static size_t decode_lzf(unsigned flags, size_t n, const unsigned settings[], size_t n_bytes,
                         size_t *buffer_bytes, void **buffer)
{
    return decode(CELLS_CODEC_LZF, flags, n, settings, n_bytes, buffer_bytes, buffer);
}

static size_t decode_blosc(unsigned flags, size_t n, const unsigned settings[], size_t n_bytes,
                           size_t *buffer_bytes, void **buffer)
{
    return decode(CELLS_CODEC_BLOSC, flags, n, settings, n_bytes, buffer_bytes, buffer);
}

static size_t decode_lz4(unsigned flags, size_t n, const unsigned settings[], size_t n_bytes,
                         size_t *buffer_bytes, void **buffer)
{
    return decode(CELLS_CODEC_LZ4_HDF5, flags, n, settings, n_bytes, buffer_bytes, buffer);
}

static size_t decode_zstd(unsigned flags, size_t n, const unsigned settings[], size_t n_bytes,
                          size_t *buffer_bytes, void **buffer)
{
    return decode(CELLS_CODEC_ZSTD, flags, n, settings, n_bytes, buffer_bytes, buffer);
}

static const struct {
    cells_codec codec;
    H5Z_class2_t filter;
} ours[] = {
    {CELLS_CODEC_LZF, {H5Z_CLASS_T_VERS, LZF_ID, 0, 1, "lzf", NULL, NULL, decode_lzf}},
    {CELLS_CODEC_BLOSC, {H5Z_CLASS_T_VERS, BLOSC_ID, 0, 1, "blosc", NULL, NULL, decode_blosc}},
    {CELLS_CODEC_LZ4_HDF5, {H5Z_CLASS_T_VERS, LZ4_ID, 0, 1, "lz4", NULL, NULL, decode_lz4}},
    {CELLS_CODEC_ZSTD, {H5Z_CLASS_T_VERS, ZSTD_ID, 0, 1, "zstd", NULL, NULL, decode_zstd}},
};

void cells_filters_register(void)
{
    /* Asked each time: a program may have closed the library, which forgets its filters. */
    for (size_t i = 0; i < EMC_COUNT(ours); i++)
        if (cells_codec_version(ours[i].codec) && H5Zfilter_avail(ours[i].filter.id) <= 0)
            H5Zregister(&ours[i].filter);
}

/* As the community calls them; the name in the file is free text. */
static const struct {
    int id;
    const char *name;
} usual_names[] = {
    {H5Z_FILTER_DEFLATE, "gzip"},
    {H5Z_FILTER_SHUFFLE, "shuffle"},
    {H5Z_FILTER_FLETCHER32, "fletcher32"},
    {H5Z_FILTER_SZIP, "szip"},
    {H5Z_FILTER_NBIT, "nbit"},
    {H5Z_FILTER_SCALEOFFSET, "scaleoffset"},
    {305, "LZO"},
    {307, "bzip2"},
    {LZF_ID, "LZF"},
    {BLOSC_ID, "blosc"},
    {LZ4_ID, "LZ4"},
    {32008, "bitshuffle"},
    {32013, "ZFP"},
    {ZSTD_ID, "zstd"},
    {32017, "SZ"},
    {32018, "FCIDECOMP"},
    {32024, "SZ3"},
    {32026, "blosc2"},
};

static const char *usual_name(int id, const char *in_file)
{
    for (size_t i = 0; i < EMC_COUNT(usual_names); i++)
        if (usual_names[i].id == id)
            return usual_names[i].name;
    return *in_file ? in_file : "unnamed";
}

/* A filter of a creation list; a name that the file gives is cut and ends in a NUL. */
static H5Z_filter_t filter_at(hid_t created, int i, unsigned settings[8], size_t *n_settings,
                              char name[64])
{
    unsigned flags, config;

    *n_settings = 8;
    name[0] = '\0';
    const H5Z_filter_t id =
        H5Pget_filter2(created, (unsigned)i, &flags, n_settings, settings, 64, name, &config);
    name[63] = '\0';
    return id;
}

static bool is_ours(H5Z_filter_t id)
{
    for (size_t i = 0; i < EMC_COUNT(ours); i++)
        if (ours[i].filter.id == id)
            return true;
    return false;
}

emc_status cells_filters_check(hid_t dataset, hid_t created, const char *path)
{
    const int n = H5Pget_nfilters(created);
    int n_ours = 0, n_others = 0;

    if (n < 0)
        return cells_h5_broken(path, dataset, "reading the filter list");
    for (int i = 0; i < n; i++) {
        unsigned settings[8];
        size_t n_settings;
        char name[64];
        const H5Z_filter_t id = filter_at(created, i, settings, &n_settings, name);
        if (id < 0)
            return cells_h5_broken(path, dataset, "reading the filter list");
        if (H5Zfilter_avail(id) <= 0)
            return cells_h5_fail(
                EMC_ERR_FORMAT, path, dataset,
                "compressed with filter %d (%s), which this build cannot read; rewrite the file "
                "where it can be read: h5repack -f GZIP=4 OLD NEW, or in Python "
                "ad.read_h5ad(OLD).write(NEW, compression=\"gzip\")",
                (int)id, usual_name(id, name));
        n_ours += is_ours(id);
        n_others += !is_ours(id) && !keeps_size(id);
    }
    if (n_ours > 1 || (n_ours && n_others))
        return cells_h5_fail(EMC_ERR_FORMAT, path, dataset,
                             "compressed twice over, which is not read; rewrite the file with "
                             "h5repack -f GZIP=4 OLD NEW");
    return EMC_OK;
}

/* How much longer an entry is in the file than in memory, where the library tells the latter for
 * text and lists of variable length: in the file they are a length and an address in a heap. */
static int64_t longer_in_file(hid_t type, int64_t heap_bytes)
{
    const H5T_class_t class = H5Tget_class(type);
    int64_t more = 0;

    if (class == H5T_VLEN || (class == H5T_STRING && H5Tis_variable_str(type) > 0))
        return heap_bytes - (int64_t)H5Tget_size(type);
    for (int i = 0; class == H5T_COMPOUND && i < H5Tget_nmembers(type); i++) {
        const hid_t member = H5Tget_member_type(type, (unsigned)i);
        more += longer_in_file(member, heap_bytes);
        H5Tclose(member);
    }
    if (class == H5T_ARRAY) {
        const hid_t entry = H5Tget_super(type);
        const size_t n = H5Tget_size(type) / H5Tget_size(entry);
        more = (int64_t)n * longer_in_file(entry, heap_bytes);
        H5Tclose(entry);
    }
    return more;
}

/* Bytes of an entry in the file. */
static size_t entry_bytes(hid_t dataset, hid_t type)
{
    const hid_t file = H5Iget_file_id(dataset);
    const hid_t created = file < 0 ? -1 : H5Fget_create_plist(file);
    size_t address = 8, size = 8;

    if (created >= 0)
        H5Pget_sizes(created, &address, &size);
    const int64_t n = (int64_t)H5Tget_size(type) + longer_in_file(type, (int64_t)address + 8);
    if (created >= 0)
        H5Pclose(created);
    if (file >= 0)
        H5Fclose(file);
    return n > 0 ? (size_t)n : 0;
}

void cells_filters_expect(hid_t dataset)
{
    expected_bytes = 0;
    if (dataset < 0)
        return;
    const hid_t created = H5Dget_create_plist(dataset), type = H5Dget_type(dataset);
    hsize_t chunk[H5S_MAX_RANK];
    int rank = 0;

    if (created >= 0 && type >= 0 && H5Pget_layout(created) == H5D_CHUNKED &&
        H5Pget_nfilters(created) > 0)
        rank = H5Pget_chunk(created, H5S_MAX_RANK, chunk);
    if (rank > 0) {
        size_t bytes = entry_bytes(dataset, type);
        for (int i = 0; i < rank; i++)
            bytes *= (size_t)chunk[i]; /* below 2^32, as the library has checked */
        expected_bytes = bytes;
    }
    if (type >= 0)
        H5Tclose(type);
    if (created >= 0)
        H5Pclose(created);
}

void cells_filters_describe(char *text, size_t n, hid_t dataset)
{
    const hid_t created = H5Dget_create_plist(dataset);
    const int count = created < 0 ? 0 : H5Pget_nfilters(created);
    size_t at = 0;

    snprintf(text, n, "none");
    for (int i = 0; i < count && at < n; i++) {
        unsigned settings[8];
        size_t n_settings;
        char name[64];
        const H5Z_filter_t id = filter_at(created, i, settings, &n_settings, name);
        if (id < 0)
            break;
        at += (size_t)snprintf(text + at, n - at, "%s%s", at ? ", " : "", usual_name(id, name));
        if (id == H5Z_FILTER_DEFLATE && n_settings > 0 && at < n)
            at += (size_t)snprintf(text + at, n - at, " %u", settings[0]);
    }
    if (created >= 0)
        H5Pclose(created);
}
