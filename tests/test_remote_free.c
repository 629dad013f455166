/* Blocks freed by threads that did not allocate them: what the freeing thread
 * keeps, and when pages go home. Covers docs/design/memory.md .mem.remote
 * .mem.adopt */
#include "support/fixture.h"

#include <stdlib.h>
#include <string.h>

#define COUNT 40000u
#define PAGE GYRE_PAGE_BYTES

static struct gyre_statistics
statistics(struct fixture *fx)
{
    struct gyre_statistics out;
    gyre_statistics_get(fx->heap, &out);
    return out;
}

struct batch {
    void **blocks;
    size_t count;
    uint64_t cached; /* of the thread that freed them, before it left */
    struct gate *go; /* waited for first, or NULL */
};

static void
take(struct batch *batch)
{
    size_t i;
    for (i = 0; i < batch->count; i++) {
        batch->blocks[i] = gyre_mem_alloc(40);
        assert_non_null(batch->blocks[i]);
    }
}

static void
take_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    (void)self;
    take(arg);
}

static void
only_free(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *batch = arg;
    struct gyre_thread_statistics entries[16];
    size_t count, i;
    for (i = 0; i < batch->count; i++)
        gyre_mem_free(batch->blocks[i]);
    gyre_safepoint(self);
    count = gyre_statistics_threads(fx->heap, entries, 16);
    assert_true(count <= 16);
    for (i = 0; i < count; i++)
        if (entries[i].number == self->number)
            batch->cached = entries[i].cached;
}

static void
run(struct fixture *fx, worker_fn body, struct batch *batch)
{
    struct worker worker;
    worker_start(&worker, fx, body, batch);
    worker_join(&worker);
}

/* Its first call is a free, and so are all others. */
static void
test_a_thread_that_only_frees_maps_nothing_and_keeps_nothing(void **state)
{
    static void *blocks[COUNT];
    struct batch none = {blocks, 0, 1, NULL}, all = {blocks, COUNT, 1, NULL};
    struct fixture *fx = *state;
    uint64_t mapped;
    run(fx, only_free, &none); /* a thread's record is kept for the next */
    take(&all);
    mapped = statistics(fx).mapped;
    run(fx, only_free, &all);
    assert_int_equal(all.cached, 0);
    assert_true(statistics(fx).mapped <= mapped);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* The owner is in a detached region all the while, and calls nothing. */
static void
test_pages_others_emptied_go_home_though_their_owner_does_nothing(void **state)
{
    static void *blocks[COUNT];
    struct batch all = {blocks, COUNT, 1, NULL};
    struct fixture *fx = *state;
    take(&all);
    assert_true(statistics(fx).pages_in_use >= COUNT * 40 / PAGE);
    run(fx, only_free, &all);
    /* but for the page that it would allocate from next */
    assert_true(statistics(fx).pages_in_use <= 1);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

struct halves {
    void **blocks;
    struct gate taken, leave;
    bool polls;        /* instead of waiting detached */
    bool done;         /* atomic */
    struct gate *back; /* if not NULL: opened when it came back, for `again` */
    struct gate again;
    struct gyre_heap *heap;
};

/* Takes all, frees every other one, so that all its pages have room, and
 * then no more. */
static void
free_half_and_idle(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct halves *halves = arg;
    size_t i;
    (void)fx;
    for (i = 0; i < COUNT; i++)
        assert_non_null(halves->blocks[i] = gyre_mem_alloc(40));
    for (i = 0; i < COUNT; i += 2)
        gyre_mem_free(halves->blocks[i]);
    gate_open(&halves->taken);
    while (halves->polls && !__atomic_load_n(&halves->done, __ATOMIC_ACQUIRE))
        gyre_safepoint(self);
    if (halves->back != NULL) {
        gate_wait(&halves->again); /* detached */
        gate_open(halves->back);
    }
    if (!halves->polls)
        gate_wait(&halves->leave);
}

static void
free_other_half(const struct halves *halves, size_t from)
{
    size_t i;
    for (i = from; i < COUNT; i += 2)
        gyre_mem_free(halves->blocks[i]);
}

/* Covers .mem.settle: the pages were open all the time. */
static void
test_open_pages_go_home_though_their_owner_waits_detached(void **state)
{
    static void *blocks[COUNT];
    struct halves halves = {blocks, GATE_INIT, GATE_INIT, false,
                            false,  NULL,      GATE_INIT, NULL};
    struct fixture *fx = *state;
    struct worker worker;
    uint64_t before = statistics(fx).pages_in_use, most;
    size_t i;
    worker_start(&worker, fx, free_half_and_idle, &halves);
    gate_wait(&halves.taken);
    most = statistics(fx).pages_in_use;
    assert_true(most >= before + COUNT * 40 / PAGE);
    free_other_half(&halves, COUNT / 2 + 1);
    /* Those noticed before it was detached take a period of the scavenger's;
     * if any of this stays, the test does not end. */
    while (statistics(fx).pages_in_use > before + (most - before) / 2 + 1)
        gyre_safepoint(gyre_self);
    for (i = 1; i < COUNT / 2 + 1; i += 2)
        gyre_mem_free(blocks[i]);
    while (statistics(fx).pages_in_use > before)
        gyre_safepoint(gyre_self);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gate_open(&halves.leave);
    worker_join(&worker);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.settle: asked by the scavenger's timer, it looks. */
static void
test_open_pages_go_home_though_their_owner_only_polls(void **state)
{
    static void *blocks[COUNT];
    struct halves halves = {blocks, GATE_INIT, GATE_INIT, true,
                            false,  NULL,      GATE_INIT, NULL};
    struct fixture *fx = *state;
    struct worker worker;
    uint64_t before = statistics(fx).pages_in_use;
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_MEMORY_RETURN_DELAY, 4),
                     GYRE_OK);
    worker_start(&worker, fx, free_half_and_idle, &halves);
    gate_wait(&halves.taken);
    free_other_half(&halves, 1);
    /* or the test does not end */
    while (statistics(fx).pages_in_use > before + 1)
        gyre_safepoint(gyre_self);
    __atomic_store_n(&halves.done, true, __ATOMIC_RELEASE);
    worker_join(&worker);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers .mem.settle: the owner comes back for a moment after others freed, and
 * before anybody looked. */
static void
test_open_pages_go_home_though_their_owner_looked_in_between(void **state)
{
    static void *blocks[COUNT];
    struct halves halves = {blocks, GATE_INIT, GATE_INIT, false,
                            false,  NULL,      GATE_INIT, NULL};
    struct gate back = GATE_INIT;
    struct fixture *fx = *state;
    struct worker worker;
    uint64_t before = statistics(fx).pages_in_use;
    halves.back = &back;
    worker_start(&worker, fx, free_half_and_idle, &halves);
    gate_wait(&halves.taken);
    free_other_half(&halves, 1);
    gate_open(&halves.again);
    gate_wait(&back);
    while (statistics(fx).pages_in_use > before)
        gyre_safepoint(gyre_self);
    gate_open(&halves.leave);
    worker_join(&worker);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* A raw thread comes to no safepoint; it allocates, and of another class. */
static void *
raw_owner(void *arg)
{
    struct halves *halves = arg;
    struct gyre_thread *self;
    void *other;
    size_t i;
    GYRE_CHECK(gyre_thread_attach_raw(halves->heap, &self) == GYRE_OK, "raw");
    for (i = 0; i < COUNT; i++)
        halves->blocks[i] = gyre_mem_alloc(40);
    for (i = 0; i < COUNT; i += 2)
        gyre_mem_free(halves->blocks[i]);
    gate_open(&halves->taken);
    while (!__atomic_load_n(&halves->done, __ATOMIC_ACQUIRE)) {
        other = gyre_mem_alloc(20000);
        gyre_mem_free(other);
    }
    gyre_thread_leave(self);
    return NULL;
}

/* Covers .mem.settle */
static void
test_open_pages_of_a_raw_thread_go_home_by_its_other_calls(void **state)
{
    static void *blocks[COUNT];
    struct halves halves = {blocks, GATE_INIT, GATE_INIT, false,
                            false,  NULL,      GATE_INIT, NULL};
    struct fixture *fx = *state;
    pthread_t thread;
    uint64_t before = statistics(fx).pages_in_use;
    halves.heap = fx->heap;
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_MEMORY_RETURN_DELAY, 4),
                     GYRE_OK);
    assert_int_equal(pthread_create(&thread, NULL, raw_owner, &halves), 0);
    gate_wait(&halves.taken);
    free_other_half(&halves, 1);
    /* but for what it takes and frees, a span of four */
    while (statistics(fx).pages_in_use > before + 4)
        gyre_safepoint(gyre_self);
    __atomic_store_n(&halves.done, true, __ATOMIC_RELEASE);
    gyre_detach_begin(gyre_self);
    pthread_join(thread, NULL);
    gyre_detach_end(gyre_self);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- pages with two blocks ---- */

#define PLACES 64u

struct crossing {
    void *places[PLACES]; /* atomic */
    uint32_t rounds;
    uint32_t over; /* atomic */
};

static void
put_large(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crossing *crossing = arg;
    uint32_t i;
    (void)fx;
    for (i = 0; i < crossing->rounds; i++) {
        void *block = gyre_mem_alloc((i & 1) != 0 ? 32000 : 28000), *none;
        do {
            none = NULL;
            gyre_safepoint(self);
        } while (!__atomic_compare_exchange_n(
            &crossing->places[i % PLACES], &none, block, false,
            __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    }
    __atomic_store_n(&crossing->over, 1, __ATOMIC_RELEASE);
}

static void
free_large(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct crossing *crossing = arg;
    bool last = false;
    uint32_t i;
    (void)fx;
    while (!last) {
        last = __atomic_load_n(&crossing->over, __ATOMIC_ACQUIRE) != 0;
        for (i = 0; i < PLACES; i++)
            gyre_mem_free(__atomic_exchange_n(&crossing->places[i], NULL,
                                              __ATOMIC_ACQUIRE));
        /* pages of other classes, made from those that went */
        for (i = 8000; i < 32000; i += 3000)
            gyre_mem_free(gyre_mem_alloc(i));
        gyre_safepoint(self);
    }
}

/* Covers .mem.remote: the push of a closed page's last blocks may come as soon
 * as its owner has closed it. */
static void
test_a_page_may_go_as_soon_as_it_is_closed(void **state)
{
    enum { PAIRS = 3 };
    static struct crossing crossings[PAIRS];
    struct fixture fx;
    struct worker workers[2 * PAIRS];
    int i;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,gc.thread=0,memory.thread_cache=0");
    for (i = 0; i < PAIRS; i++) {
        crossings[i].rounds = FIXTURE_SCALED(120000);
        worker_start(&workers[2 * i], &fx, put_large, &crossings[i]);
        worker_start(&workers[2 * i + 1], &fx, free_large, &crossings[i]);
    }
    while (__atomic_load_n(&crossings[0].over, __ATOMIC_ACQUIRE) == 0)
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    for (i = 0; i < 2 * PAIRS; i++)
        worker_join(&workers[i]);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Nobody adopts anything for that. */
static void
test_survivors_of_a_thread_that_left_go_home_page_by_page(void **state)
{
    static void *blocks[COUNT];
    struct batch all = {blocks, COUNT, 1, NULL};
    struct fixture *fx = *state;
    uint64_t adopted = statistics(fx).pages_adopted, pages, last;
    size_t i;
    run(fx, take_and_leave, &all);
    last = pages = statistics(fx).pages_in_use;
    assert_true(pages >= COUNT * 40 / PAGE);
    for (i = 0; i < COUNT; i++) {
        gyre_mem_free(blocks[i]);
        if (i % (COUNT / 4) == COUNT / 4 - 1) {
            uint64_t now = statistics(fx).pages_in_use;
            assert_true(now < last);
            last = now;
        }
    }
    assert_int_equal(statistics(fx).pages_in_use, 0);
    assert_int_equal(statistics(fx).pages_adopted, adopted);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Four threads free the blocks of one at once, each its share; then the pages
 * are as if nothing had been. */
static void
only_free_when_told(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *batch = arg;
    gate_wait(batch->go);
    only_free(fx, self, arg);
}

static void
test_many_threads_may_free_one_threads_blocks_at_once(void **state)
{
    enum { THREADS = 4 };
    static void *blocks[COUNT];
    struct gate go = GATE_INIT;
    struct batch all = {blocks, COUNT, 1, NULL}, shares[THREADS];
    struct worker workers[THREADS];
    struct fixture *fx = *state;
    void **mixed = calloc(COUNT, sizeof *mixed);
    size_t i;
    take(&all);
    for (i = 0; i < COUNT; i++) /* neighbours to different threads */
        mixed[i % THREADS * (COUNT / THREADS) + i / THREADS] = blocks[i];
    for (i = 0; i < THREADS; i++) {
        struct batch share = {mixed + i * (COUNT / THREADS), COUNT / THREADS, 1,
                              &go};
        shares[i] = share;
        worker_start(&workers[i], fx, only_free_when_told, &shares[i]);
    }
    gate_open(&go);
    for (i = 0; i < THREADS; i++)
        worker_join(&workers[i]);
    assert_true(statistics(fx).pages_in_use <= 1);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(statistics(fx).blocks_in_use[GYRE_PAGE_RAW], 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    free(mixed);
}

static int
quiet_setup(void **state)
{
    struct fixture *fx = calloc(1, sizeof *fx);
    fixture_open(fx, "gc.automatic=0,gc.thread=0");
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
        TEST(test_a_thread_that_only_frees_maps_nothing_and_keeps_nothing),
        TEST(test_pages_others_emptied_go_home_though_their_owner_does_nothing),
        TEST(test_open_pages_go_home_though_their_owner_waits_detached),
        TEST(test_open_pages_go_home_though_their_owner_only_polls),
        TEST(test_open_pages_go_home_though_their_owner_looked_in_between),
        TEST(test_open_pages_of_a_raw_thread_go_home_by_its_other_calls),
        cmocka_unit_test(test_a_page_may_go_as_soon_as_it_is_closed),
        TEST(test_survivors_of_a_thread_that_left_go_home_page_by_page),
        TEST(test_many_threads_may_free_one_threads_blocks_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
