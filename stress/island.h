/* What is to become garbage at one blow: a ring of so many objects, or the
 * graph of a heap snapshot. Built a little at a time, so that its builder's
 * loop goes on. One thread's, attached. */
#ifndef GYRE_STRESS_ISLAND_H
#define GYRE_STRESS_ISLAND_H

#include <gyre/gyre.h>

#include "graph.h"

/* Two slots and nothing else. */
struct item {
    struct gyre_object head;
    struct gyre_slot left, right;
};
extern struct gyre_type item_type;

static inline struct item *
item_new(void)
{
    return GYRE_NEW(struct item, &item_type);
}

enum island_stage {
    ISLAND_MAKE,
    ISLAND_LINK,
    ISLAND_LET_GO,
    ISLAND_BUILT,
    ISLAND_FAILED /* out of memory */
};

struct island {
    uint64_t count;            /* objects of a ring; const */
    const struct graph *graph; /* or NULL; const */
    uint64_t weak_count; /* members of the ring to refer to weakly; const */
    /* references to these are given up by island_end() alone */
    struct gyre_object **weaks;
    uint64_t weak_room;  /* of all islands of a run; const */
    uint64_t weaks_made; /* any thread, atomic */
    enum island_stage stage;
    uint64_t at;                /* of this stage: objects, or nodes */
    uint32_t edge, filled;      /* of this node: edges seen, slots filled */
    struct item *root, *last;   /* the root holds itself and all else */
    struct gyre_object **nodes; /* of the graph */
};

/* The types, once. False: gyre refuses one. */
bool island_types(void);
/* `most`: how many will be built. False: no memory. */
bool island_create(struct island *island, unsigned most);
/* A few objects more; sets `stage` on. */
void island_step(struct island *island);
/* Give it up, by one decrement, when it is built; the next may be begun. */
void island_drop(struct island *island);
/* Give up the weak references. Attached. */
void island_end(struct island *island);
void island_destroy(struct island *island);

#endif
