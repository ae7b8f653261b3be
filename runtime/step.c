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

emc_status emc_step_open(emc_step **out, emc_device *dev, const emc_step_limits *limits)
{
    const size_t n_bytes = emc_step_bytes(limits);
    emc_step *step = NULL;
    emc_status status;

    *out = NULL;
    EMC_TRY(emc_alloc(&step, 1, sizeof *step, "a step"));
    step->dev = dev;
    step->limits = *limits;
    status = emc_alloc(&step->host_memory, n_bytes, 1, "a step");
    if (status == EMC_OK)
        status = dev->ops->alloc(dev, &step->device_memory, n_bytes, "a step");
    if (status != EMC_OK) {
        emc_step_close(step);
        return status;
    }
    lay_out(&step->host, step->host_memory, limits);
    lay_out(&step->device, step->device_memory, limits);
    *out = step;
    return EMC_OK;
}

void emc_step_close(emc_step *step)
{
    if (!step)
        return;
    step->dev->ops->release(step->dev, step->device_memory);
    free(step->host_memory);
    free(step);
}

void emc_step_clear(emc_step *step)
{
    step->n_rows = step->n_readers = step->n_wanted = 0;
    step->n_pages = step->n_items = step->n_reader_items = 0;
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
    if (path_len > 0)
        memcpy(step->host.path_slots + (size_t)row * EMC_MAX_PATH, path,
               (size_t)path_len * sizeof *path);
    return row;
}

void emc_step_add_item(emc_step *step, const emc_attention_item *item)
{
    assert(step->n_items < step->limits.max_rows);
    step->host.items[step->n_items++] = *item;
}

int emc_step_add_reader(emc_step *step, const int32_t *wanted, int n)
{
    const int row = step->n_rows - 1, reader = step->n_readers++;
    const int path_len = step->host.path_lens[row];

    assert(reader < step->limits.max_readers && step->n_wanted + n <= step->limits.max_wanted);
    step->host.reader_rows[reader] = row;
    step->host.reader_positions[reader] = step->host.positions[row];
    step->host.reader_path_lens[reader] = path_len;
    memcpy(step->host.reader_path_slots + (size_t)reader * EMC_MAX_PATH,
           step->host.path_slots + (size_t)row * EMC_MAX_PATH, (size_t)path_len * sizeof(int32_t));
    if (n > 0)
        memcpy(step->host.wanted + step->n_wanted, wanted, (size_t)n * sizeof *wanted);
    step->n_wanted += n;
    step->host.wanted_begin[reader + 1] = step->n_wanted;
    return reader;
}

void emc_step_add_reader_item(emc_step *step, const emc_attention_item *item)
{
    assert(step->n_reader_items < step->limits.max_readers);
    step->host.reader_items[step->n_reader_items++] = *item;
}

static emc_status send(emc_step *step, void *d_array, const void *array, int n, size_t size)
{
    if (n == 0)
        return EMC_OK;
    return step->dev->ops->upload(step->dev, d_array, array, (size_t)n * size);
}

emc_status emc_step_upload(emc_step *step)
{
    const emc_step_arrays *h = &step->host, *d = &step->device;
    const size_t word = sizeof(int32_t), path = EMC_MAX_PATH * word;
    const int rows = step->n_rows, readers = step->n_readers;

    EMC_TRY(send(step, d->tokens, h->tokens, rows, word));
    EMC_TRY(send(step, d->positions, h->positions, rows, word));
    EMC_TRY(send(step, d->slots, h->slots, rows, word));
    EMC_TRY(send(step, d->path_lens, h->path_lens, rows, word));
    EMC_TRY(send(step, d->path_slots, h->path_slots, rows, path));
    EMC_TRY(send(step, d->items, h->items, step->n_items, sizeof *h->items));
    EMC_TRY(send(step, d->page_table, h->page_table, step->n_pages, word));
    if (readers == 0)
        return EMC_OK;
    EMC_TRY(send(step, d->reader_rows, h->reader_rows, readers, word));
    EMC_TRY(send(step, d->reader_positions, h->reader_positions, readers, word));
    EMC_TRY(send(step, d->reader_path_lens, h->reader_path_lens, readers, word));
    EMC_TRY(send(step, d->reader_path_slots, h->reader_path_slots, readers, path));
    EMC_TRY(send(step, d->reader_items, h->reader_items, step->n_reader_items,
                 sizeof *h->reader_items));
    EMC_TRY(send(step, d->wanted_begin, h->wanted_begin, readers + 1, word));
    return send(step, d->wanted, h->wanted, step->n_wanted, word);
}

emc_status emc_step_download(emc_step *step)
{
    const emc_ops *ops = step->dev->ops;
    const emc_step_arrays *h = &step->host, *d = &step->device;
    const size_t readers = (size_t)step->n_readers, wanted = (size_t)step->n_wanted;

    if (readers == 0)
        return ops->sync(step->dev);
    if (wanted > 0)
        EMC_TRY(
            ops->download(step->dev, h->wanted_logits, d->wanted_logits, wanted * sizeof(float)));
    EMC_TRY(ops->download(step->dev, h->log_sums, d->log_sums, readers * sizeof(float)));
    return ops->download(step->dev, h->best, d->best, readers * sizeof(int32_t));
}
