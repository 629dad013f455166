/* The page heap: raw memory as its users see it, and pages, caches, limbo
 * and what waits for a grace period, seen from inside.
 *
 * Blocks of object pages are taken here as bare blocks whose words say that
 * they are no objects. Covers docs/design/memory.md. */
#include "support/fixture.h"

#include <stdlib.h>

#include "heap.h"
#include "memory/os.h"

#define MIB (UINT64_C(1) << 20)
/* No thread but the tests' own, whose record would be mapped sometime. */
#define QUIET "gc.automatic=0,gc.thread=0"
#define SMALL_CACHES QUIET ",memory.thread_cache=0,memory.heap_cache=0"

static struct gyre_statistics
statistics(struct fixture *fx)
{
    struct gyre_statistics out;
    gyre_statistics_get(fx->heap, &out);
    return out;
}

/* A block of an object page. Word 1 must read dead, and stays so. */
static void *
block_new(struct fixture *fx, enum gyre_page_kind kind, size_t size)
{
    uint64_t *block;
    bool zeroed;
    if (size > GYRE_SMALL_MAX)
        block = gyre_memory_alloc_large(fx->self, kind, size, &zeroed);
    else
        block = memory_block_alloc(
            fx->self, gyre_alloc_index(kind, gyre_size_class(size)));
    assert_non_null(block);
    assert_true(kind == GYRE_PAGE_RAW || block[1] == 0 ||
                block[1] == (uint64_t)GYRE_RC_DEAD << 32);
    gyre_store_relaxed(&block[0], 0);
    memory_unpoison(block, size); /* whoever makes an object does that */
    return block;
}

static void
blocks_new(struct fixture *fx, enum gyre_page_kind kind, size_t size,
           void **blocks, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++)
        blocks[i] = block_new(fx, kind, size);
}

static void
blocks_free(struct gyre_thread *self, void **blocks, size_t count, size_t step)
{
    size_t i;
    for (i = 0; i < count; i += step) {
        memory_block_free(self, blocks[i]);
        blocks[i] = NULL;
    }
}

static size_t
list_length(const struct page *list)
{
    size_t length = 0;
    for (; list != NULL; list = list->next)
        length++;
    return length;
}

/* ---- size classes ---- */

/* Covers .mem.classes */
static void
test_every_small_size_fits_its_class_with_an_eighth_to_spare(void **state)
{
    uint32_t size;
    (void)state;
    for (size = 0; size <= GYRE_SMALL_MAX; size++) {
        uint32_t class = gyre_size_class(size);
        uint32_t bytes = gyre_class_bytes(class);
        assert_true(class < GYRE_SIZE_CLASSES);
        assert_true(bytes >= size && bytes % 16 == 0);
        assert_true(bytes - size <= 16 || bytes - size <= size / 8);
        assert_int_equal(gyre_size_class(bytes), class);
    }
}

/* Covers .mem.classes: the number of a block by multiplication is exact. */
static void
test_every_block_of_a_page_has_its_own_number(void **state)
{
    struct fixture *fx = *state;
    uint32_t class;
    for (class = 0; class < GYRE_SIZE_CLASSES; class ++) {
        uint32_t bytes = gyre_class_bytes(class), i;
        void *block = block_new(fx, GYRE_PAGE_LEAF, bytes);
        struct page *page = page_of(block);
        assert_int_equal(page->size_class, class);
        for (i = 0; i < page->capacity; i++) {
            unsigned char *other = page->blocks + (size_t)i * bytes;
            assert_int_equal(page_block_index(page, other), i);
            assert_ptr_equal(page_of(other), page);
        }
        memory_block_free(fx->self, block);
    }
    gyre_memory_check(fx->heap);
}

/* ---- raw memory ---- */

/* Covers .mem.raw */
static void
test_raw_blocks_are_aligned_and_hold_what_was_asked_for(void **state)
{
    static const size_t sizes[] = {
        0,      1,     16,    17,      100,     128,
        129,    1000,  4096,  8192,    8193,    32768,
        32769,  65536, 65537, 1000000, 2 << 20, (2 << 20) + 1,
        5 << 20};
    void *blocks[sizeof sizes / sizeof sizes[0]];
    struct fixture *fx = *state;
    size_t i;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        blocks[i] = gyre_mem_alloc(sizes[i]);
        assert_non_null(blocks[i]);
        assert_int_equal((uintptr_t)blocks[i] % 16, 0);
        assert_true(gyre_mem_size(blocks[i]) >= sizes[i]);
        memset(blocks[i], 0x5a, gyre_mem_size(blocks[i]));
    }
    gyre_memory_check(fx->heap);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const unsigned char *bytes = blocks[i];
        size_t usable = gyre_mem_size(blocks[i]);
        assert_true(usable == 0 || bytes[usable - 1] == 0x5a);
        gyre_mem_free(blocks[i]);
    }
    gyre_mem_free(NULL);
    gyre_mem_retire(NULL);
    gyre_memory_check(fx->heap);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
}

/* Covers .mem.raw */
static void
test_calloc_clears_memory_that_was_used_before(void **state)
{
    static const size_t sizes[] = {8, 200, 9000, 40000, 1 << 20, 3 << 20};
    size_t i, k;
    (void)state;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        unsigned char *block = gyre_mem_alloc(sizes[i]);
        memset(block, 0xff, sizes[i]);
        gyre_mem_free(block);
        block = gyre_mem_calloc(sizes[i] / 8, 8);
        assert_non_null(block);
        for (k = 0; k < sizes[i]; k++)
            assert_int_equal(block[k], 0);
        gyre_mem_free(block);
    }
}

/* Covers .mem.raw */
static void
test_calloc_refuses_a_product_that_overflows(void **state)
{
    (void)state;
    assert_null(gyre_mem_calloc(SIZE_MAX / 2, 3));
    assert_int_equal(gyre_last_status(), GYRE_ERR_ARGUMENT);
    assert_null(gyre_mem_alloc(SIZE_MAX - 100));
    assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
}

/* Covers .mem.raw */
static void
test_realloc_keeps_the_content_and_stays_within_a_class(void **state)
{
    unsigned char *block = gyre_mem_realloc(NULL, 20);
    size_t size = 20, i;
    (void)state;
    assert_ptr_equal(gyre_mem_realloc(block, 30), block);
    memset(block, 7, 20);
    while (size < 6 * MIB) {
        size *= 3;
        block = gyre_mem_realloc(block, size);
        assert_non_null(block);
        for (i = 0; i < size / 3; i++)
            assert_int_equal(block[i], 7);
        memset(block, 7, size);
    }
    block = gyre_mem_realloc(block, 10);
    for (i = 0; i < 10; i++)
        assert_int_equal(block[i], 7);
    assert_true(gyre_mem_size(block) < 100);
    gyre_mem_free(block);
}

/* ---- limits and the system ---- */

/* Covers .mem.limit */
static void
test_hard_limit_fails_an_allocation_and_a_free_helps(void **state)
{
    enum { MOST = 20000 };
    void **blocks = calloc(MOST, sizeof *blocks);
    struct fixture fx;
    size_t count = 0, i;
    (void)state;
    fixture_open(&fx, QUIET ",memory.hard_limit=16m");
    while (count < MOST && (blocks[count] = gyre_mem_alloc(3000)) != NULL)
        count++;
    assert_in_range(count, 1000, 16 * MIB / 3000);
    assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
    assert_null(gyre_mem_alloc(4 * MIB));
    assert_null(gyre_memory_table_new(fx.heap, 16 * MIB));
    assert_true(statistics(&fx).mapped_peak <= 16 * MIB);
    gyre_memory_check(fx.heap);
    for (i = 0; i < count; i++)
        gyre_mem_free(blocks[i]);
    /* What the classes hold empty serves others, mappings included. */
    blocks[0] = gyre_mem_alloc(4 * MIB);
    assert_non_null(blocks[0]);
    gyre_mem_free(blocks[0]);
    gyre_memory_check(fx.heap);
    fixture_close(&fx);
    free(blocks);
}

/* Covers .mem.limit: a page with few free blocks is not used again at once,
 * but before memory is said to be out. */
static void
test_last_free_blocks_are_found_when_memory_is_out(void **state)
{
    enum { MOST = 300000, IN_PAGE = FIXTURE_PAGE_ROOM / 32 };
    const size_t size = 32 - GUARD_RAW_EXTRA; /* blocks of 32 bytes */
    void **blocks = calloc(MOST, sizeof *blocks);
    struct fixture fx;
    size_t count = 0, i;
    (void)state;
    fixture_open(&fx, QUIET);
    assert_int_equal(gyre_option_set(fx.heap, GYRE_OPT_MEMORY_HARD_LIMIT,
                                     statistics(&fx).mapped + 4 * MIB),
                     GYRE_OK);
    while (count < MOST && (blocks[count] = gyre_mem_alloc(size)) != NULL)
        count++;
    assert_int_equal(count, 63 * IN_PAGE);
    for (i = 0; i < 63; i++)
        gyre_mem_free(blocks[i * IN_PAGE]);
    for (i = 0; i < 63; i++)
        assert_non_null(blocks[i * IN_PAGE] = gyre_mem_alloc(size));
    assert_null(gyre_mem_alloc(size));
    gyre_memory_check(fx.heap);
    for (i = 0; i < count; i++)
        gyre_mem_free(blocks[i]);
    fixture_close(&fx);
    free(blocks);
}

/* Covers .mem.limit */
static void
test_refused_mapping_leaves_the_heap_as_it_was(void **state)
{
    struct fixture *fx = *state;
    void *block = gyre_mem_alloc(100), *large;
    uint64_t mapped = statistics(fx).mapped;
    gyre_os_inject_failures(0, 4);
    assert_null(gyre_mem_alloc(5 * MIB));
    assert_int_equal(gyre_last_status(), GYRE_ERR_NOMEM);
    gyre_os_inject_failures(0, 4);
    assert_null(gyre_memory_table_new(fx->heap, 100000));
    gyre_os_inject_failures(0, 0);
    assert_int_equal(statistics(fx).mapped, mapped);
    large = gyre_mem_alloc(5 * MIB);
    assert_non_null(large);
    gyre_mem_free(large);
    gyre_mem_free(block);
    gyre_memory_check(fx->heap);
}

/* Covers .mem.limit */
static void
test_tables_are_zeroed_and_counted_as_mapped(void **state)
{
    struct fixture *fx = *state;
    uint64_t mapped = statistics(fx).mapped;
    unsigned char *table = gyre_memory_table_new(fx->heap, 10000);
    assert_non_null(table);
    assert_int_equal(table[0] + table[9999], 0);
    assert_int_equal(statistics(fx).mapped, mapped + 12288);
    gyre_memory_table_delete(fx->heap, table, 10000);
    assert_int_equal(statistics(fx).mapped, mapped);
}

/* Covers .mem.large */
static void
test_large_block_is_unmapped_at_once_without_a_delay(void **state)
{
    struct fixture *fx = *state;
    uint64_t mapped = statistics(fx).mapped;
    char *block = gyre_mem_alloc(9 * MIB);
    assert_non_null(block);
    block[0] = block[9 * MIB - 1] = 1;
    assert_in_range(statistics(fx).mapped - mapped, 9 * MIB, 10 * MIB);
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_MEMORY_RETURN_DELAY, 0),
                     GYRE_OK);
    gyre_mem_free(block);
    assert_int_equal(statistics(fx).mapped, mapped);
}

/* Covers .mem.return */
static void
test_empty_pages_go_back_to_the_system_over_the_cache_bounds(void **state)
{
    enum { COUNT = 20000 };
    void **blocks = calloc(COUNT, sizeof *blocks);
    struct fixture fx;
    uint64_t mapped;
    (void)state;
    fixture_open(&fx, SMALL_CACHES);
    mapped = statistics(&fx).mapped;
    blocks_new(&fx, GYRE_PAGE_LEAF, 1024, blocks, COUNT);
    assert_true(statistics(&fx).mapped - mapped >= COUNT * 1024);
    blocks_free(fx.self, blocks, COUNT, 1);
    gyre_memory_check(fx.heap);
    /* the mutator's own table apart */
    assert_true(statistics(&fx).mapped - mapped <= 4 * MIB);
    assert_int_equal(statistics(&fx).pages_in_use, 0);
    assert_int_equal(statistics(&fx).pages_cached, 0);
    fixture_close(&fx);
    free(blocks);
}

/* Covers .mem.return: purged memory reads as zero, which is dead. */
static void
test_memory_that_was_given_back_is_dead_when_used_again(void **state)
{
    enum { COUNT = 3000 };
    void *blocks[COUNT];
    struct fixture fx;
    int round;
    size_t i;
    (void)state;
    fixture_open(&fx, SMALL_CACHES);
    for (round = 0; round < 3; round++) {
        size_t size = round == 1 ? 304 : 1024;
        blocks_new(&fx, GYRE_PAGE_CONTAINER, size, blocks, COUNT);
        for (i = 0; i < COUNT; i++)
            memset((char *)blocks[i] + 16, 0xee, size - 16);
        blocks_free(fx.self, blocks, COUNT, 1);
        gyre_memory_check(fx.heap);
    }
    fixture_close(&fx);
}

/* ---- caches ---- */

/* Covers .mem.cache */
static void
test_thread_keeps_so_many_empty_pages_as_its_options_say(void **state)
{
    enum { COUNT = 1000 };
    void *small[COUNT], *other[COUNT];
    struct fixture fx;
    struct memory_thread *thread;
    (void)state;
    fixture_open(&fx, QUIET ",memory.thread_cache=320k,"
                            "memory.class_cache=196608");
    thread = &mutator_of(fx.self)->memory;
    blocks_new(&fx, GYRE_PAGE_LEAF, 1024, small, COUNT);
    blocks_new(&fx, GYRE_PAGE_LEAF, 2048, other, COUNT);
    blocks_free(fx.self, small, COUNT, 1);
    assert_int_equal(thread->kept_pages, 3);
    blocks_free(fx.self, other, COUNT, 1);
    assert_int_equal(thread->kept_pages, 5);
    gyre_memory_check(fx.heap);
    /* They serve their class without a look at the heap, then others. */
    blocks_new(&fx, GYRE_PAGE_LEAF, 2048, other, 60);
    assert_int_equal(thread->kept_pages, 3);
    blocks_new(&fx, GYRE_PAGE_CONTAINER, 512, small, 300);
    assert_int_equal(thread->kept_pages, 0);
    gyre_memory_check(fx.heap);
    blocks_free(fx.self, other, 60, 1);
    blocks_free(fx.self, small, 300, 1);
    fixture_close(&fx);
}

/* Covers .mem.cache */
static void
test_blocks_freed_are_used_again_without_new_memory(void **state)
{
    enum { COUNT = 50000 };
    void **blocks = calloc(COUNT, sizeof *blocks);
    struct fixture *fx = *state;
    uint64_t mapped = 0;
    int round;
    for (round = 0; round < 4; round++) {
        blocks_new(fx, GYRE_PAGE_LEAF, 48, blocks, COUNT);
        if (round == 0)
            mapped = statistics(fx).mapped;
        blocks_free(fx->self, blocks, COUNT, round == 1 ? 7 : 1);
        if (round == 1) {
            blocks_new(fx, GYRE_PAGE_LEAF, 48, blocks, 1);
            memory_block_free(fx->self, blocks[0]);
            for (size_t i = 0; i < COUNT; i++)
                if (i % 7 != 0)
                    memory_block_free(fx->self, blocks[i]);
        }
        gyre_memory_check(fx->heap);
    }
    assert_int_equal(statistics(fx).mapped, mapped);
    free(blocks);
}

/* ---- other threads ---- */

struct freeing {
    void **blocks;
    size_t count, step;
};

static void
free_remotely(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct freeing *freeing = arg;
    (void)fx;
    blocks_free(self, freeing->blocks, freeing->count, freeing->step);
}

static void
run_worker(struct fixture *fx, worker_fn body, void *arg)
{
    struct worker worker;
    worker_start(&worker, fx, body, arg);
    worker_join(&worker);
}

/* Covers .mem.remote */
static void
test_blocks_that_others_freed_come_back_to_the_owner(void **state)
{
    enum { COUNT = 40000 };
    void **blocks = calloc(COUNT, sizeof *blocks);
    struct freeing half = {blocks, COUNT, 2};
    struct fixture *fx = *state;
    uint64_t pages;
    size_t i;
    blocks_new(fx, GYRE_PAGE_CONTAINER, 32, blocks, COUNT);
    pages = statistics(fx).pages_in_use;
    run_worker(fx, free_remotely, &half);
    gyre_memory_check(fx->heap);
    assert_non_null(mutator_of(fx->self)->memory.returned);
    for (i = 0; i < COUNT; i += 2)
        blocks[i] = block_new(fx, GYRE_PAGE_CONTAINER, 32);
    assert_int_equal(statistics(fx).pages_in_use, pages);
    gyre_memory_check(fx->heap);
    blocks_free(fx->self, blocks, COUNT, 1);
    gyre_memory_check(fx->heap);
    free(blocks);
}

/* Covers .mem.remote: pages do not wait for an owner that does nothing. */
static void
test_pages_emptied_by_others_are_free_though_the_owner_is_idle(void **state)
{
    enum { COUNT = 40000 };
    void **blocks = calloc(COUNT, sizeof *blocks);
    struct freeing all = {blocks, COUNT, 1};
    struct fixture *fx = *state;
    blocks_new(fx, GYRE_PAGE_RAW, 32, blocks, COUNT);
    run_worker(fx, free_remotely, &all);
    /* the current one, unless its emptiness was settled */
    assert_in_range(statistics(fx).pages_in_use, 0, 1);
    gyre_memory_check(fx->heap);
    gyre_memory_note_all(fx->heap);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
    free(blocks);
}

static void
allocate_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct freeing *freeing = arg;
    struct fixture mine = {.heap = fx->heap, .self = self};
    blocks_new(&mine, GYRE_PAGE_CONTAINER, 64, freeing->blocks, freeing->count);
}

/* Covers .mem.adopt */
static void
test_pages_of_a_thread_that_left_serve_the_next(void **state)
{
    enum { COUNT = 1500 };
    void *blocks[COUNT];
    struct freeing all = {blocks, COUNT, 1};
    struct fixture *fx = *state;
    uint64_t pages = 0;
    int round;
    for (round = 0; round < 40; round++) {
        run_worker(fx, allocate_and_leave, &all);
        gyre_memory_check(fx->heap);
        /* Two of three die by another's hand, the others pile up a while. */
        all.step = 1 + (round % 3 == 0);
        run_worker(fx, free_remotely, &all);
        if (all.step == 2)
            for (size_t i = 1; i < COUNT; i += 2)
                memory_block_free(fx->self, blocks[i]);
        gyre_memory_check(fx->heap);
        if (round == 3)
            pages = statistics(fx).mapped;
    }
    assert_int_equal(statistics(fx).mapped, pages);
    assert_true(statistics(fx).pages_in_use <= 2);
}

/* Covers .mem.adopt */
static void
test_a_full_page_of_a_thread_that_left_is_adopted_once_it_has_room(void **state)
{
    enum { COUNT = 5000 };
    void *blocks[COUNT];
    struct freeing all = {blocks, COUNT, 1};
    struct fixture *fx = *state;
    uint64_t adopted = statistics(fx).pages_adopted, pages;
    size_t i;
    run_worker(fx, allocate_and_leave, &all);
    pages = statistics(fx).pages_in_use;
    assert_non_null(fx->heap->memory.abandoned_full);
    blocks_free(fx->self, blocks, COUNT, 10);
    gyre_memory_check(fx->heap);
    for (i = 0; i < COUNT; i += 10)
        blocks[i] = block_new(fx, GYRE_PAGE_CONTAINER, 64);
    assert_int_equal(statistics(fx).pages_in_use, pages);
    assert_true(statistics(fx).pages_adopted >= adopted + pages - 1);
    blocks_free(fx->self, blocks, COUNT, 1);
    gyre_memory_check(fx->heap);
}

struct mailbox {
    uint64_t seed;
    void **letters; /* any thread, atomic exchange */
    size_t count;
};

static uint64_t
next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Raw blocks with their size and address in them, checked where they die. */
static void *
letter_new(uint64_t random)
{
    size_t size = 16 + random % (random % 32 == 0 ? 100000 : 300);
    uintptr_t *letter = gyre_mem_alloc(size);
    assert_non_null(letter);
    letter[0] = size;
    letter[1] = (uintptr_t)letter;
    return letter;
}

static void
letter_free(void *block)
{
    uintptr_t *letter = block;
    if (letter == NULL)
        return;
    assert_ptr_equal((void *)letter[1], letter);
    assert_true(gyre_mem_size(letter) >= letter[0]);
    gyre_mem_free(letter);
}

static void
write_letters(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct mailbox *box = arg;
    uint64_t seed = box->seed;
    int i;
    (void)fx;
    for (i = 0; i < 20000; i++) {
        uint64_t random = next_random(&seed);
        void *letter = letter_new(random >> 8);
        /* acq_rel; pairs: write_letters(). The content goes with it. */
        letter_free(gyre_exchange_acq_rel(
            &box->letters[(random >> 40) % box->count], letter));
        gyre_safepoint(self);
    }
}

/* Covers .mem.remote .mem.adopt */
static void
test_threads_free_each_others_blocks_while_they_come_and_go(void **state)
{
    enum { THREADS = 4, LETTERS = 3000 };
    static void *letters[LETTERS];
    struct fixture *fx = *state;
    struct worker workers[THREADS];
    struct mailbox boxes[THREADS];
    int round, i;
    for (round = 0; round < 3; round++) {
        for (i = 0; i < THREADS; i++) {
            boxes[i] = (struct mailbox){
                .seed = (uint64_t)(round * THREADS + i + 1) * 0x9e3779b97f4a7,
                .letters = letters,
                .count = LETTERS};
            worker_start(&workers[i], fx, write_letters, &boxes[i]);
        }
        for (i = 0; i < THREADS; i++)
            worker_join(&workers[i]);
        gyre_memory_check(fx->heap);
    }
    for (i = 0; i < LETTERS; i++) {
        letter_free(letters[i]);
        letters[i] = NULL;
    }
    gyre_memory_check(fx->heap);
    gyre_memory_note_all(fx->heap);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
}

/* ---- grace periods ---- */

/* Covers .mem.stable */
static void
test_an_empty_page_with_stray_readers_waits_for_a_grace_period(void **state)
{
    enum { COUNT = 200 };
    void *blocks[COUNT];
    const uint64_t *stale;
    struct fixture fx;
    struct page *list;
    (void)state;
    fixture_open(&fx, SMALL_CACHES);
    blocks_new(&fx, GYRE_PAGE_LEAF, 1024, blocks, COUNT);
    stale = blocks[5];
    memory_note_stale_readers(blocks[5]);
    blocks_free(fx.self, blocks, COUNT, 1);
    gyre_memory_check(fx.heap);
    assert_int_equal(list_length(fx.heap->memory.retiring), 1);
    assert_int_equal(fx.heap->memory.retiring_pages, 1);
    /* Whoever still looks sees no object. */
    assert_true((stale[0] & 1) != 0 && (stale[1] >> 32 & ~GYRE_RC_DEAD) == 0);
    list = gyre_memory_retiring_take(fx.heap);
    assert_non_null(list);
    assert_null(gyre_memory_retiring_take(fx.heap));
    gyre_memory_check(fx.heap);
    gyre_memory_retiring_release(fx.heap, list);
    assert_int_equal(statistics(&fx).pages_in_use, 0);
    gyre_memory_check(fx.heap);
    fixture_close(&fx);
}

/* Covers .mem.stable */
static void
test_a_large_block_with_stray_readers_waits_for_a_grace_period(void **state)
{
    struct fixture *fx = *state;
    uint64_t mapped = statistics(fx).mapped;
    void *block = block_new(fx, GYRE_PAGE_CONTAINER, 3 * MIB);
    memory_note_stale_readers(block);
    gyre_memory_free(fx->self, block);
    assert_true(statistics(fx).mapped > mapped + 3 * MIB);
    gyre_memory_check(fx->heap);
    gyre_memory_retiring_release(fx->heap, gyre_memory_retiring_take(fx->heap));
    (void)gyre_scavenger_return(fx->heap, 0);
    assert_int_equal(statistics(fx).mapped, mapped);
}

/* Covers .mem.stable */
static void
test_nothing_is_given_back_while_a_collection_is_open(void **state)
{
    enum { COUNT = 500 };
    void *blocks[COUNT];
    struct fixture *fx = *state;
    void *large = block_new(fx, GYRE_PAGE_CONTAINER, 3 * MIB);
    uint64_t pages;
    blocks_new(fx, GYRE_PAGE_CONTAINER, 1024, blocks, COUNT);
    pages = statistics(fx).pages_in_use;
    gyre_memory_pin(fx->heap);
    gyre_memory_pin(fx->heap);
    blocks_free(fx->self, blocks, COUNT, 1);
    gyre_memory_free(fx->self, large);
    assert_int_equal(statistics(fx).pages_in_use, pages);
    assert_null(gyre_memory_retiring_take(fx->heap));
    gyre_memory_unpin(fx->heap);
    assert_null(gyre_memory_retiring_take(fx->heap));
    gyre_memory_unpin(fx->heap);
    gyre_memory_check(fx->heap);
    gyre_memory_retiring_release(fx->heap, gyre_memory_retiring_take(fx->heap));
    assert_true(statistics(fx).pages_in_use <= 1);
    gyre_memory_check(fx->heap);
}

/* ---- limbo ---- */

#define STAMP(age) ((uint64_t)(age) << GYRE_WORD0_STAMP_SHIFT)

/* Covers .mem.limbo */
static void
test_dead_blocks_of_collected_ages_are_not_reused_in_limbo(void **state)
{
    struct fixture *fx = *state;
    struct memory_thread *thread = &mutator_of(fx->self)->memory;
    uint64_t *old = block_new(fx, GYRE_PAGE_CONTAINER, 64);
    uint64_t *young = block_new(fx, GYRE_PAGE_CONTAINER, 64);
    uint64_t *large = block_new(fx, GYRE_PAGE_CONTAINER, 100000);
    uint64_t *leaf = block_new(fx, GYRE_PAGE_LEAF, 64);
    old[0] = large[0] = leaf[0] = STAMP(1);
    young[0] = STAMP(2);
    old[2] = 77;
    gyre_memory_limbo(fx->self, 1u << 1);
    memory_block_free(fx->self, old);
    memory_block_free(fx->self, large);
    assert_int_equal(thread->limbo_blocks, 2);
    memory_block_free(fx->self, young);
    memory_block_free(fx->self, leaf);
    assert_int_equal(thread->limbo_blocks, 2);
    assert_ptr_equal(block_new(fx, GYRE_PAGE_CONTAINER, 64), young);
    assert_ptr_not_equal(block_new(fx, GYRE_PAGE_CONTAINER, 64), old);
    assert_int_equal(old[2], 77);
    assert_true((old[0] & 1) != 0);
    gyre_memory_check(fx->heap);
    gyre_memory_limbo(fx->self, 0);
    assert_int_equal(thread->limbo_blocks, 0);
    assert_ptr_equal(block_new(fx, GYRE_PAGE_CONTAINER, 64), old);
    gyre_memory_check(fx->heap);
}

/* Covers .mem.retire */
static void
test_retired_buffers_keep_their_content_until_limbo_ends(void **state)
{
    enum { COUNT = 200 };
    struct fixture *fx = *state;
    uint64_t *buffers[COUNT];
    int i;
    for (i = 0; i < COUNT; i++) {
        buffers[i] = gyre_mem_alloc(64);
        buffers[i][0] = buffers[i][7] = (uint64_t)i;
    }
    gyre_memory_limbo(fx->self, 1);
    for (i = 0; i < COUNT; i++)
        gyre_mem_retire(buffers[i]);
    for (i = 0; i < COUNT; i++) {
        assert_int_equal(buffers[i][0], i);
        assert_int_equal(buffers[i][7], i);
    }
    gyre_memory_limbo(fx->self, 0);
    gyre_memory_note_all(fx->heap);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
    gyre_mem_retire(gyre_mem_alloc(64));
    gyre_memory_note_all(fx->heap);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
    gyre_memory_check(fx->heap);
}

static void
leave_in_limbo(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct freeing *freeing = arg;
    (void)fx;
    gyre_memory_limbo(self, 1);
    blocks_free(self, freeing->blocks, freeing->count, 1);
    assert_int_equal(mutator_of(self)->memory.limbo_blocks, freeing->count);
}

/* Covers .mem.limbo */
static void
test_a_thread_that_leaves_empties_its_limbo(void **state)
{
    enum { COUNT = 3000 };
    void *blocks[COUNT];
    struct freeing all = {blocks, COUNT, 1};
    struct fixture *fx = *state;
    blocks_new(fx, GYRE_PAGE_CONTAINER, 64, blocks, COUNT);
    run_worker(fx, leave_in_limbo, &all);
    gyre_memory_check(fx->heap);
    gyre_memory_note_all(fx->heap);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_CONTAINER], 0);
}

/* ---- counts and stamps ---- */

/* Covers .mem.births */
static void
test_births_less_deaths_are_known_when_noted(void **state)
{
    enum { COUNT = 10000 };
    void **blocks = calloc(COUNT, sizeof *blocks);
    struct fixture *fx = *state;
    struct memory_thread *thread = &mutator_of(fx->self)->memory;
    int64_t before = gyre_load_relaxed(&thread->container_net);
    void *leaf = block_new(fx, GYRE_PAGE_LEAF, 64);
    void *large = block_new(fx, GYRE_PAGE_CONTAINER, 50000);
    blocks_new(fx, GYRE_PAGE_CONTAINER, 64, blocks, COUNT);
    gyre_memory_note_births(fx->self);
    assert_int_equal(thread->container_net - before, COUNT + 1);
    blocks_free(fx->self, blocks, COUNT, 1);
    memory_block_free(fx->self, large);
    memory_block_free(fx->self, leaf);
    gyre_memory_note_births(fx->self);
    assert_int_equal(thread->container_net - before, 0);
    gyre_memory_check(fx->heap);
    free(blocks);
}

/* Covers .mem.births */
static void
test_pages_know_the_ages_of_what_is_born_in_them(void **state)
{
    struct fixture *fx = *state;
    unsigned before =
        (unsigned)(fx->self->birth_stamp >> GYRE_WORD0_STAMP_SHIFT) & 7u;
    unsigned after = before == 0 ? 1 : 0;
    void *block = block_new(fx, GYRE_PAGE_CONTAINER, 64), *large;
    struct page *page = page_of(block);
    assert_int_equal(page_stamps(page), 1u << before);
    gyre_memory_birth_stamp(fx->self, after);
    assert_int_equal(page_stamps(page), 1u << before | 1u << after);
    large = block_new(fx, GYRE_PAGE_CONTAINER, 50000);
    page = page_of(large);
    assert_int_equal(page_stamps(page), 1u << after);
    gyre_memory_birth_stamp(fx->self, before);
    memory_block_free(fx->self, block);
    memory_block_free(fx->self, large);
    gyre_memory_check(fx->heap);
}

/* ---- what goes wrong is seen ---- */

static void
check_memory(void *heap)
{
    gyre_memory_check(heap);
}

/* Covers .mem.check */
static void
test_check_names_a_page_whose_count_is_wrong(void **state)
{
    struct fixture *fx = *state;
    void *block = gyre_mem_alloc(64);
    struct page *page = page_of(block);
    const char *message;
    page->fast.allocated++;
    message = fatal_message(check_memory, fx->heap);
    assert_non_null(message);
    assert_non_null(strstr(message, "free blocks of"));
    page->fast.allocated--;
    assert_null(fatal_message(check_memory, fx->heap));
    gyre_mem_free(block);
}

/* Covers .mem.check */
static void
test_check_finds_a_block_that_was_freed_twice(void **state)
{
    struct fixture *fx = *state;
    uint64_t *a = block_new(fx, GYRE_PAGE_LEAF, 64);
    uint64_t *b = block_new(fx, GYRE_PAGE_LEAF, 64);
    struct page *page = page_of(a);
    uintptr_t list = page->fast.free;
    const char *message;
    memory_block_free(fx->self, a);
    memory_block_free(fx->self, a); /* its link now leads to itself */
    message = fatal_message(check_memory, fx->heap);
    assert_non_null(message);
    assert_non_null(strstr(message, "free twice"));
    /* undo it, so that the heap can end */
    gyre_link_store(fx->self, a, list);
    page->fast.allocated += 1;
    memory_block_free(fx->self, b);
    gyre_memory_check(fx->heap);
}

#if GYRE_CHECKING
static void
free_an_object(void *block)
{
    gyre_mem_free(block);
}

static void
free_unattached(void *block)
{
    struct gyre_thread *self = gyre_self;
    (void)block;
    gyre_self = NULL;
    if (gyre_mem_alloc(10) != NULL)
        gyre_self = self;
}

/* Covers .mem.raw */
static void
test_misuse_of_raw_memory_is_named(void **state)
{
    struct fixture *fx = *state;
    void *leaf = block_new(fx, GYRE_PAGE_LEAF, 64);
    const char *message = fatal_message(free_an_object, leaf);
    assert_non_null(message);
    assert_non_null(strstr(message, "gyre_mem_free"));
    message = fatal_message(free_unattached, NULL);
    gyre_self = fx->self;
    assert_non_null(message);
    assert_non_null(strstr(message, "not attached"));
    memory_block_free(fx->self, leaf);
}
#endif

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
    const struct CMUnitTest tests[] =
    { cmocka_unit_test(
          test_every_small_size_fits_its_class_with_an_eighth_to_spare),
      TEST(test_every_block_of_a_page_has_its_own_number),
      TEST(test_raw_blocks_are_aligned_and_hold_what_was_asked_for),
      TEST(test_calloc_clears_memory_that_was_used_before),
      TEST(test_calloc_refuses_a_product_that_overflows),
      TEST(test_realloc_keeps_the_content_and_stays_within_a_class),
      cmocka_unit_test(test_hard_limit_fails_an_allocation_and_a_free_helps),
      cmocka_unit_test(test_last_free_blocks_are_found_when_memory_is_out),
      TEST(test_refused_mapping_leaves_the_heap_as_it_was),
      TEST(test_tables_are_zeroed_and_counted_as_mapped),
      TEST(test_large_block_is_unmapped_at_once_without_a_delay),
      cmocka_unit_test(
          test_empty_pages_go_back_to_the_system_over_the_cache_bounds),
      cmocka_unit_test(test_memory_that_was_given_back_is_dead_when_used_again),
      cmocka_unit_test(
          test_thread_keeps_so_many_empty_pages_as_its_options_say),
      TEST(test_blocks_freed_are_used_again_without_new_memory),
      TEST(test_blocks_that_others_freed_come_back_to_the_owner),
      TEST(test_pages_emptied_by_others_are_free_though_the_owner_is_idle),
      TEST(test_pages_of_a_thread_that_left_serve_the_next),
      TEST(test_a_full_page_of_a_thread_that_left_is_adopted_once_it_has_room),
      TEST(test_threads_free_each_others_blocks_while_they_come_and_go),
      cmocka_unit_test(
          test_an_empty_page_with_stray_readers_waits_for_a_grace_period),
      TEST(test_a_large_block_with_stray_readers_waits_for_a_grace_period),
      TEST(test_nothing_is_given_back_while_a_collection_is_open),
      TEST(test_dead_blocks_of_collected_ages_are_not_reused_in_limbo),
      TEST(test_retired_buffers_keep_their_content_until_limbo_ends),
      TEST(test_a_thread_that_leaves_empties_its_limbo),
      TEST(test_births_less_deaths_are_known_when_noted),
      TEST(test_pages_know_the_ages_of_what_is_born_in_them),
      TEST(test_check_names_a_page_whose_count_is_wrong),
      TEST(test_check_finds_a_block_that_was_freed_twice),
#if GYRE_CHECKING
      TEST(test_misuse_of_raw_memory_is_named),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
