/* What the heap tells of itself during a run of `latency`: its histograms, and
 * at its events the processor time of those concerned. See latency.h. */
#include "latency.h"

#include <string.h>

#include "run.h"

/* A shorter cycle is a few ticks of the scheduler. */
#define CYCLE_LEAST_NS 5000000u

static struct {
    pthread_mutex_t lock;
    struct latency_seen seen; /* under lock */
    /* the collecting thread's, one at a time */
    uint64_t generation;
    uint64_t slice_ns, cycle_ns, cycle_own_ns, cycle_mutators_ns;
    bool cycle_measured;
    /* mutator 0's */
    struct gyre_histogram stops, safepoints, account; /* before */
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER};

static uint64_t
time_of(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t
mutators_time(void)
{
    uint64_t sum = 0;
    for (unsigned t = 0; t < latency_run.set.threads; t++)
        sum += time_of(latency_run.mutators[t].clock);
    return sum;
}

static bool
is_measuring(void)
{
    /* acquire; pairs: latency_watch_begin(). The mutators' clocks are there. */
    return gyre_load_acquire(&latency_run.measuring) != 0;
}

static void
end_slice(void)
{
    uint64_t ns = time_of(CLOCK_THREAD_CPUTIME_ID) - watch.slice_ns;
    pthread_mutex_lock(&watch.lock);
    gyre_histogram_add(&watch.seen.slices, ns);
    pthread_mutex_unlock(&watch.lock);
}

void
latency_watch_spin(uint64_t ns)
{
    uint64_t end = time_of(CLOCK_MONOTONIC) + ns;
    watch.slice_ns = time_of(CLOCK_THREAD_CPUTIME_ID);
    while (time_of(CLOCK_MONOTONIC) < end)
        ;
    if (is_measuring())
        end_slice();
}

static void
begin_cycle(void)
{
    watch.cycle_mutators_ns = mutators_time();
    watch.cycle_ns = time_of(CLOCK_MONOTONIC);
}

static void
end_cycle(void)
{
    uint64_t ns = time_of(CLOCK_MONOTONIC) - watch.cycle_ns;
    uint64_t mutators = mutators_time() - watch.cycle_mutators_ns;
    double share = (double)mutators / (double)ns;
    struct latency_seen *seen = &watch.seen;
    pthread_mutex_lock(&watch.lock);
    seen->cycles_ns += ns;
    seen->mutators_ns += mutators;
    if (ns >= CYCLE_LEAST_NS && (seen->least == 0 || share < seen->least))
        seen->least = share;
    pthread_mutex_unlock(&watch.lock);
}

static void
count_old(uint32_t *counter)
{
    if (watch.generation == GYRE_GEN_OLD)
        /* release; pairs: is_collected() */
        gyre_store_release(counter, gyre_load_relaxed(counter) + 1);
}

static void
on_event(enum gyre_event event, uint64_t value, void *arg)
{
    (void)arg;
    if (event == GYRE_EVENT_STOP_BEGIN)
        watch.slice_ns = time_of(CLOCK_THREAD_CPUTIME_ID);
    else if (event == GYRE_EVENT_STOP_END && is_measuring())
        end_slice();
    else if (event == GYRE_EVENT_COLLECT_BEGIN) {
        watch.generation = value;
        count_old(&latency_run.old_begun);
        watch.cycle_measured = is_measuring();
        if (watch.cycle_measured) {
            begin_cycle();
            watch.cycle_own_ns = time_of(CLOCK_THREAD_CPUTIME_ID);
        }
    } else if (event == GYRE_EVENT_COLLECT_END) {
        count_old(&latency_run.old_ended);
        if (watch.cycle_measured && is_measuring()) {
            watch.seen.own_ns +=
                time_of(CLOCK_THREAD_CPUTIME_ID) - watch.cycle_own_ns;
            end_cycle();
        }
    } else if (event == GYRE_EVENT_COMMIT)
        /* relaxed: a sign; who misses it asks at the next */
        gyre_fetch_add_relaxed(&latency_run.commits, 1);
}

void
latency_watch(void)
{
    gyre_events_listen(latency_run.heap, on_event, NULL);
}

/* ---- histograms, from begin to end ---- */

static void
copy_histograms(struct gyre_histogram *stops, struct gyre_histogram *safepoints,
                struct gyre_histogram *account)
{
    bool control = latency_run.set.collector == COLLECTOR_NONE;
    gyre_statistics_histogram(
        latency_run.heap, control ? GYRE_HIST_VISIT : GYRE_HIST_STOP, stops);
    gyre_statistics_histogram(latency_run.heap, GYRE_HIST_SAFEPOINT,
                              safepoints);
    gyre_statistics_histogram(latency_run.heap, GYRE_HIST_MUTATOR, account);
}

/* The greatest value of what is left is known by its bucket alone. */
static void
take_away(struct gyre_histogram *from, const struct gyre_histogram *before)
{
    from->count -= before->count;
    from->sum -= before->sum;
    for (uint32_t i = 0; i < GYRE_HISTOGRAM_BUCKETS; i++)
        from->buckets[i] -= before->buckets[i];
    from->max = gyre_histogram_quantile(from, 1);
}

void
latency_watch_begin(void)
{
    /* written, so that its memory is there before the first stop */
    memset(&watch.seen, 0, sizeof watch.seen);
    if (latency_run.set.collector == COLLECTOR_NONE)
        begin_cycle();
    copy_histograms(&watch.stops, &watch.safepoints, &watch.account);
    /* release; pairs: is_measuring() */
    gyre_store_release(&latency_run.measuring, 1);
}

void
latency_watch_end(void)
{
    struct latency_seen *seen = &watch.seen;
    /* relaxed: one entry more does no harm */
    gyre_store_relaxed(&latency_run.measuring, 0);
    if (latency_run.set.collector == COLLECTOR_NONE)
        end_cycle();
    copy_histograms(&seen->stops, &seen->safepoints, &seen->account);
    take_away(&seen->stops, &watch.stops);
    take_away(&seen->safepoints, &watch.safepoints);
    take_away(&seen->account, &watch.account);
}

const struct latency_seen *
latency_watched(void)
{
    static struct latency_seen seen;
    pthread_mutex_lock(&watch.lock);
    seen = watch.seen;
    pthread_mutex_unlock(&watch.lock);
    return &seen;
}
