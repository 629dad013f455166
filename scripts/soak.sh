#!/bin/sh
# Long runs: every heap given, and the bundled one, with 1, 2 and 8 threads,
# in release, asan and tsan builds. Each run's JSON, with date, commit and
# machine, is a line of a new file in bench/results/.
#   soak.sh [--seconds S] [--presets "release asan tsan"] [--threads "1 2 8"]
#           [--collector stop|concurrent] [HEAP...]
set -eu
cd "$(dirname "$0")/.."

seconds=60
presets="release asan tsan"
counts="1 2 8"
collector=concurrent
heaps=stress/heaps/node.heapsnapshot.gz
while [ $# -gt 0 ]; do
    case $1 in
    --seconds)
        seconds=$2
        shift 2
        ;;
    --presets)
        presets=$2
        shift 2
        ;;
    --threads)
        counts=$2
        shift 2
        ;;
    --collector)
        collector=$2
        shift 2
        ;;
    -*)
        echo "usage: $0 [--seconds S] [--presets NAMES] [--threads NUMBERS]" \
            "[--collector NAME] [HEAP...]" >&2
        exit 2
        ;;
    *)
        heaps="$heaps
$1"
        shift
        ;;
    esac
done

commit=$(git describe --always --dirty 2>/dev/null || echo unknown)
machine="$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
machine="${machine:-$(uname -m)}, $(nproc) processors"
results=bench/results/soak-$(date -u +%Y%m%d-%H%M%S)-$commit.jsonl
mkdir -p bench/results

for preset in $presets; do
    cmake --preset "$preset" >/dev/null
    cmake --build --preset "$preset" --target gyre-stress
done

failed=0
IFS='
'
for heap in $heaps; do
    for preset in $(echo "$presets" | tr ' ' '\n'); do
        for threads in $(echo "$counts" | tr ' ' '\n'); do
            printf '%s: %s, %d threads, %s: ' "$preset" \
                "$(basename "$heap")" "$threads" "$collector"
            status=0
            json=$("build/$preset/stress/gyre-stress" replay "$heap" \
                --threads "$threads" --seconds "$seconds" \
                --collector "$collector" --verify --json) ||
                status=$?
            verdict=$(JSON=$json python3 scripts/soak-row.py "$results" \
                "date=$(date -u +%Y-%m-%dT%H:%M:%SZ)" "commit=$commit" \
                "machine=$machine" "preset=$preset" \
                "collector=$collector" \
                "heap=$(basename "$heap")" "status=$status")
            echo "$verdict"
            [ "$status" = 0 ] && [ "$verdict" = clean ] || failed=1
        done
    done
done
echo "results: $results"
exit $failed
