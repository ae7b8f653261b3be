/* What does one line of `emcell tokenize` answer? */
#include "tokenizer/jsonl.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "tokenizer/chat.h"
#include "tokenizer/tape.h"

static emc_status add_ids(emc_text *out, const emc_ids *ids)
{
    EMC_TRY(emc_text_add_string(out, "\"ids\": ["));
    for (size_t i = 0; i < ids->n; i++)
        EMC_TRY(emc_text_addf(out, "%s%d", i ? ", " : "", ids->ids[i]));
    return emc_text_add_string(out, "]}\n");
}

static emc_status answer_text(const emc_tokenizer *tok, const emc_tape_value *text, emc_text *out)
{
    emc_ids ids = {0};

    emc_status status = emc_tokenizer_encode(tok, text->text, text->n, EMC_TOKENS_ADDED, &ids);
    if (status == EMC_OK)
        status = emc_text_add_string(out, "{");
    if (status == EMC_OK)
        status = add_ids(out, &ids);
    emc_ids_free(&ids);
    return status;
}

/* What Python takes for false: null, false, "", [], {} and 0. */
static bool is_empty(const emc_tape_value *value)
{
    int32_t zero;

    if (!value || value->kind == EMC_TAPE_NULL || value->kind == EMC_TAPE_FALSE)
        return true;
    if (value->kind == EMC_TAPE_NUMBER)
        return emc_tape_whole(value, 0, &zero);
    return value->kind != EMC_TAPE_TRUE && value->n == 0;
}

/* `segment` is where the text is kept. */
static emc_chat_text text_of(const emc_tape_value *value, emc_chat_segment *segment)
{
    if (!value || value->kind != EMC_TAPE_STRING)
        return (emc_chat_text){.is_absent = true};
    *segment = (emc_chat_segment){value->text, value->n, true, NULL};
    return (emc_chat_text){segment, 1, false};
}

static emc_status read_message(const emc_tape_value *value, emc_chat_message *message,
                               emc_chat_segment segments[2])
{
    const emc_tape_value *role = emc_tape_member(value, "role");

    *message = (emc_chat_message){0};
    if (value->kind != EMC_TAPE_OBJECT)
        return emc_fail(EMC_ERR_FORMAT, "a message is not an object");
    if (role && role->kind == EMC_TAPE_STRING)
        EMC_TRY(emc_chat_role_of(&message->role, role->text, role->n));
    if (!is_empty(emc_tape_member(value, "tool_calls")))
        return emc_fail(EMC_ERR_CONFIG, "a message with \"tool_calls\": tool calls are not "
                                        "supported");
    message->content = text_of(emc_tape_member(value, "content"), &segments[0]);
    message->reasoning = text_of(emc_tape_member(value, "reasoning_content"), &segments[1]);
    return EMC_OK;
}

static emc_status check_request(const emc_tape_value *object)
{
    static const char *const known[] = {"messages", "add_generation_prompt", "enable_thinking",
                                        "tools"};
    const emc_tape_value *messages = emc_tape_member(object, "messages");
    const emc_tape_value *prompt = emc_tape_member(object, "add_generation_prompt");
    const emc_tape_value *key = object + 1;

    for (uint32_t i = 0; i < object->n; i++, key = emc_tape_next(key + 1)) {
        size_t j = 0;
        while (j < EMC_COUNT(known) && !emc_tape_equals(key, known[j]))
            j++;
        if (j == EMC_COUNT(known))
            return emc_fail(EMC_ERR_FORMAT, "unknown key \"%.60s\" beside \"messages\"", key->text);
    }
    if (!is_empty(emc_tape_member(object, "tools")))
        return emc_fail(EMC_ERR_CONFIG, "\"tools\": tools are not supported");
    if (messages->kind != EMC_TAPE_ARRAY)
        return emc_fail(EMC_ERR_FORMAT, "\"messages\" is not a list");
    if (prompt && prompt->kind != EMC_TAPE_TRUE && prompt->kind != EMC_TAPE_FALSE &&
        prompt->kind != EMC_TAPE_NULL)
        return emc_fail(EMC_ERR_FORMAT, "\"add_generation_prompt\" is not true or false");
    return EMC_OK;
}

static emc_status render(const emc_tape_value *object, emc_prompt *prompt)
{
    const emc_tape_value *list = emc_tape_member(object, "messages");
    const emc_tape_value *add = emc_tape_member(object, "add_generation_prompt");
    const emc_tape_value *think = emc_tape_member(object, "enable_thinking");
    emc_chat_message *messages = NULL;
    emc_chat_segment *segments = NULL;
    emc_status status;

    EMC_TRY(check_request(object));
    status = emc_alloc(&messages, list->n, sizeof *messages, "messages");
    if (status == EMC_OK)
        status = emc_alloc(&segments, list->n, 2 * sizeof *segments, "messages");
    const emc_tape_value *item = list + 1;
    for (uint32_t i = 0; i < list->n && status == EMC_OK; i++, item = emc_tape_next(item))
        status = read_message(item, &messages[i], &segments[2 * (size_t)i]);
    if (status == EMC_OK) {
        const emc_chat_request request = {
            messages, list->n, add && add->kind == EMC_TAPE_TRUE,
            think && think->kind == EMC_TAPE_FALSE ? EMC_THINK_OFF : EMC_THINK_DEFAULT};
        status = emc_chat_render(&request, prompt);
    }
    free(messages);
    free(segments);
    return status;
}

static emc_status answer_chat(const emc_tokenizer *tok, const emc_tape_value *object,
                              bool with_prompt, emc_text *out)
{
    emc_prompt prompt = {0};
    emc_ids ids = {0};

    emc_status status = render(object, &prompt);
    if (status == EMC_OK)
        status = emc_prompt_encode(tok, &prompt, &ids);
    if (status == EMC_OK)
        status = emc_text_add_string(out, with_prompt ? "{\"prompt\": " : "{");
    if (status == EMC_OK && with_prompt)
        status = emc_text_add_json(out, prompt.text.bytes, prompt.text.n);
    if (status == EMC_OK && with_prompt)
        status = emc_text_add_string(out, ", ");
    if (status == EMC_OK)
        status = add_ids(out, &ids);
    emc_prompt_free(&prompt);
    emc_ids_free(&ids);
    return status;
}

static emc_status read_ids(const emc_tape_value *list, emc_ids *ids)
{
    if (list->kind != EMC_TAPE_ARRAY)
        return emc_fail(EMC_ERR_FORMAT, "\"ids\" is not a list");
    const emc_tape_value *item = list + 1;
    for (uint32_t i = 0; i < list->n; i++, item = emc_tape_next(item)) {
        int32_t id;
        if (!emc_tape_whole(item, INT32_MAX, &id))
            return emc_fail(EMC_ERR_FORMAT, "ids[%u] is not a whole number from 0 to %d", i,
                            INT32_MAX);
        EMC_TRY(emc_ids_add(ids, &id, 1));
    }
    return EMC_OK;
}

static emc_status answer_ids(const emc_tokenizer *tok, const emc_tape_value *list, emc_text *out)
{
    emc_ids ids = {0};
    emc_text text = {0}, short_text = {0};

    emc_status status = read_ids(list, &ids);
    if (status == EMC_OK)
        status = emc_tokenizer_decode(tok, ids.ids, ids.n, false, &text);
    if (status == EMC_OK)
        status = emc_tokenizer_decode(tok, ids.ids, ids.n, true, &short_text);
    if (status == EMC_OK)
        status = emc_text_add_string(out, "{\"text\": ");
    if (status == EMC_OK)
        status = emc_text_add_json(out, text.bytes, text.n);
    if (status == EMC_OK)
        status = emc_text_add_string(out, ", \"text_skip_special\": ");
    if (status == EMC_OK)
        status = emc_text_add_json(out, short_text.bytes, short_text.n);
    if (status == EMC_OK)
        status = emc_text_add_string(out, "}\n");
    emc_ids_free(&ids);
    emc_text_free(&text);
    emc_text_free(&short_text);
    return status;
}

static emc_status answer(const emc_tokenizer *tok, const emc_tape_value *object, unsigned flags,
                         emc_text *out)
{
    const emc_tape_value *ids = emc_tape_member(object, "ids");
    const emc_tape_value *text = emc_tape_member(object, "text");
    const emc_tape_value *messages = emc_tape_member(object, "messages");

    if (flags & EMC_JSONL_DECODE)
        return ids ? answer_ids(tok, ids, out)
                   : emc_fail(EMC_ERR_FORMAT, "wanted an object with \"ids\"");
    if (!text == !messages)
        return emc_fail(EMC_ERR_FORMAT, "wanted an object with \"text\" or with \"messages\"");
    if (messages)
        return answer_chat(tok, object, flags & EMC_JSONL_CHAT, out);
    if (text->kind != EMC_TAPE_STRING)
        return emc_fail(EMC_ERR_FORMAT, "\"text\" is not a string");
    return answer_text(tok, text, out);
}

emc_status emc_jsonl_line(const emc_tokenizer *tok, const char *line, size_t n_bytes,
                          unsigned flags, const char *name, emc_text *out)
{
    const size_t before = out->n;
    emc_tape *tape;

    EMC_TRY(emc_tape_open(&tape, line, n_bytes, name));
    const emc_status status = answer(tok, emc_tape_root(tape), flags, out);
    emc_tape_close(tape);
    if (status != EMC_OK) {
        out->n = before;
        if (out->bytes)
            out->bytes[before] = '\0';
        return emc_fail_in(status, "%s", name);
    }
    return EMC_OK;
}
