#pragma once
/* Vectors of the variant's width, and the few functions that inner loops need. */

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"

#if defined(__AVX512F__) || (defined(__AVX2__) && defined(__FMA__))
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__AVX512F__)
#define CPU_LANES 16
#elif defined(__AVX2__) && defined(__FMA__)
#define CPU_LANES 8
#else
#define CPU_LANES 4
#endif

typedef float cpu_vec __attribute__((vector_size(CPU_LANES * 4)));
typedef float cpu_vec_anywhere __attribute__((vector_size(CPU_LANES * 4), aligned(4), may_alias));

static inline cpu_vec cpu_load(const float *p)
{
    return *(const cpu_vec_anywhere *)p;
}

static inline void cpu_store(float *p, cpu_vec v)
{
    *(cpu_vec_anywhere *)p = v;
}

static inline cpu_vec cpu_all(float x)
{
    const cpu_vec zero = {0};

    return x - zero;
}

/* Four rows of four values at `in`, written as four columns at `out`. */
static inline void cpu_transpose4(float *out, size_t out_stride, const float *in, size_t in_stride)
{
#if defined(__clang__) || __GNUC__ >= 12
    typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
    const four a = *(const four *)in, b = *(const four *)(in + in_stride);
    const four c = *(const four *)(in + 2 * in_stride), d = *(const four *)(in + 3 * in_stride);
    const four ab_low = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    const four ab_high = __builtin_shufflevector(a, b, 2, 6, 3, 7);
    const four cd_low = __builtin_shufflevector(c, d, 0, 4, 1, 5);
    const four cd_high = __builtin_shufflevector(c, d, 2, 6, 3, 7);

    *(four *)out = __builtin_shufflevector(ab_low, cd_low, 0, 1, 4, 5);
    *(four *)(out + out_stride) = __builtin_shufflevector(ab_low, cd_low, 2, 3, 6, 7);
    *(four *)(out + 2 * out_stride) = __builtin_shufflevector(ab_high, cd_high, 0, 1, 4, 5);
    *(four *)(out + 3 * out_stride) = __builtin_shufflevector(ab_high, cd_high, 2, 3, 6, 7);
#else
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++)
            out[j * out_stride + i] = in[i * in_stride + j];
#endif
}

/* a * b + c, with one rounding where the variant has the instruction. Contraction is off
 * everywhere else, so this is the only place where the two differ. */
static inline cpu_vec cpu_fma(cpu_vec a, cpu_vec b, cpu_vec c)
{
#if defined(__AVX512F__)
    return (cpu_vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__AVX2__) && defined(__FMA__)
    return (cpu_vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__aarch64__)
    return (cpu_vec)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

static inline float cpu_sum(cpu_vec v)
{
    float lane[CPU_LANES], sum = 0.0f;

    cpu_store(lane, v);
    for (int width = CPU_LANES / 2; width > 0; width /= 2)
        for (int i = 0; i < width; i++)
            lane[i] += lane[i + width];
    sum = lane[0];
    return sum;
}

/*
 * exp(x) without a branch, so that loops over it become vectors: x = n ln 2 + r with |r| <= ln 2 /
 * 2, exp(r) by its series to r^7 (the next term is below 6e-9), n put into the exponent. Within 2
 * ulp; 0 below -87.3 (where the result would be subnormal), infinity above 88.7; NaN stays NaN.
 */
static inline float cpu_exp(float x)
{
    const float rounding = 12582912.0f; /* 1.5 * 2^23: adding it leaves an integer in low bits */
    const float low = x < -87.3f ? -87.3f : x;
    const float y = low > 88.0f ? 88.0f : low;
    const float shifted = y * 1.44269504f + rounding;
    const float n = shifted - rounding;
    const float high_part = y - n * 0.693359375f; /* exact: 9 bits of ln 2 */
    const float r = high_part + n * 2.12194440e-4f;
    float p = 1.0f / 5040;
    union {
        float f;
        uint32_t u;
    } scale = {shifted};

    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    scale.u = (scale.u + 127u) << 23;
    p = p * scale.f;
    p = x < -87.3f ? 0.0f : p;
    return x > 88.0f ? INFINITY : p;
}

/* n values of dtype F32 or BF16, suitably aligned. */
static inline void cpu_widen(float *dst, const void *src, emc_dtype dtype, size_t n)
{
    if (dtype == EMC_BF16) {
        const uint16_t *half = (const uint16_t *)src;
        for (size_t i = 0; i < n; i++)
            dst[i] = emc_bf16_to_f32(half[i]);
    } else {
        const float *full = (const float *)src;
        for (size_t i = 0; i < n; i++)
            dst[i] = full[i];
    }
}

static inline void cpu_narrow(void *dst, emc_dtype dtype, const float *src, size_t n)
{
    if (dtype == EMC_BF16) {
        uint16_t *half = (uint16_t *)dst;
        for (size_t i = 0; i < n; i++)
            half[i] = emc_f32_to_bf16(src[i]);
    } else {
        float *full = (float *)dst;
        for (size_t i = 0; i < n; i++)
            full[i] = src[i];
    }
}

static inline float cpu_get(const void *tensor, emc_dtype dtype, size_t i)
{
    return dtype == EMC_BF16 ? emc_bf16_to_f32(((const uint16_t *)tensor)[i])
                             : ((const float *)tensor)[i];
}

static inline void cpu_put(void *tensor, emc_dtype dtype, size_t i, float value)
{
    if (dtype == EMC_BF16)
        ((uint16_t *)tensor)[i] = emc_f32_to_bf16(value);
    else
        ((float *)tensor)[i] = value;
}
