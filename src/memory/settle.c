/* Pages go home when others have freed the last of their blocks, though their
 * owner neither allocates nor frees.
 *
 * A closed page goes by the push that empties it. What is in use of an open
 * one only its owner knows: so pages that others free into are closed while
 * their owner is idle. For a thread in a detached region that is done by the
 * next that comes to a safepoint after it freed such a block; other threads do
 * it themselves when the scavenger asks, once a period.
 * Design: docs/design/memory.md .mem.settle */
#include "settle.h"

#include "../heap.h"
#include "current.h"
#include "page.h"
#include "refill.h"

/* ---- a thread's pages. The owner, or who claimed it ---- */

/* A page others freed into, available or sparse. */
static void
settle_page(struct gyre_thread *self, struct page *page)
{
    struct memory_heap *memory = &self->heap->memory;
    bool closed = false;
    while (!closed) {
        gyre_remote_take(page);
        if (page_used(page) == 0) {
            gyre_refill_give_available(self, page);
            return;
        }
        gyre_page_note(self, page);
        pthread_mutex_lock(&memory->page_lock);
        closed = gyre_remote_close(page, 0);
        if (closed)
            gyre_refill_return(self, page);
        pthread_mutex_unlock(&memory->page_lock);
    }
}

static void
settle_list(struct gyre_thread *self, struct page *page)
{
    struct page *next;
    for (; page != NULL; page = next) {
        next = page->next;
        /* relaxed: a look, so that others cost no exchange */
        if (gyre_load_relaxed(&page->remote_free) != GYRE_LINK_END)
            settle_page(self, page);
    }
}

static void
settle_current(struct gyre_thread *self, uint32_t index)
{
    struct gyre_page *current = *memory_current(self, index);
    struct page *page;
    if (page_is_none(current))
        return;
    page = (struct page *)current;
    if (gyre_remote_take(page) && page_used(page) == 0)
        gyre_refill_give_up(self, page);
}

void
gyre_settle_thread(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t index;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        settle_current(self, index);
        settle_list(self, thread->available[index]);
        settle_list(self, thread->sparse[index]);
    }
}

/* ---- who is asked ---- */

void
gyre_memory_settle_others(struct gyre_thread *self)
{
    struct gyre_heap *heap = self->heap;
    struct participant *part;
    /* acquire; pairs: gyre_settle_notice(), gyre_settle_ask(). What was
     * pushed before is found. */
    if (gyre_load_relaxed(&heap->memory.settle_detached) == 0 ||
        gyre_exchange_acquire(&heap->memory.settle_detached, 0) == 0)
        return;
    /* acquire; pairs: gyre_world_enter(). Those listed are made. */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next) {
        /* relaxed: a look; the claim is what counts */
        if (gyre_load_relaxed(&part->state) != PART_DETACHED ||
            !gyre_participant_claim(part))
            continue;
        gyre_settle_thread(&mutator_of_part(part)->fast);
        gyre_participant_release(part);
        heap->world.look_again(part, heap->world.arg);
    }
}

void
gyre_settle_notice(struct gyre_thread *self, struct gyre_thread *owner)
{
    struct memory_heap *memory = &self->heap->memory;
    struct participant *part = &mutator_of(owner)->part;
    /* A record is never taken away, whoever has it by now. Nobody does a raw
     * thread's work for it. relaxed: a hint */
    if (!thread_is_raw(self) && !thread_is_raw(owner) &&
        gyre_load_relaxed(&part->state) == PART_DETACHED) {
        /* release; pairs: gyre_memory_settle_others(). With what was pushed. */
        gyre_store_release(&memory->settle_detached, 1);
        gyre_participant_request(&mutator_of(self)->part, REQUEST_MEMORY);
    }
    /* In any case: the owner may come back for a moment, and be missed. */
    if (gyre_load_relaxed(&memory->others_freed) == 0) {
        pthread_mutex_lock(&memory->page_lock);
        /* relaxed: a hint, read under the lock */
        gyre_store_relaxed(&memory->others_freed, 1);
        gyre_scavenger_notify(self->heap);
        pthread_mutex_unlock(&memory->page_lock);
        gyre_scavenger_poll(self->heap);
    }
}

void
gyre_settle_ask(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct participant *part;
    /* relaxed: a hint; what comes with it is in the pages' own words */
    if (gyre_load_relaxed(&memory->others_freed) == 0)
        return;
    gyre_store_relaxed(&memory->others_freed, 0); /* relaxed: as above */
    /* release; pairs: gyre_memory_settle_others() */
    gyre_store_release(&memory->settle_detached, 1);
    gyre_fetch_add_relaxed(&memory->settles, 1); /* before the epoch */
    /* seq_cst, though release would do; pairs: gyre_cache_catch_up() */
    gyre_fetch_add_seq_cst(&memory->epoch, 1);
    /* acquire; pairs: gyre_world_enter(). As above. */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next)
        gyre_participant_request(part, REQUEST_MEMORY);
}
