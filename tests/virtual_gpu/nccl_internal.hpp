// nccl_internal.hpp: what do the files of the stand-in for NCCL share?
//
//   nccl.cpp              communicators, groups, their state
//   nccl_collectives.cpp  one collective: its checks, its place in the streams, its run
//   nccl_math.hpp         reductions
#pragma once
#include "include/nccl.h"
#include "virtual_gpu/vg_internal.hpp"
#include "virtual_gpu/vg_nccl.h"

#include <thread>

namespace vg
{
struct Clique;
enum Kind { ALL_REDUCE, BROADCAST, ALL_GATHER, REDUCE_SCATTER };

// One rank's call.
struct Request {
    Kind kind;
    const void *send;
    void *recv;
    size_t count;
    ncclDataType_t type;
    ncclRedOp_t op; // of reductions
    int root;       // of broadcasts
    ncclComm *comm;
    cudaStream_t stream;
    std::thread::id thread;
    unsigned long long group; // 0: outside one
};

// What the calls of all ranks become.
struct Collective {
    std::vector<Request> requests; // by rank; comm is null until it has come
    std::shared_ptr<Meeting> meeting;
};

struct Clique {
    int n_ranks, n_here;           // 0: no rank has come yet
    std::vector<ncclComm *> comms; // by rank
    ncclResult_t failed;
    std::string text;                                      // why
    std::map<long long, std::shared_ptr<Collective>> open; // by number, until all ranks have come
};
} // namespace vg

struct ncclComm {
    vg::Clique *clique;
    int rank, device;
    bool alive, blocking, finalized;
    ncclResult_t state; // what ncclCommGetAsyncError gives
    long long n_collectives;
    vg::Dependency last; // its last collective, after which the next one comes in any stream
    std::vector<vg::Request> deferred; // of one that does not block: queued when it asks
    std::vector<std::shared_ptr<vg::Meeting>> meetings; // some may be done
};

namespace vg
{
extern vg_nccl_options nccl_options;
extern vg_nccl_counts nccl_counts;

// Stores this thread's text and returns the code.
ncclResult_t refuse(ncclResult_t code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
// A mistake that NCCL might let pass, or hang on: an error found on the devices of all ranks.
ncclResult_t break_clique(Clique *clique, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
// What is wrong with a call by itself, before it is queued.
ncclResult_t check_request(const Request &r);
ncclResult_t submit(const Request &r);
} // namespace vg
