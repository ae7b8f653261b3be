#include "emt.h"

#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_PATHS    8
#define PATH_BYTES 8192
#define DIR_BYTES  4096

void emt_fails(emc_status wanted, const char *text, emc_status got, const char *call,
               const char *file, int line)
{
    if (got != wanted || !strstr(emc_message(), text)) {
        print_error("%s: gave %s \"%s\", wanted %s with \"%s\"\n", call, emc_status_name(got),
                    got == EMC_OK ? "" : emc_message(), emc_status_name(wanted), text);
        _fail(file, line);
    }
}

static const char *path_under(const char *dir, const char *name)
{
    static char paths[N_PATHS][PATH_BYTES];
    static int next;
    char *path = paths[next++ % N_PATHS];

    if (snprintf(path, PATH_BYTES, "%s/%s", dir, name) >= PATH_BYTES)
        fail_msg("%s: the path is too long", name);
    return path;
}

static const char *folder(const char *variable, const char *otherwise)
{
    const char *value = getenv(variable);

    return value ? value : otherwise;
}

const char *emt_golden(const char *name)
{
    return path_under(folder("EMT_DATA", "tests/golden"), name);
}

const char *emt_shared(const char *name)
{
    return path_under(folder("EMT_SHARED", "../shared"), name);
}

void emt_need_shared(const char *name)
{
    if (access(emt_shared(name), R_OK) != 0) {
        print_error("SKIPPED: %s is not here\n", emt_shared(name));
        skip();
    }
}

static char temp_dir[DIR_BYTES];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static void remove_temp_dir(void)
{
    nftw(temp_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *emt_temp_dir(void)
{
    if (!temp_dir[0]) {
        snprintf(temp_dir, sizeof temp_dir, "%s/emt.XXXXXX", folder("TMPDIR", "/tmp"));
        if (!mkdtemp(temp_dir))
            fail_msg("no temporary folder");
        atexit(remove_temp_dir);
    }
    return temp_dir;
}

const char *emt_temp(const char *name)
{
    return path_under(emt_temp_dir(), name);
}

const char *emt_write(const char *name, const void *bytes, size_t n_bytes)
{
    const char *path = emt_temp(name);
    FILE *file = fopen(path, "wb");

    if (!file || fwrite(bytes, 1, n_bytes, file) != n_bytes || fclose(file) != 0)
        fail_msg("cannot write %s", path);
    return path;
}

char *emt_read(const char *path, size_t *n_bytes)
{
    FILE *file = fopen(path, "rb");
    char *bytes = NULL;
    size_t n = 0, got;

    if (!file)
        fail_msg("cannot read %s", path);
    do {
        bytes = realloc(bytes, n + 65536 + 1);
        got = fread(bytes + n, 1, 65536, file);
        n += got;
    } while (got > 0);
    fclose(file);
    bytes[n] = '\0';
    if (n_bytes)
        *n_bytes = n;
    return bytes;
}

uint64_t emt_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);

    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

double emt_uniform(uint64_t *state)
{
    return (double)(emt_random(state) >> 11) * 0x1p-53;
}

double emt_normal(uint64_t *state)
{
    const double u = 1.0 - emt_uniform(state), v = emt_uniform(state);

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}
