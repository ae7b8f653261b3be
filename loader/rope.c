/* Which angles do positions turn heads by? */
#include <math.h>

#include "loader/config.h"

#define PI 3.14159265358979323846

int emc_model_context(const emc_model_config *config)
{
    int context = config->max_positions;

    if (config->rope.kind == EMC_ROPE_YARN) {
        const double scaled = config->rope.factor * config->rope.original_positions;
        if (scaled > context)
            context = (int)scaled;
    }
    return context;
}

/* The dimension that turns `rotations` times over the original context: Peng et al. 2023. */
static double corrected_dim(const emc_model_config *config, double rotations)
{
    return config->head_dim * log(config->rope.original_positions / (rotations * 2.0 * PI)) /
           (2.0 * log(config->rope_theta));
}

void emc_rope_frequencies(const emc_model_config *config, float *inv_freq, float *attention_factor)
{
    const emc_rope_scaling *rope = &config->rope;
    const float base = (float)config->rope_theta, dim = (float)config->head_dim;
    const float factor = (float)rope->factor;
    double low = 0.0, high = 0.0;

    *attention_factor = 1.0f;
    if (rope->kind == EMC_ROPE_YARN) {
        low = corrected_dim(config, rope->beta_fast);
        high = corrected_dim(config, rope->beta_slow);
        if (rope->truncate) {
            low = floor(low);
            high = ceil(high);
        }
        low = low > 0.0 ? low : 0.0;
        high = high < config->head_dim - 1 ? high : config->head_dim - 1;
        if (low == high)
            high += 0.001; /* the reference library's guard against 0 / 0 */
        *attention_factor = (float)(rope->attention_factor > 0.0 ? rope->attention_factor
                                                                 : 0.1 * log(rope->factor) + 1.0);
    }
    for (int i = 0; i < config->head_dim / 2; i++) {
        const float pos_freq = powf(base, (float)(2 * i) / dim);
        inv_freq[i] = 1.0f / pos_freq;
        if (rope->kind == EMC_ROPE_YARN) {
            const float ramp =
                fminf(fmaxf(((float)i - (float)low) / (float)(high - low), 0.0f), 1.0f);
            const float kept = 1.0f - ramp;
            inv_freq[i] = 1.0f / (factor * pos_freq) * (1.0f - kept) + 1.0f / pos_freq * kept;
        }
    }
}
