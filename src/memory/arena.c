/* Address space for segments, taken from the system several segments at a
 * time when the option memory.arena says so. What is not handed out as a
 * segment yet has no memory, can't be touched and is not counted; what is,
 * goes back to the system segment by segment. Any thread; takes the page
 * lock. Design: docs/design/memory.md .mem.arena */
#include "../heap.h"
#include "os.h"
#include "segment.h"

/* The next segment's place, or NULL. */
static char *
arena_next(struct memory_heap *memory)
{
    char *place = NULL;
    pthread_mutex_lock(&memory->page_lock);
    if (memory->arena != memory->arena_end) {
        place = memory->arena;
        memory->arena += GYRE_SEGMENT_BYTES;
    }
    pthread_mutex_unlock(&memory->page_lock);
    return place;
}

/* Keep what is left of a new arena; two threads may have made one each. */
static void
arena_keep(struct memory_heap *memory, char *rest, size_t bytes)
{
    bool kept;
    pthread_mutex_lock(&memory->page_lock);
    kept = memory->arena == memory->arena_end;
    if (kept) {
        memory->arena = rest;
        memory->arena_end = rest + bytes;
    }
    pthread_mutex_unlock(&memory->page_lock);
    if (!kept)
        gyre_os_release(rest, bytes);
}

static char *
arena_new(struct gyre_heap *heap)
{
    size_t bytes = heap_option(heap, GYRE_OPT_MEMORY_ARENA) &
                   ~(size_t)(GYRE_SEGMENT_BYTES - 1);
    char *arena;
    if (bytes <= GYRE_SEGMENT_BYTES)
        return NULL;
    arena = gyre_os_reserve(bytes);
    if (arena == NULL)
        return NULL;
    arena_keep(&heap->memory, arena + GYRE_SEGMENT_BYTES,
               bytes - GYRE_SEGMENT_BYTES);
    return arena;
}

/* A place that there was no memory for: the next one's again, if nobody took
 * another meanwhile. */
static void
arena_put_back(struct memory_heap *memory, char *place)
{
    bool last;
    pthread_mutex_lock(&memory->page_lock);
    last = memory->arena == place + GYRE_SEGMENT_BYTES;
    if (last)
        memory->arena = place;
    pthread_mutex_unlock(&memory->page_lock);
    if (!last)
        gyre_os_release(place, GYRE_SEGMENT_BYTES);
}

void *
gyre_arena_segment(struct gyre_heap *heap)
{
    char *place = arena_next(&heap->memory);
    if (place == NULL)
        place = arena_new(heap);
    if (place == NULL)
        return gyre_os_map_aligned(heap, GYRE_SEGMENT_BYTES);
    if (gyre_os_commit(heap, place, GYRE_SEGMENT_BYTES))
        return place;
    arena_put_back(&heap->memory, place);
    return NULL;
}

void
gyre_arena_end(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    if (memory->arena != memory->arena_end)
        gyre_os_release(memory->arena,
                        (size_t)(memory->arena_end - memory->arena));
    memory->arena = memory->arena_end = NULL;
}
