/* Blocks with a span or a mapping alone. Design: docs/design/memory.md
 * .mem.large */
#ifndef GYRE_SRC_MEMORY_LARGE_H
#define GYRE_SRC_MEMORY_LARGE_H

#include "memory.h"

/* The most that a block's address may be a multiple of. */
#define LARGE_ALIGNMENT_MAX (UINT64_C(2) << 20)

/* gyre_memory_alloc_large() at a multiple of `alignment`, a power of two up
 * to LARGE_ALIGNMENT_MAX; of any size. */
void *gyre_large_alloc_aligned(struct gyre_thread *self,
                               enum gyre_page_kind kind, size_t size,
                               size_t alignment, bool *zeroed);
/* Free the block of a large page. Any thread. */
void gyre_large_free(struct gyre_thread *self, struct page *page);
/* Bytes for the block of a large page. */
size_t gyre_large_bytes(const struct page *page);
/* Make a raw block of a large page longer or shorter, for a size over
 * GYRE_SMALL_MAX, without copying it: the block, perhaps at another place, or
 * NULL when that can't be. Whoever has the block. */
void *gyre_large_resize(struct gyre_heap *heap, struct page *page, size_t size);

#endif
