/* Where do the rows of a compressed matrix begin? */
#include "cells/h5_pointers.h"

#include <stdlib.h>

#include "base/size.h"

#define WINDOW 8192

/* A column may come twice in a row, but a row of many times all columns is a lie that would cost
 * gigabytes. */
#define REPEATS 16
#define SPARE   1024

/* Reads entries first .. first + n and checks them; 0 and the end are checked where they are. */
static emc_status load(h5_pointers *p, int64_t first, int64_t n)
{
    const size_t need = (size_t)n + 1;

    p->n = -1;
    EMC_TRY(emc_reserve(&p->window, &p->capacity, need, sizeof *p->window, "row pointers"));
    EMC_TRY(cells_h5_slice(p->window, p->dataset, (hsize_t)first, (hsize_t)n + 1, H5T_NATIVE_INT64,
                           p->path));
    const int64_t *window = p->window;
    if (first == 0 && window[0] != 0)
        return cells_h5_fail(EMC_ERR_FORMAT, p->path, p->dataset, "starts at %lld, wanted 0",
                             (long long)window[0]);
    if (window[n] > p->n_values || (first + n == p->n_major && window[n] != p->n_values))
        return cells_h5_fail(
            EMC_ERR_FORMAT, p->path, p->dataset, "%s at %lld, but there are %lld values",
            first + n == p->n_major ? "ends" : "is", (long long)window[n], (long long)p->n_values);
    for (int64_t i = 0; i < n; i++)
        if (window[i] < 0 || window[i + 1] < window[i] || window[i + 1] - window[i] > p->most)
            return cells_h5_fail(EMC_ERR_FORMAT, p->path, p->dataset,
                                 "goes from %lld to %lld at entry %lld; the file is damaged",
                                 (long long)window[i], (long long)window[i + 1],
                                 (long long)(first + i) + 1);
    p->first = first;
    p->n = n;
    return EMC_OK;
}

emc_status h5_pointers_open(h5_pointers *p, hid_t dataset, int64_t n_major, int64_t n_minor,
                            int64_t n_values, const char *path)
{
    hsize_t length;
    const int64_t most =
        n_minor < (INT32_MAX - SPARE) / REPEATS ? n_minor * REPEATS + SPARE : INT32_MAX;

    *p = (h5_pointers){.path = path,
                       .dataset = dataset,
                       .n_major = n_major,
                       .n_values = n_values,
                       .most = most,
                       .n = -1};
    EMC_TRY(cells_h5_dims(&length, 1, dataset, path));
    if (length != (hsize_t)n_major + 1)
        return cells_h5_fail(EMC_ERR_FORMAT, path, dataset, "has %llu entries, wanted %lld",
                             (unsigned long long)length, (long long)n_major + 1);
    for (int64_t first = 0; first < n_major; first += WINDOW)
        EMC_TRY(load(p, first, n_major - first < WINDOW ? n_major - first : WINDOW));
    return n_major == 0 ? load(p, 0, 0) : EMC_OK;
}

void h5_pointers_close(h5_pointers *p)
{
    if (p->path) /* else nothing was ever opened */
        cells_h5_close(p->dataset);
    free(p->window);
    *p = (h5_pointers){.dataset = -1};
}

emc_status h5_pointers_get(h5_pointers *p, int64_t first, int64_t n, const int64_t **out)
{
    if (p->n < 0 || first < p->first || first + n > p->first + p->n) {
        int64_t count = n < WINDOW ? WINDOW : n;
        if (count > p->n_major - first)
            count = p->n_major - first;
        EMC_TRY(load(p, first, count));
    }
    *out = p->window + (first - p->first);
    return EMC_OK;
}
