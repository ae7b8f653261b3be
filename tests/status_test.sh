#!/usr/bin/env bash
# emcell status on run folders in every state.
# usage: status_test.sh EMCELL MAKE_RUN
set -u
emcell=$(realpath "$1")
make_run=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

fail() { echo "FAILED: $*"; failures=$((failures + 1)); }

# expect CODE COMMAND...: output and errors go to out.txt and err.txt.
expect() {
    local code=$1 got
    shift
    "$@" >out.txt 2>err.txt
    got=$?
    [ "$got" = "$code" ] || fail "exit $got, wanted $code: $* ($(head -n 1 err.txt))"
}
says() { grep -qE -- "$1" out.txt || { fail "no line matches \"$1\""; cat out.txt; }; }
does_not_say() { ! grep -qE -- "$1" out.txt || { fail "a line matches \"$1\""; cat out.txt; }; }

expect 0 "$emcell" status --help
says 'usage: emcell status RUN'
expect 2 "$emcell" status
grep -q 'a run folder is missing' err.txt || fail "no hint to the folder"
mkdir none
for folder in nowhere none; do
    for json in '' --json; do
        expect 66 "$emcell" status "$folder" $json
        [ "$(wc -l <err.txt)" = 1 ] || fail "more than one line: $(cat err.txt)"
        [ ! -s out.txt ] || fail "output about no run"
    done
done
mkdir bad && echo '{' >bad/run.json
expect 65 "$emcell" status bad

"$make_run" fresh.run fresh || fail "make_run fresh"
expect 0 "$emcell" status fresh.run
says '^run      fresh.run: stopped$'
says '^cells    0 of 950 done \(0.0 %\)$'
says '^shards   0 of 10 done, 0 claimed, 0 stale, 0 parked, 10 open; 100 cells each$'
says '^next .*--resume'

"$make_run" crashed.run crashed || fail "make_run crashed"
before=$(find crashed.run -type f -printf '%p %T@ %s\n' | sort)
expect 0 "$emcell" status crashed.run
[ "$before" = "$(find crashed.run -type f -printf '%p %T@ %s\n' | sort)" ] || fail "files changed"
says ': stopped$'
says '^cells    350 of 950 done \(36.8 %\)$'
says '^shards   4 of 10 done, 0 claimed, 2 stale, 1 parked, 3 open'
says '^parts    12 cells of 2 begun shards are kept: who does them goes on behind$' # one is damaged
says '^worker .*: dead; heard of .* ago, 2 shards claimed$'
says '^parked   shard 2, cells 200 to 299: 3 tries: no "luck"\?\[31m\?at all$'
says '^failed   shard 3, cells 300 to 399: 1 try: once$'
does_not_say '^speed'
expect 0 "$emcell" status crashed.run --json
says '"state": "stopped", "cells": 950, "cells_done": 350'
says '"cells_per_s": 0, "seconds_left": null'
says '"parked": 1, "parts": 2, "cells_in_parts": 12,'
says '"reason": "no \\"luck\\"\\u001[bB]\[31m\\nat all"'
if command -v python3 >/dev/null; then
    python3 -c 'import json, sys; d = json.load(open("out.txt"));
assert d["stale"] == 2 and d["failed"][0]["tries"] == 3 and not d["workers"][0]["alive"]' ||
        fail "the JSON"
fi

mkfifo hold
"$make_run" running.run running <hold >ready.txt &
exec 3>hold
for _ in $(seq 200); do
    grep -q ready ready.txt && break
    sleep 0.05
done
expect 0 "$emcell" status running.run
says ': running$'
says ' 2 claimed, 0 stale, 1 parked, 3 open'
says '^speed    25.0 cells/s, 20 s left$' # 950 less 350 done, 12 in parts and 100 parked
says '^worker .*: 350 cells, 25.0 cells/s, 2 shards claimed, heard of .* ago$'
does_not_say '^next .*goes on'
# One more worker: each has its line, and the time left is that of both.
mkfifo hold_too
"$make_run" running.run joining <hold_too >ready_too.txt &
exec 4>hold_too
for _ in $(seq 200); do
    grep -q ready ready_too.txt && break
    sleep 0.05
done
expect 0 "$emcell" status running.run
says '^worker .*: 7 cells, 10.0 cells/s, 0 shards claimed, heard of .* ago$'
says '^worker .*: 350 cells, 25.0 cells/s, 2 shards claimed, heard of .* ago$'
says '^speed    35.0 cells/s, 14 s left$'
exec 3>&- 4>&-
wait
expect 0 "$emcell" status running.run # given back at the end
says ' 0 claimed, 0 stale, 1 parked, 5 open'
does_not_say '^worker'

"$make_run" finished.run finished || fail "make_run finished"
expect 0 "$emcell" status finished.run
says '^run      finished.run: finished$'
says '^cells    950 of 950 done \(100.0 %\)$'
does_not_say '^(worker|failed|next|speed|parts)'

[ "$failures" = 0 ] && echo "all fine"
exit $((failures > 0))
