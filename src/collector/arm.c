/* ARM: make the set tell when it is touched, take what must be finalized.
 * In a stop. Does nothing when no finalizer is to run: then the set is
 * committed in this same stop.
 *   entry   the set is garbage
 *   exit    each member's halves are one word, with ARMED and its exact
 *           count; those to finalize are FINALIZED, and the cycle holds a
 *           reference to each; their dead wait in limbo
 *   fails   GYRE_ERR_NOMEM, nothing changed
 * Design: docs/design/cycle.md .cycle.arm, docs/design/weakref.md .final */
#include "cycle.h"

static bool
must_finalize(const struct gyre_object *obj)
{
    return (gyre_type_of(obj)->traits & TYPE_FINALIZES) != 0 &&
           !(gyre_load_relaxed(&obj->word0) & GYRE_WORD0_FINALIZED);
}

/* The owner's half is added to the shared one, as the owner would. World
 * stopped: plain orders, the resume publishes them. */
static void
arm(struct gyre_object *obj, int32_t more)
{
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    int32_t count = (int32_t)gyre_object_count(obj) + more;
    uint32_t flags = rc_flags_of(shared) | GYRE_RC_MERGED | GYRE_RC_IS_ARMED;
    gyre_store_relaxed(&obj->rc_local, GYRE_RC_ARMED);
    gyre_store_relaxed(&obj->rc_shared, rc_shared_of(count, flags));
    *cycle_word(obj) = GC_CANDIDATE | (uint32_t)count;
}

static void
limbo_on(struct cycle *cycle)
{
    struct participant *part =
        gyre_load_relaxed(&cycle->heap->world.participants);
    /* relaxed: threads are stopped, those that attach later see it by the
     * world's lock */
    gyre_store_relaxed(&cycle->heap->memory.limbo_stamps, cycle->stamps);
    for (; part != NULL; part = part->next)
        gyre_memory_limbo(&mutator_of_part(part)->fast, cycle->stamps);
    cycle->limbo = true;
}

enum gyre_status
gyre_phase_arm(struct cycle *cycle)
{
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        if (must_finalize(obj) &&
            !cycle_table_push(cycle, &cycle->finalizable, obj))
            return GYRE_ERR_NOMEM;
    }
    if (cycle->finalizable.count == 0)
        return GYRE_OK;
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        arm(obj, must_finalize(obj));
    }
    for (size_t i = 0; i < cycle->finalizable.count; i++) {
        struct gyre_object *obj = cycle->finalizable.items[i];
        /* relaxed: world stopped */
        gyre_fetch_or_relaxed(&obj->word0, GYRE_WORD0_FINALIZED);
    }
    limbo_on(cycle);
    return GYRE_OK;
}
