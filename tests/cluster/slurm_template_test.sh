#!/usr/bin/env bash
# emcell slurm-template: what it prints, and what the script decides, with programs in the place of
# Slurm's. cluster_test.sh submits it to a real one.
# usage: slurm_template_test.sh EMCELL
set -u
emcell=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
checks=0 failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
template() { "$emcell" slurm-template "$@"; }
says() { check grep -qxF -- "$1" job.sh; }

command=(annotate --input 'my $HOME cells.h5ad' --model "a'b" --output labels.csv)
template --nodes 3 --gpus-per-node 8 --cpus-per-task 16 --time 1-02:00:00 --partition gpu,big \
    --account lab --job-name atlas -- "${command[@]}" >job.sh
check test $? = 0
says '#SBATCH --nodes=3'
says '#SBATCH --ntasks-per-node=1'
says '#SBATCH --gpus-per-node=8'
says '#SBATCH --cpus-per-task=16'
says '#SBATCH --time=1-02:00:00'
says '#SBATCH --partition=gpu,big'
says '#SBATCH --account=lab'
says '#SBATCH --job-name=atlas'
says '#SBATCH --output=atlas-%j.log'
says '#SBATCH --open-mode=append'
says '#SBATCH --requeue'
says '#SBATCH --no-kill'
says '#SBATCH --signal=USR1@120'
check test "$(head -n 1 job.sh)" = '#!/bin/bash'
check bash -n job.sh
check test "$(awk 'length > 100' job.sh | grep -vc 'emcell annotate')" = 0
# sbatch reads no option behind the first command.
check test -z "$(sed '1,/^[^#]/d' job.sh | grep '^#SBATCH')"
# Every option and every command has a comment before it, or before those that it stands with.
check test "$(awk '/^$/ { explained = 0 } /^# / { explained = 1 } /^#SBATCH|^[^#]/ { if (!explained) n++ }
    END { print n + 0 }' job.sh)" = 0
if command -v shellcheck >/dev/null; then
    check shellcheck --severity warning job.sh
else
    echo "slurm-template: NOT RUN: shellcheck (not installed)"
fi
template --array 0-7%2 -- "${command[@]}" --device cpu --resume >array.sh
check grep -qxF '#SBATCH --array=0-7%2' array.sh
check grep -qxF '#SBATCH --output=emcell-%A_%a.log' array.sh
check grep -qxF '#SBATCH --nodes=1' array.sh
check test "$(grep -c -e 'gpus-per-node' -e '--partition' -e '--account' -e 'cuda:all' array.sh)" = 0
check test "$(grep -c -- '[^#]*annotate .*--resume' array.sh)" = 1
check test "$(grep -o -- '--resume' array.sh | wc -l)" = 2 # in the comment, and as it was given
check bash -n array.sh

# ---- what it decides ----
mkdir bin
cat >bin/srun <<'END'
#!/bin/sh
printf '%s\n' "$@" >"$PLAY/srun.txt"
exit "$CODE"
END
cat >bin/scontrol <<'END'
#!/bin/sh
if [ "$1" = show ]; then echo "JobId=7 JobState=$STATE Requeue=1"; exit; fi
echo "$@" >>"$PLAY/scontrol.txt"
exit "$DENIED"
END
printf '#!/bin/sh\necho "slept" >>"$PLAY/scontrol.txt"\n' >bin/sleep
chmod +x bin/*
# play CODE_OF_SRUN STATE RESTARTS: the exit code; what was asked of scontrol is in scontrol.txt.
play() {
    : >scontrol.txt
    PATH=$work/bin:$PATH PLAY=$work CODE=$1 STATE=$2 SLURM_RESTART_COUNT=$3 DENIED=${4:-0} \
        SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=16 bash job.sh
}
decides() { # EXIT_CODE ASKED PLAY...
    local wanted=$1 asked=$2 got
    shift 2
    play "$@"
    got=$?
    checks=$((checks + 1))
    [ $got = "$wanted" ] || fail "exit $got, wanted $wanted: $*"
    [ "$(tr '\n' ' ' <scontrol.txt)" = "$asked" ] || fail "scontrol: $(cat scontrol.txt): $*"
}
decides 0 '' 0 RUNNING ''
check cmp srun.txt <(printf '%s\n' --no-kill --kill-on-bad-exit=0 --wait=0 --cpus-per-task=16 emcell \
    "${command[@]}" --device cuda:all --resume)
for code in 2 3 65 74 78 127; do decides $code '' $code RUNNING ''; done
for code in 1 75 137 143; do decides 75 'requeue 7 slept ' $code RUNNING 3; done
for state in COMPLETING CANCELLED ''; do decides 1 '' 75 "$state" ''; done # never 75: RequeueExit
decides 1 '' 75 RUNNING 100
decides 75 'requeue 7 slept ' 75 RUNNING 99
decides 75 'requeue 7 ' 75 RUNNING '' 1 # may not: the site's RequeueExit is left

# ---- refused, in one line ----
refused() { # PATTERN OPTION...
    local pattern=$1
    shift
    template "$@" >out.txt 2>err.txt
    check test $? = 2
    check test ! -s out.txt
    check test "$(wc -l <err.txt)" = 1
    check grep -qE -- "^emcell slurm-template: $pattern" err.txt
}
refused 'what is to run is missing: wanted -- annotate'
refused 'what is to run is missing' --nodes 2 --
refused 'what is to run is missing' -- merge labels.csv.run --output x.csv
refused 'what is "annotate"\?' annotate --
refused 'annotate: --input is missing' -- annotate --model m --output o.csv
refused 'annotate: --model is missing' -- annotate -i c.h5ad -o o.csv
refused 'annotate: --output is missing' -- annotate --input c.h5ad --model m
refused 'annotate --output -: ' -- "${command[@]:0:5}" --output -
refused 'annotate --output -: ' -- "${command[@]:0:5}" --output=-
refused 'annotate --force would begin anew' -- "${command[@]}" --force
refused '--nodes: "0" is not a whole number from 1' --nodes 0 -- "${command[@]}"
refused '--gpus-per-node: "x"' --gpus-per-node x -- "${command[@]}"
refused 'unknown option --nods' --nods -- "${command[@]}"
for option in time partition account job-name array; do
    refused "--$option: wanted letters" --$option 'a b' -- "${command[@]}"
    refused "--$option: wanted letters" --$option $'a\nb' -- "${command[@]}"
    refused "--$option: the value is empty" --$option '' -- "${command[@]}"
done
template --help >out.txt
check grep -q 'usage: emcell slurm-template' out.txt
template -- annotate -ic.h5ad -mm -oo.csv >out.txt
check grep -qF 'emcell annotate -ic.h5ad -mm -oo.csv --resume' out.txt
template -- apptainer run emcell.sif "${command[@]}" >out.txt
check grep -qF ' apptainer run emcell.sif annotate --input ' out.txt
if [ -w /dev/full ]; then
    template -- "${command[@]}" >/dev/full 2>err.txt
    check test $? = 74
fi
"$emcell" --help | grep -q '^  slurm-template ' || fail "not in emcell --help"

echo "slurm-template: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ]
