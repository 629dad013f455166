/* Walking the pages that hold blocks, in a stop.
 * Design: docs/design/memory.md .mem */
#include "../heap.h"
#include "page.h"

void
gyre_memory_each_page(struct gyre_heap *heap, uint32_t kinds,
                      void (*visit)(struct page *page, void *arg), void *arg)
{
    struct segment *segment, *next;
    /* What a visit frees must not take the segments away that are next. */
    gyre_memory_pin(heap);
    segment = heap->memory.segments;
    for (; segment != NULL; segment = next) {
        next = segment->next;
        unsigned pages = segment->bytes == GYRE_SEGMENT_BYTES
                             ? GYRE_SEGMENT_PAGES
                             : 2; /* a block alone begins at page 1 */
        for (unsigned i = 1; i < pages; i++) {
            struct page *page = segment_page(segment, i);
            if (page_has_blocks(page) && (kinds & (1u << page->kind)) != 0)
                visit(page, arg);
        }
    }
    gyre_memory_unpin(heap);
}
