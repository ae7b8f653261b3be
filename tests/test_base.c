/* base/: messages, sizes, files, JSON, text, maps, queues. */
#include "emt.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/json.h"
#include "base/queue.h"
#include "base/size.h"
#include "base/str_map.h"
#include "base/text.h"

static void test_messages(void **state)
{
    (void)state;
    char long_text[3000];

    assert_int_equal(emc_fail(EMC_ERR_IO, "a\nb%c%d", 0x7F, 5), EMC_ERR_IO);
    assert_string_equal(emc_message(), "a?b?5");
    emc_fail_in(EMC_ERR_IO, "file %d", 3);
    assert_string_equal(emc_message(), "file 3: a?b?5");
    for (size_t i = 0; i + 2 < sizeof long_text; i += 2)
        memcpy(long_text + i, "\xC3\xA9", 3);
    emc_fail(EMC_ERR_IO, "x%s", long_text);
    assert_int_equal(emc_utf8_valid(emc_message(), strlen(emc_message())), strlen(emc_message()));
    assert_int_equal(emc_status_exit_code(EMC_ERR_FORMAT), 65);
    assert_int_equal(emc_status_exit_code(EMC_ERR_USAGE), 2);
}

static void test_sizes(void **state)
{
    (void)state;
    size_t n = 7;

    assert_false(emc_size_mul(&n, SIZE_MAX / 2, 3));
    assert_false(emc_size_add(&n, SIZE_MAX, 1));
    assert_int_equal(n, 7);
    assert_true(emc_size_mul(&n, 6, 7));
    assert_int_equal(n, 42);
}

static void test_bf16_rounds_to_even(void **state)
{
    (void)state;
    static const struct {
        float in;
        uint16_t out;
    } cases[] = {
        {1.0f, 0x3F80},        {1.00390625f, 0x3F80}, /* a tie, down to even */
        {1.01171875f, 0x3F82},                        /* a tie, up to even */
        {-3.4e38f, 0xFF80},                           /* overflows to infinity */
        {INFINITY, 0x7F80},    {0x1p-133f, 0x0001},   /* the least subnormal number */
    };

    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        assert_int_equal(emc_f32_to_bf16(cases[i].in), cases[i].out);
    assert_true(isnan(emc_bf16_to_f32(emc_f32_to_bf16(NAN))));
    assert_true(emc_f16_to_f32(0x0001) == 0x1p-24f);
    assert_true(emc_f16_to_f32(0xC000) == -2.0f);
    assert_true(emc_f16_to_f32(0x7BFF) == 65504.0f);
    assert_true(isinf(emc_f16_to_f32(0x7C00)));
}

static void test_out_file_is_whole_or_absent(void **state)
{
    (void)state;
    emc_out_file *file;
    const char *path = emt_temp("out.txt");
    char temporary[4096];
    char *text;

    EMT_OK(emc_out_file_open(&file, path));
    EMT_OK(emc_out_file_write(file, "abc", 3));
    snprintf(temporary, sizeof temporary, "%s", emc_out_file_temporary(file));
    emc_out_file_close(file);
    assert_false(emc_file_exists(path));
    assert_false(emc_file_exists(temporary));

    EMT_OK(emc_out_file_open(&file, path));
    EMT_OK(emc_out_file_write(file, "abc", 3));
    assert_false(emc_file_exists(path));
    EMT_OK(emc_out_file_commit(file));
    emc_out_file_close(file);
    text = emt_read(path, NULL);
    assert_string_equal(text, "abc");
    free(text);

    EMT_FAILS(EMC_ERR_CREATE, "nowhere", emc_out_file_open(&file, "/nowhere/at/all"));
    EMT_FAILS(EMC_ERR_CREATE, "a folder", emc_out_file_open(&file, emt_temp_dir()));
    if (access("/dev/full", W_OK) == 0) {
        FILE *full = fopen("/dev/full", "w");
        assert_non_null(full);
        const int saved = dup(STDOUT_FILENO);
        fflush(stdout);
        dup2(fileno(full), STDOUT_FILENO);
        EMT_OK(emc_out_file_open(&file, "-"));
        dup2(saved, STDOUT_FILENO);
        EMT_OK(emc_out_file_write(file, "abc", 3));
        EMT_FAILS(EMC_ERR_IO, "standard output: No space", emc_out_file_commit(file));
        emc_out_file_close(file);
        close(saved);
        fclose(full);
    }
}

/* A rename over a device would put a file in its place: for root, over /dev/null itself. */
static void test_out_file_keeps_devices_and_links(void **state)
{
    (void)state;
    char pipe_path[4096], link_path[4096], target[4096], got[8] = "";
    emc_out_file *file;
    struct stat st;
    char *text;

    snprintf(pipe_path, sizeof pipe_path, "%s", emt_temp("out.pipe"));
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    const int reader = open(pipe_path, O_RDONLY | O_NONBLOCK);
    assert_true(reader >= 0);
    EMT_OK(emc_out_file_open(&file, pipe_path));
    assert_string_equal(emc_out_file_temporary(file), "");
    EMT_OK(emc_out_file_write(file, "abc", 3));
    EMT_OK(emc_out_file_commit(file));
    emc_out_file_close(file);
    assert_int_equal(read(reader, got, sizeof got), 3);
    close(reader);
    assert_memory_equal(got, "abc", 3);
    assert_int_equal(lstat(pipe_path, &st), 0);
    assert_true(S_ISFIFO(st.st_mode));

    snprintf(target, sizeof target, "%s", emt_temp("out.target"));
    snprintf(link_path, sizeof link_path, "%s", emt_temp("out.link"));
    emt_write("out.target", "old", 3);
    assert_int_equal(symlink("out.target", link_path), 0);
    EMT_OK(emc_out_file_open(&file, link_path));
    EMT_OK(emc_out_file_write(file, "new", 3));
    EMT_OK(emc_out_file_commit(file));
    emc_out_file_close(file);
    assert_int_equal(lstat(link_path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    text = emt_read(target, NULL);
    assert_string_equal(text, "new");
    free(text);
    assert_int_equal(unlink(target), 0);
    EMT_FAILS(EMC_ERR_CREATE, "a link to nowhere", emc_out_file_open(&file, link_path));
    EMT_FAILS(EMC_ERR_CREATE, "no such folder", emc_out_file_open(&file, "/nowhere/at/all"));
}

static void test_same_file(void **state)
{
    (void)state;
    char a[4096], b[4096], dotted[8300], hard[4096];

    snprintf(a, sizeof a, "%s", emt_temp("same_a"));
    snprintf(b, sizeof b, "%s", emt_temp("same_b"));
    snprintf(hard, sizeof hard, "%s", emt_temp("same_hard"));
    snprintf(dotted, sizeof dotted, "%s/./same_a", emt_temp_dir());
    assert_true(emc_same_file(a, dotted)); /* neither is there yet */
    assert_false(emc_same_file(a, b));
    assert_false(emc_same_file("/nowhere/x", "/elsewhere/x"));
    assert_true(emc_same_file("not_there", "./not_there"));
    emt_write("same_a", "x", 1);
    assert_true(emc_same_file(a, dotted));
    assert_false(emc_same_file(a, b)); /* only one is there */
    emt_write("same_b", "x", 1);
    assert_false(emc_same_file(a, b));
    assert_int_equal(link(a, hard), 0);
    assert_true(emc_same_file(a, hard));
    assert_false(emc_same_file("/dev/null", "/dev/null"));
}

static void test_files_are_read_whole(void **state)
{
    (void)state;
    const char *path = emt_write("in.txt", "a\0b", 3);
    char *text;
    size_t n;
    emc_map *map;

    EMT_OK(emc_file_read(&text, &n, path, 3));
    assert_int_equal(n, 3);
    assert_memory_equal(text, "a\0b", 4);
    free(text);
    EMT_FAILS(EMC_ERR_FORMAT, "2 bytes allowed", emc_file_read(&text, &n, path, 2));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "none: No such", emc_file_read(&text, &n, "none", 9));
    EMT_FAILS(EMC_ERR_IO, "a folder", emc_map_open(&map, emt_temp_dir()));
    EMT_OK(emc_map_open(&map, emt_write("empty", "", 0)));
    assert_int_equal(map->n_bytes, 0);
    emc_map_close(map);
    assert_true(emc_is_plain_name("a.safetensors"));
    assert_false(emc_is_plain_name(".."));
    assert_false(emc_is_plain_name("a/b"));
    assert_false(emc_is_plain_name(""));
}

static void test_json_names_the_line(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "empty"},
        {"{\n\"a\": }", "line 2: not JSON"},
        {"{} x", "line 1: text after"},
        {"{\n\n\"\xFF\": 1}", "line 3: not UTF-8"},
    };
    static const char *const keys[] = {"a", "b", NULL};
    cJSON *tree;
    char deep[400];
    int64_t n = -1;

    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        EMT_FAILS(EMC_ERR_FORMAT, cases[i].message,
                  emc_json_parse(&tree, cases[i].text, strlen(cases[i].text), "f"));
    memset(deep, '[', sizeof deep);
    EMT_FAILS(EMC_ERR_FORMAT, "nested deeper", emc_json_parse(&tree, deep, sizeof deep, "f"));

    EMT_OK(emc_json_parse(&tree, "{\"a\": 3.5, \"b\": null}", 21, "f"));
    EMT_OK(emc_json_check_keys(tree, keys, "f"));
    EMT_FAILS(EMC_ERR_FORMAT, "f: \"a\" is 3.5", emc_json_get_int(&n, tree, "a", 0, 9, true, "f"));
    EMT_FAILS(EMC_ERR_FORMAT, "f: \"b\" is missing",
              emc_json_get_int(&n, tree, "b", 0, 9, true, "f"));
    EMT_OK(emc_json_get_int(&n, tree, "b", 0, 9, false, "f"));
    assert_int_equal(n, -1);
    EMT_FAILS(EMC_ERR_FORMAT, "unknown key \"a\"", emc_json_check_keys(tree, keys + 1, "f"));
    cJSON_Delete(tree);
    EMT_OK(emc_json_parse(&tree, "{\"a\": 1, \"a\": 2}", 16, "f"));
    EMT_FAILS(EMC_ERR_FORMAT, "\"a\" comes twice", emc_json_check_keys(tree, keys, "f"));
    cJSON_Delete(tree);
}

static void test_text_escapes(void **state)
{
    (void)state;
    emc_text text = {0};
    uint32_t code;
    char bytes[4];

    EMT_OK(emc_text_add_json(&text, "a\"\\\n\0\xC3\xA9\xFF", 8));
    assert_string_equal(text.bytes, "\"a\\\"\\\\\\n\\u0000\xC3\xA9\xEF\xBF\xBD\"");
    emc_text_clear(&text);
    EMT_OK(emc_text_add_csv(&text, "a,b\"c", ','));
    EMT_OK(emc_text_add_csv(&text, "a,b", '\t'));
    assert_string_equal(text.bytes, "\"a,b\"\"c\"a,b");
    emc_text_free(&text);
    assert_int_equal(emc_utf8_decode(&code, "\xED\xA0\x80", 3), 0); /* a surrogate */
    assert_int_equal(emc_utf8_decode(&code, "\xC0\x80", 2), 0);     /* overlong */
    assert_int_equal(emc_utf8_decode(&code, "\xF4\x90\x80\x80", 4), 0);
    assert_int_equal(emc_utf8_decode(&code, "\xE2\x82", 2), 0); /* cut */
    for (uint32_t c = 0; c <= 0x10FFFF; c += c < 0xE000 ? 1 : 97) {
        const int n = emc_utf8_encode(bytes, c);
        assert_int_equal(emc_utf8_decode(&code, bytes, (size_t)n), n);
        assert_int_equal(code, c >= 0xD800 && c < 0xE000 ? 0xFFFD : c);
    }
}

static void test_map_against_many_keys(void **state)
{
    (void)state;
    emc_str_map *map;
    bool existed;
    char key[16];

    EMT_OK(emc_str_map_open(&map, 0));
    for (int i = 0; i < 5000; i++) {
        const int n = snprintf(key, sizeof key, "k%d", i);
        EMT_OK(emc_str_map_put(map, key, (size_t)n, i, &existed));
        assert_false(existed);
    }
    EMT_OK(emc_str_map_put(map, "k7", 2, 99, &existed));
    assert_true(existed);
    assert_int_equal(emc_str_map_get(map, "k7", 2, -1), 7);
    assert_int_equal(emc_str_map_get(map, "k4999", 5, -1), 4999);
    assert_int_equal(emc_str_map_get(map, "k5000", 5, -1), -1);
    assert_int_equal(emc_str_map_get(map, "", 0, -1), -1);
    assert_int_equal(emc_str_map_count(map), 5000);
    emc_str_map_close(map);
}

static void *push_all(void *argument)
{
    for (intptr_t i = 1; i <= 1000; i++)
        if (!emc_queue_push(argument, (void *)i))
            break;
    emc_queue_finish(argument);
    return NULL;
}

static void test_queue_keeps_order_and_ends(void **state)
{
    (void)state;
    emc_queue *queue;
    pthread_t thread;
    intptr_t wanted = 1;
    void *item;

    EMT_OK(emc_queue_open(&queue, 3));
    assert_int_equal(pthread_create(&thread, NULL, push_all, queue), 0);
    while ((item = emc_queue_pop(queue)))
        assert_int_equal((intptr_t)item, wanted++);
    assert_int_equal(wanted, 1001);
    pthread_join(thread, NULL);
    emc_queue_close(queue);

    EMT_OK(emc_queue_open(&queue, 3));
    assert_int_equal(pthread_create(&thread, NULL, push_all, queue), 0);
    assert_non_null(emc_queue_pop(queue));
    emc_queue_stop(queue); /* the pusher waits on a full queue, or is about to */
    pthread_join(thread, NULL);
    assert_null(emc_queue_pop(queue));
    while (emc_queue_drain(queue))
        ;
    emc_queue_close(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_bf16_rounds_to_even),
        cmocka_unit_test(test_out_file_is_whole_or_absent),
        cmocka_unit_test(test_out_file_keeps_devices_and_links),
        cmocka_unit_test(test_same_file),
        cmocka_unit_test(test_files_are_read_whole),
        cmocka_unit_test(test_json_names_the_line),
        cmocka_unit_test(test_text_escapes),
        cmocka_unit_test(test_map_against_many_keys),
        cmocka_unit_test(test_queue_keeps_order_and_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
