#!/usr/bin/env bash
# emcell dataset, benchmark and evaluate as a user calls them.
# usage: evaluate_test.sh EMCELL SOURCE_DIR STUB_ENDPOINT
# With EMT_FULL=1 the whole of emcellbench-sim: the demo model must beat majority and stage lookup.
set -u
emcell=$1 source=$2 stub=$3
work=$(mktemp -d)
stub_pid=
trap '[ -n "$stub_pid" ] && kill "$stub_pid" 2>/dev/null; rm -rf "$work"' EXIT
cd "$work" || exit 1
sim=$source/benchmarks/emcellbench-sim
failed=0
fail() { echo "FAILED: $*"; failed=1; }
ok() { echo "ok: $*"; }

# expect CODE TEXT COMMAND...: the exit code, one line on stderr, and what it says.
expect() {
    local code=$1 text=$2 got
    shift 2
    "$@" >out 2>err
    got=$?
    [ $got = "$code" ] || fail "$* ended with $got, wanted $code: $(head -n 3 err)"
    if [ -n "$text" ]; then
        # What was logged before it does not count.
        tail -n 1 err | grep -qF -- "$text" || fail "$* said $(tail -n 1 err), wanted $text"
    fi
}

# --- the instruction data of the demo's cells ---
cat >recipe.json <<R
{"name": "demo", "description": "simulated cells", "source": "a test", "profile": "embryo",
 "inputs": [{"path": "cells.h5ad", "label": {"column": "label"}, "embryo": {"column": "embryo"},
             "stage": {"column": "stage"}, "count_unit": "UMI", "source": "simulated", "licence": "none"}],
 "split": {"by": "embryo", "test": 0.4, "validation": 0, "stratify": true}, "seed": 1}
R
expect 0 "" "$emcell" dataset build recipe.json --input-dir "$source/demo" -o data -q
[ "$(cat data/*.messages.jsonl | wc -l)" = 914 ] || fail "dataset build: not 914 examples"
expect 0 "" "$emcell" dataset check recipe.json --input-dir "$source/demo" -q
grep -q '^Zygote' out || fail "dataset check printed no labels"
expect 0 "" "$emcell" dataset recipes
grep -qx yan2013 out || fail "dataset recipes"
expect 0 "" "$emcell" dataset show yan2013
expect 73 "--force" "$emcell" dataset build recipe.json --input-dir "$source/demo" -o data -q
expect 66 "No such file" "$emcell" dataset build recipe.json --input-dir absent -o other -q
expect 66 "absent.json" "$emcell" dataset build absent.json -o other
expect 2 "none of messages" "$emcell" dataset build recipe.json -o other --form csv
expect 2 "--output is missing" "$emcell" dataset build recipe.json
expect 2 "wanted build" "$emcell" dataset make
sed 's/"column": "embryo"/"column": "donor"/' recipe.json >bad.json
expect 78 '"donor"' "$emcell" dataset build bad.json --input-dir "$source/demo" -o other -q
ok "dataset"

# --- a benchmark of the same cells; the model says what annotate says ---
expect 0 "" "$emcell" benchmark build recipe.json --input-dir "$source/demo" -o bench -q
expect 0 "" "$emcell" benchmark check bench
grep -q '914 items' out || fail "benchmark check: $(head -n 2 out)"
expect 73 "--force" "$emcell" benchmark build recipe.json --input-dir "$source/demo" -o bench -q
expect 66 "manifest.json" "$emcell" benchmark check absent
"$emcell" annotate -q -i "$source/demo/cells.h5ad" -m "$source/demo/model" --answer full \
    --limit 60 -o labels.csv || fail "annotate"
expect 0 "" "$emcell" evaluate -b bench -o eval --split all --limit 60 -m "$source/demo/model" \
    --answer full,greedy,exact,generate --predictions theirs=labels.csv -q
# The label of each cell, and four digits of its score.
scores_of() {
    sed -n 's/^{"id": "\([^"]*\)".*"outcome": "label", "label": "\([^"]*\)", "score": \([0-9.e-]*\).*/\1 \2 \3/p' \
        "$1" | awk '{printf "%s", $1; for (i = 2; i < NF; i++) printf " %s", $i; printf " %.4f\n", $NF}' | sort
}
scores_of eval/predictions/model-full.jsonl >ours
awk -F , 'NR > 1 && $8 == "ok" {printf "%s %s %.4f\n", $1, $2, $3}' labels.csv | sort >annotated
[ -s ours ] || fail "no predictions to compare"
cmp -s ours annotated || fail "evaluate and annotate differ: $(diff ours annotated | head -n 4)"
rows=$(grep -cE '^(theirs|model-(full|greedy|exact|generate)) +60 ' out)
[ "$rows" = 5 ] || fail "the leaderboard has $rows rows: $(cat out)"
macro() { awk -v name="$1" '$1 == name {print $3, $6}' out; }
[ -n "$(macro theirs)" ] && [ "$(macro theirs)" = "$(macro model-full)" ] ||
    fail "full and its own table: $(cat out)"
# Every other way to answer gives the labels that annotate gives.
labels_of() {
    sed -n 's/^{"id": "\([^"]*\)".*"outcome": "label", "label": "\([^"]*\)".*/\1 \2/p' "$1" | sort
}
for answer in exact greedy generate; do
    "$emcell" annotate -q -i "$source/demo/cells.h5ad" -m "$source/demo/model" --answer $answer \
        --limit 60 -o $answer.csv || fail "annotate $answer"
    awk -F , 'NR > 1 && $8 == "ok" {print $1, $2}' $answer.csv | sort >annotated
    labels_of eval/predictions/model-$answer.jsonl | cmp -s - annotated ||
        fail "$answer differs: $(labels_of eval/predictions/model-$answer.jsonl | diff - annotated | head -n 4)"
done
for file in evaluation.json leaderboard.csv report.html; do
    [ -s eval/$file ] || fail "no $file"
done
ok "the model answers as emcell annotate does"

# --- an adapter is a system of its own, and says what annotate says with it ---
. "$source/tests/demo_adapter.sh"
make_adapter '\x00\x00\x00\x3d' # 1/32
expect 0 "" "$emcell" evaluate -b bench -o adapted --split all --limit 30 -m "$source/demo/model" \
    --adapter adapter --answer full -q
"$emcell" annotate -q -i "$source/demo/cells.h5ad" -m "$source/demo/model" --adapter adapter \
    --answer full --limit 30 -o adapted.csv || fail "annotate with an adapter"
awk -F , 'NR > 1 && $8 == "ok" {printf "%s %s %.4f\n", $1, $2, $3}' adapted.csv | sort >annotated
scores_of adapted/predictions/adapter-full.jsonl >ours
[ -s ours ] || fail "no predictions with the adapter: $(ls adapted/predictions)"
cmp -s ours annotated || fail "with an adapter evaluate and annotate differ: $(diff ours annotated | head -n 4)"
! scores_of adapted/predictions/model-full.jsonl | cmp -s - ours || fail "the adapter changes nothing"
grep -qE '^adapter-full +30 ' out && grep -qE '^model-full +30 ' out || fail "adapters: $(cat out)"
ok "an adapter stands beside the bare model"

# --- again: nothing is asked twice, other settings are refused ---
expect 73 "--resume" "$emcell" evaluate -b bench -o eval --split all --limit 60 \
    -m "$source/demo/model" --answer full
expect 78 "another benchmark, system or setting" "$emcell" evaluate -b bench -o eval --split all \
    --limit 60 -m "$source/demo/model" --answer full --seed 2 --resume
cp eval/predictions/model-full.jsonl before
figures() { sed 's/"seconds": [^,]*,//; /"command"/d' eval/evaluation.json; }
figures >figures_before
expect 0 "" "$emcell" evaluate -b bench -o eval --split all --limit 60 -m "$source/demo/model" \
    --answer full,greedy,exact,generate --predictions theirs=labels.csv -q --resume
cmp -s before eval/predictions/model-full.jsonl || fail "a finished evaluation asked again"
figures | cmp -s - figures_before || fail "a resume changes figures: $(figures | diff - figures_before | head -c 300)"
# A line that was cut short, and one that failed, are asked again.
sed '3s/.*/{"id": "heldout_E1_02_000", "outcome": "failed", "error": "no answer"}/' before |
    head -c -40 >eval/predictions/model-full.jsonl
grep -q '"id": "heldout_E1_02_000"' before || fail "the failed item is none"
expect 0 "" "$emcell" evaluate -b bench -o eval --split all --limit 60 -m "$source/demo/model" \
    --answer full,greedy,exact,generate --predictions theirs=labels.csv -q --resume
cmp -s <(sort before) <(grep -v '"failed"' eval/predictions/model-full.jsonl | sort) ||
    fail "what was asked again differs: $(diff <(sort before) <(sort eval/predictions/model-full.jsonl) | head -c 300)"
ok "resume"

# --- sweeps, a label held out ---
expect 0 "" "$emcell" evaluate -b "$sim" -o swept --limit 40 --baselines knn,markers --sweep all \
    --hold-out PGC -q --n-bootstrap 50
[ "$(ls swept/predictions | wc -l)" -ge 18 ] || fail "sweeps: $(ls swept/predictions)"
grep -q '"kind": "dropout"' swept/evaluation.json || fail "no dropout"
grep -q '"label": "PGC", "n_known"' swept/evaluation.json || fail "no open set"
expect 0 "" "$emcell" report swept -o page.html
cmp -s page.html swept/report.html || fail "report makes another page"
# Every paraphrase, and candidates in other orders, of which this wording lists none.
expect 0 "" "$emcell" evaluate -b "$sim" -o worded --limit 6 -m "$source/demo/model" \
    --sweep wording,candidate_order -q --n-bootstrap 10
[ "$(ls worded/predictions/model-exact.wording.*.jsonl | wc -l)" = 9 ] || fail "not nine wordings"
labels_of worded/predictions/model-exact.jsonl >plain
for order in 1 2 3; do
    labels_of worded/predictions/model-exact.candidate_order.$order.jsonl | cmp -s - plain ||
        fail "candidates that are not listed change an answer"
done
ok "sweeps"

# --- an endpoint, killed midway: nothing is lost, nothing asked twice ---
"$stub" --content TE --delay-ms 50 >stub.out &
stub_pid=$!
for _ in $(seq 100); do [ -s stub.out ] && break; sleep 0.05; done
port=$(head -n 1 stub.out)
echo "{\"name\": \"stub\", \"url\": \"http://127.0.0.1:$port\", \"model\": \"m\", \"concurrency\": 2}" >stub.json
"$emcell" evaluate -b "$sim" -o asked --limit 120 --endpoint stub.json -q >out 2>err &
pid=$!
for _ in $(seq 200); do
    [ "$(cat asked/predictions/stub.jsonl 2>/dev/null | wc -l)" -gt 20 ] && break
    sleep 0.05
done
kill -9 $pid
wait $pid 2>/dev/null
had=$(($(wc -l <asked/predictions/stub.jsonl) - 1))
[ "$had" -gt 10 ] && [ "$had" -lt 120 ] || fail "killed with $had answers"
expect 0 "" "$emcell" evaluate -b "$sim" -o asked --limit 120 --endpoint stub.json -q --resume
[ "$(grep -c '"outcome": "label"' asked/predictions/stub.jsonl)" = 120 ] || fail "answers are lost"
kill "$stub_pid"
wait "$stub_pid" 2>/dev/null
stub_pid=
requests=$(sed -n 's/^\([0-9]*\) requests$/\1/p' stub.out)
# Two were under way when it was killed.
[ "$requests" -ge 120 ] && [ "$requests" -le 122 ] || fail "$requests requests for 120 items"
sed 's/"concurrency": 2/"max_tries": 1, "backoff": 0/' stub.json >gone.json
expect 74 "127.0.0.1" "$emcell" evaluate -b "$sim" -o nobody --limit 2 -q --endpoint gone.json
ok "an endpoint"

# --- Ctrl-C ---
"$emcell" evaluate -b "$sim" -o stopped -m "$source/demo/model" -q >out 2>err &
pid=$!
for _ in $(seq 200); do
    [ "$(cat stopped/predictions/*.jsonl 2>/dev/null | wc -l)" -gt 20 ] && break
    sleep 0.05
done
kill -INT $pid
wait $pid
code=$?
[ $code = 75 ] || fail "Ctrl-C gave $code: $(cat err)"
had=$(($(wc -l <stopped/predictions/model-exact.jsonl) - 1))
[ "$had" -gt 10 ] && [ "$had" -lt 1072 ] || fail "stopped with $had answers"
ok "Ctrl-C"

# --- wrong calls ---
expect 2 "--benchmark is missing" "$emcell" evaluate -o x
expect 2 "no system" "$emcell" evaluate -b "$sim" -o x
expect 2 "no baseline \"random\"" "$emcell" evaluate -b "$sim" -o x --baselines random
expect 2 "none of all" "$emcell" evaluate -b "$sim" -o x --baselines knn --sweep twist
expect 2 "NAME=FILE" "$emcell" evaluate -b "$sim" -o x --predictions labels.csv
expect 66 "absent.csv" "$emcell" evaluate -b "$sim" -o x --predictions a=absent.csv
expect 66 "absent.json" "$emcell" evaluate -b "$sim" -o x --endpoint absent.json
expect 66 "manifest.json" "$emcell" evaluate -b absent -o x --baselines knn
expect 78 "no label of benchmark" "$emcell" evaluate -b "$sim" -o x --limit 2 --baselines knn \
    --hold-out Neuron
expect 78 "no item of split" "$emcell" evaluate -b "$sim" -o x --split dev --baselines knn
expect 2 "two systems are called" "$emcell" evaluate -b "$sim" -o x2 --limit 2 --baselines knn,knn
item=$("$emcell" evaluate -b "$sim" -o first --limit 1 --baselines markers -q >/dev/null; sed -n '2s/^{"id": "\([^"]*\)".*/\1/p' first/predictions/markers.jsonl)
printf 'cell_id,label\n%s,TE\n%s,TE\n' "$item" "$item" >twice.csv
printf 'cell_id,label\nsomebody,TE\n' >others.csv
printf 'cell,label\n' >none.csv
expect 78 "no column" "$emcell" evaluate -b "$sim" -o x3 --limit 2 --predictions a=none.csv \
    --label-column type
expect 65 "a second time" "$emcell" evaluate -b "$sim" -o x4 --limit 2 --predictions a=twice.csv -q
expect 3 "" "$emcell" evaluate -b "$sim" -o x5 --limit 2 --predictions a=others.csv -q
ok "wrong calls"

# --- the whole benchmark ---
if [ "${EMT_FULL:-}" = 1 ]; then
    expect 0 "" "$emcell" evaluate -b "$sim" -o whole --baselines all -m "$source/demo/model" -q
    score() { awk -v name="$1" '$1 == name {print $3}' out; }
    awk -v m="$(score model-exact)" -v a="$(score majority)" -v s="$(score stage)" \
        'BEGIN {exit !(m > a && m > s)}' || fail "the demo model does not beat them: $(cat out)"
    ok "the whole benchmark"
fi
exit $failed
