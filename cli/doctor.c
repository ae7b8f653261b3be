/* emcell doctor: what this build and this machine offer. */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "annotate/about.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "runtime/emcell.h"

int cli_doctor(int argc, char **argv)
{
    cli_config *config = NULL;
    emc_library_version library;
    emc_device_info device;
    struct utsname machine;
    int exit_code;
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
        for (int i = 0; emc_device_list(i, &device); i++)
            printf("device %s: %s%s\n", device.name,
                   device.present ? "" : "absent: ", device.description);
        for (int i = 0; emc_about_library(i, &library); i++)
            printf("%s %s: %s\n", library.name, library.version, library.what);
        exit_code = fflush(stdout) == 0 ? 0 : 74;
    }
    cli_config_close(config);
    return exit_code;
}
