/* When collections are due: births and bytes are noted, thresholds compared,
 * and threads that outrun the collector wait for it.
 * Design: docs/design/pacing.md, docs/design/cycle.md .policy */
#include "cycle.h"

/* Pages that may wait for a grace period before one is asked for. */
#define RETIRING_PAGES 16
/* A collection was worth it when so many percent of what it looked at was
 * garbage. */
#define WORTH 25
/* Above the soft limit so much of it may be added before the next. */
#define SOFT_STEPS 8

bool
gyre_pacing_is_automatic(const struct gyre_heap *heap)
{
    /* relaxed: a wish */
    return heap_option(heap, GYRE_OPT_GC_AUTOMATIC) != 0 &&
           gyre_load_relaxed(&heap->collector.disabled) == 0;
}

void
gyre_collector_note_retiring(struct gyre_heap *heap)
{
    /* relaxed: a hint, written under the page lock */
    if (gyre_load_relaxed(&heap->memory.retiring_pages) > RETIRING_PAGES)
        gyre_collector_ask_grace(heap);
}

/* Have the thread wait at its next outermost safepoint. */
static void
wait_soon(struct mutator *self)
{
    self->object.wait_wanted = true;
    gyre_participant_request(&self->part, REQUEST_PENDING);
}

/* ---- births ---- */

/* More waits for a collection than should, of what one is due for at
 * `threshold`, and one would help. */
static bool
is_outrun(const struct gyre_heap *heap, uint64_t waiting, uint64_t threshold)
{
    uint64_t backlog = heap_option(heap, GYRE_OPT_GC_BACKLOG);
    return backlog != 0 && threshold != 0 && waiting / backlog > threshold &&
           gyre_load_relaxed(&heap->collector.yield) >= WORTH; /* a hint */
}

/* Births less deaths that were noted on nobody's account: by a quiesce, or
 * after a thread had left. */
static int64_t
take_unclaimed(struct gyre_heap *heap)
{
    int64_t *unclaimed = &heap->memory.container_net_gone;
    /* relaxed, both: a count */
    if (gyre_load_relaxed(unclaimed) == 0)
        return 0;
    return gyre_exchange_relaxed(unclaimed, 0);
}

/* Births that wait for a collection, the thread's own added. */
static uint64_t
births_due(struct mutator *self)
{
    struct collector *collector = &self->fast.heap->collector;
    int64_t mine = gyre_load_relaxed(&self->memory.container_net);
    int64_t delta =
        mine - self->object.noted_net + take_unclaimed(self->fast.heap);
    int64_t net, base;
    if (delta == 0)
        return 0;
    self->object.noted_net = mine;
    /* relaxed: a heuristic, and each thread's part is added once */
    net = gyre_fetch_add_relaxed(&collector->net, delta) + delta;
    base = gyre_load_relaxed(&collector->net_base);
    if (net >= base)
        return (uint64_t)(net - base);
    /* More deaths than births: the base follows, or the count would be in
     * debt, and collections put off for ever (CPython issue 142048). */
    gyre_store_relaxed(&collector->net_base, net);
    return 0;
}

void
gyre_collector_leave_births(struct mutator *self)
{
    /* relaxed, both: the thread's own, or of one that is gone */
    int64_t mine = gyre_load_relaxed(&self->memory.container_net);
    gyre_store_relaxed(&self->memory.container_net,
                       mine - self->object.noted_net);
    self->object.noted_net = 0;
}

void
gyre_collector_note_births(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    uint64_t threshold = heap_option(heap, GYRE_OPT_GC_THRESHOLD0);
    uint64_t births = births_due(self);
    gyre_collector_note_retiring(heap);
    if (!gyre_pacing_is_automatic(heap))
        return;
    if (threshold != 0 && births > threshold) {
        gyre_account_begin(self);
        gyre_collector_ask(heap, gyre_generation_due(heap));
        gyre_account_end(self);
    }
    if (gyre_load_relaxed(&heap->collector.urgent) || /* relaxed: a hint */
        is_outrun(heap, births, threshold))
        wait_soon(self);
}

/* ---- bytes ---- */

/* Look at the bytes in use, which passed a bound. .pace.bytes .pace.soft */
static void
note_bytes(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    struct memory_heap *memory = &heap->memory;
    /* relaxed, all: heuristics; two threads may ask for the same */
    uint64_t pages = gyre_load_relaxed(&memory->pages_in_use);
    uint64_t soft = heap_option(heap, GYRE_OPT_MEMORY_SOFT_LIMIT), grown;
    if (!gyre_memory_is_pressed(heap, pages) || !gyre_pacing_is_automatic(heap))
        return;
    if (gyre_memory_is_over_soft(heap, pages)) {
        gyre_store_relaxed(&memory->soft_again,
                           pages + soft / SOFT_STEPS / GYRE_PAGE_BYTES + 1);
        gyre_store_relaxed(&heap->collector.urgent, true);
        gyre_collector_ask(heap, GYRE_GEN_OLD);
        wait_soon(self);
    } else {
        gyre_collector_ask(heap, gyre_generation_due(heap));
        grown = pages - gyre_load_relaxed(&heap->collector.pages_at_last);
        if ((int64_t)grown > 0 &&
            is_outrun(heap, grown * GYRE_PAGE_BYTES,
                      heap_option(heap, GYRE_OPT_GC_THRESHOLD_BYTES)))
            wait_soon(self);
    }
    gyre_store_relaxed(&memory->pressure_base, pages);
}

/* ---- after a collection ---- */

void
gyre_pacing_collected(const struct cycle *cycle)
{
    struct gyre_heap *heap = cycle->heap;
    struct collector *collector = &heap->collector;
    struct memory_heap *memory = &heap->memory;
    /* relaxed, all: one collection at a time writes them. What waits for a
     * grace period is as good as free. */
    uint64_t waiting = gyre_load_relaxed(&memory->retiring_pages);
    uint64_t pages = gyre_load_relaxed(&memory->pages_in_use);
    uint64_t soft = heap_option(heap, GYRE_OPT_MEMORY_SOFT_LIMIT);
    int64_t net, base = cycle->net_at_open - (int64_t)cycle->members;
    pages -= waiting < pages ? waiting : pages;
    gyre_memory_note_births(&cycle->self->fast);
    (void)births_due(cycle->self);
    net = gyre_load_relaxed(&collector->net);
    gyre_store_relaxed(&collector->net_base, base < net ? base : net);
    if (cycle->candidates > 0)
        gyre_store_relaxed(&collector->yield, (uint32_t)(cycle->members * 100 /
                                                         cycle->candidates));
    gyre_store_relaxed(&memory->pressure_base, pages);
    gyre_store_relaxed(&collector->pages_at_last, pages);
    if (cycle->generation != GYRE_GEN_OLD)
        return;
    gyre_store_relaxed(&memory->soft_again,
                       pages + soft / SOFT_STEPS / GYRE_PAGE_BYTES);
    gyre_store_relaxed(&collector->urgent, false);
}

/* ---- waiting ---- */

void
gyre_pacing_poll(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    struct collector *collector = &heap->collector;
    uint64_t began;
    int64_t births;
    note_bytes(self);
    if (!self->object.wait_wanted)
        return;
    self->object.wait_wanted = false;
    if (self->part.internal)
        return;
    began = gyre_clock_ns();
    gyre_collector_wait(self, heap_option(heap, GYRE_OPT_GC_WAIT) * 1000);
    count_one(&self->object.counters.paced_waits);
    count_more(&self->object.counters.paced_ns, gyre_clock_ns() - began);
    /* relaxed: as in births_due() */
    births = gyre_load_relaxed(&collector->net) -
             gyre_load_relaxed(&collector->net_base);
    if (births > 0 && is_outrun(heap, (uint64_t)births, 2))
        wait_soon(self);
}
