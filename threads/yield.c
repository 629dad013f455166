/* Seeded delays of stress builds. */
#include "yield.h"

#if GYRE_YIELD

#include <sched.h>
#include <stdlib.h>

#include <gyre/atomic.h>

static uint64_t seed_of_process = 1;
static uint64_t threads_seeded;
static gyre_yield_fn watcher; /* atomic */
static __thread uint64_t state;

static uint64_t
next_random(void)
{
    /* xorshift64* [Vigna 2016]: small, and never zero from a nonzero state */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(0x2545f4914f6cdd1d);
}

void
gyre_yield_seed(uint64_t seed)
{
    /* relaxed: set before the threads it is for are made */
    gyre_store_relaxed(&seed_of_process, seed);
}

void
gyre_yield_watch(gyre_yield_fn watch)
{
    /* relaxed: set before the threads that it is for come to a point */
    gyre_store_relaxed(&watcher, watch);
}

void
gyre_yield_here(const char *point)
{
    gyre_yield_fn watch = gyre_load_relaxed(&watcher);
    if (watch != NULL)
        watch(point);
    if (state == 0) {
        /* relaxed: a number of its own for each thread, no order implied */
        uint64_t nth = gyre_fetch_add_relaxed(&threads_seeded, 1) + 1;
        state = (gyre_load_relaxed(&seed_of_process) + nth) *
                UINT64_C(0x9e3779b97f4a7c15);
        if (state == 0)
            state = 1;
    }
    uint64_t r = next_random();
    if ((r & 63) == 0) {
        sched_yield();
    } else if ((r & 15) == 1) {
        /* a delay of up to a microsecond or so on this thread alone */
        for (volatile unsigned spin = (unsigned)(r >> 32) & 1023; spin > 0;)
            spin--;
    }
}

#else

/* ISO C wants a declaration in every file. */
typedef int yield_points_are_off;

#endif
