/* Bytes in use against the bounds at which collections are due. Any thread.
 * Design: docs/design/pacing.md .pace.bytes .pace.soft */
#include "../heap.h"

/* More than `bytes`, an option that is 0 for no limit? */
static bool
is_over(uint64_t pages, uint64_t bytes)
{
    return bytes != 0 && pages > bytes / GYRE_PAGE_BYTES;
}

bool
gyre_memory_is_over_soft(struct gyre_heap *heap, uint64_t pages)
{
    /* relaxed: a heuristic */
    return is_over(pages, heap_option(heap, GYRE_OPT_MEMORY_SOFT_LIMIT)) &&
           pages > gyre_load_relaxed(&heap->memory.soft_again);
}

bool
gyre_memory_is_pressed(struct gyre_heap *heap, uint64_t pages)
{
    /* relaxed: a heuristic */
    uint64_t base = gyre_load_relaxed(&heap->memory.pressure_base);
    if (pages < base)
        gyre_store_relaxed(&heap->memory.pressure_base, base = pages);
    return is_over(pages - base,
                   heap_option(heap, GYRE_OPT_GC_THRESHOLD_BYTES)) ||
           gyre_memory_is_over_soft(heap, pages);
}

void
gyre_memory_note_pages(struct gyre_heap *heap, uint64_t pages)
{
    struct mutator *self;
    if (!gyre_memory_is_pressed(heap, pages))
        return;
    self = mutator_in(heap);
    if (self != NULL)
        gyre_participant_request(&self->part, REQUEST_PENDING);
}
