/*
 * Which folder does the user mean?
 *
 * The cache keeps a model's files under models--ORG--NAME/snapshots/HASH; refs/REVISION is a
 * file that holds the hash of a branch or tag.
 */
#include "loader/hub.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "base/text.h"

#define HASH_CHARS      40
#define MAX_NAME_CHARS  96 /* the hub's own limit */
#define REF_BYTES       256
#define WANTED_NAME     "wanted a folder, or org/model of the Hugging Face hub"
#define FOLDER_IS_WRONG "wanted the folder that holds it"

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
}

/* One part of a name, by the hub's rules: they also keep it inside its folder. */
static bool is_word(const char *text, size_t n)
{
    if (n == 0 || text[0] == '-' || text[0] == '.' || text[n - 1] == '-' || text[n - 1] == '.')
        return false;
    for (size_t i = 0; i < n; i++)
        if (!is_word_char(text[i]) ||
            (i > 0 && text[i] == text[i - 1] && (text[i] == '.' || text[i] == '-')))
            return false;
    return true;
}

static bool is_model_name(const char *name, size_t n)
{
    const char *slash = memchr(name, '/', n);

    return slash && n <= MAX_NAME_CHARS && is_word(name, (size_t)(slash - name)) &&
           is_word(slash + 1, n - (size_t)(slash + 1 - name));
}

/* A branch may hold slashes ("refs/pr/1"). */
static bool is_revision(const char *text)
{
    for (;;) {
        const size_t n = strcspn(text, "/");
        if (!is_word(text, n))
            return false;
        if (!text[n])
            return true;
        text += n + 1;
    }
}

static bool is_hash(const char *text)
{
    return strlen(text) == HASH_CHARS && strspn(text, "0123456789abcdef") == HASH_CHARS;
}

static emc_status cache_root(emc_text *out, const emc_hub_dirs *dirs)
{
    const struct {
        const char *dir, *below;
    } roots[] = {
        {dirs->hub_cache, ""},
        {dirs->hf_home, "/hub"},
        {dirs->cache_home, "/huggingface/hub"},
        {dirs->home, "/.cache/huggingface/hub"},
    };

    for (size_t i = 0; i < EMC_COUNT(roots); i++)
        if (roots[i].dir && *roots[i].dir)
            return emc_text_addf(out, "%s%s", roots[i].dir, roots[i].below);
    return emc_fail(EMC_ERR_NOT_FOUND,
                    "no Hugging Face cache to look in: none of HF_HUB_CACHE, HF_HOME, "
                    "XDG_CACHE_HOME and HOME is set");
}

/* What was asked for, taken apart. */
typedef struct {
    char *model;          /* org/model */
    const char *revision; /* "main" unless said */
    emc_text folder;      /* .../models--org--model */
} request;

static emc_status not_cached(const request *r)
{
    const bool plain = strcmp(r->revision, "main") == 0;

    return emc_fail(EMC_ERR_NOT_FOUND,
                    "%s: not in the Hugging Face cache (no %s%s%s); get it "
                    "with: hf download %s%s%s",
                    r->model, r->folder.bytes, plain ? "" : ", revision ", plain ? "" : r->revision,
                    r->model, plain ? "" : " --revision ", plain ? "" : r->revision);
}

static emc_status fill_request(request *r, const char *name, size_t n_model,
                               const emc_hub_dirs *dirs)
{
    const char *slash;

    EMC_TRY(emc_copy_bytes(&r->model, name, n_model));
    slash = strchr(r->model, '/');
    EMC_TRY(cache_root(&r->folder, dirs));
    return emc_text_addf(&r->folder, "/models--%.*s--%s", (int)(slash - r->model), r->model,
                         slash + 1);
}

/* The commit that a branch or tag stands for. */
static emc_status read_ref(char hash[HASH_CHARS + 1], const request *r)
{
    emc_status status;
    emc_text path = {0};
    char *text = NULL;

    status = emc_text_addf(&path, "%s/refs/%s", r->folder.bytes, r->revision);
    if (status != EMC_OK)
        goto done;
    status = emc_file_read(&text, NULL, path.bytes, REF_BYTES);
    if (status == EMC_ERR_NOT_FOUND)
        status = not_cached(r);
    if (status != EMC_OK)
        goto done;
    text[strcspn(text, " \r\n")] = '\0';
    if (!is_hash(text)) {
        status = emc_fail(EMC_ERR_FORMAT,
                          "%s: not the hash of a commit; get the model again with: "
                          "hf download %s",
                          path.bytes, r->model);
        goto done;
    }
    memcpy(hash, text, HASH_CHARS + 1);

done:
    emc_text_free(&path);
    free(text);
    return status;
}

/* What is missing from a snapshot; NULL when it looks whole. */
static const char *missing_part(const char *dir)
{
    static const struct {
        const char *name;
        bool weights;
    } parts[] = {{"config.json", false},
                 {"model.safetensors", true},
                 {"model.safetensors.index.json", true}};
    bool config = false, weights = false;

    for (size_t i = 0; i < EMC_COUNT(parts); i++) {
        char *path = NULL;
        if (emc_path_join(&path, dir, parts[i].name) == EMC_OK && emc_file_exists(path))
            *(parts[i].weights ? &weights : &config) = true;
        free(path);
    }
    return !config ? "config.json" : !weights ? "safetensors weights" : NULL;
}

static emc_status find_snapshot(char **out, const request *r)
{
    emc_status status;
    emc_text path = {0};
    char hash[HASH_CHARS + 1];
    const char *missing;

    if (is_hash(r->revision))
        memcpy(hash, r->revision, HASH_CHARS + 1);
    else
        EMC_TRY(read_ref(hash, r));
    status = emc_text_addf(&path, "%s/snapshots/%s", r->folder.bytes, hash);
    if (status != EMC_OK)
        goto done;
    if (!emc_is_directory(path.bytes)) {
        status = not_cached(r);
        goto done;
    }
    missing = missing_part(path.bytes);
    if (missing) {
        status = emc_fail(EMC_ERR_NOT_FOUND,
                          "%s: no %s in the cache (%s); finish it with: hf "
                          "download %s --revision %s",
                          r->model, missing, path.bytes, r->model, r->revision);
        goto done;
    }
    *out = path.bytes;
    path = (emc_text){0}; /* ownership has moved to the caller */

done:
    emc_text_free(&path);
    return status;
}

emc_status emc_hub_resolve(char **out_dir, const char *name, const emc_hub_dirs *dirs)
{
    emc_status status;
    request r = {.revision = "main"};
    const char *at = strchr(name, '@');
    const size_t n_model = at ? (size_t)(at - name) : strlen(name);

    *out_dir = NULL;
    if (emc_is_directory(name))
        return emc_copy_string(out_dir, name);
    if (*name && emc_file_exists(name))
        return emc_fail(EMC_ERR_USAGE, "%s: a file, %s", name, FOLDER_IS_WRONG);
    if (*name == '/' || strncmp(name, "./", 2) == 0 || strncmp(name, "../", 3) == 0)
        return emc_fail(EMC_ERR_NOT_FOUND, "%s: no such folder", name);
    if (!is_model_name(name, n_model) || (at && !is_revision(at + 1)))
        return emc_fail(EMC_ERR_USAGE, "\"%s\": no such folder, and not the name of a model; %s",
                        name, WANTED_NAME);
    if (at)
        r.revision = at + 1;
    status = fill_request(&r, name, n_model, dirs);
    if (status == EMC_OK)
        status = find_snapshot(out_dir, &r);
    free(r.model);
    emc_text_free(&r.folder);
    return status;
}
