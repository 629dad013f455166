/* CLOSE: limbo is emptied, side tables go, pages may be reused.
 * Design: docs/design/cycle.md .cycle.close .mem.limbo */
#include "cycle.h"

static void
take_tables(struct cycle *cycle)
{
    for (size_t i = 0; i < cycle->pages.count; i++) {
        struct page *page = cycle->pages.items[i];
        struct cycle_page *compact = cycle_page_of(page->blocks);
        for (unsigned k = 0; k < page->span_pages || k == 0; k++) {
            ((struct page *)((char *)page + (size_t)k * GYRE_PAGE_RECORD_BYTES))
                ->gc = NULL;
            compact[k] = (struct cycle_page){0, 0};
        }
    }
    if (cycle->tables != NULL)
        gyre_memory_table_delete(cycle->heap, cycle->tables,
                                 cycle->table_words * sizeof *cycle->tables);
    cycle->tables = NULL;
}

/* Limbo belongs to its thread, which empties it at its next safepoint; no
 * block in it is read by anybody any more. */
static void
limbo_off(struct cycle *cycle)
{
    struct participant *part;
    /* release; pairs: gyre_memory_limbo_follow(). We have read what waits for
     * the last time; a thread that still sees limbo on keeps its dead a
     * moment longer. */
    gyre_store_release(&cycle->heap->memory.limbo_stamps, 0);
    /* acquire; pairs: list_participant() */
    part = gyre_load_acquire(&cycle->heap->world.participants);
    for (; part != NULL; part = part->next)
        gyre_participant_request(part, REQUEST_PENDING);
    gyre_memory_limbo(&cycle->self->fast, 0);
}

void
gyre_phase_close(struct cycle *cycle)
{
    take_tables(cycle);
    if (cycle->limbo)
        limbo_off(cycle);
    if (cycle->pinned)
        gyre_memory_unpin(cycle->heap);
}
