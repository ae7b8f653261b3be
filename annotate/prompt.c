#include "annotate/prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/template.h"
#include "base/size.h"
#include "base/str_map.h"
#include "tokenizer/gene_table.h"

static const char think_block[] = "<think>\n\n</think>\n\n";

struct emc_prompter {
    const emc_profile_info *info;
    const emc_labels *labels;
    const emc_tokenizer *tokenizer;
    int n_max; /* genes */
    emc_text label_list;

    /* The rendering of a full list around its genes. `lead` is what stands between the stable head
     * and the first gene: a blank, mostly, which the tokenizer joins to that gene. */
    emc_prompt before, after;
    size_t n_head;
    emc_ids head_ids, after_ids;
    bool varies; /* the text around the genes depends on how many there are */

    const char *const *names;
    int n_names;
    emc_gene_table *table;
    int32_t *in_table; /* [n_names] the gene's place in the table, -1 when it cannot be copied */
    bool fast;

    int32_t *choice_ids;
    int32_t *choice_begin;
    int n_choices;
    int n_fixed;

    /* Reused from cell to cell. */
    emc_text list, first;
    emc_ids scratch;
    int32_t *places; /* [n_max] of a cell's genes in the table */
};

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
    fillings f = {list, n_bytes, genes_at, "", &p->label_list};
    emc_chat_segment *segments = NULL;
    emc_chat_message *messages = NULL;
    emc_status status;

    snprintf(f.count, sizeof(f.count), "%d", n);
    EMC_TRY(emc_alloc(&messages, (size_t)info->n_messages, sizeof(*messages), "messages"));
    status =
        emc_alloc(&segments, (size_t)info->n_messages * MAX_PIECES, sizeof(*segments), "messages");
    for (int i = 0; i < info->n_messages && status == EMC_OK; i++) {
        const char *role = info->messages[i].role;
        messages[i].content.segments = segments + (size_t)i * MAX_PIECES;
        status = emc_chat_role_of(&messages[i].role, role, strlen(role));
        if (status == EMC_OK)
            status = fill_message(&info->messages[i], &f, segments + (size_t)i * MAX_PIECES,
                                  &messages[i].content.n_segments);
    }
    if (status == EMC_OK) {
        const emc_chat_request request = {
            .messages = messages,
            .n_messages = (size_t)info->n_messages,
            .add_generation_prompt = true,
            .think = info->thinking == EMC_THINKING_PREFILL ? EMC_THINK_OFF : EMC_THINK_DEFAULT,
        };
        status = emc_chat_render(&request, out);
    }
    free(segments);
    free(messages);
    return status;
}

/* Appends bytes begin .. end of a prompt, with what of them is trusted. */
static emc_status add_part(emc_prompt *out, const emc_prompt *from, size_t begin, size_t end)
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
    emc_status status = render_chat(p, stand_in, 1, p->n_max, &at, &whole);

    if (status == EMC_OK && (at >= whole.text.n || whole.text.bytes[at] != stand_in[0]))
        status = emc_fail(EMC_ERR_CONFIG, "the genes of profile \"%s\" vanish from the chat",
                          p->info->name);
    if (status == EMC_OK)
        status = add_part(&p->before, &whole, 0, at);
    if (status == EMC_OK)
        status = add_part(&p->after, &whole, at + 1, whole.text.n);
    emc_prompt_free(&whole);
    return status;
}

static emc_status make_head(emc_prompter *p)
{
    emc_prompt head = {0};
    emc_ids ids = {0};
    emc_status status =
        emc_tokenizer_stable_head(p->tokenizer, p->before.text.bytes, p->before.text.n,
                                  p->before.trusted, p->before.n_trusted, &p->n_head);

    if (status == EMC_OK)
        status = add_part(&head, &p->before, 0, p->n_head);
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

emc_status emc_prompter_answer(const emc_prompter *prompter, int label, emc_prompt *out)
{
    const emc_profile_info *info = prompter->info;

    if (!prompter->labels || label < 0 || label >= emc_labels_count(prompter->labels))
        return emc_fail(EMC_ERR_ARG, "answer: no label %d", label);
    const char *text = emc_labels_get(prompter->labels, label)->label;
    if (info->thinking == EMC_THINKING_BY_MODEL)
        EMC_TRY(emc_prompt_add(out, think_block, sizeof(think_block) - 1, true));
    EMC_TRY(emc_prompt_add(out, info->answer_prefix, strlen(info->answer_prefix), true));
    EMC_TRY(emc_prompt_add(out, text, strlen(text), false));
    return emc_prompt_add(out, info->answer_suffix, strlen(info->answer_suffix), true);
}

static emc_status find_ending(const emc_prompter *p, int32_t *id)
{
    const char *ending = p->info->answer_ending;
    emc_ids ids = {0};
    emc_status status =
        emc_tokenizer_encode(p->tokenizer, ending, strlen(ending), EMC_TOKENS_ADDED, &ids);

    if (status == EMC_OK && ids.n != 1)
        status = emc_fail(EMC_ERR_CONFIG,
                          "the ending \"%s\" of profile \"%s\" is %zu tokens of this model's "
                          "tokenizer, wanted one",
                          ending, p->info->name, ids.n);
    else if (status == EMC_OK)
        *id = ids.ids[0];
    emc_ids_free(&ids);
    return status;
}

/* Appends the ids of an answer as they are behind the prompt. */
static emc_status add_choice(emc_prompter *p, int label, int32_t ending, emc_ids *all)
{
    emc_prompt whole = {0};
    emc_ids ids = {0};
    const size_t n_after = p->after_ids.n;
    emc_status status = add_part(&whole, &p->after, 0, p->after.text.n);

    if (status == EMC_OK)
        status = emc_prompter_answer(p, label, &whole);
    if (status == EMC_OK)
        status = emc_prompt_encode(p->tokenizer, &whole, &ids);
    if (status != EMC_OK)
        goto done;
    if (ids.n <= n_after || memcmp(ids.ids, p->after_ids.ids, n_after * sizeof(*ids.ids)) != 0) {
        status = emc_fail(EMC_ERR_CONFIG,
                          "label \"%s\": its tokens melt into the end of the prompt; let the "
                          "profile's answer prefix begin with a letter or line break",
                          emc_labels_get(p->labels, label)->label);
        goto done;
    }
    status = emc_ids_add(all, ids.ids + n_after, ids.n - n_after);
    if (status == EMC_OK)
        status = emc_ids_add(all, &ending, 1);
done:
    emc_prompt_free(&whole);
    emc_ids_free(&ids);
    return status;
}

/* Two labels that the model cannot tell apart: spellings that normal form C makes one. */
static emc_status check_distinct(const emc_prompter *p)
{
    emc_str_map *seen = NULL;
    emc_status status = emc_str_map_open(&seen, (size_t)p->n_choices);

    for (int i = 0; i < p->n_choices && status == EMC_OK; i++) {
        const char *ids = (const char *)(p->choice_ids + p->choice_begin[i]);
        const size_t n =
            (size_t)(p->choice_begin[i + 1] - p->choice_begin[i]) * sizeof(*p->choice_ids);
        bool existed;
        status = emc_str_map_put(seen, ids, n, i, &existed);
        if (status == EMC_OK && existed)
            status = emc_fail(EMC_ERR_CONFIG,
                              "labels \"%s\" and \"%s\" are the same tokens: drop or rename one",
                              emc_labels_get(p->labels, emc_str_map_get(seen, ids, n, 0))->label,
                              emc_labels_get(p->labels, i)->label);
    }
    emc_str_map_close(seen);
    return status;
}

static emc_status make_choices(emc_prompter *p)
{
    emc_ids all = {0};
    int32_t ending = 0;
    const int n = emc_labels_count(p->labels);

    EMC_TRY(find_ending(p, &ending));
    EMC_TRY(emc_alloc(&p->choice_begin, (size_t)n + 1, sizeof(*p->choice_begin), "choices"));
    for (int i = 0; i < n; i++) {
        const emc_status status = add_choice(p, i, ending, &all);
        if (status != EMC_OK || all.n > INT32_MAX) {
            emc_ids_free(&all);
            return status != EMC_OK ? status : emc_fail(EMC_ERR_CONFIG, "labels are too long");
        }
        p->choice_begin[i + 1] = (int32_t)all.n;
    }
    p->choice_ids = all.ids;
    p->n_choices = n;
    return check_distinct(p);
}

static emc_status make_label_list(emc_prompter *p)
{
    for (int i = 0; p->labels && i < emc_labels_count(p->labels); i++) {
        if (i > 0)
            EMC_TRY(emc_text_add_string(&p->label_list, p->info->label_separator));
        EMC_TRY(emc_text_add_string(&p->label_list, emc_labels_get(p->labels, i)->label));
    }
    return EMC_OK;
}

/* Which slots there are decides what may be kept from cell to cell. */
static emc_status look_at_slots(emc_prompter *p)
{
    for (int i = 0; i < p->info->n_messages; i++) {
        const char *cursor = p->info->messages[i].content;
        for (;;) {
            emc_piece piece;
            bool more;
            EMC_TRY(emc_template_next(&cursor, &piece, &more));
            if (!more)
                break;
            p->varies |= piece.kind == EMC_PIECE_N_GENES;
            if (piece.kind == EMC_PIECE_LABELS && !p->labels)
                return emc_fail(EMC_ERR_CONFIG,
                                "profile \"%s\" lists the labels and there are none: give a list "
                                "with --labels",
                                p->info->name);
        }
    }
    return EMC_OK;
}

static void drop_table(emc_prompter *p)
{
    emc_gene_table_close(p->table);
    free(p->in_table);
    free(p->places);
    p->table = NULL;
    p->in_table = NULL;
    p->places = NULL;
    p->fast = false;
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
    status = look_at_slots(p);
    if (status == EMC_OK)
        status = make_label_list(p);
    if (status == EMC_OK)
        status = make_frame(p);
    if (status == EMC_OK && p->tokenizer)
        status = make_head(p);
    if (status == EMC_OK && p->tokenizer && p->labels)
        status = make_choices(p);
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
    emc_prompt_free(&prompter->before);
    emc_prompt_free(&prompter->after);
    emc_ids_free(&prompter->head_ids);
    emc_ids_free(&prompter->after_ids);
    drop_table(prompter);
    free(prompter->choice_ids);
    free(prompter->choice_begin);
    emc_text_free(&prompter->list);
    emc_text_free(&prompter->first);
    emc_ids_free(&prompter->scratch);
    free(prompter);
}

static emc_status add_gene(emc_prompter *p, const char *name)
{
    if (p->list.n > 0)
        EMC_TRY(emc_text_add_string(&p->list, p->info->gene_separator));
    return emc_text_add_string(&p->list, name);
}

/* Text and ids of the list in p->list, by the chat form itself. */
static emc_status render_whole(emc_prompter *p, int n, emc_rendered *out)
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
        EMC_TRY(add_gene(prompter, genes[i]));
    return render_whole(prompter, n, out);
}

static bool is_ascii_word(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* The symbol's pieces end where it ends, whatever stands before and behind it in a list: its last
 * byte is a letter or digit and the separator's first is neither. Plain ASCII, so that normal form
 * C changes nothing. The table and the comparison below check this again by other ways. */
static bool can_be_copied(const char *name, char separator)
{
    size_t n = 0;

    for (; name[n]; n++) {
        if (name[n] <= ' ' || name[n] > '~')
            return false;
    }
    return n > 0 && is_ascii_word(name[n - 1]) && separator > 0 && separator <= '~' &&
           !is_ascii_word(separator);
}

/* Whether the list can be put together from the table; its places are then in p->places. */
static bool find_places(emc_prompter *p, const int32_t *genes, int n)
{
    if (n == 0 || (p->varies && n != p->n_max))
        return false;
    for (int i = 0; i < n; i++) {
        p->places[i] = p->in_table[genes[i]];
        if (p->places[i] < 0)
            return false;
    }
    return true;
}

/* Head, lead with the first gene, the others from the table, tail. */
static emc_status copy_ids(emc_prompter *p, const int32_t *genes, int n, emc_ids *out)
{
    emc_ids_clear(out);
    EMC_TRY(emc_ids_add(out, p->head_ids.ids, p->head_ids.n));
    emc_text_clear(&p->first);
    EMC_TRY(
        emc_text_add(&p->first, p->before.text.bytes + p->n_head, p->before.text.n - p->n_head));
    EMC_TRY(emc_text_add_string(&p->first, p->names[genes[0]]));
    EMC_TRY(emc_tokenizer_encode(p->tokenizer, p->first.bytes, p->first.n, 0, out));
    /* The table writes its first gene without a separator: those ids are left out. */
    emc_ids_clear(&p->scratch);
    EMC_TRY(emc_gene_table_append(p->table, p->places, 1, &p->scratch));
    const size_t n_first = p->scratch.n;
    emc_ids_clear(&p->scratch);
    EMC_TRY(emc_gene_table_append(p->table, p->places, (size_t)n, &p->scratch));
    EMC_TRY(emc_ids_add(out, p->scratch.ids + n_first, p->scratch.n - n_first));
    return emc_ids_add(out, p->after_ids.ids, p->after_ids.n);
}

emc_status emc_prompter_render(emc_prompter *prompter, const int32_t *genes, int n, bool with_text,
                               emc_rendered *out)
{
    emc_prompter *p = prompter;

    if (n < 0 || n > p->n_max)
        return emc_fail(EMC_ERR_ARG, "prompt: %d genes, at most %d are listed", n, p->n_max);
    for (int i = 0; i < n; i++) {
        if (genes[i] < 0 || genes[i] >= p->n_names)
            return emc_fail(EMC_ERR_ARG, "prompt: no gene %d, there are %d", (int)genes[i],
                            p->n_names);
    }
    if (p->fast && !with_text && find_places(p, genes, n)) {
        emc_prompt_clear(&out->prompt);
        return copy_ids(p, genes, n, &out->ids);
    }
    emc_text_clear(&p->list);
    for (int i = 0; i < n; i++)
        EMC_TRY(add_gene(p, p->names[genes[i]]));
    return render_whole(p, n, out);
}

/* Full lists that together hold every gene of the table, compared with full tokenisation. genes
 * [n + n_max] are those genes, with room for as many again as a list holds. */
static emc_status verify(emc_prompter *p, int32_t *genes, int n, bool *same)
{
    emc_rendered whole = {0};
    emc_ids copied = {0};
    emc_status status = EMC_OK;

    *same = n > 0;
    /* The last list is filled up from the front. */
    for (int i = 0; i < p->n_max && n > 0; i++)
        genes[n + i] = genes[i];
    for (int begin = 0; begin < n && *same && status == EMC_OK; begin += p->n_max) {
        status = emc_prompter_render(p, genes + begin, p->n_max, true, &whole);
        find_places(p, genes + begin, p->n_max);
        if (status == EMC_OK)
            status = copy_ids(p, genes + begin, p->n_max, &copied);
        *same = status == EMC_OK && copied.n == whole.ids.n &&
                memcmp(copied.ids, whole.ids.ids, copied.n * sizeof(*copied.ids)) == 0;
    }
    emc_ids_free(&copied);
    emc_rendered_free(&whole);
    return status;
}

/* Fills the table with the genes that can be copied; genes [n_names + n_max] lists them. */
static emc_status fill_table(emc_prompter *p, int32_t *genes, int *n_genes)
{
    const char **names = NULL;
    int n = 0;

    EMC_TRY(emc_alloc(&names, (size_t)p->n_names, sizeof(*names), "genes"));
    for (int32_t i = 0; i < p->n_names; i++) {
        const bool copied = can_be_copied(p->names[i], p->info->gene_separator[0]);
        p->in_table[i] = copied ? n : -1;
        if (copied) {
            genes[n] = i;
            names[n++] = p->names[i];
        }
    }
    emc_status status =
        emc_gene_table_open(&p->table, p->tokenizer, names, (size_t)n, p->info->gene_separator);
    for (int32_t i = 0; i < n && status == EMC_OK; i++) {
        if (!emc_gene_table_is_exact(p->table, &i, 1))
            status = emc_fail(EMC_ERR_INTERNAL, "gene \"%s\": the table disagrees", names[i]);
    }
    free(names);
    *n_genes = n;
    return status;
}

emc_status emc_prompter_set_genes(emc_prompter *prompter, const char *const *names, int n_names)
{
    emc_prompter *p = prompter;
    const emc_prompt nothing = {0};
    const size_t n_places = (size_t)p->n_max;
    int32_t *genes = NULL;
    bool fits = false, same = false;
    int n = 0;
    emc_status status;

    drop_table(p);
    p->names = names;
    p->n_names = n_names;
    if (!p->tokenizer)
        return EMC_OK;
    EMC_TRY(emc_alloc(&p->in_table, (size_t)n_names, sizeof(*p->in_table), "genes"));
    EMC_TRY(emc_alloc(&p->places, n_places, sizeof(*p->places), "genes"));
    EMC_TRY(emc_alloc(&genes, (size_t)n_names + n_places, sizeof(*genes), "genes"));
    status = fill_table(p, genes, &n);
    /* The seam before the list is the stable head's; the table answers for the one behind it. */
    if (status == EMC_OK)
        status = emc_gene_table_fits(p->table, &nothing, &p->after, &fits, NULL);
    if (status == EMC_OK && fits)
        status = verify(p, genes, n, &same);
    free(genes);
    p->fast = same;
    return status;
}
