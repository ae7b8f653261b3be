/*
 * Writes a random Qwen3 checkpoint of a published shape, so that speed and memory can be measured
 * without weights: config.json, model.safetensors (BF16) and, where a folder is given, links to
 * its tokenizer files. Its answers mean nothing.
 *
 * usage: make_checkpoint SIZE FOLDER [TOKENIZER_FOLDER]     SIZE: 0.6b 1.7b 4b 8b 14b 32b tiny
 */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/dtype.h"
#include "base/file.h"
#include "base/text.h"

#define VOCAB    151936
#define HEAD_DIM 128
#define BLOCK    65536 /* values written at once */

static const struct shape {
    const char *name;
    int hidden, ffn, layers, heads, kv_heads;
    bool tied;
} shapes[] = {
    {"0.6b", 1024, 3072, 28, 16, 8, true},  {"1.7b", 2048, 6144, 28, 16, 8, true},
    {"4b", 2560, 9728, 36, 32, 8, true},    {"8b", 4096, 12288, 36, 32, 8, false},
    {"14b", 5120, 17408, 40, 40, 8, false}, {"32b", 5120, 25600, 64, 64, 8, false},
    {"tiny", 256, 512, 2, 4, 2, true},
};

typedef struct {
    emc_text header;
    uint64_t offset;
    FILE *file;
    uint64_t random;
    bool failed;
} writer;

/* One tensor: its header entry (file NULL), or its bytes. A vector is a norm: all ones. */
static void tensor(writer *w, const char *name, int rows, int columns)
{
    const uint64_t n = (uint64_t)rows * (uint64_t)(columns ? columns : 1);
    static uint16_t block[BLOCK];
    char shape[32];

    if (!w->file) {
        if (columns)
            snprintf(shape, sizeof shape, "%d,%d", rows, columns);
        else
            snprintf(shape, sizeof shape, "%d", rows);
        w->failed |=
            emc_text_addf(&w->header,
                          "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%s],"
                          "\"data_offsets\":[%llu,%llu]}",
                          w->header.n > 1 ? "," : "", name, shape, (unsigned long long)w->offset,
                          (unsigned long long)(w->offset + 2 * n)) != EMC_OK;
        w->offset += 2 * n;
        return;
    }
    for (uint64_t done = 0; done < n; done += BLOCK) {
        const size_t m = n - done < BLOCK ? (size_t)(n - done) : BLOCK;
        for (size_t i = 0; i < m; i++) {
            /* The sum of four uniform 16-bit numbers is near enough to a normal one; the standard
             * deviation is 0.02, as the model family initialises. */
            uint64_t z = (w->random += 0x9E3779B97F4A7C15u);
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
            z = (z ^ z >> 27) * 0x94D049BB133111EBu;
            z ^= z >> 31;
            const int sum = (int)(z & 0xFFFF) + (int)(z >> 16 & 0xFFFF) + (int)(z >> 32 & 0xFFFF) +
                            (int)(z >> 48) - 2 * 0xFFFF;
            block[i] = emc_f32_to_bf16(columns ? (float)sum * (0.02f / 37837.0f) : 1.0f);
        }
        w->failed |= fwrite(block, 2, m, w->file) != m;
    }
}

static void all_tensors(writer *w, const struct shape *s)
{
    char name[96];

    tensor(w, "model.embed_tokens.weight", VOCAB, s->hidden);
    for (int i = 0; i < s->layers; i++) {
        const struct {
            const char *name;
            int rows, columns;
        } layer[] = {
            {"self_attn.q_proj", s->heads * HEAD_DIM, s->hidden},
            {"self_attn.k_proj", s->kv_heads * HEAD_DIM, s->hidden},
            {"self_attn.v_proj", s->kv_heads * HEAD_DIM, s->hidden},
            {"self_attn.o_proj", s->hidden, s->heads * HEAD_DIM},
            {"self_attn.q_norm", HEAD_DIM, 0},
            {"self_attn.k_norm", HEAD_DIM, 0},
            {"mlp.gate_proj", s->ffn, s->hidden},
            {"mlp.up_proj", s->ffn, s->hidden},
            {"mlp.down_proj", s->hidden, s->ffn},
            {"input_layernorm", s->hidden, 0},
            {"post_attention_layernorm", s->hidden, 0},
        };
        for (size_t j = 0; j < EMC_COUNT(layer); j++) {
            snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, layer[j].name);
            tensor(w, name, layer[j].rows, layer[j].columns);
        }
    }
    tensor(w, "model.norm.weight", s->hidden, 0);
    if (!s->tied)
        tensor(w, "lm_head.weight", VOCAB, s->hidden);
}

static bool write_config(const char *path, const struct shape *s)
{
    FILE *file = fopen(path, "w");

    if (!file)
        return false;
    fprintf(file,
            "{\"architectures\": [\"Qwen3ForCausalLM\"], \"model_type\": \"qwen3\",\n"
            " \"hidden_size\": %d, \"intermediate_size\": %d, \"num_hidden_layers\": %d,\n"
            " \"num_attention_heads\": %d, \"num_key_value_heads\": %d, \"head_dim\": %d,\n"
            " \"vocab_size\": %d, \"tie_word_embeddings\": %s, \"torch_dtype\": \"bfloat16\",\n"
            " \"hidden_act\": \"silu\", \"attention_bias\": false, \"rms_norm_eps\": 1e-06,\n"
            " \"rope_theta\": 1000000, \"max_position_embeddings\": 40960,\n"
            " \"bos_token_id\": 151643, \"eos_token_id\": 151645}\n",
            s->hidden, s->ffn, s->layers, s->heads, s->kv_heads, HEAD_DIM, VOCAB,
            s->tied ? "true" : "false");
    return fclose(file) == 0;
}

static bool write_weights(const char *path, const struct shape *s)
{
    writer w = {.random = 1};
    uint64_t n_header;

    w.failed = emc_text_add(&w.header, "{", 1) != EMC_OK;
    all_tensors(&w, s);
    w.failed |= emc_text_add(&w.header, "}", 1) != EMC_OK;
    while (w.header.n % 8 != 0)
        w.failed |= emc_text_add(&w.header, " ", 1) != EMC_OK;
    n_header = w.header.n;
    w.file = fopen(path, "wb");
    if (!w.file || w.failed || fwrite(&n_header, 8, 1, w.file) != 1 ||
        fwrite(w.header.bytes, 1, w.header.n, w.file) != w.header.n)
        w.failed = true;
    if (!w.failed)
        all_tensors(&w, s);
    if (w.file && fclose(w.file) != 0)
        w.failed = true;
    emc_text_free(&w.header);
    return !w.failed;
}

static bool link_tokenizer(const char *folder, const char *tokenizer)
{
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt",
                                        "tokenizer_config.json", "generation_config.json"};
    char *real = realpath(tokenizer, NULL);
    bool ok = real != NULL;

    for (size_t i = 0; ok && i < EMC_COUNT(names); i++) {
        char *from = NULL, *to = NULL;
        ok = emc_path_join(&from, real, names[i]) == EMC_OK &&
             emc_path_join(&to, folder, names[i]) == EMC_OK;
        if (ok && emc_file_exists(from) && symlink(from, to) != 0 && errno != EEXIST)
            ok = false;
        free(from);
        free(to);
    }
    free(real);
    return ok;
}

int main(int argc, char **argv)
{
    const struct shape *shape = NULL;
    char *config = NULL, *weights = NULL;

    for (size_t i = 0; argc >= 3 && i < EMC_COUNT(shapes); i++)
        if (strcmp(argv[1], shapes[i].name) == 0)
            shape = &shapes[i];
    if (!shape) {
        fprintf(stderr, "usage: make_checkpoint SIZE FOLDER [TOKENIZER_FOLDER]\n"
                        "SIZE: 0.6b 1.7b 4b 8b 14b 32b tiny\n");
        return 2;
    }
    if ((mkdir(argv[2], 0777) != 0 && errno != EEXIST) ||
        emc_path_join(&config, argv[2], "config.json") != EMC_OK ||
        emc_path_join(&weights, argv[2], "model.safetensors") != EMC_OK ||
        !write_config(config, shape) || !write_weights(weights, shape) ||
        (argc > 3 && !link_tokenizer(argv[2], argv[3]))) {
        fprintf(stderr, "make_checkpoint: %s: %s\n", argv[2], strerror(errno));
        return 73;
    }
    free(config);
    free(weights);
    return 0;
}
