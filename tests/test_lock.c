/* The object's own lock. */
#include "support/fixture.h"

#define LOCKERS 4
#define LOCKINGS 5000

/* Covers docs/design/object.md .lock: a lock is taken once until it is given
 * up, and its bits disturb nothing else in the header. */
static void
test_lock_is_exclusive_and_leaves_the_header_alone(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    uint64_t word0 = node->head.word0;
    gyre_lock(&node->head);
    assert_false(gyre_trylock(&node->head));
    assert_ptr_equal(gyre_type_of(&node->head), &plain_node_type);
    gyre_unlock(&node->head);
    assert_true(node->head.word0 == word0);
    assert_true(gyre_trylock(&node->head));
    gyre_unlock(&node->head);
    node_drop(node);
}

struct tally {
    struct node *node;
    uint64_t count; /* under the node's lock */
};

static void
lock_and_count(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct tally *tally = arg;
    for (int i = 0; i < LOCKINGS; i++) {
        struct node *value = plain_node_new(fx);
        struct gyre_object *old;
        gyre_lock(&tally->node->head);
        tally->count++;
        old = gyre_slot_exchange(&tally->node->head, &tally->node->left,
                                 &value->head);
        if ((i & 255) == 0)
            gyre_safepoint(self); /* holding it: others wait on */
        gyre_unlock(&tally->node->head);
        if (old != NULL)
            gyre_decref(old);
        gyre_safepoint(self);
    }
}

/* Covers docs/design/object.md .lock: under a lock plain slot writers exclude
 * one another, and collections stop a world in which some hold locks and
 * others wait for them. */
static void
test_locked_writers_exclude_one_another_while_collections_run(void **state)
{
    struct fixture *fx = *state;
    struct worker workers[LOCKERS];
    struct tally tally = {plain_node_new(fx), 0};
    for (int i = 0; i < LOCKERS; i++)
        worker_start(&workers[i], fx, lock_and_count, &tally);
    for (int i = 0; i < 20; i++)
        assert_int_equal(gyre_collect(fx->heap, (enum gyre_generation)(i % 3)),
                         GYRE_OK);
    for (int i = 0; i < LOCKERS; i++)
        worker_join(&workers[i]);
    assert_int_equal(tally.count, LOCKERS * LOCKINGS);
    node_drop(tally.node);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
}

struct handshake {
    struct node *node;
    struct gate locked, go_on;
};

static void
hold_lock(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct handshake *shake = arg;
    (void)fx;
    (void)self;
    gyre_lock(&shake->node->head);
    gate_open(&shake->locked);
    gate_wait(&shake->go_on);
    gyre_unlock(&shake->node->head);
}

static void
wait_for_lock(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct handshake *shake = arg;
    (void)fx;
    (void)self;
    gyre_lock(&shake->node->head);
    gyre_unlock(&shake->node->head);
}

/* Covers docs/design/object.md .lock: who waits for a lock counts as parked,
 * so a collection neither waits for it nor for the lock. The lock's bits and
 * the waiter survive that the collection gives the object another age. */
static void
test_collection_does_not_wait_for_who_waits_for_a_lock(void **state)
{
    struct fixture *fx = *state;
    struct handshake shake = {plain_node_new(fx), GATE_INIT, GATE_INIT};
    struct worker holder, waiters[3];
    struct gyre_statistics statistics;
    worker_start(&holder, fx, hold_lock, &shake);
    gate_wait(&shake.locked);
    for (int i = 0; i < 3; i++)
        worker_start(&waiters[i], fx, wait_for_lock, &shake);
    do {
        assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
        gyre_statistics_get(fx->heap, &statistics);
    } while (statistics.lock_waits < 3);
    assert_int_equal(gyre_freeze(fx->heap), GYRE_OK);
    assert_int_equal(gyre_unfreeze(fx->heap), GYRE_OK);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gate_open(&shake.go_on);
    for (int i = 0; i < 3; i++)
        worker_join(&waiters[i]);
    worker_join(&holder);
    assert_true(gyre_trylock(&shake.node->head));
    gyre_unlock(&shake.node->head);
    node_drop(shake.node);
}

static void
unlock_now(void *arg)
{
    gyre_unlock(arg);
}

/* Covers docs/design/object.md .lock: giving up a lock that nobody has is
 * misuse, in every build. */
static void
test_unlocking_what_is_not_locked_is_named(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    const char *message = fatal_message(unlock_now, node);
    assert_non_null(message);
    assert_non_null(strstr(message, "not locked"));
    assert_non_null(strstr(message, "plain node"));
    node_drop(node);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_lock_is_exclusive_and_leaves_the_header_alone, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_locked_writers_exclude_one_another_while_collections_run,
            fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_collection_does_not_wait_for_who_waits_for_a_lock,
            fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_unlocking_what_is_not_locked_is_named, fixture_setup,
            fixture_teardown),
    };
    return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
