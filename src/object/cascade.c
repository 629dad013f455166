/* Death by counts: an object releases what it held, which may kill further
 * objects, without recursion and without memory that could run out.
 *
 * The dead wait in a small stack; when that is full they are linked through
 * their first slot, whose reference is given up when they are linked. Types
 * that keep references in storage of their own, and so have no slot, wait in
 * a list in raw memory, as do the few that can't be linked at the moment.
 * Design: docs/design/refcount.md .rc.cascade */
#include "../../threads/yield.h"
#include "../heap.h"
#include "../memory/batch.h"

/* ---- releasing one object ---- */

static void
release_array(struct gyre_array *array)
{
    struct gyre_array_buffer *buffer = array->buffer;
    if (buffer == NULL)
        return;
    /* relaxed, as in release_slot() */
    gyre_store_relaxed(&array->buffer, (struct gyre_array_buffer *)NULL);
    array->size = 0;
    for (size_t i = 0; i < buffer->capacity; i++)
        if (buffer->items[i].ref != NULL)
            gyre_decref(buffer->items[i].ref);
    gyre_mem_retire(buffer);
}

static void
release_slot(struct gyre_slot *slot)
{
    struct gyre_object *ref = slot->ref;
    if (ref != NULL) {
        /* relaxed: the object is dead, the collector may look at it still */
        gyre_store_relaxed(&slot->ref, (struct gyre_object *)NULL);
        gyre_decref(ref);
    }
}

static void
release_tables(struct gyre_object *obj, const struct gyre_type *type)
{
    for (uint32_t i = 0; i < type->slot_count; i++)
        release_slot((struct gyre_slot *)((char *)obj + type->slots[i]));
    if (type->item_slot) {
        char *item = (char *)obj + type->size;
        size_t count = ((struct gyre_var_object *)obj)->count;
        for (; count > 0; count--, item += type->item_size)
            release_slot((struct gyre_slot *)item);
    }
    for (uint32_t i = 0; i < type->array_count; i++)
        release_array((struct gyre_array *)((char *)obj + type->arrays[i]));
}

/* gyre_decref() for the common case, the last reference to an object of the
 * thread's own of which nobody is told: without a call for each. */
static inline void
release_plain(struct mutator *self, struct gyre_object *ref)
{
    const struct gyre_type *type = gyre_type_of(ref);
    /* acquire; pairs: gyre_decref_shared(). As in gyre_decref_zero(). */
    if (GYRE_CHECKING || gyre_load_relaxed(&ref->rc_local) != gyre_self_mark ||
        gyre_load_acquire(&ref->rc_shared) != 0 ||
        (type->traits & TYPE_PLAIN) == 0) {
        gyre_decref(ref);
        return;
    }
    /* relaxed: as in decref_zero_slow() */
    gyre_store_relaxed((gyre_word *)&ref->rc_local, RC_DEAD_WORD);
    if (!object_dies_plainly(ref, type)) {
        gyre_cascade_defer(self, ref);
        return;
    }
    object_check_end(ref, "decref");
    memory_block_free(&self->fast, ref);
}

/* The slots are one run and all there is. What they name is fetched ahead. */
static inline void
release_run(struct mutator *self, struct gyre_object *obj,
            const struct gyre_type *type)
{
    struct gyre_slot *slot =
        (struct gyre_slot *)((char *)obj + type->first_slot);
    struct gyre_slot *end = slot + type->run_slots;
    for (struct gyre_slot *ahead = slot + 1; ahead < end; ahead++)
        __builtin_prefetch(ahead->ref, 1);
    for (; slot < end; slot++) {
        struct gyre_object *ref = slot->ref;
        if (ref == NULL)
            continue;
        /* relaxed, as in release_slot() */
        gyre_store_relaxed(&slot->ref, (struct gyre_object *)NULL);
        release_plain(self, ref);
    }
}

/* Release everything a dead object held, then the object. */
static void
process(struct mutator *self, struct gyre_object *obj, struct free_batch *batch)
{
    const struct gyre_type *type = gyre_type_of(obj);
    if (GYRE_UNLIKELY(gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_WEAK)) {
        GYRE_YIELD_POINT("dead, weakly named");
        gyre_weak_clear(self, obj, true);
    }
    if (GYRE_LIKELY(type->traits & TYPE_PLAIN)) {
        release_run(self, obj, type);
        object_check_end(obj, "decref");
        free_batch_block(&self->fast, batch, obj);
        return;
    }
    if (type->traits & TYPE_HAS_SLOTS)
        release_tables(obj, type);
    if (type->clear != NULL)
        type->clear(obj);
    if (type->traits & TYPE_DEALLOCS)
        type->dealloc(obj);
    object_check_end(obj, "decref");
    free_batch_block(&self->fast, batch, obj);
}

/* ---- the dead that wait ---- */

/* Where a dead object keeps the link to the next, and what has to be given
 * up first: its first slot's reference. NULL: nowhere. */
static struct gyre_object **
link_place(struct gyre_object *obj, const struct gyre_type *type)
{
    if (type->slot_count > 0)
        return &((struct gyre_slot *)((char *)obj + type->slots[0]))->ref;
    if (type->item_slot && ((struct gyre_var_object *)obj)->count > 0)
        return &((struct gyre_slot *)((char *)obj + type->size))->ref;
    return NULL;
}

static void
wait_linked(struct mutator *self, struct gyre_object *obj,
            struct gyre_object **place)
{
    struct object_thread *mine = &self->object;
    struct gyre_object *ref = *place;
    bool cascading = mine->cascading;
    /* relaxed, as in release_slot(); a link names a block that is no object
     * to anybody, and dead */
    gyre_store_relaxed(place, mine->cascade_linked);
    mine->cascade_linked = obj;
    if (ref == NULL)
        return;
    /* Giving up `ref` may make it wait here as well: not deeper in the
     * stack but in the loop of the outermost call. */
    if (mine->unwinding) {
        mine->unwound = ref;
        return;
    }
    mine->unwinding = true;
    /* What dies meanwhile only waits: under another's claim, or in a stop,
     * nothing is to be freed. */
    mine->cascading = true;
    while (ref != NULL) {
        mine->unwound = NULL;
        gyre_decref(ref);
        ref = mine->unwound;
    }
    mine->cascading = cascading;
    mine->unwinding = false;
}

/* May `obj` wait linked? While a first slot is given up, one further object
 * may be, not two: a prompt finalizer or a merge can make several die. */
static bool
can_link(const struct object_thread *mine, struct gyre_object **place)
{
    return place != NULL &&
           (*place == NULL || !mine->unwinding || mine->unwound == NULL);
}

/* Last resort when there is no memory for the list: the collector's next
 * stop finds the dead by its page. */
static void
wait_lost(struct mutator *self, struct gyre_object *obj)
{
    struct gyre_heap *heap = self->fast.heap;
    /* relaxed: the object is ours; read in a stop */
    gyre_store_relaxed(&obj->rc_shared,
                       gyre_load_relaxed(&obj->rc_shared) | GYRE_RC_QUEUED);
    gyre_store_relaxed(&page_of(obj)->lost_queue, 1);
    gyre_store_relaxed(&heap->object.lost_queued, 1);
    gyre_collector_ask(heap, GYRE_GEN_YOUNG);
}

void
gyre_cascade_defer(struct mutator *self, struct gyre_object *obj)
{
    struct object_thread *mine = &self->object;
    struct gyre_object **place;
    if (GYRE_LIKELY(mine->cascade_count < CASCADE_STACK)) {
        mine->cascade[mine->cascade_count++] = obj;
        return;
    }
    place = link_place(obj, gyre_type_of(obj));
    if (can_link(mine, place))
        wait_linked(self, obj, place);
    else if (!gyre_object_list_push(&mine->cascade_list, obj))
        wait_lost(self, obj);
}

static struct gyre_object *
take_waiting(struct object_thread *mine)
{
    struct gyre_object *obj;
    if (mine->cascade_count > 0)
        return mine->cascade[--mine->cascade_count];
    if ((obj = mine->cascade_linked) != NULL) {
        struct gyre_object **place = link_place(obj, gyre_type_of(obj));
        mine->cascade_linked = *place;
        gyre_store_relaxed(place, (struct gyre_object *)NULL); /* as above */
        return obj;
    }
    if (mine->cascade_list.count > 0)
        return mine->cascade_list.items[--mine->cascade_list.count];
    return NULL;
}

bool
gyre_cascade_is_empty(const struct mutator *self)
{
    return self->object.cascade_count == 0 &&
           self->object.cascade_linked == NULL &&
           self->object.cascade_list.count == 0;
}

void
gyre_cascade_take_over(struct mutator *self, struct mutator *other)
{
    struct object_thread *mine = &self->object, *theirs = &other->object;
    struct gyre_object *obj;
    while (theirs->cascade_count > 0)
        gyre_cascade_defer(self, theirs->cascade[--theirs->cascade_count]);
    while (theirs->cascade_list.count > 0)
        gyre_cascade_defer(
            self, theirs->cascade_list.items[--theirs->cascade_list.count]);
    if (mine->cascade_linked == NULL) {
        mine->cascade_linked = theirs->cascade_linked;
        theirs->cascade_linked = NULL;
    }
    while ((obj = other->object.cascade_linked) != NULL) {
        struct gyre_object **place = link_place(obj, gyre_type_of(obj));
        other->object.cascade_linked = *place;
        gyre_store_relaxed(place, (struct gyre_object *)NULL); /* as above */
        gyre_cascade_defer(self, obj);
    }
}

/* Objects between two looks at the clock. */
#define LOOK_OBJECTS 32

/* `budget`: objects at most, 0 is no limit; `until_ns`: the clock's time by
 * which it ends, 0 is none. */
static void
run(struct mutator *self, uint64_t budget, uint64_t until_ns)
{
    struct object_thread *mine = &self->object;
    struct gyre_object *obj;
    struct free_batch batch = {.count = 0};
    uint64_t done = 0;
    mine->cascading = true;
    while ((obj = take_waiting(mine)) != NULL) {
        process(self, obj, &batch);
        done++;
        if (done == budget || (until_ns != 0 && done % LOOK_OBJECTS == 0 &&
                               gyre_clock_ns() >= until_ns))
            break;
    }
    free_batch_flush(&self->fast, &batch);
    mine->cascading = false;
    if (!gyre_cascade_is_empty(self)) {
        count_one(&mine->counters.cascade_deferred);
        gyre_participant_request(&self->part, REQUEST_PENDING);
    }
}

static uint64_t
budget_of(const struct mutator *self)
{
    return heap_option(self->fast.heap, GYRE_OPT_CASCADE_BUDGET);
}

void
gyre_cascade_run(struct mutator *self, bool all)
{
    if (!self->object.cascading && !gyre_cascade_is_empty(self))
        run(self, all ? 0 : budget_of(self), 0);
}

void
gyre_cascade_run_until(struct mutator *self, bool all, uint64_t until_ns)
{
    if (!self->object.cascading && !gyre_cascade_is_empty(self))
        run(self, all ? 0 : budget_of(self), until_ns);
}

void
gyre_cascade_run_behind(struct mutator *self, bool rest)
{
    if (GYRE_LIKELY(!rest))
        gyre_cascade_run(self, false);
    else
        gyre_cascade_run_until(self, false, gyre_clock_ns() + PORTION_NS);
}

void
gyre_cascade_push(struct mutator *self, struct gyre_object *obj)
{
    bool rest = !gyre_cascade_is_empty(self);
    gyre_cascade_defer(self, obj);
    if (!self->object.cascading)
        gyre_cascade_run_behind(self, rest);
}

bool
gyre_cascade_bury_plain(struct mutator *self, struct gyre_object *obj)
{
    if ((gyre_load_relaxed(&obj->rc_shared) & GYRE_RC_WEAK) ||
        !object_dies_plainly(obj, gyre_type_of(obj)))
        return false;
    object_check_end(obj, "decref");
    memory_block_free(&self->fast, obj);
    return true;
}

void
gyre_cascade_bury(struct mutator *self, struct gyre_object *obj)
{
    if (!gyre_cascade_bury_plain(self, obj))
        gyre_cascade_push(self, obj);
}

/* ---- lists of objects ---- */

bool
gyre_object_list_push(struct object_list *list, struct gyre_object *obj)
{
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        struct gyre_object **items = gyre_memory_raw_resize(
            gyre_self, list->items, capacity * sizeof *items);
        if (items == NULL)
            return false;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = obj;
    return true;
}

void
gyre_object_list_free(struct object_list *list)
{
    gyre_mem_free(list->items);
    list->items = NULL;
    list->count = list->capacity = 0;
}
