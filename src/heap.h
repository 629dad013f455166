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

struct mutator;

/* Threads attached for raw memory alone .thread.raw */
struct raw_threads {
    pthread_mutex_t lock; /* a leaf lock */
    struct mutator *all;  /* atomic: prepended under lock, never removed */
    struct mutator *free; /* under lock: records to give out again */
    uint64_t attached;    /* written under lock, atomic */
};

struct gyre_heap {
    struct world world;
    struct memory_heap memory;
    struct object_heap object;
    struct collector collector;
    struct report_heap report;
    struct raw_threads raw;
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
    /* Its world does not list that of a thread attached for raw memory. */
    struct participant part;
    struct memory_thread memory;
    struct object_thread object;
    struct report_thread report;
    /* const: attached for raw memory alone; nobody stops it */
    bool raw;
    struct mutator *next_raw; /* const once listed */
    /* under the lock of the heap's raw threads */
    struct mutator *next_free_raw;
    bool raw_attached;
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

/* Attached for raw memory alone: it runs through every stop, so its open
 * pages and its lists are nobody else's to read .thread.raw */
static inline bool
thread_is_raw(const struct gyre_thread *self)
{
    return ((const struct mutator *)self)->raw;
}

/* The calling thread when it may use objects of `heap`, else NULL. */
static inline struct mutator *
mutator_in(const struct gyre_heap *heap)
{
    if (gyre_self == NULL || gyre_self->heap != heap ||
        thread_is_raw(gyre_self))
        return NULL;
    return mutator_of(gyre_self);
}

/* Every record of the heap, of threads present and gone, those attached for
 * raw memory alone at last. Any thread: none is taken away. */
static inline struct mutator *
mutator_first_raw(const struct gyre_heap *heap)
{
    /* acquire; pairs: list_new(). Those listed are made. */
    return gyre_load_acquire(&heap->raw.all);
}

static inline struct mutator *
mutator_first(const struct gyre_heap *heap)
{
    /* acquire; pairs: list_participant(). Those listed are made. */
    struct participant *part = gyre_load_acquire(&heap->world.participants);
    return part != NULL ? mutator_of_part(part) : mutator_first_raw(heap);
}

static inline struct mutator *
mutator_next(const struct gyre_heap *heap, const struct mutator *mutator)
{
    if (mutator->raw)
        return mutator->next_raw;
    return mutator->part.next != NULL ? mutator_of_part(mutator->part.next)
                                      : mutator_first_raw(heap);
}

/* raw_thread.c: a heap's threads attached for raw memory alone. */
enum gyre_status gyre_raw_threads_init(struct gyre_heap *heap);
void gyre_raw_threads_destroy(struct gyre_heap *heap);
void gyre_raw_thread_leave(struct gyre_thread *self);
/* Around a fork: their list stands still; in the child all but the forking
 * thread are gone, and their pages are left to others. */
void gyre_raw_threads_before_fork(struct gyre_heap *heap);
void gyre_raw_threads_after_fork(struct gyre_heap *heap);
void gyre_raw_threads_after_fork_child(struct gyre_heap *heap);

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
