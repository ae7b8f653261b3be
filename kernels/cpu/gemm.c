/* How is a tile multiplied by oneDNN, and in which dtype? */
#include "kernels/cpu/gemm.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <oneapi/dnnl/dnnl.h>

#include "base/size.h"

#ifndef DNNL_RUNTIME_OMP
#define DNNL_RUNTIME_OMP 2u
#endif
#ifndef DNNL_RUNTIME_SEQ
#define DNNL_RUNTIME_SEQ 1u
#endif

typedef struct {
    dnnl_stream_t stream;
    dnnl_memory_t x, w, y, scratch;
} handles;

typedef struct {
    dnnl_primitive_t primitive;
    handles *workers;
    emc_dtype dtype;
    int k;
} plan_entry;

struct cpu_gemm {
    dnnl_engine_t engine;
    plan_entry *plans;
    size_t n_plans, plan_capacity;
    int n_workers;
};

static emc_status check(dnnl_status_t status, const char *what)
{
    if (status == dnnl_success)
        return EMC_OK;
    return emc_fail(EMC_ERR_DEVICE, "cpu: oneDNN cannot %s: its status is %d", what, (int)status);
}

/* omp_set_num_threads of the OpenMP library that oneDNN brought along, which need not be the one
 * of the compiler at hand: so it is looked up, not linked. */
typedef void (*set_threads)(int);

static set_threads find_set_threads(void)
{
    set_threads found = NULL;

#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
    void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    memcpy(&found, &symbol, sizeof found);
#endif
    return found;
}

void cpu_gemm_start_worker(void)
{
    const set_threads set = find_set_threads();

    if (set)
        set(1);
}

/*
 * AMX: bf16 is 5 times as fast as f32 (1233 against 237 GFLOP/s on two cores of a Xeon). AMD from
 * Zen 4 on multiplies bf16 natively, and there it is twice as fast (410 against 205 on two cores
 * of an EPYC 9004, bench_gemm_cpu). An Intel CPU held to its AVX-512 bf16 instructions was slower
 * than f32 (82 GFLOP/s), so those convert.
 */
emc_dtype cpu_gemm_product(void)
{
#if defined(__x86_64__)
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    const unsigned amx = (unsigned)dnnl_cpu_isa_avx512_core_amx;
    const unsigned bf16 = (unsigned)dnnl_cpu_isa_avx512_core_bf16;

    __builtin_cpu_init();
    if ((isa & amx) == amx || ((isa & bf16) == bf16 && __builtin_cpu_is("amd")))
        return EMC_BF16;
#endif
    return EMC_F32;
}

static const char *isa_name(void)
{
#if defined(__x86_64__)
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } names[] = {
        {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"},
        {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
        {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
        {dnnl_cpu_isa_avx512_core, "avx512_core"},
        {dnnl_cpu_isa_avx2, "avx2"},
        {dnnl_cpu_isa_avx, "avx"},
        {dnnl_cpu_isa_sse41, "sse41"},
    };
    const unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();

    for (size_t i = 0; i < EMC_COUNT(names); i++)
        if ((isa & (unsigned)names[i].isa) == (unsigned)names[i].isa)
            return names[i].name;
#endif
    return "generic";
}

void cpu_gemm_describe(char *out, size_t n_bytes)
{
    const dnnl_version_t *version = dnnl_version();

    snprintf(out, n_bytes, "oneDNN %d.%d.%d %s", version->major, version->minor, version->patch,
             isa_name());
}

emc_status cpu_gemm_open(cpu_gemm **out, int n_workers)
{
    cpu_gemm *gemm = NULL;

    *out = NULL;
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
    if (!find_set_threads())
        return emc_fail(EMC_ERR_DEVICE, "cpu: oneDNN runs on OpenMP, but no omp_set_num_threads is "
                                        "loaded; link oneDNN as a shared library");
#elif DNNL_CPU_THREADING_RUNTIME != DNNL_RUNTIME_SEQ
    return emc_fail(EMC_ERR_DEVICE,
                    "cpu: oneDNN was built for threading runtime %d; use a build "
                    "for OpenMP or a sequential one",
                    (int)DNNL_CPU_THREADING_RUNTIME);
#endif
    EMC_TRY(emc_alloc(&gemm, 1, sizeof *gemm, "the CPU device's products"));
    gemm->n_workers = n_workers;
    const emc_status status =
        check(dnnl_engine_create(&gemm->engine, dnnl_cpu, 0), "make a CPU engine");
    if (status != EMC_OK) {
        cpu_gemm_close(gemm);
        return status;
    }
    *out = gemm;
    return EMC_OK;
}

static void close_handles(handles *h)
{
    if (h->x)
        dnnl_memory_destroy(h->x);
    if (h->w)
        dnnl_memory_destroy(h->w);
    if (h->y)
        dnnl_memory_destroy(h->y);
    if (h->scratch)
        dnnl_memory_destroy(h->scratch);
    if (h->stream)
        dnnl_stream_destroy(h->stream);
}

static void close_plan(plan_entry *plan, int n_workers)
{
    for (int i = 0; plan->workers && i < n_workers; i++)
        close_handles(&plan->workers[i]);
    if (plan->primitive)
        dnnl_primitive_destroy(plan->primitive);
    free(plan->workers);
}

void cpu_gemm_close(cpu_gemm *gemm)
{
    if (!gemm)
        return;
    for (size_t i = 0; i < gemm->n_plans; i++)
        close_plan(&gemm->plans[i], gemm->n_workers);
    if (gemm->engine)
        dnnl_engine_destroy(gemm->engine);
    free(gemm->plans);
    free(gemm);
}

/* What differs between the library's second and third version: descriptors are structs in the one
 * and objects in the other, and an operation has one step less. */
#if DNNL_VERSION_MAJOR >= 3
typedef dnnl_memory_desc_t descriptor;
typedef const_dnnl_memory_desc_t queried;

static dnnl_status_t describe(descriptor *d, int rows, int columns, dnnl_data_type_t type,
                              dnnl_dim_t row_stride, dnnl_dim_t column_stride)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};

    return dnnl_memory_desc_create_with_strides(d, 2, dims, type, strides);
}

static void forget(descriptor *d)
{
    if (*d)
        dnnl_memory_desc_destroy(*d);
}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                      const descriptor *x, const descriptor *w, const descriptor *y,
                                      dnnl_primitive_attr_t attributes)
{
    return dnnl_matmul_primitive_desc_create(out, engine, *x, *w, NULL, *y, attributes);
}

static queried scratch_of(dnnl_primitive_desc_t product)
{
    return dnnl_primitive_desc_query_md(product, dnnl_query_scratchpad_md, 0);
}

#define BORROWED(d) (*(d))
#else
typedef dnnl_memory_desc_t descriptor;
typedef const dnnl_memory_desc_t *queried;

static dnnl_status_t describe(descriptor *d, int rows, int columns, dnnl_data_type_t type,
                              dnnl_dim_t row_stride, dnnl_dim_t column_stride)
{
    const dnnl_dims_t dims = {rows, columns}, strides = {row_stride, column_stride};

    return dnnl_memory_desc_init_by_strides(d, 2, dims, type, strides);
}

static void forget(descriptor *d)
{
    (void)d;
}

static dnnl_status_t describe_product(dnnl_primitive_desc_t *out, dnnl_engine_t engine,
                                      const descriptor *x, const descriptor *w, const descriptor *y,
                                      dnnl_primitive_attr_t attributes)
{
    dnnl_matmul_desc_t matmul;
    const dnnl_status_t status = dnnl_matmul_desc_init(&matmul, x, w, NULL, y);

    if (status != dnnl_success)
        return status;
    return dnnl_primitive_desc_create(out, &matmul, attributes, engine, NULL);
}

static queried scratch_of(dnnl_primitive_desc_t product)
{
    return dnnl_primitive_desc_query_md(product, dnnl_query_scratchpad_md, 0);
}

#define BORROWED(d) (d)
#endif

static emc_status open_handles(cpu_gemm *gemm, plan_entry *plan, const descriptor *x,
                               const descriptor *w, const descriptor *y, queried scratch)
{
    for (int i = 0; i < gemm->n_workers; i++) {
        handles *h = &plan->workers[i];
        EMC_TRY(check(dnnl_stream_create(&h->stream, gemm->engine, dnnl_stream_default_flags),
                      "make a stream"));
        EMC_TRY(check(dnnl_memory_create(&h->x, BORROWED(x), gemm->engine, DNNL_MEMORY_NONE),
                      "describe activations"));
        EMC_TRY(check(dnnl_memory_create(&h->w, BORROWED(w), gemm->engine, DNNL_MEMORY_NONE),
                      "describe weights"));
        EMC_TRY(check(dnnl_memory_create(&h->y, BORROWED(y), gemm->engine, DNNL_MEMORY_NONE),
                      "describe a result"));
        EMC_TRY(check(dnnl_memory_create(&h->scratch, scratch, gemm->engine, DNNL_MEMORY_ALLOCATE),
                      "allocate its scratch"));
    }
    return EMC_OK;
}

static emc_status make_plan(cpu_gemm *gemm, plan_entry *plan)
{
    const dnnl_data_type_t type = plan->dtype == EMC_BF16 ? dnnl_bf16 : dnnl_f32;
    const int k = plan->k;
    descriptor x = {0}, w = {0}, y = {0};
    dnnl_primitive_attr_t attributes = NULL;
    dnnl_primitive_desc_t product = NULL;
    emc_status status = emc_alloc(&plan->workers, (size_t)gemm->n_workers, sizeof *plan->workers,
                                  "the CPU device's products");

    if (status != EMC_OK)
        goto done;
    if (describe(&x, CPU_TILE_ROWS, k, type, k, 1) != dnnl_success ||
        describe(&w, k, CPU_BLOCK, type, 1, k) != dnnl_success ||
        describe(&y, CPU_TILE_ROWS, CPU_BLOCK, dnnl_f32, CPU_BLOCK, 1) != dnnl_success ||
        dnnl_primitive_attr_create(&attributes) != dnnl_success ||
        dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user) !=
            dnnl_success) {
        status = emc_fail(EMC_ERR_DEVICE, "cpu: oneDNN cannot describe a product of k=%d", k);
        goto done;
    }
    status = check(describe_product(&product, gemm->engine, &x, &w, &y, attributes),
                   "find code for a product");
    if (status == EMC_OK)
        status = check(dnnl_primitive_create(&plan->primitive, product), "make a product");
    if (status == EMC_OK)
        status = open_handles(gemm, plan, &x, &w, &y, scratch_of(product));
done:
    if (product)
        dnnl_primitive_desc_destroy(product);
    if (attributes)
        dnnl_primitive_attr_destroy(attributes);
    forget(&x);
    forget(&w);
    forget(&y);
    return status;
}

emc_status cpu_gemm_plan(cpu_gemm *gemm, int *plan, emc_dtype dtype, int k)
{
    for (size_t i = 0; i < gemm->n_plans; i++) {
        if (gemm->plans[i].dtype == dtype && gemm->plans[i].k == k) {
            *plan = (int)i;
            return EMC_OK;
        }
    }
    EMC_TRY(emc_reserve(&gemm->plans, &gemm->plan_capacity, gemm->n_plans + 1, sizeof *gemm->plans,
                        "the CPU device's products"));
    plan_entry entry = {.dtype = dtype, .k = k};
    const emc_status status = make_plan(gemm, &entry);
    if (status != EMC_OK) {
        close_plan(&entry, gemm->n_workers);
        return status;
    }
    *plan = (int)gemm->n_plans;
    gemm->plans[gemm->n_plans++] = entry;
    return EMC_OK;
}

emc_status cpu_gemm_run(cpu_gemm *gemm, int plan, int worker, const void *x, const void *w,
                        float *y)
{
    const handles *h = &gemm->plans[plan].workers[worker];
    const dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, h->x},
                                         {DNNL_ARG_WEIGHTS, h->w},
                                         {DNNL_ARG_DST, h->y},
                                         {DNNL_ARG_SCRATCHPAD, h->scratch}};

    /* The library takes no pointers to const; it only reads x and w. */
    if (dnnl_memory_set_data_handle(h->x, (void *)(uintptr_t)x) != dnnl_success ||
        dnnl_memory_set_data_handle(h->w, (void *)(uintptr_t)w) != dnnl_success ||
        dnnl_memory_set_data_handle(h->y, y) != dnnl_success)
        return emc_fail(EMC_ERR_DEVICE, "cpu: oneDNN refused a pointer");
    EMC_TRY(check(dnnl_primitive_execute(gemm->plans[plan].primitive, h->stream,
                                         EMC_COUNT(arguments), arguments),
                  "multiply"));
    return check(dnnl_stream_wait(h->stream), "wait for a product");
}
