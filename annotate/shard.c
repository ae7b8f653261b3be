/*
 * A shard file, version 2. Numbers are little-endian; nothing is aligned.
 *
 *   0   8  "EMCSHARD"
 *   8   4  version
 *   12  4  n_labels
 *   16  8  bytes of the whole file
 *   24  8  shard
 *   32  8  first
 *   40  8  n_cells
 *   48  16 plan
 *   64     n_cells rows:
 *            row i64, n_genes i32, n_tokens i32, status u8, reason u8, has u8, 0 u8, label i32,
 *            top i32[3], top_prob f64[3], score, score_low, score_high, margin, entropy,
 *            invalid_mass f64,
 *            length of cell_id u32, cell_id, 0 u8,
 *            if has & 1: length of raw_text u32, raw_text, 0 u8,
 *            if has & 2: probs f32[n_labels]
 *   end 16 XXH3-128 of all before it, canonical
 *
 * A later version keeps magic, version, length and checksum where they are, so that damage is told
 * from age. Strings end in a NUL so that they are handed out where they lie.
 */
#include "annotate/shard.h"

#include <stdlib.h>
#include <string.h>

#include "annotate/shard_parse.h"
#include "base/file.h"
#include "base/size.h"
#include "base/text.h"

#define HAS_TEXT   1u
#define HAS_PROBS  2u
#define MOST_BYTES ((size_t)1 << 40)
#define MOST_TEXT  ((size_t)INT32_MAX)

static const char MAGIC[8] = {'E', 'M', 'C', 'S', 'H', 'A', 'R', 'D'};

/* Their places here stand in files: new words go to the end, none is ever taken out. */
static const char *const reasons[] = {
    "",          "low_score",      "low_margin", "not_a_number", "ambiguous_answer",
    "cut_off",   "empty_answer",   "no_label",   "no_genes",     "few_genes",
    "bad_value", "prompt_too_long"};

/* ---- writing ---- */

struct emc_shard_writer {
    emc_shard_head head;
    emc_text text;
    int64_t n, last_row;
    bool ended;
};

static void put_u32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static void put_u64(unsigned char *at, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static void put_f64(unsigned char *at, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    put_u64(at, bits);
}

emc_status emc_shard_writer_open(emc_shard_writer **out, const emc_shard_head *head)
{
    emc_shard_writer *writer = NULL;
    unsigned char bytes[EMC_SHARD_HEAD_BYTES] = {0};

    *out = NULL;
    if (head->shard < 0 || head->first < 0 || head->n_cells < 0 || head->n_labels < 0)
        return emc_fail(EMC_ERR_ARG, "shard %lld: first=%lld n_cells=%lld n_labels=%d, need >= 0",
                        (long long)head->shard, (long long)head->first, (long long)head->n_cells,
                        head->n_labels);
    EMC_TRY(emc_alloc(&writer, 1, sizeof *writer, "a shard"));
    writer->head = *head;
    writer->last_row = -1;
    memcpy(bytes, MAGIC, sizeof MAGIC);
    put_u32(bytes + 8, EMC_SHARD_VERSION);
    put_u32(bytes + 12, (uint32_t)head->n_labels);
    put_u64(bytes + 24, (uint64_t)head->shard);
    put_u64(bytes + 32, (uint64_t)head->first);
    put_u64(bytes + 40, (uint64_t)head->n_cells);
    memcpy(bytes + 48, head->plan.bytes, sizeof head->plan.bytes);
    const emc_status status = emc_text_add(&writer->text, bytes, sizeof bytes);
    if (status != EMC_OK) {
        emc_shard_writer_close(writer);
        return status;
    }
    *out = writer;
    return EMC_OK;
}

void emc_shard_writer_close(emc_shard_writer *writer)
{
    if (!writer)
        return;
    emc_text_free(&writer->text);
    free(writer);
}

int64_t emc_shard_writer_n(const emc_shard_writer *writer)
{
    return writer->n;
}

emc_status emc_shard_writer_cut(emc_shard_writer *writer)
{
    if (writer->n < 1 || writer->ended)
        return emc_fail(EMC_ERR_ARG, "shard %lld: nothing to cut", (long long)writer->head.shard);
    writer->head.n_cells = writer->n;
    put_u64((unsigned char *)writer->text.bytes + 40, (uint64_t)writer->n);
    return EMC_OK;
}

static emc_status add_string(emc_text *text, const char *string)
{
    const size_t n = strlen(string);
    unsigned char length[4];

    if (n > MOST_TEXT)
        return emc_fail(EMC_ERR_ARG, "a text of %zu bytes is too long for a shard", n);
    put_u32(length, (uint32_t)n);
    EMC_TRY(emc_text_add(text, length, sizeof length));
    return emc_text_add(text, string, n + 1);
}

static emc_status add_probs(emc_text *text, const float *probs, int n)
{
    for (int i = 0; i < n; i++) {
        unsigned char bytes[4];
        uint32_t bits;
        memcpy(&bits, &probs[i], sizeof bits);
        put_u32(bytes, bits);
        EMC_TRY(emc_text_add(text, bytes, sizeof bytes));
    }
    return EMC_OK;
}

static bool is_label(int label, int n_labels)
{
    return label >= -1 && label < n_labels;
}

/* What of a row both sides check; NULL when it is fine. */
static const char *wrong_row(const emc_result_row *row, int n_labels, int64_t last_row)
{
    const emc_verdict *v = &row->verdict;

    if (row->row <= last_row)
        return "rows do not rise";
    if (row->n_genes < 0 || row->n_tokens < 0)
        return "a count below 0";
    if ((unsigned)v->status >= EMC_N_CELL_STATUSES)
        return "no such status";
    if (!is_label(v->label, n_labels))
        return "no such label";
    for (int i = 0; i < EMC_TOP; i++)
        if (!is_label(v->top[i], n_labels))
            return "no such label";
    return NULL;
}

static int reason_number(const char *reason)
{
    for (size_t i = 0; i < EMC_COUNT(reasons); i++)
        if (strcmp(reasons[i], reason ? reason : "") == 0)
            return (int)i;
    return -1;
}

emc_status emc_shard_writer_add(emc_shard_writer *writer, const emc_result_row *row)
{
    const emc_verdict *v = &row->verdict;
    const int reason = reason_number(v->reason);
    const char *wrong = wrong_row(row, writer->head.n_labels, writer->last_row);
    const size_t before = writer->text.n;
    unsigned char bytes[EMC_SHARD_ROW_BYTES - 5] = {0};
    emc_status status;

    if (writer->n >= writer->head.n_cells || writer->ended)
        wrong = "more rows than it has cells";
    if (wrong || reason < 0)
        return emc_fail(EMC_ERR_ARG, "shard %lld, row %lld: %s", (long long)writer->head.shard,
                        (long long)row->row, wrong ? wrong : "a reason that shard.c does not list");
    put_u64(bytes, (uint64_t)row->row);
    put_u32(bytes + 8, (uint32_t)row->n_genes);
    put_u32(bytes + 12, (uint32_t)row->n_tokens);
    bytes[16] = (unsigned char)v->status;
    bytes[17] = (unsigned char)reason;
    bytes[18] = (unsigned char)((row->raw_text ? HAS_TEXT : 0) | (row->probs ? HAS_PROBS : 0));
    put_u32(bytes + 20, (uint32_t)v->label);
    for (int i = 0; i < EMC_TOP; i++) {
        put_u32(bytes + 24 + 4 * i, (uint32_t)v->top[i]);
        put_f64(bytes + 36 + 8 * i, v->top_prob[i]);
    }
    const double numbers[] = {v->score,  v->score_low, v->score_high,
                              v->margin, v->entropy,   v->invalid_mass};
    for (size_t i = 0; i < EMC_COUNT(numbers); i++)
        put_f64(bytes + 60 + 8 * i, numbers[i]);
    status = emc_text_add(&writer->text, bytes, sizeof bytes);
    if (status == EMC_OK)
        status = add_string(&writer->text, row->cell_id ? row->cell_id : "");
    if (status == EMC_OK && row->raw_text)
        status = add_string(&writer->text, row->raw_text);
    if (status == EMC_OK && row->probs)
        status = add_probs(&writer->text, row->probs, writer->head.n_labels);
    if (status != EMC_OK) {
        writer->text.n = before;
        return status;
    }
    writer->n++;
    writer->last_row = row->row;
    return EMC_OK;
}

emc_status emc_shard_writer_bytes(emc_shard_writer *writer, const void **bytes, size_t *n_bytes)
{
    emc_text *text = &writer->text;

    if (writer->n != writer->head.n_cells)
        return emc_fail(EMC_ERR_ARG, "shard %lld: %lld rows of %lld", (long long)writer->head.shard,
                        (long long)writer->n, (long long)writer->head.n_cells);
    if (!writer->ended) {
        put_u64((unsigned char *)text->bytes + 16, text->n + EMC_SHARD_HASH_BYTES);
        const emc_hash hash = emc_hash_of(text->bytes, text->n);
        EMC_TRY(emc_text_add(text, hash.bytes, sizeof hash.bytes));
        writer->ended = true;
    }
    *bytes = text->bytes;
    *n_bytes = text->n;
    return EMC_OK;
}

/* ---- reading ---- */

struct emc_shard {
    char *owned; /* the file's bytes; NULL when they are borrowed */
    emc_result_row *rows;
    int64_t n_cells;
    float *probs; /* of all rows that have them */
};

typedef struct {
    const unsigned char *at, *end;
    const char *name;
    int n_labels;
    int64_t index; /* of the row, for messages */
} cursor;

static uint32_t get_u32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get_u64(const unsigned char *at)
{
    return (uint64_t)get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

/* Two's complement without a conversion that the language leaves open. */
static int32_t get_i32(const unsigned char *at)
{
    const uint32_t bits = get_u32(at);
    int32_t value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t get_i64(const unsigned char *at)
{
    const uint64_t bits = get_u64(at);
    int64_t value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static double get_f64(const unsigned char *at)
{
    const uint64_t bits = get_u64(at);
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

static emc_status bad_row(const cursor *c, const char *what)
{
    return emc_fail(EMC_ERR_FORMAT, "%s: cell %lld of the shard: %s", c->name, (long long)c->index,
                    what);
}

static emc_status read_string(cursor *c, const char **out)
{
    if (c->end - c->at < 5)
        return bad_row(c, "ends within a text");
    const size_t n = get_u32(c->at);
    c->at += 4;
    if (n >= (size_t)(c->end - c->at))
        return bad_row(c, "a text reaches past the end");
    *out = (const char *)c->at;
    if (memchr(c->at, 0, n) || c->at[n] != 0)
        return bad_row(c, "a text with a NUL in it, or none after it");
    c->at += n + 1;
    return EMC_OK;
}

static emc_status read_probs(cursor *c, float *probs)
{
    if ((size_t)(c->end - c->at) / 4 < (size_t)c->n_labels)
        return bad_row(c, "ends within the probabilities");
    for (int i = 0; i < c->n_labels; i++) {
        const uint32_t bits = get_u32(c->at + 4 * (size_t)i);
        memcpy(&probs[i], &bits, sizeof bits);
    }
    c->at += 4 * (size_t)c->n_labels;
    return EMC_OK;
}

/* probs: room for n_labels numbers. */
static emc_status read_row(cursor *c, emc_result_row *row, int64_t last_row, float *probs)
{
    const unsigned char *p = c->at;
    emc_verdict *v = &row->verdict;

    if (c->end - p < EMC_SHARD_ROW_BYTES)
        return bad_row(c, "ends within the numbers");
    row->row = get_i64(p);
    row->n_genes = get_i32(p + 8);
    row->n_tokens = get_i32(p + 12);
    const unsigned has = p[18];
    if (p[16] >= EMC_N_CELL_STATUSES || p[17] >= EMC_COUNT(reasons) ||
        has > (HAS_TEXT | HAS_PROBS) || p[19] != 0)
        return bad_row(c, "a status or reason that this version does not know");
    v->status = (emc_cell_status)p[16];
    v->reason = reasons[p[17]];
    v->label = get_i32(p + 20);
    for (int i = 0; i < EMC_TOP; i++) {
        v->top[i] = get_i32(p + 24 + 4 * i);
        v->top_prob[i] = get_f64(p + 36 + 8 * i);
    }
    v->score = get_f64(p + 60);
    v->score_low = get_f64(p + 68);
    v->score_high = get_f64(p + 76);
    v->margin = get_f64(p + 84);
    v->entropy = get_f64(p + 92);
    v->invalid_mass = get_f64(p + 100);
    const char *wrong = wrong_row(row, c->n_labels, last_row);
    if (wrong)
        return bad_row(c, wrong);
    c->at += EMC_SHARD_ROW_BYTES - 5;
    EMC_TRY(read_string(c, &row->cell_id));
    if (has & HAS_TEXT)
        EMC_TRY(read_string(c, &row->raw_text));
    if (has & HAS_PROBS) {
        EMC_TRY(read_probs(c, probs));
        row->probs = probs;
    }
    return EMC_OK;
}

/* Whole, undamaged, and of this version; nothing about whose it is. */
static emc_status check_bytes(const unsigned char *bytes, size_t n, const char *name)
{
    if (n < EMC_SHARD_HEAD_BYTES + EMC_SHARD_HASH_BYTES)
        return emc_fail(EMC_ERR_FORMAT, "%s: damaged: cut after %zu bytes", name, n);
    if (memcmp(bytes, MAGIC, sizeof MAGIC) != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: damaged, or not a shard of emcell", name);
    if (get_u64(bytes + 16) != n)
        return emc_fail(EMC_ERR_FORMAT, "%s: damaged: has %zu bytes, was written with %llu", name,
                        n, (unsigned long long)get_u64(bytes + 16));
    const emc_hash hash = emc_hash_of(bytes, n - EMC_SHARD_HASH_BYTES);
    if (memcmp(hash.bytes, bytes + n - EMC_SHARD_HASH_BYTES, EMC_SHARD_HASH_BYTES) != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: damaged: its checksum is wrong", name);
    if (get_u32(bytes + 8) != EMC_SHARD_VERSION)
        return emc_fail(EMC_ERR_FORMAT, "%s: a shard of version %u, this emcell reads version %d",
                        name, get_u32(bytes + 8), EMC_SHARD_VERSION);
    return EMC_OK;
}

static emc_status check_head(const unsigned char *bytes, const char *name,
                             const emc_shard_head *wanted)
{
    emc_hash plan;
    char has[EMC_HASH_TEXT], want[EMC_HASH_TEXT];

    memcpy(plan.bytes, bytes + 48, sizeof plan.bytes);
    emc_hash_text(has, &plan);
    emc_hash_text(want, &wanted->plan);
    if (!emc_hash_equal(&plan, &wanted->plan))
        return emc_fail(EMC_ERR_FORMAT, "%s: of another run (plan %s, wanted %s)", name, has, want);
    const struct {
        const char *what;
        int64_t has, wanted;
    } numbers[] = {
        {"shard", get_i64(bytes + 24), wanted->shard},
        {"first cell", get_i64(bytes + 32), wanted->first},
        {"number of cells", get_i64(bytes + 40), wanted->n_cells},
        {"number of labels", (int64_t)get_u32(bytes + 12), wanted->n_labels},
    };
    for (size_t i = 0; i < EMC_COUNT(numbers); i++)
        if (numbers[i].has != numbers[i].wanted)
            return emc_fail(EMC_ERR_FORMAT, "%s: its %s is %lld, wanted %lld", name,
                            numbers[i].what, (long long)numbers[i].has,
                            (long long)numbers[i].wanted);
    return EMC_OK;
}

emc_status emc_shard_parse(emc_shard **out, const void *bytes, size_t n_bytes, const char *name,
                           const emc_shard_head *wanted)
{
    emc_shard *shard = NULL;
    cursor c = {.at = bytes, .name = name, .n_labels = wanted->n_labels};
    int64_t last_row = -1;
    emc_status status;

    *out = NULL;
    EMC_TRY(check_bytes(bytes, n_bytes, name));
    EMC_TRY(check_head(bytes, name, wanted));
    c.end = c.at + n_bytes - EMC_SHARD_HASH_BYTES;
    c.at += EMC_SHARD_HEAD_BYTES;
    const size_t room = (size_t)(c.end - c.at);
    if (wanted->n_cells < 0 || (uint64_t)wanted->n_cells > room / EMC_SHARD_ROW_BYTES)
        return emc_fail(EMC_ERR_FORMAT, "%s: %lld cells do not fit into %zu bytes", name,
                        (long long)wanted->n_cells, n_bytes);
    status = emc_alloc(&shard, 1, sizeof *shard, "a shard");
    if (status != EMC_OK)
        goto done;
    shard->n_cells = wanted->n_cells;
    status =
        emc_alloc(&shard->rows, (size_t)wanted->n_cells, sizeof *shard->rows, "a shard's rows");
    if (status == EMC_OK) /* as many as the file can hold; pages that none fills are not taken */
        status = emc_alloc(&shard->probs, room / 4 + 1, sizeof *shard->probs, "probabilities");
    float *probs = shard->probs;
    for (; status == EMC_OK && c.index < wanted->n_cells; c.index++) {
        emc_result_row *row = &shard->rows[c.index];
        status = read_row(&c, row, last_row, probs);
        last_row = row->row;
        probs += row->probs ? wanted->n_labels : 0;
    }
    if (status == EMC_OK && c.at != c.end)
        status = emc_fail(EMC_ERR_FORMAT, "%s: %zu bytes after its last cell", name,
                          (size_t)(c.end - c.at));
    if (status != EMC_OK)
        goto done;
    *out = shard;
    shard = NULL;

done:
    emc_shard_close(shard);
    return status;
}

emc_status emc_shard_open(emc_shard **out, const char *path, const emc_shard_head *wanted)
{
    char *bytes = NULL;
    size_t n_bytes;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_file_read(&bytes, &n_bytes, path, MOST_BYTES));
    status = emc_shard_parse(out, bytes, n_bytes, path, wanted);
    if (status == EMC_OK)
        (*out)->owned = bytes;
    else
        free(bytes);
    return status;
}

emc_status emc_shard_open_part(emc_shard **out, int64_t *n, const char *path,
                               const emc_shard_head *wanted)
{
    emc_shard_head part = *wanted;
    char *bytes = NULL;
    size_t n_bytes;
    emc_status status;

    *out = NULL;
    *n = 0;
    EMC_TRY(emc_file_read(&bytes, &n_bytes, path, MOST_BYTES));
    status = check_bytes((unsigned char *)bytes, n_bytes, path);
    if (status == EMC_OK)
        part.n_cells = get_i64((unsigned char *)bytes + 40);
    if (status == EMC_OK && (part.n_cells < 1 || part.n_cells >= wanted->n_cells))
        status = emc_fail(EMC_ERR_FORMAT, "%s: a part of %lld cells of a shard of %lld", path,
                          (long long)part.n_cells, (long long)wanted->n_cells);
    if (status == EMC_OK)
        status = emc_shard_parse(out, bytes, n_bytes, path, &part);
    if (status == EMC_OK) {
        (*out)->owned = bytes;
        *n = part.n_cells;
    } else {
        free(bytes);
    }
    return status;
}

void emc_shard_close(emc_shard *shard)
{
    if (!shard)
        return;
    free(shard->owned);
    free(shard->rows);
    free(shard->probs);
    free(shard);
}

void emc_shard_get(const emc_shard *shard, int64_t i, emc_result_row *row)
{
    *row = shard->rows[i];
}
