/* loader/checkpoint: folders as the reference library saves them, and broken ones. */
#include "emt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "loader/checkpoint.h"

static cJSON *expected(const char *part)
{
    static char path[8192];
    size_t n;
    cJSON *all, *wanted;

    snprintf(path, sizeof path, "%s", emt_golden("loader/expected.json"));
    char *text = emt_read(path, &n);
    EMT_OK(emc_json_parse(&all, text, n, path));
    free(text);
    wanted = cJSON_DetachItemFromObjectCaseSensitive(all, part);
    assert_non_null(wanted);
    cJSON_Delete(all);
    return wanted;
}

static uint64_t byte_sum(const emc_tensor *tensor)
{
    const unsigned char *bytes = tensor->data;
    uint64_t sum = 0;

    for (size_t i = 0; i < tensor->n_bytes; i++)
        sum += bytes[i];
    return sum;
}

static void expect_tensor(const cJSON *tensors, const char *name, const emc_tensor *tensor)
{
    const cJSON *wanted = emc_json_member(tensors, name), *dim;
    int n_dims = 0;

    assert_non_null(wanted);
    assert_non_null(tensor);
    assert_string_equal(tensor->name, name);
    assert_string_equal(strrchr(tensor->file, '/') + 1,
                        emc_json_member(wanted, "file")->valuestring);
    assert_string_equal(emc_dtype_name(tensor->dtype),
                        emc_json_member(wanted, "dtype")->valuestring);
    cJSON_ArrayForEach(dim, emc_json_member(wanted, "shape"))
        assert_int_equal(tensor->dims[n_dims++], dim->valueint);
    assert_int_equal(tensor->n_dims, n_dims);
    assert_true(byte_sum(tensor) == (uint64_t)emc_json_member(wanted, "byte_sum")->valuedouble);
}

static void test_golden_checkpoints(void **state)
{
    (void)state;
    cJSON *all = expected("checkpoints");
    const cJSON *tensors;

    cJSON_ArrayForEach(tensors, all)
    {
        char folder[256], name[128];
        emc_checkpoint *c;
        int n = 2;

        snprintf(folder, sizeof folder, "loader/%s", tensors->string);
        EMT_OK(emc_checkpoint_open(&c, emt_golden(folder)));
        const emc_weights *w = emc_checkpoint_weights(c);
        expect_tensor(tensors, "model.embed_tokens.weight", w->embed);
        expect_tensor(tensors, "model.norm.weight", w->norm);
        if (emc_checkpoint_config(c)->tie_embeddings) {
            assert_null(w->head);
        } else {
            expect_tensor(tensors, "lm_head.weight", w->head);
            n++;
        }
        for (int i = 0; i < emc_checkpoint_config(c)->n_layers; i++) {
            const emc_layer_weights *l = &w->layers[i];
            const struct {
                const char *name;
                const emc_tensor *tensor;
            } parts[] = {
                {"input_layernorm", l->input_norm}, {"self_attn.q_proj", l->q},
                {"self_attn.k_proj", l->k},         {"self_attn.v_proj", l->v},
                {"self_attn.q_norm", l->q_norm},    {"self_attn.k_norm", l->k_norm},
                {"self_attn.o_proj", l->o},         {"post_attention_layernorm", l->post_norm},
                {"mlp.gate_proj", l->gate},         {"mlp.up_proj", l->up},
                {"mlp.down_proj", l->down},
            };
            for (size_t j = 0; j < EMC_COUNT(parts); j++, n++) {
                snprintf(name, sizeof name, "model.layers.%d.%s.weight", i, parts[j].name);
                expect_tensor(tensors, name, parts[j].tensor);
            }
        }
        assert_int_equal(n, cJSON_GetArraySize(tensors));
        emc_checkpoint_close(c);
    }
    cJSON_Delete(all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_checkpoints),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
