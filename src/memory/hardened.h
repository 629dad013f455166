/* What hardened builds add: pages that end in one that can't be touched, a
 * secret for links, blocks in no order. Nothing in other builds.
 * Design: docs/design/memory.md .mem.hardened */
#ifndef GYRE_SRC_MEMORY_HARDENED_H
#define GYRE_SRC_MEMORY_HARDENED_H

#include "os.h"
#include "segment.h"

/* Bytes at the end of a page or span of small blocks that hold none. */
#define HARDENED_GUARD (GYRE_HARDENED ? OS_PAGE_BYTES : 0)

/* Bytes for blocks of a page or span of small blocks. */
static inline size_t
page_room_bytes(const struct page *page)
{
    return gyre_segment_span_bytes(page) - HARDENED_GUARD;
}

/* A secret for a heap. False: the system has none to give. */
bool gyre_hardened_secret(uint64_t *secret);
/* From here on the guard can't be touched, or can. Where the system has no
 * place for so many pieces of a mapping a page goes without. */
void gyre_hardened_guard(struct page *page);
void gyre_hardened_unguard(struct page *page);
/* The end of a segment's page 0, behind records and the collector's tables. */
void gyre_hardened_guard_records(struct segment *segment);
/* `count` numbers, in an order that follows from the secret. */
void gyre_hardened_shuffle(const struct page *page, uint16_t *numbers,
                           uint32_t count);

#endif
