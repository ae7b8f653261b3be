/*
 * What does the host take of a run, beside a device that answers at once?
 *
 * usage: bench_host [--quick] [--memory | --check-memory] [--cells N] [--runs N]
 *                   [--only DEVICE] [--dir FOLDER] [--make FILE] EMCELL_NULL MODEL_DIR GENES_TSV
 *
 * EMCELL_NULL is the command with the null device (bench/null_device.c); every figure is of a
 * process of its own, from its start to the renamed result. The files are made on the spot: names
 * of genes from GENES_TSV, filled up to 20,000 with names such as clones have.
 *
 * Without --memory: cells/s of `annotate` and `merge` from a gzip-compressed CSR .h5ad of 2,000
 * values a cell. With it: the most memory of one process for 100,000, 1,000,000 and 5,000,000 cells
 * of 20 values. --check-memory fails when memory grows with the cells. --make writes the first file
 * and ends.
 */
#include "bench/bench.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cells_files.h"

#define N_GENES  20000
#define MAX_NAME 24
#define MAX_ARGS 48
#define MAX_PATH 4096

typedef struct {
    const char *emcell, *model, *genes;
    const char *dir, *only, *make;
    int64_t n_cells;
    int n_runs;
    bool quick, memory, check;
    const char *gene_names[N_GENES];
    char names[N_GENES][MAX_NAME];
} settings;

/* What a process took. */
typedef struct {
    double seconds, cpu;
    long peak_mib; /* the most memory, mapped files that it read among it */
} cost;

static void stop(const char *what)
{
    perror(what);
    exit(1);
}

/* --- Files ---------------------------------------------------------------------------------- */

static void name_genes(settings *s)
{
    FILE *file = fopen(s->genes, "r");
    char line[256];
    int n = 0;

    if (!file || !fgets(line, sizeof line, file)) /* the header */
        stop(s->genes);
    while (n < N_GENES && fgets(line, sizeof line, file))
        snprintf(s->names[n++], MAX_NAME, "%.*s", (int)strcspn(line, "\t\n"), line);
    (void)fclose(file);
    for (int i = 0; n < N_GENES; i++, n++)
        snprintf(s->names[n], MAX_NAME, i % 2 ? "AC%06d.%d" : "LINC%05d", 1000 + 7 * i, 1 + i % 5);
    for (int i = 0; i < N_GENES; i++)
        s->gene_names[i] = s->names[i];
}

static void make_file(const settings *s, const char *path, int64_t n_cells, int n_values)
{
    const file_spec spec = {.n_cells = n_cells,
                            .n_genes = N_GENES,
                            .least = n_values < 100 ? n_values : n_values * 3 / 4,
                            .most = n_values < 100 ? n_values : n_values * 5 / 4,
                            .seed = 1,
                            .chunk = 20000,
                            .gzip = n_values < 100 ? 1 : 4,
                            .gene_names = s->gene_names};

    file_write_h5ad(path, &spec);
}

static double megabytes_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? 1e-6 * (double)st.st_size : 0;
}

/* --- Processes ------------------------------------------------------------------------------ */

static double seconds_of(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

static void run(cost *out, char *const *argv)
{
    const double begin = bench_now();
    struct rusage usage;
    int status = 0;

    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        stop("wait4");
    if (status != 0) {
        fprintf(stderr, "failed:");
        for (int i = 0; argv[i]; i++)
            fprintf(stderr, " %s", argv[i]);
        fprintf(stderr, "\n");
        exit(1);
    }
    *out = (cost){.seconds = bench_now() - begin,
                  .cpu = seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime),
                  .peak_mib = usage.ru_maxrss / 1024};
}

typedef struct {
    char *argv[MAX_ARGS];
    char text[MAX_ARGS][MAX_PATH];
    int n;
} command;

static void add(command *c, const char *text)
{
    if (c->n + 1 >= MAX_ARGS || strlen(text) >= MAX_PATH)
        exit(1);
    snprintf(c->text[c->n], MAX_PATH, "%s", text);
    c->argv[c->n] = c->text[c->n];
    c->argv[++c->n] = NULL;
}

static void add_pair(command *c, const char *option, const char *value)
{
    add(c, option);
    add(c, value);
}

static void add_number(command *c, const char *option, long long value)
{
    char text[32];

    snprintf(text, sizeof text, "%lld", value);
    add_pair(c, option, text);
}

static void add_path(command *c, const char *option, const settings *s, const char *name)
{
    char path[MAX_PATH];

    if (snprintf(path, sizeof path, "%s/%s", s->dir, name) >= (int)sizeof path)
        exit(1);
    add_pair(c, option, path);
}

/* --- One run -------------------------------------------------------------------------------- */

typedef struct {
    const char *input, *output; /* names in the folder */
    const char *device;
    int n_genes;
    int64_t limit;       /* 0: all cells */
    int64_t shard_cells; /* 0: as the command chooses */
    bool probabilities;
} task;

static void annotate(cost *out, const settings *s, const task *t)
{
    command c = {.n = 0};

    add(&c, s->emcell);
    add(&c, "annotate");
    add_path(&c, "--input", s, t->input);
    add_pair(&c, "--model", s->model);
    add_pair(&c, "--device", t->device);
    add_number(&c, "--n-genes", t->n_genes);
    add_pair(&c, "--min-genes", "1");
    add_pair(&c, "--min-gene-match", "0");
    add_path(&c, "--output", s, t->output);
    add_path(&c, "--run-dir", s, "run");
    if (strstr(t->output, ".h5ad"))
        add_pair(&c, "--h5ad", "obs");
    add(&c, "--force");
    add(&c, "--quiet");
    if (t->shard_cells > 0)
        add_number(&c, "--shard-cells", t->shard_cells);
    if (t->limit > 0)
        add_number(&c, "--limit", t->limit);
    if (t->probabilities)
        add_path(&c, "--probabilities", s, "probabilities.csv");
    run(out, c.argv);
}

static void merge(cost *out, const settings *s, const task *t)
{
    command c = {.n = 0};
    char run_dir[MAX_PATH];

    add(&c, s->emcell);
    add(&c, "merge");
    if (snprintf(run_dir, sizeof run_dir, "%s/run", s->dir) >= (int)sizeof run_dir)
        exit(1);
    add_pair(&c, run_dir, "--quiet");
    add_path(&c, "--output", s, t->output);
    if (strstr(t->output, ".h5ad"))
        add_pair(&c, "--h5ad", "obs");
    if (t->probabilities)
        add_path(&c, "--probabilities", s, "probabilities.csv");
    run(out, c.argv);
}

/* What the null device said when it was closed. */
typedef struct {
    double rows, host_ms, idle;
} device_log;

static void read_log(device_log *out, const char *path)
{
    FILE *file = fopen(path, "r");
    double steps, readers, step_ms;

    *out = (device_log){0};
    if (!file || fscanf(file,
                        "{\"steps\": %lf, \"rows\": %lf, \"readers\": %lf, \"host_ms\": %lf, "
                        "\"step_ms\": %lf, \"idle\": %lf}",
                        &steps, &out->rows, &readers, &out->host_ms, &step_ms, &out->idle) != 6)
        *out = (device_log){0};
    if (file)
        (void)fclose(file);
    unlink(path);
}

static bool is_wanted(const settings *s, const char *device)
{
    return !s->only || strcmp(s->only, device) == 0;
}

static void set_log(char *path, const settings *s)
{
    if (snprintf(path, MAX_PATH, "%s/device.json", s->dir) >= MAX_PATH)
        exit(1);
    unlink(path);
    setenv("NULL_DEVICE_LOG", path, 1);
}

static void clean(const settings *s)
{
    static const char *const names[] = {"results.csv", "results.h5ad", "probabilities.csv"};
    char *const argv[] = {"/bin/rm", "-rf", "run", NULL};
    char path[MAX_PATH];
    cost ignored;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (snprintf(path, sizeof path, "%s/%s", s->dir, names[i]) < (int)sizeof path)
            unlink(path);
    if (chdir(s->dir) == 0)
        run(&ignored, argv);
}

/* --- Speed ---------------------------------------------------------------------------------- */

static void bench_speed(const settings *s, const char *device, int n_genes)
{
    task t = {.input = "cells.h5ad", .output = "results.csv", .device = device, .n_genes = n_genes};
    bench_runs whole = {.n = 0}, cpu = {.n = 0}, start = {.n = 0}, merging = {.n = 0};
    bench_runs steps = {.n = 0};
    double rows = 0;
    char path[MAX_PATH];
    long peak = 0;
    cost c;

    set_log(path, s);
    for (int i = 0; i < s->n_runs + 1; i++) {
        const bool counts = i > 0 || s->n_runs == 1; /* the first fills the page cache */
        device_log log;

        t.limit = 1;
        annotate(&c, s, &t);
        if (counts)
            bench_add(&start, c.seconds);
        unlink(path);
        t.limit = 0;
        annotate(&c, s, &t);
        if (counts) {
            bench_add(&whole, c.seconds);
            bench_add(&cpu, c.cpu);
        }
        peak = c.peak_mib > peak ? c.peak_mib : peak;
        read_log(&log, path);
        if (counts)
            bench_add(&steps, log.host_ms);
        rows = log.rows;
        merge(&c, s, &t);
        if (counts)
            bench_add(&merging, c.seconds);
    }
    const double n = (double)s->n_cells, taken = bench_median(&whole);
    printf("| %-6s | %5d | %8.0f | %8.0f | %7.1f | %7.2f | %7.2f | %7.2f | %6.0f | %7.3f | %6ld | "
           "%5.1f %% |\n",
           device, n_genes, n / taken, n / (taken - bench_median(&start)),
           1e6 * bench_median(&cpu) / n, taken, bench_median(&start), bench_median(&merging), rows,
           bench_median(&steps), peak, 100 * bench_spread(&whole));
    fflush(stdout);
}

/* A device of a GPU's speed: how long does it wait for the host? */
static void bench_waiting(const settings *s, const char *step_ms, int n_genes)
{
    /* About twenty cells a step: some ten seconds. */
    const int64_t n = 200000 / atoi(step_ms);
    const task t = {.input = "cells.h5ad",
                    .output = "results.csv",
                    .device = "cuda",
                    .n_genes = n_genes,
                    .limit = n < s->n_cells ? n : s->n_cells};
    char path[MAX_PATH];
    device_log log;
    cost c;

    set_log(path, s);
    setenv("NULL_DEVICE_STEP_MS", step_ms, 1);
    annotate(&c, s, &t);
    unsetenv("NULL_DEVICE_STEP_MS");
    read_log(&log, path);
    printf("| %7s | %5d | %8.0f | %6.0f | %7.3f | %6.2f %% |\n", step_ms, n_genes,
           (double)t.limit / c.seconds, log.rows, log.host_ms, 100 * log.idle);
    fflush(stdout);
}

static void bench_all_speeds(const settings *s)
{
    static const char *const devices[] = {"cpu", "cuda"};
    static const char *const step_ms[] = {"180", "20"};
    static const int n_genes[] = {100, 200};
    char path[MAX_PATH];

    if (snprintf(path, sizeof path, "%s/cells.h5ad", s->dir) >= (int)sizeof path)
        exit(1);
    make_file(s, path, s->n_cells, 2000);
    printf("%lld cells, %.0f MB\n", (long long)s->n_cells, megabytes_of(path));
    printf(
        "| device | genes | cells/s  | no start | us/cell | whole s | start s | merge s |   rows | "
        "host ms |    MiB | spread  |\n"
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (int d = 0; d < 2; d++)
        for (int g = 0; g < 2; g++)
            if (is_wanted(s, devices[d]))
                bench_speed(s, devices[d], n_genes[g]);
    printf("\n| step ms | genes | cells/s  |   rows | host ms | waiting  |\n"
           "|---:|---:|---:|---:|---:|---:|\n");
    for (int m = 0; m < 2 && is_wanted(s, "cuda"); m++)
        if (!s->quick || m > 0)
            bench_waiting(s, step_ms[m], n_genes[1]);
    unlink(path);
    unsetenv("NULL_DEVICE_LOG");
}

/* --- Memory --------------------------------------------------------------------------------- */

static void bench_memory(const settings *s)
{
    static const int64_t sizes[] = {100000, 1000000, 5000000};
    static const task tasks[] = {
        {"cells.h5ad", "results.csv", "cuda", 100, 0, 0, false},
        {"cells.h5ad", "results.h5ad", "cuda", 100, 0, 0, false},
        {"cells.h5ad", "results.csv", "cuda", 100, 0, 0, true},
    };
    char path[MAX_PATH];
    cost whole, merging;

    if (snprintf(path, sizeof path, "%s/cells.h5ad", s->dir) >= (int)sizeof path)
        exit(1);
    printf("| %-12s | %-13s | %9s | %7s | %8s | %7s | %9s |\n|---|---|---:|---:|---:|---:|---:|\n",
           "output", "probabilities", "cells", "whole s", "most MiB", "merge s", "merge MiB");
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const int64_t n = s->quick ? sizes[i] / 1000 : sizes[i];
        if (s->n_cells > 0 && n > s->n_cells)
            break;
        make_file(s, path, n, 20);
        for (size_t k = 0; k < sizeof tasks / sizeof tasks[0]; k++) {
            annotate(&whole, s, &tasks[k]);
            merge(&merging, s, &tasks[k]);
            printf("| %-12s | %-13s | %9lld | %7.1f | %8ld | %7.1f | %9ld |\n", tasks[k].output,
                   tasks[k].probabilities ? "yes" : "no", (long long)n, whole.seconds,
                   whole.peak_mib, merging.seconds, merging.peak_mib);
            fflush(stdout);
            clean(s);
        }
    }
    unlink(path);
}

/* Ten times the cells of the same file in shards of the same size. What may grow is what the
 * allocator leaves between its pieces; 46 bytes a cell are found. */
static int check_memory(const settings *s)
{
    enum { FEW = 10000, MANY = 100000, ALLOWED_MIB = 4 };
    task t = {.input = "cells.h5ad",
              .output = "results.csv",
              .device = "cuda",
              .n_genes = 100,
              .limit = FEW,
              .shard_cells = FEW / 2,
              .probabilities = true};
    char path[MAX_PATH];
    cost few, many;

    if (snprintf(path, sizeof path, "%s/cells.h5ad", s->dir) >= (int)sizeof path)
        exit(1);
    make_file(s, path, MANY, 20);
    annotate(&few, s, &t);
    t.limit = MANY;
    annotate(&many, s, &t);
    unlink(path);
    printf("%d cells: %ld MiB; %d cells: %ld MiB; %d MiB more are allowed\n", FEW, few.peak_mib,
           MANY, many.peak_mib, ALLOWED_MIB);
    return many.peak_mib - few.peak_mib > ALLOWED_MIB;
}

/* --- */

static bool take_option(settings *s, const char *name, const char *value)
{
    if (strcmp(name, "--cells") == 0)
        s->n_cells = atoll(value);
    else if (strcmp(name, "--runs") == 0)
        s->n_runs = atoi(value);
    else if (strcmp(name, "--only") == 0)
        s->only = value;
    else if (strcmp(name, "--dir") == 0)
        s->dir = value;
    else if (strcmp(name, "--make") == 0)
        s->make = value;
    else
        return false;
    return true;
}

int main(int argc, char **argv)
{
    static settings s;
    char dir[] = "/tmp/emcell-bench-XXXXXX";
    const char *args[3] = {NULL, NULL, NULL};
    int n = 0, failed = 0;

    s.quick = bench_is_quick(argc, argv);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--memory") == 0)
            s.memory = true;
        else if (strcmp(argv[i], "--check-memory") == 0)
            s.check = true;
        else if (i + 1 < argc && take_option(&s, argv[i], argv[i + 1]))
            i++;
        else if (strcmp(argv[i], "--quick") != 0 && n < 3)
            args[n++] = argv[i];
    }
    if (n < 3) {
        fprintf(stderr,
                "usage: bench_host [--quick] [--memory | --check-memory] [--cells N] [--runs N] "
                "[--only cpu|cuda] [--dir FOLDER] [--make FILE] EMCELL_NULL MODEL_DIR "
                "GENES_TSV\n");
        return 2;
    }
    s.emcell = realpath(args[0], NULL);
    s.model = realpath(args[1], NULL);
    s.genes = realpath(args[2], NULL);
    if (!s.emcell || !s.model || !s.genes || (!s.dir && !(s.dir = mkdtemp(dir))))
        stop("bench_host");
    name_genes(&s);
    if (s.n_cells == 0 && !s.memory)
        s.n_cells = s.quick ? 200 : 20000;
    if (s.n_runs == 0)
        s.n_runs = s.quick ? 1 : 5;
    if (s.make) {
        make_file(&s, s.make, s.n_cells, s.memory ? 20 : 2000);
        return 0;
    }
    if (s.check)
        failed = check_memory(&s);
    else if (!s.memory)
        bench_all_speeds(&s);
    if (s.memory || (s.quick && !s.check))
        bench_memory(&s);
    clean(&s);
    if (s.dir == dir && (chdir("/") != 0 || rmdir(dir) != 0))
        stop(dir);
    return failed;
}
