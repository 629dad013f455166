/* What a program does between a proof and the members' being given up:
 * finalizers, weak references, components. Trails of the broken variants of
 * tests/model/prove.pml. */
#include "interleavings/interleavings.h"
#include "interleavings/script.h"

/* ---- between PROVE and FINALIZE ---- */

/* Covers docs/design/concurrent.md .final.take, variant FINALIZED_FIRST: the
 * one member with a finalizer is named again, and its finalizer does not run;
 * the other is a member no more, though nobody touched it. */
void
test_member_named_before_its_finalizer_runs_lives_with_the_rest(void **state)
{
    struct fixture *fx = *state;
    cast_ring(node_new(fx), plain_node_new(fx));
    node_drop(plain_node_new(fx));
    script_plan("finalize", 1, cast_get);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(fixture_finalized(fx), 0);
    assert_ptr_equal(gyre_slot_peek(&cast.named->left), &cast.mate->head);
    script_collect_the_rest(fx);
    assert_int_equal(fixture_finalized(fx), 1);
}

/* Covers docs/design/concurrent.md .final.take: what died meanwhile is not
 * taken, and its finalizer has run. */
void
test_member_that_dies_before_finalizers_run_is_finalized_once(void **state)
{
    struct fixture *fx = *state;
    cast_ring(node_new(fx), node_new(fx));
    script_plan("finalize", 1, cast_get_and_let_it_die);
    script_collect(fx);
    script_collect_the_rest(fx);
    assert_int_equal(fixture_finalized(fx), 2);
}

/* Covers docs/design/concurrent.md .final.take: word 0 of the dead is a link,
 * and no type to ask for a finalizer. */
void
test_member_may_die_before_it_is_asked_for_its_finalizer(void **state)
{
    struct fixture *fx = *state;
    struct node *live = node_new(fx); /* a candidate that has one */
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("list finalizable", 1, cast_get_and_let_it_die);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 1);
    node_drop(live);
    script_collect_the_rest(fx);
}

/* ---- between PROVE and COMMIT ---- */

/* Covers docs/design/concurrent.md .commit.lock, variant FLAGS_ONCE: the other
 * was not touched, and is not given up either. */
void
test_member_named_before_the_lock_keeps_its_component(void **state)
{
    struct fixture *fx = *state;
    struct node *apart = plain_node_new(fx);
    node_link(apart, apart);
    node_drop(apart);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("weak lock", 1, cast_get);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 2); /* without `apart` */
    assert_ptr_equal(gyre_slot_peek(&cast.named->left), &cast.mate->head);
    assert_ptr_equal(gyre_slot_peek(&cast.mate->left), &cast.named->head);
    script_collect_the_rest(fx);
}

/* Covers docs/design/concurrent.md .commit.lock, variant DROP_PART: the member
 * that was touched does not reach the other any more. */
void
test_member_taken_from_one_named_before_the_lock_lives(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("weak lock", 1, cast_get_and_take_mate);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(gyre_reference_count(cast.held), 1);
    script_collect_the_rest(fx);
}

/* Covers docs/design/concurrent.md .prove.parts, variant SECOND_PASS: when
 * components are given up no slot says any more that these two were one. */
void
test_member_taken_after_the_proof_belongs_to_its_component_still(void **state)
{
    struct fixture *fx = *state;
    cast_loop_with_tail(plain_node_new(fx), plain_node_new(fx));
    script_plan("save", 1, cast_get_and_take_mate);
    script_collect(fx);
    /* The loop itself is tried once more .closed, and is garbage. */
    assert_int_equal(fixture_live(fx), 1);
    assert_ptr_equal(cast.held, &cast.mate->head);
    assert_int_equal(gyre_reference_count(cast.held), 1);
    script_collect_the_rest(fx);
}

static struct gyre_type unclearable_type; /* a node that has a `trace` too */

static void
trace_nothing(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    (void)obj;
    edge(NULL, arg);
}

static struct node *
unclearable_new(struct fixture *fx)
{
    struct node *node;
    unclearable_type = plain_node_type;
    unclearable_type.name = "unclearable node";
    unclearable_type.trace = trace_nothing;
    assert_int_equal(gyre_type_ready(&unclearable_type), GYRE_OK);
    node = GYRE_NEW(struct node, &unclearable_type);
    assert_non_null(node);
    node->fx = fx;
    fx->live++;
    return node;
}

/* Covers docs/design/concurrent.md .final.take: nor to ask whether it can be
 * cleared. */
void
test_member_may_die_before_it_is_asked_whether_it_is_to_be_saved(void **state)
{
    struct fixture *fx = *state;
    struct node *live = unclearable_new(fx);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("save", 1, cast_get_and_let_it_die);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 1);
    node_drop(live);
    script_collect_the_rest(fx);
}

/* Covers docs/design/concurrent.md .final.take: the garbage list takes what
 * nobody has named since. */
void
test_member_named_before_it_is_saved_is_no_garbage(void **state)
{
    struct fixture *fx = *state;
    gyre_option_set(fx->heap, GYRE_OPT_GC_SAVE_ALL, 1);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("save", 1, cast_get);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    gyre_option_set(fx->heap, GYRE_OPT_GC_SAVE_ALL, 0);
    while (gyre_garbage_count(fx->heap) > 0) {
        struct gyre_object *saved = gyre_garbage_pop(fx->heap);
        assert_ptr_not_equal(saved, &cast.named->head);
        gyre_decref(saved);
    }
    script_collect_the_rest(fx);
}

/* ---- DYING, and the lock ---- */

static void
get_the_dying(void)
{
    SCRIPT_MUST(gyre_weakref_get(cast.weak) == NULL);
}

/* Covers docs/design/weakref.md .weak, docs/design/cycle.md .cycle.commit,
 * variant WEAK_BLIND: it is named still, and dying. */
void
test_weak_get_of_the_dying_answers_null(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("weak clear", 1, get_the_dying);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 0);
    script_collect_the_rest(fx);
}

static struct {
    uint32_t begin, waits, dead, answered; /* atomic */
    struct gyre_object *got;
} meeting;

/* The other thread: between its look at the target and the lock. */
static void
wait_before_the_lock(void)
{
    script_say(&meeting.waits);
    script_wait(&meeting.dead);
}

static void
get_when_told(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    script_poll_until(self, &meeting.begin);
    script_plan("weak get armed", 1, wait_before_the_lock);
    meeting.got = gyre_weakref_get(cast.weak);
    script_say(&meeting.answered);
}

static void
let_the_other_look(void)
{
    script_say(&meeting.dead);
    script_wait(&meeting.answered);
}

/* The last reference goes while the other waits for the lock. */
static void
let_it_die_meanwhile(void)
{
    struct gyre_object *got = gyre_weakref_get(cast.weak);
    SCRIPT_MUST(got == &cast.named->head);
    gyre_slot_set(&cast.mate->head, &cast.mate->left, NULL);
    script_say(&meeting.begin);
    script_wait(&meeting.waits);
    script_plan("dead, weakly named", 1, let_the_other_look);
    gyre_decref(got);
}

/* Covers docs/design/concurrent.md .commit.get, variant GET_PLAINLY: the
 * target is what it was before the lock was there, and dead. */
void
test_weak_get_that_waited_for_the_lock_does_not_find_the_dead(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    memset(&meeting, 0, sizeof meeting);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    worker_start(&worker, fx, get_when_told, NULL);
    script_plan("prove", 1, let_it_die_meanwhile);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    worker_join(&worker);
    assert_null(meeting.got);
    script_end();
    script_collect_the_rest(fx);
}

static void
come_to_the_lock(void)
{
    script_say(&meeting.waits);
}

static void
get_beside_the_lock(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    script_poll_until(self, &meeting.begin);
    script_plan("weak get armed", 1, come_to_the_lock);
    meeting.got = gyre_weakref_get(cast.weak);
    script_say(&meeting.waits); /* without a lock, as it were */
    script_say(&meeting.answered);
}

/* The lock is held, the flags were looked at: the other gets, or waits. */
static void
have_the_other_get(void)
{
    script_say(&meeting.begin);
    script_wait(&meeting.waits);
}

/* Covers docs/design/concurrent.md .commit.get, variant WEAK_NO_LOCK: nobody
 * takes a member between the look at its flag and DYING. */
void
test_weak_get_waits_while_members_are_given_up(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    memset(&meeting, 0, sizeof meeting);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    worker_start(&worker, fx, get_beside_the_lock, NULL);
    script_plan("commit", 1, have_the_other_get);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    worker_join(&worker);
    script_end();
    assert_null(meeting.got);
    assert_int_equal(fixture_live(fx), 0);
    script_collect_the_rest(fx);
}
