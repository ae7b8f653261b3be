/* Splits and the check that nothing stands on two sides, against a naive check of our own. */

#include <string.h>

#include "annotate/dataset/dataset.h"
#include "emt.h"

static void test_planted(void **state)
{
    emc_dataset_cell cells[2] = {{.cell_id = "a", .embryo = "E1"},
                                 {.cell_id = "b", .embryo = "E1", .part = EMC_PART_TEST}};
    const emc_hash hashes[2] = {{{1}}, {{2}}};
    (void)state;

    EMT_FAILS(EMC_ERR_CONFIG, "embryo \"E1\" is in train and in test",
              emc_split_check(cells, hashes, 2, EMC_SPLIT_EMBRYO));
    EMT_OK(emc_split_check(cells, hashes, 2, EMC_SPLIT_CELL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
