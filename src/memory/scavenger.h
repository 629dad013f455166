/* Gives empty memory of the heap back to the system, when it has been empty
 * for as long as the option memory.return_delay says, by a thread of its own;
 * and at once for whoever asks. Design: docs/design/memory.md .mem.return */
#ifndef GYRE_SRC_MEMORY_SCAVENGER_H
#define GYRE_SRC_MEMORY_SCAVENGER_H

#include <pthread.h>
#include <stdbool.h>

#include <gyre/atomic.h>

struct gyre_heap;

/* Embedded in struct memory_heap. Under the page lock but where said. */
struct scavenger {
    pthread_t thread;
    pthread_cond_t wake;    /* the thread sleeps here */
    pthread_cond_t settled; /* who waits for `hands` or `looking` */
    uint64_t look;          /* number of the latest look at the segments */
    uint64_t looked_ns;     /* when the thread began it */
    uint32_t hands;         /* threads that have memory of the heap in no list
                             * while they call the system */
    bool looking;           /* somebody goes over the segments */
    bool paused;            /* a check runs */
    bool started, starting, stopping;
    bool dismissed;  /* the thread is to end, until there is need of one */
    bool asleep;     /* until there is something to return */
    bool no_threads; /* a forked child under a thread sanitizer */
    /* atomic, any thread: 1: there is something to return and no thread */
    uint32_t due;
};

void gyre_scavenger_init(struct gyre_heap *heap);
/* Ends the thread, which looks at the heap's threads; none is started any
 * more. By the last thread of the heap. */
void gyre_scavenger_stop(struct gyre_heap *heap);
/* After that. */
void gyre_scavenger_destroy(struct gyre_heap *heap);

/* Something became free. Page lock held. */
void gyre_scavenger_notify(struct gyre_heap *heap);

/* Start the thread; without one, return what there is at once. Where the
 * calling thread's own pages may change: the C library may allocate. No lock
 * held. */
void gyre_scavenger_start(struct gyre_heap *heap);

/* The same if it is due. */
void gyre_scavenger_poll(struct gyre_heap *heap);

/* No thread of the program is left that would need it: the thread ends, so
 * that it does not keep the process from its end. Any thread. */
void gyre_scavenger_dismiss(struct gyre_heap *heap);

/* Return memory until the heap keeps `keep` bytes of empty pages; 0 takes
 * empty segments too. Bytes returned. Any thread, no lock held. */
uint64_t gyre_scavenger_return(struct gyre_heap *heap, uint64_t keep);

/* An option was changed. Any thread. */
void gyre_scavenger_options_changed(struct gyre_heap *heap);

/* Take the page lock when no memory is in anybody's hands, for a fork. */
void gyre_scavenger_before_fork(struct gyre_heap *heap);
/* In the child, which has no such thread: makes the page lock anew. */
void gyre_scavenger_after_fork_child(struct gyre_heap *heap);

/* Around a check of all pages, in a stop: nothing is returned meanwhile. A
 * check that is left by a jump keeps it so until the next. */
void gyre_scavenger_pause(struct gyre_heap *heap);
void gyre_scavenger_resume(struct gyre_heap *heap);

/* The threads of all heaps that run now. For tests. */
uint32_t gyre_scavenger_threads(void);

#endif
