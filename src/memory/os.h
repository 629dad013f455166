/* The only calls to the system for memory, and the hard limit on them. Any
 * thread. Design: docs/design/memory.md .mem.limit */
#ifndef GYRE_SRC_MEMORY_OS_H
#define GYRE_SRC_MEMORY_OS_H

#include "memory.h"

/* The system's page size that lengths are rounded up to. */
#define OS_PAGE_BYTES UINT64_C(4096)

/* Zeroed memory whose address is a multiple of GYRE_SEGMENT_BYTES, or any
 * zeroed memory; NULL when the system or the hard limit says no. `bytes` is
 * a multiple of OS_PAGE_BYTES. */
void *gyre_os_map_aligned(struct gyre_heap *heap, size_t bytes);
void *gyre_os_map(struct gyre_heap *heap, size_t bytes);
void gyre_os_unmap(struct gyre_heap *heap, void *address, size_t bytes);
/* For tests: of the mapping calls to come, of any heap, `after` succeed if
 * they can, and the `count` that follow fail as if the system said no. */
void gyre_os_inject_failures(uint32_t after, uint32_t count);
/* Ask for the system's large pages, for a mapping that will be used at random
 * and whole. A hint: without effect where there are none. */
#define OS_HUGE_PAGE_BYTES (UINT64_C(2) << 20)
void gyre_os_prefer_huge(void *address, size_t bytes);
/* Give the memory back and keep the addresses, which then read as zero. */
void gyre_os_purge(void *address, size_t bytes);

#endif
