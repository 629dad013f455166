/* Faults that the oracle must find: one build each, none in a product.
 * docs/stress.md lists them; tests labelled "mutant" build them. */
#ifndef GYRE_SRC_FAULT_H
#define GYRE_SRC_FAULT_H

#ifndef GYRE_FAULT
#define GYRE_FAULT 0
#endif

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
    FAULT_TRUST_FIRST_PASS
};

#define FAULT(n) (GYRE_FAULT == (n))

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
