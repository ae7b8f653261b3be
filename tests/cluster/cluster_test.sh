#!/usr/bin/env bash
# A run on two nodes of a real Slurm, and what befalls it: the results are always those of a single
# undisturbed process, byte for byte, and no shard is lost or doubled.
# usage: cluster_test.sh EMCELL SOURCE_FOLDER [SUBJECT...]
#   Subjects are the functions below; by default "tasks", with EMT_FULL=1 all of them.
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
shift 2
subjects=(tasks)
n_cells=16
if [ "${EMT_FULL:-0}" = 1 ]; then
    subjects=(tasks task_killed task_of_job_killed node_lost node_of_script_lost daemon_lost preempted
        preempted_at_once exit_75 time_limit array cancelled mistake page)
    n_cells=400
fi
if [ $# -gt 0 ]; then subjects=("$@"); fi

. "$source/tests/cluster/slurm.sh"
if why=$(slurm_missing); then
    echo "SKIPPED: no cluster: $why"
    exit 77
fi
work=$(mktemp -d)
# Every process of the cluster ends with this one, whatever ends it.
finish() {
    trap '' INT TERM HUP
    cd /
    slurm_stop
    rm -rf "$work"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP
cd "$work" || exit 1
. "$source/tests/cluster/run.sh"
if ! slurm_start "$work/slurm"; then
    echo "SKIPPED: the daemons of Slurm do not start here"
    exit 77
fi

# ---- who runs where ----

# emcells [NODE]: the processes of tasks. For a moment Slurm's own have their names.
emcells() {
    local pid
    for pid in $(slurm_pids "$@"); do
        [ "/proc/$pid/exe" -ef "$emcell" ] && echo "$pid"
    done
}
stop_all() { emcells | xargs -r kill -STOP; }
go_on() { emcells | xargs -r kill -CONT; }

# hold OUTPUT N: waits until N shards are done, then stops all tasks in the middle of the others.
hold() {
    until_true 60 has_shards "$1.run" "$2" || {
        fail "$1: no $2 shards after a minute"
        return 1
    }
    stop_all
    check test "$(done_shards "$1.run")" -lt $n_shards
}
# Did all tasks get the signal of this number, which waits until they go on?
is_pending() {
    local pid mask n=0
    for pid in $(emcells); do
        mask=$(awk '/^ShdPnd/ { print $2 }' "/proc/$pid/status") || return
        (((0x$mask >> ($1 - 1)) & 1)) || return
        n=$((n + 1))
    done
    [ $n -gt 0 ]
}

is_told() { is_pending 10 || [ -z "$(emcells)" ]; } # Slurm may wake what it signals

job_field() { scontrol show job --oneliner "$1" 2>/dev/null | grep -oE "(^| )$2=[^ ]*" | cut -d = -f 2; }
is_state() { [ "$(job_field "$1" JobState)" = "$2" ]; }
has_restarts() { [ "$(job_field "$1" Restarts)" -ge "$2" ]; }
ends_as() { # JOB STATE
    until_true 120 is_state "$1" "$2" || fail "job $1 is $(job_field "$1" JobState), not $2"
    slurm_wait_idle || fail "the nodes do not become free: $(sinfo -h)"
}
# is_finished JOB OUTPUT RESTARTS: as a job is that got there.
is_finished() {
    ends_as "$1" COMPLETED
    check test "$(job_field "$1" Restarts)" = "$3"
    finished "$2"
}
# submit OUTPUT [OPTION_OF_SBATCH...]: emcell slurm-template's own script, two nodes, two cores each.
submit() {
    local output=$1
    shift
    "$emcell" slurm-template --nodes 2 --cpus-per-task 2 --job-name "${output%.csv}" -- \
        "${annotate[@]}" --output "$output" >"${output%.csv}.sh" || fail "slurm-template"
    sbatch --parsable "$@" "${output%.csv}.sh" | cut -d ';' -f 1
}

# Not in the foreground, where a signal to this shell would have to wait for it.
step() {
    srun "$@" &
    wait $!
}

# ---- what happens ----

tasks() {
    check step -N2 -n4 --label "${annotate[@]}" --output tasks.csv --resume 2>tasks.txt
    finished tasks.csv
    check test "$(answered tasks.txt)" = $n_cells # nothing is done twice
}

task_killed() {
    local srun victim
    srun -N2 -n4 --kill-on-bad-exit=0 "${annotate[@]}" --quiet --output killed.csv --resume 2>killed.txt &
    srun=$!
    hold killed.csv 3 || return
    victim=$(emcells | head -n 1)
    check test "$(find killed.csv.run/claims -type f | wc -l)" -ge 4
    kill -9 "$victim"
    go_on
    wait $srun
    check test $? = 137 # the one's; the others have done its part
    finished killed.csv
    slurm_wait_idle
}

task_of_job_killed() { # the others end well, and the job's next start finds all of it
    local job
    job=$(submit task.csv)
    hold task.csv 3 || return
    emcells | head -n 1 | xargs kill -9
    go_on
    until_true 150 has_restarts "$job" 1 || fail "the job is not started again"
    is_finished "$job" task.csv 1
}

node_lost() { # not the one of the batch script: the job goes on without it
    local job
    job=$(submit node.csv)
    hold node.csv 3 || return
    check test "$(job_field "$job" BatchHost)" = n1
    check slurm_node down 2
    go_on
    until_true 90 is_state "$job" COMPLETED || fail "job $job is $(job_field "$job" JobState)"
    check slurm_node up 2
    is_finished "$job" node.csv 0
    check grep -q 'Node failure on n2' node-"$job".log
}

node_of_script_lost() {
    local job
    job=$(submit script.csv)
    hold script.csv 3 || return
    check slurm_node down 1
    check slurm_node up 1
    until_true 150 has_restarts "$job" 1 || fail "the job is not started again"
    go_on
    is_finished "$job" script.csv 1
}

daemon_lost() { # its tasks live on, and the job's next start works beside them
    local job
    job=$(submit daemon.csv)
    hold daemon.csv 3 || return
    emcells n1 >orphans.txt
    slurm_pids n1 | grep -vxF -f orphans.txt | xargs kill -9
    go_on
    check slurm_node up 1
    until_true 150 has_restarts "$job" 1 || fail "the job is not started again"
    is_finished "$job" daemon.csv 1
}

preempted() {
    local job
    job=$(submit preempted.csv)
    hold preempted.csv 3 || return
    check step --partition=high -N2 --exclusive true # waits until it has the nodes
    until_true 150 has_restarts "$job" 1 || fail "the job is not started again"
    is_finished "$job" preempted.csv 1
    check grep -q 'interrupted; .* the same command with --resume goes on' preempted-"$job".log
}

preempted_at_once() { # no task is told
    local job
    job=$(submit at_once.csv --partition=hasty)
    hold at_once.csv 3 || return
    check step --partition=high -N2 --exclusive true
    until_true 150 has_restarts "$job" 1 || fail "the job is not started again"
    is_finished "$job" at_once.csv 1
}

exit_75() { # no more than a site's RequeueExit
    local job
    cat >exit.sh <<END
#!/bin/bash
#SBATCH --nodes=2 --ntasks=4 --open-mode=append --output=exit.log
srun --kill-on-bad-exit=0 ${annotate[*]@Q} --quiet --output exit.csv --resume
END
    job=$(sbatch --parsable exit.sh)
    hold exit.csv 3 || return
    scancel --signal=USR1 "$job"
    until_true 30 is_pending 10 || fail "no USR1"
    go_on
    until_true 150 has_restarts "$job" 1 || fail "the job is not started again"
    is_finished "$job" exit.csv 1
    check test "$(grep -c 'interrupted' exit.log)" -ge 1
}

time_limit() { # of a minute, the smallest there is, and the signal long before it
    local job
    job=$(submit limit.csv --time=1 --signal=USR1@58)
    hold limit.csv 3 || return
    until_true 90 is_told || fail "no USR1 before the time limit"
    go_on
    until_true 150 has_restarts "$job" 1 || fail "the job is not started again"
    is_finished "$job" limit.csv 1
    check grep -q 'interrupted; .* the same command with --resume goes on' limit-"$job".log
    check test "$(grep -c 'TIME LIMIT' limit-"$job".log)" = 0 # it was the signal
}

array() { # jobs of their own share the run
    local job i
    "$emcell" slurm-template --array 0-3 --cpus-per-task 1 --job-name array -- "${annotate[@]}" \
        --output array.csv >array.sh || fail "slurm-template"
    job=$(sbatch --parsable array.sh)
    for i in 0 1 2 3; do until_true 120 is_state "${job}_$i" COMPLETED || fail "array job $i"; done
    finished array.csv
    check test "$(answered array-"$job"_*.log)" = $n_cells
    slurm_wait_idle
}

cancelled() { # is not wanted back
    local job
    job=$(submit cancelled.csv)
    hold cancelled.csv 3 || return
    scancel "$job"
    go_on
    ends_as "$job" CANCELLED
    sleep 7 # longer than a requeued job is held
    check is_state "$job" CANCELLED
    job=$(submit cancelled.csv)
    is_finished "$job" cancelled.csv 0
}

mistake() { # would be the same at every start
    local job
    "$emcell" slurm-template --cpus-per-task 1 --job-name mistake -- "${annotate[@]}" \
        --output mistake.csv --answer best >mistake.sh
    job=$(sbatch --parsable mistake.sh)
    ends_as "$job" FAILED
    check test "$(job_field "$job" ExitCode)" = 2:0
    check test "$(job_field "$job" Restarts)" = 0
}

no_jobs() { [ -z "$(squeue --noheader)" ]; }
page() { # docs/cluster.md: its commands, on a part of the cells
    local line command output n=0 part="--limit 40 --shard-cells 4 --device cpu"
    mkdir page page/bin
    ln -s "$emcell" page/bin/emcell
    cd page || return
    cp "$cells" cells.h5ad
    export PATH=$PWD/bin:$PATH
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    export OMPI_MCA_rmaps_base_oversubscribe=1 # there may be fewer cores than processes
    while IFS= read -r line; do
        case $line in
        *'# not run by a test') continue ;;
        '    mpirun '*) command -v mpirun >/dev/null || { echo "cluster: NOT RUN:$line"; continue; } ;;
        esac
        command=${line//--input cells.h5ad/--input cells.h5ad $part}
        command=${command//--model DIR/--model \"$model\"}
        bash -c "$command" </dev/null >page.txt 2>&1 || fail "$line: $(tail -n 1 page.txt)"
        case $line in *sbatch*) until_true 120 no_jobs || fail "$line: does not end" ;; esac
        n=$((n + 1))
    done < <(grep '^    ' "$source/docs/cluster.md")
    check test $n -ge 8
    for output in srun job array mpi hand; do
        case $output in mpi) command -v mpirun >/dev/null || continue ;; esac
        check cmp $output.csv labels.csv
        check grep -q ': finished$' <("$emcell" status $output.csv.run)
    done
    cd ..
}

begin_base
for subject in "${subjects[@]}"; do
    begin=$SECONDS before=$failures
    $subject
    echo "cluster: $subject, $((SECONDS - begin)) s"
    if [ $failures != $before ]; then
        tail -n 5 ./*.txt ./*.log
        tail -n 15 slurm/log/[ns]*
    fi
done
echo "cluster: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ]
