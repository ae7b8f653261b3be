#pragma once
/* What the tests of the tokenizer have in common. */

#include "emt.h"
#include "tokenizer/chat.h"
#include "tokenizer/tokenizer.h"

/* The small committed vocabulary; closed by the caller. */
emc_tokenizer *open_golden(void);

/* Ids of a text as one string, "1 2 3", in static storage good for the next two calls. */
const char *show_ids(const emc_ids *ids);

/* The ids are `count` numbers; fails the test, and prints both, when they differ. */
void check_ids(const char *what, const emc_ids *got, const int32_t *want, size_t n_want);
void check_same_ids(const char *what, const emc_ids *got, const emc_ids *want);

/* Random text of words, symbols, blanks, digits, added tokens and characters of every plane. */
void random_text(uint64_t *state, int n_parts, emc_text *out);

/* A prompt of one part. */
emc_prompt prompt_of(const char *text, bool trusted);

/* Whatever is put behind a random text, trusted or not, the ids of its stable head stay first. */
void check_stable_heads(const emc_tokenizer *tok, int n_texts);
