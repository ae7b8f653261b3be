/* Which are the best of many candidates? */
#include "cells/top.h"

#include <stdbool.h>

/* Fewer are sorted at once. */
#define FEW 24

static inline bool is_before(const cells_candidate *a, const cells_candidate *b)
{
    return a->value > b->value || (a->value == b->value && a->order < b->order);
}

static inline void swap(cells_candidate *a, cells_candidate *b)
{
    const cells_candidate c = *a;

    *a = *b;
    *b = c;
}

static void sort_few(cells_candidate *c, int n)
{
    for (int i = 1; i < n; i++) {
        const cells_candidate one = c[i];
        int at = i;
        for (; at > 0 && is_before(&one, &c[at - 1]); at--)
            c[at] = c[at - 1];
        c[at] = one;
    }
}

/* Puts c where the root was and lets it sink: parents come after their children. */
static void sink(cells_candidate *heap, int n, cells_candidate c)
{
    int i = 0;

    for (;;) {
        int child = 2 * i + 1;
        if (child >= n)
            break;
        if (child + 1 < n && is_before(&heap[child], &heap[child + 1]))
            child++;
        if (!is_before(&c, &heap[child]))
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = c;
}

/* For what an unlucky choice of pivots leaves: never slow. */
static void sort_heap(cells_candidate *c, int n)
{
    for (int i = 1; i < n; i++) { /* grows the heap, worst on top */
        const cells_candidate one = c[i];
        int at = i;
        for (; at > 0 && is_before(&c[(at - 1) / 2], &one); at = (at - 1) / 2)
            c[at] = c[(at - 1) / 2];
        c[at] = one;
    }
    for (int end = n - 1; end > 0; end--) {
        const cells_candidate last = c[end];
        c[end] = c[0];
        sink(c, end, last);
    }
}

/* Parts c around the middle of three: what is before it comes first. Where it stands then. */
static int part(cells_candidate *c, int n)
{
    cells_candidate *a = &c[0], *b = &c[n / 2], *z = &c[n - 1];

    if (is_before(b, a))
        swap(a, b);
    if (is_before(z, b)) {
        swap(b, z);
        if (is_before(b, a))
            swap(a, b);
    }
    swap(b, &c[n - 2]);
    const cells_candidate pivot = c[n - 2];
    int to = 0;
    for (int i = 0; i < n - 2; i++) {
        const bool before = is_before(&c[i], &pivot);
        const cells_candidate one = c[i];
        c[i] = c[to];
        c[to] = one;
        to += before;
    }
    swap(&c[to], &c[n - 2]);
    return to;
}

static void sort(cells_candidate *c, int n)
{
    int rounds = 0;

    for (int left = n; left > 0; left /= 2)
        rounds += 2;
    while (n > FEW && rounds-- > 0) {
        const int at = part(c, n), after = n - at - 1;
        /* The smaller side by a call: no deeper than the logarithm. */
        if (at < after) {
            sort(c, at);
            c += at + 1;
            n = after;
        } else {
            sort(c + at + 1, after);
            n = at;
        }
    }
    if (n > FEW)
        sort_heap(c, n);
    else
        sort_few(c, n);
}

/* The n_first best come first, in any order. */
static void select_first(cells_candidate *c, int n, int n_first)
{
    int rounds = 0;

    for (int left = n; left > 0; left /= 2)
        rounds += 2;
    while (n > FEW && n_first > 0 && n_first < n && rounds-- > 0) {
        const int at = part(c, n);
        if (at >= n_first) {
            n = at;
        } else {
            c += at + 1;
            n -= at + 1;
            n_first -= at + 1;
        }
    }
    if (n_first <= 0 || n_first >= n)
        return;
    if (n > FEW)
        sort_heap(c, n);
    else
        sort_few(c, n);
}

void cells_top(cells_candidate *candidates, int n, int n_in, int n_top)
{
    if (n > n_top)
        select_first(candidates + n_in, n - n_in, n_top - n_in);
    sort(candidates, n < n_top ? n : n_top);
}
