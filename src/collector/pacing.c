/* When collections run, and on which thread: births are noted, thresholds
 * compared, the heap's own thread woken.
 * Design: docs/design/cycle.md .policy */
#include <errno.h>
#include <time.h>

#include "collector.h"

#include "../heap.h"

/* How often the heap's thread looks whether somebody waits for a grace
 * period that threads which only poll would never end. */
#define TICK_NS 50000000L
/* Pages that may wait for a grace period before one is asked for. */
#define RETIRING_PAGES 16

/* Something was asked for: wake who will see to it. */
static void
wake(struct gyre_heap *heap)
{
    struct collector *collector = &heap->collector;
    pthread_mutex_lock(&collector->thread_lock);
    if (collector->started)
        pthread_cond_signal(&collector->wake);
    else if (gyre_self != NULL)
        gyre_participant_request(&mutator_of(gyre_self)->part, REQUEST_COLLECT);
    pthread_mutex_unlock(&collector->thread_lock);
}

void
gyre_collector_ask(struct gyre_heap *heap, enum gyre_generation generation)
{
    struct collector *collector = &heap->collector;
    uint32_t want = (uint32_t)generation + 1;
    uint32_t asked = gyre_load_relaxed(&collector->asked);
    /* release; pairs: run_asked() */
    while (asked < want &&
           !gyre_cas_weak_release(&collector->asked, &asked, want))
        ;
    /* Also when it was asked for before: where the heap has no thread, who
     * asked then may have left without a poll. */
    wake(heap);
}

/* A grace period for emptied pages, which is due without a collection too. */
static void
ask_grace(struct gyre_heap *heap)
{
    struct collector *collector = &heap->collector;
    /* relaxed: a wish; what it is about is under the page lock */
    gyre_store_relaxed(&collector->grace_asked, 1);
    wake(heap);
}

static bool
anything_asked(const struct collector *collector)
{
    /* relaxed: looked at again after the wake-up */
    return gyre_load_relaxed(&collector->asked) != 0 ||
           gyre_load_relaxed(&collector->grace_asked) != 0;
}

/* Take what is asked for; false: nothing. */
static bool
take_asked(struct collector *collector, enum gyre_generation *generation)
{
    uint32_t asked;
    if (gyre_load_relaxed(&collector->asked) == 0)
        return false;
    /* acquire; pairs: gyre_collector_ask() */
    asked = gyre_exchange_acquire(&collector->asked, 0);
    *generation = (enum gyre_generation)(asked - 1);
    return asked != 0;
}

void
gyre_collector_note_retiring(struct gyre_heap *heap)
{
    /* relaxed: a hint, written under the page lock */
    if (gyre_load_relaxed(&heap->memory.retiring_pages) > RETIRING_PAGES)
        ask_grace(heap);
}

void
gyre_collector_note_births(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    struct collector *collector = &heap->collector;
    int64_t mine = gyre_load_relaxed(&self->memory.container_net);
    int64_t delta = mine - self->object.noted_net, net, base;
    uint64_t threshold = heap_option(heap, GYRE_OPT_GC_THRESHOLD0);
    gyre_collector_note_retiring(heap);
    if (delta == 0)
        return;
    self->object.noted_net = mine;
    /* relaxed: a heuristic, and each thread's part is added once */
    net = gyre_fetch_add_relaxed(&collector->net, delta) + delta;
    base = gyre_load_relaxed(&collector->net_base);
    if (net < base) {
        /* More deaths than births: the base follows, or the count would be
         * in debt, and collections put off for ever (CPython issue 142048). */
        gyre_store_relaxed(&collector->net_base, net);
        return;
    }
    if (threshold == 0 || (uint64_t)(net - base) <= threshold ||
        heap_option(heap, GYRE_OPT_GC_AUTOMATIC) == 0 ||
        gyre_load_relaxed(&collector->disabled) != 0)
        return;
    gyre_account_begin(self);
    gyre_collector_ask(heap, gyre_generation_due(heap));
    gyre_account_end(self);
}

/* ---- grace periods ---- */

void
gyre_collector_grace(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    struct page *list = gyre_memory_retiring_take(heap);
    if (list == NULL)
        return;
    gyre_detach_for_wait(self);
    pthread_mutex_lock(&heap->collector.grace_lock);
    gyre_world_grace_period(&heap->world);
    pthread_mutex_unlock(&heap->collector.grace_lock);
    gyre_return_from_wait(self);
    gyre_memory_retiring_release(heap, list);
}

/* ---- running what was asked ---- */

/* Asked for, and not disabled since: but entries that got lost for want of
 * memory are found by a collection alone, whoever disabled it. */
static bool
still_wanted(struct gyre_heap *heap)
{
    return gyre_load_relaxed(&heap->collector.disabled) == 0 ||
           gyre_load_relaxed(&heap->object.lost_queued) != 0;
}

static void
run_asked(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    enum gyre_generation generation;
    /* relaxed: before the pages are taken; more of them ask again */
    gyre_store_relaxed(&heap->collector.grace_asked, 0);
    if (take_asked(&heap->collector, &generation) &&
        gyre_collector_lock(self)) {
        /* an error is counted, and the next threshold tries again */
        if (still_wanted(heap))
            (void)gyre_cycle_run(self, generation, true);
        gyre_collector_unlock(self);
    }
    gyre_collector_grace(self);
}

void
gyre_collector_poll(struct mutator *self)
{
    uint32_t wanted = self->object.collect_wanted;
    bool threaded;
    if (wanted != 0) {
        self->object.collect_wanted = 0;
        (void)gyre_collect(self->fast.heap, (enum gyre_generation)(wanted - 1));
    }
    if (!anything_asked(&self->fast.heap->collector))
        return;
    pthread_mutex_lock(&self->fast.heap->collector.thread_lock);
    threaded = self->fast.heap->collector.started;
    pthread_mutex_unlock(&self->fast.heap->collector.thread_lock);
    if (threaded)
        return;
    gyre_account_begin(self);
    run_asked(self);
    gyre_account_end(self);
}

/* ---- the heap's thread ---- */

/* ETIMEDOUT, or woken before that. Under thread_lock. */
static int
wait_until_tick(struct collector *collector)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += TICK_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return pthread_cond_timedwait(&collector->wake, &collector->thread_lock,
                                  &until);
}

/* False: the heap ends. */
static bool
wait_a_tick(struct gyre_heap *heap)
{
    struct collector *collector = &heap->collector;
    bool go_on;
    pthread_mutex_lock(&collector->thread_lock);
    if (!collector->stopping)
        (void)wait_until_tick(collector);
    go_on = !collector->stopping;
    pthread_mutex_unlock(&collector->thread_lock);
    return go_on;
}

/* Sleep until something is to do; detached. False: the heap ends. */
static bool
wait_for_work(struct gyre_heap *heap)
{
    struct collector *collector = &heap->collector;
    bool go_on;
    pthread_mutex_lock(&collector->thread_lock);
    while (!collector->stopping && !anything_asked(collector)) {
        if (wait_until_tick(collector) == ETIMEDOUT)
            gyre_world_nudge_readers(&heap->world);
    }
    go_on = !collector->stopping;
    pthread_mutex_unlock(&collector->thread_lock);
    return go_on;
}

static void *
collector_main(void *arg)
{
    struct gyre_heap *heap = arg;
    struct gyre_thread *self;
    bool go_on = true;
    /* No memory for a thread's record: there may be some later. */
    while (gyre_thread_attach_internal(heap, &self) != GYRE_OK)
        if (!wait_a_tick(heap))
            return NULL;
    gyre_thread_set_name(self, "gyre collector");
    while (go_on) {
        gyre_detach_begin(self);
        go_on = wait_for_work(heap);
        gyre_detach_end(self);
        if (go_on)
            run_asked(mutator_of(self));
        gyre_safepoint_slow(self);
    }
    gyre_thread_leave(self);
    return NULL;
}

void
gyre_collector_start(struct gyre_heap *heap)
{
    struct collector *collector = &heap->collector;
    if (heap_option(heap, GYRE_OPT_GC_THREAD) == 0)
        return;
    pthread_mutex_lock(&collector->thread_lock);
    if (!collector->started && !collector->stopping && !collector->no_threads)
        collector->started =
            pthread_create(&collector->thread, NULL, collector_main, heap) == 0;
    pthread_mutex_unlock(&collector->thread_lock);
}

void
gyre_collector_stop(struct gyre_heap *heap)
{
    struct collector *collector = &heap->collector;
    bool join;
    pthread_mutex_lock(&collector->thread_lock);
    collector->stopping = true;
    join = collector->started;
    pthread_cond_signal(&collector->wake);
    pthread_mutex_unlock(&collector->thread_lock);
    if (join) {
        /* It may wait for a grace period, and the caller may be a reader of
         * the program's own. */
        bool online = rcu_process_reader_pause();
        pthread_join(collector->thread, NULL);
        rcu_process_reader_resume(online);
    }
    pthread_mutex_lock(&collector->thread_lock);
    collector->started = collector->stopping = false;
    pthread_mutex_unlock(&collector->thread_lock);
}
