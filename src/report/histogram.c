/* Log-linear histograms: 64 buckets a doubling, exact below 128. Plain data
 * of the caller's; not synchronised. Design: docs/design/report.md
 * .report.histogram */
#include "report.h"

/* Values below 128 have a bucket each; from there every doubling has 64, so
 * that a bucket is at most 1/64 of its values wide. */
#define STEP_BITS 6
#define STEPS (1u << STEP_BITS)

/* The number of the value's bucket: the shift that leaves seven bits, times
 * 64, plus what is left of the value. */
uint32_t
gyre_histogram_bucket(uint64_t value)
{
    uint32_t shift;
    if (value < 2 * STEPS)
        return (uint32_t)value;
    shift = 63 - STEP_BITS - (uint32_t)__builtin_clzll(value);
    return shift * STEPS + (uint32_t)(value >> shift);
}
GYRE_STATIC_ASSERT(GYRE_HISTOGRAM_BUCKETS == (63 - STEP_BITS + 2) * STEPS,
                   "the last bucket ends at 2^64 - 1");

/* The greatest value of a bucket. */
static uint64_t
bucket_end(uint32_t bucket)
{
    uint32_t shift;
    if (bucket < 2 * STEPS)
        return bucket;
    shift = bucket / STEPS - 1;
    return ((uint64_t)(bucket - shift * STEPS + 1) << shift) - 1;
}

void
gyre_histogram_add(struct gyre_histogram *histogram, uint64_t value)
{
    histogram->count++;
    histogram->sum += value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->buckets[gyre_histogram_bucket(value)]++;
}

void
gyre_histogram_merge(struct gyre_histogram *into,
                     const struct gyre_histogram *from)
{
    uint32_t i;
    into->count += from->count;
    into->sum += from->sum;
    if (from->max > into->max)
        into->max = from->max;
    for (i = 0; i < GYRE_HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

/* How many entries make up `fraction` of them: at least one, at most all. */
static uint64_t
entries_wanted(uint64_t count, double fraction)
{
    double wanted;
    uint64_t whole;
    if (!(fraction > 0))
        return 1;
    if (fraction >= 1)
        return count;
    wanted = fraction * (double)count;
    whole = (uint64_t)wanted;
    if ((double)whole < wanted)
        whole++;
    if (whole < 1)
        return 1;
    return whole < count ? whole : count;
}

uint64_t
gyre_histogram_quantile(const struct gyre_histogram *h, double fraction)
{
    uint64_t wanted, seen = 0;
    uint32_t i;
    if (h->count == 0)
        return 0;
    wanted = entries_wanted(h->count, fraction);
    for (i = 0; i < GYRE_HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= wanted) {
            uint64_t end = bucket_end(i);
            return end < h->max ? end : h->max;
        }
    }
    return h->max;
}
