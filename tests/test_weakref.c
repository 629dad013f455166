/* Weak references and their callbacks. */
#include "support/fixture.h"

/* ---- helpers ---- */

struct watch {
    int called;
    struct gyre_object *seen; /* what the weak reference answered then */
};

static void
called_back(struct gyre_object *weakref, void *arg)
{
    struct watch *watch = arg;
    watch->called++;
    watch->seen = gyre_weakref_get(weakref);
}

static struct gyre_object *
weak_to(struct node *node, struct watch *watch)
{
    struct gyre_object *weak;
    assert_int_equal(gyre_weakref_new(&node->head,
                                      watch != NULL ? called_back : NULL, watch,
                                      &weak),
                     GYRE_OK);
    assert_true(gyre_is_weakref(weak));
    return weak;
}

/* ---- targets that die by counts ---- */

/* Covers docs/design/weakref.md .weak: a weak reference names its target
 * without holding it, gives a counted reference, and NULL once it is dead. */
static void
test_weak_reference_answers_until_its_target_dies(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct gyre_object *weak = weak_to(node, NULL), *got;
    assert_int_equal(gyre_reference_count(&node->head), 1);
    assert_false(gyre_is_weakref(&node->head));
    got = gyre_weakref_get(weak);
    assert_ptr_equal(got, &node->head);
    assert_int_equal(gyre_reference_count(got), 2);
    gyre_decref(got);
    node_drop(node);
    assert_int_equal(fixture_live(fx), 0);
    assert_null(gyre_weakref_get(weak));
    gyre_decref(weak);
}

/* Covers docs/design/weakref.md .weak: the callback runs once, at a safepoint
 * of who killed the target, when the weak reference answers NULL already. */
static void
test_callback_runs_once_after_the_target_is_gone(void **state)
{
    struct fixture *fx = *state;
    struct watch watch = {0, NULL};
    struct node *node = plain_node_new(fx);
    struct gyre_object *weak = weak_to(node, &watch);
    gyre_safepoint(fx->self);
    assert_int_equal(watch.called, 0);
    node_drop(node);
    assert_int_equal(watch.called, 0);
    gyre_safepoint(fx->self);
    assert_int_equal(watch.called, 1);
    assert_null(watch.seen);
    gyre_safepoint(fx->self);
    assert_int_equal(watch.called, 1);
    gyre_decref(weak);
}

/* Covers docs/design/weakref.md .weak: a weak reference that dies first, or
 * between the target's death and the callback, is not told. */
static void
test_callback_of_a_weak_reference_that_died_never_runs(void **state)
{
    struct fixture *fx = *state;
    struct watch watch = {0, NULL};
    struct node *node = plain_node_new(fx);
    struct gyre_object *weak = weak_to(node, &watch);
    gyre_decref(weak);
    node_drop(node);
    gyre_safepoint(fx->self);
    assert_int_equal(watch.called, 0);
    node = plain_node_new(fx);
    weak = weak_to(node, &watch);
    node_drop(node);
    gyre_decref(weak);
    gyre_safepoint(fx->self);
    assert_int_equal(watch.called, 0);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers docs/design/weakref.md .weak: one target may have many. */
static void
test_every_weak_reference_of_a_target_is_cleared(void **state)
{
    struct fixture *fx = *state;
    struct watch watch = {0, NULL};
    struct node *targets[50];
    struct gyre_object *weak[50][20];
    for (int i = 0; i < 50; i++) {
        targets[i] = plain_node_new(fx);
        for (int k = 0; k < 20; k++)
            weak[i][k] = weak_to(targets[i], &watch);
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    for (int i = 0; i < 50; i++)
        gyre_decref(weak[i][7]);
    for (int i = 0; i < 50; i++)
        node_drop(targets[i]);
    gyre_safepoint(fx->self);
    assert_int_equal(watch.called, 50 * 19);
    for (int i = 0; i < 50; i++) {
        for (int k = 0; k < 20; k++) {
            if (k == 7)
                continue;
            assert_null(gyre_weakref_get(weak[i][k]));
            gyre_decref(weak[i][k]);
        }
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers docs/design/weakref.md .weak: weak references may be targets, and an
 * immortal target answers for ever. */
static void
test_weak_reference_to_a_weak_reference_and_to_an_immortal(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct gyre_object *weak, *weaker, *got;
    gyre_make_immortal(&node->head);
    weak = weak_to(node, NULL);
    assert_int_equal(gyre_weakref_new(weak, NULL, NULL, &weaker), GYRE_OK);
    got = gyre_weakref_get(weaker);
    assert_ptr_equal(got, weak);
    gyre_decref(got);
    got = gyre_weakref_get(weak);
    assert_ptr_equal(got, &node->head);
    gyre_decref(got);
    gyre_decref(weak);
    assert_null(gyre_weakref_get(weaker));
    gyre_decref(weaker);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- targets that the collector frees ---- */

/* Covers docs/design/weakref.md .weak, docs/design/cycle.md .cycle.commit:
 * weak references to members are cleared, those from outside told. */
static void
test_collected_target_answers_null_and_its_callback_runs(void **state)
{
    struct fixture *fx = *state;
    struct watch watch = {0, NULL};
    struct node *ring = ring_new(fx, 5);
    struct gyre_object *weak = weak_to(ring, &watch), *got;
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    got = gyre_weakref_get(weak);
    assert_ptr_equal(got, &ring->head);
    gyre_decref(got);
    node_drop(ring);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(watch.called, 1);
    assert_null(watch.seen);
    assert_null(gyre_weakref_get(weak));
    gyre_decref(weak);
}

/* Covers docs/design/weakref.md .weak: a weak reference that dies in the same
 * set as its target is not told. */
static void
test_callback_does_not_run_when_both_are_garbage(void **state)
{
    struct fixture *fx = *state;
    struct watch watch = {0, NULL};
    struct node *ring = ring_new(fx, 5);
    struct gyre_object *weak = weak_to(ring, &watch);
    gyre_slot_move(&ring->head, &ring->right, weak);
    node_drop(ring);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    gyre_safepoint(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(watch.called, 0);
}

struct made {
    struct node *ring;
    struct watch *watch;
};

static void
make_ring_with_its_weak_reference(struct fixture *fx, struct gyre_thread *self,
                                  void *arg)
{
    struct made *made = arg;
    struct gyre_object *weak;
    (void)self;
    made->ring = ring_new(fx, 5);
    weak = weak_to(made->ring, made->watch);
    gyre_slot_move(&made->ring->head, &made->ring->right, weak);
    node_drop(made->ring);
}

/* Covers docs/design/weakref.md .weak: the same for a set that another thread
 * made, whose counts lie in the other half. */
static void
test_callback_does_not_run_when_both_are_another_threads_garbage(void **state)
{
    struct fixture *fx = *state;
    struct watch watch = {0, NULL};
    struct made made = {NULL, &watch};
    struct worker worker;
    worker_start(&worker, fx, make_ring_with_its_weak_reference, &made);
    worker_join(&worker);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    gyre_safepoint(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(watch.called, 0);
}

static struct gyre_object *made_late;
static struct watch late_watch;

static void
make_weak_reference(struct node *node)
{
    if (made_late == NULL)
        made_late = weak_to(node, &late_watch);
}

/* Covers docs/design/cycle.md .cycle.commit, CPython issue 136401: a weak
 * reference that a finalizer makes is cleared like the others, by counts and
 * by the collector. */
static void
test_weak_reference_made_by_a_finalizer_is_cleared(void **state)
{
    struct fixture *fx = *state;
    for (int collected = 0; collected < 2; collected++) {
        struct node *node = node_new(fx);
        late_watch = (struct watch){0, NULL};
        made_late = NULL;
        fx->on_finalize = make_weak_reference;
        if (collected)
            node_link(node, node);
        node_drop(node);
        assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
        assert_int_equal(fixture_live(fx), 0);
        assert_non_null(made_late);
        assert_null(gyre_weakref_get(made_late));
        gyre_safepoint(fx->self);
        assert_int_equal(late_watch.called, 1);
        gyre_decref(made_late);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
}

static struct gyre_object *weak_of_finalized, *resurrected;

static void
get_weakly(struct node *node)
{
    (void)node;
    if (resurrected == NULL && weak_of_finalized != NULL)
        resurrected = gyre_weakref_get(weak_of_finalized);
}

/* Covers docs/design/weakref.md .final: while finalizers run weak references
 * answer still, and what was got lives on with all it refers to. */
static void
test_weak_get_in_a_finalizer_resurrects(void **state)
{
    struct fixture *fx = *state;
    struct node *a = node_new(fx), *b = plain_node_new(fx);
    struct gyre_statistics statistics;
    node_link(a, b);
    node_link(b, a);
    weak_of_finalized = weak_to(b, NULL);
    resurrected = NULL;
    fx->on_finalize = get_weakly;
    node_drop(a);
    node_drop(b);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 2);
    assert_ptr_equal(resurrected, &b->head);
    assert_ptr_equal(gyre_slot_peek(&b->left), &a->head);
    assert_int_equal(gyre_reference_count(&b->head), 2);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.resurrected, 2);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gyre_decref(resurrected);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), 1);
    assert_null(gyre_weakref_get(weak_of_finalized));
    gyre_decref(weak_of_finalized);
    weak_of_finalized = NULL;
}

/* ---- races ---- */

#define GETTERS 3
#define TARGETS 2000

struct race {
    struct gyre_object *weak[TARGETS];
    uint32_t over; /* atomic */
};

static void
get_all(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct race *race = arg;
    /* relaxed: an end seen late costs one more round */
    while (gyre_load_relaxed(&race->over) == 0) {
        for (int i = 0; i < TARGETS; i++) {
            struct gyre_object *got = gyre_weakref_get(race->weak[i]);
            if (got != NULL) {
                GYRE_CHECK(((struct node *)got)->fx == fx &&
                               ((struct node *)got)->payload == (uint64_t)i,
                           "not the target");
                gyre_decref(got);
            }
            gyre_safepoint(self);
        }
    }
}

/* Covers docs/design/refcount.md .rc.try: weak gets that race with the death
 * of their targets, by counts and by collections, give a live target or
 * none. */
static void
test_weak_gets_race_with_deaths(void **state)
{
    struct fixture *fx = *state;
    struct worker workers[GETTERS];
    static struct race race;
    struct node *targets[TARGETS];
    race.over = 0;
    for (int i = 0; i < TARGETS; i++) {
        targets[i] = i % 3 == 0 ? ring_new(fx, 2) : plain_node_new(fx);
        targets[i]->payload = (uint64_t)i;
        race.weak[i] = weak_to(targets[i], NULL);
    }
    for (int i = 0; i < GETTERS; i++)
        worker_start(&workers[i], fx, get_all, &race);
    for (int i = 0; i < TARGETS; i++) {
        node_drop(targets[i]);
        node_drop(plain_node_new(fx)); /* what lies there next */
        if (i % 200 == 0)
            assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
        gyre_safepoint(fx->self);
    }
    /* relaxed: as above */
    gyre_store_relaxed(&race.over, 1);
    for (int i = 0; i < GETTERS; i++)
        worker_join(&workers[i]);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    for (int i = 0; i < TARGETS; i++) {
        assert_null(gyre_weakref_get(race.weak[i]));
        gyre_decref(race.weak[i]);
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- callbacks while the weak reference is merged ---- */

#define MERGE_ROUNDS FIXTURE_SCALED(2000)

static pthread_barrier_t barrier;
static struct gyre_object *shared_weak;
static struct node *shared_target;

static void
meet(struct gyre_thread *self)
{
    gyre_detach_begin(self);
    pthread_barrier_wait(&barrier);
    gyre_detach_end(self);
}

static void
drop_targets(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    for (int i = 0; i < MERGE_ROUNDS; i++) {
        meet(self);
        node_drop(shared_target);
        gyre_safepoint_slow(self);
        meet(self);
    }
}

static void
drop_weak_references(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    for (int i = 0; i < MERGE_ROUNDS; i++) {
        meet(self);
        gyre_decref(shared_weak);
        gyre_safepoint_slow(self);
        meet(self);
    }
}

/* .weak .rc.queue: a count that is half merged is nobody's answer. */
static void
test_callback_runs_though_its_weak_reference_is_being_merged(void **state)
{
    struct fixture *fx = *state;
    struct worker targets, weaks;
    pthread_barrier_init(&barrier, NULL, 3);
    worker_start(&targets, fx, drop_targets, NULL);
    worker_start(&weaks, fx, drop_weak_references, NULL);
    for (int i = 0; i < MERGE_ROUNDS; i++) {
        struct watch watch = {0, NULL};
        struct gyre_object *weak;
        shared_target = plain_node_new(fx);
        weak = shared_weak = weak_to(shared_target, &watch);
        gyre_incref(weak); /* ours; the first is given up by another */
        meet(fx->self);
        for (int polls = 0; polls < 4; polls++)
            gyre_safepoint_slow(fx->self);
        meet(fx->self);
        assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
        assert_int_equal(watch.called, 1);
        gyre_decref(weak);
    }
    worker_join(&targets);
    worker_join(&weaks);
    pthread_barrier_destroy(&barrier);
}

/* ---- large leaves ---- */

struct large_leaf {
    struct gyre_object head;
    char body[300000];
};
static struct gyre_type large_leaf_type = {
    .name = "large leaf",
    .size = sizeof(struct large_leaf),
    .flags = GYRE_TYPE_LEAF,
};

/* .mem.stable: a grace period comes also where no container is made. */
static void
test_weakly_referenced_leaves_give_their_memory_back(void **state)
{
    struct fixture fx;
    struct gyre_statistics after;
    (void)state;
    /* this thread waits for them, at its polls */
    fixture_open(&fx, "gc.automatic=0,gc.thread=0");
    assert_int_equal(gyre_type_ready(&large_leaf_type), GYRE_OK);
    for (int i = 0; i < 1000; i++) {
        struct gyre_object *leaf = gyre_new(&large_leaf_type), *weak;
        assert_non_null(leaf);
        assert_int_equal(gyre_weakref_new(leaf, NULL, NULL, &weak), GYRE_OK);
        gyre_decref(leaf);
        gyre_decref(weak);
        gyre_safepoint(fx.self);
    }
    gyre_statistics_get(fx.heap, &after);
    assert_true(after.mapped < UINT64_C(200) << 20); /* of 300 MB made */
    fixture_close(&fx);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_weak_reference_answers_until_its_target_dies),
        TEST(test_callback_runs_once_after_the_target_is_gone),
        TEST(test_callback_of_a_weak_reference_that_died_never_runs),
        TEST(test_every_weak_reference_of_a_target_is_cleared),
        TEST(test_weak_reference_to_a_weak_reference_and_to_an_immortal),
        TEST(test_collected_target_answers_null_and_its_callback_runs),
        TEST(test_callback_does_not_run_when_both_are_garbage),
        TEST(test_callback_does_not_run_when_both_are_another_threads_garbage),
        TEST(test_weak_reference_made_by_a_finalizer_is_cleared),
        TEST(test_weak_get_in_a_finalizer_resurrects),
        TEST(test_weak_gets_race_with_deaths),
        TEST(test_callback_runs_though_its_weak_reference_is_being_merged),
        cmocka_unit_test(test_weakly_referenced_leaves_give_their_memory_back),
    };
    return cmocka_run_group_tests_name("weakref", tests, NULL, NULL);
}
