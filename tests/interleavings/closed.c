/* Sets that weak gets keep from being proved, and that are closed for that.
 * Trails of the variants CLOSED of tests/model/prove.pml. */
#include <string.h>

#include "interleavings/interleavings.h"
#include "interleavings/script.h"

static struct {
    uint32_t begin, waits;   /* atomic */
    struct gyre_object *got; /* the other's, until it is joined */
} meeting;

static void
get_and_drop(void)
{
    struct gyre_object *got = gyre_weakref_get(cast.weak);
    SCRIPT_MUST(got == &cast.named->head);
    gyre_decref(got);
}

/* In the first proof, and when it is tried once more. */
static void
plan_to_keep_it_from_being_proved(void)
{
    script_plan("flags", 1, get_and_drop);
    script_plan("flags", 3, get_and_drop);
}

/* Covers docs/design/concurrent.md .closed: what weak gets touch again and
 * again, and let go of, is collected in the same cycle. */
void
test_set_that_weak_gets_keep_touching_is_collected(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    plan_to_keep_it_from_being_proved();
    script_collect(fx);
    script_end();
    assert_int_equal(fixture_live(fx), 0);
    assert_null(gyre_weakref_get(cast.weak));
}

/* The same with a finalizer, which runs once, with the set open. */
void
test_set_that_is_closed_is_finalized_once(void **state)
{
    struct fixture *fx = *state;
    cast_ring(node_new(fx), plain_node_new(fx));
    plan_to_keep_it_from_being_proved();
    script_collect(fx);
    script_end();
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), 1);
}

static void
bring_back_named(struct node *node)
{
    (void)node;
    if (cast.held == NULL)
        cast.held = gyre_weakref_get(cast.weak);
}

/* Covers docs/design/concurrent.md .closed: what its finalizer brings back
 * lives. */
void
test_set_that_is_closed_can_be_brought_back(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), node_new(fx));
    fx->on_finalize = bring_back_named;
    plan_to_keep_it_from_being_proved();
    script_collect(fx);
    script_end();
    assert_ptr_equal(cast.held, &cast.named->head);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(gyre_slot_peek(&cast.named->left), &cast.mate->head);
    script_collect_the_rest(fx);
    assert_int_equal(fixture_finalized(fx), 1);
}

static void
say_that_it_waits(void)
{
    script_say(&meeting.waits);
}

static void
get_closed(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    script_poll_until(self, &meeting.begin);
    script_plan("weak get armed", 1, say_that_it_waits);
    meeting.got = gyre_weakref_get(cast.weak);
}

static void
have_the_other_get(void)
{
    script_say(&meeting.begin);
    script_wait(&meeting.waits);
}

/* Covers docs/design/concurrent.md .closed: a weak get of a member waits for
 * what becomes of it. */
void
test_weak_get_of_a_closed_set_finds_nothing(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    memset(&meeting, 0, sizeof meeting);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    worker_start(&worker, fx, get_closed, NULL);
    plan_to_keep_it_from_being_proved();
    script_plan("closed", 1, have_the_other_get);
    script_collect(fx);
    worker_join(&worker);
    script_end();
    assert_null(meeting.got);
    assert_int_equal(fixture_live(fx), 0);
}

static void
get_and_keep(void)
{
    cast.held = gyre_weakref_get(cast.weak);
    SCRIPT_MUST(cast.held == &cast.named->head);
}

/* Covers docs/design/concurrent.md .closed: a set that lives after all is
 * found by who has waited. */
void
test_weak_get_of_what_was_closed_in_vain_finds_it(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    memset(&meeting, 0, sizeof meeting);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    worker_start(&worker, fx, get_closed, NULL);
    script_plan("flags", 1, get_and_drop);
    script_plan("flags", 3, get_and_keep);
    script_plan("closed", 1, have_the_other_get);
    script_collect(fx);
    worker_join(&worker);
    script_end();
    assert_ptr_equal(meeting.got, &cast.named->head);
    assert_int_equal(fixture_live(fx), 2);
    gyre_decref(meeting.got);
    script_collect_the_rest(fx);
}
