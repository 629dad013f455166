/* Where pages come from: arenas, memory nodes, huge pages, and the map that
 * says what is a segment. Covers docs/design/memory.md .mem.arena .mem.numa
 * .mem.huge .mem.map .mem.limit */
#include "support/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "heap.h"
#include "memory/numa.h"
#include "memory/os.h"
#include "memory/segment.h"

#define MIB (UINT64_C(1) << 20)
#define QUIET "gc.automatic=0,gc.thread=0,memory.thread_cache=0"
#define AT_ONCE QUIET ",memory.return_delay=0"
#define NEVER ",memory.heap_cache=1g,memory.return_delay=86400000"
#define SEGMENT GYRE_SEGMENT_BYTES

static struct gyre_statistics
statistics(const struct fixture *fx)
{
    struct gyre_statistics out;
    gyre_statistics_get(fx->heap, &out);
    return out;
}

/* A block that no segment has room for twice, with what checking builds add
 * to it. */
#define HALF (2 * MIB - 64)

static void *
half_segment(void)
{
    void *block = gyre_mem_alloc(HALF);
    assert_non_null(block);
    return block;
}

/* ---- arenas ---- */

/* Covers .mem.arena: one mapping serves several segments, which lie side by
 * side and are counted one by one. */
static void
test_segments_of_an_arena_lie_side_by_side(void **state)
{
    enum { COUNT = 8 };
    void *blocks[COUNT];
    struct fixture fx;
    uint64_t mapped;
    int i;
    (void)state;
    fixture_open(&fx, AT_ONCE ",memory.arena=32m");
    mapped = statistics(&fx).mapped;
    for (i = 0; i < COUNT; i++) {
        blocks[i] = half_segment();
        memset(blocks[i], i, HALF);
        assert_int_equal(statistics(&fx).mapped, mapped + (i + 1) * SEGMENT);
        if (i > 0)
            assert_int_equal((char *)segment_of(blocks[i]) -
                                 (char *)segment_of(blocks[i - 1]),
                             SEGMENT);
    }
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    for (i = 0; i < COUNT; i++)
        gyre_mem_free(blocks[i]);
    assert_int_equal(statistics(&fx).mapped, mapped);
    fixture_close(&fx);
}

/* Covers .mem.arena .mem.limit: what an arena holds in store is not counted,
 * and the limit holds for each segment of it. */
static void
test_hard_limit_holds_for_each_segment_of_an_arena(void **state)
{
    enum { MOST = 64 };
    void *blocks[MOST];
    struct fixture fx;
    uint64_t limit;
    int count = 0, round, i;
    (void)state;
    fixture_open(&fx, AT_ONCE ",memory.arena=64m");
    limit = statistics(&fx).mapped + 5 * SEGMENT + 1000;
    assert_int_equal(
        gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HARD_LIMIT, limit), GYRE_OK);
    for (round = 0; round < 3; round++) {
        count = 0;
        while (count < MOST && (blocks[count] = gyre_mem_alloc(HALF)) != NULL)
            count++;
        assert_int_equal(count, 5);
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        assert_null(gyre_mem_alloc(HALF));
        assert_true(statistics(&fx).mapped_peak <= limit);
        for (i = 0; i < count; i++)
            gyre_mem_free(blocks[i]);
    }
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Covers .mem.arena: an arena that can't be had is done without. */
static void
test_without_room_for_an_arena_segments_come_one_by_one(void **state)
{
    struct fixture fx;
    void *block;
    (void)state;
    fixture_open(&fx, AT_ONCE ",memory.arena=1g");
    gyre_os_inject_failures(0, 1);
    block = half_segment();
    gyre_os_inject_failures(0, 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    gyre_mem_free(block);
    /* More than the address space has. */
    assert_int_equal(
        gyre_option_set(fx.heap, GYRE_OPT_MEMORY_ARENA, UINT64_C(1) << 40),
        GYRE_OK);
    block = half_segment();
    gyre_mem_free(block);
    fixture_close(&fx);
}

/* Covers .mem.arena: changed while in use, for arenas to come. */
static void
test_the_arena_size_may_change_at_any_time(void **state)
{
    static const uint64_t sizes[] = {4, 16, 8, 64, 4};
    struct fixture fx;
    void *blocks[20];
    int i;
    (void)state;
    fixture_open(&fx, AT_ONCE);
    for (i = 0; i < 20; i++) {
        assert_int_equal(
            gyre_option_set(fx.heap, GYRE_OPT_MEMORY_ARENA, sizes[i / 4] * MIB),
            GYRE_OK);
        blocks[i] = half_segment();
    }
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    for (i = 0; i < 20; i++)
        gyre_mem_free(blocks[i]);
    fixture_close(&fx);
}

static void
take_and_give(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    int i;
    (void)fx;
    (void)arg;
    for (i = 0; i < FIXTURE_SCALED(300); i++) {
        char *a = gyre_mem_alloc(HALF), *b = gyre_mem_alloc(MIB);
        assert_non_null(a);
        assert_non_null(b);
        a[0] = b[0] = a[HALF - 1] = b[MIB - 1] = 1;
        gyre_mem_free(a);
        gyre_mem_free(b);
        gyre_safepoint(self);
    }
}

/* Covers .mem.arena */
static void
test_threads_take_segments_of_arenas_at_once(void **state)
{
    struct worker workers[3];
    struct fixture fx;
    int i;
    (void)state;
    fixture_open(&fx, AT_ONCE ",memory.arena=12m");
    for (i = 0; i < 3; i++)
        worker_start(&workers[i], &fx, take_and_give, NULL);
    for (i = 0; i < 3; i++)
        worker_join(&workers[i]);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* ---- memory nodes ---- */

/* Covers .mem.numa: pages come from segments of the caller's node, and of
 * others before memory is out. */
static void
test_threads_get_pages_of_their_own_node(void **state)
{
    struct fixture fx;
    void *first, *second, *third, *fourth;
    (void)state;
    fixture_open(&fx, QUIET NEVER);
    gyre_numa_inject(4, 2);
    first = gyre_mem_alloc(100000);
    assert_int_equal(segment_of(first)->node, 2);
    gyre_numa_inject(4, 3);
    second = gyre_mem_alloc(100000);
    assert_int_equal(segment_of(second)->node, 3);
    assert_ptr_not_equal(segment_of(first), segment_of(second));
    gyre_numa_inject(4, 2);
    third = gyre_mem_alloc(100000);
    assert_ptr_equal(segment_of(third), segment_of(first));
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    /* No memory near: anybody's. */
    gyre_numa_inject(4, 1);
    gyre_os_inject_failures(0, 2);
    fourth = gyre_mem_alloc(100000);
    gyre_os_inject_failures(0, 0);
    assert_non_null(fourth);
    assert_int_not_equal(segment_of(fourth)->node, 1);
    gyre_mem_free(first);
    gyre_mem_free(second);
    gyre_mem_free(third);
    gyre_mem_free(fourth);
    gyre_numa_inject(0, 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Covers .mem.numa: off, any page serves, whoever mapped it. */
static void
test_without_the_option_nodes_do_not_matter(void **state)
{
    struct fixture fx;
    void *first, *second;
    (void)state;
    fixture_open(&fx, QUIET NEVER);
    gyre_numa_inject(2, 1);
    first = gyre_mem_alloc(100000);
    assert_int_equal(segment_of(first)->node, 1);
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_NUMA, 0),
                     GYRE_OK);
    gyre_numa_inject(2, 0);
    second = gyre_mem_alloc(100000);
    assert_ptr_equal(segment_of(first), segment_of(second));
    gyre_numa_inject(0, 0);
    gyre_mem_free(first);
    gyre_mem_free(second);
    fixture_close(&fx);
}

/* Covers .mem.numa: more nodes than the heap tells apart share lists. */
static void
test_nodes_beyond_those_told_apart_share(void **state)
{
    struct fixture fx;
    void *block;
    (void)state;
    fixture_open(&fx, QUIET NEVER);
    gyre_numa_inject(1024, MEMORY_NODES + 3);
    block = gyre_mem_alloc(100000);
    assert_int_equal(segment_of(block)->node, 3);
    gyre_numa_inject(0, 0);
    gyre_mem_free(block);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* ---- mappings alone ---- */

/* Covers .mem.spare: what was freed serves the next of about its length, as
 * it is, and is cleared for who wants it zeroed. */
static void
test_a_mapping_that_was_freed_serves_the_next(void **state)
{
    struct fixture fx;
    unsigned char *first, *second, *third;
    uint64_t mapped;
    (void)state;
    fixture_open(&fx, QUIET NEVER);
    first = gyre_mem_alloc_aligned(MIB, 6 * MIB);
    memset(first, 0xcc, 6 * MIB);
    mapped = statistics(&fx).mapped;
    gyre_mem_free(first);
    assert_int_equal(statistics(&fx).mapped, mapped);
    assert_true(statistics(&fx).heap_cached >= 6 * MIB);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    /* too long and too short for it */
    second = gyre_mem_alloc(9 * MIB);
    third = gyre_mem_alloc(5 * MIB);
    assert_ptr_not_equal(segment_of(second), segment_of(first));
    assert_ptr_not_equal(segment_of(third), segment_of(first));
    gyre_mem_free(second);
    gyre_mem_free(third);
    second = gyre_mem_calloc(1, 6 * MIB + 500000);
    assert_ptr_equal(segment_of(second), segment_of(first));
    assert_int_equal(second[0] + second[MIB] + second[6 * MIB], 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    gyre_mem_free(second);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Covers .mem.spare .mem.limit: they count as what the heap keeps, and go
 * before memory is out. */
static void
test_mappings_that_are_kept_obey_the_bounds(void **state)
{
    enum { COUNT = 6 };
    struct fixture fx;
    void *blocks[COUNT], *pages[180];
    uint64_t base, limit;
    int i;
    (void)state;
    fixture_open(&fx, QUIET ",memory.heap_cache=20m,"
                            "memory.return_delay=86400000");
    base = statistics(&fx).mapped;
    for (i = 0; i < COUNT; i++)
        blocks[i] = gyre_mem_alloc(5 * MIB);
    for (i = 0; i < COUNT; i++) {
        gyre_mem_free(blocks[i]);
        assert_true(statistics(&fx).heap_cached <= 20 * MIB);
    }
    assert_in_range(statistics(&fx).heap_cached, 15 * MIB, 20 * MIB);
    limit = statistics(&fx).mapped;
    assert_int_equal(
        gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HARD_LIMIT, limit), GYRE_OK);
    /* They make room for a longer one, and for pages. */
    blocks[0] = gyre_mem_alloc(limit - base - MIB);
    assert_non_null(blocks[0]);
    gyre_mem_free(blocks[0]);
    for (i = 0; i < 180; i++)
        assert_non_null(pages[i] = gyre_mem_alloc(60000));
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    for (i = 0; i < 180; i++)
        gyre_mem_free(pages[i]);
    assert_true(statistics(&fx).mapped_peak <=
                (limit > base + 31 * MIB ? limit : base + 31 * MIB));
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* ---- huge pages ---- */

/* Covers .mem.huge: what is purged reads as zero, and the rest stays. */
static void
test_memory_of_huge_pages_is_given_back_and_used_again(void **state)
{
    enum { COUNT = 60, SIZE = 60000 };
    unsigned char *blocks[COUNT];
    struct fixture fx;
    int i;
    (void)state;
    fixture_open(&fx, QUIET NEVER ",memory.huge_pages=1");
    for (i = 0; i < COUNT; i++) {
        blocks[i] = gyre_mem_alloc(SIZE);
        assert_non_null(blocks[i]);
        memset(blocks[i], i + 1, SIZE);
    }
    assert_int_equal(segment_of(blocks[0])->huge, 1);
    for (i = 0; i < COUNT; i += 2)
        gyre_mem_free(blocks[i]);
    assert_int_equal(gyre_scavenger_return(fx.heap, 0),
                     COUNT / 2 * GYRE_PAGE_BYTES);
    assert_int_equal(statistics(&fx).heap_cached, 0);
    /* It would be filled by the system again. */
    assert_int_equal(segment_of(blocks[1])->huge, 0);
    for (i = 1; i < COUNT; i += 2)
        assert_int_equal(blocks[i][SIZE - 1], i + 1);
    for (i = 0; i < COUNT; i += 2) {
        int k;
        blocks[i] = gyre_mem_calloc(1, SIZE);
        assert_non_null(blocks[i]);
        for (k = 0; k < SIZE; k++)
            assert_int_equal(blocks[i][k], 0);
    }
    for (i = 0; i < COUNT; i++)
        gyre_mem_free(blocks[i]);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Covers .mem.return: memory that the program has locked is kept, and known
 * to hold what it held. */
static void
test_locked_memory_stays_and_is_cleared_when_used_again(void **state)
{
    enum { SIZE = 60000 };
    unsigned char *block, *held;
    struct fixture fx;
    int k;
    (void)state;
    fixture_open(&fx, QUIET NEVER);
    held = gyre_mem_alloc(SIZE);
    block = gyre_mem_alloc(SIZE);
    memset(block, 0xbb, SIZE);
    /* by number, as sanitizers make nothing of mlock() */
    if (syscall(SYS_mlock, block, (size_t)SIZE) != 0) {
        gyre_mem_free(block);
        gyre_mem_free(held);
        fixture_close(&fx);
        skip();
    }
    gyre_mem_free(block);
    assert_int_equal(gyre_scavenger_return(fx.heap, 0), 0);
    assert_int_equal(statistics(&fx).heap_cached, GYRE_PAGE_BYTES);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    assert_ptr_equal(gyre_mem_calloc(1, SIZE), block);
    for (k = 0; k < SIZE; k++)
        assert_int_equal(block[k], 0);
    assert_int_equal(syscall(SYS_munlock, block, (size_t)SIZE), 0);
    gyre_mem_free(block);
    assert_int_equal(gyre_scavenger_return(fx.heap, 0), GYRE_PAGE_BYTES);
    gyre_mem_free(held);
    fixture_close(&fx);
}

/* ---- the map ---- */

/* Covers .mem.map */
static void
test_the_map_knows_segments_and_nothing_else(void **state)
{
    struct fixture fx;
    static int in_data;
    int on_stack;
    unsigned char in_memory;
    char *small, *span, *alone, *end;
    (void)state;
    fixture_open(&fx, AT_ONCE);
    assert_false(gyre_segment_is_mapped(NULL));
    assert_false(gyre_segment_is_mapped(&in_data));
    assert_false(gyre_segment_is_mapped(&on_stack));
    assert_false(gyre_segment_is_mapped((void *)UINTPTR_MAX));
    assert_false(gyre_segment_is_mapped((void *)(UINTPTR_MAX >> 16)));
    small = gyre_mem_alloc(100);
    span = gyre_mem_alloc(MIB);
    alone = gyre_mem_alloc(11 * MIB);
    assert_true(gyre_segment_is_mapped(small));
    assert_true(gyre_segment_is_mapped(span));
    assert_true(gyre_segment_is_mapped(span + MIB - 1));
    /* No block begins behind the first 4 MiB of a mapping alone. */
    assert_true(gyre_segment_is_mapped(alone));
    assert_true(gyre_segment_is_mapped(alone + 3 * MIB));
    assert_false(gyre_segment_is_mapped(alone + 4 * MIB));
    end = (char *)segment_of(alone) + 4 * MIB;
    assert_false(gyre_segment_is_mapped(end));
    gyre_mem_free(alone);
    assert_false(gyre_segment_is_mapped(alone));
    /* A short mapping alone has the whole of its 4 MiB. */
    alone = gyre_mem_alloc(2 * MIB + 1);
    assert_true(gyre_segment_is_mapped(alone));
    end = (char *)segment_of(alone) + 4 * MIB - 1;
    end -= (uintptr_t)end % 4096;
    assert_int_equal(mincore(end, 4096, &in_memory), 0);
    gyre_mem_free(alone);
    gyre_mem_free(span);
    gyre_mem_free(small);
    fixture_close(&fx);
    assert_false(gyre_segment_is_mapped(small));
    assert_false(gyre_segment_is_mapped(span));
}

static void
look_around(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct gate *gate = arg;
    uint64_t seen = 0;
    int i;
    (void)fx;
    gate_open(gate);
    for (i = 0; i < FIXTURE_SCALED(200000); i++) {
        uintptr_t address = (uintptr_t)&seen - (uintptr_t)i * 1000003;
        seen += gyre_segment_is_mapped((void *)address);
        if (i % 1000 == 0)
            gyre_safepoint(self);
    }
    assert_true(seen <= (uint64_t)i);
}

/* Covers .mem.map: anybody may ask at any time. */
static void
test_the_map_is_read_while_segments_come_and_go(void **state)
{
    struct gate gate = GATE_INIT;
    struct worker looker, worker;
    struct fixture fx;
    (void)state;
    fixture_open(&fx, AT_ONCE);
    worker_start(&looker, &fx, look_around, &gate);
    gate_wait(&gate);
    worker_start(&worker, &fx, take_and_give, NULL);
    worker_join(&worker);
    worker_join(&looker);
    fixture_close(&fx);
}

/* ---- memory that is refused ---- */

static const size_t refused_sizes[] = {100, 40000, 2 * MIB, 3 * MIB, 9 * MIB};

/* Take a block of each size, with failures from the n-th mapping on; true
 * when there was enough. What is not had is not lost. */
static bool
all_were_had(struct fixture *fx, uint32_t after, uint32_t failures)
{
    enum { COUNT = sizeof refused_sizes / sizeof refused_sizes[0] };
    void *blocks[COUNT];
    bool all = true;
    int i;
    gyre_os_inject_failures(after, failures);
    for (i = 0; i < COUNT; i++) {
        blocks[i] = gyre_mem_alloc(refused_sizes[i]);
        all &= blocks[i] != NULL;
        if (blocks[i] == NULL)
            assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
    }
    gyre_os_inject_failures(0, 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    for (i = 0; i < COUNT; i++)
        gyre_mem_free(blocks[i]);
    return all;
}

/* Covers .mem.limit: at each mapping in turn. */
static void
test_each_mapping_may_be_refused(void **state)
{
    static const char *const options[] = {AT_ONCE, AT_ONCE ",memory.arena=16m",
                                          AT_ONCE ",memory.huge_pages=1"};
    unsigned i;
    (void)state;
    for (i = 0; i < sizeof options / sizeof options[0]; i++) {
        uint32_t after = 0;
        struct fixture fx;
        uint64_t mapped;
        fixture_open(&fx, options[i]);
        /* The current page and its segment stay. */
        assert_true(all_were_had(&fx, 0, 0));
        mapped = statistics(&fx).mapped;
        while (!all_were_had(&fx, after, 2)) {
            assert_int_equal(statistics(&fx).mapped, mapped);
            assert_true(++after < 100);
        }
        assert_true(after > 0);
        fixture_close(&fx);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_segments_of_an_arena_lie_side_by_side),
        cmocka_unit_test(test_hard_limit_holds_for_each_segment_of_an_arena),
        cmocka_unit_test(
            test_without_room_for_an_arena_segments_come_one_by_one),
        cmocka_unit_test(test_the_arena_size_may_change_at_any_time),
        cmocka_unit_test(test_threads_take_segments_of_arenas_at_once),
        cmocka_unit_test(test_threads_get_pages_of_their_own_node),
        cmocka_unit_test(test_without_the_option_nodes_do_not_matter),
        cmocka_unit_test(test_nodes_beyond_those_told_apart_share),
        cmocka_unit_test(test_a_mapping_that_was_freed_serves_the_next),
        cmocka_unit_test(test_mappings_that_are_kept_obey_the_bounds),
        cmocka_unit_test(
            test_memory_of_huge_pages_is_given_back_and_used_again),
        cmocka_unit_test(
            test_locked_memory_stays_and_is_cleared_when_used_again),
        cmocka_unit_test(test_the_map_knows_segments_and_nothing_else),
        cmocka_unit_test(test_the_map_is_read_while_segments_come_and_go),
        cmocka_unit_test(test_each_mapping_may_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
