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
#define SPARE_SHARE 4

/* More only where the heap's thread drops them when nothing happens, and no
 * block may want the memory. */
static size_t
most_kept(struct gyre_heap *heap)
{
    uint64_t pages, share;
    if (heap_option(heap, GYRE_OPT_GC_THREAD) == 0 ||
        heap_option(heap, GYRE_OPT_MEMORY_HARD_LIMIT) != 0)
        return SPARE_MOST;
    /* relaxed: a heuristic */
    pages = gyre_load_relaxed(&heap->memory.pages_in_use);
    share = pages * GYRE_PAGE_BYTES / SPARE_SHARE;
    return share > SPARE_MOST ? share : SPARE_MOST;
}

static void
drop(struct gyre_heap *heap, struct spare *spare)
{
    gyre_memory_table_delete(heap, spare->table, spare->bytes);
    *spare = (struct spare){NULL, 0};
}

/* With room to spare, as the next cycle's may be larger. */
static void *
new_table(struct gyre_heap *heap, enum spare_table which, size_t *bytes)
{
    size_t wanted = *bytes;
    void *table;
    *bytes += wanted / 4;
    table = gyre_memory_table_new(heap, *bytes);
    if (table == NULL) {
        *bytes = wanted;
        table = gyre_memory_table_new(heap, wanted);
    }
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
        (spare->bytes > SPARE_MOST && spare->bytes / SPARE_PART > wanted)) {
        drop(heap, spare);
        return new_table(heap, which, bytes);
    }
    *bytes = spare->bytes;
    *spare = (struct spare){NULL, 0};
    if (which == SPARE_WORDS)
        memset(table, 0, wanted);
    return table;
}

void
gyre_spare_give(struct gyre_heap *heap, enum spare_table which, void *table,
                size_t bytes)
{
    struct spare *spare = &heap->collector.spares[which];
    if (table == NULL)
        return;
    drop(heap, spare);
    *spare = (struct spare){table, bytes};
}

void
gyre_spare_settle(struct gyre_heap *heap)
{
    size_t most = most_kept(heap);
    for (unsigned i = 0; i < SPARE_TABLES; i++)
        if (heap->collector.spares[i].bytes > most)
            drop(heap, &heap->collector.spares[i]);
}

void
gyre_spare_drop(struct gyre_heap *heap)
{
    for (unsigned i = 0; i < SPARE_TABLES; i++)
        drop(heap, &heap->collector.spares[i]);
}
