#!/bin/sh
# Check the models of this folder with Spin, exhaustively within the bounds
# given below. A line of the table is
#
#   model  verdict  definitions
#
# "holds" searches every state and finds no error; "fails" is a broken
# variant, which must be found: one that passes is a failed test.
#
# Usage: run.sh [MODEL...]     all models when none is named
# Needs spin and a C compiler (CC). Exit status 1 when a line is not as it
# should be, 77 when spin is missing.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-cc}
command -v spin >/dev/null 2>&1 || { echo "spin not found"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

table='
refcount holds K1=2 K2=1 K3=0
refcount holds K1=1 K2=1 K3=0 FIN
refcount holds K1=0 K2=0 K3=2 FIN
refcount holds K1=1 K2=1 K3=0 NO_RETRY
refcount holds K1=1 K2=1 K3=0 FIN FIN_TWO_STEPS
refcount fails K1=2 K2=1 K3=0 MERGE_FIRST
refcount fails K1=2 K2=1 K3=0 NO_REREAD
refcount fails K1=2 K2=1 K3=0 FETCH_ADD
refcount fails K1=2 K2=1 K3=0 TRY_UNFLAGGED
refcount fails K1=2 K2=1 K3=0 TWO_OPERATIONS
refcount fails K1=2 K2=1 K3=0 FREE_FIRST
refcount fails K1=0 K2=2 K3=0 DRAIN_BLINDLY
refcount fails K1=2 K2=1 K3=0 ZERO_BLINDLY
refcount fails K1=0 K2=0 K3=2 FIN FIN_FORGETS
refcount fails K1=2 K2=1 K3=0 NON_VACUOUS
queue holds ENTRIES=2 AWAY=1 HOLDS=1
queue fails ENTRIES=2 AWAY=1 HOLDS=1 LOOK_FIRST
queue fails ENTRIES=2 AWAY=1 HOLDS=1 RELEASE_BLINDLY
queue fails ENTRIES=2 AWAY=1 HOLDS=1 DETACH_BLINDLY
queue fails ENTRIES=2 AWAY=1 HOLDS=1 RESUME_BLINDLY
queue fails ENTRIES=2 AWAY=1 HOLDS=1 KEEP_CHUNK
queue fails ENTRIES=2 AWAY=1 HOLDS=1 PUBLISH_ONCE
queue fails ENTRIES=2 AWAY=1 HOLDS=1 RETURN_BLINDLY
queue fails ENTRIES=2 AWAY=1 HOLDS=1 NON_VACUOUS
world holds K=3 STOPS=2
world fails K=2 STOPS=2 LOAD_STORE
world fails K=2 STOPS=2 RETURN_BLINDLY
world fails K=2 STOPS=2 WAITER_RUNS
world fails K=2 STOPS=2 ATTACH_BLINDLY
world fails K=2 STOPS=2 PARKED_RETURNS
world fails K=2 STOPS=2 CLEAR_LATE
world fails K=2 STOPS=2 NO_RETURNING
world fails K=2 STOPS=2 NON_VACUOUS
cycle holds K=3 K1=1
cycle holds K=6 K1=0
cycle holds K=6 K1=0 TRUST_RECORD
cycle holds K=3 K1=1 LATE_CLEAR
cycle holds K=3 K1=1 NO_TOUCH
cycle fails K=3 K1=1 NO_RECOUNT
cycle fails K=3 K1=1 RESCUE
cycle fails K=6 K1=0 TRUST_UNTOUCHED
cycle fails K=3 K1=1 NO_DYING
cycle fails K=3 K1=1 UNHELD
cycle fails K=3 K1=1 NON_VACUOUS_1
cycle fails K=3 K1=1 NON_VACUOUS_2
'

number() { sed -n "$1" "$work/out" | head -1; }

# One line of the table; prints what was searched. Status 1: not as expected.
check()
{
    model=$1 verdict=$2
    shift 2
    define=
    for word; do define="$define -D$word"; done
    # the word splitting is meant
    (cd "$work" && spin -a $define "$here/$model.pml") >"$work/out" 2>&1 &&
        ! grep -q 'rror' "$work/out" || {
        cat "$work/out"
        echo "$model $*: spin refuses it"
        return 1
    }
    # A broken variant is found in a moment: compiling is what takes time.
    optimize=-O1
    [ "$verdict" = holds ] || optimize=-O0
    (cd "$work" &&
        "$cc" -w $optimize -DSAFETY -DMEMLIM=4000 -o pan pan.c) || return 1
    status=0
    (cd "$work" && ./pan -m100000) >"$work/out" 2>&1 || status=$?
    states=$(number 's/^ *\([0-9.e+]*\) states, stored.*/\1/p')
    depth=$(number 's/.*depth reached \([0-9]*\).*/\1/p')
    errors=$(number 's/.*errors: \([0-9]*\).*/\1/p')
    reason=$(number 's/^pan:1: *\(.*\) (at depth.*/\1/p' | cut -c1-60)
    if [ -z "$errors" ] || grep -q 'max search depth too small' "$work/out" ||
        { [ "$errors" = 0 ] && grep -q 'Search not completed' "$work/out"; }
    then
        cat "$work/out"
        echo "$model $*: the search is not complete"
        return 1
    fi
    case $verdict$errors in
    holds0) echo "ok    $model $*: holds, $states states, depth $depth" ;;
    fails0) echo "WRONG $model $*: passes, $states states"; return 1 ;;
    holds*) echo "WRONG $model $*: $reason"; return 1 ;;
    fails*) echo "ok    $model $*: fails at depth $depth: $reason" ;;
    esac
}

failed=0
echo "$table" >"$work/table"
while read -r model verdict define; do
    [ -n "$model" ] || continue
    if [ $# -gt 0 ]; then
        case " $* " in *" $model "*) ;; *) continue ;; esac
    fi
    check "$model" "$verdict" $define </dev/null || failed=1
done <"$work/table"
exit $failed
