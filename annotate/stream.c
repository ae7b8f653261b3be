#include "annotate/stream.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "annotate/ledger.h"
#include "annotate/results_parts.h"
#include "base/size.h"

struct emc_stream {
    const emc_results_options *results;
    const emc_plan *plan;
    emc_labels *labels;
    results_survey survey; /* empty: nothing is known of all rows */
    results_tables *tables;
    unsigned char *written; /* [n_shards] */
};

static bool is_file(const char *path)
{
    struct stat st;

    if (strcmp(path, "-") == 0)
        return false;
    return stat(path, &st) != 0 || S_ISREG(st.st_mode) || S_ISDIR(st.st_mode);
}

emc_status emc_stream_check(const emc_results_options *results)
{
    const char *more = results->groupby              ? "--groupby"
                       : results->probabilities_path ? "--probabilities"
                                                     : NULL;

    if (results_is_h5ad(results))
        return emc_fail(EMC_ERR_USAGE, "--order finished is for tables; an .h5ad has the order of "
                                       "the input");
    if (is_file(results->output_path))
        return emc_fail(EMC_ERR_USAGE,
                        "--order finished writes to standard output or a pipe; the file %s "
                        "appears whole, in the order of the input",
                        results->output_path);
    if (more)
        return emc_fail(EMC_ERR_USAGE,
                        "--order finished: %s needs the results of all cells; "
                        "leave one of them out",
                        more);
    return EMC_OK;
}

static emc_status open_tables(emc_stream *stream)
{
    const emc_plan *plan = stream->plan;
    const size_t n_shards = (size_t)emc_plan_n_shards(plan);

    EMC_TRY(emc_alloc(&stream->written, n_shards, 1, "the list of shards"));
    EMC_TRY(emc_labels_from_list(&stream->labels, plan->labels, plan->n_labels));
    const emc_results_run run = {.n_cells = plan->n_rows,
                                 .labels = stream->labels,
                                 .generated = plan->generated,
                                 .has_probabilities = plan->probabilities,
                                 .has_invalid_mass = plan->invalid_mass};
    EMC_TRY(results_tables_open(&stream->tables, stream->results, &run, &stream->survey));
    return results_tables_flush(stream->tables);
}

emc_status emc_stream_open(emc_stream **out, const emc_results_options *results,
                           const emc_plan *plan)
{
    emc_stream *stream;

    *out = NULL;
    EMC_TRY(emc_alloc(&stream, 1, sizeof(*stream), "rows as they finish"));
    stream->results = results;
    stream->plan = plan;
    const emc_status status = open_tables(stream);
    if (status != EMC_OK)
        emc_stream_close(stream);
    else
        *out = stream;
    return status;
}

void emc_stream_close(emc_stream *stream)
{
    if (!stream)
        return;
    results_tables_close(stream->tables);
    emc_labels_close(stream->labels);
    free(stream->written);
    free(stream);
}

emc_status emc_stream_add(emc_stream *stream, int64_t shard, const emc_shard *rows)
{
    emc_shard_head head;
    emc_result_row row;

    if (stream->written[shard])
        return EMC_OK;
    emc_plan_shard(stream->plan, shard, &head);
    for (int64_t i = 0; i < head.n_cells; i++) {
        emc_shard_get(rows, i, &row);
        EMC_TRY(results_tables_add(stream->tables, &row));
    }
    stream->written[shard] = 1;
    return results_tables_flush(stream->tables);
}

static emc_status add_file(emc_stream *stream, int64_t shard, const char *dir)
{
    emc_shard_head head;
    emc_shard *rows = NULL;
    char *path;

    emc_plan_shard(stream->plan, shard, &head);
    EMC_TRY(emc_ledger_done_path(&path, dir, shard));
    emc_status status = emc_shard_open(&rows, path, &head);
    if (status == EMC_OK)
        status = emc_stream_add(stream, shard, rows);
    emc_shard_close(rows);
    free(path);
    return status;
}

emc_status emc_stream_add_done(emc_stream *stream, const emc_survey *survey, const char *dir)
{
    const volatile sig_atomic_t *cancel = stream->results->cancel;

    for (int64_t i = 0; i < survey->n_shards; i++) {
        if (cancel && *cancel)
            return emc_fail(EMC_ERR_CANCELLED, "stopped while results were written");
        if (survey->state[i] == EMC_SHARD_DONE && !stream->written[i])
            EMC_TRY(add_file(stream, i, dir));
    }
    return EMC_OK;
}
