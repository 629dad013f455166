/* A program that was compiled without checks and without a sanitizer, and a
 * library that has them: the inlined paths find nothing to take that the
 * library has to know of. In other builds both are alike.
 *
 * Compiled so by tests/CMakeLists.txt. Covers docs/design/memory.md
 * .mem.guard .mem.poison */
#include "support/fixture.h"

#define OPTIONS "gc.automatic=0,gc.thread=0"

#if GYRE_CHECKING
#error "this file is to be compiled without checks"
#endif

#define COUNT 3000

static void
take_and_fill(void **blocks)
{
    size_t i;
    for (i = 0; i < COUNT; i++) {
        size_t size = i % 700;
        blocks[i] = gyre_mem_alloc_inline(size);
        assert_non_null(blocks[i]);
        assert_true(gyre_mem_size(blocks[i]) >= size);
        memset(blocks[i], 0x5a, size);
    }
}

/* Covers .mem.guard */
static void
test_inlined_raw_blocks_have_guards_that_hold(void **state)
{
    struct fixture *fx = *state;
    static void *blocks[COUNT];
    size_t i, k;
    for (k = 0; k < 3; k++) {
        take_and_fill(blocks);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
        for (i = 0; i < COUNT; i++) {
            if (i % 3 == 0)
                gyre_mem_free(blocks[i]);
            else
                gyre_mem_free_inline(blocks[i]);
        }
        gyre_mem_free_inline(NULL);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
}

/* Covers .mem.guard .mem.poison: bodies are zeroed and written by code that
 * knows nothing of guards. */
static void
test_inlined_objects_have_guards_that_hold(void **state)
{
    struct fixture *fx = *state;
    static struct node *nodes[COUNT];
    size_t i, k;
    for (k = 0; k < 3; k++) {
        for (i = 0; i < COUNT; i++) {
            nodes[i] = GYRE_NEW(struct node, i % 2 == 0 ? &plain_node_type
                                                        : &leaf_node_type);
            assert_non_null(nodes[i]);
            assert_null(nodes[i]->left.ref);
            assert_null(nodes[i]->fx);
            assert_int_equal(nodes[i]->payload, 0);
            nodes[i]->payload = UINT64_MAX;
        }
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
        for (i = 0; i < COUNT; i++)
            gyre_decref(&nodes[i]->head);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
}

#if FIXTURE_GUARDED

static struct gyre_type cell_type = {.name = "cell",
                                     .size = sizeof(struct gyre_object),
                                     .flags = GYRE_TYPE_LEAF};

static void
free_it(void *block)
{
    gyre_mem_free_inline(block);
}

static void
drop_it(void *obj)
{
    gyre_decref(obj);
}

static void
assert_names(void (*act)(void *arg), void *arg, const char *words)
{
    const char *message = fatal_message(act, arg);
    if (message == NULL)
        fail_msg("nothing was said; expected: %s", words);
    if (strstr(message, words) == NULL)
        fail_msg("said \"%s\", expected: %s", message, words);
}

/* Covers .mem.guard, .fail: the inlined free leaves each block to the
 * library. */
static void
test_misuse_by_inlined_frees_is_named(void **state)
{
    struct fixture *fx = *state;
    char *block = gyre_mem_alloc_inline(40);
    struct gyre_object *cell;
    assert_int_equal(gyre_type_ready(&cell_type), GYRE_OK);
    cell = GYRE_NEW(struct gyre_object, &cell_type);
    (void)gyre_mem_alloc_inline(40);
    (void)fx;
    assert_names(free_it, block + 16, "16 bytes inside the block");
    gyre_mem_free_inline(block);
    assert_names(free_it, block, "was freed already, by thread 1");
#if !FIXTURE_POISONED
    block = gyre_mem_alloc_inline(40);
    ((volatile char *)block)[40] = 1;
    assert_names(free_it, block, "was overrun: byte 40 is 0x01");
    ((volatile char *)block)[40] = (char)0xd9;
    gyre_mem_free_inline(block);
    ((volatile char *)cell)[sizeof *cell] = 1;
    assert_names(drop_it, cell, "the cell object of 16 bytes was overrun");
    ((volatile char *)cell)[sizeof *cell] = (char)0xd9;
#endif
    drop_it(cell);
}

#endif

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_inlined_raw_blocks_have_guards_that_hold),
        TEST(test_inlined_objects_have_guards_that_hold),
#if FIXTURE_GUARDED
        TEST(test_misuse_by_inlined_frees_is_named),
#endif
    };
    return cmocka_run_group_tests_name("guard mixed", tests, NULL, NULL);
}
