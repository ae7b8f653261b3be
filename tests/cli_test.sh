#!/usr/bin/env bash
# The command as its users meet it: exit codes, messages, streams, files left behind.
# usage: cli_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
cells=$source/demo/cells.h5ad
model=$source/demo/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
export TMPDIR=$work/tmp # run folders that an interrupted command keeps
mkdir "$TMPDIR"
checks=0 failures=0

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect CODE PATTERN COMMAND...: the exit code, and a line of standard error (or output) that
# matches the pattern.
expect() {
    local code=$1 pattern=$2 got
    shift 2
    "$@" >out.txt 2>err.txt
    got=$?
    checks=$((checks + 1))
    [[ $got =~ ^($code)$ ]] || fail "exit $got, wanted $code: $* ($(head -n 1 err.txt))"
    [ -z "$pattern" ] || cat out.txt err.txt | grep -qE -- "$pattern" || {
        fail "no line matches \"$pattern\": $*"
        head -n 3 err.txt
    }
}
# The same, and the error is one line.
expect_line() {
    expect "$@"
    [ "$(wc -l <err.txt)" = 1 ] || fail "more than one line of error: ${*:3}"
}
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
annotate() {
    "$emcell" annotate --quiet --force --input "$cells" --model "$model" --limit 24 "$@"
}

# Help and usage.
expect 2 'usage: emcell COMMAND' "$emcell"
expect 0 'usage: emcell COMMAND' "$emcell" --help
expect 0 '^emcell [0-9]+\.[0-9]+\.[0-9]+$' "$emcell" --version
expect_line 2 'no command "anotate"' "$emcell" anotate
for command in annotate merge bench prompt profile tokenize slurm-template doctor; do
    expect 0 "usage: emcell $command" "$emcell" "$command" --help
    check test ! -s err.txt
    expect_line 2 'unknown option --no-such-thing' "$emcell" "$command" --no-such-thing
done
expect_line 2 'did you mean --output\?' "$emcell" annotate --ouput x
expect_line 2 'value is missing' "$emcell" annotate --input
expect_line 2 'unknown option in -z' "$emcell" annotate -z
for value in many 0 -1 1.5 3x 9999999999; do
    expect_line 2 "--limit: \"$value\" is not a whole number from 1" "$emcell" annotate --limit "$value"
done
for value in half -0.1 1.1 nan inf; do
    expect_line 2 "--min-gene-match: \"$value\" is not a number from 0 to 1" \
        "$emcell" annotate --min-gene-match "$value"
done
expect_line 2 '--model: the value is empty' "$emcell" annotate --model ''
expect_line 2 'wanted a multiple of 128' annotate --output o.csv --max-num-batched-tokens 100
expect_line 2 'obs-columns: 33 columns' "$emcell" prompt --input "$cells" --all --obs-columns "$(seq -s, 33)"
expect_line 2 '--input is missing' "$emcell" annotate
expect_line 2 'what is "cells.h5ad"' "$emcell" annotate cells.h5ad
expect_line 2 'adapter is given twice' annotate --output o.csv --adapter a --adapter b
expect_line 2 'not exact, full, greedy or generate' annotate --output o.csv --answer best
expect_line 2 '--scoring: "foo" is not joint, mean, first or prior' annotate --output o.csv --scoring foo
expect_line 2 '--probability-width: "2" is not a number from 0 to 1' annotate --output o.csv \
    --probability-width 2
# What a way of answering cannot follow is not ignored.
for options in '--scoring joint' '--scoring prior' '--probability-width 0.1' --invalid-mass \
    '--unknown-below 0.5' '--margin-below 0.5'; do
    expect_line 2 "^emcell annotate: ${options%% *}: --answer generate .*; leave it out, or use --answer exact" \
        annotate --output o.csv --answer generate $options
done
for key in unknown_below margin_below; do # not even a profile's
    "$emcell" profile show embryo | sed "s/\"$key\": 0/\"$key\": 0.5/" >strict.json
    expect_line 2 "^emcell annotate: the profile's $key: --answer generate has no probabilities" \
        annotate --output o.csv --answer generate --profile strict.json
done
for options in '--probability-width 0' --invalid-mass '--margin-below 0.5' '--probabilities p.csv'; do
    expect_line 2 "${options%% *}.*: --answer greedy .*; leave it out, or use --answer exact" \
        annotate --output o.csv --answer greedy $options
done
expect_line 2 '--obsm-probabilities: --answer greedy' annotate --output o.h5ad --answer greedy \
    --obsm-probabilities
expect_line 2 '--probability-width: --answer full' annotate --output o.csv --answer full \
    --probability-width 0.1
for answer in exact full greedy; do
    expect_line 2 "--max-tokens: --answer $answer writes no text" annotate --output o.csv \
        --answer $answer --max-tokens 5
done
check test ! -e o.csv
expect_line 2 'not auto, float32 or bfloat16' annotate --output o.csv --dtype int8
expect_line 2 'not text or json' annotate --output o.csv --log-format xml

expect_line 2 'merge-adapter needs --adapter' annotate --output o.csv --merge-adapter
expect_line 2 '0 leaves no memory' annotate --output o.csv --gpu-memory-utilization 0
expect_line 2 'no device is called "tpu"' annotate --output o.csv --device tpu

# Profiles.
expect 0 '^embryo ' "$emcell" profile list
expect 0 '"messages"' "$emcell" profile show embryo
cp out.txt mine.json
expect 0 'ok; ' "$emcell" profile check mine.json
expect_line 66 'no_such' "$emcell" profile check no_such.json
printf '{"nme": "x"}' >wrong.json
expect_line '78|65' 'unknown key "nme"' "$emcell" profile check wrong.json

# Input that is not what it should be.
expect_line 66 'none\.h5ad' "$emcell" annotate -q --input none.h5ad --model "$model" --output o.csv
printf 'not HDF5 at all' >bad.h5ad
expect_line 65 'bad\.h5ad.*HDF5' "$emcell" annotate -q --input bad.h5ad --model "$model" --output o.csv
head -c 5000 "$cells" >cut.h5ad
expect_line 65 'cut\.h5ad' "$emcell" annotate -q --input cut.h5ad --model "$model" --output o.csv
expect_line 66 'org/none' "$emcell" annotate -q --input "$cells" --model org/none --output o.csv
mkdir empty_model
expect_line '6[56]' 'empty_model' "$emcell" annotate -q --input "$cells" --model empty_model --output o.csv
expect_line 69 'device' annotate --output o.csv --device cuda:9999
check test ! -e o.csv

# Output.
expect_line 73 'nowhere' annotate --output nowhere/o.csv
expect_line '2|65|73|78' 'o\.xlsx' annotate --output o.xlsx
expect 0 '' annotate --output o.csv
check test "$(wc -l <o.csv)" = 25
check grep -q '^cell_id,label,score,' o.csv
expect 0 '' annotate --output o.tsv --probabilities p.csv
check test "$(wc -l <p.csv)" = 25
expect 0 '' annotate --output o.jsonl
check test "$(wc -l <o.jsonl)" = 24
annotate --output - >stdout.csv 2>err.txt
check cmp -s stdout.csv o.csv
if [ -w /dev/full ]; then
    annotate --output - >/dev/full 2>err.txt
    check test $? = 74
fi
annotate --output - 2>err.txt | head -n 1 >/dev/null
code=${PIPESTATUS[0]}
check test "$code" = 74 -o "$code" = 0 # the whole table may fit into the pipe
check sh -c '! ls | grep -q partial'

# Rows as they finish: on a stream alone, all of them, and what goes with it.
finished() { annotate --shard-cells 5 --order finished "$@"; }
finished >finished.csv 2>err.txt
check cmp -s <(sort finished.csv) <(sort o.csv)
check cmp -s <(head -n 1 finished.csv) <(head -n 1 o.csv)
finished --output-format jsonl >finished.jsonl
check cmp -s <(sort finished.jsonl) <(sort o.jsonl)
mkfifo rows
cat rows >finished.csv &
expect 0 '' finished --output rows --output-format csv
wait $!
check cmp -s <(sort finished.csv) <(sort o.csv)
rm rows
expect_line 2 'order finished is for tables' finished --output f.h5ad
expect_line 2 'order finished is for tables' finished --in-place
expect_line 2 'standard output or a pipe; the file f\.csv appears whole' finished --output f.csv
expect_line 2 '--order finished: --groupby needs the results of all cells' finished --groupby stage
expect_line 2 '--order finished: --probabilities needs' finished --probabilities f.csv
expect_line 2 '--order: "random" is not input or finished' annotate --order random
check test ! -e f.csv -a ! -e f.csv.run
# A reader that goes away is one line, and a run that can go on: with all rows, those that are done
# first.
finished --run-dir gone.run 2>err.txt | head -n 1 >head.csv
code=${PIPESTATUS[0]}
check test "$code" = 74
check cmp -s head.csv <(head -n 1 o.csv)
check test "$(wc -l <err.txt)" = 1
check grep -qE 'standard output: Broken pipe; [1-4] of 5 shards are done.* in gone\.run: the same command with --resume goes on$' err.txt
"$emcell" annotate --quiet --input "$cells" --model "$model" --limit 24 --shard-cells 5 \
    --order finished --run-dir gone.run --resume >finished.csv
check cmp -s finished.csv o.csv
"$emcell" annotate --quiet --input "$cells" --model "$model" --limit 24 --shard-cells 5 \
    --order finished --run-dir gone.run --resume >finished.csv # of a finished run, too
check cmp -s finished.csv o.csv

# What is read is never overwritten, whatever the paths look like; neither is a result by another.
printf 'A\nB\n' >labels.csv
cp "$source/demo/README.md" before.txt
cp before.txt table.csv
ln -s table.csv link.csv
ln table.csv hard.csv
for output in table.csv ./table.csv link.csv hard.csv; do
    expect_line 2 'would overwrite table\.csv' "$emcell" annotate --input table.csv --model "$model" \
        --output "$output"
    expect_line 2 'would overwrite table\.csv' "$emcell" annotate --input table.csv --model "$model" \
        --output - --probabilities "$output"
done
expect_line 2 'would overwrite labels\.csv' annotate --output ./labels.csv --labels labels.csv
expect_line 2 'for the results and for the probabilities' annotate --output q.csv --probabilities ./q.csv
check cmp -s table.csv before.txt
check test ! -e q.csv
annotate --output - >&- 2>err.txt
check test $? != 0 # nowhere to write to is an error
"$emcell" annotate --input "$cells" --model "$model" --limit 24 --output closed.csv <&- >&- 2>&-
check cmp -s closed.csv o.csv # no message in the result
mkfifo pipe
cat pipe >piped.csv &
expect 0 '' annotate --output pipe --output-format csv
wait $!
check test -p pipe
check cmp -s piped.csv o.csv

# The same bytes one by one, packed, and with one thread or two.
expect 0 '' annotate --output one.csv --threads 1 --max-num-batched-tokens 128
check cmp -s one.csv o.csv
expect 0 '' annotate --output two.csv --threads 2 --max-num-batched-tokens 2048
check cmp -s two.csv o.csv

# A config file; the command line comes over it.
printf '# settings\nlimit = 5\nthreads = 1\nquiet = true\n' >emcell.conf
expect 0 '' "$emcell" annotate --force --config emcell.conf --input "$cells" --model "$model" --output c.csv
check test "$(wc -l <c.csv)" = 6
expect 0 '' "$emcell" annotate --force --config emcell.conf --limit 3 --input "$cells" --model "$model" --output c.csv
check test "$(wc -l <c.csv)" = 4
printf 'threads = 1\nlimit = five\n' >wrong.conf
expect_line 2 'wrong\.conf: line 2: --limit: "five"' "$emcell" annotate --config wrong.conf
printf 'limt = 5\n' >wrong.conf
expect_line 2 'wrong\.conf: line 1' "$emcell" annotate --config wrong.conf

# A run has a folder; faults_test.sh has the rest.
expect 0 'run folder: run\.csv\.run$' "$emcell" annotate --input "$cells" --model "$model" --limit 24 \
    --output run.csv
check cmp -s run.csv o.csv
check test -s run.csv.run/run.json
expect_line 73 'run\.csv\.run: a run is there: --resume goes on with it, --force begins anew' \
    "$emcell" annotate -q --input "$cells" --model "$model" --limit 24 --output run.csv
expect_line 2 'give one of them' annotate --resume --output run.csv
# One that an older program began.
cp -r run.csv.run older.run
sed -i -e 's/"emcell_run": 2/"emcell_run": 1/' -e '/"invalid_mass"/d' older.run/run.json
older='older\.run/run\.json: version 1 of run folders, this emcell knows 2: use the emcell that began'
expect_line 65 "$older" "$emcell" merge older.run --output older.csv
expect_line 65 "$older" "$emcell" status older.run
expect_line 65 "$older" "$emcell" annotate -q --input "$cells" --model "$model" --limit 24 \
    --output older.csv --run-dir older.run --resume
check test ! -e older.csv
expect 0 '' "$emcell" annotate -q --input "$cells" --model "$model" --limit 24 \
    --output older.csv --run-dir older.run --force
check cmp -s older.csv o.csv
expect_line 73 'nowhere/run: no such folder' annotate --output n.csv --run-dir nowhere/run
mkdir notes
echo mine >notes/diary.txt
expect_line 73 'notes: holds other things than a run' annotate --output n.csv --run-dir notes
check test -s notes/diary.txt
expect_line 2 'a run folder is missing' "$emcell" merge
expect_line 66 'notes: no run folder' "$emcell" merge notes --output n.csv
expect_line 66 'nowhere' "$emcell" merge nowhere --output n.csv
expect 0 '^24 cells of 1 of 1 shards$' "$emcell" merge run.csv.run --output merged.csv
check cmp -s merged.csv o.csv
"$emcell" merge -q run.csv.run >merged.csv 2>err.txt
check cmp -s merged.csv o.csv
check test ! -s err.txt
expect 0 '' "$emcell" merge -q run.csv.run --output merged.jsonl
check cmp -s merged.jsonl o.jsonl
expect 0 '' annotate --output o.h5ad --obsm-probabilities
expect 0 '' "$emcell" merge -q o.h5ad.run --output merged.h5ad --obsm-probabilities
check cmp -s merged.h5ad o.h5ad
expect 0 '' "$emcell" merge -q o.h5ad.run --output merged.csv
expect 0 '' annotate --output every.csv --probability-width 0 # as probabilities of all labels imply
check cmp -s merged.csv every.csv
check sh -c '! cmp -s every.csv o.csv'
expect 0 '' annotate --output full.csv --answer full
check cmp -s full.csv every.csv
cut -d , -f 1,2,8-10 o.csv >labels_exact.txt
cut -d , -f 1,2,8-10 full.csv >labels_full.txt
check cmp -s labels_exact.txt labels_full.txt
# What the run has been asked for stands in all of its results.
expect 0 '^[0-9.]+ answer rows a cell$' "$emcell" annotate --force --input "$cells" \
    --model "$model" --limit 24 --output mass.csv --invalid-mass
check grep -q ',prob_3,invalid_mass,n_genes,n_tokens$' mass.csv
check sh -c '! grep -q invalid_mass o.csv'
expect 0 '' "$emcell" merge -q mass.csv.run --output merged.csv
check cmp -s merged.csv mass.csv
expect 0 '' "$emcell" annotate -q --resume --input "$cells" --model "$model" --limit 24 \
    --output mass.csv
check cmp -s merged.csv mass.csv
expect_line 78 '--invalid-mass was 0, is 1' "$emcell" annotate -q --resume --input "$cells" \
    --model "$model" --limit 24 --output run.csv --invalid-mass
expect_line 78 '--scoring was joint, is mean' "$emcell" annotate -q --resume --input "$cells" \
    --model "$model" --limit 24 --output run.csv --scoring mean
expect_line 78 '--probability-width was 0\.02, is 0\.5' "$emcell" annotate -q --resume \
    --input "$cells" --model "$model" --limit 24 --output run.csv --probability-width 0.5
expect_line 78 'not the file that the run read' "$emcell" merge -q o.h5ad.run --output merged.h5ad \
    --input "$model/config.json"
# The input of a run has changed, by the run itself: the results are not locked away with it.
cp "$cells" place.h5ad
expect 0 '' "$emcell" annotate -q --input place.h5ad --model "$model" --limit 24 --in-place
expect 0 'place.h5ad has changed since the run read it' "$emcell" merge place.h5ad.run -o merged2.csv
check cmp -s merged2.csv o.csv
expect 0 '' "$emcell" merge -q place.h5ad.run -o merged2.h5ad --h5ad obs
expect_line 78 'or write a table' "$emcell" merge -q place.h5ad.run -o merged3.h5ad
rm place.h5ad
expect_line 66 'say where it is with --input' "$emcell" merge -q place.h5ad.run -o merged3.h5ad
check test ! -e merged3.h5ad
expect 0 '' "$emcell" merge -q place.h5ad.run -o merged2.csv
expect_line 2 'leave one of them out' annotate --output o2.h5ad --in-place
expect_line 2 'cannot tell the kind' annotate --output o.parquet
check test ! -e o.parquet.run
expect_line 2 'probabilit' "$emcell" merge -q run.csv.run --output merged.csv --probabilities p2.csv

# Errors keep to the log's format.
expect_line 66 '^\{"event": "error", .*none\.h5ad' "$emcell" annotate -q --log-format json \
    --input none.h5ad --model "$model" --output o.csv

# Tokens there and back.
expect 0 '"ids"' sh -c "printf '%s\n' '{\"text\": \"GATA3 SOX2\"}' | '$emcell' tokenize --model '$model'"
sh -c "'$emcell' tokenize --model '$model' --decode <out.txt" >back.txt 2>&1
check grep -q '"text": *"GATA3 SOX2"' back.txt
expect 0 '"prompt"' sh -c "printf '%s\n' '{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}' | '$emcell' tokenize --chat --model '$model'"

# What a cell's prompt is.
expect 0 '"cell_id"' "$emcell" prompt -q --input "$cells" --all --jsonl --limit 2 --model "$model"
check test "$(wc -l <out.txt)" = 2
expect_line 66 'no_such_cell' "$emcell" prompt -q --input "$cells" --cell no_such_cell

expect 0 'HDF5' "$emcell" doctor
expect 0 'HDF5 filter 32000' "$emcell" doctor
check grep -q '^--device auto runs on ' out.txt

# The bench: data on standard output alone, a row for each combination.
bench() { "$emcell" bench --model "$model" --cells 4 --warm-up 2 "$@"; }
small=(--device cpu --prefix 20 --suffix 30 --labels 5)
expect 0 '' bench --quiet --device cpu --prefix 0,10 --suffix 30 --max-num-batched-tokens 128,256 \
    --labels 5 --format csv
check test ! -s err.txt
check test "$(wc -l <out.txt)" = 5
check test "$(sed 's/"[^"]*"/x/g' out.txt | awk -F , '{ print NF }' | sort -u | wc -l)" = 1
check test "$(sed 's/"[^"]*"/x/g' out.txt | cut -d , -f 3-6 | tail -n 1)" = 10,30,5,256
expect 0 '^\| 20 \| 30 \| 5 \|' bench "${small[@]}"
check grep -q '^device: cpu' err.txt
expect 0 '^{"model": ' bench --quiet --format json --repetitions 2 "${small[@]}"
check grep -qE '"seconds": \[[0-9.e-]+, [0-9.e-]+\]' out.txt
expect_line 2 'say --model DIR or --random SIZE' "$emcell" bench
expect_line 2 'say --model DIR or --random SIZE' "$emcell" bench --model "$model" --random 0.6b
expect_line '2|78' '9b' "$emcell" bench -q --random 9b
for value in '' , 1, ,1 0 -1 x 1.5 '1 2'; do
    expect 2 'suffix' "$emcell" bench --model "$model" --suffix "$value"
done
expect_line 2 'multiples of 128' "$emcell" bench --model "$model" --max-num-batched-tokens 128,100
expect_line 2 'more than 16 values' "$emcell" bench --model "$model" --suffix "$(seq -s, 17)"
expect_line 2 'not md, csv or json' "$emcell" bench --model "$model" --format xml
expect_line 2 'not exact, full or greedy' "$emcell" bench --model "$model" --answer all
for answer in exact full greedy; do
    expect 0 '"choice_rows_per_cell": [0-9.]+,' \
        bench --quiet --format json --no-trace --answer $answer "${small[@]}"
    check grep -q "\"answer\": \"$answer\"" out.txt
done
# Five labels of two tokens: a row each, or the first token's alone.
expect 0 '"choice_rows_per_cell": 5,' bench -q --format json --answer full "${small[@]}"
expect 0 '"choice_rows_per_cell": 1,' bench -q --format json --answer greedy "${small[@]}"
expect_line 78 'takes 4096 in all' bench -q --device cpu --suffix 100000
expect_line 78 'labels 5000: the model has' bench -q --device cpu --labels 5000
"$emcell" bench --model "$model" --device cpu --cells 100000 >out.txt 2>err.txt &
pid=$!
sleep 1
kill -INT $pid
wait $pid
check test $? = 130
check test ! -s out.txt

# Without a cell to ask nobody waited, and there is no first label.
printf 'cell\tPOU5F1\tNANOG\tSOX2\nc1\t0\t0\t0\nc2\t0\t0\t0\n' >nothing.tsv
expect 0 ' empty +2' "$emcell" annotate --input nothing.tsv --model "$model" --device cpu \
    --output nothing.csv
check test "$(grep -c 'first label\|"summary"' err.txt)" = 0
expect 0 '' "$emcell" annotate --input nothing.tsv --model "$model" --device cpu --force \
    --output nothing.csv --log-format json
check test "$(grep -c 'first label\|"summary"' err.txt)" = 0

echo "cli: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ]
