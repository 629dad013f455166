/* What a thread keeps of empty pages, within the limits that its heap's
 * options set. Covers docs/design/memory.md .mem.cache */
#include "support/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/guard.h"

#define PAGE GYRE_PAGE_BYTES
#define QUIET "gc.automatic=0,gc.thread=0"
/* No limit but the one a test is about. */
#define NO_CLASS_LIMIT QUIET ",memory.class_cache=1g"

/* The calling thread's own entry. */
static struct gyre_thread_statistics
own_statistics(struct gyre_heap *heap)
{
    struct gyre_thread_statistics entries[16];
    size_t count = gyre_statistics_threads(heap, entries, 16), i;
    assert_in_range(count, 1, 16);
    for (i = 0; i < count; i++)
        if (entries[i].number == gyre_thread_self()->number)
            return entries[i];
    fail_msg("this thread is not listed");
    return entries[0];
}

static uint64_t
own_cached(struct gyre_heap *heap)
{
    return own_statistics(heap).cached;
}

static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* ---- the limit in bytes ---- */

struct load {
    uint64_t limit;
    uint32_t seed;
};

/* Random sizes come and go, and at each step what is kept is within the
 * limit. In the end it is as much as fits. */
static void
live_within(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    enum { SLOTS = 2000 };
    const struct load *load = arg;
    void **slots = calloc(SLOTS, sizeof *slots);
    uint32_t seed = load->seed, round, i;
    for (round = 0; round < FIXTURE_SCALED(40u); round++) {
        for (i = 0; i < 500; i++) {
            uint32_t slot = next_random(&seed) % SLOTS;
            gyre_mem_free(slots[slot]);
            slots[slot] = gyre_mem_alloc(next_random(&seed) % 4096);
            assert_non_null(slots[slot]);
        }
        assert_true(own_cached(fx->heap) <= load->limit);
        for (i = round % 7; i < SLOTS; i += 1 + round % 3) {
            gyre_mem_free_inline(slots[i]);
            slots[i] = NULL;
            if (i % 64 == 0)
                assert_true(own_cached(fx->heap) <= load->limit);
        }
        gyre_safepoint(self);
    }
    for (i = 0; i < SLOTS; i++)
        gyre_mem_free(slots[i]);
    assert_true(own_cached(fx->heap) <= load->limit);
    /* More than enough pages of a class become empty one after another. */
    for (i = 0; i < SLOTS; i++)
        slots[i] = gyre_mem_alloc(4000);
    for (i = 0; i < SLOTS; i++)
        gyre_mem_free(slots[i]);
    assert_int_equal(own_cached(fx->heap), load->limit / PAGE * PAGE);
    free(slots);
}

static const uint64_t limits[] = {
    0,        1,      PAGE - 1,      PAGE,          PAGE + 1,
    3 * PAGE, 200000, 5 * PAGE - 16, 17 * PAGE + 7, 1048576};
#define LIMITS (sizeof limits / sizeof *limits)

static void
open_with_limit(struct fixture *fx, uint64_t limit)
{
    char options[200];
    snprintf(options, sizeof options,
             NO_CLASS_LIMIT ",memory.thread_cache=%llu",
             (unsigned long long)limit);
    fixture_open(fx, options);
}

static void
test_a_cache_limit_is_obeyed_to_the_byte(void **state)
{
    size_t i;
    (void)state;
    for (i = 0; i < LIMITS; i++) {
        struct load load = {limits[i], (uint32_t)i};
        struct gyre_statistics statistics;
        struct fixture fx;
        open_with_limit(&fx, limits[i]);
        live_within(&fx, fx.self, &load);
        /* Nothing is in use, so that all pages the heap has given out are
         * those that the thread says it keeps. */
        gyre_statistics_get(fx.heap, &statistics);
        assert_int_equal((statistics.pages_in_use + statistics.pages_cached) *
                                 PAGE -
                             statistics.heap_cached,
                         statistics.thread_cached);
        assert_int_equal(statistics.thread_cached, own_cached(fx.heap));
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        fixture_close(&fx);
    }
}

static void
test_each_of_eight_threads_obeys_the_limit_for_itself(void **state)
{
    enum { THREADS = 8 };
    size_t i, k;
    (void)state;
    for (i = 0; i < LIMITS; i += 3) {
        struct worker workers[THREADS];
        struct load loads[THREADS];
        struct fixture fx;
        open_with_limit(&fx, limits[i]);
        for (k = 0; k < THREADS; k++) {
            loads[k].limit = limits[i];
            loads[k].seed = (uint32_t)(i * THREADS + k);
            worker_start(&workers[k], &fx, live_within, &loads[k]);
        }
        for (k = 0; k < THREADS; k++)
            worker_join(&workers[k]);
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        fixture_close(&fx);
    }
}

/* The current page is among what is kept: with a limit of 0 it goes with its
 * last block, and what uses it is as right as ever. */
static void
test_a_thread_that_may_keep_nothing_keeps_nothing(void **state)
{
    struct gyre_statistics statistics;
    struct fixture fx;
    unsigned i;
    (void)state;
    open_with_limit(&fx, 0);
    for (i = 0; i < 200; i++) {
        struct node *node = leaf_node_new(&fx);
        void *block = gyre_mem_alloc_inline(32);
        memset(block, 0x5a, 32);
        assert_int_equal(own_cached(fx.heap), 0);
        gyre_mem_free_inline(block);
        node_drop(node);
        assert_int_equal(own_cached(fx.heap), 0);
        gyre_statistics_get(fx.heap, &statistics);
        assert_int_equal(statistics.pages_in_use, 0);
        assert_int_equal(statistics.thread_cached, 0);
    }
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* ---- the other limits ---- */

enum { SET = 3000 };

static void
take(void **blocks, size_t size)
{
    size_t i;
    for (i = 0; i < SET; i++)
        assert_non_null(blocks[i] = gyre_mem_alloc(size - GUARD_RAW_EXTRA));
}

static void
give(void **blocks)
{
    size_t i;
    for (i = 0; i < SET; i++)
        gyre_mem_free(blocks[i]);
}

/* Allocate and free `count` blocks. */
static void
come_and_go(size_t count, size_t size)
{
    void **blocks = calloc(count, sizeof *blocks);
    size_t i;
    for (i = 0; i < count; i++)
        blocks[i] = gyre_mem_alloc(size - GUARD_RAW_EXTRA);
    for (i = 0; i < count; i++)
        gyre_mem_free(blocks[i]);
    free(blocks);
}

static uint64_t
class_cached(struct gyre_heap *heap, size_t size)
{
    struct gyre_class_statistics out;
    assert_int_equal(
        gyre_statistics_class(heap, GYRE_PAGE_RAW, gyre_size_class(size), &out),
        GYRE_OK);
    return out.cached;
}

static void
test_each_class_keeps_what_its_own_limit_says(void **state)
{
    static void *half[SET], *one[SET];
    struct fixture fx;
    (void)state;
    fixture_open(&fx,
                 QUIET ",memory.thread_cache=1g,memory.class_cache=200000");
    take(half, 512);
    take(one, 1024);
    give(half);
    assert_int_equal(class_cached(fx.heap, 512), 3 * PAGE);
    assert_int_equal(own_cached(fx.heap), 3 * PAGE);
    give(one);
    assert_int_equal(class_cached(fx.heap, 512), 3 * PAGE);
    assert_int_equal(class_cached(fx.heap, 1024), 3 * PAGE);
    assert_int_equal(own_cached(fx.heap), 6 * PAGE);
    /* A span of four pages does not fit. */
    come_and_go(40, 32768);
    assert_int_equal(class_cached(fx.heap, 32768), 0);
    fixture_close(&fx);
}

static void
test_limits_in_blocks_are_obeyed_as_well(void **state)
{
    static const size_t sizes[] = {1024, 512, 256, 2048, 112};
    enum { SIZES = sizeof sizes / sizeof *sizes };
    static void *blocks[SIZES][SET];
    struct fixture fx;
    uint64_t all = 0;
    size_t i;
    (void)state;
    fixture_open(&fx, QUIET ",memory.thread_cache=1g,memory.class_cache=1g,"
                            "memory.thread_cache_blocks=1000,"
                            "memory.class_cache_blocks=300");
    for (i = 0; i < SIZES; i++)
        take(blocks[i], sizes[i]);
    for (i = 0; i < SIZES; i++) {
        /* as many pages as fit in both limits; of the last not one */
        uint64_t in_page = FIXTURE_PAGE_ROOM / sizes[i];
        uint64_t pages = 300 / in_page;
        if (pages > (1000 - all) / in_page)
            pages = (1000 - all) / in_page;
        all += pages * in_page;
        give(blocks[i]);
        assert_int_equal(class_cached(fx.heap, sizes[i]), pages * PAGE);
        assert_int_equal(own_statistics(fx.heap).cached_blocks, all);
    }
    assert_true(all > 900);
    fixture_close(&fx);
}

/* ---- limits that change ---- */

static void
set(struct gyre_heap *heap, enum gyre_option option, uint64_t value)
{
    assert_int_equal(gyre_option_set(heap, option, value), GYRE_OK);
}

static void
test_a_limit_lowered_at_run_time_is_obeyed_at_the_next_safepoint(void **state)
{
    struct fixture fx;
    (void)state;
    open_with_limit(&fx, 1 << 20);
    come_and_go(3000, 1024);
    assert_int_equal(own_cached(fx.heap), 1 << 20);
    set(fx.heap, GYRE_OPT_MEMORY_THREAD_CACHE, 333333);
    gyre_safepoint(fx.self);
    assert_int_equal(own_cached(fx.heap), 5 * PAGE);
    set(fx.heap, GYRE_OPT_MEMORY_CLASS_CACHE, 2 * PAGE);
    gyre_safepoint(fx.self);
    assert_int_equal(own_cached(fx.heap), 2 * PAGE);
    set(fx.heap, GYRE_OPT_MEMORY_CLASS_CACHE_BLOCKS, 64);
    gyre_safepoint(fx.self);
    assert_int_equal(own_cached(fx.heap), PAGE);
    set(fx.heap, GYRE_OPT_MEMORY_THREAD_CACHE_BLOCKS,
        FIXTURE_PAGE_ROOM / 1024 - 1);
    gyre_safepoint(fx.self);
    assert_int_equal(own_cached(fx.heap), 0);
    /* And raised: it is of use at once. */
    assert_int_equal(gyre_options_parse(fx.heap,
                                        "memory.thread_cache=2m,"
                                        "memory.class_cache=2m,"
                                        "memory.class_cache_blocks=100000,"
                                        "memory.thread_cache_blocks=100000"),
                     GYRE_OK);
    gyre_safepoint(fx.self);
    come_and_go(3000, 1024);
    assert_int_equal(own_cached(fx.heap), 2 << 20);
    fixture_close(&fx);
}

/* The current page that was kept without a look at each free is among what
 * goes. */
static void
test_a_lowered_limit_is_obeyed_where_memory_is_next_looked_for(void **state)
{
    struct fixture fx;
    void *block;
    (void)state;
    open_with_limit(&fx, 1 << 20);
    come_and_go(1, 64);
    come_and_go(1, 1024);
    assert_int_equal(own_cached(fx.heap), 2 * PAGE);
    set(fx.heap, GYRE_OPT_MEMORY_THREAD_CACHE, 0);
    block = gyre_mem_alloc(2048 - GUARD_RAW_EXTRA);
    assert_int_equal(own_cached(fx.heap), 0);
    gyre_mem_free(block);
    assert_int_equal(own_cached(fx.heap), 0);
    fixture_close(&fx);
}

struct meeting {
    struct gate full, lowered;
};

static void
fill_and_wait(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct meeting *meeting = arg;
    come_and_go(3000, 1024);
    assert_int_equal(own_cached(fx->heap), 1 << 20);
    gate_open(&meeting->full);
    gate_wait(&meeting->lowered); /* a detached region ends in a safepoint */
    gyre_safepoint(self);
    assert_int_equal(own_cached(fx->heap), 3 * PAGE);
}

static void
test_another_threads_change_of_a_limit_is_obeyed(void **state)
{
    struct meeting meeting = {GATE_INIT, GATE_INIT};
    struct worker worker;
    struct fixture fx;
    (void)state;
    open_with_limit(&fx, 1 << 20);
    worker_start(&worker, &fx, fill_and_wait, &meeting);
    gate_wait(&meeting.full);
    set(fx.heap, GYRE_OPT_MEMORY_THREAD_CACHE, 3 * PAGE);
    gate_open(&meeting.lowered);
    worker_join(&worker);
    fixture_close(&fx);
}

/* ---- who keeps what ---- */

static void
keep_some(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct meeting *meeting = arg;
    (void)fx;
    gyre_thread_set_name(self, "keeper");
    come_and_go(200, 1024);
    gate_open(&meeting->full);
    gate_wait(&meeting->lowered);
}

static void
test_statistics_say_what_each_thread_keeps(void **state)
{
    struct meeting meeting = {GATE_INIT, GATE_INIT};
    struct gyre_thread_statistics entries[4];
    struct worker worker;
    struct fixture *fx = *state;
    size_t count, i, keepers = 0;
    gyre_thread_set_name(fx->self, "test");
    worker_start(&worker, fx, keep_some, &meeting);
    gate_wait(&meeting.full);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK); /* brought up to date */
    count = gyre_statistics_threads(fx->heap, entries, 4);
    assert_int_equal(count, 2);
    for (i = 0; i < count; i++)
        if (strcmp(entries[i].name, "keeper") == 0) {
            keepers++;
            assert_int_equal(entries[i].cached, 4 * PAGE);
            assert_int_equal(entries[i].cached_blocks,
                             4 * (FIXTURE_PAGE_ROOM / 1024));
        }
    assert_int_equal(keepers, 1);
    /* Room for fewer: as many are filled in, all are counted. */
    assert_int_equal(gyre_statistics_threads(fx->heap, entries, 1), 2);
    assert_int_equal(gyre_statistics_threads(fx->heap, NULL, 0), 2);
    gate_open(&meeting.lowered);
    worker_join(&worker);
    assert_int_equal(gyre_statistics_threads(fx->heap, entries, 4), 1);
}

#define TEST(f) \
    cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_cache_limit_is_obeyed_to_the_byte),
        cmocka_unit_test(test_each_of_eight_threads_obeys_the_limit_for_itself),
        cmocka_unit_test(test_a_thread_that_may_keep_nothing_keeps_nothing),
        cmocka_unit_test(test_each_class_keeps_what_its_own_limit_says),
        cmocka_unit_test(test_limits_in_blocks_are_obeyed_as_well),
        cmocka_unit_test(
            test_a_limit_lowered_at_run_time_is_obeyed_at_the_next_safepoint),
        cmocka_unit_test(
            test_a_lowered_limit_is_obeyed_where_memory_is_next_looked_for),
        cmocka_unit_test(test_another_threads_change_of_a_limit_is_obeyed),
        TEST(test_statistics_say_what_each_thread_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
