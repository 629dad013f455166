/* Objects as the rest of the library sees them: counts and their merging,
 * death, weak references, finalizers. Design: docs/design/refcount.md,
 * docs/design/object.md, docs/design/weakref.md */
#ifndef GYRE_SRC_OBJECT_H
#define GYRE_SRC_OBJECT_H

#include <pthread.h>
#include <stdbool.h>

#include <gyre/slot.h>
#include <gyre/statistics.h>
#include <gyre/weakref.h>

#include "../memory/memory.h"

struct mutator;
struct gyre_heap;

/* enum of struct gyre_type.traits */
enum type_traits {
    TYPE_READY = 1u << 0,
    TYPE_HAS_SLOTS = 1u << 1, /* slots, items with slots or arrays */
    TYPE_FINALIZES = 1u << 2,
    TYPE_DEALLOCS = 1u << 3,
    TYPE_TRACES = 1u << 4, /* trace and clear, of the runtime's */
    TYPE_PROMPT = 1u << 5,
    TYPE_TRACKED = 1u << 6,       /* container: lives in collector's pages */
    TYPE_UNCLEARABLE = 1u << 7,   /* its cycles can't be broken */
    TYPE_RUN = 1u << 8,           /* slots are one run and all there is */
    TYPE_PLAIN = 1u << 9,         /* TYPE_RUN, and nobody is told of a death */
    TYPE_TRACE_STOPPED = 1u << 10 /* its `trace` is only safe in a stop */
};

/* ---- words ---- */

#define RC_DEAD_WORD ((uint64_t)GYRE_RC_DEAD << 32)
/* Past this a shared count is stuck: it returns to RC_STUCK for ever. */
#define RC_SATURATED (1 << 23)
#define RC_STUCK ((1 << 23) + (1 << 22))

static inline uint32_t
rc_shared_of(int32_t count, uint32_t flags)
{
    return ((uint32_t)count << GYRE_RC_SHARED_SHIFT) | flags;
}

static inline uint32_t
rc_flags_of(uint32_t shared)
{
    return shared & (GYRE_RC_SHARED_UNIT - 1);
}

/* References in the local half of an object whose owner is a thread. */
static inline int32_t
rc_local_count(uint32_t local)
{
    return (int32_t)(local >> 16) + 1;
}

static inline bool
rc_owner_is_thread(uint32_t local)
{
    uint32_t owner = local & 0xffff;
    return owner != GYRE_RC_NOBODY && owner <= GYRE_RC_LAST_THREAD;
}

static inline bool
word0_is_object(uint64_t word0)
{
    return word0 != 0 && (word0 & 1) == 0;
}

/* Fatal, and named: something was written behind the object. */
void gyre_object_check_end(const struct gyre_object *obj,
                           const char *operation);
/* The same where blocks have guards. Before an object's block is freed. */
static inline void
object_check_end(const struct gyre_object *obj, const char *operation)
{
    if (MEMORY_GUARD)
        gyre_object_check_end(obj, operation);
}

/* The whole count of a live object, halves taken together. In a stop, or
 * with every other holder of a reference known to be idle. */
int64_t gyre_object_count(const struct gyre_object *obj);

/* ---- the tables of a type, walked ---- */

struct gyre_array_buffer {
    size_t capacity; /* const; the entries start zeroed */
    struct gyre_slot items[];
};

/* Bytes of an object, items included. */
size_t gyre_object_bytes(const struct gyre_object *obj,
                         const struct gyre_type *type);

/* Call `VISIT(slot)` for every slot the tables name, in order. `ARRAYS(array)`
 * is called for each array after that. */
#define OBJECT_EACH_SLOT(obj, type, slot, ...)                                \
    do {                                                                      \
        for (uint32_t each_ = 0; each_ < (type)->slot_count; each_++) {       \
            struct gyre_slot *slot =                                          \
                (struct gyre_slot *)((char *)(obj) + (type)->slots[each_]);   \
            __VA_ARGS__                                                       \
        }                                                                     \
        if ((type)->item_slot) {                                              \
            size_t each_count_ = ((struct gyre_var_object *)(obj))->count;    \
            char *each_at_ = (char *)(obj) + (type)->size;                    \
            for (; each_count_ > 0;                                           \
                 each_count_--, each_at_ += (type)->item_size) {              \
                struct gyre_slot *slot = (struct gyre_slot *)each_at_;        \
                __VA_ARGS__                                                   \
            }                                                                 \
        }                                                                     \
        for (uint32_t each_ = 0; each_ < (type)->array_count; each_++) {      \
            struct gyre_array *each_array_ =                                  \
                (struct gyre_array *)((char *)(obj) + (type)->arrays[each_]); \
            /* acquire; pairs: gyre_array_reserve() */                        \
            struct gyre_array_buffer *each_buffer_ =                          \
                gyre_load_acquire(&each_array_->buffer);                      \
            if (each_buffer_ == NULL)                                         \
                continue;                                                     \
            for (size_t each_i_ = 0; each_i_ < each_buffer_->capacity;        \
                 each_i_++) {                                                 \
                struct gyre_slot *slot = &each_buffer_->items[each_i_];       \
                __VA_ARGS__                                                   \
            }                                                                 \
        }                                                                     \
    } while (0)

/* A dead object that has nothing to release and nobody to tell: its block can
 * be freed as it is. Most objects are of such types, and many die with their
 * slots empty. The caller knows that no weak reference names it. */
static inline bool
object_dies_plainly(const struct gyre_object *obj, const struct gyre_type *type)
{
    const struct gyre_slot *slot =
        (const struct gyre_slot *)((const char *)obj + type->first_slot);
    uint32_t left = type->run_slots;
    if ((type->traits & TYPE_PLAIN) == 0)
        return false;
    for (; left > 0; left--, slot++)
        if (slot->ref != NULL)
            return false;
    return true;
}

/* ---- a heap's and a thread's part ---- */

#define WEAK_SHARDS 16

struct gyre_weakref;
struct weak_shard {
    pthread_mutex_t lock;          /* leaf lock, never held over a safepoint */
    struct gyre_weakref **buckets; /* under lock: by target, chained */
    size_t bucket_count, entries;
};

struct object_heap {
    struct weak_shard weak[WEAK_SHARDS];
    /* atomic: of threads that left */
    uint64_t saturated;
    const struct gyre_type *saturated_type;
    uint32_t lost_queued; /* 1: a page may hold QUEUED without an entry */
};

/* Counters of one thread: written by it alone, read by any (relaxed). */
struct object_counters {
    uint64_t spills, merges, merges_by_proxy, queued, cascade_deferred;
    uint64_t finalizers_run, weak_callbacks_run, weak_gets_refused;
    uint64_t lock_waits;
    uint64_t paced_waits, paced_ns; /* .pace.wait */
};

static inline void
count_one(uint64_t *counter)
{
    /* relaxed: one writer */
    gyre_store_relaxed(counter, gyre_load_relaxed(counter) + 1);
}

static inline void
count_more(uint64_t *counter, uint64_t more)
{
    /* relaxed: one writer */
    gyre_store_relaxed(counter, gyre_load_relaxed(counter) + more);
}

/* Entries of a merge queue, pushed as a whole. */
#define QUEUE_CHUNK_ENTRIES 62
struct queue_chunk {
    struct queue_chunk *next;
    size_t count;
    struct gyre_object *entries[QUEUE_CHUNK_ENTRIES];
};

/* A growing list of object pointers in raw memory. */
struct object_list {
    struct gyre_object **items;
    size_t count, capacity;
};
bool gyre_object_list_push(struct object_list *list, struct gyre_object *obj);
void gyre_object_list_free(struct object_list *list);

#define CASCADE_STACK 128
/* What a thread merges and releases at a safepoint, of what others handed over:
 * so long, and the rest at the next. .rc.portion */
#define PORTION_NS 50000u

struct object_thread {
    /* any thread, atomic: chunks others pushed */
    struct queue_chunk *queue;
    /* atomic, for who waits: written by the owner, or who has claimed it */
    uint32_t is_behind;  /* its last answer to a handshake has left something */
    uint32_t lists_done; /* taken off the queue, merged and released */
    uint32_t awaited;    /* as many of them; under the collector's lock */
    /* owner only, or who has claimed it */
    struct queue_chunk *taken; /* off the queue, to be merged in portions */
    /* owner only */
    uint64_t behind_since_ns;    /* with merges and releases; 0: it is not */
    uint64_t portion_ended_ns;   /* the last of them, when it is behind */
    struct queue_chunk *staging; /* entries on their way */
    struct mutator *staging_for; /* to this thread */
    struct queue_chunk *spare;   /* an empty chunk, or NULL */
    bool finding_lost; /* entries are left to be found, like those looked for */
    struct object_list pending;    /* finalizers to run, references held */
    struct gyre_object *callbacks; /* weak references whose callback is due */
    uint32_t in_callback;          /* > 0: inside a finalizer or callback */
    uint32_t merging_for;          /* > 0: under a claim or in a stop, where
                                    * no finalizer runs, prompt or not */
    uint32_t collect_wanted;       /* generation + 1 asked for meanwhile */
    bool collecting;               /* does what was asked of this thread */
    bool wait_wanted;              /* the collector is outrun: wait for it */
    /* cascade: dead objects still to be released */
    struct gyre_object *cascade[CASCADE_STACK];
    uint32_t cascade_count;
    bool cascading;
    struct gyre_object *cascade_linked; /* by their first slot */
    struct object_list cascade_list;    /* types without slots */
    bool unwinding;                     /* linking, and giving up first slots */
    struct gyre_object *unwound; /* the first slot of one linked meanwhile */
    struct object_counters counters;
    int64_t noted_net; /* container births less deaths, as added up */
};

enum gyre_status gyre_object_heap_init(struct gyre_heap *heap);
void gyre_object_heap_destroy(struct gyre_heap *heap);
void gyre_object_thread_init(struct mutator *self);
/* Merge queue and put-off work until nothing is left. */
void gyre_object_thread_leave(struct mutator *self);

/* ---- merging: merge.c ---- */

/* Hand a reference, counted by QUEUED, to the object's owner. */
void gyre_merge_queue(struct mutator *self, struct gyre_object *obj,
                      uint32_t owner);
/* Make staged entries visible to their owner. Before a detach, a park, an
 * exit, at each safepoint. */
void gyre_merge_publish(struct mutator *self);
/* Merge what others queued to `self`. The owner, at a safepoint. */
void gyre_merge_drain(struct mutator *self);
/* A portion of that, and of what waits in the cascade: the rest at the next
 * safepoint. `asked`: a handshake waits for it. */
void gyre_merge_drain_portion(struct mutator *self, bool asked);
/* The same for `other`, claimed by the caller; what dies is pushed to
 * `self`'s cascade, which runs once the claim is released. */
void gyre_merge_drain_for(struct mutator *self, struct mutator *other);
/* In a stop: `other`'s queue and staged chunk. */
void gyre_merge_drain_of(struct mutator *self, struct mutator *other);
/* In a stop: everybody's queues and staged chunks. */
void gyre_merge_drain_all(struct mutator *self);
bool gyre_merge_queue_is_empty(struct mutator *self);
/* Whether a portion has left something. The owner, or in a stop. */
bool gyre_merge_is_behind(const struct mutator *self);
/* In a stop: objects whose entry got lost for want of memory. */
void gyre_merge_find_lost(struct mutator *self);
/* Keep the caller's reference to `obj`, whose halves are one word or whose
 * owner is the caller, as a merge queue's without an entry. */
void gyre_merge_lose(struct mutator *self, struct gyre_object *obj);
/* After `self` was published as detached or gone: look again, drain. */
void gyre_merge_look_again(struct mutator *self, struct mutator *worker);

/* ---- death: cascade.c ---- */

/* `obj` is dead, its word 1 says so, and nobody else can reach it. Releases
 * what it held and frees it, now or as soon as the running cascade gets to
 * it. */
void gyre_cascade_push(struct mutator *self, struct gyre_object *obj);
/* The same for one that may be plain: its block is freed at once then. */
void gyre_cascade_bury(struct mutator *self, struct gyre_object *obj);
/* Free its block if it is plain. False: it is not. */
bool gyre_cascade_bury_plain(struct mutator *self, struct gyre_object *obj);
/* Put it on the list without starting a cascade. */
void gyre_cascade_defer(struct mutator *self, struct gyre_object *obj);
/* Release those that wait: `all`, or as many as cascade.budget says; in the
 * second until the clock says `until_ns`, 0 is never. */
void gyre_cascade_run(struct mutator *self, bool all);
void gyre_cascade_run_until(struct mutator *self, bool all, uint64_t until_ns);
/* What died just now, by its budget; where a portion had left a `rest` before,
 * no longer than a portion takes. */
void gyre_cascade_run_behind(struct mutator *self, bool rest);
/* In a stop or a forked child: the dead that another thread has put off. */
void gyre_cascade_take_over(struct mutator *self, struct mutator *other);
bool gyre_cascade_is_empty(const struct mutator *self);
/* Take WEAK objects' references away before their memory is reused. */
void gyre_weak_clear(struct mutator *self, struct gyre_object *obj,
                     bool callbacks);
/* The same with the lock of its shard held; and which of WEAK_SHARDS that is,
 * which are locked in order. */
void gyre_weak_clear_locked(struct mutator *self, struct gyre_object *obj,
                            bool callbacks);
uint32_t gyre_weak_shard(struct gyre_heap *heap, const struct gyre_object *obj);
/* try_incref of .rc.try: false when `obj` is no live object that may be
 * named without a counted reference. The caller looks again afterwards. */
bool gyre_try_incref(struct gyre_object *obj);
/* Set PUBLISHED or WEAK on an object the caller holds. */
void gyre_set_rc_flag(struct gyre_object *obj, uint32_t flag);

/* ---- finalizers: finalizer.c ---- */

/* The last reference is about to be given up, by the caller. True when the
 * object's finalizer is to run first, which is asked for once: the caller's
 * reference is then gyre_finalizer_push()'s. */
bool gyre_finalizer_claim(struct gyre_object *obj);
void gyre_finalizer_push(struct mutator *self, struct gyre_object *obj);
/* In a forked child: callbacks that were due on another thread. */
void gyre_finalizer_inherit(struct mutator *self, struct mutator *other);
/* Run due finalizers and callbacks of weak references, at the outermost
 * safepoint. True when something ran. */
bool gyre_finalizers_run(struct mutator *self);

/* Sum of all queueing and merging so far: unchanged, nothing moved. */
uint64_t gyre_object_activity(struct gyre_heap *heap);
/* What threads have to merge and release now is waited for: note how far they
 * are; and whether, by their answers to a handshake since, one is not done. The
 * caller holds the collector's lock. */
void gyre_object_await(struct gyre_heap *heap);
bool gyre_object_is_awaited(struct gyre_heap *heap);
/* In a forked child: nobody waits for an object's lock any more. lock.c */
void gyre_lock_after_fork_child(void);
/* In a stop: is anything on its way between threads, or put off on one of
 * the library's own? Other threads' finalizers are theirs to poll for. */
bool gyre_object_is_busy(struct mutator *self);
/* In a forked child: take over what the thread behind `other` left. */
void gyre_object_thread_inherit(struct mutator *self, struct mutator *other);

void gyre_object_statistics(struct gyre_heap *heap,
                            struct gyre_statistics *out);
/* Header invariants of one object, in a stop. */
void gyre_object_check(struct gyre_heap *heap, struct gyre_object *obj);
void gyre_weak_check(struct gyre_heap *heap);

/* ---- src/thread.c ---- */

bool gyre_thread_is_detached(const struct gyre_thread *self);

/* The put-off work of a safepoint, for detached threads' own waits too. */
void gyre_detach_for_wait(struct mutator *self);
void gyre_return_from_wait(struct mutator *self);
/* Attach without a number: one of the library's own threads. */
enum gyre_status gyre_thread_attach_internal(struct gyre_heap *heap,
                                             struct gyre_thread **out);

#endif
