/* Blocks over 32 KiB: a span of pages up to 2 MiB, else a mapping alone.
 * Owned by nobody; any thread frees them. Design: docs/design/memory.md
 * .mem.large */
#include "large.h"

#include "../heap.h"
#include "cache.h"
#include "page.h"

static struct page *
large_take(struct gyre_heap *heap, size_t size)
{
    size_t pages = size / GYRE_PAGE_BYTES + (size % GYRE_PAGE_BYTES != 0);
    if (pages > SEGMENT_SPAN_MAX)
        return gyre_segment_take_alone(heap, size);
    return gyre_segment_take(heap, pages > 0 ? (unsigned)pages : 1);
}

void *
gyre_memory_alloc_large(struct gyre_thread *self, enum gyre_page_kind kind,
                        size_t size, bool *zeroed)
{
    struct page *page = large_take(self->heap, size);
    unsigned stamp =
        (unsigned)(self->birth_stamp >> GYRE_WORD0_STAMP_SHIFT) & 7u;
    if (page == NULL && gyre_cache_flush(self))
        page = large_take(self->heap, size);
    if (page == NULL) {
        gyre_set_last_status(GYRE_ERR_NOMEM);
        return NULL;
    }
    gyre_page_format_large(page, kind);
    if (kind == GYRE_PAGE_CONTAINER)
        page_stamps_set(page, 1u << stamp);
    gyre_page_note(self, page);
    *zeroed = !page->reused;
    return page->blocks;
}

void
gyre_large_free(struct gyre_thread *self, struct page *page)
{
    GYRE_CHECK(page_state(page) == PAGE_LARGE && page->fast.used == 1,
               "memory: block %p is freed twice", (void *)page->blocks);
    page->fast.used = 0;
    gyre_page_note(self, page);
    /* relaxed: no object any more to whoever still looks */
    gyre_store_relaxed((uint64_t *)page->blocks, (uint64_t)GYRE_LINK_END);
    gyre_page_dispose(self->heap, page);
}
