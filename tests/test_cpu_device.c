/* The CPU device itself: opening, memory, weights, threads, and what operations may not do. */
#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "emt_device.h"
#include "kernels/cpu.h"
#include "kernels/cpu/pool.h"

/* Every allocation of our own code comes through here (see the linker's --wrap in kernels.cmake).
 * oneDNN's own are not counted: its scratch is handed to it. */
static atomic_int n_allocations;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    atomic_fetch_add(&n_allocations, 1);
    return __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
    atomic_fetch_add(&n_allocations, 1);
    return __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
    atomic_fetch_add(&n_allocations, 1);
    return __real_realloc(p, n);
}

/* A sanitizer ends the program on a size that no machine has, unless told to fail as malloc does.
 */
__attribute__((visibility("default"))) const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void test_open(void **state)
{
    emc_cpu_options options = {.dtype = EMC_F16};
    emc_device *dev = (emc_device *)&options;

    (void)state;
    EMT_FAILS(EMC_ERR_ARG, "cpu: dtype 2", emc_cpu_open(&dev, &options));
    assert_null(dev);
    options = (emc_cpu_options){EMC_F32, -1};
    EMT_FAILS(EMC_ERR_ARG, "n_threads=-1", emc_cpu_open(&dev, &options));
    options.n_threads = INT_MAX;
    EMT_FAILS(EMC_ERR_ARG, "n_threads=2147483647", emc_cpu_open(&dev, &options));
    options.n_threads = 0;
    EMT_OK(emc_cpu_open(&dev, &options));
    assert_int_equal(dev->dtype, EMC_F32);
    assert_non_null(strstr(dev->description, "cpu, F32 products by oneDNN "));
    assert_non_null(strstr(dev->description, " thread"));
    dev->ops->close(dev);
    options.dtype = EMC_BF16;
    options.n_threads = 3;
    EMT_OK(emc_cpu_open(&dev, &options));
    assert_int_equal(dev->dtype, EMC_BF16);
    assert_non_null(strstr(dev->description, ", 3 threads"));
    dev->ops->close(dev);
}

static void memory(emc_device *dev)
{
    void *a, *b;
    unsigned char bytes[1000], got[1000];

    EMT_OK(dev->ops->alloc(dev, &a, sizeof bytes, "a test"));
    EMT_OK(dev->ops->alloc(dev, &b, 0, "nothing"));
    assert_true((uintptr_t)a % 64 == 0 && (uintptr_t)b % 64 == 0 && b != NULL);
    EMT_OK(dev->ops->download(dev, got, a, sizeof got));
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], 0);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    EMT_OK(dev->ops->upload(dev, a, bytes, sizeof bytes));
    memset(bytes, 0, sizeof bytes); /* upload is done with it */
    EMT_OK(dev->ops->sync(dev));
    EMT_OK(dev->ops->download(dev, got, a, sizeof got));
    for (size_t i = 0; i < sizeof got; i++)
        assert_int_equal(got[i], (unsigned char)i);
    dev->ops->release(dev, a);
    dev->ops->release(dev, b);
    dev->ops->release(dev, NULL);
    EMT_FAILS(EMC_ERR_DEVICE, "a huge thing",
              dev->ops->alloc(dev, &a, SIZE_MAX - 10, "a huge thing"));
    assert_null(a);
    EMT_FAILS(EMC_ERR_DEVICE, "a large thing",
              dev->ops->alloc(dev, &a, (size_t)1 << 60, "a large thing"));
}

static void test_memory(void **state)
{
    (void)state;
    emt_each_device(memory);
}

static void matrix_limits(emc_device *dev)
{
    const float data[64] = {0};
    const emc_matrix_part good = {data, EMC_F32, 2};
    emc_matrix_part parts[2] = {good, good};
    emc_matrix *matrix = (emc_matrix *)&parts;

    EMT_FAILS(EMC_ERR_ARG, "n_parts=0", dev->ops->matrix_open(dev, &matrix, parts, 0, 8));
    assert_null(matrix);
    EMT_FAILS(EMC_ERR_ARG, "n_parts=2", dev->ops->matrix_open(dev, &matrix, NULL, 2, 8));
    EMT_FAILS(EMC_ERR_ARG, "k=0", dev->ops->matrix_open(dev, &matrix, parts, 2, 0));
    EMT_FAILS(EMC_ERR_ARG, "k=2147483647", dev->ops->matrix_open(dev, &matrix, parts, 2, INT_MAX));
    parts[1].n_rows = 0;
    EMT_FAILS(EMC_ERR_ARG, "part 1 has n_rows=0", dev->ops->matrix_open(dev, &matrix, parts, 2, 8));
    parts[1].n_rows = INT_MAX;
    EMT_FAILS(EMC_ERR_ARG, "part 1 has n_rows=2147483647",
              dev->ops->matrix_open(dev, &matrix, parts, 2, 8));
    parts[1] = (emc_matrix_part){NULL, EMC_F32, 2};
    EMT_FAILS(EMC_ERR_ARG, "need data", dev->ops->matrix_open(dev, &matrix, parts, 2, 8));
    parts[1] = (emc_matrix_part){data, (emc_dtype)9, 2};
    EMT_FAILS(EMC_ERR_ARG, "dtype 9", dev->ops->matrix_open(dev, &matrix, parts, 2, 8));
    dev->ops->matrix_close(dev, NULL);
}

static void lora_limits(emc_device *dev)
{
    const float data[64] = {0};
    const emc_lora_spec good = {.a = data, .b = data, .rank = 2, .n = 4, .k = 8};
    emc_lora *lora = (emc_lora *)&lora;
    emc_lora_spec spec;

#define REFUSED(text, change)                                                                      \
    do {                                                                                           \
        spec = good;                                                                               \
        change;                                                                                    \
        EMT_FAILS(EMC_ERR_ARG, text, dev->ops->lora_open(dev, &lora, &spec));                      \
        assert_null(lora);                                                                         \
    } while (0)
    REFUSED("lora_open: rank=0", spec.rank = 0);
    REFUSED("n=0", spec.n = 0);
    REFUSED("n=2147483647", spec.n = INT_MAX);
    REFUSED("k=0", spec.k = 0);
    REFUSED("need a, b", spec.a = NULL);
    REFUSED("need a, b", spec.b = NULL);
#undef REFUSED
    dev->ops->lora_close(dev, NULL);
}

static void test_limits(void **state)
{
    (void)state;
    emt_each_device(matrix_limits);
    emt_each_device(lora_limits);
}

typedef struct {
    emt_buf x, x2, gate_up, out, ints, floats, cache, table;
    emt_weights weights, vocabulary;
    emc_matrix *w, *head;
    emc_lora *lora;
} model;

static model open_model(emc_device *dev)
{
    model m = {0};
    uint64_t seed = 7;
    static const float zeros[128 * 4];
    const int32_t ints[256] = {0, 1};
    double values[256] = {0};
    const emc_lora_spec spec = {.a = zeros, .b = zeros, .rank = 4, .n = 128, .k = 64};

    m.weights = emt_part(dev, 128, 64, EMC_BF16, 0, 1.0, &seed);
    m.vocabulary = emt_part(dev, 300, 64, EMC_F16, 1, 1.0, &seed);
    EMT_OK(dev->ops->matrix_open(dev, &m.w, &m.weights.part, 1, 64));
    EMT_OK(dev->ops->matrix_open(dev, &m.head, &m.vocabulary.part, 1, 64));
    EMT_OK(dev->ops->lora_open(dev, &m.lora, &spec));
    m.x = emt_normals(dev, 200 * 64, 1.0, &seed);
    m.x2 = emt_normals(dev, 200 * 64, 1.0, &seed);
    m.gate_up = emt_normals(dev, 200 * 128, 1.0, &seed);
    m.out = emt_poison(dev, 200 * 128);
    m.ints = emt_ints(dev, ints, 256);
    m.floats = emt_f32_values(dev, values, 256);
    m.cache = emt_normals(dev, 2 * 128 * 64, 1.0, &seed);
    m.table = emt_f32_values(dev, values, 256);
    return m;
}

static void close_model(emc_device *dev, model *m)
{
    emt_free(&m->x);
    emt_free(&m->x2);
    emt_free(&m->gate_up);
    emt_free(&m->out);
    emt_free(&m->ints);
    emt_free(&m->floats);
    emt_free(&m->cache);
    emt_free(&m->table);
    dev->ops->matrix_close(dev, m->w);
    dev->ops->matrix_close(dev, m->head);
    dev->ops->lora_close(dev, m->lora);
    emt_free_weights(&m->weights);
    emt_free_weights(&m->vocabulary);
}

static void run_operations(emc_device *dev, const model *m)
{
    const emc_ops *ops = dev->ops;
    const int32_t *zeros = (const int32_t *)m->ints.d + 16;
    const emc_linear_args linear = {
        .out = m->out.d, .x = m->x.d, .w = m->w, .n = 128, .lora = m->lora, .rows = 200};
    const emc_head_args head = {.x = m->x.d,
                                .w = m->head,
                                .wanted_begin = zeros,
                                .log_sum = m->floats.d,
                                .n_top = 1,
                                .top_ids = (int32_t *)m->floats.d + 100,
                                .rows = 3,
                                .n_ids = 300};
    const emc_rope_args rope = {.q = m->x.d,
                                .k = m->x2.d,
                                .v = m->x2.d,
                                .q_stride = 64,
                                .kv_stride = 64,
                                .q_norm = m->x.d,
                                .k_norm = m->x.d,
                                .rope_table = m->table.d,
                                .positions = zeros,
                                .slots = zeros,
                                .k_cache = m->cache.d,
                                .v_cache = m->cache.d,
                                .rows = 20,
                                .n_heads = 1,
                                .n_kv_heads = 1,
                                .head_dim = 64,
                                .eps = 1e-6f};
    /* {row0, n_rows, prefix_page, prefix_len, own_page, own_seen, causal} of ints: one row that
     * sees one key of page 0. */
    const emc_attention_args attention = {.out = m->out.d,
                                          .q = m->x.d,
                                          .q_stride = 64,
                                          .k_cache = m->cache.d,
                                          .v_cache = m->cache.d,
                                          .items = m->table.d,
                                          .n_items = 1,
                                          .max_flat_rows = 1,
                                          .max_flat_keys = 1,
                                          .page_table = zeros,
                                          .path_slots = zeros,
                                          .path_lens = zeros,
                                          .rows = 1,
                                          .n_heads = 1,
                                          .n_kv_heads = 1,
                                          .head_dim = 64,
                                          .scale = 1};

    EMT_OK(ops->embed(dev, m->x.d, m->w, NULL, m->ints.d, 100));
    EMT_OK(ops->rmsnorm(dev, m->x.d, m->x.d, m->x2.d, 200, 64, 1e-6f));
    EMT_OK(ops->linear(dev, &linear));
    EMT_OK(ops->rope_store(dev, &rope));
    EMT_OK(ops->attention(dev, &attention));
    EMT_OK(ops->swiglu(dev, m->out.d, m->gate_up.d, 200, 64));
    EMT_OK(ops->gather_rows(dev, m->out.d, m->x.d, m->ints.d, 100, 64));
    EMT_OK(ops->head(dev, &head));
}

/* A step may allocate nothing, not even the first one. */
static void no_allocation(emc_device *dev)
{
    const emc_attention_item item = {.n_rows = 1, .own_seen = 1};
    model m = open_model(dev);
    int before;

    EMT_OK(dev->ops->upload(dev, m.table.d, &item, sizeof item));
    before = atomic_load(&n_allocations);
    assert_true(before > 0); /* the count works */
    run_operations(dev, &m);
    run_operations(dev, &m);
    assert_int_equal(atomic_load(&n_allocations), before);
    close_model(dev, &m);
}

static void test_no_allocation(void **state)
{
    (void)state;
    emt_each_device(no_allocation);
}

typedef struct {
    atomic_int runs[1000];
    atomic_int workers;
    int n_workers, fail_at;
} counted;

static emc_status count_item(void *context, int worker, int item)
{
    counted *c = context;

    if (worker < 0 || worker >= c->n_workers)
        return emc_fail(EMC_ERR_INTERNAL, "worker %d", worker);
    atomic_fetch_or(&c->workers, 1 << worker);
    atomic_fetch_add(&c->runs[item], 1);
    if (item == c->fail_at)
        return emc_fail(EMC_ERR_DEVICE, "item %d failed", item);
    return EMC_OK;
}

static void test_pool(void **state)
{
    (void)state;
    for (int n_workers = 1; n_workers <= 5; n_workers += 2) {
        cpu_pool *pool;
        EMT_OK(cpu_pool_open(&pool, n_workers, NULL));
        assert_int_equal(cpu_pool_workers(pool), n_workers);
        for (int n_items = 0; n_items <= 1000; n_items = 3 * n_items + 1) {
            counted c = {.n_workers = n_workers, .fail_at = -1};
            EMT_OK(cpu_pool_run(pool, count_item, &c, n_items));
            for (int i = 0; i < 1000; i++)
                assert_int_equal(atomic_load(&c.runs[i]), i < n_items);
        }
        counted c = {.n_workers = n_workers, .fail_at = 20};
        EMT_FAILS(EMC_ERR_DEVICE, "item 20 failed", cpu_pool_run(pool, count_item, &c, 1000));
        c.fail_at = -1; /* and it works again */
        EMT_OK(cpu_pool_run(pool, count_item, &c, 1000));
        cpu_pool_close(pool);
    }
    cpu_pool_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),   cmocka_unit_test(test_memory),
        cmocka_unit_test(test_limits), cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_pool),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
