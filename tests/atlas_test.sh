#!/usr/bin/env bash
# Runs the emcell commands that docs/atlas.md shows, on the demo's cells and model.
# usage: atlas_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
cp "$source/demo/cells.h5ad" cells.h5ad
ln -s "$source/demo/model" model
ran=0 failed=0
while IFS= read -r line; do
    ran=$((ran + 1))
    if ! bash -c "\"$emcell\" ${line#"    emcell "}" >out.txt 2>&1 </dev/null; then
        echo "FAILED: $line"
        tail -n 3 out.txt
        failed=$((failed + 1))
    fi
done < <(grep '^    emcell ' "$source/docs/atlas.md")
for file in try.csv mean.csv labels.h5ad labels.csv; do
    [ -s "$file" ] || { echo "FAILED: no $file"; failed=$((failed + 1)); }
done
if ! head -n 1 mean.csv | grep -q invalid_mass; then
    echo "FAILED: no column invalid_mass"
    failed=$((failed + 1))
fi
echo "atlas: $ran ran, $failed failed"
[ "$ran" -gt 5 ] && [ $failed = 0 ]
