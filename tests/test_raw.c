/* Raw memory as its users see it: aligned, zeroed and resized blocks, sizes
 * that can't be had. Covers docs/design/memory.md .mem.raw .mem.large
 * .mem.aligned .mem.zeroed .mem.resize */
#include "support/fixture.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "heap.h"
#include "memory/os.h"

#define MIB (UINT64_C(1) << 20)
#define KIB UINT64_C(1024)
#define QUIET "gc.automatic=0,gc.thread=0"

static struct gyre_statistics
statistics(const struct fixture *fx)
{
    struct gyre_statistics out;
    gyre_statistics_get(fx->heap, &out);
    return out;
}

/* A pattern that tells blocks and places in them apart. */
static void
pattern_write(void *block, size_t from, size_t to, unsigned seed)
{
    unsigned char *bytes = block;
    size_t i;
    for (i = from; i < to; i++)
        bytes[i] = (unsigned char)((i >> 12) * 31 + i * 7 + seed);
}

static bool
pattern_holds(const void *block, size_t size, unsigned seed)
{
    const unsigned char *bytes = block;
    size_t i;
    for (i = 0; i < size; i++)
        if (bytes[i] != (unsigned char)((i >> 12) * 31 + i * 7 + seed))
            return false;
    return true;
}

static bool
is_zero(const void *block, size_t size)
{
    const unsigned char *bytes = block;
    size_t i;
    for (i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* ---- aligned ---- */

static const size_t sizes[] = {
    0,           1,       16,          24,     100,         500,
    1000,        4096,    5000,        12288,  32768,       32769,
    65536,       65537,   200000,      MIB,    2 * MIB - 1, 2 * MIB,
    2 * MIB + 1, 3 * MIB, 4 * MIB + 5, 9 * MIB};
#define SIZES (sizeof sizes / sizeof sizes[0])

/* Covers .mem.aligned: each alignment with each size; usable, sized and freed
 * like any other. */
static void
test_blocks_of_each_size_are_aligned_as_asked_for(void **state)
{
    struct fixture *fx = *state;
    size_t alignment, i;
    for (alignment = 1; alignment <= 2 * MIB; alignment *= 2) {
        char *blocks[SIZES];
        for (i = 0; i < SIZES; i++) {
            size_t usable;
            blocks[i] = gyre_mem_alloc_aligned(alignment, sizes[i]);
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % alignment, 0);
            assert_int_equal((uintptr_t)blocks[i] % 16, 0);
            usable = gyre_mem_size(blocks[i]);
            assert_true(usable >= sizes[i]);
            if (usable > 0)
                blocks[i][0] = blocks[i][usable - 1] = (char)i;
        }
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
        for (i = 0; i < SIZES; i++) {
            if (gyre_mem_size(blocks[i]) > 0)
                assert_int_equal(blocks[i][gyre_mem_size(blocks[i]) - 1],
                                 (int)i);
            gyre_mem_free(blocks[i]);
        }
    }
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.aligned: several of one kind side by side. */
static void
test_many_aligned_blocks_do_not_overlap(void **state)
{
    enum { COUNT = 200 };
    static const size_t alignments[] = {64, 256, 4096, 32768, 65536, 262144};
    struct fixture *fx = *state;
    char *blocks[COUNT];
    size_t a, i;
    for (a = 0; a < sizeof alignments / sizeof alignments[0]; a++) {
        size_t alignment = alignments[a];
        size_t size = alignment > 4096 ? 100 : alignment * 3 / 2;
        for (i = 0; i < COUNT; i++) {
            blocks[i] = gyre_mem_alloc_aligned(alignment, size);
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % alignment, 0);
            pattern_write(blocks[i], 0, size, (unsigned)i);
        }
        for (i = 0; i < COUNT; i++) {
            assert_true(pattern_holds(blocks[i], size, (unsigned)i));
            gyre_mem_free(blocks[i]);
        }
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.aligned */
static void
test_an_alignment_that_is_none_is_refused(void **state)
{
    static const size_t wrong[] = {
        0, 3, 24, 4095, 65537, 4 * MIB, 3 * MIB, SIZE_MAX, SIZE_MAX / 2 + 1};
    struct fixture *fx = *state;
    size_t i;
    for (i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_null(gyre_mem_alloc_aligned(wrong[i], 100));
        assert_int_equal(gyre_last_status(), GYRE_ERR_ARGUMENT);
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- zeroed ---- */

/* Covers .mem.zeroed: memory that others wrote to before. */
static void
test_zeroed_memory_is_zero_whoever_had_it_before(void **state)
{
    enum { COUNT = 24 };
    void *blocks[COUNT];
    struct fixture *fx = *state;
    size_t s, i;
    int round;
    for (round = 0; round < 3; round++) {
        for (s = 0; s < SIZES; s++) {
            size_t count = sizes[s] > MIB ? 3 : COUNT;
            for (i = 0; i < count; i++) {
                size_t usable;
                blocks[i] = gyre_mem_calloc(1, sizes[s]);
                assert_non_null(blocks[i]);
                usable = gyre_mem_size(blocks[i]);
                assert_true(is_zero(blocks[i], sizes[s]));
                memset(blocks[i], 0xee, usable);
                /* one in the middle comes back before the next */
                if (i % 5 == 4) {
                    gyre_mem_free(blocks[i - 2]);
                    blocks[i - 2] = gyre_mem_calloc(sizes[s], 1);
                    assert_true(is_zero(blocks[i - 2], sizes[s]));
                }
            }
            for (i = 0; i < count; i++)
                gyre_mem_free(blocks[i]);
        }
        if (round == 1)
            (void)gyre_scavenger_return(fx->heap, 0);
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.zeroed: memory from the system is not touched to be cleared. */
static void
test_zeroed_memory_from_the_system_is_not_written(void **state)
{
    struct fixture *fx = *state;
    unsigned char resident[3 * MIB / 4096];
    unsigned char *block = gyre_mem_calloc(1, 3 * MIB);
    size_t touched = 0, i;
    (void)fx;
    assert_non_null(block);
    assert_int_equal(mincore(block, 3 * MIB, resident), 0);
    for (i = 0; i < sizeof resident; i++)
        touched += resident[i] & 1;
    assert_true(touched <= 1);
    assert_true(is_zero(block, 3 * MIB));
    gyre_mem_free(block);
}

/* ---- resized ---- */

/* Covers .mem.resize: what fits stays where it is. */
static void
test_a_block_that_fits_stays_where_it_is(void **state)
{
    struct fixture *fx = *state;
    size_t i;
    for (i = 0; i < SIZES; i++) {
        char *block = gyre_mem_alloc(sizes[i]);
        size_t usable = gyre_mem_size(block), size;
        /* Checking builds say what was asked for, not what there is. */
        size_t half = MEMORY_GUARD ? usable - usable / 16 : (usable + 1) / 2;
        pattern_write(block, 0, usable, 3);
        assert_ptr_equal(gyre_mem_realloc(block, usable), block);
        for (size = usable; size > 1 && size > half; size -= 1 + size / 16) {
            /* What fits a class does not stay in a span. */
            if (size <= GYRE_SMALL_MAX && usable > GYRE_SMALL_MAX - 64)
                break;
            assert_ptr_equal(gyre_mem_realloc(block, size), block);
            assert_true(gyre_mem_size(block) >= size);
            assert_true(pattern_holds(block, size, 3));
        }
        gyre_mem_free(block);
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.resize: from each size to each. */
static void
test_a_resized_block_keeps_what_it_holds(void **state)
{
    struct fixture *fx = *state;
    size_t from, to;
    for (from = 0; from < SIZES; from++) {
        for (to = 0; to < SIZES; to++) {
            size_t least = sizes[from] < sizes[to] ? sizes[from] : sizes[to];
            unsigned seed = (unsigned)(from * 50 + to);
            char *block = gyre_mem_alloc(sizes[from]);
            assert_non_null(block);
            pattern_write(block, 0, sizes[from], seed);
            block = gyre_mem_realloc(block, sizes[to]);
            assert_non_null(block);
            assert_true(gyre_mem_size(block) >= sizes[to]);
            assert_true(pattern_holds(block, least, seed));
            pattern_write(block, least, sizes[to], seed);
            assert_true(pattern_holds(block, sizes[to], seed));
            gyre_mem_free(block);
        }
    }
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.resize: a span grows into free pages behind it and gives those
 * back that it does not need. */
static void
test_a_span_grows_and_shrinks_in_place(void **state)
{
    struct fixture *fx = *state;
    char *block = gyre_mem_alloc(10 * 64 * KIB), *same;
    uint64_t pages = statistics(fx).pages_in_use;
    pattern_write(block, 0, 10 * 64 * KIB, 5);
    same = gyre_mem_realloc(block, 3 * 64 * KIB);
    assert_ptr_equal(same, block);
    assert_int_equal(gyre_mem_size(block), 3 * 64 * KIB);
    assert_int_equal(statistics(fx).pages_in_use, pages - 7);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    same = gyre_mem_realloc(block, 9 * 64 * KIB);
    assert_ptr_equal(same, block);
    assert_int_equal(gyre_mem_size(block), 9 * 64 * KIB);
    assert_int_equal(statistics(fx).pages_in_use, pages - 1);
    assert_true(pattern_holds(block, 3 * 64 * KIB, 5));
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gyre_mem_free(block);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.resize: a mapping alone that has to move takes its memory with
 * it: no more of it is resident or counted than before. */
static void
test_a_mapping_alone_moves_without_being_copied(void **state)
{
    struct fixture *fx = *state;
    uint64_t mapped = statistics(fx).mapped;
    size_t size = 3 * MIB;
    char *block = gyre_mem_alloc(size), *others[8];
    int i;
    pattern_write(block, 0, size, 9);
    for (i = 0; i < 8; i++) {
        /* something in its way, on either side */
        others[i] = gyre_mem_alloc(5 * MIB);
        assert_non_null(others[i]);
        size += 4 * MIB;
        block = gyre_mem_realloc(block, size);
        assert_non_null(block);
        assert_true(gyre_mem_size(block) >= size);
        assert_true(pattern_holds(block, 3 * MIB, 9));
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
    assert_true(statistics(fx).mapped_peak - mapped <
                size + 8 * 5 * MIB + 2 * MIB);
    block = gyre_mem_realloc(block, 3 * MIB);
    assert_true(pattern_holds(block, 3 * MIB, 9));
    for (i = 0; i < 8; i++)
        gyre_mem_free(others[i]);
    gyre_mem_free(block);
    (void)gyre_scavenger_return(fx->heap, 0);
    assert_int_equal(statistics(fx).mapped, mapped);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.resize .mem.aligned: 16 is all that is promised, but a mapping
 * keeps what it has. */
static void
test_aligned_blocks_can_be_resized(void **state)
{
    static const size_t alignments[] = {64, 4096, 65536, MIB, 2 * MIB};
    struct fixture *fx = *state;
    size_t a, s;
    for (a = 0; a < 5; a++) {
        for (s = 0; s < SIZES; s++) {
            size_t size = sizes[s];
            char *block = gyre_mem_alloc_aligned(alignments[a], size);
            pattern_write(block, 0, size, 1);
            block = gyre_mem_realloc(block, size * 2 + 1);
            assert_non_null(block);
            assert_true(gyre_mem_size(block) >= size * 2 + 1);
            assert_true(pattern_holds(block, size, 1));
            block = gyre_mem_realloc(block, size / 3 + 1);
            assert_true(pattern_holds(block, size / 3, 1));
            gyre_mem_free(block);
        }
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- while a collection is open ---- */

/* Covers .mem.stable: nothing moves that a collection may walk past, and
 * nothing is given back. */
static void
test_blocks_are_resized_while_a_collection_is_open(void **state)
{
    struct fixture *fx = *state;
    char *span = gyre_mem_alloc(20 * 64 * KIB),
         *alone = gyre_mem_alloc(6 * MIB);
    pattern_write(span, 0, 100000, 1);
    pattern_write(alone, 0, 100000, 2);
    gyre_memory_pin(fx->heap);
    span = gyre_mem_realloc(span, 2 * 64 * KIB);
    alone = gyre_mem_realloc(alone, 40 * MIB);
    alone = gyre_mem_realloc(alone, 3 * MIB);
    assert_true(pattern_holds(span, 100000, 1));
    assert_true(pattern_holds(alone, 100000, 2));
    gyre_memory_unpin(fx->heap);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gyre_mem_free(span);
    gyre_mem_free(alone);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- what can't be had ---- */

/* Covers .mem.raw: NULL and a status, and nothing is lost. */
static void
test_sizes_that_overflow_are_refused(void **state)
{
    static const size_t huge[] = {
        SIZE_MAX,     SIZE_MAX - 15,    SIZE_MAX - 4095, SIZE_MAX - 65536,
        SIZE_MAX / 2, SIZE_MAX / 2 + 1, SIZE_MAX / 4,    UINT64_C(1) << 50};
    struct fixture *fx = *state;
    char *small = gyre_mem_alloc(100), *alone = gyre_mem_alloc(3 * MIB);
    uint64_t mapped = statistics(fx).mapped;
    size_t i;
    pattern_write(small, 0, 100, 1);
    pattern_write(alone, 0, 3 * MIB, 2);
    for (i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        assert_null(gyre_mem_alloc(huge[i]));
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        assert_null(gyre_mem_calloc(1, huge[i]));
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        assert_null(gyre_mem_alloc_aligned(4096, huge[i]));
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        assert_null(gyre_mem_alloc_aligned(2 * MIB, huge[i]));
        assert_null(gyre_mem_realloc(NULL, huge[i]));
        assert_null(gyre_mem_realloc(small, huge[i]));
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        assert_null(gyre_mem_realloc(alone, huge[i]));
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
    }
    assert_null(gyre_mem_calloc(SIZE_MAX / 16, 17));
    assert_int_equal(gyre_last_status(), GYRE_ERR_ARGUMENT);
    assert_int_equal(statistics(fx).mapped, mapped);
    assert_true(pattern_holds(small, 100, 1));
    assert_true(pattern_holds(alone, 3 * MIB, 2));
    gyre_mem_free(small);
    gyre_mem_free(alone);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.limit: a block that can't be made longer is as it was. */
static void
test_resizing_that_fails_leaves_the_block_as_it_was(void **state)
{
    static const size_t before[] = {100, 40000, 2 * MIB, 3 * MIB};
    static const size_t after[] = {3000, 5 * 64 * KIB, 5 * MIB, 30 * MIB};
    size_t i;
    (void)state;
    for (i = 0; i < 4; i++) {
        struct fixture fx;
        uint64_t limit;
        char *block;
        uint32_t refused;
        fixture_open(&fx, QUIET ",memory.return_delay=0");
        block = gyre_mem_alloc(before[i]);
        pattern_write(block, 0, before[i], 4);
        /* by the system, at each mapping in turn */
        for (refused = 0; refused < 4; refused++) {
            char *moved;
            gyre_os_inject_failures(refused, 20);
            moved = gyre_mem_realloc(block, 60 * MIB);
            gyre_os_inject_failures(0, 0);
            if (moved != NULL) {
                assert_true(pattern_holds(moved, before[i], 4));
                block = gyre_mem_realloc(moved, before[i]);
                assert_non_null(block);
            } else {
                assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
            }
            assert_true(pattern_holds(block, before[i], 4));
            assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        }
        /* by the limit */
        limit = statistics(&fx).mapped + 4096;
        assert_int_equal(
            gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HARD_LIMIT, limit),
            GYRE_OK);
        assert_null(gyre_mem_realloc(block, 60 * MIB));
        assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
        assert_true(pattern_holds(block, before[i], 4));
        assert_true(statistics(&fx).mapped <= limit);
        assert_int_equal(
            gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HARD_LIMIT, 0), GYRE_OK);
        block = gyre_mem_realloc(block, after[i]);
        assert_non_null(block);
        assert_true(pattern_holds(block, before[i], 4));
        gyre_mem_free(block);
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        fixture_close(&fx);
    }
}

/* ---- threads ---- */

struct relay {
    void *blocks[64];
    int count;
};

static void
free_relay(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct relay *relay = arg;
    int i;
    (void)fx;
    (void)self;
    for (i = 0; i < relay->count; i++) {
        relay->blocks[i] = gyre_mem_realloc(relay->blocks[i], 5000);
        assert_non_null(relay->blocks[i]);
        assert_true(pattern_holds(relay->blocks[i], 64, (unsigned)i));
        gyre_mem_free(relay->blocks[i]);
    }
}

/* Covers .mem.raw: blocks of every kind are resized and freed by others. */
static void
test_blocks_are_resized_and_freed_by_other_threads(void **state)
{
    struct fixture *fx = *state;
    struct relay relay = {.count = 64};
    struct worker worker;
    int i;
    for (i = 0; i < relay.count; i++) {
        size_t size = sizes[(size_t)i % SIZES];
        relay.blocks[i] =
            gyre_mem_alloc_aligned((size_t)16 << i % 18, size > 64 ? size : 64);
        assert_non_null(relay.blocks[i]);
        pattern_write(relay.blocks[i], 0, 64, (unsigned)i);
    }
    worker_start(&worker, fx, free_relay, &relay);
    worker_join(&worker);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

static int
setup(void **state)
{
    struct fixture *fx = malloc(sizeof *fx);
    assert_non_null(fx);
    fixture_open(fx, QUIET);
    *state = fx;
    return 0;
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_blocks_of_each_size_are_aligned_as_asked_for),
        TEST(test_many_aligned_blocks_do_not_overlap),
        TEST(test_an_alignment_that_is_none_is_refused),
        TEST(test_zeroed_memory_is_zero_whoever_had_it_before),
        TEST(test_zeroed_memory_from_the_system_is_not_written),
        TEST(test_a_block_that_fits_stays_where_it_is),
        TEST(test_a_resized_block_keeps_what_it_holds),
        TEST(test_a_span_grows_and_shrinks_in_place),
        TEST(test_a_mapping_alone_moves_without_being_copied),
        TEST(test_aligned_blocks_can_be_resized),
        TEST(test_blocks_are_resized_while_a_collection_is_open),
        TEST(test_sizes_that_overflow_are_refused),
        cmocka_unit_test(test_resizing_that_fails_leaves_the_block_as_it_was),
        TEST(test_blocks_are_resized_and_freed_by_other_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
