/* Deaths of large structures by counts. */
#include "support/fixture.h"

#include "heap.h"

#if GYRE_CHECKING
#define LINKS 300000
#else
#define LINKS 10000000
#endif

/* ---- helpers ---- */

static struct gyre_type bare_type; /* two slots, no callback */
static const uint32_t bare_slots[] = {offsetof(struct node, left),
                                      offsetof(struct node, right)};

static void
ready_bare_type(void)
{
    bare_type = (struct gyre_type){
        .name = "bare",
        .size = sizeof(struct node),
        .slot_count = 2,
        .slots = bare_slots,
    };
    assert_int_equal(gyre_type_ready(&bare_type), GYRE_OK);
}

static struct node *
chain_of(struct fixture *fx, int links, struct gyre_type *type)
{
    struct node *head = NULL;
    for (int i = 0; i < links; i++) {
        struct node *node = GYRE_NEW(struct node, type);
        assert_non_null(node);
        if (type->dealloc != NULL) {
            node->fx = fx;
            gyre_fetch_add_relaxed(&fx->live, 1);
        }
        if (head != NULL)
            gyre_slot_move(&node->head, i & 1 ? &node->left : &node->right,
                           &head->head);
        head = node;
    }
    return head;
}

static uint64_t
live_containers(struct fixture *fx)
{
    struct gyre_statistics statistics;
    /* exact after a check, which notes all pages */
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gyre_statistics_get(fx->heap, &statistics);
    return statistics.blocks_in_use[GYRE_PAGE_CONTAINER];
}

/* ---- depth and breadth ---- */

/* Covers docs/design/refcount.md .rc.cascade: ten million links deep is fine,
 * through whichever slot. */
static void
test_deep_chain_dies_without_recursion(void **state)
{
    struct fixture *fx = *state;
    struct node *head;
    ready_bare_type();
    head = chain_of(fx, LINKS, &bare_type);
    node_drop(head);
    head = chain_of(fx, 100000, &plain_node_type);
    node_drop(head);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/refcount.md .rc.cascade: a chain of finalizers neither
 * recurses nor leaves one out. */
static void
test_deep_chain_of_finalizers_runs_each(void **state)
{
    struct fixture *fx = *state;
    struct node *head = chain_of(fx, 200000, &node_type);
    node_drop(head);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), 200000);
}

static struct node *
tree_of(struct fixture *fx, int depth, struct gyre_type *type)
{
    struct node *node = chain_of(fx, 1, type);
    if (depth > 1) {
        gyre_slot_move(&node->head, &node->left,
                       &tree_of(fx, depth - 1, type)->head);
        gyre_slot_move(&node->head, &node->right,
                       &tree_of(fx, depth - 1, type)->head);
    }
    return node;
}

/* Covers docs/design/refcount.md .rc.cascade: breadth is as good as depth. */
static void
test_tree_dies_whole(void **state)
{
    struct fixture *fx = *state;
    node_drop(tree_of(fx, 15, &plain_node_type));
    assert_int_equal(fixture_live(fx), 0);
    node_drop(tree_of(fx, 13, &node_type));
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), (1 << 13) - 1);
}

/* ---- wide objects: more die at once than wait in the stack ---- */

#define WIDE 1000

static struct gyre_type wide_type = {
    .name = "wide",
    .size = sizeof(struct gyre_var_object),
    .item_size = sizeof(struct gyre_slot),
    .item_slot = 1,
};

static struct gyre_slot *
wide_slot(void *wide, size_t index)
{
    return (struct gyre_slot *)((struct gyre_var_object *)wide + 1) + index;
}

/* Covers docs/design/refcount.md .rc.cascade: of a wide object whose referents
 * all die, each with children, none is lost, finalizers or not. */
static void
test_wide_object_dies_with_all_it_refers_to(void **state)
{
    struct fixture *fx = *state;
    struct gyre_type *kinds[] = {&plain_node_type, &node_type};
    assert_int_equal(gyre_type_ready(&wide_type), GYRE_OK);
    for (int kind = 0; kind < 2; kind++) {
        struct gyre_object *wide = gyre_new_items(&wide_type, WIDE);
        assert_non_null(wide);
        for (int i = 0; i < WIDE; i++)
            gyre_slot_move(wide, wide_slot(wide, (size_t)i),
                           &tree_of(fx, 4, kinds[kind])->head);
        assert_int_equal(fixture_live(fx), WIDE * 15);
        gyre_decref(wide);
        assert_int_equal(fixture_live(fx), 0);
    }
    assert_int_equal(fixture_finalized(fx), WIDE * 15);
}

/* A finalizer that drops several further structures while the cascade is in
 * the middle of giving up first slots. */
static struct gyre_object *hoard[512];
static int hoarded;

static void
drop_hoard(struct node *node)
{
    (void)node;
    for (int i = 0; i < 3 && hoarded > 0; i++)
        gyre_decref(hoard[--hoarded]);
}

/* Covers docs/design/refcount.md .rc.cascade: what prompt finalizers drop in
 * the middle of a cascade is freed as well. */
static void
test_finalizers_may_drop_structures_in_a_cascade(void **state)
{
    struct fixture *fx = *state;
    struct gyre_object *wide;
    assert_int_equal(gyre_type_ready(&wide_type), GYRE_OK);
    for (hoarded = 0; hoarded < 512; hoarded++)
        hoard[hoarded] = &tree_of(fx, 4, &plain_node_type)->head;
    wide = gyre_new_items(&wide_type, WIDE);
    for (int i = 0; i < WIDE; i++) {
        struct node *outer = plain_node_new(fx), *inner = node_new(fx);
        node_link(outer, inner);
        node_drop(inner);
        gyre_slot_move(wide, wide_slot(wide, (size_t)i), &outer->head);
    }
    fx->on_finalize = drop_hoard;
    gyre_decref(wide);
    assert_int_equal(hoarded, 0);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- arrays, own storage ---- */

struct owner {
    struct gyre_object head;
    struct gyre_object *own; /* counted, known to trace and clear */
};

static void
owner_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    edge(gyre_load_relaxed(&((struct owner *)obj)->own), arg);
}

static void
owner_clear(struct gyre_object *obj)
{
    struct owner *owner = (struct owner *)obj;
    struct gyre_object *own = owner->own;
    gyre_touch(obj);
    gyre_store_relaxed(&owner->own, (struct gyre_object *)NULL);
    if (own != NULL)
        gyre_decref(own);
}

static struct gyre_type owner_type = {
    .name = "owner",
    .size = sizeof(struct owner),
    .trace = owner_trace,
    .clear = owner_clear,
};

/* Covers docs/design/refcount.md .rc.cascade: types without a slot wait in a
 * list, at any depth. */
static void
test_chain_through_own_storage_dies_without_recursion(void **state)
{
    struct fixture *fx = *state;
    struct gyre_object *wide;
    struct owner *head = NULL;
    uint64_t before;
    assert_int_equal(gyre_type_ready(&owner_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&wide_type), GYRE_OK);
    before = live_containers(fx);
    wide = gyre_new_items(&wide_type, WIDE);
    for (int i = 0; i < WIDE * 100; i++) {
        struct owner *owner = GYRE_NEW(struct owner, &owner_type);
        assert_non_null(owner);
        owner->own = head != NULL ? &head->head : NULL;
        head = owner;
        if (i % 100 == 99) {
            gyre_slot_move(wide, wide_slot(wide, (size_t)(i / 100)),
                           &head->head);
            head = NULL;
        }
    }
    gyre_decref(wide);
    assert_int_equal(live_containers(fx), before);
}

/* ---- budget ---- */

/* Covers docs/design/refcount.md .rc.cascade: with a budget the rest of a
 * cascade is left for the next safepoints, and is all done in the end. */
static void
test_budget_leaves_the_rest_to_safepoints(void **state)
{
    struct fixture *fx = *state;
    struct gyre_statistics statistics;
    int before, polls = 0;
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_CASCADE_BUDGET, 100),
                     GYRE_OK);
    node_drop(chain_of(fx, 1000, &plain_node_type));
    before = fixture_live(fx);
    assert_in_range(before, 1, 999);
    while (fixture_live(fx) > 0) {
        gyre_safepoint(fx->self);
        polls++;
        assert_true(fixture_live(fx) < before);
        before = fixture_live(fx);
    }
    assert_in_range(polls, 5, 20);
    gyre_statistics_get(fx->heap, &statistics);
    assert_true(statistics.cascade_deferred >= 5);
}

/* Covers docs/design/refcount.md .rc.cascade: who detaches or leaves finishes
 * its put-off cascade first. */
static void
test_detaching_finishes_the_cascade(void **state)
{
    struct fixture *fx = *state;
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_CASCADE_BUDGET, 10),
                     GYRE_OK);
    node_drop(chain_of(fx, 1000, &plain_node_type));
    assert_true(fixture_live(fx) > 0);
    gyre_detach_begin(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    gyre_detach_end(fx->self);
}

struct late {
    struct gate dropped, checked;
};

static void
drop_with_budget(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct late *late = arg;
    struct node *chain = chain_of(fx, 500, &plain_node_type);
    struct node *ring = plain_node_new(fx), *end = chain;
    node_link(ring, ring);
    while (gyre_slot_peek(&end->left) != NULL ||
           gyre_slot_peek(&end->right) != NULL) {
        struct gyre_object *next = gyre_slot_peek(&end->left);
        if (next == NULL)
            next = gyre_slot_peek(&end->right);
        end = (struct node *)next;
    }
    gyre_slot_move(&end->head, &end->left, &ring->head);
    node_drop(chain);
    pthread_mutex_lock(&late->dropped.lock); /* without a safepoint */
    late->dropped.open = true;
    pthread_cond_broadcast(&late->dropped.opened);
    pthread_mutex_unlock(&late->dropped.lock);
    for (;;) {
        bool over;
        pthread_mutex_lock(&late->checked.lock);
        over = late->checked.open;
        pthread_mutex_unlock(&late->checked.lock);
        if (over)
            break;
        gyre_safepoint(self);
    }
}

/* Covers docs/design/cycle.md .cycle.live: a cascade that another thread has
 * put off does not keep a cycle behind it from being collected. */
static void
test_put_off_cascade_does_not_hide_garbage_from_a_collection(void **state)
{
    struct fixture *fx = *state;
    struct late late = {GATE_INIT, GATE_INIT};
    struct worker worker;
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_CASCADE_BUDGET, 1),
                     GYRE_OK);
    worker_start(&worker, fx, drop_with_budget, &late);
    gate_wait(&late.dropped);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    gate_open(&late.checked);
    worker_join(&worker);
}

/* ---- a cascade that is put off while a collection looks at candidates ---- */

static struct {
    uint32_t wanted;          /* the next trace waits; atomic */
    uint32_t traced, put_off; /* atomic */
    uint32_t checked;         /* atomic */
} midway;

/* The first time it is asked for in a collection, others go on first. */
static void
midway_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    (void)obj, (void)edge, (void)arg;
    if (gyre_exchange_relaxed(&midway.wanted, 0) == 0)
        return;
    gyre_store_relaxed(&midway.traced, 1);
    while (gyre_load_relaxed(&midway.put_off) == 0)
        ;
}

static struct gyre_type midway_type = {.name = "midway",
                                       .size = sizeof(struct owner),
                                       .flags = GYRE_TYPE_TRACE_ANYTIME,
                                       .trace = midway_trace};

/* What dies here dies after OPEN, and waits until the heap was checked: each
 * safepoint frees one alone, and there is one only where others wait for it. */
static void
put_off_midway(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct gyre_object *wide = gyre_new_items(&wide_type, WIDE);
    (void)arg;
    assert_non_null(wide);
    for (int i = 0; i < WIDE; i++)
        gyre_slot_move(wide, wide_slot(wide, (size_t)i),
                       &plain_node_new(fx)->head);
    gyre_store_relaxed(&midway.wanted, 1);
    while (gyre_load_relaxed(&midway.traced) == 0)
        gyre_safepoint(self);
    gyre_decref(wide);
    gyre_store_relaxed(&midway.put_off, 1);
    while (gyre_load_relaxed(&midway.checked) == 0)
        if (gyre_load_relaxed(&self->requests) & ~(uint32_t)REQUEST_PENDING)
            gyre_safepoint(self);
}

/* Covers docs/design/concurrent.md .close.order: the dead that wait for their
 * end age as well, or their page would not know them. */
static void
test_the_dead_of_a_put_off_cascade_age(void **state)
{
    struct fixture fx;
    struct worker worker;
    struct gyre_object *midway_object;
    (void)state;
    memset(&midway, 0, sizeof midway);
    fixture_open(&fx, "gc.automatic=0,cascade.budget=1");
    /* whatever the environment says */
    gyre_option_set(fx.heap, GYRE_OPT_GC_CONCURRENT, 1);
    assert_int_equal(gyre_type_ready(&wide_type), GYRE_OK);
    assert_int_equal(gyre_type_ready(&midway_type), GYRE_OK);
    midway_object = (struct gyre_object *)GYRE_NEW(struct owner, &midway_type);
    assert_non_null(midway_object);
    worker_start(&worker, &fx, put_off_midway, NULL);
    while (gyre_load_relaxed(&midway.wanted) == 0)
        gyre_safepoint(fx.self);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_true(fixture_live(&fx) > 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    gyre_store_relaxed(&midway.checked, 1);
    worker_join(&worker);
    gyre_decref(midway_object);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_deep_chain_dies_without_recursion,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_deep_chain_of_finalizers_runs_each,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_tree_dies_whole, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_wide_object_dies_with_all_it_refers_to, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_finalizers_may_drop_structures_in_a_cascade, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_chain_through_own_storage_dies_without_recursion,
            fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_budget_leaves_the_rest_to_safepoints, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_detaching_finishes_the_cascade,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_put_off_cascade_does_not_hide_garbage_from_a_collection,
            fixture_setup, fixture_teardown),
        cmocka_unit_test(test_the_dead_of_a_put_off_cascade_age),
    };
    return cmocka_run_group_tests_name("cascade", tests, NULL, NULL);
}
