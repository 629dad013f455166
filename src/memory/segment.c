/* Segments: 4 MiB from the system, cut into pages, given out in spans. Which
 * pages are free, where to find them, and new ones.
 *
 * Page 0 of a segment holds the records. Any thread; takes the page lock, and
 * calls the system without it. Design: docs/design/memory.md .mem */
#include "segment.h"

#include "../heap.h"
#include "hardened.h"
#include "numa.h"
#include "os.h"
#include "page.h"
#include "poison.h"

#define DIRTY_TRIES 8u
#define SPAN_TRIES 64u

GYRE_STATIC_ASSERT(sizeof(struct segment) <= GYRE_SEGMENT_RECORDS,
                   "page records lie behind the segment's head");
GYRE_STATIC_ASSERT(GYRE_SEGMENT_RECORDS +
                           GYRE_SEGMENT_PAGES * GYRE_PAGE_RECORD_BYTES <=
                       GYRE_PAGE_BYTES,
                   "page records fit in page 0");

/* ---- lists. Page lock held ---- */

void
gyre_segment_link(struct memory_heap *memory, struct segment *segment)
{
    /* relaxed, all but what makes it known: its fields were written before */
    struct segment *first = gyre_load_relaxed(&memory->segments);
    gyre_store_relaxed(&segment->prev, (struct segment *)NULL);
    gyre_store_relaxed(&segment->next, first);
    /* release, both; pairs: segment_prev(), segment_first(). A walk in a stop
     * may meet it when its thread is one that no stop waits for. */
    if (first != NULL)
        gyre_store_release(&first->prev, segment);
    gyre_store_release(&memory->segments, segment);
}

void
gyre_segment_unlink(struct memory_heap *memory, struct segment *segment)
{
    /* relaxed, all: nobody walks but under the page lock */
    struct segment *next = gyre_load_relaxed(&segment->next);
    struct segment *prev = gyre_load_relaxed(&segment->prev);
    if (prev != NULL)
        gyre_store_relaxed(&prev->next, next);
    else
        gyre_store_relaxed(&memory->segments, next);
    if (next != NULL)
        gyre_store_relaxed(&next->prev, prev);
}

static void
roomy_link(struct segment_lists *lists, struct segment *segment)
{
    segment->prev_roomy = NULL;
    segment->next_roomy = lists->roomy;
    if (segment->next_roomy != NULL)
        segment->next_roomy->prev_roomy = segment;
    lists->roomy = segment;
}

static void
roomy_unlink(struct segment_lists *lists, struct segment *segment)
{
    if (segment->prev_roomy != NULL)
        segment->prev_roomy->next_roomy = segment->next_roomy;
    else
        lists->roomy = segment->next_roomy;
    if (segment->next_roomy != NULL)
        segment->next_roomy->prev_roomy = segment->prev_roomy;
}

static void
idle_link(struct segment_lists *lists, struct segment *segment)
{
    segment->next_idle = NULL;
    segment->prev_idle = lists->idle_last;
    if (segment->prev_idle != NULL)
        segment->prev_idle->next_idle = segment;
    else
        lists->idle = segment;
    lists->idle_last = segment;
}

static void
idle_unlink(struct segment_lists *lists, struct segment *segment)
{
    if (segment->prev_idle != NULL)
        segment->prev_idle->next_idle = segment->next_idle;
    else
        lists->idle = segment->next_idle;
    if (segment->next_idle != NULL)
        segment->next_idle->prev_idle = segment->prev_idle;
    else
        lists->idle_last = segment->prev_idle;
}

void
gyre_segment_to_last(struct memory_heap *memory, struct segment *segment)
{
    struct segment_lists *lists = &memory->nodes[segment->node];
    idle_unlink(lists, segment);
    idle_link(lists, segment);
}

/* ---- sets of pages. Page lock held ---- */

/* What the counters say of a segment, added or taken away. */
static void
segment_count(struct memory_heap *memory, const struct segment *segment,
              uint64_t sign)
{
    uint64_t cached = (uint64_t)__builtin_popcountll(segment->free_pages &
                                                     segment->dirty_pages);
    bool whole = segment->free_pages == SEGMENT_ALL_PAGES;
    if (segment->node == MEMORY_SPARES)
        /* relaxed: as below */
        gyre_store_relaxed(&memory->spare_bytes,
                           gyre_load_relaxed(&memory->spare_bytes) +
                               (whole ? sign * segment->bytes : 0));
    else
        memory->free_segments += whole ? sign : 0;
    memory->idle_segments += segment_returnable(segment) != 0 ? sign : 0;
    /* relaxed: one writer at a time; readers want a value, not an order */
    gyre_store_relaxed(&memory->cached_pages,
                       gyre_load_relaxed(&memory->cached_pages) +
                           sign * cached);
}

void
gyre_segment_set(struct memory_heap *memory, struct segment *segment,
                 uint64_t free_pages, uint64_t dirty_pages)
{
    struct segment_lists *lists = &memory->nodes[segment->node];
    bool was_roomy = segment->free_pages != 0;
    bool was_idle = segment_returnable(segment) != 0;
    segment_count(memory, segment, UINT64_MAX);
    segment->free_pages = free_pages;
    segment->dirty_pages = dirty_pages;
    segment_count(memory, segment, 1);
    segment->aged_pages &= segment_returnable(segment);
    if (was_roomy != (free_pages != 0))
        (was_roomy ? roomy_unlink : roomy_link)(lists, segment);
    if (was_idle != (segment_returnable(segment) != 0))
        (was_idle ? idle_unlink : idle_link)(lists, segment);
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

/* Pages whose number is a multiple of a power of two up to 32. */
static uint64_t
every(unsigned step)
{
    uint64_t set = 1;
    unsigned have;
    for (have = step; have < GYRE_SEGMENT_PAGES; have *= 2)
        set |= set << have;
    return set;
}

/* Take a segment's pages out of its free set. */
static struct page *
segment_cut(struct memory_heap *memory, struct segment *segment, unsigned first,
            unsigned pages)
{
    uint64_t mask = segment_mask(first, pages);
    struct page *page = segment_page(segment, first);
    GYRE_ASSERT((segment->free_pages & mask) == mask);
    page->reused = (segment->dirty_pages & mask) != 0;
    page->span_pages = (uint8_t)pages;
    gyre_segment_set(memory, segment, segment->free_pages & ~mask,
                     segment->dirty_pages | mask);
    return page;
}

/* ---- taking ---- */

/* The lowest page for one, of those that have their memory still if there
 * are any, the latest first. */
static struct page *
find_single(struct memory_heap *memory, struct segment_lists *lists)
{
    struct segment *segment = lists->idle_last;
    unsigned tries = DIRTY_TRIES;
    for (; segment != NULL && tries > 0; tries--) {
        uint64_t dirty = segment->free_pages & segment->dirty_pages;
        if (dirty != 0)
            return segment_cut(memory, segment,
                               (unsigned)__builtin_ctzll(dirty), 1);
        segment = segment->prev_idle;
    }
    segment = lists->roomy;
    if (segment == NULL)
        return NULL;
    return segment_cut(memory, segment,
                       (unsigned)__builtin_ctzll(segment->free_pages), 1);
}

/* The highest place for a span, so that the two keep apart. */
static struct page *
find_span(struct memory_heap *memory, struct segment_lists *lists,
          unsigned pages, unsigned step, unsigned tries)
{
    struct segment *segment = lists->roomy;
    uint64_t places = every(step);
    for (; segment != NULL && tries > 0; tries--) {
        uint64_t starts = span_starts(segment->free_pages, pages) & places;
        if (starts != 0)
            return segment_cut(memory, segment,
                               63u - (unsigned)__builtin_clzll(starts), pages);
        segment = segment->next_roomy;
    }
    return NULL;
}

/* Of segments of the node `here`, or of any from there on. */
static struct page *
segment_find(struct gyre_heap *heap, unsigned pages, unsigned step,
             unsigned here, unsigned nodes, unsigned tries)
{
    struct memory_heap *memory = &heap->memory;
    struct page *page = NULL;
    unsigned i;
    pthread_mutex_lock(&memory->page_lock);
    for (i = 0; page == NULL && i < nodes; i++) {
        struct segment_lists *lists = &memory->nodes[(here + i) % MEMORY_NODES];
        page = pages == 1 && step == 1
                   ? find_single(memory, lists)
                   : find_span(memory, lists, pages, step, tries);
    }
    pthread_mutex_unlock(&memory->page_lock);
    return page;
}

bool
gyre_segment_init(struct gyre_heap *heap, struct segment *segment, size_t bytes)
{
    segment->heap = heap;
    segment->bytes = bytes;
    segment->link_secret = heap->memory.link_secret;
    segment->node = (uint8_t)gyre_numa_here(heap);
    return gyre_map_set(segment);
}

void
gyre_segment_unmap(struct gyre_heap *heap, struct segment *segment)
{
    gyre_map_clear(segment);
    gyre_os_unmap(heap, segment, segment->bytes);
}

static struct segment *
segment_map(struct gyre_heap *heap)
{
    struct segment *segment = gyre_arena_segment(heap);
    if (segment == NULL)
        return NULL;
    if (!gyre_segment_init(heap, segment, GYRE_SEGMENT_BYTES)) {
        gyre_os_unmap(heap, segment, GYRE_SEGMENT_BYTES);
        return NULL;
    }
    gyre_hardened_guard_records(segment);
    gyre_numa_bind(heap, segment, GYRE_SEGMENT_BYTES);
    if (heap_option(heap, GYRE_OPT_MEMORY_HUGE_PAGES) != 0) {
        gyre_os_prefer_huge(segment, GYRE_SEGMENT_BYTES);
        segment->huge = 1;
    }
    return segment;
}

/* Map a segment and take pages of it for the caller. */
static struct page *
segment_new(struct gyre_heap *heap, unsigned pages, unsigned step)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment;
    struct page *page = NULL;
    unsigned first = 1;
    if (pages > 1 || step > 1)
        first = (GYRE_SEGMENT_PAGES - pages) & ~(step - 1);
    pthread_mutex_lock(&memory->page_lock);
    segment_hands_add(memory);
    pthread_mutex_unlock(&memory->page_lock);
    segment = segment_map(heap);
    pthread_mutex_lock(&memory->page_lock);
    segment_hands_drop(memory);
    if (segment != NULL) {
        uint64_t mask = segment_mask(first, pages);
        page = segment_page(segment, first);
        page->span_pages = (uint8_t)pages;
        gyre_segment_link(memory, segment);
        gyre_segment_set(memory, segment, SEGMENT_ALL_PAGES & ~mask, mask);
    }
    pthread_mutex_unlock(&memory->page_lock);
    return page;
}

struct page *
gyre_segment_take_aligned(struct gyre_heap *heap, unsigned pages, unsigned step)
{
    unsigned here = gyre_numa_here(heap);
    /* With nodes, a page of another's is taken only before memory is out. */
    unsigned nodes = gyre_numa_matters(heap) ? 1 : MEMORY_NODES;
    /* A bounded search first: many segments with holes too small for a span
     * must not make each span slow. */
    struct page *page =
        segment_find(heap, pages, step, here, nodes, SPAN_TRIES);
    if (page == NULL)
        page = segment_new(heap, pages, step);
    if (page == NULL)
        page = segment_find(heap, pages, step, here, MEMORY_NODES, UINT32_MAX);
    if (page == NULL && gyre_segment_trim(heap))
        page = segment_new(heap, pages, step);
    if (page == NULL)
        return NULL;
    /* relaxed: a count that orders nothing */
    gyre_memory_note_pages(
        heap,
        gyre_fetch_add_relaxed(&heap->memory.pages_in_use, pages) + pages);
    return page;
}

struct page *
gyre_segment_take(struct gyre_heap *heap, unsigned pages)
{
    return gyre_segment_take_aligned(heap, pages, 1);
}

/* At most that share of what is needed may be too much. */
#define SPARE_WASTE 8
#define SPARE_TRIES 32u

struct page *
gyre_segment_take_spare(struct gyre_heap *heap, size_t bytes)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment;
    unsigned tries = SPARE_TRIES;
    pthread_mutex_lock(&memory->page_lock);
    segment = memory->nodes[MEMORY_SPARES].idle_last;
    while (segment != NULL && tries-- > 0 &&
           (segment->bytes < bytes ||
            segment->bytes - bytes > bytes / SPARE_WASTE))
        segment = tries > 0 ? segment->prev_idle : NULL;
    if (segment != NULL)
        gyre_segment_set(memory, segment, 0, 0);
    pthread_mutex_unlock(&memory->page_lock);
    if (segment == NULL)
        return NULL;
    segment_page(segment, 1)->reused = 1;
    return segment_page(segment, 1);
}

size_t
gyre_segment_span_bytes(const struct page *page)
{
    if (page->span_pages == 0)
        return segment_of(page)->bytes - GYRE_PAGE_BYTES;
    return (size_t)page->span_pages * GYRE_PAGE_BYTES;
}

/* ---- spans of large blocks change their length ---- */

static bool
span_grow(struct gyre_heap *heap, struct page *page, unsigned more)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment = segment_of(page);
    unsigned behind = page_index(page) + page->span_pages, i;
    uint64_t mask;
    bool room;
    if (behind + more > GYRE_SEGMENT_PAGES)
        return false;
    mask = segment_mask(behind, more);
    pthread_mutex_lock(&memory->page_lock);
    room = (segment->free_pages & mask) == mask;
    if (room)
        gyre_segment_set(memory, segment, segment->free_pages & ~mask,
                         segment->dirty_pages | mask);
    pthread_mutex_unlock(&memory->page_lock);
    for (i = behind; room && i < behind + more; i++) {
        struct page *member = segment_page(segment, i);
        member->head = page;
        member->gc = NULL;
        member->blocks = page->blocks;
        page_set_owner(member, NULL);
        page_set_state(member, PAGE_INTERIOR);
    }
    return room;
}

bool
gyre_segment_resize(struct gyre_heap *heap, struct page *page, unsigned pages)
{
    unsigned had = page->span_pages;
    if (pages > had && !span_grow(heap, page, pages - had))
        return false;
    if (pages < had && memory_is_pinned(&heap->memory))
        return false;
    page->span_pages = (uint8_t)pages;
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&heap->memory.pages_in_use,
                           (uint64_t)pages - (uint64_t)had);
    if (pages < had)
        gyre_segment_give_pages(heap, segment_of(page),
                                page_index(page) + pages, had - pages);
    return true;
}
