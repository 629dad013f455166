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

#include "../../threads/yield.h"
#include "../fault.h"

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
    gyre_memory_limbo_begin(cycle->heap, cycle->stamps);
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

/* ---- with the world running: in slices ---- */

/* In a stop: make it one word, armed, and note the count. What waits in a
 * queue, dies or is immortal is no member. */
static void
arm_suspect(struct cycle *cycle, uint32_t index)
{
    struct suspect *suspect = &cycle->suspects[index];
    struct gyre_object *obj = suspect->obj;
    const uint32_t never = GYRE_RC_DEAD | GYRE_RC_DYING | GYRE_RC_QUEUED;
    uint64_t word0 = gyre_load_relaxed(&obj->word0);
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    uint32_t local = gyre_load_relaxed(&obj->rc_local);
    int64_t count = gyre_rc_shared_count(shared);
    GYRE_CHECK(!word0_is_object(word0) ||
                   (cycle->stamps & (1u << word0_stamp(word0))) != 0,
               "collect: the block of suspect %p was given to another object",
               (void *)obj);
    if (!word0_is_object(word0) || !(word0 & GYRE_WORD0_TRACKED) ||
        (shared & never) != 0 || (local & 0xffff) == GYRE_RC_IMMORTAL) {
        gyre_set_drop(cycle, index);
        return;
    }
    if (!(shared & GYRE_RC_MERGED) && rc_owner_is_thread(local))
        count += rc_local_count(local);
    if (count <= 0 || count >= RC_SATURATED - 1) {
        gyre_set_drop(cycle, index);
        return;
    }
    /* relaxed, both: in a stop */
    gyre_store_relaxed(&obj->rc_local, GYRE_RC_ARMED);
    gyre_store_relaxed(&obj->rc_shared,
                       rc_shared_of((int32_t)count, rc_flags_of(shared) |
                                                        GYRE_RC_MERGED |
                                                        GYRE_RC_IS_ARMED));
    suspect->armed = (uint32_t)count;
}

/* The same for one that was touched; others keep their record. */
void
gyre_arm_again(struct cycle *cycle, uint32_t index)
{
    const struct gyre_object *obj = cycle->suspects[index].obj;
    if (!(gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_IS_ARMED))
        arm_suspect(cycle, index);
}

bool
gyre_phase_arm_beside(struct cycle *cycle, bool again)
{
    GYRE_YIELD_POINT("arm");
    cycle->marks.count = 0;
    if (FAULT(FAULT_NO_STOP_AGAIN) && again) {
        for (uint32_t i = 0; i < cycle->suspect_count; i++)
            if (suspect_is_member(&cycle->suspects[i]))
                gyre_arm_again(cycle, i);
        return true;
    }
    if (!gyre_slices_suspects(cycle, again ? gyre_arm_again : arm_suspect))
        return false;
    /* Dropped without what they reach: the first pass sees to that. */
    cycle->marks.count = 0;
    return true;
}
