/* Phase edges of the collector, for tracing, tests and statistics.
 * Design: docs/design/report.md .report */
#ifndef GYRE_EVENTS_H
#define GYRE_EVENTS_H

#include <gyre/heap.h>

GYRE_BEGIN_DECLS

enum gyre_event {
    GYRE_EVENT_COLLECT_BEGIN, /* value: generation */
    GYRE_EVENT_STOP_BEGIN,    /* the world has stopped; value: ns it took */
    GYRE_EVENT_STOP_END,      /* the world runs; value: ns it was stopped */
    GYRE_EVENT_FINALIZE,      /* value: finalizers about to run */
    GYRE_EVENT_COMMIT,        /* gc.concurrent: a component of the garbage is
                               * about to be given up, or if touched to be
                               * proved again; value: its weakly referenced
                               * members, if any */
    GYRE_EVENT_RECLAIM,       /* value: objects about to be freed */
    GYRE_EVENT_COLLECT_END    /* value: objects freed */
};

/* Called on the collecting thread. Between STOP_BEGIN and STOP_END it must
 * not touch objects, allocate from the heap or wait for attached threads. */
typedef void (*gyre_event_fn)(enum gyre_event event, uint64_t value, void *arg);

/* Set the heap's listener, NULL for none. Any thread; not from a listener.
 * Takes effect from the next collection on. */
GYRE_API void gyre_events_listen(struct gyre_heap *heap, gyre_event_fn fn,
                                 void *arg);

GYRE_END_DECLS

#endif
