/* Biased counts, one object at a time. */
#include "support/fixture.h"

#include <object/object.h>

/* ---- helpers: another thread that does one thing ---- */

static void
take_reference(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    (void)self;
    gyre_incref(arg);
}

static void
give_reference(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    (void)self;
    gyre_decref(arg);
}

static void
on_another_thread(struct fixture *fx, worker_fn body, void *arg)
{
    struct worker worker;
    worker_start(&worker, fx, body, arg);
    worker_join(&worker);
}

static void
make_in_place(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)self;
    *(struct node **)arg = plain_node_new(fx);
}

/* ---- the owner ---- */

/* Covers docs/design/refcount.md .rc: the owner's references are counted, and
 * the last one that goes takes the object with it, at once. */
static void
test_owner_counts_and_last_reference_kills(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    assert_int_equal(gyre_reference_count(&node->head), 1);
    gyre_incref(&node->head);
    gyre_incref(&node->head);
    assert_int_equal(gyre_reference_count(&node->head), 3);
    gyre_decref(&node->head);
    gyre_decref(&node->head);
    assert_int_equal(fixture_live(fx), 1);
    gyre_decref(&node->head);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/refcount.md .rc.spill: a full local half moves half of
 * itself to the shared one; no reference is lost on the way. */
static void
test_full_local_count_spills(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct gyre_statistics before, after;
    const int many = 200000;
    gyre_statistics_get(fx->heap, &before);
    for (int i = 0; i < many; i++)
        gyre_incref(&node->head);
    gyre_statistics_get(fx->heap, &after);
    assert_true(after.spills >= before.spills + 3);
    assert_int_equal(gyre_reference_count(&node->head), many + 1);
    for (int i = 0; i < many; i++)
        gyre_decref(&node->head);
    assert_int_equal(gyre_reference_count(&node->head), 1);
    assert_int_equal(fixture_live(fx), 1);
    gyre_decref(&node->head);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/refcount.md .rc.zero: when the owner gives its last
 * local reference up and others remain, the object becomes nobody's and
 * merged, and lives until the last of them goes. */
static void
test_owner_leaves_an_object_that_others_hold(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    on_another_thread(fx, take_reference, node);
    assert_int_equal(gyre_reference_count(&node->head), 2);
    gyre_decref(&node->head);
    assert_int_equal(fixture_live(fx), 1);
    assert_int_equal(node->head.rc_local & 0xffff, GYRE_RC_NOBODY);
    assert_true(node->head.rc_shared & GYRE_RC_MERGED);
    assert_int_equal(gyre_reference_count(&node->head), 1);
    on_another_thread(fx, give_reference, node);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- other threads ---- */

/* Covers docs/design/refcount.md .rc.one_load: another thread's references
 * go to the shared half and cancel there, without a queue. */
static void
test_another_threads_pair_leaves_the_local_half_alone(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct gyre_statistics statistics;
    uint32_t local = node->head.rc_local;
    on_another_thread(fx, take_reference, node);
    on_another_thread(fx, give_reference, node);
    assert_int_equal(node->head.rc_local, local);
    assert_int_equal(gyre_reference_count(&node->head), 1);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.queued, 0);
    node_drop(node);
}

/* Covers docs/design/refcount.md .rc.queue: the owner's last reference, given
 * up by another thread, is not subtracted but queued, and the owner's next
 * safepoint frees the object. */
static void
test_reference_given_away_is_queued_and_merged(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct gyre_statistics statistics;
    on_another_thread(fx, give_reference, node);
    gyre_safepoint(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.queued, 1);
    assert_int_equal(statistics.merges, 1);
}

/* Covers docs/design/refcount.md .rc.orphan: objects of a thread that left
 * are merged by whoever gives their references up. */
static void
test_objects_of_a_thread_that_left_die_by_proxy(void **state)
{
    struct fixture *fx = *state;
    struct node *node = NULL;
    struct gyre_statistics statistics;
    on_another_thread(fx, make_in_place, &node);
    assert_int_equal(gyre_reference_count(&node->head), 1);
    gyre_decref(&node->head);
    gyre_safepoint(fx->self);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.merges_by_proxy, 1);
}

/* ---- immortal, saturated, unique ---- */

/* Covers docs/design/refcount.md .rc.immortal: an immortal object's words are
 * never written, by whichever thread, and it is not freed by counts or by
 * collections. */
static void
test_immortal_object_is_never_written(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx), *held = plain_node_new(fx);
    uint32_t local, shared;
    gyre_slot_move(&node->head, &node->left, &held->head);
    gyre_make_immortal(&node->head);
    assert_int_equal(gyre_reference_count(&node->head), -1);
    local = node->head.rc_local;
    shared = node->head.rc_shared;
    for (int i = 0; i < 10; i++)
        gyre_decref(&node->head);
    gyre_incref(&node->head);
    on_another_thread(fx, give_reference, node);
    on_another_thread(fx, take_reference, node);
    assert_int_equal(node->head.rc_local, local);
    assert_int_equal(node->head.rc_shared, shared);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers docs/design/refcount.md .rc.spill: a shared count that is full is
 * stuck for ever: a leak that statistics name, never a use after free. */
static void
test_full_shared_count_is_stuck_and_its_type_named(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct gyre_statistics statistics;
    /* as if eight million references had been taken one by one */
    node->head.rc_shared = rc_shared_of(RC_SATURATED - 1, 0);
    on_another_thread(fx, take_reference, node);
    assert_int_equal(gyre_reference_count(&node->head), -1);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.saturated, 1);
    assert_string_equal(statistics.saturated_type, "plain node");
    for (int i = 0; i < 10; i++)
        on_another_thread(fx, give_reference, node);
    for (int i = 0; i < 1000; i++)
        gyre_incref(&node->head);
    for (int i = 0; i < 1001; i++)
        gyre_decref(&node->head);
    for (int i = 0; i < 10; i++)
        gyre_decref(&node->head);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 1);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers docs/design/refcount.md .rc.spill: the owner's spill saturates the
 * shared half as well. */
static void
test_spill_into_a_full_shared_count_sticks(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct gyre_statistics statistics;
    node->head.rc_shared = rc_shared_of(RC_SATURATED - 1000, 0);
    for (int i = 0; i < 70000; i++)
        gyre_incref(&node->head);
    assert_int_equal(gyre_reference_count(&node->head), -1);
    for (int i = 0; i < 200000; i++)
        gyre_decref(&node->head);
    assert_int_equal(fixture_live(fx), 1);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.saturated, 1);
}

/* Covers docs/design/refcount.md .rc.spill .rc.try: references that weak gets
 * take on a stuck count do not make it climb until it overflows. */
static void
test_weak_gets_of_a_stuck_object_do_not_overflow_it(void **state)
{
    struct fixture *fx = *state;
    struct node *node = NULL;
    struct gyre_object *weak;
    on_another_thread(fx, make_in_place, &node); /* not ours: shared half */
    assert_int_equal(gyre_weakref_new(&node->head, NULL, NULL, &weak), GYRE_OK);
    node->head.rc_shared = rc_shared_of(RC_STUCK, GYRE_RC_WEAK);
    for (int i = 0; i < 100; i++) {
        struct gyre_object *got = gyre_weakref_get(weak);
        assert_ptr_equal(got, &node->head);
        gyre_decref(got);
    }
    assert_int_equal(gyre_rc_shared_count(node->head.rc_shared), RC_STUCK);
    gyre_decref(weak);
}

/* Covers docs/design/refcount.md .rc.try: a count of one proves uniqueness
 * only without PUBLISHED and WEAK, and without other threads' references. */
static void
test_unique_means_that_nobody_can_take_another(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx), *holder = plain_node_new(fx);
    struct gyre_object *weak, *out;
    assert_true(gyre_is_unique(&node->head));
    gyre_incref(&node->head);
    assert_false(gyre_is_unique(&node->head));
    gyre_decref(&node->head);
    assert_true(gyre_is_unique(&node->head));
    on_another_thread(fx, take_reference, node);
    assert_false(gyre_is_unique(&node->head));
    gyre_decref(&node->head); /* merged now, one reference */
    assert_true(gyre_is_unique(&node->head));
    assert_int_equal(gyre_weakref_new(&node->head, NULL, NULL, &weak), GYRE_OK);
    assert_false(gyre_is_unique(&node->head));
    gyre_decref(weak);
    node_drop(node);
    node = plain_node_new(fx);
    gyre_slot_set_shared(&holder->head, &holder->left, &node->head);
    out = gyre_slot_exchange_shared(&holder->head, &holder->left, NULL);
    gyre_decref(out);
    assert_false(gyre_is_unique(&node->head));
    node_drop(node);
    node_drop(holder);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- many threads on one object ---- */

#define HAMMERS 4
#define BLOWS 20000

static void
hammer(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct gyre_object *obj = arg;
    (void)fx;
    for (int i = 0; i < BLOWS; i++) {
        gyre_incref(obj);
        if ((i & 3) == 0)
            gyre_incref(obj);
        gyre_safepoint(self);
        gyre_decref(obj);
        if ((i & 3) == 0)
            gyre_decref(obj);
    }
    gyre_decref(obj); /* the one that was made for us */
}

/* Covers docs/design/refcount.md .rc.zero .rc.queue: whoever gives the last
 * reference up among the owner and others, the object dies once. */
static void
test_racing_last_references_kill_once(void **state)
{
    struct fixture *fx = *state;
    for (int round = 0; round < 8; round++) {
        struct worker workers[HAMMERS];
        struct node *node = plain_node_new(fx);
        for (int i = 0; i < HAMMERS; i++)
            gyre_incref(&node->head);
        for (int i = 0; i < HAMMERS; i++)
            worker_start(&workers[i], fx, hammer, node);
        if (round & 1)
            gyre_decref(&node->head);
        for (int i = 0; i < HAMMERS; i++)
            worker_join(&workers[i]);
        if (!(round & 1)) {
            assert_int_equal(fixture_live(fx), 1);
            gyre_safepoint(fx->self);
            assert_int_equal(gyre_reference_count(&node->head), 1);
            gyre_decref(&node->head);
        }
        assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
        assert_int_equal(fixture_live(fx), 0);
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_owner_counts_and_last_reference_kills, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_full_local_count_spills,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_owner_leaves_an_object_that_others_hold, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_another_threads_pair_leaves_the_local_half_alone,
            fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_reference_given_away_is_queued_and_merged, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_objects_of_a_thread_that_left_die_by_proxy, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_immortal_object_is_never_written,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_full_shared_count_is_stuck_and_its_type_named, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_spill_into_a_full_shared_count_sticks, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_weak_gets_of_a_stuck_object_do_not_overflow_it, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_unique_means_that_nobody_can_take_another, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_racing_last_references_kill_once,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("refcount", tests, NULL, NULL);
}
