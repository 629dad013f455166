/* Counters of blocks and pages by size class, each thread its own.
 * Design: docs/design/memory.md .mem.counts */
#ifndef GYRE_SRC_MEMORY_COUNTS_H
#define GYRE_SRC_MEMORY_COUNTS_H

#include "page.h"

/* Add to a counter of the caller's own, or of a thread that is stopped. */
static inline void
count_add(uint64_t *counter, uint64_t difference)
{
    /* relaxed: one writer; readers want a value, not an order */
    gyre_store_relaxed(counter, gyre_load_relaxed(counter) + difference);
}

/* Where a page's blocks are counted. */
static inline uint32_t
counts_index(const struct page *page)
{
    if (page->size_class == PAGE_CLASS_LARGE)
        return GYRE_ALLOC_INDEXES + page->kind;
    return page_alloc_index(page);
}

/* A page of small blocks was formatted, or is empty and leaves its class. */
void gyre_counts_page_made(struct gyre_thread *self, const struct page *page);
void gyre_counts_page_gone(struct gyre_thread *self, const struct page *page);
/* In a forked child: blocks in use and pages of raw memory, found to be so
 * many of each index. Threads that are gone may have been caught while they
 * counted; they keep nothing. */
struct raw_totals {
    uint64_t live[GYRE_ALLOC_INDEXES + GYRE_PAGE_KINDS];
    uint64_t pages[GYRE_ALLOC_INDEXES + GYRE_PAGE_KINDS];
};
void gyre_counts_settle_raw(struct gyre_heap *heap,
                            const struct raw_totals *totals);
/* Blocks in use of a kind, as far as noted: of all threads. */
uint64_t gyre_counts_blocks(struct gyre_heap *heap, unsigned kind);

#endif
