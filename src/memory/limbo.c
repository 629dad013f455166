/* Frees that the inlined path does not do, and limbo: dead blocks that are
 * not reused while a collection is open that may still look at them.
 * Any thread for its own. Design: docs/design/memory.md .mem.limbo
 * .mem.retire */
#include "../heap.h"
#include "cache.h"
#include "large.h"
#include "page.h"
#include "retire.h"

/* A free by whichever way the page's owner says. Never into limbo. */
static void
chain_free(struct gyre_thread *self, struct page *page,
           struct block_chain chain)
{
    /* relaxed: only this thread makes itself the owner or no longer so */
    struct gyre_thread *owner = gyre_load_relaxed(&page->fast.owner);
    if (owner == self) {
        /* relaxed: the blocks are dead; a stray reader needs a value */
        gyre_store_relaxed((uint64_t *)chain.last, (uint64_t)page->fast.free);
        page->fast.free = (uintptr_t)chain.first + 1;
        page->fast.used -= chain.count;
        if (page->fast.used == 0)
            gyre_memory_page_emptied(self, page);
    } else if (owner == owner_closed(self)) {
        gyre_cache_free_closed(self, page, chain);
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

static void
block_free(struct gyre_thread *self, void *block)
{
    struct page *page = page_of(block);
    struct block_chain chain = {block, block, 1};
    if (page->size_class == PAGE_CLASS_LARGE)
        gyre_large_free(self, page);
    else
        chain_free(self, page, chain);
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
        /* relaxed: makes it no object to any reader; the body stays */
        gyre_store_relaxed((uint64_t *)block, (uint64_t)thread->limbo);
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
        /* relaxed: linked by this thread */
        link = (uintptr_t)gyre_load_relaxed((uint64_t *)block);
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
}

void
gyre_memory_limbo_follow(struct gyre_thread *self)
{
    /* acquire; pairs: limbo_off(). What waited is reused only after the
     * collector has read it for the last time. */
    uint32_t stamps = gyre_load_acquire(&self->heap->memory.limbo_stamps);
    if (stamps != mutator_of(self)->memory.limbo_stamps)
        gyre_memory_limbo(self, stamps);
}
