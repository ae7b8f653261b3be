/*
 * Which rows go into the next step?
 *
 * Running sequences first, in the order of their submission, so that one that generates or searches
 * is never kept waiting by prompts behind it; then as many waiting ones as find their pages free. A
 * prompt that does not fit in what is left of a step is cut at a multiple of EMC_PAGE_POSITIONS,
 * the tile of attention.
 *
 * A sequence is admitted only when every page is free that it will need for its own rows and for
 * the first nodes of its search. Few searches need more; one that does takes free pages before any
 * other sequence is admitted, and where there are none, those of the engine's reserve, or waits.
 * The reserve's holder never waits, and all others hold what they need or wait for it to end: there
 * is no deadlock.
 *
 * What an answer is does not depend on any of this: a row's numbers depend on its own inputs and
 * keys alone. To that end rows that are alike come alike (see emc_attention_args): those of a
 * prompt as causal items, nodes and generated tokens as flat ones, also where a prompt is of one
 * row; and in the last layer, which runs for readers alone, all are flat.
 */
#include <assert.h>

#include "runtime/engine.h"

/* --- Pages ------------------------------------------------------------------------------------ */

int emc_engine_reserve_for(const emc_choices *choices)
{
    return choices->n_inner > EMC_FIRST_NODES ? emc_pages_for(choices->n_inner) : 0;
}

static bool admit(emc_engine *engine, emc_sequence *sequence)
{
    emc_pages *pages = engine->cache->pages;
    const int need = sequence->n_pages_first;

    if (need > emc_pages_free(pages) || emc_pages_take(pages, sequence->pages, need) != EMC_OK)
        return false;
    if (sequence->prefix_len > 0 &&
        emc_pages_retain(pages, engine->prefix_pages, engine->n_prefix_pages) != EMC_OK)
        return false;
    sequence->n_pages = need;
    sequence->state = EMC_SEQUENCE_RUNNING;
    return true;
}

/* One page more for a search; false when there is none now. */
static bool take_page(emc_engine *engine, emc_sequence *sequence)
{
    emc_pages *pages = engine->cache->pages;
    int32_t *page = sequence->pages + sequence->n_pages;

    if (emc_pages_free(pages) > 0) {
        if (emc_pages_take(pages, page, 1) != EMC_OK)
            return false;
    } else {
        if (engine->reserve_holder && engine->reserve_holder != sequence)
            return false;
        assert(engine->n_reserve_held < engine->n_reserve);
        *page = engine->reserve[engine->n_reserve_held];
        if (emc_pages_retain(pages, page, 1) != EMC_OK)
            return false;
        engine->reserve_holder = sequence;
        engine->n_reserve_held++;
    }
    sequence->n_pages++;
    return true;
}

void emc_engine_release_pages(emc_engine *engine, emc_sequence *sequence)
{
    emc_status status = emc_pages_release(engine->cache->pages, sequence->pages, sequence->n_pages);

    if (status == EMC_OK && sequence->prefix_len > 0)
        status =
            emc_pages_release(engine->cache->pages, engine->prefix_pages, engine->n_prefix_pages);
    assert(status == EMC_OK);
    (void)status;
    sequence->n_pages = 0;
    if (engine->reserve_holder == sequence) {
        engine->reserve_holder = NULL;
        engine->n_reserve_held = 0;
    }
}

/* --- Rows of one sequence --------------------------------------------------------------------- */

static int32_t own_slot(const emc_sequence *sequence, int place)
{
    return sequence->pages[place / EMC_PAGE_POSITIONS] * EMC_PAGE_POSITIONS +
           place % EMC_PAGE_POSITIONS;
}

/* Nodes stand behind the prompt in its last page and on: attention sees own positions up to
 * own_seen only, and a path by its slots. */
static int32_t path_slot(const emc_sequence *sequence, int inner)
{
    return own_slot(sequence, sequence->n_own + sequence->places[inner]);
}

/* An item of the sequence with its pages in the step's table, rows and what they see left open. */
static emc_attention_item start_item(emc_engine *engine, const emc_sequence *sequence)
{
    emc_flight *flight = engine->filling;
    const int n_pages = emc_pages_for(sequence->n_own + sequence->n_generated);
    emc_attention_item item = {.prefix_len = sequence->prefix_len};

    if (sequence->prefix_len > 0) {
        if (flight->prefix_place < 0)
            flight->prefix_place =
                emc_step_add_pages(flight->step, engine->prefix_pages, engine->n_prefix_pages);
        item.prefix_page = flight->prefix_place;
    }
    item.own_page = emc_step_add_pages(flight->step, sequence->pages, n_pages);
    return item;
}

static void add_reader(emc_engine *engine, emc_sequence *sequence, int node)
{
    const emc_choices *choices = engine->choices;
    emc_flight *flight = engine->filling;
    int reader;

    if (sequence->ask != EMC_ASK_GENERATE)
        reader =
            emc_step_add_reader(flight->step, choices->tokens + choices->nodes[node].first_child,
                                choices->nodes[node].n_children);
    else
        reader = emc_step_add_reader(flight->step, NULL, 0);
    flight->readers[reader] = (emc_reader){sequence, node};
}

static int rows_left(const emc_engine *engine)
{
    return engine->filling->step->limits.max_rows - engine->filling->step->n_rows;
}

static int readers_left(const emc_engine *engine)
{
    return engine->filling->step->limits.max_readers - engine->filling->step->n_readers;
}

/* How many of `rest` own rows go into this step; the last of them is read. */
static int own_rows_that_fit(const emc_engine *engine, int rest)
{
    int n = rest;

    if (n <= rows_left(engine) && readers_left(engine) > 0)
        return n;
    if (n > rows_left(engine))
        n = rows_left(engine);
    else
        n--; /* no room to read the last one */
    return n / EMC_PAGE_POSITIONS * EMC_PAGE_POSITIONS;
}

static void add_own_rows(emc_engine *engine, emc_sequence *sequence, emc_attention_item item, int n)
{
    emc_step *step = engine->filling->step;
    const int first = sequence->own_queued;

    item.row0 = step->n_rows;
    item.n_rows = n;
    item.own_seen = first + 1;
    item.causal = first < sequence->n_own; /* else a generated token: they come one by one */
    assert(item.causal ? first + n <= sequence->n_own : n == 1);
    for (int i = first; i < first + n; i++)
        emc_step_add_row(step, sequence->ids[sequence->prefix_len + i], sequence->prefix_len + i,
                         own_slot(sequence, i), NULL, 0);
    emc_step_add_items(step, &item);
    if (first + n == sequence->n_own + sequence->n_generated)
        add_reader(engine, sequence, 0);
}

/* A row for each of the next n nodes. Ancestors come before their descendants, so their K and V are
 * stored in an earlier step or in this one. */
static void add_node_rows(emc_engine *engine, emc_sequence *sequence, emc_attention_item item,
                          int n)
{
    const emc_choices *choices = engine->choices;
    emc_step *step = engine->filling->step;
    int32_t path[EMC_MAX_PATH];

    item.row0 = step->n_rows;
    item.n_rows = n;
    item.own_seen = sequence->n_own;
    item.causal = 0;
    for (int i = sequence->nodes_queued; i < sequence->nodes_queued + n; i++) {
        const int node = sequence->round[i - sequence->round_begin];
        const int depth = choices->nodes[node].depth;

        for (int v = node, d = depth - 1; d >= 0; v = choices->nodes[v].parent, d--)
            path[d] = path_slot(sequence, choices->nodes[v].inner);
        emc_step_add_row(step, choices->tokens[node], sequence->n_prompt + depth - 1,
                         path[depth - 1], path, depth);
        add_reader(engine, sequence, node);
    }
    emc_step_add_items(step, &item);
}

/* How many of the next `rest` nodes go into this step. Takes the pages that they need. */
static int nodes_that_fit(emc_engine *engine, emc_sequence *sequence, int rest)
{
    emc_flight *flight = engine->filling;
    int n = rest, room;

    if (n > rows_left(engine))
        n = rows_left(engine);
    if (n > readers_left(engine))
        n = readers_left(engine);
    flight->full = flight->full || n < rest;
    room = sequence->n_pages * EMC_PAGE_POSITIONS - sequence->n_own - sequence->nodes_queued;
    while (room < n && take_page(engine, sequence))
        room += EMC_PAGE_POSITIONS;
    flight->short_of_pages = flight->short_of_pages || room < n;
    return n < room ? n : room;
}

/* Puts as much of a sequence into the step as there is room for; false when that is nothing. */
static bool add_sequence(emc_engine *engine, emc_sequence *sequence)
{
    emc_flight *flight = engine->filling;
    const int own_rest = sequence->n_own + sequence->n_generated - sequence->own_queued;
    const int node_rest = sequence->round_end - sequence->nodes_queued;
    const int first_reader = flight->step->n_readers;
    const int n_own = own_rest > 0 ? own_rows_that_fit(engine, own_rest) : 0;
    int n_nodes = own_rest == 0 ? nodes_that_fit(engine, sequence, node_rest) : 0;
    emc_attention_item item;

    flight->full = flight->full || n_own < own_rest;
    if (n_own + n_nodes == 0)
        return false;
    item = start_item(engine, sequence);
    if (n_own > 0) {
        add_own_rows(engine, sequence, item, n_own);
        if (n_own == own_rest)
            n_nodes = nodes_that_fit(engine, sequence, node_rest);
    }
    if (n_nodes > 0)
        add_node_rows(engine, sequence, item, n_nodes);
    item.row0 = first_reader;
    item.n_rows = flight->step->n_readers - first_reader;
    item.own_seen = sequence->own_queued + n_own;
    item.causal = 0;
    emc_step_add_reader_items(flight->step, &item);
    flight->shares[flight->n_shares++] = (emc_share){sequence, n_own, n_nodes};
    return true;
}

/* --- A step ----------------------------------------------------------------------------------- */

void emc_engine_fill(emc_engine *engine)
{
    emc_flight *flight =
        &engine->flights[(engine->first_flight + engine->n_flights) % engine->max_flights];
    bool admitting;

    engine->filling = flight;
    emc_step_clear(flight->step);
    flight->n_shares = 0;
    flight->prefix_place = -1;
    flight->full = flight->short_of_pages = false;
    for (int i = 0; i < engine->n_order; i++)
        if (engine->order[i]->state == EMC_SEQUENCE_RUNNING)
            (void)add_sequence(engine, engine->order[i]);
    admitting = !flight->short_of_pages;
    for (int i = 0; i < engine->n_order && admitting; i++) {
        emc_sequence *next = engine->order[i];

        if (next->state != EMC_SEQUENCE_WAITING)
            continue;
        if (rows_left(engine) == 0) {
            flight->full = true;
            admitting = false;
        } else if (!admit(engine, next)) {
            flight->short_of_pages = true;
            admitting = false;
        } else {
            admitting = add_sequence(engine, next);
        }
    }
    flight->full = flight->full || rows_left(engine) == 0;
}
