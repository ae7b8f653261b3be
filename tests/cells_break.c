#include "cells_break.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *copy_golden(const char *name)
{
    char path[64];
    size_t n;
    snprintf(path, sizeof path, "cells/%s", name);
    char *bytes = emt_read(emt_golden(path), &n);
    const char *copy = emt_write(name, bytes, n);

    free(bytes);
    return copy;
}

void set_int(hid_t file, const char *name, hsize_t at, int64_t value)
{
    const hid_t dataset = H5Dopen2(file, name, H5P_DEFAULT);
    const hid_t space = H5Dget_space(dataset);
    const hsize_t one = 1;
    const hid_t memory = H5Screate_simple(1, &one, NULL);

    H5(H5Sselect_hyperslab(space, H5S_SELECT_SET, &at, NULL, &one, NULL));
    const hid_t type = H5Dget_type(dataset);
    const int8_t small = (int8_t)value;
    /* An enumeration, as booleans are stored, takes its own type only. */
    if (H5Tget_class(type) == H5T_ENUM)
        H5(H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, &small));
    else
        H5(H5Dwrite(dataset, H5T_NATIVE_INT64, memory, space, H5P_DEFAULT, &value));
    H5(H5Tclose(type));
    H5(H5Sclose(memory));
    H5(H5Sclose(space));
    H5(H5Dclose(dataset));
}

void drop(hid_t file, const char *name)
{
    H5(H5Ldelete(file, name, H5P_DEFAULT));
}

void put(hid_t file, const char *name, hid_t type, int n_dims, const hsize_t *dims, hid_t create)
{
    const hid_t space = H5Screate_simple(n_dims, dims, NULL);
    const hid_t dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT);

    H5(dataset);
    H5(H5Dclose(dataset));
    H5(H5Sclose(space));
}

void zeros(hid_t file, const char *name, hid_t type, int n_dims, hsize_t n, hsize_t m)
{
    const hsize_t dims[2] = {n, m};

    if (H5Lexists(file, name, H5P_DEFAULT) > 0)
        drop(file, name);
    put(file, name, type, n_dims, dims, H5P_DEFAULT);
}

void texts(hid_t file, const char *name, const char *bytes, hsize_t n)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    hid_t dataset;

    H5(H5Tset_size(type, 6));
    zeros(file, name, type, 1, n, 0);
    if (n > 0) {
        dataset = H5Dopen2(file, name, H5P_DEFAULT);
        H5(H5Dwrite(dataset, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes));
        H5(H5Dclose(dataset));
    }
    H5(H5Tclose(type));
}

void set_text_attribute(hid_t file, const char *object, const char *name, const char *value)
{
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);

    H5(H5Tset_size(type, strlen(value) + 1));
    if (H5Aexists_by_name(file, object, name, H5P_DEFAULT) > 0)
        H5(H5Adelete_by_name(file, object, name, H5P_DEFAULT));
    const hid_t attribute =
        H5Acreate_by_name(file, object, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(H5Awrite(attribute, type, value));
    H5(H5Aclose(attribute));
    H5(H5Sclose(space));
    H5(H5Tclose(type));
}

/* What is wrong with this thread's message; NULL when nothing is. */
static const char *wrong_message(const char *path, const char *text)
{
    if (strncmp(emc_message(), path, strlen(path)) != 0)
        return "it does not start with the file";
    if (!strstr(emc_message(), text))
        return "it lacks these words";
    return strchr(emc_message(), '\n') ? "it has several lines" : NULL;
}

void check_message(const char *path, const char *text)
{
    const char *wrong = wrong_message(path, text);

    if (wrong)
        fail_msg("\"%s\": %s: \"%s\"", emc_message(), wrong, text);
}

/* A copy of the file of one row, broken. */
static const char *broken_file(const broken_case *row)
{
    const char *path = copy_golden(row->golden);
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);

    H5(file);
    row->break_it(file);
    H5(H5Fclose(file));
    return path;
}

static bool is_refused(const broken_case *row)
{
    const emc_cells_options options = {.layer = row->layer,
                                       .gene_symbols = row->gene_symbols,
                                       .obs_columns = &row->column,
                                       .n_obs_columns = row->column != NULL};
    const char *path = broken_file(row);
    emc_cells *cells;
    emc_cell_block block = {0};
    emc_status status = emc_cells_open(&cells, path, &options);
    const char *wrong = NULL;

    if ((cells != NULL) != row->at_next || (status == EMC_OK) != row->at_next)
        wrong = row->at_next ? "it does not open" : "it opens";
    if (cells)
        status = emc_cells_next(cells, &block);
    if (!wrong && status != row->status)
        wrong = emc_status_name(status);
    if (!wrong && block.n_rows != 0)
        wrong = "there are cells";
    if (!wrong)
        wrong = wrong_message(path, row->text);
    emc_cells_close(cells);
    if (wrong)
        print_error("%s, %s: wanted \"%s\": %s: \"%s\"\n", row->golden, row->name, row->text, wrong,
                    emc_message());
    return !wrong;
}

void check_broken(const broken_case *cases, size_t n)
{
    size_t n_wrong = 0;

    for (size_t i = 0; i < n; i++)
        n_wrong += !is_refused(&cases[i]);
    assert_int_equal(n_wrong, 0);
}
