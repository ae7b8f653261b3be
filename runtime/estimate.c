/*
 * What would a run take, before there is one?
 *
 * Rows, readers and pairs are counted as schedule.c makes them, operations as graph.c runs them,
 * memory by the functions that the engine takes it by. Only the time is a guess: operations over
 * the rates that the device reaches with a large product and a large copy, times the part of these
 * that each kind of operation reaches.
 */
#include <math.h>
#include <stdlib.h>

#include "runtime/engine.h"

/*
 * Parts of the ceilings (emc_ceilings) that operations reach. CPU: `emcell bench` with the demo
 * model (hidden 256, head_dim 64) and of the shape of Qwen3-0.6B (1024, 128), see bench/RESULTS.md;
 * there short sums and small heads reach less. GPU: the aims for an H200, not yet measured.
 */
typedef struct {
    double products; /* of product_flops, for long sums */
    double half;     /* length of a sum that reaches half of that */
    double attention, head;
    double full_head_dim; /* from here on attention reaches it; below in proportion */
    double bytes;         /* of copy_bytes */
    double busy;          /* of the time: the device computes */
} reached;

static const reached cpu_reached = {.products = 1,
                                    .half = 160,
                                    .attention = 0.38,
                                    .full_head_dim = 128,
                                    .head = 0.30,
                                    .bytes = 0.25,
                                    .busy = 0.97};
static const reached gpu_reached = {.products = 0.93,
                                    .attention = 0.50,
                                    .full_head_dim = 128,
                                    .head = 0.80,
                                    .bytes = 0.85,
                                    .busy = 0.98};

#define SEARCHED_WAYS 1.5 /* of EMC_ASK_BEST: the likeliest choice's, and half of another's */

/* --- Work ----------------------------------------------------------------------------------- */

/* Keys of n rows that see `before` ones, themselves and those of the n that stand before them. */
static double triangle(double before, double n)
{
    return n * before + 0.5 * n * (n + 1);
}

void emc_workload_add_prefix(emc_workload *work, int n)
{
    work->n_rows += n;
    work->n_pairs += triangle(0, n);
}

void emc_workload_add_prompts(emc_workload *work, int n_prefix, int n_own, double n_prompts)
{
    work->n_rows += n_prompts * n_own;
    work->n_readers += n_prompts;
    work->n_pairs += n_prompts * triangle(n_prefix, n_own);
    work->n_reader_pairs += n_prompts * ((double)n_prefix + n_own);
}

void emc_workload_add_answers(emc_workload *work, int n_prompt, const emc_answer_cost *answer,
                              double n_prompts)
{
    const double n_pairs = n_prompts * (answer->n_rows * n_prompt + answer->n_keys);

    work->n_rows += n_prompts * answer->n_rows;
    work->n_readers += n_prompts * answer->n_rows;
    work->n_pairs += n_pairs;
    work->n_reader_pairs += n_pairs;
}

/* --- Answers -------------------------------------------------------------------------------- */

/* Every inner node. */
static emc_answer_cost cost_of_all(const emc_choices *choices)
{
    emc_answer_cost cost = {0};

    for (int i = 0; i < choices->n_inner; i++) {
        cost.n_rows += 1;
        cost.n_keys += choices->nodes[choices->inner[i]].depth;
    }
    return cost;
}

/* The mean over choices: what stands before the last id of one goes through the model. */
static emc_answer_cost cost_of_way(const emc_choices *choices)
{
    emc_answer_cost cost = {.is_assumed = true};

    for (int c = 0; c < choices->n_choices; c++) {
        const double n = choices->nodes[choices->ends[c]].depth - 1;

        cost.n_rows += n / choices->n_choices;
        cost.n_keys += triangle(0, n) / choices->n_choices;
    }
    return cost;
}

static emc_answer_cost cost_of_search(const emc_choices *choices)
{
    const emc_answer_cost all = cost_of_all(choices);
    emc_answer_cost cost = cost_of_way(choices);

    cost.n_rows *= SEARCHED_WAYS;
    cost.n_keys *= SEARCHED_WAYS;
    if (cost.n_rows >= all.n_rows) {
        cost.n_rows = all.n_rows;
        cost.n_keys = all.n_keys;
    }
    cost.is_assumed = all.n_rows > 0;
    return cost;
}

emc_status emc_estimate_answer(emc_answer_cost *out, emc_ask ask, const int32_t *ids,
                               const int32_t *begin, int n_choices, int max_tokens)
{
    emc_choices *choices;

    *out = (emc_answer_cost){0};
    if (n_choices == 0) {
        const double n = max_tokens > 1 ? max_tokens - 1 : 0;

        *out = (emc_answer_cost){.n_rows = n, .n_keys = triangle(0, n), .is_assumed = true};
        return EMC_OK;
    }
    EMC_TRY(emc_choices_open(&choices, ids, begin, n_choices, INT32_MAX, EMC_MAX_PATH));
    *out = ask == EMC_ASK_CHOICES ? cost_of_all(choices)
           : ask == EMC_ASK_BEST  ? cost_of_search(choices)
                                  : cost_of_way(choices);
    emc_choices_close(choices);
    return EMC_OK;
}

/* --- Operations ----------------------------------------------------------------------------- */

/* Values of a row. */
typedef struct {
    double hidden, q, kv, ffn, vocab;
} widths;

static widths widths_of(const emc_model *model)
{
    const emc_model_info *m = &model->info;

    return (widths){.hidden = m->hidden,
                    .q = (double)m->n_heads * m->head_dim,
                    .kv = 2.0 * m->n_kv_heads * m->head_dim,
                    .ffn = m->ffn,
                    .vocab = m->vocab};
}

/* Of the layers' matrices: the last one has q, o and the MLP for readers alone. */
static double product_flop(const emc_model *model, double n_rows, double n_readers)
{
    const widths w = widths_of(model);
    const double rest = w.hidden * (2 * w.q + 3 * w.ffn), kept = w.hidden * w.kv;
    const double before = model->info.n_layers - 1;

    return 2 * (before * (rest + kept) * n_rows + kept * n_rows + rest * n_readers);
}

static double head_flop(const emc_model *model, double n_readers)
{
    const widths w = widths_of(model);

    return 2 * w.hidden * w.vocab * n_readers;
}

/* Of a row and a matrix: x A^T, then its product with B^T of n of the matrix's rows. A table gives
 * the row's column of A, which is looked up. */
static double update_flop(const emc_model *model, emc_matrix_role role, int layer, double n)
{
    emc_low_rank_shape shape;

    if (model->merges || emc_weight_source_shape(model->source, role, layer, &shape) != EMC_OK)
        return 0;
    return 2.0 * shape.rank *
           ((role == EMC_MATRIX_EMBED ? 0.0 : shape.k) + (n < 0 ? (double)shape.n : n));
}

static double adapter_flop(const emc_model *model, double n_rows, double n_readers)
{
    static const emc_matrix_role after[] = {EMC_MATRIX_O, EMC_MATRIX_GATE_UP, EMC_MATRIX_DOWN};
    const widths w = widths_of(model);
    const int last = model->info.n_layers - 1;
    double flop = n_readers * update_flop(model, EMC_MATRIX_HEAD, 0, -1) +
                  n_rows * update_flop(model, EMC_MATRIX_EMBED, 0, -1);

    for (int l = 0; l <= last; l++) {
        for (size_t i = 0; i < EMC_COUNT(after); i++)
            flop += (l < last ? n_rows : n_readers) * update_flop(model, after[i], l, -1);
        if (l < last)
            flop += n_rows * update_flop(model, EMC_MATRIX_QKV, l, -1);
        else
            flop += n_rows * update_flop(model, EMC_MATRIX_QKV, l, w.kv) +
                    n_readers * update_flop(model, EMC_MATRIX_QKV, l, w.q);
    }
    return flop;
}

void emc_estimate_flop(const emc_model *model, const emc_workload *work, emc_flop *out)
{
    const double before = model->info.n_layers - 1;

    *out = (emc_flop){.products = product_flop(model, work->n_rows, work->n_readers),
                      .attention =
                          4 * widths_of(model).q * (before * work->n_pairs + work->n_reader_pairs),
                      .head = head_flop(model, work->n_readers),
                      .adapter = adapter_flop(model, work->n_rows, work->n_readers)};
}

/* --- Memory --------------------------------------------------------------------------------- */

/* The plan with what prefix and choices add, as emc_engine_set_prefix and set_choices do. */
static emc_status add_to_plan(emc_engine *engine, const emc_engine_wanted *wanted)
{
    const emc_model_info *info = &engine->model->info;
    emc_memory_plan *plan = &engine->plan;
    emc_choices *choices = NULL;
    emc_step_limits limits;
    emc_status status = EMC_OK;

    if (wanted->n_choices > 0)
        EMC_TRY(emc_choices_open(&choices, wanted->choices, wanted->begin, wanted->n_choices,
                                 info->vocab, EMC_MAX_PATH));
    plan->n_pages = engine->options.n_pages + emc_pages_for(wanted->n_prefix) +
                    (choices ? emc_engine_reserve_for(choices) : 0);
    plan->pages = plan->page_bytes * (size_t)plan->n_pages;
    engine->rope_len = engine->plan_positions;
    plan->activations +=
        (size_t)(emc_engine_rope_rows(engine, wanted->n_prefix) - engine->plan_positions) *
        (size_t)info->head_dim * sizeof(float);
    status = emc_engine_step_limits(engine, plan->n_pages, choices, &limits);
    if (status == EMC_OK)
        plan->steps = (size_t)engine->max_flights * emc_step_bytes(&limits);
    emc_choices_close(choices);
    return status;
}

emc_status emc_estimate_engine(const emc_model *model, const emc_engine_wanted *wanted,
                               emc_engine_estimate *out)
{
    /* Never opened, so nothing is taken: it only carries what a plan is made from. */
    emc_engine engine = {.model = (emc_model *)model, .dev = model->dev};
    emc_status fits, status;

    *out = (emc_engine_estimate){0};
    EMC_TRY(emc_engine_set_up(&engine, &wanted->options));
    fits = emc_engine_make_plan(&engine);
    out->options = engine.options;
    if (fits != EMC_OK && fits != EMC_ERR_DEVICE)
        return fits;
    status = add_to_plan(&engine, wanted);
    out->memory = engine.plan;
    if (status != EMC_OK || fits != EMC_OK || engine.plan.device_whole == 0)
        return status != EMC_OK ? status : fits;
    /* Prefix and choices take what is free: the cap is on what the engine opens with. */
    engine.options.gpu_memory_utilization = 1;
    return emc_engine_check_plan(&engine);
}

/* --- Time ----------------------------------------------------------------------------------- */

/* Bytes that norms, rotation, activation and copies of rows move, as graph.c counts them. */
static double other_bytes(const emc_model *model, double n_rows, double n_readers)
{
    const widths w = widths_of(model);
    const double before = model->info.n_layers - 1;
    const double norm = (model->dev->adds_in_norm ? 4 : 2) * w.hidden;
    const double finish = norm + 3 * w.ffn;

    return (double)emc_dtype_bytes(model->dev->dtype) *
           (n_rows *
                (2 * w.hidden + before * (norm + 2 * (w.q + w.kv) + finish) + norm + 2 * w.kv) +
            n_readers * (4 * w.hidden + 2 * w.q + finish + norm));
}

void emc_estimate_time(const emc_model *model, const emc_engine_estimate *engine,
                       const emc_workload *work, const emc_ceilings *ceilings,
                       emc_time_estimate *out)
{
    const reached *part = model->choice.gpu >= 0 ? &gpu_reached : &cpu_reached;
    const double hidden = model->info.hidden, head_dim = model->info.head_dim;
    const double products =
        ceilings->product_flops * part->products * hidden / (hidden + part->half);
    const double attention =
        ceilings->product_flops * part->attention * fmin(1, head_dim / part->full_head_dim);
    double n_rows = work->n_rows, n_readers = work->n_readers;
    emc_flop flop;

    *out = (emc_time_estimate){0};
    out->n_steps = ceil(fmax(n_rows / engine->options.max_num_batched_tokens,
                             n_readers / engine->options.max_num_readers));
    if (!(ceilings->product_flops > 0 && ceilings->copy_bytes > 0))
        return;
    emc_estimate_flop(model, work, &flop);
    out->attention_seconds = flop.attention / attention;
    out->other_seconds =
        other_bytes(model, n_rows, n_readers) / (part->bytes * ceilings->copy_bytes);
    if (!model->dev->at_once) {
        n_rows = out->n_steps * engine->options.max_num_batched_tokens;
        n_readers = out->n_steps * engine->options.max_num_readers;
    }
    out->product_seconds = product_flop(model, n_rows, n_readers) / products;
    out->head_seconds = head_flop(model, n_readers) / (part->head * ceilings->product_flops);
    out->adapter_seconds = adapter_flop(model, n_rows, n_readers) / products;
    double *const shared[] = {&out->product_seconds, &out->attention_seconds, &out->head_seconds,
                              &out->adapter_seconds, &out->other_seconds};
    for (size_t i = 0; i < EMC_COUNT(shared); i++) {
        if (model->choice.gpu >= 0)
            *shared[i] /= model->info.n_devices;
        out->seconds += *shared[i] / part->busy;
    }
}
