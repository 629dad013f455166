/* Work that is measured over gyre and over other allocators. Its files are
 * compiled twice, over gyre's inlined calls and, with BENCH_MALLOC, over
 * malloc() and free(), whoever those are of in the process: so both run the
 * same loops. Workers only. */
#ifndef GYRE_BENCH_WORK_H
#define GYRE_BENCH_WORK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include <gyre/gyre.h>

#include "harness.h"
#include "objects.h"

#ifdef BENCH_MALLOC
#define WORK(name) bench_malloc_##name
#else
#define WORK(name) bench_gyre_##name
#endif

/* One run by so many threads; the figure. */
#define BENCH_WORKS(X)      \
    X(block32_pair)         \
    X(million_warm)         \
    X(free_order)           \
    X(free_random)          \
    X(million_after_random) \
    X(replace_mixed)        \
    X(remote_one_way)       \
    X(remote_both_ways)     \
    X(thread_churn)         \
    X(held_same_thread)     \
    X(held_owner_exited)    \
    X(held_one_in_64)       \
    X(small_process)
#define BENCH_WORK_DECLARE(name)                \
    double bench_gyre_##name(unsigned threads); \
    double bench_malloc_##name(unsigned threads);
BENCH_WORKS(BENCH_WORK_DECLARE)

/* For a row's `work`. */
#define BENCH_WORK(name)                                         \
    {                                                            \
        .gyre = bench_gyre_##name, .malloc = bench_malloc_##name \
    }

/* ---- what the two are written on ---- */

/* Make what a process needs; the caller may allocate from now on. */
void WORK(begin)(void);
/* The same for a further thread, until it leaves. `raw`: it will use blocks
 * alone, no objects. */
void WORK(attach)(bool raw);
void WORK(leave)(void);
/* Wait for a thread to end. */
void WORK(join)(pthread_t thread);

/* Run `body` in so many threads at once, the caller one of them: each gets
 * its index from 0 and is on a CPU of its own when there are enough. Returns
 * the greatest of their figures. */
double WORK(team)(unsigned threads, double (*body)(unsigned index));
/* In a body: wait until all of the team are here. */
void WORK(meet)(void);

/* Fail the run unless so many blocks are in use, where that is known. */
void WORK(expect_blocks)(uint64_t expected);
/* Ask for memory to be given back to the system. */
void WORK(trim)(void);

static inline void *
work_alloc(size_t size)
{
#ifdef BENCH_MALLOC
    void *block = malloc(size);
#else
    void *block = gyre_mem_alloc_inline(size);
#endif
    if (GYRE_UNLIKELY(block == NULL))
        bench_fail("no block of %zu bytes", size);
    return block;
}

static inline void
work_free(void *block)
{
#ifdef BENCH_MALLOC
    free(block);
#else
    gyre_mem_free_inline(block);
#endif
}

#endif
