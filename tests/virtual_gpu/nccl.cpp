// nccl.cpp: what is a communicator of NCCL between virtual GPUs?
//
// Ranks are of one process, each on a device of its own; they meet by the id. Whatever the real
// library reports is refused with its code. What it would let pass, hang on or crash on (ranks that
// disagree, buffers that are not there, a communicator used after its end) is an error found, as in
// a kernel: the devices of all ranks are broken, so that nobody waits. Where a GPU goes on after
// ncclCommAbort with whatever its buffer holds, here the stream fails for good at that place.
#include "virtual_gpu/nccl_internal.hpp"

#include <algorithm>
#include <stdarg.h>
#include <stdio.h>
#include <utility>

namespace vg
{
vg_nccl_options nccl_options = {NCCL_VERSION_CODE, -1, -1, 0, -1, 0};
vg_nccl_counts nccl_counts;

namespace
{
constexpr uint64_t ID_MAGIC = 0x7667756e69717565ull;
constexpr unsigned CONFIG_MAGIC = 0xcafebeef;

struct Id { // the first bytes of an ncclUniqueId; the others are theirs, negated
    uint64_t magic, number;
};

struct Init {
    ncclComm_t *out;
    int n_ranks, rank, device;
    bool blocking;
    Clique *clique;
    ncclComm *comm;
};

struct Group {
    int depth;
    unsigned long long number;
    ncclResult_t error; // the first of its calls
    std::vector<Init> inits;
    std::vector<Request> requests;
};

// Handles are never used twice, so that one that was given back stays wrong.
std::deque<ncclComm> comms;
std::map<uint64_t, Clique> cliques; // by the number in the id
unsigned long long n_groups;
thread_local Group group;
thread_local std::string last_text;

std::string format(const char *fmt, va_list args)
{
    char text[1000];

    vsnprintf(text, sizeof text, fmt, args);
    return text;
}

// Of any state, unless it has ended.
ncclResult_t living(ncclComm_t handle, const char *name)
{
    for (const ncclComm &c : comms)
        if (&c == handle) {
            if (c.alive)
                return ncclSuccess;
            found(current_device, cudaErrorInvalidResourceHandle,
                  "%s: a communicator is used after ncclCommDestroy or ncclCommAbort", name);
            return refuse(ncclInvalidArgument, "%s: the communicator has ended", name);
        }
    return refuse(ncclInvalidArgument, "%s: no communicator", name);
}

ncclResult_t ready(ncclComm_t c, const char *name)
{
    const ncclResult_t error = living(c, name);

    if (error)
        return error;
    if (c->state == ncclInProgress || !c->deferred.empty())
        return refuse(ncclInvalidArgument, "%s: an earlier call is still in progress", name);
    return c->state ? refuse(c->state, "%s: the communicator has failed", name) : ncclSuccess;
}

void keep_error(ncclResult_t *error, ncclResult_t other)
{
    if (*error == ncclSuccess || (*error == ncclInProgress && other != ncclSuccess))
        *error = other;
}

// ---- Creation
ncclResult_t fail_clique(Clique *clique, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    clique->text = format(fmt, args);
    va_end(args);
    clique->failed = ncclInvalidUsage;
    for (ncclComm *c : clique->comms)
        if (c)
            c->state = ncclInvalidUsage;
    return refuse(ncclInvalidUsage, "%s", clique->text.c_str());
}

ncclResult_t clique_of(const ncclUniqueId *id, Clique **out)
{
    Id words, negated;

    memcpy(&words, id->internal, sizeof words);
    memcpy(&negated, id->internal + sizeof words, sizeof negated);
    if (words.magic != ID_MAGIC || negated.magic != ~words.magic ||
        negated.number != ~words.number || !cliques.count(words.number))
        return refuse(ncclInvalidArgument, "the id is none of ncclGetUniqueId");
    *out = &cliques[words.number];
    return ncclSuccess;
}

// Makes the rank known to the others; does not wait for them.
ncclResult_t enter(Init *init)
{
    Clique *q = init->clique;

    if (q->failed)
        return refuse(q->failed, "%s", q->text.c_str());
    if (q->n_ranks == 0) {
        q->n_ranks = init->n_ranks;
        q->comms.resize((size_t)init->n_ranks);
    }
    if (q->n_ranks != init->n_ranks)
        return fail_clique(q, "ranks disagree on their number: %d and %d", q->n_ranks,
                           init->n_ranks);
    if (q->n_here == q->n_ranks)
        return refuse(ncclInvalidUsage, "the id has been used");
    if (q->comms[(size_t)init->rank])
        return fail_clique(q, "rank %d comes twice", init->rank);
    for (const ncclComm *c : q->comms)
        if (c && c->device == init->device)
            return fail_clique(q, "ranks %d and %d are both on device %d", c->rank, init->rank,
                               init->device);
    comms.push_back({q,
                     init->rank,
                     init->device,
                     true,
                     init->blocking,
                     false,
                     ncclInProgress,
                     0,
                     {nullptr, 0},
                     {},
                     {}});
    init->comm = q->comms[(size_t)init->rank] = &comms.back();
    nccl_counts.live_comms++;
    q->n_here += init->rank != nccl_options.absent_rank;
    if (q->n_here == q->n_ranks)
        for (ncclComm *c : q->comms)
            c->state = ncclSuccess;
    return ncclSuccess;
}

// What the call of a rank that has entered returns.
ncclResult_t await_others(const Init &init)
{
    ncclComm *c = init.comm;

    *init.out = c;
    if (!init.blocking)
        return c->state || !flip_early() ? ncclInProgress : ncclSuccess;
    while (c->state == ncclInProgress)
        wait_for_change();
    if (c->state == ncclSuccess)
        return ncclSuccess;
    c->alive = false;
    nccl_counts.live_comms--;
    *init.out = nullptr;
    return refuse(c->state, "%s", c->clique->text.c_str());
}

ncclResult_t start(std::vector<Init> inits)
{
    ncclResult_t error = ncclSuccess;

    for (Init &init : inits)
        keep_error(&error, enter(&init));
    for (const Init &init : inits)
        if (init.comm)
            keep_error(&error, await_others(init));
    return error;
}

ncclResult_t init_rank(ncclComm_t *out, int n_ranks, const ncclUniqueId *id, int rank,
                       const ncclConfig_t *config)
{
    Call call;
    Clique *clique;
    ncclResult_t error;

    if (!out)
        return refuse(ncclInvalidArgument, "ncclCommInitRank: nowhere to put it");
    *out = nullptr;
    if (config && (config->size != sizeof *config || config->magic != CONFIG_MAGIC))
        return refuse(ncclInvalidArgument, "the configuration is not initialised");
    const int blocking = config ? config->blocking : NCCL_CONFIG_UNDEF_INT;
    if (blocking != NCCL_CONFIG_UNDEF_INT && blocking != 0 && blocking != 1)
        return refuse(ncclInvalidArgument, "blocking is %d", blocking);
    if (n_ranks < 1 || rank < 0 || rank >= n_ranks)
        return refuse(ncclInvalidArgument, "rank %d of %d", rank, n_ranks);
    if (call.error)
        return refuse(ncclUnhandledCudaError, "%s", cudaGetErrorName(call.error));
    if ((error = clique_of(id, &clique)))
        return error;
    const Init init = {out, n_ranks, rank, current_device, blocking != 0, clique, nullptr};
    if (group.depth == 0)
        return start({init});
    group.inits.push_back(init);
    return ncclSuccess;
}

// ---- Collectives
// A communicator that does not block may leave the queueing for later, until it is asked.
ncclResult_t queue(const Request &r)
{
    ncclComm *c = r.comm;

    if (c->deferred.empty() && (c->blocking || flip_early()))
        return submit(r);
    c->deferred.push_back(r);
    return ncclInProgress;
}

ncclResult_t collective(Request r, const char *name)
{
    Call call;
    ncclResult_t error = ready(r.comm, name);

    if (!error && r.comm->finalized)
        error = refuse(ncclInvalidUsage, "%s: the communicator is finalized", name);
    if (!error)
        error = check_request(r);
    r.thread = std::this_thread::get_id();
    r.group = group.depth ? group.number : 0;
    if (group.depth == 0)
        return error ? error : queue(r);
    if (!error)
        group.requests.push_back(r);
    keep_error(&group.error, error);
    return error;
}

bool is_idle(ncclComm *c, bool may_wait)
{
    return !c->last.stream || run_until(c->last.stream, c->last.at, may_wait);
}

void end(ncclComm *c)
{
    c->alive = false;
    c->deferred.clear();
    c->meetings.clear();
    nccl_counts.live_comms--;
}

ncclResult_t get(ncclComm_t c, const char *name, int ncclComm::*member, int *out)
{
    Call call;
    const ncclResult_t error = ready(c, name);

    if (!error)
        *out = c->*member;
    return error;
}
} // namespace

ncclResult_t refuse(ncclResult_t code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    last_text = format(fmt, args);
    va_end(args);
    return code;
}

ncclResult_t break_clique(Clique *clique, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    clique->text = format(fmt, args);
    va_end(args);
    for (ncclComm *c : clique->comms)
        if (c && c->alive) {
            found(c->device, cudaErrorIllegalAddress, "%s", clique->text.c_str());
            c->state = ncclInvalidUsage;
        }
    return refuse(ncclInvalidUsage, "%s", clique->text.c_str());
}
} // namespace vg

using namespace vg;

extern "C" {
vg_nccl_options vg_nccl_defaults(void)
{
    return {NCCL_VERSION_CODE, -1, -1, 0, -1, 0};
}

void vg_nccl_set(const vg_nccl_options *o)
{
    Call call;

    nccl_options = *o;
}

vg_nccl_counts vg_nccl_read_counts(void)
{
    Call call;

    return nccl_counts;
}

void vg_nccl_reset_counts(void)
{
    Call call;

    nccl_counts.collectives = nccl_counts.bytes = 0;
}

ncclResult_t ncclGetVersion(int *version)
{
    Call call;

    *version = nccl_options.version;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *out)
{
    Call call;
    const Id words = {ID_MAGIC, cliques.size() + 1}, negated = {~words.magic, ~words.number};

    cliques[words.number] = {};
    memset(out, 0, sizeof *out);
    memcpy(out->internal, &words, sizeof words);
    memcpy(out->internal + sizeof words, &negated, sizeof negated);
    return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *out, int n_ranks, ncclUniqueId id, int rank,
                                    ncclConfig_t *config)
{
    return init_rank(out, n_ranks, &id, rank, config);
}

ncclResult_t ncclCommInitRank(ncclComm_t *out, int n_ranks, ncclUniqueId id, int rank)
{
    return init_rank(out, n_ranks, &id, rank, nullptr);
}

ncclResult_t ncclCommInitAll(ncclComm_t *out, int n_devices, const int *list)
{
    Call call;
    ncclUniqueId id;
    Clique *clique;
    std::vector<Init> inits;

    if (call.error)
        return refuse(ncclUnhandledCudaError, "%s", cudaGetErrorName(call.error));
    if (n_devices < 1)
        return refuse(ncclInvalidArgument, "ncclCommInitAll: %d devices", n_devices);
    ncclGetUniqueId(&id);
    clique_of(&id, &clique);
    for (int i = 0; i < n_devices; i++) {
        const int device = list ? list[i] : i;
        if (!is_device(device))
            return refuse(ncclUnhandledCudaError, "ncclCommInitAll: no device %d", device);
        if (list && std::count(list, list + i, device) > 0)
            return refuse(ncclInvalidUsage, "ncclCommInitAll: device %d twice", device);
        inits.push_back({out + i, n_devices, i, device, true, clique, nullptr});
    }
    return start(inits);
}

ncclResult_t ncclCommFinalize(ncclComm_t c)
{
    Call call;
    const ncclResult_t error = ready(c, "ncclCommFinalize");

    if (error)
        return error;
    if (c->finalized)
        return refuse(ncclInvalidArgument, "ncclCommFinalize: called twice");
    c->finalized = true;
    if (!c->blocking && !flip_early())
        return ncclInProgress;
    return is_idle(c, c->blocking) ? ncclSuccess : ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t c)
{
    Call call;
    const ncclResult_t error = living(c, "ncclCommDestroy");

    if (error)
        return error;
    while (!c->deferred.empty()) {
        const Request r = c->deferred.front();
        c->deferred.erase(c->deferred.begin());
        submit(r);
    }
    is_idle(c, true);
    if (c->alive) // nobody has aborted it meanwhile
        end(c);
    return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t c)
{
    Call call;
    const ncclResult_t error = living(c, "ncclCommAbort");

    if (error)
        return error;
    for (const auto &meeting : c->meetings)
        if (!meeting->done)
            leave(meeting.get(), (size_t)c->rank);
    end(c);
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *out)
{
    Call call;
    ncclResult_t error = living(c, "ncclCommGetAsyncError");

    if (error)
        return error;
    *out = c->state;
    if (!c->deferred.empty()) {
        const std::vector<Request> deferred = std::exchange(c->deferred, {});
        *out = ncclInProgress;
        for (const Request &r : deferred)
            if (!c->state && (error = submit(r)))
                c->state = error;
    } else if (c->finalized && !c->state && !is_idle(c, false)) {
        *out = ncclInProgress;
    }
    return ncclSuccess;
}

ncclResult_t ncclCommCount(const ncclComm_t c, int *count)
{
    Call call;
    const ncclResult_t error = ready(c, "ncclCommCount");

    if (!error)
        *count = c->clique->n_ranks;
    return error;
}

ncclResult_t ncclCommCuDevice(const ncclComm_t c, int *device)
{
    return get(c, "ncclCommCuDevice", &ncclComm::device, device);
}

ncclResult_t ncclCommUserRank(const ncclComm_t c, int *rank)
{
    return get(c, "ncclCommUserRank", &ncclComm::rank, rank);
}

const char *ncclGetErrorString(ncclResult_t result)
{
    static const char *const words[ncclNumResults] = {
        "no error",         "unhandled cuda error", "unhandled system error", "internal error",
        "invalid argument", "invalid usage",        "remote process failed",  "in progress",
    };

    return (unsigned)result < ncclNumResults ? words[result] : "unknown result code";
}

const char *ncclGetLastError(ncclComm_t c)
{
    Call call;

    for (const ncclComm &known : comms)
        if (&known == c && !known.clique->text.empty())
            last_text = known.clique->text;
    return last_text.c_str();
}

ncclResult_t ncclAllReduce(const void *send, void *recv, size_t count, ncclDataType_t type,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return collective({ALL_REDUCE, send, recv, count, type, op, 0, comm, stream, {}, 0},
                      "ncclAllReduce");
}

ncclResult_t ncclBroadcast(const void *send, void *recv, size_t count, ncclDataType_t type,
                           int root, ncclComm_t comm, cudaStream_t stream)
{
    return collective({BROADCAST, send, recv, count, type, ncclSum, root, comm, stream, {}, 0},
                      "ncclBroadcast");
}

ncclResult_t ncclAllGather(const void *send, void *recv, size_t count, ncclDataType_t type,
                           ncclComm_t comm, cudaStream_t stream)
{
    return collective({ALL_GATHER, send, recv, count, type, ncclSum, 0, comm, stream, {}, 0},
                      "ncclAllGather");
}

ncclResult_t ncclReduceScatter(const void *send, void *recv, size_t count, ncclDataType_t type,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream)
{
    return collective({REDUCE_SCATTER, send, recv, count, type, op, 0, comm, stream, {}, 0},
                      "ncclReduceScatter");
}

ncclResult_t ncclGroupStart(void)
{
    Call call;

    if (group.depth++ == 0)
        group.number = ++n_groups;
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd(void)
{
    Call call;

    if (group.depth == 0)
        return refuse(ncclInvalidUsage, "ncclGroupEnd without ncclGroupStart");
    if (--group.depth > 0)
        return ncclSuccess;
    const Group whole = std::exchange(group, Group{});
    if (whole.error)
        return whole.error;
    ncclResult_t error = start(whole.inits);
    for (const Request &r : whole.requests)
        keep_error(&error, queue(r));
    return error;
}
}
