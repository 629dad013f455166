/* The cycle collector and its controls. */
#include "support/fixture.h"

#include <sched.h>

/* ---- shapes ---- */

static void
drop_ring(struct fixture *fx, int count)
{
    node_drop(ring_new(fx, count));
}

static uint64_t
collections(struct fixture *fx, enum gyre_generation generation)
{
    struct gyre_statistics statistics;
    gyre_statistics_get(fx->heap, &statistics);
    return statistics.collections[generation];
}

static void
collect(struct fixture *fx, enum gyre_generation generation)
{
    assert_int_equal(gyre_collect(fx->heap, generation), GYRE_OK);
}

/* ---- cycles ---- */

/* Covers docs/design/cycle.md .cycle.live: rings of any length, self edges and
 * double edges are found by one collection, and nothing else is. */
static void
test_garbage_cycles_are_freed_and_live_ones_kept(void **state)
{
    struct fixture *fx = *state;
    const int sizes[] = {1, 2, 3, 10, 1000, 50000};
    for (unsigned i = 0; i < 6; i++) {
        struct node *live = ring_new(fx, sizes[i]);
        drop_ring(fx, sizes[i]);
        assert_int_equal(fixture_live(fx), 2 * sizes[i]);
        collect(fx, GYRE_GEN_YOUNG);
        assert_int_equal(fixture_live(fx), sizes[i]);
        node_drop(live);
        collect(fx, GYRE_GEN_OLD);
        assert_int_equal(fixture_live(fx), 0);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
    struct node *self = plain_node_new(fx);
    node_link(self, self);
    node_link(self, self);
    node_drop(self);
    collect(fx, GYRE_GEN_YOUNG);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/cycle.md .cycle.live: what garbage refers to outside the
 * cycle is released, what refers to the cycle from outside keeps it. */
static void
test_references_into_and_out_of_a_cycle_are_respected(void **state)
{
    struct fixture *fx = *state;
    struct node *ring = ring_new(fx, 10), *outside = plain_node_new(fx);
    struct node *holder = plain_node_new(fx);
    gyre_slot_set(&ring->head, &ring->right, &outside->head);
    gyre_slot_set(&holder->head, &holder->left, &ring->head);
    node_drop(ring);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 12);
    node_drop(holder);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 1);
    assert_int_equal(gyre_reference_count(&outside->head), 1);
    node_drop(outside);
}

#define NODES 3000

/* Covers docs/design/cycle.md .prove.exact: of random graphs exactly what no
 * handle reaches is freed, whatever ages its parts have. */
static void
test_random_graphs_are_collected_exactly(void **state)
{
    struct fixture *fx = *state;
    static struct node *nodes[NODES];
    static unsigned char reached[NODES];
    static int edges[NODES][2], stack[NODES];
    unsigned seed = 12345;
#define RANDOM(n) \
    (seed = seed * 1103515245u + 12345u, (int)((seed >> 8) % (unsigned)(n)))
    for (int round = 0; round < FIXTURE_SCALED(20); round++) {
        int top = 0, live = 0;
        for (int i = 0; i < NODES; i++) {
            nodes[i] = plain_node_new(fx);
            nodes[i]->payload = (uint64_t)i;
            reached[i] = 0;
            if (i % 700 == 699)
                collect(fx, (enum gyre_generation)(RANDOM(2)));
        }
        for (int i = 0; i < NODES; i++) {
            for (int k = 0; k < 2; k++) {
                edges[i][k] = RANDOM(3) == 0 ? -1 : RANDOM(NODES);
                if (edges[i][k] >= 0)
                    gyre_slot_set(&nodes[i]->head,
                                  k ? &nodes[i]->right : &nodes[i]->left,
                                  &nodes[edges[i][k]]->head);
            }
        }
        for (int i = 0; i < NODES; i += NODES / 7) {
            reached[i] = 1; /* its handle is kept */
            stack[top++] = i;
        }
        for (int i = 0; i < NODES; i++)
            if (!reached[i])
                node_drop(nodes[i]);
        while (top > 0) {
            int at = stack[--top];
            live++;
            for (int k = 0; k < 2; k++) {
                int to = edges[at][k];
                if (to >= 0 && !reached[to]) {
                    reached[to] = 1;
                    stack[top++] = to;
                }
            }
        }
        collect(fx, GYRE_GEN_OLD);
        assert_int_equal(fixture_live(fx), live);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
        for (int i = 0; i < NODES; i++)
            if (reached[i])
                assert_int_equal(nodes[i]->payload, i);
        for (int i = 0; i < NODES; i += NODES / 7)
            node_drop(nodes[i]);
        collect(fx, GYRE_GEN_OLD);
        assert_int_equal(fixture_live(fx), 0);
    }
}

/* Covers docs/design/cycle.md .policy: what is no generation is refused, and
 * who is not attached can't collect. */
static void
test_collect_refuses_bad_arguments_and_strangers(void **state)
{
    struct fixture *fx = *state;
    struct gyre_heap *other;
    assert_int_equal(gyre_collect(fx->heap, (enum gyre_generation)3),
                     GYRE_ERR_ARGUMENT);
    assert_int_equal(gyre_collect(fx->heap, (enum gyre_generation) - 1),
                     GYRE_ERR_ARGUMENT);
    assert_int_equal(gyre_heap_create("gc.automatic=0", &other), GYRE_OK);
    assert_int_equal(gyre_collect(other, GYRE_GEN_OLD), GYRE_ERR_STATE);
    assert_int_equal(gyre_collect_request(other, GYRE_GEN_OLD), GYRE_ERR_STATE);
    assert_int_equal(gyre_collect_request(fx->heap, (enum gyre_generation)3),
                     GYRE_ERR_ARGUMENT);
    assert_int_equal(gyre_quiesce(other), GYRE_ERR_STATE);
    assert_int_equal(gyre_freeze(other), GYRE_ERR_STATE);
    assert_int_equal(gyre_heap_check(other), GYRE_ERR_STATE);
    assert_null(gyre_garbage_pop(other));
    assert_int_equal(gyre_garbage_count(other), 0);
    assert_int_equal(gyre_heap_destroy(other), GYRE_ERR_STATE);
    gyre_thread_leave(fx->self);
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_ERR_STATE);
    assert_int_equal(gyre_garbage_count(fx->heap), 0);
    assert_int_equal(gyre_heap_destroy(other), GYRE_OK);
    assert_int_equal(gyre_thread_attach(fx->heap, &fx->self), GYRE_OK);
}

/* ---- generations ---- */

/* Covers docs/design/cycle.md .cycle.stamp: what survives a collection is left
 * to the older ones. */
static void
test_survivors_are_promoted(void **state)
{
    struct fixture *fx = *state;
    struct node *young = ring_new(fx, 3), *middle = ring_new(fx, 3);
    collect(fx, GYRE_GEN_YOUNG); /* both are of the middle generation */
    node_drop(middle);
    collect(fx, GYRE_GEN_YOUNG);
    assert_int_equal(fixture_live(fx), 6);
    collect(fx, GYRE_GEN_MIDDLE); /* the other is old now */
    assert_int_equal(fixture_live(fx), 3);
    node_drop(young);
    collect(fx, GYRE_GEN_YOUNG);
    collect(fx, GYRE_GEN_MIDDLE);
    assert_int_equal(fixture_live(fx), 3);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
}

/* Covers docs/design/cycle.md .cycle.stamp: a cycle over generations is found
 * by a collection of the oldest of them, no earlier. */
static void
test_cycle_over_generations_waits_for_the_oldest(void **state)
{
    struct fixture *fx = *state;
    struct node *old = plain_node_new(fx), *young;
    collect(fx, GYRE_GEN_OLD);
    young = plain_node_new(fx);
    node_link(old, young);
    node_link(young, old);
    node_drop(old);
    node_drop(young);
    collect(fx, GYRE_GEN_YOUNG);
    assert_int_equal(fixture_live(fx), 2);
    collect(fx, GYRE_GEN_MIDDLE);
    assert_int_equal(fixture_live(fx), 2);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/cycle.md .cycle.stamp: a reference from an old object is
 * in the count of the young one, without a write barrier. */
static void
test_old_objects_keep_young_ones(void **state)
{
    struct fixture *fx = *state;
    struct node *old = plain_node_new(fx), *ring;
    collect(fx, GYRE_GEN_OLD);
    for (int i = 0; i < 10; i++) {
        ring = ring_new(fx, 4);
        gyre_slot_move(&old->head, &old->left, &ring->head);
        collect(fx, GYRE_GEN_YOUNG);
        assert_int_equal(fixture_live(fx), i == 0 ? 5 : 5 + 4 * i);
    }
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 5);
    node_drop(old);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
}

/* Covers docs/design/cycle.md .cycle.stamp: collections by the dozen, births
 * between them: every age is found in its turn. */
static void
test_many_collections_in_a_row_find_everything(void **state)
{
    struct fixture *fx = *state;
    for (int i = 0; i < 60; i++) {
        drop_ring(fx, 1 + i % 7);
        collect(fx, (enum gyre_generation)(i % 5 == 4 ? 2 : i % 3 == 2));
        assert_int_equal(fixture_live(fx), 0);
        assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    }
}

/* ---- thresholds and counts ---- */

/* Covers docs/design/cycle.md .policy: thresholds are read as they were set,
 * and absurd ones are refused, all of them. */
static void
test_thresholds_are_set_together_or_not_at_all(void **state)
{
    struct fixture *fx = *state;
    const uint64_t good[3] = {700, 10, 5};
    const uint64_t bad[3] = {1, 2, UINT64_MAX};
    uint64_t out[3];
    assert_int_equal(gyre_set_threshold(fx->heap, good), GYRE_OK);
    gyre_get_threshold(fx->heap, out);
    assert_memory_equal(out, good, sizeof good);
    assert_int_equal(gyre_set_threshold(fx->heap, bad), GYRE_ERR_ARGUMENT);
    gyre_get_threshold(fx->heap, out);
    assert_memory_equal(out, good, sizeof good);
}

/* Covers docs/design/cycle.md .policy: births less deaths since the last young
 * collection, collections of the younger generation since this one's. */
static void
test_counts_count_births_and_collections(void **state)
{
    struct fixture *fx = *state;
    struct node *nodes[100];
    uint64_t counts[3];
    collect(fx, GYRE_GEN_OLD);
    gyre_get_count(fx->heap, counts);
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 0);
    for (int i = 0; i < 100; i++)
        nodes[i] = plain_node_new(fx);
    gyre_get_count(fx->heap, counts);
    assert_int_equal(counts[0], 100);
    for (int i = 0; i < 60; i++)
        node_drop(nodes[i]);
    gyre_get_count(fx->heap, counts);
    assert_int_equal(counts[0], 40);
    for (int i = 0; i < 3; i++)
        collect(fx, GYRE_GEN_YOUNG);
    gyre_get_count(fx->heap, counts);
    assert_int_equal(counts[0], 0);
    assert_int_equal(counts[1], 3);
    collect(fx, GYRE_GEN_MIDDLE);
    gyre_get_count(fx->heap, counts);
    assert_int_equal(counts[1], 0);
    assert_int_equal(counts[2], 1);
    collect(fx, GYRE_GEN_OLD);
    gyre_get_count(fx->heap, counts);
    assert_int_equal(counts[2], 0);
    for (int i = 60; i < 100; i++)
        node_drop(nodes[i]);
}

/* Covers docs/design/cycle.md .policy, CPython issue 142048: after many more
 * deaths than births the count is 0, not in debt, and births count at once. */
static void
test_counts_are_never_negative(void **state)
{
    struct fixture *fx = *state;
    static struct node *nodes[50000];
    uint64_t counts[3];
    for (int i = 0; i < 50000; i++)
        nodes[i] = plain_node_new(fx);
    collect(fx, GYRE_GEN_OLD);
    for (int i = 0; i < 50000; i++)
        node_drop(nodes[i]);
    gyre_get_count(fx->heap, counts);
    assert_int_equal(counts[0], 0);
    for (int i = 0; i < 1000; i++)
        nodes[i] = plain_node_new(fx);
    gyre_get_count(fx->heap, counts);
    assert_in_range(counts[0], 900, 1000);
    for (int i = 0; i < 1000; i++)
        node_drop(nodes[i]);
}

/* ---- automatic collections ---- */

static void
open_automatic(struct fixture *fx, const char *options)
{
    fixture_open(fx, options);
}

/* Covers docs/design/cycle.md .policy: a passed threshold starts a collection
 * on the heap's own thread, and garbage does not pile up. */
static void
test_threshold_starts_collections_on_the_heaps_thread(void **state)
{
    struct fixture fx;
    struct gyre_statistics statistics;
    int most = 0;
    (void)state;
    open_automatic(&fx, "gc.threshold0=5000");
    for (int i = 0;
         i < FIXTURE_SCALED(400000) || collections(&fx, GYRE_GEN_YOUNG) < 3;
         i++) {
        if ((i & 255) == 0) {
            /* give its thread a chance: a machine has few cores */
            gyre_detach_begin(fx.self);
            sched_yield();
            gyre_detach_end(fx.self);
        }
        drop_ring(&fx, 2);
        gyre_safepoint(fx.self);
        if (fixture_live(&fx) > most)
            most = fixture_live(&fx);
    }
    gyre_statistics_get(fx.heap, &statistics);
    assert_true(statistics.collected > FIXTURE_SCALED(100000));
    assert_true(most < FIXTURE_SCALED(700000));
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    fixture_close(&fx);
}

/* Covers docs/design/cycle.md .policy: without a thread of the heap's own it
 * runs at the safepoint of who passed the threshold. */
static void
test_threshold_starts_collections_at_safepoints_without_a_thread(void **state)
{
    struct fixture fx;
    (void)state;
    open_automatic(&fx, "gc.thread=0,gc.threshold0=5000");
    for (int i = 0; i < 40000; i++)
        drop_ring(&fx, 1);
    assert_int_equal(collections(&fx, GYRE_GEN_YOUNG), 0);
    for (int i = 0; i < 40000; i++) {
        drop_ring(&fx, 1);
        gyre_safepoint(fx.self);
    }
    assert_in_range(collections(&fx, GYRE_GEN_YOUNG) +
                        collections(&fx, GYRE_GEN_MIDDLE) +
                        collections(&fx, GYRE_GEN_OLD),
                    3, 10);
    assert_true(fixture_live(&fx) < 20000);
    fixture_close(&fx);
}

/* Covers docs/design/cycle.md .policy: what is asked for by name is collected
 * by the heap's own thread, whoever has disabled automatic collections, while
 * who asks goes on. */
static void
test_request_is_served_by_the_heaps_thread(void **state)
{
    struct fixture fx;
    (void)state;
    fixture_open(&fx, "gc.automatic=0");
    gyre_collect_disable(fx.heap);
    drop_ring(&fx, 10);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    drop_ring(&fx, 10);
    assert_int_equal(gyre_collect_request(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    while (fixture_live(&fx) > 0)
        gyre_safepoint(fx.self);
    gyre_collect_enable(fx.heap);
    assert_int_equal(gyre_quiesce(fx.heap), GYRE_OK);
    assert_int_equal(collections(&fx, GYRE_GEN_OLD), 1);
    fixture_close(&fx);
}

/* And without such a thread at the next safepoint: once, the oldest generation
 * that was asked for. */
static void
test_requests_without_a_thread_are_one_at_the_next_safepoint(void **state)
{
    struct fixture fx;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,gc.thread=0");
    drop_ring(&fx, 10);
    assert_int_equal(gyre_collect_request(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(gyre_collect_request(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(gyre_collect_request(fx.heap, GYRE_GEN_MIDDLE), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 10);
    gyre_safepoint(fx.self);
    assert_int_equal(fixture_live(&fx), 0);
    assert_int_equal(collections(&fx, GYRE_GEN_YOUNG), 0);
    assert_int_equal(collections(&fx, GYRE_GEN_MIDDLE), 0);
    assert_int_equal(collections(&fx, GYRE_GEN_OLD), 1);
    fixture_close(&fx);
}

static struct {
    struct fixture *fx;
    int left;              /* to be asked for */
    const char *low, *top; /* of the stack */
} chain;

/* Garbage, and a request for it to be collected. */
static void
ask_again(struct node *node)
{
    char here;
    (void)node;
    if (chain.low > &here)
        chain.low = &here;
    if (chain.left-- > 0) {
        struct node *next = late_node_new(chain.fx);
        node_link(next, next);
        node_drop(next);
        assert_int_equal(gyre_collect_request(chain.fx->heap, GYRE_GEN_OLD),
                         GYRE_OK);
    }
}

/* Requests of finalizers come one after the other, not one in the other. */
static void
test_requests_of_finalizers_do_not_nest(void **state)
{
    struct fixture fx;
    struct node *first;
    char here;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,gc.thread=0");
    chain.fx = &fx;
    chain.left = 200;
    chain.low = chain.top = &here;
    fx.on_finalize = ask_again;
    first = late_node_new(&fx);
    node_link(first, first);
    node_drop(first);
    assert_int_equal(gyre_collect_request(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    while (fixture_finalized(&fx) < 201)
        gyre_safepoint(fx.self);
    gyre_safepoint(fx.self);
    assert_int_equal(fixture_live(&fx), 0);
    assert_in_range(chain.top - chain.low, 0, 16384);
    fixture_close(&fx);
}

static pthread_t destroyer;
static int finalized_by_destroyer;

static void
note_destroyer(struct node *node)
{
    (void)node;
    if (pthread_equal(pthread_self(), destroyer))
        finalized_by_destroyer++;
}

/* Covers docs/design/heap.md .heap.destroy: what was asked for is not done by
 * who destroys the heap, where no finalizer runs. */
static void
test_a_request_ends_with_its_heap(void **state)
{
    static const char *const options[] = {"gc.automatic=0",
                                          "gc.automatic=0,gc.thread=0"};
    (void)state;
    destroyer = pthread_self();
    finalized_by_destroyer = 0;
    for (unsigned i = 0; i < 20; i++) {
        struct fixture fx;
        struct node *node;
        fixture_open(&fx, options[i % 2]);
        fx.on_finalize = note_destroyer;
        node = late_node_new(&fx);
        node_link(node, node);
        node_drop(node);
        assert_int_equal(gyre_collect_request(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        fixture_close(&fx);
        assert_int_equal(fixture_live(&fx), 0);
    }
    assert_int_equal(finalized_by_destroyer, 0);
}

static uint32_t ends; /* atomic */

static void
count_ends(enum gyre_event event, uint64_t value, void *arg)
{
    (void)value, (void)arg;
    if (event == GYRE_EVENT_COLLECT_END)
        gyre_fetch_add_relaxed(&ends, 1);
}

/* Covers docs/design/report.md .report: the end of one that is given up, as a
 * thread does not poll, is told as well. */
static void
test_the_end_of_a_request_is_told(void **state)
{
    static const char *const options[] = {
        "gc.automatic=0,gc.concurrent=1,thread.stop_timeout=50",
        "gc.automatic=0,gc.concurrent=0,thread.stop_timeout=50"};
    (void)state;
    for (unsigned o = 0; o < 2; o++) {
        struct fixture fx;
        struct gyre_statistics seen;
        gyre_store_relaxed(&ends, 0);
        fixture_open(&fx, options[o]);
        gyre_events_listen(fx.heap, count_ends, NULL);
        drop_ring(&fx, 10);
        assert_int_equal(gyre_collect_request(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        while (gyre_load_relaxed(&ends) == 0) /* without a poll */
            sched_yield();
        gyre_statistics_get(fx.heap, &seen);
        assert_int_equal(seen.abandoned, 1);
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        assert_int_equal(fixture_live(&fx), 0);
        fixture_close(&fx);
    }
}

/* Covers docs/design/cycle.md .policy: young collections make a middle one
 * due, and a heap that only grows is not scanned over and over. */
static void
test_growing_heap_is_not_scanned_quadratically(void **state)
{
    struct fixture fx;
    struct node *chain = NULL;
    uint64_t young, middle, old;
    (void)state;
    open_automatic(&fx, "gc.thread=0,gc.threshold0=1000,gc.threshold1=2,"
                        "gc.threshold2=2");
    for (int i = 0; i < FIXTURE_SCALED(1000000); i++) {
        struct node *node = plain_node_new(&fx);
        if (chain != NULL)
            gyre_slot_move(&node->head, &node->left, &chain->head);
        chain = node;
        gyre_safepoint(fx.self);
    }
    young = collections(&fx, GYRE_GEN_YOUNG);
    middle = collections(&fx, GYRE_GEN_MIDDLE);
    old = collections(&fx, GYRE_GEN_OLD);
    assert_in_range(young, FIXTURE_SCALED(200), FIXTURE_SCALED(1000));
    assert_in_range(middle, young / 5, young / 2);
    /* each when a quarter is new: log(1000000 / 10000) / log(1.25) */
    assert_in_range(old, 2, 35);
    node_drop(chain);
    fixture_close(&fx);
}

/* Covers docs/design/cycle.md .policy: a threshold of 0 switches automatic
 * collections off, as does the option. */
static void
test_threshold_zero_and_the_option_switch_automatic_off(void **state)
{
    const char *options[] = {"gc.thread=0,gc.threshold0=0",
                             "gc.thread=0,gc.threshold0=100,gc.automatic=no"};
    (void)state;
    for (int k = 0; k < 2; k++) {
        struct fixture fx;
        open_automatic(&fx, options[k]);
        for (int i = 0; i < 50000; i++) {
            drop_ring(&fx, 1);
            gyre_safepoint(fx.self);
        }
        assert_int_equal(fixture_live(&fx), 50000);
        assert_int_equal(collections(&fx, GYRE_GEN_YOUNG), 0);
        fixture_close(&fx);
    }
}

static void
disable_and_enable(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i++) {
        gyre_collect_disable(fx->heap);
        GYRE_CHECK(!gyre_collect_is_enabled(fx->heap), "enabled");
        gyre_safepoint(self);
        gyre_collect_enable(fx->heap);
    }
}

/* Covers docs/design/cycle.md .policy, greenlet issue 529: disabling nests,
 * over threads too; explicit collections run all the same. */
static void
test_disabling_nests_over_threads(void **state)
{
    struct fixture fx;
    struct worker worker;
    (void)state;
    open_automatic(&fx, "gc.thread=0,gc.threshold0=100");
    assert_true(gyre_collect_is_enabled(fx.heap));
    gyre_collect_disable(fx.heap);
    worker_start(&worker, &fx, disable_and_enable, NULL);
    for (int i = 0; i < 50000; i++) {
        drop_ring(&fx, 1);
        gyre_safepoint(fx.self);
    }
    worker_join(&worker);
    assert_false(gyre_collect_is_enabled(fx.heap));
    assert_int_equal(collections(&fx, GYRE_GEN_YOUNG), 0);
    assert_int_equal(fixture_live(&fx), 50000);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_YOUNG), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    gyre_collect_enable(fx.heap);
    assert_true(gyre_collect_is_enabled(fx.heap));
    for (int i = 0; i < 50000; i++) {
        drop_ring(&fx, 1);
        gyre_safepoint(fx.self);
    }
    assert_true(collections(&fx, GYRE_GEN_YOUNG) > 1);
    fixture_close(&fx);
}

/* Covers docs/design/cycle.md .policy, .mem.stable: pages that wait for a
 * grace period are given back without a collection, which was disabled. */
static void
test_grace_periods_need_no_collection(void **state)
{
    struct fixture fx;
    struct gyre_statistics statistics;
    static struct node *nodes[20000];
    (void)state;
    open_automatic(&fx, "gc.thread=0,gc.threshold0=100,memory.thread_cache=0");
    gyre_collect_disable(fx.heap);
    for (int round = 0; round < FIXTURE_SCALED(20); round++) {
        for (int i = 0; i < 20000; i++) {
            struct gyre_object *weak;
            nodes[i] = plain_node_new(&fx);
            assert_int_equal(
                gyre_weakref_new(&nodes[i]->head, NULL, NULL, &weak), GYRE_OK);
            gyre_decref(weak);
            gyre_safepoint(fx.self);
        }
        for (int i = 0; i < 20000; i++) {
            node_drop(nodes[i]);
            gyre_safepoint(fx.self);
        }
    }
    gyre_statistics_get(fx.heap, &statistics);
    assert_int_equal(statistics.collections[GYRE_GEN_YOUNG], 0);
    /* 20 times a mebibyte passed through, and came back */
    assert_true(statistics.mapped_peak < UINT64_C(16) << 20);
    gyre_collect_enable(fx.heap);
    fixture_close(&fx);
}

/* ---- freezing ---- */

/* Covers docs/design/cycle.md .policy: what is frozen is no candidate until it
 * is unfrozen; it dies by counts as ever, and is counted no more. */
static void
test_frozen_objects_are_left_alone(void **state)
{
    struct fixture *fx = *state;
    struct node *ring = ring_new(fx, 10), *single = plain_node_new(fx);
    struct node *leaf = leaf_node_new(fx);
    assert_int_equal(gyre_frozen_count(fx->heap), 0);
    assert_int_equal(gyre_freeze(fx->heap), GYRE_OK);
    assert_int_equal(gyre_frozen_count(fx->heap), 11);
    node_drop(ring);
    drop_ring(fx, 3);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 12);
    node_drop(single);
    assert_int_equal(gyre_frozen_count(fx->heap), 10);
    assert_int_equal(gyre_freeze(fx->heap), GYRE_OK);
    assert_int_equal(gyre_frozen_count(fx->heap), 10);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    assert_int_equal(gyre_unfreeze(fx->heap), GYRE_OK);
    assert_int_equal(gyre_frozen_count(fx->heap), 0);
    collect(fx, GYRE_GEN_YOUNG);
    collect(fx, GYRE_GEN_MIDDLE);
    assert_int_equal(fixture_live(fx), 11);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 1);
    node_drop(leaf);
}

/* ---- the garbage list ---- */

struct stubborn {
    struct gyre_object head;
    struct gyre_object *own; /* counted; traced, and there is no clear */
    struct fixture *fx;
};

static void
stubborn_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    edge(((struct stubborn *)obj)->own, arg);
}

static void
stubborn_dealloc(struct gyre_object *obj)
{
    gyre_fetch_sub_relaxed(&((struct stubborn *)obj)->fx->live, 1);
}

static struct gyre_type stubborn_type = {
    .name = "stubborn",
    .size = sizeof(struct stubborn),
    .trace = stubborn_trace,
    .dealloc = stubborn_dealloc,
};

/* Covers docs/design/weakref.md .final: unreachable objects that can't be
 * cleared go to a list, with all they refer to alive; the rest is freed. */
static void
test_what_cannot_be_cleared_is_listed_and_lives(void **state)
{
    struct fixture *fx = *state;
    struct stubborn *stubborn;
    struct node *node = plain_node_new(fx);
    struct gyre_object *out;
    struct gyre_statistics statistics;
    assert_int_equal(gyre_type_ready(&stubborn_type), GYRE_OK);
    stubborn = GYRE_NEW(struct stubborn, &stubborn_type);
    stubborn->fx = fx;
    gyre_fetch_add_relaxed(&fx->live, 1);
    gyre_slot_set(&node->head, &node->left, &stubborn->head);
    gyre_slot_move(&node->head, &node->right, &plain_node_new(fx)->head);
    stubborn->own = &node->head; /* takes ours over */
    gyre_decref(&stubborn->head);
    drop_ring(fx, 5);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 3);
    assert_int_equal(gyre_garbage_count(fx->heap), 1);
    gyre_statistics_get(fx->heap, &statistics);
    assert_int_equal(statistics.uncollectable, 1);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(gyre_garbage_count(fx->heap), 1);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    out = gyre_garbage_pop(fx->heap);
    assert_ptr_equal(out, &stubborn->head);
    assert_null(gyre_garbage_pop(fx->heap));
    assert_int_equal(gyre_reference_count(out), 2);
    /* the runtime breaks it by hand */
    gyre_slot_set(&node->head, &node->left, NULL);
    stubborn->own = NULL;
    gyre_decref(out);
    node_drop(node);
    assert_int_equal(fixture_live(fx), 0);
}

static void
refer_to_self(struct node *node)
{
    gyre_slot_set(&node->head, &node->right, &node->head);
}

/* Covers docs/design/cycle.md .policy: with gc.save_all everything collected
 * is listed, finalized or not, with its weak references working. */
static void
test_save_all_lists_everything_collected(void **state)
{
    struct fixture *fx = *state;
    struct node *ring = ring_new(fx, 10), *finalized = node_new(fx);
    struct gyre_object *weak, *out;
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_GC_SAVE_ALL, 1),
                     GYRE_OK);
    assert_int_equal(gyre_weakref_new(&ring->head, NULL, NULL, &weak), GYRE_OK);
    fx->on_finalize = refer_to_self;
    node_link(finalized, finalized);
    node_drop(finalized);
    node_drop(ring);
    collect(fx, GYRE_GEN_YOUNG);
    assert_int_equal(fixture_live(fx), 11);
    assert_int_equal(fixture_finalized(fx), 1);
    assert_int_equal(gyre_garbage_count(fx->heap), 11);
    assert_int_equal(gyre_heap_check(fx->heap), GYRE_OK);
    out = gyre_weakref_get(weak);
    assert_ptr_equal(out, &ring->head);
    gyre_decref(out);
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_GC_SAVE_ALL, 0),
                     GYRE_OK);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 11);
    while ((out = gyre_garbage_pop(fx->heap)) != NULL)
        gyre_decref(out);
    collect(fx, GYRE_GEN_OLD);
    assert_int_equal(fixture_live(fx), 0);
    assert_null(gyre_weakref_get(weak));
    gyre_decref(weak);
}

/* ---- while others work ---- */

#define MUTATORS 3

static void
make_garbage(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct node *kept[16] = {NULL};
    for (int i = 0; i < FIXTURE_SCALED(20000); i++) {
        struct node *ring = i % 7 == 0 ? node_new(fx) : ring_new(fx, 1 + i % 5);
        if (i % 7 == 0)
            node_link(ring, ring);
        if (kept[i & 15] != NULL)
            node_drop(kept[i & 15]);
        kept[i & 15] = ring;
        if ((i & 63) == 0) {
            gyre_detach_begin(self);
            gyre_detach_end(self);
        }
        if ((uintptr_t)arg % 2 == 0 && i % 500 == 499)
            GYRE_CHECK(gyre_collect(fx->heap, GYRE_GEN_YOUNG) == GYRE_OK,
                       "no collection");
        gyre_safepoint(self);
    }
    for (int i = 0; i < 16; i++)
        node_drop(kept[i]);
}

/* Covers docs/design/cycle.md .cycle.live: collections by several threads and
 * by the heap's own, with mutators at work, find everything in the end. */
static void
test_collections_while_threads_make_garbage(void **state)
{
    struct fixture fx;
    struct worker workers[MUTATORS];
    (void)state;
    open_automatic(&fx, "gc.threshold0=1000");
    for (int i = 0; i < MUTATORS; i++)
        worker_start(&workers[i], &fx, make_garbage, (void *)(uintptr_t)i);
    for (int i = 0; i < 30; i++)
        assert_int_equal(gyre_collect(fx.heap, (enum gyre_generation)(i % 3)),
                         GYRE_OK);
    for (int i = 0; i < MUTATORS; i++)
        worker_join(&workers[i]);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    fixture_close(&fx);
}

/* ---- walking, events ---- */

static int
count_object(struct gyre_object *obj, void *arg)
{
    (void)obj;
    return ++*(int *)arg == 15;
}

/* Covers docs/design/cycle.md .cycle.walk: a walk sees every live object once
 * and ends when told to. */
static void
test_walk_sees_every_live_object(void **state)
{
    struct fixture *fx = *state;
    struct node *ring = ring_new(fx, 10), *leaf = leaf_node_new(fx);
    int seen = 0;
    node_drop(plain_node_new(fx));
    assert_int_equal(gyre_heap_walk(fx->heap, count_object, &seen), GYRE_OK);
    assert_int_equal(seen, 11);
    struct node *more = ring_new(fx, 10);
    seen = 0;
    assert_int_equal(gyre_heap_walk(fx->heap, count_object, &seen), GYRE_OK);
    assert_int_equal(seen, 15);
    node_drop(ring);
    node_drop(leaf);
    node_drop(more);
}

struct heard {
    enum gyre_event events[16];
    uint64_t values[16];
    int count;
};

static void
hear(enum gyre_event event, uint64_t value, void *arg)
{
    struct heard *heard = arg;
    if (heard->count < 16) {
        heard->events[heard->count] = event;
        heard->values[heard->count++] = value;
    }
}

/* Covers docs/design/report.md .report.event: the edges of a collection are
 * told in order, with and without finalizers. */
static void
test_events_tell_a_collections_phases(void **state)
{
    struct fixture *fx = *state;
    struct heard heard = {.count = 0};
    struct node *ring;
    const enum gyre_event plain[] = {
        GYRE_EVENT_COLLECT_BEGIN, GYRE_EVENT_STOP_BEGIN, GYRE_EVENT_STOP_END,
        GYRE_EVENT_RECLAIM, GYRE_EVENT_COLLECT_END};
    const enum gyre_event finalizing[] = {
        GYRE_EVENT_COLLECT_BEGIN, GYRE_EVENT_STOP_BEGIN, GYRE_EVENT_STOP_END,
        GYRE_EVENT_FINALIZE,      GYRE_EVENT_STOP_BEGIN, GYRE_EVENT_STOP_END,
        GYRE_EVENT_RECLAIM,       GYRE_EVENT_COLLECT_END};
    /* with the world running there are as many stops as it takes */
    gyre_option_set(fx->heap, GYRE_OPT_GC_CONCURRENT, 0);
    gyre_events_listen(fx->heap, hear, &heard);
    drop_ring(fx, 7);
    collect(fx, GYRE_GEN_MIDDLE);
    assert_int_equal(heard.count, 5);
    assert_memory_equal(heard.events, plain, sizeof plain);
    assert_int_equal(heard.values[0], GYRE_GEN_MIDDLE);
    assert_int_equal(heard.values[3], 7);
    assert_int_equal(heard.values[4], 7);
    heard.count = 0;
    ring = node_new(fx);
    node_link(ring, ring);
    node_drop(ring);
    collect(fx, GYRE_GEN_YOUNG);
    assert_int_equal(heard.count, 8);
    assert_memory_equal(heard.events, finalizing, sizeof finalizing);
    assert_int_equal(heard.values[3], 1);
    gyre_events_listen(fx->heap, NULL, NULL);
}

/* .mem.stable .mem.limit: what retired for the collection's sake alone. */
static void
test_memory_that_a_collection_freed_can_be_had_at_once(void **state)
{
    struct fixture fx;
    int made = 0;
    (void)state;
    fixture_open(&fx, "gc.automatic=0,memory.hard_limit=16m");
    for (;; made++) {
        struct node *node = GYRE_NEW(struct node, &plain_node_type);
        if (node == NULL)
            break;
        node->fx = &fx;
        gyre_fetch_add_relaxed(&fx.live, 1);
        gyre_slot_move(&node->head, &node->left, &node->head);
    }
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    for (int i = 0; i < made / 2; i++)
        drop_ring(&fx, 1); /* asserts that there is memory */
    fixture_close(&fx);
}

static void
pass_threshold_and_leave(struct fixture *fx, struct gyre_thread *self,
                         void *arg)
{
    (void)self, (void)arg;
    for (int i = 0; i < 10000; i++)
        drop_ring(fx, 1);
}

/* .policy: without a thread of the heap's, whoever polls next collects. */
static void
test_collection_asked_for_by_one_who_left_is_run_by_another(void **state)
{
    struct fixture fx;
    struct gyre_statistics after;
    struct worker worker;
    (void)state;
    fixture_open(&fx, "gc.thread=0,gc.threshold0=1000");
    worker_start(&worker, &fx, pass_threshold_and_leave, NULL);
    worker_join(&worker);
    for (int i = 0; i < 20000; i++) {
        drop_ring(&fx, 1);
        gyre_safepoint(fx.self);
    }
    gyre_statistics_get(fx.heap, &after);
    assert_true(after.collections[GYRE_GEN_YOUNG] > 0);
    fixture_close(&fx);
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_garbage_cycles_are_freed_and_live_ones_kept),
        TEST(test_references_into_and_out_of_a_cycle_are_respected),
        TEST(test_random_graphs_are_collected_exactly),
        TEST(test_collect_refuses_bad_arguments_and_strangers),
        TEST(test_survivors_are_promoted),
        TEST(test_cycle_over_generations_waits_for_the_oldest),
        TEST(test_old_objects_keep_young_ones),
        TEST(test_many_collections_in_a_row_find_everything),
        TEST(test_thresholds_are_set_together_or_not_at_all),
        TEST(test_counts_count_births_and_collections),
        TEST(test_counts_are_never_negative),
        cmocka_unit_test(test_threshold_starts_collections_on_the_heaps_thread),
        cmocka_unit_test(
            test_threshold_starts_collections_at_safepoints_without_a_thread),
        cmocka_unit_test(test_request_is_served_by_the_heaps_thread),
        cmocka_unit_test(
            test_requests_without_a_thread_are_one_at_the_next_safepoint),
        cmocka_unit_test(test_requests_of_finalizers_do_not_nest),
        cmocka_unit_test(test_a_request_ends_with_its_heap),
        cmocka_unit_test(test_the_end_of_a_request_is_told),
        cmocka_unit_test(test_growing_heap_is_not_scanned_quadratically),
        cmocka_unit_test(
            test_threshold_zero_and_the_option_switch_automatic_off),
        cmocka_unit_test(test_disabling_nests_over_threads),
        cmocka_unit_test(test_grace_periods_need_no_collection),
        TEST(test_frozen_objects_are_left_alone),
        TEST(test_what_cannot_be_cleared_is_listed_and_lives),
        TEST(test_save_all_lists_everything_collected),
        cmocka_unit_test(test_collections_while_threads_make_garbage),
        TEST(test_walk_sees_every_live_object),
        TEST(test_events_tell_a_collections_phases),
        cmocka_unit_test(
            test_memory_that_a_collection_freed_can_be_had_at_once),
        cmocka_unit_test(
            test_collection_asked_for_by_one_who_left_is_run_by_another),
    };
    return cmocka_run_group_tests_name("collector", tests, NULL, NULL);
}
