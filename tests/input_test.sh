#!/usr/bin/env bash
# Which matrix, cells and genes the command takes: options, config files, what it says, inspect.
# usage: input_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
cells=$source/tests/golden/cells/modern.h5ad
demo=$source/demo/cells.h5ad
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect CODE PATTERN COMMAND...: the exit code, and a line of output or error with the pattern.
expect() {
    local code=$1 pattern=$2 got
    shift 2
    "$@" >out.txt 2>err.txt
    got=$?
    [ "$got" = "$code" ] || fail "exit $got, wanted $code: $* ($(head -n 1 err.txt))"
    cat out.txt err.txt | grep -qE -- "$pattern" || {
        fail "no line matches \"$pattern\": $*"
        head -n 5 err.txt
    }
}
one_line() { [ "$(wc -l <err.txt)" = 1 ] && [ ! -s out.txt ] || fail "not one line: $(cat err.txt)"; }
ids() { sed -n 's/.*"cell_id": "\([^"]*\)".*/\1/p' out.txt | tr '\n' ' '; }
prompt() { "$emcell" prompt --input "$demo" --all --jsonl "$@"; }

# What is said while a file is opened, and nothing of it with --quiet.
expect 0 '^matrix: ' prompt --limit 2
grep -qE '^genes: [0-9.]+ % of [0-9]+ names are human symbols' err.txt || fail "no match rate"
grep -qE '^cells: 2 of [0-9]+ chosen: the first 2$' err.txt || fail "no choice"
expect 0 '"cell_id"' prompt --limit 2 --quiet
[ -s err.txt ] && fail "--quiet says $(cat err.txt)"

# Every cell of the demo, to choose from.
expect 0 '"cell_id"' prompt --quiet
all=($(ids))
[ "${#all[@]}" -ge 10 ] || fail "the demo has ${#all[@]} cells"

printf 'cell_id,x\n%s,1\n%s,2\nnobody,3\n' "${all[7]}" "${all[2]}" >list.csv
expect 0 'list.csv \(1 of 3 ids are no cells of the file: "nobody"\)' prompt --cells list.csv
[ "$(ids)" = "${all[2]} ${all[7]} " ] || fail "--cells gave $(ids)"
echo nobody >none.txt
expect 2 'no cells left: none of [0-9]+ is in none.txt' prompt --cells none.txt --quiet
one_line
expect 66 'nowhere.txt' prompt --cells nowhere.txt --quiet

# Filters: each must hold; a config file's are replaced by the command line's.
expect 0 '^cells: [0-9]+ of 914 chosen: [0-9]+ with stage == E5, [0-9]+ with label != TE$' \
    prompt --obs-filter 'stage==E5' --obs-filter 'label!=TE'
both=$(ids)
expect 0 'with stage == E5' prompt --obs-filter 'stage == E5'
[ "$(ids | wc -w)" -gt "$(wc -w <<<"$both")" ] || fail "the second filter takes nothing away"
printf 'obs-filter = stage==E5\nobs-filter = label!=TE\nlimit = 3\n' >run.conf
expect 0 'label != TE, the first 3$' prompt --config run.conf
[ "$(ids)" = "$(cut -d ' ' -f 1-3 <<<"$both") " ] || fail "a config file's filters gave $(ids)"
expect 0 '^cells: 3 of 914 chosen: [0-9]+ with stage == E6, the first 3$' \
    prompt --config run.conf --obs-filter 'stage==E6'
expect 2 'none of 914 has stage == "E99" .*; the column holds "E1"' \
    prompt --obs-filter 'stage==E99' --quiet
one_line
expect 2 'obs has no column "x"; it has: embryo, label, stage' prompt --obs-filter 'x==y' --quiet
expect 2 "wanted 'COLUMN==VALUE'" prompt --obs-filter 'stage=E5' --quiet
expect 2 'obs-filter: the value is empty' prompt --obs-filter '' --quiet
many=()
for i in $(seq 33); do many+=(--obs-filter "stage!=$i"); done
expect 2 'obs-filter: given more than 32 times' prompt "${many[@]}"

# The same seed, the same cells; another, others.
expect 0 '4 drawn with seed 0$' prompt --sample 4
first=$(ids)
[ "$(wc -w <<<"$first")" = 4 ] || fail "a sample of $(wc -w <<<"$first")"
expect 0 '4 drawn with seed 0$' prompt --sample 4 --seed 0
[ "$(ids)" = "$first" ] || fail "the same seed draws others"
expect 0 '4 drawn with seed 1$' prompt --sample 4 --seed 1
[ "$(ids)" = "$first" ] && fail "another seed draws the same"
expect 2 'seed: "-1" is not a whole number from 0' prompt --sample 4 --seed -1
expect 2 'sample: "0" is not a whole number from 1' prompt --sample 0
expect 0 '"cell_id": "'"${first%% *}"'"' \
    "$emcell" prompt --input "$demo" --cell "${first%% *}" --sample 4 --jsonl
expect 66 'no cell ".*" among the chosen ones' \
    "$emcell" prompt --input "$demo" --cell "${first%% *}" --sample 4 --seed 1 --quiet

# A matrix is found, or named.
few=(--min-genes 1 --limit 1)
expect 0 '^matrix: raw/X, counts' "$emcell" prompt --input "$cells" --all "${few[@]}"
expect 0 '^matrix: raw/X, counts' "$emcell" prompt --input "$cells" --all --layer auto "${few[@]}"
expect 0 'h5ad, X \(csr' "$emcell" prompt --input "$cells" --all --layer X "${few[@]}"
grep -q '^matrix' err.txt && fail "a named matrix is explained"
expect 2 'no layer "y"' "$emcell" prompt --input "$cells" --all --layer y --quiet

# A table of the user's names genes.
printf 'id\tsymbol\nGATA3\tNANOG\n' >table.tsv
expect 0 'names are human symbols, 1 of them from table.tsv' prompt --limit 1 --gene-table table.tsv
expect 65 'none of the 3195 genes of ' prompt --gene-table <(printf 'x\ty\n') --quiet
expect 66 'no-table.tsv' prompt --gene-table no-table.tsv --quiet

# Inspect.
expect 0 '^\* X ' "$emcell" inspect "$demo"
expect 0 '"auto": \{"layer": "X", "reason": ' "$emcell" inspect --input "$demo" --json --quiet
[ "$(wc -l <out.txt)" = 1 ] && [ ! -s err.txt ] || fail "JSON is not one line"
expect 2 '--input is missing' "$emcell" inspect
expect 2 'two files' "$emcell" inspect "$demo" --input "$demo"
expect 66 'none.h5ad' "$emcell" inspect none.h5ad
one_line
head -c 4000 "$demo" >cut.h5ad
expect 65 'cut.h5ad: ' "$emcell" inspect cut.h5ad
one_line
if [ -w /dev/full ]; then
    "$emcell" inspect "$demo" >/dev/full 2>err.txt
    [ $? = 74 ] || fail "a full disk"
fi

[ "$failures" = 0 ] || { echo "$failures failed"; exit 1; }
echo "all passed"
