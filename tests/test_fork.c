/* fork: the child has one thread, and heaps that are whole. */
#include "support/fixture.h"

#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <heap.h>

/* ---- helpers ---- */

/* In a child an assertion of the test's would end in the parent's harness:
 * say what failed and leave with a status of its own. */
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

/* Wait for a child, detached when attached. */
static void
assert_child_is_well(pid_t pid)
{
    struct gyre_thread *self = gyre_thread_self();
    int status;
    if (self != NULL)
        gyre_detach_begin(self);
    status = status_of(pid);
    if (self != NULL)
        gyre_detach_end(self);
    assert_int_equal(status, 0);
}

/* Whatever a program does: allocate, free, collect, check. */
static void
use_heap(struct fixture *fx)
{
    int before;
    CHILD_CHECK(gyre_collect(fx->heap, GYRE_GEN_OLD) == GYRE_OK);
    before = fixture_live(fx);
    for (int i = 0; i < 3000; i++) {
        struct gyre_object *weak, *got;
        struct node *ring = ring_new(fx, 2);
        node_drop(leaf_node_new(fx));
        gyre_mem_free(gyre_mem_alloc(64));
        CHILD_CHECK(gyre_weakref_new(&ring->head, NULL, NULL, &weak) ==
                    GYRE_OK);
        got = gyre_weakref_get(weak);
        CHILD_CHECK(got == &ring->head);
        gyre_decref(got);
        gyre_decref(weak);
        node_drop(ring);
        gyre_safepoint(fx->self);
    }
    CHILD_CHECK(gyre_quiesce(fx->heap) == GYRE_OK);
    CHILD_CHECK(gyre_collect(fx->heap, GYRE_GEN_OLD) == GYRE_OK);
    CHILD_CHECK(fixture_live(fx) == before);
    CHILD_CHECK(gyre_heap_check(fx->heap) == GYRE_OK);
}

static void
use_and_end(struct fixture *fx)
{
    use_heap(fx);
    gyre_thread_leave(fx->self);
    CHILD_CHECK(gyre_heap_destroy(fx->heap) == GYRE_OK);
    CHILD_CHECK(fixture_live(fx) == 0);
    _exit(0);
}

/* ---- other threads at work ---- */

/* A thread that is being made or ends, when another forks, may hold locks of
 * the address sanitizer's that the child then finds taken: so threads that
 * fork, or are forked beside, meet first and wait for each other at last. */
static void
meet(uint32_t *met, uint32_t all, struct gyre_thread *self)
{
    /* relaxed: a count */
    gyre_fetch_add_relaxed(met, 1);
    while (gyre_load_relaxed(met) < all)
        gyre_safepoint(self);
}

struct herd {
    uint32_t over; /* atomic */
    uint32_t met;  /* atomic */
    bool collects; /* const */
    pthread_mutex_t lock;
    struct gyre_object *held[32]; /* under lock */
};

static void
work(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct herd *herd = arg;
    /* relaxed: a count */
    gyre_fetch_add_relaxed(&herd->met, 1);
    unsigned seed = self->number * 7919u, rounds = 0;
    /* relaxed: an end seen late costs a round */
    while (gyre_load_relaxed(&herd->over) == 0) {
        /* garbage for the collector, no more than it can keep up with */
        struct node *node =
            ++rounds % 64 == 0 ? ring_new(fx, 2) : plain_node_new(fx);
        struct gyre_object *old;
        if (rounds % 10000 == 0 && herd->collects)
            GYRE_CHECK(gyre_collect(fx->heap, GYRE_GEN_YOUNG) == GYRE_OK,
                       "no collection");
        seed = seed * 1103515245u + 12345u;
        if ((seed >> 8 & 7) == 0) {
            gyre_detach_begin(self);
            gyre_detach_end(self);
        }
        pthread_mutex_lock(&herd->lock);
        old = herd->held[seed >> 16 & 31];
        herd->held[seed >> 16 & 31] = &node->head;
        pthread_mutex_unlock(&herd->lock);
        if (old != NULL)
            gyre_decref(old);
        gyre_safepoint(self);
    }
}

#define HERD 3

static void
herd_start(struct fixture *fx, struct herd *herd, struct worker *workers)
{
    memset(herd, 0, sizeof *herd);
    herd->collects = gyre_option_get(fx->heap, GYRE_OPT_GC_AUTOMATIC) != 0;
    pthread_mutex_init(&herd->lock, NULL);
    for (int i = 0; i < HERD; i++)
        worker_start(&workers[i], fx, work, herd);
    while (gyre_load_relaxed(&herd->met) < HERD) /* relaxed: a count */
        gyre_safepoint(fx->self);
}

static void
herd_end(struct herd *herd, struct worker *workers)
{
    gyre_store_relaxed(&herd->over, 1); /* relaxed: as above */
    for (int i = 0; i < HERD; i++)
        worker_join(&workers[i]);
    for (int i = 0; i < 32; i++)
        if (herd->held[i] != NULL)
            gyre_decref(herd->held[i]);
}

/* ---- tests ---- */

/* Covers docs/design/heap.md .heap.fork: a child of a process with several
 * threads collects, allocates, frees and ends its heap; the parent goes on. */
static void
test_child_of_a_busy_process_uses_its_heap(void **state)
{
    struct fixture fx;
    struct worker workers[HERD];
    static struct herd herd;
    (void)state;
    fixture_open(&fx, "gc.threshold0=2000");
    herd_start(&fx, &herd, workers);
    for (int i = 0; i < 8; i++) {
        struct node *mine = ring_new(&fx, 2);
        pid_t pid = fork();
        if (pid == 0)
            use_and_end(&fx);
        assert_true(pid > 0);
        node_drop(mine);
        gyre_safepoint(fx.self);
        assert_child_is_well(pid);
    }
    herd_end(&herd, workers);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Covers docs/design/heap.md .heap.fork: the same from a detached region, which
 * the child is still in. */
static void
test_fork_in_a_detached_region(void **state)
{
    struct fixture fx;
    struct worker workers[HERD];
    static struct herd herd;
    (void)state;
    fixture_open(&fx, "gc.threshold0=2000");
    herd_start(&fx, &herd, workers);
    for (int i = 0; i < 4; i++) {
        pid_t pid;
        gyre_detach_begin(fx.self);
        pid = fork();
        gyre_detach_end(fx.self);
        if (pid == 0)
            use_and_end(&fx);
        assert_child_is_well(pid);
    }
    herd_end(&herd, workers);
    fixture_close(&fx);
}

/* Covers docs/design/heap.md .heap.fork: the same from a thread that is
 * attached to no heap; the child may attach. */
static void
test_fork_of_an_unattached_thread(void **state)
{
    struct fixture fx;
    struct worker workers[HERD];
    static struct herd herd;
    (void)state;
    fixture_open(&fx, "gc.threshold0=2000");
    herd_start(&fx, &herd, workers);
    gyre_thread_leave(fx.self);
    for (int i = 0; i < 4; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            CHILD_CHECK(gyre_thread_attach(fx.heap, &fx.self) == GYRE_OK);
            use_and_end(&fx);
        }
        assert_child_is_well(pid);
    }
    assert_int_equal(gyre_thread_attach(fx.heap, &fx.self), GYRE_OK);
    herd_end(&herd, workers);
    fixture_close(&fx);
}

/* Covers docs/design/heap.md .heap.fork: every heap of the process is whole in
 * the child, those that the forking thread is not attached to as well. */
static void
test_child_uses_several_heaps(void **state)
{
    struct fixture fx[3];
    struct worker workers[3][HERD];
    static struct herd herds[3];
    (void)state;
    for (int k = 0; k < 3; k++) {
        fixture_open(&fx[k], "gc.threshold0=2000");
        herd_start(&fx[k], &herds[k], workers[k]);
        gyre_thread_leave(fx[k].self);
    }
    for (int i = 0; i < 4; i++) {
        pid_t pid;
        assert_int_equal(gyre_thread_attach(fx[i % 3].heap, &fx[i % 3].self),
                         GYRE_OK);
        pid = fork();
        if (pid == 0) {
            use_heap(&fx[i % 3]);
            gyre_thread_leave(fx[i % 3].self);
            for (int k = 0; k < 3; k++) {
                CHILD_CHECK(gyre_thread_attach(fx[k].heap, &fx[k].self) ==
                            GYRE_OK);
                use_heap(&fx[k]);
                /* threads' numbers, pages and queues are given out again */
                for (int n = 0; n < 5 && !FIXTURE_IS_SLOW; n++) {
                    struct worker worker;
                    static struct herd none;
                    none.over = 1;
                    worker_start(&worker, &fx[k], work, &none);
                    worker_join(&worker);
                }
                use_heap(&fx[k]);
                gyre_thread_leave(fx[k].self);
            }
            for (int k = 0; k < 3; k++) {
                CHILD_CHECK(gyre_heap_destroy(fx[k].heap) == GYRE_OK);
                CHILD_CHECK(fixture_live(&fx[k]) == 0);
            }
            _exit(0);
        }
        gyre_thread_leave(fx[i % 3].self);
        assert_child_is_well(pid);
    }
    for (int k = 0; k < 3; k++) {
        assert_int_equal(gyre_thread_attach(fx[k].heap, &fx[k].self), GYRE_OK);
        herd_end(&herds[k], workers[k]);
        fixture_close(&fx[k]);
    }
}

/* ---- inside callbacks ---- */

static pid_t forked;

static void
fork_inside(struct node *node)
{
    (void)node;
    if (forked == -1)
        forked = fork();
}

/* Covers docs/design/heap.md .heap.fork, docs/design/weakref.md .final: a
 * finalizer forks in the middle of a collection, and the collection goes on in
 * both. */
static void
test_fork_inside_a_finalizer_of_a_collection(void **state)
{
    struct fixture fx;
    struct worker workers[HERD];
    static struct herd herd;
    (void)state;
    fixture_open(&fx, "gc.automatic=0"); /* nobody collects but we */
    herd_start(&fx, &herd, workers);
    for (int i = 0; i < 4; i++) {
        struct node *nodes[10];
        fx.on_finalize = fork_inside;
        forked = -1;
        for (int k = 0; k < 10; k++)
            nodes[k] = node_new(&fx);
        for (int k = 0; k < 10; k++)
            node_link(nodes[k], nodes[(k + 1) % 10]);
        for (int k = 0; k < 10; k++)
            node_drop(nodes[k]);
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        if (forked == 0)
            use_and_end(&fx);
        assert_int_equal(fixture_finalized(&fx), 10 * (i + 1));
        assert_child_is_well(forked);
    }
    herd_end(&herd, workers);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
}

/* Covers docs/design/heap.md .heap.fork: and in one that runs by counts. */
static void
test_fork_inside_a_prompt_finalizer(void **state)
{
    struct fixture *fx = *state;
    fx->on_finalize = fork_inside;
    forked = -1;
    node_drop(node_new(fx));
    if (forked == 0)
        use_and_end(fx);
    assert_child_is_well(forked);
}

/* ---- locks, generations of children, forks at the same time ---- */

struct fork_lock {
    struct node *node;
    uint32_t met, over; /* atomic */
};

static void
lock_and_unlock(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct fork_lock *lock = arg;
    (void)fx;
    meet(&lock->met, HERD + 1, self);
    /* relaxed: an end seen late costs a round */
    while (gyre_load_relaxed(&lock->over) == 0) {
        gyre_lock(&lock->node->head);
        gyre_safepoint(self);
        gyre_unlock(&lock->node->head);
    }
}

/* Covers docs/design/object.md .lock, docs/design/heap.md .heap.fork: who
 * waited for a lock when the process forked is not waited for in the child. */
static void
test_child_unlocks_what_others_waited_for(void **state)
{
    struct fixture *fx = *state;
    for (int i = 0; i < 5; i++) {
        struct fork_lock lock = {plain_node_new(fx), 0, 0};
        struct worker workers[HERD];
        pid_t pid;
        for (int k = 0; k < HERD; k++)
            worker_start(&workers[k], fx, lock_and_unlock, &lock);
        meet(&lock.met, HERD + 1, fx->self);
        for (int k = 0; k < 200; k++)
            gyre_safepoint(fx->self);
        gyre_lock(&lock.node->head); /* the child's thread has it */
        pid = fork();
        gyre_unlock(&lock.node->head);
        if (pid == 0) {
            for (int k = 0; k < 100; k++) {
                gyre_lock(&lock.node->head);
                gyre_unlock(&lock.node->head);
            }
            use_and_end(fx);
        }
        gyre_store_relaxed(&lock.over, 1); /* relaxed: as above */
        for (int k = 0; k < HERD; k++)
            worker_join(&workers[k]);
        assert_child_is_well(pid);
        node_drop(lock.node);
    }
}

/* Covers docs/design/heap.md .heap.fork: children fork in their turn. */
static void
test_children_of_children(void **state)
{
    struct fixture *fx = *state;
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 4; i++) {
            use_heap(fx);
            pid = fork();
            if (pid > 0) {
                int status;
                gyre_detach_begin(fx->self);
                status = status_of(pid);
                gyre_detach_end(fx->self);
                use_heap(fx);
                _exit(status);
            }
        }
        use_and_end(fx);
    }
    assert_child_is_well(pid);
}

static void
fork_often(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    uint32_t *met = arg;
    meet(&met[0], HERD, self);
    for (int i = 0; i < 5; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            fx->self = self; /* the only thread now */
            use_heap(fx);
            _exit(0);
        }
        gyre_detach_begin(self);
        GYRE_CHECK(status_of(pid) == 0, "a child failed");
        gyre_detach_end(self);
    }
    meet(&met[1], HERD, self);
}

/* Covers docs/design/heap.md .heap.fork: threads of a heap that fork at the
 * same time take turns; who waits for its turn can be stopped. */
static void
test_threads_fork_at_the_same_time(void **state)
{
    struct fixture fx;
    struct worker workers[HERD];
    uint32_t met[2] = {0, 0};
    (void)state;
    fixture_open(&fx, "gc.automatic=0,thread.stop_timeout=5000");
    for (int i = 0; i < HERD; i++)
        worker_start(&workers[i], &fx, fork_often, met);
    for (int i = 0; i < HERD; i++)
        worker_join(&workers[i]);
    struct gyre_statistics statistics;
    gyre_statistics_get(fx.heap, &statistics);
    assert_int_equal(statistics.stop_timeouts, 0);
    fixture_close(&fx);
}

/* ---- a thread that does not stop ---- */

struct stubborn {
    uint32_t busy, over; /* atomic */
};

static void
be_busy(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct stubborn *stubborn = arg;
    (void)fx;
    (void)self;
    /* relaxed, both: flags, with nothing behind them */
    gyre_store_relaxed(&stubborn->busy, 1);
    while (gyre_load_relaxed(&stubborn->over) == 0)
        sched_yield(); /* no safepoint */
}

/* Covers docs/design/heap.md .heap.fork: a heap whose threads did not stop in
 * time is lost to the child alone, which lives on and is told. */
static void
test_heap_that_did_not_stop_is_lost_to_the_child(void **state)
{
    struct fixture fx;
    struct worker worker;
    struct stubborn stubborn = {0, 0};
    struct node *node;
    pid_t pid;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,gc.thread=0,thread.stop_timeout=50");
    node = plain_node_new(&fx);
    worker_start(&worker, &fx, be_busy, &stubborn);
    while (gyre_load_relaxed(&stubborn.busy) == 0)
        gyre_safepoint(fx.self);
    pid = fork();
    if (pid == 0) {
        struct gyre_thread *self;
        CHILD_CHECK(gyre_thread_self() == NULL);
        CHILD_CHECK(gyre_thread_attach(fx.heap, &self) == GYRE_ERR_STATE);
        CHILD_CHECK(gyre_heap_destroy(fx.heap) == GYRE_ERR_STATE);
        _exit(0);
    }
    assert_child_is_well(pid);
    gyre_store_relaxed(&stubborn.over, 1);
    worker_join(&worker);
    node_drop(node);
    assert_int_equal(fixture_live(&fx), 0);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    fixture_close(&fx);
}

/* ---- forks in finalizers and beside them ---- */

#define FORK_ROUNDS FIXTURE_SCALED(40)

static void
fork_and_wait(void)
{
    struct gyre_thread *self = gyre_thread_self();
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    gyre_detach_begin(self);
    GYRE_CHECK(status_of(pid) == 0, "fork: the child is not well");
    gyre_detach_end(self);
}

static void
fork_in_finalizer(struct node *node)
{
    (void)node;
    fork_and_wait();
}

static void
fork_repeatedly(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)self, (void)arg;
    for (int i = 0; i < FORK_ROUNDS; i++) {
        fork_and_wait();
    }
}

/* .heap.fork: neither waits for the other with what it needs. */
static void
test_finalizers_of_a_collection_and_others_fork_together(void **state)
{
    struct fixture *fx = *state;
    struct worker forker;
    fx->on_finalize = fork_in_finalizer;
    worker_start(&forker, fx, fork_repeatedly, NULL);
    for (int i = 0; i < FORK_ROUNDS; i++) {
        struct node *node = node_new(fx);
        node_link(node, node);
        node_drop(node);
        assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    }
    worker_join(&forker);
    fx->on_finalize = NULL;
    assert_int_equal(fixture_live(fx), 0);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

/* Covers docs/design/cycle.md .policy: what the heap's thread was asked for,
 * and is at while another forks, is done in the child as well. */
static void
test_request_is_served_in_the_child_too(void **state)
{
    struct fixture fx;
    pid_t child;
    int status;
    (void)state;
    fixture_open(&fx, "gc.automatic=0");
    node_drop(ring_new(&fx, 10));
    assert_int_equal(gyre_collect_request(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    /* taken, and it waits for this thread */
    while (gyre_load_acquire(&fx.heap->collector.asked) != 0)
        ;
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        while (fixture_live(&fx) > 0)
            gyre_safepoint_slow(fx.self);
        _exit(0);
    }
    gyre_detach_begin(fx.self);
    assert_int_equal(waitpid(child, &status, 0), child);
    gyre_detach_end(fx.self);
    assert_int_equal(status, 0);
    while (fixture_live(&fx) > 0)
        gyre_safepoint(fx.self);
    fixture_close(&fx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_child_of_a_busy_process_uses_its_heap),
        cmocka_unit_test(test_fork_in_a_detached_region),
        cmocka_unit_test(test_fork_of_an_unattached_thread),
        cmocka_unit_test(test_child_uses_several_heaps),
        cmocka_unit_test(test_fork_inside_a_finalizer_of_a_collection),
        TEST(test_fork_inside_a_prompt_finalizer),
        TEST(test_child_unlocks_what_others_waited_for),
        TEST(test_children_of_children),
        cmocka_unit_test(test_threads_fork_at_the_same_time),
        cmocka_unit_test(test_heap_that_did_not_stop_is_lost_to_the_child),
        cmocka_unit_test(test_request_is_served_in_the_child_too),
        TEST(test_finalizers_of_a_collection_and_others_fork_together),
    };
    return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
