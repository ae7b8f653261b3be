#include "annotate/profile_read.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/template.h"
#include "base/file.h"
#include "base/size.h"
#include "base/text.h"
#include "cells/genes.h"

#define MAX_GENES       100000 /* more than any transcriptome */
#define MAX_TOKENS      32768  /* what Qwen3 models were trained to write */
#define MAX_LABELS      10000
#define MAX_MESSAGES    64
#define MAX_PARAPHRASES 1000

void emc_profile_store_free(emc_profile_store *store)
{
    for (size_t i = 0; i < store->n_blocks; i++)
        free(store->blocks[i]);
    free(store->blocks);
    memset(store, 0, sizeof(*store));
}

/* n zeroed items that live as long as the store. *out is a pointer to them. */
static emc_status take(emc_profile_store *store, void *out, size_t n, size_t size)
{
    void *block;

    EMC_TRY(emc_reserve(&store->blocks, &store->capacity, store->n_blocks + 1,
                        sizeof(*store->blocks), "profile"));
    EMC_TRY(emc_alloc(&block, n, size, "profile"));
    store->blocks[store->n_blocks++] = block;
    memcpy(out, &block, sizeof(block));
    return EMC_OK;
}

/* What a reader of one part of the file needs to know. */
typedef struct {
    emc_profile_info *info;
    emc_profile_store *store;
    const char *name; /* of the file, for messages */
    const char *folder;
} reading;

static emc_status get_object(const cJSON **out, const cJSON *tree, const char *key,
                             const char *name)
{
    *out = emc_json_member(tree, key);
    if (!*out)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is missing", name, key);
    if (!cJSON_IsObject(*out))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" must be an object", name, key);
    return EMC_OK;
}

/* *out is NULL when an optional list is missing. */
static emc_status get_array(const cJSON **out, int *n, const cJSON *tree, const char *key, int most,
                            bool required, const char *name)
{
    *n = 0;
    *out = emc_json_member(tree, key);
    if (!*out) {
        if (required)
            return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is missing", name, key);
        return EMC_OK;
    }
    if (!cJSON_IsArray(*out))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" must be a list", name, key);
    *n = cJSON_GetArraySize(*out);
    if (*n > most)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" has %d items, at most %d are read", name, key,
                        *n, most);
    return EMC_OK;
}

static emc_status get_strings(reading *r, const char *const **out, int *n, const cJSON *tree,
                              const char *key, const char *name)
{
    const cJSON *array, *item;
    const char **strings;
    int i = 0;

    EMC_TRY(get_array(&array, n, tree, key, MAX_GENES, false, name));
    if (*n == 0)
        return EMC_OK;
    EMC_TRY(take(r->store, &strings, (size_t)*n, sizeof(*strings)));
    cJSON_ArrayForEach(item, array)
    {
        if (!cJSON_IsString(item) || item->valuestring[0] == '\0')
            return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\": item %d must be a text, not empty", name,
                            key, i + 1);
        strings[i++] = item->valuestring;
    }
    *out = strings;
    return EMC_OK;
}

static emc_status get_nonempty(const char **out, const cJSON *tree, const char *key,
                               const char *name)
{
    EMC_TRY(emc_json_get_string(out, tree, key, true, name));
    if ((*out)[0] == '\0')
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is empty", name, key);
    return EMC_OK;
}

/* One of the words, which end with NULL; *out is its place, and stays as it is when an optional one
 * is missing. */
static emc_status get_word_if(int *out, const cJSON *tree, const char *key,
                              const char *const *words, bool required, const char *name)
{
    const char *word = NULL;
    emc_text wanted = {0};

    EMC_TRY(emc_json_get_string(&word, tree, key, required, name));
    if (!word)
        return EMC_OK;
    for (int i = 0; words[i]; i++) {
        if (strcmp(words[i], word) == 0) {
            *out = i;
            return EMC_OK;
        }
    }
    emc_status status = EMC_OK;
    for (int i = 0; words[i] && status == EMC_OK; i++)
        status = emc_text_addf(&wanted, "%s\"%s\"",
                               i == 0         ? ""
                               : words[i + 1] ? ", "
                                              : " or ",
                               words[i]);
    if (status == EMC_OK)
        status = emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is \"%s\", wanted %s", name, key, word,
                          wanted.bytes);
    emc_text_free(&wanted);
    return status;
}

static emc_status get_word(int *out, const cJSON *tree, const char *key, const char *const *words,
                           const char *name)
{
    return get_word_if(out, tree, key, words, true, name);
}

static emc_status read_head(reading *r, const cJSON *tree)
{
    static const char *const keys[] = {"official", "source", NULL};
    const cJSON *provenance;
    char where[512];

    EMC_TRY(get_nonempty(&r->info->name, tree, "name", r->name));
    EMC_TRY(get_nonempty(&r->info->description, tree, "description", r->name));
    EMC_TRY(get_object(&provenance, tree, "provenance", r->name));
    snprintf(where, sizeof(where), "%s: provenance", r->name);
    EMC_TRY(emc_json_check_keys(provenance, keys, where));
    EMC_TRY(emc_json_get_bool(&r->info->official, provenance, "official", true, where));
    return get_nonempty(&r->info->source, provenance, "source", where);
}

/* Counts the slots of one message. */
static emc_status check_template(const emc_profile_message *message, int *n_genes_slots,
                                 const char *where)
{
    const char *cursor = message->content;

    for (;;) {
        emc_piece piece;
        bool more;
        if (emc_template_next(&cursor, &piece, &more) != EMC_OK)
            return emc_fail_in(EMC_ERR_CONFIG, "%s", where);
        if (!more)
            return EMC_OK;
        if (piece.kind == EMC_PIECE_GENES && strcmp(message->role, "user") != 0)
            return emc_fail(EMC_ERR_CONFIG, "%s: {genes} must stand in a user message", where);
        *n_genes_slots += piece.kind == EMC_PIECE_GENES;
    }
}

/* One way to ask: `what` names it in messages. */
static emc_status read_wording(reading *r, const cJSON *array, const char *what,
                               emc_profile_wording *out)
{
    static const char *const keys[] = {"role", "content", NULL};
    static const char *const roles[] = {"system", "user", "assistant", NULL};
    const int n = cJSON_GetArraySize(array);
    emc_profile_message *messages;
    const cJSON *item;
    int i = 0, role = 0, n_genes_slots = 0;
    char where[512];

    if (n == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is empty", r->name, what);
    if (n > MAX_MESSAGES)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" has %d items, at most %d are read", r->name,
                        what, n, MAX_MESSAGES);
    EMC_TRY(take(r->store, &messages, (size_t)n, sizeof(*messages)));
    cJSON_ArrayForEach(item, array)
    {
        if (strcmp(what, "messages") == 0)
            snprintf(where, sizeof(where), "%s: message %d", r->name, i + 1);
        else
            snprintf(where, sizeof(where), "%s: %s, message %d", r->name, what, i + 1);
        if (!cJSON_IsObject(item))
            return emc_fail(EMC_ERR_FORMAT, "%s: must be an object", where);
        EMC_TRY(emc_json_check_keys(item, keys, where));
        EMC_TRY(get_word(&role, item, "role", roles, where));
        messages[i].role = roles[role];
        EMC_TRY(emc_json_get_string(&messages[i].content, item, "content", true, where));
        if (role == 0 && i > 0)
            return emc_fail(EMC_ERR_CONFIG, "%s: a system message must come first", where);
        EMC_TRY(check_template(&messages[i++], &n_genes_slots, where));
    }
    if (strcmp(messages[n - 1].role, "user") != 0)
        return emc_fail(EMC_ERR_CONFIG, "%s: the last %s must be the user's", r->name,
                        strcmp(what, "messages") == 0 ? "message" : what);
    if (n_genes_slots != 1)
        return emc_fail(EMC_ERR_CONFIG, "%s: \"%s\" hold the slot {genes} %d times, wanted once",
                        r->name, what, n_genes_slots);
    *out = (emc_profile_wording){messages, n};
    return EMC_OK;
}

static emc_status read_messages(reading *r, const cJSON *tree)
{
    emc_profile_wording plain, *others;
    const cJSON *array, *item;
    int n, i = 0;
    char what[64];

    EMC_TRY(get_array(&array, &n, tree, "messages", MAX_MESSAGES, true, r->name));
    EMC_TRY(read_wording(r, array, "messages", &plain));
    r->info->messages = plain.messages;
    r->info->n_messages = plain.n_messages;
    r->info->label_separator = ", ";
    EMC_TRY(
        emc_json_get_string(&r->info->label_separator, tree, "label_separator", false, r->name));
    EMC_TRY(get_array(&array, &n, tree, "paraphrases", MAX_PARAPHRASES, false, r->name));
    if (n == 0)
        return EMC_OK;
    EMC_TRY(take(r->store, &others, (size_t)n, sizeof(*others)));
    cJSON_ArrayForEach(item, array)
    {
        snprintf(what, sizeof(what), "paraphrase %d", i + 1);
        if (!cJSON_IsArray(item))
            return emc_fail(EMC_ERR_FORMAT, "%s: %s must be a list of messages", r->name, what);
        EMC_TRY(read_wording(r, item, what, &others[i++]));
    }
    r->info->paraphrases = others;
    r->info->n_paraphrases = n;
    return EMC_OK;
}

static emc_status read_drops(reading *r, const cJSON *genes, const char *where)
{
    const char *const *groups = NULL;
    int n_groups;

    EMC_TRY(get_strings(r, &groups, &n_groups, genes, "drop_groups", where));
    for (int i = 0; i < n_groups; i++) {
        unsigned group;
        if (emc_gene_group_parse(&group, groups[i]) != EMC_OK)
            return emc_fail_in(EMC_ERR_CONFIG, "%s: \"drop_groups\"", where);
        r->info->drop_groups |= group;
    }
    return get_strings(r, &r->info->drop_genes, &r->info->n_drop_genes, genes, "drop_genes", where);
}

/* The file lies beside the profile; a name that leaves the folder is refused. */
static emc_status read_medians(reading *r, const cJSON *genes, const char *where)
{
    const char *medians = NULL;
    char *path = NULL;
    char *kept;

    EMC_TRY(emc_json_get_string(&medians, genes, "medians", false, where));
    if (!medians)
        return EMC_OK;
    if (!r->folder || !emc_is_plain_name(medians))
        return emc_fail(EMC_ERR_CONFIG,
                        "%s: \"medians\" is \"%s\", wanted the plain name of a file in the "
                        "profile's folder",
                        where, medians);
    EMC_TRY(emc_path_join(&path, r->folder, medians));
    emc_status status = take(r->store, &kept, strlen(path) + 1, 1);
    if (status == EMC_OK) {
        strcpy(kept, path);
        r->info->medians_path = kept;
    }
    free(path);
    return status;
}

static emc_status read_genes(reading *r, const cJSON *tree)
{
    static const char *const keys[] = {"n_genes",    "min_genes",  "separator", "min_value",
                                       "negative",   "not_finite", "medians",   "drop_groups",
                                       "drop_genes", NULL};
    static const char *const bad[] = {"refuse", "skip", NULL};
    emc_profile_info *info = r->info;
    const cJSON *genes;
    int64_t n_genes = 0, min_genes = 1;
    int on_negative = 0, on_not_finite = 0;
    char where[512];

    EMC_TRY(get_object(&genes, tree, "genes", r->name));
    snprintf(where, sizeof(where), "%s: genes", r->name);
    EMC_TRY(emc_json_check_keys(genes, keys, where));
    EMC_TRY(emc_json_get_int(&n_genes, genes, "n_genes", 1, MAX_GENES, true, where));
    EMC_TRY(emc_json_get_int(&min_genes, genes, "min_genes", 1, MAX_GENES, true, where));
    if (min_genes > n_genes)
        return emc_fail(EMC_ERR_CONFIG, "%s: \"min_genes\" is %d, above \"n_genes\", %d", where,
                        (int)min_genes, (int)n_genes);
    EMC_TRY(get_nonempty(&info->gene_separator, genes, "separator", where));
    EMC_TRY(emc_json_get_double(&info->min_value, genes, "min_value", true, where));
    if (!(info->min_value >= 0 && isfinite(info->min_value)))
        return emc_fail(EMC_ERR_CONFIG, "%s: \"min_value\" must be at least 0", where);
    EMC_TRY(get_word(&on_negative, genes, "negative", bad, where));
    EMC_TRY(get_word(&on_not_finite, genes, "not_finite", bad, where));
    info->n_genes = (int)n_genes;
    info->min_genes = (int)min_genes;
    info->on_negative = (emc_bad_values)on_negative;
    info->on_not_finite = (emc_bad_values)on_not_finite;
    EMC_TRY(read_medians(r, genes, where));
    return read_drops(r, genes, where);
}

static emc_status read_chat(reading *r, const cJSON *tree)
{
    static const char *const keys[] = {"form", "thinking", NULL};
    static const char *const forms[] = {"qwen3", NULL};
    static const char *const thinking[] = {"plain", "empty-think-prefill", "model-emits-think",
                                           NULL};
    const cJSON *chat;
    int form = 0, word = 0;
    char where[512];

    EMC_TRY(get_object(&chat, tree, "chat", r->name));
    snprintf(where, sizeof(where), "%s: chat", r->name);
    EMC_TRY(emc_json_check_keys(chat, keys, where));
    EMC_TRY(get_word(&form, chat, "form", forms, where));
    EMC_TRY(get_word(&word, chat, "thinking", thinking, where));
    r->info->thinking = (emc_thinking)word;
    return EMC_OK;
}

/* "CL:" and seven digits. */
static emc_status get_term(const char **out, const cJSON *item, const char *key, const char *prefix,
                           const char *where)
{
    const size_t n = strlen(prefix);

    *out = NULL;
    EMC_TRY(emc_json_get_string(out, item, key, false, where));
    if (*out && (strncmp(*out, prefix, n) != 0 || strlen(*out) != n + 7 ||
                 strspn(*out + n, "0123456789") != 7))
        return emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" is \"%s\", wanted %s and seven digits", where,
                        key, *out, prefix);
    return EMC_OK;
}

static emc_status read_label(reading *r, emc_profile_label *label, const cJSON *item, int index)
{
    static const char *const keys[] = {"label", "parent",   "cl",   "uberon",
                                       "note",  "synonyms", "like", NULL};
    const char *note = NULL;
    char where[512];

    snprintf(where, sizeof(where), "%s: label %d", r->name, index + 1);
    if (!cJSON_IsObject(item))
        return emc_fail(EMC_ERR_FORMAT, "%s: must be an object", where);
    EMC_TRY(emc_json_check_keys(item, keys, where));
    EMC_TRY(get_nonempty(&label->label, item, "label", where));
    snprintf(where, sizeof(where), "%s: label \"%s\"", r->name, label->label);
    EMC_TRY(emc_json_get_string(&label->parent, item, "parent", false, where));
    EMC_TRY(emc_json_get_string(&note, item, "note", false, where));
    EMC_TRY(get_term(&label->cl, item, "cl", "CL:", where));
    EMC_TRY(get_term(&label->uberon, item, "uberon", "UBERON:", where));
    EMC_TRY(get_strings(r, &label->synonyms, &label->n_synonyms, item, "synonyms", where));
    return get_strings(r, &label->like, &label->n_like, item, "like", where);
}

static emc_status read_groups(reading *r, const cJSON *tree)
{
    static const char *const keys[] = {"name", "parent", NULL};
    emc_profile_group *groups;
    const cJSON *array, *item;
    int i = 0;
    char where[512];

    EMC_TRY(get_array(&array, &r->info->n_groups, tree, "groups", MAX_LABELS, false, r->name));
    EMC_TRY(take(r->store, &groups, (size_t)r->info->n_groups, sizeof(*groups)));
    r->info->groups = groups;
    cJSON_ArrayForEach(item, array)
    {
        snprintf(where, sizeof(where), "%s: group %d", r->name, i + 1);
        if (!cJSON_IsObject(item))
            return emc_fail(EMC_ERR_FORMAT, "%s: must be an object", where);
        EMC_TRY(emc_json_check_keys(item, keys, where));
        EMC_TRY(get_nonempty(&groups[i].name, item, "name", where));
        EMC_TRY(emc_json_get_string(&groups[i].parent, item, "parent", false, where));
        i++;
    }
    return EMC_OK;
}

static emc_status read_ambiguous(reading *r, const cJSON *tree)
{
    static const char *const keys[] = {"term", "labels", NULL};
    emc_profile_ambiguous *terms;
    const cJSON *array, *item;
    int i = 0;
    char where[512];

    EMC_TRY(
        get_array(&array, &r->info->n_ambiguous, tree, "ambiguous", MAX_LABELS, false, r->name));
    EMC_TRY(take(r->store, &terms, (size_t)r->info->n_ambiguous, sizeof(*terms)));
    r->info->ambiguous = terms;
    cJSON_ArrayForEach(item, array)
    {
        snprintf(where, sizeof(where), "%s: ambiguous term %d", r->name, i + 1);
        if (!cJSON_IsObject(item))
            return emc_fail(EMC_ERR_FORMAT, "%s: must be an object", where);
        EMC_TRY(emc_json_check_keys(item, keys, where));
        EMC_TRY(get_nonempty(&terms[i].term, item, "term", where));
        EMC_TRY(get_strings(r, &terms[i].labels, &terms[i].n_labels, item, "labels", where));
        i++;
    }
    return EMC_OK;
}

static emc_status read_labels(reading *r, const char **labels_of, const cJSON *tree)
{
    emc_profile_label *labels;
    const cJSON *array, *item;
    int i = 0;

    *labels_of = NULL;
    EMC_TRY(emc_json_get_string(labels_of, tree, "labels_of", false, r->name));
    if (*labels_of) {
        static const char *const own[] = {"labels", "groups", "ambiguous"};
        for (size_t k = 0; k < EMC_COUNT(own); k++) {
            if (emc_json_member(tree, own[k]))
                return emc_fail(EMC_ERR_CONFIG, "%s: \"%s\" and \"labels_of\" exclude each other",
                                r->name, own[k]);
        }
        return EMC_OK;
    }
    EMC_TRY(get_array(&array, &r->info->n_labels, tree, "labels", MAX_LABELS, true, r->name));
    EMC_TRY(take(r->store, &labels, (size_t)r->info->n_labels, sizeof(*labels)));
    r->info->labels = labels;
    cJSON_ArrayForEach(item, array)
    {
        EMC_TRY(read_label(r, &labels[i], item, i));
        i++;
    }
    EMC_TRY(read_groups(r, tree));
    return read_ambiguous(r, tree);
}

static emc_status get_share(double *out, const cJSON *tree, const char *key, bool required,
                            const char *where)
{
    EMC_TRY(emc_json_get_double(out, tree, key, required, where));
    if (!(*out >= 0 && *out <= 1))
        return emc_fail(EMC_ERR_CONFIG, "%s: \"%s\" must be between 0 and 1", where, key);
    return EMC_OK;
}

static emc_status read_decoding(reading *r, const cJSON *tree)
{
    static const char *const keys[] = {
        "answer",        "max_tokens",   "scoring", "temperature", "probability_width",
        "unknown_below", "margin_below", NULL};
    static const char *const modes[] = {"exact", "full", "greedy", "generate", NULL};
    static const char *const rules[] = {"joint", "mean", "first", "prior", NULL};
    emc_profile_info *info = r->info;
    const cJSON *decoding;
    int64_t max_tokens = 0;
    int mode = 0, rule = EMC_SCORING_JOINT;
    char where[512];

    EMC_TRY(get_object(&decoding, tree, "decoding", r->name));
    snprintf(where, sizeof(where), "%s: decoding", r->name);
    EMC_TRY(emc_json_check_keys(decoding, keys, where));
    EMC_TRY(get_word(&mode, decoding, "answer", modes, where));
    EMC_TRY(get_word_if(&rule, decoding, "scoring", rules, false, where));
    info->answer = (emc_answer_mode)mode;
    info->scoring = (emc_scoring_rule)rule;
    EMC_TRY(emc_json_get_int(&max_tokens, decoding, "max_tokens", 1, MAX_TOKENS, true, where));
    info->max_tokens = (int)max_tokens;
    EMC_TRY(emc_json_get_double(&info->temperature, decoding, "temperature", true, where));
    if (!(info->temperature > 0 && isfinite(info->temperature)))
        return emc_fail(EMC_ERR_CONFIG, "%s: \"temperature\" must be above 0", where);
    info->probability_width = EMC_PROBABILITY_WIDTH;
    EMC_TRY(get_share(&info->probability_width, decoding, "probability_width", false, where));
    EMC_TRY(get_share(&info->unknown_below, decoding, "unknown_below", true, where));
    return get_share(&info->margin_below, decoding, "margin_below", true, where);
}

static emc_status read_answer(reading *r, const cJSON *tree)
{
    static const char *const keys[] = {"prefix", "suffix", "ending", NULL};
    emc_profile_info *info = r->info;
    const cJSON *answer;
    char where[512];

    EMC_TRY(get_object(&answer, tree, "answer", r->name));
    snprintf(where, sizeof(where), "%s: answer", r->name);
    EMC_TRY(emc_json_check_keys(answer, keys, where));
    EMC_TRY(emc_json_get_string(&info->answer_prefix, answer, "prefix", true, where));
    EMC_TRY(emc_json_get_string(&info->answer_suffix, answer, "suffix", true, where));
    return get_nonempty(&info->answer_ending, answer, "ending", where);
}

emc_status emc_profile_read(emc_profile_info *info, emc_profile_store *store,
                            const char **labels_of, const cJSON *tree, const char *name,
                            const char *folder)
{
    static const char *const keys[] = {"name",        "description",     "provenance", "messages",
                                       "paraphrases", "label_separator", "genes",      "chat",
                                       "labels",      "labels_of",       "groups",     "ambiguous",
                                       "answer",      "decoding",        NULL};
    reading r = {info, store, name, folder};

    *labels_of = NULL;
    if (!cJSON_IsObject(tree))
        return emc_fail(EMC_ERR_FORMAT, "%s: wanted a JSON object", name);
    EMC_TRY(emc_json_check_keys(tree, keys, name));
    EMC_TRY(read_head(&r, tree));
    EMC_TRY(read_messages(&r, tree));
    EMC_TRY(read_genes(&r, tree));
    EMC_TRY(read_chat(&r, tree));
    EMC_TRY(read_answer(&r, tree));
    EMC_TRY(read_decoding(&r, tree));
    return read_labels(&r, labels_of, tree);
}
