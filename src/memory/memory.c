/* A heap's memory as a whole: its beginning and end, tables for the library
 * itself, statistics. Design: docs/design/memory.md .mem */
#include "../heap.h"
#include "hardened.h"
#include "os.h"
#include "page.h"

enum gyre_status
gyre_memory_heap_init(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    memset(memory, 0, sizeof *memory);
    memory->limbo_left = GYRE_LINK_END;
    if (!gyre_hardened_secret(&memory->link_secret))
        return GYRE_ERR_NOMEM;
    if (pthread_mutex_init(&memory->page_lock, NULL) != 0)
        return GYRE_ERR_NOMEM;
    gyre_scavenger_init(heap);
    return GYRE_OK;
}

void
gyre_memory_heap_destroy(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment, *next;
    gyre_scavenger_destroy(heap);
    for (segment = segment_first(memory); segment != NULL; segment = next) {
        next = segment_next(segment);
        gyre_map_clear(segment);
        gyre_os_unmap_used(heap, segment, segment->bytes);
    }
    gyre_arena_end(heap);
    pthread_mutex_destroy(&memory->page_lock);
}

static size_t
table_bytes(size_t bytes)
{
    return (bytes + OS_PAGE_BYTES - 1) & ~(size_t)(OS_PAGE_BYTES - 1);
}

void *
gyre_memory_table_new(struct gyre_heap *heap, size_t bytes)
{
    void *table;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    table = gyre_os_map(heap, table_bytes(bytes));
    if (table == NULL && gyre_segment_trim(heap))
        table = gyre_os_map(heap, table_bytes(bytes));
    if (table != NULL && bytes >= OS_HUGE_PAGE_BYTES)
        gyre_os_prefer_huge(table, table_bytes(bytes));
    return table;
}

void
gyre_memory_table_delete(struct gyre_heap *heap, void *table, size_t bytes)
{
    if (table != NULL)
        gyre_os_unmap(heap, table, table_bytes(bytes));
}
