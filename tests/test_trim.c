/* Memory of the system's pages in which no block is in use goes back, and
 * what is left is as it was. Covers docs/design/memory.md .mem.trim */
#include "support/fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define QUIET "gc.automatic=0,gc.thread=0"
/* Whether memory is what the program asked for, and no shadow of it. */
#define PLAIN_MEMORY (!GYRE_MEM_CHECKED && !FIXTURE_IS_SLOW)

static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

static uint64_t
resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long total, resident;
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%lu %lu", &total, &resident), 2);
    fclose(file);
    return resident * UINT64_C(4096);
}

static struct gyre_statistics
statistics(struct fixture *fx)
{
    struct gyre_statistics out;
    gyre_statistics_get(fx->heap, &out);
    return out;
}

/* ---- blocks that know what is in them ---- */

struct crowd {
    unsigned char **blocks;
    size_t count, bytes;
    uint32_t seed;
};

static size_t
size_of(const struct crowd *crowd, size_t i)
{
    uint32_t seed = (uint32_t)i * 2654435761u + crowd->seed;
    return 16 + next_random(&seed) % 497;
}

static unsigned char *
block_new(const struct crowd *crowd, size_t i)
{
    size_t size = size_of(crowd, i);
    unsigned char *block = gyre_mem_alloc(size);
    assert_non_null(block);
    memset(block, (int)(i % 251), size);
    return block;
}

static void
crowd_check(const struct crowd *crowd, size_t i)
{
    const unsigned char *block = crowd->blocks[i];
    size_t size = size_of(crowd, i), k;
    for (k = 0; block != NULL && k < size; k++)
        if (block[k] != i % 251)
            fail_msg("block %zu lost its content at %zu", i, k);
}

static void
crowd_open(struct crowd *crowd, size_t bytes)
{
    crowd->bytes = 0;
    crowd->count = 0;
    crowd->blocks = malloc(bytes / 200 * sizeof *crowd->blocks);
    assert_non_null(crowd->blocks);
    while (crowd->bytes < bytes && crowd->count < bytes / 200) {
        crowd->blocks[crowd->count] = block_new(crowd, crowd->count);
        crowd->bytes += size_of(crowd, crowd->count++);
    }
}

/* Free all but one in `one_in`, at random. */
static void
crowd_thin(struct crowd *crowd, unsigned one_in)
{
    uint32_t seed = crowd->seed + 1;
    size_t i;
    for (i = 0; i < crowd->count; i++)
        if (next_random(&seed) % one_in != 0) {
            gyre_mem_free(crowd->blocks[i]);
            crowd->blocks[i] = NULL;
        }
}

/* What is there holds what was put there; what is not comes back. */
static void
crowd_fill(struct crowd *crowd)
{
    size_t i;
    for (i = 0; i < crowd->count; i++)
        if (crowd->blocks[i] == NULL)
            crowd->blocks[i] = block_new(crowd, i);
    for (i = 0; i < crowd->count; i++)
        crowd_check(crowd, i);
}

static void
crowd_close(struct crowd *crowd)
{
    size_t i;
    for (i = 0; i < crowd->count; i++)
        gyre_mem_free(crowd->blocks[i]);
    free(crowd->blocks);
}

/* ---- by the thread itself ---- */

/* The bound is 66 MiB of 260, as for the best known, scaled. */
static void
test_survivors_spread_thin_keep_little_memory(void **state)
{
    struct crowd crowd = {.seed = 1};
    struct fixture *fx = *state;
    uint64_t before = resident_bytes(), full, trimmed, bytes;
    crowd_open(&crowd, FIXTURE_SCALED(64 * MIB));
    full = resident_bytes() - before;
    crowd_thin(&crowd, 64);
    bytes = gyre_heap_trim(fx->heap);
    trimmed = resident_bytes() - before;
    assert_true(bytes > crowd.bytes / 2);
    if (PLAIN_MEMORY) {
        assert_true(full >= crowd.bytes);
        /* the table of blocks counts as well: a share of its own */
        assert_true(trimmed - crowd.count * sizeof(void *) <=
                    crowd.bytes * 66 / 260);
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    crowd_close(&crowd);
}

static void
test_what_was_trimmed_is_used_again_and_the_rest_is_whole(void **state)
{
    struct crowd crowd = {.seed = 2};
    struct fixture *fx = *state;
    uint64_t pages, again;
    unsigned round;
    crowd_open(&crowd, FIXTURE_SCALED(8 * MIB));
    pages = statistics(fx).pages_in_use;
    for (round = 0; round < 3; round++) {
        crowd_thin(&crowd, 4 + 20 * round);
        assert_true(gyre_heap_trim(fx->heap) > 0);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
        /* Nothing new is to be found; less than what the rest of a page may
         * be rounded to. */
        again = gyre_heap_trim(fx->heap);
        assert_int_equal(again, 0);
        crowd_fill(&crowd);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
        assert_true(statistics(fx).pages_in_use <= pages + pages / 16 + 16);
    }
    crowd_close(&crowd);
    gyre_heap_trim(fx->heap);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    assert_int_equal(statistics(fx).pages_in_use, 0);
    assert_int_equal(statistics(fx).thread_cached, 0);
    assert_int_equal(statistics(fx).heap_cached, 0);
}

/* Every class, spans and sizes that are no divisor of a page among them. */
static void
test_pages_of_every_class_are_trimmed(void **state)
{
    enum { MOST = 400 };
    struct fixture *fx = *state;
    void *blocks[MOST];
    uint32_t class;
    for (class = GYRE_MEM_CHECKED; class < GYRE_SIZE_CLASSES; class ++) {
        size_t size = gyre_class_bytes(class) - GYRE_MEM_CHECKED * 16;
        size_t count = size < 1024 ? MOST : size < 8192 ? 64 : 16, i;
        for (i = 0; i < count; i++) {
            blocks[i] = gyre_mem_alloc(size);
            memset(blocks[i], (int)i, size);
        }
        for (i = 0; i < count; i++)
            if (i % 8 != class % 8)
                gyre_mem_free(blocks[i]);
        gyre_heap_trim(fx->heap);
        for (i = 0; i < count; i++)
            if (i % 8 != class % 8) {
                blocks[i] = gyre_mem_alloc(size);
                memset(blocks[i], (int)i, size);
            }
        for (i = 0; i < count; i++) {
            const unsigned char *bytes = blocks[i];
            assert_int_equal(bytes[0], i % 256);
            assert_int_equal(bytes[size / 2], i % 256);
            assert_int_equal(bytes[size - 1], i % 256);
            gyre_mem_free(blocks[i]);
        }
    }
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Objects: what lives is found by walks and collections, what is free is no
 * object, whether its header was given back or not. */
static int
count_object(struct gyre_object *obj, void *arg)
{
    (void)obj;
    ++*(int *)arg;
    return 0;
}

static void
test_trimmed_pages_of_objects_hold_the_living_alone(void **state)
{
    enum { COUNT = 20000 };
    struct fixture *fx = *state;
    struct node **nodes = calloc(COUNT, sizeof *nodes);
    int found = 0, i;
    for (i = 0; i < COUNT; i++)
        nodes[i] = plain_node_new(fx);
    for (i = 0; i < COUNT; i++)
        if (i % 100 != 0) {
            node_drop(nodes[i]);
            nodes[i] = NULL;
        }
    /* a cycle among those that stay, which dies in a trimmed page */
    node_link(nodes[0], nodes[100]);
    node_link(nodes[100], nodes[0]);
    assert_true(gyre_heap_trim(fx->heap) > 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    assert_int_equal(gyre_heap_walk(fx->heap, count_object, &found), GYRE_OK);
    assert_int_equal(found, COUNT / 100);
    node_drop(nodes[0]);
    node_drop(nodes[100]);
    nodes[0] = nodes[100] = NULL;
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), COUNT / 100 - 2);
    for (i = 0; i < COUNT; i++)
        if (nodes[i] == NULL)
            nodes[i] = plain_node_new(fx);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    for (i = 0; i < COUNT; i++)
        node_drop(nodes[i]);
    assert_int_equal(fixture_live(fx), 0);
    free(nodes);
}

/* ---- other threads ---- */

struct meeting {
    struct gate ready, done;
    struct crowd crowd;
};

static void
thin_and_wait(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct meeting *meeting = arg;
    (void)fx;
    (void)self;
    crowd_open(&meeting->crowd, FIXTURE_SCALED(4 * MIB));
    crowd_thin(&meeting->crowd, 64);
    gate_open(&meeting->ready);
    gate_wait(&meeting->done);
    crowd_fill(&meeting->crowd);
    crowd_close(&meeting->crowd);
}

static void
test_a_thread_that_waits_detached_is_trimmed_by_the_caller(void **state)
{
    struct meeting meeting = {GATE_INIT, GATE_INIT, {.seed = 3}};
    struct gyre_statistics before, after;
    struct fixture *fx = *state;
    struct worker worker;
    worker_start(&worker, fx, thin_and_wait, &meeting);
    gate_wait(&meeting.ready);
    /* It may be on its way into its detached region still, and do as it was
     * asked by itself. */
    gyre_statistics_get(fx->heap, &before);
    do {
        gyre_heap_trim(fx->heap);
        gyre_safepoint(fx->self);
        gyre_statistics_get(fx->heap, &after);
    } while (after.returned - before.returned < meeting.crowd.bytes / 2);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gate_open(&meeting.done);
    worker_join(&worker);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

struct poller {
    struct crowd crowd;
    uint32_t ready, done; /* atomic */
};

static void
poll_until_done(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct poller *poller = arg;
    (void)fx;
    crowd_open(&poller->crowd, FIXTURE_SCALED(4 * MIB));
    crowd_thin(&poller->crowd, 64);
    /* release; pairs: test_a_thread_that_runs_trims_at_its_next_safepoint() */
    gyre_store_release(&poller->ready, 1);
    /* acquire; pairs: test_a_thread_that_runs_trims_at_its_next_safepoint() */
    while (gyre_load_acquire(&poller->done) == 0)
        gyre_safepoint(self);
    crowd_fill(&poller->crowd);
    crowd_close(&poller->crowd);
}

static void
test_a_thread_that_runs_trims_at_its_next_safepoint(void **state)
{
    struct poller poller = {.crowd = {.seed = 4}};
    struct fixture *fx = *state;
    struct worker worker;
    uint64_t returned;
    worker_start(&worker, fx, poll_until_done, &poller);
    /* acquire; pairs: poll_until_done() */
    while (gyre_load_acquire(&poller.ready) == 0)
        gyre_safepoint(fx->self);
    returned = statistics(fx).returned;
    gyre_heap_trim(fx->heap);
    while (statistics(fx).returned - returned < poller.crowd.bytes / 2)
        gyre_safepoint(fx->self);
    /* release; pairs: poll_until_done() */
    gyre_store_release(&poller.done, 1);
    worker_join(&worker);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

static void
thin_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crowd *crowd = arg;
    (void)fx;
    (void)self;
    crowd_open(crowd, FIXTURE_SCALED(4 * MIB));
    crowd_thin(crowd, 64);
}

static void
test_pages_of_threads_that_left_are_trimmed(void **state)
{
    struct crowd crowd = {.seed = 5};
    struct fixture *fx = *state;
    struct worker worker;
    worker_start(&worker, fx, thin_and_leave, &crowd);
    worker_join(&worker);
    assert_true(gyre_heap_trim(fx->heap) > crowd.bytes / 2);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    crowd_fill(&crowd);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    crowd_close(&crowd);
}

static void *
trim_unattached(void *arg)
{
    struct fixture *fx = arg;
    gyre_heap_trim(fx->heap);
    return gyre_thread_self();
}

/* The caller's own pages are another thread's then. */
static void
test_a_thread_that_is_attached_to_no_heap_may_trim_one(void **state)
{
    struct crowd crowd = {.seed = 6};
    struct fixture *fx = *state;
    uint64_t returned;
    pthread_t thread;
    void *result;
    crowd_open(&crowd, FIXTURE_SCALED(4 * MIB));
    crowd_thin(&crowd, 64);
    returned = statistics(fx).returned;
    gyre_detach_begin(fx->self);
    assert_int_equal(pthread_create(&thread, NULL, trim_unattached, fx), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    gyre_detach_end(fx->self);
    assert_null(result);
    assert_true(statistics(fx).returned - returned > crowd.bytes / 2);
    crowd_fill(&crowd);
    crowd_close(&crowd);
}

/* ---- all at once ---- */

struct shared {
    unsigned char *slots[4096]; /* atomic */
    uint32_t done;              /* atomic */
};

static void
exchange_at_random(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct shared *shared = arg;
    uint32_t seed = self->number * 77, i, rounds = FIXTURE_SCALED(100000u);
    (void)fx;
    for (i = 0; i < rounds; i++) {
        size_t size = 16 + next_random(&seed) % 700;
        unsigned char *block = gyre_mem_alloc_inline(size);
        block[0] = block[15] = 0x77;
        /* acq_rel; pairs: exchange_at_random(). The block's content comes
         * with it. */
        block = gyre_exchange_acq_rel(&shared->slots[next_random(&seed) % 4096],
                                      block);
        if (block != NULL) {
            assert_int_equal(block[0], 0x77);
            assert_int_equal(block[15], 0x77);
            gyre_mem_free_inline(block);
        }
        gyre_safepoint(self);
    }
    gyre_fetch_add_relaxed(&shared->done, 1);
}

static void
test_trimming_while_threads_allocate_and_free_loses_nothing(void **state)
{
    enum { THREADS = 4 };
    struct shared *shared = calloc(1, sizeof *shared);
    struct worker workers[THREADS];
    struct fixture *fx = *state;
    size_t i;
    for (i = 0; i < THREADS; i++)
        worker_start(&workers[i], fx, exchange_at_random, shared);
    while (gyre_load_relaxed(&shared->done) < THREADS) {
        gyre_heap_trim(fx->heap);
        gyre_safepoint(fx->self);
    }
    for (i = 0; i < THREADS; i++)
        worker_join(&workers[i]);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    for (i = 0; i < 4096; i++)
        gyre_mem_free(shared->slots[i]);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    free(shared);
}

static int
quiet_setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    fixture_open(fx, QUIET);
    *state = fx;
    return 0;
}

static int
quiet_teardown(void **state)
{
    fixture_close(*state);
    free(*state);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, quiet_setup, quiet_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_survivors_spread_thin_keep_little_memory),
        TEST(test_what_was_trimmed_is_used_again_and_the_rest_is_whole),
        TEST(test_pages_of_every_class_are_trimmed),
        TEST(test_trimmed_pages_of_objects_hold_the_living_alone),
        TEST(test_a_thread_that_waits_detached_is_trimmed_by_the_caller),
        TEST(test_a_thread_that_runs_trims_at_its_next_safepoint),
        TEST(test_pages_of_threads_that_left_are_trimmed),
        TEST(test_a_thread_that_is_attached_to_no_heap_may_trim_one),
        TEST(test_trimming_while_threads_allocate_and_free_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
