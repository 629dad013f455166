/* A heap and a thread's record, put together of each layer's part.
 *
 * The one place where all layers meet: each layer's own files use only the
 * members of their layer and of those below. Design: docs/design/heap.md */
#ifndef GYRE_SRC_HEAP_H
#define GYRE_SRC_HEAP_H

#include <gyre/gyre.h>

#include "../threads/threads.h"
#include "collector/collector.h"
#include "memory/memory.h"
#include "object/object.h"
#include "report/report.h"

struct gyre_heap {
    struct world world;
    struct memory_heap memory;
    struct object_heap object;
    struct collector collector;
    struct report_heap report;
    /* mutators by thread number, made with the first thread of a number and
     * never moved; atomic */
    struct mutator **by_number;
    size_t by_number_bytes;
    /* under the lock of the process's list of heaps */
    struct gyre_heap *next;
    bool fork_nested;  /* the forking thread is inside a collection */
    bool fork_stopped; /* this heap's threads are stopped for a fork */
    bool lost_in_fork; /* they were not: a forked child can't use this heap */
    /* values of the option table; atomic, any thread */
    uint64_t options[GYRE_OPTION_COUNT];
};

/* What a struct gyre_thread * points at. */
struct mutator {
    struct gyre_thread fast; /* first: the public handle */
    struct participant part;
    struct memory_thread memory;
    struct object_thread object;
};

static inline struct mutator *
mutator_of(struct gyre_thread *self)
{
    return (struct mutator *)self;
}

static inline struct mutator *
mutator_of_part(struct participant *part)
{
    return (struct mutator *)((char *)part - offsetof(struct mutator, part));
}

/* The thread, past or present, whose number objects carry; NULL: none. */
static inline struct mutator *
mutator_by_number(const struct gyre_heap *heap, uint32_t number)
{
    if (number == 0 || number >= heap->by_number_bytes / sizeof(void *))
        return NULL;
    /* acquire; pairs: make_mutator() */
    return gyre_load_acquire(&heap->by_number[number]);
}

static inline uint64_t
heap_option(const struct gyre_heap *heap, enum gyre_option option)
{
    /* relaxed: a setting; a stale one is used a moment longer */
    return gyre_load_relaxed(&heap->options[option]);
}

#endif
