/* The gene table: it says what full tokenisation says, or that it cannot. */
#include "emt.h"

#include <string.h>

#include "tokenizer/gene_table.h"
#include "tokenizer_files.h"

static const char *const names[] = {
    "GATA3",
    "SOX17",
    "HLA-DRB1",
    "MT-CO1",
    "T",
    "AC012345.1",
    "RPL13A",
    "C1orf112",
    "H2-Ab1",
    "a",
    "'s",
    "12",
    "-x",
    "\u03b2-cat",
    "<|im_end|>",
    /* these are inexact with some separator: */
    "TRAV-",
    "x.",
    "e\u0301",
    "",
    "y ",
    "z\n",
    "\u0301b",
    "-",
    "--",
};
#define N_NAMES    ((int)EMC_COUNT(names))
#define N_HARMLESS 15

static emc_gene_table *open_table(const emc_tokenizer *tok, const char *separator)
{
    emc_gene_table *table;

    EMT_OK(emc_gene_table_open(&table, tok, names, EMC_COUNT(names), separator));
    return table;
}

static const char *const separators[] = {" ",  ", ", "\n", ",", "; ", " > ",
                                         "  ", "\t", ". ", "x", "a-"};

/* Whatever exact genes stand in a list, the table gives the ids of the written list. */
static void test_lists(void **state)
{
    emc_tokenizer *tok = open_golden();
    uint64_t seed = 4;

    (void)state;
    for (size_t s = 0; s < EMC_COUNT(separators); s++) {
        emc_gene_table *table = open_table(tok, separators[s]);
        int n_exact = 0;
        for (int i = 0; i < 3000; i++) {
            int32_t genes[6];
            const size_t n = emt_random(&seed) % 7;
            emc_text text = {0};
            emc_ids want = {0}, got = {0};
            for (size_t k = 0; k < n; k++)
                genes[k] = (int32_t)(emt_random(&seed) % (i % 2 ? N_HARMLESS : N_NAMES));
            EMT_OK(emc_gene_table_write(table, genes, n, &text));
            if (!emc_gene_table_is_exact(table, genes, n)) {
                EMT_FAILS(EMC_ERR_CONFIG, "needs the whole list tokenised",
                          emc_gene_table_append(table, genes, n, &got));
                assert_int_equal(got.n, 0);
                emc_text_free(&text);
                continue;
            }
            n_exact++;
            EMT_OK(emc_tokenizer_encode(tok, text.bytes, text.n, 0, &want));
            EMT_OK(emc_gene_table_append(table, genes, n, &got));
            check_same_ids(text.bytes ? text.bytes : "", &got, &want);
            emc_text_free(&text);
            emc_ids_free(&want);
            emc_ids_free(&got);
        }
        /* With letters between them most genes join their neighbours. */
        assert_true(n_exact > (separators[s][0] >= 'a' ? 100 : 1500));
        emc_gene_table_close(table);
    }
    emc_tokenizer_close(tok);
}

static int index_of(const char *name)
{
    for (int i = 0; i < N_NAMES; i++)
        if (strcmp(names[i], name) == 0)
            return i;
    fail_msg("no gene %s", name);
    return -1;
}

static bool is_exact(const emc_gene_table *table, const char *name)
{
    const int32_t gene = index_of(name);

    return emc_gene_table_is_exact(table, &gene, 1);
}

static void test_exactness(void **state)
{
    emc_tokenizer *tok = open_golden();
    emc_gene_table *blank = open_table(tok, " "), *line = open_table(tok, "\n");
    emc_gene_table *letter = open_table(tok, "x"), *comma = open_table(tok, ", ");
    emc_gene_table *both = open_table(tok, "a-");

    (void)state;
    assert_true(is_exact(blank, "GATA3"));
    assert_true(is_exact(blank, "TRAV-"));
    assert_false(is_exact(line, "TRAV-")); /* the hyphen takes the line break */
    assert_true(is_exact(line, "GATA3"));
    assert_false(is_exact(comma, "TRAV-")); /* and the comma */
    assert_false(is_exact(comma, "x."));
    assert_true(is_exact(letter, "GATA3")); /* a digit ends its piece */
    assert_false(is_exact(letter, "T"));
    assert_false(is_exact(blank, "e\u0301")); /* not in normal form */
    assert_false(is_exact(blank, ""));
    assert_false(is_exact(blank, "y "));
    assert_false(is_exact(blank, "\u0301b"));
    assert_false(is_exact(both, "-")); /* later in a list yes, but not as the first */
    assert_true(is_exact(both, "--"));
    emc_gene_table_close(blank);
    emc_gene_table_close(line);
    emc_gene_table_close(letter);
    emc_gene_table_close(comma);
    emc_gene_table_close(both);
    emc_tokenizer_close(tok);
}

/* Where the table fits between two texts it agrees with every list. Where it does not, pieces
 * differ, if not always their ids. */
static void test_seams(void **state)
{
    static const struct {
        const char *separator, *before, *after;
        bool fits;
    } cases[] = {
        {" ", "", "", true},
        {" ", "Genes:\n", "\nAnswer", false}, /* "-x" takes no break, but TRAV- does */
        {" ", "Genes:\n", ".", false},        /* x. takes the point */
        {" ", "Genes:\n", " Answer:", true},
        {" ", "Genes:\n", "<|im_end|>\n", true},
        {" ", "Genes:\n", "</think>", true},
        {" ", "Genes: ", "<|im_end|>\n", false}, /* the blank joins the first symbol */
        {" ", "Genes:", "<|im_end|>\n", false},  /* the colon, too */
        {" ", "Genes", "<|im_end|>\n", false},
        {" ", "<|im_start|>", "<|im_end|>\n", true},
        {" ", "12", "<|im_end|>\n", true}, /* a digit joins nothing */
        {" ", "", "s", false},             /* letters behind a symbol do */
        {" ", "", "1", true},
        {" ", "", "\u0301", false},
        {", ", "Genes:\n", ". What", true}, /* what takes a point is inexact with ", " */
        {"\n", "Genes:\n", "\n\nAnswer", true},
    };
    emc_tokenizer *tok = open_golden();

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_gene_table *table = open_table(tok, cases[i].separator);
        emc_prompt before = prompt_of(cases[i].before, true);
        emc_prompt after = prompt_of(cases[i].after, true);
        bool fits, all_same = true;
        size_t inexact;
        EMT_OK(emc_gene_table_fits(table, &before, &after, &fits, &inexact));
        for (int32_t a = 0; a < N_NAMES; a++)
            for (int32_t b = 0; b < N_NAMES; b++) {
                const int32_t genes[] = {a, b};
                bool same;
                EMT_OK(emc_gene_table_verify(table, &before, genes, 1 + (size_t)(b > 0), &after,
                                             &same));
                if (emc_gene_table_is_exact(table, genes, 1 + (size_t)(b > 0)))
                    all_same = all_same && same;
                else
                    assert_false(same);
            }
        if (fits != cases[i].fits || (fits && !all_same))
            fail_msg("\"%s\" and \"%s\": fits %d, same %d, wanted %d", cases[i].before,
                     cases[i].after, fits, all_same, cases[i].fits);
        assert_true(inexact >= 5 && inexact < EMC_COUNT(names));
        emc_prompt_free(&before);
        emc_prompt_free(&after);
        emc_gene_table_close(table);
    }
    emc_tokenizer_close(tok);
}

/* Random texts on both sides, trusted or not: a table that fits is never wrong. */
static void test_random_seams(void **state)
{
    emc_tokenizer *tok = open_golden();
    uint64_t seed = 21;
    int n_fit = 0;

    (void)state;
    for (int i = 0; i < 1500; i++) {
        emc_gene_table *table = open_table(tok, separators[(size_t)i % EMC_COUNT(separators)]);
        emc_text texts[2] = {{0}, {0}};
        emc_prompt sides[2] = {{{0}, NULL, 0, 0}, {{0}, NULL, 0, 0}};
        bool fits;
        for (int side = 0; side < 2; side++) {
            random_text(&seed, (int)(emt_random(&seed) % 4), &texts[side]);
            EMT_OK(emc_prompt_add(&sides[side], texts[side].bytes, texts[side].n,
                                  emt_random(&seed) % 4 > 0));
        }
        EMT_OK(emc_gene_table_fits(table, &sides[0], &sides[1], &fits, NULL));
        n_fit += fits;
        for (int k = 0; fits && k < 40; k++) {
            const int32_t genes[] = {(int32_t)(emt_random(&seed) % EMC_COUNT(names)),
                                     (int32_t)(emt_random(&seed) % EMC_COUNT(names))};
            bool same;
            if (!emc_gene_table_is_exact(table, genes, 2))
                continue;
            EMT_OK(emc_gene_table_verify(table, &sides[0], genes, 2, &sides[1], &same));
            if (!same)
                fail_msg("\"%s\" + %s, %s + \"%s\"", sides[0].text.bytes, names[genes[0]],
                         names[genes[1]], sides[1].text.bytes);
        }
        for (int side = 0; side < 2; side++) {
            emc_text_free(&texts[side]);
            emc_prompt_free(&sides[side]);
        }
        emc_gene_table_close(table);
    }
    assert_true(n_fit > 100);
    emc_tokenizer_close(tok);
}

static void test_limits(void **state)
{
    static const char *const bad[] = {"GATA3", "\xFF"};
    emc_tokenizer *tok = open_golden();
    emc_gene_table *table = NULL;
    emc_prompt none = {0};
    emc_ids ids = {0};
    bool same;

    (void)state;
    EMT_FAILS(EMC_ERR_ARG, "separator is empty", emc_gene_table_open(&table, tok, names, 1, ""));
    EMT_FAILS(EMC_ERR_FORMAT, "gene 1: the text is not UTF-8",
              emc_gene_table_open(&table, tok, bad, 2, " "));
    assert_null(table);
    EMT_FAILS(EMC_ERR_FORMAT, "not UTF-8", emc_gene_table_open(&table, tok, names, 1, "\xFF"));
    table = open_table(tok, " ");
    EMT_FAILS(EMC_ERR_ARG, "gene -1", emc_gene_table_append(table, (int32_t[]){0, -1}, 2, &ids));
    EMT_FAILS(EMC_ERR_ARG, "gene 24 of a table of 24",
              emc_gene_table_append(table, (int32_t[]){24}, 1, &ids));
    EMT_FAILS(EMC_ERR_ARG, "gene 24",
              emc_gene_table_verify(table, &none, (int32_t[]){24}, 1, &none, &same));
    assert_false(emc_gene_table_is_exact(table, (int32_t[]){24}, 1));
    assert_int_equal(ids.n, 0);
    EMT_OK(emc_gene_table_append(table, NULL, 0, &ids));
    assert_int_equal(ids.n, 0);
    emc_ids_free(&ids);
    emc_gene_table_close(table);
    emc_gene_table_close(NULL);
    emc_tokenizer_close(tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lists),  cmocka_unit_test(test_exactness),
        cmocka_unit_test(test_seams),  cmocka_unit_test(test_random_seams),
        cmocka_unit_test(test_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
