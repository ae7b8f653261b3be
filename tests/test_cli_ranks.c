/* Who is this process among those of its job? */
#include <string.h>

#include "cli/ranks.h"
#include "emt.h"

#define MOST 8

typedef struct {
    const char *name, *value;
} variable;

static const char *look(void *context, const char *name)
{
    const variable *v = context;

    for (int i = 0; i < MOST && v[i].name; i++)
        if (strcmp(v[i].name, name) == 0)
            return v[i].value;
    return NULL;
}

static const struct {
    variable environment[MOST];
    int given_rank, given_world; /* -1: not */
    int rank, world, local_rank, local_world, restart;
    const char *job, *source, *ignored; /* what `ignored` has; "" for nothing */
} cases[] = {
    {{{NULL, NULL}}, -1, -1, 0, 1, -1, 0, 0, "", "alone", ""},
    /* Options come over everything. */
    {{{"RANK", "1"}, {"WORLD_SIZE", "2"}}, 3, 4, 3, 4, -1, 0, 0, "", "--rank", ""},
    {{{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"}},
     -1,
     -1,
     1,
     2,
     1,
     2,
     0,
     "",
     "torchrun",
     ""},
    /* torchrun in a Slurm step, which started one process a node. */
    {{{"RANK", "5"}, {"WORLD_SIZE", "8"}, {"SLURM_PROCID", "0"}, {"SLURM_STEP_NUM_TASKS", "2"}},
     -1,
     -1,
     5,
     8,
     -1,
     0,
     0,
     "",
     "torchrun",
     ""},
    {{{"SLURM_PROCID", "3"},
      {"SLURM_STEP_NUM_TASKS", "4"},
      {"SLURM_LOCALID", "1"},
      {"SLURM_NODEID", "1"},
      {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"},
      {"SLURM_JOB_ID", "12"},
      {"SLURM_STEP_ID", "0"},
      {"SLURM_RESTART_COUNT", "2"}},
     -1,
     -1,
     3,
     4,
     1,
     2,
     2,
     "12",
     "Slurm step 12.0",
     ""},
    /* A batch script without srun: there is one process. */
    {{{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "4"}, {"SLURM_JOB_ID", "12"}},
     -1,
     -1,
     0,
     1,
     -1,
     0,
     0,
     "12",
     "alone",
     ""},
    /* mpirun in such a script. */
    {{{"SLURM_PROCID", "0"},
      {"SLURM_NTASKS", "4"},
      {"OMPI_COMM_WORLD_RANK", "2"},
      {"OMPI_COMM_WORLD_SIZE", "4"},
      {"OMPI_COMM_WORLD_LOCAL_RANK", "0"},
      {"OMPI_COMM_WORLD_LOCAL_SIZE", "1"}},
     -1,
     -1,
     2,
     4,
     0,
     1,
     0,
     "",
     "Open MPI",
     ""},
    {{{"PMI_RANK", "0"}, {"PMI_SIZE", "3"}}, -1, -1, 0, 3, -1, 0, 0, "", "PMI", ""},
    /* An array: each task is a job of its own. */
    {{{"SLURM_ARRAY_TASK_ID", "7"},
      {"SLURM_ARRAY_TASK_MIN", "4"},
      {"SLURM_ARRAY_TASK_MAX", "9"},
      {"SLURM_JOB_ID", "101"}},
     -1,
     -1,
     3,
     6,
     -1,
     0,
     0,
     "101",
     "task 7 of a Slurm array",
     ""},
    {{{"SLURM_ARRAY_TASK_ID", "7"}, {"SLURM_ARRAY_TASK_MIN", "9"}, {"SLURM_ARRAY_TASK_MAX", "9"}},
     -1,
     -1,
     0,
     1,
     -1,
     0,
     0,
     "",
     "alone",
     ""},
    /* What cannot be is passed over, and the next one asked. */
    {{{"SLURM_PROCID", "5"}, {"SLURM_STEP_NUM_TASKS", "4"}, {"PMI_RANK", "1"}, {"PMI_SIZE", "2"}},
     -1,
     -1,
     1,
     2,
     -1,
     0,
     0,
     "",
     "PMI",
     "SLURM_PROCID=5 and SLURM_STEP_NUM_TASKS=4 are no place"},
    {{{"SLURM_PROCID", "1"}, {"SLURM_STEP_NUM_TASKS", "none"}},
     -1,
     -1,
     0,
     1,
     -1,
     0,
     0,
     "",
     "alone",
     "SLURM_STEP_NUM_TASKS=none are no place"},
    {{{"RANK", "-1"}, {"WORLD_SIZE", "2"}}, -1, -1, 0, 1, -1, 0, 0, "", "alone", "RANK=-1"},
    {{{"WORLD_SIZE", "2"}}, -1, -1, 0, 1, -1, 0, 0, "", "alone", "RANK= and WORLD_SIZE=2"},
    {{{"RANK", "1"}}, -1, -1, 0, 1, -1, 0, 0, "", "alone", "RANK=1 and WORLD_SIZE= are"},
    /* Who numbers the processes itself still has neighbours on its machine. */
    {{{"SLURM_PROCID", "3"},
      {"SLURM_STEP_NUM_TASKS", "4"},
      {"SLURM_LOCALID", "1"},
      {"SLURM_NODEID", "1"},
      {"SLURM_STEP_TASKS_PER_NODE", "2(x2)"}},
     2,
     4,
     2,
     4,
     1,
     2,
     0,
     "",
     "--rank",
     ""},
    {{{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"LOCAL_RANK", "1"}},
     -1,
     -1,
     1,
     2,
     1,
     0,
     0,
     "",
     "torchrun",
     ""},
    {{{"RANK", "99999999999"}, {"WORLD_SIZE", "99999999999"}},
     -1,
     -1,
     0,
     1,
     -1,
     0,
     0,
     "",
     "alone",
     "no place"},
    {{{"SLURM_PROCID", "9"},
      {"SLURM_STEP_NUM_TASKS", "11"},
      {"SLURM_LOCALID", "2"},
      {"SLURM_NODEID", "3"},
      {"SLURM_STEP_TASKS_PER_NODE", "2(x3),5"}},
     -1,
     -1,
     9,
     11,
     2,
     5,
     0,
     "",
     "Slurm step ?",
     ""},
    {{{"SLURM_PROCID", "0"},
      {"SLURM_STEP_NUM_TASKS", "2"},
      {"SLURM_NODEID", "1"},
      {"SLURM_STEP_TASKS_PER_NODE", "2(x"}},
     -1,
     -1,
     0,
     2,
     -1,
     0,
     0,
     "",
     "Slurm step ?",
     ""},
};

static void every_source_is_asked_in_its_order(void **state)
{
    (void)state;
    for (size_t i = 0; i < EMC_COUNT(cases); i++) {
        cli_ranks r;

        EMT_OK(cli_ranks_find(&r, cases[i].given_rank, cases[i].given_world, look,
                              (void *)cases[i].environment));
        if (r.rank != cases[i].rank || r.world != cases[i].world ||
            r.local_rank != cases[i].local_rank || r.local_world != cases[i].local_world ||
            r.restart != cases[i].restart)
            fail_msg("case %zu: rank %d of %d, %d of %d here, restart %d", i, r.rank, r.world,
                     r.local_rank, r.local_world, r.restart);
        assert_string_equal(r.job, cases[i].job);
        assert_string_equal(r.source, cases[i].source);
        if (!*cases[i].ignored)
            assert_string_equal(r.ignored, "");
        else
            assert_non_null(strstr(r.ignored, cases[i].ignored));
    }
}

static void options_that_cannot_be_are_refused(void **state)
{
    const variable none[MOST] = {{NULL, NULL}};
    cli_ranks r;

    (void)state;
    EMT_FAILS(EMC_ERR_USAGE, "--rank 4 --world-size 4: ranks are 0 to 3",
              cli_ranks_find(&r, 4, 4, look, (void *)none));
    EMT_FAILS(EMC_ERR_USAGE, "belong together", cli_ranks_find(&r, 1, -1, look, (void *)none));
    EMT_FAILS(EMC_ERR_USAGE, "belong together", cli_ranks_find(&r, -1, 2, look, (void *)none));
}

static void neighbours_take_different_gpus(void **state)
{
    cli_ranks r = {.world = 8, .local_rank = 5, .local_world = 8};

    (void)state;
    assert_int_equal(cli_ranks_gpu(&r, 8), 5);
    assert_int_equal(cli_ranks_gpu(&r, 4), 1);
    assert_int_equal(cli_ranks_gpu(&r, 1), -1); /* its own: there is nothing to choose */
    assert_int_equal(cli_ranks_gpu(&r, 0), -1);
    r.local_world = 1;
    assert_int_equal(cli_ranks_gpu(&r, 8), -1);
    r.local_world = 0; /* nobody says how many there are */
    assert_int_equal(cli_ranks_gpu(&r, 8), 5);
    r.local_rank = -1;
    assert_int_equal(cli_ranks_gpu(&r, 8), -1);
    r = (cli_ranks){.world = 1, .local_rank = 0, .local_world = 8};
    assert_int_equal(cli_ranks_gpu(&r, 8), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_source_is_asked_in_its_order),
        cmocka_unit_test(options_that_cannot_be_are_refused),
        cmocka_unit_test(neighbours_take_different_gpus),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
