#include "annotate/template.h"

#include <string.h>

static const struct {
    const char *name;
    emc_piece_kind kind;
} slots[] = {
    {"genes", EMC_PIECE_GENES},
    {"labels", EMC_PIECE_LABELS},
    {"n_genes", EMC_PIECE_N_GENES},
    {"stage", EMC_PIECE_STAGE},
};

static emc_status read_slot(const char **cursor, emc_piece *piece)
{
    const char *name = *cursor + 1;
    const size_t n = strcspn(name, "{}");

    if (name[n] != '}')
        return emc_fail(EMC_ERR_CONFIG, "'{' without '}' (write \"{{\" for a brace)");
    for (size_t i = 0; i < EMC_COUNT(slots); i++) {
        if (strlen(slots[i].name) == n && memcmp(slots[i].name, name, n) == 0) {
            *piece = (emc_piece){.kind = slots[i].kind};
            *cursor = name + n + 1;
            return EMC_OK;
        }
    }
    return emc_fail(EMC_ERR_CONFIG,
                    "unknown slot {%.*s}, wanted {genes}, {labels}, {n_genes} or {stage} "
                    "(write \"{{\" for a brace)",
                    (int)(n < 40 ? n : 40), name);
}

emc_status emc_template_next(const char **cursor, emc_piece *piece, bool *more)
{
    const char *at = *cursor;

    *more = *at != '\0';
    if (!*more)
        return EMC_OK;
    if ((at[0] == '{' || at[0] == '}') && at[1] == at[0]) {
        *piece = (emc_piece){EMC_PIECE_TEXT, at, 1};
        *cursor = at + 2;
        return EMC_OK;
    }
    if (at[0] == '{')
        return read_slot(cursor, piece);
    if (at[0] == '}')
        return emc_fail(EMC_ERR_CONFIG, "'}' without '{' (write \"}}\" for a brace)");
    *piece = (emc_piece){EMC_PIECE_TEXT, at, strcspn(at, "{}")};
    *cursor = at + piece->n;
    return EMC_OK;
}
