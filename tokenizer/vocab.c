/* How does a vocabulary become what encoding and decoding look things up in? */
#include "tokenizer/vocab.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "tokenizer/tokenizer.h"

#define EXPECTED_TOKENS 160000

/*
 * The byte that a character of GPT-2's printable alphabet stands for, or -1. Printable bytes of
 * Latin-1 stand for themselves; the others, in their order, are U+0100 and up.
 */
static int byte_of_char(uint32_t code)
{
    if ((code >= 0x21 && code <= 0x7E) || (code >= 0xA1 && code <= 0xFF && code != 0xAD))
        return (int)code;
    if (code >= 0x100 && code <= 0x120)
        return (int)(code - 0x100); /* 00 to 20 */
    if (code >= 0x121 && code <= 0x142)
        return (int)(code - 0x121 + 0x7F); /* 7F to A0 */
    return code == 0x143 ? 0xAD : -1;
}

/* Writes the bytes that a key stands for to `out`, which has room for n; false, and the key
 * itself, when a character of it is not of the alphabet. */
static bool bytes_of_key(char *out, size_t *n_out, const char *key, size_t n)
{
    size_t length = 0;

    for (size_t i = 0; i < n;) {
        const int byte = byte_of_char(emc_utf8_next(key, &i));
        if (byte < 0) {
            memcpy(out, key, n);
            *n_out = n;
            return false;
        }
        out[length++] = (char)byte;
    }
    *n_out = length;
    return true;
}

/* Room for n more bytes, and the place where they go. */
static emc_status reserve_bytes(emc_tokenizer *tok, size_t n, char **out)
{
    size_t need;

    if (!emc_size_add(&need, tok->n_bytes, n) || !emc_size_add(&need, need, 1))
        return emc_fail(EMC_ERR_NOMEM, "no memory for a token of %zu bytes", n);
    EMC_TRY(emc_reserve(&tok->bytes, &tok->bytes_capacity, need, 1, "the tokens"));
    *out = tok->bytes + tok->n_bytes;
    return EMC_OK;
}

static emc_status reserve_token(emc_tokenizer *tok, int32_t id)
{
    const size_t need = (size_t)id + 1;

    if (need <= tok->n_tokens)
        return EMC_OK;
    EMC_TRY(
        emc_reserve(&tok->tokens, &tok->tokens_capacity, need, sizeof *tok->tokens, "the tokens"));
    memset(tok->tokens + tok->n_tokens, 0, (need - tok->n_tokens) * sizeof *tok->tokens);
    tok->n_tokens = need;
    return EMC_OK;
}

/* Keys go into messages, so at most this much of them, in whole characters. */
static int shown(const char *key, size_t n)
{
    if (n > 60)
        for (n = 60; n > 0 && ((unsigned char)key[n] & 0xC0) == 0x80;)
            n--;
    return (int)n;
}

emc_status emc_vocab_add_token(emc_tokenizer *tok, const char *key, size_t n, int32_t id,
                               const char *name)
{
    char *bytes;
    size_t n_bytes;
    bool existed = false;

    EMC_TRY(reserve_token(tok, id));
    if (tok->tokens[id].flags & EMC_TOKEN_USED)
        return emc_fail(EMC_ERR_FORMAT, "%s: two tokens have id %d, one is \"%.*s\"", name, id,
                        shown(key, n), key);
    EMC_TRY(reserve_bytes(tok, n, &bytes));
    if (bytes_of_key(bytes, &n_bytes, key, n)) {
        if (!tok->pieces)
            EMC_TRY(emc_str_map_open(&tok->pieces, EXPECTED_TOKENS));
        EMC_TRY(emc_str_map_put(tok->pieces, bytes, n_bytes, id, &existed));
        if (n_bytes > tok->longest_piece)
            tok->longest_piece = n_bytes;
    }
    if (existed)
        return emc_fail(EMC_ERR_FORMAT, "%s: the token \"%.*s\" comes twice", name, shown(key, n),
                        key);
    tok->tokens[id] = (emc_token){tok->n_bytes, (uint32_t)n_bytes, EMC_TOKEN_USED};
    tok->n_bytes += n_bytes;
    return EMC_OK;
}

emc_status emc_vocab_begin_merges(emc_tokenizer *tok, size_t n_merges, const char *name)
{
    EMC_TRY(emc_bpe_open(&tok->bpe, n_merges));
    for (int b = 0; b < 256; b++) {
        const char byte = (char)b;
        tok->bpe->byte_ids[b] = tok->pieces ? emc_str_map_get(tok->pieces, &byte, 1, -1) : -1;
        if (tok->bpe->byte_ids[b] < 0)
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: no token for byte 0x%02X; a vocabulary needs all 256 bytes (train "
                            "it with the whole byte-level alphabet)",
                            name, (unsigned)b);
    }
    return EMC_OK;
}

emc_status emc_vocab_add_merge(emc_tokenizer *tok, const char *left, size_t n_left,
                               const char *right, size_t n_right, size_t rank, const char *name)
{
    char *bytes;
    size_t n_a, n_b;
    bool existed;

    EMC_TRY(reserve_bytes(tok, n_left + n_right, &bytes));
    const bool known =
        bytes_of_key(bytes, &n_a, left, n_left) && bytes_of_key(bytes + n_a, &n_b, right, n_right);
    const int32_t a = known ? emc_str_map_get(tok->pieces, bytes, n_a, -1) : -1;
    const int32_t b = known ? emc_str_map_get(tok->pieces, bytes + n_a, n_b, -1) : -1;
    const int32_t id = known ? emc_str_map_get(tok->pieces, bytes, n_a + n_b, -1) : -1;
    if (a < 0 || b < 0 || id < 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: merge %zu of \"%.*s\" and \"%.*s\": %s is no token",
                        name, rank, shown(left, n_left), left, shown(right, n_right), right,
                        a < 0   ? "the first"
                        : b < 0 ? "the second"
                                : "what they make");
    const emc_bpe_merge merge = {(uint32_t)a, (uint32_t)b, (uint32_t)rank};
    emc_bpe_put(tok->bpe, merge, id, &existed);
    if (existed)
        return emc_fail(EMC_ERR_FORMAT, "%s: merge %zu of \"%.*s\" and \"%.*s\" comes twice", name,
                        rank, shown(left, n_left), left, shown(right, n_right), right);
    return EMC_OK;
}

emc_status emc_vocab_add_added(emc_tokenizer *tok, const char *text, size_t n, int32_t id,
                               bool special, const char *name)
{
    char *bytes;
    size_t n_bytes;

    if (n == 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: added token %d is empty", name, id);
    for (size_t i = 0; i < tok->n_added; i++)
        if (tok->added[i].n == n && memcmp(tok->added[i].text, text, n) == 0)
            return emc_fail(EMC_ERR_FORMAT, "%s: the added token \"%.*s\" comes twice", name,
                            shown(text, n), text);
    EMC_TRY(reserve_token(tok, id));
    EMC_TRY(reserve_bytes(tok, n, &bytes));
    /* The reference decodes added tokens through the byte alphabet, too, where it can. */
    const bool in_alphabet = bytes_of_key(bytes, &n_bytes, text, n);
    emc_token *token = &tok->tokens[id];
    const int32_t twin = in_alphabet ? emc_str_map_get(tok->pieces, bytes, n_bytes, id) : id;
    const bool same = token->n == n_bytes && tok->bytes && n_bytes > 0 &&
                      memcmp(tok->bytes + token->offset, bytes, n_bytes) == 0;
    if (twin != id || ((token->flags & EMC_TOKEN_USED) && !same))
        return emc_fail(EMC_ERR_FORMAT,
                        "%s: the added token \"%.*s\" has id %d, which does not agree with the "
                        "vocabulary",
                        name, shown(text, n), text, id);
    EMC_TRY(emc_reserve(&tok->added, &tok->added_capacity, tok->n_added + 1, sizeof *tok->added,
                        "the added tokens"));
    emc_added_token *added = &tok->added[tok->n_added];
    EMC_TRY(emc_copy_bytes(&added->text, text, n));
    added->n = n;
    added->id = id;
    tok->n_added++;
    if (!same) {
        token->offset = tok->n_bytes;
        token->n = (uint32_t)n_bytes;
        tok->n_bytes += n_bytes;
    }
    token->flags |= EMC_TOKEN_USED | EMC_TOKEN_ADDED | (special ? EMC_TOKEN_SPECIAL : 0u);
    return EMC_OK;
}

static int compare_added(const void *a, const void *b)
{
    const emc_added_token *x = a, *y = b;
    const int first = (unsigned char)x->text[0] - (unsigned char)y->text[0];

    if (first != 0)
        return first;
    return x->n > y->n ? -1 : x->n < y->n;
}

/* A piece that is a token need not become it: another merge may come first. */
static emc_status find_whole_tokens(emc_tokenizer *tok)
{
    emc_ids ids = {0};
    emc_status status;

    if (tok->n_bytes > UINT32_MAX)
        return emc_fail(EMC_ERR_FORMAT, "a vocabulary of %zu bytes", tok->n_bytes);
    status = emc_piece_map_open(&tok->whole, emc_str_map_count(tok->pieces), tok->bytes);
    for (size_t i = 0; i < tok->n_tokens && status == EMC_OK; i++) {
        const emc_token *t = &tok->tokens[i];
        const char *bytes = tok->bytes + t->offset;
        if (!(t->flags & EMC_TOKEN_USED) || t->n == 0 ||
            emc_str_map_get(tok->pieces, bytes, t->n, -1) != (int32_t)i)
            continue;
        emc_ids_clear(&ids);
        status = emc_bpe_encode(tok->bpe, bytes, t->n, &ids, NULL);
        if (status == EMC_OK && ids.n == 1 && ids.ids[0] == (int32_t)i)
            emc_piece_map_put(tok->whole, (uint32_t)t->offset, t->n, (int32_t)i);
    }
    emc_ids_free(&ids);
    return status;
}

emc_status emc_vocab_finish(emc_tokenizer *tok)
{
    size_t next = 0;

    emc_bpe_finish(tok->bpe);
    if (tok->n_added)
        qsort(tok->added, tok->n_added, sizeof *tok->added, compare_added);
    for (int b = 0; b <= 256; b++) {
        while (next < tok->n_added && (unsigned char)tok->added[next].text[0] < b)
            next++;
        tok->added_of[b] = next;
    }
    return find_whole_tokens(tok);
}
