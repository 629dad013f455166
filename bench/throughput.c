/* throughput: what a collector beside the program costs it, against one that
 * stops it. */
#include <stdio.h>
#include <stdlib.h>

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

#define PAIRS 1000000u /* at a time */
#define TURNS 25u      /* of each; odd */

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
alloc_ns(void)
{
    uint64_t start = bench_now();
    live_and_die(PAIRS);
    return (double)(bench_now() - start) / PAIRS;
}

static void
collect_beside(struct gyre_heap *heap, bool beside)
{
    if (gyre_option_set(heap, GYRE_OPT_GC_CONCURRENT, beside) != GYRE_OK)
        bench_fail("gc.concurrent can't be set");
}

static int
compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double
median(double *figures)
{
    qsort(figures, TURNS, sizeof *figures, compare);
    return figures[TURNS / 2];
}

/* In turns of some milliseconds, so that a processor whose speed changes is as
 * fast for one as for the other. */
static double
run_alloc(void)
{
    struct gyre_thread *self = bench_heap();
    /* one that stays, so that the page is not empty at every death */
    struct pair *stays = bench_pair();
    struct gyre_statistics statistics;
    double beside[TURNS], stopping[TURNS];
    (void)alloc_ns();
    for (unsigned i = 0; i < TURNS; i++) {
        collect_beside(self->heap, true);
        beside[i] = alloc_ns();
        collect_beside(self->heap, false);
        stopping[i] = alloc_ns();
    }
    gyre_decref(&stays->head);
    gyre_statistics_get(self->heap, &statistics);
    for (unsigned i = 0; i < GYRE_GENERATIONS; i++)
        if (statistics.collections[i] != 0)
            bench_fail("a collection ran");
    bench_expect_live(self->heap, 0);
    return median(beside) / median(stopping);
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
     .unit = "x",
     .what = "an object of 2 slots made, counted up, down and down, no cycle "
             "open: with gc.concurrent, of what it takes without",
     .run = run_alloc,
     .goal = 1.03,
     .set = "collector"},
};

const struct bench_group bench_throughput = BENCH_GROUP("throughput", rows);
