/* Options, statistics, histograms and events: a heap seen from outside.
 *
 * Other layers call the functions below; what this layer asks of them are
 * the four fillers of struct gyre_statistics. Design: docs/design/report.md
 * .report */
#ifndef GYRE_SRC_REPORT_H
#define GYRE_SRC_REPORT_H

#include <pthread.h>

#include <gyre/events.h>
#include <gyre/options.h>
#include <gyre/statistics.h>

struct gyre_heap;
struct mutator;

/* Who listens to events. Replaced as a whole, under the lock. */
struct report_listener {
    gyre_event_fn fn; /* NULL: nobody */
    void *arg;
};

/* A heap's reports; embedded in struct gyre_heap. */
struct report_heap {
    /* Innermost: nothing is taken, called or waited for under it. */
    pthread_mutex_t lock;
    /* any thread, atomic: each word is added to by itself */
    struct gyre_histogram histograms[GYRE_HIST_COUNT];
    struct report_listener listener; /* under lock */
    /* the collecting thread's, from COLLECT_BEGIN to COLLECT_END */
    struct report_listener current;
};

/* A thread's; owner only. */
struct report_thread {
    uint64_t began_ns; /* it is at work on the collector's account since then */
    uint32_t depth;    /* how often; 0: it is not */
};

/* GYRE_OK, or GYRE_ERR_NOMEM when the system has no mutex. Before any other
 * use of the heap. */
enum gyre_status gyre_report_heap_init(struct gyre_heap *heap);
void gyre_report_heap_destroy(struct gyre_heap *heap);
/* In the child of a fork, whose only thread calls it: a lock that another
 * thread held in the parent is made anew. */
void gyre_report_heap_forked(struct gyre_heap *heap);

/* Set every option: its preset, then `text` (may be NULL), then what the
 * environment variable GYRE_OPTIONS says. Statuses of gyre_options_parse();
 * options fixed at creation may be set here. Before the heap is shared. */
enum gyre_status gyre_options_init(struct gyre_heap *heap, const char *text);
/* Heaps to come take no notice of GYRE_OPTIONS: what it says was refused. */
void gyre_options_ignore_environment(void);

/* The number of a value's bucket. */
uint32_t gyre_histogram_bucket(uint64_t value);
/* Add a duration. Any thread; no lock, four additions. */
void gyre_report_histogram_add(struct gyre_heap *heap,
                               enum gyre_histogram_id id, uint64_t ns);
/* Copy one out, of which each word is read by itself. */
void gyre_report_histogram_copy(const struct gyre_histogram *from,
                                struct gyre_histogram *out);

/* What a thread does or waits for on the collector's account, from `begin` to
 * `end`: an entry of GYRE_HIST_MUTATOR. Those within others are part of them.
 * Nothing when `self` is not the calling thread, or is the library's own. Two
 * looks at the clock: for slow paths. */
void gyre_account_begin(struct mutator *self);
void gyre_account_end(struct mutator *self);

/* Tell the listener. The collecting thread, which holds the collector's
 * lock; takes the report lock for COLLECT_BEGIN only, and none while the
 * listener runs. */
void gyre_event_fire(struct gyre_heap *heap, enum gyre_event event,
                     uint64_t value);

/* The collector's part of a struct gyre_statistics that is zeroed before;
 * those of the other layers are in their headers. Any thread. */
void gyre_collector_statistics(struct gyre_heap *heap,
                               struct gyre_statistics *out);

#endif
