/* Attached threads ("mutators"), their safepoints and detached regions.
 * Design: docs/design/threads.md .thread */
#ifndef GYRE_THREAD_H
#define GYRE_THREAD_H

#include <gyre/atomic.h>
#include <gyre/status.h>

GYRE_BEGIN_DECLS

struct gyre_heap;
struct gyre_page;

/* Page kinds times size classes: see <gyre/alloc.h>. */
#define GYRE_SIZE_CLASSES 72
#define GYRE_PAGE_KINDS 3
#define GYRE_ALLOC_INDEXES (GYRE_SIZE_CLASSES * GYRE_PAGE_KINDS)

/* An owner that no page has. */
#define GYRE_FREES_NOWHERE ((struct gyre_thread *)(uintptr_t)1)

/* The part of a thread's record that inline code uses. The rest lies behind
 * it and is the library's own. */
struct gyre_thread {
    /* any thread, atomic */
    uint32_t requests; /* not 0: the next poll takes the slow path */
    uint32_t number;   /* const while attached; 0: without one */
    /* owner only; the collector in a stop */
    uint64_t birth_rc;    /* word 1 of a new object */
    uint64_t birth_stamp; /* its age in word 0 */
    /* The pages this thread frees into without further thought are those
     * whose owner equals this: itself, or GYRE_FREES_NOWHERE while dead
     * blocks go to limbo. One compare asks both questions. */
    struct gyre_thread *frees_to;
    struct gyre_heap *heap; /* const while attached */
    uint64_t link_secret;   /* const while attached: see gyre_link_store() */
    struct gyre_page *current[GYRE_ALLOC_INDEXES];
};

/* The calling OS thread's record, NULL when not attached, and the number its
 * objects carry in rc_local (GYRE_RC_NO_THREAD when it has none). */
extern GYRE_API GYRE_THREAD_LOCAL struct gyre_thread *gyre_self;
extern GYRE_API GYRE_THREAD_LOCAL uint16_t gyre_self_mark;

/* Attach the calling OS thread, so that it may touch objects of `heap`.
 *   heap   must outlive the handle
 *   out    receives the handle: owned by this thread, not to be shared
 * GYRE_OK; GYRE_ERR_NOMEM; GYRE_ERR_STATE when already attached, or in a
 * forked child when the heap's threads did not stop for the fork. After an
 * error `*out` is NULL and the thread may try again.
 * Any thread. Waits while the world is stopped. One lock, 8 KiB per thread.
 * Not async-signal-safe. Design: docs/design/threads.md .thread */
GYRE_API enum gyre_status gyre_thread_attach(struct gyre_heap *heap,
                                             struct gyre_thread **out);

/* Attach the calling OS thread for raw memory alone (gyre_mem_*): it touches
 * no object, has no safepoints and is waited for by nobody. Otherwise as
 * above. Leave by gyre_thread_leave(). Design: docs/design/threads.md
 * .thread.raw */
GYRE_API enum gyre_status gyre_thread_attach_raw(struct gyre_heap *heap,
                                                 struct gyre_thread **out);

/* Leave the heap: queues are drained, pending finalizers run, pages are left
 * for others to adopt, objects to the thread's number. The handle is dead
 * afterwards. The owner alone, outside detached regions and finalizers. */
GYRE_API void gyre_thread_leave(struct gyre_thread *self);

/* A name for reports, copied, at most 31 bytes. The owner alone. */
GYRE_API void gyre_thread_set_name(struct gyre_thread *self, const char *name);

GYRE_INLINE struct gyre_thread *
gyre_thread_self(void)
{
    return gyre_self;
}

GYRE_API void gyre_safepoint_slow(struct gyre_thread *self);

/* Between two safepoints a thread may hold borrowed pointers; across one it
 * may not. Here it may be stopped, and its put-off work is done: merges,
 * finalizers, callbacks of weak references. The owner alone. */
GYRE_INLINE void
gyre_safepoint(struct gyre_thread *self)
{
    /* relaxed: a hint. A stale zero costs one poll interval, nothing else. */
    if (GYRE_UNLIKELY(gyre_load_relaxed(&self->requests) != 0))
        gyre_safepoint_slow(self);
}

/* Bracket a blocking call: between the two the thread touches no object, and
 * nobody waits for it. `begin` ends borrows. `end` waits while the world is
 * stopped. The owner alone; regions do not nest (GYRE_CHECK). At most 60 ns
 * a pair. Design: docs/design/threads.md .thread.detach */
GYRE_API void gyre_detach_begin(struct gyre_thread *self);
GYRE_API void gyre_detach_end(struct gyre_thread *self);

GYRE_END_DECLS

#endif
