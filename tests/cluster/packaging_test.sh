#!/usr/bin/env bash
# packaging/: what can be known of the images without Docker and Apptainer. Both are read and say the
# same, what they name is there, their shell is sound, and with EMT_FULL=1 emcell builds, installs and
# runs from the files that they copy and no others.
# usage: packaging_test.sh EMCELL SOURCE_FOLDER
set -u
emcell=$(realpath "$1")
source=$(realpath "$2")
docker=$source/packaging/Dockerfile
def=$source/packaging/emcell.def
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
checks=0 failures=0
fail() { echo "FAILED: $*"; failures=$((failures + 1)); }
check() {
    checks=$((checks + 1))
    "$@" || fail "$*"
}
for file in "$docker" "$def"; do check grep -q '^# UNTESTED' <(head -n 1 "$file"); done

# ---- Dockerfile: one instruction a line, with its continuations ----
sed '/^#/d' "$docker" | sed -e ':a' -e '/\\$/N; s/\\\n */ /; ta' | sed '/^$/d' >docker.txt
check test -z "$(grep -vE '^(FROM|WORKDIR|COPY|RUN|ENV|ENTRYPOINT) [^ ]' docker.txt)"
check test "$(head -c 5 docker.txt)" = 'FROM '
check grep -qE '^ENTRYPOINT \["[^"]+"(, "[^"]+")*\]$' docker.txt
{
    echo '#!/bin/sh'
    sed -n 's/^RUN //p' docker.txt
} >docker_run.sh
sed -nE 's/^COPY ([^-].*) [^ ]+$/\1/p' docker.txt | tr ' ' '\n' | sort >docker_files.txt

# ---- emcell.def: a header, then sections, twice ----
awk '
    /^#/ || /^[ \t]*$/ { next }
    /^Bootstrap:/ { stage++; section = "header" }
    /^%/ { section = substr($1, 2); print stage, $0 >"sections.txt"; next }
    section == "header" { print stage, $0 >"header.txt"; next }
    { print >("def_" section "_" stage ".txt") }' "$def"
check test -z "$(grep -vE '^[12] (Bootstrap: docker|From: [^ ]+|Stage: (build|final))$' header.txt)"
check test "$(wc -l <header.txt)" = 6
check test -z "$(grep -vE '^[12] %(files|files from build|post|environment|runscript|test|help)$' sections.txt)"
check test -z "$(sort sections.txt | uniq -d)"
sed 's/^ *//' def_files_1.txt | while read -r from to rest; do
    [ "$to" = "/source/$from" ] && [ -z "$rest" ] || echo "$from"
done >wrong.txt
check test ! -s wrong.txt
awk '{ print $1 }' def_files_1.txt | sort >def_files.txt
for section in def_post_1 def_post_2 def_environment_2 def_runscript_2 def_test_2; do
    { echo '#!/bin/sh'; cat $section.txt; } >$section.sh
done

# ---- both say the same ----
check cmp docker_files.txt def_files.txt
check cmp <(awk '/^FROM/ { print $2 }' docker.txt) <(awk '$2 == "From:" { print $3 }' header.txt)
commands() { # words, without what joins them
    sed -e '/^#!/d' -e 's/&&/\n/g' "$@" | sed -e ':a' -e '/\\$/N; s/\\\n//; ta' |
        sed -e 's/^ *//' -e 's/ *$//' -e 's/  */ /g' -e '/^$/d' -e '/^set -e$/d' -e '/^cd /d'
}
check cmp <(commands docker_run.sh) <(commands def_post_1.sh def_post_2.sh def_test_2.sh)

# ---- what they name ----
while read -r file; do check test -e "$source/$file"; done <docker_files.txt
for script in $(grep -ohE '(scripts|packaging)/[a-z_]+' docker_run.sh | sort -u); do
    check test -x "$source/$script"
    check grep -qE "^($script|${script%%/*})$" docker_files.txt
done
preset=$(grep -oE 'preset [a-z-]+' docker_run.sh | cut -d ' ' -f 2)
check grep -q "\"name\": \"$preset\"" "$source/CMakePresets.json"
check grep -q "build build/$preset " docker_run.sh
# The toolkit that scripts/setup --nvcc takes, of the same release. Packages are scripts/setup's own.
cuda=$(grep -oE 'nvidia/cuda:[0-9]+\.[0-9]+' "$docker" | sort -u | cut -d : -f 2)
check grep -qE "^nvidia-cuda-nvcc==$cuda\." "$source/scripts/cuda-toolkit.txt"
check grep -q '^scripts/setup$' docker_run.sh
check test -z "$(grep -oE 'apt-get install [^<]*' docker_run.sh | grep -vx 'apt-get install --yes --no-install-recommends *')"

# ---- their shell ----
for script in docker_run def_post_1 def_post_2 def_environment_2 def_runscript_2 def_test_2; do
    check sh -n $script.sh
    if command -v shellcheck >/dev/null; then check shellcheck --severity warning --shell sh $script.sh; fi
done
command -v shellcheck >/dev/null || echo "packaging: NOT RUN: shellcheck (not installed)"
if command -v dpkg-query >/dev/null && ! ldd "$emcell" | grep -q 'asan'; then
    check "$source/packaging/runtime_packages" "$emcell" >packages.txt
    check grep -q '^libhdf5' packages.txt
    check test -z "$(grep -vE '^[a-z0-9][a-z0-9+.-]+$' packages.txt)"
    check test -z "$(xargs dpkg-query -W -f '${db:Status-Status}\n' <packages.txt | grep -vx installed)"
fi
"$source/packaging/runtime_packages" docker.txt >packages.txt 2>err.txt
check test $? = 1
check grep -q 'docker.txt: not a program' err.txt

# ---- the files that are copied are enough ----
if [ "${EMT_FULL:-0}" = 1 ]; then
    mkdir copy
    (cd "$source" && xargs tar -c <"$work/docker_files.txt") | tar -x -C copy
    check cmake -S copy -B copy/build/image -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF \
        >cmake.txt 2>&1
    check cmake --build copy/build/image >build.txt 2>&1
    check cmake --install copy/build/image --prefix "$work/installed" >install.txt 2>&1
    check installed/bin/emcell --version
    check installed/bin/emcell profile list >profiles.txt
fi
[ $failures = 0 ] || tail -n 5 cmake.txt build.txt install.txt 2>/dev/null

echo "packaging: $((checks - failures)) passed, $failures failed"
[ $failures = 0 ]
