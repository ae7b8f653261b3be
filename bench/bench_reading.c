/*
 * How many cells a second come from a file as ranked genes, and in how much memory?
 *
 * usage: bench_reading [--quick] [--cells N] [--top N] [--threads N] [--dir FOLDER] [--only WHAT]
 *                      [--memory | --read FILE]
 *
 * The files are made on the spot: cells of 1,500 to 2,000 values among 30,000 genes. Without
 * --memory: cells/s for each kind of file, and what a cell costs in time on a core, which other
 * work on the machine changes less. With it: the most memory that reading takes for 100,000 and for
 * 2,000,000 cells of 20 values, each in a process of its own. --read reads one file and
 * says nothing.
 */
#include "bench/bench.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cells/ranked.h"
#include "cells_files.h"

#define N_GENES 30000

typedef struct {
    int64_t n_cells;
    int n_top, n_threads, n_runs;
    const char *dir, *only;
} settings;

static void check(emc_status status)
{
    if (status != EMC_OK) {
        fprintf(stderr, "%s\n", emc_message());
        exit(1);
    }
}

/* Reads all of a file; sums what came out, so that nothing is left out. */
static int64_t read_all(const char *path, const settings *s)
{
    const emc_cells_options options = {.n_threads = s->n_threads};
    emc_cells *cells;
    emc_genes *genes;
    emc_ranked_cells *ranked;
    emc_ranked_cell cell;
    int64_t n = 0, sum = 0;
    bool more = true;

    check(emc_cells_open(&cells, path, &options));
    check(emc_genes_open(&genes, emc_cells_gene_names(cells), emc_cells_n_genes(cells), NULL));
    const emc_ranked_options wanted = {
        .cells = cells, .genes = genes, .rank = {.n_top = s->n_top}, .n_threads = s->n_threads};
    check(emc_ranked_cells_open(&ranked, &wanted));
    for (;;) {
        check(emc_ranked_cells_next(ranked, &cell, &more));
        if (!more)
            break;
        check(cell.status);
        n++;
        sum += cell.ranked.n_top ? cell.ranked.genes[cell.ranked.n_top - 1] : 0;
    }
    if (n != emc_cells_n_cells(cells) || sum == 0) {
        fprintf(stderr, "%s: %lld cells came\n", path, (long long)n);
        exit(1);
    }
    emc_ranked_cells_close(ranked);
    emc_genes_close(genes);
    emc_cells_close(cells);
    return n;
}

static double size_of(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 ? (double)st.st_size : 0;
}

/* Seconds that all threads of this process have had a core. */
static double cpu_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void bench_file(const char *what, const char *path, const settings *s)
{
    bench_runs runs = {.n = 0}, busy = {.n = 0};

    for (int i = 0; i < s->n_runs + 1; i++) {
        const double start = bench_now(), cpu = cpu_now();
        read_all(path, s);
        if (i > 0 || s->n_runs == 1) { /* the first fills the page cache */
            bench_add(&runs, bench_now() - start);
            bench_add(&busy, cpu_now() - cpu);
        }
    }
    printf("| %-28s | %8lld | %9.0f | %12.1f | %8.0f | %5.1f %% |\n", what, (long long)s->n_cells,
           (double)s->n_cells / bench_median(&runs), 1e6 * bench_median(&busy) / (double)s->n_cells,
           1e-6 * size_of(path), 100 * bench_spread(&runs));
    fflush(stdout);
}

static bool is_wanted(const settings *s, const char *what)
{
    return !s->only || strcmp(s->only, what) == 0;
}

static void bench_speed(const settings *s)
{
    file_spec spec = {
        .n_cells = s->n_cells, .n_genes = N_GENES, .least = 1500, .most = 2000, .seed = 1};
    char path[4096], matrix[4200];

    printf("| %-28s | %8s | %9s | %12s | %8s | %7s |\n", "file", "cells", "cells/s", "CPU us/cell",
           "MB", "spread");
    printf("|---|---:|---:|---:|---:|---:|\n");
    snprintf(path, sizeof path, "%s/cells.h5ad", s->dir);
    if (is_wanted(s, "plain")) {
        file_write_h5ad(path, &spec);
        bench_file("CSR, not packed", path, s);
    }
    spec.chunk = 20000;
    spec.gzip = 4;
    if (is_wanted(s, "gzip")) {
        file_write_h5ad(path, &spec);
        bench_file("CSR, gzip 4", path, s);
    }
    spec.shuffle = true;
    if (is_wanted(s, "shuffle")) {
        file_write_h5ad(path, &spec);
        bench_file("CSR, gzip 4 and shuffle", path, s);
    }
    unlink(path);
    snprintf(path, sizeof path, "%s/cells.h5", s->dir);
    if (is_wanted(s, "tenx")) {
        spec.chunk = 80000;
        file_write_tenx(path, &spec);
        bench_file("10x .h5 (gzip 4, shuffle)", path, s);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s/mtx", s->dir);
    if (is_wanted(s, "mtx")) {
        static const char *const names[] = {"matrix.mtx.gz", "barcodes.tsv.gz", "features.tsv.gz"};
        mkdir(path, 0700);
        file_write_mtx(path, &spec);
        bench_file("10x MTX.gz", path, s);
        for (int i = 0; i < 3; i++) {
            snprintf(matrix, sizeof matrix, "%s/%s", path, names[i]);
            unlink(matrix);
        }
        rmdir(path);
    }
}

/* The high-water mark of a program of its own that reads the file and does nothing else. */
static long peak_of(const char *path)
{
    struct rusage usage;
    int status;

    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "bench_reading", "--read", path, (char *)NULL);
        _exit(1);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0) {
        fprintf(stderr, "%s: reading failed\n", path);
        exit(1);
    }
    return usage.ru_maxrss / 1024;
}

static void bench_memory(const settings *s, bool quick)
{
    static const int64_t sizes[] = {100000, 2000000};
    char path[4096];

    printf("| %-12s | %9s | %12s |\n|---|---:|---:|\n", "file", "cells", "most MiB");
    for (int fixed = 0; fixed < 2; fixed++)
        for (size_t i = 0; i < 2; i++) {
            const file_spec spec = {.n_cells = quick ? sizes[i] / 100 : sizes[i],
                                    .n_genes = N_GENES,
                                    .least = 20,
                                    .most = 20,
                                    .chunk = 20000,
                                    .gzip = 1,
                                    .fixed_ids = fixed == 1};
            snprintf(path, sizeof path, "%s/cells.h5ad", s->dir);
            file_write_h5ad(path, &spec);
            printf("| %-12s | %9lld | %12ld |\n", fixed ? "fixed names" : "CSR, gzip",
                   (long long)spec.n_cells, peak_of(path));
            fflush(stdout);
        }
    unlink(path);
}

int main(int argc, char **argv)
{
    const bool quick = bench_is_quick(argc, argv);
    settings s = {.n_cells = quick ? 200 : 20000, .n_top = 100, .n_runs = quick ? 1 : 5};
    const char *to_read = NULL;
    char dir[] = "/tmp/emcell-bench-XXXXXX";
    bool memory = false;

    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--cells") == 0)
            s.n_cells = atoll(value);
        else if (strcmp(argv[i], "--top") == 0)
            s.n_top = atoi(value);
        else if (strcmp(argv[i], "--threads") == 0)
            s.n_threads = atoi(value);
        else if (strcmp(argv[i], "--dir") == 0)
            s.dir = value;
        else if (strcmp(argv[i], "--only") == 0)
            s.only = value;
        else if (strcmp(argv[i], "--read") == 0)
            to_read = value;
        else if (strcmp(argv[i], "--memory") == 0)
            memory = true;
    }
    if (to_read) {
        read_all(to_read, &s);
        return 0;
    }
    if (!s.dir && !(s.dir = mkdtemp(dir))) {
        perror(dir);
        return 1;
    }
    if (!memory || quick)
        bench_speed(&s);
    if (memory || quick)
        bench_memory(&s, quick);
    if (s.dir == dir)
        rmdir(dir);
    return 0;
}
