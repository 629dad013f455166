/* Merge queues: references that other threads gave up, on their way to the
 * object's owner, who adds the two halves of its count together.
 *
 * A pusher gathers entries for one owner in a chunk of its own, and
 * publishes the chunk when it is full, for another owner, and before it may
 * be waited for: at safepoints, before it detaches, leaves. A chunk is
 * pushed first, then the owner's state is looked at; an owner that is
 * detached or gone is claimed and its queue drained for it.
 * Design: docs/design/refcount.md .rc.queue .rc.orphan */
#include "../../threads/yield.h"
#include "../fault.h"
#include "../heap.h"

/* Queued objects were written by another processor last: their lines take
 * long to come over, and each merge waits for its own. */
#define FETCH_AHEAD 12

/* ---- one object ---- */

/* The word of a queued object after its halves were added, or, when they
 * were added before, after the queue's reference is gone. */
static uint32_t
without_queue(uint32_t shared, int32_t local_count, int32_t *count)
{
    uint32_t flags =
        rc_flags_of(shared) & ~(uint32_t)(GYRE_RC_QUEUED | GYRE_RC_IS_ARMED);
    *count = gyre_rc_shared_count(shared);
    if (*count < RC_SATURATED)
        *count += local_count - 1;
    return rc_shared_of(*count, flags | GYRE_RC_MERGED);
}

/* The plain case of a hand-over: the queue's reference is the last, and
 * nobody finds the object without one, so its word has no other writer left
 * and no exchange is needed, as in .rc.zero. */
static inline bool
merge_last(struct mutator *worker, struct gyre_object *obj, uint32_t shared,
           int32_t local_count, bool bury)
{
    const uint32_t found = GYRE_RC_WEAK | GYRE_RC_PUBLISHED | GYRE_RC_DYING;
    if (FAULT(FAULT_MERGE_ORDER) ||
        gyre_rc_shared_count(shared) + local_count != 1 ||
        (shared & found) != 0 ||
        (gyre_type_of(obj)->traits & TYPE_FINALIZES) != 0)
        return false;
    /* relaxed: nobody refers to it; a stale reader must find it dead */
    gyre_store_relaxed((gyre_word *)&obj->rc_local, RC_DEAD_WORD);
    if (!bury || !gyre_cascade_bury_plain(worker, obj))
        gyre_cascade_defer(worker, obj);
    return true;
}

/* Merge `obj`, which was popped from its owner's queue, or whose entry was
 * lost. The caller speaks for the owner; what dies goes to `worker`. */
static void
merge_halves(struct mutator *worker, struct gyre_object *obj, bool bury)
{
    uint32_t local = gyre_load_relaxed(&obj->rc_local);
    /* acquire; pairs: gyre_decref_shared(). For merge_last(): what those did
     * who gave their references up happened before the object dies. */
    uint32_t shared = gyre_load_acquire(&obj->rc_shared);
    uint32_t next;
    int32_t local_count = 0, count;
    bool finalize = false, asked = false;
    GYRE_CHECK(shared & GYRE_RC_QUEUED,
               "merge: object %p came out of a queue and is not queued",
               (void *)obj);
    /* It may have been merged since, by its owner's last local reference:
     * then only the queue's reference goes (CPython issue 152276). */
    if (!(shared & GYRE_RC_MERGED) && rc_owner_is_thread(local)) {
        local_count = rc_local_count(local);
        if (merge_last(worker, obj, shared, local_count, bury))
            return;
        if (!FAULT(FAULT_MERGE_ORDER))
            /* release; pairs: gyre_decref_shared(). As in
             * give_up_ownership(): before the merged word can be seen. */
            gyre_store_release(&obj->rc_local, GYRE_RC_NOBODY);
    }
    GYRE_YIELD_POINT("merge halves");
    do {
        next = without_queue(shared, local_count, &count);
        if (count == 0 && !asked) {
            asked = true;
            finalize = (gyre_type_of(obj)->traits & TYPE_FINALIZES) != 0 &&
                       gyre_finalizer_claim(obj);
        }
        if (finalize)
            next = rc_shared_of(count + 1, rc_flags_of(next));
        else if (count == 0)
            next = GYRE_RC_DEAD | (shared & GYRE_RC_WEAK);
        GYRE_CHECK(count >= 0, "merge: %s object %p has a count below zero",
                   gyre_type_of(obj)->name, (void *)obj);
        /* acq_rel; pairs: gyre_decref_shared() */
    } while (!gyre_cas_weak_acq_rel(&obj->rc_shared, &shared, next));
    if (FAULT(FAULT_MERGE_ORDER) && local_count != 0 && !finalize) {
        GYRE_YIELD_POINT("merge order fault");
        gyre_store_relaxed(&obj->rc_local, GYRE_RC_NOBODY);
    }
    if (finalize)
        gyre_finalizer_push(worker, obj);
    else if (count == 0)
        gyre_cascade_defer(worker, obj);
}

/* ---- chunks ---- */

static struct queue_chunk *
chunk_new(struct mutator *self)
{
    struct queue_chunk *chunk = self->object.spare;
    if (chunk != NULL)
        self->object.spare = NULL;
    else
        chunk = gyre_memory_raw_alloc(&self->fast, sizeof *chunk);
    if (chunk != NULL) {
        chunk->next = NULL;
        chunk->count = 0;
    }
    return chunk;
}

static void
chunk_done(struct mutator *self, struct queue_chunk *chunk)
{
    if (self->object.spare == NULL)
        self->object.spare = chunk;
    else
        gyre_mem_free(chunk);
}

static void
merge_chunk(struct mutator *worker, struct queue_chunk *chunk, bool bury)
{
    for (size_t i = 0; i < FETCH_AHEAD && i < chunk->count; i++)
        __builtin_prefetch(chunk->entries[i], 1);
    for (size_t i = 0; i < chunk->count; i++) {
        if (i + FETCH_AHEAD < chunk->count)
            __builtin_prefetch(chunk->entries[i + FETCH_AHEAD], 1);
        merge_halves(worker, chunk->entries[i], bury);
    }
    count_more(&worker->object.counters.merges, chunk->count);
    chunk_done(worker, chunk);
}

/* For others, under a claim or in a stop: objects are only merged. How many. */
static uint64_t
merge_all_for(struct mutator *worker, struct queue_chunk **list)
{
    uint64_t merged = 0;
    worker->object.merging_for++;
    while (*list != NULL) {
        struct queue_chunk *chunk = *list;
        *list = chunk->next;
        merged += chunk->count;
        merge_chunk(worker, chunk, false);
    }
    worker->object.merging_for--;
    return merged;
}

static struct queue_chunk *
queue_take(struct mutator *owner)
{
    /* relaxed first: most looks find nothing, and a push that this misses
     * has set the owner's request. */
    if (gyre_load_relaxed(&owner->object.queue) == NULL)
        return NULL;
    /* seq_cst; pairs: queue_push(). The chunks' contents are visible. Takes
     * all, so no ABA. */
    return gyre_exchange_seq_cst(&owner->object.queue, NULL);
}

static void
queue_push(struct mutator *owner, struct queue_chunk *chunk)
{
    struct queue_chunk *head = gyre_load_relaxed(&owner->object.queue);
    do {
        chunk->next = head;
        GYRE_YIELD_POINT("queue push");
        /* seq_cst; pairs: queue_take(), gyre_merge_look_again(). Before our
         * look at the owner's state. */
    } while (!gyre_cas_seq_cst(&owner->object.queue, &head, chunk));
}

bool
gyre_merge_queue_is_empty(struct mutator *self)
{
    /* seq_cst; pairs: queue_push(). After the state was published. */
    return gyre_load_seq_cst(&self->object.queue) == NULL;
}

bool
gyre_merge_is_behind(const struct mutator *self)
{
    return self->object.taken != NULL || !gyre_cascade_is_empty(self);
}

/* Drain the queue of one who can't, for as long as entries come in. */
static void
drain_absent(struct mutator *self, struct mutator *owner)
{
    bool rest = !gyre_cascade_is_empty(self);
    while (!gyre_merge_queue_is_empty(owner) &&
           gyre_participant_claim(&owner->part)) {
        gyre_merge_drain_for(self, owner);
        gyre_participant_release(&owner->part);
        /* and look again: who pushed while we held the claim has left */
        if (FAULT(FAULT_RELEASE_BLINDLY))
            break;
    }
    gyre_cascade_run_behind(self, rest);
}

void
gyre_merge_publish(struct mutator *self)
{
    struct queue_chunk *chunk;
    /* Until nothing is staged: draining for an absent owner may release
     * objects of others. */
    while ((chunk = self->object.staging) != NULL) {
        struct mutator *owner = self->object.staging_for;
        self->object.staging = NULL;
        self->object.staging_for = NULL;
        queue_push(owner, chunk);
        gyre_participant_request(&owner->part, REQUEST_MERGE);
        drain_absent(self, owner);
    }
}

/* No memory for an entry: the object keeps QUEUED and the reference, and the
 * collector's next stop finds it by its page. A decref never fails. */
static void
note_lost(struct mutator *self, struct gyre_object *obj)
{
    struct object_heap *heap = &self->fast.heap->object;
    /* relaxed: read in a stop */
    gyre_store_relaxed(&page_of(obj)->lost_queue, 1);
    gyre_store_relaxed(&heap->lost_queued, 1);
    gyre_collector_ask(self->fast.heap, GYRE_GEN_YOUNG);
}

void
gyre_merge_lose(struct mutator *self, struct gyre_object *obj)
{
    /* relaxed: the reference stays what it was, whoever counts it */
    if (gyre_fetch_or_relaxed(&obj->rc_shared, GYRE_RC_QUEUED) & GYRE_RC_QUEUED)
        gyre_decref(obj); /* a queue has one already: ours is not the last */
    else
        note_lost(self, obj);
}

void
gyre_merge_queue(struct mutator *self, struct gyre_object *obj, uint32_t number)
{
    struct mutator *owner = mutator_by_number(self->fast.heap, number);
    struct object_thread *mine = &self->object;
    GYRE_CHECK(owner != NULL, "decref: object %p has owner %u, who is nobody",
               (void *)obj, number);
    count_one(&mine->counters.queued);
    if (GYRE_UNLIKELY(mine->finding_lost)) {
        note_lost(self, obj);
        return;
    }
    if (mine->staging_for != owner ||
        mine->staging->count == QUEUE_CHUNK_ENTRIES) {
        gyre_merge_publish(self);
        mine->staging = chunk_new(self);
        if (mine->staging == NULL) {
            note_lost(self, obj);
            return;
        }
        mine->staging_for = owner;
        /* so that the next poll publishes what is left of it */
        gyre_participant_request(&self->part, REQUEST_PENDING);
    }
    mine->staging->entries[mine->staging->count++] = obj;
}

/* Merge what was taken off the own queue; what dies is released chunk by
 * chunk, while it is in the cache. True: there was none, or it is done. */
static bool
merge_taken(struct mutator *self, bool all, uint64_t until_ns)
{
    struct object_thread *mine = &self->object;
    for (;;) {
        struct queue_chunk *chunk = mine->taken;
        gyre_cascade_run_until(self, all, until_ns);
        if (!gyre_cascade_is_empty(self))
            return false;
        if (chunk == NULL)
            return true;
        if (until_ns != 0 && gyre_clock_ns() >= until_ns)
            return false;
        mine->taken = chunk->next;
        merge_chunk(self, chunk, true);
    }
}

/* The queue, once what was taken off it before is done. False: it is empty. */
static bool
take_next(struct mutator *self)
{
    struct object_thread *mine = &self->object;
    /* relaxed: one writer. Read after an answer to a handshake. */
    gyre_store_relaxed(&mine->lists_done,
                       gyre_load_relaxed(&mine->lists_done) + 1);
    mine->taken = queue_take(self);
    return mine->taken != NULL;
}

void
gyre_merge_drain(struct mutator *self)
{
    if (merge_taken(self, true, 0) && take_next(self))
        (void)merge_taken(self, true, 0);
}

/* A thread that is behind and polls seldom takes longer portions, as long as
 * the program ran since the last up to this, and all of them grow with the time
 * for which it has been behind, by so much of it: or others could hand over
 * more than it keeps up with. */
#define PORTION_MOST_NS 250000u
#define PORTION_GROWTH 400u

static uint64_t
portion_ns(const struct object_thread *mine, uint64_t now)
{
    uint64_t since;
    if (mine->behind_since_ns == 0)
        return PORTION_NS;
    since = now - mine->portion_ended_ns;
    if (since < PORTION_NS)
        since = PORTION_NS;
    if (since > PORTION_MOST_NS)
        since = PORTION_MOST_NS;
    return since + (now - mine->behind_since_ns) / PORTION_GROWTH;
}

void
gyre_merge_drain_portion(struct mutator *self, bool asked)
{
    struct object_thread *mine = &self->object;
    bool due, done;
    uint64_t now, until;
    if (GYRE_LIKELY(!gyre_merge_is_behind(self)))
        mine->behind_since_ns = 0;
    /* relaxed: as in queue_take() */
    due = mine->taken != NULL || gyre_load_relaxed(&mine->queue) != NULL;
    if (GYRE_LIKELY(!due && gyre_cascade_is_empty(self)))
        return;
    now = gyre_clock_ns();
    until = now + portion_ns(mine, now);
    /* What a queue brings may be more than cascade.budget lets go. */
    do
        done = merge_taken(self, asked || due, until);
    while (done && take_next(self));
    if (done)
        return;
    if (mine->behind_since_ns == 0)
        mine->behind_since_ns = now;
    mine->portion_ended_ns = gyre_clock_ns();
    gyre_participant_request(&self->part, REQUEST_PENDING);
}

void
gyre_merge_drain_for(struct mutator *self, struct mutator *other)
{
    struct queue_chunk *chunk = queue_take(other);
    uint64_t merged;
    if (FAULT(FAULT_QUEUE_ENTRY_LOST) && chunk != NULL && chunk->count > 0 &&
        gyre_load_relaxed(&other->part.claimed_from) == PART_GONE)
        chunk->count--;
    merged = merge_all_for(self, &other->object.taken);
    merged += merge_all_for(self, &chunk);
    if (merged > 0)
        count_more(&self->object.counters.merges_by_proxy, merged);
}

void
gyre_merge_look_again(struct mutator *self, struct mutator *worker)
{
    drain_absent(worker, self);
}

void
gyre_merge_drain_of(struct mutator *self, struct mutator *other)
{
    struct queue_chunk *staged = other->object.staging;
    other->object.staging = NULL;
    other->object.staging_for = NULL;
    (void)merge_all_for(self, &staged);
    gyre_merge_drain_for(self, other);
}

/* In a stop: every chunk, published or not, and every put-off cascade. */
void
gyre_merge_drain_all(struct mutator *self)
{
    struct participant *part;
again:
    /* acquire; pairs: list_participant() */
    for (part = gyre_load_acquire(&self->fast.heap->world.participants);
         part != NULL; part = part->next) {
        struct mutator *other = mutator_of_part(part);
        gyre_merge_drain_of(self, other);
        /* What the dead that wait still refer to would look alive. */
        if (other != self && !other->object.cascading &&
            !gyre_cascade_is_empty(other)) {
            self->object.merging_for++;
            gyre_cascade_take_over(self, other);
            self->object.merging_for--;
        }
    }
    /* Linking the dead may have given up, and so queued, one more. */
    if (self->object.staging != NULL)
        goto again;
}

static void
find_lost_in_page(struct page *page, void *arg)
{
    struct mutator *self = arg;
    if (gyre_load_relaxed(&page->lost_queue) == 0)
        return;
    gyre_store_relaxed(&page->lost_queue, 0);
    for (uint32_t i = 0; i < page->fresh; i++) {
        struct gyre_object *obj =
            (struct gyre_object *)(page->blocks +
                                   (size_t)i * page->fast.block_size);
        if (!word0_is_object(gyre_load_relaxed(&obj->word0)))
            continue;
        uint32_t shared = gyre_load_relaxed(&obj->rc_shared);
        if ((shared & GYRE_RC_QUEUED) == 0)
            continue;
        if (shared & GYRE_RC_DEAD) {
            /* relaxed: ours; found once, however long it waits */
            gyre_store_relaxed(&obj->rc_shared,
                               shared & ~(uint32_t)GYRE_RC_QUEUED);
            gyre_cascade_defer(self, obj);
        } else
            merge_halves(self, obj, false);
    }
}

void
gyre_merge_find_lost(struct mutator *self)
{
    struct gyre_heap *heap = self->fast.heap;
    if (gyre_load_relaxed(&heap->object.lost_queued) == 0)
        return;
    gyre_store_relaxed(&heap->object.lost_queued, 0);
    self->object.merging_for++;
    /* QUEUED says that a reference is a queue's, not which: an entry made
     * now, for what the dead found here referred to, would be found as lost
     * and merged a second time. */
    self->object.finding_lost = true;
    gyre_memory_each_page(heap,
                          (1u << GYRE_PAGE_CONTAINER) | (1u << GYRE_PAGE_LEAF),
                          find_lost_in_page, self);
    self->object.finding_lost = false;
    self->object.merging_for--;
}
