/* PROVE: which of the set is garbage still, after finalizers ran. In a stop.
 *   entry   finalizers ran; some members died by counts, and their blocks
 *           wait in limbo; some were touched, some resurrected
 *   exit    the set is garbage: each member's count is explained by edges
 *           from members
 *   fails   GYRE_ERR_NOMEM: the caller abandons the cycle
 * Counts are exact in a stop, so the whole recount is: edges among those of
 * the set that live, then what is held from outside, with all it reaches, is
 * dropped. Nothing of the first scan is trusted but the list of members.
 * Design: docs/design/cycle.md .prove.exact */
#include "cycle.h"

#include "../../threads/yield.h"
#include "../fault.h"

/* A member has no owner but ARMED until PROVE lets it go: what has another
 * is somebody else in its block. Limbo keeps blocks from that, but for those
 * of a thread that left meanwhile, or is not there in a forked child. */
static bool
still_lives(const struct gyre_object *obj)
{
    return word0_is_object(gyre_load_relaxed(&obj->word0)) &&
           !(gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_DEAD) &&
           (gyre_load_relaxed(&obj->rc_local) & 0xffff) == GYRE_RC_ARMED;
}

/* ARMED kept: nothing that may be done to an object went past it, so its
 * count is what ARM recorded. A difference is a hole in the counts. */
static void
check_armed(const struct gyre_object *obj, uint32_t word)
{
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    if (GYRE_CHECKING && (shared & GYRE_RC_IS_ARMED))
        GYRE_CHECK(gyre_rc_shared_count(shared) == (int32_t)(word & GC_EDGES),
                   "collect: %s object %p is armed with count %u and has %d",
                   gyre_type_of(obj)->name, (const void *)obj, word & GC_EDGES,
                   gyre_rc_shared_count(shared));
}

void
gyre_prove_disarm(struct cycle *cycle, struct gyre_object *obj)
{
    gyre_generation_promote(cycle, obj);
    if ((gyre_load_relaxed(&obj->rc_local) & 0xffff) != GYRE_RC_ARMED)
        return;
    /* relaxed: world stopped, or a reader that still sees ARMED takes the
     * slow way, which is right for any merged object */
    gyre_store_relaxed(&obj->rc_local, GYRE_RC_NOBODY);
    gyre_fetch_and_relaxed(&obj->rc_shared, ~(uint32_t)GYRE_RC_IS_ARMED);
}

enum gyre_status
gyre_phase_prove(struct cycle *cycle)
{
    size_t lived = cycle->set.count, kept = 0;
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        uint32_t *word = cycle_word(obj);
        if (!still_lives(obj)) {
            *word = 0;
            lived--;
            continue;
        }
        check_armed(obj, *word);
        *word = GC_CANDIDATE;
        cycle->set.items[kept++] = obj;
    }
    cycle->set.count = kept;
    for (size_t i = 0; i < kept; i++)
        gyre_suspect_count_edges(cycle, cycle->set.items[i]);
    for (size_t i = 0; i < kept; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        uint32_t word = *cycle_word(obj);
        if (!(word & GC_LIVE) && gyre_suspect_is_held(cycle, obj, word) &&
            !gyre_suspect_mark_live(cycle, obj))
            return GYRE_ERR_NOMEM;
    }
    for (size_t i = 0; i < kept; i++)
        if (!cycle_is_member(cycle->set.items[i]))
            gyre_prove_disarm(cycle, cycle->set.items[i]);
    gyre_suspect_compact(cycle);
    gyre_fetch_add_relaxed(&cycle->heap->collector.resurrected,
                           lived - cycle->set.count);
    return GYRE_OK;
}

void
gyre_prove_give_up(struct cycle *cycle)
{
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        if (still_lives(obj))
            gyre_prove_disarm(cycle, obj);
    }
    cycle->set.count = cycle->garbage_pages.count = cycle->members = 0;
}

/* ---- with the world running ---- */

/* When nobody was touched, edges and counts are those of one moment, and a
 * member that slots name more often than it has references has one that was
 * never counted. .prove.over */
static void
check_explained(const struct cycle *cycle)
{
    const struct suspect *over = NULL;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        const struct suspect *suspect = &cycle->suspects[i];
        if (!suspect_is_member(suspect))
            continue;
        /* relaxed: as in drop_unproved() */
        if (!(gyre_load_relaxed(&suspect->obj->rc_shared) & GYRE_RC_IS_ARMED))
            return;
        if (suspect->edges > suspect->armed)
            over = suspect;
    }
    if (over != NULL)
        gyre_fatal("collect: %s object %p has %u references, and slots that "
                   "name it %u times",
                   gyre_type_of(over->obj)->name, (void *)over->obj,
                   over->armed, over->edges);
}

/* After the last slot was read: drop who was touched or is not explained.
 * False: nobody. `*flags`: those of all members, together. */
static bool
drop_unproved(struct cycle *cycle, uint32_t *flags)
{
    bool dropped = false;
    *flags = 0;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        const struct suspect *suspect = &cycle->suspects[i];
        uint32_t shared;
        if (i + 16 < cycle->suspect_count)
            __builtin_prefetch(cycle->suspects[i + 16].obj);
        if (!suspect_is_member(suspect))
            continue;
        /* relaxed: after the slots, which were read with acquire
         * .prove.exact */
        shared = gyre_load_relaxed(&suspect->obj->rc_shared);
        GYRE_CHECK(!(shared & GYRE_RC_IS_ARMED) ||
                       gyre_rc_shared_count(shared) == (int32_t)suspect->armed,
                   "collect: object %p is armed with count %u and has %d",
                   (void *)suspect->obj, suspect->armed,
                   gyre_rc_shared_count(shared));
        if (((shared & GYRE_RC_IS_ARMED) || FAULT(FAULT_FLAGS_FIRST)) &&
            suspect->edges == suspect->armed) {
            *flags |= shared;
            continue;
        }
        gyre_set_drop(cycle, i);
        /* A weak get may have let go of it again. */
        if ((shared & (GYRE_RC_IS_ARMED | GYRE_RC_WEAK | GYRE_RC_DEAD)) ==
            GYRE_RC_WEAK)
            cycle->suspects[i].parent = SUSPECT_TOUCHED;
        dropped = true;
    }
    return dropped;
}

/* By faults alone: without the edges. */
static void
drop_touched(struct cycle *cycle)
{
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        if (suspect_is_member(&cycle->suspects[i]) &&
            !(gyre_load_relaxed(&cycle->suspects[i].obj->rc_shared) &
              GYRE_RC_IS_ARMED))
            gyre_set_drop(cycle, i);
}

/* Components are asked for by COMMIT when a member is WEAK. As a rule SUSPECT
 * has seen that; else one more pass finds them, as a proof of its own
 * .prove.parts. */
bool
gyre_phase_prove_beside(struct cycle *cycle)
{
    uint32_t flags;
    cycle->marks.count = 0; /* others use it as well */
    cycle->parts |= (cycle->flags & GYRE_RC_WEAK) != 0;
    for (;;) {
        if (FAULT(FAULT_FLAGS_FIRST))
            drop_touched(cycle);
        GYRE_YIELD_POINT("prove");
        if (!gyre_set_count(cycle))
            return false;
        GYRE_YIELD_POINT("flags");
        if (GYRE_CHECKING)
            check_explained(cycle);
        if (!drop_unproved(cycle, &flags)) {
            if (cycle->parts || !(flags & GYRE_RC_WEAK))
                return true;
            cycle->parts = true;
            continue;
        }
        if (FAULT(FAULT_TRUST_FIRST_PASS))
            return gyre_set_count(cycle); /* for the components alone */
        GYRE_YIELD_POINT("rescue");
        if (!gyre_set_drop_reached(cycle))
            return false;
        if (FAULT(FAULT_RESCUE)) {
            drop_touched(cycle);
            return gyre_set_count(cycle); /* for the components alone */
        }
    }
}
