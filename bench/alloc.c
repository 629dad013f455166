/* alloc: the time to allocate and free, of objects and of blocks. */
#include "harness.h"
#include "objects.h"
#include "row.h"
#include "work.h"

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
object_body(unsigned index)
{
    /* one that stays, so that the page is not empty at every death */
    struct pair *stays = bench_pair();
    uint64_t start, end;
    (void)index;
    live_and_die(PAIRS / 8);
    WORK(meet)();
    start = bench_now();
    live_and_die(PAIRS);
    end = bench_now();
    gyre_decref(&stays->head);
    return (double)(end - start);
}

static double
object2_pair(unsigned threads)
{
    double spent;
    WORK(begin)();
    spent = WORK(team)(threads, object_body);
    gyre_quiesce(gyre_self->heap);
    bench_expect_live(gyre_self->heap, 0);
    return spent / PAIRS;
}

static const struct bench_row rows[] = {
    {.name = "block32_pair/1",
     .unit = "ns/pair",
     .what = "a block of 32 bytes allocated and freed, inlined, hot",
     .work = BENCH_WORK(block32_pair),
     .threads = 1,
     .goal = 2.5,
     .peer_goal = 0.6},
    {.name = "block32_pair/2",
     .unit = "ns/pair",
     .what = "the same by two threads, the time of each",
     .work = BENCH_WORK(block32_pair),
     .threads = 2,
     .goal = 2.5,
     .peer_goal = 0.6},
    {.name = "object2_pair/1",
     .unit = "ns/pair",
     .what = "GYRE_NEW of a tracked object of 2 slots, and its last decref",
     .work = {.gyre = object2_pair},
     .threads = 1,
     .goal = 5},
    {.name = "object2_pair/2",
     .unit = "ns/pair",
     .what = "the same by two threads, the time of each",
     .work = {.gyre = object2_pair},
     .threads = 2,
     .goal = 5},
    {.name = "million_warm/1",
     .unit = "ns/block",
     .what = "a million blocks of 32 bytes allocated, in memory used before",
     .work = BENCH_WORK(million_warm),
     .threads = 1,
     .peer_goal = 1},
    {.name = "million_warm/2",
     .unit = "ns/block",
     .what = "the same by two threads, a million each",
     .work = BENCH_WORK(million_warm),
     .threads = 2,
     .peer_goal = 1},
    {.name = "free_order/1",
     .unit = "ns/block",
     .what = "these freed in the order of their allocation",
     .work = BENCH_WORK(free_order),
     .threads = 1,
     .peer_goal = 1},
    {.name = "free_order/2",
     .unit = "ns/block",
     .what = "the same by two threads, a million each",
     .work = BENCH_WORK(free_order),
     .threads = 2,
     .peer_goal = 1},
    {.name = "free_random/1",
     .unit = "ns/block",
     .what = "these freed in random order",
     .work = BENCH_WORK(free_random),
     .threads = 1,
     .peer_goal = 1},
    {.name = "free_random/2",
     .unit = "ns/block",
     .what = "the same by two threads, a million each",
     .work = BENCH_WORK(free_random),
     .threads = 2,
     .peer_goal = 1},
    {.name = "million_after_random/1",
     .unit = "ns/block",
     .what = "a million allocated after as many were freed in random order",
     .work = BENCH_WORK(million_after_random),
     .threads = 1,
     .peer_goal = 1},
    {.name = "million_after_random/2",
     .unit = "ns/block",
     .what = "the same by two threads, a million each",
     .work = BENCH_WORK(million_after_random),
     .threads = 2,
     .peer_goal = 1},
    {.name = "replace_mixed/1",
     .unit = "ns",
     .what = "one of 100000 blocks replaced, at random, by one of 16 to 512 "
             "bytes",
     .work = BENCH_WORK(replace_mixed),
     .threads = 1,
     .peer_goal = 1},
    {.name = "replace_mixed/2",
     .unit = "ns",
     .what = "the same by two threads, 100000 blocks each",
     .work = BENCH_WORK(replace_mixed),
     .threads = 2,
     .peer_goal = 1},
    {.name = "remote_one_way",
     .unit = "million/s",
     .what = "blocks of 32 bytes that one thread allocates and another frees",
     .work = BENCH_WORK(remote_one_way),
     .threads = 2,
     .more = true,
     .goal = 42},
    {.name = "remote_both_ways",
     .unit = "million/s",
     .what = "the same in both directions at once, the sum",
     .work = BENCH_WORK(remote_both_ways),
     .threads = 2,
     .more = true,
     .goal = 80},
    {.name = "thread_churn/1",
     .unit = "us/thread",
     .what = "threads that live for 100 allocations, one after another",
     .work = BENCH_WORK(thread_churn),
     .threads = 1,
     .peer_goal = 1},
    {.name = "thread_churn/2",
     .unit = "us/thread",
     .what = "the same two at a time",
     .work = BENCH_WORK(thread_churn),
     .threads = 2,
     .peer_goal = 1},
};

const struct bench_group bench_alloc = BENCH_GROUP("alloc", rows);
