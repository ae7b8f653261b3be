/* Which label does a name mean? */
#include <stdlib.h>
#include <string.h>

#include "annotate/labels.h"
#include "emt.h"

typedef struct {
    emc_profile *profile;
    emc_labels *labels;
} fixture;

static int set_up(void **state)
{
    static fixture f;

    EMT_OK(emc_profile_open(&f.profile, "embryo"));
    EMT_OK(emc_labels_from_profile(&f.labels, f.profile));
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;

    emc_labels_close(f->labels);
    emc_profile_close(f->profile);
    return 0;
}

/* Every synonym of the lineage table that belongs to a label of this set, and what it must mean:
 * one label, or "?" for a word that means several. */
static const struct {
    const char *synonym, *label;
} synonyms[] = {
    {"pronuclear", "Zygote"},
    {"1-cell", "Zygote"},
    {"2PN", "Zygote"},
    {"2C", "2-4 cell"},
    {"4C", "2-4 cell"},
    {"blastomere", "?"},
    {"cleavage", "?"},
    {"8C", "8 cell"},
    {"EGA", "8 cell"},
    {"ZGA", "8 cell"},
    {"EGA/ZGA", "8 cell"},
    {"compacted morula", "Morula"},
    {"early blastocyst", "Prelineage"},
    {"E5 undefined", "Prelineage"},
    {"B1", "Prelineage"},
    {"B2", "Prelineage"},
    {"B1/B2", "Prelineage"},
    {"EPI.PrE.INT", "Prelineage"},
    {"inner cell mass", "ICM"},
    {"Epiblast (early)", "Early epiblast"},
    {"EPI", "?"},
    {"E-EPI", "Early epiblast"},
    {"naive epiblast", "Early epiblast"},
    {"Early_EPI", "Early epiblast"},
    {"Epiblast (late)", "Late epiblast"},
    {"L-EPI", "Late epiblast"},
    {"post-implantation EPI", "Late epiblast"},
    {"EmDisc", "Late epiblast"},
    {"primed", "Late epiblast"},
    {"Late_EPI", "Late epiblast"},
    {"trophectoderm", "TE"},
    {"early TE", "TE"},
    {"medium TE", "TE"},
    {"late TE", "TE"},
    {"polar TE", "TE"},
    {"mural TE", "TE"},
    {"cytotrophoblast", "CTB"},
    {"villous CTB", "CTB"},
    {"TB progenitor", "CTB"},
    {"syncytiotrophoblast", "STB"},
    {"SCT", "STB"},
    {"SynT", "STB"},
    {"extravillous trophoblast", "EVT"},
    {"migratory trophoblast", "EVT"},
    {"invasive trophoblast", "EVT"},
    {"migratory/invasive trophoblast", "EVT"},
    {"primitive endoderm", "Hypoblast"},
    {"PE", "Hypoblast"},
    {"PrE", "Hypoblast"},
    {"HYPO", "Hypoblast"},
    {"HB", "Hypoblast"},
    {"Early_Hypoblast", "Hypoblast"},
    {"anterior visceral endoderm", "AVE"},
    {"anterior hypoblast", "AVE"},
    {"YSE", "YS endoderm"},
    {"VE", "YS endoderm"},
    {"VE/YE", "YS endoderm"},
    {"SYS", "YS endoderm"},
    {"secondary yolk sac", "YS endoderm"},
    {"SYS (secondary yolk sac)", "YS endoderm"},
    {"YS.endoderm", "YS endoderm"},
    {"amniotic ectoderm", "Amnion"},
    {"amniotic epithelium", "Amnion"},
    {"Am", "Amnion"},
    {"AME", "Amnion"},
    {"non-neural ectoderm (CS7)", "Amnion"},
    {"Amniontic.epi", "Amnion"},
    {"PriS", "Primitive streak"},
    {"PS", "Primitive streak"},
    {"gastrulating cells", "Primitive streak"},
    {"Primitive.streak", "Primitive streak"},
    {"NasMes", "Nascent mesoderm"},
    {"mesoderm", "?"},
    {"EmMes", "Emergent mesoderm"},
    {"AdvMes", "?"},
    {"lateral plate", "Advanced mesoderm"},
    {"Advanced / lateral mesoderm", "Advanced mesoderm"},
    {"AxMes", "Axial mesoderm"},
    {"node", "Axial mesoderm"},
    {"notochord", "Axial mesoderm"},
    {"ExE_Mes", "ExE mesoderm"},
    {"EXMC", "ExE mesoderm"},
    {"ExM", "ExE mesoderm"},
    {"YS mesoderm", "ExE mesoderm"},
    {"AdvMes in newer labels", "?"},
    {"definitive endoderm", "DE"},
    {"DE(P)", "DE"},
    {"DE(NP)", "DE"},
    {"gut", "DE"},
    {"hemogenic endothelial progenitor", "HEP"},
    {"haemogenic endothelial progenitor", "HEP"},
    {"haemato-endothelial", "HEP"},
    {"endothelium", "HEP"},
    {"haemato-endothelial progenitors", "HEP"},
    {"primitive erythroid", "Erythroblast"},
    {"erythrocyte (CS7)", "Erythroblast"},
    {"Erythroblasts", "Erythroblast"},
    {"primordial germ cell", "PGC"},
    {"hPGC", "PGC"},
    {"hPGC(LC)", "PGC"},
    {"surface ectoderm", "Ectoderm"},
    {"embryonic ectoderm", "Ectoderm"},
    {"surface/embryonic ectoderm", "Ectoderm"},
    {"TB", "?"},
    {"TrB", "?"},
    {"trophoblast", "?"},
    {"Endoderm", "?"},
    {"epiblast", "?"},
};

static void each_synonym_means_one_label_or_is_flagged(void **state)
{
    const fixture *f = *state;

    for (size_t i = 0; i < EMC_COUNT(synonyms); i++) {
        emc_label_match match;
        const char *text = synonyms[i].synonym;
        EMT_OK(emc_labels_match(f->labels, text, strlen(text), &match));
        const char *got = match.kind == EMC_MATCH_AMBIGUOUS ? "?"
                          : match.label < 0                 ? "nothing"
                                            : emc_labels_get(f->labels, match.label)->label;
        if (strcmp(got, synonyms[i].label) != 0)
            fail_msg("%s means %s, wanted %s", text, got, synonyms[i].label);
        assert_true((match.kind == EMC_MATCH_AMBIGUOUS) == (match.label < 0));
    }
}

static void labels_outside_the_set_mean_nothing(void **state)
{
    static const char *const others[] = {
        "Oocyte", "MII",      "megakaryocyte", "myeloid", "Unknown", "unassigned", "doublet",
        "",       " ",        "...",           "cell",    "cells",   "3",          "TE2",
        "T",      "\xFF\xFE", "TE\xFF"};
    const fixture *f = *state;

    for (size_t i = 0; i < EMC_COUNT(others); i++) {
        emc_label_match match;
        EMT_OK(emc_labels_match(f->labels, others[i], strlen(others[i]), &match));
        if (match.kind != EMC_MATCH_NONE || match.label != -1)
            fail_msg("%s means something", others[i]);
    }
}

static const struct {
    const char *text, *label;
    emc_match_kind kind;
    bool is_like;
} names[] = {
    {"TE", "TE", EMC_MATCH_EXACT, false},
    {"te", "TE", EMC_MATCH_NORMAL, false},
    {" TE. ", "TE", EMC_MATCH_NORMAL, false},
    {"\"TE\"", "TE", EMC_MATCH_NORMAL, false},
    {"**TE**", "TE", EMC_MATCH_NORMAL, false},
    {"`TE`", "TE", EMC_MATCH_NORMAL, false},
    {"- TE", "TE", EMC_MATCH_NORMAL, false},
    {"3. TE", "TE", EMC_MATCH_NORMAL, false},
    {"3) TE", "TE", EMC_MATCH_NORMAL, false},
    {"(3) TE", "TE", EMC_MATCH_NORMAL, false},
    {"12.TE", "TE", EMC_MATCH_NORMAL, false},
    {"TE cells", "TE", EMC_MATCH_NORMAL, false},
    {"TE cell", "TE", EMC_MATCH_NORMAL, false},
    {"\xEF\xBC\xB4\xEF\xBC\xA5", "TE", EMC_MATCH_NORMAL, false}, /* full width */
    {"\xE2\x80\x9CTE\xE2\x80\x9D", "TE", EMC_MATCH_NORMAL, false},
    {"T\xC2\xAD"
     "E",
     "TE", EMC_MATCH_NORMAL, false}, /* soft hyphen */
    {"8 cell", "8 cell", EMC_MATCH_EXACT, false},
    {"8-cell", "8 cell", EMC_MATCH_NORMAL, false},
    {"8_cells", "8 cell", EMC_MATCH_NORMAL, false},
    {"8.cell", "8 cell", EMC_MATCH_NORMAL, false},
    {"1. 8 cell", "8 cell", EMC_MATCH_NORMAL, false},
    {"2\xE2\x80\x93"
     "4 cell",
     "2-4 cell", EMC_MATCH_NORMAL, false}, /* en dash */
    {"2-4-cell", "2-4 cell", EMC_MATCH_NORMAL, false},
    {"Primitive  streak", "Primitive streak", EMC_MATCH_NORMAL, false},
    {"primitive_streak\n", "Primitive streak", EMC_MATCH_NORMAL, false},
    {"Erythroblasts", "Erythroblast", EMC_MATCH_NORMAL, false},
    {"Amnion-like", "Amnion", EMC_MATCH_NORMAL, true},
    {"amnion-like cells", "Amnion", EMC_MATCH_NORMAL, true},
    {"trophectoderm-like", "TE", EMC_MATCH_SYNONYM, true},
    {"HLC", "Hypoblast", EMC_MATCH_SYNONYM, true},
    {"AMLC", "Amnion", EMC_MATCH_SYNONYM, true},
    {"hPGCLC", "PGC", EMC_MATCH_SYNONYM, true},
    {"CTB_2", "CTB", EMC_MATCH_SUBCLUSTER, false},
    {"STB 3", "STB", EMC_MATCH_SUBCLUSTER, false},
    {"Hypoblast_1", "Hypoblast", EMC_MATCH_SUBCLUSTER, false},
    {"Epiblast_1", NULL, EMC_MATCH_AMBIGUOUS, false},
    {"ELC", NULL, EMC_MATCH_AMBIGUOUS, false},
    {"B2", "Prelineage", EMC_MATCH_SYNONYM, false}, /* no sub-cluster of B */
};

static void spellings_are_folded(void **state)
{
    const fixture *f = *state;

    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        emc_label_match match;
        EMT_OK(emc_labels_match(f->labels, names[i].text, strlen(names[i].text), &match));
        const char *got = match.label < 0 ? NULL : emc_labels_get(f->labels, match.label)->label;
        if (match.kind != names[i].kind || !got != !names[i].label ||
            (got && strcmp(got, names[i].label) != 0) || match.is_like != names[i].is_like)
            fail_msg("%s: %s, kind %d, like %d", names[i].text, got ? got : "-", match.kind,
                     match.is_like);
    }
}

static const struct {
    const char *text, *normal;
} normals[] = {
    {"T cells", "t"},
    {"CD8+ T cells", "cd8+ t"},
    {"CD16- monocytes", "cd16- monocyte"},
    {"CD16 monocytes", "cd16 monocyte"},
    {"CD4-positive, alpha-beta T cell", "cd4 positive alpha beta t"},
    {"Haematopoietic stem cells", "hematopoietic stem"},
    {"classes", "classe"},
    {"mass", "mass"},
    {"thymus", "thymus"},
    {"ciliated bodies", "ciliated body"},
    {"\xC3\x89piblaste", "\xC3\xA9piblaste"},
    {"\xCE\xB1 cell", "\xCE\xB1"},
    {"\xC2\xB2", "2"},
    {"\xEF\xAC\x81"
     "broblast",
     "fibroblast"},
    {"1.5 cell", "1 5 cell"},
    {"Foetal Tumour", "fetal tumor"},
    {"like", "like"},
    {"", ""},
    {"\xD0\x9A\xD0\x9B\xD0\x95\xD0\xA2\xD0\x9A\xD0\x90",
     "\xD0\xBA\xD0\xBB\xD0\xB5\xD1\x82\xD0\xBA\xD0\xB0"},
    {"\xC4\x8C\xC5\xBD", "\xC4\x8D\xC5\xBE"},
};

static void the_normal_form_is_as_stated(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(normals); i++) {
        emc_text out = {0};
        EMT_OK(emc_text_add_string(&out, "kept "));
        EMT_OK(emc_label_normalise(&out, normals[i].text, strlen(normals[i].text), NULL));
        if (strcmp(out.bytes + 5, normals[i].normal) != 0)
            fail_msg("%s became %s, wanted %s", normals[i].text, out.bytes + 5, normals[i].normal);
        assert_int_equal(out.n, 5 + strlen(normals[i].normal));
        emc_text_free(&out);
    }
}

static const struct {
    const char *text, *label; /* NULL: none */
    emc_match_kind kind;
} answers[] = {
    {"<think>\n\n</think>\n\nTE", "TE", EMC_MATCH_EXACT},
    {"<think>It is EVT? No, <b>CTB</b>.</think>STB", "STB", EMC_MATCH_EXACT},
    {"<think>all of it, TE", NULL, EMC_MATCH_NONE},
    {"</think>TE", "TE", EMC_MATCH_EXACT},
    {"Final Answer: hypoblast", "Hypoblast", EMC_MATCH_NORMAL},
    {"Reasoning: TE or CTB.\nAnswer: **EVT**\nThanks", "EVT", EMC_MATCH_NORMAL},
    {"<answer>AVE</answer>", "AVE", EMC_MATCH_EXACT},
    {"Amnion\nBecause of ISL1 and not of TE genes.", "Amnion", EMC_MATCH_EXACT},
    {"This is a cytotrophoblast cell.", "CTB", EMC_MATCH_EXTRACTED},
    {"The cell is a TE cell.", "TE", EMC_MATCH_EXTRACTED},
    {"it is te, you see", NULL, EMC_MATCH_NONE}, /* small letters: any word */
    {"I am not sure", NULL, EMC_MATCH_NONE},
    {"8-cell stage embryo", "8 cell", EMC_MATCH_EXTRACTED},
    {"{\"cell_type\": \"Primitive streak\"}", "Primitive streak", EMC_MATCH_EXACT},
    {"I think so.\n```json\n{\"label\" : \"STB\", \"why\": \"CGB3, not CTB\"}\n```", "STB",
     EMC_MATCH_EXACT},
    {"It expresses CDX2, so \\boxed{TE}.", "TE", EMC_MATCH_EXACT},
    {"the extravillous trophoblast lineage", "EVT", EMC_MATCH_EXTRACTED},
    {"trophoblast, most likely CTB", "CTB", EMC_MATCH_EXTRACTED},
    {"either TE or CTB", NULL, EMC_MATCH_AMBIGUOUS},
    {"some kind of trophoblast", NULL, EMC_MATCH_AMBIGUOUS},
    {"a trophoblast, or amnion", NULL, EMC_MATCH_AMBIGUOUS},
    {"EPI", NULL, EMC_MATCH_AMBIGUOUS},
    {"neuron", NULL, EMC_MATCH_NONE},
    {"", NULL, EMC_MATCH_NONE},
};

static void answers_are_read_step_by_step(void **state)
{
    const fixture *f = *state;

    for (size_t i = 0; i < EMC_COUNT(answers); i++) {
        emc_label_match match;
        EMT_OK(
            emc_labels_parse_answer(f->labels, answers[i].text, strlen(answers[i].text), &match));
        const char *got = match.label < 0 ? NULL : emc_labels_get(f->labels, match.label)->label;
        if (match.kind != answers[i].kind || !got != !answers[i].label ||
            (got && strcmp(got, answers[i].label) != 0))
            fail_msg("%s: %s, kind %d", answers[i].text, got ? got : "-", match.kind);
    }
}

static void ancestors_climb_to_the_top(void **state)
{
    static const struct {
        int label;
        const char *path;
    } paths[] = {
        {0, "Cleavage"},
        {12, "CTB TE Prelineage"},
        {6, "Epiblast ICM Prelineage"},
        {16, "Mesoderm Primitive streak Epiblast ICM Prelineage"},
        {20, "Extra-embryonic mesoderm"},
        {23, "Blood"},
        {4, ""},
    };
    const fixture *f = *state;

    for (size_t i = 0; i < EMC_COUNT(paths); i++) {
        const char *names_up[8];
        char path[200] = "";
        const int n = emc_labels_ancestors(f->labels, paths[i].label, names_up, 8);
        for (int k = 0; k < n; k++) {
            strcat(path, k ? " " : "");
            strcat(path, names_up[k]);
        }
        assert_string_equal(path, paths[i].path);
        assert_int_equal(emc_labels_ancestors(f->labels, paths[i].label, NULL, 0), n);
    }
}

static void a_list_is_read(void **state)
{
    static const char text[] = "\xEF\xBB\xBF# cells\n\nT cell\tCL:0000084\r\n  B cell \n"
                               "CD16+ monocyte\t\nCD16- monocyte\n";
    emc_labels *labels;

    (void)state;
    EMT_OK(emc_labels_read(&labels, emt_write("labels.tsv", text, sizeof(text) - 1)));
    assert_int_equal(emc_labels_count(labels), 4);
    assert_string_equal(emc_labels_get(labels, 0)->label, "T cell");
    assert_string_equal(emc_labels_get(labels, 0)->cl, "CL:0000084");
    assert_string_equal(emc_labels_get(labels, 1)->label, "B cell");
    assert_null(emc_labels_get(labels, 1)->cl);
    assert_null(emc_labels_get(labels, 2)->cl);
    assert_string_equal(emc_labels_get(labels, 3)->label, "CD16- monocyte");
    emc_labels_close(labels);
    emc_labels_close(NULL);
}

static const struct {
    const char *text;
    size_t n;
    emc_status status;
    const char *message;
} bad_lists[] = {
    {"A\nB\nA\n", 6, EMC_ERR_CONFIG, "\"A\" comes twice"},
    {"T cell\nB\nt-cells\n", 17, EMC_ERR_CONFIG, "\"t-cells\""},
    {"A\n", 2, EMC_ERR_CONFIG, "1 label, wanted at least two"},
    {"", 0, EMC_ERR_CONFIG, "0 labels"},
    {"A\n \tCL:0000001\n", 15, EMC_ERR_FORMAT, "line 2: an empty label"},
    {"A\nB\tCL:1\n", 9, EMC_ERR_FORMAT, "line 2: \"CL:1\""},
    {"A\nB\tCL:0000001\tx\n", 17, EMC_ERR_FORMAT, "line 2: more than two columns"},
    {"A\nB\xFF\n", 5, EMC_ERR_FORMAT, "line 2: not UTF-8"},
    {"A\nB\x01\n", 5, EMC_ERR_FORMAT, "line 2: a control character"},
    {"A\0B\n", 4, EMC_ERR_FORMAT, "NUL"},
    {"A\n...\n", 6, EMC_ERR_CONFIG, "holds no letter"},
};

static void broken_lists_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(bad_lists); i++) {
        emc_labels *labels = (emc_labels *)state;
        const char *path = emt_write("bad.txt", bad_lists[i].text, bad_lists[i].n);
        EMT_FAILS(bad_lists[i].status, bad_lists[i].message, emc_labels_read(&labels, path));
        assert_non_null(strstr(emc_message(), path));
        assert_null(labels);
    }
    emc_labels *labels;
    EMT_FAILS(EMC_ERR_NOT_FOUND, "/none", emc_labels_read(&labels, "/none"));
}

/* Random words, marks and bytes: whatever comes out, an answer's label is one of the set. */
static void random_answers_do_no_harm(void **state)
{
    static const char *const pieces[] = {
        "TE",   " cell",       "s",    "<think>",  "</think>",   "\n",       "Answer:", "8",
        "-",    "_",           "EPI",  "\xC3",     "\xA9",       "\xEF\xBC", "haem",    "1. ",
        "like", "\"",          "**",   "<answer>", ".",          "mass",     "ies",     "CTB_2",
        "(3)",  "trophoblast", "\x01", ",",        "cell type:", "a"};
    const fixture *f = *state;
    uint64_t random = 8;

    for (int i = 0; i < 20000; i++) {
        emc_text text = {0}, normal = {0};
        emc_label_match match;
        for (int k = (int)(emt_random(&random) % 12); k >= 0; k--)
            EMT_OK(emc_text_add_string(&text, pieces[emt_random(&random) % EMC_COUNT(pieces)]));
        /* A copy of its own size, so that a read beyond the end is caught. */
        char *exact = malloc(text.n);
        memcpy(exact, text.bytes, text.n);
        EMT_OK(emc_labels_parse_answer(f->labels, exact, text.n, &match));
        assert_in_range(match.label + 1, 0, emc_labels_count(f->labels));
        assert_true((match.kind == EMC_MATCH_NONE || match.kind == EMC_MATCH_AMBIGUOUS) ==
                    (match.label < 0));
        EMT_OK(emc_label_normalise(&normal, exact, text.n, NULL));
        free(exact);
        emc_text_free(&text);
        emc_text_free(&normal);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_synonym_means_one_label_or_is_flagged),
        cmocka_unit_test(labels_outside_the_set_mean_nothing),
        cmocka_unit_test(spellings_are_folded),
        cmocka_unit_test(the_normal_form_is_as_stated),
        cmocka_unit_test(answers_are_read_step_by_step),
        cmocka_unit_test(ancestors_climb_to_the_top),
        cmocka_unit_test(a_list_is_read),
        cmocka_unit_test(broken_lists_are_refused),
        cmocka_unit_test(random_answers_do_no_harm),
    };

    return cmocka_run_group_tests_name("labels", tests, set_up, tear_down);
}
