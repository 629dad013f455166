/* Slots that several threads write, and what slot writers tell the
 * collector. Design: docs/design/object.md .slot .slot.touch */
#include "../../threads/yield.h"
#include "../fault.h"
#include "../heap.h"

void
gyre_touch_slow(struct gyre_object *holder)
{
    if (FAULT(FAULT_NO_TOUCH))
        return;
    if (FAULT(FAULT_TOUCH_LATE)) {
        static GYRE_THREAD_LOCAL struct gyre_object *late[16];
        static GYRE_THREAD_LOCAL unsigned next;
        struct gyre_object *now = late[next % 16];
        late[next++ % 16] = holder;
        if (now == NULL)
            return;
        holder = now;
    }
    /* relaxed: the write that it announces is a release, and a collector that
     * reads what was written reads the flag after that. .slot.touch */
    gyre_fetch_and_relaxed(&holder->rc_shared, ~(uint32_t)GYRE_RC_IS_ARMED);
}

void
gyre_check_slot(const struct gyre_object *holder, const struct gyre_slot *slot)
{
    const struct gyre_type *type;
    const char *start = (const char *)holder, *at = (const char *)slot;
    /* A type's `clear` may write the slots of an object that is dead. */
    if (gyre_self == NULL || !mutator_of(gyre_self)->object.cascading)
        gyre_check_reference(holder, "slot write");
    type = gyre_type_of(holder);
    if (at >= start && at < start + gyre_object_bytes(holder, type))
        return;
    for (uint32_t i = 0; i < type->array_count; i++) {
        const struct gyre_array *array =
            (const struct gyre_array *)(start + type->arrays[i]);
        const struct gyre_array_buffer *buffer = array->buffer;
        if (buffer != NULL && slot >= buffer->items &&
            slot < buffer->items + buffer->capacity)
            return;
    }
    GYRE_CHECK(type->trace != NULL,
               "slot write: %p is no slot of the %s object %p",
               (const void *)slot, type->name, (const void *)holder);
}

struct gyre_object *
gyre_slot_exchange_shared(struct gyre_object *holder, struct gyre_slot *slot,
                          struct gyre_object *value)
{
    if (GYRE_CHECKING)
        gyre_check_slot(holder, slot);
    if (value != NULL)
        gyre_set_rc_flag(value, GYRE_RC_PUBLISHED);
    if (!FAULT(FAULT_MOVE_UNTOUCHED) ||
        (value != NULL && gyre_load_relaxed(&slot->ref) != NULL))
        gyre_touch(holder);
    GYRE_YIELD_POINT("exchange shared");
    /* acq_rel; pairs: gyre_slot_get_shared(), gyre_slot_exchange_shared().
     * The body of `value` is visible to who finds it, and that of what comes
     * out to us. */
    return gyre_exchange_acq_rel(&slot->ref, value);
}

void
gyre_slot_set_shared(struct gyre_object *holder, struct gyre_slot *slot,
                     struct gyre_object *value)
{
    struct gyre_object *old;
    if (value != NULL)
        gyre_incref(value);
    old = gyre_slot_exchange_shared(holder, slot, value);
    if (old != NULL)
        gyre_decref(old);
}

/* One try. False: the slot changed under us. */
static bool
try_get(struct gyre_slot *slot, struct gyre_object **out)
{
    /* acquire; pairs: gyre_slot_exchange_shared() */
    struct gyre_object *ref = gyre_load_acquire(&slot->ref);
    *out = ref;
    if (ref == NULL)
        return true;
    GYRE_YIELD_POINT("get shared");
    if (!gyre_try_incref(ref))
        return false;
    /* acquire; pairs: gyre_slot_exchange_shared(). Still named: the slot's
     * reference kept it alive when we took ours. .rc.try */
    if (gyre_load_acquire(&slot->ref) == ref)
        return true;
    gyre_decref(ref);
    return false;
}

/* So many misses in a row are hardly other threads' writes. */
#define MISSES_SUSPICIOUS 100000

static void
check_published(const struct gyre_object *holder, struct gyre_slot *slot,
                const struct gyre_object *ref)
{
    const uint32_t nameable = GYRE_RC_PUBLISHED | GYRE_RC_WEAK;
    GYRE_CHECK(gyre_load_relaxed(&slot->ref) != ref ||
                   (gyre_load_relaxed(&ref->rc_shared) & nameable) != 0,
               "gyre_slot_get_shared: a slot of the %s object %p was filled "
               "by a plain form",
               gyre_type_of(holder)->name, (const void *)holder);
}

struct gyre_object *
gyre_slot_get_shared(struct gyre_object *holder, struct gyre_slot *slot)
{
    struct gyre_object *ref;
    uint32_t misses = 0;
    /* A miss means that a writer went past, so readers lose only to progress
     * made by others; no lock is needed for that. What is never PUBLISHED
     * would be missed for ever: it was stored by a plain form. */
    while (!try_get(slot, &ref)) {
        if (++misses > MISSES_SUSPICIOUS)
            check_published(holder, slot, ref);
    }
    return ref;
}
