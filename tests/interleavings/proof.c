/* What a program does while a set is armed and proved: trails of the broken
 * variants of tests/model/prove.pml. */
#include "interleavings/interleavings.h"
#include "interleavings/script.h"

/* ---- between PROVE's reads ---- */

/* Covers docs/design/concurrent.md .prove.exact: a member touched after its
 * slots were read. */
void
test_member_named_after_its_slots_were_read_lives(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("flags", 1, cast_get);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(gyre_slot_peek(&cast.named->left), &cast.mate->head);
    assert_ptr_equal(gyre_slot_peek(&cast.mate->left), &cast.named->head);
    script_collect_the_rest(fx);
}

/* Covers docs/design/concurrent.md .prove.exact: what is moved out of a slot
 * changes no count. */
void
test_reference_moved_after_its_slot_was_read_keeps_what_it_names(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("flags", 1, cast_get_and_take_mate);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(gyre_reference_count(cast.held), 1);
    assert_ptr_equal(gyre_slot_peek(&cast.mate->left), &cast.named->head);
    script_collect_the_rest(fx);
}

/* The ring is as before, but for a reference from outside to the one and the
 * other's being moved out and in. */
static void
put_mate_back(void)
{
    gyre_slot_move(&cast.named->head, &cast.named->left, cast.held);
    cast_get();
}

/* The same: out of it while it is read, and in again. */
void
test_reference_that_is_away_for_a_pass_keeps_what_it_names(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("prove", 1, cast_get_and_take_mate);
    script_plan("flags", 1, put_mate_back);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(gyre_slot_peek(&cast.named->left), &cast.mate->head);
    script_collect_the_rest(fx);
}

/* A thread's only reference to an object goes into the object's own slot, and
 * out of it again. */
static void
into_itself(void)
{
    gyre_slot_move(&cast.named->head, &cast.named->left, cast.held);
    cast.held = NULL;
}

static void
out_of_itself(void)
{
    cast.held = gyre_slot_take(&cast.named->head, &cast.named->left);
    SCRIPT_MUST(cast.held == &cast.named->head);
}

/* Covers docs/design/concurrent.md .prove.exact, variants FLAGS_FIRST,
 * NO_TOUCH: its slot explains its count, while it is read. */
void
test_object_that_names_itself_for_a_pass_lives(void **state)
{
    struct fixture *fx = *state;
    cast.named = plain_node_new(fx);
    cast.held = &cast.named->head;
    script_plan("suspect", 1, into_itself); /* so that it is suspected */
    script_plan("arm", 1, out_of_itself);
    script_plan("prove", 1, into_itself);
    script_plan("flags", 1, out_of_itself);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 1);
    assert_int_equal(gyre_reference_count(cast.held), 1);
    assert_null(gyre_slot_peek(&cast.named->left));
    script_collect_the_rest(fx);
}

static void
share_into_itself(void)
{
    SCRIPT_MUST(gyre_slot_exchange_shared(&cast.named->head, &cast.named->left,
                                          cast.held) == NULL);
    cast.held = NULL;
}

static void
share_out_of_itself(void)
{
    cast.held =
        gyre_slot_exchange_shared(&cast.named->head, &cast.named->left, NULL);
    SCRIPT_MUST(cast.held == &cast.named->head);
}

/* Covers docs/design/concurrent.md .prove.exact, object.md .slot.touch,
 * variant MOVE_UNTOUCHED: the same by exchanges, with the empty slot too. */
void
test_object_that_names_itself_by_exchange_for_a_pass_lives(void **state)
{
    struct fixture *fx = *state;
    cast.named = plain_node_new(fx);
    cast.held = &cast.named->head;
    script_plan("suspect", 1, share_into_itself);
    script_plan("arm", 1, share_out_of_itself);
    script_plan("prove", 1, share_into_itself);
    script_plan("flags", 1, share_out_of_itself);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 1);
    assert_int_equal(gyre_reference_count(cast.held), 1);
    script_collect_the_rest(fx);
}

static void
take_mate_of_held(void)
{
    struct gyre_object *mate =
        gyre_slot_take(&cast.named->head, &cast.named->left);
    SCRIPT_MUST(mate == &cast.mate->head);
    gyre_decref(cast.held);
    cast.held = mate;
}

/* Covers docs/design/concurrent.md .prove.exact, variant RESCUE: what the
 * living are seen to reach is not all that they have reached. */
void
test_what_leaves_a_slot_before_it_is_followed_lives(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    script_plan("prove", 1, cast_get);
    script_plan("rescue", 1, take_mate_of_held);
    script_collect(fx);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(gyre_reference_count(cast.held), 1);
    script_collect_the_rest(fx);
}

/* ---- after finalizers ---- */

/* Covers docs/design/concurrent.md .final.again, variant OLD_PROOF: a member
 * that is armed again with the others is not garbage for that. */
void
test_member_named_while_finalizers_run_lives_with_the_rest(void **state)
{
    struct fixture *fx = *state;
    cast_ring(plain_node_new(fx), node_new(fx));
    script_plan("arm", 2, cast_get);
    script_collect(fx);
    assert_int_equal(fixture_finalized(fx), 1);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(gyre_slot_peek(&cast.named->left), &cast.mate->head);
    script_collect_the_rest(fx);
    assert_int_equal(fixture_finalized(fx), 1);
}

static struct {
    uint32_t begin, touched, go, taken, over; /* atomic */
} meeting;

/* Between the touch of the holder and the write of its slot. */
static void
stay_there(void)
{
    script_say(&meeting.touched);
    script_wait(&meeting.go);
}

/* What this thread has of `named` goes into a slot of it; it is borrowed
 * still when its mate is taken out of another. */
static void
take_slowly(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct gyre_object *got;
    (void)fx, (void)arg;
    script_poll_until(self, &meeting.begin);
    got = gyre_weakref_get(cast.weak);
    SCRIPT_MUST(got == &cast.named->head);
    gyre_slot_move(got, &cast.named->right, got);
    script_plan("exchange shared", 1, stay_there);
    cast.held = gyre_slot_exchange_shared(got, &cast.named->left, NULL);
    SCRIPT_MUST(cast.held == &cast.mate->head);
    script_say(&meeting.taken);
    script_poll_until(self, &meeting.over);
}

static void
go_on(void)
{
    script_say(&meeting.go);
}

/* A collector that needs no stop would come there: it is to give up the set
 * with the other's reference in hand. */
static void
have_it_taken(void)
{
    script_say(&meeting.go);
    script_wait(&meeting.taken);
}

static void
begin_to_take(void)
{
    script_say(&meeting.begin);
    script_wait(&meeting.touched);
    script_plan("stop", 1, go_on);
}

/* Covers docs/design/concurrent.md .final.again, variant NO_STOP_AGAIN: who
 * is between touch and write when members are armed again is waited for. */
void
test_members_are_armed_again_between_no_touch_and_its_write(void **state)
{
    struct fixture *fx = *state;
    struct node *finalized = node_new(fx);
    struct worker worker;
    memset(&meeting, 0, sizeof meeting);
    node_link(finalized, finalized);
    node_drop(finalized);
    cast_ring(plain_node_new(fx), plain_node_new(fx));
    worker_start(&worker, fx, take_slowly, NULL);
    script_plan("arm", 2, begin_to_take);
    script_plan("save", 1, have_it_taken);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    script_say(&meeting.over);
    worker_join(&worker);
    assert_int_equal(fixture_finalized(fx), 1);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(gyre_reference_count(cast.held), 1);
    script_end();
    script_collect_the_rest(fx);
}
