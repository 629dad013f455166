/* Mutators that note the gaps in their own loop, beside a heap of so many
 * live objects, while rings of ten become garbage at a set rate. A step of the
 * loop is some slot operations, a ring when one is due, and a safepoint; what
 * lies between two steps is a gap, whoever caused it: the collector, the
 * allocator, the system. Weighted by time: the gap that a request meets which
 * comes at a random moment. See latency.h, docs/stress.md. */
#include "latency.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <gyre/gyre.h>

#include "arguments.h"
#include "machine.h"
#include "run.h"

#define RING 10
#define LIVE_MOST 200000000u
/* Garbage that is behind its rate is made up for by so many rings a step. */
#define RINGS_A_STEP 4u
#define BEGIN_NS UINT64_C(200000000) /* not measured */
/* Gaps of so much and more are noted one by one, for utilisation. */
#define NOTED_NS 5000u
#define NOTED_MOST (1u << 20)
/* Gaps by powers of two, each in so many steps. */
#define STEPS 32u
#define BUCKETS (64u * STEPS)

struct settings_of_latency {
    uint64_t live, rate;
    unsigned threads;
    double seconds;
    const char *options;
    bool concurrent, json;
};

struct item {
    struct gyre_object head;
    struct gyre_slot left, right;
};
static const uint32_t item_slots[] = {offsetof(struct item, left),
                                      offsetof(struct item, right)};
static struct gyre_type item_type = {
    .name = "item",
    .size = sizeof(struct item),
    .slot_count = 2,
    .slots = item_slots,
};

struct gap {
    uint64_t begin_ns, ns;
};

struct mutator_of_latency {
    pthread_t thread;
    struct item *live;        /* a tree */
    uint64_t weight[BUCKETS]; /* ns */
    uint64_t longest, steps, rings, begin_ns, end_ns;
    struct gap *gaps;
    uint32_t gap_count;
    bool failed;
};

static struct settings_of_latency set;
static struct gyre_heap *heap;
static pthread_barrier_t built;

/* ---- gaps ---- */

static unsigned
bucket_of(uint64_t ns)
{
    unsigned power = 63u - (unsigned)__builtin_clzll(ns | 1);
    uint64_t rest = power > 5 ? (ns >> (power - 5)) & (STEPS - 1)
                              : (ns << (5 - power)) & (STEPS - 1);
    return power * STEPS + (unsigned)rest;
}

/* The upper end of a bucket. */
static uint64_t
bucket_end(unsigned bucket)
{
    double low = (double)(UINT64_C(1) << bucket / STEPS);
    return (uint64_t)(low * (1 + (double)(bucket % STEPS + 1) / STEPS));
}

static void
note_gap(struct mutator_of_latency *mutator, uint64_t begin_ns, uint64_t ns)
{
    mutator->weight[bucket_of(ns)] += ns;
    if (ns > mutator->longest)
        mutator->longest = ns;
    if (ns >= NOTED_NS && mutator->gap_count < NOTED_MOST)
        mutator->gaps[mutator->gap_count++] = (struct gap){begin_ns, ns};
}

/* ---- the collector's own time in a stop ---- */

/* The collecting thread's, one at a time; atomic, as it may go on when the
 * mutators have ended. */
static struct {
    uint64_t began_ns; /* the collecting thread's alone */
    uint64_t longest, number[BUCKETS], count;
} slices;

static uint64_t
processor_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void
on_event(enum gyre_event event, uint64_t value, void *arg)
{
    uint64_t ns;
    (void)value, (void)arg;
    if (event == GYRE_EVENT_STOP_BEGIN)
        slices.began_ns = processor_ns();
    if (event != GYRE_EVENT_STOP_END)
        return;
    ns = processor_ns() - slices.began_ns;
    /* relaxed, here and below: figures, with one writer */
    gyre_fetch_add_relaxed(&slices.number[bucket_of(ns)], 1);
    gyre_fetch_add_relaxed(&slices.count, 1);
    if (ns > gyre_load_relaxed(&slices.longest))
        gyre_store_relaxed(&slices.longest, ns);
}

static uint64_t
slice_quantile(double share)
{
    uint64_t below = 0, count = gyre_load_relaxed(&slices.count);
    unsigned i;
    for (i = 0; count > 0 && i < BUCKETS - 1; i++) {
        below += gyre_load_relaxed(&slices.number[i]);
        if ((double)below >= share * (double)count)
            break;
    }
    return count > 0 ? bucket_end(i) : 0;
}

/* Of all mutators: the gap at that share of the time. */
static uint64_t
quantile(const struct mutator_of_latency *mutators, double share)
{
    double all = 0, below = 0;
    unsigned i, t;
    for (t = 0; t < set.threads; t++)
        for (i = 0; i < BUCKETS; i++)
            all += (double)mutators[t].weight[i];
    for (i = 0; i < BUCKETS; i++) {
        for (t = 0; t < set.threads; t++)
            below += (double)mutators[t].weight[i];
        if (below >= share * all)
            break;
    }
    return i < BUCKETS ? bucket_end(i) : 0;
}

/* The least share of any window of that length that was not in noted gaps. A
 * window with the least begins where a gap begins, or ends where one ends:
 * those that begin with one differ by less than that gap. */
static double
utilisation(const struct mutator_of_latency *mutator, uint64_t window_ns)
{
    const struct gap *gaps = mutator->gaps;
    uint64_t most = 0, sum = 0;
    uint32_t first = 0;
    for (uint32_t last = 0; last < mutator->gap_count; last++) {
        uint64_t end = gaps[last].begin_ns + gaps[last].ns;
        uint64_t begin = end > window_ns ? end - window_ns : 0, cut;
        sum += gaps[last].ns;
        while (gaps[first].begin_ns + gaps[first].ns <= begin)
            sum -= gaps[first++].ns;
        cut = begin > gaps[first].begin_ns ? begin - gaps[first].begin_ns : 0;
        if (sum - cut > most)
            most = sum - cut;
    }
    return 1 - (double)most / (double)window_ns;
}

static double
least_utilisation(const struct mutator_of_latency *mutators, uint64_t ns)
{
    double least = 1;
    for (unsigned t = 0; t < set.threads; t++) {
        double share = utilisation(&mutators[t], ns);
        least = share < least ? share : least;
    }
    return least;
}

/* ---- work ---- */

static struct item *
item_new(void)
{
    return GYRE_NEW(struct item, &item_type);
}

/* A tree of `count` items. NULL: no memory. */
static struct item *
tree_new(struct gyre_thread *self, uint64_t count)
{
    struct item **items = malloc(count * sizeof *items), *root;
    if (items == NULL)
        return NULL;
    for (uint64_t i = 0; i < count; i++) {
        struct item *parent = i > 0 ? items[(i - 1) / 2] : NULL;
        items[i] = item_new();
        if (items[i] == NULL) {
            if (i > 0)
                gyre_decref(&items[0]->head);
            free(items);
            return NULL;
        }
        if (parent != NULL)
            gyre_slot_move(&parent->head,
                           i % 2 != 0 ? &parent->left : &parent->right,
                           &items[i]->head);
        if (i % 256 == 0)
            gyre_safepoint(self);
    }
    root = items[0];
    free(items);
    return root;
}

static bool
make_garbage(void)
{
    struct item *first = item_new(), *last = first;
    for (unsigned i = 1; last != NULL && i < RING; i++) {
        struct item *next = item_new();
        if (next != NULL)
            gyre_slot_move(&last->head, &last->left, &next->head);
        last = next;
    }
    if (last != NULL)
        gyre_slot_set(&last->head, &last->left, &first->head);
    if (first != NULL)
        gyre_decref(&first->head);
    return last != NULL;
}

/* Down the tree, by chance, and the two below are changed over. */
static void
small_work(struct item *root, uint64_t dice)
{
    struct item *at = root;
    for (;; dice >>= 1) {
        struct gyre_slot *slot = (dice & 1) != 0 ? &at->left : &at->right;
        struct item *next = (struct item *)gyre_slot_peek(slot);
        if (next == NULL || dice == 0)
            break;
        at = next;
    }
    if (gyre_slot_peek(&at->left) != NULL &&
        gyre_slot_peek(&at->right) != NULL) {
        struct gyre_object *left = gyre_slot_take(&at->head, &at->left);
        struct gyre_object *right = gyre_slot_take(&at->head, &at->right);
        gyre_slot_move(&at->head, &at->left, right);
        gyre_slot_move(&at->head, &at->right, left);
    }
}

static void
work(struct mutator_of_latency *mutator, struct gyre_thread *self)
{
    uint64_t begin = clock_ns(), before = begin, now = begin;
    uint64_t from = begin + BEGIN_NS;
    uint64_t until = from + (uint64_t)(set.seconds * 1e9);
    uint64_t dice = begin | 1, made = 0;
    double rings_a_ns = (double)set.rate / set.threads / RING / 1e9;
    while (now < until && !mutator->failed) {
        uint64_t due = (uint64_t)((double)(now - begin) * rings_a_ns);
        dice = dice * UINT64_C(6364136223846793005) + 1442695040888963407u;
        small_work(mutator->live, dice >> 32);
        for (unsigned i = 0; i < RINGS_A_STEP && made < due; i++, made++)
            mutator->failed |= !make_garbage();
        gyre_safepoint(self);
        now = clock_ns();
        if (before >= from) {
            note_gap(mutator, before, now - before);
            mutator->steps++;
        }
        before = now;
    }
    mutator->rings = made;
    mutator->begin_ns = from;
    mutator->end_ns = now;
}

static void *
mutator_main(void *arg)
{
    struct mutator_of_latency *mutator = arg;
    struct gyre_thread *self;
    if (gyre_thread_attach(heap, &self) != GYRE_OK) {
        mutator->failed = true;
        pthread_barrier_wait(&built);
        return NULL;
    }
    mutator->live = tree_new(self, set.live / set.threads);
    mutator->failed = mutator->live == NULL;
    gyre_detach_begin(self);
    pthread_barrier_wait(&built);
    gyre_detach_end(self);
    if (!mutator->failed) {
        work(mutator, self);
        gyre_decref(&mutator->live->head);
    }
    gyre_thread_leave(self);
    return NULL;
}

/* ---- the report ---- */

/* Half of them, one in a hundred and in a thousand above, the longest. */
enum { P50, P99, P999, MOST, POINTS };
static const double shares[MOST] = {0.5, 0.99, 0.999};

struct report {
    uint64_t gaps[POINTS], stops[POINTS], slices[POINTS]; /* ns */
    double utilisation[3];                                /* in 1, 10, 100 ms */
    double steps, garbage;                                /* a second */
    uint64_t stop_count, collections, abandoned;
};

static void
sum_up(const struct mutator_of_latency *mutators, struct report *report)
{
    struct gyre_statistics statistics;
    struct gyre_histogram stops;
    uint64_t steps = 0, rings = 0, window = 1000000;
    memset(report, 0, sizeof *report);
    gyre_statistics_get(heap, &statistics);
    gyre_statistics_histogram(heap, GYRE_HIST_STOP, &stops);
    for (unsigned t = 0; t < set.threads; t++) {
        if (mutators[t].longest > report->gaps[MOST])
            report->gaps[MOST] = mutators[t].longest;
        steps += mutators[t].steps;
        rings += mutators[t].rings;
    }
    report->stops[MOST] = stops.max;
    report->slices[MOST] = gyre_load_relaxed(&slices.longest);
    for (unsigned i = 0; i < MOST; i++) {
        report->gaps[i] = quantile(mutators, shares[i]);
        report->stops[i] = gyre_histogram_quantile(&stops, shares[i]);
        report->slices[i] = slice_quantile(shares[i]);
    }
    for (unsigned i = 0; i < 3; i++, window *= 10)
        report->utilisation[i] = least_utilisation(mutators, window);
    report->steps = (double)steps / set.seconds;
    report->garbage = (double)rings * RING / (set.seconds + BEGIN_NS / 1e9);
    report->stop_count = stops.count;
    for (unsigned i = 0; i < GYRE_GENERATIONS; i++)
        report->collections += statistics.collections[i];
    report->abandoned = statistics.abandoned;
}

static void
print_points_json(const char *name, const uint64_t points[POINTS])
{
    printf("\"%s\":{\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64
           ",\"max\":%" PRIu64 "},",
           name, points[P50], points[P99], points[P999], points[MOST]);
}

static void
print_json(const struct report *report)
{
    printf("{\"collector\":\"%s\",\"live\":%" PRIu64 ",\"threads\":%u,"
           "\"seconds\":%.3f,",
           set.concurrent ? "concurrent" : "stop", set.live, set.threads,
           set.seconds);
    print_points_json("gap_ns", report->gaps);
    print_points_json("stop_ns", report->stops);
    print_points_json("slice_cpu_ns", report->slices);
    printf("\"utilisation\":{\"ms1\":%.3f,\"ms10\":%.3f,\"ms100\":%.3f},"
           "\"steps_per_second\":%.0f,\"garbage_per_second\":%.0f,"
           "\"stops\":%" PRIu64 ",\"collections\":%" PRIu64
           ",\"abandoned\":%" PRIu64 ",\"peak_rss_bytes\":%" PRIu64 "}\n",
           report->utilisation[0], report->utilisation[1],
           report->utilisation[2], report->steps, report->garbage,
           report->stop_count, report->collections, report->abandoned,
           machine_peak());
}

static void
print_points(const char *name, const uint64_t points[POINTS])
{
    printf("%-13sp50 %.4f ms, p99 %.4f ms, p99.9 %.4f ms, max %.4f ms\n", name,
           (double)points[P50] / 1e6, (double)points[P99] / 1e6,
           (double)points[P999] / 1e6, (double)points[MOST] / 1e6);
}

static void
print_text(const struct report *report)
{
    printf("run          collector %s, %" PRIu64 " live, %u threads, %.1f s\n",
           set.concurrent ? "concurrent" : "stop", set.live, set.threads,
           set.seconds);
    print_points("gaps by time", report->gaps);
    print_points("stops", report->stops);
    print_points("  collector's", report->slices);
    printf("utilisation  %.3f in 1 ms, %.3f in 10 ms, %.3f in 100 ms\n"
           "steps        %.2f million a second\n"
           "garbage      %.2f million objects a second\n"
           "collections  %" PRIu64 ", %" PRIu64 " abandoned, %" PRIu64
           " stops\n"
           "peak memory  %.1f MiB\n",
           report->utilisation[0], report->utilisation[1],
           report->utilisation[2], report->steps / 1e6, report->garbage / 1e6,
           report->collections, report->abandoned, report->stop_count,
           (double)machine_peak() / 1048576);
}

/* ---- arguments ---- */

enum {
    OPTION_LIVE = 256,
    OPTION_RATE,
    OPTION_COLLECTOR,
    OPTION_OPTIONS,
    OPTION_JSON
};

static const struct argp_option argp_options[] = {
    {"live", OPTION_LIVE, "N", 0, "objects that live all the while (1000000)",
     0},
    {"rate", OPTION_RATE, "R", 0,
     "objects a second that become garbage, in rings of ten (1000000)", 0},
    {"threads", 't', "N", 0, "threads that work (1)", 0},
    {"seconds", 's', "S", 0, "how long (10)", 0},
    {"collector", OPTION_COLLECTOR, "MODE", 0,
     "concurrent or stop: how the heap is collected (concurrent)", 0},
    {"options", OPTION_OPTIONS, "LIST", 0,
     "options of the heap, \"name=value,name=value\"", 0},
    {"json", OPTION_JSON, NULL, 0, "print the report as one JSON object", 0},
    {0}};

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case OPTION_LIVE:
        set.live = argument_number(state, arg, 1, LIVE_MOST, "--live");
        return 0;
    case OPTION_RATE:
        set.rate = argument_number(state, arg, 0, 1000000000, "--rate");
        return 0;
    case 't':
        set.threads =
            (unsigned)argument_number(state, arg, 1, THREADS_MOST, "--threads");
        return 0;
    case 's':
        set.seconds = argument_seconds(state, arg, "--seconds");
        return 0;
    case OPTION_COLLECTOR:
        set.concurrent = strcmp(arg, "concurrent") == 0;
        if (!set.concurrent && strcmp(arg, "stop") != 0)
            argp_error(state,
                       "--collector: '%s' is neither concurrent nor stop", arg);
        return 0;
    case OPTION_OPTIONS:
        set.options = arg;
        return 0;
    case OPTION_JSON:
        set.json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one argument too many", arg);
        return 0;
    case ARGP_KEY_END:
        if (set.live < set.threads)
            argp_error(state, "--live: less than one object a thread");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    argp_options,
    parse,
    "",
    "Note the gaps in loops of small work while many objects live and garbage "
    "cycles are made.",
    NULL,
    NULL,
    NULL};

/* ---- the command ---- */

static bool
make_heap(void)
{
    char options[1024];
    int length = snprintf(options, sizeof options, "gc.concurrent=%d%s%s",
                          set.concurrent, set.options != NULL ? "," : "",
                          set.options != NULL ? set.options : "");
    if (length >= (int)sizeof options) {
        fprintf(stderr, "gyre-stress: --options is too long\n");
        return false;
    }
    if (gyre_type_ready(&item_type) == GYRE_OK &&
        gyre_heap_create(options, &heap) == GYRE_OK) {
        gyre_events_listen(heap, on_event, NULL);
        return true;
    }
    fprintf(stderr, "gyre-stress: the heap can't be made: %s\n",
            gyre_option_error());
    return false;
}

static bool
run_mutators(struct mutator_of_latency *mutators)
{
    bool failed = false;
    for (unsigned t = 0; t < set.threads; t++) {
        mutators[t].gaps = malloc(NOTED_MOST * sizeof *mutators[t].gaps);
        if (mutators[t].gaps == NULL)
            return false;
        memset(mutators[t].gaps, 0, NOTED_MOST * sizeof *mutators[t].gaps);
    }
    for (unsigned t = 0; t < set.threads; t++)
        if (pthread_create(&mutators[t].thread, NULL, mutator_main,
                           &mutators[t]) != 0) {
            fprintf(stderr, "gyre-stress: a thread can't be started\n");
            exit(1);
        }
    for (unsigned t = 0; t < set.threads; t++) {
        pthread_join(mutators[t].thread, NULL);
        failed |= mutators[t].failed;
    }
    return !failed;
}

int
latency(int argc, char **argv)
{
    struct mutator_of_latency *mutators;
    bool ok;
    set = (struct settings_of_latency){.live = 1000000,
                                       .rate = 1000000,
                                       .threads = 1,
                                       .seconds = 10,
                                       .concurrent = true};
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    mutators = calloc(set.threads, sizeof *mutators);
    if (mutators == NULL ||
        pthread_barrier_init(&built, NULL, set.threads) != 0)
        return 1;
    if (!make_heap())
        return STATUS_BAD_INPUT;
    ok = run_mutators(mutators);
    if (ok) {
        struct report report;
        sum_up(mutators, &report);
        (set.json ? print_json : print_text)(&report);
    } else
        fprintf(stderr, "gyre-stress: out of memory\n");
    for (unsigned t = 0; t < set.threads; t++)
        free(mutators[t].gaps);
    free(mutators);
    pthread_barrier_destroy(&built);
    if (gyre_heap_destroy(heap) != GYRE_OK) {
        fprintf(stderr, "gyre-stress: the heap can't be destroyed\n");
        ok = false;
    }
    return ok ? 0 : 1;
}
