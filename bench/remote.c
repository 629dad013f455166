/* Blocks that another thread frees than allocated them, handed over through
 * a ring. See work.h. */
#include <sched.h>

#include "work.h"

#define BLOCKS 2000000u /* a thread allocates */
#define WARM 200000u
#define BLOCK 32u
#define RING 4096u
#define HANDED 64u /* blocks handed over at a time */

/* One thread puts, one takes. Places are numbered on without end. */
struct ring {
    /* the putter's; the taker reads `put` */
    _Alignas(128) uint64_t put; /* places filled so far; atomic */
    uint64_t seen_taken;        /* what the putter last saw of `taken` */
    /* the taker's; the putter reads `taken` */
    _Alignas(128) uint64_t taken; /* places emptied so far; atomic */
    uint64_t seen_put;
    _Alignas(128) uint64_t *places[RING];
};

/* Towards the thread of that index. */
static struct ring rings[2];

/* Fill the next places, if so many are free. Tags let the first blocks be
 * told apart: none is touched by its allocator otherwise. */
static bool
put_some(struct ring *ring, bool tagged)
{
    /* relaxed: only this thread stores it */
    uint64_t put = gyre_load_relaxed(&ring->put);
    if (put + HANDED - ring->seen_taken > RING) {
        /* acquire: the taker has read the places. pairs: take_some() */
        ring->seen_taken = gyre_load_acquire(&ring->taken);
        if (put + HANDED - ring->seen_taken > RING)
            return false;
    }
    for (uint64_t i = put; i < put + HANDED; i++) {
        uint64_t *block = work_alloc(BLOCK);
        if (tagged)
            *block = i;
        ring->places[i % RING] = block;
    }
    /* release: the places are filled. pairs: take_some() */
    gyre_store_release(&ring->put, put + HANDED);
    return true;
}

static bool
take_some(struct ring *ring, bool tagged)
{
    /* relaxed: only this thread stores it */
    uint64_t taken = gyre_load_relaxed(&ring->taken);
    if (ring->seen_put == taken) {
        /* acquire: the places are filled. pairs: put_some() */
        ring->seen_put = gyre_load_acquire(&ring->put);
        if (ring->seen_put == taken)
            return false;
    }
    for (uint64_t i = taken; i < taken + HANDED; i++) {
        uint64_t *block = ring->places[i % RING];
        if (tagged && *block != i)
            bench_fail("block %llu was written by another",
                       (unsigned long long)i);
        work_free(block);
    }
    /* release: the places are read. pairs: put_some() */
    gyre_store_release(&ring->taken, taken + HANDED);
    return true;
}

/* Put and take so many blocks, each as soon as it can be. */
static BENCH_LOOP void
pass(struct ring *to, uint64_t puts, struct ring *from, uint64_t takes,
     bool tagged)
{
    unsigned idle = 0;
    while (puts > 0 || takes > 0) {
        bool moved = false;
        if (puts > 0 && put_some(to, tagged)) {
            puts -= HANDED;
            moved = true;
        }
        if (takes > 0 && take_some(from, tagged)) {
            takes -= HANDED;
            moved = true;
        }
        idle = moved ? 0 : idle + 1;
        if (idle > 1000)
            sched_yield(); /* the other has no CPU, it seems */
    }
}

static uint64_t
timed_pass(unsigned index, bool puts, bool takes)
{
    struct ring *to = &rings[1 - index], *from = &rings[index];
    const uint64_t warm = WARM / HANDED * HANDED;
    const uint64_t blocks = BLOCKS / HANDED * HANDED;
    uint64_t start;
    pass(to, puts ? warm : 0, from, takes ? warm : 0, true);
    WORK(meet)();
    start = bench_now();
    pass(to, puts ? blocks : 0, from, takes ? blocks : 0, false);
    return bench_now() - start;
}

static double
one_way_body(unsigned index)
{
    return (double)timed_pass(index, index == 0, index == 1);
}

static double
both_ways_body(unsigned index)
{
    (void)index;
    return (double)timed_pass(index, true, true);
}

/* Millions of blocks a second. */
static double
rate(unsigned blocks, double nanoseconds)
{
    return (double)(blocks / HANDED * HANDED) / nanoseconds * 1e3;
}

double
WORK(remote_one_way)(unsigned threads)
{
    double spent;
    WORK(begin)();
    spent = WORK(team)(threads, one_way_body);
    WORK(expect_blocks)(0);
    return rate(BLOCKS, spent);
}

double
WORK(remote_both_ways)(unsigned threads)
{
    double spent;
    WORK(begin)();
    spent = WORK(team)(threads, both_ways_body);
    WORK(expect_blocks)(0);
    return 2 * rate(BLOCKS, spent);
}
