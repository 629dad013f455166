/* The oracle: what the right answer is, in plain memory of its own.
 *
 * Knows nothing of gyre and never calls it. Each object built gets a serial,
 * used once; `index` is the serial less the round's base. Beside it lie its
 * state, changed by the callbacks with one exchange, and `held`, the
 * references that threads hold: raised after a reference is taken, lowered
 * before it is given up. All atomics are relaxed, so that the oracle puts no
 * order between threads that gyre did not put there, which would hide gyre's
 * own races from a thread sanitizer. docs/stress.md tells the rules. */
#ifndef GYRE_STRESS_ORACLE_H
#define GYRE_STRESS_ORACLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "graph.h"

enum oracle_state {
    ORACLE_UNBORN = 0,
    ORACLE_ALIVE,
    ORACLE_FINALIZED, /* alive; its finalizer has run */
    ORACLE_DEAD
};

/* `held`: a count, and above it how often the count fell to zero. */
#define ORACLE_HELD_BITS 20
#define ORACLE_HELD_MASK ((UINT32_C(1) << ORACLE_HELD_BITS) - 1)

/* Writers that are no worker. */
#define ORACLE_WRITER_NONE 0xffff   /* the right is in a hand-over queue */
#define ORACLE_WRITER_SHARED 0xfffe /* all write, with exchange */
#define ORACLE_WRITER_LOCKED 0xfffd /* who has the object's lock */

struct record {
    /* any thread, atomic */
    _Atomic uint32_t held;
    _Atomic uint8_t state;
    _Atomic uint8_t weak; /* 1: a weak reference to it was made */
    _Atomic uint16_t writer;
    /* const after birth */
    uint32_t node;
    uint32_t slots_at; /* its row of shadow slots; const */
    /* the writer only */
    uint32_t slot_count;
    /* the checker at a quiescent point only */
    uint32_t in_degree;
    /* const after birth: the object's address */
    void *where;
};

/* What a slot is known to hold: 0, an index, or a weak reference's index. */
#define SHADOW_WEAK (UINT32_C(1) << 31)

enum weak_state {
    WEAK_LIVE,       /* a slot or a handle owns it */
    WEAK_GONE_FIRST, /* given up while its target was held */
    WEAK_GONE        /* given up, before or after its target */
};

struct weak_record {
    uint32_t target;
    _Atomic uint8_t called; /* times its callback ran */
    _Atomic uint8_t state;
    uint8_t has_callback;
    uint8_t settled; /* the checker only: nothing more can happen to it */
};

/* A thread's share of unused entries. */
struct share {
    uint32_t next, end;
};

struct shares {
    struct share records, slots, weaks;
};

struct oracle {
    const struct graph *graph; /* const */
    struct record *records;    /* [record_room] */
    uint32_t *slots;           /* [slot_room] */
    struct weak_record *weaks; /* [weak_room] */
    uint32_t record_room, slot_room, weak_room;
    uint64_t base;   /* serial of index 0; changed between rounds only */
    uint64_t rounds; /* ended; changed between rounds only */
    /* any thread, atomic: first entry in no thread's share */
    _Atomic uint32_t record_next, slot_next, weak_next;
};
extern struct oracle oracle;

enum failure {
    FAILURE_EARLY,  /* freed while something still referred to it */
    FAILURE_LEAK,   /* alive though nothing refers to it */
    FAILURE_ORDER,  /* finalized or freed twice, or in the wrong order */
    FAILURE_WEAK,   /* a weak reference's answer or callback */
    FAILURE_COUNT,  /* a reference count */
    FAILURE_SLOT,   /* a slot that holds something else */
    FAILURE_LIBRARY /* gyre itself reported something */
};

/* False: no memory. Sizes are entries of a round. */
bool oracle_create(const struct graph *graph, uint32_t records, uint64_t slots,
                   uint32_t weaks);
/* Have all of its memory resident now, so that what grows is not the oracle. */
void oracle_populate(void);
void oracle_destroy(void);
/* Between rounds, no thread running: forget everything. */
void oracle_next_round(void);

/* A new object of `node`, not yet alive; 0 when the round has no more. */
uint32_t oracle_birth(struct shares *shares, uint32_t node, uint32_t slots,
                      unsigned writer);
/* The object exists at `where` and the caller has its reference. */
void oracle_born(uint32_t index, void *where);
/* Its memory was refused. */
void oracle_unborn(uint32_t index);
uint32_t oracle_weak_birth(struct shares *shares, uint32_t target,
                           bool callback);

/* Callbacks; `serial` as read from the object's body. Return its index. */
uint32_t oracle_finalizes(uint64_t serial, const void *where);
uint32_t oracle_dies(uint64_t serial, const void *where, bool has_finalizer);
/* A weak reference's callback, named by its token. */
uint32_t oracle_weak_called(uint64_t token);
/* The object just taken from a place that all write: which one is it? */
uint32_t oracle_identify(uint64_t serial, const void *where);
/* The object at `where`, expected to be `index`, has this serial. */
void oracle_mistaken(uint32_t index, uint64_t serial);
/* A thread is about to touch a dead object. */
void oracle_too_early(uint32_t index, const char *what);

/* While set, no object that it marks may be finalized. The checker sets it
 * around the collection at a quiescent point. */
extern const uint8_t *_Atomic oracle_reachable;

/* Write one line that names the object (index 0: none), and note the
 * failure. Leaks let the run go on; all else ends the program with status 1,
 * after the report. */
void oracle_fail(enum failure failure, uint32_t index, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* An own invariant is broken: the program is wrong, not gyre. */
void oracle_bug(uint32_t index, const char *what) __attribute__((noreturn));
uint64_t oracle_failures(enum failure failure);
uint64_t oracle_failures_all(void);
/* Called by the first failure that ends the program; does not return. */
extern void (*oracle_on_failure)(void);

static inline struct record *
record_of(uint32_t index)
{
    return &oracle.records[index];
}

static inline uint64_t
oracle_serial(uint32_t index)
{
    return oracle.base + index;
}

static inline uint32_t
held_count(uint32_t held)
{
    return held & ORACLE_HELD_MASK;
}

/* A reference was taken. */
static inline void
oracle_take(uint32_t index)
{
    /* relaxed: a count beside the reference; what must be seen of it by who
     * frees the object travels with the reference itself. */
    atomic_fetch_add_explicit(&record_of(index)->held, 1, memory_order_relaxed);
}

/* A reference is about to be given up. */
static inline void
oracle_drop(uint32_t index)
{
    struct record *record = record_of(index);
    /* relaxed: as in oracle_take() */
    uint32_t old = atomic_load_explicit(&record->held, memory_order_relaxed);
    uint32_t next;
    do {
        if (held_count(old) == 0)
            oracle_bug(index, "held falls below zero");
        next = old - 1;
        if (held_count(next) == 0)
            next += UINT32_C(1) << ORACLE_HELD_BITS;
        /* relaxed: as in oracle_take() */
    } while (!atomic_compare_exchange_weak_explicit(
        &record->held, &old, next, memory_order_relaxed, memory_order_relaxed));
}

static inline uint32_t
oracle_held(uint32_t index)
{
    /* seq_cst: read twice around a weak get, the two reads must not move
     * across it. A load alone puts no order between threads whose writes
     * are relaxed. */
    return atomic_load_explicit(&record_of(index)->held, memory_order_seq_cst);
}

/* Was the count above zero from one reading to the other? */
static inline bool
held_throughout(uint32_t before, uint32_t after)
{
    return held_count(before) > 0 && held_count(after) > 0 &&
           before >> ORACLE_HELD_BITS == after >> ORACLE_HELD_BITS;
}

static inline unsigned
oracle_state(uint32_t index)
{
    /* relaxed: a stale "alive" only misses a failure that the death itself
     * reports as well */
    return atomic_load_explicit(&record_of(index)->state, memory_order_relaxed);
}

static inline bool
oracle_is_alive(uint32_t index)
{
    unsigned state = oracle_state(index);
    return state == ORACLE_ALIVE || state == ORACLE_FINALIZED;
}

/* Before any touch of the object that a shadow names. */
static inline void
oracle_check_alive(uint32_t index, const char *what)
{
    if (__builtin_expect(!oracle_is_alive(index), 0))
        oracle_too_early(index, what);
}

static inline unsigned
oracle_writer(uint32_t index)
{
    /* relaxed: a thread reads its own number here only when it wrote that
     * itself, or was given it by what it waited for */
    return atomic_load_explicit(&record_of(index)->writer,
                                memory_order_relaxed);
}

static inline void
oracle_set_writer(uint32_t index, unsigned writer)
{
    /* relaxed: the right itself travels with the hand-over queue */
    atomic_store_explicit(&record_of(index)->writer, (uint16_t)writer,
                          memory_order_relaxed);
}

static inline void
oracle_note_weak(uint32_t index)
{
    /* relaxed: set by a thread that holds the object, so before its end */
    atomic_store_explicit(&record_of(index)->weak, 1, memory_order_relaxed);
}

static inline void
oracle_weak_gone(uint32_t weak, enum weak_state state)
{
    /* relaxed: WEAK_GONE_FIRST is set while the target is held, so it comes
     * before the target's end by that reference */
    atomic_store_explicit(&oracle.weaks[weak].state, (uint8_t)state,
                          memory_order_relaxed);
}

static inline uint64_t
oracle_weak_token(uint32_t weak)
{
    return oracle.rounds << 32 | weak;
}

#endif
