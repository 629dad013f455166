/* gyre-stress: puts a real program's heap through gyre.
 *
 * Reads a heap snapshot, builds it again as gyre objects, and lets threads
 * work on it while an oracle knows what must be alive. docs/stress.md. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "node.h"
#include "random.h"
#include "run.h"
#include "snapshot.h"

#define STATUS_BAD_INPUT 2
#define PHASE_OPERATIONS 400000
/* Collections are to run while threads work, not only at quiescent points. */
#define OPTIONS_FIRST "gc.threshold0=5000"
/* Each proof is made again with the world stopped. */
#define OPTIONS_CONCURRENT ",gc.concurrent=1,gc.check=1"

struct run run = {.lock = PTHREAD_MUTEX_INITIALIZER,
                  .changed = PTHREAD_COND_INITIALIZER};

const char *argp_program_version = "gyre-stress of gyre 0.1.0";

enum {
    OPTION_ROUNDS = 256,
    OPTION_SEED,
    OPTION_MIX,
    OPTION_COPIES,
    OPTION_VERIFY,
    OPTION_JSON,
    OPTION_OPTIONS,
    OPTION_PATIENCE,
    OPTION_COLLECTOR
};

static const struct argp_option argp_options[] = {
    {"threads", 't', "N", 0, "threads that work on the heap (2)", 0},
    {"seconds", 's', "S", 0, "how long (10)", 0},
    {"rounds", OPTION_ROUNDS, "R", 0,
     "how often the heap is built, worked on and torn down", 0},
    {"seed", OPTION_SEED, "X", 0, "repeat the choices of another run", 0},
    {"mix", OPTION_MIX, "NAME", 0,
     "private, handover, shared, weak, finalize, cut, churn or all (all)", 0},
    {"copies", OPTION_COPIES, NULL, 0, "a copy of the heap for each thread", 0},
    {"verify", OPTION_VERIFY, NULL, 0,
     "compare every count and check every structure at quiescent points", 0},
    {"json", OPTION_JSON, NULL, 0, "print the report as one JSON object", 0},
    {"options", OPTION_OPTIONS, "LIST", 0,
     "options of the heap, \"name=value,name=value\"", 0},
    {"collector", OPTION_COLLECTOR, "MODE", 0,
     "concurrent or stop: how the heap is collected (gc.concurrent)", 0},
    {"patience", OPTION_PATIENCE, "S", 0,
     "seconds without any progress that count as a failure (120)", 0},
    {0}};

static uint64_t
number(struct argp_state *state, const char *text, uint64_t least,
       uint64_t most, const char *what)
{
    char *end;
    unsigned long long value;
    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' ||
        value < least || value > most)
        argp_error(state,
                   "%s: '%s' is not a number from %" PRIu64 " to %" PRIu64,
                   what, text, least, most);
    return value;
}

static error_t
parse(int key, char *arg, struct argp_state *state)
{
    struct settings *set = state->input;
    char *end;
    switch (key) {
    case 't':
        set->threads =
            (unsigned)number(state, arg, 1, THREADS_MOST, "--threads");
        return 0;
    case 's':
        set->seconds = strtod(arg, &end);
        if (end == arg || *end != '\0' || !(set->seconds > 0) ||
            set->seconds > 1e9)
            argp_error(state, "--seconds: '%s' is no length of time", arg);
        return 0;
    case OPTION_ROUNDS:
        set->rounds = number(state, arg, 1, UINT64_MAX, "--rounds");
        return 0;
    case OPTION_SEED:
        set->seed = number(state, arg, 0, UINT64_MAX, "--seed");
        return 0;
    case OPTION_MIX:
        if (!mix_by_name(arg, &set->mix))
            argp_error(state, "--mix: there is no '%s'", arg);
        set->mix_name = arg;
        return 0;
    case OPTION_COPIES:
        set->copies = true;
        return 0;
    case OPTION_VERIFY:
        set->verify = true;
        return 0;
    case OPTION_JSON:
        set->json = true;
        return 0;
    case OPTION_OPTIONS:
        set->options = arg;
        return 0;
    case OPTION_PATIENCE:
        set->patience = (unsigned)number(state, arg, 1, 1u << 20, "--patience");
        return 0;
    case OPTION_COLLECTOR:
        set->concurrent = strcmp(arg, "concurrent") == 0;
        if (!set->concurrent && strcmp(arg, "stop") != 0)
            argp_error(state,
                       "--collector: '%s' is neither concurrent nor "
                       "stop",
                       arg);
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0 && strcmp(arg, "replay") != 0)
            argp_error(state, "there is no command '%s'", arg);
        else if (state->arg_num == 1)
            set->heap_file = arg;
        else if (state->arg_num > 1)
            argp_error(state, "one heap at a time");
        return 0;
    case ARGP_KEY_END:
        if (set->heap_file == NULL)
            argp_error(state, "replay what? Name a heap snapshot");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp argp = {
    argp_options,
    parse,
    "replay HEAP",
    "Build a V8 heap snapshot (.heapsnapshot or .gz) as gyre objects, let "
    "threads work on it, and compare with an oracle.\v"
    "Exit status: 0 clean, 1 failed, 2 wrong usage or input.",
    NULL,
    NULL,
    NULL};

/* ---- a run ---- */

static void
on_fatal(const char *message, void *arg)
{
    (void)arg;
    oracle_fail(FAILURE_LIBRARY, 0, "gyre: %s", message);
}

static bool
make_heap(void)
{
    char options[1024];
    enum gyre_status status;
    int length = snprintf(options, sizeof options, "%s%s%s%s", OPTIONS_FIRST,
                          run.settings.concurrent ? OPTIONS_CONCURRENT : "",
                          run.settings.options ? "," : "",
                          run.settings.options ? run.settings.options : "");
    if (length >= (int)sizeof options) {
        fprintf(stderr, "gyre-stress: --options is too long\n");
        return false;
    }
    status = gyre_heap_create(options, &run.heap);
    if (status == GYRE_OK) {
        verify_listen(run.heap);
        return true;
    }
    if (status == GYRE_ERR_NOMEM)
        fprintf(stderr, "gyre-stress: no memory for a heap\n");
    else
        fprintf(stderr, "gyre-stress: options of the heap: %s\n",
                gyre_option_error());
    return false;
}

/* Room for what a round builds, and for what its mixes build besides. */
static bool
make_oracle(void)
{
    const struct graph *graph = &run.graph;
    uint64_t threads = run.settings.threads;
    uint64_t copies = run.settings.copies ? threads : 1;
    uint64_t objects = copies * graph->node_count + 4096;
    uint64_t more = threads * run.phase_operations;
    uint64_t slots = copies * graph->edge_count + 16 * more + 65536;
    uint64_t weaks = copies * graph->weak_count + more + 4096;
    if (objects + more > UINT32_MAX / 4 || slots > UINT32_MAX / 4 ||
        weaks > UINT32_MAX / 4 ||
        !oracle_create(graph, (uint32_t)(objects + more), slots,
                       (uint32_t)weaks) ||
        !shadow_create()) {
        fprintf(stderr, "gyre-stress: no memory for the oracle of a heap of "
                        "that size\n");
        return false;
    }
    return true;
}

static bool
make_run(void)
{
    uint64_t threads = run.settings.threads;
    run.phase_operations = PHASE_OPERATIONS;
    if (run.phase_operations < 2 * (uint64_t)run.graph.node_count)
        run.phase_operations = 2 * (uint64_t)run.graph.node_count;
    run.rings = calloc(threads * threads, sizeof *run.rings);
    if (run.rings == NULL ||
        pthread_barrier_init(&run.barrier, NULL, (unsigned)threads) != 0 ||
        !builder_create()) {
        fprintf(stderr, "gyre-stress: no memory\n");
        return false;
    }
    mixes_create();
    return make_oracle() &&
           node_types_create(&run.graph, run.settings.seed,
                             (run.settings.mix & MIX_FINALIZERS) != 0) &&
           make_heap();
}

/* Nobody moves: tell so, rather than hang for good. */
static void
watch(uint64_t *seen, uint64_t *since)
{
    /* relaxed: a sign of life */
    uint64_t progress =
        atomic_load_explicit(&run.progress, memory_order_relaxed);
    uint64_t now = clock_ns();
    if (progress != *seen) {
        *seen = progress;
        *since = now;
    } else if (now - *since > run.settings.patience * UINT64_C(1000000000)) {
        oracle_fail(FAILURE_LIBRARY, 0, "no progress for %u seconds",
                    run.settings.patience);
    }
}

static void
wait_for_workers(void)
{
    const struct settings *set = &run.settings;
    uint64_t seen = UINT64_MAX, since = 0;
    pthread_mutex_lock(&run.lock);
    while (run.ended < set->threads) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += 50000000;
        if (until.tv_nsec >= 1000000000) {
            until.tv_nsec -= 1000000000;
            until.tv_sec++;
        }
        pthread_cond_timedwait(&run.changed, &run.lock, &until);
        pthread_mutex_unlock(&run.lock);
        if (set->seconds > 0 &&
            (double)(clock_ns() - run.start_ns) > set->seconds * 1e9)
            /* relaxed: a hint */
            atomic_store_explicit(&run.stop, true, memory_order_relaxed);
        report_progress();
        watch(&seen, &since);
        pthread_mutex_lock(&run.lock);
    }
    pthread_mutex_unlock(&run.lock);
}

static void
end_heap(void)
{
    uint64_t freed = report_sum(TALLY_FREED);
    enum gyre_status status = gyre_heap_destroy(run.heap);
    if (status != GYRE_OK)
        oracle_fail(FAILURE_LIBRARY, 0, "gyre_heap_destroy: %s",
                    gyre_status_text(status));
    if (report_sum(TALLY_FREED) != freed)
        oracle_fail(FAILURE_LEAK, 0,
                    "%" PRIu64 " objects lived to the end of the heap",
                    report_sum(TALLY_FREED) - freed);
}

static void
unmake_run(void)
{
    for (unsigned i = 0; i < run.settings.threads; i++) {
        if (run.workers[i] == NULL)
            continue;
        free(run.workers[i]->anchors);
        free(run.workers[i]->log.entries);
        free(run.workers[i]);
        run.workers[i] = NULL;
    }
    shadow_destroy();
    oracle_destroy();
    node_types_destroy();
    builder_destroy();
    free(run.rings);
    free(run.adopted);
    graph_free(&run.graph);
}

int
main(int argc, char **argv)
{
    struct timespec now;
    int status;
    clock_gettime(CLOCK_REALTIME, &now);
    run.settings = (struct settings){
        .threads = 2,
        .mix = MIX_ALL,
        .mix_name = "all",
        .patience = 120,
        .seed = random_mix((uint64_t)now.tv_sec * 1000000007u +
                           (uint64_t)now.tv_nsec) >>
                32};
    argp_err_exit_status = STATUS_BAD_INPUT;
    argp_parse(&argp, argc, argv, 0, NULL, &run.settings);
    if (run.settings.seconds == 0 && run.settings.rounds == 0)
        run.settings.seconds = 10;
    if (!snapshot_load(run.settings.heap_file, &run.graph))
        return STATUS_BAD_INPUT;
    if (!make_run())
        return STATUS_BAD_INPUT;
    if (!run.settings.json)
        fprintf(stderr, "gyre-stress: seed %" PRIu64 "\n", run.settings.seed);
    oracle_on_failure = report_failure;
    gyre_set_fatal_hook(on_fatal, NULL);
    report_create();
    run.start_ns = clock_ns();
    if (!workers_start())
        return 1;
    wait_for_workers();
    workers_join();
    run.end_ns = clock_ns();
    report_progress_end();
    /* what leaked is named already, and would be met again there */
    if (oracle_failures_all() == 0)
        end_heap();
    status = report_print();
    unmake_run();
    return status;
}
