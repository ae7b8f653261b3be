#!/usr/bin/env bash
# Processes that share a run, however they were started: by hand, under mpirun, with the variables of
# torchrun, as a job array. Each ends well, and the results are those of one process alone.
# usage: shared_test.sh EMCELL SOURCE_FOLDER
#   EMT_FULL=1: more cells, and all ways; else by hand and under mpirun.
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
n_cells=10
n_processes=2
if [ "${EMT_FULL:-0}" = 1 ]; then n_cells=200 n_processes=4; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
# What starts these tests says nothing to the processes in them.
while IFS= read -r name; do unset "$name"; done < <(compgen -e | grep -E '^(SLURM_|OMPI_|PMI|RANK$|WORLD_SIZE$|LOCAL_RANK$)')
. "$source/tests/cluster/run.sh"

# together NAME COMMAND...: the command once for each line of NAME.env, with its variables. Every
# process ends with 0, and together they ask the model about each cell once.
together() {
    local name=$1 line pids=() pid n=0
    shift
    while IFS= read -r line; do
        # shellcheck disable=SC2086
        env $line "$@" --output "$name.csv" --resume 2>"$name.$n.txt" &
        pids+=($!)
        n=$((n + 1))
    done <"$name.env"
    for pid in "${pids[@]}"; do
        wait "$pid"
        check test $? = 0
    done
    finished "$name.csv"
    check test "$(answered "$name".*.txt)" = $n_cells
}
begin_base

# By hand: nothing says how many there are.
yes '' | head -n $n_processes >hand.env
together hand "${annotate[@]}"

if [ "${EMT_FULL:-0}" = 1 ]; then
    for rank in 0 1 2; do
        echo "RANK=$rank WORLD_SIZE=3 LOCAL_RANK=$rank MASTER_ADDR=localhost MASTER_PORT=29500"
    done >torchrun.env
    together torchrun "${annotate[@]}"
    check grep -q '^rank 2 of 3 (torchrun)$' torchrun.2.txt

    # Jobs of an array; in a batch script the number of tasks that it shows is not that of processes.
    for task in 0 1; do
        echo "SLURM_JOB_ID=$((40 + task)) SLURM_ARRAY_JOB_ID=40 SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=2 SLURM_ARRAY_TASK_MIN=0 SLURM_ARRAY_TASK_MAX=1 SLURM_PROCID=0 SLURM_NTASKS=4"
    done >array.env
    together array "${annotate[@]}"
    check grep -q '^rank 1 of 2 (task 1 of a Slurm array)$' array.1.txt

    # A step whose numbers cannot be is told of, and the process works all the same.
    SLURM_PROCID=7 SLURM_STEP_NUM_TASKS=4 "${annotate[@]}" --output lie.csv 2>lie.txt
    check test $? = 0
    check grep -q 'SLURM_PROCID=7 and SLURM_STEP_NUM_TASKS=4 are no place among processes; passed over' lie.txt
    finished lie.csv

    # Whoever comes with other settings is refused, with a line, and the others go on.
    "${annotate[@]}" --output differ.csv --resume 2>differ.txt &
    first=$!
    check until_true 60 test -e differ.csv.run/run.json
    for other in '--n-genes 50' '--dtype float32' '--tensor-parallel-size 2' "--labels $work/labels.txt"; do
        printf 'CTB\nEVT\n' >labels.txt
        # shellcheck disable=SC2086
        "${annotate[@]}" $other --quiet --output differ.csv --resume 2>refused.txt
        check test $? = 78
        check test "$(wc -l <refused.txt)" = 1
        check grep -q 'the run was begun with other settings' refused.txt
    done
    wait $first
    check test $? = 0
    finished differ.csv
fi

if command -v mpirun >/dev/null; then
    # Its options for root and for more processes than cores are those of a test.
    OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 timeout 120 \
        mpirun --oversubscribe -n $n_processes "${annotate[@]}" --output mpi.csv --resume >mpi.out 2>mpi.txt </dev/null
    check test $? = 0
    finished mpi.csv
    check test "$(answered mpi.txt)" = $n_cells
else
    echo "shared: NOT RUN: mpirun (Debian package openmpi-bin; scripts/setup --full)"
fi

echo "shared: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ]
