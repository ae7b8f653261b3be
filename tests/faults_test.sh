#!/usr/bin/env bash
# What a run survives: kills, signals, full disks, damaged shards, many processes. Whatever
# happened, the results of the run that went on are those of an undisturbed one, byte for byte.
# usage: faults_test.sh EMCELL SOURCE_FOLDER
#   EMT_FULL=1: more kills and more cells.
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
cells=$source/demo/cells.h5ad
model=$source/tests/golden/annotate/model # small: most of the time is in starting
n_kills=50 n_cells=96
if [ "${EMT_FULL:-0}" = 1 ]; then n_kills=200 n_cells=914; fi
work=$(mktemp -d)
mounted=
finish() {
    [ -z "$mounted" ] || umount "$mounted" 2>/dev/null
    rm -rf "$work"
}
trap finish EXIT
cd "$work" || exit 1
checks=0 failures=0
RANDOM=4

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
# expect CODE PATTERN COMMAND...: the exit code, and one line of standard error that matches.
expect() {
    local code=$1 pattern=$2 got
    shift 2
    timeout 300 "$@" >out.txt 2>err.txt
    got=$?
    checks=$((checks + 1))
    [[ $got =~ ^($code)$ ]] || fail "exit $got, wanted $code: $* ($(tail -n 1 err.txt))"
    grep -qE -- "$pattern" err.txt || [ -z "$pattern" ] || {
        fail "no line matches \"$pattern\": $*"
        tail -n 3 err.txt
    }
}
expect_line() {
    expect "$@"
    checks=$((checks + 1))
    [ "$(wc -l <err.txt)" = 1 ] || fail "not one line of error: ${*:3}"
}
# ./annotate OPTION...: the command with these settings; each may be given another value.
cat >annotate <<END
#!/usr/bin/env bash
declare -A of=([--input]="$cells" [--model]="$model" [--threads]=1 [--n-genes]=30
    [--limit]=$n_cells [--shard-cells]=4)
rest=()
while [ \$# -gt 0 ]; do
    if [ -n "\${of[\$1]:-}" ]; then of[\$1]=\$2; shift; else rest+=("\$1"); fi
    shift
done
for name in "\${!of[@]}"; do rest+=("\$name" "\${of[\$name]}"); done
exec "$emcell" annotate "\${rest[@]}"
END
printf '#!/bin/sh\nexec ./annotate --quiet "$@"\n' >quiet
chmod +x annotate quiet
done_shards() { find "$1/done" -name '*.shard' 2>/dev/null | wc -l; }
claims() { find "$1/claims" -type f 2>/dev/null | wc -l; }
# wait_for_shards RUN N PID: until so many are done, or the process has ended.
wait_for_shards() {
    while [ "$(done_shards "$1")" -lt "$2" ] && kill -0 "$3" 2>/dev/null; do sleep 0.03; done
}
n_shards=$((n_cells / 4 + (n_cells % 4 > 0)))

# Undisturbed, in one shard; and in shards of a measured size.
./quiet --shard-cells 1000 --output base.csv || fail "the undisturbed run"
check test "$(wc -l <base.csv)" = $((n_cells + 1))

"$emcell" annotate --quiet --input "$cells" --model "$model" --n-genes 30 --limit $n_cells \
    --output size.csv || fail "the run of a measured size"
check cmp -s size.csv base.csv

# Sizes of shards change no byte.
for size in 1 7 1000; do
    expect 0 '' ./quiet --limit 30 --shard-cells $size --output size.csv --force
    check cmp -s size.csv <(head -n 31 base.csv)
done

# ---- kill -9, again and again ----
# Each after a random part of about the time in which this machine has its first shard, and longer
# where that is not enough.
./quiet --limit 300 --shard-cells 1000 --output killed.csv --force
mv killed.csv killed_base.csv
rm -rf killed.csv.run
begin=$(date +%s%N)
./quiet --limit 300 --output killed.csv &
pid=$!
wait_for_shards killed.csv.run 1 $pid
longest=$((($(date +%s%N) - begin) * 11 / 10 / 1000000))
kill -9 $pid
wait $pid 2>/dev/null
kills=1 between=0 round=0
enough() {
    [ $kills -ge $((4 * n_kills)) ] || { [ $kills -ge $n_kills ] && [ $between -ge $((n_kills / 5)) ]; }
}
while ! enough; do
    round=$((round + 1))
    while ! enough; do
        before=$(done_shards killed.csv.run)
        ./quiet --limit 300 --output killed.csv --resume 2>killed.txt &
        pid=$!
        milliseconds=$((RANDOM * longest / 32768 + 10))
        sleep "$(printf '%d.%03d' $((milliseconds / 1000)) $((milliseconds % 1000)))"
        if ! kill -9 $pid 2>/dev/null; then
            wait $pid
            check test $? = 0
            break
        fi
        wait $pid 2>/dev/null
        [ $? = 137 ] || break
        kills=$((kills + 1))
        if [ "$(done_shards killed.csv.run)" -gt "$before" ]; then
            between=$((between + 1))
        elif [ $milliseconds -gt $((longest / 2)) ] && [ $longest -lt 20000 ]; then
            longest=$((longest * 5 / 4))
        fi
    done
    expect 0 '' ./quiet --limit 300 --output killed.csv --resume # claims of the dead are free at once
    check cmp -s killed.csv killed_base.csv
    check test "$(done_shards killed.csv.run)" = 75
    check test "$(claims killed.csv.run)" = 0
    rm -rf killed.csv killed.csv.run
done
check test $kills -ge $n_kills
check test $between -ge $((n_kills / 5))
echo "faults: $kills kills, after $between of them more shards were done, $round runs"

# ---- signals publish what is finished ----
for signal in INT TERM USR1; do
    rm -rf signal.csv signal.csv.run
    ./quiet --output signal.csv 2>err.txt &
    pid=$!
    wait_for_shards signal.csv.run 2 $pid
    kill -$signal $pid
    wait $pid
    check test $? = 75
    check test "$(wc -l <err.txt)" = 1
    check grep -qE "interrupted; [0-9]+ of $n_shards shards are done(, and [0-9]+ cells? of others,)? in signal\.csv\.run: the same command with --resume goes on$" err.txt
    check test "$(done_shards signal.csv.run)" -ge 2
    check test "$(claims signal.csv.run)" = 0
    check test ! -e signal.csv
    expect_line 73 'a run is there: --resume' ./quiet --output signal.csv
    expect 0 '' ./quiet --output signal.csv --resume
    check cmp -s signal.csv base.csv
done

# ---- the answered beginning of a shard is kept ----
# One shard of everything, more than the engine holds. When the first answers are there is not to be
# seen from outside: a run that was stopped too early, or too late, is begun again.
parts() { find "$1/parts" -name '*.part' 2>/dev/null | wc -l; }
json() { "$emcell" status part.csv.run --json | grep -oE "\"$1\": [0-9]+" | grep -oE '[0-9]+$'; }
milliseconds=300
stop_one() { # SIGNAL OUTPUT BEFORE_THE_SIGNAL...: the exit code
    local code pid
    rm -rf "$2" "$2.run"
    ./annotate --limit 900 --shard-cells 900 --output "$2" 2>err.txt &
    pid=$!
    while [ ! -e "$2.run/run.json" ] && kill -0 $pid 2>/dev/null; do sleep 0.02; done
    sleep "$(printf '%d.%03d' $((milliseconds / 1000)) $((milliseconds % 1000)))"
    "${@:3}"
    kill "-$1" $pid 2>/dev/null
    wait $pid
    code=$?
    if [ $code = 0 ]; then milliseconds=$((milliseconds / 2)); else milliseconds=$((milliseconds * 3 / 2)); fi
    return $code
}
begin_part() { # SIGNAL
    for _ in $(seq 20); do
        stop_one "$1" part.csv true
        [ "$(parts part.csv.run)" = 1 ] && break
    done
    check grep -q '^emcell annotate: interrupted; ' err.txt
}
./quiet --limit 900 --shard-cells 900 --output part_base.csv
for signal in INT TERM USR1; do
    begin_part $signal
    check test "$(parts part.csv.run)" = 1
    kept=$(json cells_in_parts)
    check test "$kept" -gt 0
    check test "$kept" -lt 900
    check grep -qE "0 of 1 shards are done, and $kept cells? of others, in part\.csv\.run" err.txt
    check grep -q "^parts    $kept cells of 1 begun shard are kept" <("$emcell" status part.csv.run)
done
expect_line 78 '1 of 1 shards are missing' "$emcell" merge part.csv.run --output merged3.csv
cp -r part.csv.run part_copy.run
# The next one asks the others alone, and a second one that shares the run waits for it.
./quiet --limit 900 --shard-cells 900 --output part.csv --resume 2>two.txt &
two=$!
expect 0 "^shard 0 goes on behind the $kept cells that are answered|another process" \
    ./annotate --limit 900 --shard-cells 900 --output part.csv --resume
wait $two
check test $? = 0
check cmp -s part.csv part_base.csv
check test "$(parts part.csv.run)" = 0
rm -rf part.csv.run && cp -r part_copy.run part.csv.run
expect 0 "^$((900 - kept)) cells in " ./annotate --limit 900 --shard-cells 900 --output part.csv --resume
check grep -q "^shard 0 goes on behind the $kept cells" err.txt
check cmp -s part.csv part_base.csv
# Damaged, it is told of and its cells are asked again.
rm -rf part.csv.run && cp -r part_copy.run part.csv.run
printf 'x' | dd of=part.csv.run/parts/000000.part bs=1 seek=100 conv=notrunc 2>/dev/null
expect 0 '000000\.part: damaged: its checksum is wrong; it is removed, its cells are asked again' \
    ./annotate --limit 900 --shard-cells 900 --output part.csv --resume
check grep -q '^900 cells in ' err.txt
check cmp -s part.csv part_base.csv
# --force forgets it with the rest.
rm -rf part.csv.run && cp -r part_copy.run part.csv.run
expect 0 '^900 cells in ' ./annotate --limit 900 --shard-cells 900 --output part.csv --force
check cmp -s part.csv part_base.csv
# The second one ends at once. (Both come while the process is stopped.)
rm -rf signal.csv signal.csv.run
./quiet --output signal.csv 2>err.txt &
pid=$!
wait_for_shards signal.csv.run 1 $pid
kill -STOP $pid
kill -INT $pid
kill -TERM $pid
kill -CONT $pid
wait $pid
code=$?
check test $code = 130 -o $code = 143
expect 0 '' ./quiet --output signal.csv --resume
check cmp -s signal.csv base.csv

# Without a place for the folder: a temporary one, which goes, or stays when there is more to do.
mkdir temporary
export TMPDIR=$work/temporary
./quiet >piped.csv
check cmp -s piped.csv base.csv
check test -z "$(ls temporary)"
./quiet >piped.csv 2>err.txt &
pid=$!
until run=$(echo temporary/emcell.run.*) && [ "$(done_shards "$run")" -gt 1 ]; do
    kill -0 $pid 2>/dev/null || break
    sleep 0.01
done
kill -TERM $pid
wait $pid
check test $? = 75
check grep -q -- "--resume --run-dir $work/temporary/emcell\.run\." err.txt
check test ! -s piped.csv
./quiet --resume --run-dir "$run" >piped.csv
check cmp -s piped.csv base.csv
unset TMPDIR

# ---- several processes on one folder ----
for n in 2 4; do
    rm -rf shared.csv shared.csv.run
    pids=()
    for i in $(seq $n); do
        ./quiet --resume --output shared.csv 2>"shared$i.txt" &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid"
        check test $? = 0
    done
    cat shared?.txt
    check cmp -s shared.csv base.csv
    check test "$(done_shards shared.csv.run)" = $n_shards
    check test "$(find shared.csv.run/claims shared.csv.run/workers -type f | wc -l)" = 0
done
# Results of the same name that are not the same file: each process writes its own.
mkdir here there
(cd here && "$work/annotate" --quiet --output own.csv --run-dir "$work/own" --resume) &
(cd there && "$work/annotate" --quiet --output own.csv --run-dir "$work/own" --resume) &
./quiet --run-dir own --resume >own1.csv &
./quiet --run-dir own --resume >own2.csv &
for i in 1 2 3 4; do
    wait -n
    check test $? = 0
done
for file in here/own.csv there/own.csv own1.csv own2.csv; do check cmp -s $file base.csv; done
# Sizes of shards that each measures for itself: the first to know decides.
for i in 1 2 3; do
    "$emcell" annotate --quiet --input "$cells" --model "$model" --n-genes 30 --limit $n_cells \
        --threads 1 --output measured.csv --resume &
done
for i in 1 2 3; do
    wait -n
    check test $? = 0
done
check cmp -s measured.csv base.csv
# Without --resume one of them is refused.
rm -rf shared.csv shared.csv.run
./quiet --output shared.csv 2>one.txt &
one=$!
./quiet --output shared.csv 2>two.txt &
two=$!
wait $one; first=$?
wait $two; second=$?
check test $((first + second)) = 73
check grep -q -- '--resume' one.txt two.txt
check cmp -s shared.csv base.csv
# A folder that somebody works in is not removed.
rm -rf shared.csv shared.csv.run
./quiet --output shared.csv 2>err.txt &
pid=$!
wait_for_shards shared.csv.run 1 $pid
kill -STOP $pid
expect_line 73 "process $pid on .* works on this run" ./quiet --output shared.csv --force
kill -CONT $pid
wait $pid
check test $? = 0
check cmp -s shared.csv base.csv

# Who waits can be stopped: for the shards of another, and for another that merges.
rm -rf shared.csv shared.csv.run
./quiet --output shared.csv 2>err.txt &
pid=$!
wait_for_shards shared.csv.run 1 $pid
kill -STOP $pid
./quiet --output shared.csv --resume 2>two.txt &
two=$!
while [ "$(find shared.csv.run/workers -name '*.id' | wc -l)" -lt 2 ] && kill -0 $two; do sleep 0.03; done
sleep 0.2
kill -TERM $two
wait $two
check test $? = 75
check grep -q 'interrupted; .*--resume goes on' two.txt
kill -CONT $pid
wait $pid
check test $? = 0
printf 'x' >shared.csv.run/claims/merge.lock.1 # nobody can tell whose: free after its lease
./quiet --output shared.csv --resume 2>two.txt &
two=$!
while [ "$(find shared.csv.run/workers -name '*.id' | wc -l)" -lt 1 ] && kill -0 $two; do sleep 0.03; done
sleep 0.2
kill -USR1 $two
wait $two
check test $? = 75
check grep -q "$n_shards of $n_shards shards are done" two.txt
rm shared.csv.run/claims/merge.lock.1
check test "$(claims shared.csv.run)" = 0
expect 0 '' ./quiet --output shared.csv --resume
check cmp -s shared.csv base.csv

# ---- a finished run ----
rm shared.csv
expect 0 "^$n_cells of $n_cells cells are done already" ./annotate --output shared.csv --resume
check test "$(grep -c '^device' err.txt)" = 0 # the model was not needed
check cmp -s shared.csv base.csv
expect 0 '' "$emcell" merge -q shared.csv.run --output merged.csv
check cmp -s merged.csv base.csv

# ---- damaged shards ----
truncate -s -5 shared.csv.run/done/000003.shard
printf 'x' | dd of=shared.csv.run/done/000007.shard bs=1 seek=200 conv=notrunc 2>/dev/null
: >shared.csv.run/done/000009.shard
cp shared.csv.run/done/000011.shard shared.csv.run/done/000012.shard
expect_line 78 '4 of .* shards are damaged' "$emcell" merge shared.csv.run --output merged2.csv
check test ! -e merged2.csv
expect 3 '16 cells are missing' "$emcell" merge shared.csv.run --output partial.csv --allow-partial
check test "$(wc -l <partial.csv)" = $((n_cells - 15))
check cmp -s partial.csv <(sed -e '14,17d;30,33d;38,41d;50,53d' base.csv)
expect 0 '^4 damaged shards are computed again: ' ./annotate --output shared.csv --resume
check cmp -s shared.csv base.csv
rm shared.csv.run/done/000005.shard
expect_line 78 'missing, the first is number 5' "$emcell" merge shared.csv.run --output merged2.csv
sed -i 's/"--n-genes": "30"/"--n-genes": "31"/' shared.csv.run/run.json
expect_line 65 'run\.json: damaged' ./quiet --output shared.csv --resume
expect_line 65 'run\.json: damaged' "$emcell" merge shared.csv.run --output merged2.csv
expect 0 '' ./quiet --output shared.csv --force
check cmp -s shared.csv base.csv

# ---- settings that changed ----
expect_line 78 '--n-genes was 30, is 40' ./quiet --output shared.csv --resume --n-genes 40
expect_line 78 'cells chosen was .*, is 20' ./quiet --output shared.csv --resume --limit 20
expect_line 78 '--shard-cells was 4, is 5' ./quiet --output shared.csv --resume --shard-cells 5
expect_line 78 '--unknown-below was 0, is 0\.3' ./quiet --output shared.csv --resume \
    --unknown-below 0.3
expect_line 78 '--dtype was auto, is float32' ./quiet --output shared.csv --resume --dtype float32
expect_line 78 'prefix_caching was yes, is no' ./quiet --output shared.csv --resume \
    --no-enable-prefix-caching
expect_line 78 '--max-num-batched-tokens was 0, is 256' ./quiet --output shared.csv --resume \
    --max-num-batched-tokens 256
expect_line 78 'kept probabilities was 0, is 1' ./quiet --output shared.csv --resume \
    --probabilities p.csv
cp -r "$model" model
printf ' ' >>model/tokenizer_config.json
expect_line 78 '--model was [0-9a-f]{32}, is [0-9a-f]{32};' ./quiet --output shared.csv --resume \
    --model model
"$emcell" profile show embryo | sed 's/"temperature": *[0-9.]*/"temperature": 2.5/' >mine.json
expect_line 78 'profile was embryo .*temperature was 1, is 2\.5' ./quiet --output shared.csv \
    --resume --profile mine.json
cp "$cells" moved.h5ad
expect 0 '' ./quiet --output shared.csv --resume --input moved.h5ad # the same bytes elsewhere
check cmp -s shared.csv base.csv
printf 'x' >>moved.h5ad
expect_line 78 '--input was [0-9a-f]{32}, is [0-9a-f]{32}' ./quiet --output shared.csv --resume \
    --input moved.h5ad

# ---- an input that goes away ----
rm -rf gone.csv gone.csv.run
cp "$cells" gone.h5ad
./quiet --input gone.h5ad --output gone.csv 2>err.txt &
pid=$!
wait_for_shards gone.csv.run 2 $pid
kill -TERM $pid
wait $pid
check test $? = 75
# Cut while it is read. (All of it may have been read by then; a process that is still at the first
# shards has not.)
./quiet --limit 914 --input gone.h5ad --output cut.csv 2>err.txt &
pid=$!
wait_for_shards cut.csv.run 1 $pid
truncate -s 3000 gone.h5ad
wait $pid
code=$?
check test $code = 74 -o $code = 0
[ $code = 0 ] || check grep -qE '^emcell annotate: gone\.h5ad: changed while it was read; .* shards are done' err.txt
cp "$cells" gone.h5ad
expect 0 '' ./quiet --limit 914 --input gone.h5ad --output cut.csv --resume
check cmp -s <(head -n 301 cut.csv) killed_base.csv
rm gone.h5ad
expect_line 66 'gone\.h5ad' ./quiet --input gone.h5ad --output gone.csv --resume
cp "$cells" gone.h5ad
expect 0 '' ./quiet --input gone.h5ad --output gone.csv --resume
check cmp -s gone.csv base.csv

# ---- a full disk ----
if [ "$(id -u)" = 0 ] && mkdir disk && mount -t tmpfs -o size=96k emcell disk 2>/dev/null; then
    mounted=$work/disk
    expect_line 74 'No space left.* shards are done in disk/full\.csv\.run: .*--resume' \
        ./quiet --output disk/full.csv
    check test "$(done_shards disk/full.csv.run)" -gt 0
    check test ! -e disk/full.csv
    mount -o remount,size=8m disk
    expect 0 '' ./quiet --output disk/full.csv --resume
    check cmp -s disk/full.csv base.csv
    # No room for the part of a shard: the run ends as it would, and says what is lost.
    rm -rf disk/*
    fill_disk() { dd if=/dev/zero of=disk/ballast bs=1k 2>/dev/null; }
    milliseconds=300
    for _ in $(seq 20); do
        rm -f disk/ballast
        stop_one TERM disk/part.csv fill_disk
        code=$?
        grep -q 'are lost' err.txt && break
    done
    check test $code = 75
    check grep -qE '^the answered cells of shard 0 are lost: .*000000\.part: No space left' err.txt
    check grep -qE '^emcell annotate: interrupted; 0 of 1 shards are done in ' err.txt
    check test "$(parts disk/part.csv.run)" = 0
    rm disk/ballast
    expect 0 '' ./quiet --limit 900 --shard-cells 900 --output disk/part.csv --resume
    check cmp -s disk/part.csv part_base.csv
    rm -rf disk/*
    expect 0 '' ./quiet --output disk/full.csv
    # Nothing can be written, and what is there is still good.
    rm disk/full.csv disk/full.csv.run/done/000001.shard
    mount -o remount,ro disk
    expect_line 73 'disk/full\.csv' ./quiet --output disk/full.csv --resume
    expect_line 73 'disk/other\.csv' ./quiet --output disk/other.csv
    mount -o remount,rw disk
    expect 0 '' ./quiet --output disk/full.csv --resume
    check cmp -s disk/full.csv base.csv
    umount disk
    mounted=
else
    echo "faults: no tmpfs can be mounted here: the disk is full by ulimit alone"
    mkdir closed
    chmod 555 closed
    if [ "$(id -u)" != 0 ]; then
        expect_line 73 'closed/x\.csv' ./quiet --output closed/x.csv
    else
        echo "faults: NOT RUN: a folder that root cannot write to"
    fi
fi
# A file that may not grow: shards are small enough, the table is not.
(ulimit -f 8 && ./quiet --output limit.csv) 2>err.txt
check test $? = 74
check grep -qE "limit\.csv.*; $n_shards of $n_shards shards are done in limit\.csv\.run: the same command with --resume writes the results$" err.txt
check test ! -e limit.csv
expect 0 '' ./quiet --output limit.csv --resume
check cmp -s limit.csv base.csv

echo "faults: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ]
