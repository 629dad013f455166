/* The body of a weak reference. */
#ifndef GYRE_SRC_WEAKREF_H
#define GYRE_SRC_WEAKREF_H

#include <gyre/weakref.h>

struct gyre_weakref {
    struct gyre_object head;
    /* atomic; written under the target's shard lock, read without */
    struct gyre_object *target;
    /* const after birth */
    gyre_weakref_fn callback;
    void *arg;
    /* under the shard lock: the chain of its bucket */
    struct gyre_weakref *next;
    /* of the thread that will run the callback */
    struct gyre_object *due;
};

#endif
