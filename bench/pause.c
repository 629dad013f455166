/* pause: how long a program is held up. Each run is `gyre-stress latency` in a
 * process of its own; it gives the figures of all rows of a scenario. Beside
 * the concurrent collector, in turn: a control, with the same threads, as many
 * stops a second that do no work and a processor as busy, and the collector
 * that stops the world for all of a collection. docs/stress.md */
#include <string.h>

#include "harness.h"
#include "latency.h"
#include "row.h"

/* ---- what is run ---- */

/* Its arguments but for the length and the collector. */
struct scenario {
    const char *name;
    const char *arguments[12];
    bool drops_heap; /* of --heap */
};

enum {
    LIVE_100K,
    LIVE_1M,
    LIVE_5M,
    LIVE_10M,
    LIVE_1M_TWO,
    ISLAND_1M,
    ESLINT,
    ONE_CORE,
    WEAK_GET,
    SCENARIOS
};

static const struct scenario scenarios[SCENARIOS] = {
    [LIVE_100K] = {"live_100k", {"--live", "100000"}, false},
    [LIVE_1M] = {"live_1m", {"--live", "1000000"}, false},
    [LIVE_5M] = {"live_5m", {"--live", "5000000"}, false},
    [LIVE_10M] = {"live_10m", {"--live", "10000000"}, false},
    [LIVE_1M_TWO] = {"live_1m_two",
                     {"--live", "1000000", "--threads", "2"},
                     false},
    [ISLAND_1M] = {"island_1m",
                   {"--live", "1000000", "--island", "1000000", "--every", "2"},
                   false},
    [ESLINT] = {"eslint", {"--live", "1000000", "--every", "4"}, true},
    [ONE_CORE] = {"one_core",
                  {"--live", "1000000", "--threads", "2", "--pin", "0"},
                  false},
    [WEAK_GET] = {"weak_get",
                  {"--live", "100000", "--threads", "2", "--island", "1000000",
                   "--weak", "1000", "--every", "1"},
                  false},
};

/* ---- the rows ---- */

struct part {
    unsigned scenario;
    const char *object, *key; /* of the report */
    double scale;
};

#define MS 1e-6 /* of a figure in ns */
#define EXCESS 0.05

/* `before` is the scenario's name and a slash. */
#define ROW(before, number, title, thing, point, text, ...)                 \
    {                                                                       \
        .name = before title, .unit = "ms", .what = text,                   \
        .part = &(const struct part){number, thing, point, MS}, __VA_ARGS__ \
    }

#define SLICE_ROWS(before, number)                                          \
    ROW(before, number, "slice_max", "slice_cpu_ns", "max",                 \
        "the collector's processor time in a stop, the most", .goal = 0.1), \
        ROW(before, number, "slice_p99", "slice_cpu_ns", "p99",             \
            "the same, one in 100 is longer", .goal = 0)
#define STOP_ROWS(before, number, limit, most)                     \
    ROW(before, number, "stop_p999", "stop_ns", "p999",            \
        "world stopped, request to resume: one in 1000 is longer", \
        .goal = limit, .excess = EXCESS),                          \
        ROW(before, number, "stop_max", "stop_ns", "max",          \
            "the same, the longest", .goal = most, .excess = EXCESS)
#define OWN_ROWS(before, number, limit, most)                          \
    ROW(before, number, "mutator_p999", "mutator_ns", "p999",          \
        "a thread, on the collector's account: one in 1000 is longer", \
        .goal = limit, .excess = EXCESS),                              \
        ROW(before, number, "mutator_max", "mutator_ns", "max",        \
            "the same, the longest", .goal = most, .excess = EXCESS)
#define GAP_ROWS(before, number)                                           \
    ROW(before, number, "gap_p999", "gap_ns", "p999",                      \
        "gap that a request meets at random: one in 1000 is longer",       \
        .goal = 0.1, .excess = EXCESS),                                    \
        ROW(before, number, "gap_max", "gap_ns", "max", "the longest gap", \
            .goal = 0)
#define ALL_ROWS(before, number)                                      \
    SLICE_ROWS(before, number), STOP_ROWS(before, number, 0.25, 0.5), \
        OWN_ROWS(before, number, 0.25, 0.5), GAP_ROWS(before, number)
static const struct bench_row rows[] = {
    ALL_ROWS("live_100k/", LIVE_100K),
    ALL_ROWS("live_1m/", LIVE_1M),
    ALL_ROWS("live_5m/", LIVE_5M),
    ALL_ROWS("live_10m/", LIVE_10M),
    ALL_ROWS("live_1m_two/", LIVE_1M_TWO),
    ALL_ROWS("island_1m/", ISLAND_1M),
    ALL_ROWS("eslint/", ESLINT),
    SLICE_ROWS("one_core/", ONE_CORE),
    STOP_ROWS("one_core/", ONE_CORE, 0.25, 0.5),
    OWN_ROWS("one_core/", ONE_CORE, 0, 0),
    {.name = "one_core/mutators_share",
     .unit = "processors",
     .what = "what two mutators have of one during cycles",
     .part = &(const struct part){ONE_CORE, "cycle_processors", "all", 1},
     .more = true,
     .goal = 0.6},
    {.name = "one_core/mutators_least",
     .unit = "processors",
     .what = "the same, in the cycle that left them least",
     .part = &(const struct part){ONE_CORE, "cycle_processors", "least", 1},
     .more = true},
    ROW("weak_get/", WEAK_GET, "p999", "weak_get_ns", "p999",
        "gyre_weakref_get while an island with 1000 is given up", .goal = 0.25,
        .excess = EXCESS),
    ROW("weak_get/", WEAK_GET, "max", "weak_get_ns", "max",
        "the same, the longest", .goal = 0.5, .excess = EXCESS),
};

/* ---- runs ---- */

enum { CONTROL, STOP }; /* of what is measured beside */

static const struct part *
part_of(const struct bench_tally *tally)
{
    return tally->row->part;
}

/* What a control repeats of the run it is for. */
struct repeated {
    double stops; /* a second */
    double share; /* of a processor, that collections had */
};

/* One run, its figures to a column of the scenario's rows. False: it failed.
 * `column` -1 is the concurrent collector, of which `*repeated` is told. */
static bool
measure(struct bench_tally *tallies, size_t count, unsigned number, int column,
        struct repeated *repeated)
{
    static const char *const collectors[] = {"concurrent", "none", "stop"};
    const struct scenario *scenario = &scenarios[number];
    char seconds[32], rate[32], busy[32], reason[BENCH_REASON] = "";
    const char *arguments[24] = {"--collector", collectors[column + 1],
                                 "--seconds", seconds};
    struct latency_result *result;
    unsigned at = 4;
    bool clean = true;
    snprintf(seconds, sizeof seconds, "%g", bench_settings.seconds);
    snprintf(rate, sizeof rate, "%.0f", repeated->stops);
    snprintf(busy, sizeof busy, "%.0f", repeated->share * 100);
    for (unsigned i = 0; scenario->arguments[i] != NULL; i++)
        arguments[at++] = scenario->arguments[i];
    if (scenario->drops_heap) {
        arguments[at++] = "--heap";
        arguments[at++] = bench_settings.heap_file;
    }
    if (column == CONTROL) {
        arguments[at++] = "--stops-per-second";
        arguments[at++] = rate;
        arguments[at++] = "--busy";
        arguments[at++] = busy;
    }
    result = latency_measure(arguments, reason);
    for (size_t i = 0; i < count; i++) {
        struct bench_series *series =
            column < 0 ? &tallies[i].own : &tallies[i].beside[column];
        const struct part *part = part_of(&tallies[i]);
        double figure;
        if (part->scenario != number)
            continue;
        if (result == NULL)
            memcpy(series->failure, reason, sizeof reason);
        else if (latency_figure(result, part->object, part->key, &figure))
            bench_series_add(series, figure * part->scale);
        else if (column < 0) {
            snprintf(series->failure, sizeof series->failure,
                     "there was no such event");
            clean = false;
        }
    }
    clean &= result != NULL;
    if (result != NULL && column < 0) {
        (void)latency_figure(result, NULL, "stops_per_second",
                             &repeated->stops);
        (void)latency_figure(result, NULL, "collector_processors",
                             &repeated->share);
    }
    latency_free(result);
    return clean;
}

/* The control comes after the run whose stops it repeats; the collector that
 * stops the world before or after the two, in turn. */
static bool
measure_scenario(struct bench_tally *tallies, size_t count, unsigned number,
                 unsigned round)
{
    struct repeated repeated = {0, 0};
    bool clean = true;
    if (round % 2 != 0)
        clean &= measure(tallies, count, number, STOP, &repeated);
    clean &= measure(tallies, count, number, -1, &repeated);
    clean &= measure(tallies, count, number, CONTROL, &repeated);
    if (round % 2 == 0)
        clean &= measure(tallies, count, number, STOP, &repeated);
    return clean;
}

static bool
is_selected(struct bench_tally *tallies, size_t count, unsigned number)
{
    bool selected = false;
    for (size_t i = 0; i < count; i++) {
        if (part_of(&tallies[i])->scenario != number || !tallies[i].selected)
            continue;
        selected = true;
        if (scenarios[number].drops_heap && bench_settings.heap_file == NULL)
            tallies[i].left_out = "name a heap snapshot by --heap";
    }
    return selected;
}

static bool
measure_round(struct bench_tally *tallies, size_t count, unsigned round,
              FILE *progress)
{
    bool clean = true;
    for (unsigned s = 0; s < SCENARIOS; s++) {
        if (!is_selected(tallies, count, s) ||
            (scenarios[s].drops_heap && bench_settings.heap_file == NULL))
            continue;
        if (progress != NULL)
            fprintf(progress, "\r\033[Kround %u: pause.%s", round + 1,
                    scenarios[s].name);
        clean &= measure_scenario(tallies, count, s, round);
    }
    return clean;
}

const struct bench_group bench_pause = {
    .name = "pause",
    .rows = rows,
    .count = sizeof rows / sizeof rows[0],
    .round = measure_round,
    .beside = {[CONTROL] = "control", [STOP] = "stop"},
    .apart = true,
};
