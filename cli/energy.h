#pragma once
/* What does NVIDIA's management library say about a GPU? It is looked for when the program runs,
 * and nothing needs it. */

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    void *library; /* NULL: not here */
    void *gpu;
} cli_energy;

/*
 * device_name as in emc_model_info: "cuda:N"; any other leaves *energy empty. N is counted among
 * the devices that CUDA_VISIBLE_DEVICES (as given) names. On a machine with GPUs of several kinds
 * that number is the library's only under CUDA_DEVICE_ORDER=PCI_BUS_ID.
 */
void cli_energy_open(cli_energy *energy, const char *device_name, const char *visible);
void cli_energy_close(cli_energy *energy);

/* Joules since the driver was loaded; false where nobody counts. */
bool cli_energy_joules(const cli_energy *energy, double *joules);

/* Bytes of the GPU's memory in use, by every program. */
bool cli_energy_used(const cli_energy *energy, double *bytes);

#ifdef __cplusplus
}
#endif
