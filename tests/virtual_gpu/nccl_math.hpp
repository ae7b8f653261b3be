// nccl_math.hpp: what do NCCL's reductions give? Sums go in the order of the ranks, those of floats
// in f32 with one rounding at the end, so that bits are fixed. Integers wrap.
#pragma once
#include "include/nccl.h"

#include <stdint.h>
#include <string.h>

#include <vector>

namespace vg
{
struct Bf16 {
    uint16_t bits;
};

static inline float wide(Bf16 x)
{
    const uint32_t bits = (uint32_t)x.bits << 16;
    float f;

    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline Bf16 narrow_bf16(float f)
{
    uint32_t bits;

    memcpy(&bits, &f, sizeof bits);
    if (f != f)
        return {(uint16_t)(bits >> 16 | 0x40)};
    return {(uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

static inline float add(float a, float b)
{
    return a + b;
}

template <class T> T add(T a, T b)
{
    return (T)((uint64_t)a + (uint64_t)b);
}

template <class T> T combine(T a, T b, ncclRedOp_t op)
{
    if (op == ncclSum)
        return add(a, b);
    return op == ncclMax ? (b > a ? b : a) : (b < a ? b : a);
}

// out[i] of n, of elements i of each source.
template <class T>
void reduce_as(void *out, const std::vector<const void *> &sources, size_t n, ncclRedOp_t op)
{
    for (size_t i = 0; i < n; i++) {
        T x = ((const T *)sources[0])[i];
        for (size_t r = 1; r < sources.size(); r++)
            x = combine(x, ((const T *)sources[r])[i], op);
        ((T *)out)[i] = x;
    }
}

static inline void reduce_bf16(void *out, const std::vector<const void *> &sources, size_t n,
                               ncclRedOp_t op)
{
    for (size_t i = 0; i < n; i++) {
        float x = wide(((const Bf16 *)sources[0])[i]);
        for (size_t r = 1; r < sources.size(); r++)
            x = combine(x, wide(((const Bf16 *)sources[r])[i]), op);
        ((Bf16 *)out)[i] = narrow_bf16(x);
    }
}

// Bytes of an element; 0: not a type of this stand-in.
static inline size_t size_of(ncclDataType_t type)
{
    switch (type) {
    case ncclInt8:
    case ncclUint8:
        return 1;
    case ncclBfloat16:
        return 2;
    case ncclInt32:
    case ncclFloat32:
        return 4;
    case ncclInt64:
        return 8;
    default:
        return 0;
    }
}

static inline void reduce(void *out, const std::vector<const void *> &sources, size_t n,
                          ncclDataType_t type, ncclRedOp_t op)
{
    switch (type) {
    case ncclInt8:
        return reduce_as<int8_t>(out, sources, n, op);
    case ncclUint8:
        return reduce_as<uint8_t>(out, sources, n, op);
    case ncclInt32:
        return reduce_as<int32_t>(out, sources, n, op);
    case ncclInt64:
        return reduce_as<int64_t>(out, sources, n, op);
    case ncclFloat32:
        return reduce_as<float>(out, sources, n, op);
    default:
        return reduce_bf16(out, sources, n, op);
    }
}
} // namespace vg
