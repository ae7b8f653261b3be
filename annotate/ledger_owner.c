/* Who holds a claim, and is that process still there? */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

/* A small file of /proc, without the line's end; "" where there is none. */
static void read_proc(char *out, size_t n, const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = -1;

    if (fd >= 0) {
        got = read(fd, out, n - 1);
        close(fd);
    }
    out[got > 0 ? got : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
}

/* Field 22 of /proc/PID/stat: when the process started, in ticks since the boot. Field 2 is a name
 * in brackets that may hold anything, so counting begins behind the last bracket. -1: there is no
 * such process, or it is dead and nobody has asked for its exit code yet. */
static int64_t start_of(int64_t pid)
{
    char path[64], text[1024];
    const char *at;

    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    read_proc(text, sizeof text, path);
    at = strrchr(text, ')');
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
        return -1;
    at += 2; /* field 3 */
    for (int field = 3; field < 22; field++) {
        at = strchr(at, ' ');
        if (!at)
            return -1;
        at++;
    }
    return strtoll(at, NULL, 10);
}

/* As much of `text` as fits and is fit for a file name. */
static void plain(char *out, size_t n, const char *text)
{
    size_t i = 0;

    for (; text[i] && i < n - 1; i++) {
        const char c = text[i];
        const bool fine = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
                          (c >= 'a' && c <= 'z') || c == '-' || (c == '.' && i > 0);
        out[i] = fine ? c : '_';
    }
    out[i] = '\0';
}

static uint64_t random_number(void)
{
    uint64_t value;
    struct timespec now;

    if (getrandom(&value, sizeof value, 0) == (ssize_t)sizeof value)
        return value;
    /* No more than a second guard: the name holds host, pid and start, too. */
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec << 20;
}

void ledger_owner_self(ledger_owner *out, const char *job, int restart)
{
    char host[41];
    struct stat st;

    *out = (ledger_owner){.pid = getpid(), .restart = restart};
    if (gethostname(out->host, sizeof out->host - 1) != 0)
        snprintf(out->host, sizeof out->host, "unknown");
    snprintf(out->job, sizeof out->job, "%s", job ? job : "");
    out->job[emc_utf8_valid(out->job, strlen(out->job))] = '\0';
    out->host[emc_utf8_valid(out->host, strlen(out->host))] = '\0';
    out->start = start_of(out->pid);
    if (out->start >= 0 && stat("/proc/self/ns/pid", &st) == 0) {
        read_proc(out->boot, sizeof out->boot, "/proc/sys/kernel/random/boot_id");
        out->pid_space = (int64_t)st.st_ino;
    }
    plain(host, sizeof host, out->host);
    snprintf(out->name, sizeof out->name, "%s-%" PRId64 "-%016" PRIx64, *host ? host : "unknown",
             out->pid, random_number());
}

emc_status ledger_owner_write(char out[LEDGER_BYTES], const ledger_owner *owner, const char *more)
{
    const struct {
        const char *name, *value;
    } strings[] = {
        {"worker", owner->name}, {"host", owner->host}, {"boot", owner->boot}, {"job", owner->job}};
    emc_text text = {0};
    emc_status status = emc_text_add_string(&text, "{");

    for (size_t i = 0; i < EMC_COUNT(strings) && status == EMC_OK; i++) {
        status = emc_text_addf(&text, "\"%s\": ", strings[i].name);
        if (status == EMC_OK)
            status = emc_text_add_json(&text, strings[i].value, strlen(strings[i].value));
        if (status == EMC_OK)
            status = emc_text_add_string(&text, ", ");
    }
    if (status == EMC_OK)
        status = emc_text_addf(&text,
                               "\"pid\": %" PRId64 ", \"start\": %" PRId64
                               ", \"pid_space\": %" PRId64 ", \"restart\": %" PRId64 "%s}\n",
                               owner->pid, owner->start, owner->pid_space, owner->restart, more);
    if (status == EMC_OK && text.n >= LEDGER_BYTES)
        status = emc_fail(EMC_ERR_INTERNAL, "a worker's file of %zu bytes", text.n);
    if (status == EMC_OK)
        memcpy(out, text.bytes, text.n + 1);
    emc_text_free(&text);
    return status;
}

static bool take_string(char *out, size_t n, const cJSON *json, const char *key)
{
    const char *value = NULL;

    if (emc_json_get_string(&value, json, key, true, "a worker") != EMC_OK || strlen(value) >= n)
        return false;
    memcpy(out, value, strlen(value) + 1);
    return true;
}

static bool take_int(int64_t *out, const cJSON *json, const char *key)
{
    const int64_t most = (int64_t)1 << 52;

    return emc_json_get_int(out, json, key, -1, most, true, "a worker") == EMC_OK;
}

bool ledger_owner_parse(ledger_owner *out, const char *text)
{
    cJSON *json = NULL;
    ledger_owner owner = {0};
    bool fine;

    if (!*text || emc_json_parse(&json, text, strlen(text), "a worker") != EMC_OK)
        return false;
    fine = cJSON_IsObject(json) && take_string(owner.name, sizeof owner.name, json, "worker") &&
           take_string(owner.host, sizeof owner.host, json, "host") &&
           take_string(owner.boot, sizeof owner.boot, json, "boot") &&
           take_string(owner.job, sizeof owner.job, json, "job") &&
           take_int(&owner.pid, json, "pid") && take_int(&owner.start, json, "start") &&
           take_int(&owner.pid_space, json, "pid_space") &&
           take_int(&owner.restart, json, "restart") && emc_is_plain_name(owner.name);
    cJSON_Delete(json);
    if (fine)
        *out = owner;
    return fine;
}

/* A boot's number alone would do, were it not that machines woken from one image share it; and
 * where pids are numbered apart (a container), a pid of there says nothing here. */
bool ledger_owner_here(const ledger_owner *owner, const ledger_owner *me)
{
    return me->boot[0] && strcmp(owner->boot, me->boot) == 0 &&
           strcmp(owner->host, me->host) == 0 && owner->pid_space == me->pid_space;
}

bool ledger_owner_dead(const ledger_owner *owner, const ledger_owner *me)
{
    if (ledger_owner_here(owner, me))
        return start_of(owner->pid) != owner->start;
    /* A batch system starts a job anew only when all of the last start is gone. */
    return me->job[0] && strcmp(owner->job, me->job) == 0 && owner->restart < me->restart;
}
