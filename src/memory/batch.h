/* Frees gathered by page: blocks of one page that is not the caller's own go
 * back in one push. Whoever frees many in a row keeps a batch for as long,
 * and flushes it before anybody could miss the blocks.
 * Design: docs/design/memory.md .mem.remote */
#ifndef GYRE_SRC_MEMORY_BATCH_H
#define GYRE_SRC_MEMORY_BATCH_H

#include "memory.h"

struct free_batch {
    struct page *page;
    void *first, *last;
    uint32_t count; /* 0: empty, the others undefined */
};

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
    /* relaxed: the block is dead; a stray reader needs a defined value */
    gyre_store_relaxed((uint64_t *)block, (uint64_t)GYRE_LINK_END);
    if (batch->count == 0) {
        batch->page = page;
        batch->first = block;
    } else {
        gyre_store_relaxed((uint64_t *)batch->last,
                           (uint64_t)(uintptr_t)block + 1);
    }
    batch->last = block;
    batch->count++;
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
