/* Frees that the inlined path does not do, and limbo: dead blocks that are
 * not reused while a collection is open that may still look at them.
 * Any thread for its own. Design: docs/design/memory.md .mem.limbo
 * .mem.retire */
#include "../../threads/yield.h"
#include "../fault.h"
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
    /* acquire; pairs: gyre_phase_close_beside(). An age that is collected no
     * more may be news to us: then our limbo is over before we know, and the
     * collector's last look at the body comes before the block's reuse. */
    uint64_t word0 = gyre_load_acquire((const uint64_t *)block);
    unsigned stamp = (unsigned)(word0 >> GYRE_WORD0_STAMP_SHIFT) & 7u;
    return (thread->limbo_stamps >> stamp & 1u) != 0 &&
           page_of(block)->kind == GYRE_PAGE_CONTAINER;
}

/* Bytes that a thread keeps to itself before it notes them. */
#define NOTE_BYTES (UINT64_C(16) << 10)

void
gyre_limbo_note(struct gyre_thread *self, uint64_t bytes)
{
    struct memory_heap *memory = &self->heap->memory;
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint64_t sum;
    thread->limbo_unnoted += bytes;
    if (thread->limbo_unnoted < NOTE_BYTES)
        return;
    /* relaxed, all: a bound that may be passed by what threads keep back */
    sum = gyre_fetch_add_relaxed(&memory->limbo_bytes, thread->limbo_unnoted) +
          thread->limbo_unnoted;
    thread->limbo_unnoted = 0;
    if (sum > gyre_load_relaxed(&memory->limbo_peak))
        gyre_store_relaxed(&memory->limbo_peak, sum);
}

void
gyre_memory_free(struct gyre_thread *self, void *block)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    if (thread->limbo_stamps != 0 && limbo_wants(thread, block)) {
        if (FAULT_DUE(FAULT_LIMBO_LEFT_OUT, 4)) {
            block_free(self, block);
            return;
        }
        /* It is no object to any reader any more; the body stays. */
        gyre_link_store(self, block, thread->limbo);
        if (thread->limbo == GYRE_LINK_END)
            thread->limbo_last = block;
        thread->limbo = (uintptr_t)block + 1;
        thread->limbo_blocks++;
        gyre_limbo_note(self, page_of(block)->fast.block_size);
        return;
    }
    block_free(self, block);
}

/* At most `most` of a list; what is left of it. */
static uintptr_t
free_some(struct gyre_thread *self, uintptr_t link, uint32_t *most)
{
    for (; link != GYRE_LINK_END && *most > 0; --*most) {
        void *block = (void *)(link - 1);
        link = link_load_any(block);
        block_free(self, block);
    }
    return link;
}

static void
free_list(struct gyre_thread *self, uintptr_t link)
{
    uint32_t most;
    do {
        most = UINT32_MAX;
        link = free_some(self, link, &most);
    } while (link != GYRE_LINK_END);
}

/* ---- what a cycle that is over leaves to be freed ---- */

/* Blocks of one safepoint: 20 to 50 microseconds. */
#define RELEASE_BLOCKS 512u

/* All that waits is to be freed. */
static void
release(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    struct limbo_chunk **end = &thread->released_raw;
    if (thread->limbo != GYRE_LINK_END) {
        gyre_link_store(self, thread->limbo_last, thread->released);
        thread->released = thread->limbo;
        thread->limbo = GYRE_LINK_END;
    }
    /* few, if any are left */
    while (*end != NULL)
        end = &(*end)->next;
    *end = thread->retired;
    thread->retired = NULL;
    thread->limbo_blocks = 0;
}

static bool
has_released(const struct memory_thread *thread)
{
    return thread->released != GYRE_LINK_END || thread->released_raw != NULL;
}

bool
gyre_memory_limbo_drain(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t most = RELEASE_BLOCKS;
    if (GYRE_LIKELY(!has_released(thread)))
        return false;
    gyre_account_begin(mutator_of(self));
    thread->released = free_some(self, thread->released, &most);
    while (most > 0 && thread->released_raw != NULL) {
        struct limbo_chunk *chunk = thread->released_raw;
        thread->released_raw = chunk->next;
        chunk->next = NULL;
        most -= chunk->count < most ? (uint32_t)chunk->count : most;
        gyre_retired_free_list(self, chunk);
    }
    memory_pending_flush(self);
    gyre_account_end(mutator_of(self));
    if (!has_released(thread))
        return false;
    gyre_participant_request(&mutator_of(self)->part, REQUEST_PENDING);
    return true;
}

static void
limbo_flush(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    struct limbo_chunk *raw;
    uintptr_t link;
    release(self);
    link = thread->released;
    raw = thread->released_raw;
    thread->released = GYRE_LINK_END;
    thread->released_raw = NULL;
    free_list(self, link);
    gyre_retired_free_list(self, raw);
}

void
gyre_memory_limbo(struct gyre_thread *self, uint32_t stamps)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    thread->limbo_stamps = stamps;
    thread->limbo_unnoted = 0;
    self->frees_to = stamps != 0 ? GYRE_FREES_NOWHERE : self;
    if (stamps == 0)
        limbo_flush(self);
    memory_pending_flush(self);
}

void
gyre_memory_limbo_follow(struct gyre_thread *self)
{
    /* acquire; pairs: gyre_memory_limbo_end(). What waited is reused only
     * after the collector has read it for the last time. */
    uint32_t stamps = gyre_load_acquire(&self->heap->memory.limbo_stamps);
    struct memory_thread *thread = &mutator_of(self)->memory;
    memory_pending_flush(self);
    if (stamps == thread->limbo_stamps)
        return;
    if (stamps != 0) {
        gyre_memory_limbo(self, stamps);
        return;
    }
    thread->limbo_stamps = 0;
    thread->limbo_unnoted = 0;
    self->frees_to = self;
    release(self);
}

void
gyre_memory_limbo_finish(struct gyre_heap *heap)
{
    /* acquire; pairs: gyre_world_enter(). Those listed are made. */
    struct participant *part = gyre_load_acquire(&heap->world.participants);
    for (; part != NULL; part = part->next) {
        struct gyre_thread *thread = &mutator_of_part(part)->fast;
        memory_pending_flush(thread);
        if (mutator_of_part(part)->memory.limbo_stamps != 0 ||
            has_released(&mutator_of_part(part)->memory))
            gyre_memory_limbo(thread, 0);
    }
}

void
gyre_memory_do_asked(struct gyre_thread *self)
{
    const struct memory_thread *thread = &mutator_of(self)->memory;
    if (cache_is_behind(&self->heap->memory, thread))
        gyre_cache_catch_up(self);
}

/* ---- a cycle's limbo, and who leaves meanwhile ---- */

void
gyre_memory_limbo_begin(struct gyre_heap *heap, uint32_t stamps)
{
    struct memory_heap *memory = &heap->memory;
    /* relaxed, both: threads take it over by a handshake or in a stop */
    gyre_store_relaxed(&memory->limbo_bytes, 0);
    gyre_store_relaxed(&memory->limbo_stamps, stamps);
}

/* Hang `thread`'s lists before those of the heap. Page lock held. */
static void
leave_lists(struct memory_heap *memory, struct memory_thread *thread)
{
    uintptr_t link = thread->limbo;
    struct limbo_chunk **end = &thread->retired;
    if (link != GYRE_LINK_END) {
        void *last = (void *)(link - 1);
        uintptr_t next;
        while ((next = link_load_any(last)) != GYRE_LINK_END)
            last = (void *)(next - 1);
        link_store(last, memory->limbo_left);
        memory->limbo_left = link;
        thread->limbo = GYRE_LINK_END;
    }
    while (*end != NULL)
        end = &(*end)->next;
    *end = memory->retired_left;
    memory->retired_left = thread->retired;
    thread->retired = NULL;
}

void
gyre_limbo_leave(struct gyre_thread *self)
{
    struct memory_heap *memory = &self->heap->memory;
    struct memory_thread *thread = &mutator_of(self)->memory;
    if (thread->limbo_stamps != 0) {
        GYRE_YIELD_POINT("leave limbo");
        pthread_mutex_lock(&memory->page_lock);
        /* relaxed: it ends under the lock .open.leave */
        if (gyre_load_relaxed(&memory->limbo_stamps) != 0)
            leave_lists(memory, thread);
        pthread_mutex_unlock(&memory->page_lock);
    }
    gyre_memory_limbo(self, 0);
}

void
gyre_memory_limbo_end(struct gyre_thread *self)
{
    struct memory_heap *memory = &self->heap->memory;
    struct limbo_chunk *retired;
    uintptr_t left;
    pthread_mutex_lock(&memory->page_lock);
    /* release; pairs: gyre_memory_limbo_follow(). We have read what waits for
     * the last time; a thread that still sees limbo on keeps its dead a
     * moment longer. */
    gyre_store_release(&memory->limbo_stamps, 0);
    left = memory->limbo_left;
    retired = memory->retired_left;
    memory->limbo_left = GYRE_LINK_END;
    memory->retired_left = NULL;
    pthread_mutex_unlock(&memory->page_lock);
    gyre_memory_limbo(self, 0);
    free_list(self, left);
    gyre_retired_free_list(self, retired);
    memory_pending_flush(self);
}
