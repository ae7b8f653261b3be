/* Opening a tokenizer, and the small questions it answers. */
#include "tokenizer/tokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/size.h"
#include "tokenizer/vocab.h"

emc_status emc_ids_add(emc_ids *list, const int32_t *ids, size_t n)
{
    size_t need;

    if (!emc_size_add(&need, list->n, n))
        return emc_fail(EMC_ERR_NOMEM, "no memory for %zu ids", n);
    if (need > list->capacity)
        EMC_TRY(emc_reserve(&list->ids, &list->capacity, need, sizeof *list->ids, "a list of ids"));
    if (n)
        memcpy(list->ids + list->n, ids, n * sizeof *ids);
    list->n = need;
    return EMC_OK;
}

void emc_ids_clear(emc_ids *list)
{
    list->n = 0;
}

void emc_ids_free(emc_ids *list)
{
    free(list->ids);
    *list = (emc_ids){0};
}

emc_status emc_tokenizer_open(emc_tokenizer **out, const char *dir)
{
    emc_tokenizer *tok = NULL;
    char *path = NULL;
    emc_status status;

    *out = NULL;
    if (!emc_is_directory(dir))
        return emc_fail(EMC_ERR_NOT_FOUND, "%s: no such folder, wanted one with tokenizer.json",
                        dir);
    EMC_TRY(emc_path_join(&path, dir, "tokenizer.json"));
    status = emc_alloc(&tok, 1, sizeof *tok, "a tokenizer");
    if (status != EMC_OK)
        goto done;
    status = emc_unicode_open(&tok->unicode);
    if (status != EMC_OK)
        goto done;
    status = emc_file_exists(path) ? emc_read_tokenizer_json(tok, path)
                                   : emc_read_vocab_and_merges(tok, dir);
    if (status != EMC_OK)
        goto done;
    status = emc_vocab_finish(tok);
    if (status != EMC_OK)
        goto done;
    *out = tok;
    tok = NULL;
done:
    emc_tokenizer_close(tok);
    free(path);
    return status;
}

void emc_tokenizer_close(emc_tokenizer *tok)
{
    if (!tok)
        return;
    for (size_t i = 0; i < tok->n_added; i++)
        free(tok->added[i].text);
    free(tok->added);
    free(tok->tokens);
    free(tok->bytes);
    emc_str_map_close(tok->pieces);
    emc_piece_map_close(tok->whole);
    emc_bpe_close(tok->bpe);
    emc_unicode_close(tok->unicode);
    free(tok);
}

int32_t emc_tokenizer_token_id(const emc_tokenizer *tok, const char *token)
{
    const size_t n = strlen(token);

    for (size_t i = 0; i < tok->n_added; i++)
        if (tok->added[i].n == n && memcmp(tok->added[i].text, token, n) == 0)
            return tok->added[i].id;
    return emc_str_map_get(tok->pieces, token, n, -1);
}

int32_t emc_tokenizer_n_tokens(const emc_tokenizer *tok)
{
    return (int32_t)tok->n_tokens;
}

static uint32_t flags_of(const emc_tokenizer *tok, int32_t id)
{
    return id >= 0 && (size_t)id < tok->n_tokens ? tok->tokens[id].flags : 0;
}

bool emc_tokenizer_has_token(const emc_tokenizer *tok, int32_t id)
{
    return flags_of(tok, id) & EMC_TOKEN_USED;
}

bool emc_tokenizer_is_special(const emc_tokenizer *tok, int32_t id)
{
    return flags_of(tok, id) & EMC_TOKEN_SPECIAL;
}
