/* A thread's life in a heap: each layer's part of attaching, polling,
 * detaching and leaving, in order. Design: docs/design/threads.md .thread */
#include "../threads/yield.h"
#include "fault.h"
#include "heap.h"
#include "memory/batch.h"

GYRE_THREAD_LOCAL struct gyre_thread *gyre_self;
GYRE_THREAD_LOCAL uint16_t gyre_self_mark = GYRE_RC_NO_THREAD;

/* ---- attach ---- */

static struct participant *
make_mutator(void *arg, uint32_t number)
{
    struct gyre_heap *heap = arg;
    struct mutator *self = gyre_memory_table_new(heap, sizeof *self);
    if (self == NULL)
        return NULL;
    self->fast.heap = heap;
    self->fast.number = number;
    self->part.requests = &self->fast.requests;
    if (number != 0)
        /* release; pairs: mutator_by_number() */
        gyre_store_release(&heap->by_number[number], self);
    return &self->part;
}

static void
become_self(struct mutator *self)
{
    uint32_t number = self->fast.number;
    gyre_self = &self->fast;
    self->report.depth = 0;
    gyre_self_mark = number != 0 ? (uint16_t)number : GYRE_RC_NO_THREAD;
    /* One without a number owns nothing: what it makes is anybody's. */
    self->fast.birth_rc = number != 0
                              ? (uint64_t)number
                              : (uint64_t)rc_shared_of(1, GYRE_RC_MERGED) << 32;
    gyre_memory_thread_init(&self->fast);
    gyre_collector_thread_init(self);
    gyre_object_thread_init(self);
}

static enum gyre_status
attach(struct gyre_heap *heap, bool numbered, struct gyre_thread **out)
{
    struct participant *part;
    *out = NULL;
    if (gyre_self != NULL || heap->lost_in_fork)
        return GYRE_ERR_STATE;
    part = gyre_world_enter(&heap->world, numbered, make_mutator, heap);
    if (part == NULL)
        return GYRE_ERR_NOMEM;
    become_self(mutator_of_part(part));
    *out = gyre_self;
    return GYRE_OK;
}

enum gyre_status
gyre_thread_attach(struct gyre_heap *heap, struct gyre_thread **out)
{
    enum gyre_status status = attach(heap, true, out);
    if (status == GYRE_OK)
        gyre_collector_start(heap);
    return status;
}

enum gyre_status
gyre_thread_attach_internal(struct gyre_heap *heap, struct gyre_thread **out)
{
    return attach(heap, false, out);
}

void
gyre_thread_set_name(struct gyre_thread *self, const char *name)
{
    struct participant *part = &mutator_of(self)->part;
    pthread_mutex_lock(&part->world->lock);
    strncpy(part->name, name, sizeof part->name - 1);
    part->name[sizeof part->name - 1] = '\0';
    pthread_mutex_unlock(&part->world->lock);
}

bool
gyre_thread_is_detached(const struct gyre_thread *self)
{
    const struct mutator *mutator = (const struct mutator *)self;
    /* relaxed: its own thread asks */
    return gyre_load_relaxed(&mutator->part.state) != PART_RUNNING;
}

/* ---- leave ---- */

void
gyre_thread_leave(struct gyre_thread *fast)
{
    struct mutator *self = mutator_of(fast);
    struct gyre_heap *heap;
    struct world *world;
    GYRE_CHECK(fast != NULL && fast == gyre_self,
               "gyre_thread_leave: not this thread's handle");
    if (self->raw) {
        gyre_raw_thread_leave(fast);
        return;
    }
    GYRE_CHECK(!gyre_thread_is_detached(fast),
               "gyre_thread_leave: inside a detached region");
    GYRE_CHECK(self->object.in_callback == 0,
               "gyre_thread_leave: inside a finalizer or callback");
    world = self->part.world;
    heap = fast->heap;
    do {
        gyre_object_thread_leave(self);
        gyre_memory_note_births(&self->fast);
        gyre_collector_note_births(self);
        gyre_collector_leave_births(self);
        gyre_memory_thread_leave(&self->fast);
        gyre_self = NULL;
        gyre_self_mark = GYRE_RC_NO_THREAD;
        gyre_world_leave(&self->part);
        /* What came in since the last drain was pushed by someone who still
         * saw us running: come back for it, unless another did. */
        if (gyre_merge_queue_is_empty(self) || !gyre_world_reenter(&self->part))
            break;
        become_self(self);
    } while (true);
    gyre_scavenger_poll(heap);
    gyre_world_left(world);
}

/* ---- safepoints ---- */

/* Answer what others ask; true when the world was stopped meanwhile. */
static void
answer_requests(struct mutator *self)
{
    uint32_t phase;
    bool asked;
    gyre_merge_publish(self);
    phase = gyre_handshake_phase(&self->part);
    asked = gyre_handshake_asked(&self->part, phase);
    if (FAULT(FAULT_ANNOUNCE_FIRST))
        gyre_handshake_answer(&self->part, phase);
    GYRE_YIELD_POINT("follow");
    gyre_collector_follow(self);
    (void)gyre_memory_limbo_drain(&self->fast);
    gyre_merge_drain_portion(self, asked);
    /* What the dead gave up belongs to this answer. */
    gyre_merge_publish(self);
    memory_pending_flush(&self->fast);
    /* relaxed: the answer orders it */
    gyre_store_relaxed(&self->object.is_behind, gyre_merge_is_behind(self));
    gyre_handshake_answer(&self->part, phase);
    gyre_participant_park(&self->part);
    rcu_member_quiescent(&self->part.rcu);
    gyre_memory_do_asked(&self->fast);
    gyre_memory_settle_others(&self->fast);
}

/* The thread's own put-off work, at the outermost safepoint. */
static void
do_put_off_work(struct mutator *self)
{
    if (self->object.in_callback > 0)
        return;
    gyre_finalizers_run(self);
    gyre_collector_poll(self);
}

static void
check_own_handle(struct gyre_thread *self, const char *operation)
{
    GYRE_CHECK(self == gyre_self, "%s: not this thread's handle", operation);
    GYRE_CHECK(!thread_is_raw(self),
               "%s: this thread is attached for raw memory alone", operation);
}

void
gyre_safepoint_slow(struct gyre_thread *fast)
{
    struct mutator *self = mutator_of(fast);
    uint32_t asked;
    check_own_handle(fast, "gyre_safepoint");
    GYRE_CHECK(!gyre_thread_is_detached(fast),
               "gyre_safepoint: inside a detached region");
    gyre_account_begin(self);
    /* seq_cst; pairs: gyre_participant_request(). A request after this finds
     * the word 0 again and is seen by the next poll; the cause of one before
     * it is looked at below. */
    asked = gyre_exchange_seq_cst(&self->fast.requests, 0);
    GYRE_YIELD_POINT("safepoint");
    answer_requests(self);
    gyre_account_end(self);
    do_put_off_work(self);
    if (gyre_merge_is_behind(self) || self->object.staging != NULL ||
        self->object.pending.count > 0 || self->object.callbacks != NULL ||
        self->object.collect_wanted != 0)
        gyre_participant_request(&self->part, REQUEST_PENDING);
    /* Inside a callback nothing was collected: the outermost safepoint does. */
    if (self->object.in_callback > 0 && (asked & REQUEST_COLLECT))
        gyre_participant_request(&self->part, REQUEST_COLLECT);
}

/* ---- detached regions ---- */

void
gyre_detach_for_wait(struct mutator *self)
{
    for (;;) {
        gyre_merge_publish(self);
        /* Away for who knows how long: nothing is left to portions. */
        if (GYRE_UNLIKELY(gyre_merge_is_behind(self)) &&
            !self->object.cascading) {
            gyre_merge_drain(self);
            gyre_cascade_run(self, true);
            self->object.behind_since_ns = 0;
            continue;
        }
        memory_pending_flush(&self->fast);
        gyre_participant_detach(&self->part);
        /* Pushed by someone who still saw us running: nobody else will. */
        if (GYRE_LIKELY(gyre_merge_queue_is_empty(self)))
            return;
        gyre_return_from_wait(self);
        gyre_merge_drain(self);
        gyre_cascade_run(self, true);
    }
}

void
gyre_return_from_wait(struct mutator *self)
{
    if (GYRE_UNLIKELY(!gyre_participant_try_return(&self->part))) {
        gyre_account_begin(self);
        gyre_participant_wait_to_return(&self->part);
        gyre_account_end(self);
    }
    gyre_collector_follow(self);
    (void)gyre_memory_limbo_drain(&self->fast);
    gyre_memory_do_asked(&self->fast);
}

static bool
has_callbacks_due(const struct mutator *self)
{
    return self->object.in_callback == 0 &&
           (self->object.pending.count > 0 || self->object.callbacks != NULL);
}

void
gyre_detach_begin(struct gyre_thread *fast)
{
    struct mutator *self = mutator_of(fast);
    check_own_handle(fast, "gyre_detach_begin");
    GYRE_CHECK(!gyre_thread_is_detached(fast),
               "gyre_detach_begin: detached already");
    gyre_safepoint(fast);
    for (;;) {
        gyre_detach_for_wait(self);
        /* What the last drain made due would wait for as long as the region
         * lasts: it is done first. */
        if (GYRE_LIKELY(!has_callbacks_due(self)))
            return;
        gyre_return_from_wait(self);
        gyre_safepoint_slow(fast);
    }
}

void
gyre_detach_end(struct gyre_thread *fast)
{
    struct mutator *self = mutator_of(fast);
    check_own_handle(fast, "gyre_detach_end");
    GYRE_CHECK(gyre_thread_is_detached(fast), "gyre_detach_end: not detached");
    gyre_return_from_wait(self);
    gyre_safepoint(fast);
}
