/* The collector beside the program: from ARM to RECLAIM.
 * docs/design/concurrent.md .arm.slice .prove.exact .prove.parts
 * .final.again .commit.lock .commit.get
 *
 * Objects 1 to 3 have two slots each; object 0 stands for the roots of the
 * program and has one. WEAKS weak references name objects 1, 2. Mutators have
 * two registers each, counted, and between two safepoints do one of
 *   swap   touch the holder; exchange a slot and a register: a shared write,
 *          a plain take, a plain move into an empty slot
 *   load   gyre_slot_get_shared(): read, try_incref, read again
 *   drop   a decrement; at zero the object is dead
 *   get    gyre_weakref_get(): read, try_incref (under the weak lock if the
 *          target is armed), read again
 * The Reaper is all that is put off: weak references of the dead, then what
 * their slots refer to, one by one; finalizers of count zero.
 *
 * The model begins in the stop of the first slice, which arms some of the
 * objects, with references in slots, registers and the root as init chooses.
 * A stop is a step that is enabled while both mutators are at a safepoint.
 * The set S to be proved is chosen at the beginning, any of the armed: what
 * a pass that drops something and begins anew does is a later choice of a
 * smaller S. One read of memory is one step.
 *
 * With FINAL the model begins with a proved set instead, whose finalizers
 * run; they store, clear and move. What lost ARMED is armed again in two
 * slices, then S, any part of the set, is proved anew.
 *
 * Checked: what becomes DYING is referred to by nothing outside its
 * component, and no mutator uses the dying or the dead; with FINAL: who dies
 * was finalized, once. Memory is sequentially consistent.
 *
 * Bounds: K and K1 operations of the two mutators, WEAKS weak references,
 * SHAPES heaps, EXTERNALS ways in which the program refers to them, MEMBERS
 * of S. COARSE: the pass is one step, a swap and a load are, and nothing is looked at once a member
 * of S was touched that is armed and not yet committed. It loses no
 * committed set as long as the flags find every touch, which is what runs
 * without it check: no slot of S is written without one.
 *
 * CLOSED: the weak lock is taken in the last slice's stop and held until all is
 * given up or found unproved; then COMMIT need not look at the flags again. With
 * LOCK_LATE it is taken after that stop, which is as safe.
 *
 * Broken variants, each of which must fail:
 *   RESCUE         edges are counted over all that is armed, then what the
 *                  live reach is kept, in place of a recount of a closed set
 *   FLAGS_FIRST    ARMED is read before the slots
 *   MOVE_UNTOUCHED moves don't touch the holder
 *   NO_TOUCH       no write touches the holder
 *   ARM_RUNNING    the second slice does not wait for safepoints
 *   TWO_OPERATIONS a weak get counts, then takes ARMED off
 *   SECOND_PASS    components are found by a pass after the proof
 *   DROP_PART      COMMIT drops what was touched, and what that reaches, and
 *                  commits the rest of the component
 *   FLAGS_ONCE     COMMIT does not look at the flags again
 *   WEAK_BLIND     a weak get ignores DYING
 *   WEAK_NO_LOCK   a weak get of an armed target takes no lock
 *   GET_PLAINLY    under that lock a weak get increments without a try: the
 *                  target may be dead and not cleared yet
 *   NO_STOP_AGAIN  (FINAL) armed again without a stop
 *   OLD_PROOF      (FINAL) armed again, but not proved again
 *   FINALIZED_FIRST (FINAL) FINALIZED is set before a reference is taken
 *   UNTRIED        (FINAL) the reference is a plain increment
 *   LOCK_FIRST     (CLOSED) the lock is taken before the stop is asked for
 *   OPEN_EARLY     (CLOSED, FLAGS_ONCE) it is released before COMMIT
 *   NON_VACUOUS_1  claims that nothing is committed
 *   NON_VACUOUS_2  claims that no component goes while another stays */
#ifndef K
#define K 2
#endif
#ifndef K1
#define K1 1
#endif
#ifndef WEAKS
#define WEAKS 1
#endif
#ifndef SHAPES
#define SHAPES 6
#endif
#ifndef EXTERNALS
#define EXTERNALS 4
#endif
#ifndef MEMBERS
#define MEMBERS 3
#endif

byte F[8];                /* slots of x: F[2x], F[2x+1]; of the root: F[0] */
byte count[4], record[4]; /* record: armed_count */
bit armed[4], dying[4], dead[4];
byte target[2];           /* of the weak references */
byte r[4];                /* registers of m: r[2m], r[2m+1] */
bit busy[2];              /* between safepoints */
bit weak_lock = 0;
/* the collector's */
bit S[4], past[4];        /* to be proved; its slice is past */
bit over = 0;             /* nothing is or will be committed */
bit seen = 0;             /* all flags were read */
byte hand = 0;            /* the reference that FINALIZE has */
#ifdef FINAL
bit fin[4], finalized[4], ran[4], pending[4];
#endif

#define WEAK(x) ((x) <= WEAKS)
#define USABLE(x) (!dying[x] && !dead[x])
#define NAMED(x) (target[0] == (x) || target[1] == (x))

#ifdef COARSE
#define LOST(x) (S[x] && (past[x] && !armed[x] || dead[x]))
#define GO (!over && (seen || !LOST(1) && !LOST(2) && !LOST(3)))
#define FINE(text) ;
#define COARSE_ONLY(text) text
#else
#define GO (!over)
#define FINE(text) text
#define COARSE_ONLY(text)
#endif

#ifdef NO_TOUCH
#define TOUCH(h, both) skip
#else
#ifdef MOVE_UNTOUCHED
#define TOUCH(h, both) armed[h] = armed[h] && !(both)
#else
#define TOUCH(h, both) armed[h] = 0
#endif
#endif

/* One exchange: the count and ARMED. */
inline incref(x) { count[x]++; armed[x] = 0 }
inline decref(x)
{
    assert(count[x] > 0 && !dead[x]);
    armed[x] = 0;
    if
#ifdef FINAL
    :: count[x] == 1 && !dying[x] && fin[x] && !finalized[x] ->
        finalized[x] = 1;
        pending[x] = 1 /* the last reference is the list's */
    :: count[x] == 1 && !dying[x] && !(fin[x] && !finalized[x]) ->
        assert(!fin[x] || ran[x]);
#else
    :: count[x] == 1 && !dying[x] ->
#endif
        count[x] = 0;
        dead[x] = 1
    :: else -> count[x]--
    fi
}

/* Registers are alike: the larger first. */
inline at_safepoint(m)
{
    d_step {
        if
        :: r[2 * m] < r[2 * m + 1] ->
            b = r[2 * m]; r[2 * m] = r[2 * m + 1]; r[2 * m + 1] = b
        :: else
        fi;
        h = 0; q = 0; b = 0; w = 0;
        busy[m] = 0
    }
}

/* A holder that is at hand, and a slot of it: its index in F. */
inline choose_slot(m)
{
    if
    :: h = 0
    :: r[2 * m] != 0 -> h = 2 * r[2 * m]
    :: r[2 * m] != 0 -> h = 2 * r[2 * m] + 1
    :: r[2 * m + 1] != 0 && r[2 * m + 1] != r[2 * m] -> h = 2 * r[2 * m + 1]
    :: r[2 * m + 1] != 0 && r[2 * m + 1] != r[2 * m] ->
        h = 2 * r[2 * m + 1] + 1
    fi;
    assert(USABLE(h / 2))
}

#define EMPTY(m) (r[2 * m + 1] == 0)

proctype Mutator(byte m; byte limit)
{
    byte n = 0, h = 0, q = 0, b = 0;
    bit w = 0;
end:
    do
    :: atomic { n < limit && GO -> /* swap */
            choose_slot(m);
            if :: q = 2 * m :: q = 2 * m + 1 fi;
            if
            :: F[h] != r[q] ->
                n++; busy[m] = 1;
                TOUCH(h / 2, F[h] != 0 && r[q] != 0)
            :: else -> h = 0; q = 0; goto end
            fi FINE(};
        atomic {)
            assert(USABLE(h / 2));
            b = F[h]; F[h] = r[q]; r[q] = b;
            at_safepoint(m) }
    :: atomic { n < limit && GO && EMPTY(m) -> /* load */
            choose_slot(m);
            if
            :: F[h] != 0 -> n++; busy[m] = 1; b = F[h]
            :: else -> h = 0; goto end
            fi FINE(});
        if
        :: atomic { USABLE(b) -> incref(b); r[2 * m + 1] = b };
            atomic {
                if
                :: F[h] == b -> assert(USABLE(b))
                :: else -> r[2 * m + 1] = 0; decref(b)
                fi;
                at_safepoint(m) }
        :: atomic { !USABLE(b) -> at_safepoint(m) }
        fi COARSE_ONLY(})
    :: atomic { n < limit && GO && r[2 * m] != 0 -> /* drop */
            n++;
            if
            :: q = 2 * m
            :: r[2 * m + 1] != 0 && r[2 * m + 1] != r[2 * m] -> q = 2 * m + 1
            fi;
            b = r[q]; r[q] = 0;
            assert(USABLE(b));
            decref(b);
            at_safepoint(m) }
    :: atomic { n < limit && GO && EMPTY(m) -> /* get */
            if
            :: target[0] != 0 -> w = 0
            :: target[1] != 0 -> w = 1
            :: else -> goto end
            fi;
            n++; busy[m] = 1; b = target[w] };
        if
        :: atomic { dead[b] -> at_safepoint(m) }
#ifndef WEAK_BLIND
        :: atomic { !dead[b] && dying[b] -> at_safepoint(m) }
#endif
#ifndef WEAK_NO_LOCK
        :: atomic { !dead[b] && !dying[b] && armed[b] -> skip };
            atomic { !weak_lock -> /* taken and released in one step */
                if
#ifdef GET_PLAINLY
                :: target[w] == b ->
#else
                :: target[w] == b && !dead[b] ->
#endif
                    assert(USABLE(b));
                    r[2 * m + 1] = b;
#ifdef TWO_OPERATIONS
                    count[b]++
#else
                    incref(b)
#endif
                :: else
                fi };
#ifdef TWO_OPERATIONS
            armed[b] = 0;
#endif
            atomic { at_safepoint(m) }
        :: atomic { !dead[b] && !dying[b] && !armed[b] ->
#else
        :: atomic { !dead[b] && !dying[b] ->
#endif
                incref(b); r[2 * m + 1] = b };
            atomic {
                if
                :: target[w] == b -> assert(USABLE(b))
                :: else -> r[2 * m + 1] = 0; decref(b)
                fi;
                at_safepoint(m) }
#ifdef WEAK_BLIND
        :: atomic { dying[b] && !dead[b] -> incref(b); r[2 * m + 1] = b };
            atomic {
                if
                :: target[w] == b -> assert(USABLE(b))
                :: else -> r[2 * m + 1] = 0; count[b]--
                fi;
                at_safepoint(m) }
#endif
        fi
    od
}

inline reap(x)
{
    if
    :: target[0] == x -> target[0] = 0
    :: target[0] != x && target[1] == x -> target[1] = 0
    :: !NAMED(x) && F[2 * x] != 0 -> y = F[2 * x]; F[2 * x] = 0; decref(y)
    :: !NAMED(x) && F[2 * x] == 0 ->
        y = F[2 * x + 1]; F[2 * x + 1] = 0; decref(y)
    fi;
    y = 0
}
#define TO_REAP(x) (dead[x] && (F[2 * x] + F[2 * x + 1] != 0 || NAMED(x)) && \
                    (!NAMED(x) || !weak_lock))

proctype Reaper()
{
    byte y = 0;
end:
    do
    :: atomic { GO && TO_REAP(1) -> reap(1) }
    :: atomic { GO && TO_REAP(2) -> reap(2) }
    :: atomic { GO && TO_REAP(3) -> reap(3) }
#ifdef FINAL
    :: atomic { GO && pending[1] -> pending[1] = 0; ran[1] = 1; decref(1) }
    :: atomic { GO && pending[2] -> pending[2] = 0; ran[2] = 1; decref(2) }
    :: atomic { GO && pending[3] -> pending[3] = 0; ran[3] = 1; decref(3) }
#endif
    od
}

/* ---- the collector ---- */

#define EACH(x) x = 1; do :: x <= 3 ->
#define NEXT(x) x++ :: else -> break od

/* A slice: those of which the first is chosen, or all that are left. */
inline arm(x)
{
    if
    :: !dead[x] -> armed[x] = 1; record[x] = count[x]
    :: else
    fi;
    past[x] = 1
}

/* ---- components: bit i of part[x] says that i is with x ---- */
#define BIT(i) (1 << (i))
inline link(i, j)
{
    atomic {
        part[i] = part[i] | BIT(j);
        part[j] = part[j] | BIT(i);
        /* three objects: one step closes it */
        EACH(z)
            if
            :: part[z] & BIT(i) -> part[z] = part[z] | part[i]
            :: part[z] & BIT(j) -> part[z] = part[z] | part[j]
            :: else
            fi;
        NEXT(z);
        EACH(z)
            if
            :: part[i] & BIT(z) -> part[z] = part[z] | part[i]
            :: else
            fi;
        NEXT(z);
        z = 0
    }
}
inline no_links()
{
    part[1] = BIT(1); part[2] = BIT(2); part[3] = BIT(3)
}

/* Nothing outside the members `c` refers to x. */
#define IN(c, y) ((c) & BIT(y))
#define HOLDS(c, y, x) (!IN(c, y) && (F[2 * (y)] == (x) || F[2 * (y) + 1] == (x)))
#define FREE_OF(c, x) (r[0] != (x) && r[1] != (x) && r[2] != (x) && \
    r[3] != (x) && F[0] != (x) && hand != (x) && \
    !HOLDS(c, 1, x) && !HOLDS(c, 2, x) && !HOLDS(c, 3, x))

#define EDGE(i, x) (F[i] == (x) && S[(i) / 2])
#define EDGES(x) (EDGE(2, x) + EDGE(3, x) + EDGE(4, x) + EDGE(5, x) + \
                  EDGE(6, x) + EDGE(7, x))
#define BALANCED(x) (!S[x] || EDGES(x) == record[x])

inline next_slot()
{
    i++;
    do
    :: i < 8 && !S[i / 2] -> i++
    :: else -> break
    od
}

/* Count the edges among S, or find its components by them. */
inline pass(counting)
{
    atomic { no_links(); i = 1; next_slot() };
    do
    :: atomic { i < 8 ->
            y = F[i];
            if
            :: y != 0 && S[y] ->
                if :: counting -> edges[y]++ :: else fi;
                if :: y != i / 2 -> x = i / 2; link(x, y); x = 0 :: else fi
            :: else
            fi;
            y = 0;
            next_slot() }
    :: atomic { i >= 8 -> i = 0; break }
    od
}

inline read_flags()
{
    x = 1;
    do
    :: atomic { x <= 3 && S[x] -> if :: !armed[x] -> over = 1 :: else fi;
            x++ }
    :: atomic { x <= 3 && !S[x] -> x++ }
    :: atomic { x > 3 -> x = 0; break }
    od
}

/* Drop `o` from component c, with what it reaches. */
inline drop_from(c, o)
{
    atomic {
        z = BIT(o);
        if :: F[2 * o] != 0 -> z = z | BIT(F[2 * o]) :: else fi;
        if :: F[2 * o + 1] != 0 -> z = z | BIT(F[2 * o + 1]) :: else fi;
        c = c & ~z;
        z = 0
    }
}

inline make_dying(c, x)
{
    is_garbage = FREE_OF(c, x) && !dead[x];
    assert(is_garbage);
    is_garbage = 0;
#ifdef FINAL
    assert(!fin[x] || ran[x]);
#endif
    dying[x] = 1;
    armed[x] = 0;
    committed = committed | BIT(x)
}

inline commit(c)
{
    if
    :: (c & BIT(1)) || (WEAKS > 1 && (c & BIT(2))) ->
#ifndef CLOSED
        atomic { !weak_lock -> weak_lock = 1 };
#endif
#ifndef FLAGS_ONCE
        x = 1;
        do
        :: atomic { x <= WEAKS ->
                if
                :: IN(c, x) && !armed[x] ->
#ifdef DROP_PART
                    drop_from(c, x)
#else
                    c = 0
#endif
                :: else
                fi;
                x++ }
        :: atomic { x > WEAKS -> x = 1; break }
        od;
#endif
        do
        :: atomic { x <= WEAKS ->
                if :: IN(c, x) -> make_dying(c, x) :: else fi;
                x++ }
        :: atomic { x > WEAKS -> x = 0; break }
        od;
        if
        :: atomic { target[0] != 0 && IN(c, target[0]) -> target[0] = 0 }
        :: else
        fi;
        if
        :: atomic { target[1] != 0 && IN(c, target[1]) -> target[1] = 0 }
        :: else
        fi;
#ifndef CLOSED
        weak_lock = 0
#endif
    :: else
    fi;
    /* what has no weak reference */
    x = WEAKS + 1;
    do
    :: atomic { x <= 3 ->
            if :: IN(c, x) -> make_dying(c, x) :: else fi;
            x++ }
    :: atomic { x > 3 -> x = 0; break }
    od
}

proctype Collector()
{
    byte x = 0, y = 0, z = 0, i = 0, committed = 0;
    byte edges[4], part[4];
    bit is_garbage = 0;

#ifdef FINAL
    EACH(x)
        if
        :: fin[x] ->
            bit mine = 0;
#ifdef FINALIZED_FIRST
            atomic { mine = !finalized[x]; finalized[x] = 1 };
#endif
            atomic {
#ifndef UNTRIED
                if
                :: USABLE(x) -> incref(x); hand = x
                :: else
                fi
#else
                assert(USABLE(x)); incref(x); hand = x
#endif
            };
            if
            :: hand != 0 ->
#ifndef FINALIZED_FIRST
                atomic { mine = !finalized[x]; finalized[x] = 1 };
#endif
                if
                :: atomic { mine -> /* user code */
                        ran[x] = 1;
                        if
                        :: F[0] == 0 -> F[0] = x; incref(x)
                        :: F[0] == 0 && F[2 * x] != 0 ->
                            F[0] = F[2 * x]; y = F[0]; incref(y)
                        :: F[2 * x] != 0 -> TOUCH(x, 0);
                            y = F[2 * x]; F[2 * x] = 0; decref(y)
                        :: skip
                        fi;
                        y = 0; mine = 0 }
                :: else
                fi;
                atomic { hand = 0; decref(x) }
            :: else
            fi
        :: else
        fi;
    NEXT(x);
    x = 0;
    /* first slice of the second arming: what it takes is in record[0] */
#ifdef NO_STOP_AGAIN
    d_step {
#else
    d_step { !busy[0] && !busy[1] ->
#endif
        EACH(x)
            if
            :: (record[0] & BIT(x)) && !armed[x] -> arm(x)
            :: (record[0] & BIT(x)) && armed[x] -> past[x] = 1
            :: else
            fi;
        NEXT(x);
        x = 0
    };
#endif

#ifdef LOCK_FIRST
    atomic { !weak_lock -> weak_lock = 1 };
#endif
    /* the last slice */
#if defined(ARM_RUNNING) || defined(NO_STOP_AGAIN)
    d_step {
#else
    d_step { !busy[0] && !busy[1] ->
#endif
        EACH(x)
            if
#ifdef FINAL
            :: !past[x] && armed[x] -> past[x] = 1
            :: !past[x] && !armed[x] -> arm(x)
#else
            :: !past[x] -> arm(x)
#endif
            :: else
            fi;
            if :: S[x] && dead[x] -> over = 1 :: else fi;
        NEXT(x);
#if defined(CLOSED) && !defined(LOCK_FIRST) && !defined(LOCK_LATE)
        assert(!weak_lock);
        weak_lock = 1;
#endif
        x = 0
    };
#ifdef LOCK_LATE
    if
    :: over -> skip
    :: atomic { !over && !weak_lock -> weak_lock = 1 }
    fi;
#endif

#ifdef RESCUE
    atomic {
        S[1] = !dead[1]; S[2] = !dead[2]; S[3] = !dead[3]; over = 0
    };
    pass(1);
    x = 1; /* z: the live */
    do
    :: atomic { x <= 3 ->
            if
            :: S[x] && (!armed[x] || edges[x] != record[x]) -> z = z | BIT(x)
            :: else
            fi;
            x++ }
    :: atomic { x > 3 -> x = 0; break }
    od;
    /* what they reach: a chain of three takes two rounds */
    i = 2;
    do
    :: atomic { i < 14 ->
            y = (i > 7 -> i - 6 : i);
            if
            :: (z & BIT(y / 2)) && F[y] != 0 -> z = z | BIT(F[y])
            :: else
            fi;
            y = 0;
            i++ }
    :: atomic { i >= 14 -> i = 0; break }
    od;
    atomic {
        EACH(x)
            S[x] = S[x] && !(z & BIT(x));
            part[x] = part[x] & ~z;
        NEXT(x);
        edges[1] = 0; edges[2] = 0; edges[3] = 0;
        x = 0; z = 0
    };
    read_flags();
#else
    if :: over -> goto done :: else fi;
#ifdef FLAGS_FIRST
    read_flags();
    if :: over -> goto done :: else fi;
#endif
#ifdef COARSE
    atomic {
        /* what the pass below would find */
        if
        :: !BALANCED(1) || !BALANCED(2) || !BALANCED(3) -> over = 1; goto done
        :: else
        fi;
#endif
#ifdef OLD_PROOF
    pass(0);
#else
    pass(1);
    atomic {
        if
        :: S[1] && edges[1] != record[1] || S[2] && edges[2] != record[2] ||
           S[3] && edges[3] != record[3] ->
            over = 1;
            goto done
        :: else -> edges[1] = 0; edges[2] = 0; edges[3] = 0
        fi
    };
#endif
#ifndef FLAGS_FIRST
    read_flags();
#endif
    seen = 1
#ifdef COARSE
    }
#endif
    ;
#endif
    if
    :: !over ->
#ifdef OPEN_EARLY
        weak_lock = 0;
#endif
#ifdef SECOND_PASS
        pass(0);
#endif
        i = 1;
        do
        :: i <= 3 ->
            if
            :: S[i] -> /* the first of its component */
                y = part[i];
                atomic {
                    EACH(x)
                        if :: IN(y, x) -> S[x] = 0 :: else fi;
                    NEXT(x);
                    x = 0
                };
                commit(y)
            :: else
            fi;
            i++
        :: else -> break
        od;
        i = 0; y = 0;
#ifdef CLOSED
        weak_lock = 0;
#endif
#ifdef NON_VACUOUS_1
        assert(committed == 0);
#endif
#ifdef NON_VACUOUS_2
        assert(committed == 0 || !NAMED(1) || dying[1]);
#endif
        /* RECLAIM */
        x = 1;
        do
        :: atomic { x <= 3 && IN(committed, x) ->
                y = F[2 * x]; F[2 * x] = 0;
                if :: y != 0 -> decref(y) :: else fi;
                y = F[2 * x + 1]; F[2 * x + 1] = 0;
                if :: y != 0 -> decref(y) :: else fi;
                y = 0;
                x++ }
        :: atomic { x <= 3 && !IN(committed, x) -> x++ }
        :: atomic { x > 3 -> x = 1; break }
        od;
        do
        :: atomic { x <= 3 ->
                if
                :: IN(committed, x) ->
#ifndef WEAK_BLIND /* must fail by returning it, not by trying */
                    assert(count[x] == 0);
#endif
                    dead[x] = 1
                :: else
                fi;
                x++ }
        :: atomic { x > 3 -> x = 0; break }
        od
    :: else
    fi;
done:
#ifdef CLOSED
    weak_lock = 0;
#endif
    over = 1
}

init
{
    byte x = 0, y = 0;
    atomic {
        /* the heap, for which object 1, 2 and 3 are not alike */
        if
        :: F[2] = 2; F[4] = 1; F[5] = 3            /* a ring with a tail */
#if SHAPES > 1
        :: F[2] = 1; F[3] = 2; F[4] = 3            /* a loop and a chain */
#endif
#if SHAPES > 2
        :: F[2] = 2; F[4] = 3; F[6] = 1            /* a ring of three */
        :: F[2] = 2; F[3] = 2; F[4] = 1; F[6] = 3  /* two components */
        :: F[2] = 2; F[4] = 1; F[5] = 3; F[6] = 2  /* two rings that meet */
        :: F[2] = 3; F[4] = 3; F[6] = 1; F[7] = 2  /* the same, elsewhere */
#endif
        fi;
#ifndef FINAL
        /* what the program has */
        if
        :: r[0] = 3
        :: r[0] = 2; r[2] = 3
        :: r[0] = 1; F[0] = 2
        :: r[2] = 1; F[0] = 3
#if EXTERNALS > 4
        :: skip
        :: r[0] = 2
        :: r[0] = 3; r[2] = 3; F[0] = 1
        :: r[0] = 2; r[2] = 1
        :: r[0] = 1; r[2] = 1; F[0] = 2
        :: F[0] = 1
#endif
        fi;
#endif
        target[0] = 1;
#if WEAKS > 1
        target[1] = 2;
#endif
        d_step {
            EACH(x)
                y = 0;
                do
                :: y < 8 ->
                    if :: F[y] == x -> count[x]++ :: else fi;
                    y++
                :: else -> break
                od;
                if :: r[0] == x -> count[x]++ :: else fi;
                if :: r[2] == x -> count[x]++ :: else fi;
            NEXT(x);
            x = 0; y = 0
        };
#if MEMBERS == 3
        S[1] = 1; S[2] = 1; S[3] = 1;
#else
#if MEMBERS == 2
        if
        :: S[1] = 1; S[2] = 1
        :: S[1] = 1; S[3] = 1
        :: S[2] = 1; S[3] = 1
        fi;
#else
        if :: S[1] = 1 :: S[2] = 1 :: S[3] = 1 fi;
#endif
#endif
#ifdef FINAL
        if :: fin[1] = 1 :: skip fi;
        if :: fin[2] = 1 :: skip fi;
        if :: fin[3] = 1 :: fin[1] + fin[2] > 0 fi;
        EACH(x) arm(x); past[x] = 0; NEXT(x);
        if :: record[0] = 2 :: record[0] = 4 :: record[0] = 8
           :: record[0] = 6 :: record[0] = 10 :: record[0] = 12 fi;
#else
        /* the first slice */
        if
        :: skip -> arm(1)
        :: skip -> arm(2)
        :: skip -> arm(2); arm(3)
        fi;
#endif
        x = 0; y = 0;
        run Mutator(0, K);
        run Mutator(1, K1);
        run Reaper();
        run Collector()
    }
}
