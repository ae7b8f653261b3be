#!/usr/bin/env bash
# The command on several GPUs: the same results, and what a GPU that fails or hangs leaves. The GPUs
# are virtual ones.
# usage: gpus_virtual_test.sh EMCELL_VIRTUAL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
cells=$source/demo/cells.h5ad
model=$source/demo/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME=$work/cache
mkdir cache
export EMT_VG_DEVICES=4
checks=0 failures=0

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
# expect CODE PATTERN COMMAND...: the exit code, and a line of either stream that matches.
expect() {
    local code=$1 pattern=$2 got
    shift 2
    "$@" >out.txt 2>err.txt
    got=$?
    checks=$((checks + 1))
    [ $got = "$code" ] || fail "exit $got, wanted $code: $* ($(tail -n 1 err.txt))"
    [ -z "$pattern" ] || cat out.txt err.txt | grep -qE -- "$pattern" || {
        fail "no line matches \"$pattern\": $*"
        head -n 20 err.txt
    }
}
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
annotate() {
    "$emcell" annotate --input "$cells" --model "$model" --n-genes 40 --max-num-batched-tokens 128 \
        --limit 12 --shard-cells 3 "$@"
}

# Replicas: the bytes of one GPU, in one run or in several on different numbers of them.
expect 0 '' annotate --quiet --device cuda:0 --output one.csv
expect 0 '^device: cuda:0,1,2,3$' annotate --device cuda:all --output all.csv
check cmp -s one.csv all.csv
check grep -q '4 devices: 4 replicas of 1' err.txt
rm one.csv.run/done/000002.shard one.csv
expect 0 '9 of 12 cells are done already' annotate --device cuda:3,1 --output one.csv --resume
check cmp -s one.csv all.csv

# Two GPUs a model: the same labels where more than rounding lies between the first two, the same
# bytes each time, and another run than that of one.
expect 0 '2 devices: 1 replica of 2' annotate --device cuda:0,1 --tensor-parallel-size 2 \
    --output two.csv --answer full
expect 0 '' annotate --quiet --device cuda:0 --output full.csv --answer full
expect 0 '4 devices: 2 replicas of 2' annotate --device cuda:all --tensor-parallel-size 2 \
    --output four.csv --answer full
check cmp -s two.csv four.csv
check awk -F, 'NR == FNR { label[$1] = $2; margin[$1] = $6; next }
    FNR > 1 && margin[$1] > 0.05 && label[$1] != $2 { exit 1 }' full.csv two.csv
rm two.csv.run/done/000003.shard
expect 78 '--tensor-parallel-size was 2, is 1' annotate --quiet --device cuda:0 --answer full \
    --output two.csv --resume
expect 78 '--all-reduce-dtype was auto, is float32' annotate --quiet --device cuda:0,1 --answer full \
    --tensor-parallel-size 2 --all-reduce-dtype float32 --output two.csv --resume

# What cannot be: one line each, and nothing is written.
expect 2 'GPU 1 is named twice' annotate --quiet --device cuda:1,1 --output no.csv
expect 69 'the last of 4 GPUs here is cuda:3' annotate --quiet --device cuda:0,4 --output no.csv
expect 2 'does not divide this model \(4 heads, 2 K/V heads, .*: take 1, 2, 4$' \
    annotate --quiet --device cuda:0,1,2 --tensor-parallel-size 3 --output no.csv
expect 2 '3 GPUs cannot be dealt out' annotate --quiet --device cuda:0,1,2 \
    --tensor-parallel-size 2 --output no.csv
expect 2 'no device is called "cuda:0-3"' annotate --quiet --device cuda:0-3 --output no.csv
expect 2 'all-reduce-dtype' annotate --quiet --all-reduce-dtype half --output no.csv
expect 69 'is NCCL 2\.17\.1: several GPUs need NCCL 2\.18' env EMT_VG_NCCL=21701 "$emcell" annotate \
    --quiet --input "$cells" --model "$model" --device cuda:0,1 --output no.csv
expect 0 'NCCL_ALGO=Tree is set: .* Ring does not$' env NCCL_ALGO=Tree "$emcell" annotate --limit 1 \
    --n-genes 40 --max-num-batched-tokens 128 --input "$cells" --model "$model" --device cuda:0,1 \
    --output tree.csv
check test ! -e no.csv
check test ! -e no.csv.run

[ -n "${EMT_FULL:-}" ] || {
    echo "$checks checks, $failures failures; faults: NOT RUN without EMT_FULL=1"
    [ $failures = 0 ]
    exit
}

# A rank that hangs in a collective: the run ends within its deadline, with what is done kept.
hang() {
    env EMT_VG_HUNG_RANK=1 EMT_VG_HUNG_AFTER="$1" "$emcell" annotate --input "$cells" \
        --model "$model" --n-genes 40 --max-num-batched-tokens 128 --limit 12 --shard-cells 3 \
        --device cuda:0,1 --tensor-parallel-size 2 --answer full "${@:2}"
}
expect 75 'waited 6 s for the others, and gave up.* with --resume goes on$' hang 150 \
    --device-timeout 6 --output hung.csv
check test -e hung.csv.run/run.json
expect 0 '' hang 100000000 --quiet --output hung.csv --resume
check cmp -s hung.csv two.csv

# A GPU of several that is lost. Without --keep-going the run ends and can be resumed; with it the
# others finish, and the bytes are the same.
lose() {
    env EMT_VG_LOST=1 EMT_VG_LOST_AFTER="$1" "$emcell" annotate --input "$cells" \
        --model "$model" --n-genes 40 --max-num-batched-tokens 128 --limit 12 --shard-cells 3 \
        --device "$gpus" "${@:2}"
}
gpus=cuda:all
# Looks for a launch of that GPU at which the loss is underway: earlier ones are lost at the start,
# later ones never. How cells fall to GPUs is not the same each time.
lose_underway() {
    local after code
    for after in $(seq 150 15 400) $(seq 60 20 900); do
        rm -rf lost.csv lost.csv.run
        lose $after --output lost.csv "$@" >out.txt 2>err.txt
        code=$?
        if [ $code = "$want" ] && grep -qE "$line" err.txt; then return 0; fi
    done
    tail -n 3 err.txt
    return 1
}
want=75 line='with --resume goes on$'
check lose_underway
expect 0 '' lose 100000000 --quiet --output lost.csv --resume
check cmp -s lost.csv all.csv
want=0 line='its cells go to 3 others$'
check lose_underway --keep-going
check cmp -s lost.csv all.csv
# One of two that hold a model between them: nobody goes on, and nobody waits for it.
gpus=cuda:0,1 want=75 line='the GPU is lost .* with --resume goes on$'
check lose_underway --tensor-parallel-size 2 --answer full --keep-going
expect 0 '' lose 100000000 --quiet --output lost.csv --resume --tensor-parallel-size 2 \
    --answer full
check cmp -s lost.csv two.csv

echo "$checks checks, $failures failures"
[ $failures = 0 ]
