// streams.cpp: when does queued work run? As late as the rules allow: when something waits for it.
// Code that reads a result before waiting, or reuses a host buffer too early, gets the wrong bytes
// every time. (Or at once, as early as the rules allow: the other schedule.)
#include "virtual_gpu/vg_internal.hpp"

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
    streams.push_back({device, true, blocking, {}, 0, 0});
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

// Runs a stream until it has done `at` pieces of work; others move only as far as it needs. What
// work waits for was queued before it, so this ends.
void run_until(Stream *stream, unsigned long long at)
{
    while (stream->n_done < at) {
        for (const Dependency &d : stream->queue.front().after)
            run_until(d.stream, d.at);
        Work work = std::move(stream->queue.front());
        stream->queue.pop_front();
        running_device = stream->device;
        if (work.run && !devices[stream->device].sticky)
            work.run();
        running_device = -1;
        stream->n_done++;
    }
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
    Work work = {std::move(run), {}};
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
        run_until(stream, stream->n_queued);
    return cudaSuccess;
}

cudaError_t enqueue(Stream *stream, std::function<void()> run)
{
    return enqueue_after(stream, std::move(run), nullptr);
}

void drain(Stream *stream)
{
    run_until(stream, stream->n_queued);
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
    return fail(devices[stream->device].sticky);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    Call call;
    Stream *stream;

    counts.waits++;
    if (call.error || (call.error = stream_of(handle, &stream)))
        return call.error;
    drain(stream);
    return fail(devices[stream->device].sticky);
}

// A caller that asks again and again sees work go on.
cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    Call call;
    Stream *stream;

    if (call.error || (call.error = stream_of(handle, &stream)))
        return call.error;
    if (stream->n_done == stream->n_queued)
        return cudaSuccess;
    run_until(stream, stream->n_done + 1);
    return devices[stream->device].sticky ? devices[stream->device].sticky : cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize(void)
{
    Call call;

    counts.waits++;
    if (call.error)
        return call.error;
    drain_device(current_device);
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
    if (event->recorded)
        run_until(event->at.stream, event->at.at);
    return fail(devices[event->device].sticky);
}

cudaError_t cudaEventQuery(cudaEvent_t handle)
{
    Call call;
    Event *event;

    if (call.error || (call.error = event_of(handle, &event)))
        return call.error;
    if (!event->recorded || is_done(event->at))
        return cudaSuccess;
    run_until(event->at.stream, event->at.stream->n_done + 1);
    return devices[event->device].sticky ? devices[event->device].sticky : cudaErrorNotReady;
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
