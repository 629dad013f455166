/* Slots: counted references in the body of an object, and arrays of them.
 * Design: docs/design/object.md .slot */
#ifndef GYRE_SLOT_H
#define GYRE_SLOT_H

#include <gyre/alloc.h>

GYRE_BEGIN_DECLS

/* Written through the functions below only. Zero is empty. */
struct gyre_slot {
    struct gyre_object *ref;
};

GYRE_API void gyre_touch_slow(struct gyre_object *holder);
GYRE_API void gyre_check_slot(const struct gyre_object *holder,
                              const struct gyre_slot *slot);

/* Tell the collector that what `holder` refers to is about to change. All
 * slot writers below do it; types that keep references in storage of their
 * own call it before they change what `trace` reports, with no safepoint and
 * no allocation between. `.slot.touch` */
GYRE_INLINE void
gyre_touch(struct gyre_object *holder)
{
    /* relaxed: arming happens in a stop, and no safepoint lies between this
     * load and the write that it announces. */
    uint32_t local = gyre_load_relaxed(&holder->rc_local);
    if (GYRE_UNLIKELY((uint16_t)local == GYRE_RC_ARMED))
        gyre_touch_slow(holder);
}

/* ---- plain forms: writers exclude one another ----
 * No other thread can reach the holder, or they hold its lock. */

/* Borrow, until the slot is written or the next safepoint. */
GYRE_INLINE struct gyre_object *
gyre_slot_peek(const struct gyre_slot *slot)
{
    /* acquire; pairs: gyre_slot_move(). The body of what another thread
     * stored is visible, when the caller's lock did not order it already. */
    return gyre_load_acquire(&slot->ref);
}

/* Take a reference to what the slot holds, or NULL. Writers are excluded. */
GYRE_INLINE struct gyre_object *
gyre_slot_get(const struct gyre_slot *slot)
{
    struct gyre_object *ref = gyre_slot_peek(slot);
    if (ref != NULL)
        gyre_incref(ref);
    return ref;
}

/* Store `value`, whose reference the slot takes over, and return the old
 * content with its reference. */
GYRE_INLINE struct gyre_object *
gyre_slot_exchange(struct gyre_object *holder, struct gyre_slot *slot,
                   struct gyre_object *value)
{
    struct gyre_object *old;
    if (GYRE_CHECKING)
        gyre_check_slot(holder, slot);
    gyre_touch(holder);
    /* relaxed: the only writer is the caller */
    old = gyre_load_relaxed(&slot->ref);
    /* release; pairs: gyre_slot_peek(). The body of `value` is visible to
     * whoever finds it here, the collector too. */
    gyre_store_release(&slot->ref, value);
    return old;
}

/* Store `value` and take over its reference; the old content is given up. */
GYRE_INLINE void
gyre_slot_move(struct gyre_object *holder, struct gyre_slot *slot,
               struct gyre_object *value)
{
    struct gyre_object *old = gyre_slot_exchange(holder, slot, value);
    if (old != NULL)
        gyre_decref(old);
}

/* Store `value` (may be NULL) with a reference of its own. */
GYRE_INLINE void
gyre_slot_set(struct gyre_object *holder, struct gyre_slot *slot,
              struct gyre_object *value)
{
    if (value != NULL)
        gyre_incref(value);
    gyre_slot_move(holder, slot, value);
}

/* Empty the slot; the caller receives its reference, or NULL. */
GYRE_INLINE struct gyre_object *
gyre_slot_take(struct gyre_object *holder, struct gyre_slot *slot)
{
    return gyre_slot_exchange(holder, slot, NULL);
}

/* ---- shared forms: any thread that can reach the holder, at any time ----
 * What they store is PUBLISHED first, so that it can be taken without a lock;
 * a slot used by these is filled by these alone, from its first reference
 * on. (A slot filled by a plain form is named and fatal.) */

/* Take a reference, or NULL when the slot is empty. Lock-free; no
 * safepoint. */
GYRE_API struct gyre_object *gyre_slot_get_shared(struct gyre_object *holder,
                                                  struct gyre_slot *slot);
/* Store with a reference of its own. */
GYRE_API void gyre_slot_set_shared(struct gyre_object *holder,
                                   struct gyre_slot *slot,
                                   struct gyre_object *value);
/* Swap references: the slot takes the caller's, the caller the slot's. One
 * atomic exchange. */
GYRE_API struct gyre_object *gyre_slot_exchange_shared(
    struct gyre_object *holder, struct gyre_slot *slot,
    struct gyre_object *value);

/* ---- a growable array of slots, embedded in its holder ----
 * Declared in the type's `arrays`; plain writers only. The buffer is raw
 * memory that carries its own capacity and starts zeroed, so that a trace
 * may read it at any time. `.mem.retire` */

struct gyre_array_buffer;
struct gyre_array {
    struct gyre_array_buffer *buffer; /* NULL: capacity 0 */
    size_t size;                      /* entries; those above are empty */
};

/* Append, taking over the caller's reference. GYRE_ERR_NOMEM: nothing
 * changed and the reference is still the caller's. Amortised O(1). */
GYRE_API enum gyre_status gyre_array_append(struct gyre_object *holder,
                                            struct gyre_array *array,
                                            struct gyre_object *value);
/* Make room for `capacity` entries in all. */
GYRE_API enum gyre_status gyre_array_reserve(struct gyre_object *holder,
                                             struct gyre_array *array,
                                             size_t capacity);
/* The slot of entry `index` < size, for the slot functions above; valid
 * until the array grows or shrinks. */
GYRE_API struct gyre_slot *gyre_array_slot(const struct gyre_array *array,
                                           size_t index);
/* Remove the last entry; its reference goes to the caller. NULL: none. */
GYRE_API struct gyre_object *gyre_array_pop(struct gyre_object *holder,
                                            struct gyre_array *array);
/* Give up every entry and the buffer. */
GYRE_API void gyre_array_clear(struct gyre_object *holder,
                               struct gyre_array *array);

GYRE_INLINE size_t
gyre_array_size(const struct gyre_array *array)
{
    return array->size;
}

GYRE_END_DECLS

#endif
