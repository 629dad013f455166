/* A run: its settings, its workers, and what they share. */
#ifndef GYRE_STRESS_RUN_H
#define GYRE_STRESS_RUN_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <gyre/gyre.h>

#include "graph.h"
#include "oracle.h"
#include "ring.h"
#include "sampler.h"
#include "shadow.h"
#include "tally.h"

#define THREADS_MOST 64
#define PHASES 4 /* quiescent points of a round before its teardown */
#define HANDLES_MOST 2048
#define KEPT_MOST 128
#define WEAKS_MOST 256
#define OPEN_WEAKS 32
#define NEW_EDGES_MOST 256 /* of nodes that mixes build anew */

struct settings {
    const char *heap_file;
    unsigned threads;
    double seconds;  /* 0: until `rounds` */
    uint64_t rounds; /* 0: until `seconds` */
    uint64_t seed;
    unsigned mix; /* enum mix, or'ed */
    const char *mix_name;
    bool copies, verify, json;
    bool concurrent;     /* gc.concurrent, and gc.check */
    const char *options; /* of the heap, or NULL */
    unsigned patience;   /* seconds without progress before it is a failure */
    bool trial;          /* measured by `tune`: no progress line, the heap's own
                          * thresholds, allocations timed */
    bool pinned;         /* worker i on processor i */
};

/* A counted reference that a thread holds. */
struct handle {
    struct gyre_object *obj;
    uint32_t index;
};

/* A counted reference to a weak reference. */
struct weak_handle {
    struct gyre_object *weakref;
    uint32_t weak;
};

/* What a worker does next. */
enum stage {
    STAGE_BUILD,
    STAGE_MIX,
    STAGE_MEET,     /* a quiescent point, all held as it is */
    STAGE_TEARDOWN, /* give up everything, then quiescent points */
    STAGE_END
};

struct run;

/* One of the run's threads. When the mix replaces it, the record goes on
 * with the next OS thread. Its own thread's alone, but at quiescent points,
 * where the checker reads all. */
struct worker {
    struct run *run;
    unsigned id;
    pthread_t thread, before; /* under run->lock | to be joined */
    bool has_before;
    bool leaving; /* the mix wants this OS thread replaced */
    struct gyre_thread *self;
    uint64_t random;
    enum stage stage;
    unsigned phase;
    uint64_t left; /* operations of this phase still to do */
    unsigned rare; /* of these, until the next rare one */
    unsigned rare_turn;
    unsigned receive_turn;
    struct shares shares;
    struct tally tally;

    struct handle handles[HANDLES_MOST];
    unsigned handle_count;
    /* held for the whole round; its own to write */
    struct handle *anchors;
    unsigned anchor_count, anchor_room;
    unsigned root_count; /* the first anchors: root tables, to be cut */
    /* answers of weak references: not walked into before the next quiescent
     * point, since their objects may be being finalized right now */
    struct handle kept[KEPT_MOST];
    unsigned kept_count;
    struct weak_handle weaks[WEAKS_MOST];
    unsigned weak_count;
    /* all threads ask these during a phase */
    struct weak_handle open[OPEN_WEAKS];
    unsigned open_count;
    struct shadow_log log;
    struct sampler sampler; /* in a trial */
};

struct run {
    struct settings settings;
    struct graph graph;
    struct gyre_heap *heap;
    struct worker *workers[THREADS_MOST];
    struct ring *rings; /* [from * threads + to] */
    pthread_barrier_t barrier;
    uint64_t phase_operations; /* a worker's */

    /* written between barriers by worker 0 (or by `built`'s builder) */
    uint32_t *built;      /* index of [copy * node_count + node] */
    uint32_t *containers; /* nodes that cycles can be made of */
    uint32_t container_count;
    struct shadow_shared *shared;
    uint32_t shared_count, shared_room;
    struct handle *locked; /* holders written under their lock */
    uint32_t locked_count;
    bool was_shared, was_locked; /* there were such, in some round */
    struct handle *adopted; /* resurrected before the last quiescent point */
    unsigned adopted_count;
    enum stage next;
    bool settled;
    uint64_t events;

    /* any thread, atomic */
    _Atomic bool stop; /* time is up */
    _Atomic uint64_t progress;
    _Atomic uint64_t collections_begun, collections_ended;
    _Atomic uint64_t rounds_done;
    _Atomic bool paths_taken; /* by now: all that the mix has to take */

    /* under `lock` */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned ended; /* workers */
    /* the checker's, read by the report; under `lock` */
    struct gyre_statistics statistics;
    struct gyre_histogram stops;
    uint64_t quiescent_points, collections_refused;
    uint64_t start_ns, end_ns;
    uint64_t begin_resident; /* bytes, before the heap; of a trial */
    /* worker 0's, read when the workers have ended */
    uint64_t verify_ns; /* spent in quiescent points */
    uint64_t verify_processor_ns;
    uint64_t end_resident; /* bytes, after the last round, threads attached */
};
extern struct run run;

static inline struct ring *
run_ring(unsigned from, unsigned to)
{
    return &run.rings[from * run.settings.threads + to];
}

/* ---- worker.c ---- */
bool workers_start(void);
void workers_join(void);
/* Meet the others; while waiting the thread is detached. A safepoint. */
void worker_meet(struct worker *w);
void handle_add(struct worker *w, struct gyre_object *obj, uint32_t index);
void handle_drop(struct gyre_object *obj, uint32_t index);
bool anchor_add(struct worker *w, struct gyre_object *obj, uint32_t index);
void weak_add(struct worker *w, struct gyre_object *weakref, uint32_t weak);
/* Make a weak reference to what the caller holds; NULL: refused. */
struct gyre_object *weak_new(struct worker *w, struct handle target,
                             uint32_t *weak);
void weak_drop(struct gyre_object *weakref, uint32_t weak);

/* ---- replay.c ---- */
/* By run.settings and run.graph: everything but the workers. False, with a
 * line on standard error. */
bool replay_make(void);
/* Rounds until run.settings says that it is enough. False: no threads. */
bool replay_work(void);
/* The heap's end, in which nothing may be left. */
void replay_end(void);
void replay_unmake(void);

/* ---- builder.c ---- */
bool builder_create(void);
void builder_destroy(void);
/* Build the heap, all workers together; ends with a meeting. */
void builder_build(struct worker *w);
/* Fill the empty slots of a new object from what the worker holds. */
void builder_fill(struct worker *w, struct gyre_object *obj, uint32_t index,
                  unsigned most);

/* ---- mixes.c ---- */
/* Run operations until the phase is over or w->leaving is set. */
void mixes_run(struct worker *w);
void mixes_begin(struct worker *w); /* of a phase; meets */
void mixes_create(void);
bool mix_by_name(const char *name, unsigned *mix);

/* ---- verify.c ---- */
/* A quiescent point; every worker calls it at once. */
void verify_meet(struct worker *w, bool may_be_alive);
void verify_listen(struct gyre_heap *heap);

/* ---- report.c ---- */
void report_create(void);
void report_progress(void);
void report_progress_end(void);
/* Print the report; returns the exit status. */
int report_print(void);
/* The same in the middle of a failure: touches nothing of gyre. */
void report_failure(void);
uint64_t report_sum(enum tally_id id);
/* Paths of the mix that never ran; with `tell` named on standard error. While
 * the threads rest, or have ended. */
unsigned report_missed(bool tell);

static inline uint64_t
progress_note(void)
{
    /* relaxed: a sign of life */
    return atomic_fetch_add_explicit(&run.progress, 1, memory_order_relaxed);
}

uint64_t clock_ns(void);

#endif
