/* How do stored numbers of any kind become int32 or double? */
#include "cells/h5_numbers.h"

h5_number_kind h5_number_kind_of(hid_t type)
{
    const struct {
        hid_t little, big;
        h5_number number;
        size_t n_bytes;
    } kinds[] = {
        {H5T_STD_I8LE, H5T_STD_I8BE, H5_NUMBER_I8, 1},
        {H5T_STD_U8LE, H5T_STD_U8BE, H5_NUMBER_U8, 1},
        {H5T_STD_I16LE, H5T_STD_I16BE, H5_NUMBER_I16, 2},
        {H5T_STD_U16LE, H5T_STD_U16BE, H5_NUMBER_U16, 2},
        {H5T_STD_I32LE, H5T_STD_I32BE, H5_NUMBER_I32, 4},
        {H5T_STD_U32LE, H5T_STD_U32BE, H5_NUMBER_U32, 4},
        {H5T_STD_I64LE, H5T_STD_I64BE, H5_NUMBER_I64, 8},
        {H5T_STD_U64LE, H5T_STD_U64BE, H5_NUMBER_U64, 8},
        {H5T_IEEE_F32LE, H5T_IEEE_F32BE, H5_NUMBER_F32, 4},
        {H5T_IEEE_F64LE, H5T_IEEE_F64BE, H5_NUMBER_F64, 8},
    };
    const bool is_little = H5Tget_order(H5T_NATIVE_INT) == H5T_ORDER_LE;

    for (size_t i = 0; i < EMC_COUNT(kinds); i++) {
        const bool little = H5Tequal(type, kinds[i].little) > 0;
        if (little || H5Tequal(type, kinds[i].big) > 0)
            return (h5_number_kind){kinds[i].number, kinds[i].n_bytes,
                                    kinds[i].n_bytes > 1 && little != is_little};
    }
    return (h5_number_kind){0};
}

static void swap(void *numbers, size_t n_bytes, size_t n)
{
    uint16_t *two = numbers;
    uint32_t *four = numbers;
    uint64_t *eight = numbers;

    for (size_t i = 0; n_bytes == 2 && i < n; i++)
        two[i] = __builtin_bswap16(two[i]);
    for (size_t i = 0; n_bytes == 4 && i < n; i++)
        four[i] = __builtin_bswap32(four[i]);
    for (size_t i = 0; n_bytes == 8 && i < n; i++)
        eight[i] = __builtin_bswap64(eight[i]);
}

#define CONVERT(type)                                                                              \
    do {                                                                                           \
        const type *numbers = from;                                                                \
        for (size_t i = 0; i < n; i++)                                                             \
            to[i] = (double)numbers[i];                                                            \
    } while (0)

void h5_numbers_double(double *to, void *from, h5_number_kind kind, size_t n)
{
    if (kind.is_swapped)
        swap(from, kind.n_bytes, n);
    switch (kind.number) {
    case H5_NUMBER_I8:
        CONVERT(int8_t);
        break;
    case H5_NUMBER_U8:
        CONVERT(uint8_t);
        break;
    case H5_NUMBER_I16:
        CONVERT(int16_t);
        break;
    case H5_NUMBER_U16:
        CONVERT(uint16_t);
        break;
    case H5_NUMBER_I32:
        CONVERT(int32_t);
        break;
    case H5_NUMBER_U32:
        CONVERT(uint32_t);
        break;
    case H5_NUMBER_I64:
        CONVERT(int64_t);
        break;
    case H5_NUMBER_U64:
        CONVERT(uint64_t);
        break;
    case H5_NUMBER_F32:
        CONVERT(float);
        break;
    case H5_NUMBER_F64:
        CONVERT(double);
        break;
    case H5_NUMBER_NONE:
        break;
    }
}

#undef CONVERT
#define CLAMP(type, is_low)                                                                        \
    do {                                                                                           \
        const type *numbers = from;                                                                \
        for (size_t i = 0; i < n; i++)                                                             \
            to[i] = (is_low)                 ? INT32_MIN                                           \
                    : numbers[i] > INT32_MAX ? INT32_MAX                                           \
                                             : (int32_t)numbers[i];                                \
    } while (0)

#define WIDEN(type)                                                                                \
    do {                                                                                           \
        const type *numbers = from;                                                                \
        for (size_t i = 0; i < n; i++)                                                             \
            to[i] = (int32_t)numbers[i];                                                           \
    } while (0)

void h5_numbers_int32(int32_t *to, void *from, h5_number_kind kind, size_t n)
{
    if (kind.is_swapped)
        swap(from, kind.n_bytes, n);
    switch (kind.number) {
    case H5_NUMBER_I8:
        WIDEN(int8_t);
        break;
    case H5_NUMBER_U8:
        WIDEN(uint8_t);
        break;
    case H5_NUMBER_I16:
        WIDEN(int16_t);
        break;
    case H5_NUMBER_U16:
        WIDEN(uint16_t);
        break;
    case H5_NUMBER_I32:
        WIDEN(int32_t);
        break;
    case H5_NUMBER_U32:
        CLAMP(uint32_t, false);
        break;
    case H5_NUMBER_I64:
        CLAMP(int64_t, numbers[i] < INT32_MIN);
        break;
    case H5_NUMBER_U64:
        CLAMP(uint64_t, false);
        break;
    case H5_NUMBER_F32:
    case H5_NUMBER_F64:
    case H5_NUMBER_NONE:
        break;
    }
}

/* The usual sizes by themselves, so that the inner loop has no variable in it. */
static inline void unshuffle_n(unsigned char *restrict to, const unsigned char *restrict from,
                               size_t n, size_t n_bytes)
{
    for (size_t i = 0; i < n; i++)
        for (size_t b = 0; b < n_bytes; b++)
            to[i * n_bytes + b] = from[b * n + i];
}

void h5_numbers_unshuffle(unsigned char *to, const unsigned char *from, size_t n, size_t n_bytes)
{
    switch (n_bytes) {
    case 2:
        unshuffle_n(to, from, n, 2);
        break;
    case 4:
        unshuffle_n(to, from, n, 4);
        break;
    case 8:
        unshuffle_n(to, from, n, 8);
        break;
    default:
        unshuffle_n(to, from, n, n_bytes);
        break;
    }
}
