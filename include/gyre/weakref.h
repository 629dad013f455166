/* Weak references: objects that name a target without keeping it alive.
 * Design: docs/design/weakref.md .weak */
#ifndef GYRE_WEAKREF_H
#define GYRE_WEAKREF_H

#include <gyre/object.h>

GYRE_BEGIN_DECLS

/* Runs after the target is gone and every weak reference to it answers NULL,
 * at a safepoint of the thread that killed it, with a reference to `weakref`
 * held for the call. May do anything a safepoint's caller may. */
typedef void (*gyre_weakref_fn)(struct gyre_object *weakref, void *arg);

/* Make a weak reference to `target`, which the caller holds. It is an
 * object: counted, a leaf. `callback` may be NULL. When the weak reference
 * dies first, its callback never runs.
 * GYRE_OK; GYRE_ERR_NOMEM. Any attached thread. One short lock. */
GYRE_API enum gyre_status gyre_weakref_new(struct gyre_object *target,
                                           gyre_weakref_fn callback, void *arg,
                                           struct gyre_object **out);

/* A new reference to the target, or NULL when it is dead or dying. Any
 * attached thread with a reference to `weakref`. Lock-free but for targets
 * that the collector has armed. */
GYRE_API struct gyre_object *gyre_weakref_get(struct gyre_object *weakref);

/* Nonzero for objects made by gyre_weakref_new(). */
GYRE_API int gyre_is_weakref(const struct gyre_object *obj);

GYRE_END_DECLS

#endif
