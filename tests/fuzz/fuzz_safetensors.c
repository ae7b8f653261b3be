/* One safetensors file: header and bytes of data. */
#include <string.h>

#include "fuzz.h"
#include "loader/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors"};
    fuzz_input input = {data, n_bytes};
    const bool fix = fuzz_below(&input, 4) != 0;
    emc_safetensors *file;
    char path[256];

    strcpy(path, fuzz_files(input, "model", names, 1, fix));
    strcat(path, "/model.safetensors");
    const emc_status status = emc_safetensors_open(&file, path);
    fuzz_check(status, path);
    for (size_t i = 0; status == EMC_OK && i < emc_safetensors_count(file); i++) {
        const emc_tensor *tensor = emc_safetensors_tensor(file, i);
        const unsigned char *bytes = tensor->data;
        volatile unsigned char sum = 0;
        for (size_t k = 0; k < tensor->n_bytes; k++)
            sum = (unsigned char)(sum + bytes[k]);
        fuzz_require(emc_safetensors_find(file, tensor->name) == tensor, "names are unique");
        fuzz_check(emc_tensor_check(tensor, 2, 4, 4), path);
    }
    emc_safetensors_close(file);
    return 0;
}
