# shellcheck shell=bash disable=SC2154,SC2034
# What the tests of this folder share: a run of demo cells, and what is to be true of it at its end.
# To be sourced with emcell, source and n_cells set, in an empty folder.
cells=$source/demo/cells.h5ad
model=$source/demo/model
shard_cells=2
n_shards=$(((n_cells + shard_cells - 1) / shard_cells))
checks=0 failures=0

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
# until_true SECONDS COMMAND...: asks again until it is true; false when the time is over.
until_true() {
    local last=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $last ] || return 1
        sleep 0.05
    done
}

# The command, but for what each use adds to it.
annotate=("$emcell" annotate --input "$cells" --model "$model" --threads 1 --device cpu
    --limit "$n_cells" --shard-cells "$shard_cells")

# begin_base: the results of one process that nobody disturbs, in base.csv, in one shard.
begin_base() {
    "$emcell" annotate --quiet --input "$cells" --model "$model" --threads 1 --device cpu \
        --limit "$n_cells" --output base.csv || fail "the undisturbed run"
    check test "$(wc -l <base.csv)" = $((n_cells + 1))
}

done_shards() { find "$1/done" -name '*.shard' 2>/dev/null | wc -l; }
has_shards() { [ "$(done_shards "$1")" -ge "$2" ]; }
shard_names() { seq -f %06g 0 $((n_shards - 1)); }

# finished OUTPUT: the bytes of the undisturbed run, every shard once, nothing held or left over, and
# the same from the shards alone.
finished() {
    local run=$1.run json
    check cmp "$1" base.csv
    check cmp <(find "$run/done" -name '*.shard' -printf '%f\n' | sort) <(shard_names | sed 's/$/.shard/')
    check test -z "$(find "$run/claims" "$run/parts" "$run/failed" -type f)"
    json=$("$emcell" status "$run" --json)
    check grep -q '"state": "finished"' <<<"$json"
    check grep -q "\"cells\": $n_cells, \"cells_done\": $n_cells," <<<"$json"
    check grep -q "\"shards\": $n_shards, \"done\": $n_shards, \"claimed\": 0, \"stale\": 0, \"parked\": 0," \
        <<<"$json"
    check "$emcell" merge --quiet "$run" --output merged.csv
    check cmp merged.csv base.csv
}

# answered LOG...: cells that processes say they have asked the model about.
answered() { cat "$@" | sed -nE 's/^([0-9: a-z]*: )?([0-9]+) cells in .*/\2/p' | awk '{ n += $1 } END { print n + 0 }'; }
