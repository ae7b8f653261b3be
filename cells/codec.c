/* How is each compressed form decoded, by which library, and what is checked before and after? */
#include "cells/codec.h"

#include <errno.h>
#include <libdeflate.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>

#ifdef EMCELL_HAVE_ZSTD
#include <zstd.h>
#endif
#ifdef EMCELL_HAVE_LZ4
#include <lz4.h>
#endif
#ifdef EMCELL_HAVE_BLOSC
#include <blosc.h>
#endif
#ifdef EMCELL_HAVE_LZF
#include <lzf.h>
#endif

#include "base/size.h"

/* A piece and the room for what it holds. */
typedef struct {
    unsigned char *to;
    size_t capacity;
    size_t n_to;
    const unsigned char *from;
    size_t n_from;
    const char *where;
    const char *name;
} piece;

static emc_status damaged(const piece *p)
{
    return emc_fail(EMC_ERR_FORMAT, "%s: %s data that is damaged or cut short (%zu bytes)",
                    p->where, p->name, p->n_from);
}

static emc_status too_long(const piece *p)
{
    return emc_fail(EMC_ERR_FORMAT,
                    "%s: %s data that holds more than the %zu bytes there should "
                    "be; the file is damaged",
                    p->where, p->name, p->capacity);
}

static emc_status decode_none(piece *p)
{
    if (p->n_from > p->capacity)
        return too_long(p);
    if (p->n_from)
        memcpy(p->to, p->from, p->n_from);
    p->n_to = p->n_from;
    return EMC_OK;
}

static emc_status deflate_status(const piece *p, enum libdeflate_result result)
{
    if (result == LIBDEFLATE_SUCCESS)
        return EMC_OK;
    return result == LIBDEFLATE_INSUFFICIENT_SPACE ? too_long(p) : damaged(p);
}

static emc_status decode_zlib(piece *p)
{
    struct libdeflate_decompressor *inflater = libdeflate_alloc_decompressor();

    if (!inflater)
        return emc_fail(EMC_ERR_NOMEM, "%s: no memory to decompress", p->where);
    const enum libdeflate_result result =
        libdeflate_zlib_decompress(inflater, p->from, p->n_from, p->to, p->capacity, &p->n_to);
    libdeflate_free_decompressor(inflater);
    return deflate_status(p, result);
}

static emc_status decode_gzip(piece *p)
{
    struct libdeflate_decompressor *inflater = libdeflate_alloc_decompressor();
    enum libdeflate_result result;
    size_t at = 0;

    if (!inflater)
        return emc_fail(EMC_ERR_NOMEM, "%s: no memory to decompress", p->where);
    do {
        size_t used = 0, got = 0;
        result = libdeflate_gzip_decompress_ex(inflater, p->from + at, p->n_from - at,
                                               p->to + p->n_to, p->capacity - p->n_to, &used, &got);
        at += used;
        p->n_to += got;
    } while (result == LIBDEFLATE_SUCCESS && at < p->n_from);
    libdeflate_free_decompressor(inflater);
    return deflate_status(p, result);
}

#ifdef EMCELL_HAVE_ZSTD
static emc_status decode_zstd(piece *p)
{
    const size_t got = ZSTD_decompress(p->to, p->capacity, p->from, p->n_from);

    if (!ZSTD_isError(got)) {
        p->n_to = got;
        return EMC_OK;
    }
    size_t claim;
    if (cells_codec_claim(&claim, CELLS_CODEC_ZSTD, p->from, p->n_from) && claim > p->capacity)
        return too_long(p);
    return emc_fail(EMC_ERR_FORMAT, "%s: zstd data that is damaged or cut short (%s)", p->where,
                    ZSTD_getErrorName(got));
}
#endif

static uint32_t big_endian_32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint32_t little_endian_32(const unsigned char *p)
{
    return (uint32_t)p[3] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[1] << 8 | p[0];
}

#ifdef EMCELL_HAVE_LZ4
static emc_status decode_lz4(piece *p)
{
    if (p->n_from < 4 || p->n_from - 4 > INT_MAX)
        return damaged(p);
    const uint32_t size = little_endian_32(p->from);
    if (size > p->capacity)
        return too_long(p);
    if (size > INT_MAX || LZ4_decompress_safe((const char *)p->from + 4, (char *)p->to,
                                              (int)(p->n_from - 4), (int)size) != (int)size)
        return damaged(p);
    p->n_to = size;
    return EMC_OK;
}

/* A block that did not shrink is stored as it is. */
static emc_status decode_lz4_hdf5(piece *p)
{
    size_t claim, at = 12;

    if (!cells_codec_claim(&claim, CELLS_CODEC_LZ4_HDF5, p->from, p->n_from))
        return damaged(p);
    if (claim > p->capacity)
        return too_long(p);
    const size_t block = big_endian_32(p->from + 8);
    if (claim > 0 && (block == 0 || block > INT_MAX))
        return damaged(p);
    while (p->n_to < claim) {
        const size_t want = claim - p->n_to < block ? claim - p->n_to : block;
        if (p->n_from - at < 4)
            return damaged(p);
        const size_t n = big_endian_32(p->from + at);
        at += 4;
        if (n == 0 || n > p->n_from - at || n > INT_MAX)
            return damaged(p);
        if (n == want)
            memcpy(p->to + p->n_to, p->from + at, n);
        else if (LZ4_decompress_safe((const char *)p->from + at, (char *)p->to + p->n_to, (int)n,
                                     (int)want) != (int)want)
            return damaged(p);
        at += n;
        p->n_to += want;
    }
    return EMC_OK;
}
#endif

#ifdef EMCELL_HAVE_BLOSC
/* Without the library's own threads and state: any number of callers may decode at once. */
static emc_status decode_blosc(piece *p)
{
    size_t size;

    if (p->n_from < BLOSC_MIN_HEADER_LENGTH ||
        blosc_cbuffer_validate(p->from, p->n_from, &size) != 0)
        return damaged(p);
    if (size > p->capacity)
        return too_long(p);
    if (size > 0 && blosc_decompress_ctx(p->from, p->to, p->capacity, 1) != (int)size) {
        const char *inside = blosc_cbuffer_complib(p->from);
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: blosc data that is damaged, or packed with %s, which this blosc "
                        "library may lack",
                        p->where, inside ? inside : "an unknown codec");
    }
    p->n_to = size;
    return EMC_OK;
}
#endif

#ifdef EMCELL_HAVE_LZF
static emc_status decode_lzf(piece *p)
{
    if (p->n_from > UINT_MAX)
        return damaged(p);
    const unsigned room = p->capacity < UINT_MAX ? (unsigned)p->capacity : UINT_MAX;
    p->n_to = lzf_decompress(p->from, (unsigned)p->n_from, p->to, room);
    if (p->n_to == 0)
        return errno == E2BIG ? too_long(p) : damaged(p);
    return EMC_OK;
}
#endif

static const char present[] = "yes";

static const char *version_of_zstd(void)
{
#ifdef EMCELL_HAVE_ZSTD
    return ZSTD_versionString();
#else
    return NULL;
#endif
}

static const char *version_of_lz4(void)
{
#ifdef EMCELL_HAVE_LZ4
    return LZ4_versionString();
#else
    return NULL;
#endif
}

static const char *version_of_blosc(void)
{
#ifdef EMCELL_HAVE_BLOSC
    return blosc_get_version_string();
#else
    return NULL;
#endif
}

static const char *version_of_lzf(void)
{
#ifdef EMCELL_HAVE_LZF
    return present;
#else
    return NULL;
#endif
}

const char *cells_codec_version(cells_codec codec)
{
    switch (codec) {
    case CELLS_CODEC_ZSTD:
        return version_of_zstd();
    case CELLS_CODEC_LZ4:
    case CELLS_CODEC_LZ4_HDF5:
        return version_of_lz4();
    case CELLS_CODEC_BLOSC:
        return version_of_blosc();
    case CELLS_CODEC_LZF:
        return version_of_lzf();
    case CELLS_CODEC_ZLIB:
    case CELLS_CODEC_GZIP:
        return LIBDEFLATE_VERSION_STRING;
    default:
        return present;
    }
}

const char *cells_codec_name(cells_codec codec)
{
    static const char *const names[CELLS_N_CODECS] = {"none", "zlib", "gzip",  "zstd",
                                                      "lz4",  "lz4",  "blosc", "lzf"};

    return (unsigned)codec < CELLS_N_CODECS ? names[codec] : "unknown";
}

emc_status cells_codec_decode(cells_codec codec, void *to, size_t capacity, size_t *n_to,
                              const void *from, size_t n_from, const char *where)
{
    static emc_status (*const decoders[CELLS_N_CODECS])(piece *) = {
        [CELLS_CODEC_NONE] = decode_none,   [CELLS_CODEC_ZLIB] = decode_zlib,
        [CELLS_CODEC_GZIP] = decode_gzip,
#ifdef EMCELL_HAVE_ZSTD
        [CELLS_CODEC_ZSTD] = decode_zstd,
#endif
#ifdef EMCELL_HAVE_LZ4
        [CELLS_CODEC_LZ4] = decode_lz4,     [CELLS_CODEC_LZ4_HDF5] = decode_lz4_hdf5,
#endif
#ifdef EMCELL_HAVE_BLOSC
        [CELLS_CODEC_BLOSC] = decode_blosc,
#endif
#ifdef EMCELL_HAVE_LZF
        [CELLS_CODEC_LZF] = decode_lzf,
#endif
    };
    piece p = {.to = to,
               .capacity = capacity,
               .from = from,
               .n_from = n_from,
               .where = where,
               .name = cells_codec_name(codec)};

    *n_to = 0;
    if ((unsigned)codec >= CELLS_N_CODECS)
        return emc_fail(EMC_ERR_ARG, "%s: codec %d", where, (int)codec);
    if (!decoders[codec])
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: packed with %s, which this build of emcell cannot read (the library "
                        "was not there when it was built); write the file with gzip instead",
                        where, p.name);
    if (n_from == 0 && codec != CELLS_CODEC_NONE)
        return damaged(&p);
    EMC_TRY(decoders[codec](&p));
    *n_to = p.n_to;
    return EMC_OK;
}

static bool claim_of_zstd(uint64_t *size, const unsigned char *from, size_t n_from)
{
#ifdef EMCELL_HAVE_ZSTD
    const unsigned long long found = ZSTD_getFrameContentSize(from, n_from);
    *size = found;
    return found != ZSTD_CONTENTSIZE_UNKNOWN && found != ZSTD_CONTENTSIZE_ERROR;
#else
    (void)size, (void)from, (void)n_from;
    return false;
#endif
}

bool cells_codec_claim(size_t *n_bytes, cells_codec codec, const void *from, size_t n_from)
{
    const unsigned char *bytes = from;
    uint64_t size = 0;
    bool told = false;

    if (codec == CELLS_CODEC_NONE) {
        size = n_from;
        told = true;
    } else if (codec == CELLS_CODEC_LZ4 && n_from >= 4) {
        size = little_endian_32(bytes);
        told = true;
    } else if (codec == CELLS_CODEC_LZ4_HDF5 && n_from >= 12) {
        size = (uint64_t)big_endian_32(bytes) << 32 | big_endian_32(bytes + 4);
        told = true;
    } else if (codec == CELLS_CODEC_BLOSC && n_from >= 16) {
        size = little_endian_32(bytes + 4); /* nbytes of the frame's header */
        told = true;
    } else if (codec == CELLS_CODEC_ZSTD) {
        told = claim_of_zstd(&size, bytes, n_from);
    }
    if (told && size <= SIZE_MAX)
        *n_bytes = (size_t)size;
    return told && size <= SIZE_MAX;
}
