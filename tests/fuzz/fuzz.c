#include "fuzz.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char own_folder[64];

uint64_t fuzz_u64(fuzz_input *input, int n_bytes)
{
    uint64_t value = 0;

    for (int i = 0; i < n_bytes && input->n > 0; i++) {
        value |= (uint64_t)*input->at++ << (8 * i);
        input->n--;
    }
    return value;
}

uint8_t fuzz_u8(fuzz_input *input)
{
    return (uint8_t)fuzz_u64(input, 1);
}

int fuzz_below(fuzz_input *input, int limit)
{
    return fuzz_u8(input) % limit;
}

fuzz_input fuzz_take(fuzz_input *input, size_t n)
{
    const fuzz_input head = {input->at, n < input->n ? n : input->n};

    input->at += head.n;
    input->n -= head.n;
    return head;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *walk)
{
    (void)st, (void)kind, (void)walk;
    return remove(path);
}

static void remove_all(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_own_folder(void)
{
    remove_all(own_folder);
}

static void make_own_folder(void)
{
    static const char *const places[] = {"/dev/shm", "/tmp"};

    for (size_t i = 0; i < EMC_COUNT(places) && !own_folder[0]; i++) {
        snprintf(own_folder, sizeof own_folder, "%s/emcell-fuzz-XXXXXX", places[i]);
        if (!mkdtemp(own_folder))
            own_folder[0] = '\0';
    }
    fuzz_require(own_folder[0], "a folder for files");
    atexit(remove_own_folder);
}

const char *fuzz_path(const char *name)
{
    static char paths[8][PATH_MAX];
    static int next;
    char *path = paths[next++ % 8];

    if (!own_folder[0])
        make_own_folder();
    snprintf(path, PATH_MAX, "%s/%s", own_folder, name);
    return path;
}

const char *fuzz_write(const char *name, const void *bytes, size_t n_bytes)
{
    const char *path = fuzz_path(name);
    char folder[PATH_MAX];

    for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(folder, sizeof folder, "%s/%.*s", own_folder, (int)(slash - name), name);
        fuzz_require(mkdir(folder, 0700) == 0 || errno == EEXIST, "a folder for a file");
    }
    FILE *file = fopen(path, "wb");
    fuzz_require(file && fwrite(bytes, 1, n_bytes, file) == n_bytes && fclose(file) == 0,
                 "a file that is written");
    return path;
}

const char *fuzz_folder(const char *name)
{
    const char *path = fuzz_path(name);

    remove_all(path);
    fuzz_require(mkdir(path, 0700) == 0, "an empty folder");
    return path;
}

/* The length that a safetensors file starts with, as its header is long. */
static void fix_header(uint8_t *bytes, size_t n)
{
    size_t end = n;

    while (end > 8 && bytes[end - 1] != '}')
        end--;
    for (int i = 0; i < 8 && end > 8; i++)
        bytes[i] = (uint8_t)((uint64_t)(end - 8) >> (8 * i));
}

static void write_part(const char *folder, const char *name, fuzz_input part, bool fix)
{
    char path[PATH_MAX];
    uint8_t *copy = malloc(part.n + 1);

    fuzz_require(copy != NULL, "memory");
    memcpy(copy, part.at, part.n);
    if (fix && strstr(name, ".safetensors") && !strstr(name, ".json"))
        fix_header(copy, part.n);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    fuzz_write(path, copy, part.n);
    free(copy);
}

const char *fuzz_files(fuzz_input input, const char *folder, const char *const *names, int n_names,
                       bool fix_safetensors)
{
    static const uint8_t border[4] = {0xfe, 0xff, 0xfe, 0xff};
    int name = 0;

    fuzz_folder(folder);
    while (input.n > 0) {
        const uint8_t *next = memmem(input.at, input.n, border, sizeof border);
        const fuzz_input part = fuzz_take(&input, next ? (size_t)(next - input.at) : input.n);
        if (part.n > 0)
            write_part(folder, names[name], part, fix_safetensors);
        fuzz_take(&input, sizeof border);
        name = fuzz_below(&input, n_names);
    }
    return fuzz_path(folder);
}

void fuzz_check(emc_status status, const char *place)
{
    const char *text = emc_message();

    if (status != EMC_OK && getenv("FUZZ_SHOW"))
        fprintf(stderr, "%s: %s\n", emc_status_name(status), text);
    if (status == EMC_OK)
        return;
    if (status == EMC_ERR_INTERNAL || status == EMC_ERR_ARG || !*text || strchr(text, '\n') ||
        (place && status != EMC_ERR_NOMEM && !strstr(text, place))) {
        fprintf(stderr, "a refusal (%s) that is none: \"%s\"\n", emc_status_name(status), text);
        abort();
    }
}

void fuzz_require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}
