/* A heap's life: create, destroy, fork. Design: docs/design/heap.md */
#include "heap.h"

#include <sched.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "../threads/yield.h"

/* All heaps of the process, for fork. */
static pthread_mutex_t heaps_lock = PTHREAD_MUTEX_INITIALIZER;
static struct gyre_heap *heaps;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void
answer_for(struct participant *part, void *arg)
{
    struct mutator *worker = mutator_of(gyre_self);
    struct mutator *other = mutator_of_part(part);
    (void)arg;
    gyre_merge_drain_for(worker, other);
    /* relaxed: as in answer_requests() */
    gyre_store_relaxed(&other->object.is_behind, 0);
    /* relaxed: ours by the claim. One that is gone has nothing else. */
    if (gyre_load_relaxed(&part->claimed_from) != PART_DETACHED)
        return;
    gyre_collector_follow(other);
    if (!other->object.cascading && !gyre_cascade_is_empty(other)) {
        worker->object.merging_for++;
        gyre_cascade_take_over(worker, other);
        worker->object.merging_for--;
    }
}

static void
look_again(struct participant *part, void *arg)
{
    const struct gyre_heap *heap = arg;
    /* A thread that forks without being attached, or while detached, can't
     * release what dies; the next handshake or stop finds it. */
    if (gyre_self != NULL && gyre_self->heap == heap &&
        !gyre_thread_is_detached(gyre_self))
        gyre_merge_look_again(mutator_of_part(part), mutator_of(gyre_self));
}

/* ---- fork ----
 * The forking thread stops each heap's world, so that the child finds every
 * structure whole; threads that it does not have are gone there. .fail */

/* Does the forking thread hold the collector lock: is it inside one of its
 * own finalizers? */
static bool
collecting_here(const struct gyre_heap *heap)
{
    const struct mutator *self = mutator_in(heap);
    /* relaxed: ours only if we stored it */
    return self != NULL && gyre_load_relaxed(&heap->collector.holder) == self;
}

/* All collectors' locks but the forking thread's own, or none. */
static bool
try_lock_collectors(void)
{
    struct gyre_heap *heap, *taken;
    for (heap = heaps; heap != NULL; heap = heap->next) {
        heap->fork_nested = collecting_here(heap);
        if (!heap->fork_nested &&
            pthread_mutex_trylock(&heap->collector.lock) != 0)
            break;
    }
    if (heap == NULL)
        return true;
    for (taken = heaps; taken != heap; taken = taken->next)
        if (!taken->fork_nested)
            pthread_mutex_unlock(&taken->collector.lock);
    return false;
}

/* Detached: another thread that forks holds the lock, and stops us. */
static void
lock_heaps(void)
{
    struct mutator *self = mutator_of(gyre_self);
    bool waits = gyre_self != NULL && !gyre_thread_is_detached(gyre_self);
    if (waits)
        gyre_detach_for_wait(self);
    pthread_mutex_lock(&heaps_lock);
    if (waits)
        gyre_return_from_wait(self);
}

/* A collection is not waited for under the list's lock, since one of its
 * finalizers may fork, or make a heap, and want that too. No new ones begin
 * once the gate is closed, so all locks are free before long. */
static void
lock_heaps_and_collectors(void)
{
    struct mutator *self = mutator_of(gyre_self);
    bool waits = gyre_self != NULL && !gyre_thread_is_detached(gyre_self);
    gyre_fork_gate_close();
    /* Detached all the while: the collection may want an answer from us. */
    if (waits)
        gyre_detach_for_wait(self);
    for (;;) {
        pthread_mutex_lock(&heaps_lock);
        if (try_lock_collectors())
            break;
        pthread_mutex_unlock(&heaps_lock);
        sched_yield();
    }
    if (waits)
        gyre_return_from_wait(self);
}

static void
before_fork(void)
{
    struct gyre_heap *heap;
    lock_heaps_and_collectors();
    for (heap = heaps; heap != NULL; heap = heap->next) {
        struct mutator *self = mutator_in(heap);
        bool waits = self != NULL && !gyre_thread_is_detached(&self->fast);
        bool online;
        if (waits)
            gyre_detach_for_wait(self);
        online = rcu_process_reader_pause();
        pthread_mutex_lock(&heap->collector.grace_lock);
        rcu_process_reader_resume(online);
        if (waits)
            gyre_return_from_wait(self);
        heap->fork_stopped =
            gyre_world_stop(&heap->world, self != NULL ? &self->part : NULL,
                            heap_option(heap, GYRE_OPT_THREAD_STOP_TIMEOUT)) ==
            GYRE_OK;
        pthread_mutex_lock(&heap->collector.thread_lock);
        pthread_mutex_lock(&heap->report.lock);
        gyre_raw_threads_before_fork(heap);
        gyre_scavenger_before_fork(heap);
    }
}

static void
after_fork_parent(void)
{
    struct gyre_heap *heap;
    for (heap = heaps; heap != NULL; heap = heap->next) {
        pthread_mutex_unlock(&heap->memory.page_lock);
        gyre_raw_threads_after_fork(heap);
        pthread_mutex_unlock(&heap->report.lock);
        pthread_mutex_unlock(&heap->collector.thread_lock);
        if (heap->fork_stopped)
            gyre_world_resume(&heap->world);
        pthread_mutex_unlock(&heap->collector.grace_lock);
        if (!heap->fork_nested)
            pthread_mutex_unlock(&heap->collector.lock);
    }
    pthread_mutex_unlock(&heaps_lock);
    gyre_fork_gate_open();
}

/* What threads had at hand that the child does not have: their pages are
 * abandoned, their staged entries drained, their dead released. */
static void
bury_threads(struct gyre_heap *heap, struct mutator *self)
{
    struct participant *part;
    for (part = gyre_load_relaxed(&heap->world.participants); part != NULL;
         part = part->next) {
        struct mutator *other = mutator_of_part(part);
        if (other == self)
            continue;
        gyre_object_thread_inherit(self, other);
        gyre_collector_leave_births(other);
        gyre_memory_thread_leave(&other->fast);
    }
    gyre_cascade_run(self, true);
}

/* The same for a heap that the forking thread is not attached to: for a
 * moment it is. */
static void
bury_threads_as_guest(struct gyre_heap *heap)
{
    struct gyre_thread *own = gyre_self, *guest;
    uint16_t own_mark = gyre_self_mark;
    bool online = rcu_process_reader_pause();
    gyre_self = NULL;
    if (gyre_thread_attach_internal(heap, &guest) == GYRE_OK) {
        bury_threads(heap, mutator_of(guest));
        gyre_thread_leave(guest);
    }
    gyre_self = own;
    gyre_self_mark = own_mark;
    (void)rcu_process_reader_pause();
    rcu_process_reader_resume(online);
}

/* Its threads did not stop in time, so it may be torn at any place. A child
 * that only runs another program need not care; one that attaches is told. */
static void
lose_heap(struct gyre_heap *heap)
{
    heap->lost_in_fork = true;
    if (gyre_self != NULL && gyre_self->heap == heap) {
        gyre_self = NULL;
        gyre_self_mark = GYRE_RC_NO_THREAD;
    }
}

static void
after_fork_child(void)
{
    struct gyre_heap *heap;
    pthread_mutex_init(&heaps_lock, NULL);
    gyre_fork_gate_after_child();
    gyre_lock_after_fork_child();
    for (heap = heaps; heap != NULL; heap = heap->next) {
        struct mutator *self = mutator_in(heap);
        bool nested = heap->fork_nested, had_thread;
        bool detached = self != NULL && gyre_thread_is_detached(&self->fast);
        gyre_scavenger_after_fork_child(heap);
        gyre_report_heap_forked(heap);
        for (unsigned i = 0; i < WEAK_SHARDS; i++)
            pthread_mutex_init(&heap->object.weak[i].lock, NULL);
        gyre_world_after_fork_child(&heap->world,
                                    self != NULL ? &self->part : NULL);
        had_thread =
            gyre_collector_after_fork_child(heap, nested ? self : NULL);
        if (!heap->fork_stopped) {
            lose_heap(heap);
            continue;
        }
        gyre_raw_threads_after_fork_child(heap);
        if (detached)
            gyre_participant_return(&self->part);
        if (self != NULL)
            bury_threads(heap, self);
        else if (gyre_load_relaxed(&heap->world.participants) != NULL)
            bury_threads_as_guest(heap);
        gyre_world_reissue_gone(&heap->world);
        if (had_thread)
            gyre_collector_start(heap);
        if (detached)
            gyre_detach_for_wait(self);
    }
}

static void
register_fork(void)
{
    pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

static void
list_heap(struct gyre_heap *heap)
{
    lock_heaps();
    heap->next = heaps;
    heaps = heap;
    pthread_mutex_unlock(&heaps_lock);
}

static void
unlist_heap(struct gyre_heap *heap)
{
    struct gyre_heap **at = &heaps;
    pthread_mutex_lock(&heaps_lock);
    while (*at != heap)
        at = &(*at)->next;
    *at = heap->next;
    pthread_mutex_unlock(&heaps_lock);
}

/* ---- create ---- */

enum gyre_status
gyre_heap_create(const char *options, struct gyre_heap **out)
{
    struct gyre_heap *heap;
    enum gyre_status status;
    uint32_t numbers;
    *out = NULL;
    pthread_once(&fork_once, register_fork);
    heap = mmap(NULL, sizeof *heap, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (heap == MAP_FAILED)
        return GYRE_ERR_NOMEM;
    status = gyre_report_heap_init(heap);
    if (status != GYRE_OK)
        goto unmap;
    status = gyre_options_init(heap, options);
    if (status != GYRE_OK)
        goto destroy_report;
    status = gyre_memory_heap_init(heap);
    if (status != GYRE_OK)
        goto destroy_report;
    status = gyre_object_heap_init(heap);
    if (status != GYRE_OK)
        goto destroy_memory;
    status = gyre_collector_init(heap);
    if (status != GYRE_OK)
        goto destroy_object;
    status = gyre_raw_threads_init(heap);
    if (status != GYRE_OK)
        goto destroy_collector;
    numbers = (uint32_t)heap_option(heap, GYRE_OPT_THREAD_NUMBERS);
    status =
        gyre_world_init(&heap->world, numbers, answer_for, look_again, heap);
    if (status != GYRE_OK)
        goto destroy_raw;
    heap->by_number_bytes = (numbers + 1) * sizeof *heap->by_number;
    heap->by_number = gyre_memory_table_new(heap, heap->by_number_bytes);
    if (heap->by_number == NULL) {
        status = GYRE_ERR_NOMEM;
        goto destroy_world;
    }
    list_heap(heap);
    *out = heap;
    return GYRE_OK;

destroy_world:
    gyre_world_destroy(&heap->world);
destroy_raw:
    gyre_raw_threads_destroy(heap);
destroy_collector:
    gyre_collector_destroy(heap);
destroy_object:
    gyre_object_heap_destroy(heap);
destroy_memory:
    gyre_memory_heap_destroy(heap);
destroy_report:
    gyre_report_heap_destroy(heap);
unmap:
    munmap(heap, sizeof *heap);
    return status;
}

/* ---- destroy ---- */

/* What a dealloc gives up, beyond the slots, may have had its own already,
 * and is not to die once more: nothing is counted any more. */
static void
stop_counting_page(struct page *page, void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < page->fresh; i++) {
        struct gyre_object *obj =
            (struct gyre_object *)(page->blocks +
                                   (size_t)i * page->fast.block_size);
        if (word0_is_object(gyre_load_relaxed(&obj->word0)) &&
            !(gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_DEAD))
            /* relaxed: the heap's last thread */
            gyre_store_relaxed(&obj->rc_local, GYRE_RC_IMMORTAL);
    }
}

static void
dealloc_page(struct page *page, void *arg)
{
    (void)arg;
    for (uint32_t i = 0; i < page->fresh; i++) {
        struct gyre_object *obj =
            (struct gyre_object *)(page->blocks +
                                   (size_t)i * page->fast.block_size);
        const struct gyre_type *type;
        if (!word0_is_object(gyre_load_relaxed(&obj->word0)) ||
            (gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_DEAD))
            continue;
        type = gyre_type_of(obj);
        if ((type->traits & TYPE_DEALLOCS) == 0 || gyre_is_weakref(obj))
            continue;
        /* what it referred to may be gone already: nothing to be found */
        OBJECT_EACH_SLOT(obj, type, slot, { slot->ref = NULL; });
        type->dealloc(obj);
    }
}

static bool
has_attached_threads(struct gyre_heap *heap)
{
    bool any;
    pthread_mutex_lock(&heap->world.lock);
    any = heap->world.attached > heap->world.attached_internal ||
          heap->world.leaving > 0;
    pthread_mutex_unlock(&heap->world.lock);
    /* the last to leave writes to its record under the lock */
    pthread_mutex_lock(&heap->raw.lock);
    any |= gyre_load_relaxed(&heap->raw.attached) > 0; /* under the lock */
    pthread_mutex_unlock(&heap->raw.lock);
    return any;
}

static void
free_mutators(struct gyre_heap *heap)
{
    /* relaxed: the last thread of the heap */
    struct participant *part = gyre_load_relaxed(&heap->world.participants);
    while (part != NULL) {
        struct mutator *mutator = mutator_of_part(part);
        part = part->next;
        gyre_memory_table_delete(heap, mutator, sizeof *mutator);
    }
}

enum gyre_status
gyre_heap_destroy(struct gyre_heap *heap)
{
    struct gyre_thread *self;
    if (heap->lost_in_fork || has_attached_threads(heap) || gyre_self != NULL)
        return GYRE_ERR_STATE;
    gyre_collector_stop(heap);
    /* A thread of our own: orphans are merged, deallocs may free memory. */
    if (gyre_thread_attach_internal(heap, &self) == GYRE_OK) {
        const uint32_t kinds =
            (1u << GYRE_PAGE_CONTAINER) | (1u << GYRE_PAGE_LEAF);
        (void)gyre_quiesce(heap);
        gyre_memory_each_page(heap, kinds, stop_counting_page, NULL);
        gyre_memory_each_page(heap, kinds, dealloc_page, NULL);
        gyre_thread_leave(self);
    }
    unlist_heap(heap);
    gyre_scavenger_stop(heap);
    free_mutators(heap);
    gyre_memory_table_delete(heap, heap->by_number, heap->by_number_bytes);
    gyre_world_destroy(&heap->world);
    gyre_raw_threads_destroy(heap);
    gyre_collector_destroy(heap);
    gyre_object_heap_destroy(heap);
    gyre_memory_heap_destroy(heap);
    gyre_report_heap_destroy(heap);
    munmap(heap, sizeof *heap);
    return GYRE_OK;
}
