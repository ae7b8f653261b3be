#!/usr/bin/env bash
# Is docs/atlas.md true? Runs its commands on the demo's cells, and on Yan 2013 where ../shared
# has it (the first ones; with EMT_FULL=1 all), and looks for every option of `emcell annotate
# --help` in them.
# usage: atlas_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
page="$source/docs/atlas.md"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin"
ln -s "$emcell" "$work/bin/emcell"
PATH="$work/bin:$PATH"
failed=0
fail() {
    echo "FAILED: $1"
    failed=$((failed + 1))
}

. "$source/tests/demo_adapter.sh"

# What the page calls files of the reader's own, of the demo's genes.
make_files() {
    awk -F'\t' 'NR > 1 && NR <= 1500 { print $1 }' "$source/demo/genes.tsv" >symbols
    awk 'BEGIN { print "\"\",\"c1\",\"c2\",\"c3\"" }
         { printf "\"%s\"", $1; for (c = 1; c < 4; c++) printf ",%d.5", NR * (7 + c * 4) % 97
           print "" }' symbols >yan.csv
    awk '{ printf "ENSG%011d\t%s\n", NR, $1 }' symbols >ids.tsv
    awk '{ print $1 "\t" 1 + NR % 7 }' symbols >medians.tsv
    printf 'TE\nEPI\nhypoblast\n' >labels.txt
    mkdir 10x
    printf 'A-1\nB-1\n' >10x/barcodes.tsv
    awk '{ printf "GRCh38_ENSG%011d\tGRCh38_%s\tGene Expression\n", NR, $1 }
         END { for (i = 1; i <= 20; i++)
                   printf "mm10_ENSMUSG%011d\tmm10_G%d\tGene Expression\n", i, i }' \
        symbols >10x/features.tsv
    awk -v n="$(wc -l <10x/features.tsv)" 'BEGIN {
        print "%%MatrixMarket matrix coordinate integer general"; print n, 2, 2 * n
        for (c = 1; c <= 2; c++) for (g = 1; g <= n; g++) print g, c, g * (5 + c) % 53 + 1 }' \
        >10x/matrix.mtx
    make_adapter '\x00\x00\x00\x00' # adds nothing
    sed -n '/^```ini$/,/^```$/{/^```/d;p}' "$page" >atlas.conf
}

# Runs a page's commands in a folder of their own with FILE as cells.h5ad.
run_page() { # NAME FILE PAGE LEAST
    local ran=0 line file
    mkdir "$work/$1" && cd "$work/$1" || exit 1
    cp "$2" cells.h5ad && chmod u+w cells.h5ad
    ln -s "$source/demo/model" model
    make_files
    while IFS= read -r line; do
        [[ $line != *'# needs a GPU'* ]] || continue
        ran=$((ran + 1))
        if ! bash -o pipefail -c "$line" >out.txt 2>err.txt </dev/null; then
            fail "$1: $line"
            tail -n 3 err.txt
        fi
    done < <(grep -E '^    (emcell|cp) ' "$3")
    for file in $(grep -E '^    emcell ' "$3" | grep -v '# needs a GPU' |
        grep -oE -e '--(output|probabilities) [^ ]+' | cut -d' ' -f2); do
        [ -s "$file" ] || fail "$1: no $file"
    done
    [ "$ran" -ge "$4" ] || fail "$1: only $ran commands"
    echo "atlas: $1: $ran commands ran"
}

# Options count where they are used: on the lines of commands.
used=$(grep -E '^    emcell annotate ' "$page" | grep -oE -e '--[a-z0-9-]+' | sort -u)
options=$(emcell annotate --help | grep -oE '^  (-.,|   ) --[a-z0-9-]+' | grep -oE -e '--.*' | sort -u)
[ "$(wc -l <<<"$options")" -gt 50 ] || fail "--help lists hardly any options"
for option in $options; do
    [ "$option" = --help ] || grep -qx -e "$option" <<<"$used" ||
        fail "docs/atlas.md has no command with $option"
done

run_page demo "$source/demo/cells.h5ad" "$page" 25
head -n 1 exact.csv | grep -q invalid_mass || fail "no column invalid_mass"
[ "$(wc -l <again.csv)" = 4 ] || fail "--force kept the old run"
[ "$(wc -l <labels.csv)" = 41 ] || fail "merge has not 40 cells"

real="${EMT_SHARED:-$source/../shared}/data/yan2013/yan2013.h5ad"
if [ ! -r "$real" ]; then
    echo "atlas: yan2013: skipped, no $real"
elif [ "${EMT_FULL:-}" = 1 ]; then
    run_page yan2013 "$real" "$page" 25
else
    sed '/^## Which genes/,$d' "$page" >"$work/beginning.md"
    run_page yan2013 "$real" "$work/beginning.md" 4
fi
echo "atlas: $failed failed"
[ $failed = 0 ]
