#!/bin/sh
# Check the models of this folder with Spin, exhaustively within the bounds
# given below. Memory is sequentially consistent in all of them. A line of the
# table is
#
#   set  model  verdict  definitions
#
# "holds" searches every state and finds no error; "fails" is a broken
# variant, which must be found: one that passes is a failed test. The set
# "quick" has every broken variant and small bounds of what holds; "full" has
# the large bounds.
#
# Usage: run.sh [quick|full|all] [MODEL...]    all of all when none is named
#        run.sh trail MODEL DEFINITION...      a short way to an error
# Needs spin and a C compiler (CC). Exit status 1 when a line is not as it
# should be, 77 when spin is missing.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
cc=${CC:-cc}
command -v spin >/dev/null 2>&1 || { echo "spin not found"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT INT TERM

table='
quick refcount holds K1=1 K2=0 K3=0
full refcount holds K1=1 K2=1 K3=0
quick refcount holds K1=0 K2=0 K3=2 FIN
full refcount holds K1=2 K2=1 K3=0
full refcount holds K1=1 K2=1 K3=0 FIN
full refcount holds K1=1 K2=1 K3=0 NO_RETRY
full refcount holds K1=1 K2=1 K3=0 FIN FIN_TWO_STEPS
quick refcount fails K1=2 K2=1 K3=0 MERGE_FIRST
quick refcount fails K1=2 K2=1 K3=0 NO_REREAD
quick refcount fails K1=2 K2=1 K3=0 FETCH_ADD
quick refcount fails K1=2 K2=1 K3=0 TRY_UNFLAGGED
quick refcount fails K1=2 K2=1 K3=0 TWO_OPERATIONS
quick refcount fails K1=2 K2=1 K3=0 FREE_FIRST
quick refcount fails K1=0 K2=2 K3=0 DRAIN_BLINDLY
quick refcount fails K1=2 K2=1 K3=0 ZERO_BLINDLY
quick refcount fails K1=0 K2=0 K3=2 FIN FIN_FORGETS
quick refcount fails K1=2 K2=1 K3=0 NON_VACUOUS
quick queue holds ENTRIES=1 AWAY=1 HOLDS=1
full queue holds ENTRIES=2 AWAY=1 HOLDS=1
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 LOOK_FIRST
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 RELEASE_BLINDLY
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 DETACH_BLINDLY
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 RESUME_BLINDLY
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 KEEP_CHUNK
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 PUBLISH_ONCE
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 TAKEN_BLINDLY
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 RETURN_BLINDLY
quick queue fails ENTRIES=2 AWAY=1 HOLDS=1 NON_VACUOUS
quick world holds K=2 STOPS=2
full world holds K=4 STOPS=2
quick world fails K=2 STOPS=2 LOAD_STORE
quick world fails K=2 STOPS=2 RETURN_BLINDLY
quick world fails K=2 STOPS=2 WAITER_RUNS
quick world fails K=2 STOPS=2 ATTACH_BLINDLY
quick world fails K=2 STOPS=2 PARK_UNLOCKED
quick world fails K=2 STOPS=2 PARKED_RETURNS
quick world fails K=2 STOPS=2 CLEAR_LATE
quick world fails K=2 STOPS=2 NO_RETURNING
quick world fails K=2 STOPS=2 NON_VACUOUS
quick cycle holds K=2 K1=1
quick cycle holds K=3 K1=0
full cycle holds K=3 K1=1
full cycle holds K=6 K1=0
full cycle holds K=6 K1=0 TRUST_RECORD
full cycle holds K=3 K1=1 LATE_CLEAR
full cycle holds K=3 K1=1 NO_TOUCH
quick cycle fails K=3 K1=1 NO_RECOUNT
quick cycle fails K=3 K1=1 RESCUE
quick cycle fails K=6 K1=0 TRUST_UNTOUCHED
quick cycle fails K=3 K1=1 NO_DYING
quick cycle fails K=3 K1=1 UNHELD
quick cycle fails K=3 K1=1 NON_VACUOUS_1
quick cycle fails K=3 K1=1 NON_VACUOUS_2
quick open holds K=2 K1=1
full open holds K=4 K1=4
full open holds K=2 K1=2 BLOCKS=2
full open holds K=2 K1=1 CYCLES=3
quick open fails K=2 K1=2 ANNOUNCE_FIRST
quick open fails K=2 K1=2 AGES_FIRST
quick open fails K=2 K1=2 REUSE_AT_ONCE
quick open fails K=2 K1=2 LEAVE_FLUSHES
quick open fails K=2 K1=2 LOAD_FIRST
quick open fails K=2 K1=2 NO_CLAIM
quick open fails K=2 K1=2 LEFT_EARLY
quick open fails K=2 K1=2 UNARM_LATE
quick open fails K=2 K1=2 KEEP_FREED
quick open fails K=2 K1=2 RESTAMP_STORE
quick open fails K=2 K1=2 RESTAMP_EARLY
quick open fails K=2 K1=2 NON_VACUOUS
quick prove holds K=2 K1=1 SHAPES=2
quick prove holds K=2 K1=2 SHAPES=2 COARSE
quick prove holds K=1 K1=0 SHAPES=2 FINAL
full prove holds K=4 K1=4 SHAPES=6 COARSE
full prove holds K=3 K1=3 SHAPES=6 EXTERNALS=10 COARSE
full prove holds K=2 K1=2 SHAPES=2 EXTERNALS=10
full prove holds K=2 K1=2 SHAPES=2 MEMBERS=2
full prove holds K=2 K1=2 SHAPES=2 MEMBERS=1 COARSE
full prove holds K=2 K1=1 SHAPES=6 WEAKS=2
full prove holds K=1 K1=1 SHAPES=2 FINAL
full prove holds K=3 K1=2 SHAPES=1 FINAL COARSE
full prove holds K=2 K1=2 SHAPES=3 FINAL COARSE
quick prove holds K=2 K1=1 SHAPES=2 CLOSED FLAGS_ONCE
quick prove holds K=1 K1=0 SHAPES=2 FINAL CLOSED
full prove holds K=2 K1=2 SHAPES=2 EXTERNALS=10 CLOSED FLAGS_ONCE
full prove holds K=2 K1=1 SHAPES=6 WEAKS=2 CLOSED FLAGS_ONCE
full prove holds K=1 K1=1 SHAPES=2 FINAL CLOSED FLAGS_ONCE
full prove holds K=2 K1=1 SHAPES=2 EXTERNALS=10 CLOSED FLAGS_ONCE LOCK_LATE
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 CLOSED LOCK_FIRST
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 CLOSED FLAGS_ONCE OPEN_EARLY
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 CLOSED NON_VACUOUS_1
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 RESCUE
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 FLAGS_FIRST
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 MOVE_UNTOUCHED
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 NO_TOUCH
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 ARM_RUNNING
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 TWO_OPERATIONS
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 SECOND_PASS
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 DROP_PART
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 FLAGS_ONCE
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 WEAK_BLIND
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 WEAK_NO_LOCK
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 GET_PLAINLY
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 NON_VACUOUS_1
quick prove fails K=2 K1=1 SHAPES=2 EXTERNALS=10 NON_VACUOUS_2
quick prove fails K=2 K1=1 SHAPES=2 FINAL NO_STOP_AGAIN
quick prove fails K=2 K1=1 SHAPES=2 FINAL OLD_PROOF
quick prove fails K=2 K1=1 SHAPES=2 FINAL FINALIZED_FIRST
quick prove fails K=2 K1=1 SHAPES=2 FINAL UNTRIED
quick prove fails K=2 K1=1 SHAPES=2 FINAL NON_VACUOUS_1
quick page holds BLOCKS=2 ACTS=6
full page holds BLOCKS=3 ACTS=14
full page holds BLOCKS=4 ACTS=12
quick page fails BLOCKS=2 ACTS=7 TOUCH_LATER
quick page fails BLOCKS=2 ACTS=7 CLOSE_BLINDLY
quick page fails BLOCKS=2 ACTS=7 PUSH_UNLOCKED
quick page fails BLOCKS=2 ACTS=7 KEEP_OPEN
quick page fails BLOCKS=2 ACTS=7 OPEN_BLINDLY
quick page fails BLOCKS=2 ACTS=7 NON_VACUOUS_1
quick page fails BLOCKS=2 ACTS=7 NON_VACUOUS_2
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
    # A broken variant is found in a moment: compiling is what takes time, a
    # minute and more for some with any optimization.
    flags="-O2 -DCOLLAPSE"
    [ "$verdict$set" = holdsfull ] || flags=-O0
    (cd "$work" &&
        "$cc" -w $flags -DSAFETY -DMEMLIM=6000 -o pan pan.c) || return 1
    began=$(date +%s)
    (cd "$work" && nice -n 10 ./pan -m100000) >"$work/out" 2>&1 || true
    took=$(($(date +%s) - began))
    megabytes=$(number 's/^ *\([0-9.]*\).*total actual memory usage.*/\1/p')
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
    holds0) echo "ok    $model $*: holds, $states states," \
        "depth $depth, $took s, ${megabytes%.*} MB" ;;
    fails0) echo "WRONG $model $*: passes, $states states"; return 1 ;;
    holds*) echo "WRONG $model $*: $reason"; return 1 ;;
    fails*) echo "ok    $model $*: fails at depth $depth: $reason" ;;
    esac
}

# Shorten the trail again and again, print the statements of the last one.
trail()
{
    model=$1
    shift
    define=
    for word; do define="$define -D$word"; done
    cd "$work"
    spin -a $define "$here/$model.pml"
    "$cc" -w -O1 -DSAFETY -DREACH -DMEMLIM=3000 -o pan pan.c
    timeout 120 nice -n 19 ./pan -i -m1000 >out 2>&1 || true
    spin -t -k "$model.pml.trail" -p -g -l $define "$here/$model.pml" |
        sed "s,$here/,,"
}

wanted=all
case ${1-} in
quick | full | all) wanted=$1; shift ;;
trail) shift; trail "$@"; exit 0 ;;
esac
failed=0
echo "$table" >"$work/table"
while read -r set model verdict define; do
    [ -n "$set" ] || continue
    [ "$wanted" = all ] || [ "$wanted" = "$set" ] || continue
    if [ $# -gt 0 ]; then
        case " $* " in *" $model "*) ;; *) continue ;; esac
    fi
    check "$model" "$verdict" $define </dev/null || failed=1
done <"$work/table"
exit $failed
