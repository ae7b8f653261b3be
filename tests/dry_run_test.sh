#!/usr/bin/env bash
# emcell annotate --dry-run as its users meet it: what it prints and where, that it agrees with
# `emcell prompt` and the run, that it leaves nothing, and how it ends.
# usage: dry_run_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
cells=$source/demo/cells.h5ad
model=$source/demo/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/run" "$work/said" "$work/home"
cd "$work/run" || exit 1
export TMPDIR=$work/run XDG_CACHE_HOME=$work/home HOME=$work/home
out=$work/said/out.txt err=$work/said/err.txt
checks=0 failures=0

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
# expect CODE PATTERN COMMAND...: the exit code, and a line of either stream that matches.
expect() {
    local code=$1 pattern=$2 got
    shift 2
    "$@" >"$out" 2>"$err"
    got=$?
    checks=$((checks + 1))
    [ $got = "$code" ] || fail "exit $got, wanted $code: $* ($(tail -n 1 "$err"))"
    [ -z "$pattern" ] || cat "$out" "$err" | grep -qE -- "$pattern" || {
        fail "no line matches \"$pattern\": $*"
        head -n 5 "$err"
    }
}
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
# A device that is nowhere saves the time of measuring it.
dry() { "$emcell" annotate --dry-run --input "$cells" --model "$model" --device cuda:99 "$@"; }
# json NAME: a number or word of the object in out.txt.
json() { grep -oE "\"$1\": [^,}]*" "$out" | head -n 1 | sed 's/.*: //'; }
# Folders without their times: whether results can be written is tried with a file that goes again.
listing() {
    find "$work/run" "$work/home" \( -type d -printf '%p\n' \) -o -printf '%p %s %T@\n' | sort
}

# The tokens are those of the prompts, for all cells and for fewer.
for some in '' '--limit 40' '--sample 60' '--n-genes 25' '--profile c2s --min-genes 100'; do
    # shellcheck disable=SC2086
    "$emcell" prompt --quiet --all --jsonl --input "$cells" --model "$model" $some |
        grep -F '"status": "ok"' | grep -oE '"n_tokens": [0-9]+' | sed 's/.*: //' | sort -n \
        >"$work/said/tokens"
    # shellcheck disable=SC2086
    expect 0 '' dry --quiet --log-format json $some
    check test ! -s "$err"
    check test "$(wc -l <"$out")" = 1
    n=$(wc -l <"$work/said/tokens")
    check test "$n" -gt 0
    check test "$(json n_prompts)" = "$n"
    check test "$(json total)" = "$(awk '{ n += $1 } END { print n }' "$work/said/tokens")"
    check test "$(json min)" = "$(head -n 1 "$work/said/tokens")"
    check test "$(json max)" = "$(tail -n 1 "$work/said/tokens")"
    check test "$(json p50)" = "$(sed -n "$(((n + 1) / 2))p" "$work/said/tokens")"
    check test "$(json p95)" = "$(sed -n "$(((95 * n + 99) / 100))p" "$work/said/tokens")"
    check test "$(grep -oE '\[\[.*\]\]' "$out")" = \
        "[$(uniq -c "$work/said/tokens" | awk '{ printf "%s[%d, %d]", (NR > 1 ? ", " : ""), $2, $1 }')]"
done

# What is said stands on standard output, in 80 columns; nothing is written.
before=$(listing)
expect 0 '^Tokens +[0-9]+ in 914 prompts$' dry --output results.csv --answer full
for line in Input Question Cells Tokens Work Memory Device Run; do
    check grep -q "^$line " "$out"
done
check test "$(grep -c '|#' "$out")" -ge 3
check test "$(grep -F '|' "$out" | awk '{ n += $NF } END { print n }')" = 914
check test "$(grep -v '^Input\|^Device' "$out" | awk 'length > 80' | wc -l)" = 0
check grep -q 'cuda:99' "$out"
check grep -q 'not here: there is no estimated time' "$out"
check grep -q '^Run        results.csv.run would be made' "$out"
check grep -q 'matrix: X' "$err"
check test "$(listing)" = "$before"
expect 0 'about .* cells/s' "$emcell" annotate --dry-run -q --input "$cells" --model "$model" \
    --limit 9 --device cpu
check test "$(listing)" = "$before"
expect 0 '' "$emcell" annotate --dry-run -q --input "$cells" --model "$model" --limit 9 \
    --device cpu --log-format json
check grep -qE '"seconds": [0-9.e+-]+, "product_flops": [0-9.e+]+' "$out"
check test "$(json device_absent)" = null
check test "$(json answer_assumed)" = true -o "$(json answer)" = '"full"'
check test "$(listing)" = "$before"

# Weights that cannot be told from a hole, and a download that was cut off.
mkdir "$work/model"
cp "$model"/* "$work/model"
expect 0 '' dry -q --log-format json --limit 30
cp "$out" "$work/said/whole.json"
size=$(stat -c %s "$work/model/model.safetensors")
header=$(od -An -tu8 -N8 "$work/model/model.safetensors" | tr -d ' ')
truncate -s $((header + 8)) "$work/model/model.safetensors"
truncate -s "$size" "$work/model/model.safetensors"
expect 0 '' "$emcell" annotate --dry-run --input "$cells" --model "$work/model" --device cuda:99 \
    -q --log-format json --limit 30
check test "$(sed 's/"seconds_read": [0-9.]*//' "$out")" = \
    "$(sed 's/"seconds_read": [0-9.]*//' "$work/said/whole.json")"
truncate -s $((size - 1)) "$work/model/model.safetensors"
expect 65 'model.safetensors' "$emcell" annotate --dry-run --input "$cells" --model "$work/model"
check test ! -s "$out"

# Mistakes are those of a run, with its exit codes.
expect 2 'takes no value' dry --dry-run=yes
expect 2 '--input is missing' "$emcell" annotate --dry-run
expect 2 '--model is missing' "$emcell" annotate --dry-run --input "$cells"
expect 2 'give one of them' dry --resume --force
expect 2 'wanted a multiple of 128' dry --max-num-batched-tokens 100
expect 2 'no device is called "tpu"' "$emcell" annotate --dry-run --input "$cells" --model "$model" \
    --device tpu
expect 2 'text or json' dry --log-format xml
expect 66 'no_cells.h5ad' "$emcell" annotate --dry-run --input no_cells.h5ad --model "$model"
expect 66 'no_adapter' dry --adapter no_adapter
expect 73 'no_folder' dry --output no_folder/results.csv
expect 2 'would overwrite' dry --output "$cells" --output-format csv
check test "$(listing)" = "$before"

# A run that is there is looked at and stays.
expect 0 '' "$emcell" annotate -q --input "$cells" --model "$model" --limit 20 --device cpu \
    --output there.csv --shard-cells 10
before=$(listing)
there() {
    "$emcell" annotate --dry-run --input "$cells" --model "$model" --limit 20 --device cpu \
        --output there.csv "$@"
}
expect 73 '--resume goes on with it' there
expect 0 '^Run        there.csv.run: 2 of 2 shards are done' there --resume
expect 0 '^Run        there.csv.run would be made' there --force
expect 78 'n-genes' there --resume --n-genes 12
check test "$(listing)" = "$before"

# Ctrl-C: there is nothing to go on with, so it ends as any program does. It may come too late.
code=0
for _ in $(seq 20); do
    "$emcell" annotate --dry-run --input "$cells" --model "$model" --device cpu >"$out" 2>"$err" &
    # Until it has a handler for SIGINT.
    until [ $((0x$(awk '/^SigCgt/ { print $2 }' "/proc/$!/status" 2>/dev/null || echo 2) & 2)) -ne 0 ]; do :; done
    kill -INT $! 2>/dev/null
    wait $!
    code=$?
    [ $code = 0 ] || break
done
check test $code = 130
check grep -q 'interrupted' "$err"
check test ! -s "$out"

echo "$checks checks, $failures failures"
[ $failures = 0 ]
