/* loader/hub: names of models in the cache's layout, and what each missing piece gives. */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "loader/hub.h"
#include "loader_files.h"

#define HASH  "0123456789abcdef0123456789abcdef01234567"
#define OTHER "fedcba9876543210fedcba9876543210fedcba98"

static char cache[4096]; /* .../hub */

/* Makes folders and a file with this text below the cache. */
static void put(const char *name, const char *text)
{
    char path[8192];

    snprintf(path, sizeof path, "%s/%s", cache, name);
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(text, 1, strlen(text), file) != strlen(text) || fclose(file) != 0)
        fail_msg("cannot write %s", path);
}

/* As the cache does: the snapshot's names are links to files named by their content. */
static void link_to_blob(const char *model, const char *hash, const char *name)
{
    char blob[256], target[256], path[8192];

    snprintf(blob, sizeof blob, "%s/blobs/%s-of-%s", model, name, hash);
    put(blob, "{}");
    snprintf(path, sizeof path, "%s/%s/snapshots/%s/%s", cache, model, hash, name);
    snprintf(target, sizeof target, "../../blobs/%s-of-%s", name, hash);
    if (symlink(target, path) != 0)
        fail_msg("cannot link %s", path);
}

static void make_cache(void)
{
    snprintf(cache, sizeof cache, "%s/home/.cache/huggingface/hub", emt_temp_dir());
    put("models--Qwen--Qwen3-8B/refs/main", HASH);
    put("models--Qwen--Qwen3-8B/refs/v1.0", OTHER "\n");
    put("models--Qwen--Qwen3-8B/refs/refs/pr/1", OTHER);
    put("models--Qwen--Qwen3-8B/refs/broken", "main");
    put("models--Qwen--Qwen3-8B/refs/gone", "00000000000000000000000000000000deadbeef");
    put("models--Qwen--Qwen3-8B/snapshots/" HASH "/.keep", "");
    put("models--Qwen--Qwen3-8B/snapshots/" OTHER "/.keep", "");
    link_to_blob("models--Qwen--Qwen3-8B", HASH, "config.json");
    link_to_blob("models--Qwen--Qwen3-8B", HASH, "model.safetensors.index.json");
    link_to_blob("models--Qwen--Qwen3-8B", OTHER, "config.json");
    link_to_blob("models--Qwen--Qwen3-8B", OTHER, "model.safetensors");
    put("models--a--no_weights/refs/main", HASH);
    put("models--a--no_weights/snapshots/" HASH "/config.json", "{}");
    put("models--a--no_config/refs/main", HASH);
    put("models--a--no_config/snapshots/" HASH "/model.safetensors", "");
    put("models--a--dangling/refs/main", HASH);
    put("models--a--dangling/snapshots/" HASH "/config.json", "{}");
    put("models--a--dangling/blobs/x", "");
    char path[8192];
    snprintf(path, sizeof path, "%s/models--a--dangling/snapshots/%s/model.safetensors", cache,
             HASH);
    if (symlink("../../blobs/not-here", path) != 0)
        fail_msg("cannot link %s", path);
}

static void test_found(void **state)
{
    (void)state;
    static const struct {
        const char *name, *hash;
    } cases[] = {
        {"Qwen/Qwen3-8B", HASH},         {"Qwen/Qwen3-8B@main", HASH},
        {"Qwen/Qwen3-8B@v1.0", OTHER},   {"Qwen/Qwen3-8B@refs/pr/1", OTHER},
        {"Qwen/Qwen3-8B@" OTHER, OTHER},
    };
    const emc_hub_dirs dirs = {.hub_cache = cache};
    char *dir, want[8192];

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        EMT_OK(emc_hub_resolve(&dir, cases[i].name, &dirs));
        snprintf(want, sizeof want, "%s/models--Qwen--Qwen3-8B/snapshots/%s", cache, cases[i].hash);
        assert_string_equal(dir, want);
        free(dir);
    }
    /* A folder is itself, whatever its name. */
    EMT_OK(emc_hub_resolve(&dir, emt_temp_dir(), &dirs));
    assert_string_equal(dir, emt_temp_dir());
    free(dir);
}

/* The first setting that is there decides, though only a later one has the model. */
static void test_order_of_roots(void **state)
{
    (void)state;
    char home[4096], hf_home[4096], cache_home[4096], *dir;

    snprintf(home, sizeof home, "%s/home", emt_temp_dir());
    snprintf(cache_home, sizeof cache_home, "%s/home/.cache", emt_temp_dir());
    snprintf(hf_home, sizeof hf_home, "%s/home/.cache/huggingface", emt_temp_dir());
    const emc_hub_dirs good[] = {
        {.home = home},
        {.cache_home = cache_home, .home = "/nowhere"},
        {.hf_home = hf_home, .cache_home = "/nowhere", .home = "/nowhere"},
        {.hub_cache = cache, .hf_home = "/nowhere", .cache_home = "/nowhere", .home = "/nowhere"},
        {.hub_cache = "", .hf_home = "", .cache_home = "", .home = home},
    };
    const struct {
        emc_hub_dirs dirs;
        const char *message;
    } bad[] = {
        {{.hub_cache = "/nowhere", .hf_home = hf_home}, "(no /nowhere/models--Qwen--Qwen3-8B)"},
        {{.hf_home = "/nowhere", .cache_home = cache_home}, "(no /nowhere/hub/models"},
        {{.cache_home = "/nowhere", .home = home}, "(no /nowhere/huggingface/hub/models"},
        {{.home = "/nowhere"}, "(no /nowhere/.cache/huggingface/hub/models"},
        {{.home = NULL}, "none of HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and HOME is set"},
    };

    for (size_t i = 0; i < EMC_COUNT(good); i++) {
        EMT_OK(emc_hub_resolve(&dir, "Qwen/Qwen3-8B", &good[i]));
        free(dir);
    }
    for (size_t i = 0; i < EMC_COUNT(bad); i++)
        EMT_FAILS(EMC_ERR_NOT_FOUND, bad[i].message,
                  emc_hub_resolve(&dir, "Qwen/Qwen3-8B", &bad[i].dirs));
}

static void test_missing(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        emc_status status;
        const char *message;
    } cases[] = {
        {"Qwen/Qwen3-4B", EMC_ERR_NOT_FOUND, "get it with: hf download Qwen/Qwen3-4B"},
        {"Qwen/Qwen3-8B@v2", EMC_ERR_NOT_FOUND, "hf download Qwen/Qwen3-8B --revision v2"},
        {"Qwen/Qwen3-8B@gone", EMC_ERR_NOT_FOUND, "hf download Qwen/Qwen3-8B --revision gone"},
        {"Qwen/Qwen3-8B@00000000000000000000000000000000deadbeef", EMC_ERR_NOT_FOUND,
         "--revision 00000000000000000000000000000000deadbeef"},
        {"Qwen/Qwen3-8B@broken", EMC_ERR_FORMAT, "refs/broken: not the hash of a commit"},
        {"a/no_weights", EMC_ERR_NOT_FOUND, "a/no_weights: no safetensors weights in the cache"},
        {"a/no_config", EMC_ERR_NOT_FOUND, "a/no_config: no config.json in the cache"},
        {"a/dangling", EMC_ERR_NOT_FOUND, "finish it with: hf download a/dangling --revision main"},
        {"/no/such/folder", EMC_ERR_NOT_FOUND, "/no/such/folder: no such folder"},
        {"./missing", EMC_ERR_NOT_FOUND, "./missing: no such folder"},
        {"../missing", EMC_ERR_NOT_FOUND, "../missing: no such folder"},
        {"", EMC_ERR_USAGE, "\"\": no such folder, and not the name of a model"},
        {"missing", EMC_ERR_USAGE, "wanted a folder, or org/model of the Hugging Face hub"},
        {"a/b/c", EMC_ERR_USAGE, "not the name of a model"},
        {"a/..", EMC_ERR_USAGE, "not the name of a model"},
        {"a/b..c", EMC_ERR_USAGE, "not the name of a model"},
        {"a/b--c", EMC_ERR_USAGE, "not the name of a model"},
        {"a/.b", EMC_ERR_USAGE, "not the name of a model"},
        {"a/", EMC_ERR_USAGE, "not the name of a model"},
        {"a/b c", EMC_ERR_USAGE, "not the name of a model"},
        {"a/b$(x)", EMC_ERR_USAGE, "not the name of a model"},
        {"a/\xC3\xA9", EMC_ERR_USAGE, "not the name of a model"},
        {"-a/b", EMC_ERR_USAGE, "not the name of a model"},
        {"Qwen/Qwen3-8B@", EMC_ERR_USAGE, "not the name of a model"},
        {"Qwen/Qwen3-8B@../main", EMC_ERR_USAGE, "not the name of a model"},
        {"Qwen/Qwen3-8B@refs/../../x", EMC_ERR_USAGE, "not the name of a model"},
        {"Qwen/Qwen3-8B@/etc/passwd", EMC_ERR_USAGE, "not the name of a model"},
    };
    const emc_hub_dirs dirs = {.hub_cache = cache};
    char *dir = cache;

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        EMT_FAILS(cases[i].status, cases[i].message, emc_hub_resolve(&dir, cases[i].name, &dirs));
        assert_null(dir);
    }
    EMT_FAILS(EMC_ERR_USAGE, "a file, wanted the folder that holds it",
              emc_hub_resolve(&dir, emt_write("model.gguf", "x", 1), &dirs));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_found),
        cmocka_unit_test(test_order_of_roots),
        cmocka_unit_test(test_missing),
    };

    make_cache();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
