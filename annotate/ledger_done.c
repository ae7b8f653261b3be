/* How a shard ends: published, in part, failed, or found to be damaged; and who merges. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"
#include "base/file.h"
#include "base/text.h"

static emc_status not_ours(int64_t shard)
{
    return emc_fail(EMC_ERR_ARG, "shard %" PRId64 " is not claimed by this worker", shard);
}

/* Names that appeared in a folder are there after a power cut, too. Some file systems cannot sync
 * a folder and say EINVAL. */
static int sync_folder(int folder_fd)
{
    const int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = 0;

    if (fd < 0)
        return errno;
    if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS)
        error = errno;
    close(fd);
    return error;
}

/* Gives 0 when the file stands under its name, whoever put it there. */
static int put_in_place(emc_ledger *ledger, const char *temporary, const char *name,
                        const void *bytes, size_t n_bytes)
{
    const int done = ledger->folders[LEDGER_DONE];
    int error = ENOENT;

    /* Somebody who thought this worker dead may sweep its temporary file away: once more. */
    for (int i = 0; i < 3 && error == ENOENT; i++) {
        error = ledger_create(done, temporary, bytes, n_bytes, true);
        if (error == EEXIST) {
            unlinkat(done, temporary, 0);
            error = ledger_create(done, temporary, bytes, n_bytes, true);
        }
        if (error != 0)
            return error;
        error = ledger_rename_new(done, temporary, done, name, ledger->can_link);
        unlinkat(done, temporary, 0);
    }
    return error == EEXIST ? 0 : error;
}

emc_status emc_ledger_publish(emc_ledger *ledger, int64_t shard, const void *bytes, size_t n_bytes)
{
    char name[LEDGER_NAME], temporary[LEDGER_NAME];

    if (!ledger_holds(ledger, shard))
        return not_ours(shard);
    ledger_done_name(name, shard);
    snprintf(temporary, sizeof temporary, "%06" PRId64 ".%s.tmp", shard, ledger->me.name);
    int error = put_in_place(ledger, temporary, name, bytes, n_bytes);
    if (error == 0)
        error = sync_folder(ledger->folders[LEDGER_DONE]);
    if (error != 0) {
        errno = error;
        return ledger_fail_io(ledger->dir, LEDGER_DONE, name);
    }
    ledger_part_name(name, shard);
    unlinkat(ledger->folders[LEDGER_PARTS], name, 0);
    pthread_mutex_lock(&ledger->lock);
    ledger->done[shard] = 1;
    pthread_mutex_unlock(&ledger->lock);
    ledger_end_claim(ledger, shard);
    return EMC_OK;
}

/* A later part may replace one: both are true, and whoever writes the later one began behind the
 * earlier. Lost to a power cut, it costs its cells. */
emc_status emc_ledger_keep_part(emc_ledger *ledger, int64_t shard, const void *bytes,
                                size_t n_bytes)
{
    const int parts = ledger->folders[LEDGER_PARTS];
    char name[LEDGER_NAME], temporary[LEDGER_NAME];

    if (!ledger_holds(ledger, shard))
        return not_ours(shard);
    ledger_part_name(name, shard);
    snprintf(temporary, sizeof temporary, "%06" PRId64 ".%s.tmp", shard, ledger->me.name);
    unlinkat(parts, temporary, 0);
    int error = ledger_create(parts, temporary, bytes, n_bytes, true);
    if (error == 0 && renameat(parts, temporary, parts, name) != 0) {
        error = errno;
        unlinkat(parts, temporary, 0);
    }
    if (error == 0)
        error = sync_folder(parts);
    if (error == 0)
        return EMC_OK;
    errno = error;
    return ledger_fail_io(ledger->dir, LEDGER_PARTS, name);
}

emc_status emc_ledger_drop_part(emc_ledger *ledger, int64_t shard)
{
    char name[LEDGER_NAME];

    if (!ledger_holds(ledger, shard))
        return not_ours(shard);
    ledger_part_name(name, shard);
    if (unlinkat(ledger->folders[LEDGER_PARTS], name, 0) != 0 && errno != ENOENT)
        return ledger_fail_io(ledger->dir, LEDGER_PARTS, name);
    return EMC_OK;
}

static emc_status path_of(char **out, const char *dir, ledger_folder folder,
                          const char file[LEDGER_NAME])
{
    char name[LEDGER_NAME];

    snprintf(name, sizeof name, "%s/%.60s", ledger_folder_names[folder], file);
    return emc_path_join(out, dir, name);
}

emc_status emc_ledger_done_path(char **out, const char *dir, int64_t shard)
{
    char file[LEDGER_NAME];

    ledger_done_name(file, shard);
    return path_of(out, dir, LEDGER_DONE, file);
}

emc_status emc_ledger_part_path(char **out, const char *dir, int64_t shard)
{
    char file[LEDGER_NAME];

    ledger_part_name(file, shard);
    return path_of(out, dir, LEDGER_PARTS, file);
}

static emc_status write_reason(char out[LEDGER_BYTES], const emc_ledger *ledger, const char *reason)
{
    emc_text text = {0};
    size_t n = strlen(reason);
    emc_status status;

    /* The longest message there is, and an end at a whole character. */
    n = emc_utf8_valid(reason, n < 1023 ? n : 1023);
    status = emc_text_add_string(&text, ", \"reason\": ");
    if (status == EMC_OK)
        status = emc_text_add_json(&text, reason, n);
    if (status == EMC_OK)
        status = ledger_owner_write(out, &ledger->me, text.bytes);
    emc_text_free(&text);
    return status;
}

emc_status emc_ledger_fail(emc_ledger *ledger, int64_t shard, const char *reason, bool *parked)
{
    char name[LEDGER_NAME], text[LEDGER_BYTES];
    int n_try = 1, error;

    if (!ledger_holds(ledger, shard))
        return not_ours(shard);
    EMC_TRY(write_reason(text, ledger, reason));
    do { /* the first number that nobody has */
        ledger_failed_name(name, shard, n_try++);
        error = ledger_create(ledger->folders[LEDGER_FAILED], name, text, strlen(text), true);
    } while (error == EEXIST);
    if (error != 0) {
        errno = error;
        return ledger_fail_io(ledger->dir, LEDGER_FAILED, name);
    }
    if (parked)
        *parked = n_try - 1 >= ledger->options.max_tries;
    ledger_end_claim(ledger, shard);
    return EMC_OK;
}

emc_status emc_ledger_reject(emc_ledger *ledger, int64_t shard)
{
    const int done = ledger->folders[LEDGER_DONE], failed = ledger->folders[LEDGER_FAILED];
    char name[LEDGER_NAME], moved[LEDGER_NAME];
    int error;

    if (shard < 0 || shard >= ledger->n_shards)
        return emc_fail(EMC_ERR_ARG, "no shard %" PRId64, shard);
    ledger_done_name(name, shard);
    for (int i = 1;; i++) {
        snprintf(moved, sizeof moved, "%06" PRId64 ".damaged-%d", shard, i);
        error = ledger_rename_new(done, name, failed, moved, ledger->can_link);
        if (error != EEXIST)
            break;
    }
    if (error == 0 && ledger->can_link && unlinkat(done, name, 0) != 0)
        error = errno;
    if (error == 0)
        error = sync_folder(done);
    if (error != 0 && error != ENOENT) {
        errno = error;
        return ledger_fail_io(ledger->dir, LEDGER_DONE, name);
    }
    pthread_mutex_lock(&ledger->lock);
    ledger->done[shard] = 0;
    pthread_mutex_unlock(&ledger->lock);
    return EMC_OK;
}

static emc_status forget_try(void *context, const char *name)
{
    const emc_ledger *ledger = context;
    int64_t shard;
    int n_try;

    if (ledger_parse_failed(&shard, &n_try, name, ledger->n_shards) &&
        unlinkat(ledger->folders[LEDGER_FAILED], name, 0) != 0 && errno != ENOENT)
        return ledger_fail_io(ledger->dir, LEDGER_FAILED, name);
    return EMC_OK;
}

emc_status emc_ledger_forgive(emc_ledger *ledger)
{
    return ledger_list(ledger->folders[LEDGER_FAILED], ledger->dir, LEDGER_FAILED, forget_try,
                       ledger);
}

static emc_status lock_merge(emc_ledger *ledger, bool *got)
{
    emc_hash sign;

    EMC_TRY(ledger_list_claims(ledger));
    const ledger_claim *claim = ledger_find_claim(ledger, LEDGER_MERGE);
    for (size_t i = 0; i < ledger->n_held; i++)
        if (ledger->held[i].shard == LEDGER_MERGE)
            *got = true;
    if (*got || (claim && !ledger_is_free(ledger, claim, &sign, NULL)))
        return EMC_OK;
    return ledger_take(ledger, LEDGER_MERGE, claim, &sign, got);
}

emc_status emc_ledger_lock_merge(emc_ledger *ledger, bool *got)
{
    *got = false;
    pthread_mutex_lock(&ledger->lock);
    const emc_status status = lock_merge(ledger, got);
    pthread_mutex_unlock(&ledger->lock);
    return status;
}

emc_status emc_ledger_unlock_merge(emc_ledger *ledger)
{
    if (!ledger_holds(ledger, LEDGER_MERGE))
        return emc_fail(EMC_ERR_ARG, "the merge lock is not this worker's");
    ledger_end_claim(ledger, LEDGER_MERGE);
    return EMC_OK;
}
