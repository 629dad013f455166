/* throughput: what a collector beside the program costs it, against one that
 * stops it. */
#include <stdio.h>

#include "harness.h"
#include "objects.h"
#include "replay.h"
#include "row.h"

/* ---- gyre-stress replay: a program's heap, built, changed, torn down ---- */

#define REPLAY_ROUNDS "3"
#define REPLAY_SEED "1"

void
bench_replay(const char *collector, struct bench_program *program)
{
    char *arguments[] = {BENCH_REPLAY,  "replay",      BENCH_REPLAY_HEAP,
                         "--threads",   "2",           "--rounds",
                         REPLAY_ROUNDS, "--seed",      REPLAY_SEED,
                         "--json",      "--collector", (char *)collector,
                         NULL};
    bench_unpin();
    bench_program_run(arguments, program);
}

/* Without the reading of the snapshot. */
static double
replay_seconds(const char *collector)
{
    struct bench_program program;
    bench_replay(collector, &program);
    return bench_program_number(&program, "seconds");
}

static double
run_replay(void)
{
    return replay_seconds("concurrent");
}

static double
run_replay_stop(void)
{
    return replay_seconds("stop");
}

/* ---- objects that live and die, with no cycle open ---- */

#define PAIRS 16000000u

static BENCH_LOOP void
live_and_die(uint64_t pairs)
{
    while (pairs-- > 0) {
        struct pair *pair = bench_pair();
        bench_fence();
        gyre_incref(&pair->head);
        bench_fence();
        gyre_decref(&pair->head);
        bench_fence();
        gyre_decref(&pair->head);
        bench_fence();
    }
}

static double
alloc_ns(const char *options)
{
    struct gyre_thread *self = bench_heap_with(options);
    /* one that stays, so that the page is not empty at every death */
    struct pair *stays = bench_pair();
    struct gyre_statistics statistics;
    uint64_t start, end;
    live_and_die(PAIRS / 8);
    start = bench_now();
    live_and_die(PAIRS);
    end = bench_now();
    gyre_decref(&stays->head);
    gyre_statistics_get(self->heap, &statistics);
    for (unsigned i = 0; i < GYRE_GENERATIONS; i++)
        if (statistics.collections[i] != 0)
            bench_fail("a collection ran");
    bench_expect_live(self->heap, 0);
    return (double)(end - start) / PAIRS;
}

static double
run_alloc(void)
{
    return alloc_ns("gc.concurrent=1");
}

static double
run_alloc_stop(void)
{
    return alloc_ns("gc.concurrent=0");
}

static const struct bench_row rows[] = {
    {.name = "replay",
     .unit = "s",
     .what = "gyre-stress replay, 2 threads, " REPLAY_ROUNDS
             " rounds, gc.concurrent",
     .run = run_replay,
     .goal = 1.1,
     .base = "replay_stop",
     .needs = BENCH_REPLAY,
     .set = "collector"},
    {.name = "replay_stop",
     .unit = "s",
     .what = "the same, collected in stops",
     .run = run_replay_stop,
     .needs = BENCH_REPLAY,
     .set = "collector"},
    {.name = "alloc",
     .unit = "ns",
     .what = "an object of 2 slots made, counted up, down and down, "
             "gc.concurrent, no cycle open",
     .run = run_alloc,
     .goal = 1.03,
     .base = "alloc_stop",
     .set = "collector"},
    {.name = "alloc_stop",
     .unit = "ns",
     .what = "the same without gc.concurrent",
     .run = run_alloc_stop,
     .set = "collector"},
};

const struct bench_group bench_throughput = BENCH_GROUP("throughput", rows);
