#pragma once
/* Helpers of the tests of the virtual GPUs' NCCL. */

#include <nccl.h>

#include "virtual_gpu/own_test.h"
#include "virtual_gpu/vg_nccl.h"

#define MAX_RANKS 4
#define N         37 /* elements of a piece */

#define NCCL_IS(code, call) assert_string_equal(ncclGetErrorString(call), ncclGetErrorString(code))
#define NCCL_OK(call)       NCCL_IS(ncclSuccess, call)

typedef struct collective collective;

typedef struct rank {
    int rank, n_ranks;
    ncclUniqueId id;
    ncclComm_t comm;
    cudaStream_t stream;
    unsigned char *d_send, *d_recv;
    unsigned char send[MAX_RANKS * N * 8], recv[MAX_RANKS * N * 8];
    size_t n_sent, n_received;
    const collective *cases;
    int n_cases;
    const char *failed;
} rank;

static inline int set_up(void **state)
{
    vg_options options = vg_defaults();
    const vg_nccl_options nccl = vg_nccl_defaults();

    (void)state;
    options.n_devices = MAX_RANKS;
    vg_set(&options);
    vg_nccl_set(&nccl);
    vg_nccl_reset_counts();
    CUDA_OK(cudaSetDevice(0));
    return 0;
}

static inline int tear_down(void **state)
{
    const vg_options options = vg_defaults();

    (void)state;
    vg_set(&options);
    vg_clear();
    return 0;
}

/* All ranks of a communicator, driven by this thread. */
static inline void open_ranks(rank *ranks, int n)
{
    ncclComm_t comms[MAX_RANKS];

    NCCL_OK(ncclCommInitAll(comms, n, NULL));
    for (int i = 0; i < n; i++) {
        int got;
        ranks[i] = (rank){.rank = i, .n_ranks = n, .comm = comms[i]};
        CUDA_OK(cudaSetDevice(i));
        CUDA_OK(cudaStreamCreateWithFlags(&ranks[i].stream, cudaStreamNonBlocking));
        NCCL_OK(ncclCommCount(comms[i], &got));
        assert_int_equal(got, n);
        NCCL_OK(ncclCommUserRank(comms[i], &got));
        assert_int_equal(got, i);
        NCCL_OK(ncclCommCuDevice(comms[i], &got));
        assert_int_equal(got, i);
    }
    CUDA_OK(cudaSetDevice(0));
}

static inline void close_ranks(rank *ranks, int n)
{
    for (int i = 0; i < n; i++) {
        NCCL_OK(ncclCommDestroy(ranks[i].comm));
        CUDA_OK(cudaSetDevice(i));
        CUDA_OK(cudaStreamDestroy(ranks[i].stream));
    }
    CUDA_OK(cudaSetDevice(0));
    assert_int_equal(vg_nccl_read_counts().live_comms, 0);
    assert_string_equal(vg_error(), "");
}
