/* Stop and resume every thread of a world, and grace periods.
 * Design: docs/design/threads.md .thread.stop .thread.rcu */
#include <errno.h>
#include <time.h>

#include "threads.h"
#include "yield.h"

/* True when `part` is out of the way: parked, held by us, or gone. */
static bool
hold(struct participant *part)
{
    /* seq_cst; pairs: become_parked(), tell_watchers(). All a parked
     * thread did is visible to us; and one that detaches after this look
     * finds that we wait. */
    uint32_t state = gyre_load_seq_cst(&part->state);
    while (state == PART_DETACHED) {
        /* seq_cst; pairs: gyre_participant_detach(),
         * gyre_participant_return(). Either it comes back first and we wait
         * for its safepoint, or it waits for us. */
        if (gyre_cas_seq_cst(&part->state, &state, PART_HELD))
            return true;
    }
    return state == PART_PARKED || state == PART_HELD || state == PART_GONE;
}

static bool
hold_all(struct world *world, struct participant *self)
{
    bool all = true;
    /* acquire; pairs: list_participant(). Nobody is listed while a stop is
     * wanted, and world->lock is held by the caller. */
    struct participant *part = gyre_load_acquire(&world->participants);
    for (; part != NULL; part = part->next)
        if (part != self && !hold(part))
            all = false;
    return all;
}

/* A slice is over by then, as a rule. */
#define PARK_SPIN_NS 150000u

bool
gyre_world_may_spin(struct world *world, const struct participant *self)
{
    uint32_t running = self != NULL;
    /* acquire; pairs: list_participant() */
    const struct participant *part = gyre_load_acquire(&world->participants);
    for (; part != NULL; part = part->next) {
        /* relaxed: a count of those who may want a processor */
        uint32_t state = gyre_load_relaxed(&part->state);
        running += part != self && state != PART_DETACHED &&
                   state != PART_HELD && state != PART_GONE;
    }
    return running <= world->processors;
}

static bool
has_arrived(const struct participant *part)
{
    /* acquire; pairs: become_parked(). Looked at again under the lock. */
    uint32_t state = gyre_load_acquire(&part->state);
    return state != PART_RUNNING && state != PART_CLAIMED;
}

/* Until all are out of the way, or it is time to sleep. Without the lock. */
static void
spin_for_all(const struct world *world, const struct participant *self)
{
    uint64_t until = gyre_clock_ns() + WORLD_SPIN_NS;
    /* acquire; pairs: list_participant() */
    const struct participant *part = gyre_load_acquire(&world->participants);
    while (part != NULL && gyre_clock_ns() < until) {
        if (part == self || has_arrived(part))
            part = part->next;
        else
            spin_pause();
    }
}

/* Everyone may run again. Under world->lock. */
static void
let_go(struct world *world, struct participant *self)
{
    struct participant *part;
    /* seq_cst; pairs: world_wants_stop() */
    gyre_store_seq_cst(&world->stop_wanted, 0);
    for (part = gyre_load_relaxed(&world->participants); part != NULL;
         part = part->next) {
        uint32_t state = gyre_load_relaxed(&part->state);
        part->asked_ns = 0;
        if (part == self)
            continue;
        /* seq_cst; pairs: is_let_go(), gyre_participant_wait_to_return().
         * What the stopper did is visible to the thread. One that waits is
         * made RUNNING here: the next stop waits for it. */
        if (state == PART_PARKED)
            gyre_store_seq_cst(&part->state, PART_RUNNING);
        else if (state == PART_HELD)
            gyre_store_seq_cst(&part->state,
                               gyre_load_relaxed(&part->returning) != 0
                                   ? PART_RUNNING
                                   : PART_DETACHED);
    }
    world->resumed_ns = gyre_clock_ns();
}

/* What was pushed to a thread while it was held was left to us. */
static void
look_at_all(struct world *world)
{
    /* acquire; pairs: list_participant() */
    struct participant *part = gyre_load_acquire(&world->participants);
    for (; part != NULL; part = part->next)
        world->look_again(part, world->arg);
}

static void
name_slowest(struct world *world, struct participant *self, uint64_t now)
{
    struct participant *part;
    world->stop_timeouts++;
    for (part = gyre_load_relaxed(&world->participants); part != NULL;
         part = part->next) {
        uint32_t state = gyre_load_relaxed(&part->state);
        if (part == self || (state != PART_RUNNING && state != PART_CLAIMED))
            continue;
        if (now - world->stop_began_ns > world->slowest_ns) {
            world->slowest_ns = now - world->stop_began_ns;
            for (size_t i = 0; i < sizeof world->slowest_name; i++)
                world->slowest_name[i] = part->name[i];
        }
    }
}

enum gyre_status
gyre_world_stop(struct world *world, struct participant *self,
                uint64_t timeout_ms)
{
    struct participant *part;
    struct timespec until;
    bool stopped, may_spin;
    int error = 0;
    /* A thread that waits for a grace period must not wait for us who wait
     * for it. */
    if (self != NULL)
        rcu_member_offline(&self->rcu);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    until.tv_sec += (time_t)(timeout_ms / 1000) + until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;

    pthread_mutex_lock(&world->lock);
    world->stop_began_ns = gyre_clock_ns();
    /* seq_cst; pairs: tell_watchers(). Before we look at any state. */
    gyre_fetch_add_seq_cst(&world->attention, 1);
    /* seq_cst; pairs: world_wants_stop() */
    gyre_store_seq_cst(&world->stop_wanted, 1);
    for (part = gyre_load_relaxed(&world->participants); part != NULL;
         part = part->next) {
        part->asked_ns = world->stop_began_ns;
        if (part != self)
            gyre_participant_request(part, REQUEST_STOP);
    }
    /* relaxed: for those who park after they saw the wish; a stale one is a
     * little waste */
    may_spin = gyre_world_may_spin(world, self);
    gyre_store_relaxed(&world->spin_ns, may_spin ? PARK_SPIN_NS : 0);
    GYRE_YIELD_POINT("stop");
    if (may_spin && !hold_all(world, self)) {
        pthread_mutex_unlock(&world->lock);
        spin_for_all(world, self);
        pthread_mutex_lock(&world->lock);
    }
    while (!(stopped = hold_all(world, self)) && error != ETIMEDOUT)
        error = pthread_cond_timedwait(&world->changed, &world->lock, &until);
    world->stopped_ns = gyre_clock_ns();
    /* seq_cst; pairs: tell_watchers(). Seen late it costs a wake-up. */
    gyre_fetch_sub_seq_cst(&world->attention, 1);
    if (!stopped) {
        name_slowest(world, self, world->stopped_ns);
        let_go(world, self);
    }
    pthread_mutex_unlock(&world->lock);
    if (self != NULL)
        rcu_member_online(&self->rcu);
    if (!stopped) {
        pthread_cond_broadcast(&world->resumed);
        look_at_all(world);
    }
    return stopped ? GYRE_OK : GYRE_ERR_TIMEOUT;
}

void
gyre_world_resume(struct world *world)
{
    pthread_mutex_lock(&world->lock);
    let_go(world, NULL);
    pthread_mutex_unlock(&world->lock);
    /* Without the lock, which those who wake want. */
    pthread_cond_broadcast(&world->resumed);
    look_at_all(world);
}

void
gyre_world_grace_period(struct world *world)
{
    struct participant *part;
    /* acquire; pairs: list_participant() */
    struct participant *first = gyre_load_acquire(&world->participants);
    /* Threads that only poll never reach liburcu: ask them to. */
    for (part = first; part != NULL; part = part->next)
        gyre_participant_request(part, REQUEST_QUIESCENT);
    rcu_wait_for_readers();
    for (part = first; part != NULL; part = part->next)
        rcu_member_waited_for(&part->rcu);
}

void
gyre_world_nudge_readers(struct world *world)
{
    /* acquire; pairs: list_participant() */
    struct participant *part = gyre_load_acquire(&world->participants);
    for (; part != NULL; part = part->next)
        /* relaxed: one missed is asked at the next tick */
        if (gyre_load_relaxed(&part->state) == PART_RUNNING)
            gyre_participant_request(part, REQUEST_QUIESCENT);
}

void
gyre_world_check(struct world *world, struct participant *self)
{
    struct participant *part;
    uint64_t attached = 0;
    for (part = gyre_load_relaxed(&world->participants); part != NULL;
         part = part->next) {
        uint32_t state = gyre_load_relaxed(&part->state);
        GYRE_CHECK(part == self || state == PART_PARKED || state == PART_HELD ||
                       state == PART_GONE,
                   "world: thread %u is in state %u during a stop",
                   part->number, state);
        if (state != PART_GONE)
            attached++;
    }
    GYRE_CHECK(attached == world->attached,
               "world: %lu threads attached, %lu counted",
               (unsigned long)attached, (unsigned long)world->attached);
}
