/* Is the trie the set of choices, neither more nor less? */
#include "emt.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/choices.h"

#define VOCAB        10
#define MOST_CHOICES 60
#define MOST_TOKENS  6

/* Random distinct choices over a small vocabulary, so that beginnings are shared and some are the
 * beginning of others. */
typedef struct {
    int32_t ids[MOST_CHOICES * MOST_TOKENS];
    int32_t begin[MOST_CHOICES + 1];
    int n;
} label_set;

static bool holds(const label_set *set, const int32_t *ids, int n)
{
    for (int c = 0; c < set->n; c++)
        if (set->begin[c + 1] - set->begin[c] == n &&
            memcmp(set->ids + set->begin[c], ids, (size_t)n * sizeof *ids) == 0)
            return true;
    return false;
}

static void draw(label_set *set, uint64_t *random)
{
    const int wanted = 1 + (int)(emt_random(random) % MOST_CHOICES);

    set->n = 0;
    set->begin[0] = 0;
    for (int attempt = 0; attempt < wanted; attempt++) {
        int32_t *ids = set->ids + set->begin[set->n];
        const int n = 1 + (int)(emt_random(random) % MOST_TOKENS);

        for (int i = 0; i < n; i++)
            ids[i] = (int32_t)(emt_random(random) % (i < 2 ? 3 : VOCAB));
        if (holds(set, ids, n))
            continue;
        set->begin[set->n + 1] = set->begin[set->n] + n;
        set->n++;
    }
}

/* The node that a choice's ids lead to. */
static int walk(const emc_choices *choices, const int32_t *ids, int n)
{
    int v = 0;

    for (int i = 0; i < n; i++) {
        const emc_choice_node *node = &choices->nodes[v];
        int next = -1;

        for (int c = node->first_child; c < node->first_child + node->n_children; c++)
            if (choices->tokens[c] == ids[i])
                next = c;
        assert_int_not_equal(next, -1);
        v = next;
    }
    return v;
}

static void check_nodes(const emc_choices *choices)
{
    int n_ends = 0, n_inner = 0, n_children = 0;

    for (int v = 0; v < choices->n_nodes; v++) {
        const emc_choice_node *node = &choices->nodes[v];

        n_ends += node->choice >= 0;
        n_children += node->n_children;
        assert_true(node->n_children <= choices->max_children);
        assert_true(node->choice >= 0 || node->n_children > 0); /* no dead end */
        if (v > 0) {
            const emc_choice_node *parent = &choices->nodes[node->parent];

            assert_true(node->parent < v);
            assert_int_equal(node->depth, parent->depth + 1);
            assert_in_range(v, parent->first_child, parent->first_child + parent->n_children - 1);
        }
        if (v > 0 && node->n_children > 0) {
            assert_int_equal(node->inner, n_inner);
            assert_int_equal(choices->inner[n_inner++], v);
        } else {
            assert_int_equal(node->inner, -1);
        }
        for (int c = 1; c < node->n_children; c++)
            assert_true(choices->tokens[node->first_child + c - 1] <
                        choices->tokens[node->first_child + c]);
    }
    assert_int_equal(n_children, choices->n_nodes - 1);
    assert_int_equal(n_inner, choices->n_inner);
    assert_int_equal(n_ends, choices->n_choices);
}

static void random_sets(void **state)
{
    static label_set set;
    uint64_t random = 7;

    (void)state;
    for (int round = 0; round < 300; round++) {
        emc_choices *choices;
        int longest = 0;

        draw(&set, &random);
        EMT_OK(emc_choices_open(&choices, set.ids, set.begin, set.n, VOCAB, MOST_TOKENS));
        assert_int_equal(choices->n_choices, set.n);
        check_nodes(choices);
        for (int c = 0; c < set.n; c++) {
            const int32_t *ids = set.ids + set.begin[c];
            const int n = set.begin[c + 1] - set.begin[c];

            longest = n > longest ? n : longest;
            assert_int_equal(walk(choices, ids, n), choices->ends[c]);
            assert_int_equal(choices->nodes[choices->ends[c]].choice, c);
        }
        assert_int_equal(choices->max_depth, longest);
        emc_choices_close(choices);
    }
}

/* The order in which choices are listed shows in `choice` and `ends` alone. */
static void order_does_not_matter(void **state)
{
    static const int32_t ids[] = {5, 1, 5, 1, 2, 3, 5}, turned[] = {5, 3, 5, 1, 2, 5, 1};
    static const int32_t begin[] = {0, 2, 5, 6, 7}, turned_begin[] = {0, 1, 2, 5, 7};
    emc_choices *a, *b;

    (void)state;
    EMT_OK(emc_choices_open(&a, ids, begin, 4, VOCAB, MOST_TOKENS));
    EMT_OK(emc_choices_open(&b, turned, turned_begin, 4, VOCAB, MOST_TOKENS));
    assert_int_equal(a->n_nodes, 5);
    assert_int_equal(b->n_nodes, 5);
    assert_int_equal(a->n_inner, 2);
    assert_memory_equal(a->tokens, b->tokens, 5 * sizeof *a->tokens);
    assert_memory_equal(a->inner, b->inner, 2 * sizeof *a->inner);
    for (int v = 0; v < 5; v++) {
        assert_int_equal(a->nodes[v].parent, b->nodes[v].parent);
        assert_int_equal(a->nodes[v].first_child, b->nodes[v].first_child);
    }
    assert_int_equal(a->ends[3], b->ends[0]);
    assert_int_equal(a->ends[2], b->ends[1]);
    emc_choices_close(a);
    emc_choices_close(b);
}

static void misuse_is_refused(void **state)
{
    static const int32_t ids[] = {1, 2, 1, 2, 3, 10, -1};
    static const int32_t twice[] = {0, 2, 4}, empty[] = {0, 2, 2}, late[] = {1, 2};
    static const int32_t falling[] = {0, 2, 1}, wide[] = {0, 5, 6}, low[] = {0, 5};
    static const int32_t below[] = {0, INT32_MIN}, negative[] = {0, 1};
    emc_choices *choices;

    (void)state;
    EMT_FAILS(EMC_ERR_CONFIG, "choices 0 and 1 have the same tokens",
              emc_choices_open(&choices, ids, twice, 2, VOCAB, 6));
    assert_null(choices);
    EMT_FAILS(EMC_ERR_CONFIG, "choice 1 has no tokens",
              emc_choices_open(&choices, ids, empty, 2, VOCAB, 6));
    EMT_FAILS(EMC_ERR_CONFIG, "choice 0 has 5 tokens, the most is 4",
              emc_choices_open(&choices, ids, low, 1, VOCAB, 4));
    EMT_FAILS(EMC_ERR_ARG, "need at least 1", emc_choices_open(&choices, ids, low, 0, VOCAB, 6));
    EMT_FAILS(EMC_ERR_ARG, "begin[0] is 1", emc_choices_open(&choices, ids, late, 1, VOCAB, 6));
    EMT_FAILS(EMC_ERR_ARG, "begin[2] falls", emc_choices_open(&choices, ids, falling, 2, VOCAB, 6));
    EMT_FAILS(EMC_ERR_ARG, "begin[1] falls", emc_choices_open(&choices, ids, below, 1, VOCAB, 6));
    EMT_FAILS(EMC_ERR_ARG, "token 10 is not in [0, 10)",
              emc_choices_open(&choices, ids, wide, 2, VOCAB, 6));
    EMT_FAILS(EMC_ERR_ARG, "token -1 is not",
              emc_choices_open(&choices, ids + 6, negative, 1, VOCAB, 6));
    emc_choices_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_sets),
                                       cmocka_unit_test(order_does_not_matter),
                                       cmocka_unit_test(misuse_is_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
