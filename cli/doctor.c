/* emcell doctor: what this build and this machine offer. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/options.h"
#include "cli/ranks.h"
#include "kernels/cuda.h"
#include "runtime/emcell.h"
#ifndef EMCELL_ENGINE_ONLY
#include "annotate/about.h"
#endif

#ifndef EMCELL_ENGINE_ONLY
/* "unpacks gzip 1.14: HDF5 filter 1, zarr, text", and what is missing. */
static void print_codecs(void)
{
    emc_codec_version codec;

    printf("HDF5 is %s\n", emc_about_hdf5_threads()
                               ? "thread-safe"
                               : "not thread-safe: emcell lets one thread at a time call it");
    for (int i = 0; emc_about_codec(i, &codec); i++) {
        if (codec.version)
            printf("unpacks %s%s%s: %s\n", codec.name, *codec.version ? " " : "", codec.version,
                   codec.where);
        else
            printf("cannot unpack %s (%s): its library was not there at the build; scripts/setup "
                   "installs it\n",
                   codec.name, codec.where);
    }
}
#endif

static void print_libraries(void)
{
#ifndef EMCELL_ENGINE_ONLY
    emc_library_version library;

    for (int i = 0; emc_about_library(i, &library); i++)
        printf("%s %s: %s\n", library.name, library.version, library.what);
    print_codecs();
#else
    printf("this build has the engine alone: bench and doctor\n");
#endif
}

/* "13.0" of CUDA's 13000. */
static void print_version(int version)
{
    printf("%d.%d", version / 1000, version % 1000 / 10);
}

static void print_gpus(int n)
{
    for (int i = 0; i < n; i++) {
        emc_cuda_gpu gpu;

        if (emc_cuda_describe_gpu(i, &gpu) != EMC_OK) {
            printf("GPU cuda:%d: %s\n", i, emc_message());
            continue;
        }
        printf("GPU cuda:%d: %s, %.1f GB, %d SMs, compute capability %d.%d: %s\n", i, gpu.name,
               1e-9 * (double)gpu.memory, gpu.n_sms, gpu.compute_capability / 10,
               gpu.compute_capability % 10,
               gpu.usable ? "usable" : "not usable: the build has no code for it");
    }
}

static void print_cuda(void)
{
    emc_cuda_system system;
    char nccl[256];

    emc_cuda_describe_system(&system);
    if (system.needed_version == 0) {
        printf("CUDA: not in this build (configure with -DEMCELL_CUDA=ON)\n");
        return;
    }
    printf("CUDA: code for %s; %s\n", emc_cuda_architectures(), system.libraries);
    printf("CUDA driver: ");
    if (system.driver_version > 0)
        print_version(system.driver_version);
    else
        printf("none");
    printf(", needed is one for CUDA ");
    print_version(system.needed_version);
    printf(" or later%s%s\n",
           system.n_gpus > 0 ? "" : "; no GPU: ", system.n_gpus > 0 ? "" : system.why_not);
    print_gpus(system.n_gpus);
    emc_cuda_describe_nccl(nccl, sizeof nccl);
    printf("several GPUs: %s\n", nccl);
}

/* What several GPUs and several processes go by. */
static void print_environment(void)
{
    static const char *const names[] = {
        "NCCL_DEBUG",       "NCCL_SOCKET_IFNAME", "NCCL_IB_HCA",
        "NCCL_P2P_DISABLE", "NCCL_CUMEM_ENABLE",  "NCCL_CUMEM_HOST_ENABLE",
        "NCCL_ALGO",        "NCCL_NVLS_ENABLE",   "CUDA_VISIBLE_DEVICES",
        "SLURM_JOB_ID",     "SLURM_STEP_ID",      "SLURM_PROCID",
        "SLURM_NTASKS",     "SLURM_NODEID",       "SLURM_STEP_NUM_TASKS",
        "SLURM_LOCALID",    "SLURM_RESTART_COUNT"};

    for (size_t i = 0; i < EMC_COUNT(names); i++) {
        const char *value = getenv(names[i]);

        if (value)
            printf("environment: %s=%s\n", names[i], value);
    }
}

static const char *environment(void *context, const char *name)
{
    (void)context;
    return getenv(name);
}

static void print_rank(void)
{
    cli_ranks ranks;

    if (cli_ranks_find(&ranks, -1, -1, environment, NULL) != EMC_OK)
        return;
    printf("this process is rank %d of %d (%s)%s%s\n", ranks.rank, ranks.world, ranks.source,
           ranks.ignored[0] ? "; passed over: " : "", ranks.ignored);
}

int cli_doctor(int argc, char **argv)
{
    cli_config *config = NULL;
    emc_device_info device;
    struct utsname machine;
    int exit_code;
    char automatic[32] = "";
    const cli_spec spec = {
        .name = "doctor",
        .usage = "",
        .summary = "Says what this machine and this build offer.",
    };

    if (cli_parse(&spec, argc, argv, &config, &exit_code)) {
        printf("emcell %s\n", EMCELL_VERSION);
        if (uname(&machine) == 0)
            printf("system: %s %s %s, %ld cores\n", machine.sysname, machine.release,
                   machine.machine, sysconf(_SC_NPROCESSORS_ONLN));
        for (int i = 0; emc_device_list(i, &device); i++) {
            printf("device %s: %s%s\n", device.name,
                   device.present ? "" : "absent: ", device.description);
            /* The first GPU comes before the CPU. */
            if (device.present && (!automatic[0] || strcmp(automatic, "cpu") == 0))
                snprintf(automatic, sizeof automatic, "%s", device.name);
        }
        print_cuda();
        printf("--device auto runs on %s\n",
               automatic[0] ? automatic : "nothing: no device can be used");
        print_rank();
        print_environment();
        print_libraries();
        exit_code = fflush(stdout) == 0 ? 0 : 74;
    }
    cli_config_close(config);
    return exit_code;
}
