/* The figures of `latency`, as text or as one JSON object. See latency.h. */
#include "latency.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "machine.h"
#include "run.h"

/* Half of them, one in a hundred and in a thousand above, the longest. */
enum { P50, P99, P999, MOST, POINTS };
static const double shares[POINTS] = {0.5, 0.99, 0.999, 1};

struct points {
    uint64_t ns[POINTS], count;
};

struct report {
    struct points gaps, stops, safepoints, slices, account, weak_gets;
    double utilisation[3]; /* in 1, 10, 100 ms */
    double steps, garbage; /* a second */
    double stops_a_second;
    /* in the time of whole cycles, processors that mutators had: over all, and
     * in the cycle with the least */
    double cycle_share, cycle_least;
    double collector_share; /* processors that collections had, of all time */
    uint64_t collections, not_noted, peak;
    struct gyre_statistics statistics;
};

static struct points
points_of(const struct gyre_histogram *histogram)
{
    struct points points = {.count = histogram->count};
    for (unsigned i = 0; i < POINTS; i++)
        points.ns[i] = gyre_histogram_quantile(histogram, shares[i]);
    return points;
}

static void
sum_up_mutators(struct report *report)
{
    const struct latency_settings *set = &latency_run.set;
    const struct gaps *gaps[THREADS_MOST];
    struct gyre_histogram weak_gets;
    uint64_t steps = 0, rings = 0, window = 1000000;
    memset(&weak_gets, 0, sizeof weak_gets);
    for (unsigned t = 0; t < set->threads; t++) {
        const struct latency_mutator *mutator = &latency_run.mutators[t];
        gaps[t] = &mutator->gaps;
        steps += mutator->steps;
        rings += mutator->rings;
        report->not_noted += mutator->gaps.not_noted;
        gyre_histogram_merge(&weak_gets, &mutator->weak_gets);
    }
    report->weak_gets = points_of(&weak_gets);
    report->gaps.count = steps;
    for (unsigned i = 0; i < POINTS; i++)
        report->gaps.ns[i] = gaps_quantile(gaps, set->threads, shares[i]);
    for (unsigned i = 0; i < 3; i++, window *= 10) {
        report->utilisation[i] = 1;
        for (unsigned t = 0; t < set->threads; t++) {
            double share = gaps_utilisation(gaps[t], window);
            if (share < report->utilisation[i])
                report->utilisation[i] = share;
        }
    }
    report->steps = (double)steps / set->seconds;
    report->garbage =
        (double)rings * LATENCY_RING / (set->seconds + LATENCY_BEGIN_NS / 1e9);
}

static void
sum_up(struct report *report)
{
    const struct latency_seen *seen = latency_watched();
    memset(report, 0, sizeof *report);
    report->peak = machine_peak();
    sum_up_mutators(report);
    report->stops = points_of(&seen->stops);
    report->safepoints = points_of(&seen->safepoints);
    report->slices = points_of(&seen->slices);
    report->account = points_of(&seen->account);
    report->stops_a_second =
        (double)seen->stops.count / latency_run.set.seconds;
    if (seen->cycles_ns > 0)
        report->cycle_share =
            (double)seen->mutators_ns / (double)seen->cycles_ns;
    report->collector_share =
        (double)seen->own_ns / 1e9 / latency_run.set.seconds;
    report->cycle_least = seen->least > 0 ? seen->least : report->cycle_share;
    gyre_statistics_get(latency_run.heap, &report->statistics);
    for (unsigned i = 0; i < GYRE_GENERATIONS; i++)
        report->collections += report->statistics.collections[i];
}

/* ---- JSON ---- */

static void
print_points_json(const char *name, const struct points *points)
{
    printf("\"%s\":{\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64
           ",\"max\":%" PRIu64 ",\"count\":%" PRIu64 "},",
           name, points->ns[P50], points->ns[P99], points->ns[P999],
           points->ns[MOST], points->count);
}

static void
print_json(const struct report *report)
{
    const struct latency_settings *set = &latency_run.set;
    const struct gyre_statistics *statistics = &report->statistics;
    printf("{\"collector\":\"%s\",\"live\":%" PRIu64 ",\"threads\":%u,"
           "\"seconds\":%.3f,\"drops\":%" PRIu64 ",",
           latency_collectors[set->collector], set->live, set->threads,
           set->seconds, latency_run.drops);
    print_points_json("gap_ns", &report->gaps);
    print_points_json("stop_ns", &report->stops);
    print_points_json("safepoint_ns", &report->safepoints);
    print_points_json("slice_cpu_ns", &report->slices);
    print_points_json("mutator_ns", &report->account);
    print_points_json("weak_get_ns", &report->weak_gets);
    printf("\"utilisation\":{\"ms1\":%.3f,\"ms10\":%.3f,\"ms100\":%.3f},"
           "\"cycle_processors\":{\"all\":%.3f,\"least\":%.3f},"
           "\"collector_processors\":%.3f,"
           "\"steps_per_second\":%.0f,\"garbage_per_second\":%.0f,"
           "\"stops_per_second\":%.2f,",
           report->utilisation[0], report->utilisation[1],
           report->utilisation[2], report->cycle_share, report->cycle_least,
           report->collector_share, report->steps, report->garbage,
           report->stops_a_second);
    printf("\"collections\":%" PRIu64 ",\"abandoned\":%" PRIu64
           ",\"suspected\":%" PRIu64 ",\"suspected_falsely\":%" PRIu64
           ",\"limbo_peak_bytes\":%" PRIu64 ",\"gaps_not_noted\":%" PRIu64
           ",\"peak_rss_bytes\":%" PRIu64 "}\n",
           report->collections, statistics->abandoned, statistics->suspected,
           statistics->suspected_falsely, statistics->limbo_peak,
           report->not_noted, report->peak);
}

/* ---- text ---- */

static void
print_points(const char *name, const struct points *points)
{
    if (points->count > 0)
        printf("%-13sp50 %.4f ms, p99 %.4f ms, p99.9 %.4f ms, max %.4f ms\n",
               name, (double)points->ns[P50] / 1e6,
               (double)points->ns[P99] / 1e6, (double)points->ns[P999] / 1e6,
               (double)points->ns[MOST] / 1e6);
}

static void
print_text(const struct report *report)
{
    const struct latency_settings *set = &latency_run.set;
    const struct gyre_statistics *statistics = &report->statistics;
    printf("run          collector %s, %" PRIu64 " live, %u threads, %.1f s\n",
           latency_collectors[set->collector], set->live, set->threads,
           set->seconds);
    print_points("gaps by time", &report->gaps);
    print_points("stops", &report->stops);
    print_points("  to arrive", &report->safepoints);
    print_points("  collector's", &report->slices);
    print_points("mutators'", &report->account);
    print_points("weak gets", &report->weak_gets);
    printf("utilisation  %.3f in 1 ms, %.3f in 10 ms, %.3f in 100 ms\n"
           "in cycles    mutators had %.2f processors, in one cycle %.2f\n"
           "collections  had %.2f processors of all the time\n"
           "steps        %.2f million a second\n"
           "garbage      %.2f million objects a second\n",
           report->utilisation[0], report->utilisation[1],
           report->utilisation[2], report->cycle_share, report->cycle_least,
           report->collector_share, report->steps / 1e6, report->garbage / 1e6);
    printf("collections  %" PRIu64 ", %" PRIu64 " abandoned, %.1f stops a "
           "second, %" PRIu64 " drops\n"
           "suspected    %" PRIu64 ", of these falsely %" PRIu64 "\n"
           "memory       peak %.1f MiB, of limbo %.1f MiB\n",
           report->collections, statistics->abandoned, report->stops_a_second,
           latency_run.drops, statistics->suspected,
           statistics->suspected_falsely, (double)report->peak / 1048576,
           (double)statistics->limbo_peak / 1048576);
    if (report->not_noted > 0)
        printf("not noted    %" PRIu64 " gaps, which utilisation leaves out\n",
               report->not_noted);
}

void
latency_report(void)
{
    static struct report report;
    sum_up(&report);
    (latency_run.set.json ? print_json : print_text)(&report);
}
