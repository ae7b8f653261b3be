#!/usr/bin/env bash
# A cell's row depends on the cell alone: the same bytes, however the input is cut into pieces, in
# which order they are done, by how many threads and processes, in steps of which size.
# usage: determinism_test.sh EMCELL SOURCE_FOLDER [DEVICE]
#   EMT_FULL=1: every way to cut for every way to answer, and more cells.
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
device=${3:-cpu}
model=$source/tests/golden/annotate/model # small: most of the time is in starting
full=${EMT_FULL:-0}
n_cells=21
if [ "$full" = 1 ]; then n_cells=350; fi
if [ "$device" != cpu ]; then n_cells=3; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export XDG_CACHE_HOME=$work/cache TMPDIR=$work # what a GPU chose once, it keeps
mkdir cache
checks=0 failures=0

# A table of cells with counts drawn from a small generator: some cells have few genes, one none.
make_cells() {
    awk -v n="$1" 'BEGIN {
        m = split("POU5F1 NANOG SOX2 GATA3 GATA2 KRT7 KRT8 KRT18 CGA CGB5 TFAP2C GATA6 SOX17 PDGFRA " \
            "FOXA2 EOMES TBXT MIXL1 MESP1 DPPA3 DPPA5 ZSCAN4 KLF17 TFCP2L1 VIM ACTB GAPDH B2M FTL TPT1",
            gene, " ")
        printf "cell"
        for (g = 1; g <= m; g++) printf "\t%s", gene[g]
        print ""
        state = 7
        for (c = 1; c <= n; c++) {
            printf "c%03d", c
            share = (c % 10) / 10
            for (g = 1; g <= m; g++) {
                state = (state * 1103515245 + 12345) % 2147483648
                draw = state / 2147483648
                printf "\t%d", draw < share ? 1 + int(1000 * draw * draw) : 0
            }
            print ""
        }
    }'
}
make_cells "$n_cells" >cells.tsv
(head -n 1 cells.tsv; tail -n +2 cells.tsv | awk '{ print (NR * 7919) % 1009 "\t" $0 }' |
    sort -n | cut -f 2-) >shuffled.tsv
cut -f 1 cells.tsv | tail -n +2 >ids.txt
cut -f 1 shuffled.tsv | tail -n +2 | cmp -s - ids.txt && { echo "the shuffled file is in order"; exit 1; }

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
annotate() {
    "$emcell" annotate --quiet --model "$model" --device "$device" --n-genes 12 --min-genes 2 \
        "${mode[@]}" "$@" 2>err.txt || fail "exit $?: ${mode[*]} $* ($(tail -n 1 err.txt))"
}
# same HOW FILE [WANTED]: the rows are those of the run in one piece.
same() {
    checks=$((checks + 1))
    cmp -s "$2" "${3:-base.csv}" || {
        fail "${mode[*]}: other bytes $1"
        diff "$2" "${3:-base.csv}" | head -n 4
    }
}
in_order() { (head -n 1 "$1" && tail -n +2 "$1" | sort) >"$1.sorted"; }

one_piece() {
    annotate --input cells.tsv --force --threads 1 --shard-cells 100000 --output base.csv
    local rows # a generated text may go over several lines
    rows=$(grep -c '^c[0-9][0-9][0-9],' base.csv)
    [ "$rows" = "$n_cells" ] || fail "${mode[*]}: $rows rows"
    in_order base.csv
}
# 1, 7 and 1,000 pieces: shards, of which the last may be smaller.
in_shards() {
    local pieces=$1 threads=$2
    annotate --input cells.tsv --force --threads "$threads" --output shards.csv \
        --shard-cells $(((n_cells + pieces - 1) / pieces))
    same "in $pieces shards, $threads threads" shards.csv
}
# Runs of their own, whose results are put one after the other.
in_lists() {
    local pieces=$1 list
    rm -rf list.*
    split -d -a 4 -l $(((n_cells + pieces - 1) / pieces)) ids.txt list.
    head -n 1 base.csv >lists.csv
    for list in list.????; do
        annotate --input cells.tsv --force --cells "$list" --output list.csv
        tail -n +2 list.csv >>lists.csv
    done
    same "as $(ls list.???? | wc -l) lists of cells" lists.csv
}
as_finished() {
    annotate --input cells.tsv --order finished --shard-cells 3 --threads 2 >finished.csv
    in_order finished.csv
    same "as they finish" finished.csv.sorted base.csv.sorted
}
# Several processes share the shards, each writes all rows.
shared() {
    local i
    rm -rf shared
    for i in 1 2 3; do
        annotate --input cells.tsv --order finished --shard-cells 2 --threads 1 --resume \
            --run-dir shared >"shared$i.csv" &
    done
    wait
    for i in 1 2 3; do
        in_order "shared$i.csv"
        same "by process $i of 3" "shared$i.csv.sorted" base.csv.sorted
    done
    annotate --input cells.tsv --resume --run-dir shared --threads 1 --shard-cells 2 \
        --output written.csv
    same "written from their shards" written.csv
}
shuffled() {
    annotate --input shuffled.tsv --force --shard-cells 4 --output shuffled.csv
    in_order shuffled.csv
    same "of a shuffled file" shuffled.csv.sorted base.csv.sorted
}
# On a GPU the rows of a step are among what a run pins: there they decide how products are summed.
steps() {
    local size
    [ "$device" = cpu ] || return
    for size in 128 384 4096; do
        annotate --input cells.tsv --force --threads 2 --max-num-batched-tokens $size --output steps.csv
        same "in steps of $size rows" steps.csv
    done
}
every_way() {
    in_shards 7 2
    in_shards 1000 3
    in_lists 7
    as_finished
    shared
    shuffled
    steps
}

scorings=(joint mean first prior)
answers=(exact full greedy)
if [ "$device" != cpu ]; then
    [ "$full" = 1 ] || answers=(exact)
    for answer in "${answers[@]}"; do
        mode=(--answer "$answer" --max-num-batched-tokens 256)
        one_piece
        in_shards 3 1
        shuffled
        if [ "$full" = 1 ]; then in_lists 3; as_finished; fi
    done
elif [ "$full" = 1 ]; then
    for answer in "${answers[@]}"; do
        for scoring in "${scorings[@]}"; do
            mode=(--answer "$answer" --scoring "$scoring")
            one_piece
            every_way
        done
    done
    for mode in "--answer generate --max-tokens 8" "--answer exact --probability-width 0" \
        "--answer exact --invalid-mass" "--answer exact --unknown-below 0.4"; do
        read -ra mode <<<"$mode"
        one_piece
        every_way
    done
    # A process a cell.
    mode=(--answer exact)
    n_cells=40
    make_cells $n_cells >cells.tsv
    head -n $n_cells ids.txt >few.txt && mv few.txt ids.txt
    one_piece
    in_lists 1000
else
    mode=(--answer exact)
    one_piece
    every_way
    for mode in "full joint" "greedy joint" "exact mean" "exact first" "exact prior" "full prior"; do
        read -r answer scoring <<<"$mode"
        mode=(--answer "$answer" --scoring "$scoring")
        one_piece
        in_shards 7 2
        shuffled
    done
fi

echo "determinism on $device: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ] && [ $checks -gt 0 ]
