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
/* The same when the heap ends with blocks in use. Memcheck names them when the
 * process ends, so that nothing else may come to their addresses then. */
void gyre_os_unmap_used(struct gyre_heap *heap, void *address, size_t bytes);
/* Aligned address space without memory, not counted; NULL: none. Part of it
 * becomes what gyre_os_map_aligned() gives, or false; the rest is released. */
void *gyre_os_reserve(size_t bytes);
/* Zeroed memory that no heap pays for. */
void *gyre_os_map_uncounted(size_t bytes);
bool gyre_os_commit(struct gyre_heap *heap, void *address, size_t bytes);
void gyre_os_release(void *address, size_t bytes);
/* Make an aligned mapping longer or shorter where it is: false when there is
 * no room. Or longer at another aligned place, whereto its memory moves
 * without being copied: NULL when that can't be, and all is as before. */
bool gyre_os_resize(struct gyre_heap *heap, void *address, size_t bytes,
                    size_t new_bytes);
void *gyre_os_move(struct gyre_heap *heap, void *address, size_t bytes,
                   size_t new_bytes);
/* For tests: of the mapping calls to come, of any heap, `after` succeed if
 * they can, and the `count` that follow fail as if the system said no. */
void gyre_os_inject_failures(uint32_t after, uint32_t count);
/* Have memory for all of it now, which is zero: a page that is read before it
 * is written costs two faults, and the second interrupts every processor of the
 * process. */
void gyre_os_populate(void *address, size_t bytes);
/* Ask for the system's huge pages, for memory that will be used at random and
 * whole; or for none any more. A hint: without effect where there are none.
 */
#define OS_HUGE_PAGE_BYTES (UINT64_C(2) << 20)
void gyre_os_prefer_huge(void *address, size_t bytes);
void gyre_os_avoid_huge(void *address, size_t bytes);
/* Whether it may be touched; false: the system says no. */
bool gyre_os_protect(void *address, size_t bytes, bool usable);
/* Give the memory back and keep the addresses, which then read as zero. False
 * when the system says no, as for memory that the program has locked: it is
 * as it was. */
bool gyre_os_purge(void *address, size_t bytes);

#endif
