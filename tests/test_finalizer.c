/* Finalizers: once, with the object whole, and it may live on. */
#include "support/fixture.h"

/* ---- when ---- */

/* Covers docs/design/weakref.md .final: a prompt finalizer runs inside the
 * decref, another at the next safepoint, with the object alive until then. */
static void
test_finalizer_runs_in_the_decref_or_at_a_safepoint(void **state)
{
    struct fixture *fx = *state;
    node_drop(node_new(fx));
    assert_int_equal(fixture_finalized(fx), 1);
    assert_int_equal(fixture_live(fx), 0);
    node_drop(late_node_new(fx));
    assert_int_equal(fixture_finalized(fx), 1);
    assert_int_equal(fixture_live(fx), 1);
    gyre_safepoint(fx->self);
    assert_int_equal(fixture_finalized(fx), 2);
    assert_int_equal(fixture_live(fx), 0);
}

static struct node *kept;

static void
keep(struct node *node)
{
    gyre_incref(&node->head);
    kept = node;
}

/* Covers docs/design/weakref.md .final: an object that its finalizer stores
 * somewhere lives on, and is not finalized again when it dies at last. */
static void
test_resurrected_object_is_not_finalized_again(void **state)
{
    struct fixture *fx = *state;
    fx->on_finalize = keep;
    for (int late = 0; late < 2; late++) {
        for (int cyclic = 0; cyclic < 2; cyclic++) {
            struct node *node = late ? late_node_new(fx) : node_new(fx);
            int before = fixture_finalized(fx);
            kept = NULL;
            if (cyclic)
                node_link(node, node);
            node_drop(node);
            assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
            assert_ptr_equal(kept, node);
            assert_int_equal(fixture_live(fx), 1);
            assert_int_equal(gyre_reference_count(&kept->head), 1 + cyclic);
            assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
            node_drop(kept);
            assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(fixture_live(fx), 0);
            assert_int_equal(fixture_finalized(fx), before + 1);
        }
    }
}

static void
see_peers(struct node *node)
{
    struct node *left = (struct node *)gyre_slot_peek(&node->left);
    GYRE_CHECK(left != NULL && left->fx == node->fx,
               "a finalizer found its peer cleared");
}

/* Covers docs/design/weakref.md .final, CPython issue 136189: finalizers of a
 * cycle find all of it whole. */
static void
test_finalizers_of_a_ring_find_it_whole(void **state)
{
    struct fixture *fx = *state;
    struct node *nodes[10];
    fx->on_finalize = see_peers;
    for (int i = 0; i < 10; i++)
        nodes[i] = i & 1 ? late_node_new(fx) : node_new(fx);
    for (int i = 0; i < 10; i++)
        node_link(nodes[i], nodes[(i + 1) % 10]);
    for (int i = 0; i < 10; i++)
        node_drop(nodes[i]);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_finalized(fx), 10);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- what a finalizer may do ---- */

static void
collect_inside(struct node *node)
{
    GYRE_CHECK(gyre_collect(node->fx->heap, GYRE_GEN_OLD) == GYRE_OK,
               "a collection was not queued");
    GYRE_CHECK(gyre_garbage_pop(node->fx->heap) == NULL, "garbage");
    GYRE_CHECK(gyre_heap_check(node->fx->heap) == GYRE_ERR_STATE,
               "a check inside a finalizer");
    gyre_safepoint(gyre_thread_self());
}

/* Covers docs/design/cycle.md .policy: a collection asked for by a finalizer
 * is queued and runs at the next outermost safepoint. */
static void
test_collection_asked_for_by_a_finalizer_is_queued(void **state)
{
    struct fixture *fx = *state;
    struct gyre_statistics statistics;
    struct node *ring = plain_node_new(fx);
    fx->on_finalize = collect_inside;
    node_link(ring, ring);
    node_drop(ring);
    node_drop(node_new(fx));
    assert_int_equal(fixture_live(fx), 1);
    gyre_safepoint(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.collections[GYRE_GEN_OLD], 1);
    /* and inside a collection's own */
    ring = node_new(fx);
    node_link(ring, ring);
    node_drop(ring);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.collections[GYRE_GEN_YOUNG], 1);
    assert_int_equal(statistics.collections[GYRE_GEN_OLD], 2);
    assert_int_equal(fixture_live(fx), 0);
}

static void
make_more(struct node *node)
{
    /* more than what lies free in any page, referred to by the member, which
     * thereby refers to what the collection has not seen */
    struct node *chain = NULL;
    for (int i = 0; i < 5000; i++) {
        struct node *next = plain_node_new(node->fx);
        if (chain != NULL)
            gyre_slot_move(&next->head, &next->left, &chain->head);
        chain = next;
    }
    gyre_slot_move(&node->head, &node->right, &chain->head);
}

/* Covers docs/design/cycle.md .prove.exact: members that finalizers let refer
 * to objects made meanwhile are proved and freed with those; no other object
 * is harmed. */
static void
test_finalizers_may_make_objects_and_refer_to_them(void **state)
{
    struct fixture *fx = *state;
    struct node *others[64];
    fx->on_finalize = make_more;
    for (int i = 0; i < 64; i++) {
        others[i] = plain_node_new(fx);
        node_link(others[i], others[i]);
    }
    for (int i = 0; i < 8; i++) {
        struct node *node = node_new(fx);
        gyre_slot_set(&node->head, &node->left, &node->head);
        node_drop(node);
    }
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 64);
    for (int i = 0; i < 64; i++)
        assert_int_equal(gyre_reference_count(&others[i]->head), 2);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    for (int i = 0; i < 64; i++)
        node_drop(others[i]);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
}

static void
break_cycle(struct node *node)
{
    gyre_slot_set(&node->head, &node->left, NULL);
    gyre_slot_set(&node->head, &node->right, NULL);
}

/* Covers docs/design/weakref.md .final, .mem.limbo: a finalizer that takes
 * its cycle apart kills members under the collector's eyes, once each. */
static void
test_finalizers_may_break_their_cycles(void **state)
{
    struct fixture *fx = *state;
    fx->on_finalize = break_cycle;
    for (int round = 0; round < 50; round++) {
        struct node *a = node_new(fx), *b = plain_node_new(fx);
        struct node *c = node_new(fx);
        node_link(a, b);
        node_link(b, c);
        node_link(c, a);
        node_link(a, c);
        node_drop(a);
        node_drop(b);
        node_drop(c);
    }
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), 100);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

static struct node *root;

static void
resurrect_peer(struct node *node)
{
    if (root == NULL)
        root = (struct node *)gyre_slot_get(&node->left);
}

/* Covers docs/design/cycle.md .prove.exact: what a finalizer makes reachable
 * again lives on with all it refers to; the rest of the set is freed. */
static void
test_only_what_finalizers_resurrect_lives_on(void **state)
{
    struct fixture *fx = *state;
    struct node *pairs[20][2];
    root = NULL;
    fx->on_finalize = resurrect_peer;
    for (int i = 0; i < 20; i++) {
        pairs[i][0] = node_new(fx);
        pairs[i][1] = plain_node_new(fx);
        node_link(pairs[i][0], pairs[i][1]);
        node_link(pairs[i][1], pairs[i][0]);
    }
    for (int i = 0; i < 20; i++)
        for (int k = 0; k < 2; k++)
            node_drop(pairs[i][k]);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 2);
    assert_int_equal(gyre_reference_count(&root->head), 2);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    node_drop(root);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(fixture_finalized(fx), 20);
}

/* ---- threads ---- */

static void
drop_late(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)self;
    (void)arg;
    for (int i = 0; i < 100; i++)
        node_drop(late_node_new(fx));
}

/* Covers docs/design/threads.md .thread: a thread that leaves runs its pending
 * finalizers first. */
static void
test_leaving_runs_pending_finalizers(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    worker_start(&worker, fx, drop_late, NULL);
    worker_join(&worker);
    assert_int_equal(fixture_finalized(fx), 100);
    assert_int_equal(fixture_live(fx), 0);
}

static void
drop_it(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    (void)self;
    gyre_decref(arg);
}

/* Covers docs/design/weakref.md .final: it runs once, whoever gives the last
 * reference up. */
static void
test_finalizer_runs_once_whoever_drops_the_last_reference(void **state)
{
    struct fixture *fx = *state;
    for (int i = 0; i < 20; i++) {
        struct node *node = i & 1 ? late_node_new(fx) : node_new(fx);
        struct worker first, second;
        gyre_incref(&node->head);
        if (i & 2)
            gyre_incref(&node->head);
        worker_start(&first, fx, drop_it, node);
        worker_start(&second, fx, drop_it, node);
        if (i & 2)
            node_drop(node);
        worker_join(&first);
        worker_join(&second);
        assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
        assert_int_equal(fixture_live(fx), 0);
        assert_int_equal(fixture_finalized(fx), i + 1);
    }
}

/* ---- the heap's end ---- */

static int dealloc_found_slots;

static void
look_at_slots(struct gyre_object *obj)
{
    struct node *node = (struct node *)obj;
    dealloc_found_slots += gyre_slot_peek(&node->left) != NULL ||
                           gyre_slot_peek(&node->right) != NULL;
    gyre_fetch_sub_relaxed(&node->fx->live, 1);
}

static const uint32_t curious_slots[] = {offsetof(struct node, left),
                                         offsetof(struct node, right)};
static struct gyre_type curious_type = {
    .name = "curious",
    .size = sizeof(struct node),
    .slot_count = 2,
    .slots = curious_slots,
    .dealloc = look_at_slots,
};

/* Covers docs/design/object.md .object: what lives at the heap's end gets its
 * dealloc, once, with its slots forgotten, and no finalizer. */
static void
test_destroying_a_heap_deallocates_what_lives(void **state)
{
    struct fixture fx;
    struct node *last = NULL;
    (void)state;
    fixture_open(&fx, "gc.automatic=0");
    assert_int_equal(gyre_type_ready(&curious_type), GYRE_OK);
    dealloc_found_slots = 0;
    for (int i = 0; i < 1000; i++) {
        struct node *node = i % 3 == 0 ? node_new(&fx) : plain_node_new(&fx);
        if (i % 3 == 1) {
            node = GYRE_NEW(struct node, &curious_type);
            node->fx = &fx;
            node_drop(GYRE_NEW(struct node, &plain_node_type));
            fx.live++;
        }
        if (i % 3 == 2)
            node_drop(node_new(&fx));
        if (last != NULL && i % 5 != 0)
            gyre_slot_move(&node->head, &node->left, &last->head);
        last = node;
    }
    /* half of the nodes made above died and were finalized by counts */
    int finalized = fixture_finalized(&fx);
    fixture_close(&fx);
    assert_int_equal(fx.finalized, finalized);
    assert_int_equal(fx.live, 0);
    assert_int_equal(dealloc_found_slots, 0);
}

/* ---- a member's block given to another while the cycle is open ---- */

#define BLOCK_TRIES 20000

static struct gyre_object *handed_over; /* its reference goes with it */
static struct gyre_object *bystanders;  /* a list by `left`, all held by it */
static bool block_is_reused;

static void
kill_member_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct node *member = (struct node *)handed_over;
    (void)fx, (void)self, (void)arg;
    gyre_slot_set(&member->head, &member->left, NULL);
    node_drop(member);
}

/* Have another thread kill a member and leave, and make objects until one
 * gets the block. */
static void
want_block_of_member(struct node *node)
{
    struct fixture *fx = node->fx;
    struct worker worker;
    void *block;
    fx->on_finalize = NULL;
    handed_over = gyre_slot_take(&node->head, &node->left);
    block = handed_over;
    worker_start(&worker, fx, kill_member_and_leave, NULL);
    worker_join(&worker);
    for (int i = 0; i < BLOCK_TRIES && !block_is_reused; i++) {
        struct node *made = late_node_new(fx);
        if (made == block)
            block_is_reused = true;
        gyre_slot_move(&made->head, &made->left, bystanders);
        bystanders = &made->head;
    }
}

/* .final .mem.limbo .open.leave */
static void
test_block_of_a_member_is_not_reused_when_its_killer_has_left(void **state)
{
    struct fixture *fx = *state;
    struct node *first = late_node_new(fx), *second = plain_node_new(fx);
    bystanders = NULL;
    block_is_reused = false;
    gyre_slot_set(&first->head, &first->right, &first->head);
    gyre_slot_set(&second->head, &second->left, &first->head);
    gyre_slot_move(&first->head, &first->left, &second->head);
    node_drop(first);
    fx->on_finalize = want_block_of_member;
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    fx->on_finalize = NULL;
    assert_false(block_is_reused);
    assert_int_equal(fixture_finalized(fx), 1);
    if (bystanders != NULL)
        gyre_decref(bystanders);
    gyre_safepoint(fx->self);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- the heap's end ---- */

struct keeper {
    struct gyre_object head;
    struct gyre_object *kept; /* beyond what tables say */
    int *deallocs;
};

static void
keeper_dealloc(struct gyre_object *obj)
{
    struct keeper *keeper = (struct keeper *)obj;
    ++*keeper->deallocs;
    if (keeper->kept != NULL)
        gyre_decref(keeper->kept);
}

static struct gyre_type keeper_type = {
    .name = "keeper",
    .size = sizeof(struct keeper),
    .dealloc = keeper_dealloc,
};

/* .heap.destroy .mem.limit: nor does it take memory, were there none. */
static void
test_dealloc_runs_once_at_the_heaps_end_whatever_others_give_up(void **state)
{
    struct fixture fx;
    int deallocs = 0;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,gc.thread=0");
    assert_int_equal(gyre_type_ready(&keeper_type), GYRE_OK);
    for (int i = 0; i < 10; i++) {
        struct keeper *kept = GYRE_NEW(struct keeper, &keeper_type);
        struct keeper *keeper = GYRE_NEW(struct keeper, &keeper_type);
        kept->deallocs = keeper->deallocs = &deallocs;
        keeper->kept = &kept->head;
    }
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HARD_LIMIT, 1),
                     GYRE_OK);
    fixture_close(&fx);
    assert_int_equal(deallocs, 20);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_finalizer_runs_in_the_decref_or_at_a_safepoint),
        TEST(test_resurrected_object_is_not_finalized_again),
        TEST(test_finalizers_of_a_ring_find_it_whole),
        TEST(test_collection_asked_for_by_a_finalizer_is_queued),
        TEST(test_finalizers_may_make_objects_and_refer_to_them),
        TEST(test_finalizers_may_break_their_cycles),
        TEST(test_only_what_finalizers_resurrect_lives_on),
        TEST(test_leaving_runs_pending_finalizers),
        TEST(test_finalizer_runs_once_whoever_drops_the_last_reference),
        cmocka_unit_test(test_destroying_a_heap_deallocates_what_lives),
        TEST(test_block_of_a_member_is_not_reused_when_its_killer_has_left),
        cmocka_unit_test(
            test_dealloc_runs_once_at_the_heaps_end_whatever_others_give_up),
    };
    return cmocka_run_group_tests_name("finalizer", tests, NULL, NULL);
}
