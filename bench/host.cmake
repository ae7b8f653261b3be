# What the host takes, beside a device that takes nothing: `emcell` with bench/null_device.c.
add_executable(emcell_null null_device.c)
target_link_libraries(emcell_null PRIVATE emc_cli emc_flags m)
