/* Where does a 10x .h5 file keep its cells, its genes and its matrix? */
#include <stdlib.h>
#include <string.h>

#include "base/size.h"
#include "cells/features.h"
#include "cells/hdf5.h"

/* Cell Ranger 2 and earlier: a group a genome, called as the genome. */
static bool is_genome_group(hid_t root, const char *name)
{
    hid_t group = -1;
    bool is;

    if (cells_h5_open_group(&group, root, name, "") != EMC_OK)
        return false;
    is = cells_h5_has(group, "barcodes") && cells_h5_has(group, "indptr") &&
         (cells_h5_has(group, "genes") || cells_h5_has(group, "gene_names"));
    cells_h5_close(group);
    return is;
}

static bool is_v3(hid_t root)
{
    hid_t group = -1;
    bool is;

    if (!cells_h5_has(root, "matrix") || cells_h5_open_group(&group, root, "matrix", "") != EMC_OK)
        return false;
    is = cells_h5_has(group, "features") && cells_h5_has(group, "barcodes");
    cells_h5_close(group);
    return is;
}

static emc_status list_genomes(cells_strings *genomes, hid_t root, const char *path)
{
    cells_strings names = {0};
    emc_status status = cells_h5_names(root, &names, path);

    for (size_t i = 0; status == EMC_OK && i < names.n; i++) {
        const char *name = cells_strings_at(&names, i);
        if (is_genome_group(root, name))
            status = cells_strings_add(genomes, name, strlen(name), path);
    }
    cells_strings_free(&names);
    return status;
}

bool cells_tenx_is(hid_t root)
{
    cells_strings genomes = {0};
    const bool is = is_v3(root) || (list_genomes(&genomes, root, "") == EMC_OK && genomes.n > 0);

    cells_strings_free(&genomes);
    return is;
}

static emc_status choose_genome(const char **out, const cells_strings *genomes, const char *wanted,
                                const char *path)
{
    emc_status status;
    emc_text all = {0};

    if (!wanted && genomes->n == 1) {
        *out = cells_strings_at(genomes, 0);
        return EMC_OK;
    }
    for (size_t i = 0; i < genomes->n; i++)
        if (wanted && strcmp(cells_strings_at(genomes, i), wanted) == 0) {
            *out = wanted;
            return EMC_OK;
        }
    status = cells_h5_list(&all, genomes);
    if (status == EMC_OK && wanted)
        status =
            emc_fail(EMC_ERR_USAGE, "%s: no genome \"%s\"; there are: %s", path, wanted, all.bytes);
    else if (status == EMC_OK)
        status = emc_fail(EMC_ERR_USAGE, "%s: several genomes: %s; choose one with --genome", path,
                          all.bytes);
    emc_text_free(&all);
    return status;
}

/* Every feature is of the genome that its group is called after. */
static emc_status fill_genome(cells_column *genomes, const char *genome, size_t n, const char *path)
{
    EMC_TRY(cells_strings_add(&genomes->values, genome, strlen(genome), path));
    genomes->n = n;
    return emc_alloc(&genomes->codes, n, sizeof *genomes->codes, "features");
}

static emc_status read_features_v2(cells_features *features, hid_t group, const char *genome,
                                   const char *path)
{
    if (cells_h5_has(group, "genes"))
        EMC_TRY(cells_h5_column(&features->ids, group, "genes", -1, path));
    const int64_t n = features->ids.n ? (int64_t)features->ids.n : -1;
    if (cells_h5_has(group, "gene_names"))
        EMC_TRY(cells_h5_column(&features->names, group, "gene_names", n, path));
    return fill_genome(&features->genomes, genome,
                       features->ids.n ? features->ids.n : features->names.n, path);
}

static emc_status read_features_v3(cells_features *features, hid_t matrix, const char *path)
{
    static const char *const names[] = {"id", "name", "feature_type", "genome"};
    cells_column *const columns[] = {&features->ids, &features->names, &features->types,
                                     &features->genomes};
    emc_status status;
    hid_t group;
    int64_t n = -1;

    EMC_TRY(cells_h5_open_group(&group, matrix, "features", path));
    status = cells_h5_has(group, "id") || cells_h5_has(group, "name")
                 ? EMC_OK
                 : cells_h5_fail(EMC_ERR_FORMAT, path, group, "neither id nor name");
    for (size_t i = 0; status == EMC_OK && i < EMC_COUNT(names); i++) {
        if (!cells_h5_has(group, names[i]))
            continue;
        status = cells_h5_column(columns[i], group, names[i], n, path);
        n = (int64_t)columns[i]->n;
    }
    cells_h5_close(group);
    return status;
}

/* The dataset "shape", features x barcodes, agrees with the names. */
static emc_status check_shape(const cells_file *file, hid_t group)
{
    emc_status status;
    int64_t shape[2];
    hsize_t n;
    hid_t dataset;

    if (!cells_h5_has(group, "shape"))
        return EMC_OK; /* indptr and the indices are checked anyhow */
    EMC_TRY(cells_h5_open_dataset(&dataset, group, "shape", file->path));
    status = cells_h5_dims(&n, 1, dataset, file->path);
    if (status == EMC_OK && (n != 2 || cells_h5_class(dataset) != H5T_INTEGER))
        status = cells_h5_fail(EMC_ERR_FORMAT, file->path, dataset, "wanted two integers");
    if (status == EMC_OK)
        status = cells_h5_slice(shape, dataset, 0, 2, H5T_NATIVE_INT64, file->path);
    if (status == EMC_OK && (shape[0] != file->n_columns || shape[1] != file->n_cells))
        status = cells_h5_fail(EMC_ERR_FORMAT, file->path, dataset,
                               "says %lld features x %lld barcodes, but there are names for %d x "
                               "%lld",
                               (long long)shape[0], (long long)shape[1], file->n_columns,
                               (long long)file->n_cells);
    cells_h5_close(dataset);
    return status;
}

static emc_status check_options(const cells_file *file, const emc_cells_options *options)
{
    if (options->layer && strcmp(options->layer, "X") != 0 && strcmp(options->layer, "matrix") != 0)
        return emc_fail(EMC_ERR_USAGE, "%s: a 10x file has one matrix and no layer \"%s\"",
                        file->path, options->layer);
    if (options->n_obs_columns > 0)
        return emc_fail(EMC_ERR_USAGE, "%s: a 10x file has no column \"%s\" beside the cells",
                        file->path, options->obs_columns[0]);
    return EMC_OK;
}

/* Opens the group of the matrix and reads its features. */
static emc_status read_features(cells_file *file, hid_t *group, hid_t root,
                                const emc_cells_options *options)
{
    const bool v3 = is_v3(root);
    emc_status status = EMC_OK;
    cells_strings genomes = {0};
    cells_features features = {0};
    const char *name = "matrix";

    if (!v3) {
        status = list_genomes(&genomes, root, file->path);
        if (status == EMC_OK)
            status = choose_genome(&name, &genomes, options->genome, file->path);
    }
    if (status == EMC_OK)
        status = cells_h5_open_group(group, root, name, file->path);
    if (status == EMC_OK)
        status = v3 ? read_features_v3(&features, *group, file->path)
                    : read_features_v2(&features, *group, name, file->path);
    if (status == EMC_OK)
        status = emc_text_add_string(&file->matrix_name, name);
    if (status == EMC_OK)
        status = cells_features_apply(file, &features, v3 ? "matrix/features" : "genes", options);
    cells_features_free(&features);
    cells_strings_free(&genomes);
    return status;
}

/* The columns of the file's matrix, one a cell, are rows to us. */
static emc_status open_rows(cells_file *file, hid_t group, const emc_cells_options *options)
{
    cells_h5_rows rows = {-1, -1, -1, file->n_columns};
    emc_status status = cells_h5_open_dataset(&rows.data, group, "data", file->path);

    if (status == EMC_OK)
        status = cells_h5_open_dataset(&rows.indices, group, "indices", file->path);
    if (status == EMC_OK)
        status = cells_h5_open_dataset(&rows.indptr, group, "indptr", file->path);
    if (status != EMC_OK) {
        cells_h5_close(rows.data);
        cells_h5_close(rows.indices);
        return status;
    }
    EMC_TRY(cells_h5_rows_open(file, &rows, options));
    return emc_text_addf(&file->matrix, "%s (%s, %s)", file->matrix_name.bytes, file->storage.bytes,
                         file->dtype.bytes);
}

emc_status cells_tenx_open(cells_file *file, hid_t root, const emc_cells_options *options)
{
    emc_status status;
    hid_t group = -1;

    file->format = "10x h5";
    EMC_TRY(check_options(file, options));
    status = read_features(file, &group, root, options);
    if (status == EMC_OK)
        status = cells_h5_ids_open(file, group, "barcodes");
    if (status == EMC_OK)
        status = check_shape(file, group);
    if (status == EMC_OK)
        status = emc_text_add_string(&file->advice,
                                     "a 10x file holds counts; this one was changed by a program "
                                     "that does not write them");
    if (status == EMC_OK && file->n_cells > 0 && file->n_genes > 0)
        status = open_rows(file, group, options);
    cells_h5_close(group);
    return status;
}

emc_status cells_tenx_list(cells_catalog *catalog, hid_t root, const char *path)
{
    (void)root;
    catalog->format = "10x h5";
    return cells_strings_add(&catalog->matrices, "X", 1, path);
}
