/* Is a model opened as its folder says, and refused in one line where it cannot be? */
#include "emt.h"

#include <stdio.h>
#include <string.h>

#include "loader/checkpoint.h"
#include "runtime/model.h"
#include "runtime_case.h"

static emc_status open_case(const char *name, const char *adapter, emc_model_options options)
{
    emc_model *model;
    char dir[512], adapter_dir[512];
    emc_status status;

    snprintf(dir, sizeof dir, "%s/%s/model", emt_golden("runtime"), name);
    options.model_dir = dir;
    if (adapter) {
        snprintf(adapter_dir, sizeof adapter_dir, "%s/%s", emt_golden("runtime"), adapter);
        options.adapter_dir = adapter_dir;
    }
    status = emc_model_open(&model, &options);
    if (status != EMC_OK)
        assert_null(model);
    emc_model_close(model);
    return status;
}

static void info_is_what_the_folder_says(void **state)
{
    static const struct {
        const char *name;
        emc_model_info want;
        emc_dtype dtype;
    } models[] = {
        {"group1", {2, 2, 2, 24, 32, 64, 96, .max_positions = 1024}, EMC_F32},
        {"group2", {2, 4, 2, 16, 48, 64, 96, .max_positions = 1024}, EMC_F32},
        {"group4", {2, 8, 2, 16, 64, 72, 96, .max_positions = 1024}, EMC_BF16},
        {"group5", {3, 5, 1, 32, 40, 72, 96, .max_positions = 1024}, EMC_BF16},
        {"group8", {3, 8, 1, 16, 40, 64, 96, .max_positions = 512}, EMC_BF16}, /* YaRN, 4 x 128 */
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(models); i++) {
        const emc_model_info *want = &models[i].want, *info;
        emc_checkpoint *checkpoint;
        emc_model *model;
        runtime_case c;

        case_open(&c, models[i].name, models[i].name);
        model = case_model(&c, EMC_DTYPE_AUTO, 1);
        info = emc_model_get_info(model);
        assert_int_equal(info->n_layers, want->n_layers);
        assert_int_equal(info->n_heads, want->n_heads);
        assert_int_equal(info->n_kv_heads, want->n_kv_heads);
        assert_int_equal(info->head_dim, want->head_dim);
        assert_int_equal(info->hidden, want->hidden);
        assert_int_equal(info->ffn, want->ffn);
        assert_int_equal(info->vocab, want->vocab);
        assert_int_equal(info->max_positions, want->max_positions);
        assert_int_equal(info->n_eos, 2);
        assert_int_equal(info->eos[0], 5);
        assert_int_equal(info->eos[1], 7);
        assert_int_equal(info->dtype, models[i].dtype);
        assert_non_null(strstr(info->device, "cpu"));
        EMT_OK(emc_checkpoint_open(&checkpoint, c.model_dir));
        assert_int_equal(info->n_parameters,
                         emc_checkpoint_bytes(checkpoint) / emc_dtype_bytes(info->dtype));
        emc_checkpoint_close(checkpoint);
        emc_model_close(model);
        case_close(&c);
    }
}

static void dtype_follows_the_option(void **state)
{
    emc_model *model;
    runtime_case c;

    (void)state;
    case_open(&c, "group1", "group1");
    model = case_model(&c, EMC_DTYPE_BFLOAT16, 1);
    assert_int_equal(emc_model_get_info(model)->dtype, EMC_BF16);
    emc_model_close(model);
    case_close(&c);
    case_open(&c, "group4", "group4");
    model = case_model(&c, EMC_DTYPE_FLOAT32, 1);
    assert_int_equal(emc_model_get_info(model)->dtype, EMC_F32);
    emc_model_close(model);
    case_close(&c);
}

/* One matrix for embedding and head only where they are one. */
static void tied_weights_are_held_once(void **state)
{
    static const struct {
        const char *name, *base;
        bool tied;
    } models[] = {
        {"group1", "group1", true},  {"group2", "group2", false},    {"dora", "group1", true},
        {"untied", "group1", false}, {"embedding", "group8", false},
    };

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(models); i++) {
        emc_model *model;
        runtime_case c;

        case_open(&c, models[i].name, models[i].base);
        model = case_model(&c, EMC_DTYPE_AUTO, 1);
        assert_int_equal(model->head.w == model->embed.w, models[i].tied);
        emc_model_close(model);
        case_close(&c);
    }
}

static void bad_models_are_refused(void **state)
{
    emc_model *model;

    (void)state;
    EMT_FAILS(EMC_ERR_ARG, "no folder given", emc_model_open(&model, &(emc_model_options){0}));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "nowhere",
              emc_model_open(&model, &(emc_model_options){.model_dir = emt_temp("nowhere")}));
    assert_null(model);
    EMT_FAILS(EMC_ERR_ARG, "both a folder and random weights",
              open_case("group1", NULL, (emc_model_options){.random = "0.6b"}));
    EMT_FAILS(EMC_ERR_ARG, "no such dtype",
              open_case("group1", NULL, (emc_model_options){.dtype = (emc_dtype_choice)9}));
    EMT_FAILS(EMC_ERR_ARG, "threads",
              open_case("group1", NULL, (emc_model_options){.n_threads = -1}));
    EMT_FAILS(EMC_ERR_FORMAT, "odd/model/config.json: hidden_size is 12, need a multiple of 8",
              open_case("odd", NULL, (emc_model_options){0}));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "nothing_here",
              open_case("group1", "nothing_here", (emc_model_options){0}));
    /* An adapter of another model. */
    EMT_FAILS(EMC_ERR_FORMAT, "adapter_model.safetensors",
              open_case("group1", "rslora/adapter", (emc_model_options){0}));
    emc_model_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(info_is_what_the_folder_says), cmocka_unit_test(dtype_follows_the_option),
        cmocka_unit_test(tied_weights_are_held_once), cmocka_unit_test(bad_models_are_refused)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
