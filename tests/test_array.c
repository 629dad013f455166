/* Growable arrays of slots, and objects with items. */
#include "support/fixture.h"

#include <object/object.h>

/* ---- a list type ---- */

struct list {
    struct gyre_object head;
    struct gyre_array items;
    struct fixture *fx;
};

static void
list_dealloc(struct gyre_object *obj)
{
    struct list *list = (struct list *)obj;
    GYRE_CHECK(list->items.buffer == NULL, "the array was not released");
    gyre_fetch_sub_relaxed(&list->fx->live, 1);
}

static const uint32_t list_arrays[] = {offsetof(struct list, items)};
static struct gyre_type list_type = {
    .name = "list",
    .size = sizeof(struct list),
    .array_count = 1,
    .arrays = list_arrays,
    .dealloc = list_dealloc,
};

static struct list *
list_new(struct fixture *fx)
{
    struct list *list;
    assert_int_equal(gyre_type_ready(&list_type), GYRE_OK);
    list = GYRE_NEW(struct list, &list_type);
    assert_non_null(list);
    list->fx = fx;
    gyre_fetch_add_relaxed(&fx->live, 1);
    return list;
}

static void
list_fill(struct fixture *fx, struct list *list, int count)
{
    for (int i = 0; i < count; i++) {
        struct node *node = plain_node_new(fx);
        node->payload = (uint64_t)i;
        assert_int_equal(
            gyre_array_append(&list->head, &list->items, &node->head), GYRE_OK);
    }
}

/* ---- tests ---- */

/* Covers docs/design/object.md .slot: an array grows with its order kept, and
 * every entry is a counted reference. */
static void
test_array_keeps_what_was_appended_in_order(void **state)
{
    struct fixture *fx = *state;
    struct list *list = list_new(fx);
    list_fill(fx, list, 1000);
    assert_int_equal(gyre_array_size(&list->items), 1000);
    for (size_t i = 0; i < 1000; i++) {
        struct gyre_slot *slot = gyre_array_slot(&list->items, i);
        struct node *node = (struct node *)gyre_slot_peek(slot);
        assert_int_equal(node->payload, i);
        assert_int_equal(gyre_reference_count(&node->head), 1);
    }
    for (size_t i = 1000; i-- > 500;) {
        struct gyre_object *out = gyre_array_pop(&list->head, &list->items);
        assert_int_equal(((struct node *)out)->payload, i);
        gyre_decref(out);
    }
    assert_int_equal(fixture_live(fx), 501);
    gyre_slot_set(&list->head, gyre_array_slot(&list->items, 7), NULL);
    assert_int_equal(fixture_live(fx), 500);
    gyre_decref(&list->head);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers docs/design/object.md .slot: an empty array pops nothing, a cleared
 * one has neither entries nor a buffer, and can be used again. */
static void
test_array_can_be_cleared_and_used_again(void **state)
{
    struct fixture *fx = *state;
    struct list *list = list_new(fx);
    assert_null(gyre_array_pop(&list->head, &list->items));
    gyre_array_clear(&list->head, &list->items);
    list_fill(fx, list, 100);
    gyre_array_clear(&list->head, &list->items);
    assert_int_equal(gyre_array_size(&list->items), 0);
    assert_null(list->items.buffer);
    assert_int_equal(fixture_live(fx), 1);
    list_fill(fx, list, 3);
    assert_int_equal(gyre_array_size(&list->items), 3);
    gyre_decref(&list->head);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/object.md .slot: room asked for is there, and absurd
 * room is refused with the array as it was. */
static void
test_array_reserve_makes_room_or_changes_nothing(void **state)
{
    struct fixture *fx = *state;
    struct list *list = list_new(fx);
    struct gyre_array_buffer *buffer;
    assert_int_equal(gyre_array_reserve(&list->head, &list->items, 500),
                     GYRE_OK);
    buffer = list->items.buffer;
    list_fill(fx, list, 500);
    assert_ptr_equal(list->items.buffer, buffer);
    assert_int_equal(gyre_array_reserve(&list->head, &list->items, 10),
                     GYRE_OK);
    assert_int_equal(
        gyre_array_reserve(&list->head, &list->items, SIZE_MAX / 4),
        GYRE_ERR_NOMEM);
    assert_int_equal(gyre_array_reserve(&list->head, &list->items, SIZE_MAX),
                     GYRE_ERR_NOMEM);
    assert_ptr_equal(list->items.buffer, buffer);
    assert_int_equal(gyre_array_size(&list->items), 500);
    gyre_decref(&list->head);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/cycle.md .cycle.live: a cycle through an array is
 * collected, and what it holds outside is released. */
static void
test_cycle_through_an_array_is_collected(void **state)
{
    struct fixture *fx = *state;
    struct list *list = list_new(fx);
    struct node *outside = plain_node_new(fx);
    list_fill(fx, list, 50);
    gyre_incref(&outside->head);
    assert_int_equal(
        gyre_array_append(&list->head, &list->items, &outside->head), GYRE_OK);
    /* its own reference goes into itself */
    assert_int_equal(gyre_array_append(&list->head, &list->items, &list->head),
                     GYRE_OK);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(fixture_live(fx), 1);
    assert_int_equal(gyre_reference_count(&outside->head), 1);
    node_drop(outside);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- items ---- */

struct tuple {
    struct gyre_var_object var;
    struct fixture *fx;
};
struct pair_item {
    struct gyre_slot slot;
    uint64_t number;
};
static struct gyre_type tuple_type = {
    .name = "tuple",
    .size = sizeof(struct tuple),
    .item_size = sizeof(struct pair_item),
    .item_slot = 1,
};

static struct pair_item *
tuple_item(struct tuple *tuple, size_t index)
{
    return (struct pair_item *)(tuple + 1) + index;
}

/* Covers docs/design/object.md .object: items are counted references at a
 * stride, of any number, also where the object is large. */
static void
test_items_hold_references_at_any_size(void **state)
{
    struct fixture *fx = *state;
    const size_t counts[] = {0, 1, 7, 1000, 100000, 300000};
    assert_int_equal(gyre_type_ready(&tuple_type), GYRE_OK);
    for (unsigned c = 0; c < 6; c++) {
        struct tuple *tuple = gyre_new_items(&tuple_type, counts[c]);
        assert_non_null(tuple);
        assert_int_equal(tuple->var.count, counts[c]);
        for (size_t i = 0; i < counts[c]; i += 97) {
            assert_null(gyre_slot_peek(&tuple_item(tuple, i)->slot));
            gyre_slot_move(&tuple->var.head, &tuple_item(tuple, i)->slot,
                           &plain_node_new(fx)->head);
        }
        if (counts[c] > 0) {
            /* a cycle, by the last item */
            struct pair_item *last = tuple_item(tuple, counts[c] - 1);
            gyre_slot_move(&tuple->var.head, &last->slot, &tuple->var.head);
            assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
        } else {
            gyre_decref(&tuple->var.head);
        }
        assert_int_equal(fixture_live(fx), 0);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
}

/* Covers docs/design/object.md .object: a size that overflows is refused. */
static void
test_absurd_numbers_of_items_are_refused(void **state)
{
    const size_t counts[] = {SIZE_MAX, SIZE_MAX / 16, SIZE_MAX / 17};
    (void)state;
    assert_int_equal(gyre_type_ready(&tuple_type), GYRE_OK);
    for (unsigned c = 0; c < 3; c++) {
        assert_null(gyre_new_items(&tuple_type, counts[c]));
        assert_int_equal(gyre_last_status(), GYRE_ERR_ARGUMENT);
    }
    assert_null(gyre_new_items(&tuple_type, (size_t)1 << 50));
    assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_array_keeps_what_was_appended_in_order, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_array_can_be_cleared_and_used_again, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_array_reserve_makes_room_or_changes_nothing, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_cycle_through_an_array_is_collected, fixture_setup,
            fixture_teardown),
        cmocka_unit_test_setup_teardown(test_items_hold_references_at_any_size,
                                        fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(
            test_absurd_numbers_of_items_are_refused, fixture_setup,
            fixture_teardown),
    };
    return cmocka_run_group_tests_name("array", tests, NULL, NULL);
}
