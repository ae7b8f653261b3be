#pragma once
/*
 * The chat form of Qwen3: messages to the text that the model is asked with, and to its ids.
 *
 * There is no default system prompt. Tools, tool calls and tool messages are not supported.
 * Template text is always trusted. Text of a message is a list of segments, each of which is
 * trusted (written by whoever asks: an <|im_end|> in it is the token) or not (a gene name, a label
 * from a file: whatever it holds stays plain text, is no end of thinking and no tool response).
 * Where untrusted text holds no added token's text, ids are those of the same text trusted.
 */

#include "tokenizer/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EMC_ROLE_OTHER, /* messages of an unknown role leave no trace, as in the reference */
    EMC_ROLE_SYSTEM,
    EMC_ROLE_USER,
    EMC_ROLE_ASSISTANT
} emc_chat_role;

typedef struct {
    const char *text; /* UTF-8; may hold NULs */
    size_t n_bytes;
    bool trusted;
    /* Where the segment's first byte lies in the prompt is written here; SIZE_MAX when the segment
     * is left out (thinking of an earlier turn, say). May be NULL. */
    size_t *at;
} emc_chat_segment;

/* Text made of segments; zero segments are the empty text. `is_absent`: there is none at all (a
 * JSON null, a list, a missing key), which is not the same as empty. */
typedef struct {
    const emc_chat_segment *segments;
    size_t n_segments;
    bool is_absent;
} emc_chat_text;

typedef struct {
    emc_chat_role role;
    emc_chat_text content;   /* absent counts as empty, but a first system message must have it */
    emc_chat_text reasoning; /* "reasoning_content" of an assistant message */
} emc_chat_message;

typedef enum {
    EMC_THINK_DEFAULT, /* enable_thinking true or absent: nothing is added */
    EMC_THINK_OFF      /* enable_thinking false: the generation prompt holds an empty block */
} emc_chat_think;

typedef struct {
    const emc_chat_message *messages;
    size_t n_messages;
    bool add_generation_prompt;
    emc_chat_think think;
} emc_chat_request;

/* Text with the parts of it that are trusted, ascending and never touching. Zero-initialise;
 * free with emc_prompt_free. */
typedef struct {
    emc_text text;
    emc_byte_range *trusted;
    size_t n_trusted, trusted_capacity;
} emc_prompt;

/* Appends text to a prompt: for prompts that follow no chat form. */
emc_status emc_prompt_add(emc_prompt *prompt, const char *text, size_t n_bytes, bool trusted);
void emc_prompt_clear(emc_prompt *prompt); /* keeps the memory */
void emc_prompt_free(emc_prompt *prompt);

/* "system", "user", "assistant"; anything else is EMC_ROLE_OTHER, but "tool" is refused.
 * EMC_ERR_CONFIG: a tool message. */
emc_status emc_chat_role_of(emc_chat_role *out, const char *name, size_t n_bytes);

/*
 * Appends the messages in chat form to a prompt. Thinking of assistant turns before the last
 * question is dropped; later ones keep theirs, the last message always with a block.
 * EMC_ERR_CONFIG: no messages, or the first is a system message without text.
 */
emc_status emc_chat_render(const emc_chat_request *request, emc_prompt *out);

/* Appends the ids of a prompt, added tokens cut where it is trusted.
 * EMC_ERR_FORMAT: not UTF-8. */
emc_status emc_prompt_encode(const emc_tokenizer *tok, const emc_prompt *prompt, emc_ids *out);

#ifdef __cplusplus
}
#endif
