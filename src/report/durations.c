/* A heap's histograms of durations, and the account of what its threads do
 * for the collector. Any thread. Design: docs/design/report.md
 * .report.histogram .report.account */
#include "../heap.h"

void
gyre_report_histogram_add(struct gyre_heap *heap, enum gyre_histogram_id id,
                          uint64_t ns)
{
    struct gyre_histogram *histogram = &heap->report.histograms[id];
    /* relaxed, all: counts, each exact; a copy may be of the moment between
     * two of them */
    uint64_t max = gyre_load_relaxed(&histogram->max);
    gyre_fetch_add_relaxed(&histogram->buckets[gyre_histogram_bucket(ns)], 1);
    gyre_fetch_add_relaxed(&histogram->count, 1);
    gyre_fetch_add_relaxed(&histogram->sum, ns);
    while (ns > max && !gyre_cas_weak_relaxed(&histogram->max, &max, ns))
        ;
}

void
gyre_report_histogram_copy(const struct gyre_histogram *from,
                           struct gyre_histogram *out)
{
    /* relaxed, all: as above. The count of those that are seen. */
    out->count = 0;
    out->sum = gyre_load_relaxed(&from->sum);
    for (uint32_t i = 0; i < GYRE_HISTOGRAM_BUCKETS; i++) {
        out->buckets[i] = gyre_load_relaxed(&from->buckets[i]);
        out->count += out->buckets[i];
    }
    out->max = gyre_load_relaxed(&from->max);
}

/* ---- the account ---- */

/* A detached thread's part may be done by another, under a claim. */
static bool
is_own(const struct mutator *self)
{
    return &self->fast == gyre_self && !self->raw && !self->part.internal;
}

void
gyre_account_begin(struct mutator *self)
{
    if (is_own(self) && self->report.depth++ == 0)
        self->report.began_ns = gyre_clock_ns();
}

void
gyre_account_end(struct mutator *self)
{
    if (is_own(self) && --self->report.depth == 0)
        gyre_report_histogram_add(self->fast.heap, GYRE_HIST_MUTATOR,
                                  gyre_clock_ns() - self->report.began_ns);
}
