/* RECLAIM: members give up what they refer to outside the set, and are freed
 * page by page. The world runs.
 *   entry   members are DYING, nothing outside names them
 *   exit    all are freed
 * Whether a target is a member is asked of the side tables, which outlive
 * the members' headers. Design: docs/design/cycle.md .cycle.reclaim */
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
    if (cycle->with_clear == 0)
        return;
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        const struct gyre_type *type = gyre_type_of(obj);
        if (type->clear != NULL)
            type->clear(obj);
    }
}

/* Small blocks of one page, on their way back in one push. */
struct chain {
    struct page *page;
    void *first, *last;
    uint32_t count;
};

static void
chain_flush(struct cycle *cycle, struct chain *chain)
{
    if (chain->count > 0)
        gyre_memory_free_chain(&cycle->self->fast, chain->page, chain->first,
                               chain->last, chain->count);
    chain->count = 0;
}

static void
chain_add(struct cycle *cycle, struct chain *chain, struct gyre_object *obj)
{
    struct page *page = page_of(obj);
    if (page->state == PAGE_LARGE) {
        gyre_memory_free(&cycle->self->fast, obj);
        return;
    }
    if (chain->count > 0 && chain->page != page)
        chain_flush(cycle, chain);
    /* relaxed: the block is dead; a stray reader needs a defined value */
    if (chain->count == 0) {
        chain->page = page;
        chain->first = obj;
        gyre_store_relaxed(&obj->word0, (uint64_t)GYRE_LINK_END);
    } else {
        gyre_store_relaxed(&((struct gyre_object *)chain->last)->word0,
                           (uint64_t)(uintptr_t)obj + 1);
        gyre_store_relaxed(&obj->word0, (uint64_t)GYRE_LINK_END);
    }
    chain->last = obj;
    chain->count++;
}

void
gyre_phase_reclaim(struct cycle *cycle)
{
    struct chain chain = {0};
    if (cycle->set.count == 0)
        return;
    gyre_event_fire(cycle->heap, GYRE_EVENT_RECLAIM, cycle->set.count);
    clear_members(cycle);
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        const struct gyre_type *type = gyre_type_of(obj);
        if (i + 8 < cycle->set.count)
            __builtin_prefetch(cycle->set.items[i + 8], 1);
        if (type->traits & TYPE_HAS_SLOTS)
            release_slots(obj, type);
        if (type->traits & TYPE_DEALLOCS)
            type->dealloc(obj);
        /* relaxed: nobody refers to it; a stale reader must find it dead */
        gyre_store_relaxed((gyre_rc_word *)&obj->rc_local, RC_DEAD_WORD);
        chain_add(cycle, &chain, obj);
    }
    chain_flush(cycle, &chain);
    gyre_fetch_add_relaxed(&cycle->heap->collector.collected,
                           cycle->set.count);
}
