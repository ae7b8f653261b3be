/* How do the kernels that move the most bytes touch memory? Counted by the virtual GPU: each warp's
 * access to global memory in as few 32-byte sectors as its bytes fill, no shared bank read twice
 * for one access. And what does a prepared operation take at its first call? */
#include <math.h>
#include <stdlib.h>

#include "emt_device.h"
#include "virtual_gpu/vg.h"

#define EPS 1e-6f

/* The kernel's accesses since the last vg_reset_counts. surplus_loads: sectors beyond the least. */
static void check_accesses(emc_device *dev, const char *kernel, unsigned long long surplus_loads)
{
    vg_kernel_counts counts;

    EMT_OK(dev->ops->sync(dev));
    if (!vg_kernel_stats(kernel, &counts))
        fail_msg("%s was not launched", kernel);
    if (counts.least_load_sectors == 0 || counts.least_store_sectors == 0)
        fail_msg("%s: nothing was counted", kernel);
    if (counts.load_sectors != counts.least_load_sectors + surplus_loads ||
        counts.store_sectors != counts.least_store_sectors ||
        counts.shared_passes != counts.least_shared_passes)
        fail_msg("%s: %llu sectors loaded of %llu and %llu more, %llu stored of %llu, %llu passes "
                 "over shared memory of %llu",
                 kernel, counts.load_sectors, counts.least_load_sectors, surplus_loads,
                 counts.store_sectors, counts.least_store_sectors, counts.shared_passes,
                 counts.least_shared_passes);
}

static void norms(emc_device *dev)
{
    static const int dims[] = {1024, 2560, 4096, 5120};

    for (size_t i = 0; i < EMC_COUNT(dims); i++) {
        const size_t dim = (size_t)dims[i], n = 3 * dim;
        uint64_t seed = 1;
        emt_buf x = emt_normals(dev, n, 1.0, &seed), y = emt_normals(dev, n, 1.0, &seed);
        emt_buf weight = emt_normals(dev, dim, 1.0, &seed), out = emt_poison(dev, n);

        vg_reset_counts();
        EMT_OK(dev->ops->rmsnorm(dev, out.d, x.d, weight.d, 3, dims[i], EPS));
        EMT_OK(dev->ops->add_rmsnorm(dev, out.d, x.d, y.d, weight.d, 3, dims[i], EPS));
        check_accesses(dev, "norm_held_kernel", 0);
        emt_free(&x);
        emt_free(&y);
        emt_free(&weight);
        emt_free(&out);
    }
}

static void swiglu(emc_device *dev)
{
    const int ffn = 12288;
    uint64_t seed = 1;
    emt_buf x = emt_normals(dev, (size_t)(4 * ffn), 1.0, &seed);
    emt_buf out = emt_poison(dev, (size_t)(2 * ffn));

    vg_reset_counts();
    EMT_OK(dev->ops->swiglu(dev, out.d, x.d, 2, ffn));
    check_accesses(dev, "swiglu_kernel", 0);
    emt_free(&x);
    emt_free(&out);
}

static void gather(emc_device *dev)
{
    const int32_t index[] = {4, 0, 2};
    const size_t dim = 4096;
    uint64_t seed = 1;
    emt_buf x = emt_normals(dev, 5 * dim, 1.0, &seed), out = emt_poison(dev, 3 * dim);
    emt_buf d_index = emt_ints(dev, index, 3);

    vg_reset_counts();
    EMT_OK(dev->ops->gather_rows(dev, out.d, x.d, d_index.d, 3, (int)dim));
    check_accesses(dev, "gather_rows_kernel", 0);
    emt_free(&x);
    emt_free(&out);
    emt_free(&d_index);
}

/* Heads of Qwen3-8B: a row takes four warps. */
static void rope(emc_device *dev)
{
    enum { ROWS = 2, HEADS = 32, KV_HEADS = 8, DIM = 128, WARPS = 4 };
    const size_t width = (HEADS + 2 * KV_HEADS) * DIM, cache = KV_HEADS * EMC_PAGE_POSITIONS * DIM;
    const int32_t positions[ROWS] = {1, 0}, slots[ROWS] = {77, 3};
    double angles[2 * DIM];
    uint64_t seed = 1;

    for (int i = 0; i < 2 * DIM; i++)
        angles[i] = i % 2 ? 0.6 : 0.8;
    emt_buf rows = emt_normals(dev, ROWS * width, 1.0, &seed);
    emt_buf norm = emt_normals(dev, DIM, 1.0, &seed), table = emt_f32_values(dev, angles, 2 * DIM);
    emt_buf position = emt_ints(dev, positions, ROWS), slot = emt_ints(dev, slots, ROWS);
    emt_buf k_cache = emt_poison(dev, cache), v_cache = emt_poison(dev, cache);
    const emc_rope_args args = {.q = rows.d,
                                .k = (char *)rows.d + (size_t)HEADS * DIM * rows.size,
                                .v = (char *)rows.d + (size_t)(HEADS + KV_HEADS) * DIM * rows.size,
                                .q_stride = (int)width,
                                .kv_stride = (int)width,
                                .q_norm = norm.d,
                                .k_norm = norm.d,
                                .rope_table = table.d,
                                .positions = position.d,
                                .slots = slot.d,
                                .k_cache = k_cache.d,
                                .v_cache = v_cache.d,
                                .rows = ROWS,
                                .n_heads = HEADS,
                                .n_kv_heads = KV_HEADS,
                                .head_dim = DIM,
                                .eps = EPS};

    vg_reset_counts();
    EMT_OK(dev->ops->rope_store(dev, &args));
    /* A lane's angles are 64 bytes in four loads, each of which has half of eight sectors. */
    check_accesses(dev, "rope_store_kernel", ROWS * WARPS * 4 * 4);
    emt_free(&rows);
    emt_free(&norm);
    emt_free(&table);
    emt_free(&position);
    emt_free(&slot);
    emt_free(&k_cache);
    emt_free(&v_cache);
}

/* Also: once prepared, head allocates nothing and waits for nothing, for fewer rows as well. */
static void head(emc_device *dev)
{
    enum { ROWS = 4, K = 64, VOCAB = 16384 };
    uint64_t seed = 1;
    const int32_t begin[ROWS + 1] = {0};
    emt_weights part = emt_part(dev, VOCAB, K, EMC_BF16, 0, 1.0, &seed);
    emt_buf x = emt_normals(dev, ROWS * K, 1.0, &seed), d_begin = emt_ints(dev, begin, ROWS + 1);
    emt_buf log_sum = emt_f32_poison(dev, ROWS), top = emt_f32_poison(dev, ROWS * 4);
    emc_matrix *w;

    EMT_OK(dev->ops->matrix_open(dev, &w, &part.part, 1, K));
    emc_head_args args = {.x = x.d,
                          .w = w,
                          .wanted_begin = d_begin.d,
                          .log_sum = log_sum.d,
                          .top_ids = top.d,
                          .rows = ROWS,
                          .batch_rows = ROWS,
                          .n_ids = VOCAB,
                          .n_top = 4};
    EMT_OK(dev->ops->prepare_head(dev, &args));
    EMT_OK(dev->ops->sync(dev));
    vg_reset_counts();
    EMT_OK(dev->ops->head(dev, &args));
    args.rows = 1;
    EMT_OK(dev->ops->head(dev, &args));
    const vg_counts counts = vg_read_counts();
    assert_int_equal(counts.allocations, 0);
    assert_int_equal(counts.waits, 0);
    check_accesses(dev, "head_slab_kernel", 0);
    dev->ops->matrix_close(dev, w);
    emt_free_weights(&part);
    emt_free(&x);
    emt_free(&d_begin);
    emt_free(&log_sum);
    emt_free(&top);
}

static void test_norms(void **state)
{
    (void)state;
    emt_each_device(norms);
}

static void test_swiglu(void **state)
{
    (void)state;
    emt_each_device(swiglu);
}

static void test_gather(void **state)
{
    (void)state;
    emt_each_device(gather);
}

static void test_rope(void **state)
{
    (void)state;
    emt_each_device(rope);
}

static void test_head(void **state)
{
    (void)state;
    emt_each_device(head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms), cmocka_unit_test(test_swiglu), cmocka_unit_test(test_gather),
        cmocka_unit_test(test_rope),  cmocka_unit_test(test_head),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
