/* COMMIT: the set is given up. In a stop, so all of it at once: members are
 * DYING, weak references to them answer NULL; what can't be cleared, or is
 * to be saved, goes to the garbage list and stays alive with all it reaches.
 *   entry   the set is garbage
 *   exit    a try_incref on a member fails, a decrement to zero does not
 *           free it; callbacks are due
 *   fails   GYRE_ERR_NOMEM, the garbage list can't grow: nothing is freed
 * Design: docs/design/cycle.md .cycle.commit, docs/design/weakref.md .weak */
#include "cycle.h"

#include "../../threads/yield.h"
#include "../fault.h"

/* `obj` stays: the list holds it, and what it reaches is alive. */
static bool
put_on_garbage_list(struct cycle *cycle, struct gyre_object *obj)
{
    struct collector *collector = &cycle->heap->collector;
    if (!gyre_object_list_push(&collector->garbage, obj))
        return false;
    gyre_fetch_add_relaxed(&collector->uncollectable, 1);
    return gyre_suspect_mark_live(cycle, obj);
}

static bool
must_save(const struct cycle *cycle)
{
    return (cycle->traits & TYPE_UNCLEARABLE) != 0 ||
           heap_option(cycle->heap, GYRE_OPT_GC_SAVE_ALL) != 0;
}

/* Take out of the set what is not to be freed. False: no memory; then
 * nothing is freed. */
static bool
save_garbage(struct cycle *cycle)
{
    bool save_all = heap_option(cycle->heap, GYRE_OPT_GC_SAVE_ALL) != 0;
    size_t before = cycle->heap->collector.garbage.count;
    bool ok = true, any = false;
    for (size_t i = 0; ok && i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        if (save_all || (gyre_type_of(obj)->traits & TYPE_UNCLEARABLE)) {
            ok = put_on_garbage_list(cycle, obj);
            any = true;
        }
    }
    /* References last: marking compares counts with edges. */
    for (size_t i = before; i < cycle->heap->collector.garbage.count; i++)
        gyre_incref(cycle->heap->collector.garbage.items[i]);
    if (any) {
        for (size_t i = 0; i < cycle->set.count; i++)
            if (!cycle_is_member(cycle->set.items[i]))
                gyre_prove_disarm(cycle, cycle->set.items[i]);
        gyre_suspect_compact(cycle);
    }
    return ok;
}

static void
make_dying(struct gyre_object *obj)
{
    int32_t count = (int32_t)gyre_object_count(obj);
    /* relaxed: world stopped, the resume publishes it */
    gyre_store_relaxed(&obj->rc_shared,
                       rc_shared_of(count, GYRE_RC_MERGED | GYRE_RC_DYING));
    gyre_store_relaxed(&obj->rc_local, GYRE_RC_NOBODY);
}

enum gyre_status
gyre_phase_commit(struct cycle *cycle)
{
    if (must_save(cycle) && !save_garbage(cycle)) {
        gyre_prove_give_up(cycle);
        return GYRE_ERR_NOMEM;
    }
    /* When no member could be named without a counted reference, and no
     * `clear` will decrement one, nobody ever looks at their headers again. */
    if (!cycle->lists_set)
        return GYRE_OK;
    cycle->members = cycle->set.count;
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        bool weak = (gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_WEAK) != 0;
        make_dying(obj);
        if (weak)
            gyre_weak_clear(cycle->self, obj, true);
    }
    return GYRE_OK;
}

/* ---- with the world running: component by component ---- */

#define END UINT32_MAX

/* Chain the members of each component behind its root. */
static void
chain_components(struct cycle *cycle)
{
    struct suspect *suspects = cycle->suspects;
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        suspects[i].next = END;
    for (uint32_t i = cycle->suspect_count; i-- > 0;) {
        uint32_t root;
        if (!suspect_is_member(&suspects[i]))
            continue;
        root = gyre_set_root(suspects, i);
        if (root == i)
            continue;
        suspects[i].next = suspects[root].next;
        suspects[root].next = i;
    }
}

/* Nobody can touch it any more: with WEAK by the lock, without by the proof. */
static void
become_dying(const struct suspect *suspect)
{
    struct gyre_object *obj = suspect->obj;
    /* acq_rel; pairs: gyre_try_incref(). One exchange, so that no reference
     * is taken in between. */
    uint32_t shared = gyre_exchange_acq_rel(
        &obj->rc_shared,
        rc_shared_of((int32_t)suspect->armed, GYRE_RC_MERGED | GYRE_RC_DYING));
    GYRE_CHECK((shared & GYRE_RC_IS_ARMED) &&
                   gyre_rc_shared_count(shared) == (int32_t)suspect->armed,
               "collect: %s object %p was proved with count %u, and has count "
               "%d and flags %x when it is given up",
               gyre_type_of(obj)->name, (void *)obj, suspect->armed,
               gyre_rc_shared_count(shared), rc_flags_of(shared));
    /* release; pairs: gyre_weakref_get(). Who finds it no more armed finds it
     * DYING as well; who still reads ARMED takes the lock first. */
    gyre_store_release(&obj->rc_local, GYRE_RC_NOBODY);
}

/* The WEAK members of a component to `marks`; their shards as bits. */
static bool
list_weak(struct cycle *cycle, uint32_t root, uint32_t *shards)
{
    *shards = 0;
    cycle->marks.count = 0;
    for (uint32_t i = root; i != END; i = cycle->suspects[i].next) {
        struct gyre_object *obj = cycle->suspects[i].obj;
        uint32_t next = cycle->suspects[i].next;
        if (next != END)
            __builtin_prefetch(cycle->suspects[next].obj, 1);
        /* relaxed: WEAK is set by who has reached the component, and that by
         * a weak get, which is seen under the lock */
        if (!(gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_WEAK))
            continue;
        if (!cycle_table_push(cycle, &cycle->marks, &cycle->suspects[i]))
            return gyre_cycle_give_up(cycle, GYRE_ERR_NOMEM);
        *shards |= 1u << gyre_weak_shard(cycle->heap, obj);
    }
    return true;
}

static void
lock_shards(struct gyre_heap *heap, uint32_t shards)
{
    for (unsigned i = 0; i < WEAK_SHARDS; i++)
        if (shards & (1u << i))
            pthread_mutex_lock(&heap->object.weak[i].lock);
}

static void
unlock_shards(struct gyre_heap *heap, uint32_t shards)
{
    for (unsigned i = 0; i < WEAK_SHARDS; i++)
        if (shards & (1u << i))
            pthread_mutex_unlock(&heap->object.weak[i].lock);
}

/* By a fault alone: out of its component, with what it refers to. */
static void
drop_part_fn(struct gyre_object *target, void *arg)
{
    struct cycle *cycle = arg;
    if (target != NULL && cycle_is_member(target))
        cycle->suspects[*cycle_word(target) & GC_EDGES].parent =
            SUSPECT_DROPPED;
}

/* With the locks of their shards held. False: one was touched since. */
static bool
give_up_weak(struct cycle *cycle)
{
    for (size_t i = 0; i < cycle->marks.count; i++) {
        const struct suspect *suspect = cycle->marks.items[i];
        /* relaxed: what takes the flag off holds the lock .commit.lock */
        if ((gyre_load_relaxed(&suspect->obj->rc_shared) & GYRE_RC_IS_ARMED) ||
            FAULT(FAULT_FLAGS_ONCE))
            continue;
        if (!FAULT(FAULT_DROP_PART))
            return false;
        drop_part_fn(suspect->obj, cycle);
        gyre_cycle_trace(cycle, suspect->obj, gyre_type_of(suspect->obj),
                         drop_part_fn, cycle);
        cycle->marks.count = 0;
    }
    GYRE_YIELD_POINT("commit");
    for (size_t i = 0; i < cycle->marks.count; i++)
        become_dying(cycle->marks.items[i]);
    return true;
}

/* So that the locks are not held for a miss of the cache each. */
static void
fetch_weak(const struct cycle *cycle)
{
    for (size_t i = 0; i < cycle->marks.count; i++) {
        const struct suspect *suspect = cycle->marks.items[i];
        __builtin_prefetch(suspect->obj, 1);
    }
}

/* They answer nobody any more. */
static void
clear_weak(struct cycle *cycle)
{
    for (size_t i = 0; i < cycle->marks.count; i++) {
        const struct suspect *suspect = cycle->marks.items[i];
        if (cycle->closed != 0) /* its lock is held already */
            gyre_weak_clear_locked(cycle->self, suspect->obj, true);
        else
            gyre_weak_clear(cycle->self, suspect->obj, true);
    }
}

/* All of a component, or nothing. */
static bool
commit_component(struct cycle *cycle, uint32_t root)
{
    struct suspect *suspects = cycle->suspects;
    uint32_t shards, next;
    bool given_up;
    if (!list_weak(cycle, root, &shards))
        return false;
    GYRE_YIELD_POINT("weak lock");
    shards &= ~cycle->closed; /* those are held already */
    if (shards != 0)
        gyre_event_fire(cycle->heap, GYRE_EVENT_COMMIT, cycle->marks.count);
    fetch_weak(cycle);
    lock_shards(cycle->heap, shards);
    given_up = give_up_weak(cycle);
    unlock_shards(cycle->heap, shards);
    if (!given_up)
        return false;
    clear_weak(cycle);
    for (uint32_t i = root; i != END; i = next) {
        next = suspects[i].next;
        if (next != END)
            __builtin_prefetch(suspects[next].obj, 1);
        if (FAULT(FAULT_DROP_PART) && !suspect_is_member(&suspects[i]))
            continue;
        if (!(gyre_load_relaxed(&suspects[i].obj->rc_shared) & GYRE_RC_DYING))
            become_dying(&suspects[i]);
        suspects[i].parent = SUSPECT_COMMITTED;
        cycle->members++;
    }
    return true;
}

/* No member was WEAK when it was proved, so nobody can name one, and no lock
 * is needed. Nor are their headers, unless a `clear` is to decrement them;
 * else it is for its check alone. */
static void
commit_unnamed(struct cycle *cycle)
{
    struct suspect *suspects = cycle->suspects;
    bool dying = GYRE_CHECKING || (cycle->traits & TYPE_TRACES) != 0;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        if (!suspect_is_member(&suspects[i]))
            continue;
        if (dying)
            become_dying(&suspects[i]);
        suspects[i].parent = SUSPECT_COMMITTED;
        cycle->members++;
    }
}

/* What can't be cleared, or is to be saved, gets a reference of the garbage
 * list, and so is no member for the next pass, with all it reaches. */
static bool
save_beside(struct cycle *cycle, bool *any)
{
    struct collector *collector = &cycle->heap->collector;
    bool all = heap_option(cycle->heap, GYRE_OPT_GC_SAVE_ALL) != 0;
    *any = false;
    if (!must_save(cycle))
        return true;
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        struct gyre_object *obj = cycle->suspects[i].obj;
        const struct gyre_type *type = suspect_type(obj);
        if (!suspect_is_member(&cycle->suspects[i]) || type == NULL ||
            (!all && !(type->traits & TYPE_UNCLEARABLE)))
            continue;
        if (!gyre_set_take(obj))
            continue;
        *any = true;
        if (!gyre_object_list_push(&collector->garbage, obj)) {
            gyre_decref(obj);
            return gyre_cycle_give_up(cycle, GYRE_ERR_NOMEM);
        }
        gyre_fetch_add_relaxed(&collector->uncollectable, 1);
    }
    return true;
}

/* Passes over what was touched between proof and commit. */
#define COMMIT_ROUNDS 8

bool
gyre_phase_commit_beside(struct cycle *cycle)
{
    bool check = heap_option(cycle->heap, GYRE_OPT_GC_CHECK) != 0, saved;
    bool closed = cycle->closed != 0;
    GYRE_YIELD_POINT("save");
    if (!save_beside(cycle, &saved) ||
        (saved && !gyre_phase_prove_beside(cycle)))
        return false;
    for (unsigned round = 0; round < COMMIT_ROUNDS; round++) {
        bool all = true;
        if (check && !closed && !gyre_set_check(cycle))
            return false;
        if (FAULT(FAULT_SECOND_PASS) && !gyre_set_count(cycle))
            return false;
        if (!cycle->parts) {
            commit_unnamed(cycle);
            break;
        }
        chain_components(cycle);
        for (uint32_t i = 0; i < cycle->suspect_count; i++)
            if (cycle->suspects[i].parent == i)
                all &= commit_component(cycle, i);
        if (all)
            break;
        if (cycle->status != GYRE_OK || !gyre_phase_prove_beside(cycle))
            return false;
    }
    if (check && closed) {
        gyre_closed_open(cycle);
        return gyre_set_check_committed(cycle);
    }
    return true;
}
