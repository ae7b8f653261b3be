/* The Unicode tables against those of the reference library, normal form, and the splitting. */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tokenizer/unicode.h"
#include "tokenizer/unicode_tables.h"

#define N_CODES 0x110000
#define KINDS   (EMC_CHAR_LETTER | EMC_CHAR_NUMBER | EMC_CHAR_SPACE | EMC_CHAR_NEWLINE)

static int open_tables(void **state)
{
    emc_unicode *unicode;

    EMT_OK(emc_unicode_open(&unicode));
    *state = unicode;
    return 0;
}

static int close_tables(void **state)
{
    emc_unicode_close(*state);
    return 0;
}

/* Every code point is in the file's ranges if and only if it has one of the kinds. */
static void check_ranges(const emc_unicode *u, const char *file, unsigned kinds)
{
    emt_need_shared(file);
    char *text = emt_read(emt_shared(file), NULL);
    unsigned char *in_file = calloc(N_CODES, 1);
    int n = 0;

    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned first, last;
        if (line[0] == '#' || sscanf(line, "%X %X", &first, &last) != 2)
            continue;
        for (unsigned c = first; c <= last; c++, n++)
            in_file[c] = 1;
    }
    assert_true(n > 20);
    for (unsigned c = 0; c < N_CODES; c++)
        if (in_file[c] != !!(u->kinds[c] & kinds))
            fail_msg("%s: U+%04X is %d there", file, c, in_file[c]);
    free(in_file);
    free(text);
}

static void test_letters(void **state)
{
    check_ranges(*state, "data/qwen3-tokenizer/unicode/letters.txt", EMC_CHAR_LETTER);
}

static void test_numbers(void **state)
{
    check_ranges(*state, "data/qwen3-tokenizer/unicode/numbers.txt", EMC_CHAR_NUMBER);
}

static void test_spaces(void **state)
{
    check_ranges(*state, "data/qwen3-tokenizer/unicode/spaces.txt",
                 EMC_CHAR_SPACE | EMC_CHAR_NEWLINE);
}

static void test_nfc_tables(void **state)
{
    static const char file[] = "data/qwen3-tokenizer/unicode/nfc.txt";
    const emc_unicode *u = *state;
    size_t n_classes = 0, n_decompositions = 0, n_composites = 0;

    emt_need_shared(file);
    char *text = emt_read(emt_shared(file), NULL);
    unsigned char *classes = calloc(N_CODES, 1);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned a, b, c = 0;
        if (line[0] == 'C' && sscanf(line, "C %X %u", &a, &b) == 2) {
            classes[a] = (unsigned char)b;
            n_classes++;
        } else if (line[0] == 'D' && sscanf(line, "D %X %X %X", &a, &b, &c) >= 2) {
            /* Both lists are sorted, so they must agree line by line. */
            assert_true(n_decompositions < emc_unicode_decompositions_count);
            const emc_decomposition *d = &emc_unicode_decompositions[n_decompositions++];
            assert_int_equal(d->code, a);
            assert_int_equal(d->first, b);
            assert_int_equal(d->second, c);
        } else if (line[0] == 'P' && sscanf(line, "P %X %X %X", &a, &b, &c) == 3) {
            assert_true(n_composites < emc_unicode_composites_count);
            const emc_composite *p = &emc_unicode_composites[n_composites++];
            assert_int_equal(p->first, a);
            assert_int_equal(p->second, b);
            assert_int_equal(p->composed, c);
        } else {
            assert_int_equal(line[0], '#');
        }
    }
    assert_true(n_classes > 500);
    assert_int_equal(n_decompositions, emc_unicode_decompositions_count);
    assert_int_equal(n_composites, emc_unicode_composites_count);
    assert_memory_equal(u->classes, classes, N_CODES);
    free(classes);
    free(text);
}

/* The stable head and the gene table count on it: to compose never changes what a character is
 * to the splitter. And no character has two kinds. */
static void test_kinds_are_stable(void **state)
{
    const emc_unicode *u = *state;

    for (size_t i = 0; i < emc_unicode_composites_count; i++) {
        const emc_composite *p = &emc_unicode_composites[i];
        assert_int_equal(u->kinds[p->first] & KINDS, u->kinds[p->composed] & KINDS);
    }
    for (unsigned c = 0; c < N_CODES; c++) {
        const unsigned kind = u->kinds[c] & KINDS;
        assert_int_equal(kind & (kind - 1), 0);
    }
}

static emc_text nfc(const emc_unicode *u, const char *text)
{
    emc_text out = {0};

    EMT_OK(emc_unicode_nfc(u, text, strlen(text), &out));
    return out;
}

static void test_nfc(void **state)
{
    static const char *const cases[][2] = {
        {"e\u0301", "\u00e9"},
        {"\u1e9b\u0323", "\u1e9b\u0323"},
        {"s\u0323\u0307", "\u1e69"},
        {"s\u0307\u0323", "\u1e69"},            /* reordered, then composed twice */
        {"\u212b", "\u00c5"},                   /* a singleton never stays */
        {"\u0958", "\u0915\u093c"},             /* excluded from composition */
        {"\u1100\u1161\u11a8", "\uac01"},       /* L V T */
        {"\uac00\u11a8", "\uac01"},             /* LV T */
        {"\uac01\u11a8", "\uac01\u11a8"},       /* LVT takes no T */
        {"\u1100\u1161\u11a7", "\uac00\u11a7"}, /* U+11A7 is no T */
        {"a\u0301\u0301", "\u00e1\u0301"},      /* a second of the same class is blocked */
        {"a\u0327\u0301", "\u00e1\u0327"},      /* one of another class is not */
        {"\u0301a", "\u0301a"},                 /* a mark without a starter */
        {"\u0344", "\u0308\u0301"},
        {"\u09c7\u09be", "\u09cb"}, /* two starters compose */
        {"\u09c7x\u09be", "\u09c7x\u09be"},
        {"\U0001d15e", "\U0001d157\U0001d165"},
        {"\U00011935\U00011930", "\U00011935\U00011930"}, /* composes from Unicode 13 on only */
    };

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_text out = nfc(*state, cases[i][0]);
        assert_string_equal(out.bytes, cases[i][1]);
        /* Normal form is its own normal form. */
        emc_text again = nfc(*state, out.bytes);
        assert_string_equal(again.bytes, out.bytes);
        emc_text_free(&out);
        emc_text_free(&again);
    }
}

/* Runs of more than 32 marks are sorted another way; a hundred of two classes show it. */
static void test_many_marks(void **state)
{
    emc_text text = {0}, want = {0};

    EMT_OK(emc_text_add_string(&text, "x"));
    EMT_OK(emc_text_add_string(&want, "x"));
    for (int i = 0; i < 50; i++) {
        EMT_OK(emc_text_add_string(&text, i % 2 ? "\u0305\u0323" : "\u0306\u0324"));
        EMT_OK(emc_text_add_string(&want, i % 2 ? "\u0323" : "\u0324"));
    }
    for (int i = 0; i < 50; i++)
        EMT_OK(emc_text_add_string(&want, i % 2 ? "\u0305" : "\u0306"));
    emc_text got = nfc(*state, text.bytes);
    assert_string_equal(got.bytes, want.bytes);
    emc_text_free(&text);
    emc_text_free(&want);
    emc_text_free(&got);
}

/* A text without an unstable character is in normal form already. */
static void test_scan(void **state)
{
    const emc_unicode *u = *state;
    size_t n_valid, n_stable = 0;

    for (uint32_t c = 1; c < N_CODES; c++) {
        char text[8];
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        const size_t n = (size_t)emc_utf8_encode(text, c);
        text[n] = '\0';
        if (emc_unicode_scan(u, text, n, &n_valid) & EMC_CHAR_UNSTABLE)
            continue;
        emc_text out = nfc(u, text);
        assert_string_equal(out.bytes, text);
        emc_text_free(&out);
        n_stable++;
    }
    assert_true(n_stable > 1000000);
    emc_unicode_scan(u, "0123456789abcdef\xC3", 17, &n_valid);
    assert_int_equal(n_valid, 16);
}

static void test_split(void **state)
{
    static const struct {
        const char *text, *pieces;
    } cases[] = {
        {"GATA3 SOX17", "GATA|3| SOX|1|7"},
        {"a  b", "a| | b"},
        {"a   b", "a|  | b"},
        {"a  ", "a|  "},
        {"a \n b", "a| \n| b"},
        {"a\n\n  \nb", "a|\n\n  \n|b"},
        {"a\n  b", "a|\n| | b"},
        {"!\r\n\nb", "!\r\n\n|b"},
        {"! \nb", "!| \n|b"},
        {" !x", " !|x"},
        {"  !x", " | !|x"},
        {"\t!x", "\t|!x"},
        {"\tx", "\tx"},
        {"\t\tx", "\t|\tx"},
        {"\nx", "\n|x"},
        {" 1", " |1"},
        {"  1", " | |1"},
        {"12\u00b2\u216b\u0661", "1|2|\u00b2|\u216b|\u0661"},
        {"don't", "don|'t"},
        {"DON'T", "DON|'T"},
        {"'mx", "'m|x"},
        {"'Dx", "'D|x"},
        {"'rex", "'re|x"},
        {"'VEx", "'VE|x"},
        {"'lLx", "'lL|x"},
        {"'twas", "'t|was"},
        {"'sup", "'s|up"},
        {"we'Re", "we|'Re"},
        {"x'\u017fy", "x|'\u017f|y"},
        {"'l", "'l"},
        {"'ll", "'ll"},
        {"'ve", "'ve"},
        {"'va", "'va"},
        {"''s", "''|s"},
        {"-x-", "-x|-"},
        {"--x", "--|x"},
        {"\u0939\u093f\u0928", "\u0939|\u093f\u0928"},
        {"\u00a0x", "\u00a0x"},
        {"\u2003\u2003x", "\u2003|\u2003x"},
        {"x\u200bx", "x|\u200bx"},
        {"x\x1Cxx", "x|\x1Cxx"},
        {"\u3000!", "\u3000|!"},
    };
    const emc_unicode *u = *state;

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const char *text = cases[i].text;
        const size_t n = strlen(text);
        char got[100] = "";
        for (size_t pos = 0; pos < n;) {
            const size_t end = emc_unicode_split(u, text, n, pos);
            assert_true(end > pos && end <= n);
            if (pos > 0)
                strcat(got, "|");
            strncat(got, text + pos, end - pos);
            pos = end;
        }
        assert_string_equal(got, cases[i].pieces);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_letters),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_spaces),
        cmocka_unit_test(test_nfc_tables),
        cmocka_unit_test(test_kinds_are_stable),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_many_marks),
        cmocka_unit_test(test_scan),
        cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests(tests, open_tables, close_tables);
}
