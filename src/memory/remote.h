/* Frees by threads that do not own a page: the page's `remote_free` word.
 *
 * The word is a free list with a count above it, so that whoever takes the
 * list knows its length without walking it:
 *   bits 0-47   the first block plus one, or GYRE_LINK_END; bit 1 is
 *               REMOTE_NOTIFY
 *   bits 48-63  open page: blocks on the list. Closed page: REMOTE_CLOSED
 *               less the blocks that are still in use, so that the push
 *               that makes it REMOTE_CLOSED has freed the page's last block
 * A page is open while its owner frees into it (CURRENT, AVAILABLE, SPARSE),
 * closed in the other states with blocks (FULL, RETURNED, ABANDONED): then
 * `used` and the page's own free list stand still, and everybody pushes.
 * Design: docs/design/memory.md .mem.remote */
#ifndef GYRE_SRC_MEMORY_REMOTE_H
#define GYRE_SRC_MEMORY_REMOTE_H

#include "memory.h"

#define REMOTE_NOTIFY UINT64_C(2) /* FULL: who pushes brings the page back */
#define REMOTE_COUNT_SHIFT 48
#define REMOTE_COUNT_ONE (UINT64_C(1) << REMOTE_COUNT_SHIFT)
#define REMOTE_COUNT_MASK (~(REMOTE_COUNT_ONE - 1))
#define REMOTE_CLOSED 0x8000u
GYRE_STATIC_ASSERT(sizeof(uintptr_t) == 8, "48 bits of address, 16 of count");
GYRE_STATIC_ASSERT(GYRE_PAGE_BYTES / 16 < REMOTE_CLOSED,
                   "open and closed counts do not meet");

static inline uint32_t
remote_count(uintptr_t word)
{
    return (uint32_t)(word >> REMOTE_COUNT_SHIFT);
}

static inline uintptr_t
remote_link(uintptr_t word)
{
    return word & ~(REMOTE_COUNT_MASK | REMOTE_NOTIFY);
}

static inline uintptr_t
remote_word(uint32_t count, uintptr_t link)
{
    return ((uintptr_t)count << REMOTE_COUNT_SHIFT) | link;
}

/* The owner's name in `owner` while the page is closed: not equal to any
 * thread's frees_to, so that it too takes the way through here. */
static inline struct gyre_thread *
owner_closed(struct gyre_thread *owner)
{
    return (struct gyre_thread *)((uintptr_t)owner | 1);
}

static inline struct gyre_thread *
owner_plain(struct gyre_thread *owner)
{
    return (struct gyre_thread *)((uintptr_t)owner & ~(uintptr_t)1);
}

/* Frees by its owner after which an open page may be empty; at least 1. */
static inline uint32_t
page_frees_to_empty(const struct page *page)
{
    /* relaxed: it may be more at once, and the page is empty sooner */
    uint32_t waiting = remote_count(gyre_load_relaxed(&page->remote_free));
    uint32_t used = page_used(page);
    return used > waiting ? used - waiting : 1;
}

/* A list of one page's blocks. */
struct block_chain {
    void *first, *last;
    uint32_t count;
};

/* Free blocks into a page that the caller does not own openly. */
void gyre_remote_push(struct gyre_thread *self, struct page *page,
                      struct block_chain chain);
/* Move what waits on the remote list to the page's own free list. The owner
 * of an open page. True when there was something. */
bool gyre_remote_take(struct page *page);
/* Close an open page with blocks in use, whose remote list is empty; with
 * `notify` (REMOTE_NOTIFY or 0). Its owner, page lock held. False: something
 * was freed meanwhile, and the page is open as before. */
bool gyre_remote_close(struct page *page, uintptr_t notify);
/* Open a closed page for its new owner, or as an empty page for nobody. Page
 * lock held. */
void gyre_remote_open(struct page *page);
/* Blocks of a closed page that are free but for being taken, as of now. Its
 * owner, or the page lock held. */
uint32_t gyre_remote_waiting(const struct page *page);

#endif
