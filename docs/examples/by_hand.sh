#!/bin/sh
# Builds and runs the example with the commands of docs/library.md, the build folder put in place
# of the page's.
#   by_hand.sh SOURCE BUILD
set -eu
source=$1
build=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

sed -n '/^```sh$/,/^```$/p' "$source/docs/library.md" |
    sed -n '/^cc /,/^```$/p' | sed '/^```$/,$d' |
    sed "s|build/release|$build|g; s|-o annotate_prompt|-o $work/annotate_prompt|; s|^\./annotate_prompt|$work/annotate_prompt|" \
        >"$work/commands"
grep -q '^cc ' "$work/commands" # the page still has them
cd "$source"
sh -eu "$work/commands" >"$work/answer"
cat "$work/answer"
grep -q '^Zygote: 9[67]\.[0-9] %$' "$work/answer"
