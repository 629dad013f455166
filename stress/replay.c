/* A replay: its heap, its oracle and its workers made, watched and ended.
 * The command `replay` and the trials of `tune` drive it. docs/stress.md. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "machine.h"
#include "node.h"
#include "run.h"

#define PHASE_OPERATIONS 400000
/* A trial repeats short rounds: what it measures is the same in all. */
#define TRIAL_OPERATIONS 60000
/* Collections are to run while threads work, not only at quiescent points. */
/* A run may take so many times its time, and a minute. */
#define OVERTIME 2
#define OVERTIME_LEAST 60
#define OPTIONS_FIRST ",gc.threshold0=5000"
/* Each proof is made again with the world stopped. */
#define OPTIONS_CHECK ",gc.check=1"

struct run run = {.lock = PTHREAD_MUTEX_INITIALIZER,
                  .changed = PTHREAD_COND_INITIALIZER};

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
    bool check = run.settings.concurrent && !run.settings.trial;
    int length = snprintf(
        options, sizeof options, "gc.concurrent=%d%s%s%s%s",
        run.settings.concurrent, run.settings.trial ? "" : OPTIONS_FIRST,
        check ? OPTIONS_CHECK : "", run.settings.options ? "," : "",
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

/* From here on what the process grows by is the heap's. */
static bool
make_ready(void)
{
    if (run.settings.trial) {
        oracle_populate();
        run.begin_resident = machine_resident_exact();
        machine_peak_restart();
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
    if (run.settings.trial)
        run.phase_operations = TRIAL_OPERATIONS;
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
           make_ready() && make_heap();
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

/* A run whose mix has not been where it should goes on for a while: what was
 * not run was not tested. */
static bool
time_is_up(void)
{
    const struct settings *set = &run.settings;
    double spent = (double)(clock_ns() - run.start_ns) / 1e9;
    if (set->seconds <= 0 || spent < set->seconds)
        return false;
    /* relaxed: a hint */
    return set->trial || spent > set->seconds * OVERTIME + OVERTIME_LEAST ||
           atomic_load_explicit(&run.paths_taken, memory_order_relaxed);
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
        if (time_is_up())
            /* relaxed: a hint */
            atomic_store_explicit(&run.stop, true, memory_order_relaxed);
        if (!run.settings.trial)
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

/* ---- the interface ---- */

bool
replay_make(void)
{
    return make_run();
}

bool
replay_work(void)
{
    gyre_set_fatal_hook(on_fatal, NULL);
    run.start_ns = clock_ns();
    if (!workers_start())
        return false;
    wait_for_workers();
    workers_join();
    run.end_ns = clock_ns();
    return true;
}

void
replay_end(void)
{
    /* what leaked is named already, and would be met again there */
    if (oracle_failures_all() == 0)
        end_heap();
}

void
replay_unmake(void)
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
