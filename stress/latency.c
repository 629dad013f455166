/* The command `latency`: its settings, its threads, a run. See latency.h. */
#include "latency.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "machine.h"
#include "run.h"
#include "snapshot.h"

#define LIVE_MOST 200000000u

const char *const latency_collectors[3] = {"concurrent", "stop", "none"};
struct latency_run latency_run;

/* ---- arguments ---- */

enum {
    OPTION_LIVE = 256,
    OPTION_RATE,
    OPTION_COLLECTOR,
    OPTION_STOPS,
    OPTION_BUSY,
    OPTION_ISLAND,
    OPTION_HEAP,
    OPTION_EVERY,
    OPTION_WEAK,
    OPTION_PIN,
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
     "concurrent or stop: how the heap is collected; or none: a control that "
     "breaks its rings by hand (concurrent)",
     0},
    {"stops-per-second", OPTION_STOPS, "N", 0,
     "with --collector none: stop the world so often, to no end", 0},
    {"busy", OPTION_BUSY, "PERCENT", 0,
     "with --stops-per-second: the thread that stops is busy for so much of "
     "the "
     "time, as a collector would be",
     0},
    {"island", OPTION_ISLAND, "N", 0,
     "drop a ring of so many objects at once, and collect", 0},
    {"heap", OPTION_HEAP, "FILE", 0,
     "drop the graph of a heap snapshot at once, and collect", 0},
    {"every", OPTION_EVERY, "S", 0,
     "drop one each so many seconds (one, in mid-run)", 0},
    {"weak", OPTION_WEAK, "N", 0,
     "refer weakly to so many members of the island, and time the asking of "
     "them while it is given up",
     0},
    {"pin", OPTION_PIN, "CPU", 0,
     "all threads on that one of the processors, from 0", 0},
    {"options", OPTION_OPTIONS, "LIST", 0,
     "options of the heap, \"name=value,name=value\"", 0},
    {"json", OPTION_JSON, NULL, 0, "print the report as one JSON object", 0},
    {0}};

static enum latency_collector
collector_by_name(struct argp_state *state, const char *name)
{
    for (unsigned i = 0; i < 3; i++)
        if (strcmp(name, latency_collectors[i]) == 0)
            return (enum latency_collector)i;
    argp_error(state, "--collector: '%s' is neither concurrent, stop nor none",
               name);
    return COLLECTOR_CONCURRENT;
}

/* Whether they go together. */
static void
check(struct argp_state *state, const struct latency_settings *set)
{
    if (set->live < set->threads)
        argp_error(state, "--live: less than one object a thread");
    if (set->stops > 0 && set->collector != COLLECTOR_NONE)
        argp_error(state, "--stops-per-second goes with --collector none");
    if (set->busy > 0 && set->stops == 0)
        argp_error(state, "--busy goes with --stops-per-second");
    if (set->island > 0 && set->heap_file != NULL)
        argp_error(state, "--island or --heap, not both");
    if (set->weak > set->island)
        argp_error(state, "--weak: more than the island has members");
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct latency_settings *set = state->input;
    switch (key) {
    case OPTION_LIVE:
        set->live = argument_number(state, arg, 1, LIVE_MOST, "--live");
        return 0;
    case OPTION_RATE:
        set->rate = argument_number(state, arg, 0, 1000000000, "--rate");
        return 0;
    case 't':
        set->threads =
            (unsigned)argument_number(state, arg, 1, THREADS_MOST, "--threads");
        return 0;
    case 's':
        set->seconds = argument_seconds(state, arg, "--seconds");
        return 0;
    case OPTION_COLLECTOR:
        set->collector = collector_by_name(state, arg);
        return 0;
    case OPTION_STOPS:
        set->stops = (double)argument_number(state, arg, 0, 1000000,
                                             "--stops-per-second");
        return 0;
    case OPTION_BUSY:
        set->busy = (double)argument_number(state, arg, 0, 100, "--busy") / 100;
        return 0;
    case OPTION_ISLAND:
        set->island = argument_number(state, arg, 2, LIVE_MOST, "--island");
        return 0;
    case OPTION_HEAP:
        set->heap_file = arg;
        return 0;
    case OPTION_EVERY:
        set->every = argument_seconds(state, arg, "--every");
        return 0;
    case OPTION_WEAK:
        set->weak = argument_number(state, arg, 1, 1u << 24, "--weak");
        return 0;
    case OPTION_PIN:
        set->pin = (unsigned)argument_number(state, arg, 0, 1023, "--pin");
        set->pinned = true;
        return 0;
    case OPTION_OPTIONS:
        set->options = arg;
        return 0;
    case OPTION_JSON:
        set->json = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one argument too many", arg);
        return 0;
    case ARGP_KEY_END:
        check(state, set);
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
    const struct latency_settings *set = &latency_run.set;
    char options[1024];
    int length = snprintf(
        options, sizeof options, "gc.concurrent=%d,gc.automatic=%d%s%s",
        set->collector == COLLECTOR_CONCURRENT,
        set->collector != COLLECTOR_NONE, set->options != NULL ? "," : "",
        set->options != NULL ? set->options : "");
    if (length >= (int)sizeof options) {
        fprintf(stderr, "gyre-stress: --options is too long\n");
        return false;
    }
    if (island_types() &&
        gyre_heap_create(options, &latency_run.heap) == GYRE_OK) {
        latency_watch();
        return true;
    }
    fprintf(stderr, "gyre-stress: the heap can't be made: %s\n",
            gyre_option_error());
    return false;
}

/* Everything but the heap. False, with the exit status. */
static bool
prepare(int *status)
{
    const struct latency_settings *set = &latency_run.set;
    struct island *island = &latency_run.island;
    double most = set->every > 0 ? set->seconds / set->every + 1 : 1;
    *status = STATUS_BAD_INPUT;
    if (set->pinned && !machine_pin(set->pin)) {
        fprintf(stderr, "gyre-stress: --pin: there is no processor %u\n",
                set->pin);
        return false;
    }
    if (set->heap_file != NULL) {
        if (!snapshot_load(set->heap_file, &latency_run.graph))
            return false;
        island->graph = &latency_run.graph;
    }
    *status = 1;
    island->count = set->island;
    island->weak_count = set->weak;
    latency_run.mutators = calloc(set->threads, sizeof *latency_run.mutators);
    if (latency_run.mutators == NULL || !island_create(island, (unsigned)most))
        return false;
    for (unsigned t = 0; t < set->threads; t++) {
        latency_run.mutators[t].id = t;
        if (!gaps_create(&latency_run.mutators[t].gaps))
            return false;
    }
    return pthread_barrier_init(&latency_run.built, NULL,
                                set->threads + latency_helper_is_wanted()) ==
               0 &&
           pthread_barrier_init(&latency_run.ended, NULL, set->threads) == 0;
}

static void
unprepare(void)
{
    pthread_barrier_destroy(&latency_run.built);
    pthread_barrier_destroy(&latency_run.ended);
    for (unsigned t = 0; t < latency_run.set.threads; t++)
        gaps_destroy(&latency_run.mutators[t].gaps);
    free(latency_run.mutators);
    island_destroy(&latency_run.island);
    graph_free(&latency_run.graph);
}

static bool
run_threads(void)
{
    struct latency_mutator *mutators = latency_run.mutators;
    bool started = !latency_helper_is_wanted() || latency_helper_start();
    bool failed = false;
    for (unsigned t = 0; started && t < latency_run.set.threads; t++)
        started = pthread_create(&mutators[t].thread, NULL,
                                 latency_mutator_main, &mutators[t]) == 0;
    if (!started) {
        fprintf(stderr, "gyre-stress: a thread can't be started\n");
        exit(1);
    }
    for (unsigned t = 0; t < latency_run.set.threads; t++) {
        pthread_join(mutators[t].thread, NULL);
        failed |= mutators[t].failed;
    }
    return !failed;
}

int
latency(int argc, char **argv)
{
    int status;
    latency_run.set = (struct latency_settings){
        .live = 1000000, .rate = 1000000, .threads = 1, .seconds = 10};
    argp_parse(&argp, argc, argv, 0, NULL, &latency_run.set);
    if (!prepare(&status))
        return status;
    if (!make_heap())
        return STATUS_BAD_INPUT;
    machine_peak_restart();
    if (run_threads()) {
        latency_report();
        status = 0;
    } else {
        fprintf(stderr, "gyre-stress: out of memory\n");
        status = 1;
    }
    if (gyre_heap_destroy(latency_run.heap) != GYRE_OK) {
        fprintf(stderr, "gyre-stress: the heap can't be destroyed\n");
        status = 1;
    }
    unprepare();
    return status;
}
