# shellcheck shell=bash
# A Slurm cluster of two nodes on this machine, for tests to source. It lives in one private folder
# and in processes that all end with the test, and it disturbs no other Slurm that may be here.
#
#   slurm_missing        prints why no cluster can be started here; false where one can
#   slurm_start FOLDER   starts it; FOLDER is new, its path short (a socket lies in it)
#   slurm_stop           ends every process of it, and of the jobs in it
#   slurm_node up|down N starts node N anew; or kills its daemon, its steps and its tasks
#   slurm_wait_idle      until both nodes are free
#
# Partition "low" (the default) is preempted by "high" and requeued, with 2 s to end in;
# "hasty" without. A batch script that ends with 75 is requeued. until_true is run.sh's.

# The packages' daemons are where a user's PATH may not look.
slurm_path=$PATH:/usr/sbin:/sbin:/usr/local/sbin

slurm_missing() {
    local program
    for program in slurmctld slurmd munged srun sbatch scontrol; do
        PATH=$slurm_path command -v $program >/dev/null || {
            echo "no $program here (Debian packages slurm-wlm and munge; scripts/setup --full)"
            return 0
        }
    done
    [ "$(id -u)" = 0 ] || { echo "slurmd starts as root only"; return 0; }
    return 1
}

# slurm_free_ports N: ports below those that the system gives out by itself, on which nobody listens.
slurm_free_ports() {
    local n=$1 port taken
    taken=" $(awk '$4 == "0A" { split($2, a, ":"); print a[2] }' /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        sort -u | tr '\n' ' ')"
    while [ "$n" -gt 0 ]; do
        port=$((20000 + RANDOM % 12000))
        case $taken in *" $(printf %04X $port) "*) continue ;; esac
        taken="$taken$(printf %04X $port) "
        echo $port
        n=$((n - 1))
    done
}

slurm_configure() {
    local host ports
    host=$(hostname -s)
    mapfile -t ports < <(slurm_free_ports 3)
    # cred_expire: how long a requeued job is held. linuxproc: cgroups may not be ours to use.
    # config_overrides: two nodes with two CPUs each, whatever this machine has.
    cat >"$slurm_dir/slurm.conf" <<END
ClusterName=emcell
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm_dir/munge/socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort=${ports[0]}
StateSaveLocation=$slurm_dir/state
SlurmdSpoolDir=$slurm_dir/spool/%n
SlurmctldPidFile=$slurm_dir/run/slurmctld.pid
SlurmdPidFile=$slurm_dir/run/%n.pid
SlurmctldLogFile=$slurm_dir/log/slurmctld
SlurmdLogFile=$slurm_dir/log/%n
TmpFS=$slurm_dir/tmp/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=3
SlurmdTimeout=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
RequeueExit=75
SchedulerParameters=batch_sched_delay=1,sched_interval=2
GresTypes=gpu
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[1]} CPUs=2 RealMemory=1000 Gres=gpu:1 State=UNKNOWN
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=${ports[2]} CPUs=2 RealMemory=1000 Gres=gpu:1 State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=2
PartitionName=hasty Nodes=ALL State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=off
END
    printf 'NodeName=n[1-2] Name=gpu File=/dev/null\n' >"$slurm_dir/gres.conf"
}

slurm_daemon() {
    PATH=$slurm_path "$@" </dev/null >>"$slurm_dir/log/started" 2>&1 &
    disown
}

# Ends the cluster when this shell is gone without having done so itself (kill -9).
slurm_watch() {
    {
        trap '' INT TERM HUP
        export -n SLURM_CONF # it is none of those that are to end
        while kill -0 $$; do sleep 1; done
        slurm_kill
        rm -rf "$slurm_dir"
    } </dev/null >/dev/null 2>&1 &
    disown
}

# slurm_pids [NODE]: of what runs in this cluster, or on one of its nodes: who was started with its
# SLURM_CONF, and who writes its logs (Slurm's own processes write their titles over their
# environment). The programs that look are not to find themselves.
slurm_pids() (
    export -n SLURM_CONF
    {
        grep -lazsF "SLURM_CONF=$slurm_dir/" /proc/[0-9]*/environ |
            while read -r file; do
                [ -z "${1:-}" ] || grep -qazsx "SLURMD_NODENAME=$1" "$file" || continue
                echo "$file"
            done
        find /proc/[0-9]*/fd -maxdepth 1 -lname "$slurm_dir/log/${1:-*}" 2>/dev/null
    } | cut -d / -f 3 | sort -u
)

slurm_kill() { # [NODE]
    local pids tries
    for ((tries = 0; tries < 50; tries++)); do
        mapfile -t pids < <(slurm_pids "$@")
        [ ${#pids[@]} -gt 0 ] || return 0
        kill -9 "${pids[@]}" 2>/dev/null
        sleep 0.1
    done
    echo "slurm: not all processes could be ended: ${pids[*]}" >&2
    return 1
}

slurm_stop() { [ -z "${slurm_dir:-}" ] || slurm_kill; }

slurm_idle() { [ "$(sinfo -h -t idle -o %D 2>/dev/null)" = 2 ]; }
slurm_wait_idle() { until_true "${1:-60}" slurm_idle; }

slurm_node() {
    case $1 in
    up) slurm_daemon slurmd -D -f "$SLURM_CONF" -N "n$2" ;;
    down) slurm_kill "n$2" ;;
    esac
}

slurm_start() {
    local try
    slurm_dir=$1
    mkdir -p "$slurm_dir"/{state,spool/n1,spool/n2,tmp/n1,tmp/n2,log,run,munge} || return
    chmod 755 "$slurm_dir" "$slurm_dir/munge"
    head -c 1024 /dev/urandom >"$slurm_dir/munge/key"
    chmod 400 "$slurm_dir/munge/key"
    export SLURM_CONF=$slurm_dir/slurm.conf
    slurm_watch
    for try in 1 2 3; do # another program may have been given a port meanwhile
        slurm_configure
        slurm_daemon munged --foreground --force --key-file="$slurm_dir/munge/key" \
            --socket="$slurm_dir/munge/socket" --pid-file="$slurm_dir/munge/pid" \
            --log-file="$slurm_dir/log/munged" --seed-file="$slurm_dir/munge/seed"
        until_true 5 test -S "$slurm_dir/munge/socket"
        slurm_daemon slurmctld -D -f "$SLURM_CONF"
        slurm_node up 1
        slurm_node up 2
        slurm_wait_idle 10 && return
        slurm_kill
        rm -f "$slurm_dir/munge/socket"
    done
    echo "the cluster does not start ($try times):"
    tail -n 3 "$slurm_dir"/log/*
    return 1
}
