/* Is every text table that is broken refused with one line, and read whole when it only looks so?
 */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "cells/reader.h"

/* How the bytes of a row get into its file. */
typedef enum { PLAIN = 0, PACKED, CUT, FLIPPED, TWICE } packing;

typedef struct {
    const char *name, *file;
    const char *text;
    const char *words; /* in the message */
    packing packing;
    size_t n_bytes; /* 0: up to the NUL */
} text_case;

#define BYTES(bytes) .text = (bytes), .n_bytes = sizeof(bytes) - 1

static const text_case cases[] = {
    {.name = "nothing", .file = "x.csv", .text = "", .words = "the file is empty"},
    {.name = "nothing, packed",
     .file = "x.csv.gz",
     .text = "",
     .words = "holds no text",
     .packing = PACKED},
    {.name = "blank lines", .file = "x.csv", .text = "\r\n\n\n", .words = "holds no text"},
    {.name = "a byte order mark alone",
     .file = "x.csv",
     .text = "\xef\xbb\xbf",
     .words = "holds no text"},
    {.name = "a header alone",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\n",
     .words = "a header and no rows"},
    {.name = "one column", .file = "x.tsv", .text = "ACTB\nSOX2\n", .words = "a single column"},
    {.name = "a row that is short",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\nc1,1,2\nc2,1\n",
     .words = "line 3: 2 fields, but the header has 3"},
    {.name = "a row that is long",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\nc1,1,2,3\n,,,,\n",
     .words = "line 3: 5 fields"},
    {.name = "a comma at every end",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\nc1,1,2,\nc2,1,2,\n",
     .words = "is empty, wanted a number"},
    {.name = "an open quote",
     .file = "x.csv",
     .text = "cell,\"ACTB,SOX2\nc1,1,2\n",
     .words = "a quote that is never closed"},
    {.name = "a NUL",
     .file = "x.csv",
     BYTES("cell,AC\0TB,SOX2\nc1,1,2\n"),
     .words = "line 1: a NUL byte"},
    {.name = "UTF-16",
     .file = "x.csv",
     BYTES("\xff\xfe"
           "c\0e\0l\0l\0,\0A\0"),
     .words = "a NUL byte"},
    {.name = "Latin-1",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\nna\xefve,1,2\n",
     .words = "line 2: byte 0xef at offset 2 is not UTF-8"},
    {.name = "a word for a number",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\nc1,1,high\n",
     .words = "line 2 (\"c1\"), column 3 (\"SOX2\"): \"high\" is no number"},
    {.name = "a decimal comma",
     .file = "x.tsv",
     .text = "cell\tACTB\tSOX2\nc1\t1\t2,5\n",
     .words = "\"2,5\" is no number"},
    {.name = "an empty field",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\nc1,1,\n",
     .words = "is empty, wanted a number"},
    {.name = "infinity",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\nc1,inf,0\n",
     .words = "\"inf\" is no number"},
    {.name = "two cells of one name",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\nc1,1,2\nc1,1,2\n",
     .words = "two cells are called \"c1\" (1 and 2)"},
    {.name = "two genes of one name",
     .file = "x.csv",
     .text = "cell,ACTB,ACTB\nc1,1,2\n",
     .words = "two genes are called \"ACTB\" (1 and 2)"},
    {.name = "a gene without a name",
     .file = "x.csv",
     .text = "cell,ACTB,,SOX2\nc1,1,2,3\n",
     .words = "gene 2 has no name"},
    {.name = "a cell without a name",
     .file = "x.csv",
     .text = "cell,ACTB,SOX2\n,1,2\n",
     .words = "cell 1 has no name"},
    {.name = "packed and cut",
     .file = "x.csv.gz",
     .text = "cell,ACTB,SOX2\nc1,1,2\nc2,0,1\n",
     .words = "damaged or cut short",
     .packing = CUT},
    {.name = "packed and one bit other",
     .file = "x.csv.gz",
     .text = "cell,ACTB,SOX2\nc1,1,2\nc2,0,1\n",
     .words = "damaged",
     .packing = FLIPPED},
    {.name = "packed twice",
     .file = "x.csv.gz",
     .text = "cell,ACTB,SOX2\nc1,1,2\nc2,0,1\n",
     .words = "a NUL byte; is this a text file?",
     .packing = TWICE},
};

static size_t pack(unsigned char *to, size_t room, const void *from, size_t n)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)from,
                       .avail_in = (uInt)n,
                       .next_out = to,
                       .avail_out = (uInt)room};

    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    n = room - stream.avail_out;
    deflateEnd(&stream);
    return n;
}

static const char *write_case(const text_case *row)
{
    unsigned char once[1024], twice[1024];
    const size_t n_text = row->n_bytes ? row->n_bytes : strlen(row->text);

    if (row->packing == PLAIN)
        return emt_write(row->file, row->text, n_text);
    size_t n = pack(once, sizeof once, row->text, n_text);
    if (row->packing == CUT)
        n -= 12;
    if (row->packing == FLIPPED)
        once[n / 2] ^= 8;
    if (row->packing != TWICE)
        return emt_write(row->file, once, n);
    n = pack(twice, sizeof twice, once, n);
    return emt_write(row->file, twice, n);
}

static bool is_refused(const text_case *row)
{
    const emc_cells_options options = {.orientation = EMC_CELLS_IN_ROWS,
                                       .duplicate_genes = EMC_DUPLICATES_REFUSE};
    const char *path = write_case(row), *text = emc_message();
    emc_cells *cells;
    const emc_status status = emc_cells_open(&cells, path, &options);
    const bool as_wanted = status == EMC_ERR_FORMAT && !cells && strstr(text, row->words) &&
                           strncmp(text, path, strlen(path)) == 0 && !strchr(text, '\n');

    if (!as_wanted)
        print_error("%s: wanted \"%s\", found %s, \"%s\"\n", row->name, row->words,
                    emc_status_name(status), text);
    emc_cells_close(cells);
    return as_wanted;
}

static void broken_tables(void **state)
{
    size_t n_wrong = 0;

    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        n_wrong += !is_refused(&cases[i]);
    assert_int_equal(n_wrong, 0);
}

/* A thousandfold: 64 MiB of one line, packed into 64 KiB, are a field that is no number. */
static void gzip_bomb(void **state)
{
    const size_t n = (size_t)64 << 20, room = (size_t)1 << 20;
    char *text = malloc(n);
    unsigned char *packed = malloc(room);
    emc_cells *cells;

    (void)state;
    assert_non_null(text);
    assert_non_null(packed);
    memset(text, 'x', n);
    memcpy(text, "cell,ACTB,SOX2\nc1,1,", 20);
    const char *path = emt_write("bomb.csv.gz", packed, pack(packed, room, text, n));
    EMT_FAILS(EMC_ERR_FORMAT, "xxx\" is no number", emc_cells_open(&cells, path, NULL));
    assert_null(cells);
    assert_true(strlen(emc_message()) < 1024);
    free(packed);
    free(text);
}

/* Cells without any value have lists, which are empty. */
static void no_values(void **state)
{
    static const char text[] = "cell,ACTB,SOX2\nc1,0,0\n";
    const emc_cells_options options = {.orientation = EMC_CELLS_IN_ROWS};
    emc_cell_block block;
    emc_cells *cells;

    (void)state;
    EMT_OK(emc_cells_open(&cells, emt_write("zero.csv", text, sizeof text - 1), &options));
    EMT_OK(emc_cells_next(cells, &block));
    assert_int_equal(block.n_rows, 1);
    assert_non_null(block.genes);
    assert_non_null(block.values);
    emc_cells_close(cells);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_tables),
        cmocka_unit_test(gzip_bomb),
        cmocka_unit_test(no_values),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
