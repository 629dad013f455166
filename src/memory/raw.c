/* Raw memory for runtimes: buffers, tables, strings. Attached threads.
 * Design: docs/design/memory.md .mem.raw .mem.retire */
#include "../heap.h"
#include "cache.h"
#include "large.h"
#include "page.h"
#include "retire.h"

static GYRE_THREAD_LOCAL enum gyre_status last_status;

enum gyre_status
gyre_last_status(void)
{
    return last_status;
}

void
gyre_set_last_status(enum gyre_status status)
{
    last_status = status;
}

static struct gyre_thread *
self_checked(const char *function)
{
    struct gyre_thread *self = gyre_self;
    if (GYRE_CHECKING)
        GYRE_CHECK(self != NULL, "%s: this thread is not attached", function);
    return self;
}

static size_t
block_bytes(const void *block)
{
    const struct page *page = page_of(block);
    if (page->size_class == PAGE_CLASS_LARGE)
        return gyre_large_bytes(page);
    return page->fast.block_size;
}

/* A block is handed out for `size` bytes; NULL stays so. */
GYRE_INLINE void *
taken(void *block, size_t size, bool zeroed, const char *function)
{
    if (MEMORY_GUARD && block != NULL)
        gyre_guard_raw_taken(block, size, zeroed, function);
    return block;
}

static void *
large_alloc(struct gyre_thread *self, size_t size, bool *zeroed)
{
    return gyre_memory_alloc_large(self, GYRE_PAGE_RAW, size, zeroed);
}

/* Always inlined, as it is all that gyre_mem_alloc() does. */
GYRE_INLINE void *
small_alloc(struct gyre_thread *self, size_t size)
{
    return memory_block_alloc(
        self, gyre_alloc_index(GYRE_PAGE_RAW, gyre_size_class(size)));
}

/* No memory was found: may the heap have made some? Only where the program
 * itself asks, as the thread is out of the world meanwhile. .pace.limit */
static bool
make_room(struct gyre_thread *self)
{
    return self->heap->memory.make_room(self);
}

GYRE_INLINE void *
raw_alloc(struct gyre_thread *self, size_t size)
{
    size_t room = guard_raw_room(size);
    bool zeroed;
    if (GYRE_UNLIKELY(room > GYRE_SMALL_MAX))
        return taken(large_alloc(self, room, &zeroed), size, false,
                     "gyre_mem_alloc");
    return taken(small_alloc(self, room), size, false, "gyre_mem_alloc");
}

void *
gyre_memory_raw_alloc(struct gyre_thread *self, size_t size)
{
    return raw_alloc(self, size);
}

static void *
alloc_again(struct gyre_thread *self, size_t size)
{
    return make_room(self) ? raw_alloc(self, size) : NULL;
}

void *
gyre_mem_alloc(size_t size)
{
    struct gyre_thread *self = self_checked("gyre_mem_alloc");
    void *block = raw_alloc(self, size);
    if (GYRE_UNLIKELY(block == NULL))
        return alloc_again(self, size);
    return block;
}

/* ---- aligned ---- */

/* The least class of at least `size` bytes whose blocks all begin at a
 * multiple of `alignment`, as their pages do. Both at most GYRE_SMALL_MAX. */
static size_t
aligned_class_bytes(size_t alignment, size_t size)
{
    uint32_t class = gyre_size_class(size > alignment ? size : alignment);
    while (gyre_class_bytes(class) % alignment != 0)
        class ++;
    return gyre_class_bytes(class);
}

static void *
alloc_aligned(struct gyre_thread *self, size_t alignment, size_t size,
              const char *function)
{
    size_t room = guard_raw_room(size);
    bool zeroed;
    if (room > GYRE_SMALL_MAX || alignment > GYRE_SMALL_MAX)
        return taken(gyre_large_alloc_aligned(self, GYRE_PAGE_RAW, room,
                                              alignment, &zeroed),
                     size, false, function);
    return taken(small_alloc(self, aligned_class_bytes(alignment, room)), size,
                 false, function);
}

void *
gyre_mem_alloc_aligned(size_t alignment, size_t size)
{
    static const char function[] = "gyre_mem_alloc_aligned";
    struct gyre_thread *self = self_checked(function);
    void *block;
    if (alignment == 0 || (alignment & (alignment - 1)) != 0 ||
        alignment > LARGE_ALIGNMENT_MAX) {
        gyre_set_last_status(GYRE_ERR_ARGUMENT);
        return NULL;
    }
    block = alloc_aligned(self, alignment, size, function);
    if (block == NULL && make_room(self))
        block = alloc_aligned(self, alignment, size, function);
    return block;
}

/* ---- zeroed ---- */

/* Blocks of so many bytes are first linked one at a time. */
#define FRESH_BLOCK_LEAST 4096u

/* A small block, and whether it was never used since its memory came from the
 * system: all of it but the link is zero then. */
static void *
small_alloc_zeroed(struct gyre_thread *self, size_t size, bool *zeroed)
{
    uint32_t index = gyre_alloc_index(GYRE_PAGE_RAW, gyre_size_class(size));
    const struct gyre_page *before = self->current[index];
    bool none = page_is_none(before);
    uint32_t fresh = none ? 0 : ((const struct page *)before)->fresh;
    void *block = small_alloc(self, size);
    const struct page *page;
    *zeroed = false;
    /* With guards, no memory that was linked is zero. */
    if (block == NULL || size < FRESH_BLOCK_LEAST || MEMORY_GUARD)
        return block;
    page = page_of(block);
    if (page->reused || page_block_index(page, block) + 1 != page->fresh)
        return block;
    /* The last one linked: of the page that was current, just now if any; of
     * another when each that was linked was handed out once. */
    *zeroed = !none && &page->fast == before
                  ? page->fresh == fresh + 1
                  : page->fast.allocated == page->fresh;
    return block;
}

static void *
alloc_zeroed(struct gyre_thread *self, size_t size, bool *zeroed)
{
    size_t room = guard_raw_room(size);
    void *block = room > GYRE_SMALL_MAX
                      ? large_alloc(self, room, zeroed)
                      : small_alloc_zeroed(self, room, zeroed);
    return taken(block, size, *zeroed, "gyre_mem_calloc");
}

void *
gyre_mem_calloc(size_t count, size_t size)
{
    struct gyre_thread *self = self_checked("gyre_mem_calloc");
    bool zeroed = false;
    size_t bytes;
    void *block;
    if (__builtin_mul_overflow(count, size, &bytes)) {
        gyre_set_last_status(GYRE_ERR_ARGUMENT);
        return NULL;
    }
    block = alloc_zeroed(self, bytes, &zeroed);
    if (GYRE_UNLIKELY(block == NULL) && make_room(self))
        block = alloc_zeroed(self, bytes, &zeroed);
    if (block == NULL)
        return NULL;
    if (zeroed)
        memset(block, 0, 16); /* all that making it has written */
    else
        memset(block, 0, bytes);
    return block;
}

/* ---- resized ---- */

/* Whether a block of `have` bytes serves `size` without much waste. */
static bool
fits_well(size_t have, size_t size)
{
    return size <= have && size >= have / 2;
}

/* Without copying, or NULL. */
static void *
resize(struct gyre_heap *heap, void *block, size_t have, size_t size)
{
    struct page *page = page_of(block);
    bool large = page->size_class == PAGE_CLASS_LARGE;
    if (fits_well(have, size) && !(large && size <= GYRE_SMALL_MAX))
        return block;
    if (large && size > GYRE_SMALL_MAX)
        return gyre_large_resize(heap, page, size);
    return NULL;
}

void *
gyre_memory_raw_resize(struct gyre_thread *self, void *block, size_t size)
{
    size_t have, room;
    void *moved;
    if (block == NULL)
        return raw_alloc(self, size);
    if (MEMORY_GUARD)
        gyre_guard_raw_check(self, block, "gyre_mem_realloc");
    room = block_bytes(block);
    have = MEMORY_GUARD ? gyre_guard_raw_size(block) : room;
    moved = resize(self->heap, block, room, guard_raw_room(size));
    if (moved != NULL) {
        if (MEMORY_GUARD)
            gyre_guard_raw_resized(block, have, moved, size);
        return moved;
    }
    moved = raw_alloc(self, size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, have < size ? have : size);
    gyre_mem_free(block);
    return moved;
}

void *
gyre_mem_realloc(void *block, size_t size)
{
    struct gyre_thread *self = self_checked("gyre_mem_realloc");
    void *moved = gyre_memory_raw_resize(self, block, size);
    if (GYRE_UNLIKELY(moved == NULL) && make_room(self))
        moved = gyre_memory_raw_resize(self, block, size);
    return moved;
}

void
gyre_mem_free(void *block)
{
    struct gyre_thread *self = self_checked("gyre_mem_free");
    if (block == NULL)
        return;
    if (MEMORY_GUARD)
        gyre_guard_raw_give(self, block, false, "gyre_mem_free");
    memory_block_free(self, block);
}

size_t
gyre_mem_size(const void *block)
{
    if (MEMORY_GUARD) {
        gyre_guard_raw_check(gyre_self, block, "gyre_mem_size");
        return gyre_guard_raw_size(block);
    }
    return block_bytes(block);
}

/* ---- retired blocks ---- */

/* A place for one more retired block; NULL: out of memory. */
static struct limbo_chunk *
chunk_with_room(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    struct limbo_chunk *chunk = thread->retired;
    if (chunk != NULL && chunk->count < LIMBO_CHUNK_BLOCKS)
        return chunk;
    chunk = raw_alloc(self, sizeof *chunk);
    if (chunk == NULL)
        return NULL;
    chunk->next = thread->retired;
    chunk->count = 0;
    thread->retired = chunk;
    return chunk;
}

void
gyre_mem_retire(void *block)
{
    struct gyre_thread *self = self_checked("gyre_mem_retire");
    struct memory_thread *thread;
    struct limbo_chunk *chunk;
    if (block == NULL)
        return;
    thread = &mutator_of(self)->memory;
    if (MEMORY_GUARD)
        gyre_guard_raw_give(self, block, thread->limbo_stamps != 0,
                            "gyre_mem_retire");
    if (thread->limbo_stamps == 0) {
        memory_block_free(self, block);
        return;
    }
    chunk = chunk_with_room(self);
    if (chunk == NULL) {
        /* Nowhere to note it down, and nothing in it may be written: it is
         * lost until the heap ends, which is better than to reuse it. */
        return;
    }
    chunk->blocks[chunk->count++] = block;
    thread->limbo_blocks++;
    gyre_limbo_note(self, block_bytes(block));
}

void
gyre_retired_free_list(struct gyre_thread *self, struct limbo_chunk *chunk)
{
    struct limbo_chunk *next;
    for (; chunk != NULL; chunk = next) {
        next = chunk->next;
        while (chunk->count > 0) {
            void *block = chunk->blocks[--chunk->count];
            if (MEMORY_GUARD)
                gyre_guard_raw_retired(self, block);
            memory_block_free(self, block);
        }
        gyre_mem_free(chunk);
    }
}
