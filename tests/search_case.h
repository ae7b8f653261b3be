#pragma once
/* Sets of choices and made-up models that tell their probabilities, for tests of the search. */

#include "emt.h"

#include "ref/ref_search.h"
#include "runtime/search.h"

#define SEARCH_MOST_CHOICES 1000
#define SEARCH_MOST_TOKENS  64

typedef enum {
    SHAPE_SHORT,   /* few tokens, many choices begin others */
    SHAPE_ENDED,   /* an end token closes each, none begins another */
    SHAPE_CHAINS,  /* a branch or two, then a long way without any */
    SHAPE_SINGLES, /* one token each */
    SHAPE_DEEP,    /* a long beginning that all share */
    SHAPE_NESTED,  /* most go on where another ended */
    N_SHAPES
} search_shape;

typedef enum {
    STYLE_FLAT,   /* all about alike */
    STYLE_PEAKED, /* some far above the others */
    STYLE_NEAR,   /* differences of a millionth */
    STYLE_EVEN,   /* exact ties */
    STYLE_ONE,    /* all mass on one token, exactly */
    STYLE_LEAK,   /* nearly all mass beside the set */
    STYLE_FAR,    /* log-probabilities about -1e6 */
    STYLE_ABOVE,  /* all mass on one or two tokens, which add up to more than 1 by rounding */
    N_STYLES
} search_style;

typedef struct {
    int32_t *ids;   /* [begin[n]] */
    int32_t *begin; /* [n + 1] */
    double *edges;  /* parallel to ids */
    double *priors; /* [n] logs */
    int n;
    emc_choices *choices;
    float *logits;   /* [n_nodes] of each node's token after its parent */
    float *log_sums; /* [n_nodes] */
} search_case;

/* Choices and priors alone. */
void search_case_draw(search_case *out, search_shape shape, int n, uint64_t *random);
void search_case_open(search_case *out, search_shape shape, search_style style, int n,
                      uint64_t *random);
void search_case_close(search_case *c);

ref_search_table search_case_table(const search_case *c);

/* Where a search stands. */
typedef struct {
    emc_found found;
    double *log_probs; /* [n] */
    double *scores;    /* [n] */
    int n_rounds;
    bool finite;
} search_end;

typedef void search_look(const search_case *c, const search_end *so_far, void *user);

/* Runs it to the end, shows what is known before the first round and after each to `look` (NULL:
 * nobody), and gives the numbers of a round in an order drawn from *shuffle (NULL: as they stand).
 * `bad` is a node whose numbers are made not finite, or -1. */
void search_case_run(search_end *out, emc_search *search, const emc_search_rules *rules,
                     emc_search_policy policy, const search_case *c, search_look *look, void *user,
                     uint64_t *shuffle, int bad);
void search_end_close(search_end *end);
