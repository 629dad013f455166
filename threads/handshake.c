/* Soft handshakes: each thread answers by itself at a safepoint, none waits
 * for another, and for those detached or gone the poster answers.
 * Design: docs/design/threads.md .thread.soft, after [DL93] */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "threads.h"
#include "yield.h"

uint32_t
gyre_handshake_phase(struct participant *part)
{
    /* acquire; pairs: gyre_handshake_soft(). What the poster wrote before it
     * moved the phase on is visible to us who act on it. */
    return gyre_load_acquire(&part->world->phase);
}

void
gyre_handshake_answer(struct participant *part, uint32_t phase)
{
    struct world *world = part->world;
    if (gyre_load_relaxed(&part->ack) == phase)
        return;
    GYRE_YIELD_POINT("answer");
    /* seq_cst; pairs: gyre_handshake_soft(). All that the phase asks of this
     * thread is done before the answer can be seen; and the look at
     * `attention` comes after it. */
    gyre_store_seq_cst(&part->ack, phase);
    /* seq_cst; pairs: gyre_handshake_soft() */
    if (gyre_load_seq_cst(&world->attention) != 0) {
        pthread_mutex_lock(&world->lock);
        pthread_cond_broadcast(&world->changed);
        pthread_mutex_unlock(&world->lock);
    }
}

/* Has `part` answered, or was it answered for? */
static bool
answered(struct world *world, struct participant *part, uint32_t phase)
{
    /* acquire; pairs: gyre_handshake_answer() */
    if (gyre_load_acquire(&part->ack) == phase)
        return true;
    if (!gyre_participant_claim(part))
        return false;
    world->answer_for(part, world->arg);
    /* release; pairs: answered(). The claim orders it for the owner. */
    gyre_store_release(&part->ack, phase);
    gyre_participant_release(part);
    world->look_again(part, world->arg);
    return true;
}

static struct timespec
deadline_after(uint64_t timeout_ms)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(timeout_ms / 1000);
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

/* `part` has not answered in time: name it in the statistics. */
static void
name_late(struct world *world, const struct participant *part,
          uint64_t timeout_ms)
{
    pthread_mutex_lock(&world->lock);
    world->stop_timeouts++;
    if (timeout_ms * 1000000 > world->slowest_ns) {
        world->slowest_ns = timeout_ms * 1000000;
        memcpy(world->slowest_name, part->name, sizeof world->slowest_name);
    }
    pthread_mutex_unlock(&world->lock);
}

/* Until it has answered, or can be answered for, or it is time to sleep. */
static void
spin_for_answer(const struct participant *part, uint32_t phase)
{
    uint64_t until = gyre_clock_ns() + WORLD_SPIN_NS;
    /* relaxed, both: looked at again */
    while (gyre_load_relaxed(&part->ack) != phase &&
           gyre_load_relaxed(&part->state) == PART_RUNNING &&
           gyre_clock_ns() < until)
        spin_pause();
}

/* Wait for one participant's answer. False: not before `until`. */
static bool
await_answer(struct world *world, struct participant *part, uint32_t phase,
             const struct timespec *until)
{
    while (!answered(world, part, phase)) {
        int error = 0;
        pthread_mutex_lock(&world->lock);
        /* seq_cst, both; pairs: gyre_handshake_answer(), tell_watchers().
         * Looked at under the lock and after `attention` was raised: an
         * answer after this look is told to us. The same for a thread that
         * detached, leaves or was released: it can be claimed now. */
        uint32_t state = gyre_load_seq_cst(&part->state);
        if (gyre_load_seq_cst(&part->ack) != phase && state != PART_DETACHED &&
            state != PART_GONE)
            error =
                pthread_cond_timedwait(&world->changed, &world->lock, until);
        pthread_mutex_unlock(&world->lock);
        if (error == ETIMEDOUT)
            return answered(world, part, phase);
    }
    return true;
}

enum gyre_status
gyre_handshake_soft(struct world *world, struct participant *self,
                    uint64_t timeout_ms)
{
    struct timespec until = deadline_after(timeout_ms);
    enum gyre_status status = GYRE_OK;
    struct participant *part;
    struct participant *first;
    bool may_spin;
    uint32_t phase = gyre_load_relaxed(&world->phase) + 1;
    /* Under the lock: one that enters is listed before this, and answers, or
     * starts in this phase, and sees all that was written before it. */
    pthread_mutex_lock(&world->lock);
    /* seq_cst; pairs: gyre_handshake_phase(). One poster at a time. */
    gyre_store_seq_cst(&world->phase, phase);
    first = gyre_load_relaxed(&world->participants);
    pthread_mutex_unlock(&world->lock);
    /* relaxed: our own word */
    if (self != NULL)
        gyre_store_relaxed(&self->ack, phase);
    /* seq_cst; pairs: gyre_handshake_answer(), tell_watchers() */
    gyre_fetch_add_seq_cst(&world->attention, 1);
    for (part = first; part != NULL; part = part->next)
        if (part != self)
            gyre_participant_request(part, REQUEST_PHASE);
    may_spin = gyre_world_may_spin(world, self);
    for (part = first; part != NULL && status == GYRE_OK; part = part->next) {
        if (may_spin && part != self)
            spin_for_answer(part, phase);
        if (!await_answer(world, part, phase, &until)) {
            name_late(world, part, timeout_ms);
            status = GYRE_ERR_TIMEOUT;
        }
    }
    /* seq_cst; pairs: tell_watchers(). Seen late it costs a wake-up. */
    gyre_fetch_sub_seq_cst(&world->attention, 1);
    return status;
}
