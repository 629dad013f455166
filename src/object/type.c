/* Checking a type's declaration and working out what death and tracing need.
 * Design: docs/design/object.md .object */
#include "../heap.h"

static bool
inside(const struct gyre_type *type, uint32_t offset, size_t bytes)
{
    size_t head = type->item_size != 0 ? sizeof(struct gyre_var_object)
                                       : sizeof(struct gyre_object);
    return offset >= head && offset % 8 == 0 && offset + bytes <= type->size;
}

static bool
overlap(uint32_t a, size_t a_bytes, uint32_t b, size_t b_bytes)
{
    return a < b + b_bytes && b < a + a_bytes;
}

/* A word named twice would be given up twice. */
static bool
tables_overlap(const struct gyre_type *type)
{
    const size_t slot = sizeof(struct gyre_slot);
    const size_t array = sizeof(struct gyre_array);
    for (uint32_t i = 0; i < type->slot_count; i++)
        for (uint32_t k = i + 1; k < type->slot_count; k++)
            if (overlap(type->slots[i], slot, type->slots[k], slot))
                return true;
    for (uint32_t i = 0; i < type->array_count; i++) {
        for (uint32_t k = i + 1; k < type->array_count; k++)
            if (overlap(type->arrays[i], array, type->arrays[k], array))
                return true;
        for (uint32_t k = 0; k < type->slot_count; k++)
            if (overlap(type->arrays[i], array, type->slots[k], slot))
                return true;
    }
    return false;
}

static bool
tables_fit(const struct gyre_type *type)
{
    for (uint32_t i = 0; i < type->slot_count; i++)
        if (!inside(type, type->slots[i], sizeof(struct gyre_slot)))
            return false;
    for (uint32_t i = 0; i < type->array_count; i++)
        if (!inside(type, type->arrays[i], sizeof(struct gyre_array)))
            return false;
    if (tables_overlap(type))
        return false;
    if (type->item_slot && (type->item_size < sizeof(struct gyre_slot) ||
                            type->item_size % 8 != 0 || type->size % 8 != 0))
        return false;
    return type->item_size == 0 || type->size >= sizeof(struct gyre_var_object);
}

/* Length of the run that the slots form, 0 when they form none. */
static uint32_t
slot_run(const struct gyre_type *type)
{
    for (uint32_t i = 1; i < type->slot_count; i++)
        if (type->slots[i] != type->slots[i - 1] + sizeof(struct gyre_slot))
            return 0;
    return type->slot_count;
}

enum gyre_status
gyre_type_ready(struct gyre_type *type)
{
    bool slots =
        type->slot_count > 0 || type->item_slot || type->array_count > 0;
    bool leaf = (type->flags & GYRE_TYPE_LEAF) != 0;
    bool tracked = (type->flags & (GYRE_TYPE_LEAF | GYRE_TYPE_ACYCLIC)) == 0;
    uint32_t traits = TYPE_READY;
    if (type->name == NULL || type->size < sizeof(struct gyre_object) ||
        (type->slot_count > 0 && type->slots == NULL) ||
        (type->array_count > 0 && type->arrays == NULL) || !tables_fit(type) ||
        (leaf && (slots || type->trace != NULL)) ||
        ((uintptr_t)type & ~(uintptr_t)GYRE_WORD0_TYPE) != 0 ||
        ((uintptr_t)type & 1) != 0)
        return GYRE_ERR_ARGUMENT;
    if (slots)
        traits |= TYPE_HAS_SLOTS;
    if (type->finalize != NULL)
        traits |= TYPE_FINALIZES;
    if (type->dealloc != NULL)
        traits |= TYPE_DEALLOCS;
    if (type->trace != NULL || type->clear != NULL)
        traits |= TYPE_TRACES;
    if (type->flags & GYRE_TYPE_FINALIZE_PROMPTLY)
        traits |= TYPE_PROMPT;
    if (tracked)
        traits |= TYPE_TRACKED;
    if (type->trace != NULL && !(type->flags & GYRE_TYPE_TRACE_ANYTIME))
        traits |= TYPE_TRACE_STOPPED;
    if (type->trace != NULL && type->clear == NULL)
        traits |= TYPE_UNCLEARABLE;
    /* gyre_new_sized() clears with the size its caller knows at compile
     * time, so a type's size decides the class and nothing else may. What it
     * does not clear stays as it is, and is looked at when the object dies.
     * .mem.guard */
    size_t room = guard_object_room(type->size);
    bool large = room > GYRE_SMALL_MAX || type->item_size != 0;
    uint32_t alloc_index =
        large ? GYRE_ALLOC_SLOWLY
              : gyre_alloc_index(tracked ? GYRE_PAGE_CONTAINER : GYRE_PAGE_LEAF,
                                 gyre_size_class(room));
    uint32_t run_slots = slot_run(type);
    uint32_t first_slot = run_slots > 0 ? type->slots[0] : 0;
    if (run_slots == type->slot_count && !type->item_slot &&
        type->array_count == 0 && type->trace == NULL && type->clear == NULL)
        traits |= TYPE_RUN;
    if ((traits & TYPE_RUN) != 0 && type->finalize == NULL &&
        type->dealloc == NULL)
        traits |= TYPE_PLAIN;
    uintptr_t header = (uintptr_t)type;
    if (tracked && !(type->flags & GYRE_TYPE_TRACK_LATE))
        header |= (uintptr_t)GYRE_WORD0_TRACKED;
    /* Nothing changed: other threads may be making objects of it. */
    if (type->header == header && type->traits == traits &&
        type->alloc_index == alloc_index && type->run_slots == run_slots &&
        type->first_slot == first_slot)
        return GYRE_OK;
    type->header = header;
    type->traits = traits;
    type->alloc_index = alloc_index;
    type->run_slots = run_slots;
    type->first_slot = first_slot;
    return GYRE_OK;
}

size_t
gyre_object_bytes(const struct gyre_object *obj, const struct gyre_type *type)
{
    size_t bytes = type->size;
    if (type->item_size != 0)
        bytes += type->item_size * ((const struct gyre_var_object *)obj)->count;
    return bytes;
}
