/* collect: what a full collection takes for a million dead objects in rings.
 * The time of gyre_collect() alone. */
#include "harness.h"
#include "objects.h"
#include "row.h"

#define OBJECTS 1000000u

/* A ring of `length` objects, linked in the order they are made, that nothing
 * else refers to. */
static void
make_dead_ring(size_t length)
{
    struct pair *first = bench_pair(), *latest = first;
    for (size_t i = 1; i < length; i++) {
        struct pair *next = bench_pair();
        gyre_slot_move(&latest->head, &latest->left, &next->head);
        latest = next;
    }
    gyre_slot_move(&latest->head, &latest->left, &first->head);
}

static double
run_rings(size_t length)
{
    struct gyre_thread *self = bench_heap();
    enum gyre_status status;
    uint64_t start, end;
    for (size_t made = 0; made < OBJECTS; made += length)
        make_dead_ring(length);
    bench_expect_live(self->heap, OBJECTS);
    start = bench_now();
    status = gyre_collect(self->heap, GYRE_GEN_OLD);
    end = bench_now();
    if (status != GYRE_OK)
        bench_fail("the collection failed: %s", gyre_status_text(status));
    bench_expect_live(self->heap, 0);
    return (double)(end - start) / OBJECTS;
}

static double
run_rings2(void)
{
    return run_rings(2);
}

static double
run_rings10(void)
{
    return run_rings(10);
}

static double
run_ring1m(void)
{
    return run_rings(OBJECTS);
}

static const struct bench_row rows[] = {
    {.name = "rings2",
     .unit = "ns/object",
     .what = "a million dead objects in rings of 2",
     .run = run_rings2,
     .goal = 30},
    {.name = "rings10",
     .unit = "ns/object",
     .what = "a million dead objects in rings of 10",
     .run = run_rings10,
     .goal = 30},
    {.name = "ring1m",
     .unit = "ns/object",
     .what = "a million dead objects in one ring",
     .run = run_ring1m,
     .goal = 30},
};

const struct bench_group bench_collect = BENCH_GROUP("collect", rows);
