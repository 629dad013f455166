#!/bin/sh
# The main job from nothing: install what is missing, build for release, and
# put the bundled heap of a real program through gyre, watched by the oracle.
# Further arguments go to gyre-stress: scripts/demo.sh --mix weak --seed 7
set -eu
cd "$(dirname "$0")/.."

scripts/install-deps.sh
cmake --preset release
cmake --build --preset release

build/release/stress/gyre-stress replay stress/heaps/node.heapsnapshot.gz \
    --threads 2 --seconds 20 --verify "$@"
