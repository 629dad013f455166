/* How long an allocation takes, by a sample of them.
 *
 * Each thread times one allocation in about sixty, by chance, so that no
 * period of the load is met again and again, and keeps the times in a
 * histogram of its own. The clock's own time is taken off. */
#ifndef GYRE_STRESS_SAMPLER_H
#define GYRE_STRESS_SAMPLER_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <gyre/statistics.h>

#include "random.h"

#define SAMPLER_STRIDE 60u /* allocations a sample, on average */

struct sampler {
    uint64_t random;
    uint32_t left;     /* allocations before the next sample */
    uint64_t clock_ns; /* what two readings of the clock cost; const */
    struct gyre_histogram histogram;
};

/* The calling thread's; NULL: it times nothing. */
extern __thread struct sampler *sampler_self;

void sampler_create(struct sampler *sampler, uint64_t seed);

static inline uint64_t
sampler_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Before an allocation: is it to be timed? Then sampler_clock() right before
 * it, and sampler_add() right after. */
static inline bool
sampler_due(struct sampler *sampler)
{
    if (__builtin_expect(sampler == NULL, 0) || sampler->left-- != 0)
        return false;
    sampler->left = random_below(&sampler->random, 2 * SAMPLER_STRIDE - 1);
    return true;
}

static inline void
sampler_add(struct sampler *sampler, uint64_t begin)
{
    uint64_t took = sampler_clock() - begin;
    took = took > sampler->clock_ns ? took - sampler->clock_ns : 0;
    gyre_histogram_add(&sampler->histogram, took);
}

#endif
