/* Which tokens is each label, behind the prompt? */

#include <stdlib.h>
#include <string.h>

#include "annotate/prompt_state.h"
#include "base/size.h"
#include "base/str_map.h"

static const char think_block[] = "<think>\n\n</think>\n\n";

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
    emc_status status = emc_prompter_add_part(&whole, &p->after, 0, p->after.text.n);

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

emc_status emc_prompter_make_choices(emc_prompter *p)
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
