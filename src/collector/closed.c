/* A set that weak gets keep from being proved: it is tried once more, and at
 * last with the weak references that lead into it closed. The shards' locks
 * are taken in the stop that arms it and held until it is given up, so that a
 * weak get of a member waits instead of touching it.
 * Design: docs/design/concurrent.md .closed */
#include "cycle.h"

#include "../../threads/yield.h"

/* Members of a set that is closed, at most: one stop looks at each, and a weak
 * get waits while they are proved and given up. */
#define CLOSED_MOST 4096

/* ---- who is tried once more ---- */

static void
bring_back(struct cycle *cycle, uint32_t index)
{
    struct suspect *suspect = &cycle->suspects[index];
    *cycle_word(suspect->obj) &= ~GC_LIVE;
    suspect->parent = index;
    /* No memory: what it reaches is missed, and so the proof fails. */
    (void)cycle_table_push(cycle, &cycle->marks, suspect->obj);
}

/* Of a candidate that never was a suspect the low bits say something else. */
static void
bring_back_edge(struct gyre_object *target, void *arg)
{
    struct cycle *cycle = arg;
    const uint32_t *word = cycle_word_in(cycle->tables, target);
    uint32_t index = word != NULL ? *word & GC_EDGES : UINT32_MAX;
    if (index >= cycle->suspect_count || cycle->suspects[index].obj != target ||
        (cycle->suspects[index].parent != SUSPECT_DROPPED &&
         cycle->suspects[index].parent != SUSPECT_TOUCHED))
        return;
    bring_back(cycle, index);
}

/* Those that weak gets have touched, with what they reach. False: none. */
static bool
bring_back_touched(struct cycle *cycle)
{
    bool any = false;
    cycle->marks.count = 0;
    if (cycle_committed_all(cycle))
        return false;
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        if (cycle->suspects[i].parent == SUSPECT_TOUCHED) {
            bring_back(cycle, i);
            any = true;
        }
    while (cycle->marks.count > 0) {
        struct gyre_object *obj = cycle->marks.items[--cycle->marks.count];
        uint64_t word0 = gyre_load_relaxed(&obj->word0);
        const struct gyre_type *type =
            (const struct gyre_type *)(uintptr_t)(word0 & GYRE_WORD0_TYPE);
        if (word0_is_object(word0) && !cycle_type_waits(cycle, type))
            gyre_cycle_trace(cycle, obj, type, bring_back_edge, cycle);
    }
    return any;
}

/* ---- closing ---- */

/* The members, to `later`, which is empty. False: they are too many, or have a
 * `trace` that waits for stops, which would wait for who waits for the locks.
 */
static bool
list_members(struct cycle *cycle)
{
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        struct suspect *suspect = &cycle->suspects[i];
        uint64_t word0;
        if (!suspect_is_member(suspect))
            continue;
        word0 = gyre_load_relaxed(&suspect->obj->word0);
        if (cycle->later.count == CLOSED_MOST ||
            (word0_is_object(word0) &&
             cycle_type_waits(cycle, gyre_type_of(suspect->obj))) ||
            !cycle_table_push(cycle, &cycle->later, suspect))
            return false;
    }
    return cycle->later.count > 0;
}

/* In a stop: arm those who lost the flag since their slice, and lock the shards
 * of those that are weakly named. Nobody is between a look at a target and its
 * lock. */
static void
arm_and_lock(struct cycle *cycle)
{
    struct gyre_heap *heap = cycle->heap;
    for (size_t i = 0; i < cycle->later.count; i++) {
        const struct suspect *suspect = cycle->later.items[i];
        gyre_arm_again(cycle, (uint32_t)(suspect - cycle->suspects));
        if (gyre_load_relaxed(&suspect->obj->rc_shared) & GYRE_RC_WEAK)
            cycle->closed |= 1u << gyre_weak_shard(heap, suspect->obj);
    }
    if (cycle->closed == 0)
        return;
    /* What dies meanwhile only waits, as weak references to it are cleared
     * under these locks. */
    cycle->self->object.cascading = true;
    for (unsigned i = 0; i < WEAK_SHARDS; i++)
        if (cycle->closed & (1u << i))
            pthread_mutex_lock(&heap->object.weak[i].lock);
}

/* Arm what is not, and close; where that can't be, nothing. */
static bool
close_set(struct cycle *cycle)
{
    bool ok = true;
    cycle->later.count = 0;
    if (list_members(cycle)) {
        ok = gyre_slice_begin(cycle);
        if (ok) {
            arm_and_lock(cycle);
            gyre_slice_end(cycle);
        }
    }
    cycle->later.count = cycle->marks.count = 0;
    GYRE_YIELD_POINT("closed");
    return ok;
}

void
gyre_closed_open(struct cycle *cycle)
{
    if (cycle->closed == 0)
        return;
    for (unsigned i = 0; i < WEAK_SHARDS; i++)
        if (cycle->closed & (1u << i))
            pthread_mutex_unlock(&cycle->heap->object.weak[i].lock);
    cycle->closed = 0;
    cycle->self->object.cascading = false;
    gyre_cascade_run(cycle->self, true);
}

/* ---- tries ---- */

static bool
arm_again(struct cycle *cycle, bool close)
{
    return gyre_phase_arm_beside(cycle, true) && (!close || close_set(cycle)) &&
           gyre_phase_prove_beside(cycle);
}

static bool
try_again(struct cycle *cycle, bool close)
{
    bool unproved;
    if (!arm_again(cycle, close) ||
        !gyre_phase_finalize_beside(cycle, &unproved))
        return false;
    if (unproved) {
        gyre_closed_open(cycle);
        if (!arm_again(cycle, close))
            return false;
        gyre_finalize_count_resurrected(cycle);
    }
    return gyre_phase_commit_beside(cycle);
}

/* Once as before, once closed. */
bool
gyre_closed_try(struct cycle *cycle)
{
    for (unsigned try = 0; try < 2; try++) {
        bool ok;
        if (!bring_back_touched(cycle))
            return true;
        ok = try_again(cycle, try > 0);
        gyre_closed_open(cycle);
        if (!ok)
            return false;
    }
    return true;
}
