/* An object whose reference only its `trace` knows. */
#ifndef GYRE_TESTS_OWNER_H
#define GYRE_TESTS_OWNER_H

#include "support/fixture.h"

struct owner {
    struct gyre_object head;
    struct gyre_slot own;
    struct fixture *fx;
};

void owner_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg);
void owner_clear(struct gyre_object *obj);
void owner_dealloc(struct gyre_object *obj); /* counts fx->live down */

/* Traced in stops; the second has no `clear`: a cycle of it can't be broken. */
extern struct gyre_type owner_type, stuck_type;

/* One that owns nothing, counted in fx->live; makes `type` ready. */
struct owner *owner_new(struct fixture *fx, struct gyre_type *type);

#endif
