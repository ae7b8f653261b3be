/*
 * How does a row look at its keys?
 *
 * A task is one item, one K/V head and up to CPU_QUERIES query vectors (rows times the heads that
 * share that K/V head). It walks the key tiles in their order: prefix, own, path. A tile of K is
 * widened to f32 and transposed, so that scores of neighbouring keys lie side by side; a tile of V
 * is widened. Every query keeps a running maximum, sum of weights and sum of weighted values
 * (Milakov and Gimelshein 2018, arXiv:1805.02867).
 *
 * A query's numbers are sums in the order of dimensions and keys, with the same operations whether
 * it is computed alone or beside others, and a key that it does not see is never multiplied: so its
 * bits, and a NaN in another row, stay its own.
 */
#include <string.h>

#include "kernels/cpu/device.h"
#include "kernels/cpu/math.h"

#define KEYS   EMC_PAGE_POSITIONS
#define BESIDE 4 /* queries computed side by side */
#define FOUR   4 /* keys brought in together */
#if CPU_LANES == 16
#define STRIP 4 /* vectors of keys or values computed side by side: 16 sums in 32 registers */
#else
#define STRIP 2
#endif
#define STRIP_LANES (STRIP * CPU_LANES)
#define PIECE       CPU_PIECE /* whole strips; head_dim is padded to it */

typedef struct {
    emc_dtype dtype;
    const emc_attention_args *args;
    cpu_worker *workers;
    int group;         /* query heads of a K/V head */
    int heads;         /* of them in a task */
    int n_head_blocks; /* tasks that share the group */
    int rows;          /* rows in a task */
    int n_row_blocks;  /* tasks that share the longest item */
    int padded;        /* head_dim, to whole strips */
} job;

typedef struct {
    const job *j;
    cpu_attention_scratch *s;
    int kv_head;
    int row0, n_rows; /* rows of q */
    int head0, n_heads;
    int n_queries; /* query i: row row0 + i / n_heads, head head0 + i % n_heads */
} task;

/* scores[q][key] for n_beside queries and a strip of keys. */
static inline void score_strip(cpu_attention_scratch *s, int query, int n_beside, int key, int dim)
{
    cpu_vec sum[BESIDE][STRIP] = {0};
    const float(*keys)[PIECE] = s->keys[key / PIECE];

    for (int d = 0; d < dim; d++) {
        cpu_vec k[STRIP];
        for (int v = 0; v < STRIP; v++)
            k[v] = cpu_load(&keys[d][key % PIECE + v * CPU_LANES]);
        for (int q = 0; q < n_beside; q++) {
            const cpu_vec x = cpu_all(s->queries[query + q][d]);
            for (int v = 0; v < STRIP; v++)
                sum[q][v] = cpu_fma(x, k[v], sum[q][v]);
        }
    }
    for (int q = 0; q < n_beside; q++)
        for (int v = 0; v < STRIP; v++)
            cpu_store(&s->scores[query + q][key + v * CPU_LANES], sum[q][v]);
}

/* sums[q][d] += sum over keys from `key` to `end` of scores[q][key] values[key][d], for a strip of
 * values and n_beside queries. */
static inline void weigh_strip(cpu_attention_scratch *s, int query, int n_beside, int d, int key,
                               int end)
{
    cpu_vec sum[BESIDE][STRIP];
    const float(*values)[PIECE] = s->values[d / PIECE];

    for (int q = 0; q < n_beside; q++)
        for (int v = 0; v < STRIP; v++)
            sum[q][v] = cpu_load(&s->sums[query + q][d + v * CPU_LANES]);
    for (; key < end; key++) {
        cpu_vec value[STRIP];
        for (int v = 0; v < STRIP; v++)
            value[v] = cpu_load(&values[key][d % PIECE + v * CPU_LANES]);
        for (int q = 0; q < n_beside; q++) {
            const cpu_vec p = cpu_all(s->scores[query + q][key]);
            for (int v = 0; v < STRIP; v++)
                sum[q][v] = cpu_fma(p, value[v], sum[q][v]);
        }
    }
    for (int q = 0; q < n_beside; q++)
        for (int v = 0; v < STRIP; v++)
            cpu_store(&s->sums[query + q][d + v * CPU_LANES], sum[q][v]);
}

/* Scores of one query become weights, relative to its new maximum. */
static void soften(cpu_attention_scratch *s, int query, int padded)
{
    float *score = s->scores[query], *sums = s->sums[query];
    const int seen = s->seen[query];
    float max[16], total[16] = {0};

    if (seen == 0)
        return;
    for (int key = seen; key < KEYS; key++)
        score[key] = -INFINITY;
    for (int l = 0; l < 16; l++)
        max[l] = score[l];
    for (int key = 16; key < KEYS; key += 16)
        for (int l = 0; l < 16; l++)
            max[l] = score[key + l] > max[l] ? score[key + l] : max[l];
    for (int width = 8; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            max[l] = max[l + width] > max[l] ? max[l + width] : max[l];
    const float highest = max[0] > s->max[query] ? max[0] : s->max[query];
    const float shrink = cpu_exp(s->max[query] - highest);
    for (int key = 0; key < KEYS; key += 16) {
        for (int l = 0; l < 16; l++) {
            score[key + l] = cpu_exp(score[key + l] - highest);
            total[l] += score[key + l];
        }
    }
    for (int width = 8; width > 0; width /= 2)
        for (int l = 0; l < width; l++)
            total[l] += total[l + width];
    s->max[query] = highest;
    s->weight[query] = s->weight[query] * shrink + total[0];
    for (int d = 0; d < padded; d++)
        sums[d] *= shrink;
}

/* The inner loops with their number of queries fixed, so that the sums stay in registers. */
static void score(cpu_attention_scratch *s, int query, int beside, int key, int dim)
{
    if (beside > 2)
        score_strip(s, query, BESIDE, key, dim);
    else if (beside == 2)
        score_strip(s, query, 2, key, dim);
    else
        score_strip(s, query, 1, key, dim);
}

static void weigh(cpu_attention_scratch *s, int query, int beside, int d, int together)
{
    if (beside == BESIDE)
        weigh_strip(s, query, BESIDE, d, 0, together);
    else if (beside == 2)
        weigh_strip(s, query, 2, d, 0, together);
    else
        together = 0;
    for (int q = 0; q < beside; q++)
        weigh_strip(s, query + q, 1, d, together, s->seen[query + q]);
}

/* Takes one tile of keys and values, already in s, into queries `first` to `first + n`. */
static void take_tile(const task *t, int first, int n)
{
    cpu_attention_scratch *s = t->s;
    const int padded = t->j->padded, dim = t->j->args->head_dim;

    for (int query = first; query < first + n; query += BESIDE) {
        const int left = first + n - query, beside = left < BESIDE ? left : BESIDE;
        int least = s->seen[query], most = least;
        for (int q = 1; q < beside; q++) {
            least = s->seen[query + q] < least ? s->seen[query + q] : least;
            most = s->seen[query + q] > most ? s->seen[query + q] : most;
        }
        for (int key = 0; key < most; key += STRIP_LANES)
            score(s, query, beside, key, dim);
        for (int q = 0; q < beside; q++)
            soften(s, query + q, padded);
        for (int d = 0; d < padded; d += STRIP_LANES)
            weigh(s, query, beside, d, least);
    }
}

static size_t cache_place(const task *t, int slot)
{
    const emc_attention_args *args = t->j->args;
    const size_t page = (size_t)(slot / KEYS), position = (size_t)(slot % KEYS);

    return ((page * (size_t)args->n_kv_heads + (size_t)t->kv_head) * KEYS + position) *
           (size_t)args->head_dim;
}

/* Brings up to FOUR keys and values into s, as numbers `place` and on of the tile. */
static void take_keys(const task *t, int place, const int *slots, int n)
{
    const job *j = t->j;
    const size_t dim = (size_t)j->args->head_dim;
    float key[FOUR][EMC_MAX_HEAD_DIM];

    for (int i = 0; i < n; i++) {
        const size_t at = cache_place(t, slots[i]);
        cpu_widen(key[i], cpu_at(j->args->k_cache, j->dtype, at), j->dtype, dim);
        for (size_t d = 0; d < dim; d += PIECE)
            cpu_widen(t->s->values[d / PIECE][place + i],
                      cpu_at(j->args->v_cache, j->dtype, at + d), j->dtype,
                      dim - d < PIECE ? dim - d : PIECE);
    }
    for (int i = n; i < FOUR; i++) /* scores that nobody will see */
        memset(key[i], 0, dim * sizeof(float));
    for (size_t d = 0; d < dim; d += 4)
        cpu_transpose4(&t->s->keys[place / PIECE][d][place % PIECE], PIECE, &key[0][d],
                       EMC_MAX_HEAD_DIM);
}

/* All keys of a segment that starts at page_table[first_page]; row i of the task sees
 * n + i * step of them. */
static void take_segment(const task *t, int first_page, int n, int step)
{
    const job *j = t->j;
    const int last = n + step * (t->n_rows - 1);

    for (int key0 = 0; key0 < last; key0 += KEYS) {
        const int slot0 = j->args->page_table[first_page + key0 / KEYS] * KEYS;
        for (int key = 0; key < KEYS && key0 + key < last; key += FOUR) {
            const int slots[FOUR] = {slot0 + key, slot0 + key + 1, slot0 + key + 2,
                                     slot0 + key + 3};
            const int left = last - key0 - key;
            take_keys(t, key, slots, left < FOUR ? left : FOUR);
        }
        for (int i = 0; i < t->n_queries; i++) {
            const int seen = n + i / t->n_heads * step - key0;
            t->s->seen[i] = seen < 0 ? 0 : seen < KEYS ? seen : KEYS;
        }
        take_tile(t, 0, t->n_queries);
    }
}

static void take_paths(const task *t)
{
    const emc_attention_args *args = t->j->args;

    for (int i = 0; i < t->n_rows; i++) {
        const int row = t->row0 + i, n = args->path_lens[row];
        const int32_t *slots = args->path_slots + (size_t)row * EMC_MAX_PATH;
        if (n == 0)
            continue;
        for (int key = 0; key < n; key += FOUR)
            take_keys(t, key, slots + key, n - key < FOUR ? n - key : FOUR);
        for (int head = 0; head < t->n_heads; head++)
            t->s->seen[i * t->n_heads + head] = n;
        take_tile(t, i * t->n_heads, t->n_heads);
    }
}

static void begin(const task *t)
{
    const job *j = t->j;
    const emc_attention_args *args = j->args;
    const size_t dim = (size_t)args->head_dim;

    for (int i = 0; i < t->n_queries; i++) {
        const size_t row = (size_t)(t->row0 + i / t->n_heads);
        const size_t head = (size_t)(t->head0 + i % t->n_heads);
        float *query = t->s->queries[i];
        cpu_widen(query, cpu_at(args->q, j->dtype, row * (size_t)args->q_stride + head * dim),
                  j->dtype, dim);
        for (size_t d = 0; d < dim; d++)
            query[d] *= args->scale;
        memset(t->s->sums[i], 0, (size_t)j->padded * sizeof(float));
        t->s->max[i] = -INFINITY;
        t->s->weight[i] = 0.0f;
    }
}

static void finish(const task *t)
{
    const job *j = t->j;
    const emc_attention_args *args = j->args;
    const size_t dim = (size_t)args->head_dim;

    for (int i = 0; i < t->n_queries; i++) {
        const size_t row = (size_t)(t->row0 + i / t->n_heads);
        const size_t head = (size_t)(t->head0 + i % t->n_heads);
        const float scale = 1.0f / t->s->weight[i];
        for (size_t d = 0; d < dim; d++)
            t->s->sums[i][d] *= scale;
        cpu_narrow(cpu_at_mut(args->out, j->dtype, (row * (size_t)args->n_heads + head) * dim),
                   j->dtype, t->s->sums[i], dim);
    }
}

static emc_status run_task(void *context, int worker, int number)
{
    const job *j = context;
    const emc_attention_args *args = j->args;
    const int row_block = number % j->n_row_blocks, rest = number / j->n_row_blocks;
    const int head_block = rest % j->n_head_blocks, pair = rest / j->n_head_blocks;
    const emc_attention_item *item = &args->items[pair / args->n_kv_heads];
    const int row = row_block * j->rows, left = item->n_rows - row;

    if (left <= 0) /* the longest item has more blocks than this one */
        return EMC_OK;
    task t = {.j = j,
              .s = j->workers[worker].attention,
              .kv_head = pair % args->n_kv_heads,
              .row0 = item->row0 + row,
              .n_rows = left < j->rows ? left : j->rows};
    const int head_left = j->group - head_block * j->heads;
    t.n_heads = head_left < j->heads ? head_left : j->heads;
    t.head0 = t.kv_head * j->group + head_block * j->heads;
    t.n_queries = t.n_rows * t.n_heads;
    begin(&t);
    take_segment(&t, item->prefix_page, item->prefix_len, 0);
    take_segment(&t, item->own_page, item->own_seen + (item->causal ? row : 0), item->causal != 0);
    take_paths(&t);
    finish(&t);
    return EMC_OK;
}

emc_status cpu_attention(emc_device *dev, const emc_attention_args *args)
{
    job j = {.dtype = dev->dtype, .args = args, .workers = cpu_of(dev)->workers};
    int longest = 1;

    EMC_TRY(emc_check_attention(dev->dtype, args));
    for (int i = 0; i < args->n_items; i++)
        longest = args->items[i].n_rows > longest ? args->items[i].n_rows : longest;
    j.group = args->n_heads / args->n_kv_heads;
    j.heads = j.group < CPU_QUERIES ? j.group : CPU_QUERIES;
    j.n_head_blocks = cpu_items(j.group, j.heads);
    j.rows = CPU_QUERIES / j.heads;
    j.n_row_blocks = cpu_items(longest, j.rows);
    j.padded = cpu_items(args->head_dim, PIECE) * PIECE;
    return cpu_pool_run(cpu_of(dev)->pool, run_task, &j,
                        args->n_items * args->n_kv_heads * j.n_head_blocks * j.n_row_blocks);
}
