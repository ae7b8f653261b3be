#include "base/dtype.h"

#include <math.h>
#include <string.h>

size_t emc_dtype_bytes(emc_dtype dtype)
{
    return dtype == EMC_F32 ? 4 : 2;
}

const char *emc_dtype_name(emc_dtype dtype)
{
    return dtype == EMC_F32 ? "F32" : dtype == EMC_BF16 ? "BF16" : "F16";
}

float emc_f16_to_f32(uint16_t bits)
{
    const int exponent = (bits >> 10) & 0x1F;
    const int fraction = bits & 0x3FF;
    float value;

    if (exponent == 0)
        value = ldexpf((float)fraction, -24);
    else if (exponent < 31)
        value = ldexpf((float)(fraction | 0x400), exponent - 25);
    else
        value = fraction ? NAN : INFINITY;
    return bits & 0x8000 ? -value : value;
}

void emc_to_f32(float *dst, const void *src, emc_dtype dtype, size_t n)
{
    const unsigned char *bytes = src;

    if (dtype == EMC_F32) {
        memcpy(dst, src, n * sizeof *dst);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, bytes + 2 * i, sizeof half);
        dst[i] = dtype == EMC_BF16 ? emc_bf16_to_f32(half) : emc_f16_to_f32(half);
    }
}

void emc_from_f32(void *dst, emc_dtype dtype, const float *src, size_t n)
{
    uint16_t *half = dst;

    if (dtype == EMC_F32) {
        memcpy(dst, src, n * sizeof *src);
        return;
    }
    for (size_t i = 0; i < n; i++)
        half[i] = emc_f32_to_bf16(src[i]);
}
