/* FINALIZE: run the finalizers of the set, with the world running and weak
 * references answering, as at count zero.
 *   entry   ARM's exit
 *   exit    each ran once, its object's reference given back
 * Design: docs/design/weakref.md .final */
#include "cycle.h"

#include "../../threads/yield.h"
#include "../fault.h"

void
gyre_phase_finalize(struct cycle *cycle)
{
    struct object_thread *mine = &cycle->self->object;
    gyre_event_fire(cycle->heap, GYRE_EVENT_FINALIZE, cycle->finalizable.count);
    for (size_t i = 0; i < cycle->finalizable.count; i++) {
        struct gyre_object *obj = cycle->finalizable.items[i];
        mine->in_callback++;
        count_one(&mine->counters.finalizers_run);
        gyre_type_of(obj)->finalize(obj);
        mine->in_callback--;
        gyre_decref(obj);
    }
    /* so that what they gave up is merged in the coming stop at the latest */
    gyre_merge_publish(cycle->self);
    gyre_cascade_run(cycle->self, true);
}

/* ---- with the world running ---- */

static bool
must_finalize(const struct gyre_object *obj)
{
    const struct gyre_type *type = suspect_type(obj);
    return type != NULL && (type->traits & TYPE_FINALIZES) != 0 &&
           !(gyre_load_relaxed(&obj->word0) & GYRE_WORD0_FINALIZED);
}

static bool
list_finalizable(struct cycle *cycle)
{
    cycle->finalizable.count = 0;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        struct suspect *suspect = &cycle->suspects[i];
        suspect->next = suspect_is_member(suspect);
        if (suspect_is_member(suspect) && must_finalize(suspect->obj) &&
            !cycle_table_push(cycle, &cycle->finalizable, suspect->obj))
            return false;
    }
    return true;
}

/* A reference to each before the first runs: one taken later could be too
 * late. What a weak get touched since the proof is no member any more: armed
 * again it could be given up without its finalizer. The rest of the set is
 * unproved then. True: there was any such. .final.take */
static bool
take_finalizable(struct cycle *cycle)
{
    size_t kept = 0;
    bool dropped = false;
    for (size_t i = 0; i < cycle->finalizable.count; i++) {
        struct gyre_object *obj = cycle->finalizable.items[i];
        bool early = FAULT(FAULT_FINALIZED_FIRST) && gyre_finalizer_claim(obj);
        if (!gyre_set_take(obj)) {
            gyre_set_drop(cycle, *cycle_word(obj) & GC_EDGES);
            dropped = true;
            continue;
        }
        if (early || gyre_finalizer_claim(obj))
            cycle->finalizable.items[kept++] = obj;
        else
            gyre_decref(obj);
    }
    cycle->finalizable.count = kept;
    return dropped;
}

bool
gyre_phase_finalize_beside(struct cycle *cycle, bool *unproved)
{
    *unproved = false;
    if ((cycle->traits & TYPE_FINALIZES) == 0)
        return true;
    GYRE_YIELD_POINT("list finalizable");
    if (!list_finalizable(cycle))
        return gyre_cycle_give_up(cycle, GYRE_ERR_NOMEM);
    GYRE_YIELD_POINT("finalize");
    *unproved = take_finalizable(cycle);
    if (cycle->finalizable.count == 0)
        return true;
    /* References were taken and given back. */
    *unproved = true;
    gyre_closed_open(cycle);
    gyre_phase_finalize(cycle);
    /* One of them forked, and this is the child: threads that had limbo on
     * are not here, so nothing is known of the set any more. */
    if (cycle->heap->collector.forked)
        return gyre_cycle_give_up(cycle, GYRE_ERR_STATE);
    return gyre_cycle_goes_on(cycle);
}

/* After the set was proved anew: those that were proved before, are not now,
 * and live. */
void
gyre_finalize_count_resurrected(struct cycle *cycle)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        const struct suspect *suspect = &cycle->suspects[i];
        count +=
            suspect->next != 0 && !suspect_is_member(suspect) &&
            (gyre_load_relaxed(&suspect->obj->rc_shared) & GYRE_RC_DEAD) == 0;
    }
    /* relaxed: a statistic */
    gyre_fetch_add_relaxed(&cycle->heap->collector.resurrected, count);
}
