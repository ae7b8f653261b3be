#include "cli/ranks.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    cli_lookup lookup;
    void *context;
    cli_ranks *out;
} search;

static const char *look(const search *s, const char *name)
{
    const char *value = s->lookup(s->context, name);

    return value && *value ? value : NULL;
}

/* A whole number from 0 on; -1 where there is none. */
static int number(const search *s, const char *name)
{
    const char *text = look(s, name);
    char *end;

    if (!text || *text < '0' || *text > '9')
        return -1;
    const long value = strtol(text, &end, 10);
    return *end || value > INT_MAX ? -1 : (int)value;
}

/* Where a process is said to be. */
typedef struct {
    const char *who; /* for people */
    const char *rank, *world, *local_rank, *local_world;
} source;

static const source sources[] = {
    {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"},
    {"Slurm step", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", NULL},
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK",
     "OMPI_COMM_WORLD_LOCAL_SIZE"},
    {"PMI", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID", "MPI_LOCALNRANKS"},
};

static void ignore(const search *s, const source *from, const char *why)
{
    cli_ranks *out = s->out;
    const char *rank = look(s, from->rank), *world = look(s, from->world);

    if (!out->ignored[0])
        snprintf(out->ignored, sizeof out->ignored, "%s=%.20s and %s=%.20s %s", from->rank,
                 rank ? rank : "", from->world, world ? world : "", why);
}

/* True when the source says where this process is. */
static bool ask(const search *s, const source *from)
{
    cli_ranks *out = s->out;
    const char *given_rank = look(s, from->rank), *given_world = look(s, from->world);
    const int rank = number(s, from->rank), world = number(s, from->world);

    /* Slurm's rank without a step's number of tasks is that of a batch script. */
    if ((!given_rank || !given_world) && strncmp(from->rank, "SLURM", 5) == 0)
        return false;
    if (!given_rank && !given_world)
        return false;
    if (rank < 0 || world < 1 || rank >= world) {
        ignore(s, from, "are no place among processes");
        return false;
    }
    out->rank = rank;
    out->world = world;
    snprintf(out->source, sizeof out->source, "%s", from->who);
    return true;
}

/* "4(x2),3": tasks of this step on each node; this one's, by its number. */
static int tasks_of_node(const char *text, int node)
{
    while (text && *text) {
        char *end;
        const long n = strtol(text, &end, 10);
        long times = 1;

        if (end == text || n < 0 || n > INT_MAX)
            return 0;
        if (end[0] == '(' && end[1] == 'x') {
            times = strtol(end + 2, &end, 10);
            if (times < 1 || *end++ != ')')
                return 0;
        }
        if (node < times)
            return (int)n;
        node -= (int)times;
        text = *end == ',' ? end + 1 : NULL;
    }
    return 0;
}

static void add_step(const search *s)
{
    cli_ranks *out = s->out;
    const char *job = look(s, "SLURM_JOB_ID"), *step = look(s, "SLURM_STEP_ID");

    snprintf(out->source, sizeof out->source, "Slurm step %.20s%s%.20s", job ? job : "?",
             step ? "." : "", step ? step : "");
}

/* The place on this machine: of the first source that says one, whoever said the rank. */
static void find_local(const search *s)
{
    cli_ranks *out = s->out;

    for (size_t i = 0; i < EMC_COUNT(sources) && out->local_rank < 0; i++) {
        const bool in_step = look(s, "SLURM_STEP_NUM_TASKS") != NULL;

        if (strncmp(sources[i].rank, "SLURM", 5) == 0 && !in_step)
            continue;
        out->local_rank = number(s, sources[i].local_rank);
        if (out->local_rank < 0)
            continue;
        if (sources[i].local_world)
            out->local_world = number(s, sources[i].local_world);
        else if (number(s, "SLURM_NODEID") >= 0)
            out->local_world =
                tasks_of_node(look(s, "SLURM_STEP_TASKS_PER_NODE"), number(s, "SLURM_NODEID"));
        if (out->local_world < 0)
            out->local_world = 0;
    }
}

/* Tasks of an array begin at different places, without knowing of each other. */
static void ask_array(const search *s)
{
    cli_ranks *out = s->out;
    const int task = number(s, "SLURM_ARRAY_TASK_ID"), first = number(s, "SLURM_ARRAY_TASK_MIN");
    const int last = number(s, "SLURM_ARRAY_TASK_MAX");

    if (task < 0 || first < 0 || last < task || task < first || last == INT_MAX)
        return;
    out->rank = task - first;
    out->world = last - first + 1;
    snprintf(out->source, sizeof out->source, "task %d of a Slurm array", task);
}

static void find_job(const search *s)
{
    cli_ranks *out = s->out;
    const char *job = look(s, "SLURM_JOB_ID");
    const int restart = number(s, "SLURM_RESTART_COUNT");

    if (job)
        snprintf(out->job, sizeof out->job, "%.60s", job);
    out->restart = restart > 0 ? restart : 0;
}

static emc_status take_options(cli_ranks *out, int rank, int world)
{
    if (rank < 0 || world < 0)
        return emc_fail(EMC_ERR_USAGE, "--rank and --world-size belong together");
    if (world < 1 || rank >= world)
        return emc_fail(EMC_ERR_USAGE, "--rank %d --world-size %d: ranks are 0 to %d", rank, world,
                        world > 0 ? world - 1 : 0);
    out->rank = rank;
    out->world = world;
    snprintf(out->source, sizeof out->source, "--rank");
    return EMC_OK;
}

emc_status cli_ranks_find(cli_ranks *out, int rank, int world, cli_lookup lookup, void *context)
{
    const search s = {.lookup = lookup, .context = context, .out = out};

    *out = (cli_ranks){.world = 1, .local_rank = -1, .source = "alone"};
    find_job(&s);
    find_local(&s);
    if (rank >= 0 || world >= 0)
        return take_options(out, rank, world);
    for (size_t i = 0; i < EMC_COUNT(sources); i++)
        if (ask(&s, &sources[i])) {
            if (strcmp(sources[i].who, "Slurm step") == 0)
                add_step(&s);
            return EMC_OK;
        }
    ask_array(&s);
    return EMC_OK;
}

int cli_ranks_gpu(const cli_ranks *ranks, int n_gpus)
{
    if (n_gpus < 2 || ranks->world < 2 || ranks->local_rank < 0 || ranks->local_world == 1)
        return -1;
    return ranks->local_rank % n_gpus;
}
