/* `gyre-stress latency`: how long a program that does small work is held up
 * while many objects live and garbage cycles are made at a set rate.
 * docs/stress.md.
 *
 *   latency.c          the command: settings, threads, a run
 *   latency_work.c     what the mutators do, and their gaps
 *   latency_watch.c    what the heap tells meanwhile
 *   latency_helper.c   the thread that stops the world, in a control
 *   latency_report.c   the figures */
#ifndef GYRE_STRESS_LATENCY_H
#define GYRE_STRESS_LATENCY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <gyre/gyre.h>

#include "gaps.h"
#include "island.h"

#define LATENCY_BEGIN_NS UINT64_C(200000000) /* of a run, not measured */
#define LATENCY_RING 10

enum latency_collector {
    COLLECTOR_CONCURRENT,
    COLLECTOR_STOP,
    COLLECTOR_NONE /* a control: the program breaks its cycles by hand */
};
extern const char *const latency_collectors[3];

struct latency_settings {
    uint64_t live, rate;
    unsigned threads;
    double seconds;
    enum latency_collector collector;
    /* COLLECTOR_NONE alone: stops a second that do no work; of its own
     * processor, what the thread has that stops */
    double stops, busy;
    uint64_t island, weak;
    const char *heap_file; /* instead of an island, or NULL */
    double every;          /* seconds between drops; 0: one in mid-run */
    bool pinned, json;
    unsigned pin;
    const char *options;
};

struct latency_mutator {
    pthread_t thread;
    unsigned id;     /* const */
    clockid_t clock; /* const once all have met: its processor time */
    /* its own until it is joined */
    struct item *live; /* a tree */
    struct gaps gaps;
    uint64_t steps, rings;
    struct gyre_histogram weak_gets; /* ns */
    uint32_t commits_seen;
    bool failed;
};

struct latency_run {
    /* const while threads run */
    struct latency_settings set;
    struct gyre_heap *heap;
    struct graph graph;
    struct latency_mutator *mutators;
    pthread_barrier_t built, ended; /* all threads; mutators */
    /* mutator 0's */
    struct island island;
    uint64_t drops;
    uint32_t awaited; /* old collections begun, once one of the dropped has */
    unsigned tries;   /* to collect it */
    /* any thread, atomic */
    uint32_t measuring;
    uint32_t commits;    /* components with weak members about to be given up */
    uint32_t is_dropped; /* the island is, and not yet collected */
    uint32_t old_begun, old_ended; /* collections of the oldest generation */
};
extern struct latency_run latency_run;

/* ---- latency.c ---- */
/* The command; argv[0] names it. The program's exit status. */
int latency(int argc, char **argv);

/* ---- latency_work.c ---- */
void *latency_mutator_main(void *arg);

/* ---- latency_watch.c ---- */
/* Hear the heap's events from now on. */
void latency_watch(void);
/* Between the two all is measured. Mutator 0. */
void latency_watch_begin(void);
void latency_watch_end(void);

/* Do nothing for so long, and note it as a slice: a control's. */
void latency_watch_spin(uint64_t ns);

struct latency_seen {
    /* of the time that was measured: ns */
    struct gyre_histogram stops, safepoints, account;
    struct gyre_histogram slices; /* the collector's processor time in each */
    /* in ns: what whole collections took, and mutators' processor time in
     * them; in a control all of the time */
    uint64_t cycles_ns, mutators_ns;
    uint64_t own_ns; /* the collecting threads' processor time in them */
    double least;    /* of one of 5 ms and more: processors that mutators had */
};
const struct latency_seen *latency_watched(void);

/* ---- latency_helper.c ---- */
/* Whether the settings want the thread; start it. */
bool latency_helper_is_wanted(void);
bool latency_helper_start(void);
/* End it, if there is one, and join it. Detached, or not attached. */
void latency_helper_end(void);

/* ---- latency_report.c ---- */
void latency_report(void);

#endif
