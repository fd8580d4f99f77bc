#!/bin/sh
# Compares two builds of strata: pairs of short runs of strata-bench, one build after the other and each time the other one
# first, and for every line the median of the ratios with the interval that holds it with 96 % certainty (nine pairs).
#
#   packaging/bench-pairs.sh OLD NEW [PAIRS] [arguments of strata-bench: suites, --only TEXT ...]
set -eu
old=$1 new=$2
shift 2
pairs=9
case "${1:-}" in
[0-9]*) pairs=$1; shift ;;
esac
bench=${STRATA_BENCH:-$(dirname "$0")/../target/release/strata-bench}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
pair=1
while [ "$pair" -le "$pairs" ]; do
    sides="old new"
    [ $((pair % 2)) = 1 ] || sides="new old"
    for side in $sides; do
        eval "program=\$$side"
        "$bench" "$@" --quick --strata "$program" --json "$out/$pair-$side.json" >"$out/log" 2>&1 || {
            tail -n 20 "$out/log" >&2
            exit 1
        }
    done
    echo "pair $pair of $pairs" >&2
    pair=$((pair + 1))
done
python3 - "$out" <<'PYTHON'
import glob, json, os, statistics, sys

lines = {}
for path in glob.glob(sys.argv[1] + "/*.json"):
    pair, side = os.path.basename(path)[:-5].split("-")
    for figure in map(json.loads, open(path)):
        if str(figure.get("subject", "")).startswith("strata"):
            lines.setdefault((figure["suite"], figure["what"]), {}).setdefault(pair, {})[side] = figure
# The second smallest and second largest of nine hold the median with 96 % certainty.
print(f"{'new : old':<46}{'CPU per op, us':>22}{'ratio':>8}{'interval':>18}{'value, ratio':>14}")
for (suite, what), found in sorted(lines.items()):
    both = [(p["old"], p["new"]) for p in found.values() if len(p) == 2]

    def ratios(field):
        return sorted(new[field] / old[field] for old, new in both if old[field] and new[field])

    cpu, value = ratios("server_cpu_us"), ratios("value")
    if not cpu:
        continue
    cut = 1 if len(cpu) >= 9 else 0
    old, new = (statistics.median(pair[at]["server_cpu_us"] or 0 for pair in both) for at in (0, 1))
    print(
        f"{suite + ' ' + what:<46}{old:>10.1f} {new:>10.1f} {statistics.median(cpu):>8.3f}"
        f"  [{cpu[cut]:.3f}, {cpu[-1 - cut]:.3f}]{statistics.median(value):>12.3f}"
    )
PYTHON
