/*
 * Which ids are a text?
 *
 * Sections between added tokens are normalised, split and merged each on its own. ASCII takes no
 * look-up but that of its kind, and a piece that is itself a token is one look-up.
 */
#include <string.h>

#include "tokenizer/vocab.h"

typedef struct {
    const emc_tokenizer *tok;
    const char *text;
    size_t n;
    const emc_byte_range *trusted;
    size_t n_trusted, next_trusted;
} job;

static emc_status encode_piece(const emc_tokenizer *tok, const char *piece, size_t n, emc_ids *out)
{
    if (n <= tok->longest_piece) {
        const int32_t id = emc_piece_map_get(tok->whole, piece, n);
        if (id >= 0)
            return emc_ids_add(out, &id, 1);
    }
    return emc_bpe_encode(tok->bpe, piece, n, out, NULL);
}

static emc_status encode_normal(const emc_tokenizer *tok, const char *text, size_t n, emc_ids *out)
{
    for (size_t pos = 0; pos < n;) {
        const size_t end = emc_unicode_split(tok->unicode, text, n, pos);
        EMC_TRY(encode_piece(tok, text + pos, end - pos, out));
        pos = end;
    }
    return EMC_OK;
}

/* `stable`: the text needs no normalisation. */
static emc_status encode_section(const emc_tokenizer *tok, const char *text, size_t n, bool stable,
                                 emc_ids *out)
{
    emc_text normal = {0};
    size_t n_valid;

    if (stable || !(emc_unicode_scan(tok->unicode, text, n, &n_valid) & EMC_CHAR_UNSTABLE))
        return encode_normal(tok, text, n, out);
    emc_status status = emc_unicode_nfc(tok->unicode, text, n, &normal);
    if (status == EMC_OK)
        status = encode_normal(tok, normal.bytes, normal.n, out);
    emc_text_free(&normal);
    return status;
}

/* The end of the trusted range that holds `pos`, or `pos` itself. Positions come ascending. */
static size_t trusted_end(job *j, size_t pos)
{
    while (j->next_trusted < j->n_trusted && j->trusted[j->next_trusted].end <= pos)
        j->next_trusted++;
    if (j->next_trusted == j->n_trusted || j->trusted[j->next_trusted].begin > pos)
        return pos;
    size_t end = j->trusted[j->next_trusted].end;
    for (size_t i = j->next_trusted + 1; i < j->n_trusted && j->trusted[i].begin == end; i++)
        end = j->trusted[i].end;
    return end < j->n ? end : j->n;
}

/* The longest added token that text[0..n) starts with, or NULL. */
static const emc_added_token *added_at(const emc_tokenizer *tok, const char *text, size_t n)
{
    if (n == 0)
        return NULL;
    const unsigned char byte = (unsigned char)text[0];
    for (size_t i = tok->added_of[byte]; i < tok->added_of[byte + 1]; i++) {
        const emc_added_token *added = &tok->added[i];
        if (added->n <= n && memcmp(text, added->text, added->n) == 0)
            return added;
    }
    return NULL;
}

size_t emc_vocab_added_at(const emc_tokenizer *tok, const char *text, size_t n)
{
    const emc_added_token *added = added_at(tok, text, n);

    return added ? added->n : 0;
}

/* The first added token at or behind `pos`, the longest of those that start there. NULL: none. */
static const emc_added_token *find_added(job *j, size_t pos, size_t *at)
{
    const emc_tokenizer *tok = j->tok;

    for (; pos < j->n; pos++) {
        const unsigned char byte = (unsigned char)j->text[pos];
        if (tok->added_of[byte] == tok->added_of[byte + 1])
            continue;
        const size_t room = trusted_end(j, pos) - pos;
        const emc_added_token *added = added_at(tok, j->text + pos, room);
        if (added) {
            *at = pos;
            return added;
        }
    }
    return NULL;
}

/* Refuses text that is not UTF-8 and ranges that make no sense. */
static emc_status check_input(const job *j, bool *stable)
{
    size_t n_valid, before = 0;
    const unsigned kinds = emc_unicode_scan(j->tok->unicode, j->text, j->n, &n_valid);

    if (j->n >= UINT32_MAX)
        return emc_fail(EMC_ERR_FORMAT, "a text of %zu bytes, wanted less than 4 GiB", j->n);
    if (n_valid < j->n)
        return emc_fail(EMC_ERR_FORMAT, "the text is not UTF-8 at byte %zu", n_valid);
    for (size_t i = 0; i < j->n_trusted; i++) {
        const emc_byte_range r = j->trusted[i];
        if (r.begin < before || r.end < r.begin || r.end > j->n)
            return emc_fail(EMC_ERR_ARG,
                            "trusted range %zu is %zu to %zu of %zu bytes, wanted ascending ranges",
                            i, r.begin, r.end, j->n);
        before = r.end;
    }
    *stable = !(kinds & EMC_CHAR_UNSTABLE);
    return EMC_OK;
}

static emc_status encode(job *j, emc_ids *out)
{
    size_t pos = 0;
    bool stable = false;

    EMC_TRY(check_input(j, &stable));
    while (pos < j->n) {
        size_t at = j->n;
        const emc_added_token *added = j->n_trusted ? find_added(j, pos, &at) : NULL;
        EMC_TRY(encode_section(j->tok, j->text + pos, at - pos, stable, out));
        pos = at;
        if (added) {
            EMC_TRY(emc_ids_add(out, &added->id, 1));
            pos += added->n;
        }
    }
    return EMC_OK;
}

emc_status emc_tokenizer_encode_trusted(const emc_tokenizer *tok, const char *text, size_t n_bytes,
                                        const emc_byte_range *trusted, size_t n_trusted,
                                        emc_ids *out)
{
    const size_t before = out->n;
    job j = {tok, text, n_bytes, trusted, n_trusted, 0};
    const emc_status status = encode(&j, out);

    if (status != EMC_OK)
        out->n = before;
    return status;
}

emc_status emc_tokenizer_encode(const emc_tokenizer *tok, const char *text, size_t n_bytes,
                                unsigned flags, emc_ids *out)
{
    const emc_byte_range all = {0, n_bytes};

    return emc_tokenizer_encode_trusted(tok, text, n_bytes, &all, flags & EMC_TOKENS_ADDED ? 1 : 0,
                                        out);
}

/*
 * How much of the text cannot become part of an added token by what is put behind it: up to the
 * longest trusted ending that begins an added token, a longer one included.
 */
static size_t without_open_token(job *j)
{
    const emc_tokenizer *tok = j->tok;
    size_t longest = 0;

    for (size_t i = 0; i < tok->n_added; i++)
        if (tok->added[i].n > longest)
            longest = tok->added[i].n;
    const size_t begin = j->n > longest ? j->n - longest : 0;
    for (size_t pos = begin; pos < j->n; pos++) {
        const unsigned char byte = (unsigned char)j->text[pos];
        const size_t left = j->n - pos;
        if (trusted_end(j, pos) < j->n)
            continue;
        for (size_t i = tok->added_of[byte]; i < tok->added_of[byte + 1]; i++)
            if (tok->added[i].n > left && memcmp(j->text + pos, tok->added[i].text, left) == 0)
                return pos;
    }
    return j->n;
}

/*
 * The start of the last piece, which may grow, or of the blanks before it: how these are cut
 * depends on what stands behind them, so they must not end a text that is tokenised alone.
 */
static size_t stable_pieces(const emc_unicode *u, const char *text, size_t n)
{
    const unsigned blank = EMC_CHAR_SPACE | EMC_CHAR_NEWLINE;
    size_t head = 0;
    bool was_blank = false;

    for (size_t pos = 0; pos < n;) {
        const size_t end = emc_unicode_split(u, text, n, pos);
        size_t i = pos;
        bool is_blank = true;
        while (i < end && is_blank)
            is_blank = u->kinds[emc_utf8_next(text, &i)] & blank;
        if (!was_blank)
            head = pos;
        was_blank = is_blank;
        pos = end;
    }
    return head;
}

emc_status emc_tokenizer_stable_head(const emc_tokenizer *tok, const char *text, size_t n_bytes,
                                     const emc_byte_range *trusted, size_t n_trusted,
                                     size_t *n_head)
{
    job j = {tok, text, n_bytes, trusted, n_trusted, 0};
    const emc_added_token *added;
    size_t begin = 0, at;
    bool stable = false;

    EMC_TRY(check_input(&j, &stable));
    j.n = without_open_token(&j);
    j.next_trusted = 0;
    while (n_trusted && (added = find_added(&j, begin, &at)))
        begin = at + added->n;
    size_t n_valid;
    if (!stable)
        stable = !(emc_unicode_scan(tok->unicode, text + begin, j.n - begin, &n_valid) &
                   EMC_CHAR_UNSTABLE);
    *n_head = begin + (stable ? stable_pieces(tok->unicode, text + begin, j.n - begin) : 0);
    return EMC_OK;
}
