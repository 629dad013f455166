/* Participants of a world: how a thread enters and leaves, and how its
 * number, with the objects that carry it, passes to the next.
 * Design: docs/design/threads.md .thread .rc.orphan */
#define _GNU_SOURCE /* CPU_COUNT */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <time.h>

#include "threads.h"
#include "yield.h"

uint64_t
gyre_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static enum gyre_status
init_conditions(struct world *world)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0)
        return GYRE_ERR_NOMEM;
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&world->changed, &attr);
    pthread_cond_init(&world->resumed, &attr);
    pthread_condattr_destroy(&attr);
    return GYRE_OK;
}

/* Those that the calling thread may run on, and so those it starts, as a rule.
 * Too many of them for a mask count as many. */
static uint32_t
count_processors(void)
{
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) != 0)
        return UINT32_MAX;
    return (uint32_t)CPU_COUNT(&mask);
}

enum gyre_status
gyre_world_init(struct world *world, uint32_t numbers,
                void (*answer_for)(struct participant *, void *),
                void (*look_again)(struct participant *, void *), void *arg)
{
    memset(world, 0, sizeof *world);
    pthread_mutex_init(&world->lock, NULL);
    world->numbers_limit = numbers;
    world->processors = count_processors();
    world->answer_for = answer_for;
    world->look_again = look_again;
    world->arg = arg;
    return init_conditions(world);
}

void
gyre_world_destroy(struct world *world)
{
    pthread_cond_destroy(&world->resumed);
    pthread_cond_destroy(&world->changed);
    pthread_mutex_destroy(&world->lock);
}

/* A listed participant that nobody uses, or NULL. A number whose orphans a
 * proxy is merging right now is passed over. Under world->lock. */
static struct participant *
take_free(struct participant **list)
{
    for (struct participant **at = list; *at != NULL; at = &(*at)->next_free) {
        struct participant *part = *at;
        uint32_t state = PART_GONE;
        /* acquire; pairs: gyre_participant_release(), gyre_world_leave().
         * What the last owner or proxy did to the orphans is visible to the
         * new owner. */
        if (gyre_cas_acquire(&part->state, &state, PART_RUNNING)) {
            *at = part->next_free;
            part->next_free = NULL;
            return part;
        }
    }
    return NULL;
}

static void
list_participant(struct world *world, struct participant *part, uint32_t number)
{
    part->world = world;
    part->number = number;
    /* relaxed: published by the store below; nobody else knows it yet */
    gyre_store_relaxed(&part->state, PART_RUNNING);
    gyre_store_relaxed(&part->ack, gyre_load_relaxed(&world->phase));
    part->next = gyre_load_relaxed(&world->participants);
    /* release; pairs: gyre_handshake_soft(), gyre_world_stop(). Whoever finds
     * it in the list finds it made. */
    gyre_store_release(&world->participants, part);
}

static struct participant *
make_participant(struct world *world, bool numbered,
                 struct participant *(*make)(void *, uint32_t), void *arg)
{
    uint32_t number = 0;
    if (numbered && world->numbers_made < world->numbers_limit)
        number = world->numbers_made + 1;
    struct participant *part = make(arg, number);
    if (part == NULL)
        return NULL;
    if (number != 0)
        world->numbers_made++;
    list_participant(world, part, number);
    return part;
}

static void
count_attached(struct participant *part)
{
    part->world->attached++;
    part->world->attached_internal += part->internal;
}

struct participant *
gyre_world_enter(struct world *world, bool numbered,
                 struct participant *(*make)(void *, uint32_t), void *arg)
{
    struct participant *part;
    pthread_mutex_lock(&world->lock);
    while (world_wants_stop(world))
        pthread_cond_wait(&world->resumed, &world->lock);
    part = numbered ? take_free(&world->free_numbers) : NULL;
    if (part == NULL &&
        (!numbered || world->numbers_made == world->numbers_limit))
        part = take_free(&world->free_unnumbered);
    if (part == NULL)
        part = make_participant(world, numbered, make, arg);
    /* No memory: one of the library's own, which may be there to free some,
     * does with the record of a thread that left. */
    if (part == NULL && !numbered)
        part = take_free(&world->free_numbers);
    if (part != NULL) {
        /* relaxed: a new owner starts in the present phase; a handshake that
         * is under way holds no lock, and finds an answer here that is true:
         * this thread has done nothing yet that the phase is about. */
        gyre_store_relaxed(&part->ack, gyre_load_relaxed(&world->phase));
        part->name[0] = '\0';
        part->os_thread = pthread_self();
        part->internal = !numbered;
        count_attached(part);
        world->attached_ever += numbered;
    }
    pthread_mutex_unlock(&world->lock);
    if (part != NULL)
        rcu_member_join(&part->rcu);
    return part;
}

/* To be given out again. Under world->lock. */
static void
list_free(struct world *world, struct participant *part)
{
    struct participant **list =
        part->number != 0 ? &world->free_numbers : &world->free_unnumbered;
    part->next_free = *list;
    *list = part;
}

void
gyre_world_leave(struct participant *part)
{
    struct world *world = part->world;
    rcu_member_leave(&part->rcu);
    GYRE_YIELD_POINT("leave");
    pthread_mutex_lock(&world->lock);
    world->attached--;
    world->attached_internal -= part->internal;
    world->leaving++;
    list_free(world, part);
    /* seq_cst; pairs: gyre_participant_claim(). Entries pushed before this
     * are seen by our caller's look at the queue, those after it by a pusher
     * that finds the thread gone. */
    gyre_store_seq_cst(&part->state, PART_GONE);
    pthread_cond_broadcast(&world->changed);
    pthread_mutex_unlock(&world->lock);
}

void
gyre_world_left(struct world *world)
{
    pthread_mutex_lock(&world->lock);
    world->leaving--;
    pthread_mutex_unlock(&world->lock);
}

static void
unlink_free(struct participant **list, struct participant *part)
{
    while (*list != NULL && *list != part)
        list = &(*list)->next_free;
    if (*list == part)
        *list = part->next_free;
}

bool
gyre_world_reenter(struct participant *part)
{
    struct world *world = part->world;
    bool ours;
    pthread_mutex_lock(&world->lock);
    while (world_wants_stop(world))
        pthread_cond_wait(&world->resumed, &world->lock);
    uint32_t state = PART_GONE;
    /* acquire; pairs: gyre_participant_release(). Fails when a proxy or a
     * new owner has it, who look at the queue themselves. */
    ours = gyre_cas_acquire(&part->state, &state, PART_RUNNING);
    if (ours) {
        unlink_free(&world->free_numbers, part);
        unlink_free(&world->free_unnumbered, part);
        part->next_free = NULL;
        count_attached(part);
        world->leaving--;
    }
    pthread_mutex_unlock(&world->lock);
    if (ours)
        rcu_member_join(&part->rcu);
    return ours;
}

void
gyre_participant_request(struct participant *part, uint32_t bits)
{
    /* seq_cst; pairs: gyre_safepoint_slow(). The cause of the request was
     * stored before it. */
    gyre_fetch_or_seq_cst(part->requests, bits);
}

/* Somebody sleeps on `changed`: tell it that a state or an answer moved. */
static void
tell_watchers(struct world *world)
{
    /* seq_cst; pairs: gyre_world_stop(), gyre_handshake_soft(). The watcher
     * raises this before it looks, we look after we moved: one of us sees
     * the other. */
    if (gyre_load_seq_cst(&world->attention) != 0) {
        pthread_mutex_lock(&world->lock);
        pthread_cond_broadcast(&world->changed);
        pthread_mutex_unlock(&world->lock);
    }
}

void
gyre_participant_detach(struct participant *part)
{
    rcu_member_offline_begin(&part->rcu);
    GYRE_YIELD_POINT("detach");
    /* seq_cst; pairs: gyre_participant_claim(), gyre_world_stop(). Releases
     * all this thread did to whoever claims it; and what is pushed to its
     * queue after this is drained by the pusher. Only the owner moves a
     * participant out of RUNNING, so no compare is needed. */
    gyre_exchange_seq_cst(&part->state, PART_DETACHED);
    rcu_member_offline_end(&part->rcu);
    tell_watchers(part->world);
}

/* Slow half of a return: the world is stopped or a proxy is at work. */
void
gyre_participant_wait_to_return(struct participant *part)
{
    struct world *world = part->world;
    /* it may take long: hold up no grace period meanwhile */
    rcu_member_offline(&part->rcu);
    pthread_mutex_lock(&world->lock);
    /* seq_cst; pairs: gyre_participant_release(). Raised before we look at
     * the state: a proxy that releases after our look sees it. */
    gyre_store_seq_cst(&part->returning, 1);
    for (;;) {
        uint32_t state = PART_DETACHED;
        /* seq_cst; pairs: gyre_world_resume(), gyre_participant_release() */
        if (gyre_cas_seq_cst(&part->state, &state, PART_RUNNING))
            break;
        /* A resume hands the state over itself, so that stops in quick
         * succession can't keep a thread out for ever. */
        if (state == PART_RUNNING)
            break;
        pthread_cond_wait(&world->resumed, &world->lock);
    }
    /* relaxed: read under the lock, or after a release that needs none */
    gyre_store_relaxed(&part->returning, 0);
    pthread_mutex_unlock(&world->lock);
    rcu_member_online(&part->rcu);
}

bool
gyre_participant_try_return(struct participant *part)
{
    uint32_t state = PART_DETACHED;
    GYRE_YIELD_POINT("return");
    rcu_member_online_early(&part->rcu);
    /* seq_cst; pairs: gyre_participant_release(), gyre_world_stop(). What a
     * proxy or a stopper did meanwhile is visible; one that comes later sees
     * RUNNING and waits. */
    return gyre_cas_seq_cst(&part->state, &state, PART_RUNNING);
}

void
gyre_participant_return(struct participant *part)
{
    if (!gyre_participant_try_return(part))
        gyre_participant_wait_to_return(part);
}

/* The resume has moved us on. */
static bool
is_let_go(const struct participant *part)
{
    /* acquire; pairs: let_go(). What the stopper did is visible. */
    return gyre_load_acquire(&part->state) != PART_PARKED;
}

/* Look around for the stop's end. It takes less than a sleep and its end do,
 * where the stop is a slice. */
static bool
spin_for_resume(const struct participant *part)
{
    /* relaxed: a length of time */
    uint32_t spin_ns = gyre_load_relaxed(&part->world->spin_ns);
    uint64_t until = spin_ns > 0 ? gyre_clock_ns() + spin_ns : 0;
    while (!is_let_go(part)) {
        if (spin_ns == 0 || gyre_clock_ns() >= until)
            return false;
        for (unsigned i = 0; i < 16; i++)
            spin_pause();
    }
    return true;
}

static void
note_lateness(struct participant *part)
{
    struct world *world = part->world;
    uint64_t took;
    if (part->asked_ns == 0)
        return;
    took = gyre_clock_ns() - part->asked_ns;
    if (took > world->slowest_ns) {
        world->slowest_ns = took;
        memcpy(world->slowest_name, part->name, sizeof world->slowest_name);
    }
}

/* PARKED, and who waits for it told. False: no stop is wanted any more. */
static bool
become_parked(struct participant *part)
{
    struct world *world = part->world;
    bool wanted;
    pthread_mutex_lock(&world->lock);
    wanted = world_wants_stop(world);
    if (wanted) {
        note_lateness(part);
        /* release; pairs: hold(), has_arrived(). All this thread did is
         * visible to the stopper. */
        gyre_store_release(&part->state, PART_PARKED);
    }
    pthread_mutex_unlock(&world->lock);
    /* Without the lock, which the stopper wants as soon as it wakes. */
    if (wanted)
        pthread_cond_broadcast(&world->changed);
    return wanted;
}

void
gyre_participant_park(struct participant *part)
{
    struct world *world = part->world;
    if (!world_wants_stop(world))
        return;
    rcu_member_offline(&part->rcu);
    if (become_parked(part) && !spin_for_resume(part)) {
        pthread_mutex_lock(&world->lock);
        while (!is_let_go(part))
            pthread_cond_wait(&world->resumed, &world->lock);
        pthread_mutex_unlock(&world->lock);
    }
    rcu_member_online(&part->rcu);
}

bool
gyre_participant_claim(struct participant *part)
{
    /* seq_cst; pairs: gyre_participant_detach(), gyre_world_leave(). The
     * caller pushed before this look. */
    uint32_t state = gyre_load_seq_cst(&part->state);
    while (state == PART_DETACHED || state == PART_GONE) {
        uint32_t from = state;
        /* seq_cst; pairs: gyre_participant_detach(), gyre_world_leave().
         * What the thread did before it left is visible to its proxy. */
        if (gyre_cas_seq_cst(&part->state, &state, PART_CLAIMED)) {
            /* relaxed: read by this claimant alone */
            gyre_store_relaxed(&part->claimed_from, from);
            GYRE_YIELD_POINT("claim");
            return true;
        }
    }
    return false;
}

void
gyre_participant_release(struct participant *part)
{
    struct world *world = part->world;
    GYRE_YIELD_POINT("release");
    /* seq_cst; pairs: gyre_participant_return(), take_free(). The proxy's
     * work is visible to the owner; and the proxy's next look at the queue
     * comes after this. */
    gyre_exchange_seq_cst(&part->state, gyre_load_relaxed(&part->claimed_from));
    /* seq_cst; pairs:
     * gyre_participant_wait_to_return() */
    if (gyre_load_seq_cst(&part->returning) != 0) {
        pthread_mutex_lock(&world->lock);
        pthread_cond_broadcast(&world->resumed);
        pthread_mutex_unlock(&world->lock);
    }
    tell_watchers(world);
}

void
gyre_world_after_fork_child(struct world *world, struct participant *self)
{
    struct participant *part;
    world->free_numbers = NULL;
    world->free_unnumbered = NULL;
    world->attached = 0;
    world->attached_internal = 0;
    world->leaving = 0;
    /* relaxed, here and below: the child has one thread */
    gyre_store_relaxed(&world->attention, 0);
    gyre_store_relaxed(&world->stop_wanted, 0);
    pthread_mutex_init(&world->lock, NULL);
    init_conditions(world);
    for (part = gyre_load_relaxed(&world->participants); part != NULL;
         part = part->next) {
        if (part == self) {
            count_attached(part);
            continue;
        }
        gyre_store_relaxed(&part->returning, 0);
        if (gyre_load_relaxed(&part->state) == PART_GONE) {
            list_free(world, part);
            continue;
        }
        rcu_member_forget(&part->rcu);
        gyre_store_relaxed(&part->state, PART_GONE);
        part->next_free = NULL;
    }
}

void
gyre_world_reissue_gone(struct world *world)
{
    struct participant *part;
    world->free_numbers = NULL;
    world->free_unnumbered = NULL;
    /* relaxed: the child has one thread */
    for (part = gyre_load_relaxed(&world->participants); part != NULL;
         part = part->next)
        if (gyre_load_relaxed(&part->state) == PART_GONE)
            list_free(world, part);
}

void
gyre_world_statistics(struct world *world, struct gyre_statistics *out)
{
    pthread_mutex_lock(&world->lock);
    out->threads_attached = world->attached - world->attached_internal;
    out->threads_attached_ever = world->attached_ever;
    out->stop_timeouts = world->stop_timeouts;
    out->slowest_stop_ns = world->slowest_ns;
    memcpy(out->slowest_thread, world->slowest_name,
           sizeof out->slowest_thread);
    pthread_mutex_unlock(&world->lock);
}
