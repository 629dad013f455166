/* Slots: counted references in bodies, with one writer or many. */
#include "support/fixture.h"

/* ---- plain forms ---- */

/* Covers docs/design/object.md .slot: set counts, move takes over, take and
 * exchange give back, peek borrows, get takes a reference. */
static void
test_plain_forms_account_for_every_reference(void **state)
{
    struct fixture *fx = *state;
    struct node *holder = plain_node_new(fx), *value = plain_node_new(fx);
    struct node *other = plain_node_new(fx);
    struct gyre_object *out;
    gyre_slot_set(&holder->head, &holder->left, &value->head);
    assert_int_equal(gyre_reference_count(&value->head), 2);
    assert_ptr_equal(gyre_slot_peek(&holder->left), &value->head);
    assert_int_equal(gyre_reference_count(&value->head), 2);
    out = gyre_slot_get(&holder->left);
    assert_int_equal(gyre_reference_count(&value->head), 3);
    gyre_decref(out);
    gyre_incref(&other->head);
    gyre_slot_move(&holder->head, &holder->left, &other->head);
    assert_int_equal(gyre_reference_count(&value->head), 1);
    assert_int_equal(gyre_reference_count(&other->head), 2);
    gyre_incref(&value->head);
    out = gyre_slot_exchange(&holder->head, &holder->left, &value->head);
    assert_ptr_equal(out, &other->head);
    gyre_decref(out);
    assert_int_equal(gyre_reference_count(&other->head), 1);
    out = gyre_slot_take(&holder->head, &holder->left);
    assert_ptr_equal(out, &value->head);
    assert_null(gyre_slot_peek(&holder->left));
    assert_null(gyre_slot_get(&holder->left));
    assert_null(gyre_slot_take(&holder->head, &holder->left));
    gyre_decref(out);
    gyre_slot_set(&holder->head, &holder->left, NULL);
    node_drop(value);
    node_drop(other);
    node_drop(holder);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/object.md .slot: a slot may name its holder, and the same
 * object twice; setting what is there already loses nothing. */
static void
test_slot_set_to_its_own_content_keeps_it_alive(void **state)
{
    struct fixture *fx = *state;
    struct node *holder = plain_node_new(fx), *value = plain_node_new(fx);
    gyre_slot_move(&holder->head, &holder->left, &value->head);
    gyre_slot_set(&holder->head, &holder->left, &value->head);
    gyre_slot_set(&holder->head, &holder->right, &value->head);
    assert_int_equal(gyre_reference_count(&value->head), 2);
    gyre_slot_set(&holder->head, &holder->left, &holder->head);
    gyre_slot_set(&holder->head, &holder->left, NULL);
    assert_int_equal(gyre_reference_count(&holder->head), 1);
    node_drop(holder);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- shared forms ---- */

/* Covers docs/design/object.md .slot, docs/design/refcount.md .rc.try: what a
 * shared writer stores is PUBLISHED, and the counts are right. */
static void
test_shared_forms_account_for_every_reference(void **state)
{
    struct fixture *fx = *state;
    struct node *holder = plain_node_new(fx), *value = plain_node_new(fx);
    struct gyre_object *out;
    assert_null(gyre_slot_get_shared(&holder->head, &holder->left));
    gyre_slot_set_shared(&holder->head, &holder->left, &value->head);
    assert_true(value->head.rc_shared & GYRE_RC_PUBLISHED);
    assert_int_equal(gyre_reference_count(&value->head), 2);
    out = gyre_slot_get_shared(&holder->head, &holder->left);
    assert_ptr_equal(out, &value->head);
    assert_int_equal(gyre_reference_count(&value->head), 3);
    gyre_decref(out);
    out = gyre_slot_exchange_shared(&holder->head, &holder->left, NULL);
    assert_ptr_equal(out, &value->head);
    gyre_decref(out);
    gyre_slot_set_shared(&holder->head, &holder->left, NULL);
    node_drop(value);
    node_drop(holder);
    assert_int_equal(fixture_live(fx), 0);
}

#define SHARERS 4
#define SHARES 5000

static void
share(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct node *holder = arg;
    for (int i = 0; i < SHARES; i++) {
        struct gyre_slot *slot = i & 1 ? &holder->left : &holder->right;
        struct gyre_object *out;
        if ((i & 3) == 0) {
            struct node *node = plain_node_new(fx);
            out = gyre_slot_exchange_shared(&holder->head, slot, &node->head);
            if (out != NULL)
                gyre_decref(out);
        } else if ((out = gyre_slot_get_shared(&holder->head, slot)) != NULL) {
            /* alive, or the type and the fixture in it would be garbage */
            GYRE_CHECK(((struct node *)out)->fx == fx, "freed too early");
            gyre_decref(out);
        }
        gyre_safepoint(self);
    }
}

/* Covers docs/design/refcount.md .rc.try: readers of a slot that others write
 * get a live object or none, and every object is freed in the end. */
static void
test_readers_of_a_busy_slot_find_live_objects(void **state)
{
    struct fixture *fx = *state;
    struct worker workers[SHARERS];
    struct node *holder = plain_node_new(fx);
    for (int i = 0; i < SHARERS; i++)
        worker_start(&workers[i], fx, share, holder);
    for (int i = 0; i < SHARERS; i++) {
        assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
        worker_join(&workers[i]);
    }
    node_drop(holder);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- touching ---- */

struct cell {
    struct gyre_object head;
    struct gyre_object *own; /* counted, known to trace and clear */
    struct gyre_slot slot;
    struct fixture *fx;
};

static void
cell_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    edge(((struct cell *)obj)->own, arg);
}

static void
cell_clear(struct gyre_object *obj)
{
    struct cell *cell = (struct cell *)obj;
    struct gyre_object *own = cell->own;
    gyre_touch(obj);
    cell->own = NULL;
    if (own != NULL)
        gyre_decref(own);
}

static void
cell_dealloc(struct gyre_object *obj)
{
    gyre_fetch_sub_relaxed(&((struct cell *)obj)->fx->live, 1);
}

static const uint32_t cell_slots[] = {offsetof(struct cell, slot)};
static struct gyre_type cell_type = {
    .name = "cell",
    .size = sizeof(struct cell),
    .slot_count = 1,
    .slots = cell_slots,
    .trace = cell_trace,
    .clear = cell_clear,
    .dealloc = cell_dealloc,
};

/* Covers docs/design/object.md .slot.touch: types with storage of their own
 * beside slots are collected and freed like others. */
static void
test_own_storage_beside_slots_is_traced_and_cleared(void **state)
{
    struct fixture *fx = *state;
    struct cell *a, *b;
    assert_int_equal(gyre_type_ready(&cell_type), GYRE_OK);
    for (int round = 0; round < 2; round++) {
        a = GYRE_NEW(struct cell, &cell_type);
        b = GYRE_NEW(struct cell, &cell_type);
        a->fx = b->fx = fx;
        gyre_fetch_add_relaxed(&fx->live, 2);
        gyre_touch(&a->head);
        a->own = &b->head; /* b's only reference */
        if (round == 0) {
            gyre_decref(&a->head);
        } else {
            gyre_slot_move(&b->head, &b->slot, &a->head);
            assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
        }
        assert_int_equal(fixture_live(fx), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_plain_forms_account_for_every_reference, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_slot_set_to_its_own_content_keeps_it_alive, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_shared_forms_account_for_every_reference, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_readers_of_a_busy_slot_find_live_objects, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_own_storage_beside_slots_is_traced_and_cleared, fixture_setup,
            fixture_teardown),
    };
    return cmocka_run_group_tests_name("slot", tests, NULL, NULL);
}
