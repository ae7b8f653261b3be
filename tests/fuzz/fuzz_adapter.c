/* A LoRA adapter as PEFT writes it, for a model of two layers. */
#include "fuzz.h"
#include "loader/adapter.h"

static void touch(const emc_tensor *tensor)
{
    const unsigned char *bytes = tensor ? tensor->data : NULL;
    volatile unsigned char sum = 0;

    for (size_t i = 0; tensor && i < tensor->n_bytes; i++)
        sum = (unsigned char)(sum + bytes[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors",
                                        "added_tokens.json"};
    static const emc_model_config config = {.n_layers = 2,
                                            .n_heads = 2,
                                            .n_kv_heads = 1,
                                            .head_dim = 4,
                                            .hidden = 8,
                                            .ffn = 16,
                                            .vocab = 16,
                                            .max_positions = 64,
                                            .rope_theta = 1e6,
                                            .rms_eps = 1e-6};
    const char *dir =
        fuzz_files((fuzz_input){data, n_bytes}, "adapter", names, EMC_COUNT(names), true);
    emc_adapter *adapter;
    const emc_status status = emc_adapter_open(&adapter, dir, &config);

    fuzz_check(status, dir);
    if (status == EMC_OK) {
        const emc_adapter_weights *weights = emc_adapter_get(adapter);
        touch(weights->embed.a);
        touch(weights->embed_weight);
        for (int i = 0; i < config.n_layers; i++)
            for (int k = 0; k < EMC_N_PROJ; k++) {
                touch(weights->layers[i].proj[k].a);
                touch(weights->layers[i].proj[k].b);
                touch(weights->layers[i].proj[k].magnitude);
                touch(weights->layers[i].replace.proj[k]);
            }
    }
    emc_adapter_close(adapter);
    return 0;
}
