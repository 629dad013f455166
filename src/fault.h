/* Faults that the tests must find, in builds of their own: none in a product.
 * Those up to FAULT_TRUST_FIRST_PASS gyre-stress must find; the others are
 * broken variants of the models, which tests/test_interleavings.c must find.
 * docs/stress.md and docs/design/models.md list them; tests labelled "mutant"
 * build them. */
#ifndef GYRE_SRC_FAULT_H
#define GYRE_SRC_FAULT_H

#ifndef GYRE_FAULT
#define GYRE_FAULT 0
#endif
/* GYRE_FAULT of a build in which any of them can be chosen as it starts. */
#define FAULT_CHOSEN (-1)

enum fault {
    FAULT_INCREF_LEFT_OUT = 1,
    FAULT_DECREF_TWICE,
    FAULT_EDGE_NOT_TRACED,
    FAULT_MERGE_ORDER,
    FAULT_QUEUE_ENTRY_LOST,
    FAULT_WEAK_CALLBACK_LOST,
    FAULT_WEAK_CALLBACK_TWICE,
    FAULT_FINALIZER_TWICE,
    FAULT_REMOTE_FREE_LOST,
    FAULT_RELEASE_RELAXED,
    FAULT_LIMBO_LEFT_OUT,
    FAULT_ARMED_TWO_STEPS,
    FAULT_TOUCH_LATE,
    FAULT_TRUST_FIRST_PASS,
    /* broken variants of the models */
    FAULT_RESCUE,
    FAULT_FLAGS_FIRST,
    FAULT_MOVE_UNTOUCHED,
    FAULT_NO_TOUCH,
    FAULT_DROP_PART,
    FAULT_SECOND_PASS,
    FAULT_FLAGS_ONCE,
    FAULT_WEAK_BLIND,
    FAULT_WEAK_NO_LOCK,
    FAULT_GET_PLAINLY,
    FAULT_NO_STOP_AGAIN,
    FAULT_OLD_PROOF,
    FAULT_FINALIZED_FIRST,
    FAULT_ANNOUNCE_FIRST,
    FAULT_RELEASE_BLINDLY,
    FAULT_WAITER_RUNS,
    FAULTS_END
};

#if GYRE_FAULT == FAULT_CHOSEN
/* 0: none. Set before the library is used, by the environment variable
 * GYRE_FAULT or by a test. */
extern int gyre_fault_chosen;
#define FAULT(n) ((int)(n) == gyre_fault_chosen)
#else
#define FAULT(n) (GYRE_FAULT == (n))
#endif

#if GYRE_FAULT
/* True every `every`th time, so that a run gets going before it goes wrong. */
static inline int
fault_due(unsigned every)
{
    static __thread unsigned calls;
    return ++calls % every == 0;
}
#define FAULT_DUE(n, every) (FAULT(n) && fault_due(every))
#else
#define FAULT_DUE(n, every) 0
#endif

#endif
