/* Pages: their blocks, formatted, linked a few at a time, counted.
 *
 * The owner's, or of nobody else's business: no locks here but where said.
 * Design: docs/design/memory.md .mem.fresh .mem.stable */
#include "page.h"

#include "hardened.h"

#include "../heap.h"
#include "poison.h"

/* Blocks are linked for so many bytes at a time, so that memory is touched
 * only shortly before it is used. */
#define EXTEND_BYTES 4096u
/* And so many blocks at most in memory that is there already. */
#define EXTEND_LEAST 8u
#define EXTEND_MOST 128u

/* Word 1 of a block that was never an object, or is none any more. */
#define WORD1_DEAD ((uint64_t)GYRE_RC_DEAD << 32)

const struct gyre_page gyre_page_none = {.free = GYRE_LINK_END};

/* What small and large have in common. */
static void
page_prepare(struct page *page, enum gyre_page_kind kind, uint32_t size_class)
{
    struct segment *segment = segment_of(page);
    unsigned first = page_index(page), i;
    /* A mapping alone is new, and its only block about to be taken. */
    if (MEMORY_POISON && page->span_pages != 0)
        memory_poison(page_start(page), gyre_segment_span_bytes(page));
    page->blocks = page_start(page);
    page->noted_used = page->noted_allocated = 0;
    page->counted = page->known_empty = page->own_freed = 0;
    page->purged = 0;
    page->next = page->prev = NULL;
    page->gc = NULL;
    /* relaxed: known by the state that follows; see page_kind() */
    gyre_store_relaxed(&page->kind, (uint8_t)kind);
    page->size_class = (uint8_t)size_class;
    /* relaxed, both: the page has no objects yet */
    gyre_store_relaxed(&page->stale_readers, 0);
    gyre_store_relaxed(&page->lost_queue, 0);
    page->head = page;
    page_stamps_clear(page);
    for (i = 1; i < page->span_pages; i++) {
        struct page *member = segment_page(segment, first + i);
        member->head = page;
        member->gc = NULL;
        member->blocks = page->blocks;
        page_set_owner(member, NULL);
        page_set_state(member, PAGE_INTERIOR);
        page_stamps_clear(member);
    }
}

void
gyre_page_format(struct page *page, enum gyre_page_kind kind,
                 uint32_t size_class)
{
    uint32_t bytes = gyre_class_bytes(size_class), granules = bytes / 16;
    page_prepare(page, kind, size_class);
    page->fast.free = GYRE_LINK_END;
    page->fast.allocated = page->fast.frees_left = 0;
    page->frees_due = 0;
    page_look_after(page, 1);
    page->fast.block_size = bytes;
    page->reciprocal = ((UINT32_C(1) << 31) + granules - 1) / granules;
    page->capacity = (uint32_t)(page_room_bytes(page) / bytes);
    gyre_store_relaxed(&page->fresh, 0);
    /* relaxed: nobody else knows the page */
    gyre_store_relaxed(&page->remote_free, GYRE_LINK_END);
    gyre_hardened_guard(page);
}

void
gyre_page_format_large(struct page *page, enum gyre_page_kind kind)
{
    size_t bytes = gyre_segment_span_bytes(page);
    uint64_t *word = (uint64_t *)page_start(page);
    page_prepare(page, kind, PAGE_CLASS_LARGE);
    if (MEMORY_POISON)
        memory_unpoison(word, POISON_KEEP);
    page->fast.free = GYRE_LINK_END;
    page->fast.allocated = 1;
    page->fast.frees_left = page->frees_due = 0;
    page->fast.block_size = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
    page->reciprocal = 0;
    page->capacity = 1;
    gyre_store_relaxed(&page->fresh, 1);
    page_set_owner(page, NULL);
    /* relaxed, all: nobody else knows the block; atomic because a stray
     * reader may, when the page is free once more */
    gyre_store_relaxed(&page->remote_free, GYRE_LINK_END);
    gyre_store_relaxed(&word[0], GYRE_LINK_END);
    if (page->reused)
        gyre_store_relaxed(&word[1], WORD1_DEAD);
    page_set_state(page, PAGE_LARGE);
}

/* A block's first link. Its word 1 must read as dead from then on: it does
 * in memory that was never written. */
static void
block_link_fresh(const struct page *page, unsigned char *block, uintptr_t next)
{
    uint64_t *word = (uint64_t *)block;
    if (MEMORY_GUARD)
        gyre_guard_fresh(page, block);
    /* relaxed, both: handed over, if ever, by something stronger */
    if (page->reused && page->kind != GYRE_PAGE_RAW)
        gyre_store_relaxed(&word[1], WORD1_DEAD);
    link_store(block, next);
}

/* Link blocks `first` to `last` in their order, none of them on a list or a
 * hole. */
static void
link_run(struct page *page, uint32_t first, uint32_t last)
{
    uint32_t size = page->fast.block_size;
    unsigned char *block = page->blocks + (size_t)first * size;
    unsigned char *end = page->blocks + (size_t)last * size;
    uintptr_t link = (uintptr_t)block + 1;
    if (page->reused && page->kind != GYRE_PAGE_RAW) {
        for (; block != end; block += size) {
            /* relaxed, here and below: as in block_link_fresh() */
            gyre_store_relaxed((uint64_t *)block + 1, WORD1_DEAD);
            link_store(block, (uintptr_t)block + size + 1);
        }
    } else {
        for (; block != end; block += size)
            link_store(block, (uintptr_t)block + size + 1);
    }
    block_link_fresh(page, end, page->fast.free);
    page->fast.free = link;
}

/* Link those of blocks `first` to `last`, none of them on a list, that are no
 * holes. False: none. */
static bool
link_filled(struct page *page, uint32_t first, uint32_t last)
{
    uint32_t count = last - first + 1, i;
    uintptr_t link = page->fast.free;
#if GYRE_HARDENED
    uint16_t order[EXTEND_BYTES / 16 + 1];
    for (i = 0; i < count; i++)
        order[i] = (uint16_t)i;
    gyre_hardened_shuffle(page, order, count);
#endif
    for (i = count; i-- > 0;) {
#if GYRE_HARDENED
        uint32_t index = first + order[i];
#else
        uint32_t index = first + i;
#endif
        unsigned char *block =
            page->blocks + (size_t)index * page->fast.block_size;
        if (page_is_hole(page, index))
            continue;
        block_link_fresh(page, block, link);
        link = (uintptr_t)block + 1;
    }
    if (page->fast.free == link)
        return false;
    page->fast.free = link;
    return true;
}

/* Bring one of the system's pages back into use, or as many as it takes to
 * make a block whole. All of their blocks read dead: their headers are zero,
 * or in a page that was not purged, as they were when they died. */
static bool
extend_into_holes(struct page *page)
{
    while (page->purged != 0) {
        size_t at = (size_t)__builtin_ctzll(page->purged) * OS_PAGE_BYTES;
        uint32_t size = page->fast.block_size;
        uint32_t first = (uint32_t)(at / size);
        uint32_t end = (uint32_t)((at + OS_PAGE_BYTES - 1) / size) + 1;
        end = end < page->fresh ? end : page->fresh;
        page->purged &= page->purged - 1;
        if (first < end && link_filled(page, first, end - 1))
            return true;
    }
    return false;
}

/* How many blocks to link at a time: as many more as the page was used so
 * far, for each costs a cache line. Memory that was never written costs a
 * fault for each of the system's pages: of it one at a time at most. */
static uint32_t
extend_count(const struct page *page)
{
    uint32_t size = page->fast.block_size;
    uint32_t most = size >= EXTEND_BYTES ? 1 : EXTEND_BYTES / size;
    uint32_t more = page->fresh < EXTEND_LEAST  ? EXTEND_LEAST
                    : page->fresh < EXTEND_MOST ? page->fresh
                                                : EXTEND_MOST;
    return page->reused || more < most ? more : most;
}

void
gyre_page_relink(struct page *page)
{
    GYRE_ASSERT(page_used(page) == 0);
    page->reused = 1; /* all of it may have been written */
    /* In this order: see .mem.fork */
    gyre_store_relaxed(&page->fresh, 0); /* relaxed: nobody knows it */
    page->purged = 0;
    page->fast.free = GYRE_LINK_END;
}

bool
gyre_page_extend(struct page *page)
{
    uint32_t count = extend_count(page), fresh;
    if (extend_into_holes(page))
        return true;
    if (count > page->capacity - page->fresh)
        count = page->capacity - page->fresh;
    if (count == 0)
        return false;
    fresh = page->fresh + count;
    if (GYRE_HARDENED || MEMORY_GUARD)
        (void)link_filled(page, page->fresh, fresh - 1);
    else
        link_run(page, page->fresh, fresh - 1);
    /* In this order: see .mem.fork */
    /* relaxed: the collector looks at each block's own words */
    gyre_store_relaxed(&page->fresh, fresh);
    return true;
}

bool
gyre_page_needs_grace(struct gyre_heap *heap, const struct page *page)
{
    if (memory_is_pinned(&heap->memory))
        return true;
    return page_has_stale_readers(page);
}
