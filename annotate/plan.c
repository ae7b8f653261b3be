#include "annotate/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "base/text.h"

#define RUN_FILE     "run.json"
#define FILE_LIMIT   ((size_t)256 << 20) /* a GPU's choices and 100,000 labels are less */
#define RUN_VERSION  2
#define MAX_N_LABELS 100000

static void free_list(emc_pin_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        free(list->pins[i].name);
        free(list->pins[i].value);
    }
    free(list->pins);
}

void emc_plan_free(emc_plan *plan)
{
    free_list(&plan->pins);
    free_list(&plan->notes);
    for (int i = 0; i < plan->n_labels; i++) {
        free((char *)plan->labels[i].label);
        free((char *)plan->labels[i].cl);
    }
    free(plan->labels);
    free(plan->chosen);
    memset(plan, 0, sizeof(*plan));
}

static emc_pin *find(const emc_pin_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++) {
        if (strcmp(list->pins[i].name, name) == 0)
            return &list->pins[i];
    }
    return NULL;
}

static emc_status set(emc_pin_list *list, const char *name, const char *value)
{
    emc_pin *pin = find(list, name);
    char *copy = NULL;

    if (!pin) {
        EMC_TRY(emc_grow(&list->pins, list->n + 1, sizeof(*list->pins), "a plan"));
        pin = &list->pins[list->n];
        *pin = (emc_pin){0};
        EMC_TRY(emc_copy_string(&pin->name, name));
        list->n++;
    }
    EMC_TRY(emc_copy_string(&copy, value));
    free(pin->value);
    pin->value = copy;
    return EMC_OK;
}

static emc_status set_formatted(emc_pin_list *list, const char *name, const char *format,
                                va_list args) EMC_PRINTF(3, 0);

static emc_status set_formatted(emc_pin_list *list, const char *name, const char *format,
                                va_list args)
{
    char *value = NULL;
    va_list again;

    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    EMC_TRY(emc_alloc(&value, (size_t)(n < 0 ? 0 : n) + 1, 1, "a plan"));
    vsnprintf(value, (size_t)(n < 0 ? 0 : n) + 1, format, args);
    const emc_status status = set(list, name, value);
    free(value);
    return status;
}

emc_status emc_plan_pin(emc_plan *plan, const char *name, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const emc_status status = set_formatted(&plan->pins, name, format, args);
    va_end(args);
    return status;
}

emc_status emc_plan_note(emc_plan *plan, const char *name, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    const emc_status status = set_formatted(&plan->notes, name, format, args);
    va_end(args);
    return status;
}

static emc_status add_label(emc_plan *plan, const char *label, const char *cl)
{
    emc_profile_label *to;

    EMC_TRY(emc_grow(&plan->labels, (size_t)plan->n_labels + 1, sizeof(*to), "labels"));
    to = &plan->labels[plan->n_labels];
    memset(to, 0, sizeof(*to));
    EMC_TRY(emc_copy_string((char **)&to->label, label));
    plan->n_labels++;
    return cl ? emc_copy_string((char **)&to->cl, cl) : EMC_OK;
}

emc_status emc_plan_set_labels(emc_plan *plan, const emc_labels *labels)
{
    for (int i = 0; i < emc_labels_count(labels); i++) {
        const emc_profile_label *from = emc_labels_get(labels, i);
        EMC_TRY(add_label(plan, from->label, from->cl));
    }
    return EMC_OK;
}

const char *emc_plan_get(const emc_pin_list *list, const char *name)
{
    const emc_pin *pin = find(list, name);

    return pin ? pin->value : NULL;
}

int64_t emc_plan_n_shards(const emc_plan *plan)
{
    if (plan->shard_cells < 1)
        return 0; /* not known yet */
    return plan->n_cells / plan->shard_cells + (plan->n_cells % plan->shard_cells > 0);
}

void emc_plan_shard(const emc_plan *plan, int64_t shard, emc_shard_head *head)
{
    const int64_t first = shard * plan->shard_cells, left = plan->n_cells - first;

    *head = (emc_shard_head){.plan = plan->hash,
                             .shard = shard,
                             .first = first,
                             .n_cells = left < plan->shard_cells ? left : plan->shard_cells,
                             .n_labels = plan->n_labels};
}

/* ---- as text ---- */

static emc_status add_list(emc_text *text, const char *name, const emc_pin_list *list)
{
    EMC_TRY(emc_text_addf(text, "  \"%s\": {", name));
    for (size_t i = 0; i < list->n; i++) {
        EMC_TRY(emc_text_add_string(text, i == 0 ? "\n    " : ",\n    "));
        EMC_TRY(emc_text_add_json(text, list->pins[i].name, strlen(list->pins[i].name)));
        EMC_TRY(emc_text_add_string(text, ": "));
        EMC_TRY(emc_text_add_json(text, list->pins[i].value, strlen(list->pins[i].value)));
    }
    return emc_text_add_string(text, "\n  }");
}

static emc_status add_labels(emc_text *text, const emc_plan *plan)
{
    EMC_TRY(emc_text_add_string(text, "  \"labels\": ["));
    for (int i = 0; i < plan->n_labels; i++) {
        const emc_profile_label *label = &plan->labels[i];
        EMC_TRY(emc_text_add_string(text, i == 0 ? "\n    {\"label\": " : ",\n    {\"label\": "));
        EMC_TRY(emc_text_add_json(text, label->label, strlen(label->label)));
        EMC_TRY(emc_text_add_string(text, ", \"cl\": "));
        EMC_TRY(label->cl ? emc_text_add_json(text, label->cl, strlen(label->cl))
                          : emc_text_add_string(text, "null"));
        EMC_TRY(emc_text_add_string(text, "}"));
    }
    return emc_text_add_string(text, "\n  ]");
}

/* All that is pinned, in one text whose bytes are hashed. */
static emc_status add_pinned(emc_text *text, const emc_plan *plan)
{
    EMC_TRY(add_list(text, "pinned", &plan->pins));
    EMC_TRY(emc_text_add_string(text, ",\n"));
    EMC_TRY(add_labels(text, plan));
    EMC_TRY(emc_text_add_string(text, ",\n  \"chosen\": "));
    EMC_TRY(plan->chosen ? emc_text_add_json(text, plan->chosen, strlen(plan->chosen))
                         : emc_text_add_string(text, "null"));
    return emc_text_addf(text,
                         ",\n  \"n_rows\": %lld,\n  \"n_cells\": %lld,\n  \"shard_cells\": %lld,\n"
                         "  \"n_shards\": %lld,\n  \"generated\": %s,\n  \"probabilities\": %s,\n"
                         "  \"invalid_mass\": %s",
                         (long long)plan->n_rows, (long long)plan->n_cells,
                         (long long)plan->shard_cells, (long long)emc_plan_n_shards(plan),
                         plan->generated ? "true" : "false", plan->probabilities ? "true" : "false",
                         plan->invalid_mass ? "true" : "false");
}

static emc_status hash_plan(emc_hash *out, const emc_plan *plan)
{
    emc_text text = {0};
    const emc_status status = add_pinned(&text, plan);

    if (status == EMC_OK)
        *out = emc_hash_of(text.bytes, text.n);
    emc_text_free(&text);
    return status;
}

static emc_status write_text(emc_text *text, emc_plan *plan)
{
    char hash[EMC_HASH_TEXT];

    EMC_TRY(hash_plan(&plan->hash, plan));
    emc_hash_text(hash, &plan->hash);
    EMC_TRY(
        emc_text_addf(text, "{\n  \"emcell_run\": %d,\n  \"plan\": \"%s\",\n", RUN_VERSION, hash));
    EMC_TRY(add_pinned(text, plan));
    EMC_TRY(emc_text_addf(text, ",\n  \"max_tries\": %d,\n", plan->max_tries));
    EMC_TRY(add_list(text, "notes", &plan->notes));
    return emc_text_add_string(text, "\n}\n");
}

/* ---- from text ---- */

static emc_status read_list(emc_pin_list *list, const cJSON *json, const char *key,
                            const char *path)
{
    const cJSON *object = emc_json_member(json, key), *item;

    if (!cJSON_IsObject(object))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is no object", path, key);
    cJSON_ArrayForEach(item, object)
    {
        if (!cJSON_IsString(item))
            return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\": \"%s\" is no text", path, key,
                            item->string);
        EMC_TRY(set(list, item->string, item->valuestring));
    }
    return EMC_OK;
}

static emc_status read_labels(emc_plan *out, const cJSON *json, const char *path)
{
    static const char *const keys[] = {"label", "cl", NULL};
    const cJSON *list = emc_json_member(json, "labels"), *item;

    if (!cJSON_IsArray(list))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"labels\" is no list", path);
    cJSON_ArrayForEach(item, list)
    {
        const char *label = NULL, *cl = NULL;
        if (out->n_labels == MAX_N_LABELS)
            return emc_fail(EMC_ERR_FORMAT, "%s: more than %d labels", path, MAX_N_LABELS);
        EMC_TRY(emc_json_check_keys(item, keys, path));
        EMC_TRY(emc_json_get_string(&label, item, "label", true, path));
        EMC_TRY(emc_json_get_string(&cl, item, "cl", false, path));
        EMC_TRY(add_label(out, label, cl));
    }
    return EMC_OK;
}

static emc_status read_numbers(emc_plan *out, const cJSON *json, const char *path)
{
    const int64_t most = (int64_t)1 << 53;
    int64_t max_tries = 0, n_shards = 0;

    EMC_TRY(emc_json_get_int(&out->n_rows, json, "n_rows", 0, most, true, path));
    EMC_TRY(emc_json_get_int(&out->n_cells, json, "n_cells", 0, out->n_rows, true, path));
    EMC_TRY(emc_json_get_int(&out->shard_cells, json, "shard_cells", 1, most, true, path));
    EMC_TRY(emc_json_get_int(&n_shards, json, "n_shards", 0, most, true, path));
    EMC_TRY(emc_json_get_int(&max_tries, json, "max_tries", 1, INT_MAX, true, path));
    EMC_TRY(emc_json_get_bool(&out->generated, json, "generated", true, path));
    EMC_TRY(emc_json_get_bool(&out->probabilities, json, "probabilities", true, path));
    EMC_TRY(emc_json_get_bool(&out->invalid_mass, json, "invalid_mass", true, path));
    out->max_tries = (int)max_tries;
    if (n_shards != emc_plan_n_shards(out))
        return emc_fail(EMC_ERR_FORMAT, "%s: %lld shards of %lld cells for %lld cells", path,
                        (long long)n_shards, (long long)out->shard_cells, (long long)out->n_cells);
    return EMC_OK;
}

static emc_status read_plan(emc_plan *out, const cJSON *json, const char *path)
{
    const char *hash = NULL, *chosen = NULL;
    emc_hash said;
    int64_t version = 0;

    EMC_TRY(emc_json_get_int(&version, json, "emcell_run", 1, INT_MAX, true, path));
    if (version != RUN_VERSION)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: version %lld of run folders, this emcell knows %d: use the emcell "
                        "that began the run, or --force for a new one",
                        path, (long long)version, RUN_VERSION);
    EMC_TRY(emc_json_get_string(&hash, json, "plan", true, path));
    EMC_TRY(read_numbers(out, json, path));
    EMC_TRY(read_list(&out->pins, json, "pinned", path));
    EMC_TRY(read_list(&out->notes, json, "notes", path));
    EMC_TRY(read_labels(out, json, path));
    EMC_TRY(emc_json_get_string(&chosen, json, "chosen", false, path));
    if (chosen)
        EMC_TRY(emc_copy_string(&out->chosen, chosen));
    EMC_TRY(hash_plan(&out->hash, out));
    if (!emc_hash_parse(&said, hash) || !emc_hash_equal(&said, &out->hash))
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: damaged: its hash is not that of its contents; --force begins anew",
                        path);
    return EMC_OK;
}

bool emc_plan_exists(const char *dir)
{
    char *path;
    bool exists = false;

    if (emc_path_join(&path, dir, RUN_FILE) == EMC_OK) {
        exists = emc_file_exists(path);
        free(path);
    }
    return exists;
}

emc_status emc_plan_read(emc_plan *out, const char *dir)
{
    char *path = NULL;
    cJSON *json = NULL;
    emc_status status;

    memset(out, 0, sizeof(*out));
    EMC_TRY(emc_path_join(&path, dir, RUN_FILE));
    if (emc_is_directory(dir) && !emc_file_exists(path))
        status = emc_fail(EMC_ERR_NOT_FOUND, "%s: no run folder: there is no " RUN_FILE, dir);
    else
        status = emc_json_read(&json, path, FILE_LIMIT);
    if (status == EMC_OK)
        status = read_plan(out, json, path);
    cJSON_Delete(json);
    free(path);
    return status;
}

/* ---- to a file ---- */

static emc_status write_whole(const char *path, const emc_text *text)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    emc_status status = EMC_OK;
    size_t done = 0;

    if (fd < 0)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", path, strerror(errno));
    while (done < text->n && status == EMC_OK) {
        const ssize_t n = write(fd, text->bytes + done, text->n - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            status = emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));
    }
    if (status == EMC_OK && fsync(fd) != 0)
        status = emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));
    close(fd);
    return status;
}

/* A name that appears must still be there after a power cut. Not every file system can: fine. */
static void sync_folder(const char *dir)
{
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
}

static emc_status link_file(const char *from, const char *to, bool *first)
{
    *first = link(from, to) == 0;
    if (*first || errno == EEXIST)
        return EMC_OK;
    if (errno == EPERM || errno == ENOTSUP || errno == ENOSYS)
        return emc_fail(EMC_ERR_CREATE,
                        "%s: this file system has no hard links; name a --run-dir on another", to);
    return emc_fail(errno == ENOSPC ? EMC_ERR_IO : EMC_ERR_CREATE, "%s: %s", to, strerror(errno));
}

emc_status emc_plan_write(emc_plan *plan, const char *dir, bool *first)
{
    char *path = NULL, *temporary = NULL, name[128], host[64] = "";
    emc_text text = {0};
    emc_status status;

    *first = false;
    (void)gethostname(host, sizeof(host) - 1);
    for (char *c = host; *c; c++) {
        if (*c == '/')
            *c = '_';
    }
    snprintf(name, sizeof(name), RUN_FILE ".%s.%ld.tmp", host, (long)getpid());
    status = emc_path_join(&path, dir, RUN_FILE);
    if (status == EMC_OK)
        status = emc_path_join(&temporary, dir, name);
    if (status == EMC_OK)
        status = write_text(&text, plan);
    if (status == EMC_OK)
        status = write_whole(temporary, &text);
    if (status == EMC_OK)
        status = link_file(temporary, path, first);
    if (temporary)
        unlink(temporary);
    if (status == EMC_OK)
        sync_folder(dir);
    emc_text_free(&text);
    free(temporary);
    free(path);
    return status;
}

/* ---- is it the same run? ---- */

#define SHOWN 64 /* characters of a value; a GPU's choices are thousands */

static emc_status add_change(emc_text *text, const char *name, const char *was, const char *now)
{
    return emc_text_addf(text, "%s%s was %.*s%s, is %.*s%s", text->n > 0 ? "; " : "", name, SHOWN,
                         was, strlen(was) > SHOWN ? "..." : "", SHOWN, now,
                         strlen(now) > SHOWN ? "..." : "");
}

static emc_status compare_numbers(emc_text *text, const emc_plan *was, const emc_plan *now)
{
    const struct {
        const char *name;
        int64_t was, now;
    } numbers[] = {
        {"cells of the file", was->n_rows, now->n_rows},
        {"cells chosen", was->n_cells, now->n_cells},
        {"--shard-cells", was->shard_cells,
         now->shard_cells > 0 ? now->shard_cells : was->shard_cells},
        {"kept probabilities", was->probabilities, now->probabilities},
        {"--invalid-mass", was->invalid_mass, now->invalid_mass},
    };

    for (size_t i = 0; i < EMC_COUNT(numbers); i++) {
        char a[32], b[32];
        snprintf(a, sizeof(a), "%lld", (long long)numbers[i].was);
        snprintf(b, sizeof(b), "%lld", (long long)numbers[i].now);
        if (numbers[i].was != numbers[i].now)
            EMC_TRY(add_change(text, numbers[i].name, a, b));
    }
    return EMC_OK;
}

emc_status emc_plan_compare(const emc_plan *was, const emc_plan *now, const char *dir)
{
    emc_text text = {0};
    emc_status status = EMC_OK;

    for (size_t i = 0; i < now->pins.n && status == EMC_OK; i++) {
        const emc_pin *pin = &now->pins.pins[i];
        const char *before = emc_plan_get(&was->pins, pin->name);
        if (!before || strcmp(before, pin->value) != 0)
            status = add_change(&text, pin->name, before ? before : "not there", pin->value);
    }
    if (status == EMC_OK)
        status = compare_numbers(&text, was, now);
    if (status == EMC_OK && text.n > 0)
        status = emc_fail(EMC_ERR_CONFIG,
                          "%s: the run was begun with other settings: %.700s%s; go back to them, "
                          "or give --force or another --run-dir for a new run",
                          dir, text.bytes, text.n > 700 ? "..." : "");
    emc_text_free(&text);
    return status;
}
