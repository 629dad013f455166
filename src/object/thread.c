/* The object layer's part of a thread: its queues, put-off work, counters.
 * Design: docs/design/refcount.md .rc.orphan */
#include "../heap.h"

void
gyre_object_thread_init(struct mutator *self)
{
    /* Zeroed when made; what a former owner of the number left is empty but
     * for the queue, which is the new owner's now. */
    self->object.noted_net = gyre_load_relaxed(&self->memory.container_net);
    gyre_merge_drain(self);
    gyre_cascade_run(self, true);
}

static bool
nothing_left(struct mutator *self)
{
    struct object_thread *mine = &self->object;
    return mine->staging == NULL && mine->pending.count == 0 &&
           mine->callbacks == NULL && mine->collect_wanted == 0 &&
           !gyre_merge_is_behind(self) && gyre_merge_queue_is_empty(self);
}

bool
gyre_object_is_busy(struct mutator *self)
{
    struct participant *part;
    if (gyre_load_relaxed(&self->fast.heap->object.lost_queued) != 0)
        return true;
    /* acquire; pairs: list_participant() */
    for (part = gyre_load_acquire(&self->fast.heap->world.participants);
         part != NULL; part = part->next) {
        struct mutator *other = mutator_of_part(part);
        struct object_thread *theirs = &other->object;
        if (theirs->staging != NULL || gyre_merge_is_behind(other) ||
            !gyre_merge_queue_is_empty(other))
            return true;
        if ((part->internal || other == self) &&
            (theirs->pending.count > 0 || theirs->callbacks != NULL))
            return true;
    }
    return false;
}

void
gyre_object_thread_leave(struct mutator *self)
{
    struct object_thread *mine = &self->object;
    do {
        mine->collect_wanted = 0;
        gyre_merge_publish(self);
        gyre_merge_drain(self);
        gyre_cascade_run(self, true);
        gyre_finalizers_run(self);
    } while (!nothing_left(self));
    gyre_object_list_free(&mine->pending);
    gyre_object_list_free(&mine->cascade_list);
    gyre_mem_free(mine->spare);
    mine->spare = NULL;
}

static void
take_over(struct mutator *self, struct object_list *from,
          void (*give)(struct mutator *, struct gyre_object *))
{
    for (size_t i = 0; i < from->count; i++)
        give(self, from->items[i]);
    gyre_object_list_free(from);
}

void
gyre_object_thread_inherit(struct mutator *self, struct mutator *other)
{
    struct object_thread *theirs = &other->object;
    gyre_merge_drain_of(self, other);
    take_over(self, &theirs->pending, gyre_finalizer_push);
    gyre_cascade_take_over(self, other);
    gyre_object_list_free(&theirs->cascade_list);
    gyre_finalizer_inherit(self, other);
    theirs->in_callback = theirs->collect_wanted = 0;
    theirs->cascading = theirs->unwinding = theirs->collecting = false;
    theirs->unwound = NULL;
    gyre_mem_free(theirs->spare);
    theirs->spare = NULL;
}

uint64_t
gyre_object_activity(struct gyre_heap *heap)
{
    struct participant *part;
    uint64_t sum = 0;
    /* acquire; pairs: list_participant() */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next) {
        struct object_counters *counters =
            &mutator_of_part(part)->object.counters;
        /* relaxed: two sums are compared, across handshakes */
        sum += gyre_load_relaxed(&counters->queued) +
               gyre_load_relaxed(&counters->merges);
    }
    return sum;
}

void
gyre_object_await(struct gyre_heap *heap)
{
    struct participant *part;
    /* acquire; pairs: list_participant() */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next) {
        struct object_thread *object = &mutator_of_part(part)->object;
        /* relaxed: an earlier number is waited for longer. Two lists: what it
         * has taken, and what is in its queue by now. */
        object->awaited = gyre_load_relaxed(&object->lists_done) + 2;
    }
}

bool
gyre_object_is_awaited(struct gyre_heap *heap)
{
    struct participant *part;
    /* acquire; pairs: list_participant() */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next) {
        const struct object_thread *object = &mutator_of_part(part)->object;
        /* relaxed, both: as of the last answer, or newer */
        if (gyre_load_relaxed(&object->is_behind) != 0 &&
            (int32_t)(object->awaited -
                      gyre_load_relaxed(&object->lists_done)) > 0)
            return true;
    }
    return false;
}

void
gyre_object_statistics(struct gyre_heap *heap, struct gyre_statistics *out)
{
    const struct gyre_type *type =
        gyre_load_relaxed(&heap->object.saturated_type);
    struct participant *part;
    out->saturated = gyre_load_relaxed(&heap->object.saturated);
    out->saturated_type = type != NULL ? type->name : NULL;
    /* acquire; pairs: list_participant() */
    for (part = gyre_load_acquire(&heap->world.participants); part != NULL;
         part = part->next) {
        struct object_counters *counters =
            &mutator_of_part(part)->object.counters;
        /* relaxed: each has one writer */
        out->spills += gyre_load_relaxed(&counters->spills);
        out->merges += gyre_load_relaxed(&counters->merges);
        out->merges_by_proxy += gyre_load_relaxed(&counters->merges_by_proxy);
        out->queued += gyre_load_relaxed(&counters->queued);
        out->cascade_deferred += gyre_load_relaxed(&counters->cascade_deferred);
        out->finalizers_run += gyre_load_relaxed(&counters->finalizers_run);
        out->weak_callbacks_run +=
            gyre_load_relaxed(&counters->weak_callbacks_run);
        out->weak_gets_refused +=
            gyre_load_relaxed(&counters->weak_gets_refused);
        out->lock_waits += gyre_load_relaxed(&counters->lock_waits);
        out->paced_waits += gyre_load_relaxed(&counters->paced_waits);
        out->paced_ns += gyre_load_relaxed(&counters->paced_ns);
    }
}
