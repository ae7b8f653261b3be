#pragma once
/*
 * What every device offers: memory, weights, and the operations of the Qwen3 graph.
 *
 * The contract of an operation stands here once. Every device implements it, and the tests hold
 * every device to it through the same table entries that the model graph calls.
 *
 * T is the device's activation dtype, F32 or BF16, chosen when it is opened. Inside an operation
 * numbers are f32; a result is rounded to T once, at the store. Tensors are row-major without
 * gaps unless a stride is given (in elements), and lie in the device's memory at 16-byte aligned
 * addresses (arrays of int32, items, and what head gives back for a row: at their natural ones).
 * Operations are queued in order and not awaited; only download and sync wait. One thread at a time
 * calls a device; what its arguments point to must stay until the operation has ended.
 *
 * A row's result depends on that row's inputs alone, bit for bit: not on the other rows, the
 * number of rows, its place among them, or the number of threads. For products that promise holds
 * among calls with the same batch_rows.
 *
 * Errors of every operation: EMC_ERR_ARG when a stated limit is broken (nothing was queued),
 * EMC_ERR_DEVICE when the device failed; the message names the operation and the shape.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Positions of K and V in one page; also the tile of rows and keys that attention is anchored to.
 */
#define EMC_PAGE_POSITIONS 128

/* Tokens on one path of a choice (see emc_attention_args). */
#define EMC_MAX_PATH 64

/* Rows of one item of attention. */
#define EMC_MAX_ITEM_ROWS 128

/* Entries of emc_head_args.top_ids for a row. */
#define EMC_MAX_TOP 32

typedef struct emc_device emc_device;
typedef struct emc_matrix emc_matrix; /* weights [n, k] on a device */
typedef struct emc_lora emc_lora;     /* a low-rank update of a matrix, on a device */
typedef struct emc_event emc_event;   /* a place in the queue that can be waited for */
typedef struct emc_comm emc_comm;     /* a device's place among devices that compute together */

/* Rows of a matrix as a file holds them: [n_rows, k], no gaps, any alignment. */
typedef struct {
    const void *data; /* host memory; must stay valid and unchanged until the matrix is closed, on
                         a device that copies_weights until the next sync. NULL, on such a device:
                         the rows' numbers come by matrix_broadcast */
    emc_dtype dtype;
    int n_rows;
} emc_matrix_part;

/*
 * y += (x A^T) B^T, then y *= column_scale, for y = x W^T before its one rounding. (A BF16 device
 * may also round a and b, x A^T, its product with B^T, with the residual in it unless there is a
 * scale, and y before the scale, as PEFT does in bf16.)
 *
 *   a             f32 [rank, k]
 *   b             f32 [n, rank], the adapter's scale already in it
 *   column_scale  f32 [n], or NULL (DoRA: magnitude / norm of the updated weight's row)
 *
 * Host memory, copied by lora_open.
 */
typedef struct {
    const float *a;
    const float *b;
    const float *column_scale;
    int rank; /* >= 1 */
    int n;
    int k;
} emc_lora_spec;

/* out[r][j] = sum_i x[r][i] w[first + j][i]  (+ lora)  (+ residual[r][j]) */
typedef struct {
    void *out;            /* T [rows, n], or f32 where out_f32; must not overlap x */
    const void *x;        /* T [rows, k] */
    const emc_matrix *w;  /* [w_rows, k] */
    int first;            /* first row of w that is used */
    int n;                /* rows of w that are used; first + n <= w_rows */
    const emc_lora *lora; /* of the whole of w, or NULL */
    const void *residual; /* T [rows, n] or NULL; may be out itself. Added before the rounding */
    int rows;             /* >= 1 */
    int batch_rows;       /* rows that out, x and residual have room for, >= rows; 0: rows. Those
                             from `rows` on may be read, and written with anything */
    bool out_f32;         /* not rounded to T; then there is no residual */
} emc_linear_args;

/*
 * For each row r and head, with RMSNorm over the head's head_dim values (weights q_norm, k_norm):
 *
 *   q = rope(rmsnorm(q), positions[r])     in place
 *   k = rope(rmsnorm(k), positions[r])     stored at slots[r] of k_cache
 *   v                                      stored at slots[r] of v_cache
 *
 * rope pairs dimension i with i + head_dim/2: with (c, s) = rope_table[position][i],
 * out[i] = x[i] c - x[i+half] s; out[i+half] = x[i+half] c + x[i] s.
 *
 * One rounding to T after norm and rotation together (the reference library rounds between them).
 */
typedef struct {
    void *q;       /* T [rows, n_heads * head_dim] at row stride q_stride, or NULL: no q */
    const void *k; /* T [rows, n_kv_heads * head_dim] at row stride kv_stride, or NULL: no k, v */
    const void *v; /* as k */
    int q_stride;
    int kv_stride;
    const void *q_norm;       /* T [head_dim] */
    const void *k_norm;       /* T [head_dim] */
    const float *rope_table;  /* f32 [n_positions, head_dim / 2, 2]: cos, sin */
    const int32_t *positions; /* [rows], each in [0, n_positions) */
    const int32_t *slots;     /* [rows]; page * EMC_PAGE_POSITIONS + place in the page */
    void *k_cache;            /* T [n_pages, n_kv_heads, EMC_PAGE_POSITIONS, head_dim] */
    void *v_cache;            /* as k_cache */
    int rows;                 /* >= 1 */
    int n_heads;
    int n_kv_heads;
    int head_dim; /* a multiple of 8, at most 256 */
    float eps;
} emc_rope_args;

/* Rows that follow one another in q and belong to one sequence. All must be seen by the same
 * prefix and own pages; see emc_attention_args. */
typedef struct {
    int32_t row0;        /* first row in q and out */
    int32_t n_rows;      /* 1 to EMC_MAX_ITEM_ROWS */
    int32_t prefix_page; /* index of the first prefix page in page_table */
    int32_t prefix_len;  /* positions of the shared prefix; 0: none */
    int32_t own_page;    /* index of the first own page in page_table */
    int32_t own_seen;    /* own positions that row0 sees, itself included where it is one */
    int32_t causal;      /* 1: row i sees own_seen + i of them; 0: every row sees own_seen */
} emc_attention_item;

/*
 * out[r][h] = sum_j softmax_j(scale * q[r][h] . k_j) v_j over the keys that row r sees, with
 * K/V head h / (n_heads / n_kv_heads): every position of the prefix, then its part of the
 * sequence's own positions, then path_lens[r] slots named by path_slots[r][0..]. Position j of a
 * segment lies in the segment's page j / EMC_PAGE_POSITIONS. Keys are taken in that order, in
 * tiles of EMC_PAGE_POSITIONS anchored at the start of each segment.
 *
 * Every row of q belongs to exactly one item. Each row sees at least one key of the prefix or of
 * its own pages. A row's bits may depend on whether its item is causal: rows that are the same to
 * the caller must come the same way. A BF16 device may round a key's weight, relative to a largest
 * score, before it multiplies v_j.
 */
typedef struct {
    void *out;     /* T [rows, n_heads * head_dim]; must not overlap q */
    const void *q; /* T [rows, n_heads * head_dim] at row stride q_stride */
    int q_stride;
    const void *k_cache; /* T [n_pages, n_kv_heads, EMC_PAGE_POSITIONS, head_dim] */
    const void *v_cache;
    const emc_attention_item *items; /* device memory, [n_items]; the causal ones first */
    int n_items;                     /* >= 1 */
    int n_causal_items;              /* items with causal = 1 */
    int max_causal_rows;             /* no causal item has more rows; 0: there is none */
    int max_flat_rows;               /* no other item has more rows; 0: there is none */
    int max_flat_keys;               /* prefix_len + own_seen of no other item is more */
    const int32_t *page_table;       /* page numbers */
    const int32_t *path_slots;       /* [rows, EMC_MAX_PATH] */
    const int32_t *path_lens;        /* [rows], 0 to EMC_MAX_PATH */
    int rows;                        /* >= 1 */
    int n_heads;
    int n_kv_heads; /* divides n_heads */
    int head_dim;   /* a multiple of 8, at most 256 */
    float scale;    /* > 0 */
} emc_attention_args;

/*
 * logits[r][j] = sum_i x[r][i] w[j][i] (+ lora), f32, never rounded to T, for j in [0, vocab). Row
 * j of w has the id first_id + j: of a vocabulary that is cut into slices this is one.
 *
 * For each row: log_sum[r] = log sum_j exp(logits[r][j]) over all rows of w; top_ids[r] the n_top
 * ids below n_ids of the largest logits, falling, the lowest id first on a tie, -1 where there are
 * no more that are not NaN; and the logits of the ids
 * wanted[wanted_begin[r] .. wanted_begin[r + 1]), in that order, 0 for an id that w has not. The
 * full matrix is stored only where all_logits is given.
 */
typedef struct {
    const void *x;               /* T [rows, k] */
    const emc_matrix *w;         /* [vocab, k] */
    const emc_lora *lora;        /* or NULL */
    const int32_t *wanted_begin; /* [rows + 1], rising from 0 */
    const int32_t *wanted;       /* ids >= 0 */
    float *wanted_logits;        /* [wanted_begin[rows]] */
    float *log_sum;              /* [rows] */
    int32_t *top_ids;            /* [rows, n_top] */
    float *top_logits;           /* [rows, n_top] or NULL; undefined where the id is -1 */
    float *all_logits;           /* [rows, vocab] or NULL */
    int rows;                    /* >= 1 */
    int batch_rows;              /* rows that x has room for, as emc_linear_args */
    int first_id;                /* >= 0 */
    int n_ids; /* ids in use, 1 to first_id + vocab; the rows of w from here on are padding */
    int n_top; /* 1 to EMC_MAX_TOP */
} emc_head_args;

/*
 * What head gave for each of n_slices slices of one vocabulary, put together: log_sum over all of
 * them, and of their first top_ids (n_top is 1) the one of the largest logit, the lowest id on a
 * tie, -1 where all are. Slice s has its arrays `stride` elements behind those of slice s - 1, and
 * ids that rise from slice to slice.
 */
typedef struct {
    float *log_sum;              /* [rows] */
    int32_t *top_ids;            /* [rows] */
    const float *slice_log_sums; /* [rows] of the first slice */
    const int32_t *slice_ids;    /* as slice_log_sums */
    const float *slice_logits;   /* as slice_log_sums; undefined where the id is -1 */
    int stride;                  /* elements of 4 bytes, >= rows */
    int n_slices;                /* >= 1 */
    int rows;                    /* >= 1 */
} emc_merge_heads_args;

typedef struct {
    void (*close)(emc_device *dev); /* after everything that was opened on it; NULL is fine */

    /* 64-byte aligned, filled with zeros. EMC_ERR_DEVICE: not enough; the message names `what`. */
    emc_status (*alloc)(emc_device *dev, void **out, size_t n_bytes, const char *what);
    void (*release)(emc_device *dev, void *memory); /* NULL is fine */

    /* Free and whole memory in bytes; 0 and 0 where nobody can tell. */
    emc_status (*memory)(emc_device *dev, size_t *n_free, size_t *n_whole);

    /* upload: src may be reused on return. download: waits for all queued work first. */
    emc_status (*upload)(emc_device *dev, void *d_dst, const void *src, size_t n_bytes);
    emc_status (*download)(emc_device *dev, void *dst, const void *d_src, size_t n_bytes);
    emc_status (*sync)(emc_device *dev);

    /* Host memory that the device copies from and to without waiting. As alloc and release. */
    emc_status (*alloc_host)(emc_device *dev, void **out, size_t n_bytes, const char *what);
    void (*release_host)(emc_device *dev, void *memory);

    /* Copies in the queue, from and to memory of alloc_host: the host may touch it again when an
     * event that was recorded later has come. */
    emc_status (*upload_async)(emc_device *dev, void *d_dst, const void *src, size_t n_bytes);
    emc_status (*download_async)(emc_device *dev, void *dst, const void *d_src, size_t n_bytes);

    /* Queued. The two must not overlap. */
    emc_status (*copy)(emc_device *dev, void *d_dst, const void *d_src, size_t n_bytes);

    /* event_record marks the end of what is queued so far; recording again moves the mark.
     * event_wait waits until the queue has reached it. event_ms: milliseconds on the device from
     * one mark to a later one, both reached. */
    emc_status (*event_open)(emc_device *dev, emc_event **out);
    void (*event_close)(emc_device *dev, emc_event *event); /* NULL is fine */
    emc_status (*event_record)(emc_device *dev, emc_event *event);
    emc_status (*event_wait)(emc_device *dev, emc_event *event);
    emc_status (*event_ms)(emc_device *dev, const emc_event *from, const emc_event *to, float *ms);

    /* A matrix of the parts' rows, one after the other, used as if each weight were converted to
     * T (exact, or one rounding). A device may keep pointing to the parts' memory, and read it
     * until the next sync. k >= 1. */
    emc_status (*matrix_open)(emc_device *dev, emc_matrix **out, const emc_matrix_part *parts,
                              int n_parts, int k);
    void (*matrix_close)(emc_device *dev, emc_matrix *matrix);

    emc_status (*lora_open)(emc_device *dev, emc_lora **out, const emc_lora_spec *spec);
    void (*lora_close)(emc_device *dev, emc_lora *lora);

    /*
     * out[r] = table[ids[r]]  (+ lora: A^T's row ids[r] times B^T, for a table [vocab, dim] with
     * a [rank, vocab] and b [dim, rank]; column_scale must be NULL)
     *
     *   out    T [rows, dim]
     *   ids    int32 [rows], each in [0, vocab): the caller has checked them
     *
     * rows >= 1.
     */
    emc_status (*embed)(emc_device *dev, void *out, const emc_matrix *table, const emc_lora *lora,
                        const int32_t *ids, int rows);

    /*
     * out[r][i] = weight[i] * x[r][i] / sqrt(mean_j(x[r][j]^2) + eps)
     *
     *   out     T [rows, dim]  may be x itself; must not overlap it any other way
     *   x       T [rows, dim]
     *   weight  T [dim]
     *
     * rows >= 1; dim a positive multiple of 8. One rounding, at the store (the reference library
     * rounds before the weight, too). Formula: Zhang and Sennrich 2019, arXiv:1910.07467.
     */
    emc_status (*rmsnorm)(emc_device *dev, void *out, const void *x, const void *weight, int rows,
                          int dim, float eps);

    /*
     * x[r] = x[r] + y[r], rounded to T; out[r] = rmsnorm of the rounded x[r], as above.
     *
     *   out     T [rows, dim]  may be y itself; must not overlap x
     *   x       T [rows, dim]
     *   y       T [rows, dim]  must not overlap x
     */
    emc_status (*add_rmsnorm)(emc_device *dev, void *out, void *x, const void *y,
                              const void *weight, int rows, int dim, float eps);

    emc_status (*linear)(emc_device *dev, const emc_linear_args *args);
    emc_status (*rope_store)(emc_device *dev, const emc_rope_args *args);
    emc_status (*attention)(emc_device *dev, const emc_attention_args *args);

    /*
     * out[r][i] = silu(g) * u with g = gate_up[r][i], u = gate_up[r][ffn + i],
     * silu(g) = g / (1 + exp(-g)).
     *
     *   out      T [rows, ffn]  must not overlap gate_up
     *   gate_up  T [rows, 2 * ffn]
     *
     * rows >= 1; ffn a positive multiple of 8. Formula: Shazeer 2020, arXiv:2002.05202.
     */
    emc_status (*swiglu)(emc_device *dev, void *out, const void *gate_up, int rows, int ffn);

    /* out[i] = x[index[i]]: T [n, dim] from T [*, dim]; index int32 [n], in device memory. n and
     * dim >= 1; out must not overlap x. */
    emc_status (*gather_rows)(emc_device *dev, void *out, const void *x, const int32_t *index,
                              int n, int dim);

    emc_status (*head)(emc_device *dev, const emc_head_args *args);
    emc_status (*merge_heads)(emc_device *dev, const emc_merge_heads_args *args);

    /*
     * Places for n distinct devices of this kind, out[i] for devices[i], its rank is i. deadline_s:
     * the longest that opening, or any rank in a collective, may wait for the others; above 0.
     * GPUs use NCCL, whose order of sums is a promise only with NCCL_ALGO=Ring and
     * NCCL_NVLS_ENABLE=0 in the environment before its first call. EMC_ERR_DEVICE: no library for
     * it, too old a one, or it failed. close: when no rank calls any more.
     */
    emc_status (*comms_open)(emc_comm **out, emc_device *const *devices, int n, double deadline_s);
    void (*comm_close)(emc_device *dev, emc_comm *comm); /* NULL is fine */

    /* From any thread: whoever waits in the group, or comes later, gets EMC_ERR_LOST. */
    void (*comm_abort)(emc_comm *comm);

    /*
     * Collectives. Every rank calls the same ones in the same order, each on its own device and
     * from a thread of its own. The results are the same bits on every rank, and the same whenever
     * n is. EMC_ERR_LOST, here or from what waits for the queue later: a rank failed, did not come
     * before the deadline, or the group was aborted; then it is of no use any more.
     */

    /* x[i] = sum over ranks of their x[i], n elements of `dtype`, F32 or BF16; sums in f32, or in
     * BF16 rounded on the way from rank to rank. */
    emc_status (*all_reduce)(emc_device *dev, emc_comm *comm, void *x, size_t n, emc_dtype dtype);

    /* Rank r's n_bytes of x at out + r * n_bytes. x may lie there itself, else apart from out. */
    emc_status (*all_gather)(emc_device *dev, emc_comm *comm, void *out, const void *x,
                             size_t n_bytes);

    /* n_bytes of rank 0's x to every other's. */
    emc_status (*broadcast)(emc_device *dev, emc_comm *comm, void *x, size_t n_bytes);

    /* The same for a matrix of one shape on all ranks, of a device that copies_weights. */
    emc_status (*matrix_broadcast)(emc_device *dev, emc_comm *comm, emc_matrix *matrix);

    /* out[i] = x[i] rounded to T: T [n] from f32 [n]; they must not overlap. n >= 1. */
    emc_status (*round)(emc_device *dev, void *out, const float *x, size_t n);

    /*
     * What the first call with these sizes would do beside the operation itself: choose how it is
     * run, take scratch memory. Calls with the same sizes, or fewer rows, items and keys, then
     * allocate nothing and wait for nothing. Of the memory that args point to only matrices and
     * updates are looked at; of other pointers only whether they are NULL. Calls that were not
     * prepared work, too. Waits for the device.
     */
    emc_status (*prepare_linear)(emc_device *dev, const emc_linear_args *args);
    emc_status (*prepare_attention)(emc_device *dev, const emc_attention_args *args);
    emc_status (*prepare_head)(emc_device *dev, const emc_head_args *args);

    /* Everything that was chosen by measuring and that bits depend on, as one line of JSON.
     * Borrowed until the next call. "{}": nothing. */
    const char *(*chosen)(emc_device *dev);

    /* From now on as another device of the same kind chose: what its `chosen` gave. EMC_ERR_CONFIG:
     * damaged, or of another kind of machine. */
    emc_status (*adopt)(emc_device *dev, const char *chosen);
} emc_ops;

/* Every device begins with this. */
struct emc_device {
    const emc_ops *ops;
    emc_dtype dtype;       /* T */
    char description[192]; /* for people and for run.json: name, instruction set, threads */
    int step_rows;         /* rows of a step that suit it, a multiple of EMC_PAGE_POSITIONS */
    int reader_rows;       /* rows whose logits are read in a step, likewise; 0: all of them */
    bool copies_weights;   /* matrices are copies of their parts */
    bool adds_in_norm;     /* add_rmsnorm is faster for it than linear with a residual */
    bool at_once;          /* every operation has ended when it returns: nothing is ever queued */
};

#ifdef __cplusplus
}
#endif
