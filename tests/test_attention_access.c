/* How does attention touch memory, and what does it take? Counted by the virtual GPU. */
#include <string.h>

#include "attention_case.h"
#include "virtual_gpu/vg.h"

static const attention_case prompts[] = {
    {{{200, 70, 1, 0, 1}}, 2, 1, 128, 1, "a prompt"},
    {{{200, 70, 1, 0, 1}}, 2, 1, 64, 1, "a prompt, heads of 64"},
};

static const attention_case choices[] = {
    {{{9, 130, 100, 0, 0}}, 4, 1, 128, 1, "choices"},
    {{{1, 130, 100, 0, 0}}, 4, 1, 128, 1, "a single token"},
    {{{9, 130, 100, 0, 0}}, 4, 1, 64, 1, "choices, heads of 64"},
    {{{1, 1200, 30, 0, 0}}, 4, 1, 128, 1, "a long context"},
};

static const attention_case paths = {{{9, 130, 100, 2, 0}}, 4, 1, 128, 1, "choices with paths"};

/* Every 8x8 matrix is read in one pass over the banks. Copies of K and V and stores of results
 * touch no sector that their bytes do not fill. For keys of a path a lane reads half a sector at
 * a time. */
static void check_kernel(emc_device *dev, const attention_case *c, const char *kernel,
                         double most_surplus)
{
    attention_step s = attention_step_make(dev, c, 0);
    vg_kernel_counts counts;

    vg_reset_counts();
    EMT_OK(dev->ops->attention(dev, &s.args));
    EMT_OK(dev->ops->sync(dev));
    if (!vg_kernel_stats(kernel, &counts))
        fail_msg("%s: %s was not launched", c->reaches, kernel);
    if (counts.ldmatrix_rows == 0 || counts.ldmatrix_conflicts != 0)
        fail_msg("%s: %llu bank conflicts in %llu matrices", c->reaches, counts.ldmatrix_conflicts,
                 counts.ldmatrix_rows);
    if (vg_is_checking() && counts.least_load_sectors == 0)
        fail_msg("%s: nothing was counted", c->reaches);
    if (counts.store_sectors != counts.least_store_sectors)
        fail_msg("%s: %llu sectors stored, %llu would do", c->reaches, counts.store_sectors,
                 counts.least_store_sectors);
    if ((double)counts.load_sectors > (1.0 + most_surplus) * (double)counts.least_load_sectors)
        fail_msg("%s: %llu sectors loaded, %llu would do", c->reaches, counts.load_sectors,
                 counts.least_load_sectors);
    if ((double)counts.shared_passes > (1.0 + most_surplus) * (double)counts.least_shared_passes)
        fail_msg("%s: %llu passes over shared memory, %llu would do", c->reaches,
                 counts.shared_passes, counts.least_shared_passes);
    attention_step_free(&s);
}

static void accesses(emc_device *dev)
{
    for (size_t i = 0; i < EMC_COUNT(prompts); i++)
        check_kernel(dev, &prompts[i], "attention_causal_kernel", 0.0);
    for (size_t i = 0; i < EMC_COUNT(choices); i++)
        check_kernel(dev, &choices[i], "attention_flat_kernel", 0.0);
    check_kernel(dev, &paths, "attention_flat_kernel", 0.1);
}

static void test_accesses(void **state)
{
    (void)state;
    emt_each_device(accesses);
}

/* A prepared call allocates nothing and waits for nothing. */
static void prepared(emc_device *dev)
{
    static const attention_case c = {{{3, 40, 2100, 2, 0}, {2, 40, 30, 2, 0}}, 4, 2, 128, 1, ""};
    attention_step s = attention_step_make(dev, &c, 0);

    EMT_OK(dev->ops->prepare_attention(dev, &s.args));
    vg_reset_counts();
    EMT_OK(dev->ops->attention(dev, &s.args));
    const vg_counts counts = vg_read_counts();
    EMT_OK(dev->ops->sync(dev));
    assert_int_equal(counts.allocations, 0);
    assert_int_equal(counts.waits, 0);
    attention_step_free(&s);
}

static void test_prepared(void **state)
{
    (void)state;
    emt_each_device(prepared);
}

/* Where partial results of all items would not fit 64 MiB they go launch after launch, and give the
 * same bits. Sizes are claimed, not real: they are upper bounds. */
static void bounded(emc_device *dev)
{
    static const attention_case c = {
        {{3, 40, 1100, 2, 0}, {2, 40, 30, 2, 0}, {1, 1030, 7, 0, 0}}, 4, 2, 64, 1, ""};
    attention_step s = attention_step_make(dev, &c, 0);
    emt_buf same = emt_poison(dev, s.out.n);
    vg_kernel_counts kernel;

    EMT_OK(dev->ops->attention(dev, &s.args));
    emt_fetch(&s.out);
    s.args.out = same.d;
    s.args.max_flat_keys = 2500000;
    s.args.max_flat_rows = 4;
    const unsigned long long before = vg_read_counts().live_bytes;
    vg_reset_counts();
    EMT_OK(dev->ops->attention(dev, &s.args));
    emt_fetch(&same);
    emt_same("launch after launch", &s.out, 0, &same, 0, s.out.n);
    assert_true(vg_kernel_stats("attention_join_kernel", &kernel));
    assert_true(kernel.launches > 1);
    assert_true(vg_read_counts().live_bytes - before <= (64 << 20) + 4096);
    emt_free(&same);
    attention_step_free(&s);
}

static void test_bounded(void **state)
{
    (void)state;
    emt_each_device(bounded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_accesses),
        cmocka_unit_test(test_prepared),
        cmocka_unit_test(test_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
