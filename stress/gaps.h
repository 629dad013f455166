/* Gaps in a thread's loop: quantiles weighted by time, and the least share of
 * a window that was left to the loop. */
#ifndef GYRE_STRESS_GAPS_H
#define GYRE_STRESS_GAPS_H

#include <stdbool.h>
#include <stdint.h>

/* Gaps by powers of two, each in so many steps. */
#define GAP_STEPS 32u
#define GAP_BUCKETS (64u * GAP_STEPS)
/* Gaps of so much and more are noted one by one, for utilisation. */
#define GAP_NOTED_NS 5000u
#define GAPS_NOTED_MOST (1u << 18)

struct gap {
    uint64_t begin_ns, ns;
};

/* One thread's, written by it alone. */
struct gaps {
    uint64_t weight[GAP_BUCKETS]; /* ns */
    uint64_t longest;             /* ns */
    struct gap *noted;            /* in order */
    uint32_t noted_count;
    uint64_t not_noted; /* for want of room */
};

/* Memory that is there already when it is written. False: none. */
bool gaps_create(struct gaps *gaps);
void gaps_destroy(struct gaps *gaps);
void gaps_add(struct gaps *gaps, uint64_t begin_ns, uint64_t ns);

/* Of several threads: the gap at that share of all their time. */
uint64_t gaps_quantile(const struct gaps *const *threads, unsigned count,
                       double share);
/* The least share of any window of that length, wherever it begins, that was
 * not in noted gaps. */
double gaps_utilisation(const struct gaps *gaps, uint64_t window_ns);

#endif
