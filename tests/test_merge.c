/* Merge queues: references on their way to the object's owner. */
#include "support/fixture.h"

#define MANY 1000

/* ---- helpers ---- */

struct batch {
    struct node *nodes[MANY];
    struct gate made, go_on;
};

static void
drop_all(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *batch = arg;
    (void)fx;
    (void)self;
    for (int i = 0; i < MANY; i++)
        gyre_decref(&batch->nodes[i]->head);
}

static void
make_all(struct fixture *fx, struct batch *batch, bool finalized)
{
    for (int i = 0; i < MANY; i++)
        batch->nodes[i] = finalized ? node_new(fx) : plain_node_new(fx);
}

static void
make_and_stay_detached(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *batch = arg;
    (void)self;
    make_all(fx, batch, false);
    gate_open(&batch->made);
    gate_wait(&batch->go_on);
}

static void
make_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)self;
    make_all(fx, arg, false);
}

static struct batch batch; /* one test at a time */

static void
renew_batch(void)
{
    const struct gate closed = GATE_INIT;
    batch.made = batch.go_on = closed;
}

/* ---- tests ---- */

/* Covers docs/design/refcount.md .rc.queue: a running owner merges what
 * others gave up at its next safepoint, every entry once. */
static void
test_running_owner_merges_at_a_safepoint(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    struct gyre_statistics statistics;
    make_all(fx, &batch, false);
    worker_start(&worker, fx, drop_all, &batch);
    while (fixture_live(fx) > 0)
        gyre_safepoint(fx->self);
    worker_join(&worker);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.queued, MANY);
    assert_int_equal(statistics.merges, MANY);
}

/* Covers docs/design/refcount.md .rc.queue, CPython issue 157838: an owner
 * that is detached does not delay a merge; who pushes does it for it. */
static void
test_detached_owner_does_not_delay_a_merge(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    struct gyre_statistics statistics;
    renew_batch();
    worker_start(&worker, fx, make_and_stay_detached, &batch);
    gate_wait(&batch.made);
    /* it may not have got to its gate yet: a handshake waits for that */
    drop_all(fx, fx->self, &batch);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.merges, MANY);
    gate_open(&batch.go_on);
    worker_join(&worker);
}

/* Covers docs/design/refcount.md .rc.orphan: objects of a thread that left
 * die when the last reference goes, without anybody's collection. */
static void
test_orphans_die_without_their_owner(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    worker_start(&worker, fx, make_and_leave, &batch);
    worker_join(&worker);
    assert_int_equal(fixture_live(fx), MANY);
    drop_all(fx, fx->self, &batch);
    gyre_safepoint(fx->self);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/refcount.md .rc.queue, CPython issue 152276: what comes
 * out of a queue may have been merged meanwhile by its owner. */
static void
test_entry_merged_meanwhile_loses_only_the_queues_reference(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    make_all(fx, &batch, false);
    for (int i = 0; i < MANY; i++) {
        gyre_incref(&batch.nodes[i]->head);
        gyre_incref(&batch.nodes[i]->head);
    }
    worker_start(&worker, fx, drop_all, &batch); /* queues each: 1 of 3 */
    gyre_detach_begin(fx->self);
    pthread_join(worker.thread, NULL);
    gyre_detach_end(fx->self);
    worker_start(&worker, fx, drop_all, &batch); /* merged: 1 of 2 */
    worker_join(&worker);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(gyre_reference_count(&batch.nodes[i]->head), 1);
    drop_all(fx, fx->self, &batch);
    assert_int_equal(fixture_live(fx), 0);
}

/* Trees of two levels, dropped by another thread: more die in one drain than
 * wait in the cascade's stack, and each has two dying children. */
static void
drop_trees(struct fixture *fx, bool finalized)
{
    struct worker worker;
    for (int i = 0; i < MANY; i++) {
        struct node *root = finalized ? node_new(fx) : plain_node_new(fx);
        for (int side = 0; side < 2; side++) {
            struct node *child = plain_node_new(fx);
            for (int k = 0; k < 2; k++) {
                struct node *leaf = plain_node_new(fx);
                node_link(child, leaf);
                node_drop(leaf);
            }
            node_link(root, child);
            node_drop(child);
        }
        batch.nodes[i] = root;
    }
    assert_int_equal(fixture_live(fx), MANY * 7);
    worker_start(&worker, fx, drop_all, &batch);
    worker_join(&worker);
    gyre_safepoint(fx->self);
}

/* Covers docs/design/refcount.md .rc.cascade: whatever dies in a drain is
 * freed with all it refers to, however much waits at once. */
static void
test_drain_of_many_trees_frees_all_of_them(void **state)
{
    struct fixture *fx = *state;
    drop_trees(fx, false);
    assert_int_equal(fixture_live(fx), 0);
    drop_trees(fx, true);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), MANY);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- prompt finalizers and claims ---- */

/* Recursive: whoever holds it may itself run finalizers of what others gave
 * up to it, as it returns from its detached region. */
static pthread_mutex_t user_lock;

static void
make_user_lock(void)
{
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    assert_int_equal(pthread_mutex_init(&user_lock, &attr), 0);
    pthread_mutexattr_destroy(&attr);
}

static void
finalize_under_user_lock(struct node *node)
{
    (void)node;
    pthread_mutex_lock(&user_lock);
    pthread_mutex_unlock(&user_lock);
}

static void
make_and_lock_detached(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *mine = arg;
    make_all(fx, mine, true);
    gyre_detach_begin(self);
    pthread_mutex_lock(&user_lock);
    gate_open(&mine->made); /* self is detached: this waits for nothing */
    gyre_detach_end(self);  /* may have to wait for a claim to end */
    pthread_mutex_unlock(&user_lock);
}

/* Covers docs/design/refcount.md .rc.queue: under a claim objects are only
 * merged. A prompt finalizer that wants a lock which the claimed thread took
 * while it was detached would wait for it for ever. */
static void
test_no_finalizer_runs_while_its_owner_is_claimed(void **state)
{
    struct fixture *fx = *state;
    make_user_lock();
    for (int round = 0; round < 20; round++) {
        struct worker worker;
        renew_batch();
        fx->on_finalize = finalize_under_user_lock;
        worker_start(&worker, fx, make_and_lock_detached, &batch);
        gate_wait(&batch.made);
        drop_all(fx, fx->self, &batch);
        gyre_safepoint(fx->self);
        worker_join(&worker);
        assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
        assert_int_equal(fixture_live(fx), 0);
    }
}

/* ---- churn ---- */

#define EXCHANGERS 4
#define EXCHANGES 4000

static struct {
    pthread_mutex_t lock;
    struct gyre_object *held[64];
} market = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void
exchange(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    unsigned seed = (unsigned)(uintptr_t)arg * 7919u + 1;
    for (int i = 0; i < EXCHANGES; i++) {
        struct node *node = plain_node_new(fx);
        struct gyre_object *old;
        seed = seed * 1103515245u + 12345u;
        pthread_mutex_lock(&market.lock);
        old = market.held[seed >> 16 & 63];
        market.held[seed >> 16 & 63] = &node->head;
        pthread_mutex_unlock(&market.lock);
        if (old != NULL)
            gyre_decref(old);
        if ((i & 31) == 0) {
            gyre_detach_begin(self);
            gyre_detach_end(self);
        }
        gyre_safepoint(self);
    }
}

/* Covers docs/design/refcount.md .rc.queue .rc.orphan: objects handed to and
 * fro among threads that detach, leave and come are all freed in the end. */
static void
test_exchanged_objects_are_all_freed(void **state)
{
    struct fixture *fx = *state;
    for (int round = 0; round < 3; round++) {
        struct worker workers[EXCHANGERS];
        for (int i = 0; i < EXCHANGERS; i++)
            worker_start(&workers[i], fx, exchange,
                         (void *)(uintptr_t)(i + round * EXCHANGERS));
        for (int i = 0; i < EXCHANGERS; i++)
            worker_join(&workers[i]);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
    for (int i = 0; i < 64; i++)
        if (market.held[i] != NULL)
            gyre_decref(market.held[i]);
    memset(market.held, 0, sizeof market.held);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_running_owner_merges_at_a_safepoint, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_detached_owner_does_not_delay_a_merge, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_orphans_die_without_their_owner,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_entry_merged_meanwhile_loses_only_the_queues_reference,
            fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_drain_of_many_trees_frees_all_of_them, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_no_finalizer_runs_while_its_owner_is_claimed, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_exchanged_objects_are_all_freed,
                                        fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests_name("merge", tests, NULL, NULL);
}
