#!/usr/bin/env bash
# Exact answers on the demo's cells: the labels and scores of --answer full, from fewer rows.
# usage: exact_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
few=20 many=100
[ -z "${EMT_FULL:-}" ] || few=914 many=914 # all there are
checks=0 failures=0

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# answer OUTPUT OPTION...
answer() {
    local output=$1
    shift
    checks=$((checks + 1))
    "$emcell" annotate -i "$source/demo/cells.h5ad" --model "$source/demo/model" --seed 3 \
        -o "$output" "$@" 2>"$output.log" || {
        fail "annotate $*"
        tail -n 3 "$output.log"
    }
}

# same EXACT FULL WIDTH: the same cells with the same labels, scores in the bounds, which are no
# wider. Numbers are printed with six digits, and rounding keeps order.
same() {
    checks=$((checks + 1))
    awk -F, -v width="$3" '
        FNR == 1 { for (i = 1; i <= NF; i++) column[i] = $i; next }
        { for (i = 1; i <= NF; i++) now[column[i]] = $i }
        NR == FNR { label[now["cell_id"]] = now["label"]; score[now["cell_id"]] = now["score"]; next }
        {
            n++
            id = now["cell_id"]
            if (!(id in label) || now["label"] == "" || now["label"] != label[id])
                bad = bad id ": " now["label"] ", not " label[id] "\n"
            else if (now["score_low"] + 0 > score[id] + 0 || now["score_high"] + 0 < score[id] + 0)
                bad = bad id ": " score[id] " is not in " now["score_low"] ".." now["score_high"] "\n"
            else if (now["score_high"] - now["score_low"] > width + 2e-6)
                bad = bad id ": " now["score_low"] ".." now["score_high"] " is wide\n"
        }
        END { for (id in label) wanted++
              if (n == 0 || n != wanted) bad = bad n " cells, not " wanted "\n"
              printf "%s", bad; exit bad != "" }' "$2" "$1" || fail "$1 is not as $2"
}

# rows_below OUTPUT MOST: rows of answers by the cell, as the command reports them.
rows_below() {
    local rows
    checks=$((checks + 1))
    rows=$(grep -oE '[0-9.]+ answer rows a cell' "$1.log" | cut -d' ' -f1)
    echo "$1: ${rows:-no} answer rows a cell"
    awk -v rows="${rows:-none}" -v most="$2" 'BEGIN { exit !(rows + 0 == rows && rows <= most) }' ||
        fail "$1: rows a cell: ${rows:-none}, the most is $2"
}

for scoring in joint mean first prior; do
    answer "full_$scoring.csv" --answer full --scoring $scoring --sample $few
    answer "exact_$scoring.csv" --answer exact --scoring $scoring --sample $few
    same "exact_$scoring.csv" "full_$scoring.csv" 0.02
done
answer exact_zero.csv --answer exact --probability-width 0 --sample $few
same exact_zero.csv full_joint.csv 0

# 27 labels are 40 rows; few of them are needed.
answer rows.csv --answer exact --sample $many
rows_below rows.csv 3

echo "exact: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ]
