/* The empty pages a thread keeps, within limits.
 * Design: docs/design/memory.md .mem.cache */
#ifndef GYRE_SRC_MEMORY_CACHE_H
#define GYRE_SRC_MEMORY_CACHE_H

#include "memory.h"

/* Keep an empty page of the thread's that is in no list. False: that would
 * be over a limit, and nothing is changed. */
bool gyre_cache_put(struct gyre_thread *self, struct page *page);
/* A kept page of that index, or one of another that may be formatted anew;
 * NULL: none. */
struct page *gyre_cache_take(struct gyre_thread *self, uint32_t index);
struct page *gyre_cache_take_other(struct gyre_thread *self,
                                   unsigned span_pages);
/* Give up the thread's empty pages. True when there were any. */
bool gyre_cache_flush(struct gyre_thread *self);

/* A page became current, or was looked at while it is: see whether it counts
 * against the limits, and how many frees may go by until it has to be looked
 * at again. False: it is empty, over a limit, and to be given up. */
bool gyre_cache_count_current(struct gyre_thread *self, struct page *page);
/* A current page is none any more. */
void gyre_cache_forget_current(struct gyre_thread *self, struct page *page);
/* See which current pages are empty, for statistics. The owner, or in a
 * stop. */
void gyre_cache_look(struct gyre_thread *self);
/* Do what changed since the thread last looked at the heap's epoch. */
void gyre_cache_catch_up(struct gyre_thread *self);

/* Whether the heap asks something of its threads. The owner. */
static inline bool
cache_is_behind(const struct memory_heap *memory,
                const struct memory_thread *thread)
{
    /* relaxed: a hint; read with acquire by gyre_cache_catch_up() */
    return gyre_load_relaxed(&memory->epoch) != thread->epoch;
}

#endif
