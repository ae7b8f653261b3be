/* From a profile to the text and ids of a cell; annotate/prompt.h says what is promised. */

#include "annotate/prompt_state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/template.h"
#include "base/size.h"

void emc_rendered_free(emc_rendered *rendered)
{
    emc_prompt_free(&rendered->prompt);
    emc_ids_free(&rendered->ids);
}

int emc_prompter_n_genes(const emc_prompter *prompter)
{
    return prompter->n_max;
}

bool emc_prompter_is_fast(const emc_prompter *prompter)
{
    return prompter->fast;
}

int emc_prompter_n_fixed(const emc_prompter *prompter)
{
    return prompter->n_fixed;
}

void emc_prompter_prefix(const emc_prompter *prompter, const int32_t **ids, int *n_ids)
{
    *ids = prompter->head_ids.ids;
    *n_ids = (int)prompter->head_ids.n;
}

void emc_prompter_choices(const emc_prompter *prompter, const int32_t **ids, const int32_t **begin,
                          int *n_choices)
{
    *ids = prompter->choice_ids;
    *begin = prompter->choice_begin;
    *n_choices = prompter->n_choices;
}

/* What fills the slots of a message. */
typedef struct {
    const char *genes;
    size_t n_genes_bytes;
    size_t *genes_at; /* where the list stands in the rendering; may be NULL */
    char count[16];
    const emc_text *labels;
    const char *stage;
} fillings;

#define MAX_PIECES 256 /* of one message */

static emc_status fill_message(const emc_profile_message *message, const fillings *f,
                               emc_chat_segment *segments, size_t *n_segments)
{
    const char *cursor = message->content;

    *n_segments = 0;
    for (;;) {
        emc_chat_segment segment = {0};
        emc_piece piece;
        bool more;
        EMC_TRY(emc_template_next(&cursor, &piece, &more));
        if (!more)
            return EMC_OK;
        if (*n_segments == MAX_PIECES)
            return emc_fail(EMC_ERR_CONFIG, "a message of the profile has more than %d pieces",
                            MAX_PIECES);
        switch (piece.kind) {
        case EMC_PIECE_TEXT:
            segment = (emc_chat_segment){piece.text, piece.n, true, NULL};
            break;
        case EMC_PIECE_GENES:
            segment = (emc_chat_segment){f->genes, f->n_genes_bytes, false, f->genes_at};
            break;
        case EMC_PIECE_LABELS:
            segment = (emc_chat_segment){f->labels->bytes, f->labels->n, false, NULL};
            break;
        case EMC_PIECE_N_GENES:
            segment = (emc_chat_segment){f->count, strlen(f->count), false, NULL};
            break;
        case EMC_PIECE_STAGE:
            segment = (emc_chat_segment){f->stage, strlen(f->stage), false, NULL};
            break;
        }
        segments[(*n_segments)++] = segment;
    }
}

/* The whole chat for a written list of n genes: the meaning of a profile, which the fast path below
 * must equal. Appends to *out. */
static emc_status render_chat(const emc_prompter *p, const char *list, size_t n_bytes, int n,
                              size_t *genes_at, emc_prompt *out)
{
    const emc_profile_info *info = p->info;
    const emc_profile_wording *wording = &p->wording;
    fillings f = {list, n_bytes, genes_at, "", &p->label_list, p->stage ? p->stage : ""};
    emc_chat_segment *segments = NULL;
    emc_chat_message *messages = NULL;
    emc_status status;

    snprintf(f.count, sizeof(f.count), "%d", n);
    EMC_TRY(emc_alloc(&messages, (size_t)wording->n_messages, sizeof(*messages), "messages"));
    status = emc_alloc(&segments, (size_t)wording->n_messages * MAX_PIECES, sizeof(*segments),
                       "messages");
    for (int i = 0; i < wording->n_messages && status == EMC_OK; i++) {
        const char *role = wording->messages[i].role;
        messages[i].content.segments = segments + (size_t)i * MAX_PIECES;
        status = emc_chat_role_of(&messages[i].role, role, strlen(role));
        if (status == EMC_OK)
            status = fill_message(&wording->messages[i], &f, segments + (size_t)i * MAX_PIECES,
                                  &messages[i].content.n_segments);
    }
    if (status == EMC_OK) {
        const emc_chat_request request = {
            .messages = messages,
            .n_messages = (size_t)wording->n_messages,
            .add_generation_prompt = true,
            .think = info->thinking == EMC_THINKING_PREFILL ? EMC_THINK_OFF : EMC_THINK_DEFAULT,
        };
        status = emc_chat_render(&request, out);
    }
    free(segments);
    free(messages);
    return status;
}

emc_status emc_prompter_add_part(emc_prompt *out, const emc_prompt *from, size_t begin, size_t end)
{
    size_t at = begin;

    for (size_t i = 0; i < from->n_trusted && at < end; i++) {
        const emc_byte_range range = from->trusted[i];
        if (range.end <= at)
            continue;
        if (range.begin > at) {
            const size_t stop = range.begin < end ? range.begin : end;
            EMC_TRY(emc_prompt_add(out, from->text.bytes + at, stop - at, false));
            at = stop;
        }
        const size_t stop = range.end < end ? range.end : end;
        if (stop > at)
            EMC_TRY(emc_prompt_add(out, from->text.bytes + at, stop - at, true));
        at = stop > at ? stop : at;
    }
    if (at < end)
        return emc_prompt_add(out, from->text.bytes + at, end - at, false);
    return EMC_OK;
}

/* Cuts the rendering of a full list into what stands before and after the genes. */
static emc_status make_frame(emc_prompter *p)
{
    static const char stand_in[] = "A";
    emc_prompt whole = {0};
    size_t at = 0;
    emc_prompt_clear(&p->before);
    emc_prompt_clear(&p->after);
    emc_status status = render_chat(p, stand_in, 1, p->n_max, &at, &whole);

    if (status == EMC_OK && (at >= whole.text.n || whole.text.bytes[at] != stand_in[0]))
        status = emc_fail(EMC_ERR_CONFIG, "the genes of profile \"%s\" vanish from the chat",
                          p->info->name);
    if (status == EMC_OK)
        status = emc_prompter_add_part(&p->before, &whole, 0, at);
    if (status == EMC_OK)
        status = emc_prompter_add_part(&p->after, &whole, at + 1, whole.text.n);
    emc_prompt_free(&whole);
    return status;
}

static emc_status make_head(emc_prompter *p)
{
    emc_prompt head = {0};
    emc_ids ids = {0};

    emc_ids_clear(&p->head_ids);
    emc_ids_clear(&p->after_ids);
    emc_status status =
        emc_tokenizer_stable_head(p->tokenizer, p->before.text.bytes, p->before.text.n,
                                  p->before.trusted, p->before.n_trusted, &p->n_head);

    if (status == EMC_OK)
        status = emc_prompter_add_part(&head, &p->before, 0, p->n_head);
    if (status == EMC_OK)
        status = emc_prompt_encode(p->tokenizer, &head, &p->head_ids);
    if (status == EMC_OK)
        status = emc_prompt_encode(p->tokenizer, &p->after, &p->after_ids);
    /* The least that every prompt holds, for the check against the context. */
    emc_prompt_clear(&head);
    if (status == EMC_OK)
        status = render_chat(p, "", 0, 0, NULL, &head);
    if (status == EMC_OK)
        status = emc_prompt_encode(p->tokenizer, &head, &ids);
    p->n_fixed = (int)ids.n;
    emc_ids_free(&ids);
    emc_prompt_free(&head);
    return status;
}

/* candidates NULL: all labels. */
static emc_status make_label_list(emc_prompter *p, const int *candidates, int n)
{
    emc_text_clear(&p->label_list);
    if (!candidates)
        n = p->labels ? emc_labels_count(p->labels) : 0;
    for (int i = 0; i < n; i++) {
        if (i > 0)
            EMC_TRY(emc_text_add_string(&p->label_list, p->info->label_separator));
        EMC_TRY(emc_text_add_string(
            &p->label_list, emc_labels_get(p->labels, candidates ? candidates[i] : i)->label));
    }
    return EMC_OK;
}

/* Which slots the wording has decides what it needs, and what may be kept from cell to cell. */
static emc_status look_at_slots(emc_prompter *p, bool has_candidates)
{
    bool has_labels = false, has_stage = false;

    p->varies = false;
    for (int i = 0; i < p->wording.n_messages; i++) {
        const char *cursor = p->wording.messages[i].content;
        for (;;) {
            emc_piece piece;
            bool more;
            EMC_TRY(emc_template_next(&cursor, &piece, &more));
            if (!more)
                break;
            p->varies |= piece.kind == EMC_PIECE_N_GENES;
            has_labels |= piece.kind == EMC_PIECE_LABELS;
            has_stage |= piece.kind == EMC_PIECE_STAGE;
        }
    }
    if (has_labels && !p->labels)
        return emc_fail(EMC_ERR_CONFIG,
                        "profile \"%s\" lists the labels and there are none: give a list "
                        "with --labels",
                        p->info->name);
    if (has_candidates && !has_labels)
        return emc_fail(EMC_ERR_CONFIG,
                        "profile \"%s\": this wording has no {labels}, so no candidates can be "
                        "listed",
                        p->info->name);
    if (has_stage && !p->stage)
        return emc_fail(EMC_ERR_CONFIG,
                        "profile \"%s\" asks for the stage of each cell, which is not known here; "
                        "take {stage} out of its messages",
                        p->info->name);
    if (!has_stage && p->stage)
        return emc_fail(EMC_ERR_CONFIG, "profile \"%s\": this wording has no {stage}",
                        p->info->name);
    return EMC_OK;
}

/* All that depends on the wording and what fills it. */
static emc_status make_variant(emc_prompter *p, const int *candidates, int n)
{
    EMC_TRY(look_at_slots(p, candidates != NULL));
    EMC_TRY(make_label_list(p, candidates, n));
    EMC_TRY(make_frame(p));
    return p->tokenizer ? make_head(p) : EMC_OK;
}

static emc_status check_candidates(const emc_prompter *p, const emc_prompt_variant *v)
{
    const int n_labels = p->labels ? emc_labels_count(p->labels) : 0;

    for (int i = 0; i < v->n_candidates; i++) {
        if (v->candidates[i] < 0 || v->candidates[i] >= n_labels)
            return emc_fail(EMC_ERR_ARG, "candidates: no label %d", v->candidates[i]);
        for (int other = 0; other < i; other++)
            if (v->candidates[other] == v->candidates[i])
                return emc_fail(EMC_ERR_ARG, "candidates: label %d twice", v->candidates[i]);
    }
    return EMC_OK;
}

emc_status emc_prompter_set_variant(emc_prompter *prompter, const emc_prompt_variant *variant)
{
    static const emc_prompt_variant plain;
    const emc_prompt_variant *v = variant ? variant : &plain;
    emc_prompter *p = prompter;
    const char *const *names = p->names;
    const int n_names = p->n_names;
    char *stage = NULL;

    if (v->wording < 0 || v->wording > p->info->n_paraphrases)
        return emc_fail(EMC_ERR_CONFIG, "profile \"%s\" has no wording %d: it has %d paraphrases",
                        p->info->name, v->wording, p->info->n_paraphrases);
    if (v->candidates)
        EMC_TRY(check_candidates(p, v));
    if (v->stage)
        EMC_TRY(emc_copy_string(&stage, v->stage));
    free(p->stage);
    p->stage = stage;
    p->wording = v->wording > 0 ? p->info->paraphrases[v->wording - 1]
                                : (emc_profile_wording){p->info->messages, p->info->n_messages};
    emc_prompter_drop_genes(p);
    EMC_TRY(make_variant(p, v->candidates, v->n_candidates));
    return names ? emc_prompter_set_genes(p, names, n_names) : EMC_OK;
}

int emc_prompter_n_messages(const emc_prompter *prompter)
{
    return prompter->wording.n_messages;
}

const char *emc_prompter_role(const emc_prompter *prompter, int message)
{
    return prompter->wording.messages[message].role;
}

emc_status emc_prompter_message(emc_prompter *prompter, int message, const char *const *genes,
                                int n_genes, emc_text *out)
{
    emc_prompter *p = prompter;
    emc_chat_segment *segments = NULL;
    size_t n_segments = 0;

    if (message < 0 || message >= p->wording.n_messages)
        return emc_fail(EMC_ERR_ARG, "prompt: no message %d", message);
    if (n_genes < 0 || n_genes > p->n_max)
        return emc_fail(EMC_ERR_ARG, "prompt: %d genes, at most %d are listed", n_genes, p->n_max);
    emc_text_clear(&p->list);
    for (int i = 0; i < n_genes; i++)
        EMC_TRY(emc_prompter_add_gene(p, genes[i]));
    fillings f = {p->list.n ? p->list.bytes : "", p->list.n, NULL, "", &p->label_list,
                  p->stage ? p->stage : ""};
    snprintf(f.count, sizeof(f.count), "%d", n_genes);
    EMC_TRY(emc_alloc(&segments, MAX_PIECES, sizeof(*segments), "messages"));
    emc_status status = fill_message(&p->wording.messages[message], &f, segments, &n_segments);
    for (size_t i = 0; i < n_segments && status == EMC_OK; i++)
        status = emc_text_add(out, segments[i].text, segments[i].n_bytes);
    free(segments);
    return status;
}

emc_status emc_prompter_open(emc_prompter **out, const emc_prompter_options *options)
{
    emc_prompter *p;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&p, 1, sizeof(*p), "prompter"));
    p->info = emc_profile_get(options->profile);
    p->labels = options->labels;
    p->tokenizer = options->tokenizer;
    p->n_max = options->n_genes > 0 ? options->n_genes : p->info->n_genes;
    p->wording = (emc_profile_wording){p->info->messages, p->info->n_messages};
    status = options->stage ? emc_copy_string(&p->stage, options->stage) : EMC_OK;
    if (status == EMC_OK)
        status = make_variant(p, NULL, 0);
    if (status == EMC_OK && p->tokenizer && p->labels)
        status = emc_prompter_make_choices(p);
    if (status != EMC_OK)
        emc_prompter_close(p);
    else
        *out = p;
    return status;
}

void emc_prompter_close(emc_prompter *prompter)
{
    if (!prompter)
        return;
    emc_text_free(&prompter->label_list);
    free(prompter->stage);
    emc_prompt_free(&prompter->before);
    emc_prompt_free(&prompter->after);
    emc_ids_free(&prompter->head_ids);
    emc_ids_free(&prompter->after_ids);
    emc_prompter_drop_genes(prompter);
    free(prompter->choice_ids);
    free(prompter->choice_begin);
    emc_text_free(&prompter->list);
    emc_text_free(&prompter->first);
    emc_ids_free(&prompter->scratch);
    free(prompter);
}

emc_status emc_prompter_add_gene(emc_prompter *p, const char *name)
{
    if (p->list.n > 0)
        EMC_TRY(emc_text_add_string(&p->list, p->info->gene_separator));
    return emc_text_add_string(&p->list, name);
}

emc_status emc_prompter_render_list(emc_prompter *p, int n, emc_rendered *out)
{
    emc_prompt_clear(&out->prompt);
    emc_ids_clear(&out->ids);
    EMC_TRY(render_chat(p, p->list.n ? p->list.bytes : "", p->list.n, n, NULL, &out->prompt));
    if (p->tokenizer)
        return emc_prompt_encode(p->tokenizer, &out->prompt, &out->ids);
    return EMC_OK;
}

emc_status emc_prompter_render_names(emc_prompter *prompter, const char *const *genes, int n,
                                     emc_rendered *out)
{
    if (n < 0 || n > prompter->n_max)
        return emc_fail(EMC_ERR_ARG, "prompt: %d genes, at most %d are listed", n, prompter->n_max);
    emc_text_clear(&prompter->list);
    for (int i = 0; i < n; i++)
        EMC_TRY(emc_prompter_add_gene(prompter, genes[i]));
    return emc_prompter_render_list(prompter, n, out);
}
