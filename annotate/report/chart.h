#pragma once
/* Drawings of a page: inline SVG, with a title for who cannot see them, coloured by the page's
 * style and so light and dark. All but heat maps are 320 wide and fit a phone. */

#include "annotate/report/page.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A value with its interval; NaN ends draw none. */
typedef struct {
    const char *name;
    double value, low, high;
} chart_interval;

/* One row each, name above mark, on an axis from least to most. */
void chart_intervals(page *p, const char *title, const chart_interval *rows, int n, double least,
                     double most);

/* Points joined in order; both axes from the given least to most. `ideal` draws the diagonal. */
typedef struct {
    double x, y;
    double size; /* of the mark, 0 to 1; 0: no mark */
} chart_point;
typedef struct {
    const char *title, *x_name, *y_name;
    double x_least, x_most, y_least, y_most;
    bool ideal;
} chart_axes;
void chart_line(page *p, const chart_axes *axes, const chart_point *points, int n);

/* Horizontal bars; share of the longest. `right` is written behind the bar. */
typedef struct {
    const char *name;
    double count;
    const char *right;
} chart_bar;
void chart_bars(page *p, const char *title, const chart_bar *bars, int n);

/*
 * counts [n_rows, n_columns]; a cell is as dark as its share of the row and says its count. The
 * diagonal is framed where rows and columns are the same labels (n_same of them).
 */
void chart_heat(page *p, const char *title, const char *const *rows, int n_rows,
                const char *const *columns, int n_columns, const double *counts, int n_same);

#ifdef __cplusplus
}
#endif
