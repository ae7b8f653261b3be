/*
 * How does a model come to a GPU, whatever machine it is: none, one, two, an old driver, a kind
 * that the build has no code for, too little memory? On the virtual GPU alone, which can be all
 * of these.
 */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda.h"
#include "runtime/model.h"
#include "runtime_case.h"
#include "virtual_gpu/vg.h"

static int set_up(void **state)
{
    const vg_options options = vg_defaults();

    (void)state;
    vg_clear();
    vg_set(&options);
    return 0;
}

static void machine(int n_devices, int driver_version, int compute_capability)
{
    vg_options options = vg_defaults();

    options.n_devices = n_devices;
    if (driver_version)
        options.driver_version = driver_version;
    if (compute_capability)
        options.compute_capability = compute_capability;
    vg_set(&options);
}

static emc_status open_model(emc_model **out, const char *device, emc_dtype_choice dtype,
                             const char *adapter, bool merge)
{
    char model_dir[512], adapter_dir[512];
    emc_model_options options = {
        .model_dir = model_dir, .device = device, .dtype = dtype, .merge_adapter = merge};

    snprintf(model_dir, sizeof model_dir, "%s", emt_golden("runtime/group2/model"));
    if (adapter) {
        snprintf(adapter_dir, sizeof adapter_dir, "%s/%s/adapter", emt_golden("runtime"), adapter);
        options.adapter_dir = adapter_dir;
    }
    return emc_model_open(out, &options);
}

/* The name and reason that a model gets; "" and the message where it gets none. */
static void expect(const char *device, const char *name, const char *text)
{
    emc_model *model;
    const emc_status status = open_model(&model, device, EMC_DTYPE_AUTO, NULL, false);

    if (!*name) {
        EMT_FAILS(EMC_ERR_DEVICE, text, status);
        assert_null(model);
        return;
    }
    EMT_OK(status);
    assert_string_equal(emc_model_get_info(model)->device_name, name);
    if (!strstr(emc_model_get_info(model)->device_reason, text))
        fail_msg("reason \"%s\", want \"%s\"", emc_model_get_info(model)->device_reason, text);
    emc_model_close(model);
}

static void none(void **state)
{
    emc_device_info info;

    (void)state;
    machine(0, 0, 0);
    expect("auto", "cpu", "auto: no GPU was found (no NVIDIA GPU is visible");
    expect("cpu", "cpu", "");
    expect("cuda", "", "device cuda: no GPU was found (no NVIDIA GPU is visible");
    expect("cuda:0", "", "device cuda:0: no GPU was found");
    assert_true(emc_device_list(1, &info));
    assert_string_equal(info.name, "cuda");
    assert_false(info.present);
    assert_non_null(strstr(info.description, "no NVIDIA GPU"));
    assert_false(emc_device_list(2, &info));
}

static void an_old_driver(void **state)
{
    emc_cuda_system cuda;
    emc_device_info info;

    (void)state;
    machine(1, 11040, 0);
    emc_cuda_describe_system(&cuda);
    assert_int_equal(cuda.n_gpus, 0);
    assert_int_equal(cuda.driver_version, 11040);
    assert_true(cuda.needed_version > 11040);
    expect("auto", "cpu", "auto: no GPU was found (the NVIDIA driver is for CUDA 11.4, this build");
    expect("cuda", "", "the NVIDIA driver is for CUDA 11.4");
    assert_true(emc_device_list(1, &info));
    assert_non_null(strstr(info.description, "driver"));
}

static void one_and_two(void **state)
{
    emc_device_info info;

    (void)state;
    for (int n = 1; n <= 2; n++) {
        machine(n, 0, 0);
        expect("auto", "cuda:0", "auto: cuda:0 (");
        expect(NULL, "cuda:0", "auto: cuda:0 (");
        expect("cuda", "cuda:0", "");
        expect("cuda:7", "",
               n == 1 ? "the last of 1 GPU here is cuda:0" : "the last of 2 GPUs here is cuda:1");
        for (int i = 0; i < n; i++) {
            assert_true(emc_device_list(1 + i, &info));
            assert_string_equal(info.name, i ? "cuda:1" : "cuda:0");
            assert_true(info.present);
            assert_non_null(strstr(info.description, "compute capability 9.0, "));
        }
        assert_false(emc_device_list(1 + n, &info));
    }
    expect("cuda:1", "cuda:1", "");
}

static void a_kind_without_code(void **state)
{
    emc_device_info info;

    (void)state;
    machine(1, 0, 75);
    expect("auto", "cpu", "has compute capability 7.5");
    expect("cuda", "", "compute capability 7.5");
    assert_true(emc_device_list(1, &info));
    assert_string_equal(info.name, "cuda:0");
    assert_false(info.present);
}

static void gpus_compute_in_bfloat16(void **state)
{
    emc_model *model;

    (void)state;
    EMT_OK(open_model(&model, "cuda", EMC_DTYPE_AUTO, NULL, false)); /* F32 files */
    assert_int_equal(emc_model_get_info(model)->dtype, EMC_BF16);
    assert_non_null(strstr(emc_model_get_info(model)->device, "cuda:0"));
    emc_model_close(model);
    EMT_FAILS(EMC_ERR_USAGE, "GPUs compute in bfloat16",
              open_model(&model, "cuda", EMC_DTYPE_FLOAT32, NULL, false));
    EMT_OK(open_model(&model, "auto", EMC_DTYPE_FLOAT32, NULL, false));
    assert_string_equal(emc_model_get_info(model)->device_name, "cpu");
    emc_model_close(model);
}

static void nothing_is_left(void)
{
    const vg_counts counts = vg_read_counts();

    assert_true(counts.live_allocations == 0);
    assert_true(counts.live_host_allocations == 0);
    assert_true(counts.live_streams == 0);
    assert_true(counts.live_events == 0);
    assert_true(counts.live_bytes == 0);
    assert_string_equal(vg_error(), "");
}

/* From none at all upwards until it is enough. (A device with little memory takes less beside the
 * weights.) */
static void too_little_memory(void **state)
{
    (void)state;
    for (int merge = 0; merge < 2; merge++) {
        emc_status status = EMC_ERR_DEVICE;
        size_t n_bytes = 0, step, most;
        int n_named = 0;
        emc_model *model;

        vg_reset_counts();
        EMT_OK(open_model(&model, "cuda", EMC_DTYPE_AUTO, "rslora", merge == 1));
        most = vg_read_counts().peak_bytes;
        step = emc_model_get_info(model)->weight_bytes / 30;
        assert_true(vg_read_counts().live_bytes >= emc_model_get_info(model)->weight_bytes);
        emc_model_close(model);
        nothing_is_left();
        for (; status != EMC_OK; n_bytes += step) {
            vg_options options = vg_defaults();

            options.memory_bytes = n_bytes;
            vg_set(&options);
            status = open_model(&model, "cuda", EMC_DTYPE_AUTO, "rslora", merge == 1);
            if (status == EMC_OK)
                break;
            assert_true(n_bytes <= most);
            EMT_FAILS(EMC_ERR_DEVICE, "memory", status);
            assert_null(model);
            nothing_is_left();
            n_named += strstr(emc_message(), "loading ") && strstr(emc_message(), "of layer ") &&
                       strstr(emc_message(), "take a smaller model or a GPU with more memory");
        }
        emc_model_close(model);
        nothing_is_left();
        assert_true(n_named >= 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(none, set_up),
                                       cmocka_unit_test_setup(an_old_driver, set_up),
                                       cmocka_unit_test_setup(one_and_two, set_up),
                                       cmocka_unit_test_setup(a_kind_without_code, set_up),
                                       cmocka_unit_test_setup(gpus_compute_in_bfloat16, set_up),
                                       cmocka_unit_test_setup(too_little_memory, set_up)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
