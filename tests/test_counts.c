/* Counters of blocks by size class, and as JSON. Covers docs/design/memory.md
 * .mem.counts */
#include "support/fixture.h"

#include <stdlib.h>
#include <string.h>

#define PAGE GYRE_PAGE_BYTES

static struct gyre_class_statistics
of_class(struct fixture *fx, enum gyre_page_kind kind, size_t size)
{
    struct gyre_class_statistics out;
    assert_int_equal(
        gyre_statistics_class(fx->heap, kind, gyre_size_class(size), &out),
        GYRE_OK);
    return out;
}

static void
test_each_class_counts_what_is_allocated_and_freed(void **state)
{
    enum { COUNT = 5000 };
    static void *blocks[COUNT];
    struct gyre_class_statistics before, after;
    struct fixture *fx = *state;
    size_t i;
    before = of_class(fx, GYRE_PAGE_RAW, 96);
    for (i = 0; i < COUNT; i++)
        blocks[i] = gyre_mem_alloc_inline(90 - GYRE_MEM_CHECKED * 16);
    for (i = 0; i < COUNT; i += 5)
        gyre_mem_free_inline(blocks[i]);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK); /* brought up to date */
    after = of_class(fx, GYRE_PAGE_RAW, 96);
    assert_int_equal(after.block_bytes, 96);
    assert_int_equal(after.allocations - before.allocations, COUNT);
    assert_int_equal(after.frees - before.frees, COUNT / 5);
    assert_int_equal(after.blocks_in_use - before.blocks_in_use,
                     COUNT - COUNT / 5);
    assert_int_equal(after.remote_frees, 0);
    assert_true(after.refills > before.refills &&
                after.refills - before.refills <= COUNT);
    assert_int_equal(after.pages, (COUNT + FIXTURE_PAGE_ROOM / 96 - 1) /
                                      (FIXTURE_PAGE_ROOM / 96));
    assert_int_equal(after.cached, 0);
    assert_int_equal(after.fragmented,
                     after.pages * PAGE - after.blocks_in_use * 96);
    /* No other class knows of it. */
    assert_int_equal(of_class(fx, GYRE_PAGE_LEAF, 96).allocations, 0);
    for (i = 0; i < COUNT; i++)
        if (i % 5 != 0)
            gyre_mem_free(blocks[i]);
    after = of_class(fx, GYRE_PAGE_RAW, 96);
    assert_int_equal(after.allocations, after.frees);
    assert_int_equal(after.blocks_in_use, 0);
    assert_int_equal(after.pages * PAGE, after.cached);
    assert_int_equal(after.fragmented, 0);
}

/* A current page that is used without end counts on past its 32 bits' reach;
 * here, as many as a test can wait for. */
static void
test_pairs_of_one_block_are_counted_one_by_one(void **state)
{
    const uint32_t count = FIXTURE_SCALED(2000000u);
    struct gyre_class_statistics after;
    struct fixture *fx = *state;
    uint32_t i;
    for (i = 0; i < count; i++)
        gyre_mem_free_inline(gyre_mem_alloc_inline(1000));
    after = of_class(fx, GYRE_PAGE_RAW, 1024);
    assert_int_equal(after.allocations, count);
    assert_int_equal(after.frees, count);
    assert_true(after.refills <= 2 || GYRE_MEM_CHECKED);
}

static void
test_objects_are_counted_where_they_live(void **state)
{
    enum { COUNT = 300 };
    struct node *nodes[COUNT];
    struct fixture *fx = *state;
    size_t i;
    uint64_t containers = 0, leaves = 0;
    uint32_t class;
    for (i = 0; i < COUNT; i++)
        nodes[i] = i % 3 == 0 ? leaf_node_new(fx) : plain_node_new(fx);
    for (class = 0; class < GYRE_SIZE_CLASSES; class ++) {
        struct gyre_class_statistics out;
        gyre_statistics_class(fx->heap, GYRE_PAGE_CONTAINER, class, &out);
        containers += out.allocations;
        gyre_statistics_class(fx->heap, GYRE_PAGE_LEAF, class, &out);
        leaves += out.allocations;
    }
    assert_int_equal(containers, COUNT - COUNT / 3);
    assert_int_equal(leaves, COUNT / 3);
    for (i = 0; i < COUNT; i++)
        node_drop(nodes[i]);
}

struct batch {
    void **blocks;
    size_t count;
};

static void
free_them(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *batch = arg;
    size_t i;
    (void)fx;
    (void)self;
    for (i = 0; i < batch->count; i++)
        gyre_mem_free(batch->blocks[i]);
}

static void
allocate_them(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *batch = arg;
    size_t i;
    (void)fx;
    (void)self;
    for (i = 0; i < batch->count; i++)
        batch->blocks[i] = gyre_mem_alloc(200);
}

static void
run(struct fixture *fx, worker_fn body, struct batch *batch)
{
    struct worker worker;
    worker_start(&worker, fx, body, batch);
    worker_join(&worker);
}

/* The sums stay when the threads that counted are gone. */
static void
test_frees_by_other_threads_are_counted_apart(void **state)
{
    enum { COUNT = 10000 };
    static void *blocks[COUNT];
    struct batch all = {blocks, COUNT};
    struct gyre_class_statistics after;
    struct fixture *fx = *state;
    allocate_them(fx, fx->self, &all);
    run(fx, free_them, &all);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    after = of_class(fx, GYRE_PAGE_RAW, 200 + GYRE_MEM_CHECKED * 16);
    assert_int_equal(after.allocations, COUNT);
    assert_int_equal(after.frees, COUNT);
    assert_int_equal(after.remote_frees, COUNT);
    assert_int_equal(after.blocks_in_use, 0);
    /* The other way about: the pages are nobody's by then. */
    run(fx, allocate_them, &all);
    free_them(fx, fx->self, &all);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    after = of_class(fx, GYRE_PAGE_RAW, 200 + GYRE_MEM_CHECKED * 16);
    assert_int_equal(after.allocations, 2 * COUNT);
    assert_int_equal(after.frees, 2 * COUNT);
    assert_int_equal(after.remote_frees, 2 * COUNT);
    assert_int_equal(after.pages * PAGE, after.cached);
}

/* Eight threads at once, each with a part of its own: no sum is lost, and
 * none is below zero meanwhile. */
static void
churn(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    uint32_t rounds = FIXTURE_SCALED(200u), i, k;
    uint64_t last = 0;
    (void)self;
    (void)arg;
    for (i = 0; i < rounds; i++) {
        struct gyre_class_statistics now;
        void *blocks[100];
        for (k = 0; k < 100; k++)
            blocks[k] = gyre_mem_alloc(500);
        for (k = 0; k < 100; k++)
            gyre_mem_free(blocks[k]);
        now = of_class(fx, GYRE_PAGE_RAW, 500 + GYRE_MEM_CHECKED * 16);
        assert_true(now.allocations >= last);
        assert_true(now.blocks_in_use < 100000);
        assert_true(now.pages < 100000 && now.fragmented < 100000 * PAGE);
        last = now.allocations;
    }
}

static void
test_sums_over_threads_lose_nothing(void **state)
{
    enum { THREADS = 8 };
    struct worker workers[THREADS];
    struct gyre_class_statistics after;
    struct fixture *fx = *state;
    size_t i;
    for (i = 0; i < THREADS; i++)
        worker_start(&workers[i], fx, churn, NULL);
    for (i = 0; i < THREADS; i++)
        worker_join(&workers[i]);
    after = of_class(fx, GYRE_PAGE_RAW, 500 + GYRE_MEM_CHECKED * 16);
    assert_int_equal(after.allocations,
                     THREADS * 100 * (uint64_t)FIXTURE_SCALED(200));
    assert_int_equal(after.frees, after.allocations);
    assert_int_equal(after.pages, 0);
    assert_int_equal(after.fragmented, 0);
}

static void
test_a_class_that_is_none_is_refused(void **state)
{
    struct gyre_class_statistics out;
    struct fixture *fx = *state;
    assert_int_equal(
        gyre_statistics_class(fx->heap, GYRE_PAGE_RAW, GYRE_SIZE_CLASSES, &out),
        GYRE_ERR_ARGUMENT);
    assert_int_equal(gyre_statistics_class(fx->heap,
                                           (enum gyre_page_kind)GYRE_PAGE_KINDS,
                                           0, &out),
                     GYRE_ERR_ARGUMENT);
}

static void
test_the_json_lists_the_classes_in_use(void **state)
{
    static char text[60000];
    struct fixture *fx = *state;
    void *block = gyre_mem_alloc(300);
    assert_true(gyre_statistics_json(fx->heap, text, sizeof text) <
                sizeof text);
    assert_non_null(strstr(text, "\"classes\":[{\"kind\":"));
    assert_non_null(strstr(text, "\"kind\":\"raw\",\"bytes\":320,"
                                 "\"allocations\":1,\"frees\":0,"));
    assert_null(strstr(text, "\"allocations\":0"));
    gyre_mem_free(block);
}

#define TEST(f) \
    cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_each_class_counts_what_is_allocated_and_freed),
        TEST(test_pairs_of_one_block_are_counted_one_by_one),
        TEST(test_objects_are_counted_where_they_live),
        TEST(test_frees_by_other_threads_are_counted_apart),
        TEST(test_sums_over_threads_lose_nothing),
        TEST(test_a_class_that_is_none_is_refused),
        TEST(test_the_json_lists_the_classes_in_use),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
