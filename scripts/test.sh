#!/bin/sh
# The demo, then the tests: built by gcc for release, hardened, and with the
# address and thread sanitizers, and by clang with the thread sanitizer; in each
# the small heap for 20 seconds and the unit tests; in release the oracle's
# faults, bad input and the models as well. Under 15 minutes on 2 processors.
# All of it is run, so that one failure does not hide another.
set -eu
cd "$(dirname "$0")/.."

presets="release hardened asan tsan tsan-clang"
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

# The oracle's own tests, on the build that is shipped. A run of two seconds
# fails when it happens not to take one of its mix's paths: hence once more.
say "release: every mix, bad input, and faults that must be found"
ctest --preset release --label-regex "stress|mutant" --repeat until-pass:2 ||
    failed="$failed oracle"

# The protocols' models, with small bounds, and every broken variant of them.
say "models"
ctest --preset release --label-regex model_quick -j 2 || failed="$failed models"

for preset in release asan; do
    say "$preset: tests, collected in one stop, but for those of the other way"
    GYRE_OPTIONS=gc.concurrent=0 ctest --preset $preset --label-regex unit \
        --exclude-regex "concurrent|interleavings|interrupted|closed" ||
        failed="$failed tests-$preset-stop"
done

for preset in $presets; do
    say "$preset: tests"
    ctest --preset "$preset" --label-regex unit ||
        failed="$failed tests-$preset"
done
if [ -n "$failed" ]; then
    say "failed:$failed"
    exit 1
fi
