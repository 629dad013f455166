#include "support/owner.h"

void
owner_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    edge(gyre_slot_peek(&((struct owner *)obj)->own), arg);
}

void
owner_clear(struct gyre_object *obj)
{
    struct owner *owner = (struct owner *)obj;
    struct gyre_object *own = gyre_load_relaxed(&owner->own.ref);
    gyre_store_relaxed(&owner->own.ref, (struct gyre_object *)NULL);
    if (own != NULL)
        gyre_decref(own);
}

void
owner_dealloc(struct gyre_object *obj)
{
    gyre_fetch_sub_relaxed(&((struct owner *)obj)->fx->live, 1);
}

struct gyre_type owner_type = {
    .name = "owner",
    .size = sizeof(struct owner),
    .trace = owner_trace,
    .clear = owner_clear,
    .dealloc = owner_dealloc,
};
struct gyre_type stuck_type = {
    .name = "owner that can't be cleared",
    .size = sizeof(struct owner),
    .trace = owner_trace,
    .dealloc = owner_dealloc,
};

struct owner *
owner_new(struct fixture *fx, struct gyre_type *type)
{
    struct owner *owner;
    assert_int_equal(gyre_type_ready(type), GYRE_OK);
    owner = gyre_new(type);
    assert_non_null(owner);
    owner->fx = fx;
    gyre_fetch_add_relaxed(&fx->live, 1);
    return owner;
}
