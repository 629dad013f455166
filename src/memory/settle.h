/* Pages that others free into while their owner does nothing with them.
 * Design: docs/design/memory.md .mem.settle */
#ifndef GYRE_SRC_MEMORY_SETTLE_H
#define GYRE_SRC_MEMORY_SETTLE_H

#include "remote.h"

/* Whether a push that changed the word so is one to tell of: the first since
 * the owner looked, or the first of each so many. */
#define SETTLE_BLOCKS_SHIFT 6

static inline bool
settle_is_due(uintptr_t old, uintptr_t new)
{
    uint32_t before = remote_count(old), after = remote_count(new);
    return before < REMOTE_CLOSED / 2 &&
           (before == 0 ||
            before >> SETTLE_BLOCKS_SHIFT != after >> SETTLE_BLOCKS_SHIFT);
}

/* Such a push was done to an open page of `owner`'s. Any thread; the page may
 * be gone. */
void gyre_settle_notice(struct gyre_thread *self, struct gyre_thread *owner);
/* Ask the heap's threads to look at their pages, if there was a push since
 * the last time. Any thread, attached or not; no lock held. */
void gyre_settle_ask(struct gyre_heap *heap);
/* What was asked. The owner, or who claimed it. */
void gyre_settle_thread(struct gyre_thread *self);

#endif
