/* The controls of the collector, with the meaning of CPython's gc module.
 * Design: docs/design/cycle.md .policy */
#include "cycle.h"

/* ---- life ---- */

static void
init_locks(struct collector *collector)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&collector->lock, NULL);
    pthread_mutex_init(&collector->grace_lock, NULL);
    pthread_mutex_init(&collector->thread_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&collector->wake, &attr);
    pthread_cond_init(&collector->done, &attr);
    pthread_condattr_destroy(&attr);
}

enum gyre_status
gyre_collector_init(struct gyre_heap *heap)
{
    init_locks(&heap->collector);
    heap->memory.make_room = gyre_collector_emergency;
    heap->collector.yield = 100; /* until one has shown otherwise */
    return GYRE_OK;
}

void
gyre_collector_destroy(struct gyre_heap *heap)
{
    gyre_spare_drop(heap);
    pthread_cond_destroy(&heap->collector.done);
    pthread_cond_destroy(&heap->collector.wake);
    pthread_mutex_destroy(&heap->collector.thread_lock);
    pthread_mutex_destroy(&heap->collector.grace_lock);
    pthread_mutex_destroy(&heap->collector.lock);
}

bool
gyre_collector_after_fork_child(struct gyre_heap *heap, struct mutator *holder)
{
    struct collector *collector = &heap->collector;
    bool had_thread = collector->started;
    init_locks(collector);
    collector->holder = holder;
    collector->forked = holder != NULL;
    if (holder != NULL)
        pthread_mutex_lock(&collector->lock);
    collector->started = collector->stopping = collector->working = false;
    collector->emergencies_done = collector->emergencies_wanted;
    /* What was asked for by name and was not over: of one that this thread is
     * at, once more. */
    gyre_collector_restore_asked(collector);
    collector->waiters = 0;
    /* A thread sanitizer's runtime can't start threads in a forked child:
     * there collections run on the threads that ask for them. */
    collector->no_threads = GYRE_TSAN;
    return had_thread;
}

bool
gyre_collector_lock(struct mutator *self)
{
    struct collector *collector = &self->fast.heap->collector;
    if (self->object.in_callback > 0)
        return false;
    if (gyre_fork_gate_is_closed() ||
        pthread_mutex_trylock(&collector->lock) != 0) {
        gyre_detach_for_wait(self);
        gyre_fork_gate_wait();
        pthread_mutex_lock(&collector->lock);
        gyre_return_from_wait(self);
    }
    /* relaxed: who forks asks whether it is itself */
    gyre_store_relaxed(&collector->holder, self);
    return true;
}

void
gyre_collector_unlock(struct mutator *self)
{
    struct collector *collector = &self->fast.heap->collector;
    gyre_store_relaxed(&collector->holder, (struct mutator *)NULL);
    pthread_mutex_unlock(&collector->lock);
}

/* ---- collecting ---- */

/* Rounds after which a quiesce gives up on threads that always have more. */
#define QUIESCE_ROUNDS 64
/* And of these, those that wait for what threads release in portions. */
#define QUIESCE_PATIENT 8
/* Of the time for a stop, the part in which others may have to wait for that:
 * an allocation without memory waits for a collection no longer than for a
 * stop. */
#define PATIENCE_PART 8

struct drain_rounds
gyre_drain_rounds(struct gyre_heap *heap, unsigned most, bool patient)
{
    uint64_t timeout = heap_option(heap, GYRE_OPT_THREAD_STOP_TIMEOUT);
    return (struct drain_rounds){
        .activity = gyre_object_activity(heap),
        .most = most,
        .until_ns =
            patient ? gyre_clock_ns() + timeout * 1000000 / PATIENCE_PART : 0};
}

void
gyre_drain_published(struct drain_rounds *rounds, struct gyre_heap *heap)
{
    if (rounds->until_ns != 0 && !rounds->awaits)
        gyre_object_await(heap);
    rounds->awaits = true;
}

bool
gyre_drain_again(struct drain_rounds *rounds, struct gyre_heap *heap)
{
    uint64_t before = rounds->activity;
    rounds->activity = gyre_object_activity(heap);
    if (gyre_object_is_awaited(heap) && gyre_clock_ns() < rounds->until_ns &&
        !gyre_fork_gate_is_closed())
        return true;
    return rounds->activity != before && --rounds->most > 0;
}

/* Have everyone publish and drain, until a round moves nothing. The caller has
 * done so `before`, so often, and holds the collector lock. */
static enum gyre_status
quiesce(struct mutator *self, unsigned before)
{
    struct gyre_heap *heap = self->fast.heap;
    struct drain_rounds rounds =
        gyre_drain_rounds(heap, QUIESCE_ROUNDS, before < QUIESCE_PATIENT);
    do {
        /* Two handshakes: after the first everything is published, after
         * the second it is drained. */
        for (unsigned i = 0; i < 2; i++) {
            enum gyre_status status;
            gyre_merge_publish(self);
            gyre_merge_drain(self);
            gyre_cascade_run(self, true);
            status = gyre_handshake_soft(
                &heap->world, &self->part,
                heap_option(heap, GYRE_OPT_THREAD_STOP_TIMEOUT));
            if (status != GYRE_OK)
                return status;
            gyre_drain_published(&rounds, heap);
            gyre_merge_drain(self);
            gyre_cascade_run(self, true);
        }
    } while (gyre_drain_again(&rounds, heap));
    return GYRE_OK;
}

/* A collection that could not begin: told as one that was given up. */
static void
note_not_begun(struct gyre_heap *heap, enum gyre_generation generation)
{
    gyre_event_fire(heap, GYRE_EVENT_COLLECT_BEGIN, generation);
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&heap->collector.abandoned, 1);
    gyre_event_fire(heap, GYRE_EVENT_COLLECT_END, 0);
}

enum gyre_status
gyre_collect(struct gyre_heap *heap, enum gyre_generation generation)
{
    struct mutator *self = mutator_in(heap);
    enum gyre_status status;
    if (self == NULL)
        return GYRE_ERR_STATE;
    if ((unsigned)generation >= GYRE_GENERATIONS)
        return GYRE_ERR_ARGUMENT;
    if (!gyre_collector_lock(self)) {
        if (self->object.collect_wanted < (uint32_t)generation + 1)
            self->object.collect_wanted = (uint32_t)generation + 1;
        gyre_participant_request(&self->part, REQUEST_PENDING);
        return GYRE_OK;
    }
    /* OPEN has everyone drain as well, where the world goes on. */
    status =
        heap_option(heap, GYRE_OPT_GC_CONCURRENT) ? GYRE_OK : quiesce(self, 0);
    if (status == GYRE_OK)
        status = gyre_cycle_run(self, generation, false);
    else
        note_not_begun(heap, generation);
    /* Abandoned for a thread that forks: it waits for the lock. */
    while (status == GYRE_ERR_STATE) {
        gyre_collector_unlock(self);
        gyre_collector_lock(self);
        status = gyre_cycle_run(self, generation, false);
    }
    gyre_collector_unlock(self);
    gyre_safepoint_slow(&self->fast);
    return status;
}

/* Bring the counters of blocks up to date, in a short stop, and see whether
 * something is put off still on a thread that no caller can poll for. */
static enum gyre_status
note_blocks(struct mutator *self, bool *busy)
{
    struct gyre_heap *heap = self->fast.heap;
    enum gyre_status status;
    if (!gyre_collector_lock(self))
        return GYRE_ERR_STATE;
    status = gyre_world_stop(&heap->world, &self->part,
                             heap_option(heap, GYRE_OPT_THREAD_STOP_TIMEOUT));
    if (status == GYRE_OK) {
        if (gyre_load_relaxed(&heap->object.lost_queued) != 0) {
            gyre_merge_drain_all(self);
            gyre_merge_find_lost(self);
        }
        gyre_memory_limbo_finish(heap);
        gyre_memory_note_all(heap);
        *busy = gyre_object_is_busy(self);
        gyre_world_resume(&heap->world);
    }
    gyre_collector_unlock(self);
    return status;
}

enum gyre_status
gyre_quiesce(struct gyre_heap *heap)
{
    struct mutator *self = mutator_in(heap);
    enum gyre_status status;
    bool busy = false;
    unsigned rounds = 0;
    if (self == NULL)
        return GYRE_ERR_STATE;
    gyre_safepoint_slow(&self->fast);
    do {
        if (!gyre_collector_lock(self))
            return GYRE_ERR_STATE;
        status = quiesce(self, rounds);
        gyre_collector_unlock(self);
        /* Finalizers run here may give up objects of others. */
        gyre_safepoint_slow(&self->fast);
        if (status == GYRE_OK)
            status = note_blocks(self, &busy);
    } while (status == GYRE_OK && busy && ++rounds < QUIESCE_ROUNDS);
    return status;
}

/* ---- controls ---- */

void
gyre_collect_disable(struct gyre_heap *heap)
{
    /* relaxed: a count of wishes; a collection under way goes on */
    gyre_fetch_add_relaxed(&heap->collector.disabled, 1);
}

void
gyre_collect_enable(struct gyre_heap *heap)
{
    uint32_t before = gyre_fetch_sub_relaxed(&heap->collector.disabled, 1);
    if (before == 0)
        gyre_fetch_add_relaxed(&heap->collector.disabled, 1);
    GYRE_CHECK(before > 0, "gyre_collect_enable: was not disabled");
}

int
gyre_collect_is_enabled(struct gyre_heap *heap)
{
    return gyre_pacing_is_automatic(heap);
}

static const enum gyre_option threshold_options[3] = {
    GYRE_OPT_GC_THRESHOLD0, GYRE_OPT_GC_THRESHOLD1, GYRE_OPT_GC_THRESHOLD2};

enum gyre_status
gyre_set_threshold(struct gyre_heap *heap, const uint64_t thresholds[3])
{
    for (unsigned i = 0; i < 3; i++) {
        const struct gyre_option_info *info =
            gyre_option_info(threshold_options[i]);
        if (thresholds[i] < info->least || thresholds[i] > info->most)
            return GYRE_ERR_ARGUMENT;
    }
    for (unsigned i = 0; i < 3; i++)
        gyre_option_set(heap, threshold_options[i], thresholds[i]);
    return GYRE_OK;
}

void
gyre_get_threshold(struct gyre_heap *heap, uint64_t thresholds[3])
{
    for (unsigned i = 0; i < 3; i++)
        thresholds[i] = heap_option(heap, threshold_options[i]);
}

void
gyre_get_count(struct gyre_heap *heap, uint64_t counts[3])
{
    struct collector *collector = &heap->collector;
    int64_t net, base;
    if (mutator_in(heap) != NULL) {
        gyre_memory_note_births(gyre_self);
        gyre_collector_note_births(mutator_of(gyre_self));
    }
    net = gyre_load_relaxed(&collector->net);
    base = gyre_load_relaxed(&collector->net_base);
    counts[0] = net > base ? (uint64_t)(net - base) : 0;
    counts[1] = gyre_load_relaxed(&collector->young_since_middle);
    counts[2] = gyre_load_relaxed(&collector->middle_since_old);
}

/* ---- the garbage list ---- */

uint64_t
gyre_garbage_count(struct gyre_heap *heap)
{
    struct mutator *self = mutator_in(heap);
    uint64_t count;
    if (self == NULL || !gyre_collector_lock(self))
        return 0;
    count = heap->collector.garbage.count;
    gyre_collector_unlock(self);
    return count;
}

struct gyre_object *
gyre_garbage_pop(struct gyre_heap *heap)
{
    struct mutator *self = mutator_in(heap);
    struct object_list *garbage = &heap->collector.garbage;
    struct gyre_object *obj = NULL;
    if (self == NULL || !gyre_collector_lock(self))
        return NULL;
    if (garbage->count > 0)
        obj = garbage->items[--garbage->count];
    gyre_collector_unlock(self);
    return obj;
}

/* ---- statistics, checks ---- */

void
gyre_collector_statistics(struct gyre_heap *heap, struct gyre_statistics *out)
{
    struct collector *collector = &heap->collector;
    for (unsigned i = 0; i < GYRE_GENERATIONS; i++)
        out->collections[i] = gyre_load_relaxed(&collector->collections[i]);
    out->collected = gyre_load_relaxed(&collector->collected);
    out->uncollectable = gyre_load_relaxed(&collector->uncollectable);
    out->resurrected = gyre_load_relaxed(&collector->resurrected);
    out->abandoned = gyre_load_relaxed(&collector->abandoned);
    out->emergencies = gyre_load_relaxed(&collector->emergencies);
    out->slices = gyre_load_relaxed(&collector->slices);
    out->suspected = gyre_load_relaxed(&collector->suspected);
    out->suspected_falsely = gyre_load_relaxed(&collector->suspected_falsely);
    out->limbo_peak = gyre_load_relaxed(&heap->memory.limbo_peak);
}

static void
check_page(struct page *page, void *arg)
{
    struct gyre_heap *heap = arg;
    uint32_t stamps = page_stamps(page);
    GYRE_CHECK(page->gc == NULL, "collector: page %p kept its side table",
               (void *)page);
    for (uint32_t i = 0; i < page->fresh; i++) {
        struct gyre_object *obj =
            (struct gyre_object *)(page->blocks +
                                   (size_t)i * page->fast.block_size);
        uint64_t word0 = gyre_load_relaxed(&obj->word0);
        if (!word0_is_object(word0))
            continue;
        gyre_object_check(heap, obj);
        if (page->kind == GYRE_PAGE_CONTAINER)
            GYRE_CHECK(stamps & (1u << word0_stamp(word0)),
                       "collector: object %p has age %u, which its page does "
                       "not know",
                       (void *)obj, word0_stamp(word0));
    }
}

void
gyre_collector_check(struct gyre_heap *heap)
{
    gyre_memory_each_page(heap,
                          (1u << GYRE_PAGE_CONTAINER) | (1u << GYRE_PAGE_LEAF),
                          check_page, heap);
}
