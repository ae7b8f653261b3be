/* How are choices of algorithms kept: in a run's description, and in a file of this machine?
 *
 *   {"gpu": "NVIDIA H200", "n_sms": 132, "driver": 13000, "cublaslt": 130100, "products": [
 *     {"rows": 8448, "n": 6144, "k": 4096, "stride": 6144, "dtype": "BF16", "adds": false,
 *      "algorithm": "128 hexadecimal digits"}]}
 *
 * The digits are the library's own words for an algorithm, which it documents to hold for the same
 * version of it. The file is {"products_of": [that object, for each kind of machine]}. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/size.h"
#include "kernels/cuda/gemm_plan.h"

#define WORDS        EMC_COUNT(((cublasLtMatmulAlgo_t *)0)->data)
#define DIGITS       (WORDS * 16)
#define MAX_TEXT     ((size_t)8 << 20)
#define MAX_CHOICES  10000
#define MAX_MACHINES 100
#define LIST         "products_of"

emc_status cuda_gemm_add_choice(cuda_gemm_choices *choices, const cuda_gemm_choice *choice)
{
    for (size_t i = 0; i < choices->n; i++) {
        if (cuda_gemm_same(&choices->item[i].shape, &choice->shape)) {
            choices->item[i] = *choice;
            return EMC_OK;
        }
    }
    EMC_TRY(emc_reserve(&choices->item, &choices->capacity, choices->n + 1, sizeof *choices->item,
                        "choices of products"));
    choices->item[choices->n++] = *choice;
    return EMC_OK;
}

/* --- Writing ---------------------------------------------------------------------------------- */

static emc_status write_choice(emc_text *text, const cuda_gemm_choice *choice)
{
    const cuda_gemm_shape *s = &choice->shape;

    EMC_TRY(emc_text_addf(text,
                          "{\"rows\": %d, \"n\": %d, \"k\": %d, \"stride\": %d, "
                          "\"dtype\": \"%s\", \"adds\": %s, \"algorithm\": \"",
                          s->rows, s->n, s->k, s->d_stride, emc_dtype_name(s->d_dtype),
                          s->adds ? "true" : "false"));
    for (size_t i = 0; i < WORDS; i++)
        EMC_TRY(emc_text_addf(text, "%016llx", (unsigned long long)choice->algo.data[i]));
    return emc_text_add_string(text, "\"}");
}

emc_status cuda_gemm_write(emc_text *text, const cuda_gemm_machine *machine,
                           const cuda_gemm_choices *choices)
{
    EMC_TRY(emc_text_add_string(text, "{\"gpu\": "));
    EMC_TRY(emc_text_add_json(text, machine->gpu, strlen(machine->gpu)));
    EMC_TRY(emc_text_addf(text,
                          ", \"n_sms\": %d, \"driver\": %d, \"cublaslt\": %zu, \"products\": [",
                          machine->n_sms, machine->driver_version, machine->library_version));
    for (size_t i = 0; i < choices->n; i++) {
        if (i > 0)
            EMC_TRY(emc_text_add_string(text, ", "));
        EMC_TRY(write_choice(text, &choices->item[i]));
    }
    return emc_text_add_string(text, "]}");
}

/* --- Reading ---------------------------------------------------------------------------------- */

static emc_status read_algorithm(cublasLtMatmulAlgo_t *out, const char *digits, const char *name)
{
    if (strlen(digits) != DIGITS || strspn(digits, "0123456789abcdef") != DIGITS)
        return emc_fail(EMC_ERR_FORMAT, "%s: an algorithm is not %zu hexadecimal digits", name,
                        DIGITS);
    for (size_t i = 0; i < WORDS; i++) {
        char word[17] = "";
        memcpy(word, digits + 16 * i, 16);
        out->data[i] = strtoull(word, NULL, 16);
    }
    return EMC_OK;
}

static emc_status read_choice(cuda_gemm_choice *out, const cJSON *object, const char *name)
{
    static const char *const keys[] = {"rows",  "n",    "k",         "stride",
                                       "dtype", "adds", "algorithm", NULL};
    const char *dtype = NULL, *digits = NULL;
    int64_t rows = 0, n = 0, k = 0, stride = 0;

    memset(out, 0, sizeof *out);
    EMC_TRY(emc_json_check_keys(object, keys, name));
    EMC_TRY(emc_json_get_int(&rows, object, "rows", 1, INT32_MAX, true, name));
    EMC_TRY(emc_json_get_int(&n, object, "n", 1, INT32_MAX, true, name));
    EMC_TRY(emc_json_get_int(&k, object, "k", 1, INT32_MAX, true, name));
    EMC_TRY(emc_json_get_int(&stride, object, "stride", n, INT32_MAX, true, name));
    EMC_TRY(emc_json_get_string(&dtype, object, "dtype", true, name));
    EMC_TRY(emc_json_get_bool(&out->shape.adds, object, "adds", true, name));
    EMC_TRY(emc_json_get_string(&digits, object, "algorithm", true, name));
    if (strcmp(dtype, "BF16") != 0 && strcmp(dtype, "F32") != 0)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"dtype\" is %.20s, wanted BF16 or F32", name, dtype);
    out->shape.rows = (int)rows;
    out->shape.n = (int)n;
    out->shape.k = (int)k;
    out->shape.d_stride = (int)stride;
    out->shape.d_dtype = strcmp(dtype, "F32") == 0 ? EMC_F32 : EMC_BF16;
    return read_algorithm(&out->algo, digits, name);
}

static emc_status read_machine(cuda_gemm_machine *machine, cuda_gemm_choices *choices,
                               const cJSON *object, const char *name)
{
    static const char *const keys[] = {"gpu", "n_sms", "driver", "cublaslt", "products", NULL};
    const cJSON *products, *item;
    const char *gpu = NULL;
    int64_t n_sms = 0, driver = 0, library = 0;

    EMC_TRY(emc_json_check_keys(object, keys, name));
    EMC_TRY(emc_json_get_string(&gpu, object, "gpu", true, name));
    EMC_TRY(emc_json_get_int(&n_sms, object, "n_sms", 1, INT32_MAX, true, name));
    EMC_TRY(emc_json_get_int(&driver, object, "driver", 1, INT32_MAX, true, name));
    EMC_TRY(emc_json_get_int(&library, object, "cublaslt", 1, INT32_MAX, true, name));
    products = emc_json_member(object, "products");
    if (!cJSON_IsArray(products) || cJSON_GetArraySize(products) > MAX_CHOICES)
        return emc_fail(EMC_ERR_FORMAT, "%s: \"products\" is not a list of at most %d", name,
                        MAX_CHOICES);
    *machine = (cuda_gemm_machine){
        .n_sms = (int)n_sms, .driver_version = (int)driver, .library_version = (size_t)library};
    snprintf(machine->gpu, sizeof machine->gpu, "%s", gpu);
    cJSON_ArrayForEach(item, products)
    {
        cuda_gemm_choice choice;
        EMC_TRY(read_choice(&choice, item, name));
        EMC_TRY(cuda_gemm_add_choice(choices, &choice));
    }
    return EMC_OK;
}

static bool same_gpu(const cuda_gemm_machine *a, const cuda_gemm_machine *b)
{
    return strcmp(a->gpu, b->gpu) == 0 && a->n_sms == b->n_sms;
}

static bool same_machine(const cuda_gemm_machine *a, const cuda_gemm_machine *b)
{
    return same_gpu(a, b) && a->driver_version == b->driver_version &&
           a->library_version == b->library_version;
}

emc_status cuda_gemm_read_chosen(cuda_gemm_choices *out, const char *text,
                                 const cuda_gemm_machine *machine)
{
    static const char name[] = "cuda: the algorithms that the run was started with";
    cuda_gemm_machine was;
    cJSON *json = NULL;
    emc_status status = emc_json_parse(&json, text, strlen(text), name);

    if (status == EMC_OK)
        status = read_machine(&was, out, json, name);
    cJSON_Delete(json);
    if (status != EMC_OK)
        return status == EMC_ERR_NOMEM ? status : emc_fail_in(EMC_ERR_CONFIG, "other hardware");
    if (!same_machine(&was, machine))
        return emc_fail(EMC_ERR_CONFIG,
                        "cuda: the run was started on %s with %d SMs, driver %d, cuBLASLt %zu; "
                        "this is %s with %d SMs, driver %d, cuBLASLt %zu, where bits may differ: "
                        "go on there, or start a new run",
                        was.gpu, was.n_sms, was.driver_version, was.library_version, machine->gpu,
                        machine->n_sms, machine->driver_version, machine->library_version);
    return EMC_OK;
}

/* --- The file --------------------------------------------------------------------------------- */

/* Its list of machines, or NULL. */
static const cJSON *read_list(cJSON **json, const char *path)
{
    static const char *const keys[] = {LIST, NULL};
    const cJSON *list;

    *json = NULL;
    if (!emc_file_exists(path) || emc_json_read(json, path, MAX_TEXT) != EMC_OK ||
        emc_json_check_keys(*json, keys, path) != EMC_OK)
        return NULL;
    list = emc_json_member(*json, LIST);
    return cJSON_IsArray(list) && cJSON_GetArraySize(list) <= MAX_MACHINES ? list : NULL;
}

emc_status cuda_gemm_read_cache(cuda_gemm_choices *out, const char *path,
                                const cuda_gemm_machine *machine)
{
    cJSON *json;
    const cJSON *item, *list = read_list(&json, path);
    emc_status status = EMC_OK;

    cJSON_ArrayForEach(item, list)
    {
        cuda_gemm_choices found = {0};
        cuda_gemm_machine of;
        status = read_machine(&of, &found, item, path);
        if (status == EMC_OK && same_machine(&of, machine)) {
            free(out->item);
            *out = found;
            continue;
        }
        free(found.item);
        if (status == EMC_ERR_NOMEM)
            break;
        status = EMC_OK; /* damaged: as if it were not there */
    }
    cJSON_Delete(json);
    return status;
}

/* What other GPUs have in the file; this GPU's other versions are left out. */
static emc_status copy_others(emc_text *text, const cJSON *list, const cuda_gemm_machine *machine)
{
    const cJSON *item;

    cJSON_ArrayForEach(item, list)
    {
        cuda_gemm_choices found = {0};
        cuda_gemm_machine of;
        emc_status status = read_machine(&of, &found, item, LIST);
        if (status == EMC_OK && !same_gpu(&of, machine)) {
            status = emc_text_add_string(text, ",\n");
            if (status == EMC_OK)
                status = cuda_gemm_write(text, &of, &found);
        } else if (status != EMC_ERR_NOMEM) {
            status = EMC_OK;
        }
        free(found.item);
        EMC_TRY(status);
    }
    return EMC_OK;
}

static emc_status write_file(const char *path, const emc_text *text)
{
    emc_out_file *file = NULL;
    emc_status status = emc_out_file_open(&file, path);

    if (status == EMC_OK)
        status = emc_out_file_write(file, text->bytes, text->n);
    if (status == EMC_OK)
        status = emc_out_file_commit(file);
    emc_out_file_close(file);
    return status;
}

int cuda_gemm_lock_cache(const char *path)
{
    emc_text name = {0};
    int fd = -1;

    /* A file of its own, since the cache's is replaced by every write. It stays: one that was
     * removed could be locked by two, each with a file of that name. */
    if (emc_text_addf(&name, "%s.lock", path) == EMC_OK)
        fd = open(name.bytes, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    emc_text_free(&name);
    while (fd >= 0 && flock(fd, LOCK_EX) != 0) {
        if (errno == EINTR)
            continue;
        (void)close(fd);
        fd = -1;
    }
    return fd;
}

void cuda_gemm_unlock_cache(int lock)
{
    if (lock >= 0)
        (void)close(lock);
}

void cuda_gemm_add_to_cache(const char *path, const cuda_gemm_machine *machine,
                            const cuda_gemm_choice *choice)
{
    cuda_gemm_choices choices = {0};
    emc_text text = {0};
    cJSON *json = NULL;
    /* Read again: another process may have added to it. */
    emc_status status = cuda_gemm_read_cache(&choices, path, machine);

    if (status == EMC_OK)
        status = cuda_gemm_add_choice(&choices, choice);
    if (status == EMC_OK)
        status = emc_text_add_string(&text, "{\"" LIST "\": [\n");
    if (status == EMC_OK)
        status = cuda_gemm_write(&text, machine, &choices);
    if (status == EMC_OK)
        status = copy_others(&text, read_list(&json, path), machine);
    if (status == EMC_OK)
        status = emc_text_add_string(&text, "\n]}\n");
    if (status == EMC_OK)
        (void)write_file(path, &text);
    cJSON_Delete(json);
    emc_text_free(&text);
    free(choices.item);
}
