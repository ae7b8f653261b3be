// nccl_collectives.cpp: what does one collective do, and what may be wrong with it?
//
// Each rank's call becomes an entry of its stream. The last rank that comes to its entry finds all
// streams there and moves the bytes of all ranks at once.
#include "virtual_gpu/nccl_internal.hpp"
#include "virtual_gpu/nccl_math.hpp"

#include <algorithm>
#include <utility>

namespace vg
{
namespace
{
const char *const names[] = {"ncclAllReduce", "ncclBroadcast", "ncclAllGather",
                             "ncclReduceScatter"};

struct Span {
    const void *p;
    size_t n_bytes;
};

size_t piece_bytes(const Request &r)
{
    return r.count * size_of(r.type);
}

Span send_span(const Request &r)
{
    if (r.kind == BROADCAST && r.comm->rank != r.root)
        return {nullptr, 0};
    const size_t n_pieces = r.kind == REDUCE_SCATTER ? (size_t)r.comm->clique->n_ranks : 1;
    return {r.send, n_pieces * piece_bytes(r)};
}

Span recv_span(const Request &r)
{
    const size_t n_pieces = r.kind == ALL_GATHER ? (size_t)r.comm->clique->n_ranks : 1;
    return {r.recv, n_pieces * piece_bytes(r)};
}

// A rank's own piece of the longer buffer may be the shorter one; nothing else may overlap.
bool overlaps(const Request &r)
{
    const Span send = send_span(r), recv = recv_span(r);
    const uintptr_t from = (uintptr_t)send.p, to = (uintptr_t)recv.p;
    const size_t at = (size_t)r.comm->rank * piece_bytes(r);

    if (from + (r.kind == REDUCE_SCATTER ? at : 0) == to + (r.kind == ALL_GATHER ? at : 0))
        return false;
    return from < to + recv.n_bytes && to < from + send.n_bytes;
}

// "" or what is wrong with the buffers now.
std::string buffer_problem(const Request &r)
{
    const Span spans[] = {send_span(r), recv_span(r)};

    for (const Span &s : spans) {
        const std::string problem = memory_problem(s.p, s.n_bytes, r.comm->device);
        if (!problem.empty())
            return problem;
        if (s.n_bytes > 0 && (uintptr_t)s.p % size_of(r.type) != 0)
            return "a buffer is not aligned to its type";
    }
    return overlaps(r) ? "the buffers overlap, and not as in place" : "";
}

std::string disagreement(const Request &a, const Request &b)
{
    if (a.kind != b.kind)
        return std::string(names[a.kind]) + " and " + names[b.kind];
    if (a.count != b.count)
        return "counts " + std::to_string(a.count) + " and " + std::to_string(b.count);
    if (a.type != b.type)
        return "types " + std::to_string(a.type) + " and " + std::to_string(b.type);
    if (a.op != b.op)
        return "reductions " + std::to_string(a.op) + " and " + std::to_string(b.op);
    if (a.root != b.root)
        return "roots " + std::to_string(a.root) + " and " + std::to_string(b.root);
    if (a.thread == b.thread && (a.group != b.group || a.group == 0))
        return "calls of one thread that no ncclGroupStart joins";
    return "";
}

// Whether every rank's device takes the launch, and its buffers are still good and hold something.
bool may_run(const Collective &c)
{
    for (const Request &r : c.requests) {
        running_device = r.comm->device;
        const bool started = vg_start_launch();
        running_device = -1;
        if (!started)
            return false;
    }
    for (const Request &r : c.requests) {
        const Span send = send_span(r);
        std::string problem = buffer_problem(r);
        if (problem.empty() && send.n_bytes > 0 && !all_written(send.p, send.n_bytes))
            problem = std::to_string(send.n_bytes) + " bytes are sent, not all were written";
        if (!problem.empty()) {
            break_clique(r.comm->clique, "%s of rank %d: %s", names[r.kind], r.comm->rank,
                         problem.c_str());
            return false;
        }
    }
    return true;
}

bool run(const Collective &c)
{
    const Request &any = c.requests[0];
    const size_t n_ranks = c.requests.size(), piece = piece_bytes(any);
    const bool reduces = any.kind == ALL_REDUCE || any.kind == REDUCE_SCATTER;

    if (!may_run(c))
        return false;
    // Into memory of its own first: results may lie where operands do.
    std::vector<unsigned char> out((any.kind == ALL_REDUCE || any.kind == BROADCAST ? 1 : n_ranks) *
                                   piece);
    std::vector<const void *> sources;
    for (const Request &r : c.requests)
        sources.push_back(r.send);
    if (reduces && piece > 0)
        reduce(out.data(), sources, out.size() / size_of(any.type), any.type, any.op);
    else if (any.kind == BROADCAST && piece > 0)
        memcpy(out.data(), sources[(size_t)any.root], piece);
    for (size_t rank = 0; any.kind == ALL_GATHER && piece > 0 && rank < n_ranks; rank++)
        memcpy(out.data() + rank * piece, sources[rank], piece);
    for (const Request &r : c.requests) {
        const Span recv = recv_span(r);
        const size_t at = r.kind == REDUCE_SCATTER ? (size_t)r.comm->rank * piece : 0;
        if (recv.n_bytes == 0)
            continue;
        memcpy(r.recv, out.data() + at, recv.n_bytes);
        mark_written(r.recv, recv.n_bytes);
    }
    nccl_counts.collectives++;
    nccl_counts.bytes += piece;
    return true;
}

cudaError_t stream_for(const Request &r, Stream **out)
{
    const int device = std::exchange(current_device, r.comm->device); // whose null stream it is
    const cudaError_t error = stream_of(r.stream, out);

    current_device = device;
    return error;
}

std::shared_ptr<Collective> collective_of(const Request &r, long long number)
{
    std::shared_ptr<Collective> &slot = r.comm->clique->open[number];

    if (!slot) {
        slot = std::make_shared<Collective>();
        slot->requests.resize((size_t)r.comm->clique->n_ranks);
        slot->meeting = std::make_shared<Meeting>();
        slot->meeting->entries.resize(slot->requests.size());
    }
    return slot;
}
} // namespace

ncclResult_t check_request(const Request &r)
{
    const char *name = names[r.kind];
    const int n_ranks = r.comm->clique->n_ranks;
    const size_t size = size_of(r.type);
    size_t n_bytes;

    if (size == 0)
        return refuse(ncclInvalidArgument, "%s: no stand-in for type %d", name, (int)r.type);
    if (r.op != ncclSum && r.op != ncclMax && r.op != ncclMin)
        return refuse(ncclInvalidArgument, "%s: no stand-in for reduction %d", name, (int)r.op);
    if (r.root < 0 || r.root >= n_ranks)
        return refuse(ncclInvalidArgument, "%s: root %d of %d ranks", name, r.root, n_ranks);
    if (__builtin_mul_overflow(r.count, size * (size_t)n_ranks, &n_bytes))
        return refuse(ncclInvalidArgument, "%s: %zu elements", name, r.count);
    const std::string problem = buffer_problem(r);
    if (!problem.empty())
        return break_clique(r.comm->clique, "%s of rank %d: %s", name, r.comm->rank,
                            problem.c_str());
    return ncclSuccess;
}

ncclResult_t submit(const Request &r)
{
    ncclComm *comm = r.comm;
    Clique *clique = comm->clique;
    const long long number = comm->n_collectives;
    const size_t rank = (size_t)comm->rank;
    Stream *stream;

    if (devices[comm->device].sticky)
        return refuse(ncclUnhandledCudaError, "%s: device %d is broken", names[r.kind],
                      comm->device);
    if (stream_for(r, &stream))
        return refuse(ncclInvalidArgument, "%s: no stream", names[r.kind]);
    if (stream->device != comm->device)
        return break_clique(clique, "%s of rank %d: the stream is of device %d, the rank of %d",
                            names[r.kind], comm->rank, stream->device, comm->device);
    const std::shared_ptr<Collective> c = collective_of(r, number);
    for (const Request &other : c->requests) {
        const std::string text = other.comm && other.comm->alive ? disagreement(other, r) : "";
        if (!text.empty())
            return break_clique(clique, "ranks %d and %d disagree: %s", other.comm->rank,
                                comm->rank, text.c_str());
    }
    c->requests[rank] = r;
    comm->n_collectives++;
    Meeting *meeting = c->meeting.get();
    if (comm->rank == nccl_options.hung_rank && number >= nccl_options.hung_after)
        meeting->hangs = true;
    if (comm->rank == nccl_options.failed_rank && number >= nccl_options.failed_after) {
        meeting->hangs = true;
        comm->state = ncclRemoteError;
    }
    bool all_here = true;
    for (const Request &other : c->requests)
        all_here = all_here && other.comm;
    if (all_here) { // what the meeting runs keeps the requests, and the clique need not
        meeting->run = [requests = c->requests] { return run({requests, nullptr}); };
        clique->open.erase(number);
    }
    auto &meetings = comm->meetings;
    meetings.erase(std::remove_if(meetings.begin(), meetings.end(),
                                  [](const std::shared_ptr<Meeting> &m) { return m->done; }),
                   meetings.end());
    meetings.push_back(c->meeting);
    const cudaError_t error = join(c->meeting, rank, stream, comm->last);
    comm->last = {stream, stream->n_queued};
    return error ? refuse(ncclUnhandledCudaError, "%s: %s", names[r.kind], cudaGetErrorName(error))
                 : ncclSuccess;
}
} // namespace vg
