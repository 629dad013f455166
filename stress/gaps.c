/* Gaps in loops. See gaps.h. */
#include "gaps.h"

#include <stdlib.h>
#include <string.h>

bool
gaps_create(struct gaps *gaps)
{
    size_t bytes = GAPS_NOTED_MOST * sizeof *gaps->noted;
    memset(gaps, 0, sizeof *gaps);
    gaps->noted = malloc(bytes);
    if (gaps->noted != NULL)
        memset(gaps->noted, 1, bytes);
    return gaps->noted != NULL;
}

void
gaps_destroy(struct gaps *gaps)
{
    free(gaps->noted);
}

static unsigned
bucket_of(uint64_t ns)
{
    unsigned power = 63u - (unsigned)__builtin_clzll(ns | 1);
    uint64_t rest = power > 5 ? (ns >> (power - 5)) & (GAP_STEPS - 1)
                              : (ns << (5 - power)) & (GAP_STEPS - 1);
    return power * GAP_STEPS + (unsigned)rest;
}

/* The upper end of a bucket. */
static uint64_t
bucket_end(unsigned bucket)
{
    double low = (double)(UINT64_C(1) << bucket / GAP_STEPS);
    return (uint64_t)(low * (1 + (double)(bucket % GAP_STEPS + 1) / GAP_STEPS));
}

void
gaps_add(struct gaps *gaps, uint64_t begin_ns, uint64_t ns)
{
    gaps->weight[bucket_of(ns)] += ns;
    if (ns > gaps->longest)
        gaps->longest = ns;
    if (ns < GAP_NOTED_NS)
        return;
    if (gaps->noted_count < GAPS_NOTED_MOST)
        gaps->noted[gaps->noted_count++] = (struct gap){begin_ns, ns};
    else
        gaps->not_noted++;
}

uint64_t
gaps_quantile(const struct gaps *const *threads, unsigned count, double share)
{
    double all = 0, below = 0;
    uint64_t longest = 0, end;
    unsigned i, t;
    for (t = 0; t < count; t++) {
        for (i = 0; i < GAP_BUCKETS; i++)
            all += (double)threads[t]->weight[i];
        if (threads[t]->longest > longest)
            longest = threads[t]->longest;
    }
    for (i = 0; i < GAP_BUCKETS; i++) {
        for (t = 0; t < count; t++)
            below += (double)threads[t]->weight[i];
        if (below >= share * all)
            break;
    }
    end = i < GAP_BUCKETS ? bucket_end(i) : longest;
    return end < longest ? end : longest;
}

static uint64_t
end_of(const struct gap *gap)
{
    return gap->begin_ns + gap->ns;
}

/* Time in gaps of the window that ends where a gap does, at most. */
static uint64_t
most_before_an_end(const struct gaps *gaps, uint64_t window_ns)
{
    uint64_t most = 0, sum = 0;
    uint32_t first = 0;
    for (uint32_t last = 0; last < gaps->noted_count; last++) {
        const struct gap *gap = gaps->noted;
        uint64_t end = end_of(&gap[last]);
        uint64_t begin = end > window_ns ? end - window_ns : 0, cut;
        sum += gap[last].ns;
        while (end_of(&gap[first]) <= begin)
            sum -= gap[first++].ns;
        cut = begin > gap[first].begin_ns ? begin - gap[first].begin_ns : 0;
        if (sum - cut > most)
            most = sum - cut;
    }
    return most;
}

/* The same of the window that begins where a gap does. */
static uint64_t
most_from_a_begin(const struct gaps *gaps, uint64_t window_ns)
{
    uint64_t most = 0, sum = 0;
    uint32_t last = gaps->noted_count;
    for (uint32_t first = gaps->noted_count; first-- > 0;) {
        const struct gap *gap = gaps->noted;
        uint64_t end = gap[first].begin_ns + window_ns, cut;
        sum += gap[first].ns;
        while (gap[last - 1].begin_ns >= end)
            sum -= gap[--last].ns;
        cut = end_of(&gap[last - 1]) > end ? end_of(&gap[last - 1]) - end : 0;
        if (sum - cut > most)
            most = sum - cut;
    }
    return most;
}

/* Move a window along: what it has of gaps grows while its end is in one and
 * shrinks while its begin is. So it has most where the one or the other
 * changes: where a gap ends at its end, or begins at its begin. */
double
gaps_utilisation(const struct gaps *gaps, uint64_t window_ns)
{
    uint64_t most = most_before_an_end(gaps, window_ns);
    uint64_t other = most_from_a_begin(gaps, window_ns);
    return 1 - (double)(other > most ? other : most) / (double)window_ns;
}
