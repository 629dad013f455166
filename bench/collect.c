/* collect: what a full collection takes for a million dead objects in rings,
 * and a young one beside many old objects. The time of gyre_collect() alone.
 */
#include <stdlib.h>

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
    struct gyre_thread *self = bench_heap_stopping();
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

/* ---- beside the program: of the thread that collects, all phases ---- */

static double
run_work(void)
{
    struct gyre_thread *self =
        bench_heap_with("gc.automatic=no,gc.concurrent=1");
    enum gyre_status status;
    uint64_t spent;
    for (size_t made = 0; made < OBJECTS; made += 10)
        make_dead_ring(10);
    bench_expect_live(self->heap, OBJECTS);
    spent = bench_thread_cpu();
    status = gyre_collect(self->heap, GYRE_GEN_OLD);
    spent = bench_thread_cpu() - spent;
    if (status != GYRE_OK)
        bench_fail("the collection failed: %s", gyre_status_text(status));
    gyre_quiesce(self->heap);
    bench_expect_live(self->heap, 0);
    return (double)spent / OBJECTS;
}

/* ---- the young, beside many old ---- */

#define YOUNG 10000u
#define OLD 10000000u
#define YOUNG_ROUNDS 40u

/* A list that lives from its head; `count` objects that are old. */
static struct pair *
make_old(struct gyre_thread *self, size_t count)
{
    struct pair *list = NULL;
    for (size_t i = 0; i < count; i++) {
        struct pair *pair = bench_pair();
        if (list != NULL)
            gyre_slot_move(&pair->head, &pair->left, &list->head);
        list = pair;
    }
    if (gyre_collect(self->heap, GYRE_GEN_OLD) != GYRE_OK)
        bench_fail("the collection failed");
    return list;
}

/* Each second ring of 10 is held from outside, by a chain through its first
 * object. */
static struct pair *
make_young(void)
{
    struct pair *held = NULL;
    for (size_t made = 0; made < YOUNG; made += 20) {
        struct pair *first = bench_pair(), *latest = first;
        for (size_t i = 1; i < 10; i++) {
            struct pair *next = bench_pair();
            gyre_slot_move(&latest->head, &latest->left, &next->head);
            latest = next;
        }
        gyre_slot_set(&latest->head, &latest->left, &first->head);
        if (held != NULL)
            gyre_slot_move(&first->head, &first->right, &held->head);
        held = first;
        make_dead_ring(10);
    }
    return held;
}

static int
compare_times(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

/* The median of some young collections, in microseconds; half of the young
 * die. */
static double
young_us(const char *options, size_t old_count)
{
    uint64_t times[YOUNG_ROUNDS];
    struct gyre_statistics statistics;
    struct gyre_thread *self = bench_heap_with(options);
    struct pair *old = make_old(self, old_count);
    for (unsigned round = 0; round < YOUNG_ROUNDS; round++) {
        struct pair *held = make_young();
        enum gyre_status status;
        uint64_t start = bench_now();
        status = gyre_collect(self->heap, GYRE_GEN_YOUNG);
        times[round] = bench_now() - start;
        if (status != GYRE_OK)
            bench_fail("the collection failed: %s", gyre_status_text(status));
        gyre_safepoint_slow(self);
        gyre_statistics_get(self->heap, &statistics);
        if (statistics.collected != (round + 1) * (uint64_t)(YOUNG / 2))
            bench_fail("round %u: %llu objects were collected", round,
                       (unsigned long long)statistics.collected);
        /* The rings that lived are old garbage now, of which there is to be
         * none: their cycles are broken by hand. */
        while (held != NULL) {
            struct gyre_object *next =
                gyre_slot_take(&held->head, &held->right);
            gyre_slot_move(&held->head, &held->left, NULL);
            gyre_decref(&held->head);
            held = (struct pair *)next;
        }
    }
    /* Not in between: it looks at every page, and would leave the caches to
     * those of the old. */
    gyre_quiesce(self->heap);
    bench_expect_live(self->heap, old_count);
    bench_keep(old);
    qsort(times, YOUNG_ROUNDS, sizeof times[0], compare_times);
    return (double)times[YOUNG_ROUNDS / 2] / 1e3;
}

static double
run_young_old(void)
{
    return young_us("gc.automatic=no,gc.concurrent=1", OLD);
}

static double
run_young_alone(void)
{
    return young_us("gc.automatic=no,gc.concurrent=1", 0);
}

static double
run_young_old_stop(void)
{
    return young_us("gc.automatic=no", OLD);
}

static double
run_young_alone_stop(void)
{
    return young_us("gc.automatic=no", 0);
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
    {.name = "work",
     .unit = "ns/object",
     .what = "a million dead objects in rings of 10, gc.concurrent, processor "
             "time of the thread that collects",
     .run = run_work,
     .goal = 45,
     .set = "collector"},
    {.name = "young_with_10m_old",
     .unit = "us",
     .what = "a young collection of 10000, half of them dead, with 10 million "
             "old objects, gc.concurrent",
     .run = run_young_old,
     .goal = 1.1,
     .base = "young_alone",
     .set = "collector"},
    {.name = "young_alone",
     .unit = "us",
     .what = "the same with no others",
     .run = run_young_alone,
     .set = "collector"},
    {.name = "young_with_10m_old_stop",
     .unit = "us",
     .what = "with 10 million old objects, without gc.concurrent",
     .run = run_young_old_stop,
     .goal = 1.1,
     .base = "young_alone_stop",
     .set = "collector"},
    {.name = "young_alone_stop",
     .unit = "us",
     .what = "the same with no others",
     .run = run_young_alone_stop,
     .set = "collector"},
};

const struct bench_group bench_collect = BENCH_GROUP("collect", rows);
