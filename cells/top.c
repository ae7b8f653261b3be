/*
 * Which are the best of many candidates?
 *
 * Values are counted by their leading bits, which tells those that are in for certain from those on
 * the edge; only the edge is searched further, and only what is in is sorted. Counts have few
 * values, so the edge is most often a single one and the order of names decides there.
 */
#include "cells/top.h"

#include <stdbool.h>
#include <string.h>

/* 64 steps to each doubling, from 2^-8 to 2^24; what lies beyond shares the first or last step. */
#define STEP_BITS  6
#define N_STEPS    2048
#define LEAST_BITS ((int64_t)(1023 - 8) << STEP_BITS)

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

static inline int step_of(double value)
{
    int64_t bits;

    memcpy(&bits, &value, sizeof bits);
    bits = (bits >> (52 - STEP_BITS)) - LEAST_BITS;
    return bits < 0 ? 0 : bits >= N_STEPS ? N_STEPS - 1 : (int)bits;
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
    for (int i = n / 2; i-- > 0;)
        sink(c + i, 0, c[i]);     /* a leaf's heap of one */
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

void cells_top(cells_candidate *c, int n, int n_top)
{
    uint32_t counts[N_STEPS];
    int edge = N_STEPS, n_in = 0, n_edge = 0, n_seen = 0;

    if (n <= n_top) {
        sort(c, n);
        return;
    }
    memset(counts, 0, sizeof counts);
    for (int i = 0; i < n; i++)
        counts[step_of(c[i].value)]++;
    while (n_in + n_edge < n_top) {
        n_in += n_edge;
        n_edge = (int)counts[--edge];
    }
    /* Those above the edge to the front, then those on it. */
    int in = 0;
    for (int i = 0; in < n_in; i++)
        if (step_of(c[i].value) > edge)
            swap(&c[i], &c[in++]);
    for (int i = n_in; n_seen < n_edge; i++)
        if (step_of(c[i].value) == edge)
            swap(&c[i], &c[n_in + n_seen++]);
    select_first(c + n_in, n_edge, n_top - n_in);
    sort(c, n_top);
}
