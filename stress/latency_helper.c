/* A thread beside the mutators of `latency`: it collects an island when it
 * was dropped, as a program may that knows what it dropped; or, in a control,
 * stops the world so often and does nothing with it. See latency.h. */
#include "latency.h"

#include <errno.h>

#include "run.h"

/* Weak gets may put an island's end off, collection by collection. */
#define COLLECT_TRIES 20
/* What a slice of the collector's takes as a rule. */
#define SPIN_NS 70000

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool wanted, over; /* under lock */
} helper = {.lock = PTHREAD_MUTEX_INITIALIZER,
            .changed = PTHREAD_COND_INITIALIZER};

static bool
is_over(void)
{
    bool over;
    pthread_mutex_lock(&helper.lock);
    over = helper.over;
    pthread_mutex_unlock(&helper.lock);
    return over;
}

/* ---- an island ---- */

static bool
is_alive(const struct island *island)
{
    struct gyre_object *obj = NULL;
    if (island->weak_count > 0)
        obj = gyre_weakref_get(island->weaks[island->weaks_made - 1]);
    if (obj != NULL)
        gyre_decref(obj);
    return obj != NULL;
}

static void
collect_island(struct gyre_thread *self)
{
    unsigned tries = 0;
    do {
        (void)gyre_collect(latency_run.heap, GYRE_GEN_OLD);
        gyre_safepoint(self);
    } while (is_alive(&latency_run.island) && ++tries < COLLECT_TRIES);
}

static bool
wait_for_wish(void)
{
    bool wanted;
    pthread_mutex_lock(&helper.lock);
    while (!helper.wanted && !helper.over)
        pthread_cond_wait(&helper.changed, &helper.lock);
    wanted = helper.wanted;
    helper.wanted = false;
    pthread_mutex_unlock(&helper.lock);
    return wanted;
}

/* Attached for a collection alone: what this thread waits for otherwise is not
 * to be in the mutators' account. */
static void
collect_islands(void)
{
    struct gyre_thread *self;
    do {
        if (!wait_for_wish())
            continue;
        if (gyre_thread_attach(latency_run.heap, &self) == GYRE_OK) {
            gyre_thread_set_name(self, "helper");
            collect_island(self);
            gyre_thread_leave(self);
        }
        /* release; pairs: island_work(). The island is ours no more. */
        gyre_store_release(&latency_run.is_dropped, 0);
    } while (!is_over());
}

void
latency_helper_collect(void)
{
    /* release; pairs: ask_weakly() */
    gyre_store_release(&latency_run.is_dropped, 1);
    pthread_mutex_lock(&helper.lock);
    helper.wanted = true;
    pthread_cond_signal(&helper.changed);
    pthread_mutex_unlock(&helper.lock);
}

/* ---- stops ---- */

static int
look_no_further(struct gyre_object *obj, void *arg)
{
    (void)obj, (void)arg;
    return 1;
}

/* At even times; what is behind is not made up for. */
static void
stop_often(void)
{
    struct gyre_thread *self;
    uint64_t step = (uint64_t)(1e9 / latency_run.set.stops);
    uint64_t at = clock_ns();
    if (gyre_thread_attach(latency_run.heap, &self) != GYRE_OK)
        return;
    while (!is_over()) {
        uint64_t now = clock_ns();
        struct timespec time;
        at = at + step > now ? at + step : now;
        time.tv_sec = (time_t)(at / 1000000000);
        time.tv_nsec = (long)(at % 1000000000);
        gyre_detach_begin(self);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) ==
               EINTR)
            ;
        latency_watch_spin(SPIN_NS);
        gyre_detach_end(self);
        (void)gyre_heap_walk(latency_run.heap, look_no_further, NULL);
    }
    gyre_thread_leave(self);
}

/* ---- the thread ---- */

static void *
helper_main(void *arg)
{
    (void)arg;
    pthread_barrier_wait(&latency_run.built);
    if (latency_run.set.collector == COLLECTOR_NONE)
        stop_often();
    else
        collect_islands();
    return NULL;
}

bool
latency_helper_is_wanted(void)
{
    const struct latency_settings *set = &latency_run.set;
    if (set->collector == COLLECTOR_NONE)
        return set->stops > 0;
    return set->island > 0 || set->heap_file != NULL;
}

bool
latency_helper_start(void)
{
    return pthread_create(&helper.thread, NULL, helper_main, NULL) == 0;
}

void
latency_helper_end(void)
{
    if (!latency_helper_is_wanted())
        return;
    pthread_mutex_lock(&helper.lock);
    helper.over = true;
    pthread_cond_signal(&helper.changed);
    pthread_mutex_unlock(&helper.lock);
    pthread_join(helper.thread, NULL);
}
