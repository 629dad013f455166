/* Walking the pages that hold blocks, in a stop.
 * Design: docs/design/memory.md .mem */
#include "../../threads/yield.h"
#include "../heap.h"
#include "page.h"
#include "remote.h"

bool
gyre_page_is_restless(const struct page *page)
{
    enum page_state state = page_state(page);
    const struct gyre_thread *owner = gyre_load_relaxed(&page->fast.owner);
    /* relaxed: a thread that attaches now finds the caller with the lock */
    if (gyre_load_relaxed(&segment_of(page)->heap->raw.attached) == 0 ||
        state == PAGE_RETIRING)
        return false;
    /* Its block may be freed at any time, and it is nobody's from then on. */
    if (state == PAGE_INTERIOR)
        return true;
    if (owner != NULL)
        return owner == owner_plain((struct gyre_thread *)owner) &&
               thread_is_raw(owner);
    if (state == PAGE_LARGE)
        return page_kind(page) == GYRE_PAGE_RAW;
    /* relaxed: what is closed is opened under the lock */
    return state == PAGE_FREE || state == PAGE_CURRENT ||
           state == PAGE_AVAILABLE || state == PAGE_SPARSE ||
           remote_count(gyre_load_relaxed(&page->remote_free)) <=
               REMOTE_CLOSED / 2;
}

void
gyre_memory_each_page_while(struct gyre_heap *heap, uint32_t kinds,
                            bool (*visit)(struct page *page, void *arg),
                            void *arg)
{
    struct segment *segment;
    bool go_on = true;
    /* What a visit frees must not take its segment away. */
    gyre_memory_pin(heap);
    segment = segment_first(&heap->memory);
    for (; segment != NULL && go_on; segment = segment_next(segment)) {
        unsigned pages = segment->bytes == GYRE_SEGMENT_BYTES
                             ? GYRE_SEGMENT_PAGES
                             : 2; /* a block alone begins at page 1 */
        for (unsigned i = 1; i < pages && go_on; i++) {
            struct page *page = segment_page(segment, i);
            if (page_has_blocks(page) && (kinds & (1u << page_kind(page))) != 0)
                go_on = visit(page, arg);
        }
    }
    gyre_memory_unpin(heap);
}

struct every_page {
    void (*visit)(struct page *page, void *arg);
    void *arg;
};

static bool
visit_every_page(struct page *page, void *arg)
{
    const struct every_page *every = arg;
    every->visit(page, every->arg);
    return true;
}

void
gyre_memory_each_page(struct gyre_heap *heap, uint32_t kinds,
                      void (*visit)(struct page *page, void *arg), void *arg)
{
    struct every_page every = {visit, arg};
    gyre_memory_each_page_while(heap, kinds, visit_every_page, &every);
}

/* ---- while threads run ---- */

static struct segment *
oldest(struct memory_heap *memory)
{
    struct segment *segment = segment_first(memory);
    while (segment != NULL && segment_next(segment) != NULL)
        segment = segment_next(segment);
    return segment;
}

struct segment *
gyre_memory_next_segment(struct gyre_heap *heap, struct segment *at)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *next;
    pthread_mutex_lock(&memory->page_lock);
    next = at == NULL ? oldest(memory) : segment_prev(at);
    if (at != NULL)
        at->walked = 0;
    if (next != NULL)
        next->walked = 1;
    pthread_mutex_unlock(&memory->page_lock);
    GYRE_YIELD_POINT("segment");
    return next;
}

void
gyre_memory_end_walk(struct gyre_heap *heap, struct segment *at)
{
    pthread_mutex_lock(&heap->memory.page_lock);
    at->walked = 0;
    pthread_mutex_unlock(&heap->memory.page_lock);
}
