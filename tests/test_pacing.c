/* Collections that nobody called for: at the limits of memory, by bytes, and
 * when the program outruns the collector. Each in both modes. */
#include <stdio.h>

#include "support/fixture.h"

#define NEVER "gc.threshold0=0,gc.threshold_bytes=0"
#define MIB (UINT64_C(1) << 20)

static const char *const modes[] = {"gc.concurrent=0", "gc.concurrent=1"};
#define EACH_MODE(mode) for (unsigned mode = 0; mode < 2; mode++)

static void
open_in_mode(struct fixture *fx, unsigned mode, const char *options)
{
    char text[256];
    snprintf(text, sizeof text, "%s,%s", modes[mode], options);
    fixture_open(fx, text);
}

static struct gyre_statistics
statistics_of(struct fixture *fx)
{
    struct gyre_statistics statistics;
    gyre_statistics_get(fx->heap, &statistics);
    return statistics;
}

/* A node that refers to itself, and to nothing else; NULL: no memory. */
static struct node *
loop_new(struct gyre_type *type, struct fixture *fx)
{
    struct node *node = GYRE_NEW(struct node, type);
    if (node == NULL)
        return NULL;
    node->fx = fx;
    /* relaxed: a count */
    gyre_fetch_add_relaxed(&fx->live, 1);
    gyre_slot_set(&node->head, &node->left, &node->head);
    return node;
}

/* ---- a type with a buffer ---- */

struct box {
    struct gyre_object head;
    struct gyre_slot self;
    void *buffer;
};
static const uint32_t box_slots[] = {offsetof(struct box, self)};

static void
box_dealloc(struct gyre_object *obj)
{
    gyre_mem_free(((struct box *)obj)->buffer);
}

static struct gyre_type box_type = {
    .name = "box",
    .size = sizeof(struct box),
    .slot_count = 1,
    .slots = box_slots,
    .dealloc = box_dealloc,
};

/* Garbage at once, with a buffer of so many bytes. False: no memory. */
static bool
box_waste(size_t bytes)
{
    struct box *box = GYRE_NEW(struct box, &box_type);
    if (box == NULL)
        return false;
    box->buffer = gyre_mem_alloc(bytes);
    if (box->buffer == NULL) {
        gyre_decref(&box->head);
        return false;
    }
    gyre_slot_set(&box->head, &box->self, &box->head);
    gyre_decref(&box->head);
    return true;
}

/* ---- the hard limit ---- */

/* Covers docs/design/pacing.md .pace.limit */
static void
test_an_allocation_collects_before_it_fails(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct gyre_statistics statistics;
        open_in_mode(&fx, mode, NEVER ",memory.hard_limit=16m");
        for (int i = 0; i < FIXTURE_SCALED(2000000); i++) {
            struct node *node = loop_new(&plain_node_type, &fx);
            assert_non_null(node);
            node_drop(node);
        }
        statistics = statistics_of(&fx);
        if (!FIXTURE_IS_SLOW)
            assert_true(statistics.emergencies >= 5);
        assert_true(statistics.mapped_peak <= 24 * MIB);
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        fixture_close(&fx);
    }
}

/* Covers docs/design/pacing.md .pace.limit: raw memory too. */
static void
test_a_buffer_collects_before_it_fails(void **state)
{
    (void)state;
    assert_int_equal(gyre_type_ready(&box_type), GYRE_OK);
    EACH_MODE(mode)
    {
        struct fixture fx;
        open_in_mode(&fx, mode, NEVER ",memory.hard_limit=32m");
        for (int i = 0; i < 400; i++)
            assert_true(box_waste(MIB));
        assert_true(statistics_of(&fx).emergencies >= 10);
        assert_true(statistics_of(&fx).mapped_peak <= 48 * MIB);
        fixture_close(&fx);
    }
}

static pthread_t main_thread;
static int finalized_here; /* atomic */

static void
note_where(struct node *node)
{
    (void)node;
    if (pthread_equal(pthread_self(), main_thread)) /* relaxed: a count */
        gyre_fetch_add_relaxed(&finalized_here, 1);
}

/* Covers docs/design/pacing.md .pace.limit: nothing runs on the thread that
 * waits, which may hold the program's own locks. */
static void
test_no_callback_runs_inside_an_allocation(void **state)
{
    (void)state;
    main_thread = pthread_self();
    EACH_MODE(mode)
    {
        struct fixture fx;
        open_in_mode(&fx, mode, NEVER ",memory.hard_limit=16m");
        fx.on_finalize = note_where;
        while (statistics_of(&fx).emergencies < 2)
            for (int i = 0; i < 10000; i++) {
                struct node *node = loop_new(&node_type, &fx);
                assert_non_null(node);
                node_drop(node);
            }
        assert_true(fixture_finalized(&fx) > 10000);
        assert_int_equal(finalized_here, 0);
        fx.on_finalize = NULL;
        fixture_close(&fx);
    }
}

/* Covers docs/design/pacing.md .pace.limit: what lives stays, and the price
 * of trying is bounded. */
static void
test_a_heap_full_of_the_living_says_no_without_end_of_trying(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct node *chain = NULL, *node;
        struct gyre_statistics statistics;
        int made = 0;
        open_in_mode(&fx, mode, NEVER ",memory.hard_limit=16m");
        while ((node = loop_new(&plain_node_type, &fx)) != NULL) {
            if (chain != NULL)
                gyre_slot_move(&node->head, &node->right, &chain->head);
            chain = node;
            made++;
        }
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        for (int i = 0; i < 10000; i++)
            assert_null(GYRE_NEW(struct node, &plain_node_type));
        statistics = statistics_of(&fx);
        assert_true(statistics.emergencies >= 1);
        assert_true(statistics.emergencies < 5000);
        assert_int_equal(fixture_live(&fx), made);
        while ((node = chain) != NULL) {
            chain = (struct node *)gyre_slot_take(&node->head, &node->right);
            gyre_slot_set(&node->head, &node->left, NULL);
            node_drop(node);
        }
        assert_int_equal(fixture_live(&fx), 0);
        node_drop(plain_node_new(&fx));
        fixture_close(&fx);
    }
}

/* Covers docs/design/pacing.md .pace.limit: who disabled collections means
 * these too. */
static void
test_no_emergency_with_collections_disabled(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct node *node;
        open_in_mode(&fx, mode, NEVER ",memory.hard_limit=16m");
        gyre_collect_disable(fx.heap);
        while ((node = loop_new(&plain_node_type, &fx)) != NULL)
            node_drop(node);
        assert_int_equal(statistics_of(&fx).emergencies, 0);
        gyre_collect_enable(fx.heap);
        node = loop_new(&plain_node_type, &fx);
        assert_non_null(node);
        node_drop(node);
        fixture_close(&fx);
    }
}

/* ---- by bytes ---- */

/* Covers docs/design/pacing.md .pace.bytes: few objects with much behind
 * them. */
static void
test_large_buffers_make_collections_due(void **state)
{
    (void)state;
    assert_int_equal(gyre_type_ready(&box_type), GYRE_OK);
    EACH_MODE(mode)
    {
        struct fixture fx;
        uint64_t peak = 0;
        open_in_mode(&fx, mode,
                     "gc.threshold0=0,gc.threshold_bytes=4m,gc.backlog=2,"
                     "gc.wait_us=100000");
        for (int i = 0; i < 500; i++) {
            uint64_t now;
            assert_true(box_waste(MIB));
            gyre_safepoint(fx.self);
            now = statistics_of(&fx).pages_in_use * GYRE_PAGE_BYTES;
            peak = now > peak ? now : peak;
        }
        assert_true(statistics_of(&fx).collected >= 300);
        assert_true(peak < 64 * MIB);
        fixture_close(&fx);
    }
}

/* Covers docs/design/pacing.md .pace.soft */
static void
test_a_soft_limit_bounds_what_garbage_takes(void **state)
{
    (void)state;
    assert_int_equal(gyre_type_ready(&box_type), GYRE_OK);
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct gyre_statistics statistics;
        open_in_mode(&fx, mode,
                     NEVER ",memory.soft_limit=32m,gc.wait_us=100000");
        for (int i = 0; i < 1000; i++) {
            assert_true(box_waste(MIB / 2));
            gyre_safepoint(fx.self);
        }
        statistics = statistics_of(&fx);
        assert_true(statistics.collections[GYRE_GEN_OLD] >= 10);
        assert_true(statistics.paced_waits >= 10);
        assert_true(statistics.mapped_peak < 96 * MIB);
        fixture_close(&fx);
    }
}

/* Covers docs/design/pacing.md .pace.soft: what lives above the limit is not
 * collected over and over. */
static void
test_a_heap_that_lives_above_its_soft_limit_is_let_alone(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct node *chain = NULL;
        open_in_mode(&fx, mode, NEVER ",memory.soft_limit=2m");
        for (int i = 0; i < 100000; i++) {
            struct node *node = loop_new(&plain_node_type, &fx);
            assert_non_null(node);
            if (chain != NULL)
                gyre_slot_move(&node->head, &node->right, &chain->head);
            chain = node;
            gyre_safepoint(fx.self);
        }
        /* 6 MiB: each eighth of the limit that was added may ask once */
        assert_in_range(statistics_of(&fx).collections[GYRE_GEN_OLD], 1, 40);
        while (chain != NULL) {
            struct node *node = chain;
            chain = (struct node *)gyre_slot_take(&node->head, &node->right);
            gyre_slot_set(&node->head, &node->left, NULL);
            node_drop(node);
        }
        fixture_close(&fx);
    }
}

/* ---- the collector is outrun ---- */

/* Covers docs/design/pacing.md .pace.wait: garbage that is made faster than it
 * is collected does not pile up. */
static void
test_threads_wait_for_a_collector_that_they_outrun(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        int most = 0;
        open_in_mode(&fx, mode, "gc.threshold0=5000,gc.backlog=4");
        for (int i = 0; i < FIXTURE_SCALED(3000000); i++) {
            int live;
            node_drop(loop_new(&plain_node_type, &fx));
            gyre_safepoint(fx.self);
            live = fixture_live(&fx);
            most = live > most ? live : most;
        }
        assert_true(most < 200000);
        fixture_close(&fx);
    }
}

/* Covers docs/design/pacing.md .pace.wait: growth alone never waits. */
static void
test_a_heap_that_grows_does_not_wait(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct node *chain;
        open_in_mode(&fx, mode, "gc.threshold0=5000,gc.backlog=1");
        /* one that sees that there is nothing to be had */
        chain = loop_new(&plain_node_type, &fx);
        assert_non_null(chain);
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        for (int i = 0; i < FIXTURE_SCALED(1000000); i++) {
            struct node *node = loop_new(&plain_node_type, &fx);
            assert_non_null(node);
            gyre_slot_move(&node->head, &node->right, &chain->head);
            chain = node;
            gyre_safepoint(fx.self);
        }
        assert_int_equal(statistics_of(&fx).paced_waits, 0);
        while (chain != NULL) {
            struct node *node = chain;
            chain = (struct node *)gyre_slot_take(&node->head, &node->right);
            gyre_slot_set(&node->head, &node->left, NULL);
            node_drop(node);
        }
        fixture_close(&fx);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_allocation_collects_before_it_fails),
        cmocka_unit_test(test_a_buffer_collects_before_it_fails),
        cmocka_unit_test(test_no_callback_runs_inside_an_allocation),
        cmocka_unit_test(
            test_a_heap_full_of_the_living_says_no_without_end_of_trying),
        cmocka_unit_test(test_no_emergency_with_collections_disabled),
        cmocka_unit_test(test_large_buffers_make_collections_due),
        cmocka_unit_test(test_a_soft_limit_bounds_what_garbage_takes),
        cmocka_unit_test(
            test_a_heap_that_lives_above_its_soft_limit_is_let_alone),
        cmocka_unit_test(test_threads_wait_for_a_collector_that_they_outrun),
        cmocka_unit_test(test_a_heap_that_grows_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
