/* Does a text arrive as it was packed, from any place in it? */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "cells/lines.h"
#include "cells/stream.h"

#define LINE 16 /* bytes of each line: its number */

/* Members of gzip, as many as asked; plain when 0. */
static void write_lines(const char *name, int n_lines, int n_members)
{
    char *text = malloc((size_t)n_lines * LINE + 1);

    assert_non_null(text);
    for (int i = 0; i < n_lines; i++)
        snprintf(text + (size_t)i * LINE, LINE + 1, "%015d\n", i);
    if (n_members == 0)
        emt_write(name, text, (size_t)n_lines * LINE);
    for (int m = 0; m < n_members; m++) {
        gzFile file = gzopen(emt_temp(name), m ? "ab1" : "wb1");
        const int from = (int)((int64_t)n_lines * m / n_members);
        const int to = (int)((int64_t)n_lines * (m + 1) / n_members);
        assert_non_null(file);
        assert_int_equal(gzwrite(file, text + (size_t)from * LINE, (unsigned)(to - from) * LINE),
                         (to - from) * LINE);
        assert_int_equal(gzclose(file), Z_OK);
    }
    free(text);
}

/* The next bytes are those from this offset on. */
static void expect_text(const unsigned char *bytes, size_t n, int64_t offset)
{
    char want[32] = "";
    int64_t line = -1;

    for (size_t i = 0; i < n; i++) {
        const int64_t at = offset + (int64_t)i;
        if (line != at / LINE) {
            line = at / LINE;
            snprintf(want, sizeof want, "%015lld\n", (long long)line);
        }
        if (bytes[i] != (unsigned char)want[at % LINE])
            fail_msg("offset %lld: byte %d, wanted %d", (long long)at, bytes[i], want[at % LINE]);
        if (n > 4096 && i == 2048) /* the start and the end say enough */
            i = n - 2048;
    }
}

static void read_all(cells_stream *stream, int64_t offset, int64_t end)
{
    unsigned char *bytes;
    size_t n;

    for (;;) {
        EMT_OK(cells_stream_next(stream, &bytes, &n));
        if (n == 0)
            break;
        expect_text(bytes, n, offset);
        memset(bytes, 0, n); /* the caller's to change */
        offset += (int64_t)n;
    }
    assert_int_equal(offset, end);
}

/* The large ones are of more than the 64 MiB of text that the stream remembers places by: one
 * begins again within a member, the other at the start of one of many small members. */
static const struct {
    int n_lines, n_members;
} texts[] = {{100000, 0}, {100000, 1}, {100000, 40}, {9000000, 2}, {4500000, 1500}};

static void whole_and_seeks(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(texts); i++) {
        const int64_t end = (int64_t)texts[i].n_lines * LINE;
        uint64_t random = 4;
        unsigned char *bytes;
        cells_stream *stream;
        size_t n;
        write_lines("text", texts[i].n_lines, texts[i].n_members);
        EMT_OK(cells_stream_open(&stream, emt_temp("text")));
        assert_int_equal(cells_stream_is_gzip(stream), texts[i].n_members > 0);
        read_all(stream, 0, end);
        EMT_OK(cells_stream_next(stream, &bytes, &n)); /* the end stays */
        assert_int_equal(n, 0);
        for (int s = 0; s < 5; s++) {
            const int64_t to = s == 0   ? end - 5
                               : s == 1 ? 0
                                        : (int64_t)(emt_random(&random) % (uint64_t)end);
            cells_stream_seek(stream, to);
            EMT_OK(cells_stream_next(stream, &bytes, &n));
            assert_true(n > 0);
            expect_text(bytes, n, to);
        }
        cells_stream_seek(stream, end / 2 - 999);
        read_all(stream, end / 2 - 999, end);
        cells_stream_seek(stream, end);
        read_all(stream, end, end);
        cells_stream_close(stream);
    }
}

static void damaged(void **state)
{
    size_t n, n_piece;
    unsigned char *bytes;
    cells_stream *stream;

    (void)state;
    write_lines("small", 1000, 2);
    char *packed = emt_read(emt_temp("small"), &n);
    static const struct {
        int cut, flip; /* bytes from the end */
        const char *more, *text;
    } cases[] = {
        {1, 0, "", "cut short"},
        {20, 0, "", "cut short"},
        {0, 5, "", "damaged (incorrect data check)"},
        {0, 1, "", "damaged (incorrect length check)"},
        {0, 0, "garbage", "other bytes behind the gzip data"},
    };
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        char *copy = malloc(n + 8);
        emc_status status = EMC_OK;
        assert_non_null(copy);
        memcpy(copy, packed, n);
        if (cases[i].flip)
            copy[n - (size_t)cases[i].flip] ^= 1;
        memcpy(copy + n, cases[i].more, strlen(cases[i].more));
        emt_write("broken", copy, n - (size_t)cases[i].cut + strlen(cases[i].more));
        EMT_OK(cells_stream_open(&stream, emt_temp("broken")));
        do
            status = cells_stream_next(stream, &bytes, &n_piece);
        while (status == EMC_OK && n_piece > 0);
        assert_int_equal(status, EMC_ERR_FORMAT);
        assert_non_null(strstr(emc_message(), cases[i].text));
        EMT_FAILS(EMC_ERR_FORMAT, cases[i].text, cells_stream_next(stream, &bytes, &n_piece));
        cells_stream_close(stream);
        free(copy);
    }
    /* Zeros that fill a block up are no error. */
    char *padded = calloc(n + 512, 1);
    assert_non_null(padded);
    memcpy(padded, packed, n);
    emt_write("padded", padded, n + 512);
    EMT_OK(cells_stream_open(&stream, emt_temp("padded")));
    read_all(stream, 0, 1000 * LINE);
    cells_stream_close(stream);
    free(padded);
    free(packed);
    EMT_FAILS(EMC_ERR_NOT_FOUND, "nowhere", cells_stream_open(&stream, emt_temp("nowhere")));
    assert_null(stream);
}

static void lines(void **state)
{
    static const char text[] = "\xEF\xBB\xBF"
                               "a\r\n\nlast";
    static const char *const want[] = {"a", "", "last"};
    cells_lines reader;
    char *line;
    size_t n;

    (void)state;
    emt_write("lines", text, strlen(text));
    EMT_OK(cells_lines_open(&reader, emt_temp("lines")));
    for (size_t i = 0; i < EMC_COUNT(want); i++) {
        EMT_OK(cells_lines_next(&reader, &line, &n));
        assert_string_equal(line, want[i]);
        assert_int_equal(reader.number, i + 2);
    }
    for (int i = 0; i < 2; i++) {
        EMT_OK(cells_lines_next(&reader, &line, &n));
        assert_null(line);
    }
    cells_lines_close(&reader);
    emt_write("lines", "", 0);
    EMT_OK(cells_lines_open(&reader, emt_temp("lines")));
    EMT_OK(cells_lines_next(&reader, &line, &n));
    assert_null(line);
    cells_lines_close(&reader);
}

/* A line may be long, but not without end. */
static void long_lines(void **state)
{
    const size_t n_text = 3 << 20;
    char *text = malloc(n_text);
    cells_lines reader;
    char *line;
    size_t n;

    (void)state;
    assert_non_null(text);
    for (size_t length = 65000; length <= 66000; length += 500) {
        memset(text, 'x', n_text);
        for (size_t i = length; i < n_text; i += length + 1)
            text[i] = '\n';
        emt_write("long", text, n_text);
        EMT_OK(cells_lines_open(&reader, emt_temp("long")));
        emc_status status = EMC_OK;
        do {
            status = cells_lines_next(&reader, &line, &n);
            if (status == EMC_OK && line && reader.number < 40)
                assert_int_equal(n, length);
        } while (status == EMC_OK && line);
        if (length < 65536)
            assert_int_equal(status, EMC_OK);
        else if (status != EMC_OK)
            assert_non_null(strstr(emc_message(), "longer than 65536 bytes"));
        cells_lines_close(&reader);
    }
    memset(text, 'x', n_text);
    emt_write("long", text, n_text);
    EMT_OK(cells_lines_open(&reader, emt_temp("long")));
    EMT_FAILS(EMC_ERR_FORMAT, "long: line 1: longer than 65536 bytes",
              cells_lines_next(&reader, &line, &n));
    cells_lines_close(&reader);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_and_seeks),
        cmocka_unit_test(damaged),
        cmocka_unit_test(lines),
        cmocka_unit_test(long_lines),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
