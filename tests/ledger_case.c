#include "ledger_case.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/ledger_parts.h"

const char *make_run(const char *name)
{
    static char paths[4][1024];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof paths[turn], "%s", emt_temp(name));
    assert_int_equal(mkdir(paths[turn], 0755), 0);
    return paths[turn];
}

const char *in_run(const char *run, const char *folder, const char *name)
{
    static char paths[8][2048];
    static int turn;

    turn = (turn + 1) % 8;
    snprintf(paths[turn], sizeof paths[turn], "%s/%s/%s", run, folder, name);
    return paths[turn];
}

void put_file(const char *path, const void *bytes, size_t n_bytes)
{
    FILE *file;

    unlink(path); /* it may be a link to what others read */
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n_bytes, file), n_bytes);
    assert_int_equal(fclose(file), 0);
}

void put_text(const char *path, const char *text)
{
    put_file(path, text, strlen(text));
}

int count_files(const char *run, const char *folder, const char *ending)
{
    DIR *dir = opendir(in_run(run, folder, "."));
    const struct dirent *entry;
    int n = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        const size_t length = strlen(entry->d_name);
        if (entry->d_name[0] != '.' && length >= strlen(ending) &&
            strcmp(entry->d_name + length - strlen(ending), ending) == 0)
            n++;
    }
    closedir(dir);
    return n;
}

char *shard_bytes(int64_t shard, size_t *n_bytes)
{
    uint64_t seed = (uint64_t)shard;
    char *bytes;

    *n_bytes = 500 + (size_t)shard % 7 * 900;
    bytes = malloc(*n_bytes);
    assert_non_null(bytes);
    for (size_t i = 0; i < *n_bytes; i++)
        bytes[i] = (char)emt_random(&seed);
    return bytes;
}

emc_ledger *open_ledger(const char *run, int64_t n_shards, const emc_ledger_options *options)
{
    emc_ledger *ledger;

    EMT_OK(emc_ledger_open(&ledger, run, n_shards, options));
    return ledger;
}

void expect_claim(emc_ledger *ledger, int64_t wanted)
{
    emc_claim outcome;
    int64_t shard = -7;

    EMT_OK(emc_ledger_claim(ledger, &shard, &outcome));
    assert_int_equal(outcome, EMC_CLAIM_GOT);
    assert_int_equal(shard, wanted);
}

void expect_outcome(emc_ledger *ledger, emc_claim wanted)
{
    emc_claim outcome;
    int64_t shard;

    EMT_OK(emc_ledger_claim(ledger, &shard, &outcome));
    assert_int_equal(outcome, wanted);
}

void publish(emc_ledger *ledger, int64_t shard)
{
    size_t n;
    char *bytes = shard_bytes(shard, &n);

    EMT_OK(emc_ledger_publish(ledger, shard, bytes, n));
    free(bytes);
}

double fake_now(void *context)
{
    return ((fake_clock *)context)->now;
}

void edit_claim(const char *path, const char *member, const char *value)
{
    char *text = emt_read(path, NULL), *edited;
    cJSON *json = cJSON_Parse(text), *replacement = cJSON_Parse(value);

    assert_non_null(json);
    assert_non_null(replacement);
    assert_true(cJSON_ReplaceItemInObjectCaseSensitive(json, member, replacement));
    edited = cJSON_PrintUnformatted(json);
    assert_non_null(edited);
    put_text(path, edited);
    free(edited);
    cJSON_Delete(json);
    free(text);
}

emc_ledger_options silent(fake_clock *clock)
{
    return (emc_ledger_options){
        .heartbeat_s = 3600, .lease_s = 90, .now_s = fake_now, .context = clock};
}

void expect_content(const char *run, int64_t shard)
{
    size_t n, n_got;
    char *path, *bytes = shard_bytes(shard, &n);

    EMT_OK(emc_ledger_done_path(&path, run, shard));
    char *got = emt_read(path, &n_got);
    assert_int_equal(n_got, n);
    assert_memory_equal(got, bytes, n);
    free(got);
    free(path);
    free(bytes);
}

pid_t leave_claims(const char *run, int64_t n_shards, int n_claims, const char *job)
{
    const pid_t pid = fork();

    if (pid == 0) {
        const emc_ledger_options options = {.job = job};
        emc_ledger *ledger;
        int64_t shard;
        emc_claim outcome;
        char name[LEDGER_NAME];
        if (emc_ledger_open(&ledger, run, n_shards, &options) != EMC_OK)
            _exit(1);
        for (int i = 0; i < n_claims; i++)
            if (emc_ledger_claim(ledger, &shard, &outcome) != EMC_OK || outcome != EMC_CLAIM_GOT)
                _exit(2);
        snprintf(name, sizeof name, "000000.%s.tmp", ledger->me.name);
        put_text(in_run(run, "done", name), "half a shard");
        _exit(0);
    }
    assert_true(pid > 0);
    return pid;
}
