#!/usr/bin/env bash
# The command on a GPU: what it says, what it gives, and what it leaves when the GPU fails. The GPU
# is the virtual one.
# usage: cli_virtual_test.sh EMCELL_VIRTUAL SOURCE_FOLDER
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
        head -n 5 err.txt
    }
}
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
annotate() {
    "$emcell" annotate --input "$cells" --model "$model" --n-genes 40 --max-num-batched-tokens 256 \
        --limit 3 --force "$@"
}

# What there is.
expect 0 '^device cuda:0: ' "$emcell" doctor
check grep -qE '^GPU cuda:0: .* SMs, compute capability [0-9.]+: usable' out.txt
check grep -qE '^CUDA driver: [0-9.]+, needed is one for CUDA [0-9.]+ or later$' out.txt
check grep -q '^--device auto runs on cuda:0$' out.txt
check grep -q '^several GPUs: NCCL 2\.28\.9$' out.txt
expect 0 '^environment: NCCL_ALGO=Tree$' env NCCL_ALGO=Tree SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=3 \
    SLURM_JOB_ID=9 SLURM_STEP_ID=0 "$emcell" doctor
check grep -q '^this process is rank 1 of 3 (Slurm step 9\.0)$' out.txt
expect 0 'needed is one for CUDA .*; no GPU: ' env EMT_VG_DEVICES=0 "$emcell" doctor
check grep -q '^--device auto runs on cpu$' out.txt
expect 0 '^CUDA driver: 11\.4, ' env EMT_VG_DRIVER=11040 "$emcell" doctor

# A dry run: what it would take there, and nothing is kept of what it measured.
dry() { annotate --dry-run --quiet --device cuda --output dry.csv "$@"; }
expect 0 '^ +fits: [0-9.]+ of [0-9.]+ GB are free$' dry
check grep -qE '^Time +about .* an estimate' out.txt
expect 0 'does not fit: .* a smaller model, or free the GPU|does not fit: .*--gpu-memory-utilization' \
    dry --gpu-memory-utilization 0.001
check test -z "$(ls cache)"
check test ! -e dry.csv.run

# The same labels as on the CPU, where more than rounding lies between the first two.
expect 0 '' annotate --quiet --device cpu --answer full --output cpu.csv
expect 0 'device: cuda:0' annotate --device cuda --output cuda.csv
check grep -qE '^GPU memory: weights .* were free$' err.txt
check grep -qE '^same bits: cuda:0, products [0-9a-f]{16}$' err.txt
check test "$(wc -l <cuda.csv)" = 4
compared=$(awk -F , 'NR == FNR { label[$1] = $2; margin[$1] = $6; next }
    FNR > 1 && margin[$1] > 0.05 { n++; if (label[$1] != $2) { print "other: " $0 > "/dev/stderr" } }
    END { print n + 0 }' cpu.csv cuda.csv 2>differ.txt)
check test ! -s differ.txt
check test "$compared" -gt 0
expect 0 'device: cuda:0; auto' annotate --output auto.csv
check cmp -s auto.csv cuda.csv
# What was chosen by measuring is remembered, and gives the same bytes.
check test -s cache/emcell/cuda-products.json
expect 0 '' annotate --quiet --device cuda:0 --output again.csv
check cmp -s again.csv cuda.csv
check test ! -s err.txt

# Devices that are not there.
expect 69 'cuda:7' annotate --device cuda:7 --output o.csv
expect 69 'no GPU|no CUDA' env EMT_VG_DEVICES=0 "$emcell" annotate --input "$cells" --model "$model" \
    --device cuda --output o.csv
expect 69 'driver' env EMT_VG_DRIVER=11040 "$emcell" annotate --input "$cells" --model "$model" \
    --device cuda --output o.csv
for value in gpu cuda: cuda:x cuda:-1 CPU; do
    expect '2' "$value" annotate --device "$value" --output o.csv
done
expect 0 'device: cpu; auto' env EMT_VG_DEVICES=0 "$emcell" annotate --input "$cells" \
    --model "$model" --limit 1 --output cpu_auto.csv
expect 2 'merge-adapter needs --adapter' annotate --merge-adapter --output o.csv

# Too little memory: nothing is left, and an option that helps is named.
export EMT_VG_MEMORY=8000000
expect 69 'max-num-batched-tokens|gpu-memory-utilization|memory' annotate --device cuda --output o.csv
unset EMT_VG_MEMORY
expect 69 'gpu-memory-utilization' annotate --device cuda --gpu-memory-utilization 0.0001 --output o.csv
check sh -c '! ls o.csv* 2>/dev/null'

# A run that began on a GPU goes on with what was chosen for it, and on no other kind of device.
expect 0 '' annotate --quiet --device cuda --output again.csv --shard-cells 2
rm again.csv.run/done/000001.shard cache/emcell/cuda-products.json
resume() {
    "$emcell" annotate --input "$cells" --model "$model" --n-genes 40 --max-num-batched-tokens 256 \
        --limit 3 --output again.csv --resume "$@"
}
expect 78 'device was cuda, is cpu' resume --quiet --device cpu
expect 0 '^2 of 3 cells are done already' resume --device cuda
check cmp -s again.csv cuda.csv

# The GPU is lost in the middle: shards that were finished stay. Launches are counted on a whole
# run, one cell a step.
lost() {
    env EMT_VG_LOST_AFTER="$1" "$emcell" annotate --input "$cells" --model "$model" --n-genes 40 \
        --max-num-batched-tokens 128 --limit 8 --device cuda --output "$2" \
        "${@:3}" $(case " $* " in *--shard-cells*) ;; *) echo --shard-cells 1 ;; esac)
}
lost 100000000 whole.csv >/dev/null 2>&1
check test "$(wc -l <whole.csv)" = 9
# Looks for a launch at which the GPU's loss leaves what $1 says; the others are further options. How
# cells and steps fall together is not the same each time, so a look that went astray begins anew.
lose_underway() {
    local low=0 high=1600 middle code
    for _ in $(seq 40); do
        middle=$(((low + high) / 2))
        rm -rf lost.csv lost.csv.run
        lost $middle lost.csv "${@:2}" >out.txt 2>err.txt
        code=$?
        if [ $code = 75 ] && grep -qE "$1" err.txt; then return 0; fi
        if [ $code = 69 ]; then low=$middle; else high=$middle; fi
        if [ $((high - low)) -lt 4 ]; then low=0 high=1600; fi
    done
    return 1
}
check lose_underway \
    '; [1-7] of 8 shards are done in lost\.csv\.run: the same command with --resume goes on$'
check test ! -e lost.csv
expect 0 '[1-7] of 8 cells are done already' lost 100000000 lost.csv --resume
check cmp -s whole.csv lost.csv
# In the middle of a shard: so do the cells of it that were answered.
check lose_underway '; 0 of 2 shards are done, and [1-6] cells? of others, in lost\.csv\.run:' \
    --shard-cells 7
expect 0 '^shard 0 goes on behind the [1-6] cells that are answered$' \
    lost 100000000 lost.csv --shard-cells 7 --resume
check cmp -s whole.csv lost.csv

# The bench.
bench() {
    "$emcell" bench --model "$model" --device cuda --prefix 10 --suffix 30 --labels 3 --cells 4 \
        --warm-up 2 --repetitions 2 --max-num-batched-tokens 128,256 "$@"
}
expect 0 '' bench --format csv --quiet
check test "$(wc -l <out.txt)" = 3
check test ! -s err.txt
expect 0 '^\| attention ' bench
check grep -q '^| linear ' out.txt
expect 0 '"operations": \[' bench --format json --quiet
expect 69 'no GPU|no CUDA' env EMT_VG_DEVICES=0 "$emcell" bench --model "$model" --device cuda

echo "cli on the virtual GPU: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ]
