/* Memory that is still resident after it was freed. See work.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <time.h>

#include "work.h"

#define MIB (1024.0 * 1024.0)
#define AMOUNT (260u << 20) /* bytes of blocks */
#define BLOCK 64u
#define SMALL_COUNT (AMOUNT / BLOCK)

/* The process does nothing for a second: what memory it gives back then, it
 * gives back by itself. */
static void
stay_idle(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) ==
           EINTR)
        continue;
}

static double
held_since(uint64_t before)
{
    return ((double)bench_rss() - (double)before) / MIB;
}

/* All of it was resident once. */
static void
expect_resident(uint64_t before)
{
    if (held_since(before) * MIB < (double)AMOUNT)
        bench_fail("only %.1f MiB became resident", held_since(before));
}

/* ---- one size, all freed ---- */

static uint64_t **small;

static void
allocate_small(void)
{
    for (size_t i = 0; i < SMALL_COUNT; i++) {
        small[i] = work_alloc(BLOCK);
        small[i][0] = i;
    }
}

static void
free_small(void)
{
    for (size_t i = 0; i < SMALL_COUNT; i++) {
        if (small[i][0] != i)
            bench_fail("block %zu was written by another", i);
        work_free(small[i]);
    }
}

static void *
owner_main(void *arg)
{
    (void)arg;
    bench_pin(1);
    WORK(attach)(false);
    allocate_small();
    WORK(leave)();
    return NULL;
}

static double
run_small(bool owner_exits)
{
    const size_t bytes = SMALL_COUNT * sizeof *small;
    uint64_t before = bench_rss();
    double held;
    WORK(begin)();
    small = bench_map(bytes);
    if (owner_exits)
        WORK(join)(bench_thread(owner_main, NULL));
    else
        allocate_small();
    expect_resident(before);
    free_small();
    bench_unmap(small, bytes);
    stay_idle();
    held = held_since(before);
    WORK(expect_blocks)(0);
    return held;
}

double
WORK(held_same_thread)(unsigned threads)
{
    (void)threads;
    return run_small(false);
}

double
WORK(held_owner_exited)(unsigned threads)
{
    (void)threads;
    return run_small(true);
}

/* ---- mixed sizes, one of 64 kept ---- */

#define LEAST 16u
#define MOST 512u
#define MIXED_COUNT (AMOUNT / ((LEAST + MOST) / 2))

struct kept {
    struct kept *next;
    size_t size; /* of this block */
};

static size_t
allocate_mixed(void **blocks)
{
    size_t bytes = 0;
    for (size_t i = 0; i < MIXED_COUNT; i++) {
        size_t size = LEAST + bench_random(MOST - LEAST + 1);
        struct kept *block = work_alloc(size);
        memset(block, 0x67, size);
        block->size = size;
        blocks[i] = block;
        bytes += size;
    }
    return bytes;
}

/* Free all but one of 64, each time another; the list of those kept lies in
 * them, so that nothing else stays. */
static struct kept *
free_mixed(void **blocks)
{
    struct kept *kept = NULL;
    for (size_t i = 0; i < MIXED_COUNT; i++) {
        struct kept *block = blocks[i];
        if (i % 64 != 0) {
            work_free(block);
            continue;
        }
        block->next = kept;
        kept = block;
    }
    return kept;
}

/* They are as they were. Their number. */
static uint64_t
check_kept(const struct kept *block)
{
    uint64_t count = 0;
    for (; block != NULL; block = block->next, count++)
        for (size_t i = sizeof *block; i < block->size; i++)
            if (((const unsigned char *)block)[i] != 0x67)
                bench_fail("a block that was kept has changed");
    return count;
}

double
WORK(held_one_in_64)(unsigned threads)
{
    const size_t bytes = MIXED_COUNT * sizeof(void *);
    uint64_t before = bench_rss(), count;
    void **blocks;
    struct kept *kept;
    double held;
    (void)threads;
    WORK(begin)();
    blocks = bench_map(bytes);
    if (allocate_mixed(blocks) < AMOUNT / 100 * 99)
        bench_fail("the sizes are not what they should be");
    expect_resident(before);
    bench_shuffle(blocks, MIXED_COUNT);
    kept = free_mixed(blocks);
    bench_unmap(blocks, bytes);
    WORK(trim)();
    stay_idle();
    held = held_since(before);
    count = check_kept(kept);
    if (count != (MIXED_COUNT + 63) / 64)
        bench_fail("%llu blocks were kept", (unsigned long long)count);
    WORK(expect_blocks)(count);
    return held;
}

/* ---- a small process ---- */

#define FEW 1000u

double
WORK(small_process)(unsigned threads)
{
    (void)threads;
    WORK(begin)();
    for (unsigned i = 0; i < FEW; i++) {
        uint64_t *block = work_alloc(32);
        block[0] = i;
#ifdef BENCH_MALLOC
        block = work_alloc(sizeof(struct pair));
        memset(block, 0, sizeof(struct pair));
        bench_keep(block);
#else
        bench_keep(bench_pair());
#endif
    }
    return (double)bench_rss() / MIB;
}
