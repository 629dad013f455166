/* What others gave up in one go is merged and released in portions. */
#include "support/fixture.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <heap.h>

#define MANY FIXTURE_SCALED(100000)

/* ---- helpers ---- */

/* Nodes of one thread's, which another drops. */
struct pile {
    struct node **nodes;
    int count;
    uint32_t made, dropped, over; /* atomic */
};

static void
pile_open(struct pile *pile, int count)
{
    memset(pile, 0, sizeof *pile);
    pile->count = count;
    pile->nodes = malloc((size_t)count * sizeof(struct node *));
    assert_non_null(pile->nodes);
}

static void
pile_make(struct fixture *fx, struct pile *pile)
{
    for (int i = 0; i < pile->count; i++)
        pile->nodes[i] = plain_node_new(fx);
    /* release; pairs: await() */
    gyre_store_release(&pile->made, 1);
}

/* Without a safepoint. */
static void
await(const uint32_t *word)
{
    /* acquire; pairs: pile_make(), pile_drop() */
    while (gyre_load_acquire(word) == 0)
        ;
}

static void
pile_drop(struct gyre_thread *self, struct pile *pile)
{
    for (int i = 0; i < pile->count; i++)
        gyre_decref(&pile->nodes[i]->head);
    gyre_safepoint(self); /* which publishes the last of them */
    /* release; pairs: await() */
    gyre_store_release(&pile->dropped, 1);
}

static void
drop_pile(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx;
    pile_drop(self, arg);
}

/* This thread's pile is in its queue, as a whole. */
static void
fill_queue(struct fixture *fx, struct pile *pile)
{
    struct worker worker;
    pile_make(fx, pile);
    worker_start(&worker, fx, drop_pile, pile);
    await(&pile->dropped);
    assert_int_equal(pthread_join(worker.thread, NULL), 0);
}

/* And a portion of it is done. */
static void
leave_queue(struct fixture *fx, struct pile *pile)
{
    pile_open(pile, MANY);
    fill_queue(fx, pile);
    gyre_safepoint(fx->self);
    assert_in_range(fixture_live(fx), 1, MANY - 1);
}

/* One that refers to the next, and so on. */
static struct node *
chain_new(struct fixture *fx, int count)
{
    struct node *first = plain_node_new(fx);
    for (int i = 1; i < count; i++) {
        struct node *node = plain_node_new(fx);
        gyre_slot_move(&node->head, &node->left, &first->head);
        first = node;
    }
    return first;
}

/* Each safepoint does some of it, none all. */
static void
expect_portions(struct fixture *fx, int count)
{
    int left = fixture_live(fx), polls = 0;
    assert_int_equal(left, count);
    for (; left > 0; polls++) {
        int before = left;
        gyre_safepoint(fx->self);
        left = fixture_live(fx);
        assert_true(left < before);
    }
    assert_true(polls >= 3);
}

/* ---- tests ---- */

/* Covers docs/design/refcount.md .rc.portion: a queue is merged in portions,
 * one a safepoint, until nothing is left. */
static void
test_a_full_queue_is_merged_in_portions(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    pile_open(&pile, MANY);
    fill_queue(fx, &pile);
    expect_portions(fx, MANY);
    free(pile.nodes);
}

/* Covers docs/design/refcount.md .rc.portion: so is what dies by a merge. */
static void
test_what_a_merge_kills_is_released_in_portions(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    struct pile pile;
    pile_open(&pile, 1);
    pile.nodes[0] = chain_new(fx, MANY);
    worker_start(&worker, fx, drop_pile, &pile);
    await(&pile.dropped);
    assert_int_equal(pthread_join(worker.thread, NULL), 0);
    expect_portions(fx, MANY);
    free(pile.nodes);
}

/* Covers docs/design/refcount.md .rc.portion: who detaches does it all first,
 * as it may be away for long. */
static void
test_detaching_does_what_a_portion_left(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    leave_queue(fx, &pile);
    gyre_detach_begin(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    gyre_detach_end(fx->self);
    free(pile.nodes);
}

/* And a wait for something else, such as a collection. */
static void
test_a_wait_does_what_a_portion_left(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    leave_queue(fx, &pile);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    free(pile.nodes);
}

static void
own_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct pile *pile = arg;
    pile_make(fx, pile);
    await(&pile->dropped);
    gyre_safepoint(self);
    assert_true(fixture_live(fx) > 0);
}

/* And who leaves. */
static void
test_leaving_does_what_a_portion_left(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    struct worker worker;
    pile_open(&pile, MANY);
    worker_start(&worker, fx, own_and_leave, &pile);
    await(&pile.made);
    pile_drop(fx->self, &pile);
    worker_join(&worker);
    assert_int_equal(fixture_live(fx), 0);
    free(pile.nodes);
}

static void
own_and_poll(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct pile *pile = arg;
    pile_make(fx, pile);
    await(&pile->dropped);
    while (gyre_load_relaxed(&pile->over) == 0)
        gyre_safepoint(self);
}

/* Covers docs/design/refcount.md .rc.portion: a collection that was asked for
 * by name waits for the portions of others, behind which a cycle may hide. */
static void
test_collection_waits_for_the_portions_of_others(void **state)
{
    struct fixture *fx = *state;
    struct pile pile;
    struct worker worker;
    struct node *ring;
    pile_open(&pile, MANY);
    worker_start(&worker, fx, own_and_poll, &pile);
    await(&pile.made);
    /* The last pushed is merged first. */
    ring = ring_new(fx, 10);
    gyre_slot_move(&pile.nodes[0]->head, &pile.nodes[0]->left, &ring->head);
    pile_drop(fx->self, &pile);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    gyre_store_relaxed(&pile.over, 1);
    worker_join(&worker);
    free(pile.nodes);
}

/* ---- while a portion has left a rest ---- */

/* This thread merges what kills MANY, and releases a part of it. */
static void
leave_chain(struct fixture *fx)
{
    struct worker worker;
    struct pile pile;
    pile_open(&pile, 1);
    pile.nodes[0] = chain_new(fx, MANY);
    worker_start(&worker, fx, drop_pile, &pile);
    await(&pile.dropped);
    assert_int_equal(pthread_join(worker.thread, NULL), 0);
    free(pile.nodes);
    gyre_safepoint(fx->self);
    assert_in_range(fixture_live(fx), 1, MANY);
}

static struct node *foreign;

static void
make_foreign(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)self, (void)arg;
    foreign = plain_node_new(fx);
}

/* Covers docs/design/refcount.md .rc.portion: merging for one who is gone does
 * not release the rest as well. */
static void
test_a_merge_for_another_leaves_the_rest(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    worker_start(&worker, fx, make_foreign, NULL);
    worker_join(&worker);
    leave_chain(fx);
    gyre_decref(&foreign->head);
    gyre_safepoint(fx->self);
    assert_true(fixture_live(fx) > 0);
}

/* Nor does a death of the thread's own. */
static void
test_an_own_death_leaves_the_rest(void **state)
{
    struct fixture *fx = *state;
    struct node *own = plain_node_new(fx);
    leave_chain(fx);
    node_drop(own);
    assert_true(fixture_live(fx) > 0);
}

static struct {
    struct node *lock;
    uint32_t held, left; /* atomic */
    int live;
} waiting;

static void
hold_lock(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)arg;
    gyre_lock(&waiting.lock->head);
    gyre_store_release(&waiting.held, 1);
    await(&waiting.left);
    /* it waits for the lock, which the rest must not wait for */
    while ((waiting.live = fixture_live(fx)) > 1)
        gyre_safepoint(self);
    gyre_unlock(&waiting.lock->head);
}

/* Covers docs/design/refcount.md .rc.portion: who waits for a lock has done
 * the rest before. */
static void
test_a_wait_for_a_lock_does_the_rest_first(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    memset(&waiting, 0, sizeof waiting);
    waiting.lock = plain_node_new(fx);
    worker_start(&worker, fx, hold_lock, NULL);
    await(&waiting.held);
    leave_chain(fx);
    gyre_store_release(&waiting.left, 1);
    gyre_lock(&waiting.lock->head);
    gyre_unlock(&waiting.lock->head);
    worker_join(&worker);
    assert_int_equal(waiting.live, 1);
    node_drop(waiting.lock);
}

/* ---- how much ---- */

/* Covers docs/design/refcount.md .rc.portion: a thread that has caught up is
 * not behind any more, whoever did the rest: its next portion is a short one.
 */
static void
test_a_portion_is_short_again_once_all_is_done(void **state)
{
    struct fixture *fx = *state;
    struct object_thread *mine = &mutator_of(fx->self)->object;
    struct pile pile;
    leave_queue(fx, &pile);
    mine->behind_since_ns -= UINT64_C(100000000000); /* 100 s ago */
    gyre_detach_begin(fx->self);
    gyre_detach_end(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    fill_queue(fx, &pile);
    gyre_safepoint(fx->self);
    assert_true(fixture_live(fx) > 0);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    free(pile.nodes);
}

/* And one that is behind for long takes longer ones, so that it keeps up. */
static void
test_portions_grow_with_the_time_behind(void **state)
{
    struct fixture *fx = *state;
    struct object_thread *mine = &mutator_of(fx->self)->object;
    struct pile pile;
    leave_queue(fx, &pile);
    mine->behind_since_ns -= UINT64_C(10000000000000); /* 10000 s ago */
    gyre_safepoint(fx->self);
    assert_int_equal(fixture_live(fx), 0);
    free(pile.nodes);
}

/* A budget for deaths does not keep what others hand over from being done. */
static void
test_a_budget_does_not_pile_up_the_dead(void **state)
{
    static const char *const options[] = {"gc.automatic=0,cascade.budget=10",
                                          "cascade.budget=10"};
    (void)state;
    for (unsigned o = 0; o < 2; o++) {
        struct fixture fx;
        struct pile pile;
        pile_open(&pile, 500);
        fixture_open(&fx, options[o]);
        for (int round = 0; round < 100; round++) {
            pile.dropped = 0;
            fill_queue(&fx, &pile);
            gyre_safepoint(fx.self);
        }
        /* Of 50000, the rest of so many portions: by a budget a round four
         * fifths were left, and more with each. */
        assert_in_range(fixture_live(&fx), 0, 25000);
        fixture_close(&fx);
        free(pile.nodes);
    }
}

/* ---- beside a steady hand-over ---- */

#define BATCH FIXTURE_SCALED(3000)
static struct {
    struct node **full;          /* atomic: a batch, or NULL */
    uint32_t over, begun, ended; /* atomic */
} flow;

static void
flow_make(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)arg;
    while (gyre_load_acquire(&flow.over) == 0) {
        struct node **batch = malloc(BATCH * sizeof(struct node *));
        assert_non_null(batch);
        for (int i = 0; i < BATCH; i++)
            batch[i] = plain_node_new(fx);
        while (gyre_load_acquire(&flow.full) != NULL)
            gyre_safepoint(self);
        gyre_store_release(&flow.full, batch);
        gyre_safepoint(self);
    }
}

static void
flow_drop(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)fx, (void)arg;
    while (gyre_load_acquire(&flow.over) != 2) {
        struct node **batch = gyre_load_acquire(&flow.full);
        gyre_safepoint(self);
        if (batch == NULL)
            continue;
        gyre_store_release(&flow.full, (struct node **)NULL);
        for (int i = 0; i < BATCH; i++)
            gyre_decref(&batch[i]->head);
        free(batch);
    }
}

static void
flow_wait_for(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)self;
    gyre_store_release(&flow.begun, 1);
    assert_int_equal(arg != NULL ? gyre_quiesce(fx->heap)
                                 : gyre_collect(fx->heap, GYRE_GEN_OLD),
                     GYRE_OK);
    gyre_store_release(&flow.ended, 1);
}

static void
run_flow(const char *options, bool quiesces, bool forks)
{
    struct fixture fx;
    struct worker make, drop, wait;
    uint32_t phases;
    fixture_open(&fx, options);
    memset(&flow, 0, sizeof flow);
    worker_start(&make, &fx, flow_make, NULL);
    worker_start(&drop, &fx, flow_drop, NULL);
    worker_start(&wait, &fx, flow_wait_for, quiesces ? &flow : NULL);
    await(&flow.begun);
    /* relaxed, both: handshakes that were tried */
    phases = gyre_load_relaxed(&fx.heap->world.phase);
    if (forks) {
        pid_t child = fork();
        int status;
        assert_true(child >= 0);
        if (child == 0)
            _exit(0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    while (gyre_load_acquire(&flow.ended) == 0)
        gyre_safepoint(fx.self);
    phases = gyre_load_relaxed(&fx.heap->world.phase) - phases;
    gyre_store_release(&flow.over, 1);
    worker_join(&make);
    gyre_store_release(&flow.over, 2);
    worker_join(&wait);
    worker_join(&drop);
    assert_in_range(phases, 0, 20000);
    if (flow.full != NULL)
        for (int i = 0; i < BATCH; i++)
            gyre_decref(&flow.full[i]->head);
    free(flow.full);
    assert_int_equal(gyre_quiesce(fx.heap), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
}

/* Covers docs/design/refcount.md .rc.portion: what is waited for is what there
 * was to begin with, not what others go on handing over; nor does a fork wait
 * for it. */
static void
test_nobody_waits_for_what_comes_later(void **state)
{
    static const char *const options[] = {"gc.automatic=0,gc.concurrent=1",
                                          "gc.automatic=0,gc.concurrent=0"};
    (void)state;
    /* in a stop a collection is patient with each object that dies in a queue,
     * as it always was: a thousand stops, where all is slow */
    for (unsigned o = 0; o < (FIXTURE_IS_SLOW ? 1 : 2); o++)
        for (unsigned way = 0; way < 4; way++)
            run_flow(options[o], (way & 1) != 0, (way & 2) != 0);
}

#define LINKS FIXTURE_SCALED(3000)
static struct {
    uint32_t made, over; /* atomic */
    struct node *first;  /* of who made the last */
} links;

/* Every other link of the chain is this thread's, which polls seldom. */
static void
own_links(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    uint32_t mine = arg != NULL, made;
    while ((made = gyre_load_acquire(&links.made)) < LINKS) {
        gyre_safepoint(self);
        if (made % 2 == mine) {
            struct node *node = plain_node_new(fx);
            if (made > 0)
                gyre_slot_move(&node->head, &node->left, &links.first->head);
            links.first = node;
            gyre_store_release(&links.made, made + 1);
        }
    }
    while (gyre_load_acquire(&links.over) == 0) {
        struct timespec begin, now;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        do
            clock_gettime(CLOCK_MONOTONIC, &now);
        while ((now.tv_sec - begin.tv_sec) * 1000000000 + now.tv_nsec -
                   begin.tv_nsec <
               50000);
        gyre_safepoint(self);
    }
}

/* Covers docs/design/refcount.md .rc.queue: a quiesce follows a chain of many
 * links to and fro between two threads. */
static void
test_a_quiesce_follows_a_chain_between_threads(void **state)
{
    struct fixture *fx = *state;
    struct worker workers[2];
    memset(&links, 0, sizeof links);
    worker_start(&workers[0], fx, own_links, NULL);
    worker_start(&workers[1], fx, own_links, &links);
    while (gyre_load_acquire(&links.made) < LINKS)
        gyre_safepoint(fx->self);
    assert_int_equal(fixture_live(fx), LINKS);
    node_drop(links.first);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    gyre_store_release(&links.over, 1);
    worker_join(&workers[0]);
    worker_join(&workers[1]);
}

static uint32_t collecting_is_over; /* atomic */

static void
collect_on(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)self, (void)arg;
    while (gyre_load_acquire(&collecting_is_over) == 0)
        assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
}

/* Who is behind waits for the collector's lock, where others merge for it. */
static void
test_a_wait_behind_is_alone_with_its_list(void **state)
{
    struct fixture *fx = *state;
    struct worker worker;
    struct pile pile;
    pile_open(&pile, 3000);
    gyre_store_release(&collecting_is_over, 0);
    worker_start(&worker, fx, collect_on, NULL);
    for (int i = 0; i < FIXTURE_SCALED(300); i++) {
        pile.dropped = 0;
        fill_queue(fx, &pile);
        gyre_safepoint(fx->self);
        assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_YOUNG), GYRE_OK);
    }
    gyre_store_release(&collecting_is_over, 1);
    worker_join(&worker);
    assert_int_equal(gyre_quiesce(fx->heap), GYRE_OK);
    assert_int_equal(fixture_live(fx), 0);
    free(pile.nodes);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_full_queue_is_merged_in_portions),
        TEST(test_what_a_merge_kills_is_released_in_portions),
        TEST(test_detaching_does_what_a_portion_left),
        TEST(test_a_wait_does_what_a_portion_left),
        TEST(test_leaving_does_what_a_portion_left),
        TEST(test_collection_waits_for_the_portions_of_others),
        TEST(test_a_merge_for_another_leaves_the_rest),
        TEST(test_an_own_death_leaves_the_rest),
        TEST(test_a_wait_for_a_lock_does_the_rest_first),
        TEST(test_a_portion_is_short_again_once_all_is_done),
        TEST(test_portions_grow_with_the_time_behind),
        cmocka_unit_test(test_a_budget_does_not_pile_up_the_dead),
        cmocka_unit_test(test_nobody_waits_for_what_comes_later),
        TEST(test_a_quiesce_follows_a_chain_between_threads),
        TEST(test_a_wait_behind_is_alone_with_its_list),
    };
    return cmocka_run_group_tests_name("portions", tests, NULL, NULL);
}
