/* The life of a worker: its stages, its end, and who comes after it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "load.h"
#include "machine.h"
#include "node.h"
#include "random.h"
#include "run.h"

__thread struct tally *tally_self;
struct tally tally_spare;

uint64_t
clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- what a worker holds ---- */

void
handle_drop(struct gyre_object *obj, uint32_t index)
{
    oracle_check_alive(index, "about to be given up");
    oracle_drop(index);
    gyre_decref(obj);
    tally_add(TALLY_OPERATIONS, 1);
}

/* Keep a reference that was just taken; when there is no room, one picked at
 * random goes. */
void
handle_add(struct worker *w, struct gyre_object *obj, uint32_t index)
{
    if (w->handle_count == HANDLES_MOST) {
        unsigned i = random_below(&w->random, HANDLES_MOST);
        struct handle old = w->handles[i];
        w->handles[i] = (struct handle){obj, index};
        handle_drop(old.obj, old.index);
        tally_add(TALLY_DROP, 1);
    } else {
        w->handles[w->handle_count++] = (struct handle){obj, index};
    }
}

bool
anchor_add(struct worker *w, struct gyre_object *obj, uint32_t index)
{
    if (w->anchor_count == w->anchor_room) {
        unsigned larger = w->anchor_room == 0 ? 512 : w->anchor_room * 2;
        struct handle *anchors = realloc(w->anchors, larger * sizeof *anchors);
        if (anchors == NULL)
            return false;
        w->anchors = anchors;
        w->anchor_room = larger;
    }
    w->anchors[w->anchor_count++] = (struct handle){obj, index};
    return true;
}

struct gyre_object *
weak_new(struct worker *w, struct handle target, uint32_t *weak)
{
    struct gyre_object *made = NULL;
    bool callback = random_next(&w->random) % 4 != 0;
    *weak = oracle_weak_birth(&w->shares, target.index, callback);
    if (*weak == 0)
        return NULL;
    oracle_check_alive(target.index, "a weak reference to it is made");
    if (gyre_weakref_new(target.obj, callback ? node_weak_callback : NULL,
                         (void *)(uintptr_t)oracle_weak_token(*weak),
                         &made) != GYRE_OK) {
        oracle.weaks[*weak].target = 0;
        tally_add(TALLY_REFUSED, 1);
        return NULL;
    }
    tally_add(TALLY_WEAK_MADE, 1);
    tally_add(TALLY_OPERATIONS, 1);
    return made;
}

void
weak_drop(struct gyre_object *weakref, uint32_t weak)
{
    oracle_weak_gone(weak, WEAK_GONE);
    gyre_decref(weakref);
    tally_add(TALLY_OPERATIONS, 1);
}

void
weak_add(struct worker *w, struct gyre_object *weakref, uint32_t weak)
{
    if (w->weak_count == WEAKS_MOST) {
        unsigned i = random_below(&w->random, WEAKS_MOST);
        struct weak_handle old = w->weaks[i];
        w->weaks[i] = (struct weak_handle){weakref, weak};
        weak_drop(old.weakref, old.weak);
    } else {
        w->weaks[w->weak_count++] = (struct weak_handle){weakref, weak};
    }
}

static void
drop_all(struct worker *w)
{
    unsigned threads = run.settings.threads;
    while (w->handle_count > 0) {
        struct handle h = w->handles[--w->handle_count];
        handle_drop(h.obj, h.index);
        gyre_safepoint(w->self);
    }
    while (w->anchor_count > 0) {
        struct handle h = w->anchors[--w->anchor_count];
        handle_drop(h.obj, h.index);
        gyre_safepoint(w->self);
    }
    w->root_count = 0;
    while (w->kept_count > 0) {
        struct handle h = w->kept[--w->kept_count];
        handle_drop(h.obj, h.index);
    }
    while (w->weak_count > 0) {
        struct weak_handle h = w->weaks[--w->weak_count];
        weak_drop(h.weakref, h.weak);
    }
    while (w->open_count > 0) {
        struct weak_handle h = w->open[--w->open_count];
        weak_drop(h.weakref, h.weak);
    }
    for (unsigned from = 0; from < threads; from++) {
        struct ring_entry entry;
        while (ring_pop(run_ring(from, w->id), &entry)) {
            if (entry.kind == RING_WEAK)
                weak_drop(entry.obj, entry.index);
            else
                handle_drop(entry.obj, entry.index);
        }
    }
    if (w->id == 0) {
        for (unsigned i = 0; i < run.adopted_count; i++)
            handle_drop(run.adopted[i].obj, run.adopted[i].index);
        run.adopted_count = 0;
    }
}

/* ---- stages ---- */

void
worker_meet(struct worker *w)
{
    progress_note();
    gyre_detach_begin(w->self);
    pthread_barrier_wait(&run.barrier);
    gyre_detach_end(w->self);
}

/* A quiescent point, timed: a trial measures what is between them. */
static void
meet_and_verify(struct worker *w, bool may_be_alive)
{
    uint64_t begin, processor_begin;
    worker_meet(w);
    begin = clock_ns();
    processor_begin = load_processor_ns();
    verify_meet(w, may_be_alive);
    if (w->id == 0) {
        run.verify_ns += clock_ns() - begin;
        run.verify_processor_ns += load_processor_ns() - processor_begin;
    }
}

/* The round is over: everything must go. Twice, since the first time
 * finalizers may bring things back; the second time they don't. */
static void
teardown(struct worker *w)
{
    if (w->id == 0)
        run.shared_count = run.locked_count = 0;
    for (unsigned pass = 0; pass < 2; pass++) {
        if (w->id == 0 && pass == 1)
            node_resurrect(false);
        drop_all(w);
        meet_and_verify(w, pass == 0);
    }
}

static bool
time_is_up(void)
{
    /* relaxed: a hint, noticed a little later */
    return atomic_load_explicit(&run.stop, memory_order_relaxed);
}

static void
round_end(struct worker *w)
{
    memset(&w->shares, 0, sizeof w->shares);
    worker_meet(w);
    if (w->id == 0) {
        /* relaxed: a count */
        uint64_t done = 1 + atomic_fetch_add_explicit(&run.rounds_done, 1,
                                                      memory_order_relaxed);
        run.next = STAGE_END;
        if (run.settings.trial)
            run.end_resident = machine_resident_exact();
        if (!time_is_up() && done != run.settings.rounds &&
            oracle_failures_all() == 0) {
            oracle_next_round();
            node_resurrect(true);
            run.next = STAGE_BUILD;
        }
    }
    worker_meet(w);
    w->stage = run.next;
}

/* One stage after the other, until the end or until the mix wants this
 * thread replaced. */
static void
worker_stages(struct worker *w)
{
    while (w->stage != STAGE_END && !w->leaving) {
        switch (w->stage) {
        case STAGE_BUILD:
            builder_build(w);
            w->phase = 0;
            mixes_begin(w);
            w->stage = STAGE_MIX;
            break;
        case STAGE_MIX:
            mixes_run(w);
            if (!w->leaving)
                w->stage = STAGE_MEET;
            break;
        case STAGE_MEET:
            meet_and_verify(w, true);
            if (w->id == 0)
                run.next = ++w->phase == PHASES || time_is_up() ||
                                   oracle_failures_all() > 0
                               ? STAGE_TEARDOWN
                               : STAGE_MIX;
            worker_meet(w);
            w->stage = run.next;
            if (w->stage == STAGE_MIX)
                mixes_begin(w);
            break;
        case STAGE_TEARDOWN:
            teardown(w);
            round_end(w);
            break;
        case STAGE_END:
            break;
        }
    }
}

static void *worker_main(void *arg);

/* Another OS thread goes on with this worker. */
static bool
worker_succeed(struct worker *w)
{
    pthread_t next;
    bool made;
    pthread_mutex_lock(&run.lock);
    w->before = pthread_self();
    w->has_before = true;
    made = pthread_create(&next, NULL, worker_main, w) == 0;
    if (made)
        w->thread = next;
    else
        w->has_before = false;
    pthread_mutex_unlock(&run.lock);
    return made;
}

static bool
worker_attach(struct worker *w)
{
    char name[32];
    enum gyre_status status = gyre_thread_attach(run.heap, &w->self);
    if (status != GYRE_OK) {
        oracle_fail(FAILURE_LIBRARY, 0, "a thread cannot attach: %s",
                    gyre_status_text(status));
        return false;
    }
    snprintf(name, sizeof name, "worker %u", w->id);
    gyre_thread_set_name(w->self, name);
    return true;
}

static void *
worker_main(void *arg)
{
    struct worker *w = arg;
    if (w->has_before)
        pthread_join(w->before, NULL);
    tally_self = &w->tally;
    if (run.settings.trial)
        sampler_self = &w->sampler;
    if (run.settings.pinned)
        machine_pin(w->id);
    do {
        w->leaving = false;
        worker_attach(w);
        worker_stages(w);
        gyre_thread_leave(w->self);
        w->self = NULL;
        if (w->leaving) {
            tally_add(TALLY_CHURNED, 1);
            progress_note();
        }
        /* should no successor come, the thread follows itself */
    } while (w->leaving && !worker_succeed(w));
    if (!w->leaving) {
        pthread_mutex_lock(&run.lock);
        run.ended++;
        pthread_cond_signal(&run.changed);
        pthread_mutex_unlock(&run.lock);
    }
    return NULL;
}

bool
workers_start(void)
{
    for (unsigned i = 0; i < run.settings.threads; i++) {
        struct worker *w = calloc(1, sizeof *w);
        if (w == NULL)
            return false;
        run.workers[i] = w;
        w->run = &run;
        w->id = i;
        w->random = random_hash(run.settings.seed, i + 1);
        if (run.settings.trial)
            sampler_create(&w->sampler, w->random);
        w->stage = STAGE_BUILD;
    }
    for (unsigned i = 0; i < run.settings.threads; i++) {
        struct worker *w = run.workers[i];
        bool made;
        pthread_mutex_lock(&run.lock);
        made = pthread_create(&w->thread, NULL, worker_main, w) == 0;
        pthread_mutex_unlock(&run.lock);
        if (!made) {
            /* the others wait at the barrier for good: no way back */
            fprintf(stderr, "gyre-stress: cannot start thread %u\n", i);
            exit(1);
        }
    }
    return true;
}

void
workers_join(void)
{
    for (unsigned i = 0; i < run.settings.threads; i++)
        pthread_join(run.workers[i]->thread, NULL);
}
