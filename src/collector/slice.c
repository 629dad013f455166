/* What keeps a cycle short for others: stops in slices, with time for
 * mutators between them, and what the collecting thread owes them meanwhile.
 * Design: docs/design/concurrent.md .arm.slice .close.abandon */
#include <errno.h>
#include <time.h>

#include "cycle.h"

#include "../../threads/yield.h"

/* Objects between two looks at the clock: each may be two misses of the cache,
 * so that these few take 2 microseconds or so. */
#define SLICE_STEPS 16
/* The eighths of a slice's budget that are kept for what nobody foresees:
 * interrupts, which take 30 microseconds at times, and the way out of the
 * stop. */
#define RESERVE 3
/* Fetched ahead of the first slice, of which nobody knows how long it is. */
#define FIRST_FETCH 64

bool
gyre_cycle_give_up(struct cycle *cycle, enum gyre_status status)
{
    if (cycle->status == GYRE_OK)
        cycle->status = status;
    return false;
}

/* What waits in limbo is bounded. After two cycles in a row that were too
 * long for it the bound doubles with each, or none would ever end. */
static bool
limbo_is_over(const struct cycle *cycle)
{
    const struct gyre_heap *heap = cycle->heap;
    uint64_t limit = heap_option(heap, GYRE_OPT_GC_LIMBO_LIMIT);
    uint32_t before = gyre_load_relaxed(&heap->collector.over_limbo);
    if (before >= 2)
        limit <<= before < 20 ? before - 1 : 19;
    return limit != 0 && gyre_load_relaxed(&heap->memory.limbo_bytes) > limit;
}

bool
gyre_cycle_goes_on(struct cycle *cycle)
{
    struct mutator *self = cycle->self;
    if (cycle->status != GYRE_OK)
        return false;
    /* closed: others wait for this thread, and it for nobody */
    if (!cycle->beside || cycle->closed != 0)
        return true;
    GYRE_YIELD_POINT("between pages");
    /* relaxed: a hint */
    cycle->waited |= gyre_load_relaxed(&cycle->heap->collector.waiters) > 0;
    rcu_member_quiescent(&self->part.rcu);
    gyre_merge_drain(self);
    gyre_cascade_run(self, false);
    gyre_merge_publish(self);
    if (gyre_fork_gate_is_closed())
        return gyre_cycle_give_up(cycle, GYRE_ERR_STATE);
    if (limbo_is_over(cycle)) {
        gyre_fetch_add_relaxed(&cycle->heap->collector.over_limbo, 1);
        cycle->over_limbo = true;
        return gyre_cycle_give_up(cycle, GYRE_ERR_NOMEM);
    }
    return true;
}

/* ---- slices ---- */

bool
gyre_slice_begin(struct cycle *cycle)
{
    enum gyre_status status;
    GYRE_YIELD_POINT("slice");
    GYRE_ASSERT(cycle->closed == 0);
    status = gyre_cycle_stop(cycle);
    if (status != GYRE_OK)
        return gyre_cycle_give_up(cycle, status);
    cycle->slice_began_ns = cycle->slice_looked_ns = gyre_clock_ns();
    cycle->slice_stride_ns -= cycle->slice_stride_ns / 4;
    cycle->slice_steps = 0;
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&cycle->heap->collector.slices, 1);
    return true;
}

/* Over when what may come until the next look at the clock would not fit: as
 * much as in the longest such stride of late, where caches were cold. */
bool
gyre_slice_is_over(struct cycle *cycle)
{
    uint64_t budget, now, stride;
    if (++cycle->slice_steps % SLICE_STEPS != 0)
        return false;
    budget = heap_option(cycle->heap, GYRE_OPT_GC_SLICE) * 1000;
    budget -= budget * RESERVE / 8;
    now = gyre_clock_ns();
    stride = now - cycle->slice_looked_ns;
    cycle->slice_looked_ns = now;
    if (stride > budget / 2) /* something else had the processor */
        stride = budget / 2;
    if (stride > cycle->slice_stride_ns)
        cycle->slice_stride_ns = stride;
    return now + cycle->slice_stride_ns - cycle->slice_began_ns >= budget;
}

void
gyre_slice_end(struct cycle *cycle)
{
    /* not the wait for the stop: others had that time */
    cycle->slice_took_ns = gyre_clock_ns() - cycle->slice_began_ns;
    gyre_cycle_resume(cycle);
}

/* Before a further slice: let mutators have their share of the time. */
static void
leave_share(struct cycle *cycle)
{
    uint64_t share = heap_option(cycle->heap, GYRE_OPT_GC_MUTATOR_SHARE);
    uint64_t wait = cycle->slice_took_ns * share / (100 - share);
    struct timespec time = {(time_t)(wait / 1000000000),
                            (long)(wait % 1000000000)};
    /* Those who outrun the collector wait for its end. */
    if (wait == 0 || cycle->waited ||
        (cycle->automatic && cycle->heap->collector.outrun))
        return;
    gyre_detach_for_wait(cycle->self);
    clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
    gyre_return_from_wait(cycle->self);
}

/* In a stop: what is dead now stays as it is, and nobody is in the middle of
 * anything. */
static bool
may_be_traced(const struct gyre_object *obj)
{
    return word0_is_object(gyre_load_relaxed(&obj->word0)) &&
           !(gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_DEAD);
}

bool
gyre_slices_trace(struct cycle *cycle,
                  void (*trace)(void *arg, struct gyre_object *obj), void *arg)
{
    struct cycle_table *later = &cycle->later;
    bool first = true;
    while (later->count > 0) {
        if (!first)
            leave_share(cycle);
        first = false;
        if (!gyre_cycle_goes_on(cycle) || !gyre_slice_begin(cycle))
            return false;
        do {
            struct gyre_object *obj = later->items[--later->count];
            if (may_be_traced(obj))
                trace(arg, obj);
        } while (later->count > 0 && !gyre_slice_is_over(cycle));
        gyre_slice_end(cycle);
    }
    return true;
}

/* ---- ARM's ---- */

/* Fetch what the next slice is about to look at. */
static void
fetch_ahead(const struct cycle *cycle, uint32_t from, uint32_t count)
{
    for (; count > 0 && from < cycle->suspect_count; count--, from++)
        __builtin_prefetch(cycle->suspects[from].obj, 1);
}

bool
gyre_slices_suspects(struct cycle *cycle,
                     void (*act)(struct cycle *cycle, uint32_t index))
{
    uint32_t at = 0, last = FIRST_FETCH;
    bool first = true;
    for (;;) {
        uint32_t from;
        while (at < cycle->suspect_count &&
               !suspect_is_member(&cycle->suspects[at]))
            at++;
        if (at == cycle->suspect_count)
            return true;
        from = at;
        if (!first)
            leave_share(cycle);
        first = false;
        if (!gyre_cycle_goes_on(cycle))
            return false;
        fetch_ahead(cycle, from, last);
        if (!gyre_slice_begin(cycle))
            return false;
        do {
            if (at + 16 < cycle->suspect_count)
                __builtin_prefetch(cycle->suspects[at + 16].obj, 1);
            if (suspect_is_member(&cycle->suspects[at]))
                act(cycle, at);
            at++;
        } while (at < cycle->suspect_count && !gyre_slice_is_over(cycle));
        gyre_slice_end(cycle);
        last = at - from;
    }
}
