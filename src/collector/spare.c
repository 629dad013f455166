/* Tables of the last cycle, kept for the next: fresh memory costs a fault of
 * the system for each page of it. Under the collector's lock.
 * Design: docs/design/cycle.md .cycle.open */
#include "../memory/os.h"
#include "cycle.h"

/* Larger ones are given back, as are those of which a cycle wants a small part
 * alone: they are of rare, large cycles. */
#define SPARE_MOST (UINT64_C(2) << 20)
#define SPARE_PART 4
/* But they may be so much of the pages in use. */
#define SPARE_SHARE 8

/* With room to spare, as the next cycle's may be larger. */
static void *
new_table(struct gyre_heap *heap, enum spare_table which, size_t *bytes)
{
    size_t wanted = *bytes;
    void *table;
    *bytes += *bytes / 4;
    table = gyre_memory_table_new(heap, *bytes);
    if (table != NULL && which == SPARE_WORDS)
        gyre_os_populate(table, wanted);
    return table;
}

void *
gyre_spare_take(struct gyre_heap *heap, enum spare_table which, size_t *bytes)
{
    struct spare *spare = &heap->collector.spares[which];
    size_t wanted = *bytes;
    void *table = spare->table;
    if (table == NULL || spare->bytes < wanted ||
        (spare->bytes > SPARE_MOST && spare->bytes / SPARE_PART > wanted))
        return new_table(heap, which, bytes);
    *bytes = spare->bytes;
    spare->table = NULL;
    if (which == SPARE_WORDS)
        memset(table, 0, wanted);
    return table;
}

static size_t
most_kept(struct gyre_heap *heap)
{
    /* relaxed: a heuristic */
    uint64_t pages = gyre_load_relaxed(&heap->memory.pages_in_use);
    uint64_t share = pages * GYRE_PAGE_BYTES / SPARE_SHARE;
    return share > SPARE_MOST ? share : SPARE_MOST;
}

void
gyre_spare_give(struct gyre_heap *heap, enum spare_table which, void *table,
                size_t bytes)
{
    struct spare *spare = &heap->collector.spares[which];
    if (table == NULL)
        return;
    if (bytes > most_kept(heap)) {
        gyre_memory_table_delete(heap, table, bytes);
        return;
    }
    gyre_memory_table_delete(heap, spare->table, spare->bytes);
    *spare = (struct spare){table, bytes};
}

void
gyre_spare_drop(struct gyre_heap *heap)
{
    for (unsigned i = 0; i < SPARE_TABLES; i++) {
        struct spare *spare = &heap->collector.spares[i];
        gyre_memory_table_delete(heap, spare->table, spare->bytes);
        spare->table = NULL;
    }
}
