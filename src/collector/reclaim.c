/* RECLAIM: members give up what they refer to outside the set, and are freed
 * page by page. The world runs.
 *   entry   members are DYING, nothing outside names them
 *   exit    all are freed
 * Whether a target is a member is asked of the side tables, which outlive
 * the members' headers. Design: docs/design/cycle.md .cycle.reclaim */
#include "../../threads/yield.h"
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
    for (uint32_t i = 0; cycle->beside && i < cycle->suspect_count; i++) {
        struct gyre_object *obj = cycle->suspects[i].obj;
        if (cycle->suspects[i].parent == SUSPECT_COMMITTED &&
            gyre_type_of(obj)->clear != NULL)
            gyre_type_of(obj)->clear(obj);
    }
    for (size_t i = 0; i < cycle->set.count; i++) {
        struct gyre_object *obj = cycle->set.items[i];
        const struct gyre_type *type = gyre_type_of(obj);
        if (type->clear != NULL)
            type->clear(obj);
    }
}

/* The common case of release_slots(): one run is all. A target in the same
 * page, as most are, is looked up there. */
static inline void
release_run(const struct page *page, struct gyre_object *obj,
            const struct gyre_type *type)
{
    struct gyre_slot *slot =
        (struct gyre_slot *)((char *)obj + type->first_slot);
    for (uint32_t left = type->run_slots; left > 0; left--, slot++) {
        struct gyre_object *ref = slot->ref;
        if (ref == NULL)
            continue;
        slot->ref = NULL;
        if ((((uintptr_t)ref ^ (uintptr_t)obj) >> GYRE_PAGE_SHIFT) != 0 ||
            (page->gc[page_block_index(page, ref)] &
             (GC_LIVE | GC_CANDIDATE)) != GC_CANDIDATE)
            release_ref(ref);
    }
}

static inline void
reclaim_object(struct gyre_thread *self, struct free_batch *batch,
               struct page *page, struct gyre_object *obj)
{
    const struct gyre_type *type = gyre_type_of(obj);
    if (GYRE_LIKELY(type->traits & TYPE_RUN))
        release_run(page, obj, type);
    else if (type->traits & TYPE_HAS_SLOTS)
        release_slots(obj, type);
    if (type->traits & TYPE_DEALLOCS)
        type->dealloc(obj);
    object_check_end(obj, "reclaim");
    /* relaxed: nobody refers to it; a stale reader must find it dead */
    gyre_store_relaxed((gyre_word *)&obj->rc_local, RC_DEAD_WORD);
    if (page->size_class == PAGE_CLASS_LARGE)
        gyre_memory_free(self, obj);
    else
        free_batch_add(self, batch, page, obj);
}

static void
reclaim_page(struct gyre_thread *self, struct page *page)
{
    struct free_batch batch = {.count = 0};
    for (uint32_t i = 0; i < page->capacity; i++)
        if ((page->gc[i] & (GC_LIVE | GC_CANDIDATE)) == GC_CANDIDATE)
            reclaim_object(
                self, &batch, page,
                (struct gyre_object *)(page->blocks +
                                       (size_t)i * page->fast.block_size));
    free_batch_flush(self, &batch);
}

/* What is a member to the side tables is what was committed. */
static void
settle_members(struct cycle *cycle)
{
    if (cycle_committed_all(cycle))
        return;
    for (uint32_t i = 0; i < cycle->suspect_count; i++)
        if (suspect_is_member(&cycle->suspects[i]))
            *cycle_word(cycle->suspects[i].obj) |= GC_LIVE;
}

/* The committed, in the order of their addresses. */
static void
reclaim_suspects(struct cycle *cycle)
{
    struct free_batch batch = {.count = 0};
    for (uint32_t i = 0; i < cycle->suspect_count; i++) {
        struct gyre_object *obj = cycle->suspects[i].obj;
        if (i + 8 < cycle->suspect_count)
            __builtin_prefetch(cycle->suspects[i + 8].obj, 1);
        if (cycle->suspects[i].parent == SUSPECT_COMMITTED)
            reclaim_object(&cycle->self->fast, &batch, page_of(obj), obj);
        if (i % 256 == 0) {
            free_batch_flush(&cycle->self->fast, &batch);
            GYRE_YIELD_POINT("reclaim");
            rcu_member_quiescent(&cycle->self->part.rcu);
        }
    }
    free_batch_flush(&cycle->self->fast, &batch);
}

void
gyre_phase_reclaim(struct cycle *cycle)
{
    if (cycle->beside)
        settle_members(cycle);
    if (cycle->members == 0)
        return;
    gyre_event_fire(cycle->heap, GYRE_EVENT_RECLAIM, cycle->members);
    clear_members(cycle);
    if (cycle->beside)
        reclaim_suspects(cycle);
    for (size_t i = 0; i < cycle->garbage_pages.count; i++)
        reclaim_page(&cycle->self->fast, cycle->garbage_pages.items[i]);
    gyre_fetch_add_relaxed(&cycle->heap->collector.collected, cycle->members);
}
