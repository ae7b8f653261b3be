/* Are products run by algorithms that keep a row's bits, chosen once, and by no others? */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "cuda_case.h"

#define ROWS 24
#define N    48
#define K    40

static uint16_t *product(emc_device *dev)
{
    uint16_t *out;

    EMT_OK(cuda_case_product(dev, &out, ROWS, N, K, 0));
    return out;
}

/* A device that has chosen for one shape; its choice, owned by the caller. */
static char *choose(const char *cache_path)
{
    emc_device *dev = cuda_case_open(NULL, cache_path);
    char *chosen;

    free(product(dev));
    EMT_OK(emc_copy_string(&chosen, dev->ops->chosen(dev)));
    cuda_case_close(dev);
    return chosen;
}

static void test_choice_is_text(void **state)
{
    char *chosen = choose(NULL);
    cJSON *json;
    const cJSON *products;

    (void)state;
    EMT_OK(emc_json_parse(&json, chosen, strlen(chosen), "chosen"));
    assert_null(strchr(chosen, '\n'));
    assert_string_equal(emc_json_member(json, "gpu")->valuestring, "virtual GPU");
    products = emc_json_member(json, "products");
    assert_int_equal(cJSON_GetArraySize(products), 1);
    assert_int_equal(emc_json_member(products->child, "rows")->valueint, ROWS);
    assert_int_equal(emc_json_member(products->child, "n")->valueint, N);
    assert_int_equal(emc_json_member(products->child, "k")->valueint, K);
    cJSON_Delete(json);
    free(chosen);
}

/* The stand-in's heuristic offers first what must not be taken. */
static void test_whole_sums_only(void **state)
{
    static const unsigned long long whole = 1ull << 4 | 1ull << 6;
    emc_device *dev = cuda_case_open(NULL, NULL);

    (void)state;
    free(product(dev));
    assert_int_equal(vg_lt_read_counts().algorithms, whole); /* both were measured */
    cuda_case_close(dev);
}

/* What a product by algorithm 4 takes, and one by 6. */
static void set_times(double ms_of_4, double ms_of_6)
{
    vg_options gpus = vg_defaults();

    gpus.own_clock = true;
    gpus.product_ms[4] = ms_of_4;
    gpus.product_ms[6] = ms_of_6;
    vg_set(&gpus);
}

/* Bit i: algorithm i is what was chosen, where those that may be take so long. */
static unsigned long long chosen_at(double ms_of_4, double ms_of_6)
{
    emc_device *dev = cuda_case_open(NULL, NULL);

    set_times(ms_of_4, ms_of_6);
    free(product(dev));
    vg_lt_reset_counts();
    free(product(dev));
    cuda_case_close(dev);
    return vg_lt_read_counts().algorithms;
}

/* What is measured decides, but not what noise may be. */
static void test_near_ties_go_to_the_first(void **state)
{
    (void)state;
    assert_int_equal(chosen_at(1.0, 2.0), 1 << 4);
    assert_int_equal(chosen_at(1.0, 1.0), 1 << 4);
    assert_int_equal(chosen_at(1.0, 0.98), 1 << 4);
    assert_int_equal(chosen_at(1.0, 0.96), 1 << 6);
    assert_int_equal(chosen_at(0.1, 0.05), 1 << 6);
}

static void test_one_choice_a_shape(void **state)
{
    emc_device *dev = cuda_case_open(NULL, NULL);

    (void)state;
    free(product(dev));
    assert_int_equal(vg_lt_read_counts().heuristics, 1);
    vg_lt_reset_counts();
    free(product(dev));
    assert_int_equal(vg_lt_read_counts().heuristics, 0);
    assert_int_equal(vg_lt_read_counts().products, 1);
    cuda_case_close(dev);
}

/* Algorithms with bits of their own: whichever was fastest, the pinned one gives the same. */
static void test_pinned_bits(void **state)
{
    vg_lt_options products = vg_lt_defaults();

    (void)state;
    products.own_bits = true;
    vg_lt_set(&products);
    for (int i = 0; i < 4; i++) {
        emc_device *dev = cuda_case_open(NULL, NULL);
        uint16_t *first = product(dev), *again;
        char *chosen;
        EMT_OK(emc_copy_string(&chosen, dev->ops->chosen(dev)));
        cuda_case_close(dev);

        dev = cuda_case_open(chosen, NULL);
        vg_lt_reset_counts();
        again = product(dev);
        assert_int_equal(vg_lt_read_counts().heuristics, 0);
        assert_int_equal(vg_lt_read_counts().products, 1);
        assert_memory_equal(first, again, ROWS * N * sizeof *first);
        assert_string_equal(dev->ops->chosen(dev), chosen);
        cuda_case_close(dev);
        free(first);
        free(again);
        free(chosen);
    }
}

/* The order of the sum is seen in the bits: else test_pinned_bits could not fail. */
static void test_bits_tell_algorithms_apart(void **state)
{
    vg_lt_options products = vg_lt_defaults();
    uint16_t *outs[2];
    char *chosen = choose(NULL);

    (void)state;
    for (int i = 0; i < 2; i++) {
        emc_device *dev;
        products.fault = i == 0 ? VG_LT_SOUND : VG_LT_BY_COUNT;
        vg_lt_set(&products);
        dev = cuda_case_open(NULL, NULL);
        EMT_OK(cuda_case_product(dev, &outs[i], 25, 256, 512, 0)); /* 25 % 3 is 1 */
        cuda_case_close(dev);
    }
    assert_memory_not_equal(outs[0], outs[1], (size_t)25 * 256 * 2);
    free(outs[0]);
    free(outs[1]);
    free(chosen);
}

enum { TURNED_ROWS = 64, TURNED_N = 512, TURNED_K = 512, TURNED_BY = 5 };

/* Whether rows keep their bits when they change places. */
static bool rows_keep_bits(const char *chosen)
{
    const size_t n = TURNED_N;
    emc_device *dev = cuda_case_open(chosen, NULL);
    uint16_t *straight, *turned;
    bool same = true;

    EMT_OK(cuda_case_product(dev, &straight, TURNED_ROWS, TURNED_N, TURNED_K, 0));
    EMT_OK(cuda_case_product(dev, &turned, TURNED_ROWS, TURNED_N, TURNED_K, TURNED_BY));
    for (size_t r = 0; r < TURNED_ROWS; r++)
        same = same && memcmp(turned + r * n, straight + (r + TURNED_BY) % TURNED_ROWS * n,
                              n * sizeof *turned) == 0;
    free(straight);
    free(turned);
    cuda_case_close(dev);
    return same;
}

/* An algorithm whose bits depend on a row's place is not chosen, and where one was chosen on a
 * sound library, the bits tell. */
static void test_rows_keep_bits(void **state)
{
    vg_lt_options products = vg_lt_defaults();
    emc_device *dev = cuda_case_open(NULL, NULL);
    uint16_t *out;
    char *chosen;

    (void)state;
    assert_true(rows_keep_bits(NULL));
    EMT_OK(cuda_case_product(dev, &out, TURNED_ROWS, TURNED_N, TURNED_K, 0));
    free(out);
    EMT_OK(emc_copy_string(&chosen, dev->ops->chosen(dev)));
    products.fault = VG_LT_BY_PLACE;
    vg_lt_set(&products);
    assert_false(rows_keep_bits(chosen));
    EMT_FAILS(EMC_ERR_DEVICE, "the same bits in every place",
              cuda_case_product(dev, &out, TURNED_ROWS, TURNED_N, TURNED_K - 8, 0));
    cuda_case_close(dev);
    free(chosen);
}

static void refuse(const char *text, const char *chosen)
{
    const emc_cuda_options options = {.dtype = EMC_BF16, .chosen = chosen};
    emc_device *dev;

    EMT_FAILS(EMC_ERR_CONFIG, text, emc_cuda_open(&dev, &options));
    assert_null(dev);
}

static void test_other_machines_are_refused(void **state)
{
    char *chosen = choose(NULL), *gpu;
    vg_options options = vg_defaults();
    vg_lt_options products = vg_lt_defaults();

    (void)state;
    options.n_sms = 5;
    vg_set(&options);
    refuse("with 4 SMs", chosen);
    options = vg_defaults();
    options.driver_version += 10;
    vg_set(&options);
    refuse("driver", chosen);
    options = vg_defaults();
    vg_set(&options);
    products.version = 130200;
    vg_lt_set(&products);
    refuse("cuBLASLt 130200", chosen);
    products = vg_lt_defaults();
    vg_lt_set(&products);
    gpu = strstr(chosen, "virtual GPU");
    memcpy(gpu, "visible", 7);
    refuse("visible GPU", chosen);
    free(chosen);
}

static void test_missing_shape(void **state)
{
    char *chosen = choose(NULL);
    emc_device *dev = cuda_case_open(chosen, NULL);
    uint16_t *out;

    (void)state;
    EMT_FAILS(EMC_ERR_CONFIG, "rows=25 n=48 k=40", cuda_case_product(dev, &out, ROWS + 1, N, K, 0));
    EMT_OK(cuda_case_product(dev, &out, ROWS, N, K, 0)); /* goes on */
    free(out);
    cuda_case_close(dev);
    free(chosen);
}

/* Text with `from` replaced by `to`, owned by the caller. */
static char *changed(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    const size_t room = strlen(text) + strlen(to) + 1;
    char *out = calloc(1, room);

    assert_non_null(at);
    (void)snprintf(out, room, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

/* Puts another of the stand-in's algorithms (see its make_algorithm) into a choice. */
static void put_algorithm(char *chosen, unsigned long long kind)
{
    char *at = strstr(chosen, "\"algorithm\": \"") + strlen("\"algorithm\": \"");
    unsigned long long words[4];
    char digits[65];

    for (size_t i = 0; i < 4; i++) {
        char word[17] = "";
        memcpy(word, at + 16 * i, 16);
        words[i] = strtoull(word, NULL, 16);
    }
    (void)snprintf(digits, sizeof digits, "%016llx%016llx%016llx%016llx", words[0], kind, words[2],
                   ~(words[0] + kind + words[2]));
    memcpy(at, digits, 64);
}

static const char *const damages[][2] = {
    {"{\"gpu\"", "[\"gpu\""},
    {"\"n_sms\": 4", "\"n_sms\": 0"},
    {"\"rows\": 24", "\"rows\": -1"},
    {"\"rows\": 24", "\"rows\": 1e99"},
    {"\"n\": 48", "\"n\": 49"},
    {"\"k\": 40", "\"k\": \"40\""},
    {"\"BF16\"", "\"F16\""},
    {"\"adds\": false", "\"adds\": 0"},
    {"\"algorithm\": \"", "\"algorithm\": \"0"},
    {"\"algorithm\": \"7", "\"algorithm\": \"g"},
    {"\"rows\": 24", "\"rows\": 24, \"row\": 24"},
    {"\"products\": [", "\"products\": [7, "},
    {"\"gpu\": \"virtual GPU\", ", ""},
};

static void test_damaged_choices(void **state)
{
    char *chosen = choose(NULL);

    (void)state;
    refuse("", "");
    refuse("gpu", "{}");
    refuse("", "null");
    for (size_t i = 0; i < EMC_COUNT(damages); i++) {
        char *text = changed(chosen, damages[i][0], damages[i][1]);
        refuse("", text);
        free(text);
    }
    /* An algorithm that the library does not know: found when it is needed. */
    put_algorithm(chosen, 99);
    emc_device *dev = cuda_case_open(chosen, NULL);
    uint16_t *out;
    EMT_FAILS(EMC_ERR_CONFIG, "refuses the algorithm", cuda_case_product(dev, &out, ROWS, N, K, 0));
    cuda_case_close(dev);
    free(chosen);
}

/* A library whose check refuses what its heuristic proposes: that runs, but nothing else does. */
static void test_what_is_proposed_runs(void **state)
{
    char *chosen = choose(NULL);
    vg_lt_options products = vg_lt_defaults();

    (void)state;
    for (int check = 0; check < 2; check++) {
        products.no_check = check == 0;
        vg_lt_set(&products);
        for (unsigned kind = 0; kind <= 7; kind += kind == 1 ? 2 : 1) { /* 2 fails when it is run */
            const bool runs = kind == 4 || kind == 6;
            emc_device *dev;
            uint16_t *out;
            put_algorithm(chosen, kind);
            dev = cuda_case_open(chosen, NULL);
            vg_lt_reset_counts();
            if (runs) {
                EMT_OK(cuda_case_product(dev, &out, ROWS, N, K, 0));
                assert_int_equal(vg_lt_read_counts().algorithms, 1 << kind);
                free(out);
            } else {
                EMT_FAILS(EMC_ERR_CONFIG, "refuses the algorithm",
                          cuda_case_product(dev, &out, ROWS, N, K, 0));
            }
            cuda_case_close(dev);
        }
    }
    free(chosen);
}

/* --- The cache file --------------------------------------------------------------------------- */

/* How often the library was asked while a device with this cache file chose for its product. */
static unsigned long long questions(const char *path)
{
    vg_lt_reset_counts();
    free(choose(path));
    return vg_lt_read_counts().heuristics;
}

static void test_cache(void **state)
{
    const char *path = emt_temp("choices.json");
    vg_options options = vg_defaults();
    vg_lt_options products = vg_lt_defaults();

    (void)state;
    assert_int_equal(questions(path), 1);
    assert_int_equal(questions(path), 0);
    options.n_sms = 6; /* another GPU: both are kept */
    vg_set(&options);
    assert_int_equal(questions(path), 1);
    assert_int_equal(questions(path), 0);
    options = vg_defaults();
    vg_set(&options);
    assert_int_equal(questions(path), 0);
    products.version = 130200; /* another library: measured again, the old one's forgotten */
    vg_lt_set(&products);
    assert_int_equal(questions(path), 1);
    assert_int_equal(questions(path), 0);
    products = vg_lt_defaults();
    vg_lt_set(&products);
    assert_int_equal(questions(path), 1);
    options.driver_version += 10;
    vg_set(&options);
    assert_int_equal(questions(path), 1);
}

static void test_cache_grows(void **state)
{
    const char *path = emt_temp("growing.json");
    emc_device *dev = cuda_case_open(NULL, path);
    uint16_t *out;

    (void)state;
    for (int rows = 1; rows <= 5; rows++) {
        EMT_OK(cuda_case_product(dev, &out, rows, N, K, 0));
        free(out);
    }
    cuda_case_close(dev);
    vg_lt_reset_counts();
    dev = cuda_case_open(NULL, path);
    for (int rows = 5; rows >= 1; rows--) {
        EMT_OK(cuda_case_product(dev, &out, rows, N, K, 0));
        free(out);
    }
    assert_int_equal(vg_lt_read_counts().heuristics, 0);
    cuda_case_close(dev);
}

/* Two processes start without a cache, and what they measure differs: who writes first decides. */
static void test_first_choice_wins(void **state)
{
    const char *path = emt_temp("together.json");
    emc_device *first = cuda_case_open(NULL, path), *second = cuda_case_open(NULL, path);
    char *chosen;

    (void)state;
    set_times(1, 2);
    free(product(first));
    EMT_OK(emc_copy_string(&chosen, first->ops->chosen(first)));
    set_times(2, 1);
    free(product(second));
    assert_string_equal(second->ops->chosen(second), chosen);
    vg_lt_reset_counts();
    free(product(second));
    assert_int_equal(vg_lt_read_counts().algorithms, 1 << 4);
    assert_int_equal(questions(path), 0);
    cuda_case_close(first);
    cuda_case_close(second);
    free(chosen);
}

/* ... unless the library refuses it: then it is replaced. */
static void test_refused_choice_is_replaced(void **state)
{
    const char *path = emt_temp("refused.json");
    emc_device *first = cuda_case_open(NULL, path), *second = cuda_case_open(NULL, path);
    char *text;

    (void)state;
    free(product(first));
    text = emt_read(path, NULL);
    put_algorithm(text, 99);
    path = emt_write("refused.json", text, strlen(text));
    free(product(second));
    assert_int_equal(questions(path), 0);
    cuda_case_close(first);
    cuda_case_close(second);
    free(text);
}

enum { N_TOGETHER = 4, N_SHAPES = 6 };

typedef struct {
    const char *path;
    int first_rows;
    emc_status status;
} choosing;

static void *choose_many(void *context)
{
    choosing *c = context;
    const emc_cuda_options options = {.dtype = EMC_BF16, .cache_path = c->path};
    emc_device *dev;

    c->status = emc_cuda_open(&dev, &options);
    for (int i = 0; i < N_SHAPES && c->status == EMC_OK; i++) {
        uint16_t *out;
        c->status = cuda_case_product(dev, &out, c->first_rows + i, N, K, 0);
        free(out);
    }
    if (dev)
        dev->ops->close(dev);
    return NULL;
}

/* Several add to one file at the same time: all of it is there afterwards. */
static void test_no_choice_is_lost(void **state)
{
    const char *path = emt_temp("many.json");
    choosing jobs[N_TOGETHER];
    pthread_t threads[N_TOGETHER];

    (void)state;
    for (int i = 0; i < N_TOGETHER; i++) {
        jobs[i] = (choosing){.path = path, .first_rows = 1 + i * N_SHAPES};
        assert_int_equal(pthread_create(&threads[i], NULL, choose_many, &jobs[i]), 0);
    }
    for (int i = 0; i < N_TOGETHER; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    vg_lt_reset_counts();
    for (int i = 0; i < N_TOGETHER; i++) {
        assert_int_equal(jobs[i].status, EMC_OK);
        (void)choose_many(&jobs[i]);
    }
    assert_int_equal(vg_lt_read_counts().heuristics, 0);
}

static void test_damaged_cache(void **state)
{
    const char *path = emt_temp("damaged.json");
    char *good;

    (void)state;
    (void)questions(path);
    good = emt_read(path, NULL);
    for (size_t i = 0; i < EMC_COUNT(damages); i++) {
        char *text = changed(good, damages[i][0], damages[i][1]);
        path = emt_write("damaged.json", text, strlen(text));
        assert_int_equal(questions(path), 1);
        assert_int_equal(questions(path), 0); /* replaced */
        free(text);
    }
    for (size_t n = 0; n < strlen(good) - 1; n += 7) {
        path = emt_write("damaged.json", good, n);
        assert_int_equal(questions(path), 1);
        assert_int_equal(questions(path), 0);
    }
    free(good);
}

static void test_cache_out_of_reach(void **state)
{
    const char *path = emt_temp("no such folder/choices.json");

    (void)state;
    assert_int_equal(questions(path), 1);
    assert_int_equal(questions(path), 1);
    assert_int_equal(questions(emt_temp_dir()), 1);
}

/* --- Failures --------------------------------------------------------------------------------- */

static void test_library_fails(void **state)
{
    const emc_cuda_options options = {.dtype = EMC_BF16};
    vg_lt_options products = vg_lt_defaults();
    emc_device *dev;
    uint16_t *out;

    (void)state;
    products.no_handle = true;
    vg_lt_set(&products);
    EMT_FAILS(EMC_ERR_DEVICE, "cuBLASLt", emc_cuda_open(&dev, &options));
    products = vg_lt_defaults();
    products.refuses_all = true;
    vg_lt_set(&products);
    dev = cuda_case_open(NULL, NULL);
    EMT_FAILS(EMC_ERR_DEVICE, "rows=24 n=48 k=40: cuBLASLt has no algorithm",
              cuda_case_product(dev, &out, ROWS, N, K, 0));
    products = vg_lt_defaults();
    vg_lt_set(&products);
    EMT_OK(cuda_case_product(dev, &out, ROWS, N, K, 0));
    free(out);
    products.fails_after = 0;
    vg_lt_set(&products);
    EMT_FAILS(EMC_ERR_DEVICE, "linear", cuda_case_product(dev, &out, ROWS, N, K, 0));
    /* Nothing after it: what a candidate that failed while measuring left behind is gone. */
    assert_string_equal(emc_message(), "cuda: linear: rows=24 n=48 k=40 to BF16: cuBLASLt: "
                                       "CUBLAS_STATUS_EXECUTION_FAILED");
    cuda_case_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CUDA_CASE(test_choice_is_text),
        CUDA_CASE(test_whole_sums_only),
        CUDA_CASE(test_near_ties_go_to_the_first),
        CUDA_CASE(test_one_choice_a_shape),
        CUDA_CASE(test_pinned_bits),
        CUDA_CASE(test_bits_tell_algorithms_apart),
        CUDA_CASE(test_rows_keep_bits),
        CUDA_CASE(test_other_machines_are_refused),
        CUDA_CASE(test_missing_shape),
        CUDA_CASE(test_damaged_choices),
        CUDA_CASE(test_what_is_proposed_runs),
        CUDA_CASE(test_cache),
        CUDA_CASE(test_cache_grows),
        CUDA_CASE(test_first_choice_wins),
        CUDA_CASE(test_refused_choice_is_replaced),
        CUDA_CASE(test_no_choice_is_lost),
        CUDA_CASE(test_damaged_cache),
        CUDA_CASE(test_cache_out_of_reach),
        CUDA_CASE(test_library_fails),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
