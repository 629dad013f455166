/* malloc and its family over the raw memory of one heap of the process.
 *
 * The inlined paths are those of gyre_mem_alloc() and gyre_mem_free(), with
 * a record that is always there; all else comes to the slow paths, which see
 * to it that the thread is attached. Any thread, at any time.
 * Design: docs/design/malloc.md .malloc */
#include "malloc.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../src/heap.h"
#include "../src/memory/segment.h"

#define MALLOC_ALIGNMENT 16u

/* ---- slow paths ---- */

static void *
out_of_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

GYRE_COLD static void *
alloc_slow(size_t size)
{
    void *block;
    if (size > PTRDIFF_MAX)
        return out_of_memory();
    if (!gyre_malloc_enter())
        return gyre_bootstrap_alloc(MALLOC_ALIGNMENT, size);
    block = gyre_mem_alloc(size);
    gyre_malloc_exit();
    return block != NULL ? block : out_of_memory();
}

GYRE_COLD static void *
calloc_slow(size_t size)
{
    void *block;
    if (size > PTRDIFF_MAX)
        return out_of_memory();
    if (!gyre_malloc_enter())
        return gyre_bootstrap_alloc(MALLOC_ALIGNMENT, size);
    block = gyre_mem_calloc(1, size);
    gyre_malloc_exit();
    return block != NULL ? block : out_of_memory();
}

/* Not of this heap: nothing that can be freed. Blocks whose neighbourhood is
 * not mapped at all end the process before, in the look at their page. */
static void
check_ours(const void *block, const char *function)
{
    GYRE_CHECK(gyre_segment_is_mapped(block),
               "%s: %p was not allocated by this library", function, block);
}

GYRE_NOINLINE static void
free_slow(void *block)
{
    int error = errno;
    if (block == NULL || gyre_bootstrap_owns(block))
        return;
    check_ours(block, "free");
    /* In a fork, or without memory to attach: it is lost. */
    if (!gyre_malloc_enter())
        return;
    gyre_mem_free(block);
    gyre_malloc_exit();
    errno = error;
}

/* The page may be empty, and go; but not while the thread holds the heap's
 * locks for a fork: then the next free looks. */
GYRE_NOINLINE static void
look(struct gyre_thread *self, struct gyre_page *page)
{
    int error = errno;
    if (gyre_malloc_enter())
        gyre_memory_page_look(self, (struct page *)page);
    else
        page_look_after((struct page *)page, 1);
    errno = error;
}

/* ---- the inlined paths ---- */

/* As gyre_size_class() says, without a jump for the smallest. */
GYRE_INLINE uint32_t
raw_index(size_t size)
{
    if (GYRE_LIKELY(size <= 128))
        return gyre_alloc_index(GYRE_PAGE_RAW,
                                (uint32_t)((size - (size != 0)) >> 4));
    return gyre_alloc_index(GYRE_PAGE_RAW, gyre_size_class(size));
}

/* A block of a small size, or NULL: by alloc_slow() then. In checking builds
 * everything goes by way of what is checked. */
GYRE_INLINE void *
alloc_fast(size_t size)
{
    struct gyre_thread *self = gyre_malloc_self;
    struct gyre_page *page;
    uintptr_t link;
    if (GYRE_CHECKING || (size > 128 && GYRE_UNLIKELY(size > GYRE_SMALL_MAX)))
        return NULL;
    page = self->current[raw_index(size)];
    link = page->free;
    if (GYRE_UNLIKELY(link == GYRE_LINK_END))
        return NULL;
    page->free = gyre_link_load(self, (void *)(link - 1));
    page->allocated++;
    return (void *)(link - 1);
}

MALLOC_API void *
malloc(size_t size)
{
    void *block = alloc_fast(size);
    if (GYRE_UNLIKELY(block == NULL))
        return alloc_slow(size);
    return block;
}

MALLOC_API void
free(void *block)
{
    struct gyre_thread *self = gyre_malloc_self;
    struct gyre_page *page;
    if (GYRE_CHECKING || GYRE_UNLIKELY(block == NULL)) {
        free_slow(block);
        return;
    }
    page = gyre_page_record(block);
    /* relaxed: only this thread makes itself the owner or no longer so */
    if (GYRE_LIKELY(gyre_load_relaxed(&page->owner) == self->frees_to)) {
        gyre_link_store(self, block, page->free);
        page->free = (uintptr_t)block + 1;
        if (GYRE_UNLIKELY(--page->frees_left == 0))
            look(self, page);
    } else {
        free_slow(block);
    }
}

MALLOC_API void *
calloc(size_t count, size_t size)
{
    size_t bytes;
    void *block;
    if (GYRE_UNLIKELY(__builtin_mul_overflow(count, size, &bytes)))
        return out_of_memory();
    block = alloc_fast(bytes);
    if (GYRE_UNLIKELY(block == NULL))
        return calloc_slow(bytes);
    return memset(block, 0, bytes);
}

/* ---- realloc ---- */

/* Where gyre_mem_realloc() can't be asked: from the bootstrap arena, or in a
 * fork. */
static void *
move(void *block, size_t size)
{
    size_t have = malloc_usable_size(block);
    void *moved = malloc(size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, have < size ? have : size);
    free(block);
    return moved;
}

MALLOC_API void *
realloc(void *block, size_t size)
{
    void *moved;
    if (block == NULL)
        return malloc(size);
    if (size == 0) {
        free(block);
        return NULL;
    }
    if (gyre_bootstrap_owns(block))
        return move(block, size);
    check_ours(block, "realloc");
    if (size > PTRDIFF_MAX)
        return out_of_memory();
    if (!gyre_malloc_enter())
        return move(block, size);
    moved = gyre_mem_realloc(block, size);
    gyre_malloc_exit();
    return moved != NULL ? moved : out_of_memory();
}

MALLOC_API void *
reallocarray(void *block, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        return out_of_memory();
    return realloc(block, bytes);
}

/* ---- alignment ---- */

void *
gyre_malloc_aligned(size_t alignment, size_t size)
{
    void *block;
    if (alignment == 0 || (alignment & (alignment - 1)) != 0) {
        errno = EINVAL;
        return NULL;
    }
    if (alignment <= MALLOC_ALIGNMENT)
        return malloc(size);
    if (size > PTRDIFF_MAX)
        return out_of_memory();
    if (!gyre_malloc_enter())
        return gyre_bootstrap_alloc(alignment, size);
    block = gyre_mem_alloc_aligned(alignment, size);
    gyre_malloc_exit();
    return block != NULL ? block : out_of_memory();
}

MALLOC_API void *
aligned_alloc(size_t alignment, size_t size)
{
    return gyre_malloc_aligned(alignment, size);
}

MALLOC_API void *
memalign(size_t alignment, size_t size)
{
    return gyre_malloc_aligned(alignment, size);
}

MALLOC_API int
posix_memalign(void **out, size_t alignment, size_t size)
{
    int error = errno;
    void *block;
    if (alignment % sizeof(void *) != 0)
        return EINVAL;
    block = gyre_malloc_aligned(alignment, size);
    if (block == NULL) {
        int why = errno;
        errno = error;
        return why;
    }
    *out = block;
    return 0;
}

static size_t
system_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

MALLOC_API void *
valloc(size_t size)
{
    return gyre_malloc_aligned(system_page(), size);
}

MALLOC_API void *
pvalloc(size_t size)
{
    size_t page = system_page();
    if (size > PTRDIFF_MAX)
        return out_of_memory();
    return gyre_malloc_aligned(page, (size + page - 1) & ~(page - 1));
}

/* ---- size ---- */

MALLOC_API size_t
malloc_usable_size(void *block)
{
    if (block == NULL)
        return 0;
    if (gyre_bootstrap_owns(block))
        return gyre_bootstrap_size(block);
    check_ours(block, "malloc_usable_size");
    return gyre_mem_size(block);
}

/* ---- giving back ---- */

/* What the caller's thread has, what threads left behind, and what the heap
 * keeps; other threads follow when they look for memory next. How much to
 * keep (`pad`) is a matter of the options. */
MALLOC_API int
malloc_trim(size_t pad)
{
    uint64_t bytes;
    (void)pad;
    if (!gyre_malloc_enter())
        return 0;
    bytes = gyre_heap_trim(gyre_self->heap);
    gyre_malloc_exit();
    return bytes > 0;
}
