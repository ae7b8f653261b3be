/* How does a file of any size become two, and on which file systems is writing in place unsafe? */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/size.h"
#include "cells/h5ad_parts.h"

/* The number of the clone request; <linux/fs.h>, which names it FICLONE, is not everywhere. */
#define CLONE_REQUEST _IOW(0x94, 9, int)

/* Between two looks at the cancel flag. */
#define PIECE  ((size_t)64 << 20)
#define BUFFER ((size_t)1 << 20)

const char *cells_network_name(long type)
{
    /* The magic numbers that statfs(2) lists; cluster file systems are here as well: they keep
     * caches of their own, and a client that dies leaves what it had not sent. */
    static const struct {
        unsigned long type;
        const char *name;
    } types[] = {
        {0x6969, "NFS"},        {0x517b, "SMB"},          {0xff534d42, "CIFS"},
        {0xfe534d42, "SMB2"},   {0x0bd00bd0, "Lustre"},   {0x65735546, "FUSE"},
        {0x00c36400, "Ceph"},   {0x5346414f, "AFS"},      {0x6b414653, "AFS"},
        {0x73757245, "Coda"},   {0x01021997, "9P"},       {0x47504653, "GPFS"},
        {0x19830326, "BeeGFS"}, {0x20030528, "OrangeFS"}, {0x7461636f, "OCFS2"},
        {0x01161970, "GFS2"},   {0xaad7aaea, "PanFS"},
    };

    for (size_t i = 0; i < EMC_COUNT(types); i++) {
        if (types[i].type == ((unsigned long)type & 0xffffffffu))
            return types[i].name;
    }
    return NULL;
}

const char *cells_network_of(const char *path)
{
    struct statfs system;

    return statfs(path, &system) == 0 ? cells_network_name((long)system.f_type) : NULL;
}

static emc_status copy_failed(const char *path)
{
    return emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));
}

static emc_status cancelled(const char *path, const volatile sig_atomic_t *cancel)
{
    if (cancel && *cancel)
        return emc_fail(EMC_ERR_CANCELLED, "stopped while %s was copied", path);
    return EMC_OK;
}

static emc_status copy_plain(int in, int out, const char *from, const char *to,
                             const volatile sig_atomic_t *cancel)
{
    char *buffer;
    emc_status status;

    EMC_TRY(emc_alloc(&buffer, BUFFER, 1, "a buffer"));
    for (;;) {
        status = cancelled(from, cancel);
        if (status != EMC_OK)
            break;
        const ssize_t got = read(in, buffer, BUFFER);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = copy_failed(from);
        for (ssize_t done = 0; status == EMC_OK && done < got;) {
            const ssize_t put = write(out, buffer + done, (size_t)(got - done));
            if (put < 0 && errno != EINTR)
                status = copy_failed(to);
            done += put > 0 ? put : 0;
        }
        if (status != EMC_OK || got == 0)
            break;
    }
    free(buffer);
    return status;
}

/* Inside the kernel, which shares or sends extents where the file system can. *done is false when
 * it cannot between these two, with nothing copied. */
static emc_status copy_in_kernel(bool *done, int in, int out, off_t n, const char *from,
                                 const char *to, const volatile sig_atomic_t *cancel)
{
    off_t copied = 0;

    *done = true;
    while (copied < n) {
        EMC_TRY(cancelled(from, cancel));
        const ssize_t got = copy_file_range(in, NULL, out, NULL, PIECE, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0 && copied == 0) {
            *done = false;
            return EMC_OK;
        }
        if (got < 0)
            return copy_failed(to);
        if (got == 0)
            return emc_fail(EMC_ERR_IO, "%s: became shorter while it was copied", from);
        copied += got;
    }
    return EMC_OK;
}

emc_status cells_copy_file(const char *from, const char *to, const volatile sig_atomic_t *cancel)
{
    const int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CLOEXEC);
    emc_status status = EMC_OK;
    bool done = false;
    struct stat st;

    if (in < 0 || fstat(in, &st) != 0)
        status = copy_failed(from);
    else if (out < 0)
        status = copy_failed(to);
    else if (ioctl(out, CLONE_REQUEST, in) == 0)
        done = true;
    if (status == EMC_OK && !done)
        status = copy_in_kernel(&done, in, out, st.st_size, from, to, cancel);
    if (status == EMC_OK && !done)
        status = copy_plain(in, out, from, to, cancel);
    if (in >= 0)
        close(in);
    if (out >= 0)
        close(out);
    return status;
}
