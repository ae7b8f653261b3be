/* How do messages become a prompt? The rules are those of the template that Qwen3 comes with. */
#include "tokenizer/chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define THINK_BEGIN "<think>"
#define THINK_END   "</think>"
#define TOOL_BEGIN  "<tool_response>"
#define TOOL_END    "</tool_response>"

emc_status emc_prompt_add(emc_prompt *prompt, const char *text, size_t n_bytes, bool trusted)
{
    const size_t begin = prompt->text.n;

    EMC_TRY(emc_reserve(&prompt->trusted, &prompt->trusted_capacity, prompt->n_trusted + 1,
                        sizeof *prompt->trusted, "a prompt"));
    EMC_TRY(emc_text_add(&prompt->text, text, n_bytes));
    if (!trusted || n_bytes == 0)
        return EMC_OK;
    if (prompt->n_trusted > 0 && prompt->trusted[prompt->n_trusted - 1].end == begin)
        prompt->trusted[prompt->n_trusted - 1].end = prompt->text.n;
    else
        prompt->trusted[prompt->n_trusted++] = (emc_byte_range){begin, prompt->text.n};
    return EMC_OK;
}

void emc_prompt_clear(emc_prompt *prompt)
{
    emc_text_clear(&prompt->text);
    prompt->n_trusted = 0;
}

void emc_prompt_free(emc_prompt *prompt)
{
    emc_text_free(&prompt->text);
    free(prompt->trusted);
    *prompt = (emc_prompt){0};
}

emc_status emc_prompt_encode(const emc_tokenizer *tok, const emc_prompt *prompt, emc_ids *out)
{
    return emc_tokenizer_encode_trusted(tok, prompt->text.bytes, prompt->text.n, prompt->trusted,
                                        prompt->n_trusted, out);
}

emc_status emc_chat_role_of(emc_chat_role *out, const char *name, size_t n_bytes)
{
    static const char *const names[] = {"", "system", "user", "assistant"};

    *out = EMC_ROLE_OTHER;
    if (n_bytes == 4 && memcmp(name, "tool", 4) == 0)
        return emc_fail(EMC_ERR_CONFIG, "a message of role \"tool\": tool messages are not "
                                        "supported");
    for (int role = EMC_ROLE_SYSTEM; role <= EMC_ROLE_ASSISTANT; role++)
        if (strlen(names[role]) == n_bytes && memcmp(names[role], name, n_bytes) == 0)
            *out = (emc_chat_role)role;
    return EMC_OK;
}

/* The segments of a text in one, and the part of it that is meant. */
typedef struct {
    emc_prompt flat;
    const emc_chat_text *source;
    size_t begin, end;
} passage;

static emc_status passage_open(passage *p, const emc_chat_text *source)
{
    *p = (passage){.source = source};
    for (size_t i = 0; i < source->n_segments; i++) {
        const emc_chat_segment *s = &source->segments[i];
        if (s->at)
            *s->at = SIZE_MAX;
        EMC_TRY(emc_prompt_add(&p->flat, s->text, s->n_bytes, s->trusted));
    }
    p->end = p->flat.text.n;
    return EMC_OK;
}

/* Whether `word` stands at `pos` within the passage, and all of it is trusted. */
static bool stands_at(const passage *p, size_t pos, const char *word)
{
    const size_t n = strlen(word);

    if (pos < p->begin || pos > p->end || p->end - pos < n ||
        memcmp(p->flat.text.bytes + pos, word, n) != 0)
        return false;
    for (size_t i = 0; i < p->flat.n_trusted; i++)
        if (p->flat.trusted[i].begin <= pos && pos + n <= p->flat.trusted[i].end)
            return true;
    return false;
}

/* Where the first or last trusted `word` stands, or SIZE_MAX. */
static size_t find_word(const passage *p, const char *word, bool last)
{
    size_t found = SIZE_MAX;

    for (size_t i = p->begin; i < p->end && (last || found == SIZE_MAX); i++)
        if (p->flat.text.bytes[i] == word[0] && stands_at(p, i, word))
            found = i;
    return found;
}

static void strip_left(passage *p)
{
    while (p->begin < p->end && p->flat.text.bytes[p->begin] == '\n')
        p->begin++;
}

static void strip_right(passage *p)
{
    while (p->begin < p->end && p->flat.text.bytes[p->end - 1] == '\n')
        p->end--;
}

/* Tells the owners of segments where these have come to lie; the passage is at `at`. */
static void note_places(const passage *p, size_t at)
{
    size_t offset = 0;

    for (size_t i = 0; i < p->source->n_segments; i++) {
        const emc_chat_segment *s = &p->source->segments[i];
        const size_t end = offset + s->n_bytes;
        const bool is_inside = offset >= p->begin && (s->n_bytes ? offset < p->end : end <= p->end);
        const bool is_cut = offset < p->begin && end > p->begin;
        if (s->at && (is_inside || is_cut))
            *s->at = at + (is_inside ? offset - p->begin : 0);
        offset = end;
    }
}

static emc_status add_passage(emc_prompt *out, const passage *p)
{
    size_t pos = p->begin;

    note_places(p, out->text.n);
    for (size_t i = 0; i < p->flat.n_trusted && pos < p->end; i++) {
        const emc_byte_range r = p->flat.trusted[i];
        const size_t begin = r.begin < p->end ? r.begin : p->end;
        const size_t end = r.end < p->end ? r.end : p->end;
        if (begin > pos) {
            EMC_TRY(emc_prompt_add(out, p->flat.text.bytes + pos, begin - pos, false));
            pos = begin;
        }
        if (end > pos) {
            EMC_TRY(emc_prompt_add(out, p->flat.text.bytes + pos, end - pos, true));
            pos = end;
        }
    }
    if (pos < p->end)
        EMC_TRY(emc_prompt_add(out, p->flat.text.bytes + pos, p->end - pos, false));
    return EMC_OK;
}

static emc_status add_string(emc_prompt *out, const char *string)
{
    return emc_prompt_add(out, string, strlen(string), true);
}

/* A user message whose text is what a tool gave back asks nothing. */
static emc_status is_question(const emc_chat_message *message, bool *result)
{
    passage p;

    *result = false;
    if (message->role != EMC_ROLE_USER || message->content.is_absent)
        return EMC_OK;
    const emc_status status = passage_open(&p, &message->content);
    const size_t n_end = strlen(TOOL_END);
    *result =
        !(stands_at(&p, 0, TOOL_BEGIN) && p.end >= n_end && stands_at(&p, p.end - n_end, TOOL_END));
    emc_prompt_free(&p.flat);
    return status;
}

static emc_status find_last_question(const emc_chat_request *request, size_t *index)
{
    *index = request->n_messages - 1;
    for (size_t i = request->n_messages; i-- > 0;) {
        bool found;
        EMC_TRY(is_question(&request->messages[i], &found));
        if (found) {
            *index = i;
            return EMC_OK;
        }
    }
    return EMC_OK;
}

static emc_status add_turn(emc_prompt *out, const char *role, const emc_chat_text *content)
{
    passage p;

    emc_status status = passage_open(&p, content);
    if (status != EMC_OK)
        goto done;
    status = add_string(out, "<|im_start|>");
    if (status == EMC_OK)
        status = add_string(out, role);
    if (status == EMC_OK)
        status = add_string(out, "\n");
    if (status == EMC_OK)
        status = add_passage(out, &p);
    if (status == EMC_OK)
        status = add_string(out, "<|im_end|>\n");
done:
    emc_prompt_free(&p.flat);
    return status;
}

/* Thinking that stands in the content itself: what lies between the last <think> before the first
 * </think> and that, while content goes on behind the last </think>. */
static void cut_thinking(passage *content, passage *thinking)
{
    const size_t first = find_word(content, THINK_END, false);
    const size_t last = find_word(content, THINK_END, true);

    if (first == SIZE_MAX) {
        thinking->end = thinking->begin;
        return;
    }
    thinking->end = first;
    strip_right(thinking);
    const size_t begin = find_word(thinking, THINK_BEGIN, true);
    if (begin != SIZE_MAX)
        thinking->begin = begin + strlen(THINK_BEGIN);
    strip_left(thinking);
    content->begin = last + strlen(THINK_END);
    strip_left(content);
}

static emc_status add_assistant(emc_prompt *out, const emc_chat_message *message,
                                bool after_question, bool is_last)
{
    const bool is_given = !message->reasoning.is_absent;
    passage content = {0}, thinking = {0};

    emc_status status = passage_open(&content, &message->content);
    if (status == EMC_OK)
        status = passage_open(&thinking, is_given ? &message->reasoning : &message->content);
    if (status != EMC_OK)
        goto done;
    if (!is_given)
        cut_thinking(&content, &thinking);
    status = add_string(out, "<|im_start|>assistant\n");
    if (status == EMC_OK && after_question && (is_last || thinking.end > thinking.begin)) {
        strip_left(&thinking);
        strip_right(&thinking);
        strip_left(&content);
        status = add_string(out, THINK_BEGIN "\n");
        if (status == EMC_OK)
            status = add_passage(out, &thinking);
        if (status == EMC_OK)
            status = add_string(out, "\n" THINK_END "\n\n");
    }
    if (status == EMC_OK)
        status = add_passage(out, &content);
    if (status == EMC_OK)
        status = add_string(out, "<|im_end|>\n");
done:
    emc_prompt_free(&content.flat);
    emc_prompt_free(&thinking.flat);
    return status;
}

emc_status emc_chat_render(const emc_chat_request *request, emc_prompt *out)
{
    size_t question;

    if (request->n_messages == 0)
        return emc_fail(EMC_ERR_CONFIG, "no messages, wanted at least one");
    if (request->messages[0].role == EMC_ROLE_SYSTEM && request->messages[0].content.is_absent)
        return emc_fail(EMC_ERR_CONFIG, "the first message is a system message without text");
    EMC_TRY(find_last_question(request, &question));
    for (size_t i = 0; i < request->n_messages; i++) {
        const emc_chat_message *m = &request->messages[i];
        if (m->role == EMC_ROLE_SYSTEM)
            EMC_TRY(add_turn(out, "system", &m->content));
        else if (m->role == EMC_ROLE_USER)
            EMC_TRY(add_turn(out, "user", &m->content));
        else if (m->role == EMC_ROLE_ASSISTANT)
            EMC_TRY(add_assistant(out, m, i > question, i + 1 == request->n_messages));
    }
    if (!request->add_generation_prompt)
        return EMC_OK;
    EMC_TRY(add_string(out, "<|im_start|>assistant\n"));
    return request->think == EMC_THINK_OFF ? add_string(out, THINK_BEGIN "\n\n" THINK_END "\n\n")
                                           : EMC_OK;
}
