/* The biased reference count. docs/design/refcount.md .rc
 *
 * One block, which is used for up to IDS objects one after the other. Thread
 * number 1 is their owner; the process that has it may detach, leave (GONE)
 * and attach again, as another thread that is given the same number. Threads
 * 2 and 3 are others: they drop references that the owner hands to them,
 * take more, and get the object through a weak reference whose target they
 * read before the object died.
 *
 * Memory is sequentially consistent; each step is one atomic operation of
 * the code. What is checked:
 *   - a block is freed once, while nobody and no queue has a reference;
 *   - nobody touches the count of a freed block with a reference in hand;
 *   - a weak get returns the object it asked for, never the block's next one;
 *   - when all have given up what they had, the block is free (no leak) and
 *     no queue holds an entry;
 *   - with FIN: a finalizer runs exactly once, before the block is freed.
 *
 * Bounds: K1, K2, K3 operations of the owner and of the two others besides
 * the drops that they owe, IDS objects in the block, and LIVES threads that
 * have the owner's number one after the other.
 *
 * Broken variants, each of which must fail:
 *   MERGE_FIRST     merged count published before the owner word is cleared
 *   NO_REREAD       try_incref does not look at its source again
 *   FETCH_ADD       try_incref tests, then adds: no compare-and-swap
 *   TRY_UNFLAGGED   try_incref succeeds without WEAK
 *   TWO_OPERATIONS  a queued decrement subtracts first, sets QUEUED after
 *   FREE_FIRST      weak references are cleared after the block is free
 *   DRAIN_BLINDLY   a drain does not look whether the entry is MERGED
 *   ZERO_BLINDLY    the owner at zero looks at the count, not at the flags
 *   FIN_FORGETS     (with FIN) the count changes between winning FINALIZED
 *                   and the exchange; the reference kept is not counted
 *   NON_VACUOUS     claims that no object is ever freed
 *
 * Two variants must hold, and say what the protocol does not rest on:
 *   NO_RETRY        a decrement that meets "nobody and not MERGED" need not
 *                   wait for the merge: the count is positive then, or QUEUED
 *                   is set, so it never needs the owner's number
 *   FIN_TWO_STEPS   (with FIN) FINALIZED is read, then set: only who has the
 *                   last reference comes there, so two threads never race */
#ifndef K1
#define K1 3
#endif
#ifndef K2
#define K2 2
#endif
#ifndef K3
#define K3 1
#endif
#ifndef IDS
#define IDS 2
#endif
#ifndef LIVES
#define LIVES 2
#endif

/* rc_shared: a signed count above four flags */
#define MERGED 1
#define QUEUED 2
#define WEAK 4
#define DEAD 8
#define UNIT 16
#define COUNT(s) ((s) >> 4)
#define FLAGS(s) ((s) & 15)

/* state of number 1 */
#define RUNNING 0
#define DETACHED 1
#define CLAIMED 2
#define GONE 3

/* The header: rc_local is (own, field), one word; field is the count less
 * one. shared is another word. */
byte own = 1, field = 0;
short shared = 0;

byte id = 1;     /* which object the block is, or will be next when free */
bit freed = 0;
byte target = 0; /* which object the weak reference names; 0: none */
byte state = RUNNING;
bit queue = 0;   /* an entry in number 1's merge queue */

/* What is really so. */
byte held[4];    /* references that each thread has */
bit queued = 0;  /* the reference that belongs to the queue */
bit open[4];     /* may still be handed references */
#ifdef FIN
bit finalized = 0; /* the flag in word 0 */
byte ran = 0;      /* runs of this object's finalizer */
byte pending[4];   /* references in the threads' lists of finalizers */
#define PENDING (pending[1] + pending[2] + pending[3])
#else
#define PENDING 0
#endif

/* A reference that is about to be the last one given up belongs to the list
 * of finalizers instead, if this thread is the first to set FINALIZED. */
#ifdef FIN
#ifdef FIN_TWO_STEPS
#define FIRST_TO_FINALIZE \
    first = !finalized; \
    if :: first -> finalized = 1 :: else fi
#else
#define FIRST_TO_FINALIZE \
    atomic { first = !finalized; finalized = 1 }
#endif
#define KEEP(p) pending[p]++
#else
#define FIRST_TO_FINALIZE first = 0
#define KEEP(p) skip
#endif

/* The block of a dead object: weak references first, then the block. */
inline release_block(p)
{
#ifndef FREE_FIRST
    if :: atomic { target == id -> target = 0 } :: else fi;
#endif
    atomic {
        assert(!freed);
        assert(held[1] + held[2] + held[3] + PENDING == 0 && !queued);
#ifdef FIN
        assert(ran == 1);
        ran = 0;
        finalized = 0;
#endif
#ifdef NON_VACUOUS
        assert(false);
#endif
        g = id;
        id++;
        freed = 1
    };
#ifdef FREE_FIRST
    if :: atomic { target == g -> target = 0 } :: else fi;
#endif
    g = 0
}

/* One entry was popped by the owner or under a claim. A dead object is the
 * caller's to free: kill. */
inline merge(p)
{
    atomic { assert(!freed); s = shared };
    if
#ifndef DRAIN_BLINDLY
    :: s & MERGED -> /* by the owner at zero, meanwhile */
        do
        :: s = shared;
            first = 0;
            if :: COUNT(s) == 1 -> FIRST_TO_FINALIZE :: else fi;
            if
            :: atomic { first ->
                    shared = shared & ~QUEUED; queued = 0; KEEP(p) };
                break
            :: else ->
                if
                :: atomic { shared == s ->
                        queued = 0;
                        if
                        :: COUNT(s) == 1 -> shared = DEAD; kill = 1
                        :: else -> shared = (s & ~QUEUED) - UNIT
                        fi };
                    break
                :: else
                fi
            fi
        od
#endif
    :: else ->
        f = field;
#ifndef MERGE_FIRST
        atomic { own = 0; field = 0 };
#endif
        kept = 0;
        do
        :: s = shared;
            c = COUNT(s) + f; /* + f + 1 - 1: the queue's is given up */
            if
            :: c == 0 && !kept -> FIRST_TO_FINALIZE; kept = first
            :: else
            fi;
            if
            :: atomic { shared == s ->
                    queued = 0;
                    if
                    :: kept ->
                        shared = (FLAGS(s) & ~QUEUED | MERGED) +
                                 (c + 1) * UNIT;
                        KEEP(p)
                    :: !kept && c == 0 -> shared = DEAD; kill = 1
                    :: else ->
                        shared = (FLAGS(s) & ~QUEUED | MERGED) + c * UNIT
                    fi };
                break
            :: else
            fi
        od;
#ifdef MERGE_FIRST
        atomic { assert(!freed); own = 0; field = 0 };
#endif
        kept = 0
    fi;
    f = 0; c = 0; s = 0; first = 0
}

/* Take the queue as a whole, merge what is in it. */
inline drain(p)
{
    if
    :: atomic { queue -> queue = 0 }; merge(p)
    :: else
    fi
}

/* Nobody runs as number 1: do its work under a claim; what dies is freed
 * after the claim is released, then look again. */
inline look(p)
{
    do
    :: queue ->
        if
        :: atomic { state == DETACHED || state == GONE ->
                back = state; state = CLAIMED };
            drain(p);
            state = back; back = 0;
            if :: kill -> kill = 0; release_block(p) :: else fi
        :: else -> break /* it runs, or its claimant looks after us */
        fi
    :: else -> break
    od
}

/* decref by a thread that is not the owner. */
inline decref_shared(p)
{
    do
    :: l = own;
        atomic { assert(!freed); s = shared };
        if
        :: s & MERGED ->
            first = 0;
            if :: COUNT(s) == 1 -> FIRST_TO_FINALIZE :: else fi;
            if
            :: atomic { first -> held[p]--; KEEP(p) }; break
            :: else ->
                if
                :: atomic { shared == s ->
                        held[p]--;
                        if
                        :: COUNT(s) == 1 -> shared = DEAD; kill = 1
                        :: else -> shared = s - UNIT
                        fi };
                    break
                :: else
                fi
            fi
        :: !(s & MERGED) && l == 0 ->
            /* The owner word is cleared, MERGED is still to come. */
#ifdef NO_RETRY
            assert(COUNT(s) > 0 || (s & QUEUED));
            if
            :: atomic { shared == s -> held[p]--; shared = s - UNIT };
                break
            :: else
            fi
#else
            skip
#endif
        :: !(s & MERGED) && l != 0 && (COUNT(s) > 0 || (s & QUEUED)) ->
            if
            :: atomic { shared == s -> held[p]--; shared = s - UNIT };
                break
            :: else
            fi
        :: !(s & MERGED) && l != 0 && COUNT(s) <= 0 && !(s & QUEUED) ->
#ifdef TWO_OPERATIONS
            if
            :: atomic { shared == s -> held[p]--; shared = s - UNIT };
                do
                :: atomic { assert(!freed); s = shared };
                    if
                    :: s & QUEUED -> break
                    :: else ->
                        if
                        :: atomic { shared == s ->
                                shared = (s | QUEUED) + UNIT;
                                queued = 1 };
                            queue = 1; look(p); break
                        :: else
                        fi
                    fi
                od;
                break
            :: else
            fi
#else
            if
            :: atomic { shared == s ->
                    held[p]--; queued = 1; shared = s | QUEUED };
                queue = 1;
                look(p);
                break
            :: else
            fi
#endif
        fi
    od;
    s = 0; l = 0; first = 0;
    if :: kill -> kill = 0; release_block(p) :: else fi
}

/* incref by a thread with a reference: one load, one fetch_add. */
inline incref_shared(p)
{
    atomic { assert(!freed); held[p]++; shared = shared + UNIT }
}

/* The owner's last local reference: gyre_decref_zero(). */
inline decref_zero(p)
{
    s = shared;
    first = 0;
    if
#ifdef ZERO_BLINDLY
    :: COUNT(s) == 0 && !(s & QUEUED) ->
#else
    :: s == 0 ->
#endif
        FIRST_TO_FINALIZE;
        if
        :: first -> atomic { held[p]--; KEEP(p) }
        :: else ->
            /* one plain store over both halves */
            atomic { held[p]--; own = 0; field = 0; shared = DEAD; kill = 1 }
        fi
    :: else ->
        atomic { own = 0; field = 0 };
        kept = 0;
        do
        :: s = shared;
            assert(COUNT(s) >= 0);
            if
            :: COUNT(s) == 0 && !kept -> FIRST_TO_FINALIZE; kept = first
            :: else
            fi;
            if
            :: atomic { shared == s ->
                    held[p]--;
                    if
#ifdef FIN_FORGETS
                    :: kept && COUNT(s) > 0 -> shared = s | MERGED; KEEP(p)
                    :: kept && COUNT(s) == 0 ->
                        shared = (s | MERGED) + UNIT; KEEP(p)
#else
                    :: kept -> shared = (s | MERGED) + UNIT; KEEP(p)
#endif
                    :: !kept && COUNT(s) == 0 -> shared = DEAD; kill = 1
                    :: else -> shared = s | MERGED
                    fi };
                break
            :: else
            fi
        od;
        kept = 0
    fi;
    s = 0; first = 0;
    if :: kill -> kill = 0; release_block(p) :: else fi
}

inline decref_owner()
{
    assert(!freed);
    if
    :: atomic { own == 1 && field > 0 -> field--; held[1]-- }
    :: own == 1 && field == 0 -> decref_zero(1)
    :: own != 1 -> decref_shared(1)
    fi
}

/* gyre_weakref_get(): read the target, try_incref, read it again. */
inline weak_get(p)
{
    a = target;
    if
    :: a != 0 ->
        s = shared;
        first = 0;
        if
#ifdef TRY_UNFLAGGED
        :: !(s & DEAD) ->
#else
        :: !(s & DEAD) && (s & WEAK) ->
#endif
#ifdef FETCH_ADD
            atomic { shared = shared + UNIT; held[p]++; g = id; first = 1;
                assert(!freed) }
#else
            if
            :: atomic { shared == s ->
                    shared = s + UNIT; held[p]++; g = id; first = 1 };
                assert(!freed)
            :: else /* the code tries again; giving up covers less, but a
                     * second get of the model does the same */
            fi
#endif
        :: else
        fi;
        s = 0;
        if
#ifdef NO_REREAD
        :: first -> first = 0; assert(g == a); g = 0
#else
        :: first && target == a -> first = 0; assert(g == a); g = 0
        :: first && target != a -> /* not what was meant: give it back */
            first = 0; g = 0;
            if
            :: p == 1 -> decref_owner()
            :: else -> decref_shared(p)
            fi
#endif
        :: !first
        fi
    :: else
    fi;
    a = 0
}

/* Make the object weakly referenced, with a reference in hand. */
inline weak_new(p)
{
    atomic { assert(!freed); shared = shared | WEAK };
    atomic { if :: target == 0 -> target = id :: else fi }
}

/* Finalizers run at the outermost safepoint of the thread that has them. */
inline run_finalizers(p)
{
#ifdef FIN
    do
    :: atomic { pending[p] > 0 -> pending[p]--; held[p]++;
            assert(!freed); ran++; assert(ran == 1) };
        if
        :: p == 1 -> decref_owner()
        :: else -> decref_shared(p)
        fi
    :: else -> break
    od
#else
    skip
#endif
}

#define LOCALS \
    short s = 0, c = 0; byte f = 0, l = 0, a = 0, g = 0, back = 0, n = 0; \
    bit kill = 0, first = 0, kept = 0

inline safepoint_owner()
{
    drain(1);
    if :: kill -> kill = 0; release_block(1) :: else fi;
    run_finalizers(1)
}

/* Having published that it no longer runs, the owner looks at its queue
 * once more. It goes back to running for what it finds: objects die and
 * finalizers run there, which a detached thread must not do while a stop
 * counts it as stopped. */
inline look_again(away)
{
    do
    :: queue ->
        if
        :: atomic { state == away -> state = RUNNING };
            safepoint_owner();
            state = away
        :: else -> break /* its claimant looks after us */
        fi
    :: else -> break
    od
}

proctype Owner()
{
    LOCALS;
    byte life = 1;
    do
    :: n < K1 -> n++;
        if
        :: atomic { held[1] > 0 && open[2] -> held[1]--; held[2]++ }
        :: atomic { held[1] > 0 && open[3] -> held[1]--; held[3]++ }
        :: held[1] > 0 ->
            assert(!freed);
            if
            :: atomic { own == 1 -> field++; held[1]++ }
            :: else -> incref_shared(1)
            fi
        :: held[1] > 0 -> decref_owner()
        :: held[1] > 0 && !(shared & WEAK) -> weak_new(1)
        :: skip -> safepoint_owner()
        :: skip -> /* a detached region */
            safepoint_owner();
            state = DETACHED;
            look_again(DETACHED);
            atomic { state == DETACHED -> state = RUNNING }
        :: atomic { freed && id <= IDS ->
                /* a new object in the block: one 64-bit store */
                freed = 0; own = 1; field = 0; shared = 0; held[1] = 1 }
        fi
    :: life < LIVES || n >= K1 ->
        /* leave */
        do
        :: held[1] > 0 -> decref_owner()
        :: else -> if :: atomic { held[1] == 0 -> open[1] = 0 }; break
                      :: else fi
        od;
        safepoint_owner();
        state = GONE;
        look_again(GONE);
        if
        :: life < LIVES ->
            life++;
            atomic { state == GONE -> state = RUNNING; open[1] = 1 }
        :: else -> break
        fi
    od
}

proctype Other(byte p; byte limit)
{
    LOCALS;
    do
    :: n < limit -> n++;
        if
        :: held[p] > 0 -> incref_shared(p)
        :: atomic { held[p] > 0 && open[1] -> held[p]--; held[1]++ }
        :: held[p] > 0 && !(shared & WEAK) -> weak_new(p)
        :: target != 0 -> weak_get(p)
        :: skip -> run_finalizers(p)
        :: n = limit
        fi
    :: held[p] > 0 -> decref_shared(p)
    :: n >= limit ->
        run_finalizers(p);
        if
        :: atomic { held[p] == 0 -> open[p] = 0 }; break
        :: else
        fi
    od
}

init
{
    atomic {
        held[1] = 1;
        open[1] = 1; open[2] = 1; open[3] = 1;
        if :: skip :: held[2] = 1; field++ :: held[2] = 2; field = field + 2
        fi;
        if :: skip :: held[3] = 1; field++ fi;
        if :: skip :: shared = WEAK; target = 1 fi;
        run Owner();
        run Other(2, K2);
        run Other(3, K3)
    };
    (_nr_pr == 1);
    assert(freed && !queue && !queued && held[1] + held[2] + held[3] == 0)
}
