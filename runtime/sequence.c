/* What rows does a sequence have, as far as is known now? Which of them go into a step: schedule.c.
 */
#include <assert.h>

#include "runtime/engine.h"

int emc_sequence_rows_ready(const emc_sequence *sequence)
{
    return sequence->n_own + sequence->n_generated - sequence->own_queued + sequence->round_end -
           sequence->nodes_queued;
}

bool emc_sequence_is_known(const emc_engine *engine, const emc_sequence *sequence)
{
    if (sequence->ask == EMC_ASK_GENERATE)
        return sequence->n_generated == sequence->max_tokens - 1;
    return sequence->round_end == engine->choices->n_inner;
}

static void take_round(const emc_engine *engine, emc_sequence *sequence, const int32_t *nodes,
                       int n)
{
    sequence->round = nodes;
    sequence->round_begin = sequence->round_end;
    sequence->round_end += n;
    assert(sequence->round_end <= engine->choices->n_inner);
    for (int i = 0; i < n; i++)
        sequence->places[engine->choices->nodes[nodes[i]].inner] = sequence->round_begin + i;
}

static emc_search_policy policy_of(emc_ask ask)
{
    return ask == EMC_ASK_CHOICES ? EMC_SEARCH_ALL
           : ask == EMC_ASK_BEST  ? EMC_SEARCH_BEST
                                  : EMC_SEARCH_GREEDY;
}

/* The root is read at the prompt's last row, the other nodes have rows of their own. */
static emc_status begin_search(const emc_engine *engine, emc_sequence *sequence)
{
    const int32_t *nodes;
    int n;

    EMC_TRY(emc_search_begin(sequence->search, engine->rules, policy_of(sequence->ask)));
    emc_search_next_round(sequence->search, &nodes, &n);
    assert(n > 0 && nodes[0] == 0);
    take_round(engine, sequence, nodes + 1, n - 1);
    return EMC_OK;
}

/* Pages without which it does not begin. */
static int first_pages(const emc_engine *engine, const emc_sequence *sequence)
{
    int n_nodes = sequence->round_end;

    if (sequence->ask == EMC_ASK_GENERATE) /* the last token generated is never an input */
        return emc_pages_for(sequence->n_own + sequence->max_tokens - 1);
    if (n_nodes < EMC_FIRST_NODES)
        n_nodes =
            engine->choices->n_inner < EMC_FIRST_NODES ? engine->choices->n_inner : EMC_FIRST_NODES;
    return emc_pages_for(sequence->n_own + n_nodes);
}

emc_status emc_sequence_begin(const emc_engine *engine, emc_sequence *sequence)
{
    sequence->n_generated = 0;
    sequence->ended = false;
    sequence->finite = true;
    sequence->own_queued = sequence->nodes_queued = 0;
    sequence->own_read = sequence->nodes_read = 0;
    sequence->round_begin = sequence->round_end = 0;
    sequence->n_pages = 0;
    if (sequence->ask != EMC_ASK_GENERATE)
        EMC_TRY(begin_search(engine, sequence));
    sequence->n_pages_first = first_pages(engine, sequence);
    return EMC_OK;
}

bool emc_sequence_next_round(const emc_engine *engine, emc_sequence *sequence)
{
    const int32_t *nodes;
    int n;

    emc_search_next_round(sequence->search, &nodes, &n);
    take_round(engine, sequence, nodes, n);
    return n > 0;
}
