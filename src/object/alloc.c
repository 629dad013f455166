/* Making objects when no block is at hand, and objects with items.
 * Design: docs/design/object.md .object */
#include "../heap.h"

static enum gyre_page_kind
kind_of(const struct gyre_type *type)
{
    return type->traits & TYPE_TRACKED ? GYRE_PAGE_CONTAINER : GYRE_PAGE_LEAF;
}

void
gyre_check_new(const struct gyre_type *type, size_t size)
{
    GYRE_CHECK(gyre_self != NULL, "gyre_new: this thread is not attached");
    GYRE_CHECK(!thread_is_raw(gyre_self),
               "gyre_new: this thread is attached for raw memory alone");
    GYRE_CHECK(!gyre_thread_is_detached(gyre_self),
               "gyre_new: this thread is in a detached region");
    GYRE_CHECK(type->traits & TYPE_READY,
               "gyre_new: type %s has not been through gyre_type_ready()",
               type->name);
    GYRE_CHECK(type->item_size == 0,
               "gyre_new: type %s has items: gyre_new_items() makes it",
               type->name);
    GYRE_CHECK(size == type->size, "gyre_new: type %s has %lu bytes, not %lu",
               type->name, (unsigned long)type->size, (unsigned long)size);
    if (MEMORY_GUARD && type->alloc_index < GYRE_ALLOC_INDEXES) {
        /* what the inlined path is about to take */
        struct gyre_page *page = gyre_self->current[type->alloc_index];
        if (page->free != GYRE_LINK_END)
            gyre_guard_check_free((struct page *)page,
                                  (const void *)(page->free - 1), "gyre_new");
    }
}

/* Give a block its header. The body is cleared already. */
static void
object_be_born(struct gyre_thread *self, struct gyre_object *obj,
               const struct gyre_type *type)
{
    /* relaxed, both: the block is ours. Until here word 1 read dead, and it
     * is written first, so a stray reader never sees a live word behind a
     * type that was not stored. */
    gyre_store_relaxed((gyre_word *)&obj->rc_local, self->birth_rc);
    gyre_store_relaxed(&obj->word0, type->header + self->birth_stamp);
}

static void *
allocate(const struct gyre_type *type, size_t size)
{
    struct gyre_thread *self = gyre_self;
    enum gyre_page_kind kind = kind_of(type);
    struct gyre_object *obj;
    size_t room = guard_object_room(size);
    bool zeroed = false;
    unsigned again = 0;
    GYRE_CHECK(self != NULL, "gyre_new: this thread is not attached");
    GYRE_CHECK(!thread_is_raw(self),
               "gyre_new: this thread is attached for raw memory alone");
    GYRE_CHECK(type->traits & TYPE_READY,
               "gyre_new: type %s has not been through gyre_type_ready()",
               type->name);
    do {
        if (room > GYRE_SMALL_MAX) {
            obj = gyre_memory_alloc_large(self, kind, room, &zeroed);
        } else {
            uint32_t index = gyre_alloc_index(kind, gyre_size_class(room));
            obj = gyre_memory_alloc(self, index);
        }
    } while (obj == NULL && !again++ && self->heap->memory.make_room(self));
    if (kind == GYRE_PAGE_CONTAINER)
        gyre_collector_note_births(mutator_of(self));
    else /* weakly referenced or PUBLISHED, leaves retire pages too */
        gyre_collector_note_retiring(self->heap);
    if (obj == NULL)
        return NULL;
    if (MEMORY_GUARD)
        gyre_guard_object_taken(obj, size, zeroed, "gyre_new");
    if (!zeroed)
        memset(obj + 1, 0, size - sizeof *obj);
    return obj;
}

void *
gyre_new_slow(const struct gyre_type *type, size_t size)
{
    struct gyre_object *obj = allocate(type, size);
    if (obj != NULL)
        object_be_born(gyre_self, obj, type);
    return obj;
}

void *
gyre_new_items(const struct gyre_type *type, size_t count)
{
    struct gyre_var_object *obj;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)type->item_size, count, &bytes) ||
        __builtin_add_overflow(bytes, (size_t)type->size, &bytes) ||
        bytes > SIZE_MAX / 2) {
        gyre_set_last_status(GYRE_ERR_ARGUMENT);
        return NULL;
    }
    obj = allocate(type, bytes);
    if (obj == NULL)
        return NULL;
    /* before the header: whoever sees the object sees its count */
    if (type->item_size != 0)
        obj->count = count;
    object_be_born(gyre_self, &obj->head, type);
    return obj;
}
