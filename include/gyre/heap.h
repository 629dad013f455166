/* A heap: one collected world of objects and the threads attached to it.
 * Design: docs/design/heap.md */
#ifndef GYRE_HEAP_H
#define GYRE_HEAP_H

#include <gyre/alloc.h>
#include <gyre/options.h>

GYRE_BEGIN_DECLS

enum gyre_generation {
    GYRE_GEN_YOUNG = 0,
    GYRE_GEN_MIDDLE = 1,
    GYRE_GEN_OLD = 2, /* everything but the frozen */
    GYRE_GENERATIONS = 3
};

/* Make a heap. A process may have several.
 *   options  "name=value,name=value" or NULL; the environment variable
 *            GYRE_OPTIONS is read after it and wins
 *   out      receives the heap; NULL after an error
 * GYRE_OK; GYRE_ERR_NOMEM; GYRE_ERR_UNKNOWN or GYRE_ERR_ARGUMENT for an
 * option, named by gyre_option_error(). Any thread; a safepoint of one that is
 * attached to another heap. */
GYRE_API enum gyre_status gyre_heap_create(const char *options,
                                           struct gyre_heap **out);

/* End a heap. No thread may be attached (GYRE_ERR_STATE, the heap stays).
 * What still lives gets its dealloc callback, in no order, with its slots
 * already forgotten; finalizers and callbacks of weak references don't run.
 * Any unattached thread. */
GYRE_API enum gyre_status gyre_heap_destroy(struct gyre_heap *heap);

/* ---- collection: the meaning is that of CPython's gc module ---- */

/* Collect `generation` and all younger ones, now, on the calling thread.
 * Every unreachable cycle there is freed when it returns, but for what a
 * finalizer resurrected. A safepoint. From a finalizer or a callback it is
 * queued and runs at that thread's next outermost safepoint.
 * GYRE_OK; GYRE_ERR_NOMEM: no memory for side tables, nothing changed;
 * GYRE_ERR_TIMEOUT: a thread did not stop; GYRE_ERR_STATE: not attached;
 * GYRE_ERR_ARGUMENT. */
GYRE_API enum gyre_status gyre_collect(struct gyre_heap *heap,
                                       enum gyre_generation generation);

/* The same by the heap's own thread, and without a wait for it: returns at
 * once. The oldest generation of what is asked for before it begins is
 * collected, also while automatic collection is disabled; finalizers run on
 * that thread. Where the heap has none (option gc.thread) the calling thread
 * collects at its next outermost safepoint. That it is over, or was given up,
 * GYRE_EVENT_COLLECT_END tells. No safepoint. Cost: one lock. GYRE_OK;
 * GYRE_ERR_STATE: not attached; GYRE_ERR_ARGUMENT. */
GYRE_API enum gyre_status gyre_collect_request(struct gyre_heap *heap,
                                               enum gyre_generation generation);

/* Automatic collection. Calls nest: as many enables as disables. */
GYRE_API void gyre_collect_disable(struct gyre_heap *heap);
GYRE_API void gyre_collect_enable(struct gyre_heap *heap);
GYRE_API int gyre_collect_is_enabled(struct gyre_heap *heap);

/* Young: a collection is due when births of tracked objects exceed deaths by
 * more than this; 0 switches automatic collection off. Middle, old: when the
 * younger generation was collected more often than this. */
GYRE_API enum gyre_status gyre_set_threshold(struct gyre_heap *heap,
                                             const uint64_t thresholds[3]);
GYRE_API void gyre_get_threshold(struct gyre_heap *heap,
                                 uint64_t thresholds[3]);
/* [0] births less deaths since the last young collection, never negative;
 * [1], [2] collections of the younger generation since this one's. */
GYRE_API void gyre_get_count(struct gyre_heap *heap, uint64_t counts[3]);

/* Move all tracked objects out of the collector's sight, and back into the
 * oldest generation. GYRE_ERR_TIMEOUT as for a collection. Attached. */
GYRE_API enum gyre_status gyre_freeze(struct gyre_heap *heap);
GYRE_API enum gyre_status gyre_unfreeze(struct gyre_heap *heap);
/* Objects frozen at present. Attached. */
GYRE_API uint64_t gyre_frozen_count(struct gyre_heap *heap);

/* The garbage list: unreachable objects that could not be cleared, and with
 * the option gc.save_all everything collected. Each entry holds a reference;
 * pop gives it to the caller, NULL when the list is empty. Attached. */
GYRE_API uint64_t gyre_garbage_count(struct gyre_heap *heap);
GYRE_API struct gyre_object *gyre_garbage_pop(struct gyre_heap *heap);

/* ---- looking in ---- */

/* Do all put-off work that does not depend on other threads' safepoints:
 * every running thread answers a handshake, queues are drained, pending
 * finalizers and callbacks of the calling thread run, and the counters of
 * blocks are brought up to date in a short stop. A safepoint. */
GYRE_API enum gyre_status gyre_quiesce(struct gyre_heap *heap);

/* Visit every live object with the world stopped; `visit` returns nonzero to
 * end the walk. It must not take references or allocate. */
typedef int (*gyre_walk_fn)(struct gyre_object *obj, void *arg);
GYRE_API enum gyre_status gyre_heap_walk(struct gyre_heap *heap,
                                         gyre_walk_fn visit, void *arg);

/* Visit every block in use, of every kind: `size` is what its user may use,
 * an object's header included. With the world stopped; raw blocks of threads
 * attached by gyre_thread_attach_raw(), which no stop waits for, are visited
 * only when such a thread has given up the page. `visit` returns nonzero to
 * end the walk; it must not allocate or free. GYRE_OK; GYRE_ERR_TIMEOUT;
 * GYRE_ERR_STATE: not attached. */
typedef int (*gyre_block_fn)(enum gyre_page_kind kind, void *block, size_t size,
                             void *arg);
GYRE_API enum gyre_status gyre_heap_walk_blocks(struct gyre_heap *heap,
                                                gyre_block_fn visit, void *arg);

/* Give back to the system what holds no block in use, down to its pages of
 * 4 KiB: at once for the calling thread, the heap's caches and pages of
 * threads that left; for each other thread at its next safepoint or when it
 * next needs a page. Allocation goes on as before. Returns the bytes given
 * back at once. Attached, or any thread that is attached to no heap. */
GYRE_API uint64_t gyre_heap_trim(struct gyre_heap *heap);

/* Check every invariant of pages, lists, queues and headers, with the world
 * stopped. A broken one is fatal, named. Attached, at a safepoint. Time is
 * that of a walk over the heap. */
GYRE_API enum gyre_status gyre_heap_check(struct gyre_heap *heap);

GYRE_END_DECLS

#endif
