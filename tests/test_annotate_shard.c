/* Shard files: what goes in comes out to the bit, and no damage goes unseen. */
#include "emt.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "annotate/shard.h"
#include "annotate/shard_parse.h"

#define N_LABELS 3

static const float PROBS[N_LABELS] = {0.1f, 0x1p-149f, 0.9f};

static emc_shard_head make_head(int64_t n_cells)
{
    return (emc_shard_head){.plan = emc_hash_of("plan", 4),
                            .shard = 7,
                            .first = ((int64_t)1 << 40) + 3,
                            .n_cells = n_cells,
                            .n_labels = N_LABELS};
}

/* Rows of every kind: probabilities, text, neither; names that are not ASCII and an empty one. */
static emc_result_row make_row(int64_t i)
{
    static const char *const ids[] = {"AAACCT-1", "", "\xE5\x8D\xB5\xC3\xA9, \"q\"\n\t",
                                      "\xF0\x9F\xA7\xAC"};
    static const char *const reasons[] = {"", "low_margin", "no_label", "few_genes"};
    emc_result_row row = {.row = 5 * i + ((int64_t)1 << 33), .cell_id = ids[i % 4]};
    emc_verdict *v = &row.verdict;

    emc_verdict_not_asked(v, (emc_cell_status)(i % 4), reasons[i % 4]);
    row.n_genes = (int)i * 100;
    row.n_tokens = INT32_MAX - (int)i;
    if (i % 4 < 2) {
        row.probs = PROBS;
        v->label = i % 4 == 0 ? 2 : -1;
        for (int k = 0; k < EMC_TOP; k++) {
            v->top[k] = EMC_TOP - 1 - k;
            v->top_prob[k] = 1.0 / 3 + k;
        }
        v->score = 0x1.fffffffffffffp-1;
        v->score_low = 0x1p-1074; /* the least subnormal number */
        v->score_high = nextafter(1, 0);
        v->margin = -0.0;
        v->entropy = 1e300;
        v->invalid_mass = 0.25;
    } else if (i % 4 == 2) {
        row.raw_text = "I think it is \xC3\xA9piblast.\n";
    }
    return row;
}

static emc_shard_writer *write_shard(const emc_shard_head *head)
{
    emc_shard_writer *writer;

    EMT_OK(emc_shard_writer_open(&writer, head));
    for (int64_t i = 0; i < head->n_cells; i++) {
        const emc_result_row row = make_row(i);
        EMT_OK(emc_shard_writer_add(writer, &row));
        assert_int_equal(emc_shard_writer_n(writer), i + 1);
    }
    return writer;
}

static void expect_text(const char *got, const char *wanted)
{
    if (wanted)
        assert_string_equal(got, wanted);
    else
        assert_null(got);
}

/* To the bit: NaN equals NaN and -0 is not 0. */
static void expect_row(const emc_result_row *got, const emc_result_row *wanted)
{
    assert_int_equal(got->row, wanted->row);
    assert_string_equal(got->cell_id, wanted->cell_id);
    assert_int_equal(got->n_genes, wanted->n_genes);
    assert_int_equal(got->n_tokens, wanted->n_tokens);
    expect_text(got->raw_text, wanted->raw_text);
    if (wanted->probs)
        assert_memory_equal(got->probs, wanted->probs, sizeof PROBS);
    else
        assert_null(got->probs);
    const emc_verdict *a = &got->verdict, *b = &wanted->verdict;
    assert_int_equal(a->status, b->status);
    assert_string_equal(a->reason, b->reason);
    assert_int_equal(a->label, b->label);
    assert_memory_equal(a->top, b->top, sizeof a->top);
    assert_memory_equal(a->top_prob, b->top_prob, sizeof a->top_prob);
    const double x[] = {a->score,  a->score_low, a->score_high,
                        a->margin, a->entropy,   a->invalid_mass};
    const double y[] = {b->score,  b->score_low, b->score_high,
                        b->margin, b->entropy,   b->invalid_mass};
    assert_memory_equal(x, y, sizeof x);
}

static void test_what_goes_in_comes_out(void **state)
{
    (void)state;
    static const int64_t counts[] = {0, 1, 4, 1000};

    for (size_t k = 0; k < EMC_COUNT(counts); k++) {
        const emc_shard_head head = make_head(counts[k]);
        emc_shard_writer *writer = write_shard(&head), *again = write_shard(&head);
        const void *bytes, *bytes_again;
        size_t n, n_again;
        emc_shard *shard;
        EMT_OK(emc_shard_writer_bytes(writer, &bytes, &n));
        EMT_OK(emc_shard_writer_bytes(again, &bytes_again, &n_again));
        assert_int_equal(n, n_again);
        assert_memory_equal(bytes, bytes_again, n);
        EMT_OK(emc_shard_open(&shard, emt_write("shard", bytes, n), &head));
        for (int64_t i = 0; i < head.n_cells; i++) {
            emc_result_row got, wanted = make_row(i);
            emc_shard_get(shard, i, &got);
            expect_row(&got, &wanted);
        }
        emc_shard_close(shard);
        emc_shard_writer_close(writer);
        emc_shard_writer_close(again);
    }
    emc_shard_close(NULL);
    emc_shard_writer_close(NULL);
}

/* Written by hand from the layout, so that no machine or version reads its own mistakes. */
static void test_layout(void **state)
{
    (void)state;
    const emc_shard_head head = {
        .plan = emc_hash_of("", 0), .shard = 0x0102, .first = 3, .n_cells = 1, .n_labels = 2};
    const float probs[2] = {1.0f, -2.0f};
    emc_result_row row = {.row = 0x0A0B,
                          .cell_id = "id",
                          .n_genes = 5,
                          .n_tokens = 6,
                          .raw_text = "t",
                          .probs = probs};
    emc_shard_writer *writer;
    const unsigned char *bytes;
    const void *got;
    size_t n;

    emc_verdict_not_asked(&row.verdict, EMC_CELL_UNKNOWN, "low_score");
    row.verdict.top[0] = 1;
    row.verdict.entropy = 1.0;
    row.verdict.invalid_mass = -2.0;
    EMT_OK(emc_shard_writer_open(&writer, &head));
    EMT_OK(emc_shard_writer_add(writer, &row));
    EMT_OK(emc_shard_writer_bytes(writer, &got, &n));
    bytes = got;
    assert_int_equal(n, 64 + 108 + (4 + 3) + (4 + 2) + 8 + 16);
    static const unsigned char start[] = {
        'E', 'M', 'C', 'S', 'H', 'A', 'R', 'D', 2, 0, 0, 0, 2, 0, 0, 0, 209, 0, 0, 0, 0, 0, 0, 0,
        2,   1,   0,   0,   0,   0,   0,   0,   3, 0, 0, 0, 0, 0, 0, 0, 1,   0, 0, 0, 0, 0, 0, 0};
    assert_memory_equal(bytes, start, sizeof start);
    assert_memory_equal(bytes + 48, head.plan.bytes, 16);
    static const unsigned char numbers[] = {0x0B, 0x0A, 0,    0,    0, 0, 0, 0, 5, 0,
                                            0,    0,    6,    0,    0, 0, 1, 1, 3, 0,
                                            0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0};
    assert_memory_equal(bytes + 64, numbers, sizeof numbers);
    static const unsigned char rest[] = {0, 0,   0,    0, 0, 0,    0xF0, 0x3F, 0,   0, 0,   0, 0,
                                         0, 0,   0xC0, 2, 0, 0,    0,    'i',  'd', 0, 1,   0, 0,
                                         0, 't', 0,    0, 0, 0x80, 0x3F, 0,    0,   0, 0xC0};
    assert_memory_equal(bytes + 64 + 92, rest, sizeof rest);
    const emc_hash hash = emc_hash_of(bytes, n - 16);
    assert_memory_equal(bytes + n - 16, hash.bytes, 16);
    emc_shard_writer_close(writer);
}

static void test_damage_is_seen(void **state)
{
    (void)state;
    const emc_shard_head head = make_head(4);
    emc_shard_writer *writer = write_shard(&head);
    const void *whole;
    size_t n;
    emc_shard *shard;

    EMT_OK(emc_shard_writer_bytes(writer, &whole, &n));
    for (size_t i = 0; i < n; i++) {
        /* A copy of that length, so that a read past its end is seen by the sanitizer. */
        char *bytes = malloc(i ? i : 1);
        assert_non_null(bytes);
        memcpy(bytes, whole, i);
        EMT_FAILS(EMC_ERR_FORMAT, "x.shard: damaged",
                  emc_shard_parse(&shard, bytes, i, "x.shard", &head));
        assert_null(shard);
        free(bytes);
    }
    char *bytes = malloc(n + 1);
    assert_non_null(bytes);
    memcpy(bytes, whole, n);
    bytes[n] = 0;
    EMT_FAILS(EMC_ERR_FORMAT, "damaged: has",
              emc_shard_parse(&shard, bytes, n + 1, "x.shard", &head));
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            bytes[i] = (char)(bytes[i] ^ (1 << bit));
            EMT_FAILS(EMC_ERR_FORMAT, "x.shard: damaged",
                      emc_shard_parse(&shard, bytes, n, "x.shard", &head));
            bytes[i] = (char)(bytes[i] ^ (1 << bit));
        }
    EMT_OK(emc_shard_parse(&shard, bytes, n, "x.shard", &head));
    emc_shard_close(shard);
    free(bytes);
    emc_shard_writer_close(writer);
}

static void test_another_shard(void **state)
{
    (void)state;
    const emc_shard_head head = make_head(2);
    emc_shard_writer *writer = write_shard(&head);
    const void *bytes;
    size_t n;
    emc_shard *shard;
    emc_shard_head wanted[5] = {head, head, head, head, head};
    static const char *const says[5] = {
        "of another run", "its shard is 7, wanted 8", "its first cell is 1099511627779, wanted 4",
        "its number of cells is 2, wanted 1", "its number of labels is 3, wanted 4"};

    wanted[0].plan.bytes[15] ^= 1;
    wanted[1].shard = 8;
    wanted[2].first = 4;
    wanted[3].n_cells = 1;
    wanted[4].n_labels = 4;
    EMT_OK(emc_shard_writer_bytes(writer, &bytes, &n));
    const char *path = emt_write("000007.shard", bytes, n);
    for (int i = 0; i < 5; i++) {
        EMT_FAILS(EMC_ERR_FORMAT, says[i], emc_shard_open(&shard, path, &wanted[i]));
        EMT_FAILS(EMC_ERR_FORMAT, "000007.shard", emc_shard_open(&shard, path, &wanted[i]));
    }
    EMT_FAILS(EMC_ERR_NOT_FOUND, "absent", emc_shard_open(&shard, emt_temp("absent"), &head));
    EMT_FAILS(EMC_ERR_IO, "folder", emc_shard_open(&shard, emt_temp_dir(), &head));
    emc_shard_writer_close(writer);
}

/* With the right checksum over it, so that only what is checked behind that can see it. */
static void expect_hostile(const unsigned char *whole, size_t n, size_t at, unsigned char byte,
                           const char *says)
{
    const emc_shard_head head = make_head(4);
    unsigned char *bytes = malloc(n);
    emc_shard *shard;

    assert_non_null(bytes);
    memcpy(bytes, whole, n);
    bytes[at] = byte;
    const emc_hash hash = emc_hash_of(bytes, n - EMC_SHARD_HASH_BYTES);
    memcpy(bytes + n - EMC_SHARD_HASH_BYTES, hash.bytes, EMC_SHARD_HASH_BYTES);
    EMT_FAILS(EMC_ERR_FORMAT, says, emc_shard_parse(&shard, bytes, n, "x.shard", &head));
    free(bytes);
}

static void test_hostile_bytes(void **state)
{
    (void)state;
    const emc_shard_head head = make_head(4);
    emc_shard_writer *writer = write_shard(&head);
    const void *whole;
    size_t n;
    static const struct {
        size_t at;
        unsigned char byte;
        const char *says;
    } cases[] = {
        {8, 1, "x.shard: a shard of version 1, this emcell reads version 2"},
        {8, 3, "version 3"},
        {64 + 7, 0x80, "cell 0 of the shard: rows do not rise"},
        {64 + 11, 0x80, "a count below 0"},
        {64 + 15, 0x80, "a count below 0"},
        {64 + 16, EMC_N_CELL_STATUSES, "does not know"},
        {64 + 17, 200, "does not know"},
        {64 + 18, 4, "does not know"},
        {64 + 19, 1, "does not know"},
        {64 + 20, N_LABELS, "no such label"},
        {64 + 23, 0x80, "no such label"},
        {64 + 35, 0x70, "no such label"},
        {64 + 108, 7, "a NUL in it, or none after it"},
        {64 + 111, 0x7F, "a text reaches past the end"},
        {64 + 112, 0, "a NUL in it, or none after it"},
        {64 + 18, 0, "of the shard:"}, /* its probabilities are read as the next row */
        {64 + 18, 3, "of the shard:"},
    };

    EMT_OK(emc_shard_writer_bytes(writer, &whole, &n));
    for (size_t i = 0; i < EMC_COUNT(cases); i++)
        expect_hostile(whole, n, cases[i].at, cases[i].byte, cases[i].says);
    /* Any byte at all: it is refused or it is read, and no further than it goes. */
    unsigned char *bytes = malloc(n);
    assert_non_null(bytes);
    for (size_t i = EMC_SHARD_HEAD_BYTES; i < n - EMC_SHARD_HASH_BYTES; i++)
        for (int value = 0; value < 256; value += 17) {
            emc_shard *shard;
            memcpy(bytes, whole, n);
            bytes[i] = (unsigned char)value;
            const emc_hash hash = emc_hash_of(bytes, n - EMC_SHARD_HASH_BYTES);
            memcpy(bytes + n - EMC_SHARD_HASH_BYTES, hash.bytes, EMC_SHARD_HASH_BYTES);
            if (emc_shard_parse(&shard, bytes, n, "x.shard", &head) == EMC_OK)
                emc_shard_close(shard);
        }
    free(bytes);
    emc_shard_writer_close(writer);

    /* A number of cells that no file of this length can hold. */
    emc_shard_head none = make_head(0), many = make_head(INT64_MAX);
    unsigned char small[EMC_SHARD_HEAD_BYTES + EMC_SHARD_HASH_BYTES];
    emc_shard *shard;
    writer = write_shard(&none);
    EMT_OK(emc_shard_writer_bytes(writer, &whole, &n));
    assert_int_equal(n, sizeof small);
    memcpy(small, whole, n);
    memset(small + 40, 0xFF, 7);
    small[47] = 0x7F;
    const emc_hash hash = emc_hash_of(small, EMC_SHARD_HEAD_BYTES);
    memcpy(small + EMC_SHARD_HEAD_BYTES, hash.bytes, EMC_SHARD_HASH_BYTES);
    EMT_FAILS(EMC_ERR_FORMAT, "do not fit into 80 bytes",
              emc_shard_parse(&shard, small, n, "x.shard", &many));
    emc_shard_writer_close(writer);
}

static void test_a_writer_refuses(void **state)
{
    (void)state;
    const emc_shard_head head = make_head(2);
    emc_shard_head bad = head;
    emc_shard_writer *writer;
    const void *bytes;
    size_t n;

    bad.n_cells = -1;
    EMT_FAILS(EMC_ERR_ARG, "need >= 0", emc_shard_writer_open(&writer, &bad));
    EMT_OK(emc_shard_writer_open(&writer, &head));
    EMT_FAILS(EMC_ERR_ARG, "0 rows of 2", emc_shard_writer_bytes(writer, &bytes, &n));
    emc_result_row row = make_row(1);
    EMT_OK(emc_shard_writer_add(writer, &row));
    EMT_FAILS(EMC_ERR_ARG, "rows do not rise", emc_shard_writer_add(writer, &row));
    row = make_row(2);
    row.verdict.label = N_LABELS;
    EMT_FAILS(EMC_ERR_ARG, "no such label", emc_shard_writer_add(writer, &row));
    row = make_row(2);
    row.verdict.reason = "bored";
    EMT_FAILS(EMC_ERR_ARG, "a reason", emc_shard_writer_add(writer, &row));
    row = make_row(2);
    EMT_OK(emc_shard_writer_add(writer, &row));
    row = make_row(3);
    EMT_FAILS(EMC_ERR_ARG, "more rows", emc_shard_writer_add(writer, &row));
    EMT_OK(emc_shard_writer_bytes(writer, &bytes, &n));
    emc_shard_writer_close(writer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_goes_in_comes_out), cmocka_unit_test(test_layout),
        cmocka_unit_test(test_damage_is_seen),         cmocka_unit_test(test_another_shard),
        cmocka_unit_test(test_hostile_bytes),          cmocka_unit_test(test_a_writer_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
