/* safepoint: the poll that finds nothing, and a blocking call's brackets. */
#include "harness.h"
#include "objects.h"
#include "row.h"

#define POLLS 64000000u
#define DETACHES 2000000u

/* Eight polls a turn, so that the loop is not what is measured; each loads
 * anew. */
static BENCH_LOOP void
poll_often(struct gyre_thread *self, uint64_t polls)
{
    for (polls /= 8; polls > 0; polls--) {
        gyre_safepoint(self);
        bench_fence();
        gyre_safepoint(self);
        bench_fence();
        gyre_safepoint(self);
        bench_fence();
        gyre_safepoint(self);
        bench_fence();
        gyre_safepoint(self);
        bench_fence();
        gyre_safepoint(self);
        bench_fence();
        gyre_safepoint(self);
        bench_fence();
        gyre_safepoint(self);
        bench_fence();
    }
}

static double
run_poll(void)
{
    struct gyre_thread *self = bench_heap();
    uint64_t start;
    poll_often(self, POLLS / 8);
    start = bench_now();
    poll_often(self, POLLS);
    return (double)(bench_now() - start) / POLLS;
}

static BENCH_LOOP void
detach_often(struct gyre_thread *self, uint64_t pairs)
{
    while (pairs-- > 0) {
        gyre_detach_begin(self);
        gyre_detach_end(self);
    }
}

static double
run_detach_pair(void)
{
    struct gyre_thread *self = bench_heap();
    uint64_t start;
    detach_often(self, DETACHES / 8);
    start = bench_now();
    detach_often(self, DETACHES);
    return (double)(bench_now() - start) / DETACHES;
}

static const struct bench_row rows[] = {
    {.name = "poll",
     .unit = "ns",
     .what = "gyre_safepoint with nothing asked",
     .run = run_poll,
     .goal = 0.5},
    {.name = "detach_pair",
     .unit = "ns/pair",
     .what = "gyre_detach_begin and gyre_detach_end, alone",
     .run = run_detach_pair,
     .goal = 60},
};

const struct bench_group bench_safepoint = BENCH_GROUP("safepoint", rows);
