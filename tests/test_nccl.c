/* NCCL is found, refused or missed with words that help; where it is, it makes an id without a GPU.
 */
#include <string.h>

#include "emt.h"
#include "kernels/cuda/nccl.h"

static void test_absent(void **state)
{
    cuda_nccl nccl;

    (void)state;
    EMT_FAILS(EMC_ERR_DEVICE, "NCCL cannot be loaded (libnccl-not-there.so.2: ",
              cuda_nccl_load(&nccl, "libnccl-not-there.so.2"));
    assert_non_null(strstr(emc_message(), "several GPUs need NCCL 2.18 or later"));
    assert_non_null(strstr(emc_message(), "--device cuda:0, does not"));
}

/* Another library is none. */
static void test_lacking(void **state)
{
    cuda_nccl nccl;

    (void)state;
    EMT_FAILS(EMC_ERR_DEVICE, "libm.so.6 has no ncclGetVersion",
              cuda_nccl_load(&nccl, "libm.so.6"));
}

static void test_unique_id(void **state)
{
    cuda_nccl nccl;
    ncclUniqueId one, other;

    (void)state;
    if (cuda_nccl_load(&nccl, CUDA_NCCL_LIBRARY) != EMC_OK) {
        print_message("NOT RUN: %s\n", emc_message());
        skip();
    }
    assert_true(nccl.version >= CUDA_NCCL_LEAST);
    memset(&one, 0, sizeof one);
    memset(&other, 0, sizeof other);
    assert_int_equal(nccl.get_unique_id(&one), ncclSuccess);
    assert_int_equal(nccl.get_unique_id(&other), ncclSuccess);
    assert_memory_not_equal(&one, &other, sizeof one);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent),
        cmocka_unit_test(test_lacking),
        cmocka_unit_test(test_unique_id),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
