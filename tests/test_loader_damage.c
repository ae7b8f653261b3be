/*
 * Files that were right and then damaged by chance: each is read as something else that is right,
 * or refused. The sanitizers watch for reads outside of them.
 */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "loader/adapter.h"
#include "loader/checkpoint.h"
#include "loader_files.h"

#define N_TRIES 120

/* One to three bytes are changed, dropped or doubled. *n leaves room for as many more. */
static void damage(char *bytes, size_t *n, size_t within, uint64_t *random)
{
    static const char telling[] = "{}[]\",:\\0123456789-.eE \n\x80\xFFu";

    for (uint64_t i = 0, k = 1 + emt_random(random) % 3; i < k; i++) {
        const size_t at = emt_random(random) % within;
        switch (emt_random(random) % 4) {
        case 0:
            bytes[at] = (char)emt_random(random);
            break;
        case 1:
            bytes[at] = telling[emt_random(random) % (sizeof telling - 1)];
            break;
        case 2:
            memmove(bytes + at, bytes + at + 1, *n - at - 1);
            --*n;
            break;
        default:
            memmove(bytes + at + 1, bytes + at, *n - at);
            ++*n;
            break;
        }
    }
}

static void write_bytes(const char *dir, const char *name, const char *bytes, size_t n)
{
    char path[8192];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void copy_files(const char *to, const char *golden, const char *const *names)
{
    for (; *names; names++) {
        char path[512];
        size_t n;
        snprintf(path, sizeof path, "%s/%s", golden, *names);
        char *bytes = emt_read(emt_golden(path), &n);
        write_bytes(to, *names, bytes, n);
        free(bytes);
    }
}

/* Damages one file of the folder again and again and opens the folder each time. */
static void try_file(const char *dir, const char *golden, const char *name, size_t within,
                     emc_status (*open_folder)(const char *dir))
{
    char path[512];
    size_t n;
    uint64_t random = 11;
    int n_refused = 0;

    snprintf(path, sizeof path, "%s/%s", golden, name);
    char *whole = emt_read(emt_golden(path), &n);
    char *bytes = malloc(n + 8);
    assert_non_null(bytes);
    for (int i = 0; i < N_TRIES; i++) {
        size_t n_damaged = n;
        memcpy(bytes, whole, n);
        damage(bytes, &n_damaged, within && within < n ? within : n - 4, &random);
        write_bytes(dir, name, bytes, n_damaged);
        const emc_status status = open_folder(dir);
        if (status != EMC_OK && status != EMC_ERR_FORMAT && status != EMC_ERR_NOT_FOUND)
            fail_msg("%s: %s: %s", name, emc_status_name(status), emc_message());
        n_refused += status != EMC_OK;
    }
    assert_true(n_refused > N_TRIES / 4);
    write_bytes(dir, name, whole, n);
    assert_int_equal(open_folder(dir), EMC_OK);
    free(bytes);
    free(whole);
}

/* Every value of every tensor in use is read. */
static emc_status open_checkpoint(const char *dir)
{
    emc_checkpoint *c;
    float value;

    EMC_TRY(emc_checkpoint_open(&c, dir));
    for (int i = 0; i < emc_checkpoint_config(c)->n_layers; i++) {
        const emc_tensor *t = emc_checkpoint_weights(c)->layers[i].down;
        const size_t bytes = emc_dtype_bytes(t->dtype);
        for (size_t j = 0; j < t->n_bytes; j += bytes)
            emc_to_f32(&value, (const char *)t->data + j, t->dtype, 1);
    }
    emc_checkpoint_close(c);
    return EMC_OK;
}

static emc_status open_adapter(const char *dir)
{
    emc_model_config config;
    emc_adapter *adapter;

    EMT_OK(emc_model_config_read(&config, emt_golden("loader/single_f32")));
    EMC_TRY(emc_adapter_open(&adapter, dir, &config));
    emc_adapter_close(adapter);
    return EMC_OK;
}

static void test_checkpoint(void **state)
{
    (void)state;
    static const char golden[] = "loader/sharded_f16";
    static const char *const names[] = {"config.json",
                                        "generation_config.json",
                                        "model.safetensors.index.json",
                                        "model-00001-of-00004.safetensors",
                                        "model-00002-of-00004.safetensors",
                                        "model-00003-of-00004.safetensors",
                                        "model-00004-of-00004.safetensors",
                                        NULL};
    char dir[4096];

    snprintf(dir, sizeof dir, "%s", files_folder("checkpoint"));
    copy_files(dir, golden, names);
    try_file(dir, golden, "config.json", 0, open_checkpoint);
    try_file(dir, golden, "generation_config.json", 0, open_checkpoint);
    try_file(dir, golden, "model.safetensors.index.json", 0, open_checkpoint);
    try_file(dir, golden, "model-00002-of-00004.safetensors", 600, open_checkpoint);
}

static void test_adapter(void **state)
{
    (void)state;
    static const char golden[] = "loader/adapters/patterns";
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors", NULL};
    char dir[4096];

    snprintf(dir, sizeof dir, "%s", files_folder("adapter"));
    copy_files(dir, golden, names);
    try_file(dir, golden, "adapter_config.json", 0, open_adapter);
    try_file(dir, golden, "adapter_model.safetensors", 1000, open_adapter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checkpoint),
        cmocka_unit_test(test_adapter),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
