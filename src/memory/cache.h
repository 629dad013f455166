/* What a thread keeps of pages, per size class and in all.
 * Design: docs/design/memory.md .mem.cache */
#ifndef GYRE_SRC_MEMORY_CACHE_H
#define GYRE_SRC_MEMORY_CACHE_H

#include "memory.h"
#include "remote.h"

/* Free blocks into a page that is the caller's own but closed: brings the
 * page back when that is worth it. */
void gyre_cache_free_closed(struct gyre_thread *self, struct page *page,
                            struct block_chain chain);
/* Give up the thread's empty pages. True when there were any. */
bool gyre_cache_flush(struct gyre_thread *self);

#endif
