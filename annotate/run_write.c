#include "annotate/run_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "annotate/progress.h"
#include "base/file.h"
#include "base/text.h"

emc_status run_read_merged(const emc_run *r, char **out)
{
    char *path;

    *out = NULL;
    EMC_TRY(emc_path_join(&path, r->folder.path, "merged.json"));
    const emc_status status =
        emc_file_exists(path) ? emc_file_read(out, NULL, path, 1 << 20) : EMC_OK;
    free(path);
    return status == EMC_ERR_NOT_FOUND ? EMC_OK : status;
}

/* Damaged shards are moved out of the way, to be computed again. */
static emc_status reject_damaged(emc_run *r)
{
    char line[600];

    snprintf(line, sizeof(line), "%lld damaged shard%s computed again: %s",
             (long long)r->survey.n_damaged, r->survey.n_damaged == 1 ? " is" : "s are",
             r->survey.message);
    emc_session_log(&r->session, line);
    for (int64_t i = 0; i < r->survey.n_shards; i++) {
        if (r->survey.state[i] == EMC_SHARD_DAMAGED)
            EMC_TRY(emc_ledger_reject(r->ledger, i));
    }
    return EMC_OK;
}

/* Waits while another process merges. */
static emc_status lock_ledger(emc_run *r)
{
    const struct timespec second = {.tv_sec = 1};
    bool got = false;

    for (;;) {
        EMC_TRY(emc_ledger_lock_merge(r->ledger, &got));
        if (got)
            return EMC_OK;
        EMC_TRY(run_check_cancel(r));
        nanosleep(&second, NULL);
    }
}

/* Looked at again under the lock: another process may have mended them since. */
emc_status run_mend(emc_run *r)
{
    EMC_TRY(lock_ledger(r));
    emc_status status = emc_survey_make(&r->survey, r->folder.path, &r->plan);
    if (status == EMC_OK && r->survey.n_damaged > 0)
        status = reject_damaged(r);
    const emc_status unlocked = emc_ledger_unlock_merge(r->ledger);
    return status != EMC_OK ? status : unlocked;
}

/* A file's one name, wherever a process stands. *named is false for what is no file: each process
 * has a standard output of its own. */
static emc_status add_name(emc_text *out, const char *path, bool *named)
{
    struct stat st;
    char *whole = strcmp(path, "-") != 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode)
                      ? realpath(path, NULL)
                      : NULL;
    const char *name = whole ? whole : path;

    *named = *named && whole;
    const emc_status status = emc_text_add_json(out, name, strlen(name));
    free(whole);
    return status;
}

/* Which results this process is to see written; *named when all of them are there as files. */
static emc_status name_results(const emc_run *r, emc_text *out, bool *named)
{
    const emc_results_options *results = &r->results;
    const bool in_place = results->h5ad == EMC_H5AD_IN_PLACE;

    *named = true;
    EMC_TRY(emc_text_add_string(out, "\"results\": ["));
    EMC_TRY(add_name(out, in_place ? r->options->input_path : results->output_path, named));
    if (results->probabilities_path) {
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_name(out, results->probabilities_path, named));
    }
    return emc_text_add_string(out, "]");
}

/* Who wrote which results; unlike any other such line. */
static emc_status describe_merge(const emc_run *r, emc_text *out)
{
    char host[64] = "";
    bool named;

    (void)gethostname(host, sizeof(host) - 1);
    EMC_TRY(emc_text_add_string(out, "{"));
    EMC_TRY(name_results(r, out, &named));
    EMC_TRY(emc_text_add_string(out, ", \"by\": "));
    EMC_TRY(emc_text_add_json(out, host, strlen(host)));
    return emc_text_addf(out, ", \"pid\": %ld, \"at\": %.9f}\n", (long)getpid(), emc_seconds());
}

static emc_status mark_merged(const emc_run *r)
{
    emc_out_file *file = NULL;
    emc_text text = {0};
    char *path = NULL;
    emc_status status = emc_path_join(&path, r->folder.path, "merged.json");

    if (status == EMC_OK)
        status = describe_merge(r, &text);
    if (status == EMC_OK)
        status = emc_out_file_open(&file, path);
    if (status == EMC_OK)
        status = emc_out_file_write(file, text.bytes, text.n);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    emc_text_free(&text);
    free(path);
    return status;
}

/* True when another process has written the same results since this one came. */
static emc_status is_merged(const emc_run *r, bool *merged)
{
    char *now = NULL;
    emc_text name = {0};
    bool named = false;

    *merged = false;
    emc_status status = run_read_merged(r, &now);
    if (status == EMC_OK)
        status = name_results(r, &name, &named);
    if (status == EMC_OK && now)
        *merged = named && (!r->merged_before || strcmp(now, r->merged_before) != 0) &&
                  strstr(now, name.bytes) != NULL;
    emc_text_free(&name);
    free(now);
    return status;
}

/* Waits while another process writes the results; *merged when it did so. Otherwise the lock is
 * held. */
static emc_status lock_merge(emc_run *r, bool *merged)
{
    EMC_TRY(lock_ledger(r));
    EMC_TRY(is_merged(r, merged));
    return *merged ? emc_ledger_unlock_merge(r->ledger) : EMC_OK;
}

/* *repair when a shard has to be computed again. The lock is held. */
static emc_status write_results(emc_run *r, bool *repair)
{
    EMC_TRY(emc_survey_make(&r->survey, r->folder.path, &r->plan));
    *repair = r->survey.n_damaged > 0;
    if (*repair) {
        r->complete = false;
        return reject_damaged(r);
    }
    EMC_TRY(run_check_cancel(r));
    run_show_stage(r, EMC_STAGE_WRITE, r->survey.n_cells);
    if (r->stream)
        EMC_TRY(emc_stream_add_done(r->stream, &r->survey, r->folder.path));
    else
        EMC_TRY(emc_merge_write(&r->survey, r->folder.path, &r->plan, &r->results,
                                r->options->input_path));
    r->summary->written = true;
    return mark_merged(r);
}

emc_status run_write(emc_run *r, bool *repair)
{
    bool merged = false;

    *repair = false;
    EMC_TRY(lock_merge(r, &merged));
    if (merged)
        return emc_survey_make(&r->survey, r->folder.path, &r->plan);
    const emc_status status = write_results(r, repair);
    const emc_status unlocked = emc_ledger_unlock_merge(r->ledger);
    return status != EMC_OK ? status : unlocked;
}
