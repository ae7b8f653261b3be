#include "annotate/profile.h"

#include <stdlib.h>
#include <string.h>

#include "annotate/builtin.h"
#include "annotate/labels.h"
#include "annotate/profile_read.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"

#define FILE_LIMIT ((size_t)16 << 20)

struct emc_profile {
    emc_profile_info info;
    emc_profile_store store;
    cJSON *tree;
    char *text;
    size_t n_text;
    emc_profile *labels_of; /* whose labels these are; NULL: its own */
};

static const char *const thinking_names[] = {"plain", "empty-think-prefill", "model-emits-think"};
/* In the order of their enums. */
static const char *const answer_names[] = {"exact", "full", "greedy", "generate"};
static const char *const scoring_names[] = {"joint", "mean", "first", "prior"};

const char *emc_thinking_name(emc_thinking thinking)
{
    return thinking_names[thinking];
}

const char *emc_answer_mode_name(emc_answer_mode mode)
{
    return answer_names[mode];
}

const char *emc_scoring_rule_name(emc_scoring_rule rule)
{
    return scoring_names[rule];
}

emc_status emc_answer_mode_parse(emc_answer_mode *out, const char *name)
{
    for (size_t i = 0; i < EMC_COUNT(answer_names); i++) {
        if (strcmp(answer_names[i], name) == 0) {
            *out = (emc_answer_mode)i;
            return EMC_OK;
        }
    }
    return emc_fail(EMC_ERR_USAGE, "answer mode \"%s\": wanted exact, full, greedy or generate",
                    name);
}

emc_status emc_scoring_rule_parse(emc_scoring_rule *out, const char *name)
{
    for (size_t i = 0; i < EMC_COUNT(scoring_names); i++) {
        if (strcmp(scoring_names[i], name) == 0) {
            *out = (emc_scoring_rule)i;
            return EMC_OK;
        }
    }
    return emc_fail(EMC_ERR_USAGE, "scoring \"%s\": wanted joint, mean, first or prior", name);
}

static const emc_builtin *find_builtin(const char *name)
{
    for (const emc_builtin *b = emc_builtins; b->name; b++) {
        if (strcmp(b->name, name) == 0)
            return b;
    }
    return NULL;
}

const char *emc_profile_builtin(int index)
{
    for (int i = 0; emc_builtins[i].name; i++) {
        if (i == index)
            return emc_builtins[i].name;
    }
    return NULL;
}

const char *emc_profile_builtin_text(const char *name, size_t *n_bytes)
{
    const emc_builtin *b = find_builtin(name);

    if (!b)
        return NULL;
    *n_bytes = b->n_bytes;
    return b->text;
}

/* cJSON cuts a string at an escaped NUL, so none is let in. */
static emc_status check_no_nul(const char *text, size_t n, const char *name)
{
    if (memchr(text, '\0', n))
        return emc_fail(EMC_ERR_FORMAT, "%s: holds a NUL byte", name);
    if (memmem(text, n, "\\u0000", 6))
        return emc_fail(EMC_ERR_FORMAT, "%s: holds the escape \\u0000", name);
    return EMC_OK;
}

/* Synonyms, parents and terms must agree with each other, which building the labels checks. */
static emc_status check_labels(const emc_profile *profile, const char *name)
{
    emc_labels *labels = NULL;
    emc_status status;

    if (profile->info.n_labels == 0)
        return EMC_OK;
    status = emc_labels_from_profile(&labels, profile);
    emc_labels_close(labels);
    return status == EMC_OK ? EMC_OK : emc_fail_in(status, "%s", name);
}

static emc_status take_labels_of(emc_profile *profile, const char *labels_of, const char *name)
{
    emc_profile_info *info = &profile->info;
    const emc_profile_info *other;

    if (!find_builtin(labels_of))
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: \"labels_of\" is \"%s\", wanted a built-in profile's name", name,
                        labels_of);
    EMC_TRY(emc_profile_open(&profile->labels_of, labels_of));
    other = emc_profile_get(profile->labels_of);
    info->labels = other->labels;
    info->n_labels = other->n_labels;
    info->groups = other->groups;
    info->n_groups = other->n_groups;
    info->ambiguous = other->ambiguous;
    info->n_ambiguous = other->n_ambiguous;
    return EMC_OK;
}

static emc_status parse(emc_profile **out, const char *text, size_t n_bytes, const char *name,
                        const char *folder)
{
    emc_profile *profile = NULL;
    const char *labels_of = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(check_no_nul(text, n_bytes, name));
    EMC_TRY(emc_alloc(&profile, 1, sizeof(*profile), "profile"));
    status = emc_copy_bytes(&profile->text, text, n_bytes);
    profile->n_text = n_bytes;
    if (status == EMC_OK)
        status = emc_json_parse(&profile->tree, text, n_bytes, name);
    if (status == EMC_OK)
        status = emc_profile_read(&profile->info, &profile->store, &labels_of, profile->tree, name,
                                  folder);
    if (status == EMC_OK && labels_of)
        status = take_labels_of(profile, labels_of, name);
    if (status == EMC_OK)
        status = check_labels(profile, name);
    if (status != EMC_OK) {
        emc_profile_close(profile);
        return status;
    }
    *out = profile;
    return EMC_OK;
}

emc_status emc_profile_parse(emc_profile **out, const char *text, size_t n_bytes, const char *name)
{
    return parse(out, text, n_bytes, name, NULL);
}

static emc_status folder_of(char **out, const char *path)
{
    const char *slash = strrchr(path, '/');

    if (!slash)
        return emc_copy_string(out, ".");
    return emc_copy_bytes(out, path, slash == path ? 1 : (size_t)(slash - path));
}

emc_status emc_profile_open(emc_profile **out, const char *name_or_path)
{
    const char *name = name_or_path ? name_or_path : "embryo";
    const emc_builtin *builtin = find_builtin(name);
    char *text = NULL, *folder = NULL;
    size_t n_bytes = 0;
    emc_status status;

    *out = NULL;
    if (builtin)
        return parse(out, builtin->text, builtin->n_bytes, name, NULL);
    if (!strchr(name, '/') && !emc_file_exists(name))
        return emc_fail(EMC_ERR_NOT_FOUND,
                        "profile \"%s\": neither a file nor a built-in profile "
                        "(`emcell profile list` shows them)",
                        name);
    EMC_TRY(emc_file_read(&text, &n_bytes, name, FILE_LIMIT));
    status = folder_of(&folder, name);
    if (status == EMC_OK)
        status = parse(out, text, n_bytes, name, folder);
    free(folder);
    free(text);
    return status;
}

void emc_profile_close(emc_profile *profile)
{
    if (!profile)
        return;
    emc_profile_close(profile->labels_of);
    emc_profile_store_free(&profile->store);
    cJSON_Delete(profile->tree);
    free(profile->text);
    free(profile);
}

const emc_profile_info *emc_profile_get(const emc_profile *profile)
{
    return &profile->info;
}

const char *emc_profile_text(const emc_profile *profile, size_t *n_bytes)
{
    *n_bytes = profile->n_text;
    return profile->text;
}
