/* Finalizers and callbacks of weak references: run by the runtime's rules,
 * once, with the object whole, at the outermost safepoint.
 * Design: docs/design/weakref.md .final */
#include <sched.h>

#include "../fault.h"
#include "../heap.h"
#include "weakref.h"

bool
gyre_finalizer_claim(struct gyre_object *obj)
{
    if (gyre_load_relaxed(&obj->word0) & GYRE_WORD0_FINALIZED)
        return false;
    if (FAULT_DUE(FAULT_FINALIZER_TWICE, 3))
        return true;
    /* relaxed: of those that race here one wins; the object's contents are
     * ordered by its count. */
    return (gyre_fetch_or_relaxed(&obj->word0, GYRE_WORD0_FINALIZED) &
            GYRE_WORD0_FINALIZED) == 0;
}

static void
finalize_now(struct mutator *self, struct gyre_object *obj)
{
    count_one(&self->object.counters.finalizers_run);
    self->object.in_callback++;
    gyre_type_of(obj)->finalize(obj);
    self->object.in_callback--;
    gyre_decref(obj);
}

void
gyre_finalizer_push(struct mutator *self, struct gyre_object *obj)
{
    /* Not while another waits for us, who may hold a lock that the finalizer
     * wants. */
    if ((gyre_type_of(obj)->traits & TYPE_PROMPT) &&
        self->object.merging_for == 0) {
        finalize_now(self, obj);
        return;
    }
    if (!gyre_object_list_push(&self->object.pending, obj)) {
        /* No memory to remember it: back to how it was, with the reference
         * as a merge queue's that has no entry. The next stop merges it,
         * finds the last reference going and asks again. */
        gyre_fetch_and_relaxed(&obj->word0, ~GYRE_WORD0_FINALIZED);
        gyre_merge_lose(self, obj);
        return;
    }
    gyre_participant_request(&self->part, REQUEST_PENDING);
}

/* Does anybody but us, and a merge queue, still hold the weak reference? If
 * not it died with its target or after it, and nobody is there to be told. */
static bool
is_held(const struct gyre_object *weakref)
{
    uint32_t local, shared, again;
    unsigned spins = 0;
    int64_t count;
    /* Its owner may be at work: one word of the two is of no use without the
     * other, as they were at one moment, nor is half a merge. */
    for (;;) {
        /* acquire, both; pairs: gyre_decref_shared(), give_up_ownership().
         * In this order; and who gave a reference up in the shared half has
         * seen the owner take its own, so the second look sees it too. */
        local = gyre_load_acquire(&weakref->rc_local);
        shared = gyre_load_acquire(&weakref->rc_shared);
        again = gyre_load_relaxed(&weakref->rc_local);
        if (local == again &&
            ((shared & GYRE_RC_MERGED) || (local & 0xffff) != GYRE_RC_NOBODY))
            break;
        if (++spins > 64)
            sched_yield();
    }
    count = gyre_rc_shared_count(shared);
    if (!(shared & GYRE_RC_MERGED) && rc_owner_is_thread(local))
        count += rc_local_count(local);
    return count > ((shared & GYRE_RC_QUEUED) ? 2 : 1);
}

/* Callbacks of weak references that still somebody holds. */
static bool
run_callbacks(struct mutator *self)
{
    struct object_thread *mine = &self->object;
    bool ran = false;
    while (mine->callbacks != NULL) {
        struct gyre_weakref *ref = (struct gyre_weakref *)mine->callbacks;
        mine->callbacks = ref->due;
        ref->due = NULL;
        if (is_held(&ref->head) && !FAULT_DUE(FAULT_WEAK_CALLBACK_LOST, 3)) {
            count_one(&mine->counters.weak_callbacks_run);
            ref->callback(&ref->head, ref->arg);
            if (FAULT_DUE(FAULT_WEAK_CALLBACK_TWICE, 3))
                ref->callback(&ref->head, ref->arg);
            ran = true;
        }
        gyre_decref(&ref->head);
    }
    return ran;
}

void
gyre_finalizer_inherit(struct mutator *self, struct mutator *other)
{
    struct gyre_object *due = other->object.callbacks;
    other->object.callbacks = NULL;
    while (due != NULL) {
        struct gyre_weakref *ref = (struct gyre_weakref *)due;
        due = ref->due;
        ref->due = self->object.callbacks;
        self->object.callbacks = &ref->head;
    }
}

bool
gyre_finalizers_run(struct mutator *self)
{
    struct object_thread *mine = &self->object;
    bool ran = false;
    if (mine->in_callback > 0)
        return false;
    mine->in_callback = 1;
    while (mine->pending.count > 0 || mine->callbacks != NULL) {
        ran |= run_callbacks(self);
        if (mine->pending.count > 0) {
            struct gyre_object *obj =
                mine->pending.items[--mine->pending.count];
            finalize_now(self, obj);
            ran = true;
        }
    }
    mine->in_callback = 0;
    return ran;
}
