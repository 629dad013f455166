/* What others gave up in one go is merged and released in portions. */
#include <stdlib.h>

#include "support/fixture.h"

#define MANY FIXTURE_SCALED(100000)

/* ---- helpers ---- */

/* Nodes of one thread's, which another drops. */
struct pile {
    struct node **nodes;
    int count;
    uint32_t made, dropped, over; /* atomic */
};

static void
pile_open(struct pile *pile, int count)
{
    memset(pile, 0, sizeof *pile);
    pile->count = count;
    pile->nodes = malloc((size_t)count * sizeof(struct node *));
    assert_non_null(pile->nodes);
}

static void
pile_make(struct fixture *fx, struct pile *pile)
{
    for (int i = 0; i < pile->count; i++)
        pile->nodes[i] = plain_node_new(fx);
    /* release; pairs: await() */
    gyre_store_release(&pile->made, 1);
}

/* Without a safepoint. */
static void
await(const uint32_t *word)
{
    /* acquire; pairs: pile_make(), pile_drop() */
    while (gyre_load_acquire(word) == 0)
        ;
}

static void
pile_drop(struct gyre_thread *self, struct pile *pile)
{
    for (int i = 0; i < pile->count; i++)
        gyre_decref(&pile->nodes[i]->head);
    gyre_safepoint(self); /* which publishes the last of them */
    /* release; pairs: await() */
    gyre_store_release(&pile->dropped, 1);
}

static void
drop_pile(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    pile_drop(self, arg);
}

/* This thread's pile is in its queue, as a whole. */
static void
fill_queue(struct fixture *fx, struct pile *pile)
{
    struct worker worker;
    pile_make(fx, pile);
    worker_start(&worker, fx, drop_pile, pile);
    await(&pile->dropped);
    assert_int_equal(pthread_join(worker.thread, NULL), 0);
}

/* Each safepoint does some of it, none all. */
static void
expect_portions(struct fixture *fx, int count)
{
    int left = fixture_live(fx), polls = 0;
    assert_int_equal(left, count);
    for (; left > 0; polls++) {
        int before = left;
        gyre_safepoint(fx->self);
        left = fixture_live(fx);
        assert_true(left < before);
    }
    assert_true(polls >= 3);
}

/* ---- tests ---- */

/* Covers docs/design/refcount.md .rc.portion: a queue is merged in portions,
 * one a safepoint, until nothing is left. */
static void
test_a_full_queue_is_merged_in_portions(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    pile_open(&pile, MANY);
    fill_queue(fx, &pile);
    expect_portions(fx, MANY);
    free(pile.nodes);
}

/* Covers docs/design/refcount.md .rc.portion: so is what dies by a merge. */
static void
test_what_a_merge_kills_is_released_in_portions(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    struct pile pile;
    struct node *first;
    pile_open(&pile, 1);
    pile_make(fx, &pile);
    first = pile.nodes[0];
    for (int i = 1; i < MANY; i++) {
        struct node *node = plain_node_new(fx);
        gyre_slot_move(&node->head, &node->left, &first->head);
        first = node;
    }
    pile.nodes[0] = first;
    worker_start(&worker, fx, drop_pile, &pile);
    await(&pile.dropped);
    assert_int_equal(pthread_join(worker.thread, NULL), 0);
    expect_portions(fx, MANY);
    free(pile.nodes);
}

/* Covers docs/design/refcount.md .rc.portion: who detaches does it all first,
 * as it may be away for long. */
static void
test_detaching_does_what_a_portion_left(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    pile_open(&pile, MANY);
    fill_queue(fx, &pile);
    gyre_safepoint(fx->self);
    assert_true(fixture_live(fx) > 0);
    gyre_detach_begin(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    gyre_detach_end(fx->self);
    free(pile.nodes);
}

/* And a wait for something else, such as a collection. */
static void
test_a_wait_does_what_a_portion_left(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    pile_open(&pile, MANY);
    fill_queue(fx, &pile);
    gyre_safepoint(fx->self);
    assert_true(fixture_live(fx) > 0);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    free(pile.nodes);
}

static void
own_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct pile *pile = arg;
    pile_make(fx, pile);
    await(&pile->dropped);
    gyre_safepoint(self);
    assert_true(fixture_live(fx) > 0);
}

/* And who leaves. */
static void
test_leaving_does_what_a_portion_left(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    struct worker worker;
    pile_open(&pile, MANY);
    worker_start(&worker, fx, own_and_leave, &pile);
    await(&pile.made);
    pile_drop(fx->self, &pile);
    worker_join(&worker);
    assert_int_equal(fixture_live(fx), 0);
    free(pile.nodes);
}

static void
own_and_poll(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct pile *pile = arg;
    pile_make(fx, pile);
    await(&pile->dropped);
    while (gyre_load_relaxed(&pile->over) == 0)
        gyre_safepoint(self);
}

/* Covers docs/design/refcount.md .rc.portion: a collection that was asked for
 * by name waits for the portions of others, behind which a cycle may hide. */
static void
test_collection_waits_for_the_portions_of_others(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    struct worker worker;
    struct node *ring;
    pile_open(&pile, MANY);
    worker_start(&worker, fx, own_and_poll, &pile);
    await(&pile.made);
    /* The last pushed is merged first. */
    ring = ring_new(fx, 10);
    gyre_slot_move(&pile.nodes[0]->head, &pile.nodes[0]->left, &ring->head);
    pile_drop(fx->self, &pile);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    gyre_store_relaxed(&pile.over, 1);
    worker_join(&worker);
    free(pile.nodes);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_full_queue_is_merged_in_portions,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_what_a_merge_kills_is_released_in_portions, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_detaching_does_what_a_portion_left,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_a_wait_does_what_a_portion_left,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_leaving_does_what_a_portion_left,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_collection_waits_for_the_portions_of_others, fixture_setup,
            fixture_teardown),
    };
    return cmocka_run_group_tests_name("portions", tests, NULL, NULL);
}
