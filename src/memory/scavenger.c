/* The thread that returns empty memory of a heap to the system, one a heap,
 * and what it does, for others to do at once.
 *
 * One a heap, not one a process: it ends with the heap, and a heap that is
 * busy does not hold up another. It is started when there is something to
 * return for the first time, sleeps without waking up while there is nothing,
 * is no mutator, and takes the page lock alone. While memory is in its hands
 * it holds no lock. Design: docs/design/memory.md .mem.return */
#define _GNU_SOURCE 1 /* pthread_setname_np */
#include "scavenger.h"

#include <signal.h>
#include <time.h>

#include "../heap.h"
#include "segment.h"
#include "settle.h"

/* Segments are looked at under one hold of the lock. */
#define LOCK_BATCH 64u
/* Between two looks of the thread, though the option says at once: something
 * may be in the way of returning what is there. */
#define LEAST_PERIOD_NS 1000000u

static uint32_t threads; /* atomic */

uint32_t
gyre_scavenger_threads(void)
{
    return gyre_load_relaxed(&threads); /* relaxed: a count */
}

/* ---- returning ---- */

/* One segment: of what may be returned, that which could be at the last look
 * already, or all. Page lock held, but not meanwhile. Bytes. */
static uint64_t
return_of(struct gyre_heap *heap, struct segment *segment, bool aged_only)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t ready = segment_returnable(segment);
    uint64_t due = aged_only ? ready & segment->aged_pages : ready;
    gyre_segment_to_last(memory, segment);
    segment->look = memory->scavenger.look;
    segment->aged_pages = ready;
    /* Under the lock no pin can come. */
    if ((due & SEGMENT_WHOLE) && gyre_load_relaxed(&memory->pinned) == 0)
        return gyre_segment_return(heap, segment);
    due &= ~SEGMENT_WHOLE;
    return due != 0 ? gyre_segment_purge(heap, segment, due) : 0;
}

/* All segments with something to return, each once. Page lock held, but not
 * meanwhile. */
static uint64_t
look_at_all(struct gyre_heap *heap, bool aged_only, uint64_t keep)
{
    struct memory_heap *memory = &heap->memory;
    struct scavenger *scavenger = &memory->scavenger;
    uint64_t bytes = 0;
    unsigned node, held = 0;
    while (scavenger->looking)
        pthread_cond_wait(&scavenger->settled, &memory->page_lock);
    scavenger->looking = true;
    scavenger->look++;
    for (node = 0; node <= MEMORY_SPARES; node++) {
        struct segment_lists *lists = &memory->nodes[node];
        /* Those looked at go to the end, so that the first that was looked
         * at is the last to look at. */
        while (lists->idle != NULL && lists->idle->look != scavenger->look &&
               !scavenger->stopping && !scavenger->paused &&
               (aged_only || keep == 0 || segment_keeps_over(memory, keep))) {
            bytes += return_of(heap, lists->idle, aged_only);
            if (++held % LOCK_BATCH == 0) {
                pthread_mutex_unlock(&memory->page_lock);
                pthread_mutex_lock(&memory->page_lock);
            }
        }
    }
    scavenger->looking = false;
    pthread_cond_broadcast(&scavenger->settled);
    return bytes;
}

uint64_t
gyre_scavenger_return(struct gyre_heap *heap, uint64_t keep)
{
    uint64_t bytes;
    pthread_mutex_lock(&heap->memory.page_lock);
    bytes = look_at_all(heap, false, keep);
    pthread_mutex_unlock(&heap->memory.page_lock);
    return bytes;
}

/* ---- the thread ---- */

/* Between two looks. What is returned was empty at both, so for one period at
 * least and for two at most: from 3 to 6 quarters of the delay. */
static uint64_t
period_ns(const struct gyre_heap *heap)
{
    return heap_option(heap, GYRE_OPT_MEMORY_RETURN_DELAY) * 750000;
}

/* Page lock held. */
static void
wait_until(struct memory_heap *memory, uint64_t ns)
{
    struct timespec until = {(time_t)(ns / 1000000000),
                             (long)(ns % 1000000000)};
    (void)pthread_cond_timedwait(&memory->scavenger.wake, &memory->page_lock,
                                 &until);
}

static bool
has_work(const struct memory_heap *memory)
{
    /* relaxed: stored under the lock */
    return memory->idle_segments > 0 ||
           gyre_load_relaxed(&memory->others_freed) != 0;
}

/* Wait for a look to be due. Page lock held, but not meanwhile. */
static void
wait_for_look(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct scavenger *scavenger = &memory->scavenger;
    while (!scavenger->stopping && !scavenger->dismissed) {
        uint64_t period = period_ns(heap);
        uint64_t due = scavenger->looked_ns +
                       (period > LEAST_PERIOD_NS ? period : LEAST_PERIOD_NS);
        if (scavenger->paused) {
            pthread_cond_wait(&scavenger->wake, &memory->page_lock);
        } else if (gyre_clock_ns() < due) {
            wait_until(memory, due);
        } else if (has_work(memory)) {
            return;
        } else {
            scavenger->asleep = true;
            pthread_cond_wait(&scavenger->wake, &memory->page_lock);
            scavenger->asleep = false;
        }
    }
}

static void *
scavenger_main(void *arg)
{
    struct gyre_heap *heap = arg;
    struct memory_heap *memory = &heap->memory;
    struct scavenger *scavenger = &memory->scavenger;
    pthread_setname_np(pthread_self(), "gyre scavenger");
    pthread_mutex_lock(&memory->page_lock);
    for (;;) {
        wait_for_look(heap);
        if (scavenger->stopping)
            break;
        if (scavenger->dismissed) {
            scavenger->dismissed = scavenger->started = false;
            gyre_scavenger_notify(heap);
            pthread_detach(pthread_self());
            break;
        }
        scavenger->looked_ns = gyre_clock_ns();
        (void)look_at_all(heap, period_ns(heap) > 0, 0);
        pthread_mutex_unlock(&memory->page_lock);
        gyre_settle_ask(heap);
        pthread_mutex_lock(&memory->page_lock);
    }
    pthread_mutex_unlock(&memory->page_lock);
    gyre_fetch_sub_relaxed(&threads, 1); /* relaxed: a count */
    return NULL;
}

static bool
thread_create(struct gyre_heap *heap)
{
    sigset_t all, before;
    bool created;
    /* The thread is nobody's to run a signal handler on. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    gyre_fetch_add_relaxed(&threads, 1); /* relaxed: a count */
    created = pthread_create(&heap->memory.scavenger.thread, NULL,
                             scavenger_main, heap) == 0;
    if (!created)
        gyre_fetch_sub_relaxed(&threads, 1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return created;
}

void
gyre_scavenger_start(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct scavenger *scavenger = &memory->scavenger;
    bool begin, created = false;
    pthread_mutex_lock(&memory->page_lock);
    gyre_store_relaxed(&scavenger->due, 0); /* relaxed: a hint */
    begin = !scavenger->started && !scavenger->starting && !scavenger->stopping;
    scavenger->starting |= begin;
    pthread_mutex_unlock(&memory->page_lock);
    if (!begin)
        return;
    if (!scavenger->no_threads && period_ns(heap) > 0)
        created = thread_create(heap);
    pthread_mutex_lock(&memory->page_lock);
    scavenger->started = created;
    scavenger->starting = false;
    if (!created)
        (void)look_at_all(heap, false, 0);
    pthread_mutex_unlock(&memory->page_lock);
    if (!created)
        gyre_settle_ask(heap);
}

void
gyre_scavenger_dismiss(struct gyre_heap *heap)
{
    struct scavenger *scavenger = &heap->memory.scavenger;
    pthread_mutex_lock(&heap->memory.page_lock);
    scavenger->dismissed = scavenger->started;
    pthread_cond_signal(&scavenger->wake);
    pthread_mutex_unlock(&heap->memory.page_lock);
}

void
gyre_scavenger_poll(struct gyre_heap *heap)
{
    /* relaxed: a hint; what it is about is looked at under the lock */
    if (GYRE_UNLIKELY(gyre_load_relaxed(&heap->memory.scavenger.due) != 0))
        gyre_scavenger_start(heap);
}

void
gyre_scavenger_notify(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct scavenger *scavenger = &memory->scavenger;
    if (!has_work(memory))
        return;
    if (scavenger->asleep) {
        scavenger->asleep = false;
        pthread_cond_signal(&scavenger->wake);
    } else if (!scavenger->started && !scavenger->starting &&
               !scavenger->stopping) {
        gyre_store_relaxed(&scavenger->due, 1); /* relaxed: a hint */
    }
}

void
gyre_scavenger_options_changed(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    uint64_t keep = heap_option(heap, GYRE_OPT_MEMORY_HEAP_CACHE);
    bool now = period_ns(heap) == 0;
    pthread_mutex_lock(&memory->page_lock);
    if (now || segment_keeps_over(memory, keep))
        (void)look_at_all(heap, false, now ? 0 : keep);
    gyre_scavenger_notify(heap);
    pthread_cond_signal(&memory->scavenger.wake);
    pthread_mutex_unlock(&memory->page_lock);
    gyre_scavenger_poll(heap);
}

/* ---- life ---- */

static void
init_conditions(struct scavenger *scavenger)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&scavenger->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_cond_init(&scavenger->settled, NULL);
}

void
gyre_scavenger_init(struct gyre_heap *heap)
{
    init_conditions(&heap->memory.scavenger);
}

void
gyre_scavenger_stop(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct scavenger *scavenger = &memory->scavenger;
    bool join;
    pthread_mutex_lock(&memory->page_lock);
    scavenger->stopping = true;
    join = scavenger->started;
    pthread_cond_signal(&scavenger->wake);
    pthread_mutex_unlock(&memory->page_lock);
    if (!join)
        return;
    pthread_join(scavenger->thread, NULL);
    scavenger->started = false; /* the last thread of the heap is the caller */
}

void
gyre_scavenger_destroy(struct gyre_heap *heap)
{
    struct scavenger *scavenger = &heap->memory.scavenger;
    pthread_cond_destroy(&scavenger->settled);
    pthread_cond_destroy(&scavenger->wake);
}

void
gyre_scavenger_before_fork(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    pthread_mutex_lock(&memory->page_lock);
    while (memory->scavenger.hands > 0)
        pthread_cond_wait(&memory->scavenger.settled, &memory->page_lock);
}

void
gyre_scavenger_pause(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    pthread_mutex_lock(&memory->page_lock);
    memory->scavenger.paused = true;
    while (memory->scavenger.hands > 0)
        pthread_cond_wait(&memory->scavenger.settled, &memory->page_lock);
    pthread_mutex_unlock(&memory->page_lock);
}

void
gyre_scavenger_resume(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    pthread_mutex_lock(&memory->page_lock);
    memory->scavenger.paused = false;
    pthread_cond_signal(&memory->scavenger.wake);
    pthread_mutex_unlock(&memory->page_lock);
}

void
gyre_scavenger_after_fork_child(struct gyre_heap *heap)
{
    struct memory_heap *memory = &heap->memory;
    struct scavenger *scavenger = &memory->scavenger;
    if (scavenger->started) /* relaxed: the child has one thread */
        gyre_fetch_sub_relaxed(&threads, 1);
    pthread_mutex_init(&memory->page_lock, NULL);
    init_conditions(scavenger);
    scavenger->hands = 0;
    scavenger->looking = scavenger->paused = scavenger->asleep = false;
    scavenger->started = scavenger->starting = scavenger->dismissed = false;
    scavenger->looked_ns = 0;
    /* A thread sanitizer's runtime can't start threads in a forked child. */
    scavenger->no_threads = GYRE_TSAN;
    gyre_scavenger_notify(heap);
}
