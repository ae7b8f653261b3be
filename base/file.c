#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/size.h"

static emc_status fail_errno(const char *path, int error)
{
    const emc_status status = error == ENOENT || error == ENOTDIR ? EMC_ERR_NOT_FOUND : EMC_ERR_IO;

    return emc_fail(status, "%s: %s", path, strerror(error));
}

/* Opens a regular file (or what reads like one) and gives its size. */
static emc_status open_to_read(int *fd, struct stat *st, const char *path)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return fail_errno(path, errno);
    if (fstat(*fd, st) != 0)
        return fail_errno(path, errno);
    if (S_ISDIR(st->st_mode))
        return emc_fail(EMC_ERR_IO, "%s: a folder, wanted a file", path);
    return EMC_OK;
}

emc_status emc_map_open(emc_map **out, const char *path)
{
    emc_status status;
    emc_map *map = NULL;
    struct stat st;
    int fd;

    *out = NULL;
    status = open_to_read(&fd, &st, path);
    if (status != EMC_OK)
        goto done;
    status = emc_alloc(&map, 1, sizeof *map, "a mapped file");
    if (status != EMC_OK)
        goto done;
    status = emc_copy_string(&map->path, path);
    if (status != EMC_OK)
        goto done;
    if (st.st_size > 0) {
        void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = emc_fail(EMC_ERR_IO, "%s: mmap of %lld bytes: %s", path, (long long)st.st_size,
                              strerror(errno));
            goto done;
        }
        map->data = data;
        map->n_bytes = (size_t)st.st_size;
    }
    *out = map;
    map = NULL; /* ownership has moved to the caller */

done:
    emc_map_close(map);
    if (fd >= 0)
        close(fd); /* the mapping outlives the descriptor */
    return status;
}

void emc_map_close(emc_map *map)
{
    if (!map)
        return;
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->n_bytes);
    free(map->path);
    free(map);
}

emc_status emc_file_read(char **out, size_t *n_bytes, const char *path, size_t limit)
{
    emc_status status;
    struct stat st;
    char *text = NULL;
    size_t n = 0, capacity = 0;
    int fd;

    *out = NULL;
    status = open_to_read(&fd, &st, path);
    if (status != EMC_OK)
        goto done;
    /* The size is a hint: a pipe has none, and a file may grow while it is read. */
    for (size_t want = st.st_size > 0 ? (size_t)st.st_size : 4096;; want = n + 65536) {
        ssize_t got;
        if (n > limit || want > limit + 65536) {
            status =
                emc_fail(EMC_ERR_FORMAT, "%s: longer than the %zu bytes allowed here", path, limit);
            goto done;
        }
        status = emc_reserve(&text, &capacity, want + 1, 1, path);
        if (status != EMC_OK)
            goto done;
        while (n < want && (got = read(fd, text + n, want - n)) != 0) {
            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0) {
                status = fail_errno(path, errno);
                goto done;
            }
            n += (size_t)got;
        }
        if (n < want)
            break;
        if (st.st_size > 0 && n == (size_t)st.st_size) {
            char extra;
            if (read(fd, &extra, 1) == 0)
                break;
            if (lseek(fd, -1, SEEK_CUR) < 0) {
                status = fail_errno(path, errno);
                goto done;
            }
        }
    }
    if (n > limit) {
        status =
            emc_fail(EMC_ERR_FORMAT, "%s: longer than the %zu bytes allowed here", path, limit);
        goto done;
    }
    text[n] = '\0';
    if (n_bytes)
        *n_bytes = n;
    *out = text;
    text = NULL;

done:
    free(text);
    if (fd >= 0)
        close(fd);
    return status;
}

bool emc_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

bool emc_is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

emc_status emc_path_join(char **out, const char *dir, const char *name)
{
    const size_t n_dir = strlen(dir), n_name = strlen(name);
    const bool slash = n_dir > 0 && dir[n_dir - 1] != '/';
    char *path = NULL;

    *out = NULL;
    EMC_TRY(emc_alloc(&path, n_dir + n_name + 2, 1, "a path"));
    memcpy(path, dir, n_dir);
    if (slash)
        path[n_dir] = '/';
    memcpy(path + n_dir + slash, name, n_name + 1);
    *out = path;
    return EMC_OK;
}

bool emc_is_plain_name(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The folder that a path is in; false where there is no memory. */
static bool parent_folder(char **out, const char *path)
{
    const char *slash = strrchr(path, '/');

    *out = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    return *out != NULL;
}

bool emc_same_file(const char *a, const char *b)
{
    struct stat at_a, at_b;
    bool same = false;
    char *real_a = NULL, *real_b = NULL;
    const bool has_a = stat(a, &at_a) == 0, has_b = stat(b, &at_b) == 0;

    if (has_a != has_b)
        return false;
    if (has_a)
        return S_ISREG(at_a.st_mode) && at_a.st_dev == at_b.st_dev && at_a.st_ino == at_b.st_ino;
    /* Neither is there yet: the same name in the same folder. */
    const char *slash_a = strrchr(a, '/'), *slash_b = strrchr(b, '/');
    if (strcmp(slash_a ? slash_a + 1 : a, slash_b ? slash_b + 1 : b) != 0)
        return false;
    if (parent_folder(&real_a, a) && parent_folder(&real_b, b) && stat(real_a, &at_a) == 0 &&
        stat(real_b, &at_b) == 0)
        same = at_a.st_dev == at_b.st_dev && at_a.st_ino == at_b.st_ino;
    free(real_a);
    free(real_b);
    return same;
}

struct emc_out_file {
    FILE *stream;
    char *path;
    char *temporary; /* "" where nothing is renamed */
    bool committed;
};

/* What is no regular file (a device, a pipe) is written to where it is: a rename would put a file
 * in its place. A link is followed, so that the file it names is the one that is replaced. */
static emc_status open_to_write(int *fd, emc_out_file *file)
{
    char *target = NULL;
    struct stat st;
    const bool exists = stat(file->path, &st) == 0;

    if (strcmp(file->path, "-") == 0) {
        *fd = dup(STDOUT_FILENO);
    } else if (exists && S_ISDIR(st.st_mode)) {
        return emc_fail(EMC_ERR_CREATE, "%s: a folder, wanted a file name", file->path);
    } else if (exists && !S_ISREG(st.st_mode)) {
        *fd = open(file->path, O_WRONLY | O_CLOEXEC);
    } else {
        if (lstat(file->path, &st) == 0 && S_ISLNK(st.st_mode)) {
            target = realpath(file->path, NULL);
            if (!target)
                return emc_fail(EMC_ERR_CREATE, "%s: a link to nowhere", file->path);
            free(file->path);
            file->path = target;
        }
        const size_t n = strlen(file->path) + 32;
        free(file->temporary);
        EMC_TRY(emc_alloc(&file->temporary, n, 1, "a path"));
        snprintf(file->temporary, n, "%s.%ld.partial", file->path, (long)getpid());
        *fd = open(file->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (*fd < 0)
            file->temporary[0] = '\0'; /* nothing of ours to remove */
    }
    if (*fd < 0 && errno == ENOENT)
        return emc_fail(EMC_ERR_CREATE, "%s: no such folder; make it first", file->path);
    if (*fd < 0)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", file->path, strerror(errno));
    return EMC_OK;
}

emc_status emc_out_file_open(emc_out_file **out, const char *path)
{
    emc_status status;
    emc_out_file *file = NULL;
    int fd = -1;

    *out = NULL;
    EMC_TRY(emc_alloc(&file, 1, sizeof *file, "an output file"));
    status = emc_copy_string(&file->path, path);
    if (status == EMC_OK)
        status = emc_copy_string(&file->temporary, "");
    if (status == EMC_OK)
        status = open_to_write(&fd, file);
    if (status != EMC_OK)
        goto done;
    file->stream = fdopen(fd, "w");
    if (!file->stream) {
        status = emc_fail(EMC_ERR_CREATE, "%s: %s", path, strerror(errno));
        goto done;
    }
    fd = -1;
    setvbuf(file->stream, NULL, _IOFBF, 1 << 16);
    *out = file;
    file = NULL;

done:
    if (fd >= 0)
        close(fd);
    emc_out_file_close(file);
    return status;
}

static emc_status write_failed(const emc_out_file *file)
{
    const char *name = strcmp(file->path, "-") == 0 ? "standard output" : file->path;

    return emc_fail(EMC_ERR_IO, "%s: %s", name, strerror(errno));
}

emc_status emc_out_file_write(emc_out_file *file, const void *bytes, size_t n_bytes)
{
    if (n_bytes && fwrite(bytes, 1, n_bytes, file->stream) != n_bytes)
        return write_failed(file);
    return EMC_OK;
}

emc_status emc_out_file_flush(emc_out_file *file)
{
    return fflush(file->stream) == 0 ? EMC_OK : write_failed(file);
}

emc_status emc_out_file_commit(emc_out_file *file)
{
    EMC_TRY(emc_out_file_flush(file));
    if (file->temporary[0] &&
        (fsync(fileno(file->stream)) != 0 || rename(file->temporary, file->path) != 0))
        return write_failed(file);
    file->committed = true;
    return EMC_OK;
}

void emc_out_file_close(emc_out_file *file)
{
    if (!file)
        return;
    if (file->stream)
        fclose(file->stream);
    if (!file->committed && file->temporary && file->temporary[0])
        unlink(file->temporary);
    free(file->temporary);
    free(file->path);
    free(file);
}

const char *emc_out_file_temporary(const emc_out_file *file)
{
    return file->temporary;
}
