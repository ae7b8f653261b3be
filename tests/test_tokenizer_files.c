/* Broken and unsupported tokenizer files, each with its message. */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/text.h"
#include "tokenizer/tape.h"
#include "tokenizer_files.h"

/* The first `from` in a text becomes `to`. */
static void replace(emc_text *text, const char *from, const char *to)
{
    const char *found = strstr(text->bytes, from);
    emc_text out = {0};

    if (!found)
        fail_msg("the golden file has no %s", from);
    EMT_OK(emc_text_add(&out, text->bytes, (size_t)(found - text->bytes)));
    EMT_OK(emc_text_add_string(&out, to));
    EMT_OK(emc_text_add_string(&out, found + strlen(from)));
    emc_text_free(text);
    *text = out;
}

static emc_text read_golden(const char *name)
{
    emc_text text = {0};
    size_t n;
    char *bytes = emt_read(emt_golden(name), &n);

    EMT_OK(emc_text_add(&text, bytes, n));
    free(bytes);
    return text;
}

/* A folder of its own with one file in it. */
static const char *folder_with(int number, const char *name, const emc_text *text)
{
    char path[100];

    snprintf(path, sizeof path, "case%d", number);
    const char *folder = emt_temp(path);
    mkdir(folder, 0700);
    snprintf(path, sizeof path, "case%d/%s", number, name);
    emt_write(path, text->bytes, text->n);
    return folder;
}

#define SPLIT "\"pretokenizers\":[{\"type\":\"Split\""
#define BYTES "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,"

static void test_broken_json(void **state)
{
    static const struct {
        const char *from, *to, *message;
    } cases[] = {
        {"{", "", "tokenizer.json: line 1, byte 9: text after the JSON value"},
        {"\"version\"", "\"versions\"", "unknown key \"versions\""},
        {"\"truncation\":null", "\"truncation\":{}", "truncation is an object, only null"},
        {"\"padding\":null", "\"padding\":{\"a\":1}", "padding is an object, only null"},
        {"\"normalizer\":{\"type\":\"NFC\"}", "\"normalizer\":{\"type\":\"NFKC\"}",
         "normalizer.type is NFKC, only NFC is supported"},
        {"\"normalizer\":{\"type\":\"NFC\"}", "\"normalizer\":null", "normalizer is not an object"},
        {"\"normalizer\":{\"type\":\"NFC\"},", "", "\"normalizer\" is missing"},
        {"\"type\":\"Sequence\"", "\"type\":\"Whitespace\"",
         "pre_tokenizer.type is Whitespace, only Sequence"},
        {SPLIT, "\"pretokenizers\":[{\"type\":\"Digits\"",
         "pre_tokenizer.pretokenizers[0].type is Digits, only Split"},
        {"|\\\\p{N}|", "|\\\\p{N}{1,3}|", "pretokenizers[0].pattern.Regex is (?i:"},
        {"\"Regex\"", "\"String\"",
         "unknown key \"pre_tokenizer.pretokenizers[0].pattern.String\""},
        {"\"Isolated\"", "\"Removed\"", "behavior is Removed, only Isolated"},
        {"\"invert\":false", "\"invert\":true", "invert is true, only false"},
        {BYTES "\"use_regex\":false}", BYTES "\"use_regex\":true}",
         "use_regex is true, only false"},
        {BYTES "\"use_regex\":false}", BYTES "\"use_regex\":false},{}",
         "pretokenizers is not a Split and a ByteLevel"},
        {"\"add_prefix_space\":false", "\"add_prefix_space\":true",
         "pretokenizers[1].add_prefix_space is true"},
        {"\"post_processor\":{\"type\":\"ByteLevel\"", "\"post_processor\":{\"type\":\"Bert\"",
         "post_processor.type is Bert, only ByteLevel"},
        {"\"post_processor\":{\"type\":\"ByteLevel\"",
         "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{"
         "\"id\":"
         "\"A\"}}]",
         "post_processor adds tokens to a text"},
        {"\"decoder\":{\"type\":\"ByteLevel\"", "\"decoder\":{\"type\":\"Metaspace\"",
         "decoder.type is Metaspace, only ByteLevel"},
        {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "model.type is Unigram, only BPE"},
        {"\"dropout\":null", "\"dropout\":0.1", "model.dropout is 0.1, only null"},
        {"\"unk_token\":null", "\"unk_token\":\"<unk>\"", "model.unk_token is <unk>, only null"},
        {"\"continuing_subword_prefix\":null", "\"continuing_subword_prefix\":\"##\"",
         "continuing_subword_prefix is ##"},
        {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"",
         "end_of_word_suffix is </w>"},
        {"\"byte_fallback\":false", "\"byte_fallback\":true", "byte_fallback is true"},
        {"\"ignore_merges\":false", "\"ignore_merges\":true", "ignore_merges is true"},
        {"\"vocab\":{", "\"vocab\":[],\"x\":{", "unknown key \"model.x\""},
        {"\"!\":3,", "", "no token for byte 0x21"},
        {"\"!\":3,", "\"!\":4,", "two tokens have id 4"},
        {"\"!\":3,", "\"!\":3,\"!\":900,", "the token \"!\" comes twice"},
        {"\"!\":3,", "\"!\":-3,", "the id of token \"!\" is -3, wanted a whole number"},
        {"\"!\":3,", "\"!\":3.5,", "the id of token \"!\" is 3.5"},
        {"\"!\":3,", "\"!\":99999999,", "the id of token \"!\" is 99999999"},
        {"\"!\":3,", "\"!\":\"3\",", "the id of token \"!\" is 3, wanted"},
        {"\"merges\":[[\"A\"", "\"merges\":[[\"AAA\"", "the first is no token"},
        {"\"merges\":[[", "\"merges\":[\"a b c\",[", "model.merges[0] is not a pair of tokens"},
        {"\"merges\":[[", "\"merges\":[[\"a\"],[", "model.merges[0] is not a pair of tokens"},
        {"\"merges\":[[", "\"merges\":[[\"x\",\"q\"],[",
         "merge 0 of \"x\" and \"q\": what they make is no token"},
        {"\"merges\":[[", "\"merges\":[\"q \xC2\xB0\xC2\xB0\",[", "the second is no token"},
        {"\"merges\":[", "\"merges\":[[\"A\",\"T\"],", "comes twice"},
        {"\"merges\":[", "\"merges\":7,\"fuse_unk\":[", "the same key twice"},
        {"\"id\":0,", "", "added_tokens[0] has no \"id\""},
        {"\"id\":0,", "\"id\":3,",
         "the added token \"<|endoftext|>\" has id 3, which does not "
         "agree with the vocabulary"},
        {"\"id\":0,", "\"id\":5000,", "has id 5000, which does not agree"},
        {"\"id\":564,", "\"id\":563,", "\"</think>\" has id 563, which does not agree"},
        {"\"</think>\"", "\"<think>\"", "the added token \"<think>\" comes twice"},
        {"\"</think>\"", "\"\"", "added token 564 is empty"},
        {"\"content\":\"</think>\",", "", "added token 564 has no text"},
        {"\"single_word\":false", "\"single_word\":true", "\"single_word\", only false"},
        {"\"lstrip\":false", "\"lstrip\":true", "\"lstrip\", only false"},
        {"\"rstrip\":false", "\"rstrip\":true", "\"rstrip\", only false"},
        {"\"normalized\":false", "\"normalized\":true", "AddedToken(..., normalized=False)"},
        {"\"special\":true", "\"special\":1", "\"special\" is not true or false"},
        {"\"added_tokens\":[", "\"added_tokens\":3,\"version\":[", "the same key twice"},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_tokenizer *tok;
        emc_text json = read_golden("tokenizer/tokenizer.json");
        replace(&json, cases[i].from, cases[i].to);
        const char *folder = folder_with((int)i, "tokenizer.json", &json);
        const emc_status status = emc_tokenizer_open(&tok, folder);
        if (status != EMC_ERR_FORMAT || !strstr(emc_message(), cases[i].message) ||
            !strstr(emc_message(), "tokenizer.json: "))
            fail_msg("%s -> %s gave %s: %s", cases[i].from, cases[i].to, emc_status_name(status),
                     status ? emc_message() : "");
        assert_null(tok);
        emc_text_free(&json);
    }
}

/* What a file may say in more than one way. */
static void test_accepted_json(void **state)
{
    static const char *const cases[][2] = {
        {"\"version\":\"1.0\",", ""},
        {"\"dropout\":null", "\"dropout\":0.0"},
        {"\"continuing_subword_prefix\":null", "\"continuing_subword_prefix\":\"\""},
        {"\"merges\":[[\"A\",\"T\"]", "\"merges\":[\"A T\""},
        {"\"post_processor\":{\"type\":\"ByteLevel\"",
         "\"post_processor\":{\"type\":\"TemplateProcessing\",\"single\":[{\"Sequence\":{\"id\":"
         "\"A\""
         ",\"type_id\":0}}]"},
        {"\"special\":false}", "\"extra\":false}"},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_tokenizer *tok;
        emc_ids ids = {0};
        emc_text json = read_golden("tokenizer/tokenizer.json");
        replace(&json, cases[i][0], cases[i][1]);
        EMT_OK(emc_tokenizer_open(&tok, folder_with(100 + (int)i, "tokenizer.json", &json)));
        EMT_OK(emc_tokenizer_encode(tok, "GATA3 cells<|im_end|>", 21, EMC_TOKENS_ADDED, &ids));
        check_ids(cases[i][1], &ids, (const int32_t[]){261, 21, 372, 2}, 4);
        emc_ids_free(&ids);
        emc_text_free(&json);
        emc_tokenizer_close(tok);
    }
}

/* Three files in a folder, of which one is changed. */
static void test_broken_files(void **state)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "tokenizer_config.json"};
    static const struct {
        int file;
        const char *from, *to, *message;
    } cases[] = {
        {0, "{", "[", "vocab.json: line 1, byte "},
        {0, "\"!\":3,", "\"!\":\"x\",", "vocab.json: the id of token \"!\" is x"},
        {0, "\"!\":3,", "", "no token for byte 0x21"},
        {1, "#version: 0.2\n", "#version: 0.2\nG A T\n", "merges.txt: line 2 is not two tokens"},
        {1, "#version: 0.2\n", "#version: 0.2\nGA\n", "merges.txt: line 2 is not two tokens"},
        {1, "#version: 0.2\n", "#version: 0.2\n\n", "merges.txt: line 2 is not two tokens"},
        {1, "#version: 0.2\n", "#version: 0.2\n\xFF a\n", "merges.txt: line 2: not UTF-8"},
        {1, "#version: 0.2\n", "x q\n", "merges.txt: merge 0 of \"x\" and \"q\""},
        {2, "\"563\"", "\"x563\"", "tokenizer_config.json: added_tokens_decoder: \"x563\" is not"},
        {2, "\"563\"", "\"3\"", "has id 3, which does not agree"},
        {2, "\"content\": \"<think>\",", "", "added token 563 has no text"},
        {2, "Qwen2Tokenizer", "GPT2Tokenizer", "tokenizer_class is GPT2Tokenizer, only"},
        {2, "\"add_prefix_space\": false", "\"add_prefix_space\": true",
         "add_prefix_space is true"},
        {2, "\"added_tokens_decoder\": {", "\"added_tokens_decoder\": 1, \"x\": {",
         "added_tokens_decoder is not an object"},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_tokenizer *tok;
        const char *folder = NULL;
        for (int f = 0; f < 3; f++) {
            char path[100];
            snprintf(path, sizeof path, "tokenizer/files/%s", names[f]);
            emc_text text = read_golden(path);
            if (f == cases[i].file)
                replace(&text, cases[i].from, cases[i].to);
            folder = folder_with(200 + (int)i, names[f], &text);
            emc_text_free(&text);
        }
        EMT_FAILS(EMC_ERR_FORMAT, cases[i].message, emc_tokenizer_open(&tok, folder));
        assert_null(tok);
    }
}

static void test_missing(void **state)
{
    emc_tokenizer *tok;
    emc_text vocab = read_golden("tokenizer/files/vocab.json");

    (void)state;
    EMT_FAILS(EMC_ERR_NOT_FOUND, "no such folder", emc_tokenizer_open(&tok, emt_temp("nowhere")));
    assert_null(tok);
    EMT_FAILS(EMC_ERR_NOT_FOUND, "wanted tokenizer.json, or vocab.json and merges.txt",
              emc_tokenizer_open(&tok, folder_with(300, "vocab.json", &vocab)));
    emc_text_clear(&vocab);
    EMT_FAILS(EMC_ERR_FORMAT, "it ends too early",
              emc_tokenizer_open(&tok, folder_with(301, "tokenizer.json", &vocab)));
    emc_text_free(&vocab);
}

/* A small vocabulary without a config gets no added tokens. */
static void test_no_config(void **state)
{
    emc_tokenizer *tok;
    emc_text vocab = read_golden("tokenizer/files/vocab.json");
    emc_text merges = read_golden("tokenizer/files/merges.txt");

    (void)state;
    folder_with(302, "vocab.json", &vocab);
    EMT_OK(emc_tokenizer_open(&tok, folder_with(302, "merges.txt", &merges)));
    assert_int_equal(emc_tokenizer_n_tokens(tok), 563);
    assert_int_equal(emc_tokenizer_token_id(tok, "<think>"), -1);
    emc_tokenizer_close(tok);
    emc_text_free(&vocab);
    emc_text_free(&merges);
}

/* Any change of a few bytes either opens or is refused with a message; the sanitizer build sees
 * whether anything was read that should not be. */
static void test_random_damage(void **state)
{
    uint64_t seed = 17;
    int n_refused = 0;

    (void)state;
    for (int i = 0; i < 400; i++) {
        emc_tokenizer *tok;
        emc_text json = read_golden("tokenizer/tokenizer.json");
        for (int k = 0; k < 1 + i % 3; k++)
            json.bytes[emt_random(&seed) % json.n] = "{}[]\",:\\0u\x80 n"[emt_random(&seed) % 13];
        if (i % 5 == 0)
            json.n = emt_random(&seed) % json.n;
        if (emc_tokenizer_open(&tok, folder_with(303, "tokenizer.json", &json)) != EMC_OK) {
            n_refused++;
            assert_null(tok);
            assert_non_null(strstr(emc_message(), "tokenizer.json"));
        }
        emc_tokenizer_close(tok);
        emc_text_free(&json);
    }
    assert_true(n_refused > 200);
}

static void test_tape(void **state)
{
    static const struct {
        const char *json, *message;
    } cases[] = {
        {"", "ends too early"},
        {"{", "wanted a key"},
        {"[1,]", "not JSON"},
        {"[1 2]", "wanted a comma"},
        {"{\"a\" 1}", "wanted a colon"},
        {"{\"a\":1,}", "wanted a key"},
        {"{\"a\":1,\"a\":2}", "the same key twice"},
        {"nul", "not JSON"},
        {"NaN", "not JSON"},
        {"01", "not JSON"},
        {"-", "not JSON"},
        {"1.", "behind its point"},
        {"1e", "in its exponent"},
        {"\"a", "a string that does not end"},
        {"\"\\x\"", "an escape that is none"},
        {"\"\\u12g4\"", "without four hex digits"},
        {"\"\\ud800\"", "half of a surrogate pair"},
        {"\"\\udc00\"", "half of a surrogate pair"},
        {"\"\\ud800\\u0041\"", "half of a surrogate pair"},
        {"\"\t\"", "a control character"},
        {"\"\xFF\"", "not UTF-8"},
        {"1 2", "text after the JSON value"},
        {"\n\n x", "line 3, byte 3"},
    };
    char deep[200];
    emc_tape *tape;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        EMT_FAILS(EMC_ERR_FORMAT, cases[i].message,
                  emc_tape_open(&tape, cases[i].json, strlen(cases[i].json), "it"));
        assert_null(tape);
    }
    memset(deep, '[', sizeof deep);
    EMT_FAILS(EMC_ERR_FORMAT, "nested too deep", emc_tape_open(&tape, deep, sizeof deep, "it"));

    static const char text[] =
        " {\"a\\u0000b\": [\"x\\u0000\\ud83d\\ude00\\n\", -1.5e+3, true, {}], "
        "\"c\": null} ";
    EMT_OK(emc_tape_open(&tape, text, sizeof text - 1, "it"));
    const emc_tape_value *root = emc_tape_root(tape);
    assert_int_equal(root->n, 2);
    assert_int_equal(root[1].n, 3);
    assert_memory_equal(root[1].text, "a\0b", 3);
    assert_int_equal(root[3].n, 7);
    assert_memory_equal(root[3].text, "x\0\xF0\x9F\x98\x80\n", 7);
    assert_string_equal(root[4].text, "-1.5e+3");
    assert_int_equal(emc_tape_member(root, "c")->kind, EMC_TAPE_NULL);
    assert_null(emc_tape_member(root, "d"));
    assert_null(emc_tape_member(root + 4, "d"));
    emc_tape_close(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_broken_json),  cmocka_unit_test(test_accepted_json),
        cmocka_unit_test(test_broken_files), cmocka_unit_test(test_missing),
        cmocka_unit_test(test_no_config),    cmocka_unit_test(test_random_damage),
        cmocka_unit_test(test_tape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
