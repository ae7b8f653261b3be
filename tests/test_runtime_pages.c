/* Are pages accounted for exactly, whatever the order of taking, sharing and giving back? */
#include "emt.h"

#include <string.h>

#include "runtime/pages.h"

#define MOST_PAGES   64
#define MOST_HOLDERS 40
#define N_ACTIONS    20000

/* What each holder has, and how often each page is held: the naive model. */
typedef struct {
    int32_t held[MOST_HOLDERS][MOST_PAGES];
    int n_held[MOST_HOLDERS];
    int references[MOST_PAGES];
    int n_pages;
} naive;

static int naive_free(const naive *model)
{
    int n = 0;

    for (int p = 0; p < model->n_pages; p++)
        n += model->references[p] == 0;
    return n;
}

static void take(emc_pages *pages, naive *model, int holder, int n)
{
    const int n_free = naive_free(model);
    int32_t got[MOST_PAGES];

    if (n > n_free) {
        EMT_FAILS(EMC_ERR_ARG, "are free", emc_pages_take(pages, got, n));
        return;
    }
    EMT_OK(emc_pages_take(pages, got, n));
    for (int i = 0; i < n; i++) {
        assert_in_range(got[i], 0, model->n_pages - 1);
        assert_int_equal(model->references[got[i]], 0); /* nobody else has it */
        model->references[got[i]] = 1;
        model->held[holder][i] = got[i];
    }
    model->n_held[holder] = n;
}

static void share(emc_pages *pages, naive *model, int from, int to)
{
    const int n = model->n_held[from];

    EMT_OK(emc_pages_retain(pages, model->held[from], n));
    memcpy(model->held[to], model->held[from], sizeof model->held[to]);
    model->n_held[to] = n;
    for (int i = 0; i < n; i++)
        model->references[model->held[to][i]]++;
}

static void give_back(emc_pages *pages, naive *model, int holder)
{
    EMT_OK(emc_pages_release(pages, model->held[holder], model->n_held[holder]));
    for (int i = 0; i < model->n_held[holder]; i++)
        model->references[model->held[holder][i]]--;
    model->n_held[holder] = 0;
}

static void random_schedules(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        static naive model;
        uint64_t random = seed;
        emc_pages *pages;

        memset(&model, 0, sizeof model);
        model.n_pages = 1 + (int)(emt_random(&random) % 16);
        EMT_OK(emc_pages_open(&pages, model.n_pages));
        for (int action = 0; action < N_ACTIONS; action++) {
            const int a = (int)(emt_random(&random) % MOST_HOLDERS);
            const int b = (int)(emt_random(&random) % MOST_HOLDERS);

            if (model.n_held[a] == 0)
                take(pages, &model, a, (int)(emt_random(&random) % 8));
            else if (model.n_held[b] == 0 && emt_random(&random) % 3 == 0)
                share(pages, &model, a, b);
            else
                give_back(pages, &model, a);
            if (emt_random(&random) % 1000 == 0 && model.n_pages < MOST_PAGES) {
                model.n_pages += 1 + (int)(emt_random(&random) % 3);
                if (model.n_pages > MOST_PAGES)
                    model.n_pages = MOST_PAGES;
                EMT_OK(emc_pages_grow(pages, model.n_pages));
            }
            assert_int_equal(emc_pages_free(pages), naive_free(&model));
            assert_int_equal(emc_pages_count(pages), model.n_pages);
        }
        for (int h = 0; h < MOST_HOLDERS; h++)
            give_back(pages, &model, h);
        assert_int_equal(emc_pages_free(pages), model.n_pages); /* none lost, none doubled */
        emc_pages_close(pages);
    }
}

static void misuse_is_refused(void **state)
{
    emc_pages *pages;
    int32_t mine[4];
    const int32_t outside = 4, negative = -1;

    (void)state;
    EMT_FAILS(EMC_ERR_ARG, "need at least 1", emc_pages_open(&pages, 0));
    assert_null(pages);
    EMT_OK(emc_pages_open(&pages, 4));
    EMT_OK(emc_pages_take(pages, mine, 3));
    EMT_FAILS(EMC_ERR_ARG, "2 pages wanted, 1 are free", emc_pages_take(pages, mine, 2));
    EMT_OK(emc_pages_release(pages, mine, 1));
    EMT_FAILS(EMC_ERR_INTERNAL, "not taken", emc_pages_release(pages, mine, 1));
    EMT_FAILS(EMC_ERR_INTERNAL, "not taken", emc_pages_retain(pages, mine, 1));
    EMT_FAILS(EMC_ERR_INTERNAL, "not taken", emc_pages_release(pages, &outside, 1));
    EMT_FAILS(EMC_ERR_INTERNAL, "not taken", emc_pages_release(pages, &negative, 1));
    assert_int_equal(emc_pages_free(pages), 2);
    emc_pages_close(pages);
    emc_pages_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(random_schedules),
                                       cmocka_unit_test(misuse_is_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
