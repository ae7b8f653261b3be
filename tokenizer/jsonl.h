#pragma once
/* One line of `emcell tokenize`: JSON in, JSON out. */

#include "tokenizer/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

#define EMC_JSONL_CHAT   1u /* with "prompt", the rendered text, beside "ids" */
#define EMC_JSONL_DECODE 2u /* ids to text */

/*
 * Reads one line, without its line break, and appends the answer, a JSON object with a line break.
 *
 *   {"text": "..."}                          gives {"ids": [...]}
 *   {"messages": [...], "add_generation_prompt": bool, "enable_thinking": bool}
 *                                            gives {"ids": [...]}
 *                     with EMC_JSONL_CHAT    gives {"prompt": "...", "ids": [...]}
 *   {"ids": [...]}    with EMC_JSONL_DECODE  gives {"text": "...", "text_skip_special": "..."}
 *
 * Added tokens are cut out of all text. Strings may hold \u0000. A message has "role", "content"
 * and, for the assistant, "reasoning_content"; add_generation_prompt is false where absent. Where
 * the reference would take something as it comes, so does this: an unknown role leaves no trace,
 * content that is no string is empty, and only a false enable_thinking switches thinking off.
 *
 * EMC_ERR_FORMAT: not such an object, another key beside "messages", or half of a surrogate pair
 * (the reference cannot encode one either). EMC_ERR_CONFIG: tools, tool calls or tool messages, a
 * first system message without text, no messages. `out` is then as it was, and the next line may be
 * read all the same. `name` says where the line comes from in messages, such as "line 3".
 */
emc_status emc_jsonl_line(const emc_tokenizer *tok, const char *line, size_t n_bytes,
                          unsigned flags, const char *name, emc_text *out);

#ifdef __cplusplus
}
#endif
