/* How is JSON with NUL in its strings read, and read fast? */
#include "tokenizer/tape.h"

#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define MAX_DEPTH     64
#define MAX_BYTES     ((size_t)1 << 30)
#define MAX_COMPARED  64 /* members whose keys are compared with each other */
#define FIRST_ENTRIES 64

struct emc_tape {
    emc_tape_value *values;
    size_t n, capacity;
    char *strings; /* never longer than the JSON it comes from, plus a NUL each */
};

typedef struct {
    emc_tape *tape;
    const char *begin, *p, *end;
    char *string; /* the free part of tape->strings */
    const char *name;
    int depth;
} reader;

static emc_status fail_at(const reader *r, const char *p, const char *what)
{
    int line = 1;

    for (const char *q = r->begin; q < p; q++)
        line += *q == '\n';
    return emc_fail(EMC_ERR_FORMAT, "%s: line %d, byte %zu: %s", r->name, line,
                    (size_t)(p - r->begin), what);
}

static void skip_blanks(reader *r)
{
    while (r->p < r->end && (*r->p == ' ' || *r->p == '\n' || *r->p == '\t' || *r->p == '\r'))
        r->p++;
}

static emc_status add(reader *r, emc_tape_kind kind, const char *text, size_t n, size_t *index)
{
    emc_tape *tape = r->tape;

    if (tape->n == tape->capacity)
        EMC_TRY(emc_reserve(&tape->values, &tape->capacity, tape->n + FIRST_ENTRIES,
                            sizeof *tape->values, r->name));
    *index = tape->n;
    tape->values[tape->n++] = (emc_tape_value){kind, (uint32_t)n, 1, text};
    return EMC_OK;
}

static bool hex4(const char *p, const char *end, uint32_t *out)
{
    uint32_t value = 0;

    if (end - p < 4)
        return false;
    for (int i = 0; i < 4; i++) {
        const char c = p[i];
        const int digit = c >= '0' && c <= '9'   ? c - '0'
                          : c >= 'a' && c <= 'f' ? c - 'a' + 10
                          : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                                 : -1;
        if (digit < 0)
            return false;
        value = value << 4 | (uint32_t)digit;
    }
    *out = value;
    return true;
}

/* r->p is behind \u. */
static emc_status read_unicode_escape(reader *r)
{
    const char *const at = r->p - 2;
    uint32_t code, low;

    if (!hex4(r->p, r->end, &code))
        return fail_at(r, at, "\\u without four hex digits");
    r->p += 4;
    if (code >= 0xD800 && code <= 0xDBFF && r->end - r->p >= 6 && r->p[0] == '\\' &&
        r->p[1] == 'u' && hex4(r->p + 2, r->end, &low) && low >= 0xDC00 && low <= 0xDFFF) {
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        r->p += 6;
    }
    if (code >= 0xD800 && code <= 0xDFFF)
        return fail_at(r, at, "half of a surrogate pair, which is no character");
    r->string += emc_utf8_encode(r->string, code);
    return EMC_OK;
}

static emc_status read_escape(reader *r)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found;

    r->p++;
    if (r->p == r->end || *r->p == '\0')
        return fail_at(r, r->p, "an escape that is none");
    if (*r->p == 'u') {
        r->p++;
        return read_unicode_escape(r);
    }
    found = strchr(from, *r->p);
    if (!found)
        return fail_at(r, r->p, "an escape that is none");
    *r->string++ = to[found - from];
    r->p++;
    return EMC_OK;
}

static emc_status read_string(reader *r)
{
    const char *const at = r->p;
    char *const text = r->string;
    size_t index;

    for (r->p++; r->p < r->end && *r->p != '"';) {
        const unsigned char c = (unsigned char)*r->p;
        if (c == '\\')
            EMC_TRY(read_escape(r));
        else if (c < 0x20)
            return fail_at(r, r->p, "a control character in a string, wanted an escape");
        else
            *r->string++ = *r->p++;
    }
    if (r->p == r->end)
        return fail_at(r, at, "a string that does not end");
    r->p++;
    EMC_TRY(add(r, EMC_TAPE_STRING, text, (size_t)(r->string - text), &index));
    *r->string++ = '\0';
    return EMC_OK;
}

static const char *skip_digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static emc_status read_number(reader *r)
{
    const char *const at = r->p;
    const char *p = r->p, *digits;
    size_t index;

    if (p < r->end && *p == '-')
        p++;
    digits = p;
    p = skip_digits(p, r->end);
    if (p == digits || (*digits == '0' && p > digits + 1))
        return fail_at(r, at, "not JSON");
    if (p < r->end && *p == '.') {
        digits = ++p;
        p = skip_digits(p, r->end);
        if (p == digits)
            return fail_at(r, at, "a number without digits behind its point");
    }
    if (p < r->end && (*p == 'e' || *p == 'E')) {
        p++;
        if (p < r->end && (*p == '+' || *p == '-'))
            p++;
        digits = p;
        p = skip_digits(p, r->end);
        if (p == digits)
            return fail_at(r, at, "a number without digits in its exponent");
    }
    /* A number never outgrows its place: the character behind it pays for the NUL. */
    memcpy(r->string, at, (size_t)(p - at));
    EMC_TRY(add(r, EMC_TAPE_NUMBER, r->string, (size_t)(p - at), &index));
    r->string += p - at;
    *r->string++ = '\0';
    r->p = p;
    return EMC_OK;
}

static emc_status read_word(reader *r, const char *word, emc_tape_kind kind)
{
    const size_t n = strlen(word);
    size_t index;

    if ((size_t)(r->end - r->p) < n || memcmp(r->p, word, n) != 0)
        return fail_at(r, r->p, "not JSON");
    r->p += n;
    return add(r, kind, NULL, 0, &index);
}

static emc_status read_value(reader *r);

static emc_status read_member(reader *r)
{
    if (r->p == r->end || *r->p != '"')
        return fail_at(r, r->p, "not JSON, wanted a key");
    EMC_TRY(read_string(r));
    skip_blanks(r);
    if (r->p == r->end || *r->p != ':')
        return fail_at(r, r->p, "not JSON, wanted a colon");
    r->p++;
    skip_blanks(r);
    return read_value(r);
}

/* Large objects are vocabularies, whose reader finds twins by itself. */
static emc_status check_twins(const reader *r, const emc_tape_value *object, const char *at)
{
    if (object->n > MAX_COMPARED)
        return EMC_OK;
    const emc_tape_value *a = object + 1;
    for (uint32_t i = 0; i < object->n; i++, a = emc_tape_next(a + 1)) {
        const emc_tape_value *b = emc_tape_next(a + 1);
        for (uint32_t j = i + 1; j < object->n; j++, b = emc_tape_next(b + 1))
            if (a->n == b->n && memcmp(a->text, b->text, a->n) == 0)
                return fail_at(r, at, "an object with the same key twice");
    }
    return EMC_OK;
}

static emc_status read_many(reader *r, emc_tape_kind kind, char closing)
{
    const char *const at = r->p;
    size_t index, n = 0;

    if (++r->depth > MAX_DEPTH)
        return fail_at(r, at, "nested too deep");
    EMC_TRY(add(r, kind, NULL, 0, &index));
    r->p++;
    skip_blanks(r);
    while (r->p == r->end || *r->p != closing || n > 0) {
        EMC_TRY(kind == EMC_TAPE_OBJECT ? read_member(r) : read_value(r));
        n++;
        skip_blanks(r);
        if (r->p < r->end && *r->p == closing)
            break;
        if (r->p == r->end || *r->p != ',')
            return fail_at(r, r->p, "not JSON, wanted a comma or the end of a list");
        r->p++;
        skip_blanks(r);
    }
    r->p++;
    r->depth--;
    emc_tape_value *value = &r->tape->values[index];
    value->n = (uint32_t)n;
    value->size = (uint32_t)(r->tape->n - index);
    return kind == EMC_TAPE_OBJECT ? check_twins(r, value, at) : EMC_OK;
}

/* r->p is behind the blanks. */
static emc_status read_value(reader *r)
{
    if (r->p == r->end)
        return fail_at(r, r->p, "not JSON, it ends too early");
    switch (*r->p) {
    case '{':
        return read_many(r, EMC_TAPE_OBJECT, '}');
    case '[':
        return read_many(r, EMC_TAPE_ARRAY, ']');
    case '"':
        return read_string(r);
    case 'n':
        return read_word(r, "null", EMC_TAPE_NULL);
    case 't':
        return read_word(r, "true", EMC_TAPE_TRUE);
    case 'f':
        return read_word(r, "false", EMC_TAPE_FALSE);
    default:
        return read_number(r);
    }
}

emc_status emc_tape_open(emc_tape **out, const char *json, size_t n_bytes, const char *name)
{
    reader r = {NULL, json, json, json + n_bytes, NULL, name, 0};
    emc_status status;

    *out = NULL;
    if (n_bytes > MAX_BYTES)
        return emc_fail(EMC_ERR_FORMAT, "%s: %zu bytes, wanted at most %zu", name, n_bytes,
                        MAX_BYTES);
    EMC_TRY(emc_alloc(&r.tape, 1, sizeof *r.tape, name));
    /* Every string has two quotes and every number something behind it, but for one at the end. */
    status = emc_alloc(&r.tape->strings, n_bytes + 1, 1, name);
    if (status != EMC_OK)
        goto done;
    r.string = r.tape->strings;
    const size_t valid = emc_utf8_valid(json, n_bytes);
    if (valid < n_bytes) {
        status = fail_at(&r, json + valid, "not UTF-8");
        goto done;
    }
    skip_blanks(&r);
    status = read_value(&r);
    if (status != EMC_OK)
        goto done;
    skip_blanks(&r);
    if (r.p < r.end) {
        status = fail_at(&r, r.p, "text after the JSON value");
        goto done;
    }
    *out = r.tape;
    r.tape = NULL;
done:
    emc_tape_close(r.tape);
    return status;
}

void emc_tape_close(emc_tape *tape)
{
    if (!tape)
        return;
    free(tape->values);
    free(tape->strings);
    free(tape);
}

const emc_tape_value *emc_tape_root(const emc_tape *tape)
{
    return tape->values;
}

bool emc_tape_equals(const emc_tape_value *value, const char *string)
{
    const size_t n = strlen(string);

    return value && value->kind == EMC_TAPE_STRING && value->n == n &&
           memcmp(value->text, string, n) == 0;
}

const emc_tape_value *emc_tape_member(const emc_tape_value *object, const char *key)
{
    if (!object || object->kind != EMC_TAPE_OBJECT)
        return NULL;
    const emc_tape_value *member = object + 1;
    for (uint32_t i = 0; i < object->n; i++, member = emc_tape_next(member + 1))
        if (emc_tape_equals(member, key))
            return member + 1;
    return NULL;
}

bool emc_tape_whole(const emc_tape_value *value, int32_t most, int32_t *out)
{
    int64_t n = 0;

    if (!value || value->kind != EMC_TAPE_NUMBER)
        return false;
    for (uint32_t i = 0; i < value->n; i++) {
        if (value->text[i] < '0' || value->text[i] > '9')
            return false;
        n = n * 10 + (value->text[i] - '0');
        if (n > most)
            return false;
    }
    *out = (int32_t)n;
    return true;
}
