/* Counters and histograms of a heap. Design: docs/design/report.md .report */
#ifndef GYRE_STATISTICS_H
#define GYRE_STATISTICS_H

#include <gyre/heap.h>

GYRE_BEGIN_DECLS

/* A log-linear histogram of durations: 64 steps a doubling, so a value is
 * known to 1/64. Zeroed is empty. Not synchronised. */
#define GYRE_HISTOGRAM_BUCKETS (59 * 64)
struct gyre_histogram {
    uint64_t count, sum, max;
    uint64_t buckets[GYRE_HISTOGRAM_BUCKETS];
};

GYRE_API void gyre_histogram_add(struct gyre_histogram *histogram,
                                 uint64_t value);
GYRE_API void gyre_histogram_merge(struct gyre_histogram *into,
                                   const struct gyre_histogram *from);
/* The least value that at least `fraction` (0 to 1) of the entries don't
 * exceed, rounded up to its bucket's end but never over the maximum; 0 when
 * empty. */
GYRE_API uint64_t gyre_histogram_quantile(const struct gyre_histogram *h,
                                          double fraction);

/* Plain copies; sums over threads, those that left included. */
struct gyre_statistics {
    /* memory, bytes unless said otherwise */
    uint64_t mapped;        /* from the system, for segments and large blocks */
    uint64_t mapped_peak;   /* the most it ever was */
    uint64_t pages_in_use;  /* count */
    uint64_t pages_cached;  /* count: empty, in thread and heap caches */
    uint64_t page_refills;  /* count: a thread's current page was exchanged */
    uint64_t pages_adopted; /* count: taken over from threads that left */
    uint64_t thread_cached; /* empty pages that threads keep */
    uint64_t heap_cached;   /* empty pages of the heap that have memory */
    uint64_t returned;      /* given back to the system so far */
    /* objects */
    uint64_t blocks_in_use[GYRE_PAGE_KINDS]; /* live blocks by page kind */
    uint64_t saturated;         /* objects made immortal by a full count */
    const char *saturated_type; /* the latest one's type name, or NULL */
    /* counts, slow paths */
    uint64_t spills;           /* full local counts moved to the shared half */
    uint64_t merges;           /* queued objects whose halves were merged */
    uint64_t merges_by_proxy;  /* of these, for a thread detached or gone */
    uint64_t queued;           /* objects put in merge queues */
    uint64_t cascade_deferred; /* cascades of which a rest waited */
    uint64_t finalizers_run;
    uint64_t weak_callbacks_run;
    uint64_t weak_gets_refused; /* target dead, dying or changed meanwhile */
    uint64_t lock_waits;
    /* threads */
    uint64_t threads_attached, threads_attached_ever;
    uint64_t stop_timeouts;
    uint64_t slowest_stop_ns; /* time to safepoint, the worst */
    char slowest_thread[32];  /* and whose it was */
    /* collections */
    uint64_t collections[GYRE_GENERATIONS];
    uint64_t collected;     /* objects freed by the collector */
    uint64_t uncollectable; /* objects put on the garbage list */
    uint64_t resurrected;   /* proved garbage once, alive after finalizers */
    uint64_t abandoned;     /* cycles given up: no memory, a stop that timed
                             * out, a fork, limbo over its limit. Some of
                             * gc.concurrent are run again at once in a stop */
    uint64_t emergencies;   /* collections for an allocation that found no
                             * memory */
    uint64_t paced_waits;   /* waits for a collector that was outrun */
    uint64_t paced_ns;      /* and their time, all threads together */
    /* of gc.concurrent alone */
    uint64_t slices;            /* short stops */
    uint64_t suspected;         /* objects armed */
    uint64_t suspected_falsely; /* of these, not proved garbage */
    uint64_t limbo_peak;        /* bytes that waited for a collection's end */
};

/* One kind and size class of blocks. Counters are brought up to date when a
 * page changes hands, and by gyre_quiesce(). */
struct gyre_class_statistics {
    uint64_t block_bytes;   /* bytes of a block */
    uint64_t allocations;   /* count, ever */
    uint64_t frees;         /* count, ever, by any thread */
    uint64_t refills;       /* count: allocations that found their current
                             * page exhausted; the others are hits */
    uint64_t remote_frees;  /* count: by threads that did not own the page */
    uint64_t pages;         /* count, of 64 KiB, empty ones of caches too */
    uint64_t blocks_in_use; /* count */
    uint64_t cached;        /* bytes: empty pages in threads' caches */
    /* bytes of pages that hold blocks in use, less those blocks */
    uint64_t fragmented;
};
/* Fill `out` for a kind and class (0 to GYRE_SIZE_CLASSES - 1; see
 * gyre_size_class()). GYRE_OK; GYRE_ERR_ARGUMENT: there is no such class. Any
 * thread; time is that of a walk over page records. */
GYRE_API enum gyre_status gyre_statistics_class(
    struct gyre_heap *heap, enum gyre_page_kind kind, uint32_t size_class,
    struct gyre_class_statistics *out);

/* What one attached thread keeps. */
struct gyre_thread_statistics {
    uint32_t number; /* 0: without one */
    char name[32];
    uint64_t cached;        /* bytes: its empty pages */
    uint64_t cached_blocks; /* count: that fit in them */
};
/* Fill `out` with up to `room` entries, one an attached thread; returns how
 * many there are. Any thread. */
GYRE_API size_t gyre_statistics_threads(struct gyre_heap *heap,
                                        struct gyre_thread_statistics *out,
                                        size_t room);

/* Fill `out`. Momentary values of a running program: each is exact, they are
 * not of one moment. Any thread that is not inside a callback. */
GYRE_API void gyre_statistics_get(struct gyre_heap *heap,
                                  struct gyre_statistics *out);

enum gyre_histogram_id {
    GYRE_HIST_STOP,      /* ns, world stopped by a collection, request to
                          * resume */
    GYRE_HIST_SAFEPOINT, /* ns, of these, request to the last one's arrival */
    GYRE_HIST_CYCLE,     /* ns, a whole collection */
    GYRE_HIST_MUTATOR,   /* ns, what a thread did or waited for at one time on
                          * the collector's account */
    GYRE_HIST_VISIT,     /* ns, as STOP, for walks, checks and freezing */
    GYRE_HIST_COUNT
};
/* Copy a histogram out. Any thread. */
GYRE_API void gyre_statistics_histogram(struct gyre_heap *heap,
                                        enum gyre_histogram_id id,
                                        struct gyre_histogram *out);

/* Write all of it as one JSON object into `buffer`, NUL-terminated, cut at
 * `size`; returns the length it needs, as snprintf does. */
GYRE_API size_t gyre_statistics_json(struct gyre_heap *heap, char *buffer,
                                     size_t size);

GYRE_END_DECLS

#endif
