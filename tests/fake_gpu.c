#include "fake_gpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu.h"

fake_gpus fake;

/* --- What there is ------------------------------------------------------------------------ */

const char *emc_cuda_architectures(void)
{
    return "sm_80, sm_90a";
}

void emc_cuda_describe_system(emc_cuda_system *out)
{
    *out = (emc_cuda_system){.n_gpus = fake.n_gpus, .needed_version = 12000};
    if (fake.n_gpus == 0)
        snprintf(out->why_not, sizeof out->why_not, "%s", fake.why_not);
}

emc_status emc_cuda_describe_gpu(int index, emc_cuda_gpu *out)
{
    if (index < 0 || index >= fake.n_gpus)
        return emc_fail(EMC_ERR_DEVICE, "cuda:%d: no such GPU", index);
    *out = (emc_cuda_gpu){.compute_capability = fake.usable[index] ? 90 : 75,
                          .n_sms = 100 + (fake.alike ? 0 : index),
                          .memory = (size_t)80000000000,
                          .usable = fake.usable[index]};
    snprintf(out->name, sizeof out->name, "Fake %c", 'A' + (fake.alike ? 0 : index));
    return EMC_OK;
}

/* --- A device ----------------------------------------------------------------------------- */

#define MAX_COPIES 256

typedef struct {
    emc_matrix *matrix;
    char *data;
    const void *from[8]; /* still to be copied, one part after the other */
    size_t n_bytes[8];
    int n_parts;
} copy;

static struct {
    const emc_ops *cpu;
    emc_ops ops;
    copy copies[MAX_COPIES];
} device;

static emc_status taking(const char *what)
{
    if (fake.fail_at > 0 && --fake.fail_at == 0)
        return emc_fail(EMC_ERR_DEVICE, "cuda:%d: no memory for %s", fake.index, what);
    return EMC_OK;
}

static emc_status taken(emc_status status)
{
    fake.n_live += status == EMC_OK;
    return status;
}

static emc_status fake_alloc(emc_device *dev, void **out, size_t n_bytes, const char *what)
{
    *out = NULL;
    EMC_TRY(taking(what));
    return taken(device.cpu->alloc(dev, out, n_bytes, what));
}

static void fake_release(emc_device *dev, void *memory)
{
    fake.n_live -= memory != NULL;
    device.cpu->release(dev, memory);
}

static emc_status fake_memory(emc_device *dev, size_t *n_free, size_t *n_whole)
{
    (void)dev;
    *n_free = fake.n_free;
    *n_whole = fake.n_whole;
    return EMC_OK;
}

static emc_status fake_sync(emc_device *dev)
{
    EMC_TRY(taking("a copy"));
    for (int i = 0; i < MAX_COPIES; i++) {
        copy *c = &device.copies[i];
        char *to = c->data;

        for (int p = 0; p < c->n_parts; to += c->n_bytes[p++])
            memcpy(to, c->from[p], c->n_bytes[p]);
        c->n_parts = 0;
    }
    return device.cpu->sync(dev);
}

static emc_status fake_matrix_open(emc_device *dev, emc_matrix **out, const emc_matrix_part *parts,
                                   int n_parts, int k)
{
    emc_matrix_part copied[8];
    size_t n_bytes = 0;
    copy *c = device.copies;

    *out = NULL;
    EMC_TRY(taking("weights"));
    while (c->matrix)
        c++;
    c->n_parts = n_parts;
    for (int p = 0; p < n_parts; p++) {
        c->from[p] = parts[p].data;
        c->n_bytes[p] = (size_t)parts[p].n_rows * (size_t)k * emc_dtype_bytes(parts[p].dtype);
        n_bytes += c->n_bytes[p];
    }
    c->data = malloc(n_bytes);
    memset(c->data, 0xFF, n_bytes);
    n_bytes = 0;
    for (int p = 0; p < n_parts; p++) {
        copied[p] = parts[p];
        copied[p].data = c->data + n_bytes;
        n_bytes += c->n_bytes[p];
    }
    const emc_status status = taken(device.cpu->matrix_open(dev, out, copied, n_parts, k));
    c->matrix = *out;
    if (status != EMC_OK) {
        free(c->data);
        *c = (copy){0};
    }
    return status;
}

static void fake_matrix_close(emc_device *dev, emc_matrix *matrix)
{
    copy *c = device.copies;

    while (c->matrix != matrix)
        c++;
    free(c->data);
    *c = (copy){0};
    fake.n_live--;
    device.cpu->matrix_close(dev, matrix);
}

static emc_status fake_lora_open(emc_device *dev, emc_lora **out, const emc_lora_spec *spec)
{
    *out = NULL;
    EMC_TRY(taking("an update"));
    return taken(device.cpu->lora_open(dev, out, spec));
}

static void fake_lora_close(emc_device *dev, emc_lora *lora)
{
    fake.n_live--;
    device.cpu->lora_close(dev, lora);
}

static const char *fake_chosen(emc_device *dev)
{
    (void)dev;
    return FAKE_CHOSEN;
}

static void fake_close(emc_device *dev)
{
    fake.n_live--;
    device.cpu->close(dev);
}

emc_status emc_cuda_open(emc_device **out, const emc_cuda_options *options)
{
    const emc_cpu_options cpu = {.dtype = options->dtype, .n_threads = 1};

    *out = NULL;
    fake.index = options->index;
    fake.dtype = options->dtype;
    snprintf(fake.chosen, sizeof fake.chosen, "%s", options->chosen ? options->chosen : "");
    snprintf(fake.cache_path, sizeof fake.cache_path, "%s",
             options->cache_path ? options->cache_path : "");
    EMC_TRY(taking("the device"));
    EMC_TRY(taken(emc_cpu_open(out, &cpu)));
    device.cpu = (*out)->ops;
    device.ops = *device.cpu;
    device.ops.close = fake_close;
    device.ops.alloc = fake_alloc;
    device.ops.release = fake_release;
    device.ops.memory = fake_memory;
    device.ops.sync = fake_sync;
    device.ops.matrix_open = fake_matrix_open;
    device.ops.matrix_close = fake_matrix_close;
    device.ops.lora_open = fake_lora_open;
    device.ops.lora_close = fake_lora_close;
    device.ops.chosen = fake_chosen;
    (*out)->ops = &device.ops;
    (*out)->copies_weights = true;
    return EMC_OK;
}
