/* COMMIT: the set is given up. In a stop, so all of it at once: members are
 * DYING, weak references to them answer NULL; what can't be cleared, or is
 * to be saved, goes to the garbage list and stays alive with all it reaches.
 *   entry   the set is garbage
 *   exit    a try_incref on a member fails, a decrement to zero does not
 *           free it; callbacks are due
 *   fails   GYRE_ERR_NOMEM, the garbage list can't grow: nothing is freed
 * Design: docs/design/cycle.md .cycle.commit, docs/design/weakref.md .weak */
#include "cycle.h"

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
