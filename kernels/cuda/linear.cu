// out = x w^T (+ low-rank update) (+ residual), by one to three products of cuBLASLt (gemm.c).
//
// Plain:        out = x w^T (+ residual, as the product's C: no pass of its own)
// LoRA:         t = x a^T;  out = t b^T (+ residual);  out = x w^T + out
// LoRA, scaled: t = x a^T;  y = t b^T;  y = x w^T + y;  out = y * column_scale (+ residual)
//
// All are run on batch_rows rows, whatever the number in use: a product's algorithm, and with it a
// row's bits, depends on the row count. Ranks are padded, so a sum over the rank has zeros at its
// end. t, y and out between the products are bf16: three roundings beside the last one.
//
// Results in f32 are scaled where they lie.
//
// The scale kernel: 16 bytes a thread and array where a row is whole chunks, else one value. Bytes:
// y, residual and out once each, 6 a value.
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/device.h"
#include "kernels/cuda/gemm.h"

constexpr int THREADS = 256;

// WIDTH values of one row.
template <int WIDTH> struct alignas(2 * WIDTH) Values {
    __nv_bfloat16 of[WIDTH];
};

// Grid: chunks of WIDTH values over all rows, in any number of blocks. residual may be out.
template <int WIDTH>
static __global__ void scale_columns_kernel(Values<WIDTH> *out, const Values<WIDTH> *y,
                                            const float *scale, const Values<WIDTH> *residual,
                                            long long n_chunks, int chunks_of_row)
{
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n_chunks;
         i += (long long)gridDim.x * blockDim.x) {
        const float *const s = scale + (int)(i % chunks_of_row) * WIDTH;
        const Values<WIDTH> v = y[i];
        Values<WIDTH> r = {}, o;

        if (residual)
            r = residual[i];
        for (int j = 0; j < WIDTH; j++) {
            const float scaled = s[j] * __bfloat162float(v.of[j]);
            o.of[j] = __float2bfloat16_rn(residual ? scaled + __bfloat162float(r.of[j]) : scaled);
        }
        out[i] = o;
    }
}

template <int WIDTH>
static cudaError_t launch_scale(cuda_device *cuda, void *out, const void *y, const float *scale,
                                const void *residual, int rows, int n)
{
    const long long n_chunks = (long long)rows * (n / WIDTH);
    const long long most = 16LL * cuda->n_sms, blocks = (n_chunks + THREADS - 1) / THREADS;

    return EMC_LAUNCH(scale_columns_kernel<WIDTH>, ((unsigned)(blocks < most ? blocks : most)),
                      (THREADS), 0, cuda->stream, (Values<WIDTH> *)out, (const Values<WIDTH> *)y,
                      scale, (const Values<WIDTH> *)residual, n_chunks, n / WIDTH);
}

// Grid: values over all rows, in any number of blocks.
static __global__ void scale_f32_kernel(float *out, const float *scale, long long n_values, int n)
{
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < n_values;
         i += (long long)gridDim.x * blockDim.x)
        out[i] = scale[i % n] * out[i];
}

static cudaError_t launch_scale_f32(cuda_device *cuda, void *out, const float *scale, int rows,
                                    int n)
{
    const long long n_values = (long long)rows * n;
    const long long most = 16LL * cuda->n_sms, blocks = (n_values + THREADS - 1) / THREADS;

    return EMC_LAUNCH(scale_f32_kernel, ((unsigned)(blocks < most ? blocks : most)), (THREADS), 0,
                      cuda->stream, (float *)out, scale, n_values, n);
}

// The products of one call, and where in scratch memory what lies between them is.
typedef struct {
    cuda_product down;  // t = x a^T, with lora
    cuda_product up;    // t b^T
    cuda_product whole; // x w^T
    const float *scale; // or NULL
    bool in_place;      // out itself is scaled
    size_t t_bytes, scratch_bytes;
} linear_plan;

static int run_rows(const emc_linear_args *args)
{
    return args->batch_rows > args->rows ? args->batch_rows : args->rows;
}

static linear_plan make_plan(const emc_linear_args *args)
{
    const int rows = run_rows(args), k = args->w->k, n = args->n;
    const emc_lora *lora = args->lora;
    linear_plan plan = {};

    plan.whole.d = args->out;
    plan.whole.x = args->x;
    plan.whole.w = (const __nv_bfloat16 *)args->w->d + (size_t)args->first * (size_t)k;
    plan.whole.c = args->residual;
    plan.whole.rows = rows;
    plan.whole.n = plan.whole.d_stride = n;
    plan.whole.k = k;
    plan.whole.d_dtype = args->out_f32 ? EMC_F32 : EMC_BF16;
    if (!lora)
        return plan;
    plan.down = plan.up = plan.whole;
    plan.t_bytes = (size_t)rows * (size_t)lora->padded * sizeof(__nv_bfloat16);
    plan.scratch_bytes = plan.t_bytes;
    plan.down.w = lora->a.d;
    plan.down.n = plan.down.d_stride = lora->padded;
    plan.down.d_dtype = EMC_BF16;
    plan.down.c = NULL;
    plan.up.w = (const __nv_bfloat16 *)lora->b.d + (size_t)args->first * (size_t)lora->padded;
    plan.up.k = lora->padded;
    plan.whole.c = plan.whole.d; // what `up` has put there
    if (lora->column_scale) {
        plan.scale = lora->column_scale + args->first;
        plan.in_place = args->out_f32;
        if (plan.in_place)
            return plan;
        plan.scratch_bytes += (size_t)rows * (size_t)n * sizeof(__nv_bfloat16);
        plan.up.c = NULL;
    }
    return plan;
}

// t and y begin where scratch memory is, which must not move from here on.
static void place(linear_plan *plan, const emc_linear_args *args, void *scratch)
{
    if (!args->lora)
        return;
    plan->down.d = scratch;
    plan->up.x = scratch;
    if (plan->scale && !plan->in_place) {
        plan->up.d = plan->whole.d = (char *)scratch + plan->t_bytes;
        plan->whole.c = plan->whole.d;
    }
}

emc_status cuda_linear(emc_device *dev, const emc_linear_args *args)
{
    cuda_device *cuda = cuda_use(dev);

    EMC_TRY(emc_check_linear(dev->dtype, args, cuda_matrix_shape(args->w),
                             cuda_lora_shape(args->lora)));
    linear_plan plan = make_plan(args);
    EMC_TRY(cuda_fit(cuda, &cuda->lora, plan.scratch_bytes, "low-rank activations"));
    place(&plan, args, cuda->lora.d);
    if (args->lora) {
        EMC_TRY(cuda_gemm_run(cuda->gemm, "linear (lora's a)", &plan.down));
        EMC_TRY(cuda_gemm_run(cuda->gemm, "linear (lora's b)", &plan.up));
    }
    EMC_TRY(cuda_gemm_run(cuda->gemm, "linear", &plan.whole));
    if (!plan.scale)
        return EMC_OK;
    const cudaError_t error =
        plan.in_place ? launch_scale_f32(cuda, args->out, plan.scale, args->rows, args->n)
        : args->n % CUDA_CHUNK == 0
            ? launch_scale<CUDA_CHUNK>(cuda, args->out, plan.whole.d, plan.scale, args->residual,
                                       args->rows, args->n)
            : launch_scale<1>(cuda, args->out, plan.whole.d, plan.scale, args->residual, args->rows,
                              args->n);
    return cuda_check(error, "linear (column scale): rows=%d n=%d", args->rows, args->n);
}

emc_status cuda_prepare_linear(emc_device *dev, const emc_linear_args *args)
{
    cuda_device *cuda = cuda_use(dev);
    char somewhere;

    if (!args->w || args->rows < 1 || args->n < 1)
        return emc_fail(EMC_ERR_ARG, "prepare_linear: rows=%d n=%d", args->rows, args->n);
    linear_plan plan = make_plan(args);
    EMC_TRY(cuda_fit(cuda, &cuda->lora, plan.scratch_bytes, "low-rank activations"));
    if (args->lora) {
        // Only whether something is added counts, and out may be NULL here.
        plan.whole.c = &somewhere;
        EMC_TRY(cuda_gemm_prepare(cuda->gemm, "linear (lora's a)", &plan.down));
        EMC_TRY(cuda_gemm_prepare(cuda->gemm, "linear (lora's b)", &plan.up));
    }
    return cuda_gemm_prepare(cuda->gemm, "linear", &plan.whole);
}
