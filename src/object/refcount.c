/* Biased reference counts off the fast path: another thread's objects, full
 * counts, last references, armed objects.
 * Design: docs/design/refcount.md .rc, after [CST18] and PEP 703 */
#include <sched.h>

#include "../../threads/yield.h"
#include "../fault.h"
#include "../heap.h"

static const char *
type_name(const struct gyre_object *obj)
{
    const struct gyre_type *type = gyre_type_of(obj);
    return type != NULL ? type->name : "(no type)";
}

/* A shared count went over RC_SATURATED: it stays there, a leak and never a
 * use after free. Its type is named in the statistics. */
static GYRE_COLD void
saturate(struct gyre_object *obj)
{
    struct object_heap *heap = &gyre_self->heap->object;
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    /* relaxed: only the value matters, and any later one is stuck as well */
    while (!gyre_cas_weak_relaxed(
        &obj->rc_shared, &shared,
        rc_shared_of(RC_STUCK, rc_flags_of(shared) & ~GYRE_RC_IS_ARMED)))
        ;
    if (gyre_rc_shared_count(shared) < RC_STUCK) {
        gyre_fetch_add_relaxed(&heap->saturated, 1);
        gyre_store_relaxed(&heap->saturated_type, gyre_type_of(obj));
    }
}

/* .rc.spill: half of a full local count moves to the shared one. */
static GYRE_NOINLINE void
spill(struct mutator *self, struct gyre_object *obj, uint32_t local)
{
    const uint32_t half = 1u << 15;
    /* relaxed: an increment publishes nothing. The count is too high for a
     * moment, never too low. */
    uint32_t shared =
        gyre_fetch_add_relaxed(&obj->rc_shared, half * GYRE_RC_SHARED_UNIT);
    gyre_store_relaxed(&obj->rc_local, local - (half - 1) * GYRE_RC_LOCAL_UNIT);
    count_one(&self->object.counters.spills);
    if (gyre_rc_shared_count(shared) + (int32_t)half >= RC_SATURATED)
        saturate(obj);
}

/* On an armed object the flag goes with the same exchange that changes the
 * count, or the collector could see one without the other. .rc.one_load */
static GYRE_NOINLINE void
incref_armed(struct gyre_object *obj)
{
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    if (gyre_rc_shared_count(shared) >= RC_SATURATED - 1) {
        saturate(obj);
        return;
    }
    /* relaxed: the flag and the count are one word; where the new reference
     * goes, the release of that store orders it .rc.one_load */
    while (!gyre_cas_weak_relaxed(&obj->rc_shared, &shared,
                                  (shared & ~(uint32_t)GYRE_RC_IS_ARMED) +
                                      GYRE_RC_SHARED_UNIT))
        ;
    if (gyre_rc_shared_count(shared) >= RC_SATURATED - 1)
        saturate(obj);
}

void
gyre_incref_slow(struct gyre_object *obj)
{
    uint32_t local = gyre_load_relaxed(&obj->rc_local);
    uint32_t owner = local & 0xffff;
    if (GYRE_UNLIKELY(owner == gyre_self_mark)) {
        spill(mutator_of(gyre_self), obj, local);
    } else if (GYRE_UNLIKELY(owner == GYRE_RC_ARMED)) {
        incref_armed(obj);
    } else {
        GYRE_YIELD_POINT("incref shared");
        if (FAULT_DUE(FAULT_INCREF_LEFT_OUT, 1024))
            return;
        /* relaxed: the caller's own reference keeps the object alive, and an
         * increment publishes nothing. Not armed: arming happens in a stop,
         * and no safepoint lies between the load above and this. */
        uint32_t shared =
            gyre_fetch_add_relaxed(&obj->rc_shared, GYRE_RC_SHARED_UNIT);
        if (GYRE_UNLIKELY(gyre_rc_shared_count(shared) >= RC_SATURATED - 1))
            saturate(obj);
    }
}

/* ---- the last reference ---- */

/* Is a finalizer to run first? It takes the reference over: then nothing is
 * to be decremented. The first to set FINALIZED wins, so it runs once. */
static bool
finalizer_is_first(struct gyre_object *obj, const struct gyre_type *type)
{
    if (GYRE_LIKELY((type->traits & TYPE_FINALIZES) == 0))
        return false;
    return gyre_finalizer_claim(obj);
}

/* Owner only: its last local reference goes, and the shared half is not
 * plainly zero. Becomes nobody's; the halves become one word. .rc.zero */
static void
give_up_ownership(struct mutator *self, struct gyre_object *obj,
                  const struct gyre_type *type)
{
    bool finalize = false;
    uint32_t shared, next;
    int32_t count;
    /* release; pairs: gyre_decref_shared(). Before the merged word can be
     * seen: a thread that still reads us as owner would queue to us an
     * object that we might have freed (CPython issue 119999). */
    gyre_store_release(&obj->rc_local, GYRE_RC_NOBODY);
    GYRE_YIELD_POINT("nobody, not merged");
    /* acquire; pairs: gyre_decref_shared() */
    shared = gyre_load_acquire(&obj->rc_shared);
    do {
        count = gyre_rc_shared_count(shared);
        if (count == 0 && !finalize)
            finalize = finalizer_is_first(obj, type);
        GYRE_CHECK(count >= 0, "decref: %s object %p has a count below zero",
                   type->name, (void *)obj);
        if (finalize)
            next =
                rc_shared_of(count + 1, rc_flags_of(shared) | GYRE_RC_MERGED);
        else if (count == 0)
            next = GYRE_RC_DEAD | (shared & GYRE_RC_WEAK);
        else
            next = shared | GYRE_RC_MERGED;
        /* acq_rel; pairs: gyre_decref_shared(). What others did with their
         * references happened before we free; what we did, before they do. */
    } while (!gyre_cas_weak_acq_rel(&obj->rc_shared, &shared, next));
    if (finalize)
        gyre_finalizer_push(self, obj);
    else if (count == 0)
        gyre_cascade_bury(self, obj);
}

/* The last local reference of an object that is not plain, or that others
 * have a word in. `shared` was loaded with acquire. */
static GYRE_NOINLINE void
decref_zero_slow(struct gyre_object *obj, uint32_t shared)
{
    struct mutator *self = mutator_of(gyre_self);
    const struct gyre_type *type = gyre_type_of(obj);
    if (gyre_rc_shared_count(shared) == 0 && finalizer_is_first(obj, type)) {
        gyre_finalizer_push(self, obj);
    } else if (shared == 0) {
        /* relaxed: a stray reader of this word needs a defined value */
        gyre_store_relaxed((gyre_word *)&obj->rc_local, RC_DEAD_WORD);
        gyre_cascade_push(self, obj);
    } else {
        give_up_ownership(self, obj, type);
    }
}

void
gyre_decref_zero(struct gyre_object *obj)
{
    /* acquire; pairs: gyre_decref_shared(). Exactly 0: no other reference,
     * no flag, so nobody can come by one, and what others did to the object
     * before they gave theirs up happened before this. */
    uint32_t shared = gyre_load_acquire(&obj->rc_shared);
    if (GYRE_LIKELY(shared == 0 &&
                    object_dies_plainly(obj, gyre_type_of(obj)))) {
        object_check_end(obj, "decref");
        /* relaxed: as in decref_zero_slow() */
        gyre_store_relaxed((gyre_word *)&obj->rc_local, RC_DEAD_WORD);
        memory_block_free(gyre_self, obj);
    } else {
        decref_zero_slow(obj, shared);
    }
}

/* What a decrement by another thread makes of a word. */
enum decrement { DECREMENT_PLAIN, DECREMENT_KILLS, DECREMENT_QUEUES };

static enum decrement
decremented(const struct gyre_object *obj, uint32_t shared, uint32_t *next)
{
    int32_t count = gyre_rc_shared_count(shared);
    uint32_t flags = rc_flags_of(shared) & ~(uint32_t)GYRE_RC_IS_ARMED;
    if (flags & GYRE_RC_MERGED) {
        GYRE_CHECK(count > 0, "decref: %s object %p has no reference left",
                   type_name(obj), (const void *)obj);
        if (count == 1 && !(flags & GYRE_RC_DYING)) {
            *next = GYRE_RC_DEAD | (flags & GYRE_RC_WEAK);
            return DECREMENT_KILLS;
        }
    } else if (count <= 0 && !(flags & GYRE_RC_QUEUED)) {
        /* not subtracted: the reference is the queue's from here. .rc.queue */
        *next = rc_shared_of(count, flags | GYRE_RC_QUEUED);
        return DECREMENT_QUEUES;
    }
    *next = rc_shared_of(count - 1, flags);
    return DECREMENT_PLAIN;
}

static inline bool
exchange_decremented(struct gyre_object *obj, uint32_t *shared, uint32_t next)
{
    if (FAULT(FAULT_RELEASE_RELAXED))
        return gyre_cas_weak_relaxed(&obj->rc_shared, shared, next);
    /* acq_rel; pairs: gyre_decref_zero(), give_up_ownership(),
     * merge_halves() */
    return gyre_cas_weak_acq_rel(&obj->rc_shared, shared, next);
}

/* All that a decrement by another thread may meet. */
static GYRE_NOINLINE void
decref_shared_slow(struct gyre_object *obj)
{
    struct mutator *self = mutator_of(gyre_self);
    uint32_t local, shared, next;
    enum decrement effect;
    unsigned spins = 0;
    bool asked = false;
again:
    /* The owner first, then the shared half: an owner that gives up writes
     * them in this order, so a stale number comes with a word that its CAS
     * has not changed yet, and ours before it is seen by it. */
    local = gyre_load_relaxed(&obj->rc_local);
    shared = gyre_load_relaxed(&obj->rc_shared);
    do {
        GYRE_CHECK(!(shared & GYRE_RC_DEAD),
                   "decref: %s object %p is dead already", type_name(obj),
                   (void *)obj);
        if (gyre_rc_shared_count(shared) >= RC_SATURATED)
            return;
        if ((local & 0xffff) == GYRE_RC_NOBODY && !(shared & GYRE_RC_MERGED)) {
            /* its owner is between its two steps */
            if (++spins > 64)
                sched_yield();
            goto again;
        }
        effect = decremented(obj, shared, &next);
        if (effect == DECREMENT_KILLS && !asked) {
            asked = true;
            if (finalizer_is_first(obj, gyre_type_of(obj))) {
                gyre_finalizer_push(self, obj);
                return;
            }
        }
        GYRE_YIELD_POINT("decref shared");
        /* What this thread did to the object happened before whoever frees
         * it; and if that is us, what others did. */
    } while (!exchange_decremented(obj, &shared, next));
    if (effect == DECREMENT_KILLS)
        gyre_cascade_bury(self, obj);
    else if (effect == DECREMENT_QUEUES)
        gyre_merge_queue(self, obj, local & 0xffff);
}

void
gyre_decref_shared(struct gyre_object *obj)
{
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    int32_t count = gyre_rc_shared_count(shared);
    if (FAULT_DUE(FAULT_DECREF_TWICE, 1024)) {
        decref_shared_slow(obj);
        shared = gyre_load_relaxed(&obj->rc_shared);
        count = gyre_rc_shared_count(shared);
    }
    /* The plain case by itself: the shared half has one to give, and it is
     * not the last of a merged word. Whose the other half is doesn't matter
     * then: the same exchange would be made for any owner. */
    if (GYRE_LIKELY(count > (int32_t)(shared & GYRE_RC_MERGED) &&
                    count < RC_SATURATED) &&
        GYRE_LIKELY(exchange_decremented(obj, &shared,
                                         (shared - GYRE_RC_SHARED_UNIT) &
                                             ~(uint32_t)GYRE_RC_IS_ARMED)))
        return;
    decref_shared_slow(obj);
}

/* ---- references from uncounted pointers ---- */

bool
gyre_try_incref(struct gyre_object *obj)
{
    uint32_t local = gyre_load_relaxed(&obj->rc_local);
    uint32_t owner = local & 0xffff, shared;
    /* Ours: alive, since only we could have ended it. */
    if (owner == gyre_self_mark || owner == GYRE_RC_IMMORTAL) {
        gyre_incref(obj);
        return true;
    }
    shared = gyre_load_relaxed(&obj->rc_shared);
    do {
        if (((shared & (GYRE_RC_DEAD | GYRE_RC_DYING)) != 0 ||
             (shared & (GYRE_RC_WEAK | GYRE_RC_PUBLISHED)) == 0) &&
            !(FAULT(FAULT_WEAK_BLIND) && (shared & GYRE_RC_DYING)))
            return false;
        if (GYRE_UNLIKELY(gyre_rc_shared_count(shared) >= RC_SATURATED))
            return true; /* stuck: it is not to climb until it overflows */
        GYRE_YIELD_POINT("try_incref");
        if (FAULT(FAULT_ARMED_TWO_STEPS) && (shared & GYRE_RC_IS_ARMED) &&
            gyre_cas_weak_relaxed(&obj->rc_shared, &shared,
                                  shared + GYRE_RC_SHARED_UNIT)) {
            for (unsigned i = 0; i < 64; i++)
                sched_yield();
            gyre_fetch_and_relaxed(&obj->rc_shared,
                                   ~(uint32_t)GYRE_RC_IS_ARMED);
            return true;
        }
        /* acquire; pairs: gyre_set_rc_flag(). The body is visible as it was
         * when it could first be named. Never a fetch_add: the block may
         * have become another object's. .rc.try */
    } while (!gyre_cas_weak_acquire(&obj->rc_shared, &shared,
                                    (shared & ~(uint32_t)GYRE_RC_IS_ARMED) +
                                        GYRE_RC_SHARED_UNIT));
    return true;
}

void
gyre_set_rc_flag(struct gyre_object *obj, uint32_t flag)
{
    if (gyre_load_relaxed(&obj->rc_shared) & flag)
        return;
    if ((gyre_load_relaxed(&obj->rc_local) & 0xffff) == GYRE_RC_IMMORTAL)
        return;
    memory_note_stale_readers(obj);
    /* acq_rel; pairs: gyre_try_incref(). The body and the page's note are
     * visible to whoever takes a reference by this flag. */
    gyre_fetch_or_acq_rel(&obj->rc_shared, flag);
}

/* ---- questions ---- */

void
gyre_make_immortal(struct gyre_object *obj)
{
    GYRE_ASSERT(gyre_is_unique(obj));
    if (GYRE_VALGRIND)
        memory_kept(obj, gyre_object_bytes(obj, gyre_type_of(obj)));
    /* relaxed, both: the caller has the only reference and publishes it */
    gyre_store_relaxed(&obj->rc_shared, 0);
    gyre_store_relaxed(&obj->rc_local, GYRE_RC_IMMORTAL);
}

int
gyre_is_unique(const struct gyre_object *obj)
{
    uint32_t local = gyre_load_relaxed(&obj->rc_local);
    /* acquire; pairs: gyre_decref_shared(). What those did who gave their
     * references up happened before the caller writes in place. */
    uint32_t shared = gyre_load_acquire(&obj->rc_shared);
    if ((local & 0xffff) == gyre_self_mark)
        return local >> 16 == 0 && shared == 0;
    return (local & 0xffff) == GYRE_RC_NOBODY &&
           shared == rc_shared_of(1, GYRE_RC_MERGED);
}

int64_t
gyre_object_count(const struct gyre_object *obj)
{
    uint32_t local = gyre_load_relaxed(&obj->rc_local);
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    int64_t count = gyre_rc_shared_count(shared);
    if (shared & GYRE_RC_DEAD)
        return 0;
    if (!(shared & GYRE_RC_MERGED) && rc_owner_is_thread(local))
        count += rc_local_count(local);
    return count;
}

int64_t
gyre_reference_count(const struct gyre_object *obj)
{
    uint32_t owner = gyre_load_relaxed(&obj->rc_local) & 0xffff;
    int32_t shared = gyre_rc_shared_count(gyre_load_relaxed(&obj->rc_shared));
    if (owner == GYRE_RC_IMMORTAL || shared >= RC_SATURATED)
        return -1;
    return gyre_object_count(obj);
}

void
gyre_track(struct gyre_object *obj)
{
    GYRE_ASSERT(gyre_type_of(obj)->traits & TYPE_TRACKED);
    /* acq_rel, for the release; pairs: count_page(). The body that may be
     * traced is visible to who finds it tracked; nobody else looks into it. */
    gyre_fetch_or_acq_rel(&obj->word0, GYRE_WORD0_TRACKED);
}

void
gyre_check_reference(const struct gyre_object *obj, const char *operation)
{
    uint64_t word0;
    uint32_t local, shared;
    GYRE_CHECK(gyre_self != NULL, "%s of %p: this thread is not attached",
               operation, (const void *)obj);
    GYRE_CHECK(!thread_is_raw(gyre_self),
               "%s of %p: this thread is attached for raw memory alone",
               operation, (const void *)obj);
    GYRE_CHECK(!gyre_thread_is_detached(gyre_self),
               "%s of %p: this thread is in a detached region", operation,
               (const void *)obj);
    word0 = gyre_load_relaxed(&obj->word0);
    GYRE_CHECK(word0_is_object(word0), "%s of %p: that is no object", operation,
               (const void *)obj);
    local = gyre_load_relaxed(&obj->rc_local);
    shared = gyre_load_relaxed(&obj->rc_shared);
    GYRE_CHECK(!(shared & GYRE_RC_DEAD), "%s of %p: the %s object is dead",
               operation, (const void *)obj, type_name(obj));
    GYRE_CHECK((local & 0xffff) != GYRE_RC_NO_THREAD,
               "%s of %p: the %s object's header is overwritten", operation,
               (const void *)obj, type_name(obj));
}

void
gyre_object_check_end(const struct gyre_object *obj, const char *operation)
{
    const struct gyre_type *type = gyre_type_of(obj);
    size_t bytes = gyre_object_bytes(obj, type);
    size_t found = gyre_guard_object_overrun(obj, bytes);
    char who[GUARD_NAME_BYTES];
    if (found != 0)
        gyre_fatal("%s of %p: the %s object of %lu bytes was overrun: byte %lu "
                   "is 0x%02x; in %s",
                   operation, (const void *)obj, type->name,
                   (unsigned long)bytes, (unsigned long)found,
                   ((const unsigned char *)obj)[found], gyre_guard_thread(who));
}

void
gyre_object_check(struct gyre_heap *heap, struct gyre_object *obj)
{
    uint32_t local = gyre_load_relaxed(&obj->rc_local);
    uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
    uint32_t owner = local & 0xffff;
    (void)heap;
    if (shared & GYRE_RC_DEAD || owner == GYRE_RC_IMMORTAL)
        return;
    GYRE_CHECK(gyre_type_of(obj)->traits & TYPE_READY,
               "check: object %p has type %s, which is not ready", (void *)obj,
               type_name(obj));
    GYRE_CHECK(owner <= GYRE_RC_LAST_THREAD || owner == GYRE_RC_ARMED,
               "check: %s object %p has owner %u", type_name(obj), (void *)obj,
               owner);
    GYRE_CHECK((shared & GYRE_RC_MERGED) == 0 || !rc_owner_is_thread(local),
               "check: %s object %p is merged and has owner %u", type_name(obj),
               (void *)obj, owner);
    GYRE_CHECK((shared & GYRE_RC_MERGED) != 0 || rc_owner_is_thread(local),
               "check: %s object %p is nobody's and not merged", type_name(obj),
               (void *)obj);
    GYRE_CHECK(gyre_object_count(obj) > 0 || (shared & GYRE_RC_DYING),
               "check: %s object %p lives with count %ld", type_name(obj),
               (void *)obj, (long)gyre_object_count(obj));
    object_check_end(obj, "check");
}
