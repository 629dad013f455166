/* A snapshot's nodes as gyre objects: their types, and the callbacks that
 * tell the oracle. */
#ifndef GYRE_STRESS_NODE_H
#define GYRE_STRESS_NODE_H

#include <gyre/gyre.h>

#include "oracle.h"

/* More edges than this lie in a growable reference array. */
#define NODE_INLINE_MOST 64

struct node {
    struct gyre_object head;
    uint64_t serial;
    union {
        struct gyre_array array;
        struct gyre_slot slots[1];
    } edges;
};

/* Make the types that the graph's nodes need; which have finalizers follows
 * from `seed`, none when `finalizers` is false. False, with a line on
 * standard error: no memory, or gyre refuses a type. */
bool node_types_create(const struct graph *graph, uint64_t seed,
                       bool finalizers);
void node_types_destroy(void);
unsigned node_type_count(void);
/* How many nodes of the graph have a finalizer of each kind. */
struct node_kinds {
    uint32_t late, prompt, resurrecting;
};
struct node_kinds node_kinds(void);

/* A new object of graph node `node`, all slots empty, with the caller's one
 * reference, already held in the oracle; `*index` receives its index. NULL:
 * the round has no more room (*index 0), or gyre refused the memory. */
struct node *node_new(struct shares *shares, uint32_t node, unsigned writer,
                      uint32_t *index);

static inline bool
node_has_array(const struct gyre_object *obj)
{
    return gyre_type_of(obj)->array_count != 0;
}

/* Slot `i` of an object that this thread may write. */
static inline struct gyre_slot *
node_slot(struct gyre_object *obj, uint32_t i)
{
    struct node *node = (struct node *)obj;
    if (__builtin_expect(node_has_array(obj), 0))
        return gyre_array_slot(&node->edges.array, i);
    return &node->edges.slots[i];
}

static inline uint64_t
node_serial(const struct gyre_object *obj)
{
    return ((const struct node *)obj)->serial;
}

/* The object at `obj` must be the one named `index`. The caller may touch
 * it: it is alive, and held or borrowed. */
static inline void
node_expect(const struct gyre_object *obj, uint32_t index)
{
    if (__builtin_expect(obj == NULL, 0))
        oracle_fail(FAILURE_SLOT, index, "its slot is empty");
    else if (__builtin_expect(node_serial(obj) != oracle_serial(index), 0))
        oracle_mistaken(index, node_serial(obj));
}

/* Objects whose finalizer stored them in a root, each with a reference. The
 * checker, at a quiescent point. */
struct resurrected {
    struct gyre_object *obj;
    uint32_t index;
};
unsigned node_resurrected_count(void);
struct resurrected node_resurrected(unsigned i);
bool node_resurrected_pop(struct resurrected *entry);
/* From now on finalizers resurrect (or not). At a quiescent point. */
void node_resurrect(bool yes);

/* The callback of all weak references. */
void node_weak_callback(struct gyre_object *weakref, void *token);

#endif
