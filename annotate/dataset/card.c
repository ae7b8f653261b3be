/* The data card: what is in a dataset, where it is from, and what to beware of. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/dataset/build_parts.h"
#include "base/size.h"
#include "base/str_map.h"

#define FEW_CELLS 20

/* Cells by embryo, dataset and so on: names in order of appearance, counts by part. */
typedef struct {
    emc_str_map *known;
    const char **names;
    int64_t (*counts)[EMC_N_PARTS];
    size_t n, names_room, counts_room;
} tally;

static void tally_free(tally *t)
{
    emc_str_map_close(t->known);
    free(t->names);
    free(t->counts);
}

static emc_status tally_add(tally *t, const char *name, emc_part_of_split part)
{
    if (!name)
        return EMC_OK;
    if (!t->known)
        EMC_TRY(emc_str_map_open(&t->known, 64));
    int32_t at = emc_str_map_get(t->known, name, strlen(name), -1);
    if (at < 0) {
        at = (int32_t)t->n;
        EMC_TRY(emc_reserve(&t->names, &t->names_room, t->n + 1, sizeof *t->names, "names"));
        EMC_TRY(emc_reserve(&t->counts, &t->counts_room, t->n + 1, sizeof *t->counts, "names"));
        memset(t->counts[at], 0, sizeof t->counts[at]);
        t->names[t->n++] = name;
        EMC_TRY(emc_str_map_put(t->known, name, strlen(name), at, NULL));
    }
    t->counts[at][part]++;
    return EMC_OK;
}

typedef struct {
    tally embryos, datasets, stages;
    int64_t *labels;    /* [n_labels + 1][EMC_N_PARTS] cells; the last: unknown */
    int *label_embryos; /* [n_labels] different ones, 2 for more than one */
    int64_t n_twins;
} survey;

static void survey_free(survey *s)
{
    tally_free(&s->embryos);
    tally_free(&s->datasets);
    tally_free(&s->stages);
    free(s->labels);
    free(s->label_embryos);
}

static emc_status survey_make(survey *s, const emc_dataset *dataset)
{
    const int n_labels = emc_labels_count(emc_dataset_labels(dataset));
    const char **first = NULL;
    emc_status status =
        emc_alloc(&s->labels, ((size_t)n_labels + 1) * EMC_N_PARTS, sizeof *s->labels, "labels");

    if (status == EMC_OK)
        status =
            emc_alloc(&s->label_embryos, (size_t)n_labels + 1, sizeof *s->label_embryos, "labels");
    if (status == EMC_OK)
        status = emc_alloc(&first, (size_t)n_labels + 1, sizeof *first, "labels");
    for (int64_t i = 0; i < emc_dataset_count(dataset) && status == EMC_OK; i++) {
        const emc_dataset_cell *cell = emc_dataset_get(dataset, i);
        const int label = cell->label < 0 ? n_labels : cell->label;
        s->n_twins += cell->twin != i;
        s->labels[label * EMC_N_PARTS + (int)cell->part]++;
        if (cell->embryo && !first[label]) {
            first[label] = cell->embryo;
            s->label_embryos[label] = 1;
        } else if (cell->embryo && strcmp(first[label], cell->embryo) != 0) {
            s->label_embryos[label] = 2;
        }
        status = tally_add(&s->embryos, cell->embryo, cell->part);
        if (status == EMC_OK)
            status = tally_add(&s->datasets, cell->dataset, cell->part);
        if (status == EMC_OK)
            status = tally_add(&s->stages, cell->stage, cell->part);
    }
    free(first);
    return status;
}

static const char *label_name(const emc_dataset *dataset, int label)
{
    const emc_labels *labels = emc_dataset_labels(dataset);

    return label < emc_labels_count(labels) ? emc_labels_get(labels, label)->label : "unknown";
}

static const char made_by[] =
    "Made by emcell after its own recipe. It is not EmCell4Instruction of the EmCellLLM paper, "
    "whose data are not public.";

/* --- JSON --- */

static emc_status add_string(emc_text *out, const char *key, const char *value)
{
    EMC_TRY(emc_text_addf(out, "\"%s\": ", key));
    return value ? emc_text_add_json(out, value, strlen(value)) : emc_text_add_string(out, "null");
}

static emc_status add_parts(emc_text *out, const int64_t counts[EMC_N_PARTS])
{
    for (int part = 0; part < EMC_N_PARTS; part++)
        EMC_TRY(emc_text_addf(out, "%s\"%s\": %lld", part > 0 ? ", " : "",
                              emc_part_name((emc_part_of_split)part), (long long)counts[part]));
    return EMC_OK;
}

static emc_status add_tally(emc_text *out, const char *key, const tally *t)
{
    EMC_TRY(emc_text_addf(out, " \"%s\": [", key));
    for (size_t i = 0; i < t->n; i++) {
        EMC_TRY(emc_text_add_string(out, i > 0 ? ",\n  {" : "\n  {"));
        EMC_TRY(add_string(out, "name", t->names[i]));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_parts(out, t->counts[i]));
        EMC_TRY(emc_text_add_string(out, "}"));
    }
    return emc_text_add_string(out, "],\n");
}

static emc_status add_hash(emc_text *out, const char *key, const emc_hash *hash)
{
    char text[EMC_HASH_TEXT];

    emc_hash_text(text, hash);
    return emc_text_addf(out, "\"%s\": \"%s\"", key, text);
}

static emc_status add_inputs(emc_text *out, const emc_dataset *dataset)
{
    const emc_recipe_info *recipe = emc_dataset_recipe(dataset);

    EMC_TRY(emc_text_add_string(out, " \"inputs\": ["));
    for (int i = 0; i < emc_dataset_n_inputs(dataset); i++) {
        const emc_dataset_input *input = emc_dataset_get_input(dataset, i);
        const emc_recipe_input *asked = &recipe->inputs[i];
        EMC_TRY(emc_text_add_string(out, i > 0 ? ",\n  {" : "\n  {"));
        EMC_TRY(add_string(out, "path", asked->path));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_hash(out, "hash", &input->hash));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_string(out, "source", asked->source));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_string(out, "licence", asked->licence));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_string(out, "count_unit", asked->count_unit));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_string(out, "label_map", asked->map ? asked->map->name : NULL));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_string(out, "labels_follow", asked->map ? asked->map->paper : NULL));
        EMC_TRY(emc_text_addf(out,
                              ", \"n_cells\": %lld, \"n_kept\": %lld, \"n_dropped\": %lld, "
                              "\"n_unlabelled\": %lld, \"n_poor\": %lld, \"n_twins\": %lld}",
                              (long long)input->n_cells, (long long)input->n_kept,
                              (long long)input->n_dropped, (long long)input->n_unlabelled,
                              (long long)input->n_poor, (long long)input->n_twins));
    }
    return emc_text_add_string(out, "],\n");
}

static emc_status add_labels(emc_text *out, const build_counts *c, const survey *s)
{
    const int n = emc_labels_count(emc_dataset_labels(c->dataset));

    EMC_TRY(emc_text_add_string(out, " \"labels\": ["));
    for (int i = 0; i <= n; i++) {
        const int64_t *cells = s->labels + (size_t)i * EMC_N_PARTS;
        int64_t total = 0, examples = 0;
        for (int part = 0; part < EMC_N_PARTS; part++) {
            total += cells[part];
            examples += c->n_label[i * EMC_N_PARTS + part];
        }
        EMC_TRY(emc_text_add_string(out, i > 0 ? ",\n  {" : "\n  {"));
        EMC_TRY(add_string(out, "label", label_name(c->dataset, i)));
        EMC_TRY(emc_text_add_string(out, ", "));
        EMC_TRY(add_parts(out, cells));
        EMC_TRY(emc_text_addf(out, ", \"examples\": %lld, \"few\": %s, \"one_embryo\": %s}",
                              (long long)examples,
                              total > 0 && total < FEW_CELLS ? "true" : "false",
                              s->label_embryos[i] == 1 ? "true" : "false"));
    }
    return emc_text_add_string(out, "],\n");
}

static emc_status add_tokens(emc_text *out, const build_counts *c)
{
    int64_t n = 0;
    int last = 0;

    for (int i = 0; i < TOKEN_BINS; i++) {
        n += c->tokens[i];
        last = c->tokens[i] > 0 ? i : last;
    }
    if (n == 0)
        return emc_text_add_string(out, " \"tokens\": null\n");
    EMC_TRY(emc_text_addf(out,
                          " \"tokens\": {\"mean\": %.2f, \"most\": %lld, \"bin\": %d, "
                          "\"histogram\": [",
                          (double)c->n_tokens / (double)n, (long long)c->most_tokens, TOKEN_BIN));
    for (int i = 0; i <= last; i++)
        EMC_TRY(emc_text_addf(out, "%s%lld", i > 0 ? ", " : "", (long long)c->tokens[i]));
    return emc_text_add_string(out, "]}\n");
}

static emc_status profile_hash(emc_hash *out, const emc_dataset *dataset)
{
    size_t n;
    const char *text = emc_profile_text(emc_dataset_profile(dataset), &n);

    *out = emc_hash_of(text, n);
    return EMC_OK;
}

static const char *split_name(emc_split_by by)
{
    static const char *const names[] = {"embryo", "dataset", "stage", "cell"};

    return (unsigned)by < EMC_COUNT(names) ? names[by] : "";
}

static emc_status json_of(emc_text *out, const build_counts *c, const survey *s)
{
    const emc_recipe_info *recipe = emc_dataset_recipe(c->dataset);
    emc_hash hash;

    EMC_TRY(
        emc_text_add_string(out, "{\n \"format\": \"emcell dataset card\", \"version\": 1,\n "));
    EMC_TRY(add_string(out, "name", recipe->name));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(add_string(out, "description", recipe->description));
    EMC_TRY(emc_text_add_string(out, ",\n "));
    EMC_TRY(add_string(out, "made_by", made_by));
    EMC_TRY(emc_text_add_string(out, ",\n "));
    EMC_TRY(add_string(out, "emcell", c->options->dataset.version));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(add_string(out, "source", recipe->source));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(add_string(out, "profile", emc_profile_get(emc_dataset_profile(c->dataset))->name));
    EMC_TRY(profile_hash(&hash, c->dataset));
    EMC_TRY(emc_text_add_string(out, ", "));
    EMC_TRY(add_hash(out, "profile_hash", &hash));
    EMC_TRY(emc_text_addf(out, ", \"seed\": %llu,\n", (unsigned long long)recipe->seed));
    EMC_TRY(emc_text_addf(out,
                          " \"split\": {\"by\": \"%s\", \"test\": %.6g, \"validation\": %.6g, "
                          "\"stratified\": %s, \"leaks\": 0},\n",
                          split_name(recipe->split.by), recipe->split.test,
                          recipe->split.validation, recipe->split.stratify ? "true" : "false"));
    EMC_TRY(emc_text_addf(out, " \"stage_in_prompt\": %s, \"n_twins\": %lld,\n \"examples\": {",
                          recipe->examples.stage ? "true" : "false", (long long)s->n_twins));
    EMC_TRY(add_parts(out, c->n_examples));
    for (int kind = 0; kind <= EXAMPLE_FEW; kind++)
        EMC_TRY(emc_text_addf(out, ", \"kind_%s\": %lld", example_kind_name((example_kind)kind),
                              (long long)c->n_kind[kind]));
    EMC_TRY(emc_text_add_string(out, "},\n"));
    EMC_TRY(add_inputs(out, c->dataset));
    EMC_TRY(add_labels(out, c, s));
    EMC_TRY(add_tally(out, "embryos", &s->embryos));
    EMC_TRY(add_tally(out, "datasets", &s->datasets));
    EMC_TRY(add_tally(out, "stages", &s->stages));
    EMC_TRY(add_tokens(out, c));
    return emc_text_add_string(out, "}\n");
}

emc_status build_card_json(emc_text *out, const build_counts *counts)
{
    survey s = {0};
    emc_status status = survey_make(&s, counts->dataset);

    if (status == EMC_OK)
        status = json_of(out, counts, &s);
    survey_free(&s);
    return status;
}

/* --- Markdown --- */

/* Characters that mean something in Markdown or HTML are escaped; line ends become blanks. */
static emc_status add_plain(emc_text *out, const char *text)
{
    for (; text && *text; text++) {
        const char c = *text;
        if (c == '\n' || c == '\r' || c == '\t')
            EMC_TRY(emc_text_add_string(out, " "));
        else if (c == '<' || c == '>')
            EMC_TRY(emc_text_add_string(out, c == '<' ? "&lt;" : "&gt;"));
        else if (strchr("\\`*_{}[]()#+!|~&", c))
            EMC_TRY(emc_text_addf(out, "\\%c", c));
        else
            EMC_TRY(emc_text_add(out, &c, 1));
    }
    return EMC_OK;
}

static emc_status add_row(emc_text *out, const char *name, const int64_t counts[EMC_N_PARTS],
                          const char *note)
{
    EMC_TRY(emc_text_add_string(out, "| "));
    EMC_TRY(add_plain(out, name));
    for (int part = 0; part < EMC_N_PARTS; part++)
        EMC_TRY(emc_text_addf(out, " | %lld", (long long)counts[part]));
    return note ? emc_text_addf(out, " | %s |\n", note) : emc_text_add_string(out, " |\n");
}

static emc_status add_tally_table(emc_text *out, const char *heading, const tally *t)
{
    if (t->n == 0)
        return EMC_OK;
    EMC_TRY(emc_text_addf(out, "\n## %s\n\n| | train | validation | test |\n|---|---|---|---|\n",
                          heading));
    for (size_t i = 0; i < t->n; i++)
        EMC_TRY(add_row(out, t->names[i], t->counts[i], NULL));
    return EMC_OK;
}

static emc_status add_input_table(emc_text *out, const emc_dataset *dataset)
{
    const emc_recipe_info *recipe = emc_dataset_recipe(dataset);
    char hash[EMC_HASH_TEXT];

    EMC_TRY(emc_text_add_string(
        out, "\n## Files\n\n| file | cells | kept | dropped | without a label | too few genes | "
             "twins | unit | labels follow | source | licence | hash |\n"
             "|---|---|---|---|---|---|---|---|---|---|---|---|\n"));
    for (int i = 0; i < emc_dataset_n_inputs(dataset); i++) {
        const emc_dataset_input *input = emc_dataset_get_input(dataset, i);
        const emc_recipe_input *asked = &recipe->inputs[i];
        const char *const words[] = {asked->count_unit, asked->map ? asked->map->paper : NULL,
                                     asked->source, asked->licence};
        EMC_TRY(emc_text_add_string(out, "| "));
        EMC_TRY(add_plain(out, asked->path));
        EMC_TRY(emc_text_addf(out, " | %lld | %lld | %lld | %lld | %lld | %lld",
                              (long long)input->n_cells, (long long)input->n_kept,
                              (long long)input->n_dropped, (long long)input->n_unlabelled,
                              (long long)input->n_poor, (long long)input->n_twins));
        for (size_t w = 0; w < EMC_COUNT(words); w++) {
            EMC_TRY(emc_text_add_string(out, " | "));
            EMC_TRY(add_plain(out, words[w]));
        }
        emc_hash_text(hash, &input->hash);
        EMC_TRY(emc_text_addf(out, " | %s |\n", hash));
    }
    return EMC_OK;
}

static emc_status add_warnings(emc_text *out, const build_counts *c, const survey *s)
{
    const emc_recipe_info *recipe = emc_dataset_recipe(c->dataset);

    EMC_TRY(emc_text_add_string(out, "\n## To know before use\n\n"));
    EMC_TRY(emc_text_addf(out,
                          "- Split by %s. No embryo within a dataset, no cell and no twin (the "
                          "same id and dataset, or the same expression) stands on two sides; the "
                          "build fails otherwise.\n",
                          split_name(recipe->split.by)));
    if (recipe->split.by == EMC_SPLIT_CELL)
        EMC_TRY(emc_text_add_string(
            out, "- A split by cell tells nothing about new embryos: cells of one embryo are "
                 "near-duplicates.\n"));
    if (recipe->examples.stage)
        EMC_TRY(
            emc_text_add_string(out, "- The stage stands in the prompt, which leaks the label.\n"));
    if (s->n_twins > 0)
        EMC_TRY(emc_text_addf(out, "- %lld twins are left out.\n", (long long)s->n_twins));
    return emc_text_add_string(out, "- Research use only. Access terms and ethics of the sources "
                                    "go with the data.\n");
}

static emc_status markdown_of(emc_text *out, const build_counts *c, const survey *s)
{
    const emc_recipe_info *recipe = emc_dataset_recipe(c->dataset);
    const int n_labels = emc_labels_count(emc_dataset_labels(c->dataset));

    EMC_TRY(emc_text_add_string(out, "# "));
    EMC_TRY(add_plain(out, recipe->name));
    EMC_TRY(emc_text_add_string(out, "\n\n"));
    EMC_TRY(add_plain(out, recipe->description));
    EMC_TRY(emc_text_addf(out, "\n\n%s\n\nRecipe: ", made_by));
    EMC_TRY(add_plain(out, recipe->source));
    EMC_TRY(emc_text_addf(
        out,
        "\n\nExamples: %lld train, %lld validation, %lld test; of these %lld with the answer "
        "unknown.\n",
        (long long)c->n_examples[0], (long long)c->n_examples[1], (long long)c->n_examples[2],
        (long long)(c->n_kind[1] + c->n_kind[2] + c->n_kind[3])));
    EMC_TRY(emc_text_add_string(out, "\n## Labels (cells)\n\n| label | train | validation | test | "
                                     "|\n|---|---|---|---|---|\n"));
    for (int i = 0; i <= n_labels; i++) {
        const int64_t *cells = s->labels + (size_t)i * EMC_N_PARTS;
        const int64_t total = cells[0] + cells[1] + cells[2];
        if (total == 0)
            continue;
        EMC_TRY(add_row(out, label_name(c->dataset, i), cells,
                        total < FEW_CELLS && s->label_embryos[i] == 1 ? "few cells, one embryo"
                        : total < FEW_CELLS                           ? "few cells"
                        : s->label_embryos[i] == 1                    ? "one embryo"
                                                                      : ""));
    }
    EMC_TRY(add_tally_table(out, "Datasets (cells)", &s->datasets));
    EMC_TRY(add_tally_table(out, "Stages (cells)", &s->stages));
    EMC_TRY(add_tally_table(out, "Embryos (cells)", &s->embryos));
    EMC_TRY(add_input_table(out, c->dataset));
    return add_warnings(out, c, s);
}

emc_status build_card_markdown(emc_text *out, const build_counts *counts)
{
    survey s = {0};
    emc_status status = survey_make(&s, counts->dataset);

    if (status == EMC_OK)
        status = markdown_of(out, counts, &s);
    survey_free(&s);
    return status;
}

emc_status build_dataset_info(emc_text *out, const emc_build_options *options)
{
    bool is_first = true;

    EMC_TRY(emc_text_add_string(out, "{\n"));
    for (int part = 0; part < EMC_N_PARTS; part++)
        for (int form = 0; form < EMC_N_FORMS; form++) {
            const char *name = emc_form_name((emc_form)form);
            const char *part_name = emc_part_name((emc_part_of_split)part);
            if (options->forms != 0 && !(options->forms & 1u << form))
                continue;
            EMC_TRY(emc_text_addf(out, "%s \"%s_%s\": {\"file_name\": \"%s.%s.jsonl\"",
                                  is_first ? "" : ",\n", part_name, name, part_name, name));
            is_first = false;
            if (form == EMC_FORM_MESSAGES)
                EMC_TRY(emc_text_add_string(
                    out, ", \"formatting\": \"sharegpt\", \"columns\": {\"messages\": "
                         "\"messages\"}, \"tags\": {\"role_tag\": \"role\", \"content_tag\": "
                         "\"content\", \"user_tag\": \"user\", \"assistant_tag\": \"assistant\", "
                         "\"system_tag\": \"system\"}"));
            if (form == EMC_FORM_SHAREGPT)
                EMC_TRY(emc_text_add_string(out, ", \"formatting\": \"sharegpt\""));
            EMC_TRY(emc_text_add_string(out, "}"));
        }
    return emc_text_add_string(out, "\n}\n");
}
