/* What the shadow slots say at a quiescent point: reachability, in-degrees,
 * what the logs of shared slots leave behind.
 *
 * Called by one thread, the checker, while no other touches an object. Part
 * of the oracle: never calls gyre. */
#ifndef GYRE_STRESS_SHADOW_H
#define GYRE_STRESS_SHADOW_H

#include "oracle.h"

/* One exchange on a slot that all write. */
struct shadow_entry {
    uint32_t slot, put, got; /* number of the slot; indexes, 0 for NULL */
};

struct shadow_log {
    struct shadow_entry *entries;
    uint32_t count, room;
};

struct shadow_shared {
    uint32_t holder;  /* its index */
    uint32_t slot;    /* number in the holder */
    uint32_t content; /* index, as of the last quiescent point */
};

bool shadow_create(void);
void shadow_destroy(void);

/* Reachability, from roots named one by one. */
void shadow_mark_begin(void);
void shadow_mark(uint32_t index);
void shadow_mark_weak(uint32_t weak);
void shadow_mark_end(void);
bool shadow_reached(uint32_t index);
bool shadow_weak_reached(uint32_t weak);
const uint8_t *shadow_reach(void);

/* Before any collection: all that is reached is alive, and what is alive but
 * not reached is referred to by something alive. With `speak` false only
 * answers whether it holds. Computes in-degrees. */
bool shadow_check_before(bool speak);
/* What may happen to weak references in the collection to come. */
void shadow_weaks_before(void);
/* After one full collection: alive is what is reached. With `exact` false
 * (the collection found no memory) garbage is let pass. Computes in-degrees,
 * and the numbers of live objects and of reached weak references. */
struct shadow_census {
    uint64_t alive, leaves, weaks;
};
void shadow_check_after(bool exact, struct shadow_census *census);
/* Callbacks of weak references have run as often as they should. */
void shadow_weaks_after(bool exact);

/* Puts less gets leave exactly one content for each slot: work it out. The
 * logs are emptied. False: no memory for it. */
bool shadow_merge(struct shadow_log *const *logs, unsigned log_count,
                  struct shadow_shared *slots, uint32_t slot_count);
bool shadow_log_add(struct shadow_log *log, uint32_t slot, uint32_t put,
                    uint32_t got);

#endif
