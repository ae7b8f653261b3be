/* Encoding and decoding with the small committed vocabulary; what is exact is exact with any. */
#include "emt.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/bpe.h"
#include "tokenizer/tape.h"
#include "tokenizer/vocab.h"
#include "tokenizer_files.h"

static emc_ids encode(const emc_tokenizer *tok, const char *text, unsigned flags)
{
    emc_ids ids = {0};

    EMT_OK(emc_tokenizer_encode(tok, text, strlen(text), flags, &ids));
    return ids;
}

static emc_ids read_ids(const emc_tape_value *list)
{
    emc_ids ids = {0};

    assert_non_null(list);
    for (uint32_t i = 0; i < list->n; i++) {
        int32_t id;
        assert_true(emc_tape_whole(list + 1 + i, INT32_MAX, &id));
        EMT_OK(emc_ids_add(&ids, &id, 1));
    }
    return ids;
}

static void check_text(const emc_tape_value *want, const emc_text *got)
{
    assert_int_equal(want->kind, EMC_TAPE_STRING);
    assert_int_equal(got->n, want->n);
    if (want->n)
        assert_memory_equal(got->bytes, want->text, want->n);
}

static void check_case(const emc_tokenizer *tok, const emc_tape_value *object)
{
    const emc_tape_value *text = emc_tape_member(object, "text");
    emc_ids want = read_ids(emc_tape_member(object, "ids")), got = {0};
    emc_text decoded = {0}, skipped = {0};

    if (text) {
        EMT_OK(emc_tokenizer_encode(tok, text->text, text->n, EMC_TOKENS_ADDED, &got));
        check_same_ids(text->text, &got, &want);
    } else {
        EMT_OK(emc_tokenizer_decode(tok, want.ids, want.n, false, &decoded));
        check_text(emc_tape_member(object, "decoded"), &decoded);
        EMT_OK(emc_tokenizer_decode(tok, want.ids, want.n, true, &skipped));
        check_text(emc_tape_member(object, "decoded_skip"), &skipped);
    }
    emc_ids_free(&want);
    emc_ids_free(&got);
    emc_text_free(&decoded);
    emc_text_free(&skipped);
}

static void check_golden(const char *folder)
{
    emc_tokenizer *tok;
    char *lines = emt_read(emt_golden("tokenizer/cases.jsonl"), NULL);
    int n = 0;

    EMT_OK(emc_tokenizer_open(&tok, emt_golden(folder)));
    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n"), n++) {
        emc_tape *tape;
        EMT_OK(emc_tape_open(&tape, line, strlen(line), "cases.jsonl"));
        check_case(tok, emc_tape_root(tape));
        emc_tape_close(tape);
    }
    assert_int_equal(n, 180);
    free(lines);
    emc_tokenizer_close(tok);
}

static void test_golden_json(void **state)
{
    (void)state;
    check_golden("tokenizer");
}

static void test_golden_vocab_and_merges(void **state)
{
    (void)state;
    check_golden("tokenizer/files");
}

static void test_questions(void **state)
{
    emc_tokenizer *tok = open_golden();

    (void)state;
    assert_int_equal(emc_tokenizer_n_tokens(tok), 566);
    assert_int_equal(emc_tokenizer_token_id(tok, "<|im_end|>"), 2);
    assert_int_equal(emc_tokenizer_token_id(tok, "<think>"), 563);
    assert_int_equal(emc_tokenizer_token_id(tok, "!"), 3);
    assert_int_equal(emc_tokenizer_token_id(tok, "<no such token>"), -1);
    assert_true(emc_tokenizer_is_special(tok, 2));
    assert_false(emc_tokenizer_is_special(tok, 563));
    assert_false(emc_tokenizer_is_special(tok, 3));
    assert_false(emc_tokenizer_is_special(tok, -1));
    assert_false(emc_tokenizer_is_special(tok, 566));
    assert_true(emc_tokenizer_has_token(tok, 565));
    assert_false(emc_tokenizer_has_token(tok, 566));
    assert_false(emc_tokenizer_has_token(tok, -1));
    emc_tokenizer_close(tok);
    emc_tokenizer_close(NULL);
}

/* A token of the vocabulary that its own merges do not make must not be given for its bytes. */
static void test_made_by_hand(void **state)
{
    static const char *const keys[] = {"ab", "bc", "abc"};
    emc_tokenizer tok = {0};
    emc_ids ids = {0};
    emc_text text = {0};

    (void)state;
    EMT_OK(emc_unicode_open(&tok.unicode));
    for (uint32_t b = 0; b < 256; b++) {
        /* The printable alphabet: bytes that print stand for themselves. */
        static const uint32_t shifted[] = {0x21, 0x7F, 0xA1, 0xAD, 0xAE};
        char key[4];
        const uint32_t code = b < shifted[0]    ? 0x100 + b
                              : b < shifted[1]  ? b
                              : b < shifted[2]  ? 0x121 + b - 0x7F
                              : b == shifted[3] ? 0x143
                                                : b;
        const int n = emc_utf8_encode(key, code);
        EMT_OK(emc_vocab_add_token(&tok, key, (size_t)n, (int32_t)b, "test"));
    }
    for (int i = 0; i < 3; i++)
        EMT_OK(emc_vocab_add_token(&tok, keys[i], strlen(keys[i]), 256 + i, "test"));
    EMT_OK(emc_vocab_begin_merges(&tok, 3, "test"));
    EMT_OK(emc_vocab_add_merge(&tok, "b", 1, "c", 1, 0, "test"));
    EMT_OK(emc_vocab_add_merge(&tok, "a", 1, "b", 1, 1, "test"));
    EMT_OK(emc_vocab_add_merge(&tok, "ab", 2, "c", 1, 2, "test"));
    EMT_OK(emc_vocab_add_added(&tok, "<a>", 3, 300, true, "test"));
    EMT_OK(emc_vocab_add_added(&tok, "<a>b", 4, 301, false, "test"));
    EMT_OK(emc_vocab_add_added(&tok, "<", 1, '<', false, "test"));
    EMT_OK(emc_vocab_add_added(&tok, "\u0120x", 3, 302, false, "test"));
    EMT_OK(emc_vocab_finish(&tok));
    EMT_OK(emc_tokenizer_encode(&tok, "abc", 3, 0, &ids));
    check_ids("abc", &ids, (const int32_t[]){'a', 257}, 2);
    emc_ids_clear(&ids);
    EMT_OK(emc_tokenizer_encode(&tok, "abab", 4, 0, &ids));
    check_ids("abab", &ids, (const int32_t[]){256, 256}, 2);

    /* Of added tokens that start alike the longest that fits is cut. */
    emc_ids_clear(&ids);
    EMT_OK(emc_tokenizer_encode(&tok, "<a>bc<a>c<", 10, EMC_TOKENS_ADDED, &ids));
    check_ids("<a>bc<a>c<", &ids, (const int32_t[]){301, 'c', 300, 'c', '<'}, 5);
    emc_ids_clear(&ids);
    EMT_OK(emc_tokenizer_encode_trusted(&tok, "<a>b", 4, (emc_byte_range[]){{0, 3}}, 1, &ids));
    check_ids("<a>b", &ids, (const int32_t[]){300, 'b'}, 2);

    /* As in the reference, an added token of the byte alphabet decodes as if it were bytes. */
    emc_ids_clear(&ids);
    EMT_OK(emc_tokenizer_encode(&tok, "a\u0120x", 4, EMC_TOKENS_ADDED, &ids));
    check_ids("a\u0120x", &ids, (const int32_t[]){'a', 302}, 2);
    EMT_OK(emc_tokenizer_decode(&tok, ids.ids, ids.n, false, &text));
    assert_string_equal(text.bytes, "a x");

    emc_ids_free(&ids);
    emc_text_free(&text);
    emc_unicode_close(tok.unicode);
    emc_bpe_close(tok.bpe);
    emc_str_map_close(tok.pieces);
    emc_piece_map_close(tok.whole);
    for (size_t i = 0; i < tok.n_added; i++)
        free(tok.added[i].text);
    free(tok.added);
    free(tok.tokens);
    free(tok.bytes);
}

/* Both ways of merging give the same, and the steps for a megabyte are n log n, not n^2. */
static void test_long_pieces(void **state)
{
    emc_tokenizer *tok = open_golden();
    emc_text text = {0};
    emc_ids whole = {0}, part = {0};
    uint64_t seed = 3;
    size_t n_steps = 0;

    (void)state;
    while (text.n < 1000000)
        EMT_OK(emc_text_add_string(&text, emt_random(&seed) % 2 ? "GATA" : "cell"));
    EMT_OK(emc_bpe_encode(tok->bpe, text.bytes, text.n, &whole, &n_steps));
    assert_true(n_steps >= text.n);
    assert_true(n_steps < 5 * text.n);
    EMT_OK(emc_tokenizer_encode(tok, text.bytes, text.n, 0, &part));
    check_same_ids("a megabyte of letters", &part, &whole);

    /* 48 bytes take the short way and 49 the long one; the naive way is written out here. */
    for (size_t n = 1; n <= 60; n++) {
        int32_t ids[60];
        size_t left = n;
        for (size_t i = 0; i < n; i++)
            ids[i] = tok->bpe->byte_ids[(unsigned char)text.bytes[i]];
        for (;;) {
            const emc_bpe_merge *best = NULL;
            size_t at = 0;
            for (size_t i = 0; i + 1 < left; i++)
                for (size_t s = 0; s < (size_t)1 << tok->bpe->bits; s++) {
                    const emc_bpe_merge *m = &tok->bpe->slots[s];
                    if (m->rank != EMC_NO_RANK && m->left == (uint32_t)ids[i] &&
                        m->right == (uint32_t)ids[i + 1] && (!best || m->rank < best->rank)) {
                        best = m;
                        at = i;
                    }
                }
            if (!best)
                break;
            ids[at] = tok->bpe->merged[best->rank];
            memmove(ids + at + 1, ids + at + 2, (left - at - 2) * sizeof *ids);
            left--;
        }
        emc_ids_clear(&part);
        EMT_OK(emc_bpe_encode(tok->bpe, text.bytes, n, &part, NULL));
        check_ids("short and long pieces", &part, ids, left);
    }
    emc_text_free(&text);
    emc_ids_free(&whole);
    emc_ids_free(&part);
    emc_tokenizer_close(tok);
}

/* Long runs that are not letters must not be slow either: quadratic, one would take minutes. */
static void test_long_runs(void **state)
{
    static const char *const runs[] = {" ",      "\n", " \n",     "'",  "<", "<|im_",
                                       "\u0301", "1",  "a\u0323", "\0", "!", "\u0301\u0323"};
    emc_tokenizer *tok = open_golden();

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(runs); i++) {
        emc_text text = {0}, back = {0};
        emc_ids ids = {0};
        const size_t n = strlen(runs[i]) ? strlen(runs[i]) : 1;
        while (text.n < 1000000)
            EMT_OK(emc_text_add(&text, runs[i], n));
        EMT_OK(emc_tokenizer_encode(tok, text.bytes, text.n, EMC_TOKENS_ADDED, &ids));
        EMT_OK(emc_tokenizer_decode(tok, ids.ids, ids.n, false, &back));
        /* Normal form reorders marks and joins letters, but loses none of the text. */
        assert_true(back.n * 2 > text.n && back.n <= text.n);
        emc_text_free(&text);
        emc_text_free(&back);
        emc_ids_free(&ids);
    }
    emc_tokenizer_close(tok);
}

static void test_bad_utf8(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        const char *message;
    } cases[] = {
        {"\xFF", 1, "byte 0"},
        {"ab\xC3", 3, "byte 2"},
        {"\xED\xA0\x80", 3, "byte 0"},
        {"\xC0\x80", 2, "byte 0"},
        {"\xF4\x90\x80\x80", 4, "byte 0"},
        {"0123456789\x80", 11, "byte 10"},
        {"a\0\xE2\x82", 4, "byte 2"},
    };
    emc_tokenizer *tok = open_golden();
    emc_ids ids = {0};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        EMT_FAILS(EMC_ERR_FORMAT, cases[i].message,
                  emc_tokenizer_encode(tok, cases[i].text, cases[i].n, EMC_TOKENS_ADDED, &ids));
    assert_int_equal(ids.n, 0);
    emc_tokenizer_close(tok);
}

static void test_trusted_ranges(void **state)
{
    static const char text[] = "a<think>b<think>c";
    emc_tokenizer *tok = open_golden();
    const int32_t think = emc_tokenizer_token_id(tok, "<think>");
    emc_ids all = encode(tok, text, EMC_TOKENS_ADDED), none = encode(tok, text, 0), got = {0};
    int n_think = 0;

    (void)state;
    EMT_OK(emc_tokenizer_encode_trusted(tok, text, 17, (emc_byte_range[]){{0, 17}}, 1, &got));
    check_same_ids("all trusted", &got, &all);
    emc_ids_clear(&got);
    EMT_OK(emc_tokenizer_encode_trusted(tok, text, 17, NULL, 0, &got));
    check_same_ids("nothing trusted", &got, &none);
    emc_ids_clear(&got);
    /* Ranges that touch are one; one that ends within the token does not hold it. */
    EMT_OK(
        emc_tokenizer_encode_trusted(tok, text, 17, (emc_byte_range[]){{0, 4}, {4, 10}}, 2, &got));
    for (size_t i = 0; i < got.n; i++)
        n_think += got.ids[i] == think;
    assert_int_equal(n_think, 1);
    assert_int_equal(got.ids[1], think);

    EMT_FAILS(EMC_ERR_ARG, "range 0",
              emc_tokenizer_encode_trusted(tok, text, 17, (emc_byte_range[]){{0, 18}}, 1, &got));
    EMT_FAILS(
        EMC_ERR_ARG, "range 1",
        emc_tokenizer_encode_trusted(tok, text, 17, (emc_byte_range[]){{4, 8}, {0, 4}}, 2, &got));
    EMT_FAILS(EMC_ERR_ARG, "range 0",
              emc_tokenizer_encode_trusted(tok, text, 17, (emc_byte_range[]){{4, 3}}, 1, &got));
    emc_ids_free(&all);
    emc_ids_free(&none);
    emc_ids_free(&got);
    emc_tokenizer_close(tok);
}

static void test_stable_head(void **state)
{
    emc_tokenizer *tok = open_golden();

    (void)state;
    check_stable_heads(tok, 4000);
    emc_tokenizer_close(tok);
}

/* Where the head of some texts ends: it must not be shorter than need be, either. */
static void test_stable_head_places(void **state)
{
    static const struct {
        const char *text;
        size_t head;
        size_t n_trusted;
    } cases[] = {
        {"ab\n  ", 2, 1},     {"ab   1", 2, 1},      {"ab<|im_", 6, 0},    {"<think>", 6, 0},
        {"", 0, 1},           {"cells: ", 6, 1},     {"cells:", 5, 1},     {"cells:\n", 5, 1},
        {"ab  ", 2, 1},       {"ab cd", 2, 1},       {"ab 1", 2, 1},       {"<|im_end|>", 10, 1},
        {"ab<|im_", 0, 1},    {"a b<|im_end", 1, 1}, {"e\u0301 ab", 0, 1}, {"<think>\n\n", 7, 1},
        {"ab cd<|x|>", 8, 1},
    };
    emc_tokenizer *tok = open_golden();

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const emc_byte_range all = {0, strlen(cases[i].text)};
        size_t head;
        EMT_OK(emc_tokenizer_stable_head(tok, cases[i].text, all.end, &all, cases[i].n_trusted,
                                         &head));
        if (head != cases[i].head)
            fail_msg("\"%s\": head %zu, wanted %zu", cases[i].text, head, cases[i].head);
    }
    emc_tokenizer_close(tok);
}

static void test_decode_invalid(void **state)
{
    static const struct {
        const char *bytes, *text;
    } cases[] = {
        {"\xE2\x82\xAC", "\u20ac"},
        {"\xE2\x82", "\uFFFD"},
        {"\xE2\x82x", "\uFFFDx"},
        {"\xE2\x28\xA1", "\uFFFD(\uFFFD"},
        {"\xF0\x9F\x98", "\uFFFD"},
        {"\xF0\x9F\x98\xF0", "\uFFFD\uFFFD"},
        {"\xED\xA0\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xC0\xAF", "\uFFFD\uFFFD"},
        {"\xF5\x80", "\uFFFD\uFFFD"},
        {"\xF4\x90\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xE0\x9F\x80", "\uFFFD\uFFFD\uFFFD"},
        {"\xF0\x8F\x80", "\uFFFD\uFFFD\uFFFD"},
        {"a\x80", "a\uFFFD"},
    };
    emc_tokenizer *tok = open_golden();

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_text text = {0};
        emc_ids ids = {0};
        for (const char *p = cases[i].bytes; *p; p++)
            EMT_OK(emc_ids_add(&ids, &tok->bpe->byte_ids[(unsigned char)*p], 1));
        EMT_OK(emc_tokenizer_decode(tok, ids.ids, ids.n, false, &text));
        assert_string_equal(text.bytes, cases[i].text);
        emc_text_free(&text);
        emc_ids_free(&ids);
    }
    emc_tokenizer_close(tok);
}

typedef struct {
    const emc_tokenizer *tok;
    emc_text text;
    emc_ids ids;
    emc_status status;
} worker;

static void *work(void *arg)
{
    worker *w = arg;

    for (int i = 0; i < 5 && w->status == EMC_OK; i++) {
        emc_ids_clear(&w->ids);
        w->status =
            emc_tokenizer_encode(w->tok, w->text.bytes, w->text.n, EMC_TOKENS_ADDED, &w->ids);
    }
    return NULL;
}

static void test_threads(void **state)
{
    emc_tokenizer *tok = open_golden();
    worker workers[6] = {{0}};
    pthread_t threads[EMC_COUNT(workers)];

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(workers); i++) {
        uint64_t seed = 5 + i / 2; /* two and two have the same text */
        workers[i].tok = tok;
        random_text(&seed, 4000, &workers[i].text);
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (size_t i = 0; i < EMC_COUNT(workers); i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < EMC_COUNT(workers); i++) {
        emc_ids alone = {0};
        EMT_OK(workers[i].status);
        EMT_OK(emc_tokenizer_encode(tok, workers[i].text.bytes, workers[i].text.n, EMC_TOKENS_ADDED,
                                    &alone));
        check_same_ids("a thread", &workers[i].ids, &alone);
        emc_ids_free(&alone);
    }
    for (size_t i = 0; i < EMC_COUNT(workers); i++) {
        emc_text_free(&workers[i].text);
        emc_ids_free(&workers[i].ids);
    }
    emc_tokenizer_close(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_json),    cmocka_unit_test(test_golden_vocab_and_merges),
        cmocka_unit_test(test_questions),      cmocka_unit_test(test_made_by_hand),
        cmocka_unit_test(test_long_pieces),    cmocka_unit_test(test_long_runs),
        cmocka_unit_test(test_bad_utf8),       cmocka_unit_test(test_trusted_ranges),
        cmocka_unit_test(test_stable_head),    cmocka_unit_test(test_stable_head_places),
        cmocka_unit_test(test_decode_invalid), cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
