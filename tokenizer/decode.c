/* What text do ids stand for? */
#include <string.h>

#include "tokenizer/vocab.h"

static const char replacement[] = "\xEF\xBF\xBD";

/*
 * The length of the ill-formed part at p: as many bytes as begin a character that could have been
 * (the standard's "maximal subpart", chapter 3.9), or one.
 */
static size_t bad_length(const unsigned char *p, size_t n)
{
    unsigned char low = 0x80, high = 0xBF;
    size_t want, i = 1;

    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        want = 2;
    else if (p[0] >= 0xE0 && p[0] <= 0xEF)
        want = 3;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        want = 4;
    else
        return 1;
    if (p[0] == 0xE0)
        low = 0xA0; /* overlong below */
    else if (p[0] == 0xED)
        high = 0x9F; /* surrogates above */
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F; /* above U+10FFFF */
    for (; i < want && i < n && p[i] >= low && p[i] <= high; i++) {
        low = 0x80;
        high = 0xBF;
    }
    return i;
}

static emc_status add_lossy(emc_text *out, const char *bytes, size_t n)
{
    while (n > 0) {
        const size_t valid = emc_utf8_valid(bytes, n);
        EMC_TRY(emc_text_add(out, bytes, valid));
        bytes += valid;
        n -= valid;
        if (n == 0)
            break;
        const size_t bad = bad_length((const unsigned char *)bytes, n);
        EMC_TRY(emc_text_add(out, replacement, sizeof replacement - 1));
        bytes += bad;
        n -= bad;
    }
    return EMC_OK;
}

emc_status emc_tokenizer_decode(const emc_tokenizer *tok, const int32_t *ids, size_t n,
                                bool skip_special, emc_text *out)
{
    emc_text bytes = {0};
    emc_status status = EMC_OK;

    for (size_t i = 0; i < n && status == EMC_OK; i++) {
        if (ids[i] < 0 || (size_t)ids[i] >= tok->n_tokens)
            continue;
        const emc_token *t = &tok->tokens[ids[i]];
        if (t->n > 0 && !(skip_special && (t->flags & EMC_TOKEN_SPECIAL)))
            status = emc_text_add(&bytes, tok->bytes + t->offset, t->n);
    }
    if (status == EMC_OK)
        status = add_lossy(out, bytes.bytes, bytes.n);
    emc_text_free(&bytes);
    return status;
}
