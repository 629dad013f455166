/* Who waits for whom, and who does whose work: handshakes, queues of those
 * that are away, lock waiters. Trails of the broken variants of
 * tests/model/open.pml, queue.pml and world.pml. */
#include "interleavings/interleavings.h"
#include "interleavings/script.h"

#include <sched.h>

#include "heap.h"

static struct {
    uint32_t begin, made, dropped, waits, closed, over; /* atomic */
    struct gyre_object *first, *second; /* of the owner's, references ours */
    struct gate away;
    const struct fixture *owner_fx;
} meeting;

static void
meet(void)
{
    memset(&meeting, 0, sizeof meeting);
    meeting.away = (struct gate)GATE_INIT;
}

/* Gives a reference up when it is told to, and has it known. */
static void
drop_when_told(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct gyre_object **ref = arg;
    (void)fx;
    script_poll_until(self, &meeting.begin);
    gyre_decref(*ref);
    gyre_safepoint(self);
    script_say(&meeting.dropped);
    script_poll_until(self, &meeting.over);
}

static void
have_it_dropped(void)
{
    script_say(&meeting.begin);
    script_wait(&meeting.dropped);
}

/* ---- OPEN's handshake ---- */

static GYRE_THREAD_LOCAL bool announced;

static void
begin_to_answer(void)
{
    announced = false;
}

static void
note_answer(void)
{
    announced = true;
}

/* A thread that has said already that it drained its queue, and has not. */
static void
be_slow_to_follow(void)
{
    if (announced)
        script_wait(&meeting.closed);
}

/* Makes a ring of its own, one of which another has the last reference to
 * from outside. */
static void
own_a_ring(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct node *a = plain_node_new(fx), *b = plain_node_new(fx);
    const uint32_t *phase = &fx->heap->world.phase;
    uint32_t before;
    (void)arg;
    node_link(a, b);
    node_link(b, a);
    node_drop(b);
    meeting.first = &a->head;
    script_say(&meeting.made);
    script_poll_until(self, &meeting.waits);
    /* OPEN's last handshake is next: what is queued meanwhile waits for it */
    script_plan("safepoint", 0, begin_to_answer);
    script_plan("answer", 0, note_answer);
    script_plan("follow", 0, be_slow_to_follow);
    before = gyre_load_relaxed(phase);
    script_say(&meeting.begin);
    while (gyre_load_relaxed(phase) == before)
        sched_yield();
    script_poll_until(self, &meeting.over);
}

/* The last of OPEN's handshakes, by which limbo is on. */
static void
before_a_handshake(void)
{
    const struct gyre_heap *heap = gyre_thread_self()->heap;
    if (gyre_load_relaxed(&heap->memory.limbo_stamps) == 0) {
        script_plan("shake", 1, before_a_handshake);
        return;
    }
    script_say(&meeting.waits);
    script_wait(&meeting.dropped);
}

static void
have_closed(void)
{
    script_say(&meeting.closed);
}

/* Covers docs/design/concurrent.md .open.shake, variant ANNOUNCE_FIRST: what
 * was queued when the last handshake began is merged when it ends, so that
 * the queue's reference keeps nothing alive. */
void
test_queue_is_drained_before_its_owner_answers(void **state)
{
    struct fixture *fx = *state;
    struct worker owner, other;
    meet();
    worker_start(&owner, fx, own_a_ring, NULL);
    script_poll_until(fx->self, &meeting.made);
    worker_start(&other, fx, drop_when_told, &meeting.first);
    script_plan("shake", 1, before_a_handshake);
    script_plan("close", 1, have_closed);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    script_say(&meeting.over);
    worker_join(&owner);
    worker_join(&other);
    script_end();
}

/* ---- the queue of one that is away ---- */

static void
make_two_and_go_away(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)self, (void)arg;
    meeting.first = &plain_node_new(fx)->head;
    meeting.second = &plain_node_new(fx)->head;
    script_say(&meeting.made);
    gate_wait(&meeting.away);
}

/* Both were merged, and are dead. */
static void
after_publishing(void)
{
    SCRIPT_MUST(fixture_live(meeting.owner_fx) == 0);
}

/* Covers docs/design/refcount.md .rc.queue, variant RELEASE_BLINDLY: an entry
 * pushed under somebody's claim is seen by who had the claim, before anything
 * else may have a look at it. */
void
test_entry_pushed_under_a_claim_is_merged_by_the_claimant(void **state)
{
    struct fixture *fx = *state;
    struct worker owner, other;
    meet();
    worker_start(&owner, fx, make_two_and_go_away, NULL);
    script_poll_until(fx->self, &meeting.made);
    while (gyre_load_relaxed(
               &mutator_by_number(fx->heap, meeting.first->rc_local & 0xffff)
                    ->part.state) != PART_DETACHED)
        gyre_safepoint(fx->self);
    worker_start(&other, fx, drop_when_told, &meeting.second);
    meeting.owner_fx = fx;
    script_plan("release", 1, have_it_dropped);
    script_plan("follow", 1, after_publishing);
    gyre_decref(meeting.first);
    gyre_safepoint(fx->self);
    script_end();
    assert_int_equal(fixture_live(fx), 0);
    gate_open(&meeting.away);
    script_say(&meeting.over);
    worker_join(&owner);
    worker_join(&other);
}

/* ---- a lock's waiter ---- */

static void
come_to_wait(void)
{
    script_say(&meeting.waits);
}

static void
lock_it(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)self;
    script_plan("lock wait", 1, come_to_wait);
    gyre_lock(arg);
    gyre_unlock(arg);
}

/* Covers docs/design/threads.md .thread.stop, docs/design/object.md .lock,
 * variant WAITER_RUNS: its holder has the world stopped. */
void
test_world_stops_while_a_thread_waits_for_a_lock(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct worker worker;
    meet();
    gyre_lock(&node->head);
    worker_start(&worker, fx, lock_it, node);
    script_poll_until(fx->self, &meeting.waits);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gyre_unlock(&node->head);
    worker_join(&worker);
    script_end();
    node_drop(node);
}
