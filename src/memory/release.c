/* Pages and segments that are free again: kept within the heap's bounds until
 * the scavenger returns their memory, or returned at once.
 *
 * Any thread; takes the page lock, and calls the system without it: what is
 * in its hands then is in no list, and counted in `hands`, for which forks
 * and checks wait. Design: docs/design/memory.md .mem.return */
#include "../heap.h"
#include "hardened.h"
#include "os.h"
#include "page.h"
#include "poison.h"
#include "segment.h"

/* ---- returning. Page lock held on entry and exit, not meanwhile ---- */

static void
returned_count(struct memory_heap *memory, uint64_t bytes)
{
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&memory->returned, bytes);
}

/* Bytes that a segment with nothing but free pages has in memory. */
static uint64_t
memory_of(const struct segment *segment)
{
    if (segment->node == MEMORY_SPARES)
        return segment->bytes;
    return (uint64_t)__builtin_popcountll(segment->dirty_pages)
           << GYRE_PAGE_SHIFT;
}

/* Purge pages that are in no set; the runs of a set one by one. Those that
 * the system took. */
static uint64_t
purge_unlocked(struct gyre_heap *heap, struct segment *segment, uint64_t pages)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t left = pages, taken = 0;
    bool huge = segment->huge;
    segment->huge = 0;
    segment_hands_add(memory);
    pthread_mutex_unlock(&memory->page_lock);
    /* The system would fill the gaps of a huge page again by itself. */
    if (huge)
        gyre_os_avoid_huge(segment, GYRE_SEGMENT_BYTES);
    while (left != 0) {
        unsigned first = (unsigned)__builtin_ctzll(left);
        uint64_t rest = ~(left >> first);
        unsigned count = rest != 0 ? (unsigned)__builtin_ctzll(rest) : 64;
        if (gyre_os_purge((char *)segment + (size_t)first * GYRE_PAGE_BYTES,
                          (size_t)count * GYRE_PAGE_BYTES))
            taken |= segment_mask(first, count);
        left &= ~segment_mask(first, count);
    }
    pthread_mutex_lock(&memory->page_lock);
    segment_hands_drop(memory);
    returned_count(memory, (uint64_t)__builtin_popcountll(taken)
                               << GYRE_PAGE_SHIFT);
    return taken;
}

uint64_t
gyre_segment_purge(struct gyre_heap *heap, struct segment *segment,
                   uint64_t pages)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t taken;
    GYRE_ASSERT((segment->free_pages & pages) == pages);
    gyre_segment_set(memory, segment, segment->free_pages & ~pages,
                     segment->dirty_pages);
    taken = purge_unlocked(heap, segment, pages);
    gyre_segment_set(memory, segment, segment->free_pages | pages,
                     segment->dirty_pages & ~taken);
    return (uint64_t)__builtin_popcountll(taken) << GYRE_PAGE_SHIFT;
}

uint64_t
gyre_segment_return(struct gyre_heap *heap, struct segment *segment)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t bytes = memory_of(segment);
    GYRE_ASSERT(segment->free_pages == SEGMENT_ALL_PAGES);
    gyre_segment_set(memory, segment, 0, 0);
    gyre_segment_unlink(memory, segment);
    segment_hands_add(memory);
    pthread_mutex_unlock(&memory->page_lock);
    gyre_segment_unmap(heap, segment);
    pthread_mutex_lock(&memory->page_lock);
    segment_hands_drop(memory);
    returned_count(memory, bytes);
    return bytes;
}

/* ---- giving ---- */

/* Bytes of empty pages that the heap may keep. Without a timer that could
 * return them it keeps none. */
static uint64_t
cache_limit(const struct gyre_heap *heap)
{
    if (heap->memory.scavenger.no_threads ||
        heap_option(heap, GYRE_OPT_MEMORY_RETURN_DELAY) == 0)
        return 0;
    return heap_option(heap, GYRE_OPT_MEMORY_HEAP_CACHE);
}

static bool
over_limit(const struct memory_heap *memory, uint64_t limit, unsigned more)
{
    uint64_t bytes = (uint64_t)more << GYRE_PAGE_SHIFT;
    return bytes > limit || segment_keeps_over(memory, limit - bytes);
}

/* Pages of a span that nobody can reach become free, in their records. */
static void
blank_pages(struct segment *segment, unsigned first, unsigned pages)
{
    unsigned i;
    if (MEMORY_POISON)
        memory_poison((char *)segment + (size_t)first * GYRE_PAGE_BYTES,
                      (size_t)pages * GYRE_PAGE_BYTES);
    for (i = first; i < first + pages; i++) {
        struct page *member = segment_page(segment, i);
        /* relaxed: under nobody's eyes; atomic as all writes of them are */
        gyre_store_relaxed(&member->state, PAGE_FREE);
        gyre_store_relaxed(&member->fast.owner, (struct gyre_thread *)NULL);
        page_stamps_clear(member);
    }
}

/* And in their segment. Page lock held, but not meanwhile. */
static void
free_pages(struct gyre_heap *heap, struct segment *segment, uint64_t mask)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t limit = cache_limit(heap), dirty = mask;
    unsigned pages = (unsigned)__builtin_popcountll(mask);
    if (over_limit(memory, limit, pages) &&
        ((segment->free_pages | mask) != SEGMENT_ALL_PAGES ||
         gyre_load_relaxed(&memory->pinned) > 0)) {
        dirty &= ~purge_unlocked(heap, segment, mask);
    }
    gyre_segment_set(memory, segment, segment->free_pages | mask,
                     (segment->dirty_pages & ~mask) | dirty);
    if (segment->free_pages == SEGMENT_ALL_PAGES &&
        gyre_load_relaxed(&memory->pinned) == 0 && over_limit(memory, limit, 0))
        (void)gyre_segment_return(heap, segment);
    gyre_scavenger_notify(heap);
}

void
gyre_segment_give_pages(struct gyre_heap *heap, struct segment *segment,
                        unsigned first, unsigned pages)
{
    blank_pages(segment, first, pages);
    pthread_mutex_lock(&heap->memory.page_lock);
    free_pages(heap, segment, segment_mask(first, pages));
    pthread_mutex_unlock(&heap->memory.page_lock);
}

/* The records of a mapping alone say that it is free. */
static void
blank_alone(struct page *page)
{
    struct page *place = (struct page *)gyre_page_record(page->blocks);
    if (MEMORY_POISON)
        memory_poison(page_start(page), gyre_segment_span_bytes(page));
    page_set_state(place, PAGE_FREE);
    page_set_state(page, PAGE_FREE);
    page_stamps_clear(page);
}

/* A mapping alone: kept for the next of that length within the bounds, like
 * a segment with nothing but free pages. One that a collection may know waits
 * for its end. */
static void
give_alone(struct gyre_heap *heap, struct page *page)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment = segment_of(page);
    uint64_t limit = cache_limit(heap), pages = span_page_count(page);
    bool pinned;
    pthread_mutex_lock(&memory->page_lock);
    pinned = gyre_load_relaxed(&memory->pinned) > 0;
    if (!pinned) {
        blank_alone(page);
        gyre_segment_set(memory, segment, SEGMENT_ALL_PAGES, 0);
        if (segment_keeps_over(memory, limit))
            (void)gyre_segment_return(heap, segment);
        gyre_scavenger_notify(heap);
    }
    pthread_mutex_unlock(&memory->page_lock);
    if (pinned)
        gyre_page_dispose(heap, page);
    else /* relaxed: a statistic */
        gyre_fetch_sub_relaxed(&memory->pages_in_use, pages);
}

void
gyre_segment_give(struct gyre_heap *heap, struct page *page)
{
    unsigned pages = page->span_pages;
    if (pages == 0) {
        give_alone(heap, page);
        return;
    }
    gyre_hardened_unguard(page);
    /* relaxed: a statistic */
    gyre_fetch_sub_relaxed(&heap->memory.pages_in_use, pages);
    gyre_segment_give_pages(heap, segment_of(page), page_index(page), pages);
}

/* Those at the head of a list that lie in one segment, as far as the heap may
 * keep them all; the first in any case. Page lock held. */
static uint64_t
take_together(struct gyre_heap *heap, struct page **list)
{
    struct segment *segment = segment_of(*list);
    uint64_t limit = cache_limit(heap), mask = 0;
    unsigned pages = 0;
    do {
        struct page *page = *list;
        mask |= segment_mask(page_index(page), page->span_pages);
        pages += page->span_pages;
        *list = page->next;
        page->next = NULL;
    } while (*list != NULL && segment_of(*list) == segment &&
             !over_limit(&heap->memory, limit, pages + (*list)->span_pages));
    return mask;
}

void
gyre_segment_give_list(struct gyre_heap *heap, struct page *list)
{
    struct memory_heap *memory = &heap->memory;
    struct page *page;
    for (page = list; page != NULL; page = page->next) {
        gyre_hardened_unguard(page);
        /* relaxed: a statistic */
        gyre_fetch_sub_relaxed(&memory->pages_in_use, page->span_pages);
        blank_pages(segment_of(page), page_index(page), page->span_pages);
    }
    pthread_mutex_lock(&memory->page_lock);
    while (list != NULL) {
        struct segment *segment = segment_of(list);
        free_pages(heap, segment, take_together(heap, &list));
    }
    pthread_mutex_unlock(&memory->page_lock);
}

/* ---- before memory is out ---- */

/* While a collection is open a stop may go over the segments; only its own
 * thread, or one that it stops, can take one away then. What is free was free
 * before, or it would wait, so the collection does not know it, but for one
 * that its walk has come to. */
static bool
trim_is_safe(const struct memory_heap *memory)
{
    return gyre_load_relaxed(&memory->pinned) == 0 ||
           (gyre_self != NULL && &gyre_self->heap->memory == memory &&
            !thread_is_raw(gyre_self));
}

/* Take the segments with nothing but free pages out of all lists, into one of
 * their own. Page lock held. */
static struct segment *
take_free_segments(struct memory_heap *memory)
{
    struct segment *segment, *next, *out = NULL;
    unsigned node;
    if (!trim_is_safe(memory))
        return NULL;
    for (node = 0; node <= MEMORY_SPARES; node++) {
        for (segment = memory->nodes[node].idle; segment != NULL;
             segment = next) {
            next = segment->next_idle;
            if (segment->free_pages != SEGMENT_ALL_PAGES || segment->walked)
                continue;
            returned_count(memory, memory_of(segment));
            gyre_segment_set(memory, segment, 0, 0);
            gyre_segment_unlink(memory, segment);
            segment->next_idle = out;
            out = segment;
        }
    }
    return out;
}

bool
gyre_segment_trim(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct segment *segment, *next;
    bool any;
    pthread_mutex_lock(&memory->page_lock);
    segment = take_free_segments(memory);
    segment_hands_add(memory);
    pthread_mutex_unlock(&memory->page_lock);
    any = segment != NULL;
    for (; segment != NULL; segment = next) {
        next = segment->next_idle;
        gyre_segment_unmap(heap, segment);
    }
    pthread_mutex_lock(&memory->page_lock);
    segment_hands_drop(memory);
    pthread_mutex_unlock(&memory->page_lock);
    return any;
}
