#!/bin/sh
# Real programs on libgyre-malloc.so: each is run with and without it, and the
# exit status and the output are compared. Says which passed; status 1 when
# one did not.
#   malloc-programs.sh [BUILD]    the build's directory: build/release
# What is not installed is skipped, and said: install-deps.sh --programs.
set -u
cd "$(dirname "$0")/.."
export source_dir=$PWD
script=$source_dir/scripts/malloc-programs.sh
if [ "${1:-}" = --run ]; then # by itself: a program, in a folder
    cd "$3" || exit 2
    program=$2
else
    program=
fi

# ---- the programs. Each is run in an empty folder, with LD_PRELOAD set or
# ---- not, and prints what is to be compared.

# One that has its own tests.
find_python()
{
    for python in python3 /usr/bin/python3; do
        "$python" -c 'import test.test_threading' 2>/dev/null && return
    done
    return 1
}

run_python()
{
    find_python || return
    # every object by malloc, not by Python's own allocator
    PYTHONMALLOC=malloc "$python" -m unittest -v test.test_threading 2>&1 |
        grep -E '^(test_.* \.\.\. |FAIL:|ERROR:|OK|FAILED)' | sed 's/ \.\.\. .*//'
}

run_git()
{
    export HOME="$PWD" GIT_CONFIG_NOSYSTEM=1
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a \
        GIT_COMMITTER_EMAIL=a@b GIT_AUTHOR_DATE="1700000000 +0000" \
        GIT_COMMITTER_DATE="1700000000 +0000"
    git init -q -b main repo && cd repo || return
    cp -r "$source_dir/src" "$source_dir/docs" .
    git add . && git commit -q -m first
    i=0
    while [ $i -lt 40 ]; do
        echo "$i" >>"src/file$((i % 7))"
        seq "$i" 2000 >"docs/numbers$((i % 5))"
        git add . && git commit -q -m "commit $i"
        i=$((i + 1))
    done
    git checkout -q -b side HEAD~20 && echo side >side && git add side &&
        git commit -q -m side && git checkout -q main &&
        git merge -q -m merged side
    git gc -q --aggressive && git fsck --full --strict 2>&1
    git log --stat --format=%H | cksum
    git grep -c static | cksum
    git blame docs/numbers3 | cksum
    git clone -q . ../other && git -C ../other rev-parse HEAD
}

run_sqlite()
{
    sqlite3 load.db <<'SQL'
CREATE TABLE item(id INTEGER PRIMARY KEY, word TEXT, size INTEGER, kind INT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000)
INSERT INTO item SELECT i, printf('word %d %s', i * 7919 % 100003,
    substr('abcdefghijklmnopqrstuvwxyz', i % 20 + 1, i % 7)),
    i * 31 % 1009, i % 17 FROM n;
CREATE INDEX by_word ON item(word);
CREATE INDEX by_kind ON item(kind, size);
SELECT count(*), sum(size), max(word) FROM item;
SELECT kind, count(DISTINCT size), avg(size) FROM item GROUP BY kind;
SELECT a.word, count(*) FROM item a JOIN item b ON a.size = b.size
    AND a.kind = b.kind WHERE a.id < 2000 GROUP BY a.word ORDER BY 2 DESC, 1
    LIMIT 10;
BEGIN;
UPDATE item SET word = upper(word) || word WHERE kind IN (1, 5, 9);
DELETE FROM item WHERE size % 3 = 0;
COMMIT;
SELECT group_concat(word, ',') FROM (SELECT word FROM item ORDER BY word DESC
    LIMIT 20);
WITH RECURSIVE fib(a, b) AS (SELECT 0, 1 UNION ALL SELECT b, a + b FROM fib
    LIMIT 80) SELECT max(a) FROM fib;
VACUUM;
PRAGMA integrity_check;
SELECT count(*), total(size), sum(length(word)) FROM item;
SQL
}

run_gcc()
{
    gcc -std=gnu11 -O2 -Wall -I"$source_dir/include" -I"$source_dir/src" \
        -I"$source_dir" -c "$source_dir/src/heap.c" -o heap.o && cksum heap.o
    g++ -std=c++17 -O1 -I"$source_dir/include" -c \
        "$source_dir/tests/malloc/test_operators.cc" -o operators.o &&
        cksum operators.o
}

redis()
{
    redis-cli -p "$port" "$@"
}

# Under load, with a save, which forks, in between.
run_redis()
{
    port=$((20000 + $$ % 20000))
    redis-server --port "$port" --bind 127.0.0.1 --save '' --appendonly no \
        --enable-debug-command yes --io-threads 2 --dir "$PWD" \
        --logfile "$PWD/log" &
    server=$!
    trap 'kill $server 2>/dev/null' EXIT
    until [ "$(redis ping 2>/dev/null)" = PONG ]; do
        kill -0 "$server" || return # it did not begin to listen
    done
    redis-benchmark -p "$port" -q -n 10000 -c 20 -P 4 -r 5000 -d 200 \
        -t set,get,incr,lpush,rpush,lpop,sadd,hset,spop,zadd,mset |
        tr '\r' '\n' | sed -n 's/: .*requests per second.*//p'
    redis bgsave >/dev/null
    redis-benchmark -p "$port" -q -n 3000 -c 10 -t lrange_100,set |
        tr '\r' '\n' | sed -n 's/: .*requests per second.*//p'
    while redis info persistence | grep -q 'bgsave_in_progress:1'; do
        continue
    done
    redis info persistence | grep last_bgsave_status
    redis flushall
    seq 30000 | sed 's/.*/SET key:& value:&:&:&/' | redis | sort | uniq -c
    seq 2000 | sed 's/.*/ZADD sorted & member:&/' | redis | sort | uniq -c
    seq 1 3 30000 | sed 's/.*/DEL key:&/' | redis | sort | uniq -c
    redis memory purge
    redis debug digest
    redis shutdown nosave
    wait "$server"
    echo "server: $?"
    trap - EXIT
}

run_storm()
{
    "$build/tests/malloc/malloc_storm" 30
}

if [ -n "$program" ]; then
    "run_$program"
    exit
fi

# ---- with and without

export build
build=$(cd "${1:-build/release}" && pwd) || exit 2
library=$build/libgyre-malloc.so
if [ ! -e "$library" ]; then
    echo "malloc-programs.sh: no $library; please build it first" >&2
    exit 2
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
failed=0

# one_way NAME FOLDER [LIBRARY]: its output and status in FOLDER.out
one_way()
{
    mkdir -p "$work/$2"
    env ${3:+LD_PRELOAD="$3"} timeout 300 "$script" --run "$1" "$work/$2" \
        >"$work/$2.out" 2>"$work/$2.err"
    echo "status $?" >>"$work/$2.out"
}

# What is not there, or cannot be preloaded, would compare equal.
is_preloaded()
{
    LD_PRELOAD=$library "$1" -c 'grep -c libgyre-malloc /proc/self/maps' \
        >/dev/null 2>&1
}

# compare NAME PROGRAM...: the run's name and what it needs
compare()
{
    name=$1
    shift
    for program in "$@"; do
        if ! command -v "$program" >/dev/null; then
            printf '%-8s skipped: no %s here\n' "$name" "$program"
            return
        fi
    done
    begun=$(date +%s%N)
    one_way "$name" "$name-without"
    middle=$(date +%s%N)
    one_way "$name" "$name-with" "$library"
    ended=$(date +%s%N)
    if cmp -s "$work/$name-without.out" "$work/$name-with.out" &&
        [ "$(wc -l <"$work/$name-with.out")" -gt 1 ]; then
        printf '%-8s passed: %d lines the same, %d ms with, %d without\n' \
            "$name" "$(wc -l <"$work/$name-with.out")" \
            $(((ended - middle) / 1000000)) $(((middle - begun) / 1000000))
    else
        failed=1
        printf '%-8s FAILED\n' "$name"
        diff "$work/$name-without.out" "$work/$name-with.out" | head -20
        head -20 "$work/$name-with.err"
    fi
}

is_preloaded sh || {
    echo "malloc-programs.sh: $library is not loaded by LD_PRELOAD" >&2
    exit 2
}
if find_python; then
    compare python "$python"
else
    echo "python   skipped: no python3 with its tests here"
fi
compare git git
compare sqlite sqlite3
compare gcc gcc g++
compare redis redis-server redis-cli redis-benchmark
compare storm "$build/tests/malloc/malloc_storm"
exit $failed
