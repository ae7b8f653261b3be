/* Which steps make an .h5ad with results appear whole under its name? */
#include "cells/h5ad_out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size.h"
#include "cells/h5ad_parts.h"

bool emc_h5ad_is(const char *path)
{
    cells_h5_guard guard;
    bool is = false;
    hid_t root;

    cells_h5_enter(&guard);
    if (cells_h5_open_file(&root, path) == EMC_OK) {
        is = cells_h5_has(root, "obs") && cells_h5_has(root, "var");
        cells_h5_close(root);
    }
    cells_h5_leave(&guard);
    return is;
}

emc_status emc_h5ad_reserved(char **out, const char *path, bool allow_external)
{
    cells_strings names = {0}, found = {0};
    emc_text text = {0};
    cells_h5_guard guard;
    hid_t root = -1, obs = -1;

    *out = NULL;
    cells_h5_enter(&guard);
    emc_status status = cells_h5_open_file_with(&root, path, allow_external);
    if (status == EMC_OK)
        status = cells_h5_open(&obs, root, "obs", path);
    if (status == EMC_OK)
        status = cells_h5_frame_columns(&names, obs, path);
    for (size_t i = 0; status == EMC_OK && i < names.n; i++) {
        const char *name = cells_strings_at(&names, i);
        if (strncmp(name, "__", 2) == 0 && strcmp(name, "__categories") != 0)
            status = cells_strings_add(&found, name, strlen(name), path);
    }
    if (status == EMC_OK && found.n > 0)
        status = cells_h5_list(&text, &found);
    cells_h5_close(obs);
    cells_h5_close(root);
    cells_h5_leave(&guard);
    cells_strings_free(&names);
    cells_strings_free(&found);
    if (status == EMC_OK)
        *out = text.bytes;
    else
        emc_text_free(&text);
    return status;
}

emc_status emc_h5ad_out_check(const emc_h5ad_out_options *options, const emc_h5ad_content *content)
{
    cells_h5_guard guard;

    cells_h5_enter(&guard);
    const emc_status status = h5ad_check(options, content);
    cells_h5_leave(&guard);
    return status;
}

static emc_status open_bands(emc_h5ad_out *out)
{
    const size_t n = (size_t)out->content->n_columns, m = (size_t)out->content->n_matrix;

    EMC_TRY(emc_alloc(&out->columns, n, sizeof *out->columns, "columns"));
    EMC_TRY(emc_alloc(&out->matrix, m, sizeof *out->matrix, "columns"));
    EMC_TRY(emc_alloc(&out->values, n, sizeof *out->values, "columns"));
    EMC_TRY(emc_alloc(&out->numbers, m, sizeof *out->numbers, "columns"));
    memset(out->columns, -1, n * sizeof *out->columns);
    memset(out->matrix, -1, m * sizeof *out->matrix);
    for (size_t i = 0; i < n; i++)
        EMC_TRY(emc_alloc(&out->values[i], H5AD_BAND, sizeof **out->values, "a column"));
    for (size_t i = 0; i < m; i++)
        EMC_TRY(emc_alloc(&out->numbers[i], H5AD_BAND, sizeof **out->numbers, "a column"));
    return EMC_OK;
}

emc_status emc_h5ad_out_open(emc_h5ad_out **result, const emc_h5ad_out_options *options,
                             const emc_h5ad_content *content)
{
    cells_h5_guard guard;
    emc_h5ad_out *out;
    emc_status status;

    *result = NULL;
    EMC_TRY(emc_h5ad_out_check(options, content));
    EMC_TRY(emc_alloc(&out, 1, sizeof *out, "an .h5ad"));
    out->options = *options;
    out->content = content;
    out->path = options->path;
    out->root = out->stage = out->input = out->index = -1;
    out->compound = (h5ad_compound){.from = -1, .to = -1, .old_members = -1, .all = -1};
    cells_h5_enter(&guard);
    status = open_bands(out);
    if (status == EMC_OK)
        status = h5ad_make(out);
    if (status == EMC_OK)
        status = h5ad_stage(out);
    if (out->disk.error) /* the cause of whatever else went wrong */
        status = cells_h5_disk_check(&out->disk, out->path);
    if (status == EMC_OK)
        h5ad_clear_band(out);
    cells_h5_leave(&guard);
    out->failed = status != EMC_OK;
    if (status == EMC_OK)
        *result = out;
    else
        emc_h5ad_out_close(out);
    return status;
}

static void close_handles(emc_h5ad_out *out)
{
    for (int i = 0; out->columns && i < out->content->n_columns; i++) {
        cells_h5_close(out->columns[i]);
        out->columns[i] = -1;
    }
    for (int i = 0; out->matrix && i < out->content->n_matrix; i++) {
        cells_h5_close(out->matrix[i]);
        out->matrix[i] = -1;
    }
    cells_h5_close(out->index);
    out->index = -1;
    h5ad_compound_close(&out->compound);
}

/* What was staged in the user's own file and is not wanted any more. */
static void unstage(emc_h5ad_out *out)
{
    cells_h5_close(out->stage);
    out->stage = -1;
    if (out->root < 0 || out->options.kind != EMC_H5AD_IN_PLACE || out->committed)
        return;
    if (H5Lexists(out->root, "uns", H5P_DEFAULT) > 0 &&
        H5Lexists(out->root, "uns/" H5AD_STAGE, H5P_DEFAULT) > 0)
        H5Ldelete(out->root, "uns/" H5AD_STAGE, H5P_DEFAULT);
}

static emc_status close_file(emc_h5ad_out *out)
{
    const hid_t root = out->root;
    emc_status status = EMC_OK;

    out->root = -1;
    if (root >= 0 && H5Fclose(root) < 0)
        status = cells_h5_put_failed(out->path, -1, "writing");
    cells_h5_disk_close(&out->disk);
    return status == EMC_OK ? cells_h5_disk_check(&out->disk, out->path) : status;
}

void emc_h5ad_out_close(emc_h5ad_out *out)
{
    cells_h5_guard guard;

    if (!out)
        return;
    cells_h5_enter(&guard);
    close_handles(out);
    unstage(out);
    (void)close_file(out);
    cells_h5_close(out->input);
    cells_h5_leave(&guard);
    for (int i = 0; out->values && i < out->content->n_columns; i++)
        free(out->values[i]);
    for (int i = 0; out->numbers && i < out->content->n_matrix; i++)
        free(out->numbers[i]);
    for (int i = 0; out->ids && i < H5AD_BAND; i++)
        free(out->ids[i]);
    free(out->ids);
    free(out->values);
    free(out->numbers);
    free(out->columns);
    free(out->matrix);
    emc_out_file_close(out->file);
    free(out);
}

static emc_status write_band(emc_h5ad_out *out)
{
    cells_h5_guard guard;

    if (out->options.cancel && *out->options.cancel)
        return emc_fail(EMC_ERR_CANCELLED, "stopped while %s was written", out->path);
    cells_h5_enter(&guard);
    emc_status status = h5ad_write_band(out);
    if (out->disk.error)
        status = cells_h5_disk_check(&out->disk, out->path);
    cells_h5_leave(&guard);
    return status;
}

/* The bands before the one that holds `row`. */
static emc_status advance(emc_h5ad_out *out, int64_t row)
{
    while (row >= out->band + H5AD_BAND)
        EMC_TRY(write_band(out));
    return EMC_OK;
}

static emc_status put_row(emc_h5ad_out *out, int64_t row, const char *cell_id,
                          const emc_h5ad_value *values, const float *matrix)
{
    const emc_h5ad_content *content = out->content;
    const bool alone = out->options.kind == EMC_H5AD_OBS;

    if (row < out->next || row >= out->options.n_cells || (alone && row != out->next))
        return emc_fail(EMC_ERR_ARG, "row %lld of %lld comes after row %lld", (long long)row,
                        (long long)out->options.n_cells, (long long)out->next - 1);
    for (int i = 0; i < content->n_columns; i++) {
        const emc_h5ad_column *column = &content->columns[i];
        if (column->type == EMC_H5AD_CATEGORY &&
            (values[i].code < -1 || values[i].code >= column->n_categories))
            return emc_fail(EMC_ERR_ARG, "column \"%s\": code %d of %d categories", column->name,
                            values[i].code, column->n_categories);
    }
    EMC_TRY(advance(out, row));
    const int64_t at = row - out->band;
    for (int i = 0; i < content->n_columns; i++)
        out->values[i][at] = values[i];
    for (int i = 0; matrix && i < content->n_matrix; i++)
        out->numbers[i][at] = matrix[i];
    if (alone)
        EMC_TRY(emc_copy_string(&out->ids[at], cell_id ? cell_id : ""));
    out->next = row + 1;
    return EMC_OK;
}

emc_status emc_h5ad_out_row(emc_h5ad_out *out, int64_t row, const char *cell_id,
                            const emc_h5ad_value *values, const float *matrix)
{
    if (out->failed)
        return emc_fail(EMC_ERR_ARG, "%s: writing has failed before", out->path);
    const emc_status status = put_row(out, row, cell_id, values, matrix);
    out->failed = status != EMC_OK;
    return status;
}

/* The bytes that the system still holds back. */
static emc_status sync_in_place(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const bool synced = fd >= 0 && fsync(fd) == 0;
    const emc_status status =
        synced ? EMC_OK : emc_fail(EMC_ERR_IO, "%s: %s", path, strerror(errno));

    if (fd >= 0)
        close(fd);
    return status;
}

static emc_status finish(emc_h5ad_out *out)
{
    cells_h5_guard guard;
    emc_status status;

    if (out->options.kind == EMC_H5AD_OBS && out->next != out->options.n_cells)
        return emc_fail(EMC_ERR_ARG, "%lld of %lld rows came", (long long)out->next,
                        (long long)out->options.n_cells);
    while (out->band < out->options.n_cells)
        EMC_TRY(write_band(out));
    cells_h5_enter(&guard);
    status = h5ad_publish(out);
    if (status == EMC_OK) {
        out->committed = true;
        close_handles(out);
        status = close_file(out);
    }
    if (out->disk.error)
        status = cells_h5_disk_check(&out->disk, out->path);
    cells_h5_leave(&guard);
    EMC_TRY(status);
    return out->file ? emc_out_file_commit(out->file) : sync_in_place(out->path);
}

emc_status emc_h5ad_out_commit(emc_h5ad_out *out)
{
    if (out->failed)
        return emc_fail(EMC_ERR_ARG, "%s: writing has failed before", out->path);
    const emc_status status = finish(out);
    out->failed = true; /* nothing but close is allowed now */
    return status;
}
