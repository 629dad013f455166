#!/bin/sh
# Install what is missing of what the build needs: Debian 12 or later.
#   install-deps.sh          gcc, cmake and the libraries: builds and runs
#   install-deps.sh --all    clang, spin as well: for scripts/test.sh
#   install-deps.sh --programs    what scripts/malloc-programs.sh runs
#   install-deps.sh --peers  the allocators that gyre-bench measures beside
set -eu

packages="gcc g++ libc6-dev cmake ninja-build pkg-config python3
          liburcu-dev libcmocka-dev libyajl-dev zlib1g-dev"
if [ "${1:-}" = "--all" ]; then
    packages="$packages clang libclang-rt-14-dev llvm valgrind libjs-chart.js
              spin"
elif [ "${1:-}" = "--programs" ]; then
    packages="$packages libpython3.11-testsuite git sqlite3 redis-server
              redis-tools"
elif [ "${1:-}" = "--peers" ]; then
    packages="$packages libmimalloc2.0 libjemalloc2 libgoogle-perftools4 libgc-dev"
fi

if ! command -v dpkg-query >/dev/null; then
    echo "install-deps.sh: not a Debian system; please install:" $packages >&2
    exit 1
fi

missing=
for package in $packages; do
    status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) ||
        status=absent
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo"
fi
echo "installing:$missing"
$as_root env DEBIAN_FRONTEND=noninteractive apt-get -q update
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -y --no-install-recommends install $missing
