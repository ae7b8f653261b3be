/*
 * Does the self-check see a library whose bits depend on a row's place, when its algorithms were
 * chosen in an earlier run and so are not looked at again? On the virtual GPU alone, whose library
 * can be such a one.
 */
#include "emt.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/model.h"
#include "runtime_case.h"
#include "virtual_gpu/vg_cublaslt.h"

#define ROWS  512
#define MODEL "runtime/wide64/model"

static const emc_engine_options options = {.max_num_batched_tokens = ROWS, .max_num_readers = 128};
static char *chosen;

static int set_up(void **state)
{
    const vg_lt_options sound = vg_lt_defaults();

    (void)state;
    vg_lt_set(&sound);
    return 0;
}

static int tear_down(void **state)
{
    free(chosen);
    chosen = NULL;
    return set_up(state);
}

static void set_fault(vg_lt_fault fault)
{
    vg_lt_options library = vg_lt_defaults();

    library.fault = fault;
    vg_lt_set(&library);
}

static emc_model *open_model(const char *base)
{
    const emc_model_options model_options = {
        .model_dir = emt_golden(base), .device = "cuda", .chosen = chosen};
    emc_model *model;

    EMT_OK(emc_model_open(&model, &model_options));
    return model;
}

/* Keeps what a sound library was chosen for, and opens the model with that. */
static emc_model *open_chosen(const char *base)
{
    emc_model *model = open_model(base);
    emc_engine *engine;

    EMT_OK(emc_engine_open(&engine, model, &options));
    chosen = strdup(emc_model_chosen(model));
    assert_non_null(chosen);
    emc_engine_close(engine);
    emc_model_close(model);
    model = open_model(base);
    assert_false(model->dev->at_once);
    EMT_OK(emc_engine_open(&engine, model, &options));
    emc_engine_close(engine);
    return model;
}

static void expect_refused(emc_model *model, const char *message)
{
    emc_engine *engine;

    EMT_FAILS(EMC_ERR_DEVICE, message, emc_engine_open(&engine, model, &options));
    assert_null(engine);
}

static void everything_by_place(void **state)
{
    emc_model *model = open_chosen(MODEL);

    (void)state;
    set_fault(VG_LT_BY_PLACE);
    expect_refused(model, "self-check: linear");
    emc_model_close(model);
}

/* --- A few rows of one operation ---------------------------------------------------------- */

static const emc_ops *real;
static int faulty_from; /* rows from here on */

/* A product that replaces what is there; not those that add to it. */
static emc_status faulty_linear(emc_device *dev, const emc_linear_args *args)
{
    const size_t row_bytes = (size_t)args->n * emc_dtype_bytes(dev->dtype);
    const size_t n_bytes = (size_t)faulty_from * row_bytes;
    char *sound;

    EMC_TRY(real->linear(dev, args));
    if (args->residual || args->rows <= faulty_from)
        return EMC_OK;
    sound = malloc(n_bytes + 1);
    assert_non_null(sound);
    EMT_OK(real->download(dev, sound, args->out, n_bytes));
    set_fault(VG_LT_BY_PLACE);
    EMT_OK(real->linear(dev, args));
    set_fault(VG_LT_SOUND);
    if (n_bytes > 0)
        EMT_OK(real->upload(dev, args->out, sound, n_bytes));
    free(sound);
    return EMC_OK;
}

static void the_last_tile_of_a_product(void **state)
{
    emc_model *model = open_chosen(MODEL);
    emc_ops ops = *model->dev->ops;
    emc_engine *engine;

    (void)state;
    real = model->dev->ops;
    ops.linear = faulty_linear;
    model->dev->ops = &ops;
    faulty_from = ROWS - 64;
    expect_refused(model, "self-check: linear");
    faulty_from = ROWS;
    EMT_OK(emc_engine_open(&engine, model, &options));
    emc_engine_close(engine);
    model->dev->ops = real;
    emc_model_close(model);
}

static emc_status faulty_head(emc_device *dev, const emc_head_args *args)
{
    emc_status status;

    set_fault(VG_LT_BY_PLACE);
    status = real->head(dev, args);
    set_fault(VG_LT_SOUND);
    return status;
}

static void the_head_alone(void **state)
{
    emc_model *model = open_chosen(MODEL);
    emc_ops ops = *model->dev->ops;

    (void)state;
    real = model->dev->ops;
    ops.head = faulty_head;
    model->dev->ops = &ops;
    expect_refused(model, "self-check: head of 128 rows");
    model->dev->ops = real;
    emc_model_close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_by_place, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_tile_of_a_product, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_head_alone, set_up, tear_down)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
