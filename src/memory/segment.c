/* Segments: 4 MiB from the system, cut into pages, given out in spans.
 *
 * Page 0 of a segment holds the records. A segment with nothing but free
 * pages is unmapped when the heap's cache is full; in others single free
 * pages are purged then. Any thread; takes the page lock, and calls the
 * system without it. Design: docs/design/memory.md .mem.return */
#include "segment.h"

#include "../heap.h"
#include "os.h"
#include "poison.h"

#define ALL_PAGES (~UINT64_C(1)) /* but the records' */
#define DIRTY_TRIES 8u
#define SPAN_TRIES 64u

GYRE_STATIC_ASSERT(sizeof(struct segment) <= GYRE_SEGMENT_RECORDS,
                   "page records lie behind the segment's head");
GYRE_STATIC_ASSERT(GYRE_SEGMENT_RECORDS +
                           GYRE_SEGMENT_PAGES * GYRE_PAGE_RECORD_BYTES <=
                       GYRE_PAGE_BYTES,
                   "page records fit in page 0");

static void
segment_link(struct memory_heap *memory, struct segment *segment)
{
    segment->prev = NULL;
    segment->next = memory->segments;
    if (segment->next != NULL)
        segment->next->prev = segment;
    memory->segments = segment;
}

static void
segment_unlink(struct memory_heap *memory, struct segment *segment)
{
    if (segment->prev != NULL)
        segment->prev->next = segment->next;
    else
        memory->segments = segment->next;
    if (segment->next != NULL)
        segment->next->prev = segment->prev;
}

static void
roomy_link(struct memory_heap *memory, struct segment *segment)
{
    segment->prev_roomy = NULL;
    segment->next_roomy = memory->roomy;
    if (segment->next_roomy != NULL)
        segment->next_roomy->prev_roomy = segment;
    memory->roomy = segment;
}

static void
roomy_unlink(struct memory_heap *memory, struct segment *segment)
{
    if (segment->prev_roomy != NULL)
        segment->prev_roomy->next_roomy = segment->next_roomy;
    else
        memory->roomy = segment->next_roomy;
    if (segment->next_roomy != NULL)
        segment->next_roomy->prev_roomy = segment->prev_roomy;
}

/* A counter that the page lock orders and others read. */
static void
counter_add(uint64_t *counter, uint64_t difference)
{
    /* relaxed: one writer at a time; readers want a value, not an order */
    gyre_store_relaxed(counter, gyre_load_relaxed(counter) + difference);
}

static uint64_t
span_mask(unsigned first, unsigned pages)
{
    return ((UINT64_C(1) << pages) - 1) << first;
}

/* Bit i: the pages i to i + pages - 1 are all in `set`. */
static uint64_t
span_starts(uint64_t set, unsigned pages)
{
    unsigned have = 1;
    while (have < pages) {
        unsigned step = have < pages - have ? have : pages - have;
        set &= set >> step;
        have += step;
    }
    return set;
}

/* Take a segment's pages out of its free set. */
static struct page *
segment_cut(struct memory_heap *memory, struct segment *segment, unsigned first,
            unsigned pages)
{
    uint64_t mask = span_mask(first, pages);
    struct page *page = segment_page(segment, first);
    GYRE_ASSERT((segment->free_pages & mask) == mask);
    if (segment->free_pages == ALL_PAGES)
        memory->free_segments--;
    segment->free_pages &= ~mask;
    if (segment->free_pages == 0)
        roomy_unlink(memory, segment);
    page->reused = (segment->dirty_pages & mask) != 0;
    page->span_pages = (uint8_t)pages;
    counter_add(&memory->cached_pages, 0 - (uint64_t)__builtin_popcountll(
                                               segment->dirty_pages & mask));
    segment->dirty_pages |= mask;
    return page;
}

/* The lowest page for one, of those that have their memory still if there
 * are any; the highest place for a span, so that the two keep apart. */
static struct page *
segment_find_single(struct memory_heap *memory)
{
    struct segment *segment = memory->roomy, *clean = segment;
    unsigned tries = memory->cached_pages > 0 ? DIRTY_TRIES : 0;
    for (; segment != NULL && tries > 0; tries--) {
        uint64_t dirty = segment->free_pages & segment->dirty_pages;
        if (dirty != 0)
            return segment_cut(memory, segment,
                               (unsigned)__builtin_ctzll(dirty), 1);
        segment = segment->next_roomy;
    }
    if (clean == NULL)
        return NULL;
    return segment_cut(memory, clean,
                       (unsigned)__builtin_ctzll(clean->free_pages), 1);
}

static struct page *
segment_find_span(struct memory_heap *memory, unsigned pages, unsigned tries)
{
    struct segment *segment = memory->roomy;
    for (; segment != NULL && tries > 0; tries--) {
        uint64_t starts = span_starts(segment->free_pages, pages);
        if (starts != 0)
            return segment_cut(memory, segment,
                               63u - (unsigned)__builtin_clzll(starts), pages);
        segment = segment->next_roomy;
    }
    return NULL;
}

static struct page *
segment_find(struct gyre_heap *heap, unsigned pages, unsigned tries)
{
    struct memory_heap *memory = &heap->memory;
    struct page *page;
    pthread_mutex_lock(&memory->page_lock);
    page = pages == 1 ? segment_find_single(memory)
                      : segment_find_span(memory, pages, tries);
    pthread_mutex_unlock(&memory->page_lock);
    return page;
}

/* Map a segment and take its first pages for the caller. */
static struct page *
segment_new(struct gyre_heap *heap, unsigned pages)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment = gyre_os_map_aligned(heap, GYRE_SEGMENT_BYTES);
    struct page *page;
    unsigned first = pages == 1 ? 1 : GYRE_SEGMENT_PAGES - pages;
    if (segment == NULL)
        return NULL;
    segment->heap = heap;
    segment->bytes = GYRE_SEGMENT_BYTES;
    segment->free_pages = ALL_PAGES;
    pthread_mutex_lock(&memory->page_lock);
    segment_link(memory, segment);
    roomy_link(memory, segment);
    memory->free_segments++;
    page = segment_cut(memory, segment, first, pages);
    pthread_mutex_unlock(&memory->page_lock);
    return page;
}

struct page *
gyre_segment_take(struct gyre_heap *heap, unsigned pages)
{
    /* A bounded search first: many segments with holes too small for a span
     * must not make each span slow. */
    struct page *page = segment_find(heap, pages, SPAN_TRIES);
    if (page == NULL)
        page = segment_new(heap, pages);
    if (page == NULL && pages > 1)
        page = segment_find(heap, pages, UINT32_MAX);
    if (page == NULL)
        return NULL;
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&heap->memory.pages_in_use, pages);
    return page;
}

size_t
gyre_segment_span_bytes(const struct page *page)
{
    if (page->span_pages == 0)
        return segment_of(page)->bytes - GYRE_PAGE_BYTES;
    return (size_t)page->span_pages * GYRE_PAGE_BYTES;
}

struct page *
gyre_segment_take_alone(struct gyre_heap *heap, size_t bytes)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment;
    struct page *page;
    size_t whole;
    if (bytes > SIZE_MAX / 2)
        return NULL;
    whole = (bytes + GYRE_PAGE_BYTES + OS_PAGE_BYTES - 1) &
            ~(size_t)(OS_PAGE_BYTES - 1);
    segment = gyre_os_map_aligned(heap, whole);
    if (segment == NULL && gyre_segment_trim(heap))
        segment = gyre_os_map_aligned(heap, whole);
    if (segment == NULL)
        return NULL;
    segment->heap = heap;
    segment->bytes = whole;
    page = segment_page(segment, 1);
    page->span_pages = 0;
    page->reused = 0;
    pthread_mutex_lock(&memory->page_lock);
    segment_link(memory, segment);
    pthread_mutex_unlock(&memory->page_lock);
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&memory->pages_in_use, span_page_count(page));
    return page;
}

/* The last page of a segment is free: whether to unmap it. Page lock held;
 * if so, it is out of all lists. */
static bool
segment_retire(struct gyre_heap *heap, struct segment *segment)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t kept = (memory->free_segments + 1) * GYRE_SEGMENT_BYTES;
    uint64_t limit = heap_option(heap, GYRE_OPT_MEMORY_HEAP_CACHE);
    if (kept <= limit && memory->cached_pages << GYRE_PAGE_SHIFT <= limit) {
        memory->free_segments++;
        return false;
    }
    counter_add(&memory->cached_pages,
                0 - (uint64_t)__builtin_popcountll(segment->dirty_pages));
    roomy_unlink(memory, segment);
    segment_unlink(memory, segment);
    return true;
}

/* Page lock held. */
static void
pages_make_free(struct memory_heap *memory, struct segment *segment,
                uint64_t mask, bool dirty)
{
    GYRE_ASSERT((segment->free_pages & mask) == 0);
    if (segment->free_pages == 0)
        roomy_link(memory, segment);
    segment->free_pages |= mask;
    if (dirty)
        counter_add(&memory->cached_pages,
                    (uint64_t)__builtin_popcountll(mask));
    else
        segment->dirty_pages &= ~mask;
}

static void
segment_give_alone(struct gyre_heap *heap, struct segment *segment)
{
    pthread_mutex_lock(&heap->memory.page_lock);
    segment_unlink(&heap->memory, segment);
    pthread_mutex_unlock(&heap->memory.page_lock);
    gyre_os_unmap(heap, segment, segment->bytes);
}

void
gyre_segment_give(struct gyre_heap *heap, struct page *page)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment = segment_of(page);
    unsigned first = page_index(page), pages = page->span_pages;
    uint64_t mask = pages == 0 ? 0 : span_mask(first, pages);
    size_t bytes = gyre_segment_span_bytes(page);
    uint64_t limit = heap_option(heap, GYRE_OPT_MEMORY_HEAP_CACHE);
    bool dirty = true, unmap = false;
    unsigned i;

    /* relaxed: a statistic */
    gyre_fetch_sub_relaxed(&memory->pages_in_use, bytes >> GYRE_PAGE_SHIFT);
    if (pages == 0) {
        segment_give_alone(heap, segment);
        return;
    }
    memory_unpoison(page_start(page), bytes);
    for (i = 0; i < pages; i++) {
        struct page *member = segment_page(segment, first + i);
        /* relaxed: under nobody's eyes; atomic as all writes of them are */
        gyre_store_relaxed(&member->state, PAGE_FREE);
        gyre_store_relaxed(&member->fast.owner, (struct gyre_thread *)NULL);
        page_stamps_set(member, 0);
    }
    pthread_mutex_lock(&memory->page_lock);
    if ((memory->cached_pages + pages) << GYRE_PAGE_SHIFT > limit &&
        (segment->free_pages | mask) != ALL_PAGES) {
        /* Over the bound: purge, unlocked, since the pages are still in
         * nobody's hands but ours. */
        pthread_mutex_unlock(&memory->page_lock);
        gyre_os_purge(page_start(page), bytes);
        dirty = false;
        pthread_mutex_lock(&memory->page_lock);
    }
    pages_make_free(memory, segment, mask, dirty);
    if (segment->free_pages == ALL_PAGES)
        unmap = segment_retire(heap, segment);
    pthread_mutex_unlock(&memory->page_lock);
    if (unmap)
        gyre_os_unmap(heap, segment, GYRE_SEGMENT_BYTES);
}

bool
gyre_segment_trim(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment, *next, *out = NULL;
    pthread_mutex_lock(&memory->page_lock);
    for (segment = memory->roomy; segment != NULL; segment = next) {
        next = segment->next_roomy;
        if (segment->free_pages != ALL_PAGES)
            continue;
        memory->free_segments--;
        counter_add(&memory->cached_pages,
                    0 - (uint64_t)__builtin_popcountll(segment->dirty_pages));
        roomy_unlink(memory, segment);
        segment_unlink(memory, segment);
        segment->next = out;
        out = segment;
    }
    pthread_mutex_unlock(&memory->page_lock);
    segment = out;
    while (segment != NULL) {
        next = segment->next;
        gyre_os_unmap(heap, segment, GYRE_SEGMENT_BYTES);
        segment = next;
    }
    return out != NULL;
}
