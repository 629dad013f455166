/* alloc: the birth and death of a tracked object. */
#include "harness.h"
#include "objects.h"
#include "row.h"

#define PAIRS 16000000u

static BENCH_LOOP void
live_and_die(uint64_t pairs)
{
    while (pairs-- > 0) {
        struct pair *pair = GYRE_NEW(struct pair, &bench_pair_type);
        if (GYRE_UNLIKELY(pair == NULL))
            bench_fail("out of memory");
        bench_fence();
        gyre_decref(&pair->head);
        bench_fence();
    }
}

static double
run_object2_pair(void)
{
    struct gyre_thread *self = bench_heap();
    /* one that stays, so that the page is not empty at every death */
    struct pair *stays = bench_pair();
    uint64_t start, end;
    live_and_die(PAIRS / 8);
    start = bench_now();
    live_and_die(PAIRS);
    end = bench_now();
    bench_expect_live(self->heap, 1);
    gyre_decref(&stays->head);
    return (double)(end - start) / PAIRS;
}

static const struct bench_row rows[] = {
    {.name = "object2_pair",
     .unit = "ns/pair",
     .what = "GYRE_NEW of a tracked object of 2 slots, and its last decref",
     .run = run_object2_pair,
     .goal = 6},
};

const struct bench_group bench_alloc = BENCH_GROUP("alloc", rows);
