/* Figures as Markdown, CSV or JSON. What is not known is "-", an empty field, or null. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/bench.h"

/* What every format shows of a shape. Unknown figures are NaN. */
typedef struct {
    const char *name; /* of the CSV column and the JSON member */
    const char *head; /* of the Markdown column; NULL: not there */
    double factor;    /* to the unit of head */
    int digits;       /* behind the point in Markdown, by the unit of head */
    double (*get)(const bench_report *report, const bench_result *result);
} figure;

static double median(const bench_result *result)
{
    return result->seconds[result->n_runs / 2];
}

static double get_prefix(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->shape.prefix;
}

static double get_suffix(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->shape.suffix;
}

static double get_labels(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->shape.labels;
}

static double get_batched(const bench_report *report, const bench_result *result)
{
    const int n = result->shape.max_num_batched_tokens;

    (void)report;
    return n > 0 ? n : NAN;
}

static double get_cells(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->n_cells;
}

static double get_steps(const bench_report *report, const bench_result *result)
{
    (void)report;
    return (double)result->n_steps;
}

static double get_choice_rows(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->choice_rows;
}

static double get_rate(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->n_cells / median(result);
}

static double get_spread(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->n_runs > 1 ? result->spread : NAN;
}

static double get_tokens(const bench_report *report, const bench_result *result)
{
    return get_rate(report, result) * result->shape.suffix;
}

static double get_rows(const bench_report *report, const bench_result *result)
{
    (void)report;
    return (double)result->n_rows / median(result);
}

static double get_flops(const bench_report *report, const bench_result *result)
{
    return get_rate(report, result) * result->flop_per_cell;
}

static double get_share(const bench_report *report, const bench_result *result)
{
    const double most = report->ceilings.product_flops;

    return most > 0 ? get_flops(report, result) / most : NAN;
}

static double get_idle(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->device_s > 0 ? 1 - result->device_s / result->wall_s : NAN;
}

static double get_first(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->first_label_s < 0 ? NAN : result->first_label_s;
}

static double get_plan(const bench_report *report, const bench_result *result)
{
    const emc_memory_plan *plan = &result->plan;

    (void)report;
    return (double)plan->weights + (double)plan->activations + (double)plan->steps +
           (double)plan->pages;
}

static double get_used(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->used_bytes < 0 ? NAN : result->used_bytes;
}

static double get_joules(const bench_report *report, const bench_result *result)
{
    (void)report;
    return result->joules_per_cell < 0 ? NAN : result->joules_per_cell;
}

static const figure figures[] = {
    {"prefix", "prefix", 1, 0, get_prefix},
    {"suffix", "suffix", 1, 0, get_suffix},
    {"labels", "labels", 1, 0, get_labels},
    {"max_num_batched_tokens", "max tokens", 1, 0, get_batched},
    {"cells", NULL, 1, 0, get_cells},
    {"steps", NULL, 1, 0, get_steps},
    {"cells_per_s", "cells/s", 1, 2, get_rate},
    {"choice_rows_per_cell", "label rows/cell", 1, 1, get_choice_rows},
    {"spread", "spread %", 100, 1, get_spread},
    {"prompt_tokens_per_s", "prompt tokens/s", 1, 0, get_tokens},
    {"rows_per_s", "rows/s", 1, 0, get_rows},
    {"model_flops", "model TFLOP/s", 1e-12, 3, get_flops},
    {"share_of_product_ceiling", "of ceiling %", 100, 1, get_share},
    {"device_idle", "idle %", 100, 1, get_idle},
    {"memory_plan_bytes", "plan GB", 1e-9, 2, get_plan},
    {"memory_used_bytes", "used GB", 1e-9, 2, get_used},
    {"joules_per_cell", "J/cell", 1, 2, get_joules},
    {"first_label_s", NULL, 1, 0, get_first},
};

/* Share of what the device does at the best: of the product's rate, or of the copy's. */
static double operation_share(const bench_report *report, const emc_trace_entry *operation)
{
    const double seconds = operation->ms * 1e-3;

    if (!(seconds > 0))
        return NAN;
    if (operation->flop > 0 && report->ceilings.product_flops > 0)
        return operation->flop / seconds / report->ceilings.product_flops;
    if (operation->bytes > 0 && report->ceilings.copy_bytes > 0)
        return operation->bytes / seconds / report->ceilings.copy_bytes;
    return NAN;
}

static double operations_ms(const bench_result *result)
{
    double ms = 0;

    for (int i = 0; i < result->n_operations; i++)
        ms += result->operations[i].ms;
    return ms;
}

/* --- Markdown ----------------------------------------------------------------------------- */

static void md_cell(double value, int digits)
{
    if (isnan(value))
        printf(" - |");
    else
        printf(" %.*f |", digits, value);
}

static void md_operations(const bench_report *report, const bench_result *result)
{
    const double whole = operations_ms(result);

    printf("\nTime by operation, in a pass of its own: prefix %d, suffix %d, labels %d\n\n",
           result->shape.prefix, result->shape.suffix, result->shape.labels);
    printf("| operation | calls | ms | share %% | TFLOP/s | GB/s | of ceiling %% |\n"
           "|---|---:|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < result->n_operations; i++) {
        const emc_trace_entry *operation = &result->operations[i];
        const double seconds = operation->ms * 1e-3;

        printf("| %s | %lld | %.3f |", operation->operation, (long long)operation->n_calls,
               operation->ms);
        md_cell(whole > 0 ? 100 * operation->ms / whole : NAN, 1);
        md_cell(operation->flop > 0 ? operation->flop / seconds * 1e-12 : NAN, 3);
        md_cell(operation->bytes > 0 ? operation->bytes / seconds * 1e-9 : NAN, 1);
        md_cell(100 * operation_share(report, operation), 1);
        putchar('\n');
    }
}

static void print_md(const bench_report *report)
{
    const emc_model_info *model = report->model;

    printf("%s on %s\n\n", report->name, model->device);
    printf("- model: %.4g million parameters, %d layers, %s, %.2f GB of weights on the device\n",
           1e-6 * (double)model->n_parameters, model->n_layers, emc_dtype_name(model->dtype),
           1e-9 * (double)model->weight_bytes);
    printf("- loading: %.2f s", model->load_seconds);
    if (report->n_results > 0 && report->results[0].first_label_s >= 0)
        printf("; first label %.2f s after the program's start", report->results[0].first_label_s);
    printf("\n- ceilings measured in this run: product %.4g TFLOP/s, copy %.4g GB/s (read and "
           "written)\n",
           report->ceilings.product_flops * 1e-12, report->ceilings.copy_bytes * 1e-9);
    printf("- %d cells a repetition, %d repetitions after %d cells to warm up; labels of %d "
           "tokens, --answer %s; random ids and the prefix computed once\n\n|",
           report->settings->cells, report->settings->repetitions, report->settings->warm_up,
           report->settings->label_tokens, report->settings->answer);
    for (size_t i = 0; i < EMC_COUNT(figures); i++)
        if (figures[i].head)
            printf(" %s |", figures[i].head);
    printf("\n|");
    for (size_t i = 0; i < EMC_COUNT(figures); i++)
        if (figures[i].head)
            printf("---:|");
    putchar('\n');
    for (int r = 0; r < report->n_results; r++) {
        putchar('|');
        for (size_t i = 0; i < EMC_COUNT(figures); i++)
            if (figures[i].head)
                md_cell(figures[i].factor * figures[i].get(report, &report->results[r]),
                        figures[i].digits);
        putchar('\n');
    }
    for (int r = 0; r < report->n_results; r++)
        if (report->results[r].n_operations > 0)
            md_operations(report, &report->results[r]);
}

/* --- CSV and JSON ------------------------------------------------------------------------- */

static emc_status print_csv(const bench_report *report)
{
    emc_text line = {0};
    emc_status status = EMC_OK;

    printf("model,device");
    for (size_t i = 0; i < EMC_COUNT(figures); i++)
        printf(",%s", figures[i].name);
    printf(",load_s,product_ceiling_flops,copy_ceiling_bytes\n");
    for (int r = 0; r < report->n_results && status == EMC_OK; r++) {
        emc_text_clear(&line);
        status = emc_text_add_csv(&line, report->name, ',');
        if (status == EMC_OK)
            status = emc_text_add_string(&line, ",");
        if (status == EMC_OK)
            status = emc_text_add_csv(&line, report->model->device, ',');
        if (status != EMC_OK)
            break;
        fputs(line.bytes, stdout);
        for (size_t i = 0; i < EMC_COUNT(figures); i++) {
            const double value = figures[i].get(report, &report->results[r]);
            if (isnan(value))
                putchar(',');
            else
                printf(",%.9g", value);
        }
        printf(",%.9g,%.9g,%.9g\n", report->model->load_seconds, report->ceilings.product_flops,
               report->ceilings.copy_bytes);
    }
    emc_text_free(&line);
    return status;
}

static emc_status json_string(const char *name, const char *value)
{
    emc_text text = {0};
    emc_status status = emc_text_add_json(&text, value, strlen(value));

    if (status == EMC_OK)
        printf("\"%s\": %s, ", name, text.bytes);
    emc_text_free(&text);
    return status;
}

static void json_number(const char *name, double value, const char *after)
{
    if (isfinite(value))
        printf("\"%s\": %.9g%s", name, value, after);
    else
        printf("\"%s\": null%s", name, after);
}

static emc_status json_operations(const bench_report *report, const bench_result *result)
{
    printf("\"operations\": [");
    for (int i = 0; i < result->n_operations; i++) {
        const emc_trace_entry *operation = &result->operations[i];

        printf("%s\n      {", i > 0 ? "," : "");
        EMC_TRY(json_string("operation", operation->operation));
        json_number("calls", (double)operation->n_calls, ", ");
        json_number("ms", operation->ms, ", ");
        json_number("flop", operation->flop, ", ");
        json_number("bytes", operation->bytes, ", ");
        json_number("share_of_ceiling", operation_share(report, operation), "}");
    }
    printf("]");
    return EMC_OK;
}

static emc_status print_json(const bench_report *report)
{
    const emc_model_info *model = report->model;

    printf("{");
    EMC_TRY(json_string("model", report->name));
    EMC_TRY(json_string("device", model->device));
    EMC_TRY(json_string("device_name", model->device_name ? model->device_name : ""));
    EMC_TRY(json_string("dtype", emc_dtype_name(model->dtype)));
    json_number("parameters", (double)model->n_parameters, ", ");
    json_number("weight_bytes", (double)model->weight_bytes, ", ");
    json_number("load_s", model->load_seconds, ", ");
    json_number("product_ceiling_flops", report->ceilings.product_flops, ", ");
    json_number("copy_ceiling_bytes", report->ceilings.copy_bytes, ", ");
    EMC_TRY(json_string("answer", report->settings->answer));
    json_number("repetitions", report->settings->repetitions, ", ");
    json_number("warm_up", report->settings->warm_up, ", ");
    json_number("label_tokens", report->settings->label_tokens, ", ");
    printf("\n  \"results\": [");
    for (int r = 0; r < report->n_results; r++) {
        const bench_result *result = &report->results[r];

        printf("%s\n    {", r > 0 ? "," : "");
        for (size_t i = 0; i < EMC_COUNT(figures); i++)
            json_number(figures[i].name, figures[i].get(report, result), ", ");
        printf("\"seconds\": [");
        for (int i = 0; i < result->n_runs; i++)
            printf("%s%.9g", i > 0 ? ", " : "", result->seconds[i]);
        printf("],\n     ");
        EMC_TRY(json_operations(report, result));
        printf("}");
    }
    printf("]}\n");
    return EMC_OK;
}

emc_status bench_print(const bench_report *report, bench_format format)
{
    if (format == BENCH_MD)
        print_md(report);
    else
        EMC_TRY(format == BENCH_CSV ? print_csv(report) : print_json(report));
    if (fflush(stdout) != 0)
        return emc_fail(EMC_ERR_IO, "standard output cannot be written");
    return EMC_OK;
}
