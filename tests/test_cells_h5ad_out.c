/* Do columns reach an .h5ad of any age, with all else in it as it was? */
#include "cells_break.h"
#include "h5_same.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "cells/h5ad_out.h"
#include "cells/h5ad_parts.h"

static const char *const words[] = {"alpha, \"beta\"", "na\xC3\xAFve", "unknown"};
static const emc_h5ad_column columns[] = {
    {"new_label", EMC_H5AD_CATEGORY, words, 3, false},
    {"new_score", EMC_H5AD_FLOAT, NULL, 0, false},
    {"new_term", EMC_H5AD_CATEGORY, words, 3, true},
};
static const char *const matrix_names[] = {"alpha, \"beta\"", "na\xC3\xAFve"};
static const emc_h5ad_fact facts[] = {{"version", "1"}, {"text", "\xC3\xA4"}};
static const emc_h5ad_content plain = {.columns = columns, .n_columns = 3};
static const emc_h5ad_content with_uns = {
    .columns = columns, .n_columns = 3, .uns = "new", .facts = facts, .n_facts = 2};
static const emc_h5ad_content with_all = {.columns = columns,
                                          .n_columns = 3,
                                          .matrix = "new_matrix",
                                          .matrix_names = matrix_names,
                                          .n_matrix = 2,
                                          .uns = "new",
                                          .facts = facts,
                                          .n_facts = 2};

static bool comes(int64_t row)
{
    return row % 5 != 3;
}

static void value_at(emc_h5ad_value *values, float *numbers, int64_t row)
{
    values[0].code = (int32_t)(row % 4) - 1;
    values[1].number = row % 4 ? (float)row / 8 : NAN;
    values[2].code = (int32_t)(row % 3);
    numbers[0] = (float)row;
    numbers[1] = -(float)row;
}

static emc_status write_rows(emc_h5ad_out *out, int64_t n, bool all)
{
    emc_h5ad_value values[3];
    float numbers[2];
    char id[32];

    for (int64_t row = 0; row < n; row++) {
        if (!all && !comes(row))
            continue;
        value_at(values, numbers, row);
        snprintf(id, sizeof id, "cell %lld", (long long)row);
        EMC_TRY(emc_h5ad_out_row(out, row, id, values, numbers));
    }
    return emc_h5ad_out_commit(out);
}

static emc_status write_file(const emc_h5ad_out_options *options, const emc_h5ad_content *content)
{
    emc_h5ad_out *out;

    EMC_TRY(emc_h5ad_out_open(&out, options, content));
    const emc_status status = write_rows(out, options->n_cells, options->kind == EMC_H5AD_OBS);
    emc_h5ad_out_close(out);
    return status;
}

static void same_text(const char *got, const char *want)
{
    if (!want)
        assert_null(got);
    else
        assert_string_equal(got ? got : "(missing)", want);
}

/* The reader finds what was written, in rows that came and rows that did not. */
static void check_values(const char *path, int64_t n, bool all, bool external)
{
    static const char *const names[] = {"new_label", "new_score", "new_term"};
    const emc_cells_options options = {.obs_columns = names,
                                       .n_obs_columns = 3,
                                       .allow_external = external,
                                       .negative = EMC_NEGATIVE_PASS};
    emc_cells *cells;

    EMT_OK(emc_cells_open(&cells, path, &options));
    assert_int_equal(emc_cells_n_cells(cells), n);
    for (int64_t row = 0; row < n; row++) {
        emc_h5ad_value values[3] = {{.code = -1}, {.number = NAN}, {.code = 0}};
        float numbers[2];
        if (all || comes(row))
            value_at(values, numbers, row);
        same_text(emc_cells_obs(cells, row, 0), values[0].code < 0 ? NULL : words[values[0].code]);
        same_text(emc_cells_obs(cells, row, 2), words[values[2].code]);
        const char *number = emc_cells_obs(cells, row, 1);
        if (isnan(values[1].number))
            assert_true(!number || strcmp(number, "nan") == 0);
        else
            assert_true(number && strtof(number, NULL) == values[1].number);
    }
    emc_cells_close(cells);
}

static char *order_of(const char *path)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    char *text = h5_names_attribute(file, "obs", "column-order");

    H5(H5Fclose(file));
    return text;
}

static const char *const goldens[] = {"modern.h5ad", "nullable.h5ad", "lzf.h5ad",    "ensembl.h5ad",
                                      "odd.h5ad",    "old.h5ad",      "ancient.h5ad"};

static bool is_compound(const char *name)
{
    return strcmp(name, "ancient.h5ad") == 0;
}

static void copies_of_every_age(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(goldens); i++) {
        const char *input = copy_golden(goldens[i]), *output = emt_temp("out.h5ad");
        const emc_h5ad_out_options options = {
            .path = output, .input_path = input, .n_cells = 7, .kind = EMC_H5AD_COPY};
        size_t n_before, n_after;
        char *before = emt_read(input, &n_before);
        EMT_OK(write_file(&options, is_compound(goldens[i]) ? &with_uns : &with_all));
        check_values(output, 7, false, false);
        h5_check_same(input, output);
        char *after = emt_read(input, &n_after);
        assert_true(n_before == n_after && memcmp(before, after, n_after) == 0);
        free(after);
        after = emt_read(output, &n_after);
        assert_int_equal(after[8], before[8]); /* the version of the superblock */
        free(after);
        free(before);
    }
}

/* The newest format that the library has, which h5py writes when it is asked to. */
static void a_newer_superblock_stays(void **state)
{
    const char *input = emt_temp("latest.h5ad"), *old = copy_golden("modern.h5ad"),
               *output = emt_temp("out.h5ad");
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    const emc_h5ad_out_options options = {.path = output, .input_path = input, .n_cells = 7};

    (void)state;
    H5(H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST));
    const hid_t from = H5Fopen(old, H5F_ACC_RDONLY, H5P_DEFAULT),
                to = H5Fcreate(input, H5F_ACC_TRUNC, H5P_DEFAULT, access);
    H5(from);
    H5(to);
    static const char *const parts[] = {"X", "obs", "var", "uns"};
    for (size_t i = 0; i < EMC_COUNT(parts); i++)
        H5(H5Ocopy(from, parts[i], to, parts[i], H5P_DEFAULT, H5P_DEFAULT));
    H5(H5Fclose(from));
    H5(H5Fclose(to));
    H5(H5Pclose(access));
    EMT_OK(write_file(&options, &with_all));
    check_values(output, 7, false, false);
    h5_check_same(input, output);
    char *before = emt_read(input, NULL), *after = emt_read(output, NULL);
    assert_int_equal(before[8], after[8]);
    assert_int_equal(before[8], 3);
    free(before);
    free(after);
}

static void replaced_columns_keep_their_place(void **state)
{
    static const emc_h5ad_column other[] = {{"later", EMC_H5AD_FLOAT, NULL, 0, false}};
    static const emc_h5ad_content second = {.columns = other, .n_columns = 1};
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(goldens); i++) {
        const char *input = copy_golden(goldens[i]), *first = emt_temp("first.h5ad"),
                   *both = emt_temp("both.h5ad"), *again = emt_temp("again.h5ad");
        emc_h5ad_out_options options = {.path = first, .input_path = input, .n_cells = 7};
        const emc_h5ad_content *content = is_compound(goldens[i]) ? &with_uns : &with_all;
        EMT_OK(write_file(&options, content));
        options.input_path = first;
        options.path = both;
        emc_h5ad_out *out;
        EMT_OK(emc_h5ad_out_open(&out, &options, &second));
        EMT_OK(emc_h5ad_out_commit(out)); /* no row came: all are missing */
        emc_h5ad_out_close(out);
        options.input_path = both;
        options.path = again;
        EMT_FAILS(EMC_ERR_USAGE, "\"new_label\" already; choose other names with --key-added",
                  emc_h5ad_out_check(&options, content));
        options.overwrite = true;
        EMT_OK(write_file(&options, content));
        check_values(again, 7, false, false);
        if (is_compound(goldens[i]))
            continue;
        char *before = order_of(both), *after = order_of(again);
        assert_string_equal(before, after);
        assert_non_null(strstr(after, "new_label,new_score,new_term,later"));
        free(before);
        free(after);
    }
}

static void the_results_alone(void **state)
{
    /* More than two bands of rows, and none at all. */
    const int64_t counts[] = {2 * H5AD_BAND + 77, H5AD_BAND, 1, 0};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(counts); i++) {
        const char *path = emt_temp("alone.h5ad");
        const emc_h5ad_out_options options = {
            .path = path, .kind = EMC_H5AD_OBS, .n_cells = counts[i]};
        EMT_OK(write_file(&options, &with_all));
        assert_true(emc_h5ad_is(path));
        h5_check_alone(path, counts[i]);
    }
}

/* Bands that no row falls into are written, too. */
static void many_rows_with_gaps(void **state)
{
    const int64_t n = 3 * H5AD_BAND + 5;
    const char *wide = emt_temp("wide.h5ad"), *output = emt_temp("out.h5ad");
    emc_h5ad_out_options options = {.path = wide, .kind = EMC_H5AD_OBS, .n_cells = n};
    static const emc_h5ad_column one[] = {{"late", EMC_H5AD_FLOAT, NULL, 0, false}};
    static const emc_h5ad_content content = {.columns = one, .n_columns = 1};
    emc_h5ad_value value = {.number = 5};
    emc_h5ad_out *out;

    (void)state;
    EMT_OK(write_file(&options, &plain));
    options = (emc_h5ad_out_options){.path = output, .input_path = wide, .n_cells = n};
    EMT_OK(emc_h5ad_out_open(&out, &options, &content));
    EMT_OK(emc_h5ad_out_row(out, 2 * H5AD_BAND + 1, NULL, &value, NULL));
    EMT_OK(emc_h5ad_out_commit(out));
    emc_h5ad_out_close(out);
    float *numbers = h5_floats(output, "obs/late", (size_t)n);
    for (int64_t i = 0; i < n; i++)
        assert_true(i == 2 * H5AD_BAND + 1 ? numbers[i] == 5 : isnan(numbers[i]));
    free(numbers);
}

static void wrong_use(void **state)
{
    const char *input = copy_golden("modern.h5ad"), *output = emt_temp("wrong.h5ad");
    emc_h5ad_out_options options = {.path = output, .input_path = input, .n_cells = 7};
    emc_h5ad_value values[3] = {{.code = 0}, {.number = 1}, {.code = 0}};
    emc_h5ad_out *out;

    (void)state;
    EMT_OK(emc_h5ad_out_open(&out, &options, &plain));
    EMT_OK(emc_h5ad_out_row(out, 2, NULL, values, NULL));
    EMT_FAILS(EMC_ERR_ARG, "row 2 of 7 comes after row 2",
              emc_h5ad_out_row(out, 2, NULL, values, NULL));
    EMT_FAILS(EMC_ERR_ARG, "failed before", emc_h5ad_out_row(out, 3, NULL, values, NULL));
    EMT_FAILS(EMC_ERR_ARG, "failed before", emc_h5ad_out_commit(out));
    emc_h5ad_out_close(out);
    EMT_OK(emc_h5ad_out_open(&out, &options, &plain));
    EMT_FAILS(EMC_ERR_ARG, "row 7 of 7", emc_h5ad_out_row(out, 7, NULL, values, NULL));
    emc_h5ad_out_close(out);
    EMT_OK(emc_h5ad_out_open(&out, &options, &plain));
    values[2].code = 3;
    EMT_FAILS(EMC_ERR_ARG, "\"new_term\": code 3 of 3",
              emc_h5ad_out_row(out, 0, NULL, values, NULL));
    emc_h5ad_out_close(out);
    options.kind = EMC_H5AD_OBS;
    values[2].code = 0;
    EMT_OK(emc_h5ad_out_open(&out, &options, &plain));
    EMT_FAILS(EMC_ERR_ARG, "row 1 of 7", emc_h5ad_out_row(out, 1, "b", values, NULL));
    emc_h5ad_out_close(out);
    EMT_OK(emc_h5ad_out_open(&out, &options, &plain));
    EMT_OK(emc_h5ad_out_row(out, 0, "a", values, NULL));
    EMT_FAILS(EMC_ERR_ARG, "1 of 7 rows came", emc_h5ad_out_commit(out));
    emc_h5ad_out_close(out);
    assert_false(emc_file_exists(output));
    emc_h5ad_out_close(NULL);
}

static void names_that_no_file_can_hold(void **state)
{
    static const char *const bad[] = {"", "a/b", ".", "_index", "__categories", "na\xEFve"};
    const char *input = copy_golden("modern.h5ad");
    const emc_h5ad_out_options options = {
        .path = emt_temp("wrong.h5ad"), .input_path = input, .n_cells = 7};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(bad); i++) {
        const emc_h5ad_column column[] = {{bad[i], EMC_H5AD_FLOAT, NULL, 0, false}};
        const emc_h5ad_fact fact[] = {{bad[i], "x"}};
        const char *const one[] = {bad[i]};
        const emc_h5ad_content contents[] = {
            {.columns = column, .n_columns = 1},
            {.columns = columns, .n_columns = 3, .uns = bad[i]},
            {.columns = columns, .n_columns = 3, .uns = "u", .facts = fact, .n_facts = 1},
            {.columns = columns, .n_columns = 3, .matrix = bad[i]},
            {.columns = columns, .n_columns = 3, .matrix = "m", .matrix_names = one, .n_matrix = 1},
        };
        for (size_t j = 0; j < EMC_COUNT(contents); j++)
            EMT_FAILS(EMC_ERR_USAGE, "cannot be the name of",
                      emc_h5ad_out_check(&options, &contents[j]));
    }
    static const emc_h5ad_column twice[] = {{"a", EMC_H5AD_FLOAT, NULL, 0, false},
                                            {"a", EMC_H5AD_FLOAT, NULL, 0, false}};
    const emc_h5ad_content content = {.columns = twice, .n_columns = 2};
    EMT_FAILS(EMC_ERR_ARG, "\"a\" comes twice", emc_h5ad_out_check(&options, &content));
    static const emc_h5ad_column index[] = {{"index", EMC_H5AD_FLOAT, NULL, 0, false}};
    const emc_h5ad_content indexed = {.columns = index, .n_columns = 1};
    emc_h5ad_out_options old = options;
    old.input_path = copy_golden("old.h5ad");
    old.overwrite = true;
    EMT_FAILS(EMC_ERR_USAGE, "\"index\" is the index of obs", emc_h5ad_out_check(&old, &indexed));
}

static void files_that_are_refused(void **state)
{
    const char *input = copy_golden("modern.h5ad"), *ancient = copy_golden("ancient.h5ad");
    emc_h5ad_out_options options = {.path = emt_temp("w.h5ad"), .input_path = input, .n_cells = 8};

    (void)state;
    EMT_FAILS(EMC_ERR_FORMAT, "obs has 7 cells, wanted 8", emc_h5ad_out_check(&options, &plain));
    options.n_cells = 7;
    options.path = input;
    EMT_FAILS(EMC_ERR_USAGE, "would replace the input", emc_h5ad_out_check(&options, &plain));
    options.path = emt_temp("nowhere/w.h5ad");
    EMT_FAILS(EMC_ERR_CREATE, "no such folder", emc_h5ad_out_check(&options, &plain));
    options.path = "-";
    EMT_FAILS(EMC_ERR_USAGE, "wants a file", emc_h5ad_out_check(&options, &plain));
    options.path = "/dev/null";
    EMT_FAILS(EMC_ERR_USAGE, "wants a file", emc_h5ad_out_check(&options, &plain));
    options.path = emt_temp("w.h5ad");
    options.input_path = emt_write("text.h5ad", "no HDF5", 7);
    EMT_FAILS(EMC_ERR_FORMAT, "not an HDF5 file", emc_h5ad_out_check(&options, &plain));
    options.input_path = ancient;
    EMT_FAILS(EMC_ERR_USAGE, "whose obsm takes no data frame",
              emc_h5ad_out_check(&options, &with_all));
    options.kind = EMC_H5AD_IN_PLACE;
    EMT_FAILS(EMC_ERR_USAGE, "cannot take a column in place",
              emc_h5ad_out_check(&options, &with_uns));
    assert_false(emc_file_exists(emt_temp("w.h5ad")));
}

static void links_to_the_input(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(goldens); i++) {
        const char *input = copy_golden(goldens[i]), *output = emt_temp("linked.h5ad"),
                   *moved = emt_temp("moved.h5ad");
        const emc_h5ad_out_options options = {
            .path = output, .input_path = input, .n_cells = 7, .kind = EMC_H5AD_LINK};
        emc_cells *cells;
        EMT_OK(write_file(&options, is_compound(goldens[i]) ? &with_uns : &with_all));
        check_values(output, 7, false, true);
        EMT_FAILS(EMC_ERR_FORMAT, "--allow-external", emc_cells_open(&cells, output, NULL));
        /* The library follows the links by itself: all of the input is there. */
        h5_check_same(input, output);
        assert_int_equal(rename(input, moved), 0);
        const emc_cells_options external = {.allow_external = true};
        EMT_FAILS(EMC_ERR_NOT_FOUND, "put the file back where it was",
                  emc_cells_open(&cells, output, &external));
        assert_null(strchr(emc_message(), '\n'));
    }
}

/* A name relative to the linked file when the input lies beside or below it, so that both can be
 * moved; else an absolute one. */
static void how_links_name_the_input(void **state)
{
    const char *input = copy_golden("modern.h5ad"), *folder = emt_temp("deeper");
    emc_h5ad_out_options options = {
        .path = emt_temp("linked.h5ad"), .input_path = input, .n_cells = 7, .kind = EMC_H5AD_LINK};
    char text[512], *real = realpath(input, NULL);
    unsigned flags;
    const char *file, *place;

    (void)state;
    (void)rmdir(folder);
    assert_true(emc_is_directory(folder) || mkdir(folder, 0755) == 0);
    for (int deeper = 0; deeper < 2; deeper++) {
        if (deeper)
            options.path = emt_temp("deeper/linked.h5ad");
        EMT_OK(write_file(&options, &plain));
        const hid_t out = H5Fopen(options.path, H5F_ACC_RDONLY, H5P_DEFAULT);
        H5(out);
        H5(H5Lget_val(out, "X", text, sizeof text, H5P_DEFAULT));
        H5(H5Lunpack_elink_val(text, sizeof text, &flags, &file, &place));
        assert_string_equal(file, deeper ? real : "modern.h5ad");
        assert_string_equal(place, "/X");
        H5(H5Fclose(out));
        check_values(options.path, 7, false, true);
    }
    /* A copy of a file of relative links stays where they lead on. */
    emc_h5ad_out_options copy = {.path = emt_temp("deeper/copied.h5ad"),
                                 .input_path = emt_temp("linked.h5ad"),
                                 .n_cells = 7,
                                 .overwrite = true,
                                 .allow_external = true};
    EMT_FAILS(EMC_ERR_USAGE, "a copy in another folder would lose",
              emc_h5ad_out_check(&copy, &plain));
    copy.path = emt_temp("copied.h5ad");
    EMT_OK(write_file(&copy, &plain));
    check_values(copy.path, 7, false, true);
    free(real);
}

static void link_x(const char *path, const char *target, const char *place)
{
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);

    H5(file);
    drop(file, "X");
    H5(H5Lcreate_external(target, place, file, "X", H5P_DEFAULT, H5P_DEFAULT));
    H5(H5Fclose(file));
}

static void links_that_are_not_followed(void **state)
{
    static const struct {
        const char *target, *place, *message;
        emc_status status;
    } cases[] = {
        {"nowhere.h5ad", "/X", "cannot be opened (No such file", EMC_ERR_NOT_FOUND},
        {"lzf.h5ad", "/nothing", "no nothing", EMC_ERR_FORMAT},
        {"modern.h5ad", "/X", "X is an external link, which is not followed", EMC_ERR_FORMAT},
        {".", "/X", "which is no file", EMC_ERR_FORMAT},
        {"/dev/zero", "/X", "which is no file", EMC_ERR_FORMAT},
        {"text.h5ad", "/X", "not an HDF5 file", EMC_ERR_FORMAT},
        {"chain.h5ad", "/X", "X is an external link, which is not followed", EMC_ERR_FORMAT},
        {"lzf.h5ad", "/obs", "", EMC_ERR_FORMAT},
    };
    const emc_cells_options external = {.allow_external = true};
    emc_cells *cells;

    (void)state;
    copy_golden("lzf.h5ad");
    emt_write("text.h5ad", "no HDF5", 7);
    char *bytes = emt_read(emt_golden("cells/modern.h5ad"), &(size_t){0});
    free(bytes);
    const char *chain = emt_temp("chain.h5ad");
    assert_int_equal(rename(copy_golden("modern.h5ad"), chain), 0);
    link_x(chain, "lzf.h5ad", "/X");
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        const char *path = copy_golden("modern.h5ad");
        link_x(path, cases[i].target, cases[i].place);
        EMT_FAILS(cases[i].status, cases[i].message, emc_cells_open(&cells, path, &external));
        assert_null(strchr(emc_message(), '\n'));
    }
    /* A group behind a link, and a plain value. */
    const char *path = copy_golden("modern.h5ad");
    link_x(path, "lzf.h5ad", "/X");
    EMT_OK(emc_cells_open(&cells, path, &external));
    emc_cells_close(cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_of_every_age),
        cmocka_unit_test(a_newer_superblock_stays),
        cmocka_unit_test(replaced_columns_keep_their_place),
        cmocka_unit_test(the_results_alone),
        cmocka_unit_test(many_rows_with_gaps),
        cmocka_unit_test(wrong_use),
        cmocka_unit_test(names_that_no_file_can_hold),
        cmocka_unit_test(files_that_are_refused),
        cmocka_unit_test(links_to_the_input),
        cmocka_unit_test(how_links_name_the_input),
        cmocka_unit_test(links_that_are_not_followed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
