/* Recipes and label maps: those that are built in, and what is refused. */

#include <string.h>

#include "annotate/dataset/recipe.h"
#include "emt.h"

static void test_builtin(void **state)
{
    int n = 0;
    (void)state;

    for (; emc_recipe_builtin(n); n++) {
        emc_recipe *recipe;
        EMT_OK(emc_recipe_open(&recipe, emc_recipe_builtin(n), NULL));
        assert_string_equal(emc_recipe_get(recipe)->name, emc_recipe_builtin(n));
        emc_recipe_close(recipe);
    }
    assert_int_equal(n, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_builtin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
