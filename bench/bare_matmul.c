#include "bare_matmul.h"

#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdlib.h>
#include <string.h>

struct bare_matmul {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t primitive;
    dnnl_memory_t x, w, y;
};

#if DNNL_VERSION_MAJOR >= 3
static dnnl_status_t describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_dim_t m,
                              dnnl_dim_t n, dnnl_dim_t k, dnnl_data_type_t type)
{
    const dnnl_dims_t x_dims = {m, k}, w_dims = {k, n}, y_dims = {m, n};
    dnnl_memory_desc_t x = NULL, w = NULL, y = NULL;
    dnnl_status_t status = dnnl_memory_desc_create_with_tag(&x, 2, x_dims, type, dnnl_ab);

    if (status == dnnl_success)
        status = dnnl_memory_desc_create_with_tag(&w, 2, w_dims, type, dnnl_format_tag_any);
    if (status == dnnl_success)
        status = dnnl_memory_desc_create_with_tag(&y, 2, y_dims, dnnl_f32, dnnl_ab);
    if (status == dnnl_success)
        status = dnnl_matmul_primitive_desc_create(out, engine, x, w, NULL, y, NULL);
    dnnl_memory_desc_destroy(x);
    dnnl_memory_desc_destroy(w);
    dnnl_memory_desc_destroy(y);
    return status;
}
#else
static dnnl_status_t describe(dnnl_primitive_desc_t *out, dnnl_engine_t engine, dnnl_dim_t m,
                              dnnl_dim_t n, dnnl_dim_t k, dnnl_data_type_t type)
{
    const dnnl_dims_t x_dims = {m, k}, w_dims = {k, n}, y_dims = {m, n};
    dnnl_memory_desc_t x, w, y;
    dnnl_matmul_desc_t matmul;

    if (dnnl_memory_desc_init_by_tag(&x, 2, x_dims, type, dnnl_ab) != dnnl_success ||
        dnnl_memory_desc_init_by_tag(&w, 2, w_dims, type, dnnl_format_tag_any) != dnnl_success ||
        dnnl_memory_desc_init_by_tag(&y, 2, y_dims, dnnl_f32, dnnl_ab) != dnnl_success ||
        dnnl_matmul_desc_init(&matmul, &x, &w, NULL, &y) != dnnl_success)
        return dnnl_runtime_error;
    return dnnl_primitive_desc_create(out, &matmul, NULL, engine, NULL);
}
#endif

static dnnl_status_t make_memory(dnnl_memory_t *out, dnnl_primitive_desc_t product,
                                 dnnl_query_t what, dnnl_engine_t engine)
{
    return dnnl_memory_create(out, dnnl_primitive_desc_query_md(product, what, 0), engine,
                              DNNL_MEMORY_ALLOCATE);
}

/* Ones, in either dtype: fresh zero pages would all be one page. */
static void fill(dnnl_memory_t memory, size_t n, bool bf16)
{
    void *data = NULL;

    if (dnnl_memory_get_data_handle(memory, &data) != dnnl_success)
        return;
    for (size_t i = 0; i < n; i++) {
        if (bf16)
            ((unsigned short *)data)[i] = 0x3F80;
        else
            ((float *)data)[i] = 1.0f;
    }
}

void bare_matmul_threads(int n)
{
    void (*set_threads)(int) = NULL;
    void *symbol = dlsym(RTLD_DEFAULT, "omp_set_num_threads");

    memcpy(&set_threads, &symbol, sizeof set_threads);
    if (set_threads && n > 0)
        set_threads(n);
}

bare_matmul *bare_matmul_open(int m, int n, int k, bool bf16)
{
    bare_matmul *b = calloc(1, sizeof *b);
    dnnl_primitive_desc_t product = NULL;
    bool ok =
        b && dnnl_engine_create(&b->engine, dnnl_cpu, 0) == dnnl_success &&
        dnnl_stream_create(&b->stream, b->engine, dnnl_stream_default_flags) == dnnl_success &&
        describe(&product, b->engine, m, n, k, bf16 ? dnnl_bf16 : dnnl_f32) == dnnl_success &&
        dnnl_primitive_create(&b->primitive, product) == dnnl_success &&
        make_memory(&b->x, product, dnnl_query_src_md, b->engine) == dnnl_success &&
        make_memory(&b->w, product, dnnl_query_weights_md, b->engine) == dnnl_success &&
        make_memory(&b->y, product, dnnl_query_dst_md, b->engine) == dnnl_success;

    if (product)
        dnnl_primitive_desc_destroy(product);
    if (!ok) {
        bare_matmul_close(b);
        return NULL;
    }
    fill(b->x, (size_t)m * (size_t)k, bf16);
    fill(b->w, (size_t)n * (size_t)k, bf16);
    return b;
}

bool bare_matmul_run(bare_matmul *b)
{
    const dnnl_exec_arg_t arguments[] = {
        {DNNL_ARG_SRC, b->x}, {DNNL_ARG_WEIGHTS, b->w}, {DNNL_ARG_DST, b->y}};

    return dnnl_primitive_execute(b->primitive, b->stream, 3, arguments) == dnnl_success &&
           dnnl_stream_wait(b->stream) == dnnl_success;
}

void bare_matmul_close(bare_matmul *b)
{
    if (!b)
        return;
    if (b->x)
        dnnl_memory_destroy(b->x);
    if (b->w)
        dnnl_memory_destroy(b->w);
    if (b->y)
        dnnl_memory_destroy(b->y);
    if (b->primitive)
        dnnl_primitive_destroy(b->primitive);
    if (b->stream)
        dnnl_stream_destroy(b->stream);
    if (b->engine)
        dnnl_engine_destroy(b->engine);
    free(b);
}
