#include "tokenizer_files.h"

#include <stdio.h>
#include <string.h>

emc_tokenizer *open_golden(void)
{
    emc_tokenizer *tok;

    EMT_OK(emc_tokenizer_open(&tok, emt_golden("tokenizer")));
    return tok;
}

const char *show_ids(const emc_ids *ids)
{
    static char shown[2][400];
    static int next;
    char *out = shown[next++ % 2];
    size_t at = 0;

    out[0] = '\0';
    for (size_t i = 0; i < ids->n && at + 12 < sizeof shown[0]; i++)
        at += (size_t)snprintf(out + at, sizeof shown[0] - at, "%d ", ids->ids[i]);
    return out;
}

void check_same_ids(const char *what, const emc_ids *got, const emc_ids *want)
{
    if (got->n != want->n || (got->n && memcmp(got->ids, want->ids, got->n * sizeof *got->ids)))
        fail_msg("%s: %zu ids %s\nwanted %zu ids %s", what, got->n, show_ids(got), want->n,
                 show_ids(want));
}

void check_ids(const char *what, const emc_ids *got, const int32_t *want, size_t n_want)
{
    emc_ids list = {0};

    EMT_OK(emc_ids_add(&list, want, n_want));
    check_same_ids(what, got, &list);
    emc_ids_free(&list);
}

void random_text(uint64_t *state, int n_parts, emc_text *out)
{
    static const char *const parts[] = {"cell",
                                        " GATA3",
                                        " HLA-DRB1",
                                        "MT-",
                                        "'s",
                                        "'LL",
                                        "'",
                                        "12",
                                        "-",
                                        "!\n",
                                        " ",
                                        "  ",
                                        "\n",
                                        " \r\n",
                                        "\t",
                                        "<|im_end|>",
                                        "<|im_",
                                        "end|>",
                                        "<think>",
                                        "</think>",
                                        "e\u0301",
                                        "\u0301",
                                        "\u00c9t\u00e9 !",
                                        "\u00a0",
                                        "\u3000",
                                        "=\u0338",
                                        "\u0939\u093f",
                                        "\u1100\u1161",
                                        "\u11a8",
                                        "a"};

    for (int i = 0; i < n_parts; i++) {
        char code[4];
        if (emt_random(state) % 6 > 0) {
            EMT_OK(emc_text_add_string(out, parts[emt_random(state) % EMC_COUNT(parts)]));
            continue;
        }
        const uint32_t limit = emt_random(state) % 3 ? 0x3100 : 0x110000;
        const int n = emc_utf8_encode(code, (uint32_t)(emt_random(state) % limit));
        EMT_OK(emc_text_add(out, code, (size_t)n));
    }
}

emc_prompt prompt_of(const char *text, bool trusted)
{
    emc_prompt prompt = {0};

    EMT_OK(emc_prompt_add(&prompt, text, strlen(text), trusted));
    return prompt;
}

void check_stable_heads(const emc_tokenizer *tok, int n_texts)
{
    uint64_t seed = 9;
    int n_heads = 0;

    for (int i = 0; i < n_texts; i++) {
        emc_text text = {0};
        emc_ids head_ids = {0}, ids = {0};
        size_t head;
        random_text(&seed, 1 + i % 7, &text);
        const size_t n = text.n;
        const emc_byte_range before = {0, n};
        EMT_OK(emc_tokenizer_stable_head(tok, text.bytes, n, &before, 1, &head));
        assert_true(head <= n);
        n_heads += head > 0;
        EMT_OK(emc_tokenizer_encode(tok, text.bytes, head, EMC_TOKENS_ADDED, &head_ids));
        random_text(&seed, i % 4, &text);
        const emc_byte_range after = {0, i % 2 ? text.n : n};
        EMT_OK(emc_tokenizer_encode_trusted(tok, text.bytes, text.n, &after, 1, &ids));
        if (ids.n < head_ids.n ||
            (head_ids.n && memcmp(ids.ids, head_ids.ids, head_ids.n * sizeof *ids.ids)))
            fail_msg("head %zu of %zu bytes of \"%s\": %s\nwhole %s", head, n, text.bytes,
                     show_ids(&head_ids), show_ids(&ids));
        emc_text_free(&text);
        emc_ids_free(&head_ids);
        emc_ids_free(&ids);
    }
    assert_true(n_heads > n_texts / 3);
}
