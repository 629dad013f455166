/* A collection in one stop, or in two with finalizers between them.
 * docs/design/cycle.md .cycle.arm .prove.exact .cycle.commit, weakref.md
 *
 * Objects 1 and 2 have slots A and B; object 0 stands for the roots of the
 * program and has slot A. Object 1 may be weakly referenced. Mutators have
 * two registers each, take, move and drop references, and get the weak one.
 *
 * The collector stops the world, finds the set of unreachable objects and,
 * when one of them has a finalizer that has not run, arms the set and takes
 * a reference to each that is to be finalized. The finalizers run with the
 * world running. In a second stop the members that still live are counted
 * anew, what is held from outside the set is dropped with all it reaches,
 * and the rest is committed. Otherwise all of it is committed in the first
 * stop. Then the members release what they had.
 *
 * Checked: a mutator never has a dying or dead object in hand; a committed
 * set is exactly what is unreachable of the members; an object dies once.
 *
 * Bounds: K operations of the first mutator, K1 of the second.
 *
 * Broken variants, each of which must fail:
 *   NO_RECOUNT      the second stop commits what is still ARMED
 *   RESCUE          the second stop keeps what was touched, and what that
 *                   reaches, in place of a recount
 *   TRUST_UNTOUCHED TRUST_RECORD, with moves that do not touch the holder
 *   NO_DYING        LATE_CLEAR, with a weak get that ignores DYING
 *   UNHELD          finalizers run without a reference of the collector's
 *   NON_VACUOUS_1   claims that nothing is committed in the first stop
 *   NON_VACUOUS_2   claims that nothing is committed in the second
 * Variants that must hold:
 *   TRUST_RECORD    of members still ARMED, the count and the edges recorded
 *                   in the first stop are used in the second
 *   LATE_CLEAR      weak references are cleared after the stop: DYING is
 *                   enough to refuse a weak get meanwhile
 *   NO_TOUCH        moves don't touch the holder, while the second stop
 *                   trusts no record: .slot.touch is for what comes later */
#ifndef K
#define K 3
#endif
#ifndef K1
#define K1 1
#endif
#ifdef TRUST_UNTOUCHED
#define TRUST_RECORD
#define NO_TOUCH
#endif
#ifdef NO_DYING
#define LATE_CLEAR
#endif
#if defined(NO_RECOUNT) || defined(RESCUE) || defined(TRUST_UNTOUCHED)
#define INEXACT /* must fail by freeing what is reachable, not by keeping */
#endif

byte A[3], B[3], count[3];
bit armed[3], dying[3], dead[3];
byte target = 0;                 /* of the weak reference */
byte r0[2], r1[2];               /* registers, counted references */
bit busy[2], wanted = 0;         /* between safepoints; a stop is wanted */
/* the collector's */
bit finalizes[3], holds[3], set[3], live[3];
byte edges[3], recorded[3], recA[3], recB[3];

#ifdef NO_TOUCH
#define TOUCH(h) skip
#else
#define TOUCH(h) armed[h] = 0
#endif

inline incref(x) { count[x]++; armed[x] = 0 }

/* All in one step: counts by themselves are refcount.pml's matter. */
inline decref_leaf(y)
{
    if
    :: y != 0 ->
        count[y]--;
        armed[y] = 0;
        if
        :: count[y] == 0 && !dying[y] ->
            assert(!dead[y] && A[y] == 0 && B[y] == 0);
            dead[y] = 1;
            if :: target == y -> target = 0 :: else fi
        :: else
        fi
    :: else
    fi
}
inline decref(x)
{
    assert(count[x] > 0);
    count[x]--;
    armed[x] = 0;
    if
    :: count[x] == 0 && !dying[x] ->
        assert(!dead[x]);
        dead[x] = 1;
        if :: target == x -> target = 0 :: else fi;
        t = A[x]; A[x] = 0;
        u = B[x]; B[x] = 0;
        /* what it referred to has no edge to it, or it would live; so the
         * other object dies without edges of its own, or lives on */
        if
        :: t != 0 && count[t] - (t == u) == 1 ->
            assert(A[t] == 0 || A[t] == t);
            v = A[t]; A[t] = 0; w = B[t]; B[t] = 0;
            decref_leaf(t); decref_leaf(u); decref_leaf(v); decref_leaf(w)
        :: else ->
            decref_leaf(t); decref_leaf(u)
        fi;
        t = 0; u = 0; v = 0; w = 0
    :: else
    fi
}

#define USABLE(h) (!dying[h] && !dead[h])

proctype Mutator(byte m; byte limit)
{
    byte n = 0, h = 0, b = 0, t = 0, u = 0, v = 0, w = 0;
    do
    :: n < limit ->
        atomic { !wanted -> busy[m] = 1; n++ };
        atomic {
            if
            :: h = 0
            :: r0[m] != 0 -> h = r0[m]
            fi;
            assert(USABLE(h))
        };
        if
        :: r1[m] == 0 -> /* take a reference to what a slot holds */
            atomic {
                if
                :: A[h] != 0 -> r1[m] = A[h]; incref(r1[m]);
                    assert(USABLE(r1[m]))
                :: else
                fi }
        :: r1[m] == 0 -> /* gyre_slot_take: touch, then write */
            TOUCH(h);
            atomic { r1[m] = A[h]; A[h] = 0 }
        :: r1[m] == 0 && h != 0 ->
            TOUCH(h);
            atomic { r1[m] = B[h]; B[h] = 0 }
        :: r1[m] != 0 -> /* gyre_slot_move into an empty slot */
            TOUCH(h);
            atomic {
                if :: A[h] == 0 -> A[h] = r1[m]; r1[m] = 0 :: else fi }
        :: r1[m] != 0 && h != 0 ->
            TOUCH(h);
            atomic {
                if :: B[h] == 0 -> B[h] = r1[m]; r1[m] = 0 :: else fi }
        :: r1[m] != 0 ->
            atomic { b = r1[m]; r1[m] = 0; decref(b); b = 0 }
        :: atomic { b = r0[m]; r0[m] = r1[m]; r1[m] = b; b = 0 }
        :: r1[m] == 0 && target != 0 -> /* gyre_weakref_get */
            b = target;
            if
#ifdef NO_DYING
            :: atomic { b != 0 && !dead[b] ->
#else
            :: atomic { b != 0 && !dead[b] && !dying[b] ->
#endif
                    incref(b); r1[m] = b };
                if
                :: atomic { target == b -> assert(USABLE(b)) }
                :: else -> atomic { r1[m] = 0; decref(b) }
                fi
            :: else
            fi;
            b = 0
        fi;
        atomic { h = 0; busy[m] = 0 }
    :: n >= limit -> break
    od
}

inline stop() { wanted = 1; (!busy[0] && !busy[1]) }

/* Edges of the set, from scratch. */
inline count_edge(f) { if :: f != 0 && set[f] -> edges[f]++ :: else fi }
inline count_set(from_record)
{
    edges[1] = 0; edges[2] = 0;
    x = 1;
    do
    :: x <= 2 ->
        if
        :: set[x] && from_record && armed[x] ->
            count_edge(recA[x]); count_edge(recB[x])
        :: set[x] && !(from_record && armed[x]) ->
            count_edge(A[x]); count_edge(B[x])
        :: else
        fi;
        x++
    :: else -> break
    od
}

/* Drop `y` and what it reaches. */
inline drop(y)
{
    set[y] = 0;
    if :: A[y] != 0 -> set[A[y]] = 0 :: else fi;
    if :: B[y] != 0 -> set[B[y]] = 0 :: else fi
}

/* What has more references than edges from the set is held from outside. */
inline drop_held()
{
    if
    :: set[1] && count[1] != edges[1] && !set[2] -> set[1] = 0
    :: set[2] && count[2] != edges[2] && !set[1] -> set[2] = 0
    :: set[1] && set[2] && count[1] != edges[1] && count[2] != edges[2] ->
        set[1] = 0; set[2] = 0
    :: set[1] && set[2] && count[1] != edges[1] && count[2] == edges[2] ->
        drop(1)
    :: set[1] && set[2] && count[1] == edges[1] && count[2] != edges[2] ->
        drop(2)
    :: else
    fi
}

#define IN_HAND(y) (r0[0] == y || r1[0] == y || r0[1] == y || r1[1] == y || \
                    A[0] == y || holds[y])
#define POINTS(a, b) (A[a] == b || B[a] == b)
#define REACHED(y, o) (IN_HAND(y) || \
                       (!dead[o] && IN_HAND(o) && POINTS(o, y)))

inline commit()
{
    assert(!set[1] || (was[1] && !dead[1] && !REACHED(1, 2)));
    assert(!set[2] || (was[2] && !dead[2] && !REACHED(2, 1)));
#ifndef INEXACT
    assert(set[1] || !was[1] || dead[1] || REACHED(1, 2));
    assert(set[2] || !was[2] || dead[2] || REACHED(2, 1));
#endif
    x = 1;
    do
    :: x <= 2 ->
        if
        :: set[x] ->
            dying[x] = 1;
            armed[x] = 0;
#ifndef LATE_CLEAR
            if :: target == x -> target = 0 :: else fi
#endif
        :: else -> armed[x] = 0
        fi;
        x++
    :: else -> break
    od;
    x = 0
}

proctype Collector()
{
    byte x = 0, y = 0, t = 0, u = 0, v = 0, w = 0;
    bit was[3];
    stop();
    atomic {
        was[1] = !dead[1]; was[2] = !dead[2];
        set[1] = was[1]; set[2] = was[2];
        count_set(0);
        drop_held();
        was[1] = set[1]; was[2] = set[2];
        if
        :: !(set[1] && finalizes[1]) && !(set[2] && finalizes[2]) ->
            commit();
#ifdef NON_VACUOUS_1
            assert(!set[1] && !set[2]);
#endif
        :: else ->
            x = 1;
            do
            :: x <= 2 ->
                if
                :: set[x] ->
#ifndef UNHELD
                    if
                    :: finalizes[x] -> count[x]++; holds[x] = 1
                    :: else
                    fi;
#endif
                    armed[x] = 1;
                    recorded[x] = count[x]; recA[x] = A[x]; recB[x] = B[x]
                :: else
                fi;
                x++
            :: else -> break
            od;
            x = 3
        fi;
        wanted = 0
    };
    if
    :: x == 3 ->
        x = 1;
        do
        :: x <= 2 ->
            if
            :: set[x] && finalizes[x] ->
                /* user code: may keep the object or a peer, may break the
                 * cycle, may do nothing */
                atomic {
                    assert(!dead[x]);
                    if
                    :: A[0] == 0 -> A[0] = x; incref(x)
                    :: A[0] == 0 && A[x] != 0 -> A[0] = A[x]; incref(A[x])
                    :: A[x] != 0 -> TOUCH(x); y = A[x]; A[x] = 0;
                        decref(y); y = 0
                    :: skip
                    fi
                };
#ifndef UNHELD
                atomic { holds[x] = 0; decref(x) }
#endif
            :: else
            fi;
            x++
        :: else -> break
        od;
        stop();
        atomic {
            if :: dead[1] -> set[1] = 0 :: else fi;
            if :: dead[2] -> set[2] = 0 :: else fi;
#ifdef NO_RECOUNT
            if :: !armed[1] -> set[1] = 0 :: else fi;
            if :: !armed[2] -> set[2] = 0 :: else fi;
#else
#ifdef RESCUE
            if
            :: set[1] && !armed[1] && !finalizes[1] -> drop(1)
            :: else
            fi;
            if
            :: set[2] && !armed[2] && !finalizes[2] -> drop(2)
            :: else
            fi;
            if
            :: set[1] && A[0] == 1 -> drop(1)
            :: set[2] && A[0] == 2 -> drop(2)
            :: else
            fi;
#else
#ifdef TRUST_RECORD
            assert(!set[1] || !armed[1] || recorded[1] == count[1]);
            assert(!set[2] || !armed[2] || recorded[2] == count[2]);
            count_set(1);
#else
            count_set(0);
#endif
            drop_held();
#endif
#endif
            commit();
#ifdef NON_VACUOUS_2
            assert(!set[1] && !set[2]);
#endif
            wanted = 0
        }
    :: else
    fi;
#ifdef LATE_CLEAR
    if :: atomic { target != 0 && set[target] -> target = 0 } :: else fi;
#endif
    /* RECLAIM: what members refer to; edges among them only go */
    x = 1;
    do
    :: x <= 2 ->
        if
        :: set[x] ->
            atomic { y = A[x]; A[x] = 0;
                if :: y != 0 && !set[y] -> decref(y) :: else fi; y = 0 };
            atomic { y = B[x]; B[x] = 0;
                if :: y != 0 && !set[y] -> decref(y) :: else fi; y = 0 };
            atomic { assert(!dead[x]); dead[x] = 1 }
        :: else
        fi;
        x++
    :: else -> break
    od
}

init
{
    atomic {
        if
        :: A[1] = 2; A[2] = 1; count[1] = 1; count[2] = 1
        :: A[1] = 1; B[1] = 2; count[1] = 1; count[2] = 1
        :: A[1] = 2; B[1] = 2; A[2] = 1; count[1] = 1; count[2] = 2
        :: A[1] = 1; A[2] = 2; B[1] = 2; count[1] = 1; count[2] = 2
        :: A[1] = 2; A[2] = 1; A[0] = 1; count[1] = 2; count[2] = 1
        :: A[1] = 2; A[2] = 1; r0[0] = 2; count[1] = 1; count[2] = 2
        fi;
        if :: skip :: finalizes[1] = 1 fi;
        if :: skip :: finalizes[2] = 1 fi;
        if :: skip :: target = 1 fi;
        run Mutator(0, K);
        run Mutator(1, K1);
        run Collector()
    }
}
