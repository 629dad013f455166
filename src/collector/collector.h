/* The cycle collector as the rest of the library sees it.
 * Design: docs/design/cycle.md .cycle .prove.exact */
#ifndef GYRE_SRC_COLLECTOR_H
#define GYRE_SRC_COLLECTOR_H

#include <pthread.h>
#include <stdbool.h>

#include <gyre/heap.h>
#include <gyre/statistics.h>

#include "../object/object.h"

struct mutator;

/* Ages in word 0. Births carry one of the first three; which one moves on at
 * each opening, so that what is born meanwhile is told apart. .cycle.stamp */
enum stamp {
    STAMP_BORN0,
    STAMP_BORN1,
    STAMP_BORN2,
    STAMP_MIDDLE,
    STAMP_OLD,
    STAMP_FROZEN
};
#define STAMPS_BORN 0x07u
#define STAMPS_ALL 0x3fu

static inline unsigned
word0_stamp(uint64_t word0)
{
    return (unsigned)((word0 & GYRE_WORD0_STAMP) >> GYRE_WORD0_STAMP_SHIFT);
}

static inline uint64_t
word0_with_stamp(uint64_t word0, unsigned stamp)
{
    return (word0 & ~GYRE_WORD0_STAMP) |
           ((uint64_t)stamp << GYRE_WORD0_STAMP_SHIFT);
}

/* A table of the last cycle, kept for the next; NULL: none. */
struct spare {
    void *table;
    size_t bytes; /* mapped */
};
enum spare_table { SPARE_WORDS, SPARE_SUSPECTS, SPARE_TABLES };

/* A heap's collector. One collection, walk or check at a time: `lock` is
 * taken while detached, and held across stops. */
struct collector {
    pthread_mutex_t lock;
    struct mutator *holder; /* who has it; atomic */
    bool forked;            /* the holder forked, this is the child */
    bool outrun;            /* threads waited for the last collection */

    /* atomic */
    uint32_t birth_stamp; /* written in a stop or before a soft handshake */
    int64_t net;          /* container births less deaths, as far as noted */
    int64_t net_base;     /* its value when the young were last collected */
    uint64_t young_since_middle, middle_since_old; /* collections */
    uint64_t long_lived, long_lived_pending; /* survivors of old and, since
                                              * then, of middle collections */
    uint64_t looked_at_since_old; /* candidates of collections not old */
    uint32_t disabled;            /* > 0: no automatic collections */
    uint32_t asked;   /* generation + 1 of one asked for, and whether by name;
                       * 0: none */
    uint32_t serving; /* what of it was by name, while it is done */
    uint32_t grace_asked; /* 1: pages wait for a grace period */
    uint64_t frozen;      /* objects */
    uint64_t collections[GYRE_GENERATIONS];
    uint64_t collected, uncollectable, resurrected, abandoned;
    uint64_t slices, suspected, suspected_falsely;
    uint32_t over_limbo;    /* cycles abandoned in a row for limbo's bound */
    uint32_t yield;         /* of the last one's candidates, percent garbage */
    bool urgent;            /* over the soft limit, until all is collected */
    uint64_t pages_at_last; /* in use when it ended */
    uint64_t emergencies;

    pthread_mutex_t grace_lock; /* held while waiting for readers: a fork must
                                 * not find liburcu's locks taken by us */
    struct spare spares[SPARE_TABLES]; /* under lock */
    struct object_list garbage; /* under lock; each entry holds a reference */

    /* the heap's own thread */
    pthread_mutex_t thread_lock; /* a leaf lock but for pthread_create */
    pthread_cond_t wake;
    pthread_t thread;
    uint32_t waiters; /* threads that wait for it; under thread_lock, atomic */
    /* under thread_lock */
    bool started, stopping;
    bool working;        /* it does what was asked */
    pthread_cond_t done; /* something it did is done */
    /* collections for allocations that found no memory .pace.limit */
    uint64_t emergencies_wanted, emergencies_done;
    uint64_t rest_until_ns; /* none before that */
    bool no_threads;        /* const after fork under a thread sanitizer */
};

enum gyre_status gyre_collector_init(struct gyre_heap *heap);
void gyre_collector_destroy(struct gyre_heap *heap);

/* Start the heap's thread if it should have one and has not. */
void gyre_collector_start(struct gyre_heap *heap);
/* Stop and join it. No lock is held; the caller is not attached. */
void gyre_collector_stop(struct gyre_heap *heap);

/* Have a grace period waited for when many pages need one. */
void gyre_collector_note_retiring(struct gyre_heap *heap);
/* A slow allocation of a container may have passed a threshold. */
void gyre_collector_note_births(struct mutator *self);
/* The thread leaves, or is not there any more: of its births and deaths those
 * that were not noted are left for others to note. */
void gyre_collector_leave_births(struct mutator *self);
/* Have a collection of at least `generation` run soon, on the heap's thread
 * or at a safepoint of the calling one. */
/* In a forked child: what was asked for by name, and was being done. */
void gyre_collector_restore_asked(struct collector *collector);
void gyre_collector_ask(struct gyre_heap *heap,
                        enum gyre_generation generation);
/* At the outermost safepoint: run what was asked of this thread. */
void gyre_collector_poll(struct mutator *self);
/* Have a grace period for emptied pages, without a collection too. */
void gyre_collector_ask_grace(struct gyre_heap *heap);
/* Wait until the heap's thread has nothing to do, so long at most. A
 * safepoint for the world, but nothing runs on this thread. */
void gyre_collector_wait(struct mutator *self, uint64_t most_ns);
/* The caller's allocation found no memory: have all collected, and wait for
 * it as in gyre_collector_wait(). True: it is worth another try. .pace.limit */
bool gyre_collector_emergency(struct gyre_thread *self);

/* pacing.c: may collections run that nobody called for? */
bool gyre_pacing_is_automatic(const struct gyre_heap *heap);
/* At the outermost safepoint: bytes in use are looked at; wait for the
 * collector if it is outrun. */
void gyre_pacing_poll(struct mutator *self);

/* Take the collector lock; a safepoint. False: this thread has it already,
 * or is inside a callback. */
bool gyre_collector_lock(struct mutator *self);
void gyre_collector_unlock(struct mutator *self);

/* spare.c: a table of at least `*bytes`, raised to what is mapped; NULL when
 * out of memory. SPARE_WORDS is zeroed. Given back it may be kept. With the
 * collector's lock. */
void *gyre_spare_take(struct gyre_heap *heap, enum spare_table which,
                      size_t *bytes);
void gyre_spare_give(struct gyre_heap *heap, enum spare_table which,
                     void *table, size_t bytes);
/* At the end of a cycle: drop those that are too large for the heap. */
void gyre_spare_settle(struct gyre_heap *heap);
void gyre_spare_drop(struct gyre_heap *heap);

/* One collection; the caller holds the collector lock, attached. */
enum gyre_status gyre_cycle_run(struct mutator *self,
                                enum gyre_generation generation,
                                bool automatic);
/* The generation that an automatic collection takes now. generation.c */
enum gyre_generation gyre_generation_due(struct gyre_heap *heap);
void gyre_generation_collected(struct gyre_heap *heap,
                               enum gyre_generation generation,
                               uint64_t candidates, uint64_t survivors);

/* Free pages that wait for a grace period. Attached, at a safepoint. */
void gyre_collector_grace(struct mutator *self);

/* In a stop: what is born from now on carries the birth stamp. */
void gyre_collector_set_birth_stamp(struct gyre_heap *heap, unsigned stamp);
/* A thread attaches: take the birth stamp over. */
void gyre_collector_thread_init(struct mutator *self);
/* Take over which stamp births carry and whose dead wait in limbo. The
 * thread, after it read the phase that it will answer, or after it returned;
 * or under its claim. .open.shake */
void gyre_collector_follow(struct mutator *self);

/* In a stop: stamps and tables between collections; fatal when broken. */
void gyre_collector_check(struct gyre_heap *heap);

/* `holder`: the forking thread when it is inside a collection, which goes on
 * in the child, else NULL. True: the heap had a thread, to be started again
 * once the child's heap is whole. */
bool gyre_collector_after_fork_child(struct gyre_heap *heap,
                                     struct mutator *holder);

#endif
