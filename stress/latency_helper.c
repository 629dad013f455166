/* A thread beside the mutators of a control of `latency`: it stops the world
 * so often and does nothing with it. See latency.h. */
#include "latency.h"

#include <errno.h>

#include "run.h"

/* What a slice of the collector's takes as a rule. */
#define SPIN_NS 50000

static struct {
    pthread_t thread;
    uint32_t over; /* atomic */
} helper;

static int
look_no_further(struct gyre_object *obj, void *arg)
{
    (void)obj, (void)arg;
    return 1;
}

static void
spin_until(uint64_t end)
{
    while (clock_ns() < end)
        ;
}

/* At even times; what is behind is not made up for. */
static void
stop_often(void)
{
    struct gyre_thread *self;
    uint64_t step = (uint64_t)(1e9 / latency_run.set.stops);
    uint64_t busy = (uint64_t)((double)step * latency_run.set.busy);
    uint64_t at = clock_ns();
    if (gyre_thread_attach(latency_run.heap, &self) != GYRE_OK)
        return;
    while (gyre_load_relaxed(&helper.over) == 0) { /* relaxed: a wish */
        uint64_t now = clock_ns();
        struct timespec time;
        at = at + step > now ? at + step : now;
        time.tv_sec = (time_t)(at / 1000000000);
        time.tv_nsec = (long)(at % 1000000000);
        gyre_detach_begin(self);
        spin_until(now + busy);
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) ==
               EINTR)
            ;
        latency_watch_spin(SPIN_NS);
        gyre_detach_end(self);
        (void)gyre_heap_walk(latency_run.heap, look_no_further, NULL);
    }
    gyre_thread_leave(self);
}

static void *
helper_main(void *arg)
{
    (void)arg;
    pthread_barrier_wait(&latency_run.built);
    stop_often();
    return NULL;
}

bool
latency_helper_is_wanted(void)
{
    return latency_run.set.stops > 0;
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
    gyre_store_relaxed(&helper.over, 1);
    pthread_join(helper.thread, NULL);
}
