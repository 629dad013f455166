/* Pages: their blocks, formatted, linked a few at a time, counted.
 *
 * The owner's, or of nobody else's business: no locks here but where said.
 * Design: docs/design/memory.md .mem.fresh .mem.stable */
#include "page.h"

#include "../heap.h"
#include "poison.h"

/* Blocks are linked for so many bytes at a time, so that memory is touched
 * only shortly before it is used. */
#define EXTEND_BYTES 4096u

/* Word 1 of a block that was never an object, or is none any more. */
#define WORD1_DEAD ((uint64_t)GYRE_RC_DEAD << 32)

const struct gyre_page gyre_page_none = {.free = GYRE_LINK_END};

/* What small and large have in common. */
static void
page_prepare(struct page *page, enum gyre_page_kind kind, uint32_t size_class)
{
    struct segment *segment = segment_of(page);
    unsigned first = page_index(page), i;
    memory_unpoison(page_start(page), gyre_segment_span_bytes(page));
    page->blocks = page_start(page);
    page->noted_used = 0;
    page->next = page->prev = NULL;
    page->gc = NULL;
    page->kind = (uint8_t)kind;
    page->size_class = (uint8_t)size_class;
    /* relaxed, both: the page has no objects yet */
    gyre_store_relaxed(&page->stale_readers, 0);
    gyre_store_relaxed(&page->lost_queue, 0);
    page->head = page;
    page_stamps_set(page, 0);
    for (i = 1; i < page->span_pages; i++) {
        struct page *member = segment_page(segment, first + i);
        member->head = page;
        member->gc = NULL;
        member->blocks = page->blocks;
        page_set_owner(member, NULL);
        page_set_state(member, PAGE_INTERIOR);
        page_stamps_set(member, 0);
    }
}

void
gyre_page_format(struct page *page, enum gyre_page_kind kind,
                 uint32_t size_class)
{
    uint32_t bytes = gyre_class_bytes(size_class), granules = bytes / 16;
    page_prepare(page, kind, size_class);
    page->fast.free = GYRE_LINK_END;
    page->fast.used = 0;
    page->fast.block_size = bytes;
    page->reciprocal = ((UINT32_C(1) << 31) + granules - 1) / granules;
    page->capacity = (uint32_t)(gyre_segment_span_bytes(page) / bytes);
    page->fresh = 0;
    /* relaxed: nobody else knows the page */
    gyre_store_relaxed(&page->remote_free, GYRE_LINK_END);
}

void
gyre_page_format_large(struct page *page, enum gyre_page_kind kind)
{
    size_t bytes = gyre_segment_span_bytes(page);
    uint64_t *word = (uint64_t *)page_start(page);
    page_prepare(page, kind, PAGE_CLASS_LARGE);
    page->fast.free = GYRE_LINK_END;
    page->fast.used = 1;
    page->fast.block_size = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
    page->reciprocal = 0;
    page->capacity = 1;
    page->fresh = 1;
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
    /* relaxed, both: handed over, if ever, by something stronger */
    if (page->reused && page->kind != GYRE_PAGE_RAW)
        gyre_store_relaxed(&word[1], WORD1_DEAD);
    gyre_store_relaxed(&word[0], (uint64_t)next);
    if (page->kind == GYRE_PAGE_RAW)
        block_poison(block, page->fast.block_size);
}

bool
gyre_page_extend(struct page *page)
{
    uint32_t size = page->fast.block_size;
    uint32_t count = size >= EXTEND_BYTES ? 1 : EXTEND_BYTES / size;
    unsigned char *block;
    uintptr_t link = page->fast.free;
    if (count > page->capacity - page->fresh)
        count = page->capacity - page->fresh;
    if (count == 0)
        return false;
    /* relaxed: whoever reads it looks at each block's own words */
    gyre_store_relaxed(&page->fresh, page->fresh + count);
    block = page->blocks + (size_t)page->fresh * size;
    for (; count > 0; count--) {
        block -= size;
        block_link_fresh(page, block, link);
        link = (uintptr_t)block + 1;
    }
    page->fast.free = link;
    return true;
}

void
gyre_page_note(struct gyre_thread *self, struct page *page)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    uint32_t live = gyre_memory_page_live(page);
    int64_t net = (int64_t)live - (int64_t)page->noted_used;
    page->noted_used = live;
    if (net == 0)
        return;
    /* relaxed, all: counts for pacing and statistics */
    gyre_fetch_add_relaxed(&self->heap->memory.blocks[page->kind],
                           (uint64_t)net);
    if (page->kind == GYRE_PAGE_CONTAINER)
        gyre_store_relaxed(&thread->container_net,
                           gyre_load_relaxed(&thread->container_net) + net);
}

bool
gyre_page_needs_grace(struct gyre_heap *heap, const struct page *page)
{
    /* relaxed, both: the pin was set in a stop that this thread has passed;
     * an object's flag was set before its death, which this thread saw */
    if (gyre_load_relaxed(&heap->memory.pinned) > 0)
        return true;
    return page->kind != GYRE_PAGE_RAW &&
           gyre_load_relaxed(&page->stale_readers) != 0;
}
