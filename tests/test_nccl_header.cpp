// Do our names for NCCL have the values of NVIDIA's header? Compiled where that
// header is; elsewhere the test says that it has not run.
#include <stdio.h>

#ifdef TEST_NCCL_HEADER
#include TEST_NCCL_HEADER
#include <stddef.h>
#include <string.h>

namespace
{
constexpr int real_version = NCCL_VERSION_CODE, real_id_bytes = NCCL_UNIQUE_ID_BYTES;
const ncclConfig_t real_config = NCCL_CONFIG_INITIALIZER;
} // namespace
#undef NCCL_MAJOR
#undef NCCL_MINOR
#undef NCCL_PATCH
#undef NCCL_VERSION_CODE
#undef NCCL_VERSION
#undef NCCL_UNIQUE_ID_BYTES
#undef NCCL_CONFIG_UNDEF_INT
#undef NCCL_CONFIG_UNDEF_PTR
#undef NCCL_CONFIG_INITIALIZER

namespace ours
{
#include "kernels/cuda/nccl_types.h"
static const ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
} // namespace ours

#define SAME(name) static_assert((int)ours::name == (int)::name, #name)
#define SAME_SIZE(type)                                                                            \
    static_assert(sizeof(ours::type) == sizeof(::type) && alignof(ours::type) == alignof(::type),  \
                  #type)
#define SAME_MEMBER(member)                                                                        \
    static_assert(offsetof(ours::ncclConfig_t, member) == offsetof(::ncclConfig_t, member) &&      \
                      sizeof(ours::ncclConfig_t::member) == sizeof(::ncclConfig_t::member),        \
                  "ncclConfig_t." #member)

static_assert(NCCL_UNIQUE_ID_BYTES == real_id_bytes, "NCCL_UNIQUE_ID_BYTES");
SAME(ncclSuccess);
SAME(ncclUnhandledCudaError);
SAME(ncclSystemError);
SAME(ncclInternalError);
SAME(ncclInvalidArgument);
SAME(ncclInvalidUsage);
SAME(ncclRemoteError);
SAME(ncclInProgress);
SAME(ncclNumResults);
SAME(ncclSum);
SAME(ncclProd);
SAME(ncclMax);
SAME(ncclMin);
SAME(ncclAvg);
SAME(ncclMaxRedOp);
SAME(ncclInt8);
SAME(ncclUint8);
SAME(ncclInt32);
SAME(ncclInt64);
SAME(ncclFloat16);
SAME(ncclFloat32);
SAME(ncclBfloat16);
SAME_SIZE(ncclResult_t);
SAME_SIZE(ncclRedOp_t);
SAME_SIZE(ncclDataType_t);
SAME_SIZE(ncclUniqueId);
SAME_SIZE(ncclComm_t);

// Other versions have other members behind, and a version of their own in the initialiser.
static bool is_same_config()
{
    if constexpr (real_version == NCCL_VERSION_CODE)
        return sizeof ours::config == sizeof real_config &&
               memcmp(&ours::config, &real_config, sizeof real_config) == 0;
    return true;
}
SAME_MEMBER(size);
SAME_MEMBER(magic);
SAME_MEMBER(version);
SAME_MEMBER(blocking);
SAME_MEMBER(cgaClusterSize);
SAME_MEMBER(minCTAs);
SAME_MEMBER(maxCTAs);
SAME_MEMBER(netName);
SAME_MEMBER(splitShare);

int main()
{
    printf("compared with " TEST_NCCL_HEADER ", version %d; ours is %d\n", real_version,
           NCCL_VERSION_CODE);
    if (is_same_config())
        return 0;
    printf("NCCL_CONFIG_INITIALIZER has other bytes\n");
    return 1;
}
#else
int main()
{
    printf("NOT RUN: no nccl.h of a CUDA toolkit is at hand\n");
    return 77;
}
#endif
