/*
 * Does a module's path match this pattern?
 *
 * The subset of Python's syntax in the header is rewritten as a POSIX extended expression. Only
 * whether the whole path matches is asked, so greedy and lazy quantifiers are the same.
 */
#include "loader/pattern.h"

#include <ctype.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "base/text.h"

#define MAX_PATTERN_BYTES 256
#define MAX_REPEAT        99
#define MAX_BRACES        2 /* nested ones multiply the compiled expression */

struct emc_pattern {
    regex_t regex;
};

typedef struct {
    const char *text, *at;
    emc_text posix;
    int n_braces;
    int depth;       /* of open groups */
    bool can_repeat; /* something stands before `at` that a quantifier may follow */
} translation;

static emc_status refuse(const translation *t, const char *what)
{
    return emc_fail(EMC_ERR_FORMAT, "pattern \"%s\": %s at byte %zu is not supported", t->text,
                    what, (size_t)(t->at - t->text));
}

/* An escape outside and inside of brackets. */
static emc_status add_escape(translation *t, bool in_class)
{
    const char c = t->at[1];

    if (c == 'd')
        EMC_TRY(emc_text_add_string(&t->posix, in_class ? "0-9" : "[0-9]"));
    else if (c == 'w')
        EMC_TRY(emc_text_add_string(&t->posix, in_class ? "[:alnum:]_" : "[[:alnum:]_]"));
    else if (!ispunct((unsigned char)c) || (in_class && strchr("[]^-\\", c)))
        return refuse(t, "an escape");
    else
        EMC_TRY(emc_text_add(&t->posix, in_class ? t->at + 1 : t->at, in_class ? 1 : 2));
    t->at += 2;
    return EMC_OK;
}

static emc_status add_class(translation *t)
{
    const char *const begin = t->at;
    const char *first = begin + 1;

    EMC_TRY(emc_text_add(&t->posix, t->at++, 1));
    if (*t->at == '^') {
        EMC_TRY(emc_text_add(&t->posix, t->at++, 1));
        first = t->at;
    }
    while (*t->at && (*t->at != ']' || t->at == first)) {
        if (*t->at == '[')
            return refuse(t, "a bracket inside brackets");
        if (*t->at == '\\')
            EMC_TRY(add_escape(t, true));
        else
            EMC_TRY(emc_text_add(&t->posix, t->at++, 1));
    }
    if (!*t->at) {
        t->at = begin;
        return refuse(t, "a bracket that is not closed");
    }
    return emc_text_add(&t->posix, t->at++, 1);
}

/* {m}, {m,} or {m,n}. */
static emc_status add_braces(translation *t)
{
    const char *p = t->at + 1;
    int n_numbers = 0;

    if (++t->n_braces > MAX_BRACES)
        return refuse(t, "a third {...}");
    while (*p && *p != '}') {
        int number = 0, n_digits = 0;
        for (; *p >= '0' && *p <= '9' && n_digits < 3; p++, n_digits++)
            number = number * 10 + (*p - '0');
        n_numbers++;
        if (number > MAX_REPEAT || (n_digits == 0 && !(n_numbers == 2 && *p == '}')) ||
            (*p != ',' && *p != '}') || n_numbers > 2)
            return refuse(t, "this {...}");
        if (*p == ',') {
            p++;
            if (*p == '}')
                n_numbers++;
        }
    }
    if (!*p || n_numbers == 0)
        return refuse(t, "this {...}");
    EMC_TRY(emc_text_add(&t->posix, t->at, (size_t)(p + 1 - t->at)));
    t->at = p + 1;
    return EMC_OK;
}

static emc_status add_quantifier(translation *t)
{
    if (!t->can_repeat)
        return refuse(t, "a quantifier after nothing");
    if (*t->at == '{')
        EMC_TRY(add_braces(t));
    else
        EMC_TRY(emc_text_add(&t->posix, t->at++, 1));
    if (*t->at == '?')
        t->at++; /* lazy */
    t->can_repeat = false;
    return EMC_OK;
}

static emc_status add_group(translation *t)
{
    EMC_TRY(emc_text_add_string(&t->posix, "("));
    t->at++;
    if (*t->at == '?') {
        if (t->at[1] != ':')
            return refuse(t, "a group of this kind");
        t->at += 2;
    }
    if (*t->at == ')')
        return refuse(t, "an empty group");
    t->can_repeat = false;
    t->depth++;
    return EMC_OK;
}

static emc_status translate(translation *t)
{
    EMC_TRY(emc_text_add_string(&t->posix, "^(.*\\.)?("));
    while (*t->at) {
        const char c = *t->at;
        if (strchr("*+?{", c)) {
            EMC_TRY(add_quantifier(t));
            continue;
        }
        if (c == '(') {
            EMC_TRY(add_group(t));
            continue;
        }
        if (c == ')' && --t->depth < 0)
            return refuse(t, "a group that was not opened");
        t->can_repeat = !strchr("|^$", c);
        if (c == '\\')
            EMC_TRY(add_escape(t, false));
        else if (c == '[')
            EMC_TRY(add_class(t));
        else if (c == '}' || c == ']' || c == '\n')
            return refuse(t, "a bare bracket or line end");
        else
            EMC_TRY(emc_text_add(&t->posix, t->at++, 1));
    }
    if (t->depth > 0)
        return refuse(t, "a group that is not closed");
    return emc_text_add_string(&t->posix, ")$");
}

emc_status emc_pattern_open(emc_pattern **out, const char *text)
{
    emc_status status;
    emc_pattern *pattern = NULL;
    translation t = {.text = text, .at = text};
    char reason[128];
    int error;

    *out = NULL;
    if (!*text || strlen(text) > MAX_PATTERN_BYTES)
        return emc_fail(EMC_ERR_FORMAT, "a pattern of %zu bytes, wanted 1 to %d", strlen(text),
                        MAX_PATTERN_BYTES);
    status = translate(&t);
    if (status != EMC_OK)
        goto done;
    status = emc_alloc(&pattern, 1, sizeof *pattern, "a pattern");
    if (status != EMC_OK)
        goto done;
    error = regcomp(&pattern->regex, t.posix.bytes, REG_EXTENDED | REG_NOSUB);
    if (error != 0) {
        regerror(error, &pattern->regex, reason, sizeof reason);
        status = emc_fail(EMC_ERR_FORMAT, "pattern \"%s\": %s", text, reason);
        free(pattern); /* a failed regcomp holds nothing */
        goto done;
    }
    *out = pattern;

done:
    emc_text_free(&t.posix);
    return status;
}

void emc_pattern_close(emc_pattern *pattern)
{
    if (!pattern)
        return;
    regfree(&pattern->regex);
    free(pattern);
}

bool emc_pattern_matches(const emc_pattern *pattern, const char *path)
{
    return regexec(&pattern->regex, path, 0, NULL, 0) == 0;
}
