// streams.cpp: when does queued work run? As late as the rules allow: when something waits for it.
// Code that reads a result before waiting, or reuses a host buffer too early, gets the wrong bytes
// every time. (Or at once, as early as the rules allow: the other schedule.)
#include "virtual_gpu/vg_internal.hpp"

#include <algorithm>
#include <chrono>

namespace vg
{
int running_device = -1;

namespace
{
struct Event {
    int device;
    bool alive, timed, recorded;
    Dependency at; // done when its stream is there
    double ms;     // when it was
};

// Handles are never used twice, so that one that was given back stays wrong.
std::deque<Stream> streams;
std::deque<Event> events;
Stream *null_streams[VG_MAX_DEVICES];

Stream *new_stream(int device, bool blocking)
{
    streams.push_back({device, true, blocking, {}, 0, 0, cudaSuccess});
    return &streams.back();
}

bool is_done(const Dependency &d)
{
    return !d.stream || d.stream->n_done >= d.at;
}

double passed_ms; // of vg_options.own_clock

double now_ms()
{
    if (options.own_clock)
        return passed_ms;
    const auto t = std::chrono::steady_clock::now().time_since_epoch();
    return std::chrono::duration<double, std::milli>(t).count();
}

cudaError_t state_of(const Stream *stream)
{
    const cudaError_t sticky = devices[stream->device].sticky;

    return sticky ? sticky : stream->error;
}

bool can_meet(const Meeting &m)
{
    for (const Meeting::Entry &e : m.entries)
        if (e.at <= (e.stream ? e.stream->n_done : 0) || e.left || state_of(e.stream))
            return false;
    return !m.hangs;
}

// The next entry whose stream has not come to it, or null.
const Meeting::Entry *late_entry(const Meeting &m)
{
    for (const Meeting::Entry &e : m.entries)
        if (e.stream->n_done + 1 < e.at)
            return &e;
    return nullptr;
}

void pop(Stream *stream)
{
    stream->queue.pop_front();
    stream->n_done++;
}

void report_ring(const Meeting &m)
{
    for (const Meeting::Entry &e : m.entries)
        found(e.stream->device, cudaErrorLaunchFailure,
              "deadlock: collectives of several devices wait for one another in a ring");
}

// Brings the others to the meeting at the front of the stream and holds it; or waits, or moves one
// of them: then all is to be looked at again. False: it would have to wait.
bool go_to_meeting(Stream *stream, bool may_wait)
{
    static thread_local std::vector<const Meeting *> on_the_way;
    const std::shared_ptr<Meeting> meeting = stream->queue.front().meeting;
    const Meeting::Entry &own = meeting->entries[stream->queue.front().entry];

    if (own.left) {
        stream->error = cudaErrorLaunchFailure;
        return true;
    }
    if (!can_meet(*meeting)) {
        if (may_wait)
            wait_for_change();
        return may_wait;
    }
    for (const Meeting *m : on_the_way)
        if (m == meeting.get()) {
            report_ring(*meeting);
            return true;
        }
    if (const Meeting::Entry *late = late_entry(*meeting)) {
        on_the_way.push_back(meeting.get());
        const bool moved = run_until(late->stream, late->at - 1, may_wait);
        on_the_way.pop_back();
        return moved;
    }
    if (!meeting->run())
        return true;
    meeting->done = true;
    for (const Meeting::Entry &e : meeting->entries)
        pop(e.stream);
    tell_waiters();
    return true;
}

cudaError_t event_of(cudaEvent_t handle, Event **out)
{
    *out = nullptr;
    for (Event &e : events)
        if ((cudaEvent_t)&e == handle) {
            if (!e.alive)
                return found(current_device, cudaErrorInvalidResourceHandle,
                             "an event is used after cudaEventDestroy");
            *out = &e;
            return cudaSuccess;
        }
    return found(current_device, cudaErrorInvalidResourceHandle, "%p is no event", (void *)handle);
}
} // namespace

// Each turn looks at the stream anew: while this thread waited, others may have run it. What work
// waits for was queued before it, or is a meeting's.
bool run_until(Stream *stream, unsigned long long at, bool may_wait)
{
    while (stream->n_done < at) {
        const Work &front = stream->queue.front();
        const auto d = std::find_if_not(front.after.begin(), front.after.end(), is_done);

        if (state_of(stream)) {
            pop(stream);
        } else if (d != front.after.end()) {
            const Dependency before = *d;
            if (!run_until(before.stream, before.at, may_wait))
                return false;
        } else if (front.meeting) {
            if (!go_to_meeting(stream, may_wait))
                return false;
        } else {
            const Work work = std::move(stream->queue.front());
            running_device = stream->device;
            if (work.run)
                work.run();
            running_device = -1;
            pop(stream);
        }
    }
    return true;
}

cudaError_t stream_of(cudaStream_t handle, Stream **out)
{
    *out = nullptr;
    if (!handle || handle == cudaStreamLegacy) {
        Stream *&null_stream = null_streams[current_device];
        if (!null_stream)
            null_stream = new_stream(current_device, true);
        *out = null_stream;
        return cudaSuccess;
    }
    for (Stream &s : streams)
        if ((cudaStream_t)&s == handle) {
            if (!s.alive)
                return found(current_device, cudaErrorInvalidResourceHandle,
                             "a stream is used after cudaStreamDestroy");
            *out = &s;
            return cudaSuccess;
        }
    return found(current_device, cudaErrorInvalidResourceHandle, "%p is no stream", (void *)handle);
}

static cudaError_t enqueue_after(Stream *stream, std::function<void()> run, const Dependency *extra)
{
    Work work = {std::move(run), {}, nullptr, 0};
    Stream *null_stream = null_streams[stream->device];

    if (devices[stream->device].sticky)
        return fail(devices[stream->device].sticky);
    if (extra && !is_done(*extra))
        work.after.push_back(*extra);
    // The null stream waits for all blocking ones of its device, and they for it.
    if (stream == null_stream) {
        for (Stream &s : streams)
            if (&s != stream && s.alive && s.blocking && s.device == stream->device)
                if (s.n_done < s.n_queued)
                    work.after.push_back({&s, s.n_queued});
    } else if (stream->blocking && null_stream && null_stream->n_done < null_stream->n_queued) {
        work.after.push_back({null_stream, null_stream->n_queued});
    }
    stream->queue.push_back(std::move(work));
    stream->n_queued++;
    if (flip_early())
        run_until(stream, stream->n_queued, false);
    return cudaSuccess;
}

cudaError_t enqueue(Stream *stream, std::function<void()> run)
{
    return enqueue_after(stream, std::move(run), nullptr);
}

cudaError_t join(const std::shared_ptr<Meeting> &meeting, size_t entry, Stream *stream,
                 const Dependency &after)
{
    const cudaError_t error = enqueue_after(stream, nullptr, &after); // what it waits for

    if (error)
        return error;
    stream->queue.push_back({nullptr, {}, meeting, entry});
    meeting->entries[entry] = {stream, ++stream->n_queued, false};
    if (flip_early())
        run_until(stream, stream->n_queued, false);
    return cudaSuccess;
}

void leave(Meeting *meeting, size_t entry)
{
    meeting->entries[entry].left = true;
}

void drain(Stream *stream)
{
    run_until(stream, stream->n_queued, true);
}

void drain_device(int device)
{
    for (size_t i = streams.size(); i-- > 0;)
        if (streams[i].device == device)
            drain(&streams[i]);
}

void forget_queued()
{
    for (Stream &s : streams) {
        s.queue.clear();
        s.n_done = s.n_queued;
        s.error = cudaSuccess;
    }
}
} // namespace vg

using namespace vg;

void vg_pass_time(int algorithm)
{
    passed_ms += options.product_ms[algorithm];
}

cudaError_t vg_enqueue(cudaStream_t handle, const char *name, std::function<void()> run)
{
    Call call;
    Stream *stream;

    if (call.error || (call.error = stream_of(handle, &stream)))
        return call.error;
    if (stream->device != current_device)
        return found(current_device, cudaErrorInvalidResourceHandle,
                     "%s: the stream is of device %d, device %d is current", name, stream->device,
                     current_device);
    return enqueue(stream, std::move(run));
}

void vg_leave_error(cudaError_t code)
{
    Call call;

    fail(code);
}

extern "C" {
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned flags)
{
    Call call;

    *out = nullptr;
    if (call.error)
        return call.error;
    *out = (cudaStream_t)new_stream(current_device, !(flags & cudaStreamNonBlocking));
    counts.live_streams++;
    return cudaSuccess;
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned flags, int)
{
    return cudaStreamCreateWithFlags(out, flags);
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    Call call;
    Stream *stream;
    const cudaError_t error = stream_of(handle, &stream);

    if (error)
        return error;
    if (!handle)
        return fail(cudaErrorInvalidResourceHandle);
    drain(stream);
    stream->alive = false;
    counts.live_streams--;
    return fail(state_of(stream));
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    Call call;
    Stream *stream;

    counts.waits++;
    if (call.error || (call.error = stream_of(handle, &stream)))
        return call.error;
    drain(stream);
    return fail(state_of(stream));
}

// A caller that asks again and again sees work go on.
cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    Call call;
    Stream *stream;

    if (call.error || (call.error = stream_of(handle, &stream)))
        return call.error;
    if (stream->n_done == stream->n_queued)
        return state_of(stream);
    run_until(stream, stream->n_done + 1, false);
    return state_of(stream) ? state_of(stream) : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize(void)
{
    Call call;

    counts.waits++;
    if (call.error)
        return call.error;
    drain_device(current_device);
    for (const Stream &s : streams)
        if (s.alive && s.device == current_device && state_of(&s))
            return fail(state_of(&s));
    return fail(devices[current_device].sticky);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t fn, void *user)
{
    return vg_enqueue(handle, "cudaLaunchHostFunc", [=] { fn(user); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    Call call;

    *out = nullptr;
    if (call.error)
        return call.error;
    events.push_back(
        {current_device, true, !(flags & cudaEventDisableTiming), false, {nullptr, 0}, 0});
    *out = (cudaEvent_t)&events.back();
    counts.live_events++;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle)
{
    Call call;
    Event *event;
    const cudaError_t error = event_of(handle, &event);

    if (error)
        return error;
    event->alive = false;
    counts.live_events--;
    return call.error;
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle)
{
    Call call;
    Event *event;
    Stream *stream;

    if (call.error || (call.error = event_of(handle, &event)) ||
        (call.error = stream_of(stream_handle, &stream)))
        return call.error;
    if (event->device != stream->device)
        return found(current_device, cudaErrorInvalidResourceHandle,
                     "an event of device %d is recorded in a stream of device %d", event->device,
                     stream->device);
    const unsigned long long at = stream->n_queued + 1;
    event->recorded = true;
    event->at = {stream, at};
    return enqueue(stream, [=] {
        if (event->at.stream == stream && event->at.at == at)
            event->ms = now_ms();
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream_handle, cudaEvent_t handle, unsigned)
{
    Call call;
    Event *event;
    Stream *stream;

    if (call.error || (call.error = event_of(handle, &event)) ||
        (call.error = stream_of(stream_handle, &stream)))
        return call.error;
    return enqueue_after(stream, nullptr, event->recorded ? &event->at : nullptr);
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle)
{
    Call call;
    Event *event;

    counts.waits++;
    if (call.error || (call.error = event_of(handle, &event)))
        return call.error;
    if (!event->recorded)
        return call.error;
    const Dependency at = event->at; // others may record it while this thread waits
    run_until(at.stream, at.at, true);
    return fail(state_of(at.stream));
}

cudaError_t cudaEventQuery(cudaEvent_t handle)
{
    Call call;
    Event *event;

    if (call.error || (call.error = event_of(handle, &event)))
        return call.error;
    if (!event->recorded)
        return cudaSuccess;
    Stream *stream = event->at.stream;
    if (is_done(event->at))
        return state_of(stream);
    run_until(stream, stream->n_done + 1, false);
    return state_of(stream) ? state_of(stream) : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from_handle, cudaEvent_t to_handle)
{
    Call call;
    Event *from, *to;

    *ms = 0;
    if (call.error || (call.error = event_of(from_handle, &from)) ||
        (call.error = event_of(to_handle, &to)))
        return call.error;
    if (!from->recorded || !to->recorded || !from->timed || !to->timed ||
        from->device != to->device)
        return fail(cudaErrorInvalidResourceHandle);
    if (!is_done(from->at) || !is_done(to->at))
        return fail(cudaErrorNotReady);
    *ms = (float)(to->ms - from->ms);
    return cudaSuccess;
}
}
