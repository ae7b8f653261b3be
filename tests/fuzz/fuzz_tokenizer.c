/* tokenizer.json, or vocab.json with merges.txt, and a text through what they give. */
#include <string.h>

#include "fuzz.h"
#include "tokenizer/tokenizer.h"

static void use(const emc_tokenizer *tok)
{
    static const char text[] =
        "<|im_start|>user\nACTB, SOX2 na\xc3\xafve 123  \xe4\xb8\xad<|im_end|>";
    emc_ids ids = {0};
    emc_text back = {0};

    fuzz_check(emc_tokenizer_encode(tok, text, sizeof text - 1, EMC_TOKENS_ADDED, &ids), NULL);
    for (size_t i = 0; i < ids.n; i++)
        fuzz_require(emc_tokenizer_has_token(tok, ids.ids[i]), "an id has a token");
    fuzz_check(emc_tokenizer_decode(tok, ids.ids, ids.n, false, &back), NULL);
    emc_ids_free(&ids);
    emc_text_free(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                        "tokenizer_config.json", "generation_config.json"};
    const char *dir =
        fuzz_files((fuzz_input){data, n_bytes}, "tokenizer", names, EMC_COUNT(names), false);
    emc_tokenizer *tok;
    const emc_status status = emc_tokenizer_open(&tok, dir);

    fuzz_check(status, dir);
    fuzz_require((status == EMC_OK) == (tok != NULL), "a failed open leaves nothing");
    if (tok)
        use(tok);
    emc_tokenizer_close(tok);
    return 0;
}
