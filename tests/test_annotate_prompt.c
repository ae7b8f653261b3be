/*
 * What exactly is the model asked? Against texts and ids that another program made of the same
 * profiles and cells (tests/golden/make_annotate.py).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/prompt.h"
#include "annotate/run.h"
#include "base/json.h"
#include "base/size.h"
#include "emt.h"

static const char *const profiles[] = {"embryo", "c2s", "choices", "think", "plain"};

static char *profile_path(const char *name)
{
    char *path;
    char file[64];

    snprintf(file, sizeof(file), "annotate/%s.json", name);
    const bool golden = strcmp(name, "think") == 0 || strcmp(name, "plain") == 0;
    EMT_OK(emc_copy_string(&path, golden ? emt_golden(file) : name));
    return path;
}

typedef struct {
    const cJSON *next; /* the expected cell */
    int n_seen;
    bool with_ids;
    emc_prompts_options options;
} comparison;

static void compare_genes(const emc_cell_prompt *prompt, const cJSON *genes)
{
    const cJSON *gene;
    int i = 0;

    assert_int_equal(prompt->n_genes, cJSON_GetArraySize(genes));
    cJSON_ArrayForEach(gene, genes) assert_string_equal(prompt->genes[i++], gene->valuestring);
}

static void compare_ids(const int32_t *ids, int n, const cJSON *want, const char *cell_id)
{
    const cJSON *id;
    int i = 0;

    if (n != cJSON_GetArraySize(want))
        fail_msg("%s: %d ids, wanted %d", cell_id, n, cJSON_GetArraySize(want));
    cJSON_ArrayForEach(id, want)
    {
        if (ids[i] != id->valueint)
            fail_msg("%s: id %d is %d, wanted %d", cell_id, i, (int)ids[i], id->valueint);
        i++;
    }
}

static emc_status compare(void *context, const emc_cell_prompt *prompt)
{
    comparison *c = context;
    const cJSON *cell = c->next;

    if (!cell) /* of some profiles only the first cells are kept */
        return EMC_OK;
    c->next = cell->next;
    c->n_seen++;
    assert_string_equal(prompt->cell_id, cJSON_GetObjectItem(cell, "cell_id")->valuestring);
    assert_string_equal(emc_cell_status_name(prompt->status),
                        cJSON_GetObjectItem(cell, "status")->valuestring);
    compare_genes(prompt, cJSON_GetObjectItem(cell, "genes"));
    const cJSON *text = cJSON_GetObjectItem(cell, "prompt");
    assert_string_equal(prompt->text, text ? text->valuestring : "");
    assert_int_equal(prompt->n_text, strlen(prompt->text));
    if (text && c->with_ids)
        compare_ids(prompt->ids, prompt->n_ids, cJSON_GetObjectItem(cell, "ids"), prompt->cell_id);
    else
        assert_null(prompt->ids);
    return EMC_OK;
}

static cJSON *read_expected(void)
{
    cJSON *expected;

    EMT_OK(emc_json_read(&expected, emt_golden("annotate/expected.json"), 1 << 20));
    return expected;
}

static void prompts_are_those_of_another_program(void **state)
{
    cJSON *expected = read_expected();

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(profiles) * 2; i++) {
        const char *name = profiles[i / 2];
        comparison c = {.next = cJSON_GetObjectItem(expected, name)->child, .with_ids = i % 2};
        char *path = profile_path(name);
        c.options.input_path = emt_golden("annotate/cells.h5ad");
        c.options.profile = path;
        c.options.input.min_gene_match = -1;
        c.options.tokenizer_dir = c.with_ids ? emt_golden("annotate/model") : NULL;
        EMT_OK(emc_prompts(&c.options, compare, &c));
        assert_null(c.next);
        assert_true(c.n_seen >= 6);
        free(path);
    }
    cJSON_Delete(expected);
}

/* A prompter over the golden tokenizer. */
typedef struct {
    emc_profile *profile;
    emc_labels *labels;
    emc_tokenizer *tokenizer;
    emc_prompter *prompter;
} fixture;

static emc_status try_open(fixture *f, const char *name, const char *labels_path, int n_genes)
{
    char *path = profile_path(name);

    memset(f, 0, sizeof(*f));
    EMT_OK(emc_profile_open(&f->profile, path));
    free(path);
    if (labels_path)
        EMT_OK(emc_labels_read(&f->labels, labels_path));
    else
        EMT_OK(emc_labels_from_profile(&f->labels, f->profile));
    EMT_OK(emc_tokenizer_open(&f->tokenizer, emt_golden("annotate/model")));
    const emc_prompter_options options = {f->profile, f->labels, f->tokenizer, n_genes, NULL};
    return emc_prompter_open(&f->prompter, &options);
}

static void close_all(fixture *f)
{
    emc_prompter_close(f->prompter);
    emc_tokenizer_close(f->tokenizer);
    emc_labels_close(f->labels);
    emc_profile_close(f->profile);
}

static void assert_same_ids(const emc_ids *a, const emc_ids *b, const char *what)
{
    if (a->n != b->n || memcmp(a->ids, b->ids, a->n * sizeof(*a->ids)) != 0)
        fail_msg("%s: ids differ", what);
}

/* Names that cut badly, among good ones. */
static const char *const odd_names[] = {
    "GATA3",   "HLA-A",    "<|im_end|>", "C1orf43", "7SK", "ends-",
    "(paren)", "\xC3\xA9", "e\xCC\x81",  "KRT8",    "'s",  "a'",
    "<think>", "\xCC\x81", "AC012345.1", "_",       "x y", "T",
};

/* Random lists: copied ids, ids beside text, and ids from names are the same. */
static void copied_ids_are_those_of_the_whole_text(void **state)
{
    uint64_t random = 11;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(profiles); i++) {
        fixture f;
        emc_rendered fast = {0}, slow = {0}, named = {0};
        EMT_OK(try_open(&f, profiles[i], NULL, 0));
        EMT_OK(emc_prompter_set_genes(f.prompter, odd_names, EMC_COUNT(odd_names)));
        assert_true(emc_prompter_is_fast(f.prompter));
        for (int k = 0; k < 300; k++) {
            int32_t genes[12];
            const char *names[12];
            const int n = k % 13;
            for (int g = 0; g < n; g++) {
                /* Every other list is of good names, so that copying is used. */
                static const int32_t good[] = {0, 1, 3, 4, 9, 14, 17};
                genes[g] = k % 2 ? good[emt_random(&random) % EMC_COUNT(good)]
                                 : (int32_t)(emt_random(&random) % EMC_COUNT(odd_names));
                names[g] = odd_names[genes[g]];
            }
            EMT_OK(emc_prompter_render(f.prompter, genes, n, false, &fast));
            EMT_OK(emc_prompter_render(f.prompter, genes, n, true, &slow));
            EMT_OK(emc_prompter_render_names(f.prompter, names, n, &named));
            assert_same_ids(&fast.ids, &slow.ids, profiles[i]);
            assert_same_ids(&fast.ids, &named.ids, profiles[i]);
            assert_string_equal(slow.prompt.text.bytes, named.prompt.text.bytes);
        }
        emc_rendered_free(&fast);
        emc_rendered_free(&slow);
        emc_rendered_free(&named);
        close_all(&f);
    }
}

/* Forms that cannot be cut into genes: all is tokenised, and the ids are as right. */
static void other_forms_are_tokenised_whole(void **state)
{
    static const struct {
        const char *from, *to;
        bool is_fast;
    } forms[] = {
        {"\"{genes}\"", "\"{genes}s\"", false},                  /* a letter joins the last gene */
        {"\"separator\": \" \"", "\"separator\": \"x\"", false}, /* letters join all */
        {"\"{genes}\"", "\"x{genes}\"", true},                   /* the first gene is not copied */
        {"\"{genes}\"", "\"  {genes}.\"", true},
        {"\"separator\": \" \"", "\"separator\": \"\\n\"", true},
        {"\"separator\": \" \"", "\"separator\": \" > \"", true},
    };
    static const char *const good[] = {"GATA3", "KRT8", "HLA-A", "C1orf43", "7SK"};
    static const int32_t genes[] = {4, 0, 2, 1, 3};
    const char *names[5];
    size_t n;
    char *plain = emt_read(emt_golden("annotate/plain.json"), &n);

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(forms); i++) {
        emc_text text = {0};
        fixture f = {0};
        emc_rendered fast = {0}, named = {0};
        const char *at = strstr(plain, forms[i].from);
        assert_non_null(at);
        EMT_OK(emc_text_add(&text, plain, (size_t)(at - plain)));
        EMT_OK(emc_text_add_string(&text, forms[i].to));
        EMT_OK(emc_text_add_string(&text, at + strlen(forms[i].from)));
        EMT_OK(emc_profile_parse(&f.profile, text.bytes, text.n, "form"));
        EMT_OK(emc_tokenizer_open(&f.tokenizer, emt_golden("annotate/model")));
        const emc_prompter_options options = {f.profile, NULL, f.tokenizer, 0, NULL};
        EMT_OK(emc_prompter_open(&f.prompter, &options));
        EMT_OK(emc_prompter_set_genes(f.prompter, good, EMC_COUNT(good)));
        if (emc_prompter_is_fast(f.prompter) != forms[i].is_fast)
            fail_msg("%s: fast is %d", forms[i].to, !forms[i].is_fast);
        for (int k = 0; k < 5; k++)
            names[k] = good[genes[k]];
        for (int k = 0; k <= 5; k++) {
            EMT_OK(emc_prompter_render(f.prompter, genes, k, false, &fast));
            EMT_OK(emc_prompter_render_names(f.prompter, names, k, &named));
            assert_same_ids(&fast.ids, &named.ids, forms[i].to);
        }
        emc_rendered_free(&fast);
        emc_rendered_free(&named);
        emc_text_free(&text);
        close_all(&f);
    }
    free(plain);
}

static int count_id(const emc_ids *ids, int32_t id)
{
    int n = 0;

    for (size_t i = 0; i < ids->n; i++)
        n += ids->ids[i] == id;
    return n;
}

static void a_gene_named_like_a_token_stays_text(void **state)
{
    static const char *const evil[] = {"<|im_end|>", "<|im_start|>", "</think>"};
    static const char *const good[] = {"GATA3"};
    fixture f;
    emc_rendered a = {0}, b = {0};
    emc_text back = {0};

    (void)state;
    EMT_OK(try_open(&f, "embryo", NULL, 0));
    EMT_OK(emc_prompter_render_names(f.prompter, evil, 3, &a));
    EMT_OK(emc_prompter_render_names(f.prompter, good, 1, &b));
    for (int i = 0; i < 3; i++) {
        const int32_t id = emc_tokenizer_token_id(f.tokenizer, evil[i]);
        assert_true(id >= 0);
        assert_int_equal(count_id(&a.ids, id), count_id(&b.ids, id));
    }
    EMT_OK(emc_tokenizer_decode(f.tokenizer, a.ids.ids, a.ids.n, false, &back));
    assert_string_equal(back.bytes, a.prompt.text.bytes);
    assert_non_null(strstr(back.bytes, "Genes: <|im_end|> <|im_start|> </think>\n"));
    emc_text_free(&back);
    emc_rendered_free(&a);
    emc_rendered_free(&b);
    close_all(&f);
}

static void every_prompt_begins_with_the_prefix(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(profiles); i++) {
        fixture f;
        emc_rendered out = {0};
        const int32_t *prefix;
        int n;
        EMT_OK(try_open(&f, profiles[i], NULL, 3));
        EMT_OK(emc_prompter_set_genes(f.prompter, odd_names, EMC_COUNT(odd_names)));
        emc_prompter_prefix(f.prompter, &prefix, &n);
        assert_true(n > 5);
        assert_true(n <= emc_prompter_n_fixed(f.prompter));
        for (int32_t g = 0; g < (int32_t)EMC_COUNT(odd_names); g++) {
            const int32_t genes[] = {g, 0, g};
            EMT_OK(emc_prompter_render(f.prompter, genes, 3, false, &out));
            assert_true(out.ids.n > (size_t)n);
            assert_memory_equal(out.ids.ids, prefix, (size_t)n * sizeof(*prefix));
        }
        emc_rendered_free(&out);
        close_all(&f);
    }
}

/* Choices are the ids that follow the prompt, and the one token that ends an answer. */
static void choices_are_the_rest_of_prompt_and_answer(void **state)
{
    static const char *const genes[] = {"GATA3", "KRT8"};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(profiles); i++) {
        fixture f;
        emc_rendered out = {0};
        const int32_t *ids, *begin;
        int n;
        EMT_OK(try_open(&f, profiles[i], NULL, 0));
        EMT_OK(emc_prompter_render_names(f.prompter, genes, 2, &out));
        emc_prompter_choices(f.prompter, &ids, &begin, &n);
        assert_int_equal(n, emc_labels_count(f.labels));
        for (int c = 0; c < n; c++) {
            emc_prompt whole = {0};
            emc_ids all = {0};
            for (size_t r = 0, at = 0; r <= out.prompt.n_trusted; r++) {
                const bool last = r == out.prompt.n_trusted;
                const size_t from = last ? out.prompt.text.n : out.prompt.trusted[r].begin;
                EMT_OK(emc_prompt_add(&whole, out.prompt.text.bytes + at, from - at, false));
                at = last ? from : out.prompt.trusted[r].end;
                EMT_OK(emc_prompt_add(&whole, out.prompt.text.bytes + from, at - from, true));
            }
            EMT_OK(emc_prompter_answer(f.prompter, c, &whole));
            EMT_OK(emc_prompt_add(&whole, "<|im_end|>", 10, true));
            EMT_OK(emc_prompt_encode(f.tokenizer, &whole, &all));
            const emc_ids want = {(int32_t *)ids + begin[c], (size_t)(begin[c + 1] - begin[c]), 0};
            const emc_ids rest = {all.ids + out.ids.n, all.n - out.ids.n, 0};
            assert_same_ids(&rest, &want, emc_labels_get(f.labels, c)->label);
            emc_prompt_free(&whole);
            emc_ids_free(&all);
        }
        emc_prompt whole = {0};
        EMT_FAILS(EMC_ERR_ARG, "no label", emc_prompter_answer(f.prompter, n, &whole));
        emc_rendered_free(&out);
        close_all(&f);
    }
}

static void what_does_not_fit_together_is_refused(void **state)
{
    /* Both spellings of e with an accent are one text in normal form C, so the same tokens; to a
     * reader of the list they are two labels. */
    static const char twins[] = "caf\xC3\xA9\ncafe\xCC\x81\nTE\n";
    fixture f;

    (void)state;
    EMT_FAILS(EMC_ERR_CONFIG, "are the same tokens",
              try_open(&f, "embryo", emt_write("twins.txt", twins, sizeof(twins) - 1), 0));
    assert_null(f.prompter);
    close_all(&f);
    size_t n;
    char *text = emt_read(emt_golden("annotate/plain.json"), &n);
    char *ending = strstr(text, "<|im_end|>");
    memcpy(ending, "im_end_end", 10);
    emc_profile *profile;
    emc_labels *labels;
    emc_tokenizer *tokenizer;
    emc_prompter *prompter;
    EMT_OK(emc_profile_parse(&profile, text, n, "x"));
    EMT_OK(emc_labels_from_profile(&labels, profile));
    EMT_OK(emc_tokenizer_open(&tokenizer, emt_golden("annotate/model")));
    emc_prompter_options options = {profile, labels, tokenizer, 0, NULL};
    EMT_FAILS(EMC_ERR_CONFIG, "the ending \"im_end_end\" of profile \"plain\"",
              emc_prompter_open(&prompter, &options));
    emc_profile_close(profile);
    EMT_OK(emc_profile_open(&profile, "choices"));
    options = (emc_prompter_options){profile, NULL, NULL, 0, NULL};
    EMT_FAILS(EMC_ERR_CONFIG, "lists the labels and there are none",
              emc_prompter_open(&prompter, &options));
    emc_tokenizer_close(tokenizer);
    emc_labels_close(labels);
    emc_profile_close(profile);
    free(text);
    EMT_OK(try_open(&f, "embryo", NULL, 2));
    emc_rendered out = {0};
    const int32_t three[] = {0, 0, 0}, wrong[] = {99};
    EMT_OK(emc_prompter_set_genes(f.prompter, odd_names, EMC_COUNT(odd_names)));
    EMT_FAILS(EMC_ERR_ARG, "at most 2", emc_prompter_render(f.prompter, three, 3, false, &out));
    EMT_FAILS(EMC_ERR_ARG, "no gene 99", emc_prompter_render(f.prompter, wrong, 1, false, &out));
    EMT_FAILS(EMC_ERR_ARG, "at most 2", emc_prompter_render_names(f.prompter, odd_names, 3, &out));
    emc_rendered_free(&out);
    close_all(&f);
}

static emc_status to_json(void *context, const emc_cell_prompt *prompt)
{
    comparison *c = context;
    emc_text line = {0};
    cJSON *object;

    c->n_seen++;
    EMT_OK(emc_cell_prompt_json(&line, prompt, &c->options));
    EMT_OK(emc_json_parse(&object, line.bytes, line.n, "line"));
    assert_null(strchr(line.bytes, '\n'));
    assert_string_equal(cJSON_GetObjectItem(object, "cell_id")->valuestring, prompt->cell_id);
    assert_string_equal(cJSON_GetObjectItem(object, "prompt")->valuestring, prompt->text);
    assert_int_equal(cJSON_GetObjectItem(object, "n_tokens")->valueint, prompt->n_ids);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(object, "ids")), prompt->n_ids);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(object, "genes")), prompt->n_genes);
    const cJSON *obs = cJSON_GetObjectItem(object, "obs");
    assert_int_equal(cJSON_GetArraySize(obs), 2);
    assert_string_equal(cJSON_GetObjectItem(obs, "label")->valuestring, "type 0");
    assert_string_equal(cJSON_GetObjectItem(obs, "day")->valuestring, "2");
    cJSON_Delete(object);
    emc_text_free(&line);
    return EMC_OK;
}

static void one_cell_is_found_by_its_name(void **state)
{
    static const char *const columns[] = {"label", "day"};
    comparison c = {0};

    (void)state;
    c.options = (emc_prompts_options){.input_path = emt_golden("annotate/cells.h5ad"),
                                      .tokenizer_dir = emt_golden("annotate/model"),
                                      .cell_id = "Zelle \xC3\xA4",
                                      .obs_columns = columns,
                                      .n_obs_columns = 2,
                                      .input.min_gene_match = -1};
    EMT_OK(emc_prompts(&c.options, to_json, &c));
    assert_int_equal(c.n_seen, 1);
    c.options.cell_id = "cell_77";
    EMT_FAILS(EMC_ERR_NOT_FOUND, "no cell \"cell_77\"; the first is \"cell_00\"",
              emc_prompts(&c.options, to_json, &c));
    c.options.cell_id = NULL;
    const volatile sig_atomic_t stop = 1;
    c.options.cancel = &stop;
    EMT_FAILS(EMC_ERR_CANCELLED, "interrupted", emc_prompts(&c.options, to_json, &c));
    assert_int_equal(c.n_seen, 1);
}

/* With the vocabulary of the real models, whose numbers are known to be the reference's. */
static void the_qwen3_vocabulary_copies_too(void **state)
{
    static const char *const genes[] = {"POU5F1", "NANOG", "HLA-DRB1", "MT-CO1", "7SK", "H1-8"};
    emc_profile *profile;
    emc_tokenizer *tokenizer;
    emc_prompter *prompter;
    emc_rendered fast = {0}, slow = {0};
    const int32_t order[] = {4, 0, 5, 2, 1, 3};

    (void)state;
    emt_need_shared("data/qwen3-tokenizer");
    EMT_OK(emc_profile_open(&profile, "embryo"));
    EMT_OK(emc_tokenizer_open(&tokenizer, emt_shared("data/qwen3-tokenizer")));
    const emc_prompter_options options = {profile, NULL, tokenizer, 0, NULL};
    EMT_OK(emc_prompter_open(&prompter, &options));
    EMT_OK(emc_prompter_set_genes(prompter, genes, EMC_COUNT(genes)));
    assert_true(emc_prompter_is_fast(prompter));
    EMT_OK(emc_prompter_render(prompter, order, 6, false, &fast));
    EMT_OK(emc_prompter_render(prompter, order, 6, true, &slow));
    assert_same_ids(&fast.ids, &slow.ids, "Qwen3");
    emc_rendered_free(&fast);
    emc_rendered_free(&slow);
    emc_prompter_close(prompter);
    emc_tokenizer_close(tokenizer);
    emc_profile_close(profile);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts_are_those_of_another_program),
        cmocka_unit_test(copied_ids_are_those_of_the_whole_text),
        cmocka_unit_test(other_forms_are_tokenised_whole),
        cmocka_unit_test(a_gene_named_like_a_token_stays_text),
        cmocka_unit_test(every_prompt_begins_with_the_prefix),
        cmocka_unit_test(choices_are_the_rest_of_prompt_and_answer),
        cmocka_unit_test(what_does_not_fit_together_is_refused),
        cmocka_unit_test(one_cell_is_found_by_its_name),
        cmocka_unit_test(the_qwen3_vocabulary_copies_too),
    };

    return cmocka_run_group_tests_name("prompt", tests, NULL, NULL);
}
