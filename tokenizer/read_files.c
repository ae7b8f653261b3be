/* How is a tokenizer read from vocab.json, merges.txt and tokenizer_config.json? */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "tokenizer/tape.h"
#include "tokenizer/vocab.h"

#define MAX_FILE_BYTES ((size_t)256 << 20)
#define QWEN3_TOKENS   151643

/* The added tokens of every Qwen3 model, from id 151643 on; the first 14 are special. */
static const char *const qwen3_added[] = {
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
};
#define QWEN3_SPECIAL 14

static emc_status read_vocab(emc_tokenizer *tok, const char *path)
{
    emc_tape *tape = NULL;
    char *json = NULL;
    size_t n;

    EMC_TRY(emc_file_read(&json, &n, path, MAX_FILE_BYTES));
    emc_status status = emc_tape_open(&tape, json, n, path);
    if (status == EMC_OK)
        status = emc_read_vocab_object(tok, emc_tape_root(tape), path);
    emc_tape_close(tape);
    free(json);
    return status;
}

/* The length of a line without its ending; *next is where the next one starts. */
static size_t line_length(const char *text, size_t n, size_t pos, size_t *next)
{
    const char *newline = memchr(text + pos, '\n', n - pos);
    size_t length = newline ? (size_t)(newline - (text + pos)) : n - pos;

    *next = newline ? pos + length + 1 : n;
    if (length > 0 && text[pos + length - 1] == '\r')
        length--;
    return length;
}

/* One merge a line, "left right"; a line that starts with #version is a comment. */
static emc_status add_merges(emc_tokenizer *tok, const char *text, size_t n, const char *path)
{
    size_t rank = 0, line = 1, n_lines = 0, next;
    const size_t valid = emc_utf8_valid(text, n);

    for (size_t i = 0; i < n; i++) {
        n_lines += text[i] == '\n';
        line += i < valid && text[i] == '\n';
    }
    if (valid < n)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %zu: not UTF-8", path, line);
    EMC_TRY(emc_vocab_begin_merges(tok, n_lines + 1, path));
    line = 0;
    for (size_t pos = 0; pos < n; pos = next) {
        const size_t length = line_length(text, n, pos, &next);
        const char *left = text + pos;
        line++;
        if (length >= 8 && memcmp(left, "#version", 8) == 0)
            continue;
        const char *blank = memchr(left, ' ', length);
        const size_t n_left = blank ? (size_t)(blank - left) : 0;
        if (!blank || memchr(blank + 1, ' ', length - n_left - 1))
            return emc_fail(EMC_ERR_FORMAT, "%s: line %zu is not two tokens with a blank between",
                            path, line);
        EMC_TRY(
            emc_vocab_add_merge(tok, left, n_left, blank + 1, length - n_left - 1, rank++, path));
    }
    return EMC_OK;
}

static emc_status read_merges(emc_tokenizer *tok, const char *path)
{
    char *text;
    size_t n;

    EMC_TRY(emc_file_read(&text, &n, path, MAX_FILE_BYTES));
    const emc_status status = add_merges(tok, text, n, path);
    free(text);
    return status;
}

static emc_status read_decoder(emc_tokenizer *tok, const emc_tape_value *object, const char *path)
{
    if (object->kind != EMC_TAPE_OBJECT)
        return emc_fail(EMC_ERR_FORMAT, "%s: added_tokens_decoder is not an object", path);
    const emc_tape_value *key = object + 1;
    for (uint32_t i = 0; i < object->n; i++, key = emc_tape_next(key + 1)) {
        /* The key is an id in quotes. */
        emc_tape_value number = *key;
        int32_t id;
        number.kind = EMC_TAPE_NUMBER;
        if (key->n == 0 || !emc_tape_whole(&number, EMC_MAX_TOKEN_ID, &id))
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: added_tokens_decoder: \"%.60s\" is not an id from 0 to %d", path,
                            key->text, EMC_MAX_TOKEN_ID);
        EMC_TRY(emc_read_added_token(tok, key + 1, id, path));
    }
    return EMC_OK;
}

/* These two files do not say how to split, so the class must. */
static emc_status check_class(const emc_tape_value *config, const char *path)
{
    const emc_tape_value *name = emc_tape_member(config, "tokenizer_class");
    const emc_tape_value *prefix = emc_tape_member(config, "add_prefix_space");

    if (name && !emc_tape_equals(name, "Qwen2Tokenizer") &&
        !emc_tape_equals(name, "Qwen2TokenizerFast"))
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: tokenizer_class is %.60s, only Qwen2Tokenizer is "
                        "supported without a tokenizer.json",
                        path, name->text ? name->text : "not a string");
    if (prefix && prefix->kind == EMC_TAPE_TRUE)
        return emc_fail(EMC_ERR_FORMAT, "%s: add_prefix_space is true, only false is supported",
                        path);
    return EMC_OK;
}

static emc_status read_config(emc_tokenizer *tok, const char *path, bool *has_added)
{
    emc_tape *tape = NULL;
    char *json = NULL;
    size_t n;

    EMC_TRY(emc_file_read(&json, &n, path, MAX_FILE_BYTES));
    emc_status status = emc_tape_open(&tape, json, n, path);
    if (status != EMC_OK)
        goto done;
    status = check_class(emc_tape_root(tape), path);
    if (status != EMC_OK)
        goto done;
    const emc_tape_value *added = emc_tape_member(emc_tape_root(tape), "added_tokens_decoder");
    *has_added = added != NULL;
    if (added)
        status = read_decoder(tok, added, path);
done:
    emc_tape_close(tape);
    free(json);
    return status;
}

static emc_status add_qwen3_tokens(emc_tokenizer *tok, const char *path)
{
    for (size_t i = 0; i < EMC_COUNT(qwen3_added); i++)
        EMC_TRY(emc_vocab_add_added(tok, qwen3_added[i], strlen(qwen3_added[i]),
                                    QWEN3_TOKENS + (int32_t)i, i < QWEN3_SPECIAL, path));
    return EMC_OK;
}

emc_status emc_read_vocab_and_merges(emc_tokenizer *tok, const char *dir)
{
    char *vocab = NULL, *merges = NULL, *config = NULL;
    bool has_added = false;
    emc_status status;

    status = emc_path_join(&vocab, dir, "vocab.json");
    if (status == EMC_OK)
        status = emc_path_join(&merges, dir, "merges.txt");
    if (status == EMC_OK)
        status = emc_path_join(&config, dir, "tokenizer_config.json");
    if (status != EMC_OK)
        goto done;
    if (!emc_file_exists(vocab) || !emc_file_exists(merges)) {
        status = emc_fail(EMC_ERR_NOT_FOUND,
                          "%s: no tokenizer here, wanted tokenizer.json, or vocab.json and "
                          "merges.txt",
                          dir);
        goto done;
    }
    status = read_vocab(tok, vocab);
    if (status == EMC_OK)
        status = read_merges(tok, merges);
    if (status == EMC_OK && emc_file_exists(config))
        status = read_config(tok, config, &has_added);
    if (status == EMC_OK && !has_added && tok->n_tokens == QWEN3_TOKENS)
        status = add_qwen3_tokens(tok, vocab);
done:
    free(vocab);
    free(merges);
    free(config);
    return status;
}
