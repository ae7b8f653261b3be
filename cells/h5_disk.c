#include "cells/h5_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Places in a file are off_t to the system. */
#define MOST_BYTES ((haddr_t)INT64_MAX)

/* The library knows its first member. */
typedef struct {
    H5FD_t library;
    cells_h5_disk *disk;
    int fd;
    haddr_t end_of_use, end_of_file;
    dev_t device;
    ino_t inode;
} disk_file;

static void note(cells_h5_disk *disk, int error)
{
    if (disk->error == 0)
        disk->error = error ? error : EIO;
}

static H5FD_t *disk_open(const char *name, unsigned flags, hid_t access, haddr_t most)
{
    cells_h5_disk *const *info = H5Pget_driver_info(access);
    const int create = flags & H5F_ACC_CREAT ? O_CREAT : 0,
              truncate = flags & H5F_ACC_TRUNC ? O_TRUNC : 0,
              way = flags & H5F_ACC_RDWR ? O_RDWR : O_RDONLY;
    disk_file *file = calloc(1, sizeof *file);
    struct stat st;

    (void)most;
    if (!file || !info) {
        free(file);
        return NULL;
    }
    file->disk = *info;
    file->fd = open(name, way | create | truncate | O_CLOEXEC, 0666);
    if (file->fd < 0 || fstat(file->fd, &st) != 0 ||
        (file->disk->lock && flock(file->fd, LOCK_EX | LOCK_NB) != 0)) {
        note(file->disk, errno);
        if (file->fd >= 0)
            close(file->fd);
        free(file);
        return NULL;
    }
    file->end_of_file = (haddr_t)st.st_size;
    file->device = st.st_dev;
    file->inode = st.st_ino;
    return &file->library;
}

static herr_t disk_close(H5FD_t *library)
{
    disk_file *file = (disk_file *)library;

    if (close(file->fd) != 0)
        note(file->disk, errno);
    free(file);
    return 0;
}

/* The order of two open files; 0 for one opened twice. */
static int disk_compare(const H5FD_t *a, const H5FD_t *b)
{
    const disk_file *x = (const disk_file *)a, *y = (const disk_file *)b;

    if (x->device != y->device)
        return x->device < y->device ? -1 : 1;
    return x->inode < y->inode ? -1 : x->inode > y->inode;
}

static herr_t disk_query(const H5FD_t *library, unsigned long *flags)
{
    (void)library;
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
    return 0;
}

static haddr_t disk_get_use(const H5FD_t *library, H5FD_mem_t type)
{
    (void)type;
    return ((const disk_file *)library)->end_of_use;
}

static herr_t disk_set_use(H5FD_t *library, H5FD_mem_t type, haddr_t at)
{
    (void)type;
    ((disk_file *)library)->end_of_use = at;
    return 0;
}

static haddr_t disk_get_end(const H5FD_t *library, H5FD_mem_t type)
{
    (void)type;
    return ((const disk_file *)library)->end_of_file;
}

/* What lies beyond the end reads as zeros, as the library wants it. */
static herr_t disk_read(H5FD_t *library, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t n,
                        void *to)
{
    disk_file *file = (disk_file *)library;
    char *bytes = to;

    (void)type;
    (void)transfer;
    if (at > MOST_BYTES || n > MOST_BYTES - at)
        return -1;
    while (n > 0) {
        const ssize_t got = pread(file->fd, bytes, n, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0) {
            memset(bytes, 0, n);
            return 0;
        }
        bytes += got;
        at += (haddr_t)got;
        n -= (size_t)got;
    }
    return 0;
}

static herr_t disk_write(H5FD_t *library, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t n,
                         const void *from)
{
    disk_file *file = (disk_file *)library;
    const char *bytes = from;

    (void)type;
    (void)transfer;
    if (at > MOST_BYTES || n > MOST_BYTES - at)
        return -1;
    const haddr_t end = at + n;
    while (n > 0 && file->disk->error == 0) {
        const ssize_t put = pwrite(file->fd, bytes, n, (off_t)at);
        if (put < 0 && errno != EINTR)
            note(file->disk, errno);
        if (put > 0) {
            bytes += put;
            at += (haddr_t)put;
            n -= (size_t)put;
        }
    }
    if (end > file->end_of_file)
        file->end_of_file = end;
    return 0;
}

static herr_t disk_truncate(H5FD_t *library, hid_t transfer, hbool_t closing)
{
    disk_file *file = (disk_file *)library;

    (void)transfer;
    (void)closing;
    if (file->end_of_use != file->end_of_file && file->disk->error == 0 &&
        ftruncate(file->fd, (off_t)file->end_of_use) != 0)
        note(file->disk, errno);
    file->end_of_file = file->end_of_use;
    return 0;
}

static const H5FD_class_t disk_class = {
#ifdef H5FD_CLASS_VERSION
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)510, /* of those that are nobody's */
#endif
    .name = "emcell",
    .maxaddr = MOST_BYTES,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(cells_h5_disk *),
    .open = disk_open,
    .close = disk_close,
    .cmp = disk_compare,
    .query = disk_query,
    .get_eoa = disk_get_use,
    .set_eoa = disk_set_use,
    .get_eof = disk_get_end,
    .read = disk_read,
    .write = disk_write,
    .truncate = disk_truncate,
    .fl_map = H5FD_FLMAP_DICHOTOMY,
};

hid_t cells_h5_disk_access(cells_h5_disk *disk)
{
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);

    disk->driver = H5FDregister(&disk_class);
    if (access >= 0 && disk->driver >= 0 && H5Pset_driver(access, disk->driver, &disk) >= 0 &&
        H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0)
        return access;
    if (access >= 0)
        H5Pclose(access);
    return -1;
}

void cells_h5_disk_close(cells_h5_disk *disk)
{
    if (disk->driver > 0)
        H5FDunregister(disk->driver);
    disk->driver = -1;
}

emc_status cells_h5_disk_check(const cells_h5_disk *disk, const char *path)
{
    if (disk->error == 0)
        return EMC_OK;
    return emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(disk->error));
}
