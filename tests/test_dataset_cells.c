/* The labelled cells of real files and of files made here: which are kept, and with what. */

#include <string.h>

#include "annotate/dataset/dataset.h"
#include "emt.h"

static emc_status count_each(void *context, const emc_dataset_genes *genes)
{
    int64_t *n = context;

    assert_int_equal(genes->cell->index, *n);
    assert_true(genes->n_genes >= 10);
    (*n)++;
    return EMC_OK;
}

static void test_yan(void **state)
{
    emc_recipe *recipe;
    emc_dataset *dataset;
    int64_t n = 0;
    (void)state;

    emt_need_shared("data/yan2013/yan2013.h5ad");
    EMT_OK(emc_recipe_open(&recipe, "yan2013", emt_shared("data")));
    EMT_OK(emc_dataset_open(&dataset, recipe, NULL));
    assert_int_equal(emc_dataset_count(dataset), 60);
    const emc_dataset_input *input = emc_dataset_get_input(dataset, 0);
    assert_int_equal(input->n_cells, 90);
    assert_int_equal(input->n_dropped, 30);
    assert_int_equal(input->n_twins, 0);
    EMT_OK(emc_dataset_each(dataset, count_each, &n));
    assert_int_equal(n, 60);
    emc_dataset_close(dataset);
    emc_recipe_close(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_yan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
