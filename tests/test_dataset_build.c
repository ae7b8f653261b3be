/*
 * Instruction data: what a trainer reads has the ids that annotating asks with, in every form of
 * thinking; every draw depends on its cell alone; a folder is whole or not there.
 */
#include "emt.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/dataset/build.h"
#include "annotate/prompt.h"
#include "base/json.h"
#include "tokenizer/chat.h"

static char dir_of_files[4096];

/* A profile with another wording, one that lists labels and an example in its chat. */
static const char *const profile_text =
    "{\"name\": \"p\", \"description\": \"d\", \"provenance\": {\"official\": false, \"source\": "
    "\"s\"}, \"messages\": [{\"role\": \"system\", \"content\": \"You know cells.\"}, {\"role\": "
    "\"user\", \"content\": \"Genes: {genes}\\nType:\"}], \"paraphrases\": [[{\"role\": \"user\", "
    "\"content\": \"One of {labels}? {n_genes} genes: {genes}\"}], [{\"role\": \"user\", "
    "\"content\": \"A B\"}, {\"role\": \"assistant\", \"content\": \"none\"}, {\"role\": \"user\", "
    "\"content\": \"{genes}\"}]], \"genes\": {\"n_genes\": 20, \"min_genes\": 3, \"separator\": "
    "\" \", \"min_value\": 0, \"negative\": \"refuse\", \"not_finite\": \"refuse\"}, \"chat\": "
    "{\"form\": \"qwen3\", \"thinking\": \"%s\"}, \"labels_of\": \"embryo\", \"answer\": "
    "{\"prefix\": \"\", \"suffix\": \".\", \"ending\": \"<|im_end|>\"}, \"decoding\": {\"answer\": "
    "\"exact\", \"max_tokens\": 8, \"temperature\": 1, \"unknown_below\": 0, \"margin_below\": 0}}";

static const char *const recipe_text =
    "{\"name\": \"demo\", \"description\": \"d\", \"source\": \"s | <b>\", \"profile\": "
    "\"profile.json\", \"inputs\": [{\"path\": \"cells.h5ad\", \"label\": {\"column\": "
    "\"label\"}, \"embryo\": {\"column\": \"embryo\"}, \"stage\": {\"column\": \"stage\"}, "
    "\"dataset\": {\"value\": \"demo\"}, \"count_unit\": \"UMI\", \"source\": \"simulated\", "
    "\"licence\": \"none\"}], \"split\": {\"by\": \"embryo\", \"test\": 0.2, \"validation\": 0.1, "
    "\"stratify\": true}, \"examples\": {%s}, \"seed\": 3}";

static const char *put(const char *name, const char *text)
{
    static char path[4300];
    FILE *file;

    snprintf(path, sizeof path, "%s/%s", dir_of_files, name);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
    return path;
}

static void put_recipe(const char *thinking, const char *examples)
{
    char text[6000];

    snprintf(dir_of_files, sizeof dir_of_files, "%s", emt_temp("recipe"));
    mkdir(dir_of_files, 0755);
    snprintf(text, sizeof text, profile_text, thinking);
    put("profile.json", text);
    snprintf(text, sizeof text, recipe_text, examples);
    put("recipe.json", text);
    char link[4300];
    snprintf(link, sizeof link, "%s/cells.h5ad", dir_of_files);
    FILE *from = fopen(EMT_DEMO "/cells.h5ad", "rb"), *to = fopen(link, "wb");
    assert_true(from && to);
    char bytes[65536];
    for (size_t n; (n = fread(bytes, 1, sizeof bytes, from)) > 0;)
        assert_int_equal(fwrite(bytes, 1, n, to), n);
    fclose(from);
    assert_int_equal(fclose(to), 0);
}

static emc_build_options options_to(const char *name, int n_threads)
{
    static char recipe[4300], output[2][4300];
    static int at;

    at ^= 1;
    snprintf(recipe, sizeof recipe, "%s/recipe.json", dir_of_files);
    snprintf(output[at], sizeof output[at], "%s/%s", dir_of_files, name);
    return (emc_build_options){.recipe = recipe,
                               .output_dir = output[at],
                               .dataset = {.version = "1", .n_threads = n_threads}};
}

static char *read_file(const char *folder, const char *name)
{
    char path[8700];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    return emt_read(path, NULL);
}

/* The next line, cut; NULL at the end. */
static char *next_line(char **cursor)
{
    char *line = *cursor, *end = strchr(line, '\n');

    if (!end)
        return NULL;
    *end = '\0';
    *cursor = end + 1;
    return line;
}

/* Ids of the messages before the answer, as a trainer's chat template makes them. */
static void ids_of_messages(emc_ids *out, const cJSON *messages, const emc_tokenizer *t,
                            bool prefill)
{
    emc_chat_message chat[8] = {{0}};
    emc_chat_segment segments[8];
    emc_prompt prompt = {0};
    const int n = cJSON_GetArraySize(messages) - 1;

    for (int i = 0; i < n; i++) {
        const cJSON *m = cJSON_GetArrayItem(messages, i);
        const char *role = cJSON_GetObjectItem(m, "role")->valuestring;
        const char *content = cJSON_GetObjectItem(m, "content")->valuestring;
        EMT_OK(emc_chat_role_of(&chat[i].role, role, strlen(role)));
        segments[i] = (emc_chat_segment){.text = content, .n_bytes = strlen(content)};
        chat[i].content = (emc_chat_text){.segments = &segments[i], .n_segments = 1};
    }
    EMT_OK(
        emc_chat_render(&(emc_chat_request){.messages = chat,
                                            .n_messages = (size_t)n,
                                            .add_generation_prompt = true,
                                            .think = prefill ? EMC_THINK_OFF : EMC_THINK_DEFAULT},
                        &prompt));
    EMT_OK(emc_prompt_encode(t, &prompt, out));
    emc_prompt_free(&prompt);
}

/* What the cell's own prompt would be, drawn as the line beside says. */
typedef struct {
    emc_recipe *recipe;
    emc_dataset *dataset;
    emc_prompter *prompter;
    emc_tokenizer *tokenizer;
    char **lines, **meta;
    int n_lines, n_compared;
    bool prefill;
} comparison;

static emc_status compare_cell(void *context, const emc_dataset_genes *cell)
{
    comparison *c = context;

    for (int i = 0; i < c->n_lines; i++) {
        cJSON *meta = cJSON_Parse(c->meta[i]), *line = cJSON_Parse(c->lines[i]);
        const char *id = cJSON_GetObjectItem(meta, "id")->valuestring;
        const char *kind = cJSON_GetObjectItem(meta, "kind")->valuestring;
        if (strcmp(id, cell->cell->cell_id) == 0 && strcmp(kind, "cell") == 0 &&
            cJSON_GetObjectItem(meta, "n_candidates")->valueint == 0) {
            const int n_genes = cJSON_GetObjectItem(meta, "n_genes")->valueint;
            const cJSON *messages = cJSON_GetObjectItem(line, "messages");
            emc_rendered rendered = {0};
            emc_ids ids = {0};
            EMT_OK(emc_prompter_set_variant(
                c->prompter,
                &(emc_prompt_variant){.wording = cJSON_GetObjectItem(meta, "wording")->valueint}));
            EMT_OK(emc_prompter_render_names(c->prompter, cell->genes, n_genes, &rendered));
            ids_of_messages(&ids, messages, c->tokenizer, c->prefill);
            assert_int_equal(ids.n, rendered.ids.n);
            assert_memory_equal(ids.ids, rendered.ids.ids, ids.n * sizeof *ids.ids);
            const cJSON *answer = cJSON_GetArrayItem(messages, cJSON_GetArraySize(messages) - 1);
            char wanted[100];
            snprintf(wanted, sizeof wanted, "%s.",
                     emc_labels_get(emc_dataset_labels(c->dataset), cell->cell->label)->label);
            assert_string_equal(cJSON_GetObjectItem(answer, "content")->valuestring, wanted);
            assert_string_equal(cJSON_GetObjectItem(answer, "role")->valuestring, "assistant");
            c->n_compared++;
            emc_rendered_free(&rendered);
            emc_ids_free(&ids);
        }
        cJSON_Delete(meta);
        cJSON_Delete(line);
    }
    return EMC_OK;
}

#define MAX_LINES 4000

static int split_lines(char **lines, char *text)
{
    int n = 0;

    for (char *line; (line = next_line(&text));) {
        assert_true(n < MAX_LINES);
        lines[n++] = line;
    }
    return n;
}

static void test_ids(void **state)
{
    (void)state;
    static const char *const thinking[] = {"plain", "empty-think-prefill", "model-emits-think"};
    static char *lines[MAX_LINES], *meta[MAX_LINES];

    for (int i = 0; i < 3; i++) {
        put_recipe(thinking[i], "\"n_genes\": [5, 20, 40], \"paraphrases\": 3");
        const emc_build_options o = options_to(thinking[i], 2);
        emc_build_summary summary;
        comparison c = {.lines = lines, .meta = meta, .prefill = i == 1};
        EMT_OK(emc_dataset_build(&summary, &o));
        assert_int_equal(summary.n_cells, 914);
        assert_int_equal(summary.n_examples[0] + summary.n_examples[1] + summary.n_examples[2],
                         914);
        char *text = read_file(o.output_dir, "validation.messages.jsonl");
        char *meta_text = read_file(o.output_dir, "validation.meta.jsonl");
        c.n_lines = split_lines(lines, text);
        assert_int_equal(split_lines(meta, meta_text), c.n_lines);
        assert_int_equal(c.n_lines, summary.n_examples[1]);
        EMT_OK(emc_recipe_open(&c.recipe, o.recipe, NULL));
        EMT_OK(emc_dataset_open(&c.dataset, c.recipe, &o.dataset));
        EMT_OK(emc_tokenizer_open(&c.tokenizer, emt_golden("annotate/model")));
        EMT_OK(emc_prompter_open(&c.prompter,
                                 &(emc_prompter_options){.profile = emc_dataset_profile(c.dataset),
                                                         .labels = emc_dataset_labels(c.dataset),
                                                         .tokenizer = c.tokenizer,
                                                         .n_genes = 40}));
        if (c.n_lines > 60)
            c.n_lines = 60;
        EMT_OK(emc_dataset_each(c.dataset, compare_cell, &c));
        assert_int_equal(c.n_compared, c.n_lines);
        assert_true(c.n_lines > 20);
        emc_prompter_close(c.prompter);
        emc_tokenizer_close(c.tokenizer);
        emc_dataset_close(c.dataset);
        emc_recipe_close(c.recipe);
        emc_build_summary_close(&summary);
        free(text);
        free(meta_text);
    }
}

/* Everything a recipe can ask for: counts, forms that say the same, candidates, cards. */
static void test_forms(void **state)
{
    (void)state;
    static char *lines[3][MAX_LINES], *meta[MAX_LINES];
    static const char *const files[] = {"train.messages.jsonl", "train.alpaca.jsonl",
                                        "train.sharegpt.jsonl"};
    put_recipe("plain",
               "\"paraphrases\": 3, \"per_cell\": 2, \"candidates\": {\"share\": 1, \"least\": 3, "
               "\"most\": 6}, \"unknown_share\": 0.2, \"cap\": 20, \"weights\": true");
    emc_build_options o = options_to("all", 1);
    emc_build_summary summary;
    char *texts[4];
    int n_kind[4] = {0}, n_candidates = 0, n_history = 0, per_label[32] = {0};
    double weights = 0;

    o.tokenizer_dir = emt_golden("annotate/model");
    EMT_OK(emc_dataset_build(&summary, &o));
    texts[3] = read_file(o.output_dir, "train.meta.jsonl");
    const int n = split_lines(meta, texts[3]);
    assert_int_equal(n, summary.n_examples[0]);
    for (int f = 0; f < 3; f++) {
        texts[f] = read_file(o.output_dir, files[f]);
        assert_int_equal(split_lines(lines[f], texts[f]), n);
    }
    for (int i = 0; i < n; i++) {
        cJSON *m = cJSON_Parse(lines[0][i]), *a = cJSON_Parse(lines[1][i]);
        cJSON *s = cJSON_Parse(lines[2][i]), *beside = cJSON_Parse(meta[i]);
        assert_true(m && a && s && beside);
        const cJSON *messages = cJSON_GetObjectItem(m, "messages");
        const int n_messages = cJSON_GetArraySize(messages);
        const char *asked =
            cJSON_GetObjectItem(cJSON_GetArrayItem(messages, n_messages - 2), "content")
                ->valuestring;
        const char *answer =
            cJSON_GetObjectItem(cJSON_GetArrayItem(messages, n_messages - 1), "content")
                ->valuestring;
        assert_string_equal(cJSON_GetObjectItem(a, "instruction")->valuestring, asked);
        assert_string_equal(cJSON_GetObjectItem(a, "output")->valuestring, answer);
        const cJSON *turns = cJSON_GetObjectItem(s, "conversations");
        const cJSON *last = cJSON_GetArrayItem(turns, cJSON_GetArraySize(turns) - 1);
        assert_string_equal(cJSON_GetObjectItem(last, "from")->valuestring, "gpt");
        assert_string_equal(cJSON_GetObjectItem(last, "value")->valuestring, answer);
        n_history += cJSON_GetObjectItem(a, "history") != NULL;
        const char *kind = cJSON_GetObjectItem(beside, "kind")->valuestring;
        const char *label = cJSON_GetObjectItem(beside, "label")->valuestring;
        static const char *const kinds[] = {"cell", "unknown", "mixed", "few"};
        for (int k = 0; k < 4; k++)
            n_kind[k] += strcmp(kind, kinds[k]) == 0;
        if (strcmp(kind, "cell") != 0)
            assert_string_equal(answer, "unknown.");
        else
            assert_true(strncmp(answer, label, strlen(label)) == 0);
        if (strcmp(kind, "few") == 0)
            assert_in_range(cJSON_GetObjectItem(beside, "n_genes")->valueint, 3, 9);
        const int candidates = cJSON_GetObjectItem(beside, "n_candidates")->valueint;
        const int wording = cJSON_GetObjectItem(beside, "wording")->valueint;
        assert_true(wording == 1 ? candidates >= 3 && candidates <= 6 : candidates == 0);
        if (candidates > 0 && strcmp(kind, "cell") == 0) {
            assert_non_null(strstr(asked, label)); /* the right one is offered */
            n_candidates++;
        }
        weights += cJSON_GetObjectItem(beside, "weight")->valuedouble;
        if (strcmp(label, "TE") == 0)
            per_label[0]++;
        cJSON_Delete(m);
        cJSON_Delete(a);
        cJSON_Delete(s);
        cJSON_Delete(beside);
    }
    assert_true(n_kind[0] > 300 && n_kind[2] > 20 && n_kind[3] > 20 && n_candidates > 50);
    assert_true(n_history > 50);
    assert_int_equal(per_label[0], 20); /* the cap: ten cells, two examples each */
    assert_int_equal(n_kind[1] + n_kind[2] + n_kind[3] + n_kind[0], n);
    /* A fifth is negative: 5.4 standard deviations. */
    const double share = (double)(n_kind[2] + n_kind[3]) / n;
    assert_true(fabs(share - 0.2) < 5.4 * sqrt(0.16 / n));
    /* Weights of all examples of the train part add up to their number. */
    assert_true(fabs(weights - n) < 1e-4 * n);
    char *card = read_file(o.output_dir, "card.json"), *page = read_file(o.output_dir, "card.md");
    cJSON *document = cJSON_Parse(card);
    assert_non_null(document);
    assert_int_equal(
        cJSON_GetObjectItem(cJSON_GetObjectItem(document, "examples"), "train")->valueint, n);
    const cJSON *tokens = cJSON_GetObjectItem(document, "tokens"), *bin;
    int n_counted = 0;
    cJSON_ArrayForEach(bin, cJSON_GetObjectItem(tokens, "histogram")) n_counted += bin->valueint;
    assert_int_equal(n_counted,
                     summary.n_examples[0] + summary.n_examples[1] + summary.n_examples[2]);
    assert_non_null(strstr(page, "not EmCell4Instruction of the EmCellLLM paper"));
    assert_non_null(strstr(page, "s \\| &lt;b&gt;"));
    assert_null(strstr(page, "<b>"));
    cJSON_Delete(document);
    free(card);
    free(page);
    for (int f = 0; f < 4; f++)
        free(texts[f]);
    emc_build_summary_close(&summary);
}

static void test_same_bytes(void **state)
{
    (void)state;
    static const char *const files[] = {"train.messages.jsonl", "test.meta.jsonl", "card.json",
                                        "card.md", "dataset_info.json"};
    put_recipe("plain", "\"paraphrases\": 3, \"n_genes\": [5, 20], \"unknown_share\": 0.1");
    emc_build_options a = options_to("a", 1), b = options_to("b", 2);
    emc_build_summary summary;

    EMT_OK(emc_dataset_build(&summary, &a));
    emc_build_summary_close(&summary);
    EMT_OK(emc_dataset_build(&summary, &b));
    emc_build_summary_close(&summary);
    for (size_t i = 0; i < EMC_COUNT(files); i++) {
        char *x = read_file(a.output_dir, files[i]), *y = read_file(b.output_dir, files[i]);
        assert_string_equal(x, y);
        free(x);
        free(y);
    }
    EMT_FAILS(EMC_ERR_CREATE, "--force", emc_dataset_build(&summary, &a));
    a.force = true;
    EMT_OK(emc_dataset_build(&summary, &a));
    emc_build_summary_close(&summary);
}

/* The stage of a cell only where a recipe asks for it. */
static void test_stage(void **state)
{
    (void)state;
    put_recipe("plain", "\"stage\": true");
    emc_build_options o = options_to("staged", 1);
    emc_build_summary summary;

    EMT_FAILS(EMC_ERR_CONFIG, "no {stage}", emc_dataset_build(&summary, &o));
    char text[6000], *at;
    snprintf(text, sizeof text, profile_text, "plain");
    at = strstr(text, "Genes: {genes}");
    memcpy(at, "{stage} {genes}", 15); /* one byte longer than what stood there: of the line end */
    at[15] = ' ';
    at[16] = ' ';
    put("profile.json", text);
    o.force = true;
    EMT_OK(emc_dataset_build(&summary, &o));
    emc_build_summary_close(&summary);
    char *lines = read_file(o.output_dir, "test.messages.jsonl");
    assert_true(strstr(lines, "\"content\": \"E") || strstr(lines, "\"content\": \"CS7"));
    char *card = read_file(o.output_dir, "card.md");
    assert_non_null(strstr(card, "leaks the label"));
    free(card);
    free(lines);
    const volatile sig_atomic_t cancel = 1;
    o.dataset.cancel = &cancel;
    EMT_FAILS(EMC_ERR_CANCELLED, "stopped", emc_dataset_build(&summary, &o));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_stage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
