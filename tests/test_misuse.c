/* Misuse that checking builds catch: each is named, and ends in the
 * replaceable fatal hook. In other builds only what is checked always. */
#include "support/fixture.h"

static struct node *held;
static struct gyre_thread *foreign;

/* The hook is called with a line that holds `words`. */
static void
assert_fatal(void (*act)(void *arg), void *arg, const char *words)
{
    const char *message = fatal_message(act, arg);
    if (message == NULL)
        fail_msg("nothing was said; expected: %s", words);
    if (strstr(message, words) == NULL)
        fail_msg("said \"%s\", expected: %s", message, words);
}

/* ---- handles, in every build ---- */

static void
leave_as(void *arg)
{
    gyre_thread_leave(arg);
}

static void
poll_as(void *arg)
{
    gyre_safepoint_slow(arg);
}

static void
detach_as(void *arg)
{
    gyre_detach_begin(arg);
}

static void
return_as(void *arg)
{
    gyre_detach_end(arg);
}

static void
lend_handle(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct gate *gates = arg;
    (void)fx;
    foreign = self;
    gate_open(&gates[0]);
    gate_wait(&gates[1]);
}

/* Covers docs/design/threads.md .thread, .fail: another thread's handle is
 * refused by every call that takes one. */
static void
test_another_threads_handle_is_named(void **state)
{
    struct fixture *fx = *state;
    struct gate gates[2] = {GATE_INIT, GATE_INIT};
    struct worker worker;
    worker_start(&worker, fx, lend_handle, gates);
    gate_wait(&gates[0]);
    assert_fatal(leave_as, foreign, "gyre_thread_leave: not this thread's");
    assert_fatal(poll_as, foreign, "gyre_safepoint: not this thread's");
    assert_fatal(detach_as, foreign, "gyre_detach_begin: not this thread's");
    assert_fatal(return_as, foreign, "gyre_detach_end: not this thread's");
    assert_fatal(leave_as, NULL, "gyre_thread_leave: not this thread's");
    gate_open(&gates[1]);
    worker_join(&worker);
}

/* Covers docs/design/threads.md .thread.detach, .fail: regions don't nest, end
 * once, and are no place to poll or to leave from. */
static void
test_detached_regions_out_of_order_are_named(void **state)
{
    struct fixture *fx = *state;
    assert_fatal(return_as, fx->self, "gyre_detach_end: not detached");
    gyre_detach_begin(fx->self);
    assert_fatal(detach_as, fx->self, "gyre_detach_begin: detached already");
    assert_fatal(poll_as, fx->self, "inside a detached region");
    assert_fatal(leave_as, fx->self, "inside a detached region");
    gyre_detach_end(fx->self);
}

static void
leave_inside(struct node *node)
{
    const char *message;
    node->payload = 1;
    message = fatal_message(leave_as, gyre_thread_self());
    if (message != NULL && strstr(message, "inside a finalizer") != NULL)
        node->payload = 2;
    held->payload = node->payload;
}

/* Covers docs/design/weakref.md .final, .fail: no leaving from a finalizer. */
static void
test_leaving_from_a_finalizer_is_named(void **state)
{
    struct fixture *fx = *state;
    held = plain_node_new(fx);
    fx->on_finalize = leave_inside;
    node_drop(node_new(fx));
    assert_int_equal(held->payload, 2);
    node_drop(held);
}

static void
enable(void *arg)
{
    gyre_collect_enable(arg);
}

/* Covers docs/design/cycle.md .policy, .fail: more enables than disables. */
static void
test_enabling_once_too_often_is_named(void **state)
{
    struct fixture *fx = *state;
    gyre_collect_disable(fx->heap);
    gyre_collect_enable(fx->heap);
    assert_fatal(enable, fx->heap, "was not disabled");
    gyre_collect_disable(fx->heap);
    gyre_collect_enable(fx->heap);
    assert_fatal(enable, fx->heap, "was not disabled");
}

static void
new_of(void *arg)
{
    gyre_new_items(arg, 0);
}

/* Covers docs/design/object.md .object, .fail: a type is readied first. */
static void
test_type_that_is_not_ready_is_named(void **state)
{
    static struct gyre_type raw = {.name = "raw type", .size = 40000};
    (void)state;
    assert_fatal(new_of, &raw, "raw type has not been through");
}

#if GYRE_CHECKING

/* ---- references ---- */

static void
incref_it(void *arg)
{
    gyre_incref(arg);
}

static void
decref_it(void *arg)
{
    gyre_decref(arg);
}

static void
lock_it(void *arg)
{
    gyre_lock(arg);
}

static void
weaken_it(void *arg)
{
    struct gyre_object *out;
    (void)gyre_weakref_new(arg, NULL, NULL, &out);
}

static void
get_weakly(void *arg)
{
    (void)gyre_weakref_get(arg);
}

static void
make_any(void *arg)
{
    (void)arg;
    (void)GYRE_NEW(struct node, &plain_node_type);
}

static void
take_memory(void *arg)
{
    (void)arg;
    (void)gyre_mem_alloc(100);
}

/* Covers docs/design/refcount.md .rc, .fail: a dead object's block is no
 * object, and counts below zero are noticed before they do harm. */
static void
test_use_of_a_dead_object_is_named(void **state)
{
    struct fixture *fx = *state;
    struct node *dropped = plain_node_new(fx);
    node_drop(dropped);
    assert_fatal(decref_it, dropped, "decref of");
    assert_fatal(decref_it, dropped, "that is no object");
    assert_fatal(incref_it, dropped, "that is no object");
    assert_fatal(lock_it, dropped, "that is no object");
    assert_fatal(weaken_it, dropped, "that is no object");
}

static void
decref_once_too_often(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    const char *message;
    (void)fx;
    (void)self;
    gyre_decref(arg); /* the owner's, merged by it: the object is dead */
    gate_wait(&((struct gate *)(void *)held->payload)[1]);
    message = fatal_message(decref_it, arg);
    GYRE_CHECK(message != NULL && strstr(message, "no object") != NULL,
               "a decref of the dead went through");
}

/* Covers docs/design/refcount.md .rc.queue, .fail: another thread's decref of
 * an object that the owner has merged and freed is named. */
static void
test_another_threads_decref_of_the_dead_is_named(void **state)
{
    struct fixture *fx = *state;
    struct gate gates[2] = {GATE_INIT, GATE_INIT};
    struct worker worker;
    struct node *dropped;
    held = plain_node_new(fx);
    held->payload = (uint64_t)(uintptr_t)gates;
    dropped = plain_node_new(fx);
    worker_start(&worker, fx, decref_once_too_often, dropped);
    while (fixture_live(fx) > 1)
        assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    gate_open(&gates[1]);
    worker_join(&worker);
    node_drop(held);
}

/* Covers docs/design/threads.md .thread, .fail: objects and memory are for
 * attached threads. */
static void
test_use_without_attaching_is_named(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    struct gyre_object *weak;
    assert_int_equal(gyre_weakref_new(&node->head, NULL, NULL, &weak), GYRE_OK);
    gyre_thread_leave(fx->self);
    assert_fatal(incref_it, node, "this thread is not attached");
    assert_fatal(decref_it, node, "this thread is not attached");
    assert_fatal(lock_it, node, "this thread is not attached");
    assert_fatal(weaken_it, node, "this thread is not attached");
    assert_fatal(get_weakly, weak, "this thread is not attached");
    assert_fatal(make_any, NULL, "this thread is not attached");
    assert_fatal(take_memory, NULL, "this thread is not attached");
    assert_int_equal(gyre_thread_attach(fx->heap, &fx->self), GYRE_OK);
    gyre_decref(weak);
    node_drop(node);
}

/* Covers docs/design/threads.md .thread.detach, .fail: in a detached region no
 * object is touched or made. */
static void
test_use_in_a_detached_region_is_named(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    gyre_lock(&node->head);
    gyre_detach_begin(fx->self);
    assert_fatal(incref_it, node, "detached region");
    assert_fatal(decref_it, node, "detached region");
    assert_fatal(lock_it, node, "detached region");
    assert_fatal(make_any, NULL, "detached region");
    gyre_detach_end(fx->self);
    gyre_unlock(&node->head);
    node_drop(node);
}

/* Covers docs/design/weakref.md .weak, .fail: only a weak reference names a
 * target. */
static void
test_weak_get_of_another_object_is_named(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    assert_fatal(get_weakly, node, "is no weak reference");
    node_drop(node);
}

/* ---- slots ---- */

struct pair {
    struct node *holder;
    struct gyre_slot *slot;
};

static void
write_slot(void *arg)
{
    struct pair *pair = arg;
    gyre_slot_move(&pair->holder->head, pair->slot, NULL);
}

static void
write_shared(void *arg)
{
    struct pair *pair = arg;
    gyre_slot_set_shared(&pair->holder->head, pair->slot, NULL);
}

/* Covers docs/design/object.md .slot, .fail: a slot is written with its own
 * holder, and the holder lives. */
static void
test_slot_of_another_holder_is_named(void **state)
{
    struct fixture *fx = *state;
    struct node *a = plain_node_new(fx), *b = plain_node_new(fx);
    struct gyre_slot loose = {NULL};
    struct pair pair = {a, &b->left};
    assert_fatal(write_slot, &pair, "is no slot of the plain node object");
    assert_fatal(write_shared, &pair, "is no slot of the plain node object");
    pair.slot = &loose;
    assert_fatal(write_slot, &pair, "is no slot of the plain node object");
    pair.slot = &a->right;
    write_slot(&pair);
    node_drop(b);
    pair = (struct pair){b, &b->left};
    assert_fatal(write_slot, &pair, "slot write of");
    node_drop(a);
}

/* ---- types ---- */

static struct gyre_type item_type = {
    .name = "with items",
    .size = sizeof(struct gyre_var_object),
    .item_size = 8,
};

static void
make_without_count(void *arg)
{
    (void)arg;
    (void)gyre_new(&item_type);
}

static void
make_too_short(void *arg)
{
    (void)arg;
    (void)gyre_new_sized(&plain_node_type, 16);
}

/* Covers docs/design/object.md .object, .fail: what is made has its type's
 * size, and its items are counted. */
static void
test_wrong_sizes_are_named(void **state)
{
    (void)state;
    assert_int_equal(gyre_type_ready(&item_type), GYRE_OK);
    assert_fatal(make_without_count, NULL, "with items has items");
    assert_fatal(make_too_short, NULL, "plain node has");
}

static void
immortalize(void *arg)
{
    gyre_make_immortal(arg);
}

/* Covers docs/design/refcount.md .rc.immortal, .fail: only the sole reference
 * makes immortal. */
static void
test_making_a_shared_object_immortal_is_named(void **state)
{
    struct fixture *fx = *state;
    struct node *node = plain_node_new(fx);
    gyre_incref(&node->head);
    assert_fatal(immortalize, node, "gyre_is_unique");
    node_drop(node);
    node_drop(node);
}

/* ---- the collector notices ---- */

static void
collect_now(void *arg)
{
    (void)gyre_collect(arg, GYRE_GEN_OLD);
}

/* Covers docs/design/cycle.md .cycle.suspect, .fail: a slot whose reference
 * was never counted shows in a collection: slots name the object more often
 * than it is referenced. In a process of its own, as the world stays
 * stopped. */
static void
test_reference_that_was_not_counted_is_named_by_a_collection(void **state)
{
    struct fixture fx;
    struct node *a, *b;
    (void)state;
    /* with the world running both numbers are guesses */
    fixture_open(&fx, "gc.automatic=0,gc.thread=0,gc.concurrent=0");
    b = plain_node_new(&fx); /* first, and looked at first */
    a = plain_node_new(&fx);
    gyre_slot_move(&a->head, &a->left, &b->head);
    gyre_slot_move(&a->head, &a->right, &b->head); /* the same one again */
    assert_fatal(collect_now, fx.heap, "slots that name it 2 times");
    /* the heap is left as it is: its world stays stopped for good */
}

#endif

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_another_threads_handle_is_named),
        TEST(test_detached_regions_out_of_order_are_named),
        TEST(test_leaving_from_a_finalizer_is_named),
        TEST(test_enabling_once_too_often_is_named),
        TEST(test_type_that_is_not_ready_is_named),
#if GYRE_CHECKING
        TEST(test_use_of_a_dead_object_is_named),
        TEST(test_another_threads_decref_of_the_dead_is_named),
        TEST(test_use_without_attaching_is_named),
        TEST(test_use_in_a_detached_region_is_named),
        TEST(test_weak_get_of_another_object_is_named),
        TEST(test_slot_of_another_holder_is_named),
        TEST(test_wrong_sizes_are_named),
        TEST(test_making_a_shared_object_immortal_is_named),
        /* last: the thread stays in a heap that is stopped */
        cmocka_unit_test(
            test_reference_that_was_not_counted_is_named_by_a_collection),
#endif
    };
    return cmocka_run_group_tests_name("misuse", tests, NULL, NULL);
}
