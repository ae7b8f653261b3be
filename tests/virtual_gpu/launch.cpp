// launch.cpp: how does a grid run? One block after the other, in an order of the schedule's choice.
#include "virtual_gpu/vg_internal.hpp"

#include <chrono>
#include <elf.h>
#include <execinfo.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

extern "C" unsigned char __executable_start[];

namespace vg
{
Block cur;
unsigned launch_id;

uint32_t block_number()
{
    return cur.index.x + cur.grid_dim.x * (cur.index.y + cur.grid_dim.y * cur.index.z);
}

namespace
{
struct Launch {
    const char *name;
    dim3 grid, block;
    size_t smem;
    void (*run)(const void *);
    std::vector<max_align_t> params;
};

bool is_lost(int device)
{
    return options.lost_after >= 0 && (options.lost_device < 0 || options.lost_device == device) &&
           devices[device].launches > options.lost_after;
}

// False, and the device is broken, when this launch is the one it is to be lost at.
bool start_launch(int device)
{
    devices[device].launches++;
    if (is_lost(device))
        devices[device].sticky = cudaErrorLaunchFailure;
    return !devices[device].sticky;
}

void run_grid(const Launch &launch)
{
    const int device = running_device;
    const size_t n_blocks = (size_t)launch.grid.x * launch.grid.y * launch.grid.z;
    size_t step = 1, at = 0;

    if (!start_launch(device))
        return;
    const SignalHandler handler;
    const auto start = std::chrono::steady_clock::now();
    launch_id++;
    reseed(launch_id);
    count_launch(launch.name);
    counts.launches++;
    cur.name = launch.name;
    cur.block_dim = launch.block;
    cur.grid_dim = launch.grid;
    cur.smem = launch.smem;
    cur.run = launch.run;
    cur.params = launch.params;
    cur.device = device;
    if (options.order == VG_RANDOM) { // a walk that visits every block once
        at = next_random() % n_blocks;
        do
            step = 1 + next_random() % n_blocks;
        while (std::__gcd(step, n_blocks) != 1);
    }
    for (size_t i = 0; i < n_blocks && !devices[device].sticky; i++, at = (at + step) % n_blocks) {
        const size_t id = options.order == VG_REVERSE ? n_blocks - 1 - i : at;
        cur.index = {(unsigned)(id % launch.grid.x), (unsigned)(id / launch.grid.x % launch.grid.y),
                     (unsigned)(id / launch.grid.x / launch.grid.y)};
        new_shared_memory(i == 0);
        counts.blocks++;
        kernel_counts->blocks++;
        run_block();
    }
    counts.kernel_seconds +=
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The kernel's own lines among these return addresses, innermost first.
std::string lines_of(void *const *pcs, int n)
{
    const bool moves = ((const Elf64_Ehdr *)__executable_start)->e_type == ET_DYN;
    char command[1200], line[400];
    int used = snprintf(command, sizeof command, "addr2line -i -s -e /proc/%d/exe", (int)getpid());
    std::string text;

    for (int i = 1; i < n && used < 1000; i++)
        used +=
            snprintf(command + used, sizeof command - (size_t)used, " %p",
                     (void *)((uintptr_t)pcs[i] - 1 - (moves ? (uintptr_t)__executable_start : 0)));
    snprintf(command + used, sizeof command - (size_t)used, " 2>/dev/null");
    FILE *f = popen(command, "r");
    for (int lines = 0; f && fgets(line, sizeof line, f);) {
        line[strcspn(line, " \n")] = 0;
        if (lines == 3 || !(strstr(line, ".cu:") || strstr(line, ".cuh:")) ||
            strstr(line, "vg_device"))
            continue;
        text += std::string(lines++ ? " from " : " at ") + line;
    }
    if (f)
        pclose(f);
    return text;
}
} // namespace
} // namespace vg

using namespace vg;

bool vg_start_launch()
{
    return start_launch(running_device);
}

// Records the error with its place and abandons the launch.
void vg_fail(const char *fmt, ...)
{
    char text[2000];
    void *pcs[24];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    const std::string lines = lines_of(pcs, backtrace(pcs, 24));
    found(cur.device, cudaErrorLaunchFailure, "%s, block (%u,%u,%u), thread %d: %s%s", cur.name,
          cur.index.x, cur.index.y, cur.index.z, self->index, text, lines.c_str());
    leave_block();
    __builtin_unreachable();
}

cudaError_t vg_launch(const char *name, const void *fn, dim3 grid, dim3 block, size_t smem,
                      cudaStream_t handle, void (*run)(const void *), const void *params,
                      size_t n_bytes)
{
    Call call;
    const unsigned n = block.x * block.y * block.z;
    Stream *stream;

    if (call.error || (call.error = stream_of(handle, &stream)))
        return call.error;
    if (stream->device != current_device)
        return found(current_device, cudaErrorInvalidResourceHandle,
                     "%s: the stream is of device %d, device %d is current", name, stream->device,
                     current_device);
    if (!n || n > MAX_THREADS || block.x > MAX_THREADS || block.y > MAX_THREADS || block.z > 64 ||
        !grid.x || !grid.y || !grid.z || grid.x > 0x7fffffff || grid.y > 65535 || grid.z > 65535)
        return fail(cudaErrorInvalidConfiguration);
    const auto &opt_in = devices[current_device].smem_opt_in;
    const auto it = opt_in.find(fn);
    if (smem > std::max(it == opt_in.end() ? 0 : it->second, SMEM_DEFAULT))
        return fail(cudaErrorInvalidValue);
    Launch launch = {name, grid, block, smem, run, {}};
    launch.params.resize(n_bytes / sizeof(max_align_t) + 1);
    memcpy(launch.params.data(), params, n_bytes);
    return enqueue(stream, [launch] { run_grid(launch); });
}

extern "C" uint3 vg_block_idx()
{
    return cur.index;
}
extern "C" dim3 vg_block_dim_()
{
    return cur.block_dim;
}
extern "C" dim3 vg_grid_dim_()
{
    return cur.grid_dim;
}
