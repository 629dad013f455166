/* Who runs and who waits: attached threads as participants of a world, soft
 * handshakes, stops, grace periods. Knows nothing of objects.
 *
 * Design: docs/design/threads.md .thread */
#ifndef GYRE_THREADS_THREADS_H
#define GYRE_THREADS_THREADS_H

#include <pthread.h>
#include <stdbool.h>

#include <gyre/atomic.h>
#include <gyre/statistics.h>
#include <gyre/status.h>

#include "rcu.h"

/*            attach                      detach_begin
 *   GONE ------------> RUNNING ---------------------------> DETACHED
 *    ^ |                | ^ ^ '-----------------------------'  | ^ |
 *    | '-> CLAIMED --.  | | |           detach_end             | | |
 *    '---------------'  | | '--------- HELD <------------------' | |
 *      proxy, on a      v |  resume      ^    stopper            | |
 *      number's orphans PARKED           '- resume (not waited) -' v
 *                                                              CLAIMED
 *  state     moved on by               others may meanwhile
 *  RUNNING   the thread alone          nothing
 *  DETACHED  the thread; a stopper or  do its work for it, under CLAIMED
 *            a proxy by claim
 *  PARKED    the stopper               everything
 *  HELD      the stopper               everything; was DETACHED
 *  CLAIMED   who claimed it            wait
 *  GONE      an attach or a proxy      merge its orphans, under CLAIMED
 * Every change but the owner's own out of RUNNING is a compare-and-swap. */
enum participant_state {
    PART_GONE,
    PART_RUNNING,
    PART_DETACHED,
    PART_PARKED,
    PART_HELD,
    PART_CLAIMED
};

/* Bits of struct gyre_thread.requests: hints that the slow path has work. */
enum thread_request {
    REQUEST_STOP = 1,
    REQUEST_PHASE = 2,
    REQUEST_MERGE = 4,      /* the merge queue is not empty */
    REQUEST_PENDING = 8,    /* own put-off work: finalizers, cascade, ... */
    REQUEST_QUIESCENT = 16, /* somebody waits for a grace period */
    REQUEST_COLLECT = 32,   /* a collection is due on this thread */
    REQUEST_MEMORY = 64     /* the heap asks for a look at its pages */
};

struct world;

struct participant {
    struct world *world;      /* const */
    struct participant *next; /* const once listed: the list only grows */
    uint32_t *requests;       /* const; the word its owner polls */
    uint32_t number;          /* const; 0: without one */
    /* any thread, atomic */
    uint32_t state;        /* enum participant_state */
    uint32_t claimed_from; /* under CLAIMED: the state to go back to */
    uint32_t returning;    /* 1: its thread waits to be RUNNING again */
    uint32_t ack;          /* the last phase this participant answered */
    /* under world->lock */
    struct participant *next_free; /* of the numbers to give out */
    bool internal;                 /* one of the library's own threads */
    uint64_t asked_ns;             /* when the running stop asked it */
    char name[32];
    /* owner only */
    struct rcu_member rcu;
    pthread_t os_thread;
};

struct world {
    pthread_mutex_t lock;   /* below: no lock but the page lock */
    pthread_cond_t changed; /* stopper and handshaker wait here */
    pthread_cond_t resumed; /* parked, returning and attaching ones here */
    /* atomic */
    struct participant *participants; /* prepended under lock */
    uint32_t stop_wanted;             /* 1 from request to resume */
    uint32_t phase;                   /* of the latest soft handshake */
    uint32_t attention;               /* > 0: somebody waits on `changed` */
    uint32_t spin_ns; /* in a stop: for how long the parked look around for its
                       * end before they sleep; written under lock */
    uint32_t processors; /* const: that this process may use */
    /* under lock */
    struct participant *free_numbers;
    struct participant *free_unnumbered;
    uint32_t numbers_made, numbers_limit;
    uint64_t attached; /* internal ones too */
    uint64_t leaving;  /* GONE, but their threads look at the world still */
    uint64_t attached_internal, attached_ever, stop_timeouts, slowest_ns;
    char slowest_name[32];
    /* of the latest stop: request, all stopped, let go; its stopper's */
    uint64_t stop_began_ns, stopped_ns, resumed_ns;
    /* const after init: do a detached or gone participant's part of a soft
     * handshake, under its claim; and look at its queue again once the claim
     * is released, for those who pushed meanwhile and found it claimed */
    void (*answer_for)(struct participant *part, void *arg);
    void (*look_again)(struct participant *part, void *arg);
    void *arg;
};

uint64_t gyre_clock_ns(void); /* CLOCK_MONOTONIC */

/* Between two looks of one that waits without sleeping. */
static inline void
spin_pause(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

enum gyre_status gyre_world_init(
    struct world *world, uint32_t numbers,
    void (*answer_for)(struct participant *, void *),
    void (*look_again)(struct participant *, void *), void *arg);
void gyre_world_destroy(struct world *world);

/* Become RUNNING; waits while the world is stopped. `make` gives a fresh
 * participant (listed here) when none can be reissued: NULL is out of
 * memory, and NULL is returned. `numbered`: a thread of the program's, which
 * gets a number if there is one; else one of the library's own. */
struct participant *gyre_world_enter(
    struct world *world, bool numbered,
    struct participant *(*make)(void *arg, uint32_t number), void *arg);
/* RUNNING to GONE. The caller looks at what others left for it afterwards,
 * and comes back with gyre_world_reenter() if there is something. If not, or
 * another has seen to it, gyre_world_left() is its last look at the world,
 * which may be destroyed from then on. */
void gyre_world_leave(struct participant *part);
bool gyre_world_reenter(struct participant *part);
void gyre_world_left(struct world *world);

void gyre_participant_detach(struct participant *part);
void gyre_participant_return(struct participant *part);
/* The same in two halves: false when it would have to wait, which the other
 * must do then. */
bool gyre_participant_try_return(struct participant *part);
void gyre_participant_wait_to_return(struct participant *part);
/* Wait while a stop is wanted. RUNNING, at a safepoint. */
void gyre_participant_park(struct participant *part);
/* Take a detached or gone participant over; false when it is neither. */
bool gyre_participant_claim(struct participant *part);
void gyre_participant_release(struct participant *part);
void gyre_participant_request(struct participant *part, uint32_t bits);

/* Soft handshake: every participant answers by itself or is answered for;
 * none waits for another. `self` (may be NULL) has answered already. Waits
 * `timeout_ms` at most. The caller holds no lock an online thread takes. */
enum gyre_status gyre_handshake_soft(struct world *world,
                                     struct participant *self,
                                     uint64_t timeout_ms);
/* The participant's own part: read the phase, act, answer. */
uint32_t gyre_handshake_phase(struct participant *part);
void gyre_handshake_answer(struct participant *part, uint32_t phase);
/* Whether `phase` is yet to be answered by it. */
static inline bool
gyre_handshake_asked(const struct participant *part, uint32_t phase)
{
    /* relaxed: its own word, or written under its claim */
    return gyre_load_relaxed(&part->ack) != phase;
}

/* Stop every participant but `self` (may be NULL). GYRE_ERR_TIMEOUT: not all
 * came in time; nothing is stopped then. One stopper at a time: callers hold
 * the collector lock. */
enum gyre_status gyre_world_stop(struct world *world, struct participant *self,
                                 uint64_t timeout_ms);
void gyre_world_resume(struct world *world);
/* Threads that poll answer within less than this, as a rule; looking around
 * for so long is cheaper than a sleep and its end. */
#define WORLD_SPIN_NS 20000u
/* Whether it takes no processor from one that is waited for: `self`, who may be
 * NULL, and all that are not detached have one each. Any thread. */
bool gyre_world_may_spin(struct world *world, const struct participant *self);

static inline bool
world_wants_stop(const struct world *world)
{
    /* seq_cst; pairs: gyre_world_stop(). Either the stopper sees the state
     * this thread stored before, or this thread sees the wish. */
    return gyre_load_seq_cst(&world->stop_wanted) != 0;
}

/* Wait until every thread of the process that is online in RCU has passed a
 * quiescent state. The caller is a participant detached or parked, or none.
 * Running participants are asked to poll. */
void gyre_world_grace_period(struct world *world);

/* Ask every running participant to pass a quiescent state, in case somebody
 * of the process waits for a grace period. */
void gyre_world_nudge_readers(struct world *world);

void gyre_world_statistics(struct world *world, struct gyre_statistics *out);
/* States agree with a stopped world; fatal when not. In a stop. */
void gyre_world_check(struct world *world, struct participant *self);

/* A thread is about to fork, and has forked: collections wait meanwhile. */
void gyre_fork_gate_close(void);
void gyre_fork_gate_open(void);
bool gyre_fork_gate_is_closed(void);
/* Wait until nobody forks; detached. */
void gyre_fork_gate_wait(void);
void gyre_fork_gate_after_child(void);

/* fork: in the child, everyone but `self` is gone. Those who were attached
 * are not given out again before gyre_world_reissue_gone(), by when what they
 * had at hand must be taken over. */
void gyre_world_after_fork_child(struct world *world, struct participant *self);
void gyre_world_reissue_gone(struct world *world);

#endif
