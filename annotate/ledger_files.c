/* Names in a run folder, and small files there that others write and remove at the same time. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"

/* More turns than this no run has; it keeps turn + 1 and the length of names in bounds. */
#define MOST_TURNS 999999

const char *const ledger_folder_names[LEDGER_N_FOLDERS] = {"claims", "done", "failed", "parts",
                                                           "workers"};

void ledger_claim_name(char out[LEDGER_NAME], int64_t shard, int turn)
{
    if (shard == LEDGER_MERGE)
        snprintf(out, LEDGER_NAME, "merge.lock.%d", turn);
    else
        snprintf(out, LEDGER_NAME, "%06" PRId64 ".%d", shard, turn);
}

void ledger_failed_name(char out[LEDGER_NAME], int64_t shard, int n_try)
{
    snprintf(out, LEDGER_NAME, "%06" PRId64 ".%d.json", shard, n_try);
}

void ledger_done_name(char out[LEDGER_NAME], int64_t shard)
{
    snprintf(out, LEDGER_NAME, "%06" PRId64 ".shard", shard);
}

void ledger_part_name(char out[LEDGER_NAME], int64_t shard)
{
    snprintf(out, LEDGER_NAME, "%06" PRId64 ".part", shard);
}

/* Digits at *at, which moves past them; false when there are none or more than most. */
static bool parse_digits(int64_t *out, const char **at, int64_t most)
{
    int64_t value = 0;
    const char *p = *at;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (value > most)
            return false;
        value = 10 * value + (*p - '0');
    }
    if (p == *at || value > most)
        return false;
    *out = value;
    *at = p;
    return true;
}

/* A number can be written in many ways; only the name that we would write counts. */
bool ledger_parse_claim(ledger_claim *out, const char *name, int64_t n_shards)
{
    static const char merge[] = "merge.lock.";
    char again[LEDGER_NAME];
    const char *at = name;
    int64_t turn;

    if (n_shards > 0 && parse_digits(&out->shard, &at, n_shards - 1) && *at == '.')
        at++;
    else if (strncmp(name, merge, sizeof merge - 1) == 0) {
        out->shard = LEDGER_MERGE;
        at = name + sizeof merge - 1;
    } else
        return false;
    if (!parse_digits(&turn, &at, MOST_TURNS) || turn < 1)
        return false;
    out->turn = (int)turn;
    ledger_claim_name(again, out->shard, out->turn);
    return strcmp(again, name) == 0;
}

bool ledger_parse_failed(int64_t *shard, int *n_try, const char *name, int64_t n_shards)
{
    char again[LEDGER_NAME];
    const char *at = name;
    int64_t tries;

    if (n_shards < 1 || !parse_digits(shard, &at, n_shards - 1) || *at++ != '.' ||
        !parse_digits(&tries, &at, MOST_TURNS) || tries < 1)
        return false;
    *n_try = (int)tries;
    ledger_failed_name(again, *shard, *n_try);
    return strcmp(again, name) == 0;
}

bool ledger_parse_done(int64_t *shard, const char *name, int64_t n_shards)
{
    char again[LEDGER_NAME];
    const char *at = name;

    if (n_shards < 1 || !parse_digits(shard, &at, n_shards - 1))
        return false;
    ledger_done_name(again, *shard);
    return strcmp(again, name) == 0;
}

bool ledger_parse_part(int64_t *shard, const char *name, int64_t n_shards)
{
    char again[LEDGER_NAME];
    const char *at = name;

    if (n_shards < 1 || !parse_digits(shard, &at, n_shards - 1))
        return false;
    ledger_part_name(again, *shard);
    return strcmp(again, name) == 0;
}

bool ledger_stem(char stem[LEDGER_NAME], const char *name, const char *ending)
{
    const size_t n = strlen(name), n_ending = strlen(ending);

    if (n <= n_ending || n >= LEDGER_NAME || strcmp(name + n - n_ending, ending) != 0)
        return false;
    memcpy(stem, name, n - n_ending);
    stem[n - n_ending] = '\0';
    return true;
}

emc_status ledger_fail_io(const char *dir, ledger_folder folder, const char *name)
{
    return emc_fail(EMC_ERR_IO, "%s/%s%s%s: %s", dir, ledger_folder_names[folder], *name ? "/" : "",
                    name, strerror(errno));
}

bool ledger_exists(int folder_fd, const char *name)
{
    return faccessat(folder_fd, name, F_OK, 0) == 0;
}

emc_status ledger_list(int folder_fd, const char *dir, ledger_folder folder,
                       emc_status (*each)(void *context, const char *name), void *context)
{
    emc_status status = EMC_OK;
    const int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fd >= 0 ? fdopendir(fd) : NULL;

    if (!stream) {
        status = ledger_fail_io(dir, folder, "");
        if (fd >= 0)
            close(fd);
        return status;
    }
    while (status == EMC_OK) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (!entry) {
            if (errno != 0)
                status = ledger_fail_io(dir, folder, "");
            break;
        }
        status = each(context, entry->d_name);
    }
    closedir(stream);
    return status;
}

static size_t read_some(int fd, char *text, size_t most)
{
    size_t n = 0;

    while (n < most) {
        const ssize_t got = read(fd, text + n, most - n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        n += (size_t)got;
    }
    return n;
}

/* A name may stand for anything that somebody put there: a pipe must not hold us up, and what is
 * no plain file of ours has no text. */
bool ledger_read(int folder_fd, const char *name, char text[LEDGER_BYTES], emc_hash *sign,
                 double *age_s)
{
    struct stat st;
    struct timespec now;
    size_t n = 0;

    text[0] = '\0';
    if (fstatat(folder_fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return false;
    if (S_ISREG(st.st_mode)) {
        const int fd =
            openat(folder_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW | O_NOCTTY);
        if (fd >= 0) {
            /* The file may be another one than the one that was looked at. */
            if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
                n = read_some(fd, text, LEDGER_BYTES - 1);
            close(fd);
        }
    }
    text[n] = '\0';
    const struct {
        int64_t seconds, nanoseconds;
        uint64_t inode, size;
        emc_hash content;
    } seen = {st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ino, (uint64_t)st.st_size,
              emc_hash_of(text, n)};
    *sign = emc_hash_of(&seen, sizeof seen);
    if (age_s) {
        clock_gettime(CLOCK_REALTIME, &now);
        *age_s = (double)(now.tv_sec - st.st_mtim.tv_sec) +
                 1e-9 * (double)(now.tv_nsec - st.st_mtim.tv_nsec);
        if (!(*age_s > 0))
            *age_s = 0;
    }
    return true;
}

int ledger_create(int folder_fd, const char *name, const void *bytes, size_t n_bytes, bool sync)
{
    const int fd = openat(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    int error = 0;

    if (fd < 0)
        return errno;
    for (const char *at = bytes; n_bytes > 0 && error == 0;) {
        const ssize_t put = write(fd, at, n_bytes);
        if (put > 0) {
            at += put;
            n_bytes -= (size_t)put;
        } else if (put < 0 && errno != EINTR) {
            error = errno;
        } else if (put == 0) {
            error = ENOSPC;
        }
    }
    if (error == 0 && sync && fsync(fd) != 0)
        error = errno;
    /* Network file systems may tell of a full disk only here. */
    if (close(fd) != 0 && error == 0 && errno != EINTR)
        error = errno;
    if (error != 0)
        unlinkat(folder_fd, name, 0);
    return error;
}

int ledger_rename_new(int from_fd, const char *from, int to_fd, const char *to, bool can_link)
{
    struct stat a, b;

    if (can_link) {
        if (linkat(from_fd, from, to_fd, to, 0) == 0)
            return 0;
        const int error = errno;
        /* An answer that was lost on the network is asked for again, and then the name is taken -
         * by ourselves. */
        if (fstatat(from_fd, from, &a, 0) == 0 && fstatat(to_fd, to, &b, 0) == 0 &&
            a.st_ino == b.st_ino && a.st_dev == b.st_dev)
            return 0;
        return error;
    }
#ifdef RENAME_NOREPLACE
    if (renameat2(from_fd, from, to_fd, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return errno;
#endif
    if (ledger_exists(to_fd, to))
        return EEXIST;
    return renameat(from_fd, from, to_fd, to) == 0 ? 0 : errno;
}
