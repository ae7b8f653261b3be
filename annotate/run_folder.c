#include "annotate/run_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/ledger.h"
#include "annotate/plan.h"
#include "base/file.h"
#include "base/size.h"

#define ENDING    ".run"
#define TEMPORARY "emcell" ENDING ".XXXXXX"

/* Every file of a run folder is one of these, or in a folder of the ledger. */
static bool is_our_file(const char *name)
{
    return strncmp(name, "run.json", 8) == 0 || strncmp(name, "merged.json", 11) == 0;
}

static bool is_our_folder(const char *name)
{
    static const char *const folders[] = {"claims", "workers", "done", "failed", "parts"};

    for (size_t i = 0; i < EMC_COUNT(folders); i++) {
        if (strcmp(name, folders[i]) == 0)
            return true;
    }
    return false;
}

/* True when nothing lies there that a run did not make. */
static bool holds_only_ours(const char *path)
{
    DIR *dir = opendir(path);
    bool ours = true;

    if (!dir)
        return false;
    for (struct dirent *e = readdir(dir); e && ours; e = readdir(dir))
        ours = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 ||
               is_our_file(e->d_name) || is_our_folder(e->d_name);
    closedir(dir);
    return ours;
}

/* ---- removing ---- */

static emc_status remove_files(const char *path)
{
    DIR *dir = opendir(path);
    emc_status status = EMC_OK;
    struct stat st;

    if (!dir)
        return errno == ENOENT ? EMC_OK : emc_fail(EMC_ERR_CREATE, "%s: %s", path, strerror(errno));
    for (struct dirent *e = readdir(dir); e && status == EMC_OK; e = readdir(dir)) {
        const bool known = fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (known && !S_ISDIR(st.st_mode) && unlinkat(dirfd(dir), e->d_name, 0) != 0)
            status = emc_fail(EMC_ERR_CREATE, "%s/%s: %s", path, e->d_name, strerror(errno));
    }
    closedir(dir);
    return status;
}

static emc_status remove_folder(const char *path, const char *name)
{
    char *inner;

    EMC_TRY(emc_path_join(&inner, path, name));
    const emc_status status = remove_files(inner);
    (void)rmdir(inner);
    free(inner);
    return status;
}

/* run.json goes last: until then it is known as a run folder, should this be interrupted. */
static emc_status empty_folder(const char *path)
{
    static const char *const folders[] = {"claims", "workers", "failed", "parts", "done"};
    DIR *dir;

    for (size_t i = 0; i < EMC_COUNT(folders); i++)
        EMC_TRY(remove_folder(path, folders[i]));
    dir = opendir(path);
    if (!dir)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", path, strerror(errno));
    for (struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (is_our_file(e->d_name) && strcmp(e->d_name, "run.json") != 0)
            (void)unlinkat(dirfd(dir), e->d_name, 0);
    }
    (void)unlinkat(dirfd(dir), "run.json", 0);
    closedir(dir);
    if (emc_plan_exists(path))
        return emc_fail(EMC_ERR_CREATE, "%s: the run in it cannot be removed: %s", path,
                        strerror(errno));
    return EMC_OK;
}

emc_status emc_run_folder_remove(const char *path)
{
    EMC_TRY(empty_folder(path));
    (void)rmdir(path);
    return EMC_OK;
}

/* ---- may it be removed? ---- */

/* A damaged run.json is still one; another program's file of that name is not. */
static bool is_run_file(const char *path)
{
    char *name = NULL, head[64] = "";
    bool is = false;

    if (emc_path_join(&name, path, "run.json") != EMC_OK)
        return false;
    FILE *file = fopen(name, "r");
    if (file) {
        const size_t n = fread(head, 1, sizeof(head) - 1, file);
        head[n] = '\0';
        is = strstr(head, "\"emcell_run\"") != NULL;
        fclose(file);
    }
    free(name);
    return is;
}

static emc_status check_idle(const char *path)
{
    emc_ledger_state state = {0};
    emc_plan plan;
    emc_status status = emc_plan_read(&plan, path);
    const int64_t n_shards = status == EMC_OK ? emc_plan_n_shards(&plan) : 0;
    const int max_tries = status == EMC_OK ? plan.max_tries : 1;

    emc_plan_free(&plan);
    status = emc_ledger_look(&state, path, n_shards, max_tries);
    if (status == EMC_ERR_NOT_FOUND)
        status = EMC_OK; /* nobody has begun */
    for (int i = 0; i < state.n_workers && status == EMC_OK; i++) {
        const emc_worker_state *worker = &state.workers[i];
        if (worker->alive)
            status = emc_fail(EMC_ERR_CREATE,
                              "%s: process %lld on %s works on this run; end it before --force",
                              path, (long long)worker->pid, worker->host);
    }
    emc_ledger_state_free(&state);
    return status;
}

/* ---- open and close ---- */

static bool has_no_place(const char *output)
{
    struct stat st;

    return strcmp(output, "-") == 0 ||
           (stat(output, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode));
}

static emc_status no_temporary(const char *dir)
{
    return emc_fail(EMC_ERR_CREATE,
                    "%s: no temporary folder for the run: %s; name one with "
                    "--run-dir",
                    dir, strerror(errno));
}

static emc_status make_temporary(emc_run_folder *f, const char *dir)
{
    EMC_TRY(emc_path_join(&f->path, dir ? dir : "/tmp", TEMPORARY));
    if (!mkdtemp(f->path))
        return no_temporary(dir ? dir : "/tmp");
    f->made = true;
    return EMC_OK;
}

static emc_status name_folder(emc_run_folder *f, const emc_run_folder_options *options)
{
    f->temporary = !options->run_dir && has_no_place(options->beside);
    if (f->temporary)
        return EMC_OK;
    if (options->run_dir)
        return emc_copy_string(&f->path, options->run_dir);
    EMC_TRY(emc_alloc(&f->path, strlen(options->beside) + sizeof(ENDING), 1, "a path"));
    strcpy(f->path, options->beside);
    strcat(f->path, ENDING);
    return EMC_OK;
}

static emc_status cannot_make(const emc_run_folder *f, int error)
{
    if (error == ENOENT)
        return emc_fail(EMC_ERR_CREATE, "%s: no such folder; make it first", f->path);
    return emc_fail(EMC_ERR_CREATE, "%s: the run's folder: %s; name a writable one with --run-dir",
                    f->path, strerror(error));
}

static emc_status make_folder(emc_run_folder *f)
{
    f->made = mkdir(f->path, 0777) == 0;
    return f->made || errno == EEXIST ? EMC_OK : cannot_make(f, errno);
}

/* Whether make_folder could. */
static emc_status check_makeable(const emc_run_folder *f)
{
    char *above;
    int error;

    EMC_TRY(emc_copy_string(&above, f->path));
    error = access(dirname(above), W_OK | X_OK) == 0 ? 0 : errno;
    free(above);
    return error == 0 ? EMC_OK : cannot_make(f, error);
}

/* May it be used as the options say? */
static emc_status check_folder(emc_run_folder *f, const emc_run_folder_options *options)
{
    if (!emc_is_directory(f->path))
        return emc_fail(EMC_ERR_CREATE, "%s: a file, wanted a folder for the run (--run-dir)",
                        f->path);
    f->begun = emc_plan_exists(f->path);
    if (f->begun ? !is_run_file(f->path) : !holds_only_ours(f->path))
        return emc_fail(EMC_ERR_CREATE, "%s: holds other things than a run; name another --run-dir",
                        f->path);
    if (f->begun && options->force)
        return check_idle(f->path);
    if (f->begun && !options->resume)
        return emc_fail(EMC_ERR_CREATE,
                        "%s: a run is there: --resume goes on with it, --force begins anew",
                        f->path);
    return EMC_OK;
}

static emc_status use_folder(emc_run_folder *f, const emc_run_folder_options *options)
{
    EMC_TRY(make_folder(f));
    EMC_TRY(check_folder(f, options));
    if (!f->begun || !options->force)
        return EMC_OK;
    f->begun = false;
    return empty_folder(f->path);
}

emc_status emc_run_folder_open(emc_run_folder *out, const emc_run_folder_options *options)
{
    emc_status status;

    *out = (emc_run_folder){0};
    status = name_folder(out, options);
    if (status == EMC_OK)
        status =
            out->temporary ? make_temporary(out, options->temporary_dir) : use_folder(out, options);
    if (status != EMC_OK)
        emc_run_folder_close(out);
    return status;
}

static emc_status look_at_folder(emc_run_folder *f, const emc_run_folder_options *options)
{
    const char *temporary = options->temporary_dir ? options->temporary_dir : "/tmp";
    struct stat st;

    EMC_TRY(name_folder(f, options));
    if (f->temporary)
        return access(temporary, W_OK | X_OK) == 0 ? EMC_OK : no_temporary(temporary);
    EMC_TRY(stat(f->path, &st) == 0 ? check_folder(f, options) : check_makeable(f));
    f->begun = f->begun && !options->force;
    return EMC_OK;
}

emc_status emc_run_folder_look(emc_run_folder *out, const emc_run_folder_options *options)
{
    *out = (emc_run_folder){0};
    const emc_status status = look_at_folder(out, options);

    if (status != EMC_OK)
        emc_run_folder_close(out);
    return status;
}

void emc_run_folder_close(emc_run_folder *folder)
{
    if (folder->path && folder->made)
        (void)rmdir(folder->path);
    free(folder->path);
    *folder = (emc_run_folder){0};
}
