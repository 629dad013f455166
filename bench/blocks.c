/* Blocks that the thread which allocated them frees: one at a time, a million
 * at a time, and in the place of others. See work.h. */
#include "work.h"

#define PAIRS 8000000u
#define BLOCK 32u

/* ---- one, hot ---- */

static BENCH_LOOP void
allocate_and_free(uint64_t pairs)
{
    while (pairs-- > 0) {
        void *block = work_alloc(BLOCK);
        bench_keep(block);
        work_free(block);
        bench_fence();
    }
}

static double
pair_body(unsigned index)
{
    /* one that stays, so that nothing is empty after each free */
    void *stays = work_alloc(BLOCK);
    uint64_t start, end;
    (void)index;
    allocate_and_free(PAIRS / 8);
    WORK(meet)();
    start = bench_now();
    allocate_and_free(PAIRS);
    end = bench_now();
    work_free(stays);
    return (double)(end - start);
}

double
WORK(block32_pair)(unsigned threads)
{
    double spent;
    WORK(begin)();
    spent = WORK(team)(threads, pair_body);
    WORK(expect_blocks)(0);
    return spent / PAIRS;
}

/* ---- a million ---- */

#define MILLION 1000000u
#define ROUNDS 2u /* that count; one before them warms memory up */

enum part { ALLOCATE, FREE_ORDER, FREE_RANDOM, ALLOCATE_AFTER };
static enum part part; /* what is timed; constant while a team runs */

static BENCH_LOOP void
allocate_million(void **blocks)
{
    for (size_t i = 0; i < MILLION; i++)
        blocks[i] = work_alloc(BLOCK);
}

static BENCH_LOOP void
free_million(void **blocks)
{
    for (size_t i = 0; i < MILLION; i++)
        work_free(blocks[i]);
}

/* Each is a block of its own. */
static void
check_million(void **blocks)
{
    for (size_t i = 0; i < MILLION; i++) {
        ((uint64_t *)blocks[i])[0] = i;
        ((uint64_t *)blocks[i])[BLOCK / 8 - 1] = ~i;
    }
    for (size_t i = 0; i < MILLION; i++)
        if (((uint64_t *)blocks[i])[0] != i ||
            ((uint64_t *)blocks[i])[BLOCK / 8 - 1] != ~i)
            bench_fail("block %zu of a million lies in another", i);
}

/* A random order of a million things. */
static uint32_t *
make_order(void)
{
    uint32_t *order = bench_map(MILLION * sizeof *order);
    for (uint32_t i = 0; i < MILLION; i++) {
        uint32_t j = (uint32_t)bench_random(i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    return order;
}

static uint64_t
timed(void (*loop)(void **blocks), void **blocks)
{
    uint64_t start;
    WORK(meet)();
    start = bench_now();
    loop(blocks);
    return bench_now() - start;
}

static double
million_body(unsigned index)
{
    bool at_random = part == FREE_RANDOM || part == ALLOCATE_AFTER;
    bool frees = part == FREE_ORDER || part == FREE_RANDOM;
    void **blocks = bench_map(MILLION * sizeof *blocks);
    void **mixed = bench_map(MILLION * sizeof *mixed);
    uint32_t *order = make_order();
    uint64_t spent = 0;
    (void)index;
    for (unsigned round = 0; round <= ROUNDS; round++) {
        uint64_t allocating = timed(allocate_million, blocks), freeing;
        if (round == 0)
            check_million(blocks);
        for (size_t i = 0; at_random && i < MILLION; i++)
            mixed[i] = blocks[order[i]];
        freeing = timed(free_million, at_random ? mixed : blocks);
        if (round > 0)
            spent += frees ? freeing : allocating;
    }
    return (double)spent;
}

static double
run_million(unsigned threads, enum part which)
{
    double spent;
    WORK(begin)();
    part = which;
    spent = WORK(team)(threads, million_body);
    WORK(expect_blocks)(0);
    return spent / (ROUNDS * (double)MILLION);
}

double
WORK(million_warm)(unsigned threads)
{
    return run_million(threads, ALLOCATE);
}

double
WORK(free_order)(unsigned threads)
{
    return run_million(threads, FREE_ORDER);
}

double
WORK(free_random)(unsigned threads)
{
    return run_million(threads, FREE_RANDOM);
}

double
WORK(million_after_random)(unsigned threads)
{
    return run_million(threads, ALLOCATE_AFTER);
}

/* ---- in the place of others ---- */

#define PLACES 100000u
#define REPLACEMENTS 2000000u
#define MIXED_LEAST 16u
#define MIXED_MOST 512u

struct place {
    struct mixed {
        struct place *of;
    } * block;
};

/* A step of a congruential generator: cheap, and its high bits are good. */
static inline uint64_t
step(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    return *state;
}

static inline void
fill(struct place *place, uint64_t random)
{
    /* 16 bits of it choose the size, and none that choose the place */
    size_t size =
        MIXED_LEAST +
        ((random >> 16 & 0xffff) * (MIXED_MOST - MIXED_LEAST + 1) >> 16);
    place->block = work_alloc(size);
    place->block->of = place;
}

static BENCH_LOOP void
replace(struct place *places, uint64_t count, uint64_t *state)
{
    while (count-- > 0) {
        uint64_t random = step(state);
        struct place *place = &places[(random >> 32) * PLACES >> 32];
        work_free(place->block);
        fill(place, random);
    }
}

static double
replace_body(unsigned index)
{
    struct place *places = bench_map(PLACES * sizeof *places);
    uint64_t state = index + 1, start, end;
    for (size_t i = 0; i < PLACES; i++)
        fill(&places[i], step(&state));
    replace(places, REPLACEMENTS / 8, &state);
    WORK(meet)();
    start = bench_now();
    replace(places, REPLACEMENTS, &state);
    end = bench_now();
    for (size_t i = 0; i < PLACES; i++) {
        if (places[i].block->of != &places[i])
            bench_fail("a block was written by another");
        work_free(places[i].block);
    }
    return (double)(end - start);
}

double
WORK(replace_mixed)(unsigned threads)
{
    double spent;
    WORK(begin)();
    spent = WORK(team)(threads, replace_body);
    WORK(expect_blocks)(0);
    return spent / REPLACEMENTS;
}
