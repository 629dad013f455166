/* What checking builds add to blocks so that their misuse is noticed and
 * named; nothing in other builds.
 *
 *   raw block     what was asked for | slack | trailer
 *   object        header, body | slack, at least GUARD_OBJECT bytes
 *
 * Slack and free bodies hold a pattern, or are poisoned where the address
 * sanitizer or memcheck looks at them. Any thread, for its own blocks.
 * Design: docs/design/memory.md .mem.guard */
#ifndef GYRE_SRC_MEMORY_GUARD_H
#define GYRE_SRC_MEMORY_GUARD_H

#include <stdint.h>

#include <gyre/alloc.h>

#include "poison.h"

struct gyre_thread;
struct page;

#define MEMORY_GUARD (GYRE_CHECKING || MEMORY_POISON)

/* Bytes at the end of a raw block: what was asked for, and its state. */
#define GUARD_TRAILER 16u
/* So many bytes more a raw block takes in this build. */
#define GUARD_RAW_EXTRA (MEMORY_GUARD ? GUARD_TRAILER : 0u)
/* Bytes at least behind an object. */
#define GUARD_OBJECT 8u

/* Whether blocks of that index of `current` are kept from inline code: a
 * program that was compiled without checks takes none unseen. */
#define GUARD_HIDES(index) \
    (MEMORY_POISON ||      \
     (MEMORY_GUARD && (index) >= gyre_alloc_index(GYRE_PAGE_RAW, 0)))

/* ---- raw blocks ---- */

/* Room that a raw block of `size` bytes needs: a link fits before its end. */
static inline size_t
guard_raw_room(size_t size)
{
    /* More than that nobody has: refused where memory is looked for. */
    if (!MEMORY_GUARD || size > SIZE_MAX / 2)
        return size;
    return (size > 0 ? size : 1) + GUARD_TRAILER;
}

/* A block was taken for `size` bytes. Fatal: it was written while it was
 * free. `zeroed`: its content is zero, to be relied upon. */
void gyre_guard_raw_taken(void *block, size_t size, bool zeroed,
                          const char *function);
/* `block` is about to be freed (`retired`: when no trace can read it any
 * more). Fatal, and named: it is no raw block of this heap's in use, or was
 * overrun. */
void gyre_guard_raw_give(struct gyre_thread *self, void *block, bool retired,
                         const char *function);
/* What waited since it was retired is freed now. */
void gyre_guard_raw_retired(struct gyre_thread *self, void *block);
/* The same checks, and the block stays. */
void gyre_guard_raw_check(struct gyre_thread *self, const void *block,
                          const char *function);
/* A block of `old_size` bytes was made `size` bytes, perhaps at another
 * place. */
void gyre_guard_raw_resized(void *old_block, size_t old_size, void *block,
                            size_t size);
/* What was asked for. */
size_t gyre_guard_raw_size(const void *block);

/* ---- objects ---- */

/* Room that an object of `size` bytes needs. One that just fits the largest
 * class has no guard. */
static inline size_t
guard_object_room(size_t size)
{
    if (!MEMORY_GUARD || size > SIZE_MAX / 2 ||
        (size <= GYRE_SMALL_MAX && size + GUARD_OBJECT > GYRE_SMALL_MAX))
        return size;
    return size + GUARD_OBJECT;
}
/* A block was taken for an object of `size` bytes; `zeroed` as above. */
void gyre_guard_object_taken(void *block, size_t size, bool zeroed,
                             const char *function);
/* The first byte behind an object of `size` bytes that was written to, as an
 * offset from its start; 0: none. */
size_t gyre_guard_object_overrun(const void *block, size_t size);

/* ---- free blocks ---- */

/* A block was linked for the first time. */
void gyre_guard_fresh(const struct page *page, void *block);
/* A block is free for certain, with nobody to read its body; it is about to
 * be linked. */
void gyre_guard_gone(const struct page *page, void *block);
/* Fatal: a free block was written to, or its link leads nowhere. */
void gyre_guard_check_free(const struct page *page, const void *block,
                           const char *function);
/* Fatal: a raw block in use was overrun. In a stop. */
void gyre_guard_check_used(const struct page *page, const void *block,
                           const char *function);

/* "thread 3 (loader)", for messages. */
#define GUARD_NAME_BYTES 64
const char *gyre_guard_thread(char text[GUARD_NAME_BYTES]);

/* A block that goes on a free list. */
static inline void
guard_gone(const struct page *page, void *block)
{
    if (MEMORY_GUARD)
        gyre_guard_gone(page, block);
}

#endif
