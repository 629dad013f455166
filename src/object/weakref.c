/* Weak references: which ones name an object lies in a table of the heap, so
 * that objects have no word for it.
 * Design: docs/design/weakref.md .weak .rc.try */
#include "weakref.h"

#include "../../threads/yield.h"
#include "../fault.h"
#include "../heap.h"

static void weakref_dealloc(struct gyre_object *obj);

static struct gyre_type weakref_type = {
    .name = "weakref",
    .size = sizeof(struct gyre_weakref),
    .flags = GYRE_TYPE_LEAF,
    .dealloc = weakref_dealloc,
};
static pthread_once_t weakref_type_once = PTHREAD_ONCE_INIT;

static void
make_weakref_type(void)
{
    gyre_type_ready(&weakref_type);
}

/* ---- the table ---- */

/* The collector may have it, for as long as a component has weakly referenced
 * members: that is waited for on its account. */
static void
lock_shard(struct weak_shard *shard)
{
    struct mutator *self = mutator_of(gyre_self);
    if (pthread_mutex_trylock(&shard->lock) == 0)
        return;
    gyre_account_begin(self);
    pthread_mutex_lock(&shard->lock);
    gyre_account_end(self);
}

static uint64_t
hash_address(const void *address)
{
    return ((uint64_t)(uintptr_t)address >> 4) * UINT64_C(0x9e3779b97f4a7c15);
}

static struct weak_shard *
shard_of(struct gyre_heap *heap, const void *target)
{
    return &heap->object.weak[hash_address(target) >> 60];
}

static struct gyre_weakref **
bucket_of(const struct weak_shard *shard, const void *target)
{
    return &shard->buckets[(hash_address(target) >> 20) &
                           (shard->bucket_count - 1)];
}

/* Double the table when it is full. The lock is held. */
static bool
make_room(struct gyre_heap *heap, struct weak_shard *shard)
{
    struct gyre_weakref **old = shard->buckets, **buckets;
    size_t old_count = shard->bucket_count;
    size_t count = old_count == 0 ? 256 : old_count * 4;
    if (shard->entries < old_count)
        return true;
    buckets = gyre_memory_table_new(heap, count * sizeof *buckets);
    if (buckets == NULL)
        return old_count > 0; /* longer chains will do */
    shard->buckets = buckets;
    shard->bucket_count = count;
    for (size_t i = 0; i < old_count; i++) {
        while (old[i] != NULL) {
            struct gyre_weakref *ref = old[i];
            struct gyre_weakref **bucket = bucket_of(shard, ref->target);
            old[i] = ref->next;
            ref->next = *bucket;
            *bucket = ref;
        }
    }
    if (old != NULL)
        gyre_memory_table_delete(heap, old, old_count * sizeof *old);
    return true;
}

/* Take `ref` out of its chain. The lock is held. */
static void
unlink_ref(struct weak_shard *shard, struct gyre_weakref *ref,
           const void *target)
{
    struct gyre_weakref **at = bucket_of(shard, target);
    while (*at != ref)
        at = &(*at)->next;
    *at = ref->next;
    shard->entries--;
}

static void
weakref_dealloc(struct gyre_object *obj)
{
    struct gyre_weakref *ref = (struct gyre_weakref *)obj;
    struct gyre_heap *heap = gyre_self->heap;
    struct weak_shard *shard;
    /* acquire; pairs: gyre_weak_clear(). NULL: nobody else touches this any
     * more. Else an address only, to find the lock; read again under it. */
    struct gyre_object *target = gyre_load_acquire(&ref->target);
    if (target == NULL)
        return;
    shard = shard_of(heap, target);
    lock_shard(shard);
    if (gyre_load_relaxed(&ref->target) != NULL)
        unlink_ref(shard, ref, target);
    pthread_mutex_unlock(&shard->lock);
}

/* ---- the target's death ---- */

uint32_t
gyre_weak_shard(struct gyre_heap *heap, const struct gyre_object *obj)
{
    return (uint32_t)(shard_of(heap, obj) - heap->object.weak);
}

void
gyre_weak_clear_locked(struct mutator *self, struct gyre_object *obj,
                       bool callbacks)
{
    struct weak_shard *shard = shard_of(self->fast.heap, obj);
    struct gyre_weakref **at, *ref;
    at = shard->bucket_count > 0 ? bucket_of(shard, obj) : NULL;
    while (at != NULL && (ref = *at) != NULL) {
        if (ref->target != obj) {
            at = &ref->next;
            continue;
        }
        *at = ref->next;
        shard->entries--;
        /* One with a callback is PUBLISHED, so it can be held here although
         * its last counted reference may be going at this moment. */
        if (ref->callback != NULL && callbacks && gyre_try_incref(&ref->head)) {
            ref->due = self->object.callbacks;
            self->object.callbacks = &ref->head;
        }
        GYRE_YIELD_POINT("weak clear");
        /* release; pairs: gyre_weakref_get(), weakref_dealloc(). Before the
         * block can be freed: a reader that still takes a reference finds its
         * source changed. And last: a dying weak reference that finds NULL
         * here does not wait for us. */
        gyre_store_release(&ref->target, NULL);
    }
    if (self->object.callbacks != NULL)
        gyre_participant_request(&self->part, REQUEST_PENDING);
}

void
gyre_weak_clear(struct mutator *self, struct gyre_object *obj, bool callbacks)
{
    struct weak_shard *shard = shard_of(self->fast.heap, obj);
    lock_shard(shard);
    gyre_weak_clear_locked(self, obj, callbacks);
    pthread_mutex_unlock(&shard->lock);
}

/* ---- the interface ---- */

enum gyre_status
gyre_weakref_new(struct gyre_object *target, gyre_weakref_fn callback,
                 void *arg, struct gyre_object **out)
{
    struct gyre_weakref *ref, **bucket;
    struct gyre_heap *heap;
    struct weak_shard *shard;
    bool room;
    *out = NULL;
    if (GYRE_CHECKING)
        gyre_check_reference(target, "gyre_weakref_new");
    heap = gyre_self->heap;
    shard = shard_of(heap, target);
    pthread_once(&weakref_type_once, make_weakref_type);
    ref = GYRE_NEW(struct gyre_weakref, &weakref_type);
    if (ref == NULL)
        return GYRE_ERR_NOMEM;
    ref->callback = callback;
    ref->arg = arg;
    if (callback != NULL)
        gyre_set_rc_flag(&ref->head, GYRE_RC_PUBLISHED);
    /* before the table names it, and while the caller's reference keeps its
     * killer away .rc.try */
    gyre_set_rc_flag(target, GYRE_RC_WEAK);
    lock_shard(shard);
    room = make_room(heap, shard);
    if (room) {
        /* release; pairs: gyre_weakref_get() */
        gyre_store_release(&ref->target, target);
        bucket = bucket_of(shard, target);
        ref->next = *bucket;
        *bucket = ref;
        shard->entries++;
    }
    pthread_mutex_unlock(&shard->lock);
    if (!room) {
        gyre_decref(&ref->head);
        return GYRE_ERR_NOMEM;
    }
    *out = &ref->head;
    return GYRE_OK;
}

/* The collector has armed the target: between its look at the flag and DYING
 * it holds the shard's lock, so a reference taken under that is seen by the
 * look or finds the target gone. .commit.get */
static GYRE_NOINLINE struct gyre_object *
get_armed(struct gyre_heap *heap, struct gyre_weakref *ref,
          struct gyre_object *target)
{
    struct weak_shard *shard = shard_of(heap, target);
    bool taken;
    GYRE_YIELD_POINT("weak get armed");
    lock_shard(shard);
    /* relaxed: written under the lock. Unchanged: not freed. */
    taken = gyre_load_relaxed(&ref->target) == target &&
            (FAULT(FAULT_GET_PLAINLY) ? (gyre_incref_slow(target), true)
                                      : gyre_try_incref(target));
    pthread_mutex_unlock(&shard->lock);
    return taken ? target : NULL;
}

struct gyre_object *
gyre_weakref_get(struct gyre_object *weakref)
{
    struct gyre_weakref *ref = (struct gyre_weakref *)weakref;
    struct mutator *self = mutator_of(gyre_self);
    struct gyre_object *target;
    if (GYRE_CHECKING) {
        gyre_check_reference(weakref, "gyre_weakref_get");
        GYRE_CHECK(gyre_is_weakref(weakref),
                   "gyre_weakref_get: %p is no weak reference",
                   (void *)weakref);
    }
    /* acquire; pairs: gyre_weak_clear(), gyre_weakref_new() */
    target = gyre_load_acquire(&ref->target);
    if (target == NULL)
        return NULL;
    GYRE_YIELD_POINT("weak get");
    /* acquire; pairs: become_dying(). It is armed in stops alone, and no
     * safepoint lies between this and what follows; armed no more it is
     * proved by nobody, or DYING for us too. */
    if (GYRE_UNLIKELY((gyre_load_acquire(&target->rc_local) & 0xffff) ==
                      GYRE_RC_ARMED) &&
        !FAULT(FAULT_WEAK_NO_LOCK)) {
        target = get_armed(gyre_self->heap, ref, target);
        if (target == NULL)
            count_one(&self->object.counters.weak_gets_refused);
        return target;
    }
    if (gyre_try_incref(target)) {
        /* acquire; pairs: gyre_weak_clear(). Unchanged: what we took a
         * reference to is what was named, and it is alive. */
        if (gyre_load_acquire(&ref->target) == target)
            return target;
        gyre_decref(target); /* another object, in the same block */
    }
    count_one(&self->object.counters.weak_gets_refused);
    return NULL;
}

int
gyre_is_weakref(const struct gyre_object *obj)
{
    return gyre_type_of(obj) == &weakref_type;
}

/* ---- a heap's life ---- */

enum gyre_status
gyre_object_heap_init(struct gyre_heap *heap)
{
    for (unsigned i = 0; i < WEAK_SHARDS; i++)
        pthread_mutex_init(&heap->object.weak[i].lock, NULL);
    return GYRE_OK;
}

void
gyre_object_heap_destroy(struct gyre_heap *heap)
{
    for (unsigned i = 0; i < WEAK_SHARDS; i++) {
        struct weak_shard *shard = &heap->object.weak[i];
        pthread_mutex_destroy(&shard->lock);
        if (shard->buckets != NULL)
            gyre_memory_table_delete(heap, shard->buckets,
                                     shard->bucket_count *
                                         sizeof *shard->buckets);
    }
}

void
gyre_weak_check(struct gyre_heap *heap)
{
    for (unsigned i = 0; i < WEAK_SHARDS; i++) {
        struct weak_shard *shard = &heap->object.weak[i];
        size_t found = 0;
        for (size_t b = 0; b < shard->bucket_count; b++) {
            struct gyre_weakref *ref = shard->buckets[b];
            for (; ref != NULL; ref = ref->next, found++) {
                GYRE_CHECK(bucket_of(shard, ref->target) == &shard->buckets[b],
                           "weak table: %p is in a wrong bucket", (void *)ref);
                GYRE_CHECK((ref->target->rc_shared & GYRE_RC_WEAK) ||
                               (ref->target->rc_local & 0xffff) ==
                                   GYRE_RC_IMMORTAL,
                           "weak table: target %p of %p is not WEAK",
                           (void *)ref->target, (void *)ref);
            }
        }
        GYRE_CHECK(found == shard->entries,
                   "weak table: shard %u has %lu entries, %lu counted", i,
                   (unsigned long)found, (unsigned long)shard->entries);
    }
}
