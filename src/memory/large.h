/* Blocks with a span or a mapping alone. Design: docs/design/memory.md
 * .mem.large */
#ifndef GYRE_SRC_MEMORY_LARGE_H
#define GYRE_SRC_MEMORY_LARGE_H

#include "memory.h"

/* Free the block of a large page. Any thread. */
void gyre_large_free(struct gyre_thread *self, struct page *page);

#endif
