/* Frees gathered by page: blocks of one page that is not the caller's own go
 * back in one push. Whoever frees many in a row keeps a batch for as long,
 * and flushes it before anybody could miss the blocks.
 * Design: docs/design/memory.md .mem.remote */
#ifndef GYRE_SRC_MEMORY_BATCH_H
#define GYRE_SRC_MEMORY_BATCH_H

#include "../heap.h"

static inline void
free_batch_flush(struct gyre_thread *self, struct free_batch *batch)
{
    if (batch->count > 0)
        gyre_memory_free_chain(self, batch->page, batch->first, batch->last,
                               batch->count);
    batch->count = 0;
}

/* A small block of `page`; never into limbo. */
static inline void
free_batch_add(struct gyre_thread *self, struct free_batch *batch,
               struct page *page, void *block)
{
    if (batch->count > 0 && batch->page != page)
        free_batch_flush(self, batch);
    guard_gone(page, block);
    gyre_link_store(self, block, GYRE_LINK_END);
    if (batch->count == 0) {
        batch->page = page;
        batch->first = block;
    } else {
        gyre_link_store(self, batch->last, (uintptr_t)block + 1);
    }
    batch->last = block;
    batch->count++;
}

/* The thread's frees into a page of another's, from the second in a row on,
 * are gathered, so many at most, until the thread does anything else of
 * note: then call this. */
#define PENDING_MOST 64u

static inline void
memory_pending_flush(struct gyre_thread *self)
{
    if (mutator_of(self)->memory.pending.page != NULL)
        gyre_memory_pending_push(self);
}

/* Any dead block: at once where that is cheap or has to be, else by batch. */
static inline void
free_batch_block(struct gyre_thread *self, struct free_batch *batch,
                 void *block)
{
    struct gyre_page *record = gyre_page_record(block);
    /* relaxed: as in memory_block_free() */
    if (gyre_load_relaxed(&record->owner) == self->frees_to ||
        self->frees_to == GYRE_FREES_NOWHERE ||
        page_of(block)->size_class == PAGE_CLASS_LARGE)
        memory_block_free(self, block);
    else
        free_batch_add(self, batch, page_of(block), block);
}

#endif
