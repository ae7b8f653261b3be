/* Writing a benchmark's folder. */

#include "annotate/evaluate/benchmark_make.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/labels.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "base/str_map.h"

#define MOST_BYTES ((size_t)1 << 30)

static emc_status open_folder(const emc_benchmark_make_options *o)
{
    char *manifest;

    EMC_TRY(emc_path_join(&manifest, o->output_dir, "manifest.json"));
    const bool is_there = emc_file_exists(manifest);
    free(manifest);
    if (is_there && !o->force)
        return emc_fail(EMC_ERR_CREATE, "%s: a benchmark is there already; --force replaces it",
                        o->output_dir);
    if (mkdir(o->output_dir, 0777) != 0 && errno != EEXIST)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", o->output_dir, strerror(errno));
    return EMC_OK;
}

static emc_status open_file(emc_out_file **out, const emc_benchmark_make_options *o,
                            const char *name)
{
    char *path;

    EMC_TRY(emc_path_join(&path, o->output_dir, name));
    const emc_status status = emc_out_file_open(out, path);
    free(path);
    return status;
}

/* Writes the text whole and gives its hash. */
static emc_status write_file(const emc_benchmark_make_options *o, const char *name,
                             const emc_text *text, char hash_text[EMC_HASH_TEXT])
{
    const emc_hash hash = emc_hash_of(text->bytes ? text->bytes : "", text->n);
    emc_out_file *file = NULL;
    emc_status status = open_file(&file, o, name);

    emc_hash_text(hash_text, &hash);
    if (status == EMC_OK)
        status = emc_out_file_write(file, text->bytes, text->n);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    return status;
}

static emc_status add_string(emc_text *out, const char *key, const char *value)
{
    EMC_TRY(emc_text_addf(out, "\"%s\": ", key));
    return emc_text_add_json(out, value, strlen(value));
}

static emc_status add_optional(emc_text *out, const char *key, const char *value)
{
    if (!value)
        return EMC_OK;
    EMC_TRY(emc_text_add_string(out, ", "));
    return add_string(out, key, value);
}

/* What the manifest says beside its files. */
typedef struct {
    const char *name, *description, *source, *licence, *profile;
} about;

static emc_status write_manifest(const emc_benchmark_make_options *o, const about *a,
                                 const char *labels_hash, const char *items_hash)
{
    emc_text text = {0};
    char unused[EMC_HASH_TEXT];
    emc_status status = emc_text_add_string(&text, "{\n \"format\": \"emcell benchmark\",\n "
                                                   "\"version\": 1,\n ");

    if (status == EMC_OK)
        status = add_string(&text, "name", a->name);
    if (status == EMC_OK)
        status = emc_text_add_string(&text, ",\n \"release\": \"1\",\n ");
    if (status == EMC_OK)
        status = add_string(&text, "description", a->description);
    if (status == EMC_OK)
        status = emc_text_add_string(&text, ",\n ");
    if (status == EMC_OK)
        status = add_string(&text, "source", a->source);
    if (status == EMC_OK)
        status = emc_text_add_string(&text, ",\n ");
    if (status == EMC_OK)
        status = add_string(&text, "licence", a->licence);
    if (status == EMC_OK)
        status = emc_text_add_string(&text, ",\n \"official\": false,\n ");
    if (status == EMC_OK)
        status = add_string(&text, "profile", a->profile);
    if (status == EMC_OK)
        status = emc_text_addf(&text,
                               ",\n \"items\": {\"path\": \"items.jsonl\", \"hash\": \"%s\"},\n "
                               "\"labels\": {\"path\": \"labels.json\", \"hash\": \"%s\"}\n}\n",
                               items_hash, labels_hash);
    if (status == EMC_OK)
        status = write_file(o, "manifest.json", &text, unused);
    emc_text_free(&text);
    return status;
}

/* The labels, groups and ambiguous words that a profile has, as labels.json. */
static emc_status add_profile_labels(emc_text *out, const emc_profile *profile)
{
    static const char *const moved[] = {"labels", "groups", "ambiguous"};
    const emc_profile_info *info = emc_profile_get(profile);
    cJSON *labels = cJSON_CreateObject(), *list = cJSON_CreateArray();
    cJSON *groups = cJSON_CreateArray(), *ambiguous = cJSON_CreateArray();

    for (int i = 0; i < info->n_labels; i++) {
        const emc_profile_label *l = &info->labels[i];
        cJSON *label = cJSON_CreateObject(), *synonyms = cJSON_CreateArray();
        cJSON *like = cJSON_CreateArray();
        cJSON_AddStringToObject(label, "label", l->label);
        if (l->parent)
            cJSON_AddStringToObject(label, "parent", l->parent);
        if (l->cl)
            cJSON_AddStringToObject(label, "cl", l->cl);
        if (l->uberon)
            cJSON_AddStringToObject(label, "uberon", l->uberon);
        for (int k = 0; k < l->n_synonyms; k++)
            cJSON_AddItemToArray(synonyms, cJSON_CreateString(l->synonyms[k]));
        for (int k = 0; k < l->n_like; k++)
            cJSON_AddItemToArray(like, cJSON_CreateString(l->like[k]));
        cJSON_AddItemToObject(label, "synonyms", synonyms);
        cJSON_AddItemToObject(label, "like", like);
        cJSON_AddItemToArray(list, label);
    }
    for (int i = 0; i < info->n_groups; i++) {
        cJSON *group = cJSON_CreateObject();
        cJSON_AddStringToObject(group, "name", info->groups[i].name);
        if (info->groups[i].parent)
            cJSON_AddStringToObject(group, "parent", info->groups[i].parent);
        else
            cJSON_AddNullToObject(group, "parent");
        cJSON_AddItemToArray(groups, group);
    }
    for (int i = 0; i < info->n_ambiguous; i++) {
        cJSON *term = cJSON_CreateObject(), *means = cJSON_CreateArray();
        cJSON_AddStringToObject(term, "term", info->ambiguous[i].term);
        for (int k = 0; k < info->ambiguous[i].n_labels; k++)
            cJSON_AddItemToArray(means, cJSON_CreateString(info->ambiguous[i].labels[k]));
        cJSON_AddItemToObject(term, "labels", means);
        cJSON_AddItemToArray(ambiguous, term);
    }
    cJSON_AddItemToObject(labels, moved[0], list);
    cJSON_AddItemToObject(labels, moved[1], groups);
    cJSON_AddItemToObject(labels, moved[2], ambiguous);
    char *text = cJSON_Print(labels);
    cJSON_Delete(labels);
    if (!text)
        return emc_fail(EMC_ERR_NOMEM, "no memory for labels");
    emc_status status = emc_text_add_string(out, text);
    if (status == EMC_OK)
        status = emc_text_add_string(out, "\n");
    cJSON_free(text);
    return status;
}

/* --- from a recipe --- */

typedef struct {
    const emc_dataset *dataset;
    emc_out_file *file;
    emc_hasher *hasher;
    emc_text line;
    int64_t n;
} writing;

static bool is_logarithm(const char *unit)
{
    return unit && strstr(unit, "log") != NULL;
}

static emc_status write_item(void *context, const emc_dataset_genes *cell)
{
    writing *w = context;
    const emc_dataset_cell *c = cell->cell;
    const emc_recipe_input *input = &emc_dataset_recipe(w->dataset)->inputs[c->input];
    emc_text *out = &w->line;

    if (c->twin != c->index)
        return EMC_OK;
    emc_text_clear(out);
    EMC_TRY(emc_text_add_string(out, "{\"id\": "));
    /* Ids may come again in another dataset: barcodes do. */
    emc_text id = {0};
    emc_status status = c->dataset && emc_dataset_n_inputs(w->dataset) > 1
                            ? emc_text_addf(&id, "%s/%s", c->dataset, c->cell_id)
                            : emc_text_add_string(&id, c->cell_id);
    if (status == EMC_OK)
        status = emc_text_add_json(out, id.bytes, id.n);
    emc_text_free(&id);
    EMC_TRY(status);
    EMC_TRY(add_optional(out, "label",
                         c->label >= 0
                             ? emc_labels_get(emc_dataset_labels(w->dataset), c->label)->label
                             : "unknown"));
    EMC_TRY(add_optional(out, "split", emc_part_name(c->part)));
    EMC_TRY(add_optional(out, "embryo", c->embryo));
    EMC_TRY(add_optional(out, "dataset", c->dataset));
    EMC_TRY(add_optional(out, "stage", c->stage));
    EMC_TRY(emc_text_add_string(out, ", \"genes\": ["));
    for (int g = 0; g < cell->n_genes; g++) {
        EMC_TRY(emc_text_add_string(out, g > 0 ? "," : ""));
        EMC_TRY(emc_text_add_json(out, cell->genes[g], strlen(cell->genes[g])));
    }
    EMC_TRY(emc_text_add_string(out, "], \"values\": ["));
    for (int g = 0; g < cell->n_genes; g++)
        EMC_TRY(emc_text_addf(out, "%s%.9g", g > 0 ? "," : "", cell->values[g]));
    EMC_TRY(emc_text_addf(out, "], \"total\": %.9g%s}\n", cell->total,
                          is_logarithm(input->count_unit) ? ", \"is_log\": true" : ""));
    emc_hasher_add(w->hasher, out->bytes, out->n);
    w->n++;
    return emc_out_file_write(w->file, out->bytes, out->n);
}

static emc_status licences(emc_text *out, const emc_recipe_info *recipe)
{
    for (int i = 0; i < recipe->n_inputs; i++)
        EMC_TRY(
            emc_text_addf(out, "%s%s", i > 0 ? "; " : "",
                          recipe->inputs[i].licence ? recipe->inputs[i].licence : "not stated"));
    return EMC_OK;
}

emc_status emc_benchmark_build(int64_t *n_items, const emc_benchmark_make_options *options)
{
    emc_dataset_options dataset_options = options->dataset;
    emc_recipe *recipe = NULL;
    emc_dataset *dataset = NULL;
    emc_text labels = {0}, licence = {0};
    writing w = {0};
    char labels_hash[EMC_HASH_TEXT], items_hash[EMC_HASH_TEXT];
    emc_status status = emc_recipe_open(&recipe, options->recipe, options->input_dir);

    dataset_options.max_genes = options->n_genes > 0 ? options->n_genes : 200;
    if (status == EMC_OK)
        status = open_folder(options);
    if (status == EMC_OK)
        status = emc_dataset_open(&dataset, recipe, &dataset_options);
    if (status == EMC_OK)
        status = emc_hasher_open(&w.hasher);
    if (status == EMC_OK)
        status = open_file(&w.file, options, "items.jsonl");
    if (status == EMC_OK) {
        w.dataset = dataset;
        status = emc_dataset_each(dataset, write_item, &w);
    }
    if (status == EMC_OK)
        status = emc_out_file_commit(w.file);
    if (status == EMC_OK)
        status = add_profile_labels(&labels, emc_dataset_profile(dataset));
    if (status == EMC_OK)
        status = write_file(options, "labels.json", &labels, labels_hash);
    if (status == EMC_OK)
        status = licences(&licence, emc_recipe_get(recipe));
    if (status == EMC_OK) {
        const emc_recipe_info *info = emc_recipe_get(recipe);
        const emc_hash hash = emc_hasher_end(w.hasher);
        emc_hash_text(items_hash, &hash);
        status = write_manifest(options,
                                &(about){info->name, info->description, info->source, licence.bytes,
                                         info->profile ? info->profile : "embryo"},
                                labels_hash, items_hash);
    }
    if (n_items)
        *n_items = w.n;
    emc_text_free(&licence);
    emc_text_free(&labels);
    emc_text_free(&w.line);
    emc_out_file_close(w.file);
    emc_hasher_close(w.hasher);
    emc_dataset_close(dataset);
    emc_recipe_close(recipe);
    return status;
}

/* --- CellVerse --- */

typedef struct {
    emc_text items, labels, line;
    emc_str_map *known;
    int64_t n;
    const char *path;
} importing;

/* What stands between the last `{name}: ` at the start of a line and the end of that line. */
static bool field_of(const char **text, size_t *n, const char *content, const char *name)
{
    char cue[64];
    const char *found = NULL;

    snprintf(cue, sizeof cue, "\n{%s}: ", name);
    for (const char *at = content; (at = strstr(at, cue)); at++)
        found = at + strlen(cue);
    if (!found)
        return false;
    *text = found;
    *n = strcspn(found, "\n");
    return true;
}

static emc_status fail_at(const importing *im, const char *what)
{
    return emc_fail(EMC_ERR_FORMAT, "%s: question %lld: %s", im->path, (long long)im->n + 1, what);
}

/* 'a', 'b', 'c'. -> JSON texts; labels that are new are kept. *found: the right one is among them.
 */
static emc_status add_candidates(importing *im, const char *text, size_t n, const char *right,
                                 bool *found)
{
    int count = 0;

    EMC_TRY(emc_text_add_string(&im->line, ", \"candidates\": ["));
    for (size_t at = 0; at < n;) {
        const char *open = memchr(text + at, '\'', n - at);
        if (!open)
            break;
        const size_t begin = (size_t)(open - text) + 1;
        size_t end = begin; /* a quote that a comma, a full stop or the end follows */
        while (end < n && !(text[end] == '\'' &&
                            (end + 1 == n || text[end + 1] == ',' || text[end + 1] == '.')))
            end++;
        if (end == n)
            return fail_at(im, "a candidate without its closing quote");
        bool existed;
        EMC_TRY(emc_str_map_put(im->known, text + begin, end - begin, 0, &existed));
        if (!existed) {
            EMC_TRY(emc_text_add_string(&im->labels, im->labels.n > 0 ? ",\n  " : "  "));
            EMC_TRY(emc_text_add_string(&im->labels, "{\"label\": "));
            EMC_TRY(emc_text_add_json(&im->labels, text + begin, end - begin));
            EMC_TRY(emc_text_add_string(&im->labels, "}"));
        }
        *found |= strlen(right) == end - begin && memcmp(right, text + begin, end - begin) == 0;
        EMC_TRY(emc_text_add_string(&im->line, count++ > 0 ? ", " : ""));
        EMC_TRY(emc_text_add_json(&im->line, text + begin, end - begin));
        at = end + 1;
    }
    if (count < 2)
        return fail_at(im, "fewer than two candidates");
    return emc_text_add_string(&im->line, "]");
}

static emc_status add_genes(importing *im, const char *text, size_t n)
{
    bool is_first = true;

    EMC_TRY(emc_text_add_string(&im->line, ", \"genes\": ["));
    for (size_t at = 0; at < n;) {
        const size_t length = strcspn(text + at, " \n");
        if (length > 0 && at + length <= n) {
            EMC_TRY(emc_text_add_string(&im->line, is_first ? "" : ","));
            EMC_TRY(emc_text_add_json(&im->line, text + at, length));
            is_first = false;
        }
        at += length + 1;
    }
    return emc_text_add_string(&im->line, "]");
}

static emc_status import_question(importing *im, const cJSON *entry)
{
    const cJSON *messages = emc_json_member(entry, "messages"), *message;
    const int n = cJSON_GetArraySize(messages);
    const char *right = NULL, *asked = NULL, *text;
    bool found = false;
    size_t length;
    int i = 0;

    emc_text_clear(&im->line);
    if (n < 2)
        return fail_at(im, "no list \"messages\"");
    EMC_TRY(emc_text_addf(&im->line, "{\"id\": \"cellverse_cta_%04lld\", \"messages\": [",
                          (long long)im->n));
    cJSON_ArrayForEach(message, messages)
    {
        const char *role = NULL, *content = NULL;
        EMC_TRY(emc_json_get_string(&role, message, "role", true, im->path));
        EMC_TRY(emc_json_get_string(&content, message, "content", true, im->path));
        if (++i == n) {
            right = strcmp(role, "assistant") == 0 ? content : NULL;
            break;
        }
        asked = content;
        EMC_TRY(emc_text_add_string(&im->line, i > 1 ? ", {" : "{"));
        EMC_TRY(add_string(&im->line, "role", role));
        EMC_TRY(emc_text_add_string(&im->line, ", "));
        EMC_TRY(add_string(&im->line, "content", content));
        EMC_TRY(emc_text_add_string(&im->line, "}"));
    }
    EMC_TRY(emc_text_add_string(&im->line, "]"));
    if (!right || !asked)
        return fail_at(im, "the last message is not the assistant's");
    if (!field_of(&text, &length, asked, "cell_types"))
        return fail_at(im, "no line \"{cell_types}: \" in the question");
    EMC_TRY(add_candidates(im, text, length, right, &found));
    if (!found)
        return fail_at(im, "the right answer is not among the candidates");
    if (field_of(&text, &length, asked, "gene_names"))
        EMC_TRY(add_genes(im, text, length));
    EMC_TRY(add_optional(&im->line, "label", right));
    EMC_TRY(emc_text_add_string(&im->line, "}\n"));
    EMC_TRY(emc_text_add(&im->items, im->line.bytes, im->line.n));
    im->n++;
    return EMC_OK;
}

emc_status emc_benchmark_import_cellverse(int64_t *n_items, const char *path,
                                          const emc_benchmark_make_options *options)
{
    static const about said = {
        "cellverse-cta", "Multiple-choice questions on single cells of multiple sclerosis brains",
        "CellVerse (arXiv:2505.07865), data/cta_scrna_full.json, imported as it is", "MIT",
        "choices"};
    importing im = {.path = path};
    emc_text labels = {0};
    cJSON *document = NULL;
    const cJSON *entry;
    char labels_hash[EMC_HASH_TEXT], items_hash[EMC_HASH_TEXT];
    emc_status status = emc_json_read(&document, path, MOST_BYTES);

    if (status == EMC_OK && (!cJSON_IsArray(document) || cJSON_GetArraySize(document) == 0))
        status = emc_fail(EMC_ERR_FORMAT, "%s: wanted a list of questions", path);
    if (status == EMC_OK)
        status = open_folder(options);
    if (status == EMC_OK)
        status = emc_str_map_open(&im.known, 64);
    if (status == EMC_OK)
        cJSON_ArrayForEach(entry, document)
        {
            status = import_question(&im, entry);
            if (status != EMC_OK)
                break;
        }
    if (status == EMC_OK)
        status = emc_text_add_string(&labels, "{\n \"labels\": [\n");
    if (status == EMC_OK)
        status = emc_text_add(&labels, im.labels.bytes, im.labels.n);
    if (status == EMC_OK)
        status = emc_text_add_string(&labels, "\n ]\n}\n");
    if (status == EMC_OK)
        status = write_file(options, "labels.json", &labels, labels_hash);
    if (status == EMC_OK)
        status = write_file(options, "items.jsonl", &im.items, items_hash);
    if (status == EMC_OK)
        status = write_manifest(options, &said, labels_hash, items_hash);
    if (n_items)
        *n_items = im.n;
    emc_text_free(&labels);
    emc_text_free(&im.items);
    emc_text_free(&im.labels);
    emc_text_free(&im.line);
    emc_str_map_close(im.known);
    cJSON_Delete(document);
    return status;
}
