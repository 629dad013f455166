/* Trimming: memory of the system's pages in which no block is in use goes
 * back, also inside pages that have some. The blocks there become holes: free,
 * on no list, and brought back when the page has no others.
 *
 * Each thread trims its own pages; those of threads that left are adopted for
 * as long as it takes, and for those in a detached region it is done by the
 * caller. Others are asked to. Design: docs/design/memory.md .mem.trim */
#include "trim.h"

#include "../heap.h"
#include "batch.h"
#include "cache.h"
#include "counts.h"
#include "current.h"
#include "hardened.h"
#include "os.h"
#include "page.h"
#include "refill.h"
#include "remote.h"

/* So many pages are moved under the page lock at a time. */
#define LOCK_BATCH 32u
#define MAX_BLOCKS (GYRE_PAGE_BYTES / 16)

/* ---- one page ---- */

struct free_set {
    uint64_t bits[MAX_BLOCKS / 64];
};

static void
find_free(struct gyre_thread *self, const struct page *page,
          struct free_set *set)
{
    uintptr_t link = page->fast.free;
    memset(set->bits, 0, (page->fresh + 63) / 64 * sizeof *set->bits);
    while (link != GYRE_LINK_END) {
        const void *block = (const void *)(link - 1);
        uint32_t index = page_block_index(page, block);
        set->bits[index / 64] |= UINT64_C(1) << (index % 64);
        link = gyre_link_load(self, block);
    }
}

/* The system's pages that a block in use touches. */
static uint64_t
find_busy(const struct page *page, const struct free_set *set)
{
    uint64_t busy = 0;
    uint32_t i;
    for (i = 0; i < page->fresh; i++)
        if ((set->bits[i / 64] >> (i % 64) & 1) == 0) {
            uint64_t touched = page_block_touches(page, i);
            if ((touched & page->purged) == 0)
                busy |= touched;
        }
    return busy;
}

/* Those that may have memory: what was never written in a new page has none.
 */
static uint64_t
find_resident(const struct page *page)
{
    size_t bytes = (size_t)page->fresh * page->fast.block_size;
    if (page->reused)
        bytes = page_room_bytes(page);
    return page_system_pages(0, bytes - 1) & ~page->purged;
}

/* Take the holes off the free list, and leave the others in their order. */
static void
unlink_holes(struct gyre_thread *self, struct page *page)
{
    uintptr_t link = page->fast.free, first = GYRE_LINK_END;
    void *last = NULL;
    while (link != GYRE_LINK_END) {
        void *block = (void *)(link - 1);
        uintptr_t next = gyre_link_load(self, block);
        if (!page_is_hole(page, page_block_index(page, block))) {
            if (last == NULL)
                first = link;
            else
                gyre_link_store(self, last, link);
            last = block;
        }
        link = next;
    }
    if (last != NULL)
        gyre_link_store(self, last, GYRE_LINK_END);
    page->fast.free = first;
}

static void
purge(struct memory_heap *memory, const struct page *page, uint64_t set)
{
    while (set != 0) {
        unsigned at = (unsigned)__builtin_ctzll(set);
        uint64_t rest = ~(set >> at);
        unsigned count = rest != 0 ? (unsigned)__builtin_ctzll(rest) : 64;
        if (gyre_os_purge(page->blocks + at * OS_PAGE_BYTES,
                          count * OS_PAGE_BYTES))
            /* relaxed: a statistic */
            gyre_fetch_add_relaxed(&memory->returned, count * OS_PAGE_BYTES);
        set &= count + at < 64 ? ~UINT64_C(0) << (count + at) : 0;
    }
}

/* An open page of the thread's with blocks in use. */
static void
trim_page(struct gyre_thread *self, struct page *page)
{
    struct free_set set;
    uint64_t idle;
    find_free(self, page, &set);
    idle = find_resident(page) & ~find_busy(page, &set);
    if (idle == 0)
        return;
    page->purged |= idle;
    unlink_holes(self, page);
    /* Stray readers meet a dead header, or zero, which is dead as well. */
    purge(&self->heap->memory, page, idle);
}

/* ---- a thread's pages ---- */

/* Full ones into which the thread itself freed something. */
static void
open_full(struct gyre_thread *self)
{
    struct memory_heap *memory = &self->heap->memory;
    struct page *page, *next;
    pthread_mutex_lock(&memory->page_lock);
    page = mutator_of(self)->memory.full;
    for (; page != NULL; page = next) {
        next = page->next;
        if (gyre_remote_waiting(page) > 0)
            gyre_refill_open_full(self, page);
    }
    pthread_mutex_unlock(&memory->page_lock);
}

static void
trim_current(struct gyre_thread *self, uint32_t index)
{
    struct gyre_page *current = *memory_current(self, index);
    struct page *page;
    if (page_is_none(current))
        return;
    page = (struct page *)current;
    gyre_remote_take(page);
    if (page_used(page) == 0)
        gyre_refill_give_up(self, page);
    else
        trim_page(self, page);
}

static void
trim_available(struct gyre_thread *self, uint32_t index)
{
    struct page *page = mutator_of(self)->memory.available[index], *next;
    for (; page != NULL; page = next) {
        next = page->next;
        gyre_remote_take(page);
        if (page_used(page) == 0)
            gyre_refill_end_available(self, page);
        else
            trim_page(self, page);
    }
}

void
gyre_trim_thread(struct gyre_thread *self)
{
    uint32_t index;
    memory_pending_flush(self);
    gyre_refill_take_returned(self);
    open_full(self);
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        gyre_refill_open_sparse(self, index);
        trim_current(self, index);
        trim_available(self, index);
    }
    gyre_cache_flush(self);
}

/* ---- pages of threads that left ---- */

/* Make it the thread's own, open, chained before `chain`. Page lock held. */
static struct page *
adopt(struct gyre_thread *self, struct page *page, struct page *chain)
{
    gyre_page_unlist(self->heap, page);
    gyre_remote_open(page);
    page_look_after(page, page_frees_to_empty(page));
    page_set_owner(page, self);
    page_set_state(page, PAGE_AVAILABLE);
    page->next = chain;
    return page;
}

static struct page *
adopt_index(struct gyre_thread *self, uint32_t index, struct page *chain)
{
    struct memory_heap *memory = &self->heap->memory;
    bool more = true;
    while (more) {
        unsigned batch;
        pthread_mutex_lock(&memory->page_lock);
        for (batch = 0; batch < LOCK_BATCH && memory->abandoned[index] != NULL;
             batch++)
            chain = adopt(self, memory->abandoned[index], chain);
        more = memory->abandoned[index] != NULL;
        pthread_mutex_unlock(&memory->page_lock);
    }
    return chain;
}

static struct page *
adopt_full(struct gyre_thread *self, struct page *chain)
{
    struct memory_heap *memory = &self->heap->memory;
    struct page *page, *next;
    pthread_mutex_lock(&memory->page_lock);
    for (page = memory->abandoned_full; page != NULL; page = next) {
        next = page->next;
        if (gyre_remote_waiting(page) > 0)
            chain = adopt(self, page, chain);
    }
    pthread_mutex_unlock(&memory->page_lock);
    return chain;
}

static void
trim_abandoned(struct gyre_thread *self)
{
    struct page *chain = adopt_full(self, NULL), *next;
    uint32_t index;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        chain = adopt_index(self, index, chain);
    for (; chain != NULL; chain = next) {
        next = chain->next;
        chain->next = NULL;
        if (page_used(chain) > 0)
            trim_page(self, chain);
        gyre_attachment_leave_open(self, chain);
    }
}

/* ---- the heap ---- */

/* Other threads do it when they come by; for those in a detached region it is
 * done here. */
static void
ask_others(struct gyre_heap *heap, struct gyre_thread *self)
{
    struct participant *part;
    uint32_t trims = gyre_fetch_add_relaxed(&heap->memory.trims, 1) + 1;
    /* seq_cst, though release would do; pairs: gyre_cache_catch_up() */
    gyre_fetch_add_seq_cst(&heap->memory.epoch, 1);
    mutator_of(self)->memory.trims = trims;
    /* acquire; pairs: gyre_world_enter(). Those listed are made. */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next) {
        struct mutator *other = mutator_of_part(part);
        if (&other->fast == self)
            continue;
        if (gyre_participant_claim(part)) {
            gyre_trim_thread(&other->fast);
            other->memory.trims = trims;
            gyre_participant_release(part);
            heap->world.look_again(part, heap->world.arg);
        } else {
            gyre_participant_request(part, REQUEST_MEMORY);
        }
    }
}

static uint64_t
trim_as(struct gyre_heap *heap, struct gyre_thread *self)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t before = gyre_load_relaxed(&memory->returned); /* a statistic */
    ask_others(heap, self);
    gyre_trim_thread(self);
    trim_abandoned(self);
    gyre_scavenger_return(heap, 0);
    return gyre_load_relaxed(&memory->returned) - before;
}

/* In a detached region the caller's own pages may be another's to change. */
static uint64_t
trim_attached(struct gyre_heap *heap, struct gyre_thread *self)
{
    bool away = !thread_is_raw(self) && gyre_thread_is_detached(self);
    uint64_t bytes;
    if (away)
        gyre_return_from_wait(mutator_of(self));
    bytes = trim_as(heap, self);
    if (away)
        gyre_detach_for_wait(mutator_of(self));
    return bytes;
}

uint64_t
gyre_heap_trim(struct gyre_heap *heap)
{
    struct gyre_thread *guest;
    uint64_t bytes;
    if (gyre_self != NULL)
        return gyre_self->heap == heap ? trim_attached(heap, gyre_self) : 0;
    if (gyre_thread_attach_internal(heap, &guest) != GYRE_OK)
        return 0;
    bytes = trim_as(heap, guest);
    gyre_thread_leave(guest);
    return bytes;
}
