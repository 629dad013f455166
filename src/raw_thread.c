/* Threads attached for raw memory alone: they own pages and nothing else, so
 * they have no number, no queue and no safepoints, the world does not list
 * them and nobody waits for them. Their records are given out again.
 * Design: docs/design/threads.md .thread.raw */
#include "heap.h"

/* ---- records ---- */

static struct mutator *
make_record(struct gyre_heap *heap)
{
    struct mutator *record = gyre_memory_table_new(heap, sizeof *record);
    if (record == NULL)
        return NULL;
    record->raw = true;
    record->fast.heap = heap;
    /* What asks whether a thread is at work finds one that is not. */
    record->part.world = &heap->world;
    gyre_store_relaxed(&record->part.state, PART_DETACHED);
    record->part.requests = &record->fast.requests;
    /* relaxed: never cleared, so that a poll comes to where it is named */
    gyre_store_relaxed(&record->fast.requests, REQUEST_PENDING);
    record->fast.birth_rc = (uint64_t)rc_shared_of(1, GYRE_RC_MERGED) << 32;
    return record;
}

/* Count it in or out. Under the lock. */
static void
set_attached(struct gyre_heap *heap, struct mutator *record, bool attached)
{
    record->raw_attached = attached;
    /* relaxed: a count, written under the lock */
    gyre_store_relaxed(&heap->raw.attached,
                       gyre_load_relaxed(&heap->raw.attached) +
                           (attached ? 1 : UINT64_MAX));
}

static struct mutator *
take_free(struct gyre_heap *heap)
{
    struct raw_threads *raw = &heap->raw;
    struct mutator *record;
    pthread_mutex_lock(&raw->lock);
    record = raw->free;
    if (record != NULL) {
        raw->free = record->next_free_raw;
        set_attached(heap, record, true);
    }
    pthread_mutex_unlock(&raw->lock);
    return record;
}

static struct mutator *
list_new(struct gyre_heap *heap, struct mutator *record)
{
    struct raw_threads *raw = &heap->raw;
    pthread_mutex_lock(&raw->lock);
    record->next_raw = gyre_load_relaxed(&raw->all); /* under the lock */
    /* release; pairs: gyre_raw_threads_destroy(). Whoever finds it in the
     * list finds it made. */
    gyre_store_release(&raw->all, record);
    set_attached(heap, record, true);
    pthread_mutex_unlock(&raw->lock);
    return record;
}

/* ---- attach and leave ---- */

enum gyre_status
gyre_thread_attach_raw(struct gyre_heap *heap, struct gyre_thread **out)
{
    struct mutator *self;
    *out = NULL;
    if (gyre_self != NULL || heap->lost_in_fork)
        return GYRE_ERR_STATE;
    self = take_free(heap);
    if (self == NULL) {
        self = make_record(heap);
        if (self == NULL)
            return GYRE_ERR_NOMEM;
        list_new(heap, self);
    }
    self->part.name[0] = '\0';
    gyre_memory_thread_init(&self->fast);
    gyre_self = &self->fast;
    gyre_self_mark = GYRE_RC_NO_THREAD;
    *out = gyre_self;
    return GYRE_OK;
}

void
gyre_raw_thread_leave(struct gyre_thread *fast)
{
    struct mutator *self = mutator_of(fast);
    struct gyre_heap *heap = fast->heap;
    gyre_memory_thread_leave(fast);
    gyre_self = NULL;
    gyre_scavenger_poll(heap);
    pthread_mutex_lock(&heap->raw.lock);
    set_attached(heap, self, false);
    self->next_free_raw = heap->raw.free;
    heap->raw.free = self;
    pthread_mutex_unlock(&heap->raw.lock);
}

/* ---- a heap's life ---- */

enum gyre_status
gyre_raw_threads_init(struct gyre_heap *heap)
{
    return pthread_mutex_init(&heap->raw.lock, NULL) == 0 ? GYRE_OK
                                                          : GYRE_ERR_NOMEM;
}

void
gyre_raw_threads_destroy(struct gyre_heap *heap)
{
    /* acquire; pairs: list_new(). The last owners are gone. */
    struct mutator *record = gyre_load_acquire(&heap->raw.all);
    while (record != NULL) {
        struct mutator *next = record->next_raw;
        gyre_memory_table_delete(heap, record, sizeof *record);
        record = next;
    }
    pthread_mutex_destroy(&heap->raw.lock);
}

/* ---- fork ---- */

void
gyre_raw_threads_before_fork(struct gyre_heap *heap)
{
    pthread_mutex_lock(&heap->raw.lock);
}

void
gyre_raw_threads_after_fork(struct gyre_heap *heap)
{
    pthread_mutex_unlock(&heap->raw.lock);
}

void
gyre_raw_threads_after_fork_child(struct gyre_heap *heap)
{
    struct raw_threads *raw = &heap->raw;
    struct mutator *record;
    bool any = false;
    pthread_mutex_init(&raw->lock, NULL);
    /* relaxed, here and below: the child has one thread */
    for (record = gyre_load_relaxed(&raw->all); record != NULL;
         record = record->next_raw)
        any |= record->raw_attached && &record->fast != gyre_self;
    if (!any)
        return;
    gyre_memory_bury_raw(heap);
    for (record = gyre_load_relaxed(&raw->all); record != NULL;
         record = record->next_raw) {
        if (!record->raw_attached || &record->fast == gyre_self)
            continue;
        set_attached(heap, record, false);
        record->next_free_raw = raw->free;
        raw->free = record;
    }
}
