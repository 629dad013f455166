/* In a forked child: the pages of raw threads that it does not have.
 *
 * Nobody stopped them, so each may have been caught anywhere but under the
 * page lock, which the fork held. Their own lists are not trusted: what a page
 * is, is told from its record, as far as that is changed under the lock or by
 * one store. The child has one thread, and no collection reads pages now.
 * Design: docs/design/memory.md .mem.fork */
#include "../heap.h"
#include "counts.h"
#include "page.h"
#include "remote.h"

#define MAX_BLOCKS (GYRE_PAGE_BYTES / 16)

struct burial {
    struct gyre_heap *heap;
    /* counted anew, as whoever noted them may have been between two words */
    uint64_t pages_in_use;
    struct raw_totals raw;
};

static bool
is_gone(const struct gyre_thread *owner)
{
    return owner != NULL && thread_is_raw(owner) && owner != gyre_self;
}

/* ---- the blocks of one page ---- */

/* The free blocks that were found, linked anew. */
struct found {
    uint64_t bits[MAX_BLOCKS / 64];
    uintptr_t list;
    uint32_t count, end; /* blocks; the last one's number and one more */
};

/* Follow a free list as long as it leads from block to block of the page, and
 * to none twice (the secret of links is the heap's: a thread's record may be
 * about to get it): a thread that is caught in the midst of a free has linked
 * the block to the list already, or not put it there. */
static void
find_free(const struct page *page, uintptr_t link, struct found *found)
{
    while (link != GYRE_LINK_END) {
        unsigned char *block = (unsigned char *)(link - 1);
        uintptr_t offset = (uintptr_t)block - (uintptr_t)page->blocks;
        uint32_t index;
        if ((link & 15) != 1 || offset >= gyre_segment_span_bytes(page))
            return;
        index = page_block_index(page, block);
        if (index >= page->capacity ||
            offset != (uintptr_t)index * page->fast.block_size ||
            (found->bits[index / 64] >> (index % 64) & 1) != 0)
            return;
        found->bits[index / 64] |= UINT64_C(1) << (index % 64);
        if (MEMORY_POISON) /* the page may have been half made */
            memory_unpoison(block, POISON_KEEP);
        link = link_load_any(block);
        link_store(block, found->list);
        found->list = (uintptr_t)block + 1;
        found->count++;
        if (index >= found->end)
            found->end = index + 1;
    }
}

/* What was trimmed is free too, and linked again. */
static void
find_holes(struct page *page, struct found *found)
{
    uint32_t i;
    for (i = 0; i < page->fresh && page->purged != 0; i++) {
        unsigned char *block = page->blocks + (size_t)i * page->fast.block_size;
        if (!page_is_hole(page, i) ||
            (found->bits[i / 64] >> (i % 64) & 1) != 0)
            continue;
        link_store(block, found->list);
        found->list = (uintptr_t)block + 1;
        found->count++;
    }
    page->purged = 0;
}

/* What is free and what is not, from the lists alone. Blocks that the thread
 * had taken off a list and not handed out, or taken back and not put on one,
 * count as used for ever. */
static void
recount(struct page *page)
{
    struct found found = {.list = GYRE_LINK_END};
    uint32_t used;
    find_free(page, page->fast.free, &found);
    /* relaxed: the child has one thread */
    find_free(page, remote_link(gyre_load_relaxed(&page->remote_free)), &found);
    /* Blocks are linked before `fresh` says that they are used. */
    if (page->fresh < found.end)
        page->fresh = found.end;
    find_holes(page, &found);
    used = page->fresh - found.count;
    page->fast.free = found.list;
    gyre_store_relaxed(&page->remote_free, GYRE_LINK_END);
    page->fast.allocated = used;
    page->fast.frees_left = page->frees_due = 0;
    page_look_after(page, used > 0 ? used : 1);
    page->noted_used = page->noted_allocated = used;
    page->reused = 1; /* what is linked for the first time may be written */
}

/* ---- one page ---- */

/* In no thread's hands: each page of a span by itself. */
static void
give_single(const struct burial *burial, struct page *page)
{
    if (GYRE_HARDENED) /* wherever the guard of its span was */
        (void)gyre_os_protect(page_start(page), GYRE_PAGE_BYTES, true);
    page->guarded = 0;
    page->span_pages = 1;
    page->next = page->prev = NULL;
    gyre_segment_give(burial->heap, page);
}

/* Closed: in its owner's list, which is the gone thread's. */
static void
leave_closed(const struct burial *burial, struct page *page)
{
    struct memory_heap *memory = &burial->heap->memory;
    bool full = page_state(page) == PAGE_FULL;
    page->counted = page->known_empty = 0;
    page_set_owner(page, NULL);
    page_set_state(page, full ? PAGE_FULL : PAGE_ABANDONED);
    page_list_push(full ? &memory->abandoned_full
                        : &memory->abandoned[page_alloc_index(page)],
                   page);
}

/* Open, and in a list that is not trusted or in none. False: it is empty. */
static bool
leave_open(const struct burial *burial, struct page *page)
{
    bool full;
    recount(page);
    if (page_used(page) == 0)
        return false;
    full = !page_has_room(page);
    gyre_remote_close(page, full ? REMOTE_NOTIFY : 0);
    page_set_state(page, full ? PAGE_FULL : PAGE_ABANDONED);
    leave_closed(burial, page);
    return true;
}

/* A page with blocks of a class. False: it has none in use, and goes. */
static bool
bury_small(const struct burial *burial, struct page *page)
{
    struct gyre_thread *owner = gyre_load_relaxed(&page->fast.owner);
    uint32_t count = remote_count(gyre_load_relaxed(&page->remote_free));
    bool closed = count > REMOTE_CLOSED / 2;
    if (owner == NULL ? closed : !is_gone(owner_plain(owner)))
        return true; /* where its state says, in a list that is whole */
    if (closed && owner != owner_plain(owner)) {
        leave_closed(burial, page);
        return true;
    }
    return leave_open(burial, page);
}

/* The thread may have been about to say so. */
static void
set_interior(struct segment *segment, struct page *page)
{
    unsigned first = page_index(page), i;
    for (i = 1; i < page->span_pages; i++) {
        struct page *member = segment_page(segment, first + i);
        member->head = page;
        member->blocks = page->blocks;
        page_set_owner(member, NULL);
        page_set_state(member, PAGE_INTERIOR);
    }
}

static void
count_raw(struct burial *burial, struct page *page)
{
    uint32_t index = counts_index(page);
    if (page->kind != GYRE_PAGE_RAW)
        return;
    page->noted_used = gyre_memory_page_live(page);
    burial->raw.live[index] += page->noted_used;
    burial->raw.pages[index] += page->span_pages;
}

/* Whether the page is where it belongs, with the others of its span; if not,
 * it is in nobody's hands. */
static bool
bury_page(struct burial *burial, struct page *page)
{
    struct gyre_thread *owner = gyre_load_relaxed(&page->fast.owner);
    switch (page_state(page)) {
    case PAGE_FREE: /* in a thread's cache, or on the way */
        if (owner == NULL || is_gone(owner))
            return false;
        count_raw(burial, page);
        return true;
    case PAGE_INTERIOR:
        return false; /* its first page is not there any more */
    case PAGE_RETIRING:
        break;
    case PAGE_LARGE:
        if (page_used(page) == 0)
            return false;
        set_interior(segment_of(page), page);
        break;
    default:
        if (!bury_small(burial, page))
            return false;
    }
    if (page_state(page) != PAGE_RETIRING)
        count_raw(burial, page);
    return true;
}

/* ---- all of them ---- */

/* A mapping alone has no set of pages; a segment has used some. */
static bool
segment_is_alone(const struct segment *segment)
{
    return segment->free_pages == 0 && segment->dirty_pages == 0;
}

/* A mapping for one block, which the thread may have been about to fill, or
 * to unmap. */
static void
bury_alone(struct burial *burial, struct segment *segment)
{
    struct gyre_heap *heap = burial->heap;
    if (bury_page(burial, segment_page(segment, 1))) {
        burial->pages_in_use += span_page_count(segment_page(segment, 1));
        return;
    }
    pthread_mutex_lock(&heap->memory.page_lock);
    gyre_segment_unlink(&heap->memory, segment);
    pthread_mutex_unlock(&heap->memory.page_lock);
    gyre_segment_unmap(heap, segment);
}

static void
bury_segment(struct burial *burial, struct segment *segment)
{
    /* as they were, since pages are given back meanwhile */
    uint64_t taken = ~segment->free_pages;
    unsigned i = 1;
    while (i < GYRE_SEGMENT_PAGES) {
        struct page *page = segment_page(segment, i);
        unsigned span = 1;
        if (taken >> i & 1) {
            if (bury_page(burial, page)) {
                span = page->span_pages;
                burial->pages_in_use += span;
            } else {
                give_single(burial, page);
            }
        }
        i += span;
    }
}

void
gyre_memory_bury_raw(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct burial burial = {.heap = heap};
    struct segment *segment, *next;
    memory->torn = true;
    /* So that no segment goes before the loop is past it. */
    gyre_memory_pin(heap);
    for (segment = segment_first(memory); segment != NULL; segment = next) {
        next = segment_next(segment);
        if (segment_is_alone(segment))
            continue;
        bury_segment(&burial, segment);
    }
    gyre_memory_unpin(heap);
    for (segment = segment_first(memory); segment != NULL; segment = next) {
        next = segment_next(segment);
        if (segment_is_alone(segment))
            bury_alone(&burial, segment);
    }
    gyre_store_relaxed(&memory->pages_in_use, burial.pages_in_use);
    gyre_counts_settle_raw(heap, &burial.raw);
}
