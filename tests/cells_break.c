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

void check_message(const char *path, const char *text)
{
    if (!strstr(emc_message(), text) || strncmp(emc_message(), path, strlen(path)) != 0)
        fail_msg("\"%s\" does not start with the file or lacks \"%s\"", emc_message(), text);
    assert_null(strchr(emc_message(), '\n'));
}

void check_broken(const broken_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char *columns[] = {cases[i].column};
        const emc_cells_options options = {.layer = cases[i].layer,
                                           .gene_symbols = cases[i].gene_symbols,
                                           .obs_columns = columns,
                                           .n_obs_columns = cases[i].column != NULL};
        const char *path = copy_golden(cases[i].golden);
        const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
        emc_cells *cells;
        emc_cell_block block;
        H5(file);
        cases[i].break_it(file);
        H5(H5Fclose(file));
        emc_status status = emc_cells_open(&cells, path, &options);
        if (cases[i].at_next) {
            assert_int_equal(status, EMC_OK);
            status = emc_cells_next(cells, &block);
            assert_int_equal(block.n_rows, 0);
            emc_cells_close(cells);
        } else {
            assert_null(cells);
        }
        if (status != cases[i].status)
            fail_msg("case %zu (\"%s\"): %s, \"%s\"", i, cases[i].text, emc_status_name(status),
                     emc_message());
        check_message(path, cases[i].text);
    }
}
