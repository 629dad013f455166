/* Who runs collections that are asked for: the heap's own thread, or where it
 * has none the thread that asked, at a safepoint.
 * Design: docs/design/cycle.md .policy, docs/design/pacing.md .pace.limit */
#include <errno.h>
#include <time.h>

#include "collector.h"

#include "../heap.h"
#include "../memory/batch.h"

/* How often the heap's thread looks whether somebody waits for a grace
 * period that threads which only poll would never end. */
#define TICK_NS 50000000L
/* So many ticks without work, and tables that were kept for the next cycle are
 * dropped. */
#define IDLE_TICKS 20
/* After an emergency that found less garbage than so many percent there is
 * none for so many times what it took. */
#define EMERGENCY_WORTH 6
#define EMERGENCY_REST 4

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

/* In `asked`, beside the generation. */
#define ASKED_BY_NAME UINT32_C(8)

static uint32_t
asked_for(uint32_t asked, uint32_t generation, uint32_t by_name)
{
    uint32_t before = asked & ~ASKED_BY_NAME;
    return (before > generation ? before : generation) |
           ((asked | by_name) & ASKED_BY_NAME);
}

static void
ask(struct gyre_heap *heap, enum gyre_generation generation, uint32_t by_name)
{
    struct collector *collector = &heap->collector;
    uint32_t asked = gyre_load_relaxed(&collector->asked), next;
    do
        next = asked_for(asked, (uint32_t)generation + 1, by_name);
    /* release; pairs: take_asked() */
    while (next != asked &&
           !gyre_cas_weak_release(&collector->asked, &asked, next));
    /* Also when it was asked for before: where the heap has no thread, who
     * asked then may have left without a poll. */
    wake(heap);
}

void
gyre_collector_ask(struct gyre_heap *heap, enum gyre_generation generation)
{
    ask(heap, generation, 0);
}

enum gyre_status
gyre_collect_request(struct gyre_heap *heap, enum gyre_generation generation)
{
    if (mutator_in(heap) == NULL)
        return GYRE_ERR_STATE;
    if ((unsigned)generation >= GYRE_GENERATIONS)
        return GYRE_ERR_ARGUMENT;
    ask(heap, generation, ASKED_BY_NAME);
    return GYRE_OK;
}

void
gyre_collector_ask_grace(struct gyre_heap *heap)
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

/* Take what is asked for; 0: nothing. */
static uint32_t
take_asked(struct collector *collector)
{
    if (gyre_load_relaxed(&collector->asked) == 0)
        return 0;
    /* acquire; pairs: ask() */
    return gyre_exchange_acquire(&collector->asked, 0);
}

static enum gyre_generation
generation_of(uint32_t asked)
{
    return (enum gyre_generation)((asked & ~ASKED_BY_NAME) - 1);
}

void
gyre_collector_restore_asked(struct collector *collector)
{
    uint32_t serving = gyre_load_relaxed(&collector->serving);
    /* relaxed, all: the child has one thread */
    if (serving != 0)
        gyre_store_relaxed(&collector->asked,
                           asked_for(gyre_load_relaxed(&collector->asked),
                                     serving & ~ASKED_BY_NAME, ASKED_BY_NAME));
    gyre_store_relaxed(&collector->serving, 0);
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
collect_asked(struct mutator *self, enum gyre_generation generation)
{
    struct gyre_heap *heap = self->fast.heap;
    if (!gyre_collector_lock(self))
        return;
    /* an error is counted, and the next threshold tries again */
    if (still_wanted(heap))
        (void)gyre_cycle_run(self, generation, true);
    gyre_collector_unlock(self);
}

static void
run_asked(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    struct collector *collector = &heap->collector;
    uint32_t asked;
    /* relaxed: before the pages are taken; more of them ask again */
    gyre_store_relaxed(&collector->grace_asked, 0);
    asked = take_asked(collector);
    if (asked & ASKED_BY_NAME) {
        /* relaxed, both: for a child of who forks meanwhile */
        gyre_store_relaxed(&collector->serving, asked);
        (void)gyre_collect(heap, generation_of(asked)); /* errors are told */
        gyre_store_relaxed(&collector->serving, 0);
    } else if (asked != 0) {
        collect_asked(self, generation_of(asked));
    }
    gyre_collector_grace(self);
}

static bool
has_thread(struct collector *collector)
{
    bool started;
    pthread_mutex_lock(&collector->thread_lock);
    started = collector->started;
    pthread_mutex_unlock(&collector->thread_lock);
    return started;
}

void
gyre_collector_poll(struct mutator *self)
{
    struct collector *collector = &self->fast.heap->collector;
    uint32_t wanted = self->object.collect_wanted;
    /* What a finalizer asks for while this thread collects is the next
     * safepoint's, or they would be inside each other. */
    if (self->object.collecting)
        return;
    self->object.collecting = true;
    if (wanted != 0) {
        self->object.collect_wanted = 0;
        (void)gyre_collect(self->fast.heap, (enum gyre_generation)(wanted - 1));
    }
    gyre_pacing_poll(self);
    if (anything_asked(collector) && !has_thread(collector)) {
        gyre_account_begin(self);
        run_asked(self);
        gyre_account_end(self);
        if (anything_asked(collector))
            gyre_participant_request(&self->part, REQUEST_COLLECT);
    }
    self->object.collecting = false;
}

/* ---- the heap's thread ---- */

static struct timespec
after_ns(uint64_t ns)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    ns += (uint64_t)at.tv_nsec;
    at.tv_sec += (time_t)(ns / 1000000000);
    at.tv_nsec = (long)(ns % 1000000000);
    return at;
}

/* ETIMEDOUT, or woken before that. Under thread_lock. */
static int
wait_until_tick(struct collector *collector)
{
    struct timespec until = after_ns(TICK_NS);
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
wait_for_work(struct gyre_heap *heap, bool *idle)
{
    struct collector *collector = &heap->collector;
    unsigned ticks = 0;
    bool go_on;
    pthread_mutex_lock(&collector->thread_lock);
    collector->working = false;
    pthread_cond_broadcast(&collector->done);
    while (!collector->stopping && !anything_asked(collector) &&
           collector->emergencies_wanted == collector->emergencies_done &&
           ticks < IDLE_TICKS) {
        if (wait_until_tick(collector) == ETIMEDOUT) {
            gyre_world_nudge_readers(&heap->world);
            ticks++;
        }
    }
    *idle = ticks == IDLE_TICKS;
    go_on = !collector->stopping;
    collector->working = true;
    pthread_mutex_unlock(&collector->thread_lock);
    return go_on;
}

static void
drop_spares(struct mutator *self)
{
    if (!gyre_collector_lock(self))
        return;
    gyre_spare_drop(self->fast.heap);
    gyre_collector_unlock(self);
}

/* Collect all, for those whose allocations found no memory. */
static void
run_emergency(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    struct collector *collector = &heap->collector;
    uint64_t wanted, began, ended;
    pthread_mutex_lock(&collector->thread_lock);
    wanted = collector->emergencies_wanted;
    pthread_mutex_unlock(&collector->thread_lock);
    if (wanted == collector->emergencies_done) /* only we write it */
        return;
    began = gyre_clock_ns();
    /* relaxed, here and below: a heuristic. Nothing, unless it succeeds. */
    gyre_store_relaxed(&collector->yield, 0u);
    /* an error is counted, and the allocation fails */
    (void)gyre_collect(heap, GYRE_GEN_OLD);
    drop_spares(self);
    gyre_collector_grace(self);
    ended = gyre_clock_ns();
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&collector->emergencies, 1);
    pthread_mutex_lock(&collector->thread_lock);
    collector->emergencies_done = wanted;
    if (gyre_load_relaxed(&collector->yield) < EMERGENCY_WORTH)
        collector->rest_until_ns = ended + (ended - began) * EMERGENCY_REST;
    pthread_cond_broadcast(&collector->done);
    pthread_mutex_unlock(&collector->thread_lock);
}

static void *
collector_main(void *arg)
{
    struct gyre_heap *heap = arg;
    struct gyre_thread *self;
    bool go_on = true, idle;
    /* No memory for a thread's record: there may be some later. */
    while (gyre_thread_attach_internal(heap, &self) != GYRE_OK)
        if (!wait_a_tick(heap))
            return NULL;
    gyre_thread_set_name(self, "gyre collector");
    while (go_on) {
        gyre_detach_begin(self);
        go_on = wait_for_work(heap, &idle);
        gyre_detach_end(self);
        if (go_on && idle)
            drop_spares(mutator_of(self));
        if (go_on) {
            run_emergency(mutator_of(self));
            run_asked(mutator_of(self));
        }
        gyre_safepoint_slow(self);
    }
    gyre_thread_leave(self);
    return NULL;
}

/* ---- those who wait for it ---- */

/* Out of the world, as if detached, for a wait in which nothing is to run on
 * this thread: what is queued for it is done by others, or when it polls. */
static void
stand_aside(struct mutator *self)
{
    gyre_merge_publish(self);
    memory_pending_flush(&self->fast);
    gyre_participant_detach(&self->part);
}

/* Under thread_lock. */
static void
count_waiter(struct collector *collector, uint32_t more)
{
    /* relaxed: a hint for who reads it without the lock */
    gyre_store_relaxed(&collector->waiters, collector->waiters + more);
}

void
gyre_collector_wait(struct mutator *self, uint64_t most_ns)
{
    struct collector *collector = &self->fast.heap->collector;
    struct timespec until = after_ns(most_ns);
    gyre_account_begin(self);
    stand_aside(self);
    pthread_mutex_lock(&collector->thread_lock);
    count_waiter(collector, 1);
    while (collector->started && !collector->stopping &&
           (collector->working || anything_asked(collector)) &&
           pthread_cond_timedwait(&collector->done, &collector->thread_lock,
                                  &until) != ETIMEDOUT)
        ;
    count_waiter(collector, -1u);
    pthread_mutex_unlock(&collector->thread_lock);
    gyre_return_from_wait(self);
    gyre_account_end(self);
}

/* May the thread wait here for a collection, and is one worth the time? */
static bool
emergency_may_help(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    struct collector *collector = &heap->collector;
    bool may;
    if (self->raw || self->part.internal || self->object.in_callback > 0 ||
        self->object.cascading || self->object.merging_for > 0 ||
        gyre_thread_is_detached(&self->fast) ||
        gyre_load_relaxed(&collector->holder) == self || /* relaxed: if us */
        !gyre_pacing_is_automatic(heap) || gyre_fork_gate_is_closed())
        return false;
    pthread_mutex_lock(&collector->thread_lock);
    may = collector->started && !collector->stopping &&
          gyre_clock_ns() >= collector->rest_until_ns;
    pthread_mutex_unlock(&collector->thread_lock);
    return may;
}

bool
gyre_collector_emergency(struct gyre_thread *fast)
{
    struct mutator *self = mutator_of(fast);
    struct collector *collector = &fast->heap->collector;
    struct timespec until = after_ns(
        heap_option(fast->heap, GYRE_OPT_THREAD_STOP_TIMEOUT) * 1000000);
    uint64_t ticket;
    bool over;
    if (!emergency_may_help(self))
        return false;
    gyre_account_begin(self);
    stand_aside(self);
    pthread_mutex_lock(&collector->thread_lock);
    ticket = ++collector->emergencies_wanted;
    count_waiter(collector, 1);
    pthread_cond_signal(&collector->wake);
    do
        over = collector->emergencies_done >= ticket;
    while (!over && collector->started && !collector->stopping &&
           pthread_cond_timedwait(&collector->done, &collector->thread_lock,
                                  &until) != ETIMEDOUT);
    count_waiter(collector, -1u);
    pthread_mutex_unlock(&collector->thread_lock);
    gyre_return_from_wait(self);
    gyre_account_end(self);
    return over;
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
    /* relaxed: nobody is left to ask. What was asked for is not done by who
     * destroys the heap, where no finalizer runs. */
    gyre_store_relaxed(&collector->asked, 0);
}
