/* A page's blocks and its place in lists. Design: docs/design/memory.md .mem */
#ifndef GYRE_SRC_MEMORY_PAGE_H
#define GYRE_SRC_MEMORY_PAGE_H

#include "memory.h"
#include "os.h"
#include "segment.h"

static inline enum page_state
page_state(const struct page *page)
{
    /* acquire; pairs: page_set_state(). Who relies on the state holds the
     * page lock, is the owner, or has the world stopped; but a walk in a stop
     * meets pages that a raw thread is formatting. */
    return (enum page_state)gyre_load_acquire(&page->state);
}

/* For whoever walks over pages of raw threads, which no stop waits for. */
static inline enum gyre_page_kind
page_kind(const struct page *page)
{
    /* relaxed: whoever relies on it has read the state that came after it */
    return (enum gyre_page_kind)gyre_load_relaxed(&page->kind);
}

/* Some of its blocks may be in use. */
static inline bool
page_has_blocks(const struct page *page)
{
    enum page_state state = page_state(page);
    return state != PAGE_FREE && state != PAGE_INTERIOR &&
           state != PAGE_RETIRING;
}

static inline void
page_set_state(struct page *page, enum page_state state)
{
    /* release; pairs: page_state(). Its kind and owner are those of the state
     * or of a later one. */
    gyre_store_release(&page->state, (uint8_t)state);
}

static inline void
page_set_owner(struct page *page, struct gyre_thread *owner)
{
    /* release; pairs: gyre_remote_push(). A thread finds its own name here only
     * if it put it here itself; any other value means one thing to it,
     * another's, but to who looks at that other's record. */
    gyre_store_release(&page->fast.owner, owner);
}

/* No page to allocate from. NULL in a record that was never a thread's. */
static inline bool
page_is_none(const struct gyre_page *page)
{
    return page == &gyre_page_none || page == NULL;
}

static inline uint32_t
page_alloc_index(const struct page *page)
{
    return gyre_alloc_index((enum gyre_page_kind)page->kind, page->size_class);
}

/* The system's pages that bytes `from` to `last` of a span lie in. */
static inline uint64_t
page_system_pages(size_t from, size_t last)
{
    unsigned first = (unsigned)(from / OS_PAGE_BYTES);
    unsigned count = (unsigned)(last / OS_PAGE_BYTES) - first + 1;
    return (~UINT64_C(0) >> (64 - count)) << first;
}

/* Those that block `index` touches. Not for large blocks. */
static inline uint64_t
page_block_touches(const struct page *page, uint32_t index)
{
    size_t from = (size_t)index * page->fast.block_size;
    return page_system_pages(from, from + page->fast.block_size - 1);
}

/* Whether the block is free since the page was trimmed, and on no list. */
static inline bool
page_is_hole(const struct page *page, uint32_t index)
{
    return page->purged != 0 &&
           (page_block_touches(page, index) & page->purged) != 0;
}

/* Has a block to give, on its own list or never used before, or trimmed. */
static inline bool
page_has_room(const struct page *page)
{
    return page->fast.free != GYRE_LINK_END || page->fresh < page->capacity ||
           page->purged != 0;
}

/* List heads are stored atomically, as those of abandoned pages are read
 * without the lock, as a hint. */
static inline void
page_list_push(struct page **list, struct page *page)
{
    page->prev = NULL;
    page->next = *list;
    if (page->next != NULL)
        page->next->prev = page;
    gyre_store_relaxed(list, page); /* relaxed: the list has its own lock */
}

static inline void
page_list_remove(struct page **list, struct page *page)
{
    if (page->next != NULL)
        page->next->prev = page->prev;
    if (page->prev != NULL)
        page->prev->next = page->next;
    else
        gyre_store_relaxed(list, page->next); /* relaxed: as above */
    page->next = page->prev = NULL;
}

/* Pages that a block of a small class lives in. */
static inline unsigned
page_span_of_class(uint32_t size_class)
{
    return gyre_class_bytes(size_class) <= 8192 ? 1 : 4;
}

/* Make blocks of one kind and class of a span that holds none. */
void gyre_page_format(struct page *page, enum gyre_page_kind kind,
                      uint32_t size_class);
/* The same for one block of a span or a mapping alone. */
void gyre_page_format_large(struct page *page, enum gyre_page_kind kind);
/* Link some blocks that were trimmed, or never used. False: there are none.
 */
bool gyre_page_extend(struct page *page);
/* The blocks of an empty page, which may be linked in any order, are to be
 * linked anew as they are taken, in theirs. The owner. */
void gyre_page_relink(struct page *page);
/* Count births and deaths since the last time, for `self` (the page's owner,
 * or who found it closed, under the page lock). */
void gyre_page_note(struct gyre_thread *self, struct page *page);

/* Whether a raw thread may be changing the page now, without the page lock,
 * which the caller holds, in a stop: an open one of its own, one on the way to
 * it or from it, or a part of a raw block with a span of its own; and inside of
 * any span. */
bool gyre_page_is_restless(const struct page *page);

static inline bool
page_has_stale_readers(const struct page *page)
{
    /* relaxed: an object's flag was set before its death, which this thread
     * saw */
    return page->kind != GYRE_PAGE_RAW &&
           gyre_load_relaxed(&page->stale_readers) != 0;
}

/* Whether an empty page waits for a grace period, or for the end of an open
 * collection, before it changes. */
bool gyre_page_needs_grace(struct gyre_heap *heap, const struct page *page);
/* An empty page that is in no list and nobody's: to the heap, or to what
 * waits for a grace period. Not under the page lock. */
void gyre_page_dispose(struct gyre_heap *heap, struct page *page);
/* The same for several of small classes, chained by `next`. */
void gyre_page_dispose_list(struct gyre_heap *heap, struct page *list);

/* cache.c: take a page out of the list its state says. Page lock held for
 * all but AVAILABLE. */
void gyre_page_unlist(struct gyre_heap *heap, struct page *page);

#endif
