/* SVG by hand: coordinates are of ours, every word is escaped. */

#include "annotate/report/chart.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define WIDTH 320

static void begin(page *p, const char *title, int width, int height)
{
    page_f(p,
           "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"%d\" height=\"%d\" "
           "viewBox=\"0 0 %d %d\"><title>",
           width, height, width, height);
    page_text(p, title);
    page_raw(p, "</title>\n");
}

static void end(page *p)
{
    page_raw(p, "</svg>\n");
}

static void label(page *p, double x, double y, const char *attributes, const char *text)
{
    page_f(p, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    page_text(p, text);
    page_raw(p, "</text>\n");
}

/* At most n characters, with dots in the place of the rest; whole ones of UTF-8. */
static void short_label(page *p, double x, double y, const char *attributes, const char *text,
                        int n)
{
    size_t at = 0;
    int count = 0;
    const size_t length = strlen(text);

    page_f(p, "<text x=\"%.1f\" y=\"%.1f\" %s>", x, y, attributes);
    while (at < length && count < n) {
        uint32_t code;
        const int bytes = emc_utf8_decode(&code, text + at, length - at);
        at += bytes > 0 ? (size_t)bytes : 1;
        count++;
    }
    if (p->status == EMC_OK)
        p->status = emc_html_add(&p->text, text, at);
    page_raw(p, at < length ? "\u2026<title>" : "<title>");
    page_text(p, text);
    page_raw(p, "</title></text>\n");
}

static double within(double value, double least, double most)
{
    const double share = (value - least) / (most - least);

    return !(share > 0) ? 0 : share > 1 ? 1 : share;
}

/* A step of 1, 2 or 5 times a power of ten with at most `most` steps in the range. */
static double step_of(double range, int most)
{
    double step = pow(10, floor(log10(range / most)));

    while (range / step > most + 1e-9) {
        const double first = step / pow(10, floor(log10(step) + 1e-9));
        step *= first > 1.5 && first < 3 ? 2.5 : 2;
    }
    return step;
}

static int digits_of(double step)
{
    const int digits = (int)-floor(log10(step) + 1e-9);

    return digits < 0 ? 0 : digits;
}

static void tick_text(page *p, double x, double y, const char *attributes, double value,
                      double step)
{
    value = fabs(value) < step / 2 ? 0 : value; /* no "-0" */
    page_f(p, "<text x=\"%.1f\" y=\"%.1f\" class=\"soft\" %s>%.*f</text>\n", x, y, attributes,
           digits_of(step), value);
}

void chart_intervals(page *p, const char *title, const chart_interval *rows, int n, double least,
                     double most)
{
    enum { ROW = 34, LEFT = 2, RIGHT = WIDTH - 44, TOP = 4 };
    const int bottom = TOP + n * ROW + 2;
    const double step = step_of(most - least, 5);

    begin(p, title, WIDTH, bottom + 18);
    for (double at = ceil(least / step - 1e-9) * step; at <= most + step * 1e-6; at += step) {
        const double x = LEFT + within(at, least, most) * (RIGHT - LEFT);
        page_f(p, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", x, x, TOP,
               bottom);
        tick_text(p, x, bottom + 14, at < least + step / 2 ? "" : "text-anchor=\"middle\"", at,
                  step);
    }
    for (int i = 0; i < n; i++) {
        const double y = TOP + i * ROW + 23;
        char text[PAGE_NUMBER];
        short_label(p, LEFT, y - 9, "", rows[i].name, 48);
        if (!isfinite(rows[i].value))
            continue;
        if (isfinite(rows[i].low) && isfinite(rows[i].high))
            page_f(p, "<line class=\"bar\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>\n",
                   LEFT + within(rows[i].low, least, most) * (RIGHT - LEFT),
                   LEFT + within(rows[i].high, least, most) * (RIGHT - LEFT), y, y);
        page_f(p, "<circle class=\"mark\" cx=\"%.1f\" cy=\"%.1f\" r=\"4\"/>\n",
               LEFT + within(rows[i].value, least, most) * (RIGHT - LEFT), y);
        page_number(text, rows[i].value, 3);
        label(p, WIDTH - 2, y + 4, "text-anchor=\"end\"", text);
    }
    end(p);
}

void chart_line(page *p, const chart_axes *axes, const chart_point *points, int n)
{
    enum { LEFT = 40, RIGHT = WIDTH - 10, TOP = 10, BOTTOM = 210, HEIGHT = 250 };
    const double x_range = axes->x_most - axes->x_least, y_range = axes->y_most - axes->y_least;

    if (!(x_range > 0) || !(y_range > 0))
        return;
    const double x_step = step_of(x_range, 5), y_step = step_of(y_range, 5);
    begin(p, axes->title, WIDTH, HEIGHT);
    for (double at = ceil(axes->x_least / x_step - 1e-9) * x_step;
         at <= axes->x_most + x_step * 1e-6; at += x_step) {
        const double x = LEFT + (at - axes->x_least) / x_range * (RIGHT - LEFT);
        page_f(p, "<line class=\"axis\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>\n", x, x, TOP,
               BOTTOM);
        tick_text(p, x, BOTTOM + 14, "text-anchor=\"middle\"", at, x_step);
    }
    for (double at = ceil(axes->y_least / y_step - 1e-9) * y_step;
         at <= axes->y_most + y_step * 1e-6; at += y_step) {
        const double y = BOTTOM - (at - axes->y_least) / y_range * (BOTTOM - TOP);
        page_f(p, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>\n", LEFT,
               RIGHT, y, y);
        tick_text(p, LEFT - 6, y + 4, "text-anchor=\"end\"", at, y_step);
    }
    if (axes->ideal)
        page_f(p, "<line class=\"ideal\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT, RIGHT,
               BOTTOM, TOP);
    page_raw(p, "<polyline class=\"line\" points=\"");
    for (int i = 0; i < n; i++)
        if (isfinite(points[i].x) && isfinite(points[i].y))
            page_f(p, "%.1f,%.1f ",
                   LEFT + within(points[i].x, axes->x_least, axes->x_most) * (RIGHT - LEFT),
                   BOTTOM - within(points[i].y, axes->y_least, axes->y_most) * (BOTTOM - TOP));
    page_raw(p, "\"/>\n");
    for (int i = 0; i < n; i++)
        if (points[i].size > 0 && isfinite(points[i].x) && isfinite(points[i].y))
            page_f(p, "<circle class=\"mark\" cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\"/>\n",
                   LEFT + within(points[i].x, axes->x_least, axes->x_most) * (RIGHT - LEFT),
                   BOTTOM - within(points[i].y, axes->y_least, axes->y_most) * (BOTTOM - TOP),
                   1.5 + 4.5 * sqrt(points[i].size > 1 ? 1 : points[i].size));
    label(p, (LEFT + RIGHT) / 2.0, HEIGHT - 8, "text-anchor=\"middle\"", axes->x_name);
    page_f(p, "<text transform=\"translate(11 %d) rotate(-90)\" text-anchor=\"middle\">",
           (TOP + BOTTOM) / 2);
    page_text(p, axes->y_name);
    page_raw(p, "</text>\n");
    end(p);
}

void chart_bars(page *p, const char *title, const chart_bar *bars, int n)
{
    enum { ROW = 32, LEFT = 2, RIGHT = WIDTH - 110 };
    double most = 0;

    for (int i = 0; i < n; i++)
        most = bars[i].count > most ? bars[i].count : most;
    begin(p, title, WIDTH, n * ROW + 8);
    for (int i = 0; i < n; i++) {
        const double y = i * ROW + 16;
        const double width = most > 0 ? bars[i].count / most * (RIGHT - LEFT) : 0;
        short_label(p, LEFT, y - 3, "", bars[i].name, 48);
        page_f(p, "<rect class=\"mark\" x=\"%d\" y=\"%.1f\" width=\"%.1f\" height=\"8\"/>\n", LEFT,
               y + 1, bars[i].count > 0 && width < 1 ? 1 : width);
        label(p, LEFT + width + 6, y + 9, "class=\"soft\"", bars[i].right);
    }
    end(p);
}

void chart_heat(page *p, const char *title, const char *const *rows, int n_rows,
                const char *const *columns, int n_columns, const double *counts, int n_same)
{
    enum { CELL = 26, LEFT = 150, TOP = 130, NAME = 22 };

    page_raw(p, "<div class=\"wide\" tabindex=\"0\">");
    begin(p, title, LEFT + n_columns * CELL + 90, TOP + n_rows * CELL + 6);
    for (int c = 0; c < n_columns; c++) {
        char at[64];
        snprintf(at, sizeof at, "transform=\"rotate(-55 %d %d)\"", LEFT + c * CELL + CELL / 2 + 4,
                 TOP - 8);
        short_label(p, LEFT + c * CELL + CELL / 2 + 4, TOP - 8, at, columns[c], NAME);
    }
    for (int r = 0; r < n_rows; r++) {
        double sum = 0;
        for (int c = 0; c < n_columns; c++)
            sum += counts[(size_t)r * (size_t)n_columns + (size_t)c];
        const int y = TOP + r * CELL;
        short_label(p, LEFT - 8, y + CELL / 2 + 4, "text-anchor=\"end\"", rows[r], NAME);
        page_f(p, "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>\n", LEFT,
               LEFT + n_columns * CELL, y + CELL, y + CELL);
        for (int c = 0; c < n_columns; c++) {
            const double count = counts[(size_t)r * (size_t)n_columns + (size_t)c];
            const int x = LEFT + c * CELL;
            char text[PAGE_NUMBER];
            if (r == c && r < n_same)
                page_f(p, "<rect class=\"ideal\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/>\n",
                       x + 1, y + 1, CELL - 2, CELL - 2);
            if (!(count > 0))
                continue;
            page_f(p,
                   "<g><rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" "
                   "fill-opacity=\"%.3f\"/><title>",
                   r == c || r >= n_same ? "mark" : "wrong", x + 1, y + 1, CELL - 2, CELL - 2,
                   0.12 + 0.88 * count / sum);
            page_text(p, rows[r]);
            page_raw(p, " \u2192 ");
            page_text(p, columns[c]);
            page_count(text, count);
            page_f(p, ": %s</title>", text);
            if (count >= 10000)
                snprintf(text, sizeof text, "%.0fk", count / 1000);
            else
                snprintf(text, sizeof text, "%.0f", count);
            label(p, x + CELL / 2.0, y + CELL / 2.0 + 4,
                  count / sum > 0.55 ? "text-anchor=\"middle\" class=\"on\" aria-hidden=\"true\""
                                     : "text-anchor=\"middle\" aria-hidden=\"true\"",
                  text);
            page_raw(p, "</g>\n");
        }
    }
    end(p);
    page_raw(p, "</div>\n");
}
