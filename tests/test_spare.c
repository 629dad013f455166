/* Side tables that are kept from one collection for the next. */
#include <string.h>

#include "support/fixture.h"

#include "heap.h"

#define KEPT_LEAST                                            \
    (UINT64_C(2) << 20) /* so many bytes are kept in any case \
                         */
#define LIVE 400000
#define GARBAGE 150000

/* What was kept when the last collection ended: seen under the collector's
 * lock, as the heap's thread may drop it at any time. */
static struct spare kept[SPARE_TABLES];

static void
look(enum gyre_event event, uint64_t value, void *arg)
{
    const struct gyre_heap *heap = arg;
    (void)value;
    if (event == GYRE_EVENT_COLLECT_END)
        memcpy(kept, heap->collector.spares, sizeof kept);
}

/* Beside the program, whatever the environment says. */
static void
open_with(struct fixture *fx, const char *options)
{
    fixture_open(fx, options);
    assert_int_equal(gyre_option_set(fx->heap, GYRE_OPT_GC_CONCURRENT, 1),
                     GYRE_OK);
    gyre_events_listen(fx->heap, look, fx->heap);
}

static uint64_t
bytes_in_use(const struct fixture *fx)
{
    struct gyre_statistics statistics;
    gyre_statistics_get(fx->heap, &statistics);
    return statistics.pages_in_use * GYRE_PAGE_BYTES;
}

static struct node *
chain_new(struct fixture *fx, int count)
{
    struct node *chain = NULL;
    for (; count > 0; count--) {
        struct node *node = plain_node_new(fx);
        if (chain != NULL)
            gyre_slot_move(&node->head, &node->left, &chain->head);
        chain = node;
    }
    return chain;
}

/* Much lives, and a good part of that was garbage. */
static struct node *
collect_much(struct fixture *fx)
{
    struct node *live = chain_new(fx, LIVE);
    node_drop(ring_new(fx, GARBAGE));
    assert_int_equal(gyre_collect(fx->heap, GYRE_GEN_OLD), GYRE_OK);
    return live;
}

/* Covers docs/design/cycle.md .cycle.open: tables are used again, zeroed as far
 * as that is needed, for a cycle that is no larger. */
static void
test_tables_are_used_again(void **state)
{
    struct fixture fx;
    const void *words, *suspects;
    (void)state;
    open_with(&fx, "gc.automatic=0,gc.thread=0,gc.check=1");
    node_drop(ring_new(&fx, 1000));
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    words = kept[SPARE_WORDS].table;
    suspects = kept[SPARE_SUSPECTS].table;
    assert_non_null(words);
    assert_non_null(suspects);
    for (int round = 0; round < 5; round++) {
        node_drop(ring_new(&fx, 1000 - round * 100));
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        assert_int_equal(fixture_live(&fx), 0);
        assert_ptr_equal(kept[SPARE_WORDS].table, words);
        assert_ptr_equal(kept[SPARE_SUSPECTS].table, suspects);
    }
    fixture_close(&fx);
}

/* Covers docs/design/cycle.md .cycle.open: large ones are kept while the heap
 * is large, and not for longer. */
static void
test_large_tables_are_kept_while_the_heap_is_large(void **state)
{
    struct fixture fx;
    struct node *live;
    (void)state;
    open_with(&fx, "gc.automatic=0");
    live = collect_much(&fx);
    assert_true(kept[SPARE_SUSPECTS].bytes > KEPT_LEAST);
    assert_true(kept[SPARE_SUSPECTS].bytes <= bytes_in_use(&fx) / 4);
    assert_true(kept[SPARE_WORDS].bytes <= bytes_in_use(&fx) / 4);
    node_drop(live);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_true(kept[SPARE_SUSPECTS].bytes <= KEPT_LEAST);
    assert_true(kept[SPARE_WORDS].bytes <= KEPT_LEAST);
    fixture_close(&fx);
}

/* Covers docs/design/cycle.md .cycle.open: a heap without a thread, or with a
 * hard limit, keeps no large ones. */
static void
test_large_tables_are_not_kept_where_they_might_be_in_the_way(void **state)
{
    const char *const options[] = {"gc.automatic=0,gc.thread=0",
                                   "gc.automatic=0,memory.hard_limit=1g"};
    (void)state;
    for (unsigned i = 0; i < sizeof options / sizeof options[0]; i++) {
        struct fixture fx;
        struct node *live;
        open_with(&fx, options[i]);
        live = collect_much(&fx);
        assert_true(kept[SPARE_SUSPECTS].bytes <= KEPT_LEAST);
        assert_true(kept[SPARE_WORDS].bytes <= KEPT_LEAST);
        node_drop(live);
        fixture_close(&fx);
    }
}

static bool
keeps_tables(const struct fixture *fx)
{
    struct mutator *self = mutator_of(fx->self);
    bool keeps;
    assert_true(gyre_collector_lock(self));
    keeps = fx->heap->collector.spares[SPARE_SUSPECTS].table != NULL ||
            fx->heap->collector.spares[SPARE_WORDS].table != NULL;
    gyre_collector_unlock(self);
    return keeps;
}

/* Covers docs/design/cycle.md .cycle.open: the heap's thread drops them when it
 * had nothing to do for a while. */
static void
test_idle_heap_keeps_no_tables(void **state)
{
    struct fixture fx;
    struct node *live;
    (void)state;
    open_with(&fx, "gc.automatic=0");
    live = collect_much(&fx);
    assert_true(kept[SPARE_SUSPECTS].bytes > 0);
    while (keeps_tables(&fx))
        gyre_safepoint(fx.self);
    node_drop(live);
    fixture_close(&fx);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tables_are_used_again),
        cmocka_unit_test(test_large_tables_are_kept_while_the_heap_is_large),
        cmocka_unit_test(
            test_large_tables_are_not_kept_where_they_might_be_in_the_way),
        cmocka_unit_test(test_idle_heap_keeps_no_tables),
    };
    return cmocka_run_group_tests_name("spare", tests, NULL, NULL);
}
