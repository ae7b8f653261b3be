/*
 * How do entries that come in any order leave row by row, in bounded memory?
 *
 * Entries gather in memory. When there is no room for more they are sorted by row, stably, into a
 * run: offsets of the rows, then columns, then values. All runs but a lone one go to the scratch
 * file. To read some rows, each run gives the piece that it has of them, in the order of the runs.
 * So a run costs one pass over the entries, reading costs another, and how the rows are spread
 * does not matter.
 */
#include "cells/turn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"

#define DEFAULT_BYTES ((size_t)1 << 30)

/* An entry as it waits, and again as part of a run: both are there while a run is made. */
#define ENTRY_BYTES (2 * (sizeof(int32_t) + sizeof(double)) + sizeof(uint32_t))

/* Runs are not made smaller than this, nor of fewer entries than a quarter of the rows: their
 * offsets would outgrow them. */
#define LEAST_ENTRIES 64

typedef struct {
    int64_t at; /* in the scratch file */
    int64_t n;  /* entries */
} turn_run;

struct cells_turn {
    cells_turn_options options;
    size_t limit; /* entries that a run may have */
    uint32_t *rows;
    int32_t *columns;
    double *values;
    size_t n, rows_capacity, columns_capacity, values_capacity;
    /* The run being made, or the lone one. */
    uint32_t *offsets; /* [n_rows + 1] */
    int32_t *sorted_columns;
    double *sorted_values;
    bool is_lone;
    turn_run *runs;
    size_t n_runs, runs_capacity;
    int file; /* -1: none */
    int64_t file_bytes;
    int64_t n_added;
    /* Of the rows being read. */
    uint32_t *piece_offsets; /* [n_runs][n + 1] */
    size_t piece_offsets_capacity;
    int32_t *piece_columns;
    double *piece_values;
    size_t piece_columns_capacity, piece_values_capacity;
};

void cells_turn_options_from(cells_turn_options *out, const emc_cells_options *options)
{
    *out = (cells_turn_options){.memory_bytes = options->turn_bytes,
                                .scratch_dir = options->scratch_dir,
                                .on_log = options->on_log,
                                .context = options->context};
}

static const char *scratch_dir(const cells_turn *turn)
{
    return turn->options.scratch_dir ? turn->options.scratch_dir : "/tmp";
}

emc_status cells_turn_open(cells_turn **out, const cells_turn_options *options)
{
    const size_t bytes = options->memory_bytes ? options->memory_bytes : DEFAULT_BYTES;
    emc_status status;
    cells_turn *turn = NULL;

    *out = NULL;
    if (options->n_rows < 0 || options->n_rows > INT32_MAX)
        return emc_fail(EMC_ERR_FORMAT, "%s: %lld cells; at most %d are read", options->path,
                        (long long)options->n_rows, INT32_MAX);
    EMC_TRY(emc_alloc(&turn, 1, sizeof *turn, "turning a matrix"));
    turn->options = *options;
    turn->file = -1;
    turn->limit = bytes / ENTRY_BYTES;
    if (turn->limit < (size_t)options->n_rows / 4)
        turn->limit = (size_t)options->n_rows / 4;
    if (turn->limit < LEAST_ENTRIES)
        turn->limit = LEAST_ENTRIES;
    if (turn->limit > INT32_MAX) /* offsets of a run are 32 bits */
        turn->limit = INT32_MAX;
    status = emc_alloc(&turn->offsets, (size_t)options->n_rows + 1, sizeof *turn->offsets,
                       "turning a matrix");
    if (status != EMC_OK) {
        cells_turn_close(turn);
        return status;
    }
    *out = turn;
    return EMC_OK;
}

static void free_entries(cells_turn *turn)
{
    free(turn->rows);
    free(turn->columns);
    free(turn->values);
    turn->rows = NULL;
    turn->columns = NULL;
    turn->values = NULL;
    turn->rows_capacity = turn->columns_capacity = turn->values_capacity = 0;
}

static void free_sorted(cells_turn *turn)
{
    free(turn->sorted_columns);
    free(turn->sorted_values);
    turn->sorted_columns = NULL;
    turn->sorted_values = NULL;
}

void cells_turn_close(cells_turn *turn)
{
    if (!turn)
        return;
    free_entries(turn);
    free_sorted(turn);
    free(turn->offsets);
    free(turn->runs);
    free(turn->piece_offsets);
    free(turn->piece_columns);
    free(turn->piece_values);
    if (turn->file >= 0)
        close(turn->file);
    free(turn);
}

/* A file without a name, so that nothing of it stays. */
static emc_status open_scratch(cells_turn *turn)
{
    const char *dir = scratch_dir(turn);
    char name[PATH_MAX];

    if (turn->file >= 0)
        return EMC_OK;
#ifdef O_TMPFILE
    turn->file = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_EXCL, 0600);
#endif
    if (turn->file < 0) { /* not every file system has those */
        const int n = snprintf(name, sizeof name, "%s/emcell-XXXXXX", dir);
        if (n < 0 || n >= (int)sizeof name)
            return emc_fail(EMC_ERR_IO, "%s: the name of the scratch folder is too long", dir);
        turn->file = mkostemp(name, O_CLOEXEC);
        if (turn->file >= 0)
            unlink(name);
    }
    if (turn->file < 0)
        return emc_fail(EMC_ERR_IO,
                        "%s: no scratch file can be made (%s); choose another --scratch-dir", dir,
                        strerror(errno));
    if (turn->options.on_log) {
        char line[1024], cost[64] = "";
        if (turn->options.n_expected > 0)
            snprintf(cost, sizeof cost, ", about %lld MiB,",
                     (long long)((turn->options.n_expected * 12) >> 20) + 1);
        const char *advice = turn->options.advice ? turn->options.advice : "";
        snprintf(line, sizeof line,
                 "%s: not stored cell by cell, and larger than the memory to turn it: a scratch "
                 "file%s in %s is written and read once%s%s",
                 turn->options.path, cost, dir, *advice ? "; to avoid that: " : "", advice);
        turn->options.on_log(turn->options.context, line);
    }
    return EMC_OK;
}

static emc_status write_scratch(cells_turn *turn, const void *bytes, size_t n)
{
    const char *from = bytes;

    while (n > 0) {
        const size_t step = n < (size_t)1 << 30 ? n : (size_t)1 << 30;
        const ssize_t done = pwrite(turn->file, from, step, turn->file_bytes);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return emc_fail(
                EMC_ERR_IO,
                "%s: the scratch file failed after %lld MiB of about %lld (%s); make "
                "room, choose another --scratch-dir or store the matrix by cells",
                scratch_dir(turn), (long long)(turn->file_bytes >> 20),
                (long long)(((turn->options.n_expected > turn->n_added ? turn->options.n_expected
                                                                       : turn->n_added) *
                             12) >>
                            20) +
                    1,
                done < 0 ? strerror(errno) : "nothing is written");
        from += done;
        n -= (size_t)done;
        turn->file_bytes += done;
    }
    return EMC_OK;
}

static emc_status read_scratch(const cells_turn *turn, void *to, size_t n, int64_t at)
{
    char *into = to;

    while (n > 0) {
        const ssize_t done = pread(turn->file, into, n, at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return emc_fail(EMC_ERR_IO, "%s: the scratch file cannot be read (%s)",
                            scratch_dir(turn), done < 0 ? strerror(errno) : "it was cut short");
        into += done;
        n -= (size_t)done;
        at += done;
    }
    return EMC_OK;
}

/* The entries that wait become the run in offsets, sorted_columns and sorted_values. */
static emc_status sort_entries(cells_turn *turn)
{
    const size_t n_rows = (size_t)turn->options.n_rows;
    uint32_t *offsets = turn->offsets;

    EMC_TRY(emc_alloc(&turn->sorted_columns, turn->n, sizeof *turn->sorted_columns,
                      "turning a matrix"));
    EMC_TRY(
        emc_alloc(&turn->sorted_values, turn->n, sizeof *turn->sorted_values, "turning a matrix"));
    memset(offsets, 0, (n_rows + 1) * sizeof *offsets);
    for (size_t i = 0; i < turn->n; i++)
        offsets[turn->rows[i] + 1]++;
    for (size_t r = 0; r < n_rows; r++)
        offsets[r + 1] += offsets[r];
    for (size_t i = 0; i < turn->n; i++) {
        const uint32_t to = offsets[turn->rows[i]]++;
        turn->sorted_columns[to] = turn->columns[i];
        turn->sorted_values[to] = turn->values[i];
    }
    /* Each offset has moved to where the next row begins. */
    memmove(offsets + 1, offsets, n_rows * sizeof *offsets);
    offsets[0] = 0;
    return EMC_OK;
}

/* Writes what waits as one more run. */
static emc_status spill(cells_turn *turn)
{
    const size_t n_rows = (size_t)turn->options.n_rows;
    emc_status status;

    EMC_TRY(open_scratch(turn));
    EMC_TRY(emc_reserve(&turn->runs, &turn->runs_capacity, turn->n_runs + 1, sizeof *turn->runs,
                        "turning a matrix"));
    status = sort_entries(turn);
    turn->runs[turn->n_runs] = (turn_run){turn->file_bytes, (int64_t)turn->n};
    if (status == EMC_OK)
        status = write_scratch(turn, turn->offsets, (n_rows + 1) * sizeof *turn->offsets);
    if (status == EMC_OK)
        status = write_scratch(turn, turn->sorted_columns, turn->n * sizeof(int32_t));
    if (status == EMC_OK)
        status = write_scratch(turn, turn->sorted_values, turn->n * sizeof(double));
    turn->n_runs += status == EMC_OK;
    turn->n = 0;
    free_sorted(turn);
    return status;
}

emc_status cells_turn_add(cells_turn *turn, int64_t row, int32_t column, double value)
{
    if (turn->n == turn->limit)
        EMC_TRY(spill(turn));
    const size_t i = turn->n;
    if (i == turn->rows_capacity || i == turn->columns_capacity || i == turn->values_capacity) {
        EMC_TRY(emc_reserve(&turn->rows, &turn->rows_capacity, i + 1, sizeof *turn->rows,
                            "turning a matrix"));
        EMC_TRY(emc_reserve(&turn->columns, &turn->columns_capacity, i + 1, sizeof *turn->columns,
                            "turning a matrix"));
        EMC_TRY(emc_reserve(&turn->values, &turn->values_capacity, i + 1, sizeof *turn->values,
                            "turning a matrix"));
    }
    turn->rows[i] = (uint32_t)row;
    turn->columns[i] = column;
    turn->values[i] = value;
    turn->n = i + 1;
    turn->n_added++;
    return EMC_OK;
}

emc_status cells_turn_end(cells_turn *turn)
{
    if (turn->n_runs == 0) {
        turn->is_lone = true;
        EMC_TRY(sort_entries(turn));
    } else {
        if (turn->n > 0)
            EMC_TRY(spill(turn));
        free(turn->offsets);
        turn->offsets = NULL;
    }
    free_entries(turn);
    return EMC_OK;
}

int64_t cells_turn_count(const cells_turn *turn)
{
    return turn->n_added;
}

/* piece_offsets of rows first .. first + n, for each run. */
static emc_status read_offsets(cells_turn *turn, int64_t first, int64_t n)
{
    const size_t stride = (size_t)n + 1;
    size_t need;

    if (!emc_size_mul(&need, stride, turn->n_runs))
        return emc_fail(EMC_ERR_NOMEM, "%s: no memory for a block", turn->options.path);
    EMC_TRY(emc_reserve(&turn->piece_offsets, &turn->piece_offsets_capacity, need,
                        sizeof *turn->piece_offsets, "a block"));
    for (size_t r = 0; r < turn->n_runs; r++)
        EMC_TRY(read_scratch(turn, turn->piece_offsets + r * stride, stride * sizeof(uint32_t),
                             turn->runs[r].at + first * (int64_t)sizeof(uint32_t)));
    return EMC_OK;
}

/* The same piece_offsets, so that n more rows are known; a failure shows again when rows are read.
 */
static int64_t fit_runs(cells_turn *turn, int64_t first, int64_t max_rows, int64_t most)
{
    const size_t stride = (size_t)max_rows + 1;

    if (read_offsets(turn, first, max_rows) != EMC_OK)
        return 1;
    for (int64_t n = 1; n < max_rows; n++) {
        int64_t total = 0;
        for (size_t r = 0; r < turn->n_runs; r++) {
            const uint32_t *offsets = turn->piece_offsets + r * stride;
            total += (int64_t)offsets[n + 1] - offsets[0];
        }
        if (total > most)
            return n;
    }
    return max_rows;
}

int64_t cells_turn_fit(cells_turn *turn, int64_t first, int64_t max_rows, size_t max_bytes)
{
    const int64_t most = (int64_t)(max_bytes / (sizeof(int32_t) + sizeof(double)));
    int64_t n = 1;

    if (max_rows > turn->options.n_rows - first)
        max_rows = turn->options.n_rows - first;
    if (!turn->is_lone)
        return fit_runs(turn, first, max_rows, most);
    while (n < max_rows && turn->offsets[first + n + 1] - turn->offsets[first] <= most)
        n++;
    return n;
}

static emc_status read_lone(cells_turn *turn, int64_t first, int64_t n, cells_rows *rows)
{
    const uint32_t *offsets = turn->offsets + first;
    const size_t n_values = offsets[n] - offsets[0];

    EMC_TRY(cells_rows_reserve(rows, (size_t)n, n_values));
    for (int64_t i = 0; i <= n; i++)
        rows->indptr[i] = offsets[i] - offsets[0];
    if (n_values) {
        memcpy(rows->genes, turn->sorted_columns + offsets[0], n_values * sizeof *rows->genes);
        memcpy(rows->values, turn->sorted_values + offsets[0], n_values * sizeof *rows->values);
    }
    return EMC_OK;
}

/* Deals one run's piece out to the rows; indptr[i + 1] is where row i's next entry goes. */
static emc_status deal_out(cells_turn *turn, size_t run, int64_t n, cells_rows *rows)
{
    const uint32_t *offsets = turn->piece_offsets + run * ((size_t)n + 1);
    const size_t n_piece = offsets[n] - offsets[0];
    const int64_t columns_at =
        turn->runs[run].at + (turn->options.n_rows + 1) * (int64_t)sizeof(uint32_t);
    const int64_t values_at = columns_at + turn->runs[run].n * (int64_t)sizeof(int32_t);

    EMC_TRY(emc_reserve(&turn->piece_columns, &turn->piece_columns_capacity, n_piece,
                        sizeof *turn->piece_columns, "a block"));
    EMC_TRY(emc_reserve(&turn->piece_values, &turn->piece_values_capacity, n_piece,
                        sizeof *turn->piece_values, "a block"));
    EMC_TRY(read_scratch(turn, turn->piece_columns, n_piece * sizeof(int32_t),
                         columns_at + offsets[0] * (int64_t)sizeof(int32_t)));
    EMC_TRY(read_scratch(turn, turn->piece_values, n_piece * sizeof(double),
                         values_at + offsets[0] * (int64_t)sizeof(double)));
    for (int64_t i = 0; i < n; i++)
        for (size_t k = offsets[i] - offsets[0]; k < offsets[i + 1] - offsets[0]; k++) {
            const int64_t to = rows->indptr[i + 1]++;
            rows->genes[to] = turn->piece_columns[k];
            rows->values[to] = turn->piece_values[k];
        }
    return EMC_OK;
}

emc_status cells_turn_read(cells_turn *turn, int64_t first, int64_t n, cells_rows *rows)
{
    const size_t stride = (size_t)n + 1;
    int64_t total = 0;

    if (turn->is_lone)
        return read_lone(turn, first, n, rows);
    EMC_TRY(read_offsets(turn, first, n));
    for (size_t r = 0; r < turn->n_runs; r++)
        total +=
            (int64_t)turn->piece_offsets[r * stride + (size_t)n] - turn->piece_offsets[r * stride];
    EMC_TRY(cells_rows_reserve(rows, (size_t)n, (size_t)total));
    rows->indptr[0] = 0;
    total = 0;
    for (int64_t i = 0; i < n; i++) {
        rows->indptr[i + 1] = total; /* for now, where the row begins */
        for (size_t r = 0; r < turn->n_runs; r++)
            total += turn->piece_offsets[r * stride + (size_t)i + 1] -
                     turn->piece_offsets[r * stride + (size_t)i];
    }
    for (size_t r = 0; r < turn->n_runs; r++)
        EMC_TRY(deal_out(turn, r, n, rows));
    return EMC_OK;
}

static int64_t turn_fit(const void *source, int64_t first, int64_t max_rows, size_t max_bytes)
{
    return cells_turn_fit((cells_turn *)(uintptr_t)source, first, max_rows, max_bytes);
}

static emc_status turn_read(void *source, int64_t first, int64_t n, cells_rows *rows)
{
    return cells_turn_read(source, first, n, rows);
}

static void turn_close(void *source)
{
    cells_turn_close(source);
}

const cells_source_ops cells_turn_ops = {turn_fit, turn_read, turn_close};
