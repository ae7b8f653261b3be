#pragma once
/* Tests of operations: every device there is, and buffers on it that notice a stray write. */

#include "emt.h"
#include "kernels/ops.h"

typedef struct {
    const char *name;
    emc_status (*open)(emc_device **out, emc_dtype dtype, int n_threads);
    bool has_threads;   /* whether n_threads makes a difference */
    bool may_be_absent; /* a machine without it is no failure */
    bool has_f32;       /* computes in F32, too, not in BF16 alone */
} emt_device_kind;

/* Ends with a NULL name. A new kind of device joins here, and every test of operations runs on
 * it. */
extern const emt_device_kind emt_device_kinds[];

/* Runs the test for every kind of device and each of its activation dtypes. The environment's
 * EMT_ONLY_DEVICE names the one kind that must be there, and is then the only one. */
void emt_each_device(void (*test)(emc_device *dev));

/* The same, where the test opens devices itself. */
void emt_each_kind(void (*test)(const emt_device_kind *kind, emc_dtype dtype));

emc_device *emt_open(const emt_device_kind *kind, emc_dtype dtype, int n_threads);
void emt_close_device(emc_device *dev);

/*
 * n elements in the device's memory with guard bytes on both sides, and on the host what was put
 * there, as the device's dtype rounds it: `value` in double for the references.
 */
typedef struct {
    emc_device *dev;
    char *whole; /* with the guards */
    void *d;     /* the elements, in the device's memory */
    emc_dtype dtype;
    size_t n, size; /* elements; bytes of one */
    double *value;
    unsigned char *bytes; /* after emt_fetch: as stored */
} emt_buf;

/* In the device's dtype: all NaN; normal numbers times `scale`; these values. */
emt_buf emt_poison(emc_device *dev, size_t n);
emt_buf emt_normals(emc_device *dev, size_t n, double scale, uint64_t *seed);
emt_buf emt_values(emc_device *dev, const double *values, size_t n);

/* f32 whatever the device's dtype. */
emt_buf emt_f32_poison(emc_device *dev, size_t n);
emt_buf emt_f32_values(emc_device *dev, const double *values, size_t n);

emt_buf emt_ints(emc_device *dev, const int32_t *values, size_t n);

/* Rewrites `value` and `bytes` from the device; fails the test when a guard byte has changed. */
void emt_fetch(emt_buf *buf);
int32_t emt_int(const emt_buf *buf, size_t i);
void emt_free(emt_buf *buf);

/*
 * Every element i of a fetched buffer is within rtol * |want[i]| + atol[i] of want[i]; atol NULL
 * is 0. A NaN that is not wanted fails. `what` names the case in the message.
 */
void emt_close(const char *what, const emt_buf *got, const double *want, double rtol,
               const double *atol);

/* The stored bytes of n elements from `at` in a and from `other_at` in b are the same. */
void emt_same(const char *what, const emt_buf *a, size_t at, const emt_buf *b, size_t other_at,
              size_t n);

/* Weights on the host in any dtype, `offset` bytes past an aligned address; `value` is what the
 * device is to compute with: converted to its dtype T. */
typedef struct {
    void *whole;
    emc_matrix_part part;
    double *value;
    size_t n;
} emt_weights;

emt_weights emt_part(emc_device *dev, int n_rows, int k, emc_dtype dtype, size_t offset,
                     double scale, uint64_t *seed);
void emt_free_weights(emt_weights *weights);

/* A store in the device's dtype is off by at most this part of the value. */
double emt_rounding(const emc_device *dev);
