#include "cli/energy.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of the library's documented interface; 0 is success everywhere. */
typedef int (*nvml_init)(void);
typedef int (*nvml_by_index)(unsigned index, void **gpu);
typedef int (*nvml_by_name)(const char *name, void **gpu);
typedef int (*nvml_energy)(void *gpu, unsigned long long *millijoules);
typedef struct {
    unsigned long long total, free, used;
} nvml_memory;
typedef int (*nvml_memory_info)(void *gpu, nvml_memory *memory);

/* ISO C has no cast from a data pointer to a function's. */
typedef union {
    void *symbol;
    nvml_init init;
    nvml_by_index by_index;
    nvml_by_name by_name;
    nvml_energy energy;
    nvml_memory_info memory;
} nvml_call;

static nvml_call find(const cli_energy *energy, const char *name)
{
    return (nvml_call){.symbol = energy->library ? dlsym(energy->library, name) : NULL};
}

/* Entry `index` of "0,2" or "GPU-5a..,GPU-9c.."; empty past the last. */
static void visible_entry(char *out, size_t n_bytes, const char *visible, int index)
{
    const char *entry = visible;

    for (; entry && index > 0; index--) {
        entry = strchr(entry, ',');
        entry = entry ? entry + 1 : NULL;
    }
    snprintf(out, n_bytes, "%.*s", entry ? (int)strcspn(entry, ",") : 0, entry ? entry : "");
}

static bool find_gpu(cli_energy *energy, int index, const char *visible)
{
    const nvml_call by_index = find(energy, "nvmlDeviceGetHandleByIndex_v2");
    const nvml_call by_uuid = find(energy, "nvmlDeviceGetHandleByUUID");
    char entry[96];

    if (visible && *visible) {
        visible_entry(entry, sizeof entry, visible, index);
        if (strncmp(entry, "GPU-", 4) == 0 || strncmp(entry, "MIG-", 4) == 0)
            return by_uuid.symbol && by_uuid.by_name(entry, &energy->gpu) == 0;
        if (!*entry || strspn(entry, "0123456789") != strlen(entry))
            return false;
        index = atoi(entry);
    }
    return by_index.symbol && by_index.by_index((unsigned)index, &energy->gpu) == 0;
}

void cli_energy_open(cli_energy *energy, const char *device_name, const char *visible)
{
    nvml_call init;
    int index;

    *energy = (cli_energy){0};
    if (!device_name || strchr(device_name, ',') || sscanf(device_name, "cuda:%d", &index) != 1 ||
        index < 0)
        return;
    energy->library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    init = find(energy, "nvmlInit_v2");
    if (init.symbol && init.init() != 0) {
        dlclose(energy->library);
        energy->library = NULL;
    } else if (!init.symbol || !find_gpu(energy, index, visible)) {
        cli_energy_close(energy);
    }
}

void cli_energy_close(cli_energy *energy)
{
    const nvml_call end = find(energy, "nvmlShutdown");

    if (end.symbol)
        (void)end.init();
    if (energy->library)
        dlclose(energy->library);
    *energy = (cli_energy){0};
}

bool cli_energy_joules(const cli_energy *energy, double *joules)
{
    const nvml_call call = find(energy, "nvmlDeviceGetTotalEnergyConsumption");
    unsigned long long millijoules;

    if (!energy->gpu || !call.symbol || call.energy(energy->gpu, &millijoules) != 0)
        return false;
    *joules = (double)millijoules * 1e-3;
    return true;
}

bool cli_energy_used(const cli_energy *energy, double *bytes)
{
    const nvml_call call = find(energy, "nvmlDeviceGetMemoryInfo");
    nvml_memory memory;

    if (!energy->gpu || !call.symbol || call.memory(energy->gpu, &memory) != 0)
        return false;
    *bytes = (double)memory.used;
    return true;
}
