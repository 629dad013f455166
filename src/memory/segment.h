/* Segments and their free pages: the heap's side, under the page lock, which
 * the functions here take themselves. Design: docs/design/memory.md .mem */
#ifndef GYRE_SRC_MEMORY_SEGMENT_H
#define GYRE_SRC_MEMORY_SEGMENT_H

#include "memory.h"

/* The most pages a span may have: blocks up to 2 MiB. */
#define SEGMENT_SPAN_MAX 32u

static inline unsigned char *
page_start(const struct page *page)
{
    return (unsigned char *)segment_of(page) +
           (size_t)page_index(page) * GYRE_PAGE_BYTES;
}

/* `pages` pages in a row, from the heap's free ones or a new segment; the
 * record of the first, not formatted, with `reused` set. NULL: no memory. */
struct page *gyre_segment_take(struct gyre_heap *heap, unsigned pages);
/* The same pages back, once nobody can reach their blocks. Not under the
 * page lock. */
void gyre_segment_give(struct gyre_heap *heap, struct page *page);
/* A mapping for one block of `bytes` alone; the record of its only page, not
 * formatted. NULL: no memory. */
struct page *gyre_segment_take_alone(struct gyre_heap *heap, size_t bytes);
/* Bytes for blocks from the page's start: of its span or mapping. */
size_t gyre_segment_span_bytes(const struct page *page);
/* Unmap what holds no block. True when that was anything. */
bool gyre_segment_trim(struct gyre_heap *heap);

/* 64-KiB pages that a page's span or mapping counts as. */
static inline uint64_t
span_page_count(const struct page *page)
{
    return gyre_segment_span_bytes(page) >> GYRE_PAGE_SHIFT;
}

#endif
