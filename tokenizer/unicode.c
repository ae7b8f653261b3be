/*
 * Which kind of character is this, and what is normal form C of a text?
 *
 * Normalisation follows Unicode Standard Annex 15 and chapter 3.11 of the standard: decompose
 * fully, sort marks by class, compose. Hangul is chapter 3.12.
 */
#include "tokenizer/unicode.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "tokenizer/unicode_tables.h"

#define N_CODES 0x110000

/* Hangul: L and V and T jamo make LV and LVT syllables. */
#define S_BASE  0xAC00u
#define L_BASE  0x1100u
#define V_BASE  0x1161u
#define T_BASE  0x11A7u
#define L_COUNT 19u
#define V_COUNT 21u
#define T_COUNT 28u
#define S_COUNT (L_COUNT * V_COUNT * T_COUNT)

#define MAX_DECOMPOSITION 8 /* the longest canonical one has 4 characters */
#define SHORT_RUN         32

static void set_ranges(emc_unicode *u, const emc_code_range *ranges, size_t n, unsigned kind)
{
    for (size_t i = 0; i < n; i++)
        for (uint32_t c = ranges[i].first; c <= ranges[i].last; c++)
            u->kinds[c] |= (uint8_t)kind;
}

static void set_normalisation(emc_unicode *u)
{
    for (size_t i = 0; i < emc_unicode_classes_count; i++) {
        const emc_class_range *r = &emc_unicode_classes[i];
        for (uint32_t c = r->first; c <= r->last; c++) {
            u->kinds[c] |= EMC_CHAR_MARK;
            u->classes[c] = (uint8_t)r->ccc;
        }
    }
    /* What decomposes and is no primary composite never comes back. */
    for (size_t i = 0; i < emc_unicode_decompositions_count; i++)
        u->kinds[emc_unicode_decompositions[i].code] |= EMC_CHAR_BREAKS | EMC_CHAR_DECAYS;
    for (size_t i = 0; i < emc_unicode_composites_count; i++) {
        u->kinds[emc_unicode_composites[i].composed] &= (uint8_t)~EMC_CHAR_DECAYS;
        u->kinds[emc_unicode_composites[i].second] |= EMC_CHAR_JOINS;
    }
    for (uint32_t c = V_BASE; c < V_BASE + V_COUNT; c++)
        u->kinds[c] |= EMC_CHAR_JOINS;
    for (uint32_t c = T_BASE + 1; c < T_BASE + T_COUNT; c++)
        u->kinds[c] |= EMC_CHAR_JOINS;
}

emc_status emc_unicode_open(emc_unicode **out)
{
    emc_unicode *u = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&u, 1, sizeof *u, "the Unicode tables"));
    status = emc_alloc(&u->kinds, N_CODES, 1, "the Unicode tables");
    if (status != EMC_OK)
        goto done;
    status = emc_alloc(&u->classes, N_CODES, 1, "the Unicode tables");
    if (status != EMC_OK)
        goto done;
    set_ranges(u, emc_unicode_letters, emc_unicode_letters_count, EMC_CHAR_LETTER);
    set_ranges(u, emc_unicode_numbers, emc_unicode_numbers_count, EMC_CHAR_NUMBER);
    set_ranges(u, emc_unicode_spaces, emc_unicode_spaces_count, EMC_CHAR_SPACE);
    u->kinds['\r'] = u->kinds['\n'] = EMC_CHAR_NEWLINE;
    set_normalisation(u);
    *out = u;
    u = NULL;
done:
    emc_unicode_close(u);
    return status;
}

void emc_unicode_close(emc_unicode *unicode)
{
    if (!unicode)
        return;
    free(unicode->kinds);
    free(unicode->classes);
    free(unicode);
}

unsigned emc_unicode_scan(const emc_unicode *unicode, const char *text, size_t n_bytes,
                          size_t *n_valid)
{
    const uint64_t high = 0x8080808080808080u;
    unsigned kinds = 0;
    size_t i = 0;

    while (i < n_bytes) {
        uint64_t word;
        /* ASCII is always in normal form, and its kinds are of no interest to callers. */
        while (i + sizeof word <= n_bytes) {
            memcpy(&word, text + i, sizeof word);
            if (word & high)
                break;
            i += sizeof word;
        }
        if (i == n_bytes)
            break;
        uint32_t code;
        const int length = emc_utf8_decode(&code, text + i, n_bytes - i);
        if (length == 0)
            break;
        kinds |= unicode->kinds[code];
        i += (size_t)length;
    }
    *n_valid = i;
    return kinds;
}

typedef struct {
    uint32_t *codes;
    size_t n, capacity;
} code_list;

static emc_status push(code_list *list, uint32_t code)
{
    if (list->n == list->capacity)
        EMC_TRY(emc_reserve(&list->codes, &list->capacity, list->n + 1, sizeof *list->codes,
                            "a text to normalise"));
    list->codes[list->n++] = code;
    return EMC_OK;
}

static const emc_decomposition *find_decomposition(uint32_t code)
{
    size_t low = 0, high = emc_unicode_decompositions_count;

    while (low + 1 < high) {
        const size_t middle = (low + high) / 2;
        if (emc_unicode_decompositions[middle].code <= code)
            low = middle;
        else
            high = middle;
    }
    return &emc_unicode_decompositions[low];
}

static emc_status push_decomposed(const emc_unicode *u, code_list *list, uint32_t code)
{
    uint32_t stack[MAX_DECOMPOSITION];
    int n = 0;

    if (code - S_BASE < S_COUNT) {
        const uint32_t s = code - S_BASE, t = s % T_COUNT;
        EMC_TRY(push(list, L_BASE + s / (V_COUNT * T_COUNT)));
        EMC_TRY(push(list, V_BASE + s % (V_COUNT * T_COUNT) / T_COUNT));
        return t ? push(list, T_BASE + t) : EMC_OK;
    }
    stack[n++] = code;
    while (n > 0) {
        const uint32_t c = stack[--n];
        if (!(u->kinds[c] & EMC_CHAR_BREAKS)) {
            EMC_TRY(push(list, c));
            continue;
        }
        const emc_decomposition *d = find_decomposition(c);
        if (d->second)
            stack[n++] = d->second;
        stack[n++] = d->first;
    }
    return EMC_OK;
}

/* Marks of equal class keep their order. */
static void sort_short(const emc_unicode *u, uint32_t *codes, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        const uint32_t code = codes[i];
        size_t j = i;
        for (; j > 0 && u->classes[codes[j - 1]] > u->classes[code]; j--)
            codes[j] = codes[j - 1];
        codes[j] = code;
    }
}

/* Counting sort, so that a megabyte of marks takes no longer than a megabyte of words. */
static emc_status sort_long(const emc_unicode *u, uint32_t *codes, size_t n)
{
    size_t start[257] = {0};
    uint32_t *sorted;

    EMC_TRY(emc_alloc(&sorted, n, sizeof *sorted, "a run of marks"));
    for (size_t i = 0; i < n; i++)
        start[u->classes[codes[i]] + 1]++;
    for (int c = 0; c < 256; c++)
        start[c + 1] += start[c];
    for (size_t i = 0; i < n; i++)
        sorted[start[u->classes[codes[i]]]++] = codes[i];
    memcpy(codes, sorted, n * sizeof *codes);
    free(sorted);
    return EMC_OK;
}

static emc_status sort_marks(const emc_unicode *u, code_list *list)
{
    for (size_t i = 0; i < list->n; i++) {
        size_t end = i;
        while (end < list->n && u->classes[list->codes[end]] != 0)
            end++;
        if (end - i > SHORT_RUN)
            EMC_TRY(sort_long(u, list->codes + i, end - i));
        else if (end - i > 1)
            sort_short(u, list->codes + i, end - i);
        i = end;
    }
    return EMC_OK;
}

/* The primary composite of two characters, or 0. */
static uint32_t compose_pair(const emc_unicode *u, uint32_t a, uint32_t b)
{
    size_t low = 0, high = emc_unicode_composites_count;

    if (!(u->kinds[b] & EMC_CHAR_JOINS))
        return 0;
    if (a - L_BASE < L_COUNT && b - V_BASE < V_COUNT)
        return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
    if (a - S_BASE < S_COUNT && (a - S_BASE) % T_COUNT == 0 && b - T_BASE - 1 < T_COUNT - 1)
        return a + (b - T_BASE);
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const emc_composite *c = &emc_unicode_composites[middle];
        if (c->first == a && c->second == b)
            return c->composed;
        if (c->first < a || (c->first == a && c->second < b))
            low = middle + 1;
        else
            high = middle;
    }
    return 0;
}

static void compose(const emc_unicode *u, code_list *list)
{
    uint32_t *codes = list->codes;
    size_t n = 0, starter = SIZE_MAX;
    int last_class = -1; /* of what was kept since the starter; -1: nothing */

    for (size_t i = 0; i < list->n; i++) {
        const uint32_t c = codes[i];
        const int ccc = u->classes[c];
        /* A mark is blocked by one of its own class before it, any character by a starter. */
        if (starter != SIZE_MAX && last_class < ccc) {
            const uint32_t composed = compose_pair(u, codes[starter], c);
            if (composed) {
                codes[starter] = composed;
                continue;
            }
        }
        if (ccc == 0) {
            starter = n;
            last_class = -1;
        } else {
            last_class = ccc;
        }
        codes[n++] = c;
    }
    list->n = n;
}

emc_status emc_unicode_nfc(const emc_unicode *unicode, const char *text, size_t n_bytes,
                           emc_text *out)
{
    code_list list = {0};
    emc_status status = EMC_OK;

    for (size_t i = 0; i < n_bytes && status == EMC_OK;)
        status = push_decomposed(unicode, &list, emc_utf8_next(text, &i));
    if (status == EMC_OK)
        status = sort_marks(unicode, &list);
    if (status != EMC_OK)
        goto done;
    compose(unicode, &list);
    for (size_t i = 0; i < list.n && status == EMC_OK; i++) {
        char bytes[4];
        status = emc_text_add(out, bytes, (size_t)emc_utf8_encode(bytes, list.codes[i]));
    }
done:
    free(list.codes);
    return status;
}
