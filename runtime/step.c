/*
 * Host and device hold the same arrays at the same offsets of one block each, so that the layout
 * is written once.
 */
#include "runtime/step.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define ALIGNMENT 64

/* The next array of n items; every device aligns its blocks so. */
static void *carve(char *base, size_t *place, size_t n, size_t size)
{
    char *array = base ? base + *place : NULL;

    *place += (n * size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return array;
}

/* Lays the arrays out from `base`, which may be NULL; returns their bytes. */
static size_t lay_out(emc_step_arrays *a, char *base, const emc_step_limits *limits)
{
    const size_t rows = (size_t)limits->max_rows, readers = (size_t)limits->max_readers;
    const size_t wanted = (size_t)limits->max_wanted, pages = (size_t)limits->max_pages;
    const size_t word = sizeof(int32_t), item = sizeof(emc_attention_item);
    size_t place = 0;

    a->tokens = carve(base, &place, rows, word);
    a->positions = carve(base, &place, rows, word);
    a->slots = carve(base, &place, rows, word);
    a->path_lens = carve(base, &place, rows, word);
    a->path_slots = carve(base, &place, rows * EMC_MAX_PATH, word);
    a->items = carve(base, &place, rows, item);
    a->page_table = carve(base, &place, pages, word);
    a->reader_rows = carve(base, &place, readers, word);
    a->reader_positions = carve(base, &place, readers, word);
    a->reader_path_lens = carve(base, &place, readers, word);
    a->reader_path_slots = carve(base, &place, readers * EMC_MAX_PATH, word);
    a->reader_items = carve(base, &place, readers, item);
    a->wanted_begin = carve(base, &place, readers + 1, word);
    a->wanted = carve(base, &place, wanted, word);
    a->wanted_logits = carve(base, &place, wanted, sizeof(float));
    a->log_sums = carve(base, &place, readers, sizeof(float));
    a->best = carve(base, &place, readers, word);
    return place;
}

size_t emc_step_bytes(const emc_step_limits *limits)
{
    emc_step_arrays arrays;

    return lay_out(&arrays, NULL, limits);
}

static emc_status open_step(emc_step *step)
{
    const emc_ops *ops = step->dev->ops;
    const size_t n_bytes = emc_step_bytes(&step->limits);

    EMC_TRY(ops->alloc_host(step->dev, &step->host_memory, n_bytes, "a step"));
    EMC_TRY(ops->alloc(step->dev, &step->device_memory, n_bytes, "a step"));
    lay_out(&step->host, step->host_memory, &step->limits);
    lay_out(&step->device, step->device_memory, &step->limits);
    EMC_TRY(ops->event_open(step->dev, &step->begin));
    return ops->event_open(step->dev, &step->end);
}

emc_status emc_step_open(emc_step **out, emc_device *dev, const emc_step_limits *limits)
{
    emc_step *step = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&step, 1, sizeof *step, "a step"));
    step->dev = dev;
    step->limits = *limits;
    status = open_step(step);
    if (status != EMC_OK) {
        emc_step_close(step);
        return status;
    }
    emc_step_clear(step);
    *out = step;
    return EMC_OK;
}

void emc_step_close(emc_step *step)
{
    if (!step)
        return;
    step->dev->ops->event_close(step->dev, step->begin);
    step->dev->ops->event_close(step->dev, step->end);
    step->dev->ops->release(step->dev, step->device_memory);
    step->dev->ops->release_host(step->dev, step->host_memory);
    free(step);
}

void emc_step_clear(emc_step *step)
{
    step->n_rows = step->n_readers = step->n_wanted = step->n_pages = 0;
    step->first_path_row = step->limits.max_rows;
    step->last_path_row = -1;
    step->items = step->reader_items = (emc_step_items){0};
    step->copied = 0;
    step->host.wanted_begin[0] = 0;
}

int emc_step_add_pages(emc_step *step, const int32_t *pages, int n)
{
    const int first = step->n_pages;

    assert(first + n <= step->limits.max_pages);
    memcpy(step->host.page_table + first, pages, (size_t)n * sizeof *pages);
    step->n_pages += n;
    return first;
}

int emc_step_add_row(emc_step *step, int32_t token, int position, int32_t slot, const int32_t *path,
                     int path_len)
{
    const int row = step->n_rows++;

    assert(row < step->limits.max_rows && path_len <= EMC_MAX_PATH);
    step->host.tokens[row] = token;
    step->host.positions[row] = position;
    step->host.slots[row] = slot;
    step->host.path_lens[row] = path_len;
    step->items.n_pairs += path_len;
    if (path_len > 0) {
        memcpy(step->host.path_slots + (size_t)row * EMC_MAX_PATH, path,
               (size_t)path_len * sizeof *path);
        if (row < step->first_path_row)
            step->first_path_row = row;
        step->last_path_row = row;
    }
    return row;
}

/* Where the next item goes in `array` of n: causal ones from its beginning, the others from its
 * end, until finish_items brings them together. */
static emc_attention_item *next_item(emc_step_items *items, emc_attention_item *array, int n,
                                     bool causal)
{
    const int n_flat = items->n_items - items->n_causal_items;

    assert(items->n_items < n);
    items->n_items++;
    return &array[causal ? items->n_causal_items++ : n - 1 - n_flat];
}

static void add_items(emc_step_items *items, emc_attention_item *array, int n,
                      const emc_attention_item *item)
{
    const int most = item->causal ? EMC_MAX_ITEM_ROWS : EMC_FLAT_ROWS;
    int *max_rows = item->causal ? &items->max_causal_rows : &items->max_flat_rows;

    assert(!item->causal || (item->own_seen - 1) % EMC_PAGE_POSITIONS == 0);
    for (int first = 0; first < item->n_rows; first += most) {
        const int left = item->n_rows - first, rows = left < most ? left : most;
        emc_attention_item *cut = next_item(items, array, n, item->causal);
        const int keys = item->prefix_len + item->own_seen;

        *cut = *item;
        cut->row0 += first;
        cut->n_rows = rows;
        if (rows > *max_rows)
            *max_rows = rows;
        items->n_pairs += (double)rows * keys;
        if (item->causal) {
            cut->own_seen += first;
            items->n_pairs += (double)rows * first + 0.5 * rows * (rows - 1);
        } else if (keys > items->max_flat_keys) {
            items->max_flat_keys = keys;
        }
    }
}

static int most_keys_first(const void *a, const void *b)
{
    const emc_attention_item *x = a, *y = b;
    const int64_t x_keys = (int64_t)x->prefix_len + x->own_seen + x->n_rows;
    const int64_t y_keys = (int64_t)y->prefix_len + y->own_seen + y->n_rows;

    return x_keys != y_keys ? (x_keys < y_keys) - (x_keys > y_keys)
                            : (x->row0 > y->row0) - (x->row0 < y->row0);
}

/* Puts the items of an array of n one behind the other. A device begins with the first, so the
 * causal ones with the most work come first: what runs last, beside idle processors, is short. */
static void finish_items(const emc_step_items *items, emc_attention_item *array, int n)
{
    const int n_flat = items->n_items - items->n_causal_items;

    qsort(array, (size_t)items->n_causal_items, sizeof *array, most_keys_first);
    memmove(array + items->n_causal_items, array + n - n_flat, (size_t)n_flat * sizeof *array);
}

void emc_step_add_items(emc_step *step, const emc_attention_item *item)
{
    add_items(&step->items, step->host.items, step->limits.max_rows, item);
}

int emc_step_add_reader(emc_step *step, const int32_t *wanted, int n)
{
    const int row = step->n_rows - 1, reader = step->n_readers++;
    const int path_len = step->host.path_lens[row];

    assert(reader < step->limits.max_readers && step->n_wanted + n <= step->limits.max_wanted);
    step->host.reader_rows[reader] = row;
    step->host.reader_positions[reader] = step->host.positions[row];
    step->host.reader_path_lens[reader] = path_len;
    step->reader_items.n_pairs += path_len;
    memcpy(step->host.reader_path_slots + (size_t)reader * EMC_MAX_PATH,
           step->host.path_slots + (size_t)row * EMC_MAX_PATH, (size_t)path_len * sizeof(int32_t));
    if (n > 0)
        memcpy(step->host.wanted + step->n_wanted, wanted, (size_t)n * sizeof *wanted);
    step->n_wanted += n;
    step->host.wanted_begin[reader + 1] = step->n_wanted;
    return reader;
}

void emc_step_add_reader_items(emc_step *step, const emc_attention_item *item)
{
    add_items(&step->reader_items, step->host.reader_items, step->limits.max_readers, item);
}

/* Items first .. first + n - 1 of an array. */
static emc_status send(emc_step *step, void *d_array, const void *array, int first, int n,
                       size_t size)
{
    const size_t place = (size_t)first * size, n_bytes = (size_t)n * size;

    if (n <= 0)
        return EMC_OK;
    step->copied += (double)n_bytes;
    return step->dev->ops->upload_async(step->dev, (char *)d_array + place,
                                        (const char *)array + place, n_bytes);
}

static emc_status send_rows(emc_step *step)
{
    const emc_step_arrays *h = &step->host, *d = &step->device;
    const size_t word = sizeof(int32_t);
    const int rows = step->n_rows;

    finish_items(&step->items, h->items, step->limits.max_rows);
    EMC_TRY(send(step, d->tokens, h->tokens, 0, rows, word));
    EMC_TRY(send(step, d->positions, h->positions, 0, rows, word));
    EMC_TRY(send(step, d->slots, h->slots, 0, rows, word));
    EMC_TRY(send(step, d->path_lens, h->path_lens, 0, rows, word));
    /* The largest array by far: nobody looks at the slots of a row without a path. */
    EMC_TRY(send(step, d->path_slots, h->path_slots, step->first_path_row,
                 step->last_path_row + 1 - step->first_path_row, EMC_MAX_PATH * word));
    EMC_TRY(send(step, d->items, h->items, 0, step->items.n_items, sizeof *h->items));
    return send(step, d->page_table, h->page_table, 0, step->n_pages, word);
}

emc_status emc_step_upload(emc_step *step)
{
    const emc_step_arrays *h = &step->host, *d = &step->device;
    const size_t word = sizeof(int32_t);
    const int readers = step->n_readers;

    EMC_TRY(send_rows(step));
    if (readers == 0)
        return EMC_OK;
    finish_items(&step->reader_items, h->reader_items, step->limits.max_readers);
    EMC_TRY(send(step, d->reader_rows, h->reader_rows, 0, readers, word));
    EMC_TRY(send(step, d->reader_positions, h->reader_positions, 0, readers, word));
    EMC_TRY(send(step, d->reader_path_lens, h->reader_path_lens, 0, readers, word));
    if (step->last_path_row >= 0)
        EMC_TRY(send(step, d->reader_path_slots, h->reader_path_slots, 0, readers,
                     EMC_MAX_PATH * word));
    EMC_TRY(send(step, d->reader_items, h->reader_items, 0, step->reader_items.n_items,
                 sizeof *h->reader_items));
    EMC_TRY(send(step, d->wanted_begin, h->wanted_begin, 0, readers + 1, word));
    return send(step, d->wanted, h->wanted, 0, step->n_wanted, word);
}

static emc_status bring(emc_step *step, void *array, const void *d_array, int n, size_t size)
{
    const size_t n_bytes = (size_t)n * size;

    if (n == 0)
        return EMC_OK;
    step->copied += (double)n_bytes;
    return step->dev->ops->download_async(step->dev, array, d_array, n_bytes);
}

emc_status emc_step_download(emc_step *step)
{
    const emc_step_arrays *h = &step->host, *d = &step->device;

    EMC_TRY(bring(step, h->wanted_logits, d->wanted_logits, step->n_wanted, sizeof(float)));
    EMC_TRY(bring(step, h->log_sums, d->log_sums, step->n_readers, sizeof(float)));
    return bring(step, h->best, d->best, step->n_readers, sizeof(int32_t));
}
