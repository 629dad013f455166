/* The driver: one collection, phase by phase.
 * Design: docs/design/cycle.md .cycle */
#include "cycle.h"

#include "../../threads/yield.h"
#include "../fault.h"

/* How often a stop finds dead objects in merge queues, lets the world run to
 * release what they held, and stops it again. A chain of dead objects of
 * alternating owners takes a try a link, so a collection that was asked for
 * by name has patience; an automatic one leaves the rest to the next. */
#define DRAIN_TRIES_ASKED 1000
#define DRAIN_TRIES_AUTOMATIC 2
/* How often the second stop of a cycle is tried before it is abandoned. */
#define STOP_TRIES 3

bool
gyre_cycle_table_grow(struct cycle *cycle, struct cycle_table *table)
{
    size_t capacity = table->capacity == 0 ? 512 : table->capacity * 2;
    void **items = gyre_memory_table_new(cycle->heap, capacity * sizeof *items);
    if (items == NULL)
        return false;
    if (table->items != NULL) {
        memcpy(items, table->items, table->count * sizeof *items);
        gyre_memory_table_delete(cycle->heap, table->items,
                                 table->capacity * sizeof *items);
    }
    table->items = items;
    table->capacity = capacity;
    return true;
}

static void
table_free(struct cycle *cycle, struct cycle_table *table)
{
    if (table->items != NULL)
        gyre_memory_table_delete(cycle->heap, table->items,
                                 table->capacity * sizeof *table->items);
    table->items = NULL;
    table->count = table->capacity = 0;
}

enum gyre_status
gyre_cycle_stop(struct cycle *cycle)
{
    struct gyre_heap *heap = cycle->heap;
    struct world *world = &heap->world;
    enum gyre_status status;
    status = gyre_world_stop(world, &cycle->self->part,
                             heap_option(heap, GYRE_OPT_THREAD_STOP_TIMEOUT));
    if (status == GYRE_OK) {
        cycle->stopped = true;
        gyre_event_fire(heap, GYRE_EVENT_STOP_BEGIN,
                        world->stopped_ns - world->stop_began_ns);
    }
    return status;
}

void
gyre_cycle_resume(struct cycle *cycle)
{
    struct gyre_heap *heap = cycle->heap;
    struct world *world = &heap->world;
    gyre_event_fire(heap, GYRE_EVENT_STOP_END,
                    gyre_clock_ns() - world->stop_began_ns);
    cycle->stopped = false;
    gyre_world_resume(world);
    /* after it: a histogram's memory may be new */
    gyre_report_histogram_add(heap, GYRE_HIST_SAFEPOINT,
                              world->stopped_ns - world->stop_began_ns);
    gyre_report_histogram_add(heap, GYRE_HIST_STOP,
                              world->resumed_ns - world->stop_began_ns);
}

/* Stop with nothing dead in any queue: what the dead refer to would look
 * alive to the scan. */
static enum gyre_status
stop_drained(struct cycle *cycle)
{
    struct mutator *self = cycle->self;
    unsigned most =
        cycle->automatic ? DRAIN_TRIES_AUTOMATIC : DRAIN_TRIES_ASKED;
    for (unsigned try = 1;; try++) {
        enum gyre_status status = gyre_cycle_stop(cycle);
        if (status != GYRE_OK)
            return status;
        gyre_merge_drain_all(self);
        gyre_merge_find_lost(self);
        if (gyre_cascade_is_empty(self) || try == most)
            return GYRE_OK;
        gyre_cycle_resume(cycle);
        gyre_cascade_run(self, true);
        gyre_merge_publish(self);
    }
}

/* The set is proved and nothing has to be asked of it any more: give it up.
 * World stopped on entry, running on return. */
static enum gyre_status
finish(struct cycle *cycle)
{
    enum gyre_status status = gyre_phase_commit(cycle);
    if (status == GYRE_OK) {
        gyre_generation_forget_set(cycle);
    } else {
        gyre_generation_recall(cycle);
        gyre_fetch_add_relaxed(&cycle->heap->collector.abandoned, 1);
    }
    gyre_cycle_resume(cycle);
    if (status == GYRE_OK)
        gyre_phase_reclaim(cycle);
    return status;
}

static enum gyre_status
finish_with_finalizers(struct cycle *cycle)
{
    enum gyre_status status;
    unsigned tries = 0;
    gyre_cycle_resume(cycle);
    gyre_phase_finalize(cycle);
    do
        status = stop_drained(cycle);
    while (status == GYRE_ERR_TIMEOUT && ++tries < STOP_TRIES);
    if (status == GYRE_OK) {
        status = gyre_phase_prove(cycle);
        if (status == GYRE_OK) {
            return finish(cycle);
        }
        gyre_prove_give_up(cycle);
        gyre_generation_recall(cycle);
        gyre_cycle_resume(cycle);
    }
    /* Nothing was committed: what is garbage is found by the next cycle. A
     * member that stays armed, because the world would not stop, is slower
     * to count until a later cycle arms it anew, and no less exact. */
    gyre_fetch_add_relaxed(&cycle->heap->collector.abandoned, 1);
    return status;
}

static enum gyre_status
run_phases(struct cycle *cycle)
{
    enum gyre_status status = stop_drained(cycle);
    if (status != GYRE_OK)
        return status;
    status = gyre_phase_open(cycle);
    if (status == GYRE_OK)
        status = gyre_phase_suspect(cycle);
    if (status == GYRE_OK)
        status = gyre_phase_arm(cycle);
    if (status != GYRE_OK) {
        gyre_generation_recall(cycle);
        gyre_cycle_resume(cycle);
        gyre_fetch_add_relaxed(&cycle->heap->collector.abandoned, 1);
    } else if (cycle->finalizable.count > 0) {
        status = finish_with_finalizers(cycle);
    } else {
        status = finish(cycle);
    }
    gyre_phase_close(cycle);
    return status;
}

/* ---- with the world running ---- */

/* From candidates to members that are DYING. False: the cycle is abandoned,
 * but for what is committed. */
static bool
prove_and_commit(struct cycle *cycle)
{
    bool unproved;
    if (!gyre_phase_open_beside(cycle) || !gyre_phase_suspect_beside(cycle))
        return false;
    if (cycle->suspect_count == 0)
        return true;
    if (!gyre_phase_arm_beside(cycle, false) ||
        !gyre_phase_prove_beside(cycle) ||
        !gyre_phase_finalize_beside(cycle, &unproved))
        return false;
    if (unproved) {
        if (!gyre_phase_arm_beside(cycle, true) ||
            !(FAULT(FAULT_OLD_PROOF) ? gyre_set_count(cycle)
                                     : gyre_phase_prove_beside(cycle)))
            return false;
        gyre_finalize_count_resurrected(cycle);
    }
    return gyre_phase_commit_beside(cycle) && gyre_closed_try(cycle);
}

/* Did the cycle fail for a reason that a stop does not know? Where no memory
 * is left for tables it is most wanted; and who asked by name has it now. */
static bool
should_stop_instead(const struct cycle *cycle)
{
    const struct collector *collector = &cycle->heap->collector;
    if (!cycle->beside)
        return false;
    if (cycle->status == GYRE_ERR_NOMEM)
        return !cycle->over_limbo || !cycle->automatic;
    return collector->forked && !cycle->automatic;
}

static enum gyre_status
run_beside(struct cycle *cycle)
{
    struct collector *collector = &cycle->heap->collector;
    collector->forked = false;
    if (prove_and_commit(cycle)) /* relaxed: under the collector's lock */
        gyre_store_relaxed(&collector->over_limbo, 0);
    gyre_phase_reclaim(cycle);
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&collector->suspected_falsely,
                           cycle->suspect_count - cycle->members);
    gyre_phase_close_beside(cycle);
    return cycle->status;
}

static enum gyre_status
run_cycle(struct cycle *cycle)
{
    enum gyre_status status =
        cycle->beside ? run_beside(cycle) : run_phases(cycle);
    cycle->heap->collector.outrun = cycle->waited;
    gyre_spare_settle(cycle->heap);
    if (status == GYRE_OK) {
        gyre_generation_collected(cycle->heap, cycle->generation,
                                  cycle->candidates, cycle->survivors);
        gyre_pacing_collected(cycle);
    }
    table_free(cycle, &cycle->pages);
    table_free(cycle, &cycle->marks);
    table_free(cycle, &cycle->garbage_pages);
    table_free(cycle, &cycle->set);
    table_free(cycle, &cycle->later);
    table_free(cycle, &cycle->finalizable);
    return status;
}

enum gyre_status
gyre_cycle_run(struct mutator *self, enum gyre_generation generation,
               bool automatic)
{
    struct gyre_heap *heap = self->fast.heap;
    const struct cycle fresh = {
        .heap = heap,
        .self = self,
        .generation = generation,
        .automatic = automatic,
    };
    struct cycle cycle = fresh;
    uint64_t began = gyre_clock_ns(), freed;
    enum gyre_status status;
    cycle.beside = heap_option(heap, GYRE_OPT_GC_CONCURRENT) != 0;
    gyre_event_fire(heap, GYRE_EVENT_COLLECT_BEGIN, generation);
    status = run_cycle(&cycle);
    freed = cycle.members;
    if (cycle.beside && status != GYRE_OK)
        gyre_fetch_add_relaxed(&heap->collector.abandoned, 1);
    if (should_stop_instead(&cycle)) {
        cycle = fresh;
        status = run_cycle(&cycle);
        freed += cycle.members;
    }
    gyre_report_histogram_add(heap, GYRE_HIST_CYCLE, gyre_clock_ns() - began);
    gyre_event_fire(heap, GYRE_EVENT_COLLECT_END, freed);
    return status;
}
