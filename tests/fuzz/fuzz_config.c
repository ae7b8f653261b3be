/* config.json and generation_config.json of a model. */
#include "fuzz.h"
#include "loader/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"config.json", "generation_config.json"};
    const char *dir =
        fuzz_files((fuzz_input){data, n_bytes}, "model", names, EMC_COUNT(names), false);
    emc_model_config config;
    const emc_status status = emc_model_config_read(&config, dir);

    fuzz_check(status, dir);
    if (status == EMC_OK) {
        fuzz_require(config.n_layers > 0 && config.n_heads > 0 && config.n_kv_heads > 0 &&
                         config.n_heads % config.n_kv_heads == 0 && config.head_dim > 0 &&
                         config.head_dim % 2 == 0 && config.vocab > 0 && config.hidden > 0,
                     "sizes that a model can have");
        fuzz_require(emc_model_context(&config) > 0, "a context");
    }
    return 0;
}
