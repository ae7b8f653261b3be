#pragma once
/* The number formats of weights and activations, and their conversion on the host. */

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum { EMC_F32 = 0, EMC_BF16, EMC_F16 } emc_dtype;

size_t emc_dtype_bytes(emc_dtype dtype);

/* "F32", "BF16", "F16", as safetensors writes them. */
const char *emc_dtype_name(emc_dtype dtype);

/* Exact. */
static inline float emc_bf16_to_f32(uint16_t bits)
{
    union {
        uint32_t u;
        float f;
    } x = {(uint32_t)bits << 16};
    return x.f;
}

/* Round to nearest, ties to even; NaN stays NaN, overflow becomes infinity. */
static inline uint16_t emc_f32_to_bf16(float value)
{
    union {
        float f;
        uint32_t u;
    } x = {value};
    if ((x.u & 0x7FFFFFFFu) > 0x7F800000u)
        return (uint16_t)((x.u >> 16) | 0x40u);
    return (uint16_t)((x.u + 0x7FFFu + ((x.u >> 16) & 1u)) >> 16);
}

/* Exact, subnormal numbers included. */
float emc_f16_to_f32(uint16_t bits);

/* n values of any dtype at src (no alignment needed) to f32. Exact. */
void emc_to_f32(float *dst, const void *src, emc_dtype dtype, size_t n);

/* n f32 values to dtype F32 or BF16 (one rounding). */
void emc_from_f32(void *dst, emc_dtype dtype, const float *src, size_t n);

#ifdef __cplusplus
}
#endif
