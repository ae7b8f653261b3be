/* The frame of a page and what tables are made of. */

#include "annotate/report/page.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/report/style.h"
#include "base/file.h"

static void keep(page *p, emc_status status)
{
    if (p->status == EMC_OK)
        p->status = status;
}

void page_raw(page *p, const char *html)
{
    if (p->status == EMC_OK)
        keep(p, emc_text_add_string(&p->text, html));
}

void page_text(page *p, const char *text)
{
    if (p->status == EMC_OK && text)
        keep(p, emc_html_add(&p->text, text, strlen(text)));
}

/* What vsnprintf makes of the arguments; owned by the caller. */
static char *formatted(page *p, const char *format, va_list arguments) EMC_PRINTF(2, 0);

static char *formatted(page *p, const char *format, va_list arguments)
{
    va_list again;
    char *text = NULL;

    va_copy(again, arguments);
    const int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n >= 0)
        text = malloc((size_t)n + 1);
    if (!text) {
        keep(p, emc_fail(EMC_ERR_NOMEM, "no memory for a page"));
        return NULL;
    }
    vsnprintf(text, (size_t)n + 1, format, arguments);
    return text;
}

void page_f(page *p, const char *format, ...)
{
    va_list arguments;

    if (p->status != EMC_OK)
        return;
    va_start(arguments, format);
    char *text = formatted(p, format, arguments);
    va_end(arguments);
    if (text)
        page_raw(p, text);
    free(text);
}

void page_note(page *p, const char *format, ...)
{
    va_list arguments;

    if (p->status != EMC_OK)
        return;
    va_start(arguments, format);
    char *text = formatted(p, format, arguments);
    va_end(arguments);
    page_raw(p, "<p>");
    page_text(p, text);
    page_raw(p, "</p>\n");
    free(text);
}

void page_begin(page *p, const char *title, const char *subtitle)
{
    page_raw(p, "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>"
                "\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" "
                "content=\"width=device-width, initial-scale=1\"/>\n"
                "<meta name=\"color-scheme\" content=\"light dark\"/>\n<title>");
    page_text(p, title);
    page_raw(p, "</title>\n<style>\n");
    page_raw(p, page_style);
    page_raw(p, "</style>\n</head>\n<body>\n<main>\n<header>\n<h1>");
    page_text(p, title);
    page_raw(p, "</h1>\n");
    if (subtitle && *subtitle) {
        page_raw(p, "<p class=\"lead\">");
        page_text(p, subtitle);
        page_raw(p, "</p>\n");
    }
    page_raw(p, "</header>\n<section>\n");
}

emc_status page_commit(page *p, const char *output_path)
{
    emc_out_file *file = NULL;

    page_raw(p, "</section>\n<footer><p>Made by emcell. For research use only; not for clinical "
                "use or the selection of embryos.</p></footer>\n</main>\n</body>\n</html>\n");
    emc_status status = p->status;
    if (status == EMC_OK)
        status = emc_out_file_open(&file, output_path);
    if (status == EMC_OK)
        status = emc_out_file_write(file, p->text.bytes, p->text.n);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    emc_text_free(&p->text);
    return status;
}

void page_section(page *p, const char *id, const char *heading)
{
    page_f(p, "</section>\n<section id=\"%s\">\n<h2>", id);
    page_text(p, heading);
    page_raw(p, "</h2>\n");
}

void page_fact(page *p, const char *name, const char *value)
{
    page_raw(p, "<div><dt>");
    page_text(p, name);
    page_raw(p, "</dt><dd>");
    page_text(p, value && *value ? value : "\u2013");
    page_raw(p, "</dd></div>\n");
}

/* --- tables --- */

void page_table_begin(page *p, const char *caption, const char *const *heads, int n,
                      const char *align)
{
    page_raw(p, "<div class=\"wide\" tabindex=\"0\"><table>\n");
    if (caption) {
        page_raw(p, "<caption>");
        page_text(p, caption);
        page_raw(p, "</caption>\n");
    }
    page_raw(p, "<thead><tr>");
    for (int i = 0; i < n; i++) {
        page_f(p, "<th scope=\"col\"%s>", align[i] == 'r' ? " class=\"r\"" : "");
        page_text(p, heads[i]);
        page_raw(p, "</th>");
    }
    page_raw(p, "</tr></thead>\n<tbody>\n");
    p->in_row = false;
}

void page_row(page *p)
{
    page_raw(p, p->in_row ? "</tr>\n<tr>" : "<tr>");
    p->in_row = true;
}

void page_table_end(page *p)
{
    page_raw(p, p->in_row ? "</tr>\n</tbody></table></div>\n" : "</tbody></table></div>\n");
    p->in_row = false;
}

void page_head_cell(page *p, const char *text)
{
    page_raw(p, "<th scope=\"row\">");
    page_text(p, text);
    page_raw(p, "</th>");
}

void page_cell_text(page *p, const char *text)
{
    page_raw(p, "<td>");
    page_text(p, text ? text : "\u2013");
    page_raw(p, "</td>");
}

void page_cell_genes(page *p, const cJSON *genes)
{
    const cJSON *gene;
    int n = 0;

    page_raw(p, "<td class=\"genes\">");
    cJSON_ArrayForEach(gene, genes)
    {
        if (n++ > 0)
            page_raw(p, " ");
        page_text(p, cJSON_IsString(gene) ? gene->valuestring : "");
    }
    page_raw(p, n > 0 ? "</td>" : "\u2013</td>");
}

void page_number(char out[PAGE_NUMBER], double value, int digits)
{
    if (!isfinite(value) || fabs(value) >= 1e15)
        snprintf(out, PAGE_NUMBER, "\u2013");
    else
        snprintf(out, PAGE_NUMBER, "%.*f", digits, value);
}

void page_count(char out[PAGE_NUMBER], double count)
{
    char digits[PAGE_NUMBER];
    size_t at = 0;

    page_number(digits, count, 0);
    const size_t n = strlen(digits);
    if (!isfinite(count) || fabs(count) >= 1e15) {
        snprintf(out, PAGE_NUMBER, "%s", digits);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && (n - i) % 3 == 0 && digits[i - 1] != '-')
            out[at++] = ',';
        out[at++] = digits[i];
    }
    out[at] = '\0';
}

void page_cell_count(page *p, double count)
{
    char text[PAGE_NUMBER];

    page_count(text, count);
    page_f(p, "<td class=\"r\">%s</td>", text);
}

void page_cell_number(page *p, double value, int digits)
{
    char text[PAGE_NUMBER];

    page_number(text, value, digits);
    page_f(p, "<td class=\"r\">%s</td>", text);
}

void page_cell_interval(page *p, const cJSON *interval, int digits)
{
    char value[PAGE_NUMBER], low[PAGE_NUMBER], high[PAGE_NUMBER];

    if (!cJSON_IsObject(interval)) {
        page_raw(p, "<td class=\"r\">\u2013</td>");
        return;
    }
    const double ends[2] = {page_value(p, interval, "low"), page_value(p, interval, "high")};
    page_number(value, page_value(p, interval, "value"), digits);
    page_number(low, ends[0], digits);
    page_number(high, ends[1], digits);
    if (isfinite(ends[0]) && isfinite(ends[1]))
        page_f(p, "<td class=\"r\">%s <span class=\"ci\">%s\u2013%s</span></td>", value, low, high);
    else
        page_f(p, "<td class=\"r\">%s</td>", value);
}

/* --- JSON --- */

static const cJSON *member(page *p, const cJSON *object, const char *key, const char *wanted,
                           cJSON_bool (*is)(const cJSON *const item), bool may_be_null)
{
    static const cJSON none;
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(object, key);

    if (found && ((may_be_null && cJSON_IsNull(found)) || is(found)))
        return found;
    if (p->status == EMC_OK)
        p->status = emc_fail(EMC_ERR_FORMAT, "%s: \"%s\" %s; wanted %s", p->source, key,
                             found ? "is of another type" : "is missing", wanted);
    return &none;
}

const cJSON *page_object(page *p, const cJSON *object, const char *key)
{
    return member(p, object, key, "an object", cJSON_IsObject, false);
}

const cJSON *page_array(page *p, const cJSON *object, const char *key)
{
    return member(p, object, key, "a list", cJSON_IsArray, false);
}

const char *page_string(page *p, const cJSON *object, const char *key)
{
    return member(p, object, key, "a string or null", cJSON_IsString, true)->valuestring;
}

double page_value(page *p, const cJSON *object, const char *key)
{
    const cJSON *found = member(p, object, key, "a number or null", cJSON_IsNumber, true);

    return cJSON_IsNumber(found) ? found->valuedouble : NAN;
}

bool page_is_null(const cJSON *object, const char *key)
{
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(object, key);

    return found && cJSON_IsNull(found);
}
