/* Frees that the inlined path does not do, and limbo: dead blocks that are
 * not reused while a collection is open that may still look at them.
 * Any thread for its own. Design: docs/design/memory.md .mem.limbo
 * .mem.retire */
#include "../heap.h"
#include "batch.h"
#include "cache.h"
#include "large.h"
#include "page.h"
#include "refill.h"
#include "retire.h"

/* A free by whichever way the page's owner says. Never into limbo. */
static void
chain_free(struct gyre_thread *self, struct page *page,
           struct block_chain chain)
{
    /* relaxed: only this thread makes itself the owner or no longer so */
    struct gyre_thread *owner = gyre_load_relaxed(&page->fast.owner);
    if (owner == self) {
        gyre_link_store(self, chain.last, page->fast.free);
        page->fast.free = (uintptr_t)chain.first + 1;
        page->frees_due += chain.count;
        gyre_memory_page_look(self, page);
    } else if (owner == owner_closed(self)) {
        gyre_refill_free_closed(self, page, chain);
    } else {
        gyre_remote_push(self, page, chain);
    }
}

void
gyre_memory_free_chain(struct gyre_thread *self, struct page *page, void *first,
                       void *last, uint32_t count)
{
    struct block_chain chain = {first, last, count};
    chain_free(self, page, chain);
}

void
gyre_memory_pending_push(struct gyre_thread *self)
{
    struct free_batch *pending = &mutator_of(self)->memory.pending;
    struct free_batch batch = *pending;
    /* first, as what follows may come here again */
    pending->page = NULL;
    pending->count = 0;
    free_batch_flush(self, &batch);
}

/* The thread's last free went to `page`. But a push may start a thread, for
 * which the C library may free by our own malloc. */
static void
pending_expect(struct free_batch *pending, struct page *page)
{
    if (pending->count == 0)
        pending->page = page;
}

/* A block of a small class that is not the thread's own, or in limbo times
 * may be. */
static void
small_free(struct gyre_thread *self, struct page *page, void *block)
{
    struct free_batch *pending = &mutator_of(self)->memory.pending;
    struct block_chain chain = {block, block, 1};
    /* relaxed: as in chain_free() */
    struct gyre_thread *owner =
        owner_plain(gyre_load_relaxed(&page->fast.owner));
    if (owner == self) {
        chain_free(self, page, chain);
    } else if (pending->page != page) {
        memory_pending_flush(self);
        chain_free(self, page, chain);
        pending_expect(pending, page);
    } else {
        gyre_link_store(self, block,
                        pending->count > 0 ? (uintptr_t)pending->first + 1
                                           : GYRE_LINK_END);
        if (pending->count == 0)
            pending->last = block;
        pending->first = block;
        if (++pending->count < PENDING_MOST)
            return;
        gyre_memory_pending_push(self);
        pending_expect(pending, page);
    }
}

static void
block_free(struct gyre_thread *self, void *block)
{
    struct page *page = page_of(block);
    guard_gone(page, block);
    if (page->size_class == PAGE_CLASS_LARGE)
        gyre_large_free(self, page);
    else
        small_free(self, page, block);
}

/* Whether the dead object in `block` is of an age that waits. */
static bool
limbo_wants(const struct memory_thread *thread, const void *block)
{
    /* relaxed: the object is dead, and its age stands still */
    uint64_t word0 = gyre_load_relaxed((const uint64_t *)block);
    unsigned stamp = (unsigned)(word0 >> GYRE_WORD0_STAMP_SHIFT) & 7u;
    return (thread->limbo_stamps >> stamp & 1u) != 0 &&
           page_of(block)->kind == GYRE_PAGE_CONTAINER;
}

void
gyre_memory_free(struct gyre_thread *self, void *block)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    if (thread->limbo_stamps != 0 && limbo_wants(thread, block)) {
        /* It is no object to any reader any more; the body stays. */
        gyre_link_store(self, block, thread->limbo);
        thread->limbo = (uintptr_t)block + 1;
        thread->limbo_blocks++;
        return;
    }
    block_free(self, block);
}

static void
limbo_flush(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uintptr_t link = thread->limbo;
    thread->limbo = GYRE_LINK_END;
    while (link != GYRE_LINK_END) {
        void *block = (void *)(link - 1);
        link = link_load_any(block);
        block_free(self, block);
    }
    gyre_retired_free(self);
    thread->limbo_blocks = 0;
}

void
gyre_memory_limbo(struct gyre_thread *self, uint32_t stamps)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    thread->limbo_stamps = stamps;
    self->frees_to = stamps != 0 ? GYRE_FREES_NOWHERE : self;
    if (stamps == 0)
        limbo_flush(self);
    memory_pending_flush(self);
}

void
gyre_memory_limbo_follow(struct gyre_thread *self)
{
    /* acquire; pairs: limbo_off(). What waited is reused only after the
     * collector has read it for the last time. */
    uint32_t stamps = gyre_load_acquire(&self->heap->memory.limbo_stamps);
    struct memory_thread *thread = &mutator_of(self)->memory;
    memory_pending_flush(self);
    if (stamps != thread->limbo_stamps)
        gyre_memory_limbo(self, stamps);
    if (cache_is_behind(&self->heap->memory, thread))
        gyre_cache_catch_up(self);
}
