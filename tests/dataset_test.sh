#!/usr/bin/env bash
# emcell dataset as its users meet it: what it writes, that threads change no byte, how it ends.
# usage: dataset_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
recipe=$source/docs/examples/demo_dataset.json
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
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
    [ -z "$pattern" ] || cat out.txt err.txt | grep -qE -- "$pattern" ||
        fail "no line matches \"$pattern\": $* ($(tail -n 1 err.txt))"
}
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
build() { "$emcell" dataset build "$@" --input-dir "$source/demo"; }
# changed FROM TO: the recipe with one thing changed, in changed.json.
changed() {
    sed "s|$1|$2|" "$recipe" >changed.json
    check test "$(cmp -s "$recipe" changed.json; echo $?)" = 1
}

expect 0 '914 cells: [0-9]+ train' build "$recipe" -o one --threads 1 --model "$source/demo/model"
expect 0 '' build "$recipe" -o four --threads 4 --model "$source/demo/model"
check diff -r one four
for part in train validation test; do
    n=$(wc -l <one/$part.meta.jsonl)
    check test "$n" -gt 0
    for form in messages alpaca sharegpt; do
        check test "$(wc -l <one/$part.$form.jsonl)" = "$n"
    done
    grep -oE '"embryo": "[^"]*"' one/$part.meta.jsonl | sort -u >$part.embryos
done
check test "$(sort train.embryos validation.embryos test.embryos | uniq -d | wc -l)" = 0
for kind in cell mixed few; do
    check grep -q "\"kind\": \"$kind\"" one/train.meta.jsonl
done
check grep -q 'not EmCell4Instruction' one/card.md
check grep -q '"histogram"' one/card.json
check grep -q '"train_sharegpt"' one/dataset_info.json
# What was asked for is what the same profile asks.
check test "$(grep -c '"wording": 0' one/train.meta.jsonl)" -gt 0

expect 0 '' build "$recipe" -o some --form alpaca
check test ! -e some/train.messages.jsonl -a -s some/train.alpaca.jsonl
expect 73 'is not empty; --force' build "$recipe" -o some
expect 0 '' build "$recipe" -o some --force

expect 0 '^Hypoblast' "$emcell" dataset check "$recipe" --input-dir "$source/demo"
expect 0 '^yan2013$' "$emcell" dataset recipes
expect 0 '^xiang2020-lineage$' "$emcell" dataset label-maps
expect 0 '"name": "yan2013"' "$emcell" dataset show yan2013
expect 2 'recipe is missing' "$emcell" dataset build
expect 2 '--output is missing' build "$recipe"
expect 2 'none of messages, alpaca, sharegpt' build "$recipe" -o x --form xml
expect 66 'nowhere' build nowhere.json -o x

changed '"column": "label"' '"column": "kind"'
expect 78 'cells.h5ad.*kind' build changed.json -o bad --force
changed '"column": "embryo"' '"value": "E1"'
expect 78 'all cells are of one embryo' build changed.json -o bad --force
changed '"weights"' '"wieghts"'
expect 65 'wieghts' build changed.json -o bad --force
check test ! -e bad/train.messages.jsonl -a ! -e bad/card.json

echo "$checks checks, $failures failed"
[ $failures -eq 0 ]
