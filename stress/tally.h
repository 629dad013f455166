/* How often each operation and each path ran, by thread.
 *
 * A thread counts with plain-looking relaxed loads and stores on counters of
 * its own; gyre's collector thread, which has none, on a spare set. */
#ifndef GYRE_STRESS_TALLY_H
#define GYRE_STRESS_TALLY_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum mix {
    MIX_PRIVATE = 1 << 0,
    MIX_HANDOVER = 1 << 1,
    MIX_SHARED = 1 << 2,
    MIX_WEAK = 1 << 3,
    MIX_FINALIZE = 1 << 4,
    MIX_CUT = 1 << 5,
    MIX_CHURN = 1 << 6,
    MIX_ALL = (1 << 7) - 1
};

#define MIX_FINALIZERS (MIX_FINALIZE | MIX_CUT)

/* X(id, what, mixes that must run it, least threads for that) */
#define TALLY_TABLE(X)                                                    \
    X(OPERATIONS, "operations", MIX_ALL, 1)                               \
    X(BUILT, "objects built", MIX_ALL, 1)                                 \
    X(FREED, "objects freed", MIX_ALL, 1)                                 \
    X(REFUSED, "allocations refused", 0, 1)                               \
    X(GET, "slot get", MIX_ALL, 1)                                        \
    X(PEEK, "slot peek", MIX_ALL, 1)                                      \
    X(SET, "slot set", MIX_ALL, 1)                                        \
    X(MOVE, "slot move", MIX_ALL, 1)                                      \
    X(TAKE, "slot take", MIX_ALL, 1)                                      \
    X(EXCHANGE, "slot exchange", MIX_ALL, 1)                              \
    X(CLEAR, "slot cleared", MIX_ALL, 1)                                  \
    X(DUPLICATE, "reference duplicated", MIX_ALL, 1)                      \
    X(DROP, "reference dropped", MIX_ALL, 1)                              \
    X(NEW, "object made in a mix", MIX_ALL, 1)                            \
    X(CYCLE, "garbage cycle made", MIX_ALL, 1)                            \
    X(ARRAY_POP, "array pop", MIX_ALL, 1)                                 \
    X(ARRAY_APPEND, "array append", MIX_ALL, 1)                           \
    X(SPILL, "local count filled", MIX_PRIVATE, 1)                        \
    X(SWALLOW, "held by itself for a moment", MIX_PRIVATE, 1)             \
    X(UNIQUE, "uniqueness asked", MIX_ALL, 1)                             \
    X(DETACH, "detached region", MIX_ALL, 1)                              \
    X(TRACED, "trace callback", 0, 1)                                     \
    X(SENT, "handed over", MIX_HANDOVER, 1)                               \
    X(SENT_RIGHT, "handed over with the right to write", MIX_HANDOVER, 1) \
    X(RECEIVED, "received", MIX_HANDOVER, 1)                              \
    X(SHARED_EXCHANGE, "shared exchange", MIX_SHARED, 1)                  \
    X(SHARED_GET, "shared get", MIX_SHARED, 1)                            \
    X(SHARED_SET, "shared set", MIX_SHARED, 1)                            \
    X(LOCKED, "slot used under a lock", MIX_SHARED, 1)                    \
    X(WEAK_MADE, "weak reference made", MIX_WEAK, 1)                      \
    X(WEAK_HIT, "weak get answered", MIX_WEAK, 1)                         \
    X(WEAK_NULL, "weak get refused", MIX_WEAK, 1)                         \
    X(WEAK_FIRST, "weak reference died first", MIX_WEAK, 1)               \
    X(WEAK_SENT, "weak reference handed over", MIX_WEAK, 1)               \
    X(WEAK_CALLED, "weak callback", MIX_WEAK, 1)                          \
    X(FINALIZED, "finalizer at a safepoint", MIX_FINALIZERS, 1)           \
    X(FINALIZED_PROMPTLY, "prompt finalizer", MIX_FINALIZERS, 1)          \
    X(RESURRECTED, "resurrected", MIX_FINALIZERS, 1)                      \
    X(CUT, "root cut", MIX_CUT, 1)                                        \
    X(CHURNED, "thread replaced", MIX_CHURN, 1)                           \
    X(CHURNED_FULL, "thread left with references given away", MIX_CHURN, 2)

enum tally_id {
#define TALLY_ID(id, ...) TALLY_##id,
    TALLY_TABLE(TALLY_ID)
#undef TALLY_ID
        TALLY_COUNT
};

struct tally {
    _Atomic uint64_t count[TALLY_COUNT];
    char apart[64];
};

/* The calling thread's; NULL on gyre's own threads. */
extern __thread struct tally *tally_self;
extern struct tally tally_spare;

static inline void
tally_add(enum tally_id id, uint64_t count)
{
    if (tally_self != NULL) {
        /* relaxed: one writer; others read a count that may be stale */
        uint64_t old =
            atomic_load_explicit(&tally_self->count[id], memory_order_relaxed);
        atomic_store_explicit(&tally_self->count[id], old + count,
                              memory_order_relaxed);
    } else {
        /* relaxed: a count */
        atomic_fetch_add_explicit(&tally_spare.count[id], count,
                                  memory_order_relaxed);
    }
}

static inline uint64_t
tally_read(const struct tally *tally, enum tally_id id)
{
    /* relaxed: a count */
    return atomic_load_explicit(&tally->count[id], memory_order_relaxed);
}

#endif
