/* Segments and their free pages: the heap's side, under the page lock, which
 * the functions here take themselves unless they say that it is held.
 * Design: docs/design/memory.md .mem */
#ifndef GYRE_SRC_MEMORY_SEGMENT_H
#define GYRE_SRC_MEMORY_SEGMENT_H

#include "memory.h"

/* The most pages a span may have: blocks up to 2 MiB. */
#define SEGMENT_SPAN_MAX 32u
#define SEGMENT_ALL_PAGES (~UINT64_C(1)) /* but the records' */
/* In a set of what may be returned: the segment as a whole is free. */
#define SEGMENT_WHOLE UINT64_C(1)

static inline unsigned char *
page_start(const struct page *page)
{
    return (unsigned char *)segment_of(page) +
           (size_t)page_index(page) * GYRE_PAGE_BYTES;
}

/* `pages` pages in a row, from the heap's free ones or a new segment; the
 * record of the first, not formatted, with `reused` set. NULL: no memory. */
struct page *gyre_segment_take(struct gyre_heap *heap, unsigned pages);
/* The same, from a page whose number is a multiple of `step`, a power of two
 * up to SEGMENT_SPAN_MAX. */
struct page *gyre_segment_take_aligned(struct gyre_heap *heap, unsigned pages,
                                       unsigned step);
/* The same pages back, once nobody can reach their blocks. Not under the
 * page lock. */
void gyre_segment_give(struct gyre_heap *heap, struct page *page);
/* The same for several, chained by `next`, none of them a mapping alone. */
void gyre_segment_give_list(struct gyre_heap *heap, struct page *list);
/* A mapping alone that was freed and kept, of `bytes` or somewhat more: the
 * record of its only page, not formatted, with `reused` set. NULL: none. */
struct page *gyre_segment_take_spare(struct gyre_heap *heap, size_t bytes);
/* Make a span of a large block longer or shorter where it is. False: the
 * pages behind it are in use, or a collection is open. */
bool gyre_segment_resize(struct gyre_heap *heap, struct page *page,
                         unsigned pages);
/* Bytes for blocks from the page's start: of its span or mapping. */
size_t gyre_segment_span_bytes(const struct page *page);
/* Unmap what holds no block. True when that was anything. */
bool gyre_segment_trim(struct gyre_heap *heap);

/* Pages of a span that nobody can reach. Not under the page lock. */
void gyre_segment_give_pages(struct gyre_heap *heap, struct segment *segment,
                             unsigned first, unsigned pages);

/* Mappings alone come and go. Page lock held. */
void gyre_segment_link(struct memory_heap *memory, struct segment *segment);
void gyre_segment_unlink(struct memory_heap *memory, struct segment *segment);
/* A new segment for `heap` in a mapping of so many bytes, that is in no list
 * yet; false: no memory for the map of segments. And the end of one that is
 * in no list any more. */
bool gyre_segment_init(struct gyre_heap *heap, struct segment *segment,
                       size_t bytes);
void gyre_segment_unmap(struct gyre_heap *heap, struct segment *segment);

/* Pages `first` to `first + pages - 1`. */
static inline uint64_t
segment_mask(unsigned first, unsigned pages)
{
    return ((UINT64_C(1) << pages) - 1) << first;
}

/* `hands` of those who call the system without the lock. Page lock held. */
static inline void
segment_hands_add(struct memory_heap *memory)
{
    memory->scavenger.hands++;
}

static inline void
segment_hands_drop(struct memory_heap *memory)
{
    if (--memory->scavenger.hands == 0)
        pthread_cond_broadcast(&memory->scavenger.settled);
}

/* What the scavenger does with segments. Page lock held. */

/* Pages that are free and have memory, and SEGMENT_WHOLE. */
static inline uint64_t
segment_returnable(const struct segment *segment)
{
    uint64_t pages = segment->free_pages & segment->dirty_pages;
    return segment->free_pages == SEGMENT_ALL_PAGES ? pages | SEGMENT_WHOLE
                                                    : pages;
}

/* Bytes of empty pages that the heap keeps, and segments with nothing else as
 * a whole. */
static inline bool
segment_keeps_over(const struct memory_heap *memory, uint64_t limit)
{
    return (memory->cached_pages << GYRE_PAGE_SHIFT) + memory->spare_bytes >
               limit ||
           memory->free_segments * GYRE_SEGMENT_BYTES + memory->spare_bytes >
               limit;
}

/* Change the two sets, and all lists and counters that follow from them. */
void gyre_segment_set(struct memory_heap *memory, struct segment *segment,
                      uint64_t free_pages, uint64_t dirty_pages);
/* The segment waits anew, behind all that are idle. */
void gyre_segment_to_last(struct memory_heap *memory, struct segment *segment);
/* Give the memory of some free pages to the system. Unlocks meanwhile. Bytes.
 */
uint64_t gyre_segment_purge(struct gyre_heap *heap, struct segment *segment,
                            uint64_t pages);
/* Unmap a segment with nothing but free pages. Unlocks meanwhile. Bytes. */
uint64_t gyre_segment_return(struct gyre_heap *heap, struct segment *segment);

/* 64-KiB pages that a page's span or mapping counts as. */
static inline uint64_t
span_page_count(const struct page *page)
{
    return gyre_segment_span_bytes(page) >> GYRE_PAGE_SHIFT;
}

/* ---- arena.c: memory for one segment, counted as mapped ---- */

void *gyre_arena_segment(struct gyre_heap *heap);
/* The heap ends. */
void gyre_arena_end(struct gyre_heap *heap);

/* ---- map.c: where segments are, in the whole process ---- */

/* False: no memory for the map. */
bool gyre_map_set(const struct segment *segment);
void gyre_map_clear(const struct segment *segment);
/* Whether `address` lies in a segment, or in the first 4 MiB of a mapping
 * alone, of any heap: where blocks begin, and page records can be read. Any
 * thread, at any time, any address. Of a segment that is mapped or unmapped
 * meanwhile it says the one or the other. */
bool gyre_segment_is_mapped(const void *address);

#endif
