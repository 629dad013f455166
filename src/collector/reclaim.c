/* RECLAIM: members give up what they refer to outside the set, and are freed
 * page by page. The world runs.
 *   entry   members are DYING, nothing outside names them
 *   exit    all are freed
 * Whether a target is a member is asked of the side tables, which outlive
 * the members' headers. Design: docs/design/cycle.md .cycle.reclaim */
#include "../memory/batch.h"
#include "cycle.h"

static inline void
release_ref(struct gyre_object *ref)
{
    if (ref != NULL && !cycle_is_member(ref))
        gyre_decref(ref);
}

static void
release_arrays(struct gyre_object *obj, const struct gyre_type *type)
{
    for (uint32_t i = 0; i < type->array_count; i++) {
        struct gyre_array *array =
            (struct gyre_array *)((char *)obj + type->arrays[i]);
        struct gyre_array_buffer *buffer = array->buffer;
        if (buffer == NULL)
            continue;
        array->buffer = NULL;
        array->size = 0;
        for (size_t k = 0; k < buffer->capacity; k++)
            release_ref(buffer->items[k].ref);
        gyre_mem_retire(buffer);
    }
}

static void
release_slots(struct gyre_object *obj, const struct gyre_type *type)
{
    for (uint32_t i = 0; i < type->slot_count; i++) {
        struct gyre_slot *slot =
            (struct gyre_slot *)((char *)obj + type->slots[i]);
        struct gyre_object *ref = slot->ref;
        slot->ref = NULL;
        release_ref(ref);
    }
    if (type->item_slot) {
        size_t count = ((struct gyre_var_object *)obj)->count;
        char *item = (char *)obj + type->size;
        for (; count > 0; count--, item += type->item_size) {
            struct gyre_object *ref = ((struct gyre_slot *)item)->ref;
            ((struct gyre_slot *)item)->ref = NULL;
            release_ref(ref);
        }
    }
    release_arrays(obj, type);
}

/* The runtime's own storage first: its `clear` may decrement members, which
 * must still have their headers. */
static void
clear_members(struct cycle *cycle)
{
    if (!(cycle->traits & TYPE_TRACES))
        return;
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        const struct gyre_type *type = gyre_type_of(obj);
        if (type->clear != NULL)
            type->clear(obj);
    }
}

void
gyre_phase_reclaim(struct cycle *cycle)
{
    struct gyre_thread *self = &cycle->self->fast;
    struct free_batch batch = {.count = 0};
    if (cycle->set.count == 0)
        return;
    gyre_event_fire(cycle->heap, GYRE_EVENT_RECLAIM, cycle->set.count);
    clear_members(cycle);
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        const struct gyre_type *type = gyre_type_of(obj);
        struct page *page;
        if (i + 8 < cycle->set.count)
            __builtin_prefetch(cycle->set.items[i + 8], 1);
        if (type->traits & TYPE_HAS_SLOTS)
            release_slots(obj, type);
        if (type->traits & TYPE_DEALLOCS)
            type->dealloc(obj);
        /* relaxed: nobody refers to it; a stale reader must find it dead */
        gyre_store_relaxed((gyre_rc_word *)&obj->rc_local, RC_DEAD_WORD);
        page = page_of(obj);
        if (page->size_class == PAGE_CLASS_LARGE)
            gyre_memory_free(self, obj);
        else
            free_batch_add(self, &batch, page, obj);
    }
    free_batch_flush(self, &batch);
    gyre_fetch_add_relaxed(&cycle->heap->collector.collected,
                           cycle->set.count);
}
