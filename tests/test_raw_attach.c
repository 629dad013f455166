/* Threads attached for raw memory alone: cheap, waited for by nobody, and
 * gone without a trace. Design: docs/design/threads.md .thread.raw */
#include "support/fixture.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap.h"

/* ---- raw threads at work ---- */

#define SHARED 64
/* Blocks that go from thread to thread: taken out by one exchange each. */
struct market {
    struct fixture *fx;
    void *stalls[SHARED]; /* atomic */
    uint32_t over;        /* atomic */
    uint32_t met;         /* atomic: threads at work */
    uint32_t rounds;      /* const; 0: until it is over */
};

static uint32_t
next_random(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return *seed >> 8;
}

/* Mostly small blocks, some of spans, a few with a mapping alone. */
static size_t
some_size(uint32_t *seed)
{
    uint32_t dice = next_random(seed) % 1000;
    if (dice == 0)
        return 100000 + next_random(seed) % 3000000;
    return dice < 20 ? 9000 + next_random(seed) % 40000
                     : 1 + next_random(seed) % 700;
}

static void
trade(struct market *market, uint32_t *seed)
{
    size_t size = some_size(seed);
    unsigned char *block = gyre_mem_alloc(size), *old;
    GYRE_CHECK(block != NULL, "no memory");
    block[0] = (unsigned char)size;
    block[size - 1] = (unsigned char)size;
    /* acq_rel; pairs: trade(). The block's content goes with it. */
    old = gyre_exchange_acq_rel(&market->stalls[next_random(seed) % SHARED],
                                (void *)block);
    gyre_mem_free(old);
}

static void *
trade_raw(void *arg)
{
    struct market *market = arg;
    struct gyre_thread *self;
    uint32_t seed, rounds;
    GYRE_CHECK(gyre_thread_attach_raw(market->fx->heap, &self) == GYRE_OK,
               "not attached");
    seed = gyre_fetch_add_relaxed(&market->met, 1) * 7919u; /* a count */
    /* relaxed: an end seen late costs a round */
    for (rounds = 0; market->rounds == 0 ? !gyre_load_relaxed(&market->over)
                                         : rounds < market->rounds;
         rounds++)
        trade(market, &seed);
    gyre_thread_leave(self);
    return NULL;
}

static void
market_open(struct market *market, pthread_t *threads, unsigned count)
{
    unsigned i;
    for (i = 0; i < count; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, trade_raw, market),
                         0);
    while (gyre_load_relaxed(&market->met) < count) /* a count */
        sched_yield();
}

/* Everything that was for sale is freed by the calling thread. */
static void
market_close(struct market *market, pthread_t *threads, unsigned count)
{
    unsigned i;
    gyre_store_relaxed(&market->over, 1); /* relaxed: see trade_raw() */
    gyre_detach_begin(gyre_self);
    for (i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
    gyre_detach_end(gyre_self);
    for (i = 0; i < SHARED; i++)
        gyre_mem_free(market->stalls[i]);
}

/* ---- attach and leave ---- */

static void *
attach_and_leave(void *arg)
{
    struct fixture *fx = arg;
    struct gyre_thread *self, *again;
    struct gyre_statistics before, after;
    GYRE_CHECK(gyre_thread_attach_raw(fx->heap, &self) == GYRE_OK, "attach");
    GYRE_CHECK(self == gyre_thread_self() && self->number == 0, "no number");
    GYRE_CHECK(gyre_thread_attach_raw(fx->heap, &again) == GYRE_ERR_STATE &&
                   again == NULL && self == gyre_thread_self(),
               "attached twice");
    GYRE_CHECK(gyre_thread_attach(fx->heap, &again) == GYRE_ERR_STATE,
               "attached as well");
    gyre_mem_free(gyre_mem_alloc(100));
    gyre_statistics_get(fx->heap, &before);
    for (int i = 0; i < 1000; i++) {
        gyre_mem_free(gyre_mem_alloc(100));
        gyre_thread_leave(self);
        GYRE_CHECK(gyre_thread_self() == NULL, "left");
        GYRE_CHECK(gyre_thread_attach_raw(fx->heap, &self) == GYRE_OK,
                   "attach again");
    }
    gyre_statistics_get(fx->heap, &after);
    /* The collector's thread may come meanwhile, and the timer find the
     * segment free; a page a life would be 64 MiB. */
    GYRE_CHECK(after.mapped <= before.mapped + (1 << 20),
               "churn grows nothing");
    gyre_thread_leave(self);
    return NULL;
}

static void
run_thread(void *(*body)(void *), void *arg)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, body, arg), 0);
    gyre_detach_begin(gyre_self);
    pthread_join(thread, NULL);
    gyre_detach_end(gyre_self);
}

/* Covers docs/design/threads.md .thread.raw: it has a handle and no number,
 * and its record is used again. */
static void
test_raw_thread_attaches_and_leaves(void **state)
{
    struct fixture *fx = *state;
    run_thread(attach_and_leave, fx);
}

static void *
hold_a_block(void *arg)
{
    void **block = arg;
    struct gyre_thread *self;
    GYRE_CHECK(gyre_thread_attach_raw(block[0], &self) == GYRE_OK, "attach");
    block[0] = gyre_mem_alloc(64);
    gyre_thread_leave(self);
    return NULL;
}

/* Covers docs/design/memory.md .mem.adopt: what it leaves is others' to free,
 * and the pages others' to fill. */
static void
test_blocks_of_a_raw_thread_outlive_it(void **state)
{
    struct fixture *fx = *state;
    struct gyre_statistics before, after;
    gyre_statistics_get(fx->heap, &before);
    for (int i = 0; i < 3000; i++) {
        void *block = fx->heap;
        run_thread(hold_a_block, &block);
        memset(block, 1, 64);
        if (i % 2 == 0)
            gyre_mem_free(block);
        if (FIXTURE_IS_SLOW && i == 300)
            break;
    }
    gyre_statistics_get(fx->heap, &after);
    assert_true(after.mapped <= before.mapped + 3 * GYRE_SEGMENT_BYTES);
    assert_true(after.pages_adopted > before.pages_adopted);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

struct herdsman {
    struct fixture *fx;
    struct gate attached, go_on;
};

static void *
wait_attached(void *arg)
{
    struct herdsman *herdsman = arg;
    struct gyre_thread *self;
    void *block;
    GYRE_CHECK(gyre_thread_attach_raw(herdsman->fx->heap, &self) == GYRE_OK,
               "attach");
    block = gyre_mem_alloc(100);
    gate_open(&herdsman->attached);
    pthread_mutex_lock(&herdsman->go_on.lock);
    while (!herdsman->go_on.open)
        pthread_cond_wait(&herdsman->go_on.opened, &herdsman->go_on.lock);
    pthread_mutex_unlock(&herdsman->go_on.lock);
    gyre_mem_free(block);
    gyre_thread_leave(self);
    return NULL;
}

/* Covers docs/design/threads.md .thread.raw: neither a stop, nor a collection,
 * nor a grace period waits for it; the heap's end does. */
static void
test_nobody_waits_for_a_raw_thread(void **state)
{
    struct fixture *fx = *state;
    struct herdsman herdsman = {fx, GATE_INIT, GATE_INIT};
    struct gyre_statistics statistics;
    pthread_t thread;
    struct node *node;
    pthread_create(&thread, NULL, wait_attached, &herdsman);
    gate_wait(&herdsman.attached);
    for (int i = 0; i < 20; i++) {
        node = node_new(fx);
        node_link(node, node);
        node_drop(node);
        assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
        assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
    assert_int_equal(fixture_live(fx), 0);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.stop_timeouts, 0);
    assert_int_equal(statistics.threads_attached, 2);
    gyre_thread_leave(fx->self);
    assert_int_equal(gyre_heap_destroy(fx->heap), GYRE_ERR_STATE);
    assert_int_equal(gyre_thread_attach(fx->heap, &fx->self), GYRE_OK);
    gate_open(&herdsman.go_on);
    gyre_detach_begin(fx->self);
    pthread_join(thread, NULL);
    gyre_detach_end(fx->self);
}

/* ---- at work, among others ---- */

static void
keep_visit(struct fixture *fx, unsigned i)
{
    struct node *a = node_new(fx), *b = plain_node_new(fx);
    node_link(a, b);
    node_link(b, a);
    node_drop(a);
    node_drop(b);
    gyre_mem_free(gyre_mem_alloc(32 + i % 5000));
    gyre_safepoint(fx->self);
}

/* Covers docs/design/threads.md .thread.raw, docs/design/memory.md .mem.raw:
 * walks, checks and collections go on while raw threads allocate, free each
 * other's blocks and give pages back. */
static void
test_collections_and_checks_run_beside_raw_threads(void **state)
{
    struct fixture *fx = *state;
    struct market market = {.fx = fx};
    pthread_t threads[3];
    uint32_t seed = 77;
    market_open(&market, threads, 3);
    for (unsigned i = 0; i < FIXTURE_SCALED(20000u); i++) {
        keep_visit(fx, i);
        trade(&market, &seed);
        if (i % FIXTURE_SCALED(500u) == 0) {
            assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
            assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
        }
    }
    market_close(&market, threads, 3);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
}

/* Raw threads that come and go at once. */
static void *
come_and_go(void *arg)
{
    struct market *market = arg;
    struct gyre_thread *self;
    uint32_t seed = gyre_fetch_add_relaxed(&market->met, 1) * 104729u;
    for (uint32_t i = 0; i < market->rounds; i++) {
        GYRE_CHECK(gyre_thread_attach_raw(market->fx->heap, &self) == GYRE_OK,
                   "attach");
        for (uint32_t n = 0; n < 50; n++)
            trade(market, &seed);
        gyre_thread_leave(self);
    }
    return NULL;
}

/* Covers docs/design/memory.md .mem.adopt: pages that go from one to another
 * keep their counts. */
static void
test_raw_threads_come_and_go_together(void **state)
{
    struct fixture *fx = *state;
    struct market market = {.fx = fx, .rounds = FIXTURE_SCALED(1000)};
    pthread_t threads[3];
    struct gyre_statistics statistics;
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, come_and_go, &market);
    market_close(&market, threads, 3);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.threads_attached, 1);
    assert_int_equal(statistics.blocks_in_use[GYRE_PAGE_RAW], 0);
}

/* ---- a thread that only frees ---- */

struct basket {
    struct gyre_heap *heap;
    void **blocks;
    unsigned count;
};

static void *
free_all(void *arg)
{
    struct basket *basket = arg;
    struct gyre_thread *self;
    GYRE_CHECK(gyre_thread_attach_raw(basket->heap, &self) == GYRE_OK,
               "attach");
    for (unsigned i = 0; i < basket->count; i++)
        gyre_mem_free(basket->blocks[i]);
    gyre_thread_leave(self);
    return NULL;
}

/* Covers docs/design/memory.md .mem.remote: a thread that only frees takes no
 * pages, and what it frees goes home. */
static void
test_a_thread_that_only_frees_does_not_grow_the_heap(void **state)
{
    struct fixture *fx = *state;
    enum { COUNT = 20000 };
    static void *blocks[COUNT];
    struct basket basket = {fx->heap, blocks, COUNT};
    struct gyre_statistics first, last;
    for (int round = 0; round < 5; round++) {
        for (unsigned i = 0; i < COUNT; i++)
            blocks[i] = gyre_mem_alloc(64);
        run_thread(free_all, &basket);
        gyre_statistics_get(fx->heap, round == 0 ? &first : &last);
    }
    assert_int_equal(last.mapped, first.mapped);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    gyre_statistics_get(fx->heap, &last);
    assert_int_equal(last.blocks_in_use[GYRE_PAGE_RAW], 0);
}

/* ---- misuse ---- */

static struct fixture *misused;

static void
make_object(void *arg)
{
    (void)arg;
    (void)gyre_new(&plain_node_type);
}

static void
poll_once(void *arg)
{
    gyre_safepoint(arg);
}

static void
detach(void *arg)
{
    gyre_detach_begin(arg);
}

static void
expect_fatal(void (*act)(void *), void *arg, const char *words)
{
    const char *message = fatal_message(act, arg);
    GYRE_CHECK(message != NULL && strstr(message, words) != NULL &&
                   strstr(message, "raw memory alone") != NULL,
               "%s: said \"%s\"", words, message ? message : "nothing");
}

static void *
misuse_all(void *arg)
{
    struct fixture *fx = arg;
    struct gyre_thread *self;
    GYRE_CHECK(gyre_thread_attach_raw(fx->heap, &self) == GYRE_OK, "attach");
    expect_fatal(make_object, NULL, "gyre_new");
    expect_fatal(poll_once, self, "gyre_safepoint");
    expect_fatal(detach, self, "gyre_detach_begin");
    GYRE_CHECK(gyre_collect(fx->heap, GYRE_GEN_OLD) == GYRE_ERR_STATE &&
                   gyre_quiesce(fx->heap) == GYRE_ERR_STATE &&
                   gyre_heap_check(fx->heap) == GYRE_ERR_STATE,
               "collects without objects");
    gyre_thread_leave(self);
    return NULL;
}

/* Covers docs/design/threads.md .thread.raw, .fail: objects are not for such
 * a thread, in every build. */
static void
test_objects_are_refused_to_a_raw_thread(void **state)
{
    misused = *state;
    run_thread(misuse_all, misused);
}

/* ---- fork ---- */

#define CHILD_CHECK(condition)                                             \
    do {                                                                   \
        if (!(condition)) {                                                \
            fprintf(stderr, "child: line %d: %s\n", __LINE__, #condition); \
            _exit(3);                                                      \
        }                                                                  \
    } while (0)

static int
status_of(pid_t pid)
{
    int status = 0;
    GYRE_CHECK(waitpid(pid, &status, 0) == pid, "no child");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Use what is there, free what the others had for sale, and check. */
static void
use_in_child(struct market *market, bool attached)
{
    struct gyre_thread *self = gyre_self;
    uint32_t seed = (uint32_t)getpid();
    unsigned i;
    for (i = 0; i < 2000; i++)
        trade(market, &seed);
    for (i = 0; i < SHARED; i++)
        gyre_mem_free(market->stalls[i]);
    if (!attached) {
        gyre_thread_leave(self);
        CHILD_CHECK(gyre_thread_attach(market->fx->heap, &self) == GYRE_OK);
    }
    CHILD_CHECK(gyre_collect(market->fx->heap, GYRE_GEN_OLD) == GYRE_OK);
    CHILD_CHECK(gyre_heap_check(market->fx->heap) == GYRE_OK);
    _exit(0);
}

/* Fork, have the child use the heap, and go on with it. */
static void
fork_and_visit(struct market *market, unsigned rounds)
{
    for (unsigned i = 0; i < rounds; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            use_in_child(market, true);
        assert_int_equal(status_of(pid), 0);
        keep_visit(market->fx, i);
    }
}

/* Covers docs/design/memory.md .mem.fork: raw threads are caught anywhere, and
 * the child's heap is whole. */
static void
test_child_of_a_fork_among_raw_threads_has_a_whole_heap(void **state)
{
    struct fixture *fx = *state;
    struct market market = {.fx = fx};
    pthread_t threads[3];
    market_open(&market, threads, 3);
    fork_and_visit(&market, FIXTURE_SCALED(100u));
    market_close(&market, threads, 3);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

static void *
list_a_record(void *heap)
{
    struct gyre_thread *self;
    GYRE_CHECK(gyre_thread_attach_raw(heap, &self) == GYRE_OK, "attach");
    gyre_thread_leave(self);
    return NULL;
}

/* Covers docs/design/memory.md .mem.fork: the record that was listed last may
 * be of a thread that is about to attach, with nothing in it. */
static void
test_child_of_a_fork_beside_an_attach_has_a_whole_heap(void **state)
{
    struct fixture *fx = *state;
    struct market market = {.fx = fx};
    pthread_t threads[2];
    market_open(&market, threads, 2);
    run_thread(list_a_record, fx->heap);
    gyre_load_relaxed(&fx->heap->raw.all)->fast.link_secret = 0;
    fork_and_visit(&market, FIXTURE_SCALED(20u));
    market_close(&market, threads, 2);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

static void *
fork_raw(void *arg)
{
    struct market *market = arg;
    struct gyre_thread *self;
    uint32_t seed = 5;
    GYRE_CHECK(gyre_thread_attach_raw(market->fx->heap, &self) == GYRE_OK,
               "attach");
    for (unsigned i = 0; i < FIXTURE_SCALED(50u); i++) {
        pid_t pid;
        trade(market, &seed);
        pid = fork();
        if (pid == 0)
            use_in_child(market, false);
        GYRE_CHECK(status_of(pid) == 0, "a child of a raw thread failed");
    }
    gyre_thread_leave(self);
    return NULL;
}

/* The same when the raw thread is the one that forks. */
static void
test_raw_thread_may_fork(void **state)
{
    struct fixture *fx = *state;
    struct market market = {.fx = fx};
    pthread_t threads[2];
    market_open(&market, threads, 2);
    run_thread(fork_raw, &market);
    market_close(&market, threads, 2);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_raw_thread_attaches_and_leaves),
        TEST(test_blocks_of_a_raw_thread_outlive_it),
        TEST(test_nobody_waits_for_a_raw_thread),
        TEST(test_collections_and_checks_run_beside_raw_threads),
        TEST(test_raw_threads_come_and_go_together),
        TEST(test_a_thread_that_only_frees_does_not_grow_the_heap),
        TEST(test_objects_are_refused_to_a_raw_thread),
        TEST(test_child_of_a_fork_among_raw_threads_has_a_whole_heap),
        TEST(test_child_of_a_fork_beside_an_attach_has_a_whole_heap),
        TEST(test_raw_thread_may_fork),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
