#include "annotate/labels.h"

#include <stdlib.h>
#include <string.h>

#include "annotate/label_text.h"
#include "base/file.h"
#include "base/size.h"
#include "base/str_map.h"

#define FILE_LIMIT ((size_t)16 << 20)
#define MAX_LABELS 100000

/* What a normal form stands for. A map's value is index * N_KINDS + kind. */
enum { KIND_LABEL, KIND_SYNONYM, KIND_LIKE, KIND_AMBIGUOUS, N_KINDS };

struct emc_labels {
    const emc_profile_label *labels;
    int n;
    const emc_profile_group *groups;
    int n_groups;
    const emc_profile_ambiguous *ambiguous;
    int n_ambiguous;
    emc_str_map *exact; /* label to its index */
    emc_str_map *groups_by_name;
    emc_str_map *normal;    /* normal form to its meaning */
    int max_words;          /* of a normal form */
    emc_profile_label *own; /* of a file */
    char *text;             /* that the own labels point into */
};

int emc_labels_count(const emc_labels *labels)
{
    return labels->n;
}

const emc_profile_label *emc_labels_get(const emc_labels *labels, int index)
{
    return &labels->labels[index];
}

static const char *name_of(const emc_labels *l, int32_t value)
{
    if (value % N_KINDS == KIND_AMBIGUOUS)
        return l->ambiguous[value / N_KINDS].term;
    return l->labels[value / N_KINDS].label;
}

static int count_words(const char *s, size_t n)
{
    int words = n > 0;

    for (size_t i = 0; i < n; i++)
        words += s[i] == ' ';
    return words;
}

/* One name and its meaning; another meaning of the same normal form is refused. */
static emc_status add_name(emc_labels *l, const char *name, int index, int kind)
{
    emc_text normal = {0};
    const int32_t value = index * N_KINDS + kind;
    int32_t known;
    bool existed = false, like;
    emc_status status = emc_label_normalise(&normal, name, strlen(name), &like);

    if (status != EMC_OK)
        goto done;
    if (normal.n == 0) {
        status = emc_fail(EMC_ERR_CONFIG, "label \"%s\": holds no letter or digit", name);
        goto done;
    }
    const int words = count_words(normal.bytes, normal.n);
    if (words > l->max_words)
        l->max_words = words;
    status = emc_str_map_put(l->normal, normal.bytes, normal.n, value, &existed);
    if (status != EMC_OK || !existed)
        goto done;
    known = emc_str_map_get(l->normal, normal.bytes, normal.n, -1);
    /* A synonym may repeat its own label, or another synonym of it, in other spelling. */
    if (kind == KIND_LABEL || kind == KIND_AMBIGUOUS || known / N_KINDS != index)
        status = emc_fail(EMC_ERR_CONFIG, "\"%s\" of \"%s\" means the same as one of \"%s\": %s",
                          name, name_of(l, value), name_of(l, known), normal.bytes);
done:
    emc_text_free(&normal);
    return status;
}

static emc_status add_names(emc_labels *l)
{
    bool existed;

    EMC_TRY(emc_str_map_open(&l->exact, (size_t)l->n));
    EMC_TRY(emc_str_map_open(&l->normal, (size_t)l->n * 4));
    for (int i = 0; i < l->n; i++) {
        const char *label = l->labels[i].label;
        EMC_TRY(emc_str_map_put(l->exact, label, strlen(label), i, &existed));
        if (existed)
            return emc_fail(EMC_ERR_CONFIG, "label \"%s\" comes twice", label);
        EMC_TRY(add_name(l, label, i, KIND_LABEL));
    }
    for (int i = 0; i < l->n; i++) {
        const emc_profile_label *label = &l->labels[i];
        for (int k = 0; k < label->n_synonyms; k++)
            EMC_TRY(add_name(l, label->synonyms[k], i, KIND_SYNONYM));
        for (int k = 0; k < label->n_like; k++)
            EMC_TRY(add_name(l, label->like[k], i, KIND_LIKE));
    }
    return EMC_OK;
}

static emc_status add_ambiguous(emc_labels *l)
{
    for (int i = 0; i < l->n_ambiguous; i++) {
        const emc_profile_ambiguous *a = &l->ambiguous[i];
        for (int k = 0; k < a->n_labels; k++) {
            if (emc_str_map_get(l->exact, a->labels[k], strlen(a->labels[k]), -1) < 0)
                return emc_fail(EMC_ERR_CONFIG, "ambiguous term \"%s\": no label \"%s\"", a->term,
                                a->labels[k]);
        }
        EMC_TRY(add_name(l, a->term, i, KIND_AMBIGUOUS));
    }
    return EMC_OK;
}

/* The parent of a label or group, by name; NULL at the top. */
static const char *parent_of(const emc_labels *l, const char *name)
{
    const int label = emc_str_map_get(l->exact, name, strlen(name), -1);

    if (label >= 0)
        return l->labels[label].parent;
    const int group = emc_str_map_get(l->groups_by_name, name, strlen(name), -1);
    return group >= 0 ? l->groups[group].parent : NULL;
}

static emc_status check_parent(const emc_labels *l, const char *name, const char *parent)
{
    const char *at = parent;

    if (!parent)
        return EMC_OK;
    if (emc_str_map_get(l->exact, parent, strlen(parent), -1) < 0 &&
        emc_str_map_get(l->groups_by_name, parent, strlen(parent), -1) < 0)
        return emc_fail(EMC_ERR_CONFIG, "the parent of \"%s\", \"%s\", is neither label nor group",
                        name, parent);
    /* A chain longer than there are nodes goes in a circle. */
    for (int steps = 0; at; at = parent_of(l, at)) {
        if (strcmp(at, name) == 0 || ++steps > l->n + l->n_groups)
            return emc_fail(EMC_ERR_CONFIG, "\"%s\" is its own ancestor", name);
    }
    return EMC_OK;
}

static emc_status check_hierarchy(emc_labels *l)
{
    EMC_TRY(emc_str_map_open(&l->groups_by_name, (size_t)l->n_groups));
    for (int i = 0; i < l->n_groups; i++) {
        const char *name = l->groups[i].name;
        bool existed;
        EMC_TRY(emc_str_map_put(l->groups_by_name, name, strlen(name), i, &existed));
        if (existed || emc_str_map_get(l->exact, name, strlen(name), -1) >= 0)
            return emc_fail(EMC_ERR_CONFIG, "group \"%s\": the name is taken", name);
    }
    for (int i = 0; i < l->n; i++)
        EMC_TRY(check_parent(l, l->labels[i].label, l->labels[i].parent));
    for (int i = 0; i < l->n_groups; i++)
        EMC_TRY(check_parent(l, l->groups[i].name, l->groups[i].parent));
    return EMC_OK;
}

int emc_labels_ancestors(const emc_labels *labels, int index, const char **out, int capacity)
{
    int n = 0;

    for (const char *at = labels->labels[index].parent; at; at = parent_of(labels, at)) {
        if (n < capacity)
            out[n] = at;
        n++;
    }
    return n;
}

static emc_status build(emc_labels *l)
{
    if (l->n < 2)
        return emc_fail(EMC_ERR_CONFIG, "%d label%s, wanted at least two to choose from", l->n,
                        l->n == 1 ? "" : "s");
    EMC_TRY(add_names(l));
    EMC_TRY(add_ambiguous(l));
    return check_hierarchy(l);
}

emc_status emc_labels_from_profile(emc_labels **out, const emc_profile *profile)
{
    const emc_profile_info *info = emc_profile_get(profile);
    emc_labels *l;

    *out = NULL;
    if (info->n_labels == 0)
        return emc_fail(EMC_ERR_CONFIG,
                        "profile \"%s\" has no labels of its own: give a list with --labels",
                        info->name);
    EMC_TRY(emc_alloc(&l, 1, sizeof(*l), "labels"));
    l->labels = info->labels;
    l->n = info->n_labels;
    l->groups = info->groups;
    l->n_groups = info->n_groups;
    l->ambiguous = info->ambiguous;
    l->n_ambiguous = info->n_ambiguous;
    const emc_status status = build(l);
    if (status != EMC_OK)
        emc_labels_close(l);
    else
        *out = l;
    return status;
}

emc_status emc_labels_from_list(emc_labels **out, const emc_profile_label *list, int n)
{
    emc_labels *l;

    *out = NULL;
    EMC_TRY(emc_alloc(&l, 1, sizeof(*l), "labels"));
    l->labels = list;
    l->n = n;
    const emc_status status = build(l);
    if (status != EMC_OK)
        emc_labels_close(l);
    else
        *out = l;
    return status;
}

static bool is_cl_id(const char *id)
{
    return strncmp(id, "CL:", 3) == 0 && strspn(id + 3, "0123456789") == 7 && id[10] == '\0';
}

/* Trims blanks at both ends in place. */
static char *trim(char *s)
{
    char *end;

    while (*s == ' ')
        s++;
    for (end = s + strlen(s); end > s && (end[-1] == ' ' || end[-1] == '\r'); end--)
        ;
    *end = '\0';
    return s;
}

/* One line of a list, cut at its tab in place. */
static emc_status read_line(emc_labels *l, char *line, size_t *capacity, const char *path, int row)
{
    char *id = strchr(line, '\t');
    emc_profile_label *label;

    if (id) {
        *id++ = '\0';
        if (strchr(id, '\t'))
            return emc_fail(EMC_ERR_FORMAT,
                            "%s: line %d: more than two columns, wanted label or label TAB CL id",
                            path, row);
        id = trim(id);
    }
    line = trim(line);
    if (line[0] == '\0')
        return emc_fail(EMC_ERR_FORMAT, "%s: line %d: an empty label", path, row);
    for (const char *c = line; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7F)
            return emc_fail(EMC_ERR_FORMAT, "%s: line %d: a control character", path, row);
    }
    if (id && id[0] != '\0' && !is_cl_id(id))
        return emc_fail(EMC_ERR_FORMAT, "%s: line %d: \"%s\" is no Cell Ontology id (CL:0000000)",
                        path, row, id);
    if (l->n == MAX_LABELS)
        return emc_fail(EMC_ERR_FORMAT, "%s: line %d: more than %d labels", path, row, MAX_LABELS);
    EMC_TRY(emc_reserve(&l->own, capacity, (size_t)l->n + 1, sizeof(*l->own), "labels"));
    label = &l->own[l->n++];
    memset(label, 0, sizeof(*label));
    label->label = line;
    label->cl = id && id[0] != '\0' ? id : NULL;
    return EMC_OK;
}

static emc_status read_lines(emc_labels *l, const char *path)
{
    size_t n_bytes, capacity = 0;
    char *line, *next;
    int row = 1;

    EMC_TRY(emc_file_read(&l->text, &n_bytes, path, FILE_LIMIT));
    if (memchr(l->text, '\0', n_bytes))
        return emc_fail(EMC_ERR_FORMAT, "%s: holds a NUL byte, wanted a list of labels", path);
    for (line = l->text; line; line = next, row++) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        if (row == 1 && strncmp(line, "\xEF\xBB\xBF", 3) == 0)
            line += 3;
        if (emc_utf8_valid(line, strlen(line)) != strlen(line))
            return emc_fail(EMC_ERR_FORMAT, "%s: line %d: not UTF-8", path, row);
        if (line[0] == '#' || line[strspn(line, " \t\r")] == '\0')
            continue;
        EMC_TRY(read_line(l, line, &capacity, path, row));
    }
    l->labels = l->own;
    return EMC_OK;
}

emc_status emc_labels_read(emc_labels **out, const char *path)
{
    emc_labels *l;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&l, 1, sizeof(*l), "labels"));
    status = read_lines(l, path);
    if (status == EMC_OK) {
        status = build(l);
        if (status != EMC_OK)
            status = emc_fail_in(status, "%s", path);
    }
    if (status != EMC_OK)
        emc_labels_close(l);
    else
        *out = l;
    return status;
}

void emc_labels_close(emc_labels *labels)
{
    if (!labels)
        return;
    emc_str_map_close(labels->exact);
    emc_str_map_close(labels->normal);
    emc_str_map_close(labels->groups_by_name);
    free(labels->own);
    free(labels->text);
    free(labels);
}

static void set_meaning(emc_label_match *out, int32_t value, emc_match_kind synonym)
{
    const int kind = value % N_KINDS;

    if (kind == KIND_AMBIGUOUS) {
        out->kind = EMC_MATCH_AMBIGUOUS;
        out->ambiguous = value / N_KINDS;
        return;
    }
    out->label = value / N_KINDS;
    out->is_like |= kind == KIND_LIKE;
    out->kind = kind == KIND_LABEL && synonym == EMC_MATCH_SYNONYM ? EMC_MATCH_NORMAL : synonym;
}

/* "ctb 2" without its number; 0 when there is none to drop. */
static size_t without_number(const char *normal, size_t n)
{
    size_t end = n;

    while (end > 0 && normal[end - 1] >= '0' && normal[end - 1] <= '9')
        end--;
    return end < n && end > 1 && normal[end - 1] == ' ' ? end - 1 : 0;
}

emc_status emc_labels_match(const emc_labels *labels, const char *text, size_t n,
                            emc_label_match *out)
{
    emc_text normal = {0};
    int32_t value = emc_str_map_get(labels->exact, text, n, -1);
    emc_status status = EMC_OK;

    *out = (emc_label_match){.kind = EMC_MATCH_NONE, .label = -1, .ambiguous = -1};
    if (value >= 0) {
        out->kind = EMC_MATCH_EXACT;
        out->label = value;
        return EMC_OK;
    }
    if (emc_utf8_valid(text, n) != n)
        return EMC_OK;
    status = emc_label_normalise(&normal, text, n, &out->is_like);
    if (status != EMC_OK || normal.n == 0)
        goto done;
    value = emc_str_map_get(labels->normal, normal.bytes, normal.n, -1);
    if (value >= 0) {
        set_meaning(out, value, EMC_MATCH_SYNONYM);
        goto done;
    }
    const size_t shorter = without_number(normal.bytes, normal.n);
    if (shorter > 0)
        value = emc_str_map_get(labels->normal, normal.bytes, shorter, -1);
    if (value >= 0)
        set_meaning(out, value, EMC_MATCH_SUBCLUSTER);
done:
    emc_text_free(&normal);
    return status;
}

int emc_labels_max_words(const emc_labels *labels)
{
    return labels->max_words;
}

bool emc_labels_may_mean(const emc_labels *labels, int ambiguous, int label)
{
    const emc_profile_ambiguous *a = &labels->ambiguous[ambiguous];

    for (int i = 0; i < a->n_labels; i++) {
        if (strcmp(a->labels[i], labels->labels[label].label) == 0)
            return true;
    }
    return false;
}
