/* A thread's pages when it attaches, while its births are noted, and when it
 * leaves. The owner, or who speaks for a thread that is gone.
 * Design: docs/design/memory.md .mem.adopt .mem.births */
#include "../heap.h"
#include "batch.h"
#include "cache.h"
#include "counts.h"
#include "current.h"
#include "page.h"
#include "refill.h"
#include "retire.h"
#include "trim.h"

/* So many pages are moved under the page lock at a time. */
#define LOCK_BATCH 32u

void
gyre_memory_note_births(struct gyre_thread *self)
{
    uint32_t index;
    memory_pending_flush(self);
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        if (!page_is_none(*memory_current(self, index)))
            gyre_page_note(self, (struct page *)*memory_current(self, index));
}

void
gyre_memory_birth_stamp(struct gyre_thread *self, unsigned stamp)
{
    uint32_t index;
    self->birth_stamp = (uint64_t)stamp << GYRE_WORD0_STAMP_SHIFT;
    for (index = 0; index < GYRE_SIZE_CLASSES; index++)
        if (!page_is_none(*memory_current(self, index)))
            gyre_refill_note_stamp(self,
                                   (struct page *)*memory_current(self, index));
}

void
gyre_memory_thread_init(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index;
    /* A check looks at the lists of a raw thread under the page lock, and no
     * stop keeps one from attaching meanwhile. */
    if (thread_is_raw(self))
        pthread_mutex_lock(&self->heap->memory.page_lock);
    /* The counters go on: others may read them now. */
    memset(thread, 0, offsetof(struct memory_thread, counts));
    if (thread_is_raw(self))
        pthread_mutex_unlock(&self->heap->memory.page_lock);
    thread->limbo = GYRE_LINK_END;
    thread->released = GYRE_LINK_END;
    self->link_secret = self->heap->memory.link_secret;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        self->current[index] = (struct gyre_page *)&gyre_page_none;
        *memory_current(self, index) = (struct gyre_page *)&gyre_page_none;
    }
    thread->settles = gyre_load_relaxed(&self->heap->memory.settles);
    thread->trims = gyre_load_relaxed(&self->heap->memory.trims);
    /* acquire; pairs: gyre_memory_options_changed(). As in
     * gyre_cache_catch_up(), with nothing in the cache yet. */
    thread->epoch = gyre_load_acquire(&self->heap->memory.epoch);
    /* Of raw memory alone nothing waits in limbo.
     * acquire; pairs: gyre_memory_limbo_end(). As for all who follow; that it
     * is a cycle's which has begun, see .open.shake */
    gyre_memory_limbo(
        self, thread_is_raw(self)
                  ? 0
                  : gyre_load_acquire(&self->heap->memory.limbo_stamps));
}

/* Leave an open page, in no list, to others. Page lock held. False: it has
 * no blocks in use, and is nobody's. */
static bool
abandon_open(struct gyre_thread *self, struct page *page)
{
    struct memory_heap *memory = &self->heap->memory;
    bool full;
    page_set_owner(page, NULL);
    do {
        gyre_remote_take(page);
        if (page_used(page) == 0)
            return false;
        full = !page_has_room(page);
    } while (!gyre_remote_close(page, full ? REMOTE_NOTIFY : 0));
    page_set_state(page, full ? PAGE_FULL : PAGE_ABANDONED);
    page_list_push(full ? &memory->abandoned_full
                        : &memory->abandoned[page_alloc_index(page)],
                   page);
    return true;
}

/* The same, without the lock. False: it is empty, and to be disposed of. */
static bool
leave_open(struct gyre_thread *self, struct page *page)
{
    struct memory_heap *memory = &self->heap->memory;
    bool used = true;
    gyre_page_note(self, page);
    if (page_used(page) == 0) { /* nobody has a block to free */
        page_set_owner(page, NULL);
        used = false;
    } else {
        pthread_mutex_lock(&memory->page_lock);
        used = abandon_open(self, page);
        pthread_mutex_unlock(&memory->page_lock);
    }
    if (!used) {
        gyre_page_note(self, page);
        gyre_counts_page_gone(self, page);
    }
    return used;
}

void
gyre_attachment_leave_open(struct gyre_thread *self, struct page *page)
{
    if (!leave_open(self, page))
        gyre_page_dispose(self->heap, page);
}

/* Those that are empty are chained before `gone`. */
static struct page *
leave_or_chain(struct gyre_thread *self, struct page *page, struct page *gone)
{
    if (leave_open(self, page))
        return gone;
    page->next = gone;
    return page;
}

static void
leave_full(struct memory_heap *memory, struct memory_thread *thread)
{
    struct page *page = thread->full;
    page_list_remove(&thread->full, page);
    page_set_owner(page, NULL);
    page_list_push(&memory->abandoned_full, page);
}

static void
leave_returned(struct memory_heap *memory, struct memory_thread *thread)
{
    struct page *page = thread->returned;
    page_list_remove(&thread->returned, page);
    page_set_owner(page, NULL);
    page_set_state(page, PAGE_ABANDONED);
    page_list_push(&memory->abandoned[page_alloc_index(page)], page);
}

/* Closed pages, which others move from list to list meanwhile. */
static void
leave_closed(struct gyre_thread *self)
{
    struct memory_heap *memory = &self->heap->memory;
    struct memory_thread *thread = &mutator_of(self)->memory;
    bool more = true;
    while (more) {
        unsigned batch;
        pthread_mutex_lock(&memory->page_lock);
        for (batch = 0; batch < LOCK_BATCH && thread->full != NULL; batch++)
            leave_full(memory, thread);
        for (; batch < LOCK_BATCH && thread->returned != NULL; batch++)
            leave_returned(memory, thread);
        more = thread->full != NULL || thread->returned != NULL;
        pthread_mutex_unlock(&memory->page_lock);
    }
}

void
gyre_memory_thread_leave(struct gyre_thread *self)
{
    struct memory_heap *memory = &self->heap->memory;
    struct memory_thread *thread = &mutator_of(self)->memory;
    struct page *gone = NULL;
    uint32_t index;
    gyre_limbo_leave(self);
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        struct gyre_page *current = *memory_current(self, index);
        struct page *page;
        *memory_current(self, index) = (struct gyre_page *)&gyre_page_none;
        if (!page_is_none(current)) {
            gyre_cache_forget_current(self, (struct page *)current);
            gone = leave_or_chain(self, (struct page *)current, gone);
        }
        while (thread->available[index] != NULL) {
            page = gyre_refill_take_available(self, index);
            gone = leave_or_chain(self, page, gone);
        }
        while (thread->sparse[index] != NULL) {
            page = gyre_refill_take_sparse(self, index);
            gone = leave_or_chain(self, page, gone);
        }
    }
    gyre_page_dispose_list(self->heap, gone);
    leave_closed(self);
    gyre_cache_flush(self);
    /* relaxed, all: counts for pacing */
    gyre_fetch_add_relaxed(&memory->container_net_gone,
                           gyre_load_relaxed(&thread->container_net));
    gyre_store_relaxed(&thread->container_net, 0);
    gyre_store_relaxed(&thread->has_returned, 0);
}
