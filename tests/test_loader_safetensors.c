/* loader/safetensors: one whole file, and one broken one for each check. */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "loader/safetensors.h"
#include "loader_files.h"

/* Writes a file of this header and n_data zeros and gives its path. */
static const char *file_of(const char *header, size_t n_data)
{
    static int count;
    char name[32];

    snprintf(name, sizeof name, "f%d.safetensors", count++);
    files_write_raw(emt_temp_dir(), name, header, n_data);
    return emt_temp(name);
}

static void expect_refusal(const char *message, const char *path)
{
    emc_safetensors *file = (emc_safetensors *)&file;

    EMT_FAILS(EMC_ERR_FORMAT, message, emc_safetensors_open(&file, path));
    assert_null(file);
    assert_non_null(strstr(emc_message(), path)); /* every message names the file */
}

static void test_whole(void **state)
{
    (void)state;
    const char *path =
        file_of("{\"__metadata__\":{\"format\":\"pt\",\"b\":\"c\"},"
                "\"b\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[6,30]},"
                "\"a\":{\"data_offsets\":[0,6],\"shape\":[3],\"dtype\":\"BF16\"},"
                "\"none\":{\"dtype\":\"F32\",\"shape\":[0,4],\"data_offsets\":[6,6]},"
                "\"one\":{\"dtype\":\"F16\",\"shape\":[],\"data_offsets\":[30,32]}}   ",
                32);
    emc_safetensors *file;

    EMT_OK(emc_safetensors_open(&file, path));
    assert_int_equal(emc_safetensors_count(file), 4);
    assert_string_equal(emc_safetensors_tensor(file, 0)->name, "b");
    const emc_tensor *a = emc_safetensors_find(file, "a");
    const emc_tensor *b = emc_safetensors_find(file, "b");
    assert_ptr_equal(b, emc_safetensors_tensor(file, 0));
    assert_int_equal(a->dtype, EMC_BF16);
    assert_int_equal(a->n_dims, 1);
    assert_int_equal(a->dims[0], 3);
    assert_int_equal(a->n_bytes, 6);
    assert_string_equal(a->file, path);
    assert_int_equal(b->n_dims, 2);
    assert_int_equal(b->dims[1], 3);
    assert_ptr_equal((const char *)a->data + 6, b->data);
    assert_int_equal(emc_safetensors_find(file, "one")->n_dims, 0);
    assert_int_equal(emc_safetensors_find(file, "none")->n_bytes, 0);
    assert_null(emc_safetensors_find(file, "__metadata__"));
    EMT_OK(emc_tensor_check(b, 2, 2, 3));
    EMT_FAILS(EMC_ERR_FORMAT, "tensor b: shape is [2, 3], wanted [3, 2]",
              emc_tensor_check(b, 2, 3, 2));
    EMT_FAILS(EMC_ERR_FORMAT, "tensor b: shape is [2, 3], wanted [2]",
              emc_tensor_check(b, 1, 2, 0));
    emc_safetensors_close(file);

    EMT_OK(emc_safetensors_open(&file, file_of("{}", 0)));
    assert_int_equal(emc_safetensors_count(file), 0);
    emc_safetensors_close(file);
    emc_safetensors_close(NULL);
}

/* A whole tensor of 4 bytes at the front; the beginning of another; the two in a header. */
#define A    "\"a\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}"
#define AT   "\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\""
#define B(x) "{" A ",\"b\":" x "}"

static const struct {
    const char *header;
    size_t n_data;
    const char *message;
} broken[] = {
    {"[1]", 0, "the header does not begin with {"},
    {" {}", 0, "the header does not begin with {"},
    {"", 0, "the header does not begin with {"},
    {"{\"a\":", 0, "line 1: not JSON"},
    {"{} {}", 0, "line 1: text after the JSON value"},
    {"{\"\xFF\":1}", 0, "not UTF-8"},
    {"{\"a\\u0000b\":1}", 0, "a NUL in the header"},
    {"{\"__metadata__\":[]}", 0, "\"__metadata__\" is not an object"},
    {"{\"__metadata__\":{\"x\":1}}", 0, "\"__metadata__\": \"x\" is not a string"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "\"__metadata__\" comes twice"},
    {"{" A "," A "}", 4, "\"a\" comes twice"},
    {"{\"a\":[]}", 0, "tensor a: header: not a JSON object"},
    {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "tensor a: header: \"dtype\" is missing"},
    {"{\"a\":{\"dtype\":\"BF16\",\"data_offsets\":[0,4]}}", 4, "tensor a: \"shape\" is not a list"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[2]}}", 4,
     "tensor a: \"data_offsets\" is not a list of two sizes"},
    {"{\"a\":{" AT ":[0,4],\"more\":1}}", 4, "tensor a: header: unknown key \"more\""},
    {"{\"a\":{" AT ":[0,4],\"dtype\":\"F16\"}}", 4, "tensor a: header: \"dtype\" comes twice"},
    {"{\"a\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[0,8]}}", 8,
     "tensor a: dtype is I64, wanted F32, BF16 or F16"},
    {"{\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "tensor a: dtype is F8_E4M3"},
    {"{\"a\":{\"dtype\":\"bf16\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "dtype is bf16"},
    {"{\"a\":{\"dtype\":7,\"shape\":[2],\"data_offsets\":[0,4]}}", 4, "\"dtype\" is not a string"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[1,1,1,1,2],\"data_offsets\":[0,4]}}", 4,
     "tensor a: shape of 5 dimensions, at most 4"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[-2],\"data_offsets\":[0,4]}}", 4,
     "tensor a: \"shape\" holds something other than a size"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[1.5],\"data_offsets\":[0,3]}}", 3,
     "\"shape\" holds something other than a size"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[1e17],\"data_offsets\":[0,4]}}", 4,
     "\"shape\" holds something other than a size"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[\"2\"],\"data_offsets\":[0,4]}}", 4,
     "\"shape\" holds something other than a size"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[4294967296,4294967296,2],\"data_offsets\":[0,4]}}", 4,
     "tensor a: shape [4294967296, 4294967296, 2] is too large to address"},
    {"{\"a\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[0,4]}}", 4,
     "tensor a: BF16 [3] needs 6 bytes, data_offsets give 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", 4,
     "tensor a: F32 [2] needs 8 bytes, data_offsets give 4"},
    {"{\"a\":{" AT ":[4,0]}}", 4, "tensor a: data_offsets [4, 0] run backwards"},
    {"{\"a\":{" AT ":[0,4]}}", 3, "data_offsets end at 4, the file has 3 bytes of tensors; trunc"},
    {"{\"a\":{" AT ":[0,4,8]}}", 4, "\"data_offsets\" is not a list of two sizes"},
    {"{\"a\":{" AT ":[0,-4]}}", 4, "\"data_offsets\" is not a list of two sizes"},
    {"{\"a\":{" AT ":[18446744073709551612,18446744073709551616]}}", 4,
     "\"data_offsets\" is not a list of two sizes"},
    {B("{" AT ":[2,6]}"), 6, "tensor b: begins at byte 2, inside tensor a, which ends at 4"},
    {B("{" AT ":[0,4]}"), 4, "begins at byte 0, inside tensor"},
    {B("{" AT ":[6,10]}"), 10, "tensor b: begins at byte 6, wanted 4: bytes between belong to no"},
    {"{\"a\":{" AT ":[2,6]}}", 6, "tensor a: begins at byte 2, wanted 0"},
    {"{" A "}", 5, "the tensors end at byte 4, the file has 5 bytes of tensors"},
    {"{}", 1, "the tensors end at byte 0, the file has 1 bytes of tensors"},
};

static void test_broken_headers(void **state)
{
    (void)state;

    for (size_t i = 0; i < EMC_COUNT(broken); i++)
        expect_refusal(broken[i].message, file_of(broken[i].header, broken[i].n_data));
}

static void test_broken_lengths(void **state)
{
    (void)state;
    static const unsigned char huge[8] = {0, 0, 0, 0, 0, 0, 0, 0x80};
    static const unsigned char over_limit[10] = {1, 0xE1, 0xF5, 5, 0, 0, 0, 0, '{', '}'};
    static const unsigned char past_end[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
    emc_safetensors *file;

    expect_refusal("need 8 bytes for the header's length, file has 0", emt_write("z", "", 0));
    expect_refusal("file has 7", emt_write("seven", huge, 7));
    expect_refusal("header of 9223372036854775808 bytes, at most 100000000",
                   emt_write("huge", huge, 8));
    expect_refusal("header of 100000001 bytes, at most", emt_write("limit", over_limit, 10));
    expect_refusal("header of 3 bytes, file has 2 after its length; truncated?",
                   emt_write("past", past_end, 10));
    EMT_FAILS(EMC_ERR_NOT_FOUND, "nothing.safetensors",
              emc_safetensors_open(&file, emt_temp("nothing.safetensors")));
    EMT_FAILS(EMC_ERR_IO, "a folder, wanted a file", emc_safetensors_open(&file, emt_temp_dir()));
}

static void test_long_name(void **state)
{
    (void)state;
    emc_text header = {0};

    EMT_OK(emc_text_add_string(&header, "{\""));
    for (int i = 0; i < 513; i++)
        EMT_OK(emc_text_add_string(&header, "n"));
    EMT_OK(emc_text_add_string(&header, "\":{}}"));
    expect_refusal("a tensor's name of 513 bytes", file_of(header.bytes, 0));
    emc_text_free(&header);
}

/* Cut anywhere, and with any byte of the header changed, a file is refused or still whole: no
 * read outside the file (the sanitizers watch) and no tensor that reaches outside of it. */
static void test_damaged_anywhere(void **state)
{
    (void)state;
    const char *path = emt_golden("loader/tied_bf16/model.safetensors");
    size_t n, n_header = 8;
    unsigned char *bytes = (unsigned char *)emt_read(path, &n);
    emc_safetensors *file;
    uint64_t random = 7;

    for (int i = 0; i < 8; i++)
        n_header += (size_t)bytes[i] << (8 * i);
    for (size_t cut = 0; cut < n; cut += cut < n_header ? 37 : 501) {
        assert_int_equal(emc_safetensors_open(&file, emt_write("cut", bytes, cut)), EMC_ERR_FORMAT);
        assert_null(file);
    }
    for (int i = 0; i < 600; i++) {
        const size_t at = emt_random(&random) % n_header;
        const unsigned char old = bytes[at];
        bytes[at] = (unsigned char)emt_random(&random);
        if (emc_safetensors_open(&file, emt_write("damaged", bytes, n)) == EMC_OK) {
            size_t total = 0;
            for (size_t j = 0; j < emc_safetensors_count(file); j++)
                total += emc_safetensors_tensor(file, j)->n_bytes;
            assert_int_equal(total, n - n_header);
            emc_safetensors_close(file);
        }
        bytes[at] = old;
    }
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_broken_headers),
        cmocka_unit_test(test_broken_lengths),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_damaged_anywhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
