/* The header of every object, and its biased reference count.
 * Design: docs/design/object.md .object, docs/design/refcount.md .rc, after
 * [CST18] and PEP 703. */
#ifndef GYRE_OBJECT_H
#define GYRE_OBJECT_H

#include <gyre/atomic.h>
#include <gyre/thread.h>
#include <gyre/type.h>

GYRE_BEGIN_DECLS

/* word 0   type pointer, low 48 bits; above them the GYRE_WORD0_ bits
 * word 1   rc_local   written by the owner alone: its number in the low 16
 *                     bits, above it its count less one
 *          rc_shared  all others: a signed count above seven flags
 *
 * The local half is kept less one so that a decrement that borrows has
 * found the last reference: no compare of its own. A block that is no
 * object has its low bit set in word 0, or word 0 is 0. */
struct gyre_object {
    uint64_t word0;
    uint32_t rc_local;
    uint32_t rc_shared;
};
GYRE_STATIC_ASSERT(sizeof(struct gyre_object) == 16, "two words");

#define GYRE_WORD0_TYPE ((UINT64_C(1) << 48) - 1)
#define GYRE_WORD0_STAMP_SHIFT 48
#define GYRE_WORD0_STAMP (UINT64_C(7) << GYRE_WORD0_STAMP_SHIFT)
#define GYRE_WORD0_TRACKED (UINT64_C(1) << 51)
#define GYRE_WORD0_FINALIZED (UINT64_C(1) << 52)
#define GYRE_WORD0_LOCKED (UINT64_C(1) << 53)
#define GYRE_WORD0_CONTENDED (UINT64_C(1) << 54)

/* Reserved thread numbers in rc_local; 1 to GYRE_RC_LAST_THREAD are threads. */
enum {
    GYRE_RC_NOBODY = 0,
    GYRE_RC_LAST_THREAD = 0xfff0,
    GYRE_RC_NO_THREAD = 0xfffd, /* never in an object: equals no owner */
    GYRE_RC_ARMED = 0xfffe,
    GYRE_RC_IMMORTAL = 0xffff
};
#define GYRE_RC_LOCAL_UNIT (UINT32_C(1) << 16)

enum gyre_rc_flags {
    GYRE_RC_MERGED = 1u << 0,    /* rc_shared is the whole count */
    GYRE_RC_QUEUED = 1u << 1,    /* one of the references is a merge queue's */
    GYRE_RC_IS_ARMED = 1u << 2,  /* unchanged since the collector armed it */
    GYRE_RC_WEAK = 1u << 3,      /* weak references may name it */
    GYRE_RC_PUBLISHED = 1u << 4, /* a shared slot may have named it */
    GYRE_RC_DYING = 1u << 5,     /* proved garbage, being reclaimed */
    GYRE_RC_DEAD = 1u << 6       /* no object any more */
};
#define GYRE_RC_SHARED_SHIFT 7
#define GYRE_RC_SHARED_UNIT (UINT32_C(1) << GYRE_RC_SHARED_SHIFT)

GYRE_INLINE int32_t
gyre_rc_shared_count(uint32_t shared)
{
    return (int32_t)shared >> GYRE_RC_SHARED_SHIFT;
}

GYRE_INLINE const struct gyre_type *
gyre_type_of(const struct gyre_object *obj)
{
    /* relaxed: the type bits never change while the object lives; the bits
     * above them may. */
    uint64_t word0 = gyre_load_relaxed(&obj->word0);
    return (const struct gyre_type *)(uintptr_t)(word0 & GYRE_WORD0_TYPE);
}

/* Out of line: not mine, full, armed. Called by the inline forms only. */
GYRE_API void gyre_incref_slow(struct gyre_object *obj);
GYRE_API void gyre_decref_shared(struct gyre_object *obj);
GYRE_API void gyre_decref_zero(struct gyre_object *obj);
GYRE_API void gyre_check_reference(const struct gyre_object *obj,
                                   const char *operation);

/* Take a reference. The caller has one already, or a borrowed pointer. Any
 * attached thread; cannot fail. Owner: 6 instructions; another thread: one
 * load, one fetch_add. */
GYRE_INLINE void
gyre_incref(struct gyre_object *obj)
{
    uint32_t local, next;
    if (GYRE_CHECKING)
        gyre_check_reference(obj, "incref");
    local = gyre_load_relaxed(&obj->rc_local);
    if (GYRE_LIKELY((uint16_t)local == gyre_self_mark)) {
        if (GYRE_LIKELY(
                !__builtin_add_overflow(local, GYRE_RC_LOCAL_UNIT, &next))) {
            /* relaxed: one writer, so program order suffices. Atomic only so
             * that the collector's and other threads' reads are defined. */
            gyre_store_relaxed(&obj->rc_local, next);
            return;
        }
    } else if ((uint16_t)local == GYRE_RC_IMMORTAL) {
        return;
    }
    gyre_incref_slow(obj);
}

/* Give a reference up; the last one kills the object, and with it what only
 * it referred to, without recursion. Any attached thread; cannot fail. Runs
 * dealloc callbacks, and finalizers of types that finalize promptly; others
 * wait for the next safepoint. Reaches no safepoint itself. */
GYRE_INLINE void
gyre_decref(struct gyre_object *obj)
{
    uint32_t local, next;
    if (GYRE_CHECKING)
        gyre_check_reference(obj, "decref");
    local = gyre_load_relaxed(&obj->rc_local);
    if (GYRE_LIKELY((uint16_t)local == gyre_self_mark)) {
        if (GYRE_LIKELY(
                !__builtin_sub_overflow(local, GYRE_RC_LOCAL_UNIT, &next))) {
            /* relaxed: as in gyre_incref() */
            gyre_store_relaxed(&obj->rc_local, next);
        } else {
            gyre_decref_zero(obj);
        }
    } else if ((uint16_t)local != GYRE_RC_IMMORTAL) {
        gyre_decref_shared(obj);
    }
}

/* Make an object immortal: counts no longer change it, it is never freed but
 * by gyre_heap_destroy(), and what it refers to stays too. The caller has
 * the only reference, just made (GYRE_CHECK in checking builds). */
GYRE_API void gyre_make_immortal(struct gyre_object *obj);

/* Nonzero when the caller's reference is the only one there is: no other
 * thread, slot or weak reference can take another. The owner may then write
 * in place. Answers 0 when in doubt. Any attached thread. */
GYRE_API int gyre_is_unique(const struct gyre_object *obj);

/* The exact number of references, at a moment when no other thread changes
 * it; racy otherwise. -1: immortal. For tests and reports. */
GYRE_API int64_t gyre_reference_count(const struct gyre_object *obj);

/* Late tracking for GYRE_TYPE_TRACK_LATE types, once the body may be traced.
 * The owner, before the object is shared. */
GYRE_API void gyre_track(struct gyre_object *obj);

/* The object's own lock, 2 bits of word 0; not recursive. Waiting for it is
 * a safepoint, so taking it ends borrows. Any attached thread. Design:
 * docs/design/object.md .lock */
GYRE_API void gyre_lock(struct gyre_object *obj);
GYRE_API int gyre_trylock(struct gyre_object *obj);
GYRE_API void gyre_unlock(struct gyre_object *obj);

GYRE_END_DECLS

#endif
