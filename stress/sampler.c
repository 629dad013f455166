/* The timing of sampled allocations. */
#include "sampler.h"

#include <string.h>

__thread struct sampler *sampler_self;

/* What two readings of the clock in a row say: the median of many. Uses the
 * histogram, which is empty yet. */
static uint64_t
clock_cost(struct gyre_histogram *costs)
{
    uint64_t median;
    for (unsigned i = 0; i < 2000; i++) {
        uint64_t begin = sampler_clock();
        gyre_histogram_add(costs, sampler_clock() - begin);
    }
    median = gyre_histogram_quantile(costs, 0.5);
    memset(costs, 0, sizeof *costs);
    return median;
}

void
sampler_create(struct sampler *sampler, uint64_t seed)
{
    memset(sampler, 0, sizeof *sampler);
    sampler->random = random_hash(seed, 60);
    sampler->left = random_below(&sampler->random, SAMPLER_STRIDE);
    sampler->clock_ns = clock_cost(&sampler->histogram);
}
