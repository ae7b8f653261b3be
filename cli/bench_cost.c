/* What does a cell cost, counted by hand? */
#include "cli/bench.h"

double bench_flop(const emc_model_info *model, const bench_shape *shape, int label_tokens,
                  double n_choice_rows)
{
    const double hidden = model->hidden, layers = model->n_layers;
    const double q = (double)model->n_heads * model->head_dim;
    const double kv = 2.0 * model->n_kv_heads * model->head_dim;
    const double all = (q + kv) * hidden + q * hidden + 3.0 * hidden * model->ffn;
    const double pair = 4.0 * q; /* a query of every head with one key: scores, then values */
    const double prefix = shape->prefix, suffix = shape->suffix;
    const double inner = n_choice_rows;
    const double rows = suffix + inner, readers = 1.0 + inner;
    const double whole = prefix + suffix; /* keys that the last token of the prompt sees */
    /* A label has a row for all of its tokens but the last; the one at depth d sees d tokens of its
     * path, itself included: label_tokens / 2 in the mean. */
    const double path = 0.5 * n_choice_rows * label_tokens;
    const double reader_pairs = readers * whole + path;
    const double pairs = suffix * prefix + 0.5 * suffix * (suffix + 1.0) + inner * whole + path;

    return (layers - 1) * (2.0 * all * rows + pair * pairs) + 2.0 * kv * hidden * rows +
           2.0 * (all - kv * hidden) * readers + pair * reader_pairs +
           2.0 * hidden * model->vocab * readers;
}
