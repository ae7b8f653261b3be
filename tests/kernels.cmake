# Tests of kernels/: one program an operation, on every device there is.
add_library(emt_device STATIC emt_device.c)
target_link_libraries(emt_device PUBLIC emt emc_kernels m PRIVATE emc_flags)

emt_add_test(NAME test_linear SOURCES test_linear.c ref/ref_linear.c LINKS emt_device)
emt_add_test(NAME test_attention SOURCES test_attention.c ref/ref_attention.c LINKS emt_device)
emt_add_test(NAME test_gather_rows SOURCES test_gather_rows.c LINKS emt_device)
emt_add_test(NAME test_rmsnorm SOURCES test_rmsnorm.c ref/ref_rows.c LINKS emt_device)
emt_add_test(NAME test_rope_store SOURCES test_rope_store.c ref/ref_rows.c LINKS emt_device)
emt_add_test(NAME test_swiglu SOURCES test_swiglu.c ref/ref_rows.c LINKS emt_device)
emt_add_test(NAME test_embed SOURCES test_embed.c LINKS emt_device)
emt_add_test(NAME test_head SOURCES test_head.c ref/ref_linear.c LINKS emt_device)
