/*
 * Which device does a model get, what does it say about it, and is everything given back when the
 * device or the host has no more memory? The GPUs are made up (fake_gpu.h).
 */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_gpu.h"
#include "runtime/model.h"
#include "runtime_case.h"

/* --- Allocations of our own code come through here (tests/runtime.cmake) ------------------ */

static long fail_calloc_at; /* the n-th from now on fails; 0: none */

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);

void *__wrap_calloc(size_t n, size_t size)
{
    if (__atomic_load_n(&fail_calloc_at, __ATOMIC_RELAXED) > 0 &&
        __atomic_sub_fetch(&fail_calloc_at, 1, __ATOMIC_RELAXED) == 0)
        return NULL;
    return __real_calloc(n, size);
}

static int set_up(void **state)
{
    (void)state;
    fake = (fake_gpus){.n_gpus = 2,
                       .usable = {true, true, true},
                       .why_not = "the driver is too old",
                       .n_free = 3000000000,
                       .n_whole = 8000000000};
    fail_calloc_at = 0;
    return 0;
}

/* --- The choice --------------------------------------------------------------------------- */

static const struct {
    int n_gpus;
    bool usable[FAKE_GPUS];
    const char *device;
    emc_dtype_choice dtype;
    emc_status status;
    const char *name; /* or a part of the message */
    const char *reason;
    int gpu;
} choices[] = {
    {0, {0}, "cpu", EMC_DTYPE_AUTO, EMC_OK, "cpu", "", -1},
    {2, {1, 1}, "cpu", EMC_DTYPE_AUTO, EMC_OK, "cpu", "", -1},
    {2, {1, 1}, "cpu", EMC_DTYPE_FLOAT32, EMC_OK, "cpu", "", -1},
    {1, {1}, "cuda", EMC_DTYPE_AUTO, EMC_OK, "cuda:0", "", 0},
    {2, {1, 1}, "cuda:0", EMC_DTYPE_AUTO, EMC_OK, "cuda:0", "", 0},
    {2, {1, 1}, "cuda:1", EMC_DTYPE_BFLOAT16, EMC_OK, "cuda:1", "", 1},
    {1, {1}, "auto", EMC_DTYPE_AUTO, EMC_OK, "cuda:0", "auto: cuda:0 (Fake A)", 0},
    {1, {1}, NULL, EMC_DTYPE_AUTO, EMC_OK, "cuda:0", "auto: cuda:0 (Fake A)", 0},
    {3, {0, 0, 1}, "auto", EMC_DTYPE_AUTO, EMC_OK, "cuda:2", "auto: cuda:2 (Fake C)", 2},
    {0,
     {0},
     "auto",
     EMC_DTYPE_AUTO,
     EMC_OK,
     "cpu",
     "auto: no GPU was found (the driver is too old)",
     -1},
    {2,
     {0, 0},
     "auto",
     EMC_DTYPE_AUTO,
     EMC_OK,
     "cpu",
     "auto: no usable GPU (Fake A has compute capability 7.5, this build is for sm_80, "
     "sm_90a)",
     -1},
    {1,
     {1},
     "auto",
     EMC_DTYPE_FLOAT32,
     EMC_OK,
     "cpu",
     "auto: cpu (float32 was asked for, GPUs compute in bfloat16)",
     -1},
    {1,
     {1},
     "cuda",
     EMC_DTYPE_FLOAT32,
     EMC_ERR_USAGE,
     "device cuda:0: GPUs compute in bfloat16; leave the dtype to auto, or take the device cpu "
     "for float32",
     "",
     0},
    {0,
     {0},
     "cuda",
     EMC_DTYPE_AUTO,
     EMC_ERR_DEVICE,
     "device cuda: no GPU was found (the driver is too old)",
     "",
     0},
    {1,
     {1},
     "cuda:1",
     EMC_DTYPE_AUTO,
     EMC_ERR_DEVICE,
     "device cuda:1: the last of 1 GPU here is cuda:0",
     "",
     0},
    {2,
     {1, 1},
     "cuda:9999",
     EMC_DTYPE_AUTO,
     EMC_ERR_DEVICE,
     "device cuda:9999: the last of 2 GPUs here is cuda:1",
     "",
     0},
    {1,
     {1},
     "gpu",
     EMC_DTYPE_AUTO,
     EMC_ERR_USAGE,
     "no device is called \"gpu\": take cpu, cuda, cuda:N for GPU number N, cuda:0,1 for several, "
     "cuda:all, or auto",
     "",
     0},
    {1, {1}, "cuda:", EMC_DTYPE_AUTO, EMC_ERR_USAGE, "no device is called \"cuda:\"", "", 0},
    {1, {1}, "cuda:-1", EMC_DTYPE_AUTO, EMC_ERR_USAGE, "called \"cuda:-1\"", "", 0},
    {1, {1}, "cuda:0x", EMC_DTYPE_AUTO, EMC_ERR_USAGE, "called \"cuda:0x\"", "", 0},
    {1, {1}, "cuda:00000", EMC_DTYPE_AUTO, EMC_ERR_USAGE, "called \"cuda:00000\"", "", 0},
    {1, {1}, "", EMC_DTYPE_AUTO, EMC_ERR_USAGE, "no device is called \"\"", "", 0},
};

static void devices_are_chosen(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(choices); i++) {
        const emc_model_options options = {.device = choices[i].device, .dtype = choices[i].dtype};
        emc_device_choices choice;

        fake.n_gpus = choices[i].n_gpus;
        memcpy(fake.usable, choices[i].usable, sizeof fake.usable);
        if (choices[i].status != EMC_OK) {
            EMT_FAILS(choices[i].status, choices[i].name, emc_devices_choose(&choice, &options));
            continue;
        }
        EMT_OK(emc_devices_choose(&choice, &options));
        assert_int_equal(choice.n, 1);
        assert_string_equal(choice.name, choices[i].name);
        assert_string_equal(choice.of[0].name, choices[i].name);
        assert_string_equal(choice.of[0].reason, choices[i].reason);
        assert_int_equal(choice.of[0].gpu, choices[i].gpu);
    }
}

static const struct {
    int n_gpus;
    bool alike;
    const char *device;
    int n_ranks, n_replicas;
    emc_status status;
    const char *name; /* of all, or what the message has */
    int n;
} lists[] = {
    {4, true, "cuda:all", 1, 0, EMC_OK, "cuda:0,1,2,3", 4},
    {4, true, "cuda:all", 2, 0, EMC_OK, "cuda:0,1,2,3", 4},
    {4, true, "cuda:3,1", 2, 0, EMC_OK, "cuda:3,1", 2},
    {4, true, "cuda:2", 1, 0, EMC_OK, "cuda:2", 1},
    {4, true, "cuda", 2, 0, EMC_OK, "cuda:0,1", 2},
    {4, true, "auto", 4, 0, EMC_OK, "cuda:0,1,2,3", 4},
    {0, true, "auto", 2, 0, EMC_OK, "cpu", 2},
    {0, true, "cpu", 2, 3, EMC_OK, "cpu", 6},
    {4, true, "cuda:0,1,0", 1, 0, EMC_ERR_USAGE, "device cuda:0,1,0: GPU 0 is named twice", 0},
    {4, true, "cuda:0,4", 1, 0, EMC_ERR_DEVICE, "the last of 4 GPUs here is cuda:3", 0},
    {4, true, "cuda:0,1,2", 2, 0, EMC_ERR_USAGE,
     "--tensor-parallel-size 2: 3 GPUs cannot be dealt out in groups of so many; name a multiple "
     "of 2",
     0},
    {1, true, "auto", 2, 0, EMC_ERR_USAGE, "--tensor-parallel-size 2: 1 GPU cannot", 0},
    {1, true, "cuda", 2, 0, EMC_ERR_DEVICE, "the last of 1 GPU here is cuda:0", 0},
    {2, false, "cuda:all", 1, 0, EMC_ERR_USAGE,
     "cuda:0 is Fake A with 100 SMs, cuda:1 is Fake B with 101: a cell's answer would depend on "
     "the GPU; take GPUs of one kind",
     0},
    {0, true, "cuda:all", 1, 0, EMC_ERR_DEVICE, "device cuda:all: no GPU was found", 0},
    {4, true, "cuda:0,", 1, 0, EMC_ERR_USAGE, "no device is called \"cuda:0,\"", 0},
    {4, true, "cuda:,1", 1, 0, EMC_ERR_USAGE, "no device is called", 0},
    {4, true, "cuda:0;1", 1, 0, EMC_ERR_USAGE, "no device is called", 0},
    {4, true, "cuda:0", -1, 0, EMC_ERR_USAGE, "--tensor-parallel-size -1: need 1 to 64", 0},
    {4, true, "cuda:0", 65, 0, EMC_ERR_USAGE, "--tensor-parallel-size 65: need 1 to 64", 0},
};

static void several_devices_are_chosen(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(lists); i++) {
        const emc_model_options options = {.device = lists[i].device,
                                           .tensor_parallel_size = lists[i].n_ranks,
                                           .n_replicas = lists[i].n_replicas};
        emc_device_choices choice;

        fake.n_gpus = lists[i].n_gpus;
        fake.alike = lists[i].alike;
        for (int k = 0; k < lists[i].n_gpus; k++)
            fake.usable[k] = true;
        if (lists[i].status != EMC_OK) {
            EMT_FAILS(lists[i].status, lists[i].name, emc_devices_choose(&choice, &options));
            continue;
        }
        EMT_OK(emc_devices_choose(&choice, &options));
        assert_int_equal(choice.n, lists[i].n);
        assert_string_equal(choice.name, lists[i].name);
        assert_int_equal(choice.n_ranks, lists[i].n_ranks);
    }
    fake.alike = false;
    fake.n_gpus = 0;
}

static void devices_are_listed(void **state)
{
    emc_device_info info;

    (void)state;
    fake.usable[1] = false;
    assert_true(emc_device_list(0, &info));
    assert_string_equal(info.name, "cpu");
    assert_true(emc_device_list(1, &info));
    assert_string_equal(info.name, "cuda:0");
    assert_true(info.present);
    assert_string_equal(info.description, "Fake A, compute capability 9.0, 100 SMs, 80.0 GB");
    assert_true(emc_device_list(2, &info));
    assert_string_equal(info.name, "cuda:1");
    assert_false(info.present);
    assert_string_equal(info.description, "Fake B, compute capability 7.5, 101 SMs, 80.0 GB; this "
                                          "build is for sm_80, sm_90a");
    assert_false(emc_device_list(3, &info));
    assert_false(emc_device_list(-1, &info));
    fake.n_gpus = 0;
    assert_true(emc_device_list(1, &info));
    assert_string_equal(info.name, "cuda");
    assert_false(info.present);
    assert_string_equal(info.description, "the driver is too old");
    assert_false(emc_device_list(2, &info));
}

/* What a fake GPU computes, the CPU device does. */
static void need_cpu(void)
{
#ifdef EMT_NO_CPU
    print_error("SKIPPED: this build has no CPU device, on which a fake GPU computes\n");
    skip();
#endif
}

/* --- A model ------------------------------------------------------------------------------ */

static emc_status open_model(emc_model **out, const char *base, const char *adapter,
                             emc_model_options options)
{
    char model_dir[512], adapter_dir[512];

    snprintf(model_dir, sizeof model_dir, "%s/%s/model", emt_golden("runtime"), base);
    options.model_dir = model_dir;
    if (adapter) {
        snprintf(adapter_dir, sizeof adapter_dir, "%s/%s/adapter", emt_golden("runtime"), adapter);
        options.adapter_dir = adapter_dir;
    }
    return emc_model_open(out, &options);
}

static void a_model_is_told_its_device(void **state)
{
    const emc_model_options options = {
        .device = "cuda:1", .chosen = "{\"an\": \"earlier run\"}", .choices_path = "a file"};
    const emc_model_info *info;
    emc_model *model;

    (void)state;
    need_cpu();
    /* F32 files, untied. */
    EMT_OK(open_model(&model, "group2", NULL, options));
    info = emc_model_get_info(model);
    assert_int_equal(fake.index, 1);
    assert_int_equal(fake.dtype, EMC_BF16);
    assert_int_equal(info->dtype, EMC_BF16);
    assert_string_equal(fake.chosen, options.chosen);
    assert_string_equal(fake.cache_path, options.choices_path);
    assert_string_equal(info->device_name, "cuda:1");
    assert_string_equal(info->device_reason, "");
    assert_ptr_equal(info->device, model->dev->description);
    assert_string_equal(emc_model_chosen(model), FAKE_CHOSEN);
    assert_true(info->weight_bytes == 2 * (size_t)info->n_parameters);
    assert_true(info->load_seconds > 0 && info->load_seconds < 3600);
    emc_model_close(model);
    assert_int_equal(fake.n_live, 0);

    EMT_OK(open_model(&model, "group2", NULL, (emc_model_options){0}));
    info = emc_model_get_info(model);
    assert_string_equal(info->device_name, "cuda:0");
    assert_string_equal(info->device_reason, "auto: cuda:0 (Fake A)");
    assert_string_equal(fake.chosen, "");
    assert_string_equal(fake.cache_path, "");
    emc_model_close(model);

    EMT_OK(open_model(&model, "group2", NULL, (emc_model_options){.device = "cpu"}));
    info = emc_model_get_info(model);
    assert_string_equal(info->device_name, "cpu");
    assert_string_equal(emc_model_chosen(model), "{}");
    assert_true(info->weight_bytes == 4 * (size_t)info->n_parameters);
    emc_model_close(model);
}

/* rslora: ranks 6 + 4 + 4 for [q; k; v], 4 and 4 for gate and up, and so on; bf16 as the weights.
 */
static void weight_bytes_include_the_adapter(void **state)
{
    size_t beside, merged;
    emc_model *model;

    (void)state;
    need_cpu();
    EMT_OK(open_model(&model, "group2", "rslora", (emc_model_options){.device = "cuda"}));
    beside = emc_model_get_info(model)->weight_bytes;
    emc_model_close(model);
    EMT_OK(open_model(&model, "group2", "rslora",
                      (emc_model_options){.device = "cuda", .merge_adapter = true}));
    merged = emc_model_get_info(model)->weight_bytes;
    assert_true(merged == 2 * (size_t)emc_model_get_info(model)->n_parameters);
    /* A layer: qkv 14 (128 + 48), o 4 (48 + 64), gate_up 8 (128 + 48), down 4 or 2 (48 + 64). */
    assert_true(beside - merged == 2 * (2 * (14 * 176 + 4 * 112 + 8 * 176) + (4 + 2) * 112));
    emc_model_close(model);
    assert_int_equal(fake.n_live, 0);
}

/* The fake GPU copies at the next sync, and computes as the CPU does. */
static void merged_weights_stay_until_they_are_copied(void **state)
{
    static const struct {
        const char *base, *adapter;
    } cases[] = {
        {"group2", "rslora"}, {"group1", "dora"}, {"group8", "embedding"}, {"group4", "lora"}};

    (void)state;
    need_cpu();
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const int32_t ids[] = {9, 20, 31, 42, 53};
        const int n = (int)EMC_COUNT(ids);
        float *logits[2];
        int vocab = 0;

        for (int gpu = 0; gpu < 2; gpu++) {
            emc_engine *engine;
            emc_model *model;

            EMT_OK(open_model(&model, cases[i].base, cases[i].adapter,
                              (emc_model_options){.device = gpu ? "cuda" : "cpu",
                                                  .dtype = EMC_DTYPE_BFLOAT16,
                                                  .n_threads = 1,
                                                  .merge_adapter = true}));
            assert_int_equal(model->n_held > 0, gpu == 0);
            vocab = emc_model_get_info(model)->vocab;
            EMT_OK(emc_engine_open(&engine, model, NULL));
            logits[gpu] = engine_logits(engine, ids, n, vocab);
            emc_engine_close(engine);
            emc_model_close(model);
        }
        assert_memory_equal(logits[0], logits[1], (size_t)(n * vocab) * sizeof(float));
        free(logits[0]);
        free(logits[1]);
    }
}

/* --- No memory ---------------------------------------------------------------------------- */

static void a_full_gpu_is_named_with_what_helps(void **state)
{
    static const struct {
        int fail_at;
        const char *text;
    } cases[] = {
        {1, "no memory for the device"},
        {2, "loading the norms: cuda:0: no memory for norms; 0.0 GB of weights are loaded: take a "
            "smaller model or a GPU with more memory"},
        {3, "loading q_proj, k_proj, v_proj of layer 0: cuda:0: no memory for weights; 0.0 GB"},
        {4, "loading q_proj, k_proj, v_proj of layer 0: cuda:0: no memory for an update; 0.0 GB"},
        {5, "loading o_proj of layer 0: cuda:0: no memory for weights; "},
        {7, "loading gate_proj, up_proj of layer 0: cuda:0: no memory for weights; "},
        {9, "loading down_proj of layer 0: cuda:0: no memory for weights; "},
        {11, "loading q_proj, k_proj, v_proj of layer 1: cuda:0: no memory for weights; "},
        {19, "loading the embedding: cuda:0: no memory for weights; "},
        {20, "loading the head: cuda:0: no memory for weights; "},
    };
    emc_model *model;

    (void)state;
    need_cpu();
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        fake.fail_at = cases[i].fail_at;
        EMT_FAILS(EMC_ERR_DEVICE, cases[i].text,
                  open_model(&model, "group2", "rslora", (emc_model_options){.device = "cuda"}));
        assert_null(model);
        assert_int_equal(fake.n_live, 0);
    }
    /* A device that cannot tell its memory may have failed in another way. */
    fake.n_whole = 0;
    fake.fail_at = 3;
    assert_int_equal(open_model(&model, "group2", NULL, (emc_model_options){.device = "cuda"}),
                     EMC_ERR_DEVICE);
    assert_string_equal(emc_message(), "loading q_proj, k_proj, v_proj of layer 0: cuda:0: no "
                                       "memory for weights");
}

static void everything_is_given_back_by_a_gpu(void **state)
{
    (void)state;
    need_cpu();
    for (int merge = 0; merge < 2; merge++) {
        emc_model *model = NULL;
        int k = 0;

        while (!model) {
            emc_status status;

            fake.fail_at = ++k;
            assert_true(k < 1000);
            status = open_model(&model, "group1", "dora",
                                (emc_model_options){.device = "cuda", .merge_adapter = merge == 1});
            if (status == EMC_OK)
                break;
            assert_int_equal(status, EMC_ERR_DEVICE);
            assert_null(model);
            assert_int_equal(fake.n_live, 0);
        }
        assert_in_range(k, 13, 40); /* the device, norms, nine matrices, a sync, one too many */
        emc_model_close(model);
        assert_int_equal(fake.n_live, 0);
    }
}

/* The sanitizer's run of this test sees a leak. */
static void everything_is_given_back_by_the_host(void **state)
{
    static const struct {
        const char *base, *adapter;
        bool merge;
    } cases[] = {
        {"group8", "embedding", true}, {"group1", "dora", true}, {"group1", "dora", false}};

    (void)state;
    need_cpu();
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_status status = EMC_ERR_NOMEM;
        emc_model *model;
        long k = 0, n_nomem = 0;

        while (status != EMC_OK) {
            fail_calloc_at = ++k;
            assert_true(k < 2000);
            status =
                open_model(&model, cases[i].base, cases[i].adapter,
                           (emc_model_options){
                               .device = "cuda", .n_threads = 1, .merge_adapter = cases[i].merge});
            fail_calloc_at = 0;
            if (status == EMC_OK)
                break;
            assert_null(model);
            assert_int_equal(fake.n_live, 0);
            n_nomem += status == EMC_ERR_NOMEM;
        }
        /* Some are the device's; one hides behind the question whether a file is there. */
        assert_true(k > 50);
        assert_true(n_nomem > k / 2);
        emc_model_close(model);
        assert_int_equal(fake.n_live, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(devices_are_chosen, set_up),
        cmocka_unit_test_setup(several_devices_are_chosen, set_up),
        cmocka_unit_test_setup(devices_are_listed, set_up),
        cmocka_unit_test_setup(a_model_is_told_its_device, set_up),
        cmocka_unit_test_setup(weight_bytes_include_the_adapter, set_up),
        cmocka_unit_test_setup(merged_weights_stay_until_they_are_copied, set_up),
        cmocka_unit_test_setup(a_full_gpu_is_named_with_what_helps, set_up),
        cmocka_unit_test_setup(everything_is_given_back_by_a_gpu, set_up),
        cmocka_unit_test_setup(everything_is_given_back_by_the_host, set_up)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
