/* Tables of the last cycle, kept for the next: fresh memory costs a fault of
 * the system for each page of it. Under the collector's lock.
 * Design: docs/design/cycle.md .cycle.open */
#include "cycle.h"

/* Larger ones are given back: they are of rare, large cycles. */
#define SPARE_MOST (UINT64_C(2) << 20)

void *
gyre_spare_take(struct gyre_heap *heap, enum spare_table which, size_t *bytes)
{
    struct spare *spare = &heap->collector.spares[which];
    size_t wanted = *bytes;
    void *table = spare->table;
    if (table == NULL || spare->bytes < wanted)
        return gyre_memory_table_new(heap, wanted);
    *bytes = spare->bytes;
    spare->table = NULL;
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
    if (bytes > SPARE_MOST || (spare->table != NULL && spare->bytes >= bytes)) {
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
