/* A heap's memory as a whole: its beginning and end, tables for the library
 * itself, statistics. Design: docs/design/memory.md .mem */
#include "../heap.h"
#include "os.h"
#include "page.h"

enum gyre_status
gyre_memory_heap_init(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    memset(memory, 0, sizeof *memory);
    memory->limbo_left = GYRE_LINK_END;
    return pthread_mutex_init(&memory->page_lock, NULL) == 0 ? GYRE_OK
                                                             : GYRE_ERR_NOMEM;
}

void
gyre_memory_heap_destroy(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    while (memory->segments != NULL) {
        struct segment *segment = memory->segments;
        memory->segments = segment->next;
        gyre_os_unmap(heap, segment, segment->bytes);
    }
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

static void
note_exactly(struct gyre_heap *heap, struct page *page)
{
    uint32_t live = gyre_memory_page_live(page);
    int64_t net = (int64_t)live - (int64_t)page->noted_used;
    page->noted_used = live;
    /* relaxed, both: counts for pacing and statistics */
    gyre_fetch_add_relaxed(&heap->memory.blocks[page->kind], (uint64_t)net);
    if (page->kind == GYRE_PAGE_CONTAINER)
        gyre_fetch_add_relaxed(&heap->memory.container_net_gone, net);
}

void
gyre_memory_note_all(struct gyre_heap *heap)
{
    struct segment *segment = heap->memory.segments;
    for (; segment != NULL; segment = segment->next) {
        unsigned i;
        for (i = 1; i < GYRE_SEGMENT_PAGES; i++) {
            struct page *page = segment_page(segment, i);
            if (page_has_blocks(page))
                note_exactly(heap, page);
        }
    }
}

void
gyre_memory_statistics(struct gyre_heap *heap, struct gyre_statistics *out)
{
    struct memory_heap *memory = &heap->memory;
    struct gyre_thread *self = gyre_self;
    unsigned kind;
    if (self != NULL && self->heap == heap)
        gyre_memory_note_births(self);
    /* relaxed, all: each is a counter by itself */
    out->mapped = gyre_load_relaxed(&memory->mapped);
    out->mapped_peak = gyre_load_relaxed(&memory->mapped_peak);
    out->pages_in_use = gyre_load_relaxed(&memory->pages_in_use);
    out->pages_cached = gyre_load_relaxed(&memory->cached_pages) +
                        gyre_load_relaxed(&memory->thread_cached_pages);
    out->page_refills = gyre_load_relaxed(&memory->refills);
    out->pages_adopted = gyre_load_relaxed(&memory->adopted);
    for (kind = 0; kind < GYRE_PAGE_KINDS; kind++)
        out->blocks_in_use[kind] = gyre_load_relaxed(&memory->blocks[kind]);
}
