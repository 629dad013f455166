/* A page's blocks and its place in lists. Design: docs/design/memory.md .mem */
#ifndef GYRE_SRC_MEMORY_PAGE_H
#define GYRE_SRC_MEMORY_PAGE_H

#include "memory.h"
#include "segment.h"

static inline enum page_state
page_state(const struct page *page)
{
    /* relaxed: who relies on the state holds the page lock, is the owner, or
     * has the world stopped */
    return (enum page_state)gyre_load_relaxed(&page->state);
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
    /* relaxed: see page_state() */
    gyre_store_relaxed(&page->state, (uint8_t)state);
}

static inline void
page_set_owner(struct page *page, struct gyre_thread *owner)
{
    /* relaxed: a thread finds its own name here only if it put it here
     * itself; any other value means one thing to it, another's */
    gyre_store_relaxed(&page->fast.owner, owner);
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

/* Has a block to give, on its own list or never used before. */
static inline bool
page_has_room(const struct page *page)
{
    return page->fast.free != GYRE_LINK_END || page->fresh < page->capacity;
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
/* Link some blocks that were never used. False: there are none. */
bool gyre_page_extend(struct page *page);
/* Count births and deaths since the last time, for `self` (the page's owner,
 * or who found it closed, under the page lock). */
void gyre_page_note(struct gyre_thread *self, struct page *page);

/* Whether an empty page waits for a grace period before it changes. */
bool gyre_page_needs_grace(struct gyre_heap *heap, const struct page *page);
/* An empty page that is in no list and nobody's: to the heap, or to what
 * waits for a grace period. Not under the page lock. */
void gyre_page_dispose(struct gyre_heap *heap, struct page *page);

/* cache.c: take a page out of the list its state says. Page lock held for
 * all but AVAILABLE. */
void gyre_page_unlist(struct gyre_heap *heap, struct page *page);

#endif
