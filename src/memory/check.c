/* Every invariant of segments, pages and lists, looked at one by one.
 *
 * In a stop, so that what belongs to other threads may be read, and without
 * the page lock, so that a fatal hook may jump out of here; but with it while
 * there are raw threads, which no stop waits for. What those may be changing
 * without the lock is left out. Two views are compared: what the pages say of
 * themselves, and what the lists hold.
 * Design: docs/design/memory.md .mem.check */
#include <stdarg.h>
#include <stdio.h>

#include "../heap.h"
#include "counts.h"
#include "current.h"
#include "hardened.h"
#include "page.h"
#include "remote.h"

#define MAX_BLOCKS (GYRE_PAGE_BYTES / 16)
#define BAD(page, ...) page_bad((page), __LINE__, __VA_ARGS__)

/* Pages by state; cached ones apart from those free in their segment. */
struct tally {
    uint64_t of[PAGE_INTERIOR + 1];
    uint64_t cached;
    uint64_t noted[GYRE_PAGE_KINDS];
    uint64_t free_dirty, free_segments, roomy, idle, segments, bytes;
    uint64_t spare_bytes;
    bool raw_threads; /* there are some */
};

static void __attribute__((format(printf, 3, 4), noreturn, cold))
page_bad(const struct page *page, int line, const char *format, ...)
{
    char text[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    gyre_fatal("memory check, line %d: page %p (kind %d, class %d, state %d,"
               " used %u of %u): %s",
               line, (const void *)page, page->kind, page->size_class,
               (int)page_state(page), page_used(page), page->capacity, text);
}

/* ---- the blocks of one page ---- */

struct seen {
    uint64_t bits[MAX_BLOCKS / 64];
};

/* A free block, met once only, that reads as no object. */
static void
check_free_block(const struct page *page, const void *block, struct seen *seen)
{
    const unsigned char *start = block;
    uint32_t index;
    uint64_t word1, bit;
    if (start < page->blocks ||
        start >= page->blocks + gyre_segment_span_bytes(page))
        BAD(page, "free block %p lies outside", block);
    index = page_block_index(page, block);
    if (index >= page->fresh ||
        start != page->blocks + (size_t)index * page->fast.block_size)
        BAD(page, "free block %p is no block handed out before", block);
    bit = UINT64_C(1) << (index % 64);
    if (seen->bits[index / 64] & bit)
        BAD(page, "block %p is free twice", block);
    seen->bits[index / 64] |= bit;
    if (page->kind == GYRE_PAGE_RAW)
        return;
    /* relaxed: in a stop */
    word1 = gyre_load_relaxed((const uint64_t *)block + 1);
    if (word1 != 0 && ((uint32_t)(word1 >> 32) & GYRE_RC_DEAD) == 0)
        BAD(page, "free block %p does not read as dead: %016llx", block,
            (unsigned long long)word1);
}

static uint32_t
check_free_list(const struct page *page, uintptr_t link, struct seen *seen)
{
    uint32_t length = 0;
    while (link != GYRE_LINK_END) {
        const void *block = (const void *)(link - 1);
        if ((link & 15) != 1)
            BAD(page, "link %lx is none", (unsigned long)link);
        if (++length > page->capacity)
            BAD(page, "a free list is longer than the page");
        check_free_block(page, block, seen);
        if (MEMORY_GUARD)
            gyre_guard_check_free(page, block, "gyre_heap_check");
        link = link_load(block);
    }
    return length;
}

/* Trimmed blocks, which are on no list. */
static uint32_t
check_holes(const struct page *page, struct seen *seen)
{
    uint32_t i, count = 0;
    for (i = 0; i < page->fresh && page->purged != 0; i++)
        if (page_is_hole(page, i)) {
            check_free_block(
                page, page->blocks + (size_t)i * page->fast.block_size, seen);
            count++;
        }
    return count;
}

/* Raw blocks in use. */
static void
check_used(const struct page *page, const struct seen *seen)
{
    uint32_t i;
    for (i = 0; i < page->fresh; i++)
        if ((seen->bits[i / 64] >> (i % 64) & 1) == 0)
            gyre_guard_check_used(
                page, page->blocks + (size_t)i * page->fast.block_size,
                "gyre_heap_check");
}

static void
check_small(const struct page *page, bool closed, const struct tally *tally)
{
    /* acquire; pairs: gyre_remote_push(). Raw threads push meanwhile. */
    uintptr_t word = gyre_load_acquire(&page->remote_free);
    struct seen seen = {{0}};
    uint32_t free_blocks, remote_blocks, waiting = remote_count(word);
    if (page->fast.block_size != gyre_class_bytes(page->size_class) ||
        page->capacity != page_room_bytes(page) / page->fast.block_size)
        BAD(page, "block size %u is not its class's", page->fast.block_size);
    if (page->fresh > page->capacity)
        BAD(page, "%u blocks were handed out", page->fresh);
    free_blocks = check_free_list(page, page->fast.free, &seen);
    free_blocks += check_holes(page, &seen);
    if (free_blocks + page_used(page) != page->fresh)
        BAD(page, "%u free blocks of %u handed out", free_blocks, page->fresh);
    if (closed != (waiting > REMOTE_CLOSED / 2))
        BAD(page, "remote count %x does not fit its state", waiting);
    if (closed)
        waiting -= REMOTE_CLOSED - page_used(page);
    if (((word & REMOTE_NOTIFY) != 0) != (page_state(page) == PAGE_FULL))
        BAD(page, "the notify bit does not fit its state");
    remote_blocks = check_free_list(page, remote_link(word), &seen);
    if (remote_blocks != waiting || remote_blocks > page_used(page))
        BAD(page, "%u blocks wait, but %u are counted", remote_blocks, waiting);
    if (page->fast.frees_left == 0 ||
        (page->fast.frees_left > 1 && !page->counted &&
         page->fast.frees_left > page_used(page) && !closed &&
         page_state(page) != PAGE_FREE))
        BAD(page, "%u more frees until it is looked at", page->fast.frees_left);
    if (closed && waiting == page_used(page))
        BAD(page, "empty, but in its list still");
    if (MEMORY_GUARD && page->kind == GYRE_PAGE_RAW && !tally->raw_threads)
        check_used(page, &seen);
}

static void
check_owner(const struct page *page)
{
    struct gyre_thread *owner = gyre_load_relaxed(&page->fast.owner);
    enum page_state state = page_state(page);
    bool named = owner_plain(owner) != NULL;
    bool tagged = owner != owner_plain(owner);
    if ((state == PAGE_CURRENT || state == PAGE_AVAILABLE ||
         state == PAGE_SPARSE) &&
        (!named || tagged))
        BAD(page, "open, but its owner is %p", (void *)owner);
    if (state == PAGE_RETURNED && (!named || !tagged))
        BAD(page, "closed, but its owner is %p", (void *)owner);
    if (state == PAGE_FULL && named != tagged)
        BAD(page, "full, but its owner is %p", (void *)owner);
    if ((state == PAGE_ABANDONED || state == PAGE_LARGE ||
         state == PAGE_INTERIOR || state == PAGE_RETIRING) &&
        owner != NULL)
        BAD(page, "nobody's, but its owner is %p", (void *)owner);
    if (state == PAGE_CURRENT &&
        *memory_current(owner, page_alloc_index(page)) != &page->fast)
        BAD(page, "not its owner's current page");
}

static void
check_span(const struct page *page)
{
    const struct segment *segment = segment_of(page);
    unsigned first = page_index(page), i;
    if (page->head != page ||
        (page->span_pages != 0 && page->blocks != page_start(page)) ||
        page_of(page->blocks) != page)
        BAD(page, "no first page");
    if (page->size_class != PAGE_CLASS_LARGE &&
        page->span_pages != page_span_of_class(page->size_class))
        BAD(page, "a span of %d pages", page->span_pages);
    for (i = 1; i < page->span_pages; i++) {
        const struct page *member = segment_page(segment, first + i);
        if (page_state(member) != PAGE_INTERIOR || member->head != page)
            BAD(page, "page %u of its span is not inside it", i);
    }
}

static bool
is_restless(const struct page *page, const struct tally *tally)
{
    return tally->raw_threads && gyre_page_is_restless(page);
}

static void
check_page(const struct page *page, struct tally *tally)
{
    enum page_state state = page_state(page);
    tally->of[state]++;
    if (state == PAGE_INTERIOR)
        return;
    if (page_has_blocks(page))
        tally->noted[page->kind] += page->noted_used;
    check_span(page);
    check_owner(page);
    if (page->kind != GYRE_PAGE_CONTAINER && page_stamps(page) != 0)
        BAD(page, "stamps in a page without containers");
    switch (state) {
    case PAGE_LARGE:
        if (page_used(page) != 1)
            BAD(page, "a large block that is not in use");
        if (MEMORY_GUARD && page->kind == GYRE_PAGE_RAW)
            gyre_guard_check_used(page, page->blocks, "gyre_heap_check");
        break;
    case PAGE_RETIRING:
        if (page_used(page) != 0)
            BAD(page, "retires with blocks in use");
        break;
    default:
        check_small(page,
                    state == PAGE_FULL || state == PAGE_RETURNED ||
                        state == PAGE_ABANDONED,
                    tally);
    }
}

static void
check_segment(const struct segment *segment, const struct gyre_heap *heap,
              struct tally *tally)
{
    uint64_t free_pages = segment->free_pages;
    bool alone = page_state(segment_page(segment, 1)) != PAGE_INTERIOR &&
                 (free_pages & 2) == 0 &&
                 segment_page(segment, 1)->span_pages == 0;
    unsigned i;
    GYRE_CHECK(segment->heap == heap && segment_of(segment) == segment,
               "memory check: segment %p is not this heap's",
               (const void *)segment);
    tally->segments++;
    tally->bytes += segment->bytes;
    if (alone) {
        GYRE_CHECK(free_pages == 0, "memory check: mapping %p has free pages",
                   (const void *)segment);
        if (!is_restless(segment_page(segment, 1), tally))
            check_page(segment_page(segment, 1), tally);
        return;
    }
    GYRE_CHECK((free_pages & 1) == 0,
               "memory check: segment %p: its records' page is free",
               (const void *)segment);
    tally->free_dirty +=
        (uint64_t)__builtin_popcountll(free_pages & segment->dirty_pages);
    tally->free_segments +=
        free_pages == SEGMENT_ALL_PAGES && segment->node != MEMORY_SPARES;
    if (segment->node == MEMORY_SPARES)
        tally->spare_bytes += segment->bytes;
    tally->roomy += free_pages != 0;
    tally->idle += segment_returnable(segment) != 0;
    GYRE_CHECK(gyre_segment_is_mapped(segment),
               "memory check: segment %p is not in the map",
               (const void *)segment);
    for (i = 1; i < GYRE_SEGMENT_PAGES; i++) {
        const struct page *page = segment_page(segment, i);
        if (free_pages >> i & 1) {
            if (page_state(page) != PAGE_FREE)
                BAD(page, "in use, but in its segment's free set");
        } else if (is_restless(page, tally)) {
            continue;
        } else if (page_state(page) == PAGE_FREE) {
            if (page_used(page) != 0)
                BAD(page, "cached with blocks in use");
            check_small(page, false, tally);
            tally->cached++;
            i += page->span_pages - 1u;
        } else {
            check_page(page, tally);
        }
    }
}

/* ---- lists ---- */

/* Count a list whose pages are all in `state` and, unless it is
 * GYRE_ALLOC_INDEXES, of one index. */
static uint64_t
check_list(const struct page *list, enum page_state state, uint32_t index,
           const struct gyre_thread *owner)
{
    const struct page *page, *before = NULL;
    uint64_t length = 0;
    for (page = list; page != NULL; before = page, page = page->next) {
        length++;
        if (page->prev != before)
            BAD(page, "the list it is in is broken");
        if (page_state(page) != state)
            BAD(page, "in a list of pages in state %d", (int)state);
        if (index != GYRE_ALLOC_INDEXES && page_alloc_index(page) != index)
            BAD(page, "in the list of index %u", index);
        if (owner_plain(gyre_load_relaxed(&page->fast.owner)) != owner)
            BAD(page, "in a list of thread %p", (const void *)owner);
    }
    return length;
}

/* Empty pages that a thread keeps, listed or current, as they are. */
struct kept {
    uint64_t pages, blocks, of_class; /* with those counted */
    uint64_t empty_pages, empty_of;
};

static void
keep(struct kept *kept, const struct page *page, uint64_t count, bool empty)
{
    kept->pages += count * page->span_pages;
    kept->blocks += count * page->capacity;
    kept->of_class += count;
    if (empty) {
        kept->empty_pages += count * page->span_pages;
        kept->empty_of += count;
    }
}

/* What is kept of one index, and that no limit says otherwise. */
static void
check_kept(struct gyre_thread *self, uint32_t index, uint64_t listed,
           struct kept *kept)
{
    const struct memory_thread *thread = &mutator_of(self)->memory;
    const struct gyre_page *current = *memory_current(self, index);
    const struct page *page = (const struct page *)current;
    kept->of_class = kept->empty_of = 0;
    if (listed > 0)
        keep(kept, thread->empty[index], listed, true);
    if (!page_is_none(current)) {
        if (page->counted)
            keep(kept, page, 1, page->known_empty);
        else if (page_used(page) == 0 &&
                 thread->epoch == self->heap->memory.epoch)
            BAD(page, "current, empty, and not counted");
        else if (page->known_empty)
            keep(kept, page, 0, true);
    }
    GYRE_CHECK(kept->of_class == thread->kept_of[index],
               "memory check: thread %p keeps %llu pages of index %u, "
               "but counts %u",
               (void *)self, (unsigned long long)kept->of_class, index,
               thread->kept_of[index]);
}

static void
check_thread(struct mutator *mutator, struct tally *tally)
{
    struct gyre_thread *self = &mutator->fast;
    struct memory_thread *thread = &mutator->memory;
    struct kept kept = {.pages = 0};
    uint32_t index;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++) {
        uint64_t pages =
            check_list(thread->empty[index], PAGE_FREE, index, self);
        tally->of[PAGE_AVAILABLE] -=
            check_list(thread->available[index], PAGE_AVAILABLE, index, self);
        tally->of[PAGE_SPARSE] -=
            check_list(thread->sparse[index], PAGE_SPARSE, index, self);
        tally->of[PAGE_CURRENT] -= !page_is_none(*memory_current(self, index));
        tally->cached -= pages;
        check_kept(self, index, pages, &kept);
    }
    GYRE_CHECK(kept.pages == thread->kept_pages &&
                   kept.blocks == thread->kept_blocks,
               "memory check: thread %p keeps %llu pages, but counts %llu",
               (void *)self, (unsigned long long)kept.pages,
               (unsigned long long)thread->kept_pages);
    /* relaxed: the scavenger may raise it meanwhile */
    GYRE_CHECK(thread->epoch != gyre_load_relaxed(&self->heap->memory.epoch) ||
                   kept.pages << GYRE_PAGE_SHIFT <=
                       heap_option(self->heap, GYRE_OPT_MEMORY_THREAD_CACHE),
               "memory check: thread %p keeps %llu pages, over its limit",
               (void *)self, (unsigned long long)kept.pages);
    tally->of[PAGE_FULL] -=
        check_list(thread->full, PAGE_FULL, GYRE_ALLOC_INDEXES, self);
    tally->of[PAGE_RETURNED] -=
        check_list(thread->returned, PAGE_RETURNED, GYRE_ALLOC_INDEXES, self);
    GYRE_CHECK(thread->returned == NULL ||
                   gyre_load_relaxed(&thread->has_returned) != 0,
               "memory check: thread %p is not told of returned pages",
               (void *)self);
}

/* Of a thread that no stop waits for, what changes under the lock. */
static void
check_raw_thread(const struct mutator *mutator, struct tally *tally)
{
    const struct gyre_thread *self = &mutator->fast;
    const struct memory_thread *thread = &mutator->memory;
    tally->of[PAGE_FULL] -=
        check_list(thread->full, PAGE_FULL, GYRE_ALLOC_INDEXES, self);
    tally->of[PAGE_RETURNED] -=
        check_list(thread->returned, PAGE_RETURNED, GYRE_ALLOC_INDEXES, self);
}

static void
check_heap_lists(struct memory_heap *memory, struct tally *tally)
{
    const struct segment *segment;
    uint32_t index;
    unsigned node;
    for (index = 0; index < GYRE_ALLOC_INDEXES; index++)
        tally->of[PAGE_ABANDONED] -=
            check_list(memory->abandoned[index], PAGE_ABANDONED, index, NULL);
    tally->of[PAGE_FULL] -=
        check_list(memory->abandoned_full, PAGE_FULL, GYRE_ALLOC_INDEXES, NULL);
    check_list(memory->retiring, PAGE_RETIRING, GYRE_ALLOC_INDEXES, NULL);
    for (node = 0; node <= MEMORY_SPARES; node++) {
        const struct segment_lists *lists = &memory->nodes[node];
        for (segment = lists->roomy; segment != NULL;
             segment = segment->next_roomy)
            tally->roomy--;
        for (segment = lists->idle; segment != NULL;
             segment = segment->next_idle)
            tally->idle--;
    }
}

static void
check_zero(const struct tally *tally, enum page_state state, const char *name)
{
    GYRE_CHECK(tally->of[state] == 0,
               "memory check: %lld %s pages are in no list",
               (long long)tally->of[state], name);
}

void
gyre_memory_check(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct tally tally = {.cached = 0};
    struct segment *segment;
    struct participant *part;
    struct mutator *raw;
    unsigned kind;
    gyre_scavenger_pause(heap);
    /* Where there ever was one: none attaches or leaves meanwhile, or opens
     * or closes a page. acquire; pairs: list_new() */
    tally.raw_threads = gyre_load_acquire(&heap->raw.all) != NULL;
    if (tally.raw_threads) {
        pthread_mutex_lock(&heap->raw.lock);
        pthread_mutex_lock(&memory->page_lock);
    }
    for (segment = segment_first(memory); segment != NULL;
         segment = segment_next(segment))
        check_segment(segment, heap, &tally);
    check_heap_lists(memory, &tally);
    /* acquire; pairs: gyre_world_enter(). Those listed are made. */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next)
        check_thread(mutator_of_part(part), &tally);
    for (raw = gyre_load_relaxed(&heap->raw.all); raw != NULL;
         raw = raw->next_raw)
        check_raw_thread(raw, &tally);
    check_zero(&tally, PAGE_CURRENT, "current");
    check_zero(&tally, PAGE_AVAILABLE, "available");
    check_zero(&tally, PAGE_SPARSE, "sparse");
    check_zero(&tally, PAGE_FULL, "full");
    check_zero(&tally, PAGE_RETURNED, "returned");
    check_zero(&tally, PAGE_ABANDONED, "abandoned");
    GYRE_CHECK(tally.cached == 0, "memory check: %lld cached pages are lost",
               (long long)tally.cached);
    GYRE_CHECK(tally.roomy == 0,
               "memory check: %lld segments with free pages "
               "are not listed",
               (long long)tally.roomy);
    GYRE_CHECK(tally.idle == 0,
               "memory check: %lld segments with something to return are not "
               "listed",
               (long long)tally.idle);
    GYRE_CHECK(tally.free_dirty == memory->cached_pages,
               "memory check: %llu free pages have memory, %llu are counted",
               (unsigned long long)tally.free_dirty,
               (unsigned long long)memory->cached_pages);
    for (kind = 0; kind < GYRE_PAGE_KINDS; kind++) /* relaxed: in a stop */
        GYRE_CHECK(tally.noted[kind] == gyre_counts_blocks(heap, kind) ||
                       (kind == GYRE_PAGE_RAW && tally.raw_threads),
                   "memory check: %llu blocks of kind %u are noted",
                   (unsigned long long)tally.noted[kind], kind);
    GYRE_CHECK(tally.spare_bytes == memory->spare_bytes,
               "memory check: %llu bytes of mappings are spare, %llu are "
               "counted",
               (unsigned long long)tally.spare_bytes,
               (unsigned long long)memory->spare_bytes);
    GYRE_CHECK(tally.free_segments == memory->free_segments,
               "memory check: %llu segments are free, %llu are counted",
               (unsigned long long)tally.free_segments,
               (unsigned long long)memory->free_segments);
    /* relaxed: nobody maps anything in a stop */
    GYRE_CHECK(tally.bytes <= gyre_load_relaxed(&memory->mapped),
               "memory check: more is mapped than counted");
    if (tally.raw_threads) {
        pthread_mutex_unlock(&memory->page_lock);
        pthread_mutex_unlock(&heap->raw.lock);
    }
    gyre_scavenger_resume(heap);
}
