#pragma once
/*
 * Text to token ids and back, exactly as the byte-level BPE of Qwen2 and Qwen3 does it: added
 * tokens are cut out of the raw text, what lies between them is brought to normal form C, split
 * by the pre-tokenizer's pattern, and merged. Nothing is added at either end.
 *
 * A tokenizer is read-only once open, so any number of threads may share it.
 */

#include <stddef.h>
#include <stdint.h>

#include "base/text.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct emc_tokenizer emc_tokenizer;

/* A growing list of ids. Zero-initialise; free with emc_ids_free. */
typedef struct {
    int32_t *ids;
    size_t n;
    size_t capacity;
} emc_ids;

emc_status emc_ids_add(emc_ids *list, const int32_t *ids, size_t n);
void emc_ids_clear(emc_ids *list); /* keeps the memory */
void emc_ids_free(emc_ids *list);

/* Bytes begin <= i < end of a text. */
typedef struct {
    size_t begin, end;
} emc_byte_range;

/*
 * Reads the tokenizer of a checkpoint folder: tokenizer.json; where there is none, vocab.json and
 * merges.txt, with the added tokens of tokenizer_config.json ("added_tokens_decoder"). Where that
 * is missing too, the vocabulary of 151643 tokens gets the 26 added tokens of Qwen3 and any other
 * gets none.
 *
 * Any size of vocabulary is fine as long as it has a token for each of the 256 bytes.
 * EMC_ERR_NOT_FOUND: the folder has no such files. EMC_ERR_IO: they cannot be read.
 * EMC_ERR_FORMAT: broken, or it asks for something that is not done here (another normaliser,
 * pre-tokenizer, decoder or model, truncation, dropout, added tokens that swallow blanks, ...);
 * the message names the file and the thing.
 */
emc_status emc_tokenizer_open(emc_tokenizer **out, const char *dir);
void emc_tokenizer_close(emc_tokenizer *tok);

/* Added tokens such as <|im_end|> are cut out of the text. Without it they are plain text. */
#define EMC_TOKENS_ADDED 1u

/*
 * Appends the ids of text[0..n_bytes). NUL is an ordinary byte. Time is near-linear in n_bytes,
 * whatever the text. On failure `out` is as it was.
 * EMC_ERR_FORMAT: not UTF-8; the message has the offset of the first bad byte.
 */
emc_status emc_tokenizer_encode(const emc_tokenizer *tok, const char *text, size_t n_bytes,
                                unsigned flags, emc_ids *out);

/*
 * The same, where added tokens are cut only if they lie wholly within a trusted range; elsewhere
 * they are plain text, which joins its neighbours as all text does. Ranges that touch count as
 * one. With one range over everything the ids are those of EMC_TOKENS_ADDED, with none those of
 * flags 0.
 * EMC_ERR_ARG: the ranges are not ascending, overlap, or go past the end.
 */
emc_status emc_tokenizer_encode_trusted(const emc_tokenizer *tok, const char *text, size_t n_bytes,
                                        const emc_byte_range *trusted, size_t n_trusted,
                                        emc_ids *out);

/*
 * The length of the longest known head of a text whose ids stay the first ids of the text,
 * whatever UTF-8 text is put behind it: what a run's prompts have in common may be tokenised up
 * to here once. The cut lies between two pieces of the pre-tokenizer; a text that is not in
 * normal form C gives a cut at its last added token.
 * Ranges and errors as emc_tokenizer_encode_trusted.
 */
emc_status emc_tokenizer_stable_head(const emc_tokenizer *tok, const char *text, size_t n_bytes,
                                     const emc_byte_range *trusted, size_t n_trusted,
                                     size_t *n_head);

/*
 * Appends the text of ids: their bytes one after the other, of which each longest part that can
 * be no UTF-8 becomes one U+FFFD. A character may lie across tokens. An id that has no token
 * gives nothing. `skip_special` leaves out the tokens that are flagged special; <think> and the
 * like are not.
 */
emc_status emc_tokenizer_decode(const emc_tokenizer *tok, const int32_t *ids, size_t n,
                                bool skip_special, emc_text *out);

/* The id of an added token's text, or of a token of the vocabulary with exactly these bytes;
 * -1 when there is none. */
int32_t emc_tokenizer_token_id(const emc_tokenizer *tok, const char *token);

/* One more than the largest id that has a token. The model's embedding may have more rows. */
int32_t emc_tokenizer_n_tokens(const emc_tokenizer *tok);

/* False for an id without a token, which sampling must mask. */
bool emc_tokenizer_has_token(const emc_tokenizer *tok, int32_t id);

/* An added token that is flagged special. */
bool emc_tokenizer_is_special(const emc_tokenizer *tok, int32_t id);

#ifdef __cplusplus
}
#endif
