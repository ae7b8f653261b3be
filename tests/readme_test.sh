#!/usr/bin/env bash
# Runs the emcell commands that README.md shows, with its placeholders filled in.
# usage: readme_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
cp "$source/demo/cells.h5ad" cells.h5ad
ln -s "$source/benchmarks" "$source/demo" "$source/docs" .
ran=0 failed=0
while IFS= read -r line; do
    command=${line#"    "}
    command=${command/#build\/release\/cli\/emcell/\"$emcell\"}
    command=${command//--model DIR/--model \"$source/demo/model\"}
    ran=$((ran + 1))
    if ! bash -c "$command" >out.txt 2>&1; then
        echo "FAILED: $line"
        tail -n 3 out.txt
        failed=$((failed + 1))
    fi
done < <(grep '^    build/release/cli/emcell ' "$source/README.md")
[ -s labels.csv ] || { echo "FAILED: no labels.csv"; failed=$((failed + 1)); }
for script in $(grep -o 'scripts/[a-z]*' "$source/README.md" | sort -u); do
    [ -x "$source/$script" ] || { echo "FAILED: $script is not there"; failed=$((failed + 1)); }
done
echo "readme: $((ran - failed)) passed, $failed failed"
[ "$ran" -gt 1 ] && [ $failed = 0 ]
