/* Checksums, and what identifies a file or a folder. */
#include "emt.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"

static emc_hash fingerprint(const char *path)
{
    emc_hash hash;

    EMT_OK(emc_fingerprint(&hash, path));
    return hash;
}

static bool same(emc_hash a, emc_hash b)
{
    return emc_hash_equal(&a, &b);
}

/* The value of the empty input is in the algorithm's specification; the others are what xxh128sum
 * prints. */
static void test_known_values(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", "99aa06d3014798d86001c324468d497f"},
        {"a", "a96faf705af16834e6c632b61e964e1f"},
        {"abc", "06b05ab6733a618578af5f94892f3950"},
    };
    char text[EMC_HASH_TEXT];

    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        emc_hash hash = emc_hash_of(cases[i].in, strlen(cases[i].in)), parsed;
        emc_hash_text(text, &hash);
        assert_string_equal(text, cases[i].out);
        assert_true(emc_hash_parse(&parsed, text));
        assert_true(emc_hash_equal(&hash, &parsed));
    }
}

static void test_pieces_are_one(void **state)
{
    (void)state;
    unsigned char bytes[3000];
    uint64_t seed = 4;

    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)emt_random(&seed);
    for (int round = 0; round < 50; round++) {
        emc_hasher *hasher;
        EMT_OK(emc_hasher_open(&hasher));
        for (size_t at = 0, n; at < sizeof bytes; at += n) {
            n = emt_random(&seed) % 700;
            n = n < sizeof bytes - at ? n : sizeof bytes - at;
            emc_hasher_add(hasher, bytes + at, n);
        }
        assert_true(same(emc_hasher_end(hasher), emc_hash_of(bytes, sizeof bytes)));
        emc_hasher_close(hasher);
    }
    emc_hasher_close(NULL);
}

static void test_text_that_is_no_hash(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "99aa06d3014798d86001c324468d497", "99aa06d3014798d86001c324468d497f0",
        "99aa06d3014798d86001c324468d497g", " 9aa06d3014798d86001c324468d497f"};
    emc_hash hash = emc_hash_of("x", 1), before = hash;

    for (size_t i = 0; i < EMC_COUNT(bad); i++)
        assert_false(emc_hash_parse(&hash, bad[i]));
    assert_true(emc_hash_equal(&hash, &before));
    assert_true(emc_hash_parse(&hash, "99AA06D3014798D86001C324468D497F"));
    assert_true(same(hash, emc_hash_of("", 0)));
}

static void test_every_byte_of_a_small_file(void **state)
{
    (void)state;
    char bytes[300];

    memset(bytes, 7, sizeof bytes);
    const emc_hash before = fingerprint(emt_write("small", bytes, sizeof bytes));
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] ^= 1;
        assert_false(same(before, fingerprint(emt_write("small", bytes, sizeof bytes))));
        bytes[i] ^= 1;
    }
    assert_true(same(before, fingerprint(emt_write("other name", bytes, sizeof bytes))));
    assert_false(same(before, fingerprint(emt_write("small", bytes, sizeof bytes - 1))));
}

static void put_byte(const char *path, off_t at, char byte)
{
    const int fd = open(path, O_WRONLY | O_CREAT, 0644);

    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* 100 GB with a hole for nearly all of it: read whole it would take minutes. */
static void test_a_big_file(void **state)
{
    (void)state;
    const off_t size = (off_t)100 << 30, piece = 64 << 10;
    const char *path = emt_temp("big");

    put_byte(path, size - 1, 0);
    const emc_hash before = fingerprint(path);
    const off_t read_bytes[] = {0, piece - 1, size - 1, size - piece,
                                (size - piece) / 255 * 100 + 50};
    for (size_t i = 0; i < EMC_COUNT(read_bytes); i++) {
        put_byte(path, read_bytes[i], 1);
        assert_false(same(before, fingerprint(path)));
        put_byte(path, read_bytes[i], 0);
        assert_true(same(before, fingerprint(path)));
    }
    assert_int_equal(truncate(path, size + 1), 0);
    assert_false(same(before, fingerprint(path)));
    unlink(path);
}

static char *in(const char *dir, const char *name)
{
    static char path[4][2048];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

static void put(const char *dir, const char *name, const char *text)
{
    FILE *file = fopen(in(dir, name), "w");

    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static const char *make_dir(const char *name)
{
    const char *path = emt_temp(name);

    assert_int_equal(mkdir(path, 0755), 0);
    return path;
}

static void test_folders(void **state)
{
    (void)state;
    char a[512], b[512], long_text[6000];

    snprintf(a, sizeof a, "%s", make_dir("a"));
    snprintf(b, sizeof b, "%s", make_dir("b"));
    put(a, "config.json", "{}");
    put(a, "model.safetensors", "12345");
    put(b, "model.safetensors", "12345"); /* another order of making */
    put(b, "config.json", "{}");
    const emc_hash before = fingerprint(a);
    assert_true(same(before, fingerprint(b)));

    assert_int_equal(rename(in(b, "config.json"), in(b, "config2.json")), 0);
    assert_false(same(before, fingerprint(b)));
    assert_int_equal(rename(in(b, "config2.json"), in(b, "config.json")), 0);
    put(b, "model.safetensors", "12346");
    assert_false(same(before, fingerprint(b)));
    put(b, "model.safetensors", "12345");
    put(b, "empty", "");
    assert_false(same(before, fingerprint(b)));
    unlink(in(b, "empty"));
    assert_true(same(before, fingerprint(b)));

    /* What a tool keeps for itself, a link to nowhere and a link back are no content. */
    assert_int_equal(mkdir(in(b, ".cache"), 0755), 0);
    put(b, ".cache/lock", "1");
    assert_int_equal(symlink("nowhere", in(b, "dangling")), 0);
    assert_int_equal(symlink(".", in(b, "itself")), 0);
    assert_true(same(before, fingerprint(b)));

    /* A chunk of a zarr store: small ones by content, long ones by size. */
    assert_int_equal(mkdir(in(b, "X"), 0755), 0);
    put(b, "X/.zarray", "<f4");
    memset(long_text, 'x', sizeof long_text);
    long_text[5000] = '\0';
    put(b, "X/0.0", long_text);
    const emc_hash deep = fingerprint(b);
    assert_false(same(before, deep));
    put(b, "X/.zarray", "<i4");
    assert_false(same(deep, fingerprint(b)));
    put(b, "X/.zarray", "<f4");
    assert_true(same(deep, fingerprint(b)));
    long_text[4999] = '\0';
    put(b, "X/0.0", long_text);
    assert_false(same(deep, fingerprint(b)));
}

/* As a hub's cache has it: snapshots/COMMIT/model.safetensors -> ../../blobs/HASH. */
static void test_a_snapshot_of_links(void **state)
{
    (void)state;
    char plain[512], hub[512];

    snprintf(plain, sizeof plain, "%s", make_dir("plain"));
    snprintf(hub, sizeof hub, "%s", make_dir("hub"));
    put(plain, "config.json", "{}");
    put(plain, "model.safetensors", "weights");
    assert_int_equal(mkdir(in(hub, "blobs"), 0755), 0);
    assert_int_equal(mkdir(in(hub, "snapshots"), 0755), 0);
    assert_int_equal(mkdir(in(hub, "snapshots/1"), 0755), 0);
    put(hub, "blobs/aa", "{}");
    put(hub, "blobs/bb", "weights");
    assert_int_equal(symlink("../../blobs/aa", in(hub, "snapshots/1/config.json")), 0);
    assert_int_equal(symlink("../../blobs/bb", in(hub, "snapshots/1/model.safetensors")), 0);
    const emc_hash before = fingerprint(plain);
    assert_true(same(before, fingerprint(in(hub, "snapshots/1"))));
    put(hub, "blobs/bb", "other weights");
    assert_false(same(before, fingerprint(in(hub, "snapshots/1"))));
}

static void test_what_cannot_be_read(void **state)
{
    (void)state;
    emc_hash hash;
    const char *pipe = emt_temp("pipe");

    EMT_FAILS(EMC_ERR_NOT_FOUND, "absent: No such file",
              emc_fingerprint(&hash, emt_temp("absent")));
    assert_int_equal(mkfifo(pipe, 0600), 0);
    EMT_FAILS(EMC_ERR_IO, "neither a file nor a folder", emc_fingerprint(&hash, pipe));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_pieces_are_one),
        cmocka_unit_test(test_text_that_is_no_hash),
        cmocka_unit_test(test_every_byte_of_a_small_file),
        cmocka_unit_test(test_a_big_file),
        cmocka_unit_test(test_folders),
        cmocka_unit_test(test_a_snapshot_of_links),
        cmocka_unit_test(test_what_cannot_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
