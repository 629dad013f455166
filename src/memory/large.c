/* Blocks over 32 KiB: a span of pages up to 2 MiB, else a mapping alone,
 * which is laid out like a segment: its head, with one page record in use,
 * and the block 64 KiB behind, or further for its alignment. Owned by nobody;
 * any thread frees them. Design: docs/design/memory.md .mem.large */
#include "large.h"

#include "../heap.h"
#include "cache.h"
#include "os.h"
#include "page.h"

/* ---- mappings alone ---- */

/* Bytes of a mapping for a block that begins at `offset`; 0: too many. It
 * covers what the map of segments says is a segment. */
static size_t
alone_bytes(size_t size, size_t offset)
{
    size_t bytes;
    if (size > SIZE_MAX / 2)
        return 0;
    bytes = (size + offset + OS_PAGE_BYTES - 1) & ~(size_t)(OS_PAGE_BYTES - 1);
    return bytes > GYRE_SEGMENT_BYTES ? bytes : GYRE_SEGMENT_BYTES;
}

static size_t
alone_offset(const struct page *page)
{
    return (size_t)(page->blocks - (unsigned char *)segment_of(page));
}

static void
alone_link(struct gyre_heap *heap, struct segment *segment)
{
    pthread_mutex_lock(&heap->memory.page_lock);
    gyre_segment_link(&heap->memory, segment);
    pthread_mutex_unlock(&heap->memory.page_lock);
}

/* The record of its only page, not formatted; NULL: no memory. */
static struct page *
alone_map(struct gyre_heap *heap, size_t bytes)
{
    struct segment *segment = gyre_os_map_aligned(heap, bytes);
    if (segment == NULL && gyre_segment_trim(heap))
        segment = gyre_os_map_aligned(heap, bytes);
    if (segment == NULL)
        return NULL;
    if (!gyre_segment_init(heap, segment, bytes)) {
        gyre_os_unmap(heap, segment, bytes);
        return NULL;
    }
    segment->node = MEMORY_SPARES;
    alone_link(heap, segment);
    return segment_page(segment, 1);
}

/* `more` pages are in use than before, modulo 2^64. */
static void
note_pages(struct gyre_heap *heap, uint64_t more)
{
    /* relaxed: a count that orders nothing */
    gyre_memory_note_pages(
        heap, gyre_fetch_add_relaxed(&heap->memory.pages_in_use, more) + more);
}

static struct page *
alone_take(struct gyre_heap *heap, size_t bytes)
{
    struct page *page = gyre_segment_take_spare(heap, bytes);
    if (page == NULL)
        page = alone_map(heap, bytes);
    if (page != NULL)
        note_pages(heap, span_page_count(page));
    return page;
}

/* The block begins there, and is found by its place's record. */
static void
alone_place(struct page *page, size_t offset)
{
    unsigned char *block = (unsigned char *)segment_of(page) + offset;
    struct page *place = (struct page *)gyre_page_record(block);
    page->head = page;
    page->blocks = block;
    if (place == page)
        return;
    place->head = page;
    page_set_state(place, PAGE_INTERIOR);
}

/* Unlink it, to be moved. False while a collection is open. */
static bool
alone_take_out(struct gyre_heap *heap, struct segment *segment)
{
    struct memory_heap *memory = &heap->memory;
    bool free;
    pthread_mutex_lock(&memory->page_lock);
    free = gyre_load_relaxed(&memory->pinned) == 0;
    if (free)
        gyre_segment_unlink(memory, segment);
    pthread_mutex_unlock(&memory->page_lock);
    return free;
}

/* Longer, at another place. */
static struct page *
alone_move(struct gyre_heap *heap, struct page *page, size_t bytes)
{
    struct segment *segment = segment_of(page), *moved;
    size_t offset = alone_offset(page);
    if (!alone_take_out(heap, segment))
        return NULL;
    gyre_map_clear(segment);
    moved = gyre_os_move(heap, segment, segment->bytes, bytes);
    if (moved == NULL)
        moved = segment; /* as it was */
    else
        moved->bytes = bytes;
    page = segment_page(moved, 1);
    alone_place(page, offset);
    (void)gyre_map_set(moved); /* there is a map, as it was in it */
    alone_link(heap, moved);
    return moved->bytes == bytes ? page : NULL;
}

static void *
alone_resize(struct gyre_heap *heap, struct page *page, size_t size)
{
    struct segment *segment = segment_of(page);
    size_t had = segment->bytes, bytes = alone_bytes(size, alone_offset(page));
    uint64_t pages = span_page_count(page);
    if (bytes == 0)
        return NULL;
    if (bytes < had && memory_is_pinned(&heap->memory))
        return page->blocks;
    if (bytes != had) {
        if (gyre_os_resize(heap, segment, had, bytes))
            segment->bytes = bytes;
        else if (bytes > had)
            page = alone_move(heap, page, bytes);
    }
    if (page == NULL)
        return NULL;
    bytes = gyre_segment_span_bytes(page);
    page->fast.block_size = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
    note_pages(heap, span_page_count(page) - pages);
    return page->blocks;
}

/* ---- both ---- */

static bool
needs_mapping(size_t size)
{
    return size > SEGMENT_SPAN_MAX * GYRE_PAGE_BYTES;
}

static unsigned
pages_for(size_t size)
{
    size_t pages = (size + GYRE_PAGE_BYTES - 1) / GYRE_PAGE_BYTES;
    return pages > 0 ? (unsigned)pages : 1;
}

static struct page *
large_take(struct gyre_heap *heap, size_t size, size_t alignment)
{
    size_t bytes;
    if (alignment < GYRE_PAGE_BYTES)
        alignment = GYRE_PAGE_BYTES;
    if (!needs_mapping(size))
        return gyre_segment_take_aligned(
            heap, pages_for(size), (unsigned)(alignment / GYRE_PAGE_BYTES));
    bytes = alone_bytes(size, alignment);
    return bytes > 0 ? alone_take(heap, bytes) : NULL;
}

void *
gyre_large_alloc_aligned(struct gyre_thread *self, enum gyre_page_kind kind,
                         size_t size, size_t alignment, bool *zeroed)
{
    struct page *page = large_take(self->heap, size, alignment);
    unsigned stamp =
        (unsigned)(self->birth_stamp >> GYRE_WORD0_STAMP_SHIFT) & 7u;
    if (page == NULL && gyre_cache_flush(self))
        page = large_take(self->heap, size, alignment);
    if (page == NULL) {
        gyre_set_last_status(GYRE_ERR_NOMEM);
        return NULL;
    }
    gyre_page_format_large(page, kind);
    if (page->span_pages == 0 && alignment > GYRE_PAGE_BYTES)
        alone_place(page, alignment);
    if (kind == GYRE_PAGE_CONTAINER)
        page_stamps_set(page, 1u << stamp);
    gyre_page_note(self, page);
    *zeroed = !page->reused;
    return page->blocks;
}

void *
gyre_memory_alloc_large(struct gyre_thread *self, enum gyre_page_kind kind,
                        size_t size, bool *zeroed)
{
    return gyre_large_alloc_aligned(self, kind, size, GYRE_PAGE_BYTES, zeroed);
}

size_t
gyre_large_bytes(const struct page *page)
{
    return gyre_segment_span_bytes(page) -
           (size_t)(page->blocks - page_start(page));
}

void *
gyre_large_resize(struct gyre_heap *heap, struct page *page, size_t size)
{
    unsigned pages;
    if (page->span_pages == 0)
        return needs_mapping(size) ? alone_resize(heap, page, size) : NULL;
    if (needs_mapping(size))
        return NULL;
    pages = pages_for(size);
    if (pages != page->span_pages && !gyre_segment_resize(heap, page, pages) &&
        pages > page->span_pages)
        return NULL;
    page->fast.block_size = (uint32_t)gyre_segment_span_bytes(page);
    return page->blocks;
}

void
gyre_large_free(struct gyre_thread *self, struct page *page)
{
    GYRE_CHECK(page_state(page) == PAGE_LARGE && page_used(page) == 1,
               "memory: block %p is freed twice", (void *)page->blocks);
    page->frees_due++;
    gyre_page_note(self, page);
    /* relaxed: no object any more to whoever still looks */
    gyre_store_relaxed((uint64_t *)page->blocks, (uint64_t)GYRE_LINK_END);
    gyre_page_dispose(self->heap, page);
    gyre_scavenger_poll(self->heap);
}
