/* Raw memory for runtimes: buffers, tables, strings. Attached threads.
 * Design: docs/design/memory.md .mem.raw .mem.retire */
#include "../heap.h"
#include "cache.h"
#include "page.h"
#include "poison.h"
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
        return gyre_segment_span_bytes(page);
    return page->fast.block_size;
}

static void
check_raw(const void *block, const char *function)
{
    if (GYRE_CHECKING)
        GYRE_CHECK(page_of(block)->kind == GYRE_PAGE_RAW,
                   "%s: %p is no raw block", function, block);
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
    uint32_t index = gyre_alloc_index(GYRE_PAGE_RAW, gyre_size_class(size));
    void *block = memory_block_alloc(self, index);
    if (MEMORY_POISON && block != NULL)
        memory_unpoison(block, self->current[index]->block_size);
    return block;
}

void *
gyre_mem_alloc(size_t size)
{
    struct gyre_thread *self = self_checked("gyre_mem_alloc");
    bool zeroed;
    if (GYRE_UNLIKELY(size > GYRE_SMALL_MAX))
        return large_alloc(self, size, &zeroed);
    return small_alloc(self, size);
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
    if (bytes > GYRE_SMALL_MAX)
        block = large_alloc(self, bytes, &zeroed);
    else
        block = small_alloc(self, bytes);
    if (block == NULL)
        return NULL;
    if (zeroed)
        memset(block, 0, 16); /* all that making it has written */
    else
        memset(block, 0, bytes);
    return block;
}

/* Whether a block of `have` bytes serves `size` without waste. */
static bool
fits_well(const struct page *page, size_t have, size_t size)
{
    if (page->size_class == PAGE_CLASS_LARGE)
        return size <= have && size > GYRE_SMALL_MAX && size >= have / 2;
    return size <= GYRE_SMALL_MAX && gyre_size_class(size) == page->size_class;
}

void *
gyre_mem_realloc(void *block, size_t size)
{
    size_t have;
    void *moved;
    if (block == NULL)
        return gyre_mem_alloc(size);
    check_raw(block, "gyre_mem_realloc");
    have = block_bytes(block);
    if (fits_well(page_of(block), have, size))
        return block;
    moved = gyre_mem_alloc(size);
    if (moved == NULL)
        return NULL;
    memcpy(moved, block, have < size ? have : size);
    gyre_mem_free(block);
    return moved;
}

static void
raw_free(struct gyre_thread *self, void *block)
{
    if (MEMORY_POISON && page_of(block)->size_class != PAGE_CLASS_LARGE)
        block_poison(block, block_bytes(block));
    memory_block_free(self, block);
}

void
gyre_mem_free(void *block)
{
    struct gyre_thread *self = self_checked("gyre_mem_free");
    if (block == NULL)
        return;
    check_raw(block, "gyre_mem_free");
    raw_free(self, block);
}

size_t
gyre_mem_size(const void *block)
{
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
    chunk = small_alloc(self, sizeof *chunk);
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
    check_raw(block, "gyre_mem_retire");
    thread = &mutator_of(self)->memory;
    if (thread->limbo_stamps == 0) {
        raw_free(self, block);
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
gyre_retired_free(struct gyre_thread *self)
{
    struct memory_thread *thread = &mutator_of(self)->memory;
    struct limbo_chunk *chunk = thread->retired;
    thread->retired = NULL;
    gyre_retired_free_list(self, chunk);
}

void
gyre_retired_free_list(struct gyre_thread *self, struct limbo_chunk *chunk)
{
    struct limbo_chunk *next;
    for (; chunk != NULL; chunk = next) {
        next = chunk->next;
        while (chunk->count > 0)
            raw_free(self, chunk->blocks[--chunk->count]);
        raw_free(self, chunk);
    }
}
