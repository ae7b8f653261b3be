/* The shared vectors of the official Qwen3 tokenizer, through the lines of `emcell tokenize`. */
#include "emt.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tokenizer/jsonl.h"
#include "tokenizer/tape.h"
#include "tokenizer_files.h"

#define FOLDER "data/qwen3-tokenizer"

static emc_tokenizer *open_shared(void)
{
    emc_tokenizer *tok;

    emt_need_shared(FOLDER "/tokenizer.json");
    EMT_OK(emc_tokenizer_open(&tok, emt_shared(FOLDER)));
    return tok;
}

static bool is_tape_text(const emc_tape_value *a, const emc_tape_value *b)
{
    return a && b && a->kind == EMC_TAPE_STRING && b->kind == EMC_TAPE_STRING && a->n == b->n &&
           memcmp(a->text, b->text, a->n) == 0;
}

static bool is_tape_ids(const emc_tape_value *a, const emc_tape_value *b)
{
    if (!a || !b || a->kind != EMC_TAPE_ARRAY || b->kind != EMC_TAPE_ARRAY || a->n != b->n)
        return false;
    for (uint32_t i = 1; i <= a->n; i++)
        if (strcmp(a[i].text, b[i].text) != 0)
            return false;
    return true;
}

/* Tools are refused, and so are the vectors that use them. */
static bool uses_tools(const char *line)
{
    return strstr(line, "\"tools\": [{") || strstr(line, "\"tool_calls\": [{") ||
           strstr(line, "\"role\": \"tool\"");
}

typedef struct {
    const emc_tokenizer *tok;
    unsigned flags;
    int n_same, n_refused;
} tally;

/* One vector: `line` is a JSON object, its "request" or itself the question. */
static void check_vector(tally *t, const char *line, size_t n)
{
    emc_tape *vector, *answer;
    emc_text out = {0};
    const char *request = line;
    size_t n_request = n;

    EMT_OK(emc_tape_open(&vector, line, n, "a vector"));
    const emc_tape_value *want = emc_tape_root(vector);
    if (emc_tape_member(want, "request")) {
        request = strstr(line, "\"request\": ") + 11;
        /* The value ends before the next member of the vector. */
        const char *end = strstr(request, ", \"prompt\": ");
        assert_non_null(end);
        n_request = (size_t)(end - request);
    }
    const emc_status status = emc_jsonl_line(t->tok, request, n_request, t->flags, "x", &out);
    if ((t->flags & EMC_JSONL_CHAT) && uses_tools(request)) {
        assert_int_equal(status, EMC_ERR_CONFIG);
        assert_non_null(strstr(emc_message(), "not supported"));
        assert_non_null(strstr(emc_message(), "tool"));
        assert_int_equal(out.n, 0);
        t->n_refused++;
        emc_tape_close(vector);
        emc_text_free(&out);
        return;
    }
    EMT_OK(status);
    EMT_OK(emc_tape_open(&answer, out.bytes, out.n, "an answer"));
    const emc_tape_value *got = emc_tape_root(answer);
    bool same = true;
    if (t->flags & EMC_JSONL_DECODE)
        same = is_tape_text(emc_tape_member(got, "text"), emc_tape_member(want, "text")) &&
               is_tape_text(emc_tape_member(got, "text_skip_special"),
                            emc_tape_member(want, "text_skip_special"));
    else
        same = is_tape_ids(emc_tape_member(got, "ids"), emc_tape_member(want, "ids"));
    if (t->flags & EMC_JSONL_CHAT)
        same =
            same && is_tape_text(emc_tape_member(got, "prompt"), emc_tape_member(want, "prompt"));
    if (!same)
        fail_msg("%.*s\ngave %s", (int)(n < 600 ? n : 600), line, out.bytes);
    t->n_same++;
    emc_tape_close(vector);
    emc_tape_close(answer);
    emc_text_free(&out);
}

/* One vector a line, with a comma behind it. */
static void check_vectors(tally *t, const char *file)
{
    emt_need_shared(file);
    char *text = emt_read(emt_shared(file), NULL);

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        size_t n = strlen(line);
        if (line[0] != '{')
            continue;
        if (line[n - 1] == ',')
            line[--n] = '\0';
        check_vector(t, line, n);
    }
    free(text);
}

static void test_encode(void **state)
{
    emc_tokenizer *tok = open_shared();
    tally t = {tok, 0, 0, 0};

    (void)state;
    assert_int_equal(emc_tokenizer_n_tokens(tok), 151669);
    check_vectors(&t, FOLDER "/vectors/encode.json");
    assert_int_equal(t.n_same, 98);
    emc_tokenizer_close(tok);
}

static void test_chat(void **state)
{
    emc_tokenizer *tok = open_shared();
    tally t = {tok, EMC_JSONL_CHAT, 0, 0};

    (void)state;
    check_vectors(&t, FOLDER "/vectors/chat.json");
    assert_int_equal(t.n_same, 40);
    assert_int_equal(t.n_refused, 76);
    emc_tokenizer_close(tok);
}

static void test_decode(void **state)
{
    emc_tokenizer *tok = open_shared();
    tally t = {tok, EMC_JSONL_DECODE, 0, 0};

    (void)state;
    check_vectors(&t, FOLDER "/vectors/decode.json");
    assert_int_equal(t.n_same, 16);
    emc_tokenizer_close(tok);
}

/* vocab.json and merges.txt alone are the same tokenizer, the added tokens included. */
static void test_vocab_and_merges(void **state)
{
    static const char *const files[] = {"vocab.json", "merges.txt", "tokenizer_config.json"};

    (void)state;
    emt_need_shared(FOLDER "/vocab.json");
    for (size_t n_files = 2; n_files <= EMC_COUNT(files); n_files++) {
        emc_tokenizer *tok;
        tally t = {NULL, 0, 0, 0};
        if (n_files == 2) {
            for (size_t i = 0; i < 2; i++) {
                char name[100] = FOLDER "/";
                char *target = realpath(emt_shared(strcat(name, files[i])), NULL);
                assert_int_equal(symlink(target, emt_temp(files[i])), 0);
                free(target);
            }
        } else {
            char *target = realpath(emt_shared(FOLDER "/tokenizer_config.json"), NULL);
            assert_int_equal(symlink(target, emt_temp(files[2])), 0);
            free(target);
        }
        EMT_OK(emc_tokenizer_open(&tok, emt_temp_dir()));
        assert_int_equal(emc_tokenizer_n_tokens(tok), 151669);
        assert_true(emc_tokenizer_is_special(tok, 151656));
        assert_false(emc_tokenizer_is_special(tok, 151657));
        assert_int_equal(emc_tokenizer_token_id(tok, "</think>"), 151668);
        t.tok = tok;
        check_vectors(&t, FOLDER "/vectors/encode.json");
        assert_int_equal(t.n_same, 98);
        t = (tally){tok, EMC_JSONL_DECODE, 0, 0};
        check_vectors(&t, FOLDER "/vectors/decode.json");
        assert_int_equal(t.n_same, 16);
        emc_tokenizer_close(tok);
    }
}

/* Every id decodes to something, ids of padding rows to nothing; text survives a round trip. */
static void test_all_ids(void **state)
{
    emc_tokenizer *tok = open_shared();
    emc_text text = {0}, back = {0};
    uint64_t seed = 1;

    (void)state;
    for (int32_t id = 0; id < 151936; id++) {
        emc_text_clear(&text);
        EMT_OK(emc_tokenizer_decode(tok, &id, 1, false, &text));
        assert_int_equal(text.n > 0, id < 151669);
        assert_int_equal(emc_tokenizer_has_token(tok, id), id < 151669);
    }
    for (int i = 0; i < 2000; i++) {
        emc_ids ids = {0}, again = {0};
        emc_text_clear(&text);
        emc_text_clear(&back);
        random_text(&seed, 1 + i % 20, &text);
        EMT_OK(emc_tokenizer_encode(tok, text.bytes, text.n, EMC_TOKENS_ADDED, &ids));
        EMT_OK(emc_tokenizer_decode(tok, ids.ids, ids.n, false, &back));
        EMT_OK(emc_tokenizer_encode(tok, back.bytes, back.n, EMC_TOKENS_ADDED, &again));
        check_same_ids(text.bytes, &again, &ids);
        emc_ids_free(&ids);
        emc_ids_free(&again);
    }
    emc_text_free(&text);
    emc_text_free(&back);
    emc_tokenizer_close(tok);
}

static void test_stable_head(void **state)
{
    emc_tokenizer *tok = open_shared();

    (void)state;
    check_stable_heads(tok, 20000);
    emc_tokenizer_close(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_encode),  cmocka_unit_test(test_chat),
        cmocka_unit_test(test_decode),  cmocka_unit_test(test_vocab_and_merges),
        cmocka_unit_test(test_all_ids), cmocka_unit_test(test_stable_head),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
