/* Where do the pieces of a zarr store lie, and is it safe to read them? */
#include "cells/zarr_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/size.h"
#include "base/str_map.h"

#ifdef EMCELL_HAVE_ZIP
#include <zip.h>
#endif

#define LONGEST_KEY 1024

struct zarr_store {
    char *path;
    int folder; /* -1: a zip file */
    bool follows_links;
#ifdef EMCELL_HAVE_ZIP
    zip_t *zip;
    emc_str_map *entries; /* the last entry of each name: a writer appends what it changes */
    int32_t n_entries;
#endif
    char *prefix; /* of every name in the zip file: "" or "name/" */
};

const char *zarr_store_path(const zarr_store *store)
{
    return store->path;
}

static emc_status fail_at(const zarr_store *store, const char *key, const char *what)
{
    return emc_fail(EMC_ERR_FORMAT, "%s: %s: %s", store->path, key, what);
}

/* A key is names with one slash between them; none of them leads elsewhere. */
static bool is_safe_key(const char *key)
{
    char name[LONGEST_KEY];

    if (strlen(key) >= sizeof name)
        return false;
    for (;;) {
        const size_t n = strcspn(key, "/");
        memcpy(name, key, n);
        name[n] = '\0';
        if (!emc_is_plain_name(name))
            return false;
        if (!key[n])
            return true;
        key += n + 1;
    }
}

/* Opens folder by folder, so that no part of the way can be a link. -1 with errno. */
static int open_in_folder(const zarr_store *store, const char *key, int last_flags)
{
    const int links = store->follows_links ? 0 : O_NOFOLLOW;
    char name[LONGEST_KEY];
    int at = store->folder;

    for (;;) {
        const size_t n = strcspn(key, "/");
        memcpy(name, key, n);
        name[n] = '\0';
        const int flags = key[n] ? O_RDONLY | O_DIRECTORY : O_RDONLY | O_NONBLOCK | last_flags;
        const int next = openat(at, name, flags | O_CLOEXEC | links);
        const int error = errno;
        if (at != store->folder)
            close(at);
        errno = error;
        if (next < 0 || !key[n])
            return next;
        at = next;
        key += n + 1;
    }
}

static emc_status read_descriptor(emc_text *to, int fd, size_t n_bytes, const zarr_store *store,
                                  const char *key)
{
    EMC_TRY(emc_reserve(&to->bytes, &to->capacity, n_bytes + 1, 1, "a piece of a zarr store"));
    while (to->n < n_bytes) {
        const ssize_t got = read(fd, to->bytes + to->n, n_bytes - to->n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return emc_fail(EMC_ERR_IO, "%s: %s: %s", store->path, key,
                            got < 0 ? strerror(errno) : "it became shorter while it was read");
        to->n += (size_t)got;
    }
    to->bytes[to->n] = '\0';
    return EMC_OK;
}

static emc_status read_from_folder(emc_text *to, bool *found, const zarr_store *store,
                                   const char *key, size_t limit)
{
    struct stat st;
    emc_status status;
    const int fd = open_in_folder(store, key, 0);

    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return EMC_OK;
    if (fd < 0 && errno == ELOOP)
        return fail_at(store, key,
                       "a symbolic link, which is not followed; --allow-external "
                       "follows it");
    if (fd < 0)
        return emc_fail(EMC_ERR_IO, "%s: %s: %s", store->path, key, strerror(errno));
    if (fstat(fd, &st) != 0)
        status = emc_fail(EMC_ERR_IO, "%s: %s: %s", store->path, key, strerror(errno));
    else if (!S_ISREG(st.st_mode))
        status = fail_at(store, key, "no regular file");
    else if (st.st_size < 0 || (uint64_t)st.st_size > limit)
        status = emc_fail(EMC_ERR_FORMAT, "%s: %s: %lld bytes, wanted at most %zu", store->path,
                          key, (long long)st.st_size, limit);
    else
        status = read_descriptor(to, fd, (size_t)st.st_size, store, key);
    close(fd);
    *found = true;
    return status;
}

static bool is_in_folder(const zarr_store *store, const char *key)
{
    struct stat st;
    const int fd = open_in_folder(store, key, O_PATH);
    const bool is = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

    if (fd >= 0)
        close(fd);
    return is;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Names gathered in any order, with repeats, become a sorted list without. Takes the names over. */
static emc_status add_sorted(cells_strings *names, char **list, size_t n, const char *where)
{
    emc_status status = EMC_OK;

    if (n)
        qsort(list, n, sizeof *list, compare_names);
    for (size_t i = 0; status == EMC_OK && i < n; i++)
        if (i == 0 || strcmp(list[i], list[i - 1]) != 0)
            status = cells_strings_add(names, list[i], strlen(list[i]), where);
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
    return status;
}

static emc_status list_folder(char ***list, size_t *n, const zarr_store *store, const char *key)
{
    const int links = store->follows_links ? 0 : O_NOFOLLOW;
    const int fd = *key ? open_in_folder(store, key, O_DIRECTORY)
                        : openat(store->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | links);
    const struct dirent *entry;
    emc_status status = EMC_OK;
    size_t capacity = 0;
    DIR *folder = fd < 0 ? NULL : fdopendir(fd);

    if (!folder) {
        if (fd >= 0)
            close(fd);
        return EMC_OK; /* as a zip file, which has no folders of their own */
    }
    while (status == EMC_OK && (entry = readdir(folder)) != NULL) {
        const size_t length = strlen(entry->d_name);
        if (!emc_is_plain_name(entry->d_name) || emc_utf8_valid(entry->d_name, length) != length)
            continue;
        status = emc_reserve(list, &capacity, *n + 1, sizeof **list, "a folder");
        if (status == EMC_OK)
            status = emc_copy_string(&(*list)[*n], entry->d_name);
        *n += status == EMC_OK;
    }
    closedir(folder);
    return status;
}

#ifdef EMCELL_HAVE_ZIP
static emc_status zip_failed(const zarr_store *store, const char *key, zip_error_t *error)
{
    return emc_fail(EMC_ERR_FORMAT, "%s: %s%s%s; the zip file is damaged", store->path, key,
                    *key ? ": " : "", zip_error_strerror(error));
}

static int32_t find_entry(const zarr_store *store, const char *key)
{
    char name[2 * LONGEST_KEY];
    const int n = snprintf(name, sizeof name, "%s%s", store->prefix, key);

    return n < (int)sizeof name ? emc_str_map_get(store->entries, name, (size_t)n, -1) : -1;
}

static emc_status read_from_zip(emc_text *to, bool *found, const zarr_store *store, const char *key,
                                size_t limit)
{
    const int32_t entry = find_entry(store, key);
    zip_stat_t st;

    if (entry < 0)
        return EMC_OK;
    *found = true;
    if (zip_stat_index(store->zip, (zip_uint64_t)entry, 0, &st) != 0 || !(st.valid & ZIP_STAT_SIZE))
        return zip_failed(store, key, zip_get_error(store->zip));
    if (st.size > limit)
        return emc_fail(EMC_ERR_FORMAT, "%s: %s: %llu bytes, wanted at most %zu", store->path, key,
                        (unsigned long long)st.size, limit);
    zip_file_t *file = zip_fopen_index(store->zip, (zip_uint64_t)entry, 0);
    if (!file)
        return zip_failed(store, key, zip_get_error(store->zip));
    emc_status status =
        emc_reserve(&to->bytes, &to->capacity, (size_t)st.size + 1, 1, "a piece of a zarr store");
    /* One byte more than it should be: what unpacks to more is damaged. */
    zip_int64_t got = 1;
    while (status == EMC_OK && got > 0 && to->n <= st.size) {
        got = zip_fread(file, to->bytes + to->n, st.size + 1 - to->n);
        to->n += got > 0 ? (size_t)got : 0;
    }
    if (status == EMC_OK && got < 0)
        status = zip_failed(store, key, zip_file_get_error(file));
    else if (status == EMC_OK && to->n != st.size)
        status = fail_at(store, key, "unpacks to another size than the zip file says");
    if (status == EMC_OK)
        to->bytes[to->n] = '\0';
    else
        to->n = 0;
    zip_fclose(file);
    return status;
}

static emc_status list_zip(char ***list, size_t *n, const zarr_store *store, const char *key)
{
    char prefix[2 * LONGEST_KEY];
    const int n_prefix =
        snprintf(prefix, sizeof prefix, "%s%s%s", store->prefix, key, *key ? "/" : "");
    size_t capacity = 0;

    if (n_prefix >= (int)sizeof prefix)
        return EMC_OK;
    for (int32_t i = 0; i < store->n_entries; i++) {
        const char *name = zip_get_name(store->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        if (!name || strncmp(name, prefix, (size_t)n_prefix) != 0)
            continue;
        name += n_prefix;
        const size_t length = strcspn(name, "/");
        if (length == 0 || emc_utf8_valid(name, length) != length)
            continue;
        /* Entries of a folder stand together more often than not. */
        if (*n && strlen((*list)[*n - 1]) == length && !memcmp((*list)[*n - 1], name, length))
            continue;
        EMC_TRY(emc_reserve(list, &capacity, *n + 1, sizeof **list, "a zip file"));
        EMC_TRY(emc_copy_bytes(&(*list)[*n], name, length));
        ++*n;
    }
    return EMC_OK;
}

static bool is_marker(const char *name)
{
    return strcmp(name, ".zgroup") == 0 || strcmp(name, "zarr.json") == 0;
}

/* Every name is looked at once: none may lead out, and the shortest way to a marker is the root. */
static emc_status index_zip(zarr_store *store)
{
    const zip_int64_t n = zip_get_num_entries(store->zip, 0);
    const char *root = NULL;
    size_t n_root = SIZE_MAX;

    if (n < 0 || n > INT32_MAX / 2)
        return fail_at(store, "the zip file", "too many entries");
    store->n_entries = (int32_t)n;
    EMC_TRY(emc_str_map_open(&store->entries, (size_t)n));
    for (int32_t i = store->n_entries - 1; i >= 0; i--) {
        const char *name = zip_get_name(store->zip, (zip_uint64_t)i, ZIP_FL_ENC_RAW);
        const size_t length = name ? strlen(name) : 0;
        if (length == 0 || name[length - 1] == '/')
            continue;
        if (!is_safe_key(name))
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: an entry is called \"%.80s\", which is no name inside a zarr "
                            "store; the zip file is damaged or was made to do harm",
                            store->path, name);
        EMC_TRY(emc_str_map_put(store->entries, name, length, i, NULL));
        const char *slash = strrchr(name, '/');
        const size_t n_folder = slash ? (size_t)(slash - name) + 1 : 0;
        if (is_marker(slash ? slash + 1 : name) && n_folder < n_root) {
            root = name;
            n_root = n_folder;
        }
    }
    return emc_copy_bytes(&store->prefix, root ? root : "", root ? n_root : 0);
}

static emc_status open_zip(zarr_store *store)
{
    zip_error_t error;
    int code = 0;

    store->zip = zip_open(store->path, ZIP_RDONLY, &code);
    if (store->zip)
        return index_zip(store);
    zip_error_init_with_code(&error, code);
    const emc_status status = zip_failed(store, "", &error);
    zip_error_fini(&error);
    return status;
}
#endif

emc_status zarr_store_open(zarr_store **out, const char *path, bool allow_external)
{
    emc_status status;
    zarr_store *store = NULL;

    *out = NULL;
    status = emc_alloc(&store, 1, sizeof *store, "a zarr store");
    if (status != EMC_OK)
        return status;
    store->folder = -1;
    store->follows_links = allow_external;
    status = emc_copy_string(&store->path, path);
    if (status == EMC_OK && emc_is_directory(path)) {
        store->folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (store->folder < 0)
            status = emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));
    } else if (status == EMC_OK) {
#ifdef EMCELL_HAVE_ZIP
        status = open_zip(store);
#else
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: this build of emcell cannot read zip files (libzip was not there "
                          "when it was built); unpack it and give the folder",
                          path);
#endif
    }
    if (status == EMC_OK)
        *out = store;
    else
        zarr_store_close(store);
    return status;
}

void zarr_store_close(zarr_store *store)
{
    if (!store)
        return;
    if (store->folder >= 0)
        close(store->folder);
#ifdef EMCELL_HAVE_ZIP
    if (store->zip)
        zip_discard(store->zip);
    emc_str_map_close(store->entries);
#endif
    free(store->prefix);
    free(store->path);
    free(store);
}

emc_status zarr_store_read(emc_text *to, bool *found, zarr_store *store, const char *key,
                           size_t limit)
{
    *found = false;
    emc_text_clear(to);
    if (!is_safe_key(key))
        return fail_at(store, key, "no name inside a zarr store");
    if (store->folder >= 0)
        return read_from_folder(to, found, store, key, limit);
#ifdef EMCELL_HAVE_ZIP
    return read_from_zip(to, found, store, key, limit);
#else
    return EMC_OK;
#endif
}

bool zarr_store_has(zarr_store *store, const char *key)
{
    if (!is_safe_key(key))
        return false;
#ifdef EMCELL_HAVE_ZIP
    if (store->folder < 0)
        return find_entry(store, key) >= 0;
#endif
    return store->folder >= 0 && is_in_folder(store, key);
}

emc_status zarr_store_list(cells_strings *names, zarr_store *store, const char *key)
{
    emc_status status = EMC_OK;
    char **list = NULL;
    size_t n = 0;

    if (*key && !is_safe_key(key))
        return fail_at(store, key, "no name inside a zarr store");
    if (store->folder >= 0)
        status = list_folder(&list, &n, store, key);
#ifdef EMCELL_HAVE_ZIP
    else
        status = list_zip(&list, &n, store, key);
#endif
    if (status == EMC_OK)
        return add_sorted(names, list, n, store->path);
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
    return status;
}
