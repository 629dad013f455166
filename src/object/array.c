/* Growable arrays of slots. The buffer carries its capacity and starts
 * zeroed, and an old one is retired, so that a trace which loaded it reads
 * nothing but slots. Design: docs/design/object.md .slot, .mem.retire */
#include "../heap.h"

enum gyre_status
gyre_array_reserve(struct gyre_object *holder, struct gyre_array *array,
                   size_t capacity)
{
    struct gyre_array_buffer *old = array->buffer, *buffer;
    size_t bytes;
    if (old != NULL && old->capacity >= capacity)
        return GYRE_OK;
    if (__builtin_mul_overflow(capacity, sizeof(struct gyre_slot), &bytes) ||
        __builtin_add_overflow(bytes, sizeof *buffer, &bytes))
        return GYRE_ERR_NOMEM;
    buffer = gyre_mem_calloc(1, bytes);
    if (buffer == NULL)
        return GYRE_ERR_NOMEM;
    buffer->capacity = capacity;
    gyre_touch(holder);
    if (old != NULL) {
        /* The references move; the old buffer's copies are not counted, and
         * nobody reads them once the pointer below is stored but a trace
         * that then finds them unchanged. */
        memcpy(buffer->items, old->items,
               array->size * sizeof(struct gyre_slot));
    }
    /* release; pairs: OBJECT_EACH_SLOT(). Capacity and items
     * are visible to who loads the buffer. */
    gyre_store_release(&array->buffer, buffer);
    if (old != NULL)
        gyre_mem_retire(old);
    return GYRE_OK;
}

enum gyre_status
gyre_array_append(struct gyre_object *holder, struct gyre_array *array,
                  struct gyre_object *value)
{
    size_t capacity = array->buffer == NULL ? 0 : array->buffer->capacity;
    if (array->size == capacity) {
        enum gyre_status status = gyre_array_reserve(
            holder, array, capacity < 4 ? 8 : capacity + capacity / 2);
        if (status != GYRE_OK)
            return status;
    }
    gyre_slot_move(holder, &array->buffer->items[array->size], value);
    array->size++;
    return GYRE_OK;
}

struct gyre_slot *
gyre_array_slot(const struct gyre_array *array, size_t index)
{
    GYRE_ASSERT(index < array->size);
    return &array->buffer->items[index];
}

struct gyre_object *
gyre_array_pop(struct gyre_object *holder, struct gyre_array *array)
{
    if (array->size == 0)
        return NULL;
    return gyre_slot_take(holder, &array->buffer->items[--array->size]);
}

void
gyre_array_clear(struct gyre_object *holder, struct gyre_array *array)
{
    struct gyre_array_buffer *old = array->buffer;
    size_t size = array->size;
    gyre_touch(holder);
    array->size = 0;
    /* release; pairs: OBJECT_EACH_SLOT() */
    gyre_store_release(&array->buffer, NULL);
    for (size_t i = 0; i < size; i++)
        if (old->items[i].ref != NULL)
            gyre_decref(old->items[i].ref);
    if (old != NULL)
        gyre_mem_retire(old);
}
