/* What a runtime says about a kind of object. Design: docs/design/object.md
 * .object; the contract of each callback is in docs/embedding.md. */
#ifndef GYRE_TYPE_H
#define GYRE_TYPE_H

#include <gyre/config.h>
#include <gyre/status.h>

GYRE_BEGIN_DECLS

struct gyre_object;
struct gyre_type;

/* Receives one edge of a traced object; `target` may be NULL. */
typedef void (*gyre_edge_fn)(struct gyre_object *target, void *arg);

/* Report every counted reference of `obj` that the type's tables don't say,
 * each as often as it is counted. Takes no reference, no lock, allocates
 * nothing; any thread, with the world stopped unless the type says
 * GYRE_TYPE_TRACE_ANYTIME. */
typedef void (*gyre_trace_fn)(struct gyre_object *obj, gyre_edge_fn edge,
                              void *arg);
/* Give up every counted reference that `trace` reports. May decref; reaches
 * no safepoint, allocates nothing. */
typedef void (*gyre_clear_fn)(struct gyre_object *obj);
/* Runs at most once in an object's life, before anything of it is released.
 * May do anything, resurrect the object too. */
typedef void (*gyre_finalize_fn)(struct gyre_object *obj);
/* The object's last callback: slots are released, the body is intact. Frees
 * what else the body owns. Reaches no safepoint, takes no reference. */
typedef void (*gyre_dealloc_fn)(struct gyre_object *obj);

enum gyre_type_flags {
    /* No counted references at all. Never visited by the collector. */
    GYRE_TYPE_LEAF = 1u << 0,
    /* Refers to leaves and acyclic types only. Never visited either. */
    GYRE_TYPE_ACYCLIC = 1u << 1,
    /* `finalize` reaches no safepoint: it runs inside the decref that would
     * have killed the object, not at the next safepoint. */
    GYRE_TYPE_FINALIZE_PROMPTLY = 1u << 2,
    /* Born untracked: the collector sees an object after gyre_track(). For
     * types whose `trace` needs more than a zeroed body. */
    GYRE_TYPE_TRACK_LATE = 1u << 3,
    /* `trace` may run at any time, on another thread, while the object is
     * used and when it is dead but for its memory: it reads each reference
     * and pointer with acquire, whoever changes them stores with release after
     * gyre_touch(), buffers carry their own bounds, and what it may read is
     * given back by gyre_mem_retire(). Without this `trace` runs in stops
     * alone. */
    GYRE_TYPE_TRACE_ANYTIME = 1u << 4
};

/* Declared static by the runtime; must outlive every heap that has objects
 * of it. Offsets are in bytes from the object's start. All members from
 * `name` to `user` are the runtime's and constant after gyre_type_ready(). */
struct gyre_type {
    const char *name;       /* for people; not NULL */
    uint32_t size;          /* bytes of an object, header included */
    uint32_t item_size;     /* bytes of one item after that; 0: none */
    uint32_t flags;         /* enum gyre_type_flags */
    uint32_t slot_count;    /* entries of `slots` */
    const uint32_t *slots;  /* offset of each struct gyre_slot */
    uint32_t array_count;   /* entries of `arrays` */
    uint32_t item_slot;     /* 1: every item begins with a struct gyre_slot */
    const uint32_t *arrays; /* offset of each struct gyre_array */
    gyre_trace_fn trace;
    gyre_clear_fn clear;
    gyre_finalize_fn finalize;
    gyre_dealloc_fn dealloc;
    void *user; /* the runtime's own */

    /* gyre's, made by gyre_type_ready() */
    uintptr_t header;     /* address of this type, with TRACKED where born so */
    uint32_t alloc_index; /* page kind and size class; GYRE_ALLOC_SLOWLY */
    uint32_t traits;      /* what death and tracing need, in one word */
    uint32_t first_slot;  /* when the slots are one run: its offset */
    uint32_t run_slots;   /* and its length, else 0 */
};

/* Check a type's declaration and make gyre's part of it. Call once, before
 * the first object; idempotent when nothing changed.
 * GYRE_OK; GYRE_ERR_ARGUMENT: a table out of the body, a leaf with slots,
 * a size below the header's. One thread at a time for one type. */
GYRE_API enum gyre_status gyre_type_ready(struct gyre_type *type);

GYRE_END_DECLS

#endif
