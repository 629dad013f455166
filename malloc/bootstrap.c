/* Blocks for what the C library allocates while the heap is being made, while
 * a thread attaches, or in a fork: few, small, and never reused.
 *
 * They lie in a mapping that looks like a segment whose pages are nobody's,
 * so that the inlined free sends them to the slow path by the compare that it
 * makes anyway. Mapped at first need, which most processes never have. Any
 * thread; no lock. Design: docs/design/malloc.md .malloc.bootstrap */
#include <errno.h>
#include <sys/mman.h>

#include "malloc.h"

#define HEADER 16u /* before each block: its size */

static char *arena;   /* atomic; of GYRE_SEGMENT_BYTES */
static uint64_t used; /* atomic: bytes handed out, the records' page included */

static char *
map_arena(void)
{
    size_t bytes = GYRE_SEGMENT_BYTES, slack;
    char *start = mmap(NULL, 2 * bytes, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED)
        return NULL;
    slack = (size_t)(-(uintptr_t)start & (bytes - 1));
    if (slack > 0)
        munmap(start, slack);
    munmap(start + slack + bytes, bytes - slack);
    return start + slack;
}

static char *
get_arena(void)
{
    /* relaxed: the mapping is zero whoever made it */
    char *now = gyre_load_relaxed(&arena), *mine;
    if (now != NULL)
        return now;
    mine = map_arena();
    if (mine == NULL)
        return NULL;
    while (!gyre_cas_weak_relaxed(&arena, &now, mine)) { /* as above */
        if (now == NULL)
            continue;
        munmap(mine, GYRE_SEGMENT_BYTES);
        return now;
    }
    return mine;
}

void *
gyre_bootstrap_alloc(size_t alignment, size_t size)
{
    char *base = get_arena(), *block;
    uint64_t need, from;
    if (alignment < HEADER)
        alignment = HEADER;
    if (base == NULL || size > GYRE_SEGMENT_BYTES / 2 ||
        alignment > GYRE_PAGE_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    need = ((size + 15) & ~UINT64_C(15)) + alignment + HEADER;
    /* relaxed: a count, that hands each its own */
    from = gyre_fetch_add_relaxed(&used, need) + GYRE_PAGE_BYTES;
    if (from + need > GYRE_SEGMENT_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    block = base + ((from + HEADER + alignment - 1) & ~(alignment - 1));
    *(uint64_t *)(void *)(block - HEADER) = size;
    return block;
}

bool
gyre_bootstrap_owns(const void *block)
{
    /* relaxed: whoever has a block of it was given it by something stronger,
     * and the address was stored before */
    const char *base = gyre_load_relaxed(&arena);
    return base != NULL &&
           (uintptr_t)block - (uintptr_t)base < GYRE_SEGMENT_BYTES;
}

size_t
gyre_bootstrap_size(const void *block)
{
    return *(const uint64_t *)(const void *)((const char *)block - HEADER);
}
