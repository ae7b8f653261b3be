/* Does an .h5ad stay whole when the disk is full, the writer is killed or the run is stopped? */
#include "cells_break.h"
#include "h5_same.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cells/h5ad_out.h"
#include "cells/h5ad_parts.h"

static const char *const words[] = {"one", "two"};
static const emc_h5ad_column columns[] = {
    {"new_label", EMC_H5AD_CATEGORY, words, 2, false},
    {"new_score", EMC_H5AD_FLOAT, NULL, 0, false},
};
static const emc_h5ad_fact facts[] = {{"version", "1"}};
static const emc_h5ad_content content = {
    .columns = columns, .n_columns = 2, .uns = "new", .facts = facts, .n_facts = 1};

static emc_status write_file(const emc_h5ad_out_options *options, float score)
{
    const emc_h5ad_value values[2] = {{.code = 1}, {.number = score}};
    emc_status status = EMC_OK;
    emc_h5ad_out *out;
    char id[32];

    EMC_TRY(emc_h5ad_out_open(&out, options, &content));
    for (int64_t row = 0; status == EMC_OK && row < options->n_cells; row++) {
        snprintf(id, sizeof id, "cell %lld", (long long)row);
        status = emc_h5ad_out_row(out, row, id, values, NULL);
    }
    if (status == EMC_OK)
        status = emc_h5ad_out_commit(out);
    emc_h5ad_out_close(out);
    return status;
}

/* Files in the test's folder whose names begin so. */
static int count_files(const char *begin)
{
    DIR *dir = opendir(emt_temp_dir());
    int n = 0;

    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir));)
        n += strncmp(entry->d_name, begin, strlen(begin)) == 0;
    closedir(dir);
    return n;
}

static void all_scores_are(const char *path, size_t n, float score)
{
    float *scores = h5_floats(path, "obs/new_score", n);

    for (size_t i = 0; i < n; i++)
        assert_true(scores[i] == score);
    free(scores);
}

/* A limit on the size of files stands for the end of the disk, at many places of the way: in the
 * copy, in the columns, in what the library holds back to the end. */
static void the_disk_is_full(void **state)
{
    static const emc_h5ad_kind kinds[] = {EMC_H5AD_COPY, EMC_H5AD_OBS, EMC_H5AD_LINK};
    const char *wide = emt_temp("wide.h5ad");
    const emc_h5ad_out_options make = {.path = wide, .kind = EMC_H5AD_OBS, .n_cells = 20000};
    struct rlimit before, low;
    int n_failed = 0;

    (void)state;
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    EMT_OK(write_file(&make, 1));
    for (size_t k = 0; k < EMC_COUNT(kinds); k++) {
        const char *output = emt_temp("full.h5ad");
        const emc_h5ad_out_options options = {.path = output,
                                              .input_path = wide,
                                              .kind = kinds[k],
                                              .overwrite = true,
                                              .n_cells = 20000};
        struct stat st;
        EMT_OK(write_file(&options, 2));
        assert_int_equal(stat(output, &st), 0);
        assert_int_equal(unlink(output), 0);
        for (int i = 0; i < 24; i++) {
            low = before;
            low.rlim_cur =
                (rlim_t)(i < 12 ? i * st.st_size / 12 : st.st_size - (24 - i) * (24 - i) * 40);
            assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
            const emc_status status = write_file(&options, 3);
            assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
            if (status == EMC_OK) { /* the last bytes of a file may never have been needed */
                all_scores_are(output, 20000, 3);
                assert_int_equal(unlink(output), 0);
            } else {
                n_failed++;
                EMT_FAILS(EMC_ERR_IO, "File too large", status);
                assert_int_equal(strncmp(emc_message(), output, strlen(output)), 0);
                assert_null(strchr(emc_message(), '\n'));
            }
            assert_int_equal(count_files("full.h5ad"), 0);
        }
    }
    assert_true(n_failed > 60);
    /* The library is as good as before. */
    EMT_OK(write_file(&make, 4));
    all_scores_are(wide, 20000, 4);
}

/* A child writes the same output over and over; it is killed at any moment. What stands under the
 * name is one of its whole results, or the old one. */
static void killed_while_writing(void **state)
{
    const char *input = copy_golden("modern.h5ad"), *output = emt_temp("kept.h5ad");
    emc_h5ad_out_options options = {.path = output, .input_path = input, .n_cells = 7};
    uint64_t random = 7;
    float last = 1;

    (void)state;
    EMT_OK(write_file(&options, last));
    for (int i = 0; i < 20; i++) {
        const pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            for (float score = 2;; score++)
                if (write_file(&options, score) != EMC_OK)
                    _exit(1);
        }
        usleep((useconds_t)(emt_random(&random) % 15000));
        assert_int_equal(kill(child, SIGKILL), 0);
        int how;
        assert_int_equal(waitpid(child, &how, 0), child);
        assert_true(WIFSIGNALED(how)); /* it had not failed by itself */
        float *scores = h5_floats(output, "obs/new_score", 7);
        all_scores_are(output, 7, scores[0]);
        assert_true(scores[0] >= 1);
        free(scores);
        h5_check_same(input, output);
    }
}

/* Killed before the end, at each of the steps: nothing stands under a new name, and an old file is
 * byte for byte what it was. */
static void killed_at_each_step(void **state)
{
    char *input = strdup(copy_golden("modern.h5ad")), *new_path = strdup(emt_temp("new.h5ad")),
         *old = strdup(emt_write("old.h5ad", "old bytes", 9));

    (void)state;
    for (int step = 0; step < 4; step++) {
        for (int is_new = 0; is_new < 2; is_new++) {
            const char *output = is_new ? new_path : old;
            const pid_t child = fork();
            int how;
            assert_true(child >= 0);
            if (child == 0) {
                const emc_h5ad_out_options options = {
                    .path = output, .input_path = input, .n_cells = 7};
                const emc_h5ad_value values[2] = {{.code = 1}, {.number = 1}};
                emc_h5ad_out *out;
                if (emc_h5ad_out_open(&out, &options, &content) != EMC_OK)
                    _exit(1);
                for (int64_t row = 0; row < 7 * step / 3; row++)
                    if (emc_h5ad_out_row(out, row, NULL, values, NULL) != EMC_OK)
                        _exit(1);
                kill(getpid(), SIGKILL);
            }
            assert_int_equal(waitpid(child, &how, 0), child);
            assert_true(WIFSIGNALED(how) && WTERMSIG(how) == SIGKILL);
            assert_false(emc_file_exists(new_path));
            char *bytes = emt_read(old, NULL);
            assert_string_equal(bytes, "old bytes");
            free(bytes);
        }
    }
    free(input);
    free(new_path);
    free(old);
}

static void stopped_on_the_way(void **state)
{
    const char *input = emt_temp("in.h5ad"), *output = emt_temp("stopped.h5ad");
    volatile sig_atomic_t cancel = 0;
    const int64_t n = 2 * H5AD_BAND;
    const emc_h5ad_value values[2] = {{.code = 1}, {.number = 1}};
    emc_h5ad_out_options options = {.path = input, .kind = EMC_H5AD_OBS, .n_cells = n};
    emc_h5ad_out *out;

    (void)state;
    EMT_OK(write_file(&options, 1));
    options = (emc_h5ad_out_options){
        .path = output, .input_path = input, .overwrite = true, .n_cells = n, .cancel = &cancel};
    EMT_OK(emc_h5ad_out_open(&out, &options, &content));
    cancel = 1;
    EMT_OK(emc_h5ad_out_row(out, 0, NULL, values, NULL));
    EMT_FAILS(EMC_ERR_CANCELLED, "stopped", emc_h5ad_out_row(out, n - 1, NULL, values, NULL));
    emc_h5ad_out_close(out);
    EMT_FAILS(EMC_ERR_CANCELLED, "copied", emc_h5ad_out_open(&out, &options, &content));
    assert_int_equal(count_files("stopped.h5ad"), 0);
}

static void in_place(void **state)
{
    static const char *const goldens[] = {"modern.h5ad", "nullable.h5ad", "odd.h5ad", "old.h5ad"};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(goldens); i++) {
        const char *path = copy_golden(goldens[i]), *before = emt_temp("before.h5ad");
        size_t n_bytes;
        char *bytes = emt_read(path, &n_bytes);
        emc_h5ad_out_options options = {
            .input_path = path, .kind = EMC_H5AD_IN_PLACE, .n_cells = 7};
        const emc_h5ad_value values[2] = {{.code = 1}, {.number = 1}};
        emc_h5ad_out *out;
        emt_write("before.h5ad", bytes, n_bytes);
        /* Given up on the way: the file is as it was, and takes columns later. */
        EMT_OK(emc_h5ad_out_open(&out, &options, &content));
        EMT_OK(emc_h5ad_out_row(out, 3, NULL, values, NULL));
        emc_h5ad_out_close(out);
        h5_check_same(before, path);
        const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
        H5(file);
        assert_int_equal(H5Lexists(file, "uns/" H5AD_STAGE, H5P_DEFAULT), 0);
        H5(H5Fclose(file));
        EMT_OK(write_file(&options, 5));
        all_scores_are(path, 7, 5);
        h5_check_same(before, path);
        EMT_FAILS(EMC_ERR_USAGE, "already", write_file(&options, 6));
        options.overwrite = true;
        EMT_OK(write_file(&options, 6));
        all_scores_are(path, 7, 6);
        h5_check_same(before, path);
        free(bytes);
    }
}

/* What a process left that died in place is cleared away by the next. */
static void leftovers_in_place(void **state)
{
    const char *path = copy_golden("modern.h5ad");
    const emc_h5ad_out_options options = {
        .input_path = path, .kind = EMC_H5AD_IN_PLACE, .n_cells = 7};
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);

    (void)state;
    const hid_t left = H5Gcreate2(file, "uns/" H5AD_STAGE, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    H5(left);
    H5(H5Gclose(left));
    H5(H5Fclose(file));
    EMT_OK(write_file(&options, 5));
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    assert_int_equal(H5Lexists(file, "uns/" H5AD_STAGE, H5P_DEFAULT), 0);
    H5(H5Fclose(file));
    all_scores_are(path, 7, 5);
}

static void in_place_is_refused(void **state)
{
    const char *path = copy_golden("modern.h5ad");
    const emc_h5ad_out_options options = {
        .input_path = path, .kind = EMC_H5AD_IN_PLACE, .n_cells = 7};
    const hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);

    (void)state;
    H5(file);
    const pid_t child = fork(); /* one process may open a file twice */
    assert_true(child >= 0);
    if (child == 0) {
        const emc_status status = write_file(&options, 1);
        _exit(status != EMC_OK && strstr(emc_message(), path) ? 0 : 1);
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    H5(H5Fclose(file));
    const emc_h5ad_out_options nowhere = {
        .input_path = emt_temp("nowhere.h5ad"), .kind = EMC_H5AD_IN_PLACE, .n_cells = 7};
    EMT_FAILS(EMC_ERR_CREATE, "cannot be written to; leave out --in-place",
              emc_h5ad_out_check(&nowhere, &content));
}

static void file_systems_of_the_network(void **state)
{
    static const struct {
        long type;
        const char *name;
    } cases[] = {
        {0x6969, "NFS"},        {0xff534d42, "CIFS"}, {(long)(int)0xff534d42, "CIFS"},
        {0x0bd00bd0, "Lustre"}, {0x65735546, "FUSE"}, {0x517b, "SMB"},
    };
    static const long local[] = {0xef53, 0x58465342, 0x01021994, (long)0x9123683e, 0x794c7630};

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        assert_string_equal(cells_network_name(cases[i].type), cases[i].name);
    for (size_t i = 0; i < EMC_COUNT(local); i++) /* ext4, XFS, tmpfs, Btrfs, overlay */
        assert_null(cells_network_name(local[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_disk_is_full),
        cmocka_unit_test(killed_while_writing),
        cmocka_unit_test(killed_at_each_step),
        cmocka_unit_test(stopped_on_the_way),
        cmocka_unit_test(in_place),
        cmocka_unit_test(leftovers_in_place),
        cmocka_unit_test(in_place_is_refused),
        cmocka_unit_test(file_systems_of_the_network),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
