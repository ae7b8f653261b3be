#pragma once
/*
 * What every page shares: the frame, tables, numbers, and JSON that is checked while it is read.
 *
 * A page keeps its first failure and ignores what comes after it, so that the code that writes one
 * reads like the page; page_commit gives the status.
 */

#include "annotate/report/report.h"
#include "base/json.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    emc_text text;
    emc_status status;
    const char *source; /* of the JSON, for messages */
    bool in_row;
} page;

/* The head of the document and the page's title; text is escaped. */
void page_begin(page *p, const char *title, const char *subtitle);
/* The foot; writes the file whole, or nothing. Frees the text in any case. */
emc_status page_commit(page *p, const char *output_path);

void page_raw(page *p, const char *html);  /* our own markup */
void page_text(page *p, const char *text); /* anybody's words, escaped; NULL is nothing */
void page_f(page *p, const char *format, ...) EMC_PRINTF(2, 3); /* markup with numbers of ours */

/* <section>, with a heading and an anchor; ends the one before it. */
void page_section(page *p, const char *id, const char *heading);
void page_note(page *p, const char *format, ...) EMC_PRINTF(2, 3); /* a paragraph; escaped */

/* A name and its value in a <dl class="facts">; NULL and "" are a dash. */
void page_fact(page *p, const char *name, const char *value);

/* A table that scrolls in its own box. Columns: heads, each with 'l' or 'r' in `align`. */
void page_table_begin(page *p, const char *caption, const char *const *heads, int n,
                      const char *align);
void page_row(page *p);                         /* begins a row; ends the one before it */
void page_head_cell(page *p, const char *text); /* the row's own name */
void page_cell_text(page *p, const char *text);
void page_cell_genes(page *p, const cJSON *genes); /* names, in italics */
void page_cell_count(page *p, double count);
void page_cell_number(page *p, double value, int digits); /* NaN: a dash */
void page_cell_interval(page *p, const cJSON *interval, int digits);
void page_table_end(page *p);

/* A number as a page shows it: "0.958", "1,234", a dash for what does not exist. */
#define PAGE_NUMBER 32
void page_number(char out[PAGE_NUMBER], double value, int digits);
void page_count(char out[PAGE_NUMBER], double count);

/* Members that must be there; a failure names the key. Strings and numbers may be null: NULL, NaN.
 * What is returned is never NULL but for strings. */
const cJSON *page_object(page *p, const cJSON *object, const char *key);
const cJSON *page_array(page *p, const cJSON *object, const char *key);
const char *page_string(page *p, const cJSON *object, const char *key);
double page_value(page *p, const cJSON *object, const char *key);
bool page_is_null(const cJSON *object, const char *key);

#ifdef __cplusplus
}
#endif
