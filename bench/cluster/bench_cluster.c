/*
 * How much of their time do many workers of one run folder compute?
 *
 * usage: bench_cluster [--quick | --check] [--workers N] [--cells N] [--shard-cells N]
 *                      [--cells-per-s X] [--spread X] [--shard-spread X] [--lost-every S]
 *                      [--back-after S] [--seed N] [--dir FOLDER]
 *
 * The simulation of bench/cluster/simulate.h: real claims, played devices. Without --workers 8, 64
 * and 512 of them over 200 million cells at the 75 cells/s that one H200 is to reach. --shard-cells
 * is what annotate/trial.c chooses at that speed: 20 seconds. Files go to a folder that is made in
 * FOLDER: /dev/shm where it is there, else /tmp. --check runs small cases and fails below 97 %, or
 * when a shard is computed twice.
 */
#include <errno.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/cluster/simulate.h"

#define LEAST_EFFICIENCY 0.97

static void stop(const char *what)
{
    fprintf(stderr, "bench_cluster: %s\n", what);
    exit(1);
}

/* Every worker has descriptors of its own. */
static void allow_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void remove_folder(char *dir)
{
    const pid_t child = fork();
    int status;

    if (child == 0) {
        execlp("rm", "rm", "-rf", "--", dir, (char *)NULL);
        _exit(127);
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        stop("the folder could not be removed");
}

static void simulate(cluster_figures *out, cluster_options o, const char *parent)
{
    char dir[4096];
    int n = snprintf(dir, sizeof dir, "%s/emcell-cluster-XXXXXX", parent);

    if (n < 0 || n >= (int)sizeof dir || !mkdtemp(dir))
        stop(strerror(errno));
    o.dir = dir;
    const emc_status status = cluster_simulate(out, &o);
    remove_folder(dir);
    if (status != EMC_OK)
        stop(emc_message());
}

static void print_head(void)
{
    puts("| workers | shards | hours | lost | efficiency | with gaps | tail, s | work lost, s "
         "| computed twice | claims asked | claim, us | publish, us | real s |");
    puts("|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
}

static void print_row(const cluster_options *o, const cluster_figures *f)
{
    printf("| %d | %" PRId64 " | %.2f | %d | %.2f %% | %.2f %% | %.0f | %.0f | %" PRId64
           " | %" PRId64 " | %.0f | %.0f | %.1f |\n",
           o->n_workers, f->n_shards, f->end_s / 3600, f->n_lost, 100 * f->efficiency,
           100 * f->efficiency_with_gaps, f->tail_s, f->lost_work_s, f->n_doubled, f->n_asked,
           1e6 * f->claim_s / (double)f->n_asked, 1e6 * f->publish_s / (double)f->n_shards,
           f->real_s);
    fflush(stdout);
}

/* Small enough for a test, long enough that one in ten minutes may be lost. */
static int check(cluster_options o, const char *parent)
{
    static const struct {
        int n_workers;
        int64_t n_shards;
        double back_after_s;
    } cases[] = {{8, 2000, 300}, {8, 2000, -1}, {64, 6400, 300}};
    int failed = 0;

    o.lost_every_s = 1200;
    print_head();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cluster_figures f;
        o.n_workers = cases[i].n_workers;
        o.n_cells = cases[i].n_shards * o.shard_cells - 1;
        o.back_after_s = cases[i].back_after_s;
        simulate(&f, o, parent);
        print_row(&o, &f);
        failed |= !(f.efficiency >= LEAST_EFFICIENCY && f.efficiency <= 1.01) || f.n_doubled != 0 ||
                  f.n_lost < 1;
    }
    return failed;
}

static double number(const char *text)
{
    char *end;
    const double value = strtod(text, &end);

    if (end == text || *end)
        stop("an option's number is none");
    return value;
}

int main(int argc, char **argv)
{
    static const int sizes[] = {8, 64, 512};
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    cluster_options o = {.n_cells = 200000000,
                         .shard_cells = 1500,
                         .cells_per_s = 75,
                         .spread = 0.05,
                         .shard_spread = 0.01,
                         .lost_every_s = 3600,
                         .back_after_s = 300,
                         .seed = 1};
    bool checks = bench_is_quick(argc, argv);

    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--quick") == 0 || strcmp(a, "--check") == 0)
            checks = true;
        else if (i + 1 == argc)
            stop("unknown option; the head of bench/cluster/bench_cluster.c tells of all");
        else if (strcmp(a, "--dir") == 0)
            parent = argv[++i];
        else if (strcmp(a, "--workers") == 0)
            o.n_workers = (int)number(argv[++i]);
        else if (strcmp(a, "--cells") == 0)
            o.n_cells = (int64_t)number(argv[++i]);
        else if (strcmp(a, "--shard-cells") == 0)
            o.shard_cells = (int64_t)number(argv[++i]);
        else if (strcmp(a, "--cells-per-s") == 0)
            o.cells_per_s = number(argv[++i]);
        else if (strcmp(a, "--spread") == 0)
            o.spread = number(argv[++i]);
        else if (strcmp(a, "--shard-spread") == 0)
            o.shard_spread = number(argv[++i]);
        else if (strcmp(a, "--lost-every") == 0)
            o.lost_every_s = number(argv[++i]);
        else if (strcmp(a, "--back-after") == 0)
            o.back_after_s = number(argv[++i]);
        else if (strcmp(a, "--seed") == 0)
            o.seed = (uint64_t)number(argv[++i]);
        else
            stop("unknown option; the head of bench/cluster/bench_cluster.c tells of all");
    }
    allow_files();
    if (checks)
        return check(o, parent);
    print_head();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int only = o.n_workers;
        cluster_figures f;
        o.n_workers = only ? only : sizes[i];
        simulate(&f, o, parent);
        print_row(&o, &f);
        if (only)
            break;
        o.n_workers = 0;
    }
    return 0;
}
