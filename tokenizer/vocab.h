#pragma once
/* What a tokenizer is made of, and how its readers fill it. Inside tokenizer/ only. */

#include "base/str_map.h"
#include "tokenizer/bpe.h"
#include "tokenizer/piece_map.h"
#include "tokenizer/unicode.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { EMC_TOKEN_USED = 1, EMC_TOKEN_ADDED = 2, EMC_TOKEN_SPECIAL = 4 };

typedef struct {
    size_t offset; /* of its bytes in tok->bytes: what decoding gives */
    uint32_t n;
    uint32_t flags;
} emc_token;

/* An added token as it is cut out of text; its bytes are not always those that decoding gives. */
typedef struct {
    char *text;
    size_t n;
    int32_t id;
} emc_added_token;

struct emc_tokenizer {
    emc_unicode *unicode;
    emc_bpe *bpe;
    emc_str_map *pieces;  /* bytes of a token of the vocabulary to its id */
    emc_piece_map *whole; /* those that the merges make of their own bytes */
    size_t longest_piece;
    emc_token *tokens; /* [n_tokens] */
    size_t n_tokens, tokens_capacity;
    char *bytes;
    size_t n_bytes, bytes_capacity;
    emc_added_token *added; /* sorted by first byte, then the longer one first */
    size_t n_added, added_capacity;
    /* added[added_of[b] .. added_of[b + 1]) start with byte b */
    size_t added_of[257];
};

#define EMC_MAX_TOKEN_ID 4194303 /* far above any model's, so that a bad id takes no memory */

/*
 * In this order: all tokens of the vocabulary, then emc_vocab_begin_merges, all merges by rank,
 * all added tokens, emc_vocab_finish. `name` is the file, for messages.
 */

/* `key` is in the printable byte alphabet of GPT-2; one that is not can be decoded only.
 * EMC_ERR_FORMAT: an id or a key that is there already. */
emc_status emc_vocab_add_token(emc_tokenizer *tok, const char *key, size_t n, int32_t id,
                               const char *name);

/* EMC_ERR_FORMAT: a byte without a token. */
emc_status emc_vocab_begin_merges(emc_tokenizer *tok, size_t n_merges, const char *name);

/* EMC_ERR_FORMAT: one of the two, or both joined, are no tokens, or the pair came before. */
emc_status emc_vocab_add_merge(emc_tokenizer *tok, const char *left, size_t n_left,
                               const char *right, size_t n_right, size_t rank, const char *name);

/* EMC_ERR_FORMAT: empty, an id of another token, or a text that came before. */
emc_status emc_vocab_add_added(emc_tokenizer *tok, const char *text, size_t n, int32_t id,
                               bool special, const char *name);
emc_status emc_vocab_finish(emc_tokenizer *tok);

/* The length of the longest added token that text[0..n) starts with; 0: with none. */
size_t emc_vocab_added_at(const emc_tokenizer *tok, const char *text, size_t n);

/* Fill an empty tokenizer from files; see emc_tokenizer_open. */
emc_status emc_read_tokenizer_json(emc_tokenizer *tok, const char *path);
emc_status emc_read_vocab_and_merges(emc_tokenizer *tok, const char *dir);

/* One object that describes an added token, without its id: content, special and the four flags
 * that must be false. */
struct emc_tape_value;
emc_status emc_read_added_token(emc_tokenizer *tok, const struct emc_tape_value *object, int32_t id,
                                const char *name);

/* {"!": 0, ...} */
emc_status emc_read_vocab_object(emc_tokenizer *tok, const struct emc_tape_value *object,
                                 const char *name);

#ifdef __cplusplus
}
#endif
