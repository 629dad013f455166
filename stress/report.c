/* What people and scripts are told: live progress, and the report. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "machine.h"
#include "node.h"
#include "run.h"

void
report_create(void)
{
    /* the peak counts from now on */
    machine_peak_restart();
}

/* ---- numbers ---- */

uint64_t
report_sum(enum tally_id id)
{
    uint64_t sum = tally_read(&tally_spare, id);
    for (unsigned i = 0; i < run.settings.threads; i++) {
        if (run.workers[i] != NULL)
            sum += tally_read(&run.workers[i]->tally, id);
    }
    return sum;
}

static double
seconds_so_far(void)
{
    uint64_t end = run.end_ns ? run.end_ns : clock_ns();
    return run.start_ns ? (double)(end - run.start_ns) / 1e9 : 0;
}

static uint64_t
collections(void)
{
    /* relaxed: a count */
    return atomic_load_explicit(&run.collections_ended, memory_order_relaxed);
}

/* ---- paths ---- */

struct path {
    const char *what;
    unsigned mixes;   /* that must run it */
    unsigned threads; /* at least, for that */
    uint64_t times;
};

/* Does the heap have what the path needs? */
static bool
is_possible(enum tally_id id)
{
    struct node_kinds kinds = node_kinds();
    switch (id) {
    case TALLY_ARRAY_POP:
    case TALLY_ARRAY_APPEND:
        return run.graph.longest > NODE_INLINE_MOST;
    case TALLY_CYCLE:
        return run.container_count > 0;
    case TALLY_FINALIZED:
        return kinds.late > 0;
    case TALLY_FINALIZED_PROMPTLY:
        return kinds.prompt > 0;
    case TALLY_RESURRECTED:
        return kinds.resurrecting > 0;
    case TALLY_LOCKED:
        return run.was_locked;
    case TALLY_SHARED_EXCHANGE:
    case TALLY_SHARED_GET:
    case TALLY_SHARED_SET:
        return run.was_shared;
    case TALLY_CUT:
        return run.graph.synthetic_count > 0;
    default:
        return true;
    }
}

static unsigned
path_missed(const struct path *path, bool tell)
{
    if (!(path->mixes & run.settings.mix) ||
        path->threads > run.settings.threads || path->times > 0)
        return 0;
    if (tell)
        fprintf(stderr, "gyre-stress: failed: mix %s never ran: %s\n",
                run.settings.mix_name, path->what);
    return 1;
}

static unsigned
tallies_missed(bool tell)
{
    static const struct path table[] = {
#define TALLY_PATH(id, what, mixes, threads) {what, mixes, threads, 0},
        TALLY_TABLE(TALLY_PATH)
#undef TALLY_PATH
    };
    unsigned missed = 0;
    for (unsigned i = 0; i < TALLY_COUNT; i++) {
        struct path path = table[i];
        path.times = report_sum((enum tally_id)i);
        if (is_possible((enum tally_id)i))
            missed += path_missed(&path, tell);
    }
    return missed;
}

static unsigned
library_paths(struct path *paths)
{
    const struct gyre_statistics *s = &run.statistics;
    const unsigned passing = MIX_HANDOVER | MIX_SHARED | MIX_CHURN;
    const bool finalizers = node_kinds().late > 0;
    const struct path all[] = {
        {"a young collection", MIX_ALL, 1, s->collections[0]},
        {"a full collection", MIX_ALL, 1, s->collections[2]},
        {"the collector freed something", MIX_ALL, 1, s->collected},
        {"a page refilled", MIX_ALL, 1, s->page_refills},
        {"a count spilled", MIX_PRIVATE, 1, s->spills},
        {"an object queued to its owner", passing, 2, s->queued},
        {"a queued object merged", passing, 2, s->merges},
        {"a merge for a thread that is away", MIX_CHURN, 2, s->merges_by_proxy},
        {"a wait for an object's lock", MIX_SHARED, 2, s->lock_waits},
        {"a cascade cut short", MIX_CUT, 1, s->cascade_deferred},
        {"a page of a thread that left adopted", MIX_CHURN, 1,
         s->pages_adopted},
        {"a weak callback", MIX_WEAK, 1, s->weak_callbacks_run},
        {"a finalizer", finalizers ? MIX_FINALIZERS : 0, 1, s->finalizers_run},
    };
    memcpy(paths, all, sizeof all);
    return sizeof all / sizeof all[0];
}

/* Once memory was refused, a path may rightly not have run. */
unsigned
report_missed(bool tell)
{
    struct path paths[32];
    unsigned missed, count;
    if (report_sum(TALLY_REFUSED) > 0 || run.collections_refused > 0)
        return 0;
    missed = tallies_missed(tell);
    count = library_paths(paths);
    for (unsigned i = 0; i < count; i++)
        missed += path_missed(&paths[i], tell);
    return missed;
}

/* ---- progress ---- */

void
report_progress(void)
{
    enum { WIDTH = 24 };
    static uint64_t last_ns, last_operations;
    uint64_t now = clock_ns(), operations = report_sum(TALLY_OPERATIONS);
    double elapsed = seconds_so_far(), part = 0, rate;
    char bar[WIDTH + 1];
    machine_peak();
    if (!isatty(STDERR_FILENO) || now - last_ns < 200000000u)
        return;
    rate = last_ns ? (double)(operations - last_operations) /
                         (double)(now - last_ns) * 1e3
                   : 0;
    last_ns = now;
    last_operations = operations;
    if (run.settings.seconds > 0)
        part = elapsed / run.settings.seconds;
    else if (run.settings.rounds > 0)
        /* relaxed: a count */
        part = (double)atomic_load_explicit(&run.rounds_done,
                                            memory_order_relaxed) /
               (double)run.settings.rounds;
    for (unsigned i = 0; i < WIDTH; i++)
        bar[i] = (double)i < part * WIDTH ? '#' : '.';
    bar[WIDTH] = '\0';
    fprintf(stderr,
            "\r[%s] %4.0f s  round %" PRIu64 "  %6.2f M op/s  "
            "%8" PRIu64 " built  %6" PRIu64 " collections ",
            bar, elapsed,
            1 + atomic_load_explicit(&run.rounds_done, memory_order_relaxed),
            rate, report_sum(TALLY_BUILT), collections());
}

void
report_progress_end(void)
{
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "\r%100s\r", "");
}

/* ---- the report ---- */

static void
print_json(bool clean)
{
    const struct settings *set = &run.settings;
    const struct gyre_histogram *stops = &run.stops;
    struct path paths[32];
    unsigned count;
    printf("{\"verdict\":\"%s\",\"seed\":%" PRIu64 ",\"threads\":%u,"
           "\"seconds\":%.3f,\"mix\":\"%s\",\"copies\":%s,\"verify\":%s,"
           "\"rounds\":%" PRIu64 ",\"quiescent_points\":%" PRIu64 ",",
           clean ? "clean" : "failed", set->seed, set->threads,
           seconds_so_far(), set->mix_name, set->copies ? "true" : "false",
           set->verify ? "true" : "false",
           atomic_load_explicit(&run.rounds_done, memory_order_relaxed),
           run.quiescent_points);
    printf("\"objects_built\":%" PRIu64 ",\"objects_freed\":%" PRIu64
           ",\"collections\":%" PRIu64 ",\"operations\":%" PRIu64
           ",\"operations_per_second\":%.0f,",
           report_sum(TALLY_BUILT), report_sum(TALLY_FREED), collections(),
           report_sum(TALLY_OPERATIONS),
           (double)report_sum(TALLY_OPERATIONS) / seconds_so_far());
    printf("\"stop_ns\":{\"p50\":%" PRIu64 ",\"p99\":%" PRIu64
           ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 ",\"count\":%" PRIu64
           "},\"slices\":%" PRIu64 ",\"suspected\":%" PRIu64
           ",\"suspected_falsely\":%" PRIu64 ",\"limbo_peak_bytes\":%" PRIu64
           ",\"abandoned\":%" PRIu64 ",\"peak_rss_bytes\":%" PRIu64 ",",
           gyre_histogram_quantile(stops, 0.5),
           gyre_histogram_quantile(stops, 0.99),
           gyre_histogram_quantile(stops, 0.999), stops->max, stops->count,
           run.statistics.slices, run.statistics.suspected,
           run.statistics.suspected_falsely, run.statistics.limbo_peak,
           run.statistics.abandoned, machine_peak());
    printf("\"leaked\":%" PRIu64 ",\"freed_early\":%" PRIu64
           ",\"failures\":%" PRIu64 ",\"allocations_refused\":%" PRIu64
           ",\"collections_refused\":%" PRIu64 ",\"paths\":{",
           oracle_failures(FAILURE_LEAK), oracle_failures(FAILURE_EARLY),
           oracle_failures_all(), report_sum(TALLY_REFUSED),
           run.collections_refused);
#define TALLY_JSON(id, what, ...)                            \
    printf("%s\"%s\":%" PRIu64, TALLY_##id ? "," : "", what, \
           report_sum(TALLY_##id));
    TALLY_TABLE(TALLY_JSON)
#undef TALLY_JSON
    printf("},\"slow_paths\":{");
    count = library_paths(paths);
    for (unsigned i = 0; i < count; i++)
        printf("%s\"%s\":%" PRIu64, i ? "," : "", paths[i].what,
               paths[i].times);
    printf("}}\n");
}

static void
print_text(bool clean)
{
    const struct settings *set = &run.settings;
    double seconds = seconds_so_far();
    uint64_t operations = report_sum(TALLY_OPERATIONS);
    printf("heap         %s: %" PRIu32 " nodes, %" PRIu32 " edges\n",
           set->heap_file, run.graph.node_count, run.graph.edge_count);
    printf("run          mix %s, %u thread%s%s, seed %" PRIu64 ", %.1f s, "
           "%" PRIu64 " rounds, %" PRIu64 " quiescent points\n",
           set->mix_name, set->threads, set->threads == 1 ? "" : "s",
           set->copies ? ", a copy each" : "", set->seed, seconds,
           atomic_load_explicit(&run.rounds_done, memory_order_relaxed),
           run.quiescent_points);
    printf("objects      %" PRIu64 " built, %" PRIu64 " freed\n",
           report_sum(TALLY_BUILT), report_sum(TALLY_FREED));
    printf("operations   %" PRIu64 ", %.2f million a second\n", operations,
           (double)operations / seconds / 1e6);
    printf("collections  %" PRIu64 ", %.1f a second\n", collections(),
           (double)collections() / seconds);
    printf("pauses       p50 %.3f ms, p99 %.3f ms, max %.3f ms (%" PRIu64 ")\n",
           (double)gyre_histogram_quantile(&run.stops, 0.5) / 1e6,
           (double)gyre_histogram_quantile(&run.stops, 0.99) / 1e6,
           (double)run.stops.max / 1e6, run.stops.count);
    if (set->concurrent)
        printf("beside       %" PRIu64 " slices, %" PRIu64
               " suspected, %" PRIu64
               " of them falsely, %.1f MiB in limbo at most, %" PRIu64
               " abandoned\n",
               run.statistics.slices, run.statistics.suspected,
               run.statistics.suspected_falsely,
               (double)run.statistics.limbo_peak / 1048576,
               run.statistics.abandoned);
    printf("peak memory  %.1f MiB, from after loading\n",
           (double)machine_peak() / 1048576);
    if (report_sum(TALLY_REFUSED) > 0 || run.collections_refused > 0)
        printf("out of memory: %" PRIu64 " allocations and %" PRIu64
               " collections were refused\n",
               report_sum(TALLY_REFUSED), run.collections_refused);
    printf("verdict      %s", clean ? "clean" : "failed");
    if (!clean)
        printf(": %" PRIu64 " leaked, %" PRIu64 " freed early, %" PRIu64
               " failures in all; again with --seed %" PRIu64,
               oracle_failures(FAILURE_LEAK), oracle_failures(FAILURE_EARLY),
               oracle_failures_all(), set->seed);
    printf("\n");
}

static void
print(bool clean)
{
    if (run.settings.json)
        print_json(clean);
    else
        print_text(clean);
    fflush(stdout);
}

int
report_print(void)
{
    bool clean = report_missed(true) == 0 && oracle_failures_all() == 0;
    print(clean);
    return clean ? 0 : 1;
}

void
report_failure(void)
{
    /* The checker may be writing the numbers; they are then as they are. */
    bool locked = pthread_mutex_trylock(&run.lock) == 0;
    print(false);
    if (locked)
        pthread_mutex_unlock(&run.lock);
}
