/*
 * Does a tokenizer.json ask for exactly what is done here? Whatever it says beyond vocabulary,
 * merges and added tokens must have the one value that is implemented, or the file is refused.
 */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "tokenizer/tape.h"
#include "tokenizer/vocab.h"

#define MAX_FILE_BYTES ((size_t)256 << 20)

static const char pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                              "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
                              "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/* What a member may be. */
typedef enum {
    ANY,
    NULL_ONLY,
    NULL_OR_EMPTY, /* null or "" */
    NULL_OR_ZERO,
    FALSE_ONLY,
    TEXT /* the string in `text` */
} wanted;

typedef struct {
    const char *key;
    wanted wanted;
    const char *text;
    bool required;
} rule;

static bool fits(const emc_tape_value *value, const rule *r)
{
    int32_t zero;

    switch (r->wanted) {
    case ANY:
        return true;
    case NULL_ONLY:
        return value->kind == EMC_TAPE_NULL;
    case NULL_OR_EMPTY:
        return value->kind == EMC_TAPE_NULL || emc_tape_equals(value, "");
    case NULL_OR_ZERO:
        return value->kind == EMC_TAPE_NULL || emc_tape_whole(value, 0, &zero) ||
               (value->kind == EMC_TAPE_NUMBER && strcmp(value->text, "0.0") == 0);
    case FALSE_ONLY:
        return value->kind == EMC_TAPE_FALSE;
    case TEXT:
        return emc_tape_equals(value, r->text);
    }
    return false;
}

/* A value as a message shows it. */
static const char *describe(const emc_tape_value *value)
{
    static const char *const names[] = {"null", "false",  "true",     "a number",
                                        "",     "a list", "an object"};

    if (value->kind == EMC_TAPE_STRING || value->kind == EMC_TAPE_NUMBER)
        return value->text;
    return names[value->kind];
}

static const char *describe_wanted(const rule *r)
{
    static const char *const names[] = {"anything", "null", "null or \"\"", "null", "false"};

    return r->wanted == TEXT ? r->text : names[r->wanted];
}

/* Every member of `object` has a rule and keeps to it. `where` is "" or ends in a point. */
static emc_status check_members(const emc_tape_value *object, const rule *rules, const char *name,
                                const char *where)
{
    if (object->kind != EMC_TAPE_OBJECT)
        return emc_fail(EMC_ERR_FORMAT, "%s: %.*s is not an object", name,
                        (int)strlen(where) - (where[0] != '\0'), where);
    const emc_tape_value *key = object + 1;
    for (uint32_t i = 0; i < object->n; i++, key = emc_tape_next(key + 1)) {
        const rule *r = rules;
        while (r->key && !emc_tape_equals(key, r->key))
            r++;
        if (!r->key)
            return emc_fail(EMC_ERR_FORMAT, "%s: unknown key \"%s%.60s\"", name, where, key->text);
        if (!fits(key + 1, r))
            return emc_fail(EMC_ERR_FORMAT, "%s: %s%s is %.200s, only %s is supported", name, where,
                            r->key, describe(key + 1), describe_wanted(r));
    }
    for (const rule *r = rules; r->key; r++)
        if (r->required && !emc_tape_member(object, r->key))
            return emc_fail(EMC_ERR_FORMAT, "%s: \"%s%s\" is missing", name, where, r->key);
    return EMC_OK;
}

static emc_status check_pre_tokenizer(const emc_tape_value *value, const char *name)
{
    static const rule sequence[] = {
        {"type", TEXT, "Sequence", true}, {"pretokenizers", ANY, NULL, true}, {0}};
    static const rule split[] = {{"type", TEXT, "Split", true},
                                 {"pattern", ANY, NULL, true},
                                 {"behavior", TEXT, "Isolated", true},
                                 {"invert", FALSE_ONLY, NULL, true},
                                 {0}};
    static const rule regex[] = {{"Regex", TEXT, pattern, true}, {0}};
    /* trim_offsets moves offsets, which nobody asks for here. */
    static const rule bytes[] = {{"type", TEXT, "ByteLevel", true},
                                 {"add_prefix_space", FALSE_ONLY, NULL, true},
                                 {"trim_offsets", ANY, NULL, false},
                                 {"use_regex", FALSE_ONLY, NULL, true},
                                 {0}};

    EMC_TRY(check_members(value, sequence, name, "pre_tokenizer."));
    const emc_tape_value *list = emc_tape_member(value, "pretokenizers");
    if (list->kind != EMC_TAPE_ARRAY || list->n != 2)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: pre_tokenizer.pretokenizers is not a Split and a ByteLevel", name);
    EMC_TRY(check_members(list + 1, split, name, "pre_tokenizer.pretokenizers[0]."));
    EMC_TRY(check_members(emc_tape_member(list + 1, "pattern"), regex, name,
                          "pre_tokenizer.pretokenizers[0].pattern."));
    return check_members(emc_tape_next(list + 1), bytes, name, "pre_tokenizer.pretokenizers[1].");
}

/* ByteLevel moves offsets only; transformers also writes a template that adds nothing. */
static emc_status check_post_processor(const emc_tape_value *value, const char *name)
{
    static const rule bytes[] = {{"type", TEXT, "ByteLevel", true},
                                 {"add_prefix_space", ANY, NULL, false},
                                 {"trim_offsets", ANY, NULL, false},
                                 {"use_regex", ANY, NULL, false},
                                 {0}};

    if (!value || value->kind == EMC_TAPE_NULL)
        return EMC_OK;
    if (!emc_tape_equals(emc_tape_member(value, "type"), "TemplateProcessing"))
        return check_members(value, bytes, name, "post_processor.");
    const emc_tape_value *single = emc_tape_member(value, "single");
    if (single && single->kind == EMC_TAPE_ARRAY && single->n == 1 &&
        emc_tape_equals(emc_tape_member(emc_tape_member(single + 1, "Sequence"), "id"), "A"))
        return EMC_OK;
    return emc_fail(EMC_ERR_FORMAT,
                    "%s: post_processor adds tokens to a text, which is not supported", name);
}

static emc_status check_pipeline(const emc_tape_value *root, const char *name)
{
    static const rule top[] = {
        {"version", TEXT, "1.0", false},      {"truncation", NULL_ONLY, NULL, false},
        {"padding", NULL_ONLY, NULL, false},  {"added_tokens", ANY, NULL, true},
        {"normalizer", ANY, NULL, true},      {"pre_tokenizer", ANY, NULL, true},
        {"post_processor", ANY, NULL, false}, {"decoder", ANY, NULL, true},
        {"model", ANY, NULL, true},           {0}};
    static const rule normalizer[] = {{"type", TEXT, "NFC", true}, {0}};
    static const rule bytes[] = {{"type", TEXT, "ByteLevel", true},
                                 {"add_prefix_space", ANY, NULL, false},
                                 {"trim_offsets", ANY, NULL, false},
                                 {"use_regex", ANY, NULL, false},
                                 {0}};
    static const rule model[] = {{"type", TEXT, "BPE", false},
                                 {"dropout", NULL_OR_ZERO, NULL, false},
                                 {"unk_token", NULL_ONLY, NULL, false},
                                 {"continuing_subword_prefix", NULL_OR_EMPTY, NULL, false},
                                 {"end_of_word_suffix", NULL_OR_EMPTY, NULL, false},
                                 {"fuse_unk", ANY, NULL, false},
                                 {"byte_fallback", FALSE_ONLY, NULL, false},
                                 {"ignore_merges", FALSE_ONLY, NULL, false},
                                 {"vocab", ANY, NULL, true},
                                 {"merges", ANY, NULL, true},
                                 {0}};

    EMC_TRY(check_members(root, top, name, ""));
    EMC_TRY(check_members(emc_tape_member(root, "normalizer"), normalizer, name, "normalizer."));
    EMC_TRY(check_pre_tokenizer(emc_tape_member(root, "pre_tokenizer"), name));
    EMC_TRY(check_members(emc_tape_member(root, "decoder"), bytes, name, "decoder."));
    EMC_TRY(check_post_processor(emc_tape_member(root, "post_processor"), name));
    return check_members(emc_tape_member(root, "model"), model, name, "model.");
}

emc_status emc_read_vocab_object(emc_tokenizer *tok, const emc_tape_value *object, const char *name)
{
    if (object->kind != EMC_TAPE_OBJECT || object->n == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: the vocabulary is not an object of tokens", name);
    const emc_tape_value *key = object + 1;
    for (uint32_t i = 0; i < object->n; i++, key = emc_tape_next(key + 1)) {
        int32_t id;
        if (!emc_tape_whole(key + 1, EMC_MAX_TOKEN_ID, &id))
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: the id of token \"%.60s\" is %.60s, wanted a whole number from 0 "
                            "to %d",
                            name, key->text, describe(key + 1), EMC_MAX_TOKEN_ID);
        EMC_TRY(emc_vocab_add_token(tok, key->text, key->n, id, name));
    }
    return EMC_OK;
}

/* Merges are ["a", "b"], in older files "a b". */
static emc_status read_merges(emc_tokenizer *tok, const emc_tape_value *list, const char *name)
{
    if (list->kind != EMC_TAPE_ARRAY)
        return emc_fail(EMC_ERR_FORMAT, "%s: model.merges is not a list", name);
    EMC_TRY(emc_vocab_begin_merges(tok, list->n, name));
    const emc_tape_value *pair = list + 1;
    for (uint32_t i = 0; i < list->n; i++, pair = emc_tape_next(pair)) {
        const char *left, *right;
        size_t n_left, n_right;
        const char *blank = pair->kind == EMC_TAPE_STRING ? memchr(pair->text, ' ', pair->n) : NULL;
        if (blank && !memchr(blank + 1, ' ', pair->n - (size_t)(blank + 1 - pair->text))) {
            left = pair->text;
            n_left = (size_t)(blank - pair->text);
            right = blank + 1;
            n_right = pair->n - n_left - 1;
        } else if (pair->kind == EMC_TAPE_ARRAY && pair->n == 2 &&
                   pair[1].kind == EMC_TAPE_STRING && pair[2].kind == EMC_TAPE_STRING) {
            left = pair[1].text;
            n_left = pair[1].n;
            right = pair[2].text;
            n_right = pair[2].n;
        } else {
            return emc_fail(EMC_ERR_FORMAT, "%s: model.merges[%u] is not a pair of tokens", name,
                            i);
        }
        EMC_TRY(emc_vocab_add_merge(tok, left, n_left, right, n_right, i, name));
    }
    return EMC_OK;
}

emc_status emc_read_added_token(emc_tokenizer *tok, const emc_tape_value *object, int32_t id,
                                const char *name)
{
    static const char *const refused[] = {"single_word", "lstrip", "rstrip", "normalized"};
    const emc_tape_value *content = emc_tape_member(object, "content");
    const emc_tape_value *special = emc_tape_member(object, "special");

    if (!content || content->kind != EMC_TAPE_STRING)
        return emc_fail(EMC_ERR_FORMAT, "%s: added token %d has no text (\"content\")", name, id);
    for (size_t i = 0; i < EMC_COUNT(refused); i++) {
        const emc_tape_value *flag = emc_tape_member(object, refused[i]);
        if (flag && flag->kind != EMC_TAPE_FALSE)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: added token \"%.60s\" has \"%s\", only false is supported (save "
                            "the tokenizer with AddedToken(..., %s=False))",
                            name, content->text, refused[i], refused[i]);
    }
    if (special && special->kind != EMC_TAPE_TRUE && special->kind != EMC_TAPE_FALSE)
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: added token \"%.60s\": \"special\" is not true or "
                        "false",
                        name, content->text);
    return emc_vocab_add_added(tok, content->text, content->n, id,
                               special && special->kind == EMC_TAPE_TRUE, name);
}

static emc_status read_added_tokens(emc_tokenizer *tok, const emc_tape_value *list,
                                    const char *name)
{
    if (list->kind != EMC_TAPE_ARRAY)
        return emc_fail(EMC_ERR_FORMAT, "%s: added_tokens is not a list", name);
    const emc_tape_value *item = list + 1;
    for (uint32_t i = 0; i < list->n; i++, item = emc_tape_next(item)) {
        int32_t id;
        if (!emc_tape_whole(emc_tape_member(item, "id"), EMC_MAX_TOKEN_ID, &id))
            return emc_fail(EMC_ERR_FORMAT, "%s: added_tokens[%u] has no \"id\" from 0 to %d", name,
                            i, EMC_MAX_TOKEN_ID);
        EMC_TRY(emc_read_added_token(tok, item, id, name));
    }
    return EMC_OK;
}

emc_status emc_read_tokenizer_json(emc_tokenizer *tok, const char *path)
{
    emc_tape *tape = NULL;
    char *json = NULL;
    size_t n;
    emc_status status;

    EMC_TRY(emc_file_read(&json, &n, path, MAX_FILE_BYTES));
    status = emc_tape_open(&tape, json, n, path);
    if (status != EMC_OK)
        goto done;
    const emc_tape_value *root = emc_tape_root(tape);
    status = check_pipeline(root, path);
    if (status != EMC_OK)
        goto done;
    const emc_tape_value *model = emc_tape_member(root, "model");
    status = emc_read_vocab_object(tok, emc_tape_member(model, "vocab"), path);
    if (status == EMC_OK)
        status = read_merges(tok, emc_tape_member(model, "merges"), path);
    if (status == EMC_OK)
        status = read_added_tokens(tok, emc_tape_member(root, "added_tokens"), path);
done:
    emc_tape_close(tape);
    free(json);
    return status;
}
