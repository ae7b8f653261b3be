// vg_library.hpp: what do stand-ins for CUDA's libraries (cuBLASLt, NCCL) build on?
#pragma once
#include <cuda_runtime.h>

#include <functional>

// Puts work into a stream, in its order, to be run when the stream's turn comes. `run` is called
// with the virtual GPU's lock held and must not call CUDA. The stream must be one of the calling
// thread's current device. `name` is for errors and must last.
cudaError_t vg_enqueue(cudaStream_t stream, const char *name, std::function<void()> run);

// Called from within such work: it counts as a launch. False: the device is lost from here on.
bool vg_start_launch();

// Called from within such work: it is a product by this algorithm, for vg_options.own_clock.
void vg_pass_time(int algorithm);

// Called from within such work, before memory is used: false, and the device is broken from then
// on, unless all n bytes at p lie in one allocation of the stream's device and, for reading, have
// been written (check build). Marks as written what is to be written.
bool vg_use(const void *p, size_t n, bool write);

// Leaves an error for cudaGetLastError, as a launch that was refused does. Breaks nothing.
void vg_leave_error(cudaError_t code);

// Breaks the current device with this text, as an error in a kernel would.
cudaError_t vg_found(cudaError_t code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
