/* Threads of a heap: who runs and who waits. */
#include "support/fixture.h"

#include <sched.h>
#include <urcu-qsbr.h>

/* A gate that is waited for without a safepoint: the slow thread's. */
static void
wait_stubbornly(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    while (!gate->open)
        pthread_cond_wait(&gate->opened, &gate->lock);
    pthread_mutex_unlock(&gate->lock);
}

static struct gyre_statistics
statistics(struct fixture *fx)
{
    struct gyre_statistics out;
    gyre_statistics_get(fx->heap, &out);
    return out;
}

/* ---- attach, leave ---- */

/* Covers docs/design/threads.md .thread: a thread is attached to one heap at
 * a time, and the handle is known. */
static void
test_thread_attaches_once_and_leaves(void **state)
{
    struct fixture *fx = *state;
    struct gyre_thread *again;
    struct gyre_heap *other;
    assert_ptr_equal(gyre_thread_self(), fx->self);
    assert_int_equal(gyre_thread_attach(fx->heap, &again), GYRE_ERR_STATE);
    assert_null(again);
    assert_int_equal(gyre_heap_create("gc.automatic=0", &other), GYRE_OK);
    assert_int_equal(gyre_thread_attach(other, &again), GYRE_ERR_STATE);
    assert_int_equal(gyre_heap_destroy(fx->heap), GYRE_ERR_STATE);
    gyre_thread_leave(fx->self);
    assert_null(gyre_thread_self());
    assert_int_equal(gyre_thread_attach(other, &again), GYRE_OK);
    gyre_thread_leave(again);
    assert_int_equal(gyre_heap_destroy(other), GYRE_OK);
    assert_int_equal(gyre_thread_attach(fx->heap, &fx->self), GYRE_OK);
}

static void
make_one(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct node **out = arg;
    out[0] = plain_node_new(fx);
    out[0]->payload = self->number;
}

/* Covers docs/design/refcount.md .rc.orphan: a number is given out again, with
 * the objects that carry it: their new owner counts them plainly. */
static void
test_number_and_orphans_pass_to_the_next_thread(void **state)
{
    struct fixture *fx = *state;
    struct node *nodes[5];
    for (int i = 0; i < 5; i++) {
        struct worker worker;
        worker_start(&worker, fx, make_one, &nodes[i]);
        worker_join(&worker);
        assert_int_equal(nodes[i]->payload, nodes[0]->payload);
        assert_int_equal(nodes[i]->head.rc_local & 0xffff, nodes[0]->payload);
    }
    assert_int_equal(statistics(fx).threads_attached, 1);
    assert_int_equal(statistics(fx).threads_attached_ever, 6);
    for (int i = 0; i < 5; i++)
        node_drop(nodes[i]);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
}

struct meeting {
    struct gate go_on;
    uint32_t arrived, unnumbered; /* atomic */
    struct node *nodes[8];
};

static void
meet(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct meeting *meeting = arg;
    uint32_t at = gyre_fetch_add_relaxed(&meeting->arrived, 1);
    struct node *ring = plain_node_new(fx);
    if (self->number == 0)
        gyre_fetch_add_relaxed(&meeting->unnumbered, 1);
    node_link(ring, ring);
    node_drop(ring);
    meeting->nodes[at] = plain_node_new(fx);
    gate_wait(&meeting->go_on);
    for (int i = 0; i < 100; i++) {
        struct node *mine = plain_node_new(fx), *chain = plain_node_new(fx);
        node_link(mine, chain);
        node_drop(chain);
        gyre_incref(&mine->head);
        gyre_safepoint(self);
        gyre_decref(&mine->head);
        gyre_decref(&mine->head);
    }
    gyre_decref(&meeting->nodes[(at + 1) % 8]->head);
}

/* Covers docs/design/refcount.md .rc.orphan: with all numbers in use threads
 * attach without one; what they make is nobody's and counted all the same. */
static void
test_threads_without_numbers_work_like_others(void **state)
{
    struct fixture fx;
    struct worker workers[8];
    struct meeting meeting = {.go_on = GATE_INIT};
    (void)state;
    fixture_open(&fx, "gc.automatic=0,thread.numbers=2");
    for (int round = 0; round < 3; round++) {
        meeting.arrived = meeting.unnumbered = 0;
        meeting.go_on.open = false;
        for (int i = 0; i < 8; i++)
            worker_start(&workers[i], &fx, meet, &meeting);
        /* relaxed: the gate orders what they made */
        while (gyre_load_relaxed(&meeting.arrived) < 8) {
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
            sched_yield();
        }
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
        gate_open(&meeting.go_on);
        for (int i = 0; i < 8; i++)
            worker_join(&workers[i]);
        assert_int_equal(gyre_quiesce(fx.heap), GYRE_OK);
        assert_int_equal(fixture_live(&fx), 0);
        assert_true(meeting.unnumbered >= 6);
    }
    fixture_close(&fx);
}

static void
work_a_little(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct node *kept[8];
    (void)arg;
    for (int i = 0; i < 8; i++) {
        kept[i] = plain_node_new(fx);
        node_drop(leaf_node_new(fx));
        gyre_mem_free(gyre_mem_alloc(100));
    }
    gyre_safepoint(self);
    for (int i = 0; i < 8; i++)
        node_drop(kept[i]);
}

/* Covers docs/design/threads.md .thread, CPython issue 130794: threads that
 * come and go by the hundred grow nothing. */
static void
test_churning_threads_do_not_grow_memory(void **state)
{
    struct fixture *fx = *state;
    uint64_t mapped = 0;
    for (int round = 0; round < 150; round++) {
        struct worker workers[4];
        for (int i = 0; i < 4; i++)
            worker_start(&workers[i], fx, work_a_little, NULL);
        for (int i = 0; i < 4; i++)
            worker_join(&workers[i]);
        if (round == 50)
            mapped = statistics(fx).mapped;
    }
    assert_int_equal(statistics(fx).threads_attached_ever, 601);
    /* a few records more when more of them happened to meet, or to be
     * claimed while others came; 400 if each thread had one of its own */
    assert_in_range(statistics(fx).mapped, 0, mapped + 65536);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* ---- detached regions ---- */

struct region {
    struct gate inside, go_on;
};

static void
stay_detached(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct region *region = arg;
    (void)fx;
    gyre_detach_begin(self);
    gate_open(&region->inside);
    wait_stubbornly(&region->go_on);
    gyre_detach_end(self);
}

/* Covers docs/design/threads.md .thread.detach: nobody waits for a thread in a
 * detached region: not a stop, not a handshake, not a grace period. */
static void
test_nobody_waits_for_a_detached_thread(void **state)
{
    struct fixture *fx = *state;
    struct region region = {GATE_INIT, GATE_INIT};
    struct worker worker;
    worker_start(&worker, fx, stay_detached, &region);
    gate_wait(&region.inside);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
        assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
    gate_open(&region.go_on);
    worker_join(&worker);
    assert_int_equal(statistics(fx).stop_timeouts, 0);
}

static void
detach_and_return(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    uint32_t *over = arg;
    uint64_t returns = 0;
    (void)fx;
    /* relaxed: an end seen late costs a round */
    while (gyre_load_relaxed(over) == 0 || returns < 100) {
        gyre_detach_begin(self);
        gyre_detach_end(self);
        returns++;
    }
}

/* Covers docs/design/threads.md .thread.detach, CPython issue 151518: a thread
 * that reattaches again and again does not starve under repeated stops, and
 * stops come through. */
static void
test_reattaching_threads_and_repeated_stops_both_get_on(void **state)
{
    struct fixture *fx = *state;
    struct worker workers[3];
    uint32_t over = 0;
    for (int i = 0; i < 3; i++)
        worker_start(&workers[i], fx, detach_and_return, &over);
    for (int i = 0; i < 300; i++)
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    gyre_store_relaxed(&over, 1); /* relaxed: as above */
    for (int i = 0; i < 3; i++)
        worker_join(&workers[i]);
}

/* ---- stops and handshakes ---- */

struct slow {
    struct gate busy, go_on;
};

static void
be_slow(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct slow *slow = arg;
    (void)fx;
    gyre_thread_set_name(self, "slow one");
    pthread_mutex_lock(&slow->busy.lock); /* opened without a safepoint */
    slow->busy.open = true;
    pthread_cond_broadcast(&slow->busy.opened);
    pthread_mutex_unlock(&slow->busy.lock);
    wait_stubbornly(&slow->go_on);
}

/* Covers docs/design/threads.md .thread.stop: a stop that a thread does not
 * answer is given up, with the thread named, and all goes on. */
static void
test_stop_timeout_names_the_slow_thread(void **state)
{
    struct fixture fx;
    struct slow slow = {GATE_INIT, GATE_INIT};
    struct worker worker;
    struct node *ring;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,thread.stop_timeout=50");
    ring = plain_node_new(&fx);
    node_link(ring, ring);
    node_drop(ring);
    worker_start(&worker, &fx, be_slow, &slow);
    gate_wait(&slow.busy);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_ERR_TIMEOUT);
    assert_int_equal(statistics(&fx).stop_timeouts, 1);
    assert_string_equal(statistics(&fx).slowest_thread, "slow one");
    assert_true(statistics(&fx).slowest_stop_ns >= 50000000);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_ERR_TIMEOUT);
    assert_int_equal(gyre_quiesce(fx.heap), GYRE_ERR_TIMEOUT);
    assert_int_equal(gyre_freeze(fx.heap), GYRE_ERR_TIMEOUT);
    assert_int_equal(statistics(&fx).stop_timeouts, 4);
    assert_int_equal(fixture_live(&fx), 1);
    gate_open(&slow.go_on);
    worker_join(&worker);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* Covers docs/design/threads.md .thread.soft: a handshake that times out names
 * the thread as well. */
static void
test_handshake_timeout_names_the_slow_thread(void **state)
{
    struct fixture fx;
    struct slow slow = {GATE_INIT, GATE_INIT};
    struct worker worker;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,thread.stop_timeout=50");
    worker_start(&worker, &fx, be_slow, &slow);
    gate_wait(&slow.busy);
    assert_int_equal(gyre_quiesce(fx.heap), GYRE_ERR_TIMEOUT);
    assert_int_equal(statistics(&fx).stop_timeouts, 1);
    assert_string_equal(statistics(&fx).slowest_thread, "slow one");
    gate_open(&slow.go_on);
    worker_join(&worker);
    assert_int_equal(gyre_quiesce(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

struct pollers {
    struct gate over;
    struct node *mine;
};

static void
poll_until_over(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct pollers *pollers = arg;
    bool over = false;
    (void)fx;
    if (pollers->mine != NULL)
        node_drop(pollers->mine);
    while (!over) {
        pthread_mutex_lock(&pollers->over.lock);
        over = pollers->over.open;
        pthread_mutex_unlock(&pollers->over.lock);
        gyre_safepoint(self);
    }
}

/* Covers docs/design/threads.md .thread.soft: gyre_quiesce() returns when every
 * running thread has answered: what one gave up has been merged and freed. */
static void
test_quiesce_has_every_thread_publish_and_drain(void **state)
{
    struct fixture *fx = *state;
    for (int round = 0; round < 20; round++) {
        struct pollers pollers[3] = {
            {GATE_INIT, NULL}, {GATE_INIT, NULL}, {GATE_INIT, NULL}};
        struct worker workers[3];
        struct region region = {GATE_INIT, GATE_INIT};
        struct worker sleeper;
        for (int i = 0; i < 3; i++) {
            pollers[i].mine = plain_node_new(fx);
            worker_start(&workers[i], fx, poll_until_over, &pollers[i]);
        }
        worker_start(&sleeper, fx, stay_detached, &region);
        gate_wait(&region.inside);
        while (fixture_live(fx) > 0)
            assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
        gate_open(&region.go_on);
        for (int i = 0; i < 3; i++) {
            gate_open(&pollers[i].over);
            worker_join(&workers[i]);
        }
        worker_join(&sleeper);
    }
}

static void
collect_often(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)arg;
    for (int i = 0; i < 30; i++) {
        struct node *ring = plain_node_new(fx);
        node_link(ring, ring);
        node_drop(ring);
        GYRE_CHECK(gyre_collect(fx->heap, (enum gyre_generation)(i % 3)) ==
                       GYRE_OK,
                   "no collection");
        GYRE_CHECK(gyre_quiesce(fx->heap) == GYRE_OK, "not quiet");
        gyre_safepoint(self);
    }
}

/* Covers docs/design/threads.md .thread.stop: threads that stop the world at
 * the same time, and quiesce it, take turns. */
static void
test_stoppers_take_turns(void **state)
{
    struct fixture *fx = *state;
    struct worker workers[4];
    for (int i = 0; i < 4; i++)
        worker_start(&workers[i], fx, collect_often, NULL);
    for (int i = 0; i < 4; i++)
        worker_join(&workers[i]);
    assert_int_equal(fixture_live(fx), 0);
}

/* ---- several heaps ---- */

static void *
in_a_heap_of_its_own(void *arg)
{
    struct fixture fx;
    (void)arg;
    fixture_open(&fx, "gc.threshold0=500");
    for (int i = 0; i < 3000; i++) {
        struct node *ring = plain_node_new(&fx);
        node_link(ring, ring);
        node_drop(ring);
        if (i % 100 == 0)
            assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
        gyre_safepoint(fx.self);
    }
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
    return NULL;
}

/* Covers docs/design/threads.md .thread: heaps are instances; threads of one
 * don't wait for those of another. */
static void
test_heaps_in_one_process_do_not_mind_each_other(void **state)
{
    pthread_t threads[4];
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, in_a_heap_of_its_own, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void *
attach_as_reader_offline(void *arg)
{
    struct fixture *fx = arg;
    struct gyre_thread *self;
    rcu_register_thread();
    rcu_thread_offline();
    GYRE_CHECK(gyre_thread_attach(fx->heap, &self) == GYRE_OK, "attach");
    gyre_thread_leave(self);
    GYRE_CHECK(!rcu_read_ongoing(), "leave: the thread was offline before");
    rcu_unregister_thread();
    return NULL;
}

/* .thread.rcu: QSBR is the program's too. */
static void
test_reader_that_was_offline_is_so_after_it_left(void **state)
{
    pthread_t thread;
    assert_int_equal(
        pthread_create(&thread, NULL, attach_as_reader_offline, *state), 0);
    pthread_join(thread, NULL);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_thread_attaches_once_and_leaves),
        TEST(test_number_and_orphans_pass_to_the_next_thread),
        cmocka_unit_test(test_threads_without_numbers_work_like_others),
        TEST(test_churning_threads_do_not_grow_memory),
        TEST(test_nobody_waits_for_a_detached_thread),
        TEST(test_reattaching_threads_and_repeated_stops_both_get_on),
        cmocka_unit_test(test_stop_timeout_names_the_slow_thread),
        cmocka_unit_test(test_handshake_timeout_names_the_slow_thread),
        TEST(test_quiesce_has_every_thread_publish_and_drain),
        TEST(test_stoppers_take_turns),
        cmocka_unit_test(test_heaps_in_one_process_do_not_mind_each_other),
        TEST(test_reader_that_was_offline_is_so_after_it_left),
    };
    return cmocka_run_group_tests_name("threads", tests, NULL, NULL);
}
