#!/bin/sh
# The demo, then the tests: built by gcc for release and with the address and
# thread sanitizers, and by clang with the thread sanitizer; in each the small
# heap for 20 seconds and the unit tests; in release the oracle's faults and bad
# input as well. Under 15 minutes on 2 processors.
# All of it is run, so that one failure does not hide another.
set -eu
cd "$(dirname "$0")/.."

presets="release asan tsan tsan-clang"
started=$(date +%s)
failed=

say()
{
    printf '\n== %s (%d s)\n' "$*" $(($(date +%s) - started))
}

scripts/install-deps.sh --all
say "release: build and demo"
scripts/demo.sh || failed="$failed demo"

for preset in $presets; do
    [ "$preset" != release ] || continue
    say "$preset: build and replay"
    cmake --preset "$preset" >/dev/null
    cmake --build --preset "$preset"
    "build/$preset/stress/gyre-stress" replay \
        stress/heaps/node.heapsnapshot.gz --threads 2 --seconds 20 --verify ||
        failed="$failed replay-$preset"
done

for preset in $presets; do
    say "$preset: tests"
    labels=unit
    # the oracle's own tests once, on the build that is shipped
    [ "$preset" != release ] || labels="unit|stress|mutant"
    ctest --preset "$preset" --label-regex "$labels" ||
        failed="$failed tests-$preset"
done
if [ -n "$failed" ]; then
    say "failed:$failed"
    exit 1
fi
