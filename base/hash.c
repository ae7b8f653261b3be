#include "base/hash.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/file.h"
#include "base/size.h"

struct emc_hasher {
    XXH3_state_t *state;
};

static emc_hash canonical(XXH128_hash_t value)
{
    XXH128_canonical_t bytes;
    emc_hash hash;

    XXH128_canonicalFromHash(&bytes, value);
    memcpy(hash.bytes, bytes.digest, sizeof hash.bytes);
    return hash;
}

emc_hash emc_hash_of(const void *bytes, size_t n_bytes)
{
    return canonical(XXH3_128bits(bytes, n_bytes));
}

bool emc_hash_equal(const emc_hash *a, const emc_hash *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

void emc_hash_text(char out[EMC_HASH_TEXT], const emc_hash *hash)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < sizeof hash->bytes; i++) {
        out[2 * i] = digits[hash->bytes[i] >> 4];
        out[2 * i + 1] = digits[hash->bytes[i] & 15];
    }
    out[EMC_HASH_TEXT - 1] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool emc_hash_parse(emc_hash *out, const char *text)
{
    emc_hash hash;

    if (strlen(text) != EMC_HASH_TEXT - 1)
        return false;
    for (size_t i = 0; i < sizeof hash.bytes; i++) {
        const int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        hash.bytes[i] = (unsigned char)(high << 4 | low);
    }
    *out = hash;
    return true;
}

emc_status emc_hasher_open(emc_hasher **out)
{
    emc_hasher *hasher = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&hasher, 1, sizeof *hasher, "a checksum"));
    hasher->state = XXH3_createState();
    if (!hasher->state) {
        free(hasher);
        return emc_fail(EMC_ERR_NOMEM, "no memory for a checksum");
    }
    XXH3_128bits_reset(hasher->state);
    *out = hasher;
    return EMC_OK;
}

void emc_hasher_add(emc_hasher *hasher, const void *bytes, size_t n_bytes)
{
    if (n_bytes)
        XXH3_128bits_update(hasher->state, bytes, n_bytes);
}

emc_hash emc_hasher_end(const emc_hasher *hasher)
{
    return canonical(XXH3_128bits_digest(hasher->state));
}

void emc_hasher_close(emc_hasher *hasher)
{
    if (!hasher)
        return;
    XXH3_freeState(hasher->state);
    free(hasher);
}

/* ---- fingerprints ---- */

/* Read whole up to WHOLE_BYTES, else N_PIECES of PIECE_BYTES: 16 MiB in all. */
#define WHOLE_BYTES ((uint64_t)64 << 20)
#define PIECE_BYTES ((size_t)64 << 10)
#define N_PIECES    256
/* Below the first level a longer file counts by its size alone: a zarr store has a file a chunk,
 * and its shapes and types stand in small ones. */
#define DEEP_BYTES 4096
#define MOST_DEEP  16

static emc_status fail_errno(const char *path)
{
    const emc_status status = errno == ENOENT || errno == ENOTDIR ? EMC_ERR_NOT_FOUND : EMC_ERR_IO;

    return emc_fail(status, "%s: %s", path, strerror(errno));
}

static void add_number(emc_hasher *hasher, uint64_t value)
{
    unsigned char bytes[8];

    for (int i = 0; i < 8; i++)
        bytes[i] = (unsigned char)(value >> (8 * i));
    emc_hasher_add(hasher, bytes, sizeof bytes);
}

static emc_status add_piece(emc_hasher *hasher, int fd, uint64_t offset, uint64_t n_bytes,
                            char *buffer, const char *path)
{
    while (n_bytes > 0) {
        const size_t want = n_bytes < PIECE_BYTES ? (size_t)n_bytes : PIECE_BYTES;
        const ssize_t got = pread(fd, buffer, want, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_errno(path);
        if (got == 0)
            return emc_fail(EMC_ERR_IO, "%s: became shorter while it was read", path);
        emc_hasher_add(hasher, buffer, (size_t)got);
        offset += (uint64_t)got;
        n_bytes -= (uint64_t)got;
    }
    return EMC_OK;
}

static emc_status add_file(emc_hasher *hasher, const char *path, int depth)
{
    emc_status status = EMC_OK;
    char *buffer = NULL;
    struct stat st;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd < 0 || fstat(fd, &st) != 0) {
        status = fail_errno(path);
        goto done;
    }
    if (!S_ISREG(st.st_mode)) {
        status = emc_fail(EMC_ERR_IO, "%s: neither a file nor a folder", path);
        goto done;
    }
    status = emc_alloc(&buffer, PIECE_BYTES, 1, "a piece of a file");
    if (status != EMC_OK)
        goto done;
    const uint64_t size = (uint64_t)st.st_size;
    add_number(hasher, size);
    if (depth > 1 && size > DEEP_BYTES)
        goto done;
    if (size <= WHOLE_BYTES) {
        status = add_piece(hasher, fd, 0, size, buffer, path);
        goto done;
    }
    const uint64_t span = size - PIECE_BYTES, gaps = N_PIECES - 1;
    for (uint64_t i = 0; i < N_PIECES && status == EMC_OK; i++) {
        /* span * i / gaps, without the overflow */
        const uint64_t offset = span / gaps * i + span % gaps * i / gaps;
        status = add_piece(hasher, fd, offset, PIECE_BYTES, buffer, path);
    }

done:
    free(buffer);
    if (fd >= 0)
        close(fd);
    return status;
}

typedef struct {
    char **names;
    size_t n, capacity;
} name_list;

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static emc_status list_folder(name_list *list, const char *path)
{
    emc_status status = EMC_OK;
    DIR *dir = opendir(path);

    if (!dir)
        return fail_errno(path);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) {
            if (errno != 0)
                status = fail_errno(path);
            break;
        }
        if (!emc_is_plain_name(entry->d_name))
            continue;
        status = emc_reserve(&list->names, &list->capacity, list->n + 1, sizeof *list->names,
                             "names of files");
        if (status == EMC_OK)
            status = emc_copy_string(&list->names[list->n], entry->d_name);
        if (status != EMC_OK)
            break;
        list->n++;
    }
    closedir(dir);
    if (status == EMC_OK && list->n > 0)
        qsort(list->names, list->n, sizeof *list->names, by_bytes);
    return status;
}

static emc_status add_folder(emc_hasher *hasher, const char *path, int depth);

/* Links to files count as the files (a hub's snapshot is made of them); links to folders, links to
 * nowhere and folders whose name begins with a dot (.git, .cache) are no content. */
static emc_status add_entry(emc_hasher *hasher, const char *dir, const char *name, int depth)
{
    emc_status status = EMC_OK;
    char *path = NULL;
    struct stat st, link;

    EMC_TRY(emc_path_join(&path, dir, name));
    if (lstat(path, &link) != 0 || stat(path, &st) != 0) {
        if (errno != ENOENT && errno != ELOOP)
            status = fail_errno(path);
    } else if (S_ISREG(st.st_mode)) {
        emc_hasher_add(hasher, name, strlen(name) + 1);
        status = add_file(hasher, path, depth);
    } else if (S_ISDIR(link.st_mode) && name[0] != '.' && depth < MOST_DEEP) {
        emc_hasher_add(hasher, name, strlen(name) + 1);
        status = add_folder(hasher, path, depth + 1);
    }
    free(path);
    return status;
}

static emc_status add_some(emc_hasher *hasher, const char *path, int depth,
                           emc_entry_counts *counts, void *context)
{
    name_list list = {0};
    emc_status status = list_folder(&list, path);

    for (size_t i = 0; i < list.n && status == EMC_OK; i++)
        if (!counts || counts(context, list.names[i]))
            status = add_entry(hasher, path, list.names[i], depth);
    /* No name is empty, so an empty one ends the folder. */
    emc_hasher_add(hasher, "", 1);
    for (size_t i = 0; i < list.n; i++)
        free(list.names[i]);
    free(list.names);
    return status;
}

static emc_status add_folder(emc_hasher *hasher, const char *path, int depth)
{
    return add_some(hasher, path, depth, NULL, NULL);
}

static emc_status fingerprint(emc_hash *out, const char *path, emc_entry_counts *counts,
                              void *context)
{
    emc_hasher *hasher = NULL;
    emc_status status;
    struct stat st;

    if (stat(path, &st) != 0)
        return fail_errno(path);
    EMC_TRY(emc_hasher_open(&hasher));
    status = S_ISDIR(st.st_mode) ? add_some(hasher, path, 1, counts, context)
                                 : add_file(hasher, path, 1);
    if (status == EMC_OK)
        *out = emc_hasher_end(hasher);
    emc_hasher_close(hasher);
    return status;
}

emc_status emc_fingerprint(emc_hash *out, const char *path)
{
    return fingerprint(out, path, NULL, NULL);
}

emc_status emc_fingerprint_some(emc_hash *out, const char *path, emc_entry_counts *counts,
                                void *context)
{
    return fingerprint(out, path, counts, context);
}
