/*
 * Is the memory that a run would take that of an opened engine; is no weight looked at for it; and
 * is a folder refused as it is with weights?
 */
#include "emt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "estimate_case.h"
#include "loader_files.h"
#include "runtime/engine.h"

/* --- Memory ------------------------------------------------------------------------------------
 */

static void same_info(const emc_model_info *a, const emc_model_info *b)
{
    assert_int_equal(a->n_layers, b->n_layers);
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->vocab, b->vocab);
    assert_int_equal(a->max_positions, b->max_positions);
    assert_int_equal(a->dtype, b->dtype);
    assert_int_equal(a->n_parameters, b->n_parameters);
    assert_int_equal(a->weight_bytes, b->weight_bytes);
    assert_int_equal(a->n_eos, b->n_eos);
    assert_string_equal(a->device_name, b->device_name);
    assert_string_equal(a->device, b->device);
    assert_string_equal(b->device_absent, "");
}

/* What a GPU's library takes for itself is found when it was taken, and counted with activations.
 */
static void same_plan(const emc_memory_plan *engine, const emc_memory_plan *estimate)
{
    assert_int_equal(engine->weights, estimate->weights);
    assert_int_equal(engine->steps, estimate->steps);
    assert_int_equal(engine->n_pages, estimate->n_pages);
    assert_int_equal(engine->pages, estimate->pages);
    assert_int_equal(engine->page_bytes, estimate->page_bytes);
    assert_int_equal(engine->device_whole, estimate->device_whole);
    if (case_on_cpu())
        assert_int_equal(engine->activations, estimate->activations);
    else
        assert_in_range(engine->activations, estimate->activations,
                        estimate->activations + EMC_SCRATCH_BYTES);
}

static void check_plans(const runtime_case *c, emc_model *model, const emc_model *shape,
                        const emc_engine_options *options)
{
    emc_engine_wanted wanted = {.options = *options};
    emc_engine_estimate estimate;
    emc_memory_plan plan;
    emc_engine *engine;

    EMT_OK(emc_estimate_engine(shape, &wanted, &estimate));
    EMT_OK(emc_engine_open(&engine, model, options));
    emc_engine_get_memory_plan(engine, &plan);
    same_plan(&plan, &estimate.memory);
    assert_int_equal(estimate.options.max_num_batched_tokens,
                     engine->options.max_num_batched_tokens);
    assert_int_equal(estimate.options.max_num_readers, engine->options.max_num_readers);
    assert_int_equal(estimate.options.n_ids, engine->options.n_ids);

    wanted.choices = choice_ids;
    wanted.begin = choice_begin;
    wanted.n_choices = N_CHOICES;
    wanted.n_prefix = 130; /* two pages */
    EMT_OK(emc_engine_set_choices(engine, choice_ids, choice_begin, N_CHOICES));
    EMT_OK(emc_engine_set_prefix(engine, c->ids[3], wanted.n_prefix));
    EMT_OK(emc_estimate_engine(shape, &wanted, &estimate));
    const size_t steps_before = plan.steps;
    emc_engine_get_memory_plan(engine, &plan);
    same_plan(&plan, &estimate.memory);
    assert_true(plan.steps > steps_before);
    /* With the weights loaded it is the same question. */
    EMT_OK(emc_estimate_engine(model, &wanted, &estimate));
    same_plan(&plan, &estimate.memory);
    emc_engine_close(engine);
}

static void plan_is_that_of_an_engine(void **state)
{
    static const emc_dtype_choice dtypes[] = {EMC_DTYPE_AUTO, EMC_DTYPE_FLOAT32,
                                              EMC_DTYPE_BFLOAT16};
    const emc_engine_options small = {
        .max_num_batched_tokens = 256, .max_num_readers = 128, .n_pages = 20};
    const emc_engine_options defaults = {.n_ids = 90};

    (void)state;
    for (size_t m = 0; m < N_MODELS; m++) {
        const bool adapted = strcmp(models[m].name, models[m].base) != 0;

        for (size_t d = 0; d < (case_on_cpu() ? EMC_COUNT(dtypes) : 1); d++) {
            for (int merge = 0; merge <= adapted; merge++) {
                runtime_case c;
                emc_model *model, *shape;

                if (!case_on_cpu() && !case_full() && m % 4 != 3)
                    continue; /* a virtual GPU takes its time */
                case_open(&c, models[m].name, models[m].base);
                emc_model_options options = options_of(&c, dtypes[d]);
                options.merge_adapter = merge;
                EMT_OK(emc_model_open(&model, &options));
                shape = open_shape(options);
                same_info(emc_model_get_info(model), emc_model_get_info(shape));
                check_plans(&c, model, shape, &small);
                if (case_on_cpu() && dtypes[d] == EMC_DTYPE_AUTO && m % 4 == 3)
                    check_plans(&c, model, shape, &defaults);
                emc_model_close(shape);
                emc_model_close(model);
                case_close(&c);
            }
        }
    }
}

/* A prefix beyond the first rotary rows makes a table of more, as the engine does. */
static void long_prefix_is_planned(void **state)
{
    const emc_engine_wanted wanted = {.n_prefix = 5000};
    const emc_model_options options = {
        .random = "0.6b", .device = "cpu", .without_weights = true, .n_threads = 1};
    emc_engine_estimate with, without;
    emc_model *model;

    (void)state;
    EMT_OK(emc_model_open(&model, &options));
    EMT_OK(emc_estimate_engine(model, &wanted, &with));
    EMT_OK(emc_estimate_engine(model, &(emc_engine_wanted){0}, &without));
    assert_int_equal(with.memory.n_pages, without.memory.n_pages + 40);
    assert_int_equal(with.memory.activations - without.memory.activations, 4096 * 128 * 4);
    emc_model_close(model);
}

static struct {
    emc_ops ops;
    size_t n_free, n_whole;
} told;

static emc_status told_memory(emc_device *dev, size_t *n_free, size_t *n_whole)
{
    (void)dev;
    *n_free = told.n_free;
    *n_whole = told.n_whole;
    return EMC_OK;
}

/* It fits exactly when the engine would, and the message names what helps. */
static void what_does_not_fit_is_said(void **state)
{
    const emc_model_options options = {
        .random = "8b", .device = "cpu", .without_weights = true, .n_threads = 1};
    const emc_engine_wanted wanted = {
        .options = {.max_num_batched_tokens = 8448, .gpu_memory_utilization = 1}};
    emc_engine_estimate estimate;
    const emc_ops *real;
    emc_model *model;

    (void)state;
    EMT_OK(emc_model_open(&model, &options));
    real = model->dev->ops;
    EMT_OK(emc_estimate_engine(model, &wanted, &estimate));
    const emc_memory_plan *m = &estimate.memory;
    const size_t need = m->weights + m->activations + m->steps + m->pages + EMC_SCRATCH_BYTES;
    told.ops = *real;
    told.ops.memory = told_memory;
    model->dev->ops = &told.ops;
    told.n_whole = (size_t)140 << 30;
    told.n_free = need;
    EMT_OK(emc_estimate_engine(model, &wanted, &estimate));
    assert_int_equal(m->device_free, need);
    emc_engine_wanted longer = wanted;
    longer.n_prefix = 129; /* two pages more */
    EMT_FAILS(EMC_ERR_DEVICE, "pages for K and V", emc_estimate_engine(model, &longer, &estimate));
    told.n_free = need - 1;
    EMT_FAILS(EMC_ERR_DEVICE, "A smaller --max-num-batched-tokens",
              emc_estimate_engine(model, &wanted, &estimate));
    assert_true(m->weights > 0 && m->pages > 0); /* filled all the same */
    told.n_free = m->weights - 1;
    EMT_FAILS(EMC_ERR_DEVICE, "weights (16.38 GB) do not fit",
              emc_estimate_engine(model, &wanted, &estimate));
    EMT_FAILS(EMC_ERR_DEVICE, "a smaller model", emc_estimate_engine(model, &wanted, &estimate));
    assert_null(strstr(emc_message(), "(loaded)"));
    EMT_FAILS(EMC_ERR_ARG, "max_num_batched_tokens",
              emc_estimate_engine(model,
                                  &(emc_engine_wanted){.options = {.max_num_batched_tokens = 100}},
                                  &estimate));
    EMT_FAILS(EMC_ERR_CONFIG, "",
              emc_estimate_engine(model,
                                  &(emc_engine_wanted){.choices = choice_ids,
                                                       .begin = (const int32_t[]){0, 0, 1},
                                                       .n_choices = 2},
                                  &estimate));
    model->dev->ops = real;
    emc_model_close(model);
}

/* --- Without weights ---------------------------------------------------------------------------
 */

/* A model whose weights are a hole: 50 MB of which no byte was ever written. */
static const char *large_model(const char *name)
{
    static const char config[] =
        "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\", \"dtype\": "
        "\"bfloat16\", \"head_dim\": 64, \"hidden_size\": 256, \"intermediate_size\": 8192, "
        "\"max_position_embeddings\": 1024, \"num_attention_heads\": 4, \"num_hidden_layers\": 4, "
        "\"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-6, \"rope_theta\": 1000000.0, "
        "\"tie_word_embeddings\": true, \"vocab_size\": 1024}";
    const char *dir = files_folder(name);
    emc_model_config c;
    file_tensor *tensors;
    size_t n;

    files_write_text(dir, "config.json", config);
    EMT_OK(emc_model_config_read(&c, dir));
    tensors = files_qwen3(&n, &c, false);
    files_write(dir, "model.safetensors", tensors, n, -1);
    free(tensors);
    return dir;
}

/* Pages of the file that somebody has looked at, leaving out what is read with the header. */
static size_t pages_in_memory(const char *path)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), skipped = (size_t)4 << 20;
    struct stat st;
    unsigned char *in;
    size_t n = 0;
    const int fd = open(path, O_RDONLY);

    assert_true(fd >= 0 && fstat(fd, &st) == 0 && (size_t)st.st_size > 2 * skipped);
    const size_t n_pages = ((size_t)st.st_size - skipped) / page;
    void *map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    in = calloc(n_pages, 1);
    assert_true(map != MAP_FAILED && in);
    assert_int_equal(mincore((char *)map + skipped, n_pages * page, in), 0);
    for (size_t i = 0; i < n_pages; i++)
        n += in[i] & 1;
    free(in);
    munmap(map, (size_t)st.st_size);
    close(fd);
    return n;
}

static void no_weight_is_read(void **state)
{
    const char *dir = large_model("whole");
    const emc_model_options options = {.model_dir = dir, .device = "cpu", .n_threads = 1};
    emc_engine_estimate estimate;
    emc_model *model;
    emc_engine *engine;
    char path[600];

    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    if (pages_in_memory(path) != 0)
        skip(); /* a file system that cannot tell */
    model = open_shape(options);
    EMT_OK(emc_estimate_engine(model, &(emc_engine_wanted){0}, &estimate));
    assert_int_equal(emc_model_get_info(model)->weight_bytes,
                     2 * emc_model_get_info(model)->n_parameters);
    assert_int_equal(pages_in_memory(path), 0);
    EMT_FAILS(EMC_ERR_ARG, "without weights", emc_engine_open(&engine, model, NULL));
    assert_null(engine);
    emc_model_close(model);
    EMT_OK(emc_model_open(&model, &options)); /* that would show */
    EMT_OK(emc_engine_open(&engine, model, NULL));
    assert_true(pages_in_memory(path) > 0);
    emc_engine_close(engine);
    emc_model_close(model);
}

/* With and without weights a folder is refused alike. */
static void refusals_are_the_same(void **state)
{
    const char *large = large_model("cut");
    char path[600], cut[600], wanted[1024];
    struct stat st;

    (void)state;
    snprintf(path, sizeof path, "%s/model.safetensors", large);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    snprintf(cut, sizeof cut, "%s", large);
    const emc_model_options broken[] = {
        {.model_dir = cut},
        {.model_dir = "/no/such/folder"},
        {.model_dir = cut, .random = "8b"},
        {.random = "9b"},
        {0},
        {.random = "0.6b", .adapter_dir = "/no/such/adapter"},
        {.random = "0.6b", .device = "tpu"},
        {.random = "0.6b", .dtype = (emc_dtype_choice)9},
    };

    for (size_t i = 0; i < EMC_COUNT(broken); i++) {
        emc_model_options options = broken[i];
        emc_model *model;

        if (!options.device)
            options.device = "cpu";
        const emc_status status = emc_model_open(&model, &options);
        snprintf(wanted, sizeof wanted, "%s", emc_message());
        assert_int_not_equal(status, EMC_OK);
        options.without_weights = true;
        EMT_FAILS(status, wanted, emc_model_open(&model, &options));
        assert_null(model);
    }
}

static void absent_gpu_is_planned_for(void **state)
{
    const emc_model_options options = {
        .random = "8b", .device = "cuda:900", .without_weights = true, .n_threads = 1};
    emc_model_options other = options;
    emc_engine_estimate estimate;
    emc_ceilings ceilings;
    emc_model *model;

    (void)state;
    EMT_OK(emc_model_open(&model, &options));
    const emc_model_info *info = emc_model_get_info(model);
    assert_string_equal(info->device_name, "cuda:900");
    assert_non_null(strstr(info->device_absent, "GPU"));
    assert_int_equal(info->dtype, EMC_BF16);
    assert_string_equal(emc_model_chosen(model), "{}");
    EMT_OK(emc_estimate_engine(model, &(emc_engine_wanted){0}, &estimate));
    assert_int_equal(estimate.options.max_num_batched_tokens, 8448);
    assert_int_equal(estimate.options.max_num_readers, 512);
    assert_int_equal(estimate.memory.device_whole, 0);
    /* 18 GB of everything: the plan for a GPU of 24. */
    const emc_memory_plan *m = &estimate.memory;
    assert_in_range(m->weights + m->activations + m->steps + m->pages, 16400000000, 30000000000);
    EMT_FAILS(EMC_ERR_DEVICE, "cuda:900 cannot be measured", emc_model_measure(model, &ceilings));
    emc_model_close(model);
    other.dtype = EMC_DTYPE_FLOAT32;
    EMT_FAILS(EMC_ERR_USAGE, "GPUs compute in bfloat16", emc_model_open(&model, &other));
    other = options;
    other.without_weights = false;
    EMT_FAILS(EMC_ERR_DEVICE, "cuda:900", emc_model_open(&model, &other));
}

static void ceilings_need_no_weights(void **state)
{
    emc_ceilings ceilings;
    emc_model *model;
    runtime_case c;

    (void)state;
    if (!case_on_cpu())
        skip(); /* it would take minutes to multiply */
    case_open(&c, "group1", "group1");
    model = open_shape(options_of(&c, EMC_DTYPE_AUTO));
    EMT_OK(emc_model_measure(model, &ceilings));
    assert_true(ceilings.product_flops > 0 && ceilings.copy_bytes > 0);
    emc_model_close(model);
    case_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_is_that_of_an_engine), cmocka_unit_test(long_prefix_is_planned),
        cmocka_unit_test(what_does_not_fit_is_said), cmocka_unit_test(no_weight_is_read),
        cmocka_unit_test(refusals_are_the_same),     cmocka_unit_test(absent_gpu_is_planned_for),
        cmocka_unit_test(ceilings_need_no_weights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
