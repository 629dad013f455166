/* Type declarations: what gyre_type_ready() takes and refuses. */
#include "support/fixture.h"

static const uint32_t good_slots[] = {16, 24};

static struct gyre_type
good_type(void)
{
    return (struct gyre_type){
        .name = "good",
        .size = 48,
        .slot_count = 2,
        .slots = good_slots,
    };
}

static void
no_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    (void)obj;
    (void)edge;
    (void)arg;
}

static void
assert_refused(struct gyre_type type)
{
    assert_int_equal(gyre_type_ready(&type), GYRE_ERR_ARGUMENT);
}

/* Covers docs/design/object.md .object: a sound declaration is taken, and a
 * second time as well. */
static void
test_sound_types_are_taken_again_and_again(void **state)
{
    struct gyre_type type = good_type();
    struct gyre_type bare = {.name = "bare", .size = 16};
    struct gyre_type items = {.name = "items",
                              .size = sizeof(struct gyre_var_object),
                              .item_size = 8,
                              .item_slot = 1};
    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(gyre_type_ready(&type), GYRE_OK);
        assert_int_equal(gyre_type_ready(&bare), GYRE_OK);
        assert_int_equal(gyre_type_ready(&items), GYRE_OK);
    }
}

/* Covers docs/design/object.md .object: no name, or no room for a header. */
static void
test_types_without_name_or_header_are_refused(void **state)
{
    struct gyre_type type = good_type();
    (void)state;
    type.name = NULL;
    assert_refused(type);
    type = good_type();
    type.size = 15;
    type.slot_count = 0;
    assert_refused(type);
    type.size = 0;
    assert_refused(type);
}

/* Covers docs/design/object.md .object: slots and arrays lie in the body,
 * aligned, each in a place of its own. */
static void
test_tables_that_leave_the_body_or_overlap_are_refused(void **state)
{
    const uint32_t bad[][2] = {{8, 24},
                               {16, 44},
                               {16, 48},
                               {0, 24},
                               {16, 20},
                               {16, 16},
                               {16, UINT32_MAX - 7}};
    const uint32_t at_count[] = {16};
    const uint32_t array[] = {24}, late_array[] = {40}, twice[] = {16, 24};
    struct gyre_type type;
    (void)state;
    for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        type = good_type();
        type.slots = bad[i];
        assert_refused(type);
    }
    type = good_type();
    type.slots = NULL;
    assert_refused(type);
    type = good_type();
    type.array_count = 1;
    assert_refused(type);
    type.arrays = array; /* on the second slot */
    assert_refused(type);
    type.arrays = late_array; /* 8 bytes too long */
    assert_refused(type);
    type.slot_count = 0;
    type.array_count = 2;
    type.arrays = twice;
    assert_refused(type);
    /* on the count of items */
    type = good_type();
    type.item_size = 8;
    type.slot_count = 1;
    type.slots = at_count;
    assert_refused(type);
}

/* Covers docs/design/object.md .object: items that hold slots have room for
 * them, at an alignment that slots need. */
static void
test_items_that_cannot_hold_a_slot_are_refused(void **state)
{
    struct gyre_type type = {.name = "items",
                             .size = sizeof(struct gyre_var_object),
                             .item_slot = 1};
    (void)state;
    assert_refused(type); /* no items at all */
    type.item_size = 4;
    assert_refused(type);
    type.item_size = 12;
    assert_refused(type);
    type.item_size = 16;
    type.size = 28;
    assert_refused(type);
    type.size = 16; /* no room for the count */
    assert_refused(type);
    type.item_slot = 0;
    assert_refused(type);
}

/* Covers docs/design/object.md .object: a leaf has no counted references. */
static void
test_leaves_with_references_are_refused(void **state)
{
    struct gyre_type type = good_type();
    (void)state;
    type.flags = GYRE_TYPE_LEAF;
    assert_refused(type);
    type.slot_count = 0;
    assert_int_equal(gyre_type_ready(&type), GYRE_OK);
    type.trace = no_trace;
    assert_refused(type);
}

/* Covers docs/design/object.md .object: every size has a place, and bodies
 * start zeroed, also where others have lived. */
static void
test_objects_of_any_size_start_zeroed(void **state)
{
    struct fixture *fx = *state;
    static struct gyre_type types[64];
    const uint32_t sizes[] = {
        16,   17,    31,    32,    33,     128,     129,           4096,
        4097, 32768, 32769, 65536, 100000, 2 << 20, (2 << 20) + 1, 5 << 20};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        types[i] = (struct gyre_type){.name = "sized",
                                      .size = sizes[i],
                                      .flags = i & 1 ? GYRE_TYPE_LEAF : 0};
        assert_int_equal(gyre_type_ready(&types[i]), GYRE_OK);
        for (int round = 0; round < 3; round++) {
            unsigned char *obj = gyre_new(&types[i]);
            assert_non_null(obj);
            assert_int_equal((uintptr_t)obj % 16, 0);
            for (uint32_t k = 16; k < sizes[i]; k++)
                if (obj[k] != 0)
                    fail_msg("byte %u of %u is not zero", k, sizes[i]);
            memset(obj + 16, 0xa5, sizes[i] - 16);
            gyre_decref((struct gyre_object *)obj);
        }
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- tracking ---- */

static void
late_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    struct node *node = (struct node *)obj;
    GYRE_CHECK(node->payload == 1, "traced before it was tracked");
    (void)edge;
    (void)arg;
}

static void
late_clear(struct gyre_object *obj)
{
    (void)obj;
}

static void
late_dealloc(struct gyre_object *obj)
{
    gyre_fetch_sub_relaxed(&((struct node *)obj)->fx->live, 1);
}

static const uint32_t late_slots[] = {offsetof(struct node, left)};
static struct gyre_type late_type = {
    .name = "tracked late",
    .size = sizeof(struct node),
    .flags = GYRE_TYPE_TRACK_LATE,
    .slot_count = 1,
    .slots = late_slots,
    .trace = late_trace,
    .clear = late_clear,
    .dealloc = late_dealloc,
};

/* Covers docs/design/object.md .object: the collector sees an object of a
 * type that is tracked late only after gyre_track(). */
static void
test_late_tracked_objects_are_collected_once_tracked(void **state)
{
    struct fixture *fx = *state;
    struct node *node;
    assert_int_equal(gyre_type_ready(&late_type), GYRE_OK);
    node = GYRE_NEW(struct node, &late_type);
    node->fx = fx;
    gyre_fetch_add_relaxed(&fx->live, 1);
    gyre_slot_set(&node->head, &node->left, &node->head);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    /* It has aged meanwhile, and its page knows. */
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    node->payload = 1;
    gyre_track(&node->head);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 1);
    node_drop(node);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/object.md .object: acyclic types refer to others and are
 * freed by counts, and are no candidates. */
static void
test_acyclic_types_die_by_counts_alone(void **state)
{
    struct fixture *fx = *state;
    static struct gyre_type acyclic;
    struct node *node;
    acyclic = late_type;
    acyclic.flags = GYRE_TYPE_ACYCLIC;
    acyclic.trace = NULL;
    acyclic.clear = NULL;
    assert_int_equal(gyre_type_ready(&acyclic), GYRE_OK);
    node = GYRE_NEW(struct node, &acyclic);
    node->fx = fx;
    gyre_fetch_add_relaxed(&fx->live, 1);
    gyre_slot_move(&node->head, &node->left, &leaf_node_new(fx)->head);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 2);
    node_drop(node);
    assert_int_equal(fixture_live(fx), 0);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound_types_are_taken_again_and_again),
        cmocka_unit_test(test_types_without_name_or_header_are_refused),
        cmocka_unit_test(
            test_tables_that_leave_the_body_or_overlap_are_refused),
        cmocka_unit_test(test_items_that_cannot_hold_a_slot_are_refused),
        cmocka_unit_test(test_leaves_with_references_are_refused),
        TEST(test_objects_of_any_size_start_zeroed),
        TEST(test_late_tracked_objects_are_collected_once_tracked),
        TEST(test_acyclic_types_die_by_counts_alone),
    };
    return cmocka_run_group_tests_name("type", tests, NULL, NULL);
}
