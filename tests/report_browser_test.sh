#!/usr/bin/env bash
# Pages in a real browser: nothing is wider than the screen, and pictures for who wants to look.
# usage: report_browser_test.sh EMCELL DEMO_DIR EVALUATION_DIR [PICTURES_DIR]
# EVALUATION_DIR holds an evaluation.json. Skipped (77) where there is no browser.
set -u
emcell=$1 demo=$2 evaluation=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pictures=${4:-$work/pictures}
mkdir -p "$pictures"

browser=
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then browser=$name; break; fi
done
if [ -z "$browser" ]; then
    echo "skipped: no chromium (scripts/setup --full installs it)"
    exit 77
fi

failed=0
fail() { echo "FAILED: $*"; failed=1; }

# browse OPTION...: headless, with a profile of its own.
browse() {
    timeout 120 "$browser" --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
        --hide-scrollbars --user-data-dir="$work/profile" "$@" 2>"$work/browser.log"
}

# The page in a frame of that width; the script of the frame's page writes what stands out into
# the document: elements beyond the right edge that are in no box of their own that scrolls.
measure() {
    local page=$1 width=$2
    {
        echo "<!DOCTYPE html><html><body style='margin:0'><iframe id='f' style='border:0'" \
             "width='$width' height='900' srcdoc=\""
        sed 's/&/\&amp;/g; s/"/\&quot;/g' "$page"
        cat <<'SCRIPT'
"></iframe><pre id="out">not run</pre><script>
document.getElementById('f').addEventListener('load', function () {
  var d = document.getElementById('f').contentDocument, width = d.documentElement.clientWidth;
  d.querySelectorAll('details').forEach(function (e) { e.open = true; });
  var wide = [];
  d.querySelectorAll('body *').forEach(function (e) {
    if (e.closest('.wide') && !e.classList.contains('wide')) return;
    if (e.closest('svg') && e.tagName.toLowerCase() !== 'svg') return;
    var r = e.getBoundingClientRect();
    if (r.width > 0 && r.right > width + 0.5) wide.push(e.tagName + '.' + e.className);
  });
  document.getElementById('out').textContent = 'measured ' + d.querySelectorAll('section').length +
    ' sections; page ' + (d.documentElement.scrollWidth - width) + ' too wide; wide: ' +
    wide.slice(0, 5).join(' ') + '; scripts ' + d.querySelectorAll('script').length;
});
</script></body></html>
SCRIPT
    } >"$work/frame.html"
    browse --virtual-time-budget=5000 --dump-dom "file://$work/frame.html" |
        sed -n 's/.*<pre id="out">\([^<]*\)<.*/\1/p'
}

look() {
    local name=$1 page=$2 width found
    for width in 360 1280; do
        found=$(measure "$page" $width)
        case $found in
        "measured 0 "*) fail "$name at $width: the page did not load" ;;
        measured*"; page 0 too wide; wide: ; scripts 0") echo "ok: $name at $width: $found" ;;
        *) fail "$name at $width: ${found:-nothing measured: $(tail -n 2 "$work/browser.log")}" ;;
        esac
        browse --window-size=$width,3000 --screenshot="$pictures/$name-$width.png" "file://$page" \
            >/dev/null
        [ -s "$pictures/$name-$width.png" ] || fail "$name at $width: no picture"
    done
    browse --window-size=1280,3000 --blink-settings=preferredColorScheme=0 \
        --screenshot="$pictures/$name-dark.png" "file://$page" >/dev/null
    cmp -s "$pictures/$name-1280.png" "$pictures/$name-dark.png" && fail "$name: dark is light"
}

# A check that cannot fail is none: a page that is too wide is found.
printf '<!DOCTYPE html><html><body><section style="width:500px">x</section></body></html>' \
    >"$work/wide.html"
found=$(measure "$work/wide.html" 360)
if [ -z "$found" ]; then
    echo "skipped: $browser does not run here: $(tail -n 2 "$work/browser.log")"
    exit 77
fi
case $found in
"measured 1 sections; page 1"*"wide: SECTION."*) ;;
*) fail "a page that is too wide was not found: $found" ;;
esac

if ! "$emcell" annotate --quiet -i "$demo/cells.h5ad" -m "$demo/model" --sample 150 \
    --shard-cells 10 --unknown-below 0.6 -o "$work/labels.csv"; then
    fail "annotate"
fi
if "$emcell" report "$work/labels.csv.run" --quiet --groupby embryo -o "$work/run.html"; then
    look run "$work/run.html"
else
    fail "report of a run"
fi
mkdir "$work/evaluation"
cp "$evaluation/evaluation.json" "$work/evaluation/"
if "$emcell" report "$work/evaluation" --quiet; then
    look evaluation "$work/evaluation/report.html"
else
    fail "report of an evaluation"
fi
exit $failed
