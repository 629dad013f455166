/* Threads that live for a hundred allocations. See work.h. */
#include "work.h"

#define LIVES 1500u /* one after another, beside each other in pairs or not */
#define BLOCKS 100u

static void *
live(void *arg)
{
    uint64_t *blocks[BLOCKS];
    (void)arg;
    WORK(attach)(true);
    for (unsigned i = 0; i < BLOCKS; i++) {
        /* 16 to 412 bytes */
        blocks[i] = work_alloc(16 + 4 * i);
        blocks[i][0] = i;
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        if (blocks[i][0] != i)
            bench_fail("block %u of a thread was written by another", i);
        work_free(blocks[i]);
    }
    WORK(leave)();
    return NULL;
}

static void
live_and_leave(unsigned lives)
{
    while (lives-- > 0)
        pthread_join(bench_thread(live, NULL), NULL);
}

/* The threads' own time counts too, by whichever clock. */
static uint64_t
now(void)
{
    return bench_settings.clock == BENCH_CPU ? bench_process_cpu()
                                             : bench_now();
}

static double
churn_body(unsigned index)
{
    uint64_t start;
    (void)index;
    live_and_leave(LIVES / 8);
    WORK(meet)();
    start = now();
    live_and_leave(LIVES);
    return (double)(now() - start);
}

double
WORK(thread_churn)(unsigned threads)
{
    double spent;
    WORK(begin)();
    spent = WORK(team)(threads, churn_body);
    WORK(expect_blocks)(0);
    return spent / (LIVES * threads) / 1e3;
}
