/* From labelled cells to instruction data: one pass over the files, every form at once. */

#include "annotate/dataset/build.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "annotate/dataset/build_parts.h"
#include "annotate/prompt.h"
#include "base/file.h"
#include "base/random.h"
#include "base/size.h"

#define N_FILES (EMC_N_FORMS + 1) /* a part's forms and what is known of each line */

typedef struct {
    const emc_build_options *options;
    emc_recipe *recipe;
    const emc_recipe_info *info;
    const emc_profile_info *profile;
    emc_dataset *dataset;
    emc_tokenizer *tokenizer;
    emc_prompter *prompter;
    int n_labels, n_wordings, most_genes;
    bool *lists_labels; /* [n_wordings] */
    bool made_folder;
    unsigned char *keep;
    emc_out_file *files[EMC_N_PARTS][N_FILES];
    build_counts counts;

    /* The example at hand. */
    example drawn;
    example last; /* whose variant the prompter has */
    bool has_last;
    char *last_stage;
    const char **genes; /* [most_genes] */
    int n_genes;
    emc_text contents[64]; /* of the messages */
    emc_text answer, line;
    emc_rendered rendered;

    /* A cell of another label of each part, for mixtures. */
    struct {
        char **genes;
        int n, label;
    } other[EMC_N_PARTS];
} building;

const char *emc_form_name(emc_form form)
{
    static const char *const names[EMC_N_FORMS] = {"messages", "alpaca", "sharegpt"};

    return (unsigned)form < EMC_N_FORMS ? names[form] : "";
}

void emc_build_summary_close(emc_build_summary *summary)
{
    free(summary->output_dir);
    *summary = (emc_build_summary){0};
}

static bool has_form(const building *b, int form)
{
    return b->options->forms == 0 || (b->options->forms & 1u << form);
}

/* --- the folder --- */

static emc_status make_folder(bool *made, const emc_build_options *o)
{
    *made = mkdir(o->output_dir, 0777) == 0;
    if (*made)
        return EMC_OK;
    if (errno != EEXIST)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", o->output_dir, strerror(errno));
    DIR *dir = opendir(o->output_dir);
    if (!dir)
        return emc_fail(EMC_ERR_CREATE, "%s: %s", o->output_dir, strerror(errno));
    bool is_empty = true;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            is_empty = false;
    closedir(dir);
    if (!is_empty && !o->force)
        return emc_fail(EMC_ERR_CREATE, "%s: is not empty; --force replaces what a build writes",
                        o->output_dir);
    return EMC_OK;
}

static emc_status open_file(emc_out_file **out, const building *b, const char *name)
{
    char *path;

    EMC_TRY(emc_path_join(&path, b->options->output_dir, name));
    const emc_status status = emc_out_file_open(out, path);
    free(path);
    return status;
}

static emc_status open_files(building *b)
{
    char name[64];

    for (int part = 0; part < EMC_N_PARTS; part++)
        for (int form = 0; form < N_FILES; form++) {
            if (form < EMC_N_FORMS && !has_form(b, form))
                continue;
            snprintf(name, sizeof name, "%s.%s.jsonl", emc_part_name((emc_part_of_split)part),
                     form < EMC_N_FORMS ? emc_form_name((emc_form)form) : "meta");
            EMC_TRY(open_file(&b->files[part][form], b, name));
        }
    return EMC_OK;
}

static emc_status write_text(const building *b, const char *name, const emc_text *text)
{
    emc_out_file *file = NULL;
    emc_status status = open_file(&file, b, name);

    if (status == EMC_OK)
        status = emc_out_file_write(file, text->bytes, text->n);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    return status;
}

/* --- one example's text --- */

static bool same_variant(const example *a, const example *b)
{
    return a->wording == b->wording && a->n_candidates == b->n_candidates &&
           memcmp(a->candidates, b->candidates, (size_t)a->n_candidates * sizeof *a->candidates) ==
               0;
}

static emc_status set_variant(building *b, const emc_dataset_cell *cell)
{
    const example *e = &b->drawn;
    const char *stage = NULL;

    if (b->info->examples.stage)
        stage = cell->stage ? cell->stage : "unknown";
    if (b->has_last && same_variant(e, &b->last) &&
        (!stage || (b->last_stage && strcmp(stage, b->last_stage) == 0)))
        return EMC_OK;
    EMC_TRY(emc_prompter_set_variant(
        b->prompter, &(emc_prompt_variant){.wording = e->wording,
                                           .candidates = e->n_candidates > 0 ? e->candidates : NULL,
                                           .n_candidates = e->n_candidates,
                                           .stage = stage}));
    free(b->last_stage);
    b->last_stage = NULL;
    if (stage)
        EMC_TRY(emc_copy_string(&b->last_stage, stage));
    b->last = *e;
    b->has_last = true;
    return EMC_OK;
}

/* Turn by turn with the other cell, each gene once. */
static void mix_genes(building *b, const emc_dataset_genes *cell, char *const *other, int n_other)
{
    int n = 0, most = b->drawn.n_genes;

    for (int i = 0; n < most && (i < cell->n_genes || i < n_other); i++)
        for (int turn = 0; turn < 2 && n < most; turn++) {
            const char *gene = turn == 0 ? (i < cell->n_genes ? cell->genes[i] : NULL)
                                         : (i < n_other ? other[i] : NULL);
            bool known = !gene;
            for (int k = 0; k < n && !known; k++)
                known = strcmp(b->genes[k], gene) == 0;
            if (!known)
                b->genes[n++] = gene;
        }
    b->n_genes = n;
}

static void choose_genes(building *b, const emc_dataset_genes *cell)
{
    const int part = (int)cell->cell->part;

    if (b->drawn.kind == EXAMPLE_MIXED) {
        mix_genes(b, cell, b->other[part].genes, b->other[part].n);
        return;
    }
    b->n_genes = cell->n_genes < b->drawn.n_genes ? cell->n_genes : b->drawn.n_genes;
    for (int i = 0; i < b->n_genes; i++)
        b->genes[i] = cell->genes[i];
}

/* The label as the answer has it, without the think block: the chat template of the trainer adds
 * it. */
static emc_status make_answer(building *b, int label)
{
    const char *name =
        label >= 0 ? emc_labels_get(emc_dataset_labels(b->dataset), label)->label : "unknown";

    emc_text_clear(&b->answer);
    EMC_TRY(emc_text_add_string(&b->answer, b->profile->answer_prefix));
    EMC_TRY(emc_text_add_string(&b->answer, name));
    return emc_text_add_string(&b->answer, b->profile->answer_suffix);
}

static emc_status make_contents(building *b)
{
    const int n = emc_prompter_n_messages(b->prompter);

    for (int i = 0; i < n; i++) {
        emc_text_clear(&b->contents[i]);
        EMC_TRY(emc_text_add(&b->contents[i], "", 0));
        EMC_TRY(emc_prompter_message(b->prompter, i, b->genes, b->n_genes, &b->contents[i]));
    }
    return EMC_OK;
}

/* --- the three forms --- */

static emc_status add_member(emc_text *out, const char *key, const emc_text *value)
{
    EMC_TRY(emc_text_addf(out, "\"%s\": ", key));
    return emc_text_add_json(out, value->bytes ? value->bytes : "", value->n);
}

static emc_status add_turns(building *b, const char *list, const char *role_key,
                            const char *content_key, const char *const roles[3], int first)
{
    const int n = emc_prompter_n_messages(b->prompter);

    EMC_TRY(emc_text_addf(&b->line, "\"%s\": [", list));
    for (int i = first; i <= n; i++) {
        const char *role = i < n ? emc_prompter_role(b->prompter, i) : "assistant";
        const char *name = strcmp(role, "system") == 0 ? roles[0]
                           : strcmp(role, "user") == 0 ? roles[1]
                                                       : roles[2];
        EMC_TRY(
            emc_text_addf(&b->line, "%s{\"%s\": \"%s\", ", i > first ? ", " : "", role_key, name));
        EMC_TRY(add_member(&b->line, content_key, i < n ? &b->contents[i] : &b->answer));
        EMC_TRY(emc_text_add_string(&b->line, "}"));
    }
    return emc_text_add_string(&b->line, "]");
}

/* The last question is the instruction; earlier turns are the history. */
static emc_status add_alpaca(building *b)
{
    const int n = emc_prompter_n_messages(b->prompter);
    const bool has_system = strcmp(emc_prompter_role(b->prompter, 0), "system") == 0;

    EMC_TRY(add_member(&b->line, "instruction", &b->contents[n - 1]));
    EMC_TRY(emc_text_add_string(&b->line, ", \"input\": \"\", "));
    EMC_TRY(add_member(&b->line, "output", &b->answer));
    if (has_system) {
        EMC_TRY(emc_text_add_string(&b->line, ", "));
        EMC_TRY(add_member(&b->line, "system", &b->contents[0]));
    }
    if (n - has_system < 3)
        return EMC_OK;
    EMC_TRY(emc_text_add_string(&b->line, ", \"history\": ["));
    for (int i = has_system; i + 2 < n; i += 2) {
        EMC_TRY(emc_text_add_string(&b->line, i > has_system ? ", [" : "["));
        EMC_TRY(emc_text_add_json(&b->line, b->contents[i].bytes, b->contents[i].n));
        EMC_TRY(emc_text_add_string(&b->line, ", "));
        EMC_TRY(emc_text_add_json(&b->line, b->contents[i + 1].bytes, b->contents[i + 1].n));
        EMC_TRY(emc_text_add_string(&b->line, "]"));
    }
    return emc_text_add_string(&b->line, "]");
}

static emc_status add_sharegpt(building *b)
{
    static const char *const roles[3] = {"system", "human", "gpt"};
    const bool has_system = strcmp(emc_prompter_role(b->prompter, 0), "system") == 0;

    if (has_system) {
        EMC_TRY(add_member(&b->line, "system", &b->contents[0]));
        EMC_TRY(emc_text_add_string(&b->line, ", "));
    }
    return add_turns(b, "conversations", "from", "value", roles, has_system);
}

static emc_status add_form(building *b, emc_form form)
{
    static const char *const roles[3] = {"system", "user", "assistant"};

    switch (form) {
    case EMC_FORM_ALPACA:
        return add_alpaca(b);
    case EMC_FORM_SHAREGPT:
        return add_sharegpt(b);
    default:
        return add_turns(b, "messages", "role", "content", roles, 0);
    }
}

static emc_status add_string(emc_text *out, const char *key, const char *value)
{
    EMC_TRY(emc_text_addf(out, ", \"%s\": ", key));
    return value ? emc_text_add_json(out, value, strlen(value)) : emc_text_add_string(out, "null");
}

/* n / (n_labels * n of the label), over the train part. */
static double weight_of(const building *b, int label)
{
    int64_t n = 0, n_label = 0, n_labels = 0;

    for (int i = 0; i <= b->n_labels; i++) {
        const int64_t count = b->counts.n_label[i * EMC_N_PARTS + EMC_PART_TRAIN];
        n += count;
        n_labels += count > 0;
    }
    n_label = b->counts.n_label[(label < 0 ? b->n_labels : label) * EMC_N_PARTS + EMC_PART_TRAIN];
    return n_label > 0 ? (double)n / ((double)n_labels * (double)n_label) : 0;
}

/* What is known of each line, in a file beside it. */
static emc_status add_meta(building *b, const emc_dataset_cell *cell, int label, double weight)
{
    const example *e = &b->drawn;

    EMC_TRY(emc_text_add_string(&b->line, "\"id\": "));
    EMC_TRY(emc_text_add_json(&b->line, cell->cell_id, strlen(cell->cell_id)));
    EMC_TRY(add_string(&b->line, "dataset", cell->dataset));
    EMC_TRY(add_string(&b->line, "embryo", cell->embryo));
    EMC_TRY(add_string(&b->line, "stage", cell->stage));
    EMC_TRY(add_string(&b->line, "source_label", cell->source_label));
    EMC_TRY(add_string(&b->line, "label",
                       label >= 0 ? emc_labels_get(emc_dataset_labels(b->dataset), label)->label
                                  : "unknown"));
    EMC_TRY(add_string(&b->line, "kind", example_kind_name(e->kind)));
    EMC_TRY(emc_text_addf(&b->line, ", \"n_genes\": %d, \"wording\": %d, \"n_candidates\": %d",
                          b->n_genes, e->wording, e->n_candidates));
    return weight > 0 ? emc_text_addf(&b->line, ", \"weight\": %.9g", weight) : EMC_OK;
}

static emc_status write_line(building *b, int part, int file)
{
    EMC_TRY(emc_text_add_string(&b->line, "}\n"));
    return emc_out_file_write(b->files[part][file], b->line.bytes, b->line.n);
}

static emc_status count_tokens(building *b)
{
    if (!b->tokenizer)
        return EMC_OK;
    EMC_TRY(emc_prompter_render_names(b->prompter, b->genes, b->n_genes, &b->rendered));
    size_t n = b->rendered.ids.n;
    emc_ids_clear(&b->rendered.ids);
    EMC_TRY(emc_tokenizer_encode(b->tokenizer, b->answer.bytes, b->answer.n, 0, &b->rendered.ids));
    n += b->rendered.ids.n + 1; /* the ending */
    const size_t bin = n / TOKEN_BIN;
    b->counts.tokens[bin < TOKEN_BINS ? bin : TOKEN_BINS - 1]++;
    b->counts.n_tokens += (int64_t)n;
    if ((int64_t)n > b->counts.most_tokens)
        b->counts.most_tokens = (int64_t)n;
    return EMC_OK;
}

static emc_status write_example(building *b, const emc_dataset_genes *cell, int label)
{
    const int part = (int)cell->cell->part;

    choose_genes(b, cell);
    EMC_TRY(set_variant(b, cell->cell));
    EMC_TRY(make_contents(b));
    EMC_TRY(make_answer(b, label));
    for (int form = 0; form < N_FILES; form++) {
        if (!b->files[part][form])
            continue;
        emc_text_clear(&b->line);
        EMC_TRY(emc_text_add_string(&b->line, "{"));
        if (form < EMC_N_FORMS)
            EMC_TRY(add_form(b, (emc_form)form));
        else
            EMC_TRY(add_meta(
                b, cell->cell, label,
                b->info->examples.weights && part == EMC_PART_TRAIN ? weight_of(b, label) : 0));
        EMC_TRY(write_line(b, part, form));
    }
    b->counts.n_examples[part]++;
    b->counts.n_kind[b->drawn.kind]++;
    return count_tokens(b);
}

/* --- all cells --- */

static void draw(building *b, const emc_dataset_cell *cell, int number, bool is_negative)
{
    example_draw(&b->drawn, b->info, cell, number, is_negative, b->n_labels, b->lists_labels,
                 b->n_wordings, b->profile->n_genes);
}

static int per_cell(const building *b)
{
    return b->info->examples.per_cell > 0 ? b->info->examples.per_cell : 1;
}

/* How many examples each label will have is known before the files are read again: weights need
 * it. A mixture without another label's cell before it becomes one of few genes. */
static void count_examples(building *b)
{
    for (int64_t i = 0; i < emc_dataset_count(b->dataset); i++) {
        const emc_dataset_cell *cell = emc_dataset_get(b->dataset, i);
        const int label = cell->label < 0 ? b->n_labels : cell->label;
        if (!b->keep[i])
            continue;
        b->counts.n_label[label * EMC_N_PARTS + (int)cell->part] += per_cell(b);
        if (example_has_negative(b->info, cell))
            b->counts.n_label[b->n_labels * EMC_N_PARTS + (int)cell->part]++;
    }
}

static void forget_other(building *b, int part)
{
    for (int i = 0; i < b->other[part].n; i++)
        free(b->other[part].genes[i]);
    free(b->other[part].genes);
    b->other[part].genes = NULL;
    b->other[part].n = 0;
}

static emc_status remember_other(building *b, const emc_dataset_genes *cell)
{
    const int part = (int)cell->cell->part;

    if (b->info->examples.unknown_share <= 0 || cell->cell->label < 0 ||
        (b->other[part].genes && b->other[part].label == cell->cell->label))
        return EMC_OK;
    forget_other(b, part);
    EMC_TRY(emc_alloc(&b->other[part].genes, (size_t)cell->n_genes + 1,
                      sizeof *b->other[part].genes, "a cell"));
    for (int i = 0; i < cell->n_genes; i++, b->other[part].n++)
        EMC_TRY(emc_copy_string(&b->other[part].genes[i], cell->genes[i]));
    b->other[part].label = cell->cell->label;
    return EMC_OK;
}

static emc_status on_cell(void *context, const emc_dataset_genes *cell)
{
    building *b = context;

    if (!b->keep[cell->cell->index])
        return EMC_OK;
    for (int i = 0; i < per_cell(b); i++) {
        draw(b, cell->cell, i, false);
        EMC_TRY(write_example(b, cell, cell->cell->label < 0 ? -1 : cell->cell->label));
    }
    if (example_has_negative(b->info, cell->cell)) {
        const int part = (int)cell->cell->part;
        draw(b, cell->cell, 0, true);
        if (b->drawn.kind == EXAMPLE_MIXED &&
            (!b->other[part].genes || b->other[part].label == cell->cell->label)) {
            b->drawn.kind = EXAMPLE_FEW;
            b->drawn.n_genes = 5;
        }
        EMC_TRY(write_example(b, cell, -1));
    }
    return remember_other(b, cell);
}

static emc_status look_at_wordings(building *b)
{
    b->n_wordings = b->profile->n_paraphrases + 1;
    EMC_TRY(
        emc_alloc(&b->lists_labels, (size_t)b->n_wordings, sizeof *b->lists_labels, "wordings"));
    for (int w = 0; w < b->n_wordings; w++) {
        const emc_profile_message *messages =
            w == 0 ? b->profile->messages : b->profile->paraphrases[w - 1].messages;
        const int n = w == 0 ? b->profile->n_messages : b->profile->paraphrases[w - 1].n_messages;
        for (int i = 0; i < n; i++)
            b->lists_labels[w] |= strstr(messages[i].content, "{labels}") != NULL;
    }
    return EMC_OK;
}

static emc_status open_all(building *b)
{
    const emc_build_options *o = b->options;
    emc_dataset_options options = o->dataset;

    EMC_TRY(emc_recipe_open(&b->recipe, o->recipe, o->input_dir));
    b->info = emc_recipe_get(b->recipe);
    if (o->tokenizer_dir)
        EMC_TRY(emc_tokenizer_open(&b->tokenizer, o->tokenizer_dir));
    EMC_TRY(make_folder(&b->made_folder, o));
    EMC_TRY(emc_dataset_open(&b->dataset, b->recipe, &options));
    b->profile = emc_profile_get(emc_dataset_profile(b->dataset));
    b->n_labels = emc_labels_count(emc_dataset_labels(b->dataset));
    b->most_genes = b->profile->n_genes;
    for (int i = 0; i < b->info->examples.n_n_genes; i++)
        if (b->info->examples.n_genes[i] > b->most_genes)
            b->most_genes = b->info->examples.n_genes[i];
    b->most_genes = b->most_genes > 10 ? b->most_genes : 10;
    EMC_TRY(emc_alloc(&b->genes, (size_t)b->most_genes + 1, sizeof *b->genes, "genes"));
    EMC_TRY(look_at_wordings(b));
    EMC_TRY(emc_prompter_open(
        &b->prompter, &(emc_prompter_options){.profile = emc_dataset_profile(b->dataset),
                                              .labels = emc_dataset_labels(b->dataset),
                                              .tokenizer = b->tokenizer,
                                              .n_genes = b->most_genes,
                                              .stage = b->info->examples.stage ? "" : NULL}));
    const size_t n = (size_t)emc_dataset_count(b->dataset);
    EMC_TRY(emc_alloc(&b->keep, n + 1, 1, "cells"));
    EMC_TRY(emc_alloc(&b->counts.n_label, ((size_t)b->n_labels + 1) * EMC_N_PARTS,
                      sizeof *b->counts.n_label, "labels"));
    b->counts.dataset = b->dataset;
    b->counts.options = o;
    EMC_TRY(example_choose(b->keep, b->dataset));
    count_examples(b);
    return open_files(b);
}

static emc_status write_cards(building *b)
{
    emc_text text = {0};
    emc_status status = build_card_json(&text, &b->counts);

    if (status == EMC_OK)
        status = write_text(b, "card.json", &text);
    emc_text_clear(&text);
    if (status == EMC_OK)
        status = build_card_markdown(&text, &b->counts);
    if (status == EMC_OK)
        status = write_text(b, "card.md", &text);
    emc_text_clear(&text);
    if (status == EMC_OK)
        status = build_dataset_info(&text, b->options);
    if (status == EMC_OK)
        status = write_text(b, "dataset_info.json", &text);
    emc_text_free(&text);
    return status;
}

static emc_status commit_files(building *b)
{
    for (int part = 0; part < EMC_N_PARTS; part++)
        for (int form = 0; form < N_FILES; form++)
            if (b->files[part][form])
                EMC_TRY(emc_out_file_commit(b->files[part][form]));
    return EMC_OK;
}

static void close_all(building *b)
{
    for (int part = 0; part < EMC_N_PARTS; part++) {
        for (int form = 0; form < N_FILES; form++)
            emc_out_file_close(b->files[part][form]);
        forget_other(b, part);
    }
    for (size_t i = 0; i < EMC_COUNT(b->contents); i++)
        emc_text_free(&b->contents[i]);
    emc_text_free(&b->answer);
    emc_text_free(&b->line);
    emc_rendered_free(&b->rendered);
    emc_prompter_close(b->prompter);
    emc_tokenizer_close(b->tokenizer);
    emc_dataset_close(b->dataset);
    emc_recipe_close(b->recipe);
    free(b->counts.n_label);
    free(b->lists_labels);
    free(b->keep);
    free(b->genes);
    free(b->last_stage);
}

emc_status emc_dataset_build(emc_build_summary *out, const emc_build_options *options)
{
    building *b;

    *out = (emc_build_summary){0};
    EMC_TRY(emc_alloc(&b, 1, sizeof *b, "a build"));
    b->options = options;
    emc_status status = open_all(b);
    if (status == EMC_OK)
        status = emc_dataset_each(b->dataset, on_cell, b);
    if (status == EMC_OK)
        status = commit_files(b);
    if (status == EMC_OK)
        status = write_cards(b);
    if (status == EMC_OK)
        status = emc_copy_string(&out->output_dir, options->output_dir);
    if (status == EMC_OK) {
        out->n_cells = emc_dataset_count(b->dataset);
        for (int part = 0; part < EMC_N_PARTS; part++)
            out->n_examples[part] = b->counts.n_examples[part];
        for (int kind = EXAMPLE_UNKNOWN; kind <= EXAMPLE_FEW; kind++)
            out->n_unknown += b->counts.n_kind[kind];
    }
    const bool made = b->made_folder;
    close_all(b);
    if (status != EMC_OK && made)
        rmdir(options->output_dir); /* it is empty: nothing was committed */
    free(b);
    return status;
}
