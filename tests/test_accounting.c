/* The books that decide when a collection is due, each in both modes: what
 * went wrong in others (docs/design/traps.md). */
#include <stdio.h>
#include <sys/mman.h>

#include "support/fixture.h"

static const char *const modes[] = {"gc.concurrent=0", "gc.concurrent=1"};

static void
open_mode(struct fixture *fx, unsigned mode, const char *options)
{
    char all[200];
    snprintf(all, sizeof all, "%s,%s", modes[mode], options);
    fixture_open(fx, all);
}

#define EACH_MODE(mode) for (unsigned mode = 0; mode < 2; mode++)

static struct gyre_statistics
statistics_of(const struct fixture *fx)
{
    struct gyre_statistics statistics;
    gyre_statistics_get(fx->heap, &statistics);
    return statistics;
}

static uint64_t
collections_of(const struct fixture *fx)
{
    struct gyre_statistics seen = statistics_of(fx);
    return seen.collections[0] + seen.collections[1] + seen.collections[2];
}

/* ---- counts of births and deaths ---- */

#define EACH 3000
#define ROUNDS FIXTURE_SCALED(20)

struct batch {
    struct node *containers[EACH], *leaves[EACH];
    void *raw[EACH];
    struct gate made, freed;
    uint32_t over; /* atomic: threads that are done */
};

static void
free_all(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *batch = arg;
    (void)fx;
    gate_wait(&batch->made);
    for (int i = 0; i < EACH; i++) {
        node_drop(batch->containers[i]);
        node_drop(batch->leaves[i]);
        gyre_mem_free(batch->raw[i]);
        gyre_safepoint(self);
    }
    /* relaxed: a count */
    gyre_fetch_add_relaxed(&batch->over, 1);
}

/* Every count is between none and all that was made. Of raw memory that is
 * twice as much: with each object that the other gives up, it hands over a
 * queue chunk of the library's own, which is freed when this thread polls. */
static void
assert_sound(struct fixture *fx, uint64_t most)
{
    struct gyre_statistics seen = statistics_of(fx);
    uint64_t counts[3];
    gyre_get_count(fx->heap, counts);
    assert_in_range(counts[0], 0, most);
    for (unsigned kind = 0; kind < GYRE_PAGE_KINDS; kind++)
        assert_in_range(seen.blocks_in_use[kind], 0,
                        (kind == GYRE_PAGE_RAW ? 2 * most : most) + 1000);
    for (uint32_t class = 0; class < GYRE_SIZE_CLASSES; class ++) {
        struct gyre_class_statistics of;
        assert_int_equal(
            gyre_statistics_class(fx->heap, GYRE_PAGE_CONTAINER, class, &of),
            GYRE_OK);
        assert_in_range(of.blocks_in_use, 0, most + 1000);
        assert_in_range(of.fragmented, 0, UINT64_C(1) << 40);
        /* chunks and what the test has are of two classes */
        assert_int_equal(
            gyre_statistics_class(fx->heap, GYRE_PAGE_RAW, class, &of),
            GYRE_OK);
        assert_in_range(of.blocks_in_use, 0, most + 1000);
    }
}

/* Covers docs/design/cycle.md .policy, docs/design/memory.md .mem.births: no
 * count goes below zero while all that one thread makes another frees; deaths
 * that were counted late do not keep births from being counted. */
static void
test_counts_stay_sound_when_others_free(void **state)
{
    static struct batch batch;
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        open_mode(&fx, mode, "gc.automatic=0,gc.thread=0");
        for (int round = 0; round < ROUNDS; round++) {
            struct worker worker;
            uint64_t counts[3];
            memset(&batch, 0, sizeof batch);
            batch.made = (struct gate)GATE_INIT;
            worker_start(&worker, &fx, free_all, &batch);
            for (int i = 0; i < EACH; i++) {
                batch.containers[i] = plain_node_new(&fx);
                batch.leaves[i] = leaf_node_new(&fx);
                batch.raw[i] = gyre_mem_alloc(100);
            }
            gate_open(&batch.made);
            while (gyre_load_relaxed(&batch.over) == 0) {
                assert_sound(&fx, EACH);
                gyre_safepoint(fx.self);
            }
            worker_join(&worker);
            assert_int_equal(gyre_quiesce(fx.heap), GYRE_OK);
            assert_int_equal(fixture_live(&fx), 0);
            gyre_get_count(fx.heap, counts);
            assert_int_equal(counts[0], 0);
            assert_sound(&fx, 1);
            if (round % 4 == 3)
                assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        }
        /* and no debt is left */
        for (int i = 0; i < 1000; i++)
            batch.containers[i] = plain_node_new(&fx);
        uint64_t counts[3];
        gyre_get_count(fx.heap, counts);
        assert_in_range(counts[0], 900, 1000);
        for (int i = 0; i < 1000; i++)
            node_drop(batch.containers[i]);
        fixture_close(&fx);
    }
}

static void
make_and_leave(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct batch *batch = arg;
    (void)self;
    for (int i = 0; i < EACH; i++) {
        batch->containers[i] = plain_node_new(fx);
        batch->raw[i] = gyre_mem_alloc(100);
    }
}

/* Covers docs/design/memory.md .mem.births: what a thread counted is there
 * when it has left, without anybody's asking. */
static void
test_counts_are_flushed_when_a_thread_leaves(void **state)
{
    static struct batch batch;
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        open_mode(&fx, mode, "gc.automatic=0,gc.thread=0");
        for (uint64_t round = 1; round <= 5; round++) {
            struct gyre_statistics before = statistics_of(&fx), after;
            struct worker worker;
            uint64_t counts[3];
            worker_start(&worker, &fx, make_and_leave, &batch);
            worker_join(&worker);
            after = statistics_of(&fx);
            assert_int_equal(after.blocks_in_use[GYRE_PAGE_CONTAINER] -
                                 before.blocks_in_use[GYRE_PAGE_CONTAINER],
                             EACH);
            assert_true(after.blocks_in_use[GYRE_PAGE_RAW] -
                            before.blocks_in_use[GYRE_PAGE_RAW] >=
                        EACH);
            gyre_get_count(fx.heap, counts);
            assert_int_equal(counts[0], round * EACH);
            for (int i = 0; i < EACH; i++)
                gyre_mem_free(batch.raw[i]);
        }
        fixture_close(&fx);
    }
}

/* Covers docs/design/cycle.md .policy: births make a collection due whoever
 * has counted them. */
static void
test_births_that_a_quiesce_has_counted_make_a_collection_due(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        open_mode(&fx, mode, "gc.thread=0,gc.threshold0=1000");
        for (int i = 0; i < 200; i++) {
            for (int k = 0; k < 50; k++) {
                struct node *node = plain_node_new(&fx);
                node_link(node, node);
                node_drop(node);
                gyre_safepoint(fx.self);
            }
            assert_int_equal(gyre_quiesce(fx.heap), GYRE_OK);
        }
        assert_true(collections_of(&fx) >= 3);
        assert_true(fixture_live(&fx) < 5000);
        fixture_close(&fx);
    }
}

/* ---- what has nothing to do with it ---- */

/* Covers docs/design/cycle.md .policy, CPython issue 148937: a process that
 * takes memory, and gives it back, is no cause for a collection. */
static void
test_resident_memory_is_no_cause_for_a_collection(void **state)
{
    const size_t bytes = 64 << 20;
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct node *node;
        uint64_t before[3], after[3];
        open_mode(&fx, mode, "gc.thread=0,gc.threshold0=2000");
        node = plain_node_new(&fx);
        gyre_get_count(fx.heap, before);
        for (int i = 0; i < 3; i++) {
            char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            assert_ptr_not_equal(memory, MAP_FAILED);
            for (size_t at = 0; at < bytes; at += 4096)
                memory[at] = 1;
            for (int k = 0; k < 3000; k++) {
                node_drop(plain_node_new(&fx));
                gyre_safepoint(fx.self);
            }
            munmap(memory, bytes);
            gyre_safepoint(fx.self);
        }
        gyre_get_count(fx.heap, after);
        assert_int_equal(before[0], after[0]);
        assert_int_equal(collections_of(&fx), 0);
        node_drop(node);
        fixture_close(&fx);
    }
}

/* ---- how much is looked at ---- */

static uint64_t looks; /* atomic: objects traced */

/* Large, as births are noted a page of 64 KiB at a time. */
struct watched {
    struct gyre_object head;
    struct gyre_slot next;
    char body[480];
};

static void
watched_trace(struct gyre_object *obj, gyre_edge_fn edge, void *arg)
{
    gyre_fetch_add_relaxed(&looks, 1);
    edge(gyre_slot_peek(&((struct watched *)obj)->next), arg);
}

static void
watched_clear(struct gyre_object *obj)
{
    struct watched *watched = (struct watched *)obj;
    struct gyre_object *next = gyre_load_relaxed(&watched->next.ref);
    gyre_store_relaxed(&watched->next.ref, (struct gyre_object *)NULL);
    if (next != NULL)
        gyre_decref(next);
}

static struct gyre_type watched_type = {
    .name = "watched",
    .size = sizeof(struct watched),
    .flags = GYRE_TYPE_TRACE_ANYTIME,
    .trace = watched_trace,
    .clear = watched_clear,
};

static struct watched *
watched_new(void)
{
    struct watched *watched = GYRE_NEW(struct watched, &watched_type);
    assert_non_null(watched);
    return watched;
}

/* Objects looked at while a heap grows to `count` that all live. */
static uint64_t
looks_of_growth(unsigned mode, int count)
{
    struct fixture fx;
    struct watched *chain = NULL;
    struct gyre_statistics seen;
    gyre_store_relaxed(&looks, 0);
    open_mode(&fx, mode,
              "gc.thread=0,gc.threshold0=100,gc.threshold1=2,gc.threshold2=2");
    for (int i = 0; i < count; i++) {
        struct watched *next = watched_new();
        if (chain != NULL)
            gyre_slot_move(&next->head, &next->next, &chain->head);
        chain = next;
        gyre_safepoint(fx.self);
    }
    seen = statistics_of(&fx);
    assert_true(seen.collections[0] > (uint64_t)count / 500);
    assert_true(seen.collections[GYRE_GEN_OLD] > 0);
    assert_int_equal(seen.collected, 0);
    gyre_decref(&chain->head);
    fixture_close(&fx);
    return gyre_load_relaxed(&looks);
}

/* Covers docs/design/cycle.md .policy: four times the heap is little more than
 * four times the work, however often a collection was due. */
static void
test_growing_heap_is_looked_at_in_proportion(void **state)
{
    const int count = 20000;
    (void)state;
    assert_int_equal(gyre_type_ready(&watched_type), GYRE_OK);
    EACH_MODE(mode)
    {
        uint64_t once = looks_of_growth(mode, count);
        uint64_t four = looks_of_growth(mode, 4 * count);
        assert_true(once >= (uint64_t)count);
        assert_true(four < once * 6);
        assert_true(four < (uint64_t)count * 4 * 16);
    }
}

/* ---- what is due in the end ---- */

/* Covers docs/design/cycle.md .policy: garbage that is old goes in the end,
 * though nothing but short-lived garbage is made, and however much else is
 * old; and it does not cost a full collection each time. */
static void
test_short_collections_do_not_put_off_the_full_one(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct node *kept, *old;
        struct gyre_statistics seen;
        uint64_t made = 0, full;
        open_mode(&fx, mode, "gc.thread=0,gc.threshold0=2000");
        kept = ring_new(&fx, 20000);
        old = ring_new(&fx, 1000);
        for (int i = 0; i < 3; i++)
            assert_int_equal(gyre_collect(fx.heap, (enum gyre_generation)i),
                             GYRE_OK);
        full = statistics_of(&fx).collections[GYRE_GEN_OLD];
        node_drop(old);
        do {
            node_drop(ring_new(&fx, 10));
            gyre_safepoint(fx.self);
            made += 10;
            if (made % 10000 == 0)
                seen = statistics_of(&fx);
            assert_true(made < 2000000);
        } while (made % 10000 != 0 || seen.collections[GYRE_GEN_OLD] == full);
        /* it looked at 20000 that live: no sooner than that is little */
        assert_true(made > 100000);
        assert_true(fixture_live(&fx) < 20000 + 1000 + 10000);
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_MIDDLE), GYRE_OK);
        assert_int_equal(fixture_live(&fx), 20000);
        node_drop(kept);
        fixture_close(&fx);
    }
}

/* ---- switching it off and on ---- */

struct switching {
    struct gate disabled, enable, enabled;
};

static void
disable_enable(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct switching *switching = arg;
    (void)self;
    gyre_collect_disable(fx->heap);
    gate_open(&switching->disabled);
    gate_wait(&switching->enable);
    gyre_collect_enable(fx->heap);
    gate_open(&switching->enabled);
}

static void
make_rings(struct fixture *fx)
{
    for (int i = 0; i < 20000; i++) {
        node_drop(ring_new(fx, 1));
        gyre_safepoint(fx->self);
    }
}

/* Covers docs/design/cycle.md .policy, greenlet issue 529: two threads switch
 * it off, and it is on when both have switched it on, in whichever order. */
static void
test_disabling_from_two_threads_nests(void **state)
{
    (void)state;
    EACH_MODE(mode)
    {
        struct fixture fx;
        struct switching switching = {GATE_INIT, GATE_INIT, GATE_INIT};
        struct worker worker;
        open_mode(&fx, mode, "gc.thread=0,gc.threshold0=1000");
        worker_start(&worker, &fx, disable_enable, &switching);
        gate_wait(&switching.disabled);
        gyre_collect_disable(fx.heap);
        make_rings(&fx);
        gate_open(&switching.enable);
        gate_wait(&switching.enabled); /* who was first on was first off */
        assert_false(gyre_collect_is_enabled(fx.heap));
        make_rings(&fx);
        assert_int_equal(collections_of(&fx), 0);
        assert_int_equal(fixture_live(&fx), 40000);
        gyre_collect_enable(fx.heap);
        assert_true(gyre_collect_is_enabled(fx.heap));
        make_rings(&fx);
        assert_true(collections_of(&fx) > 0);
        assert_true(fixture_live(&fx) < 40000);
        worker_join(&worker);
        fixture_close(&fx);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_stay_sound_when_others_free),
        cmocka_unit_test(test_counts_are_flushed_when_a_thread_leaves),
        cmocka_unit_test(
            test_births_that_a_quiesce_has_counted_make_a_collection_due),
        cmocka_unit_test(test_resident_memory_is_no_cause_for_a_collection),
        cmocka_unit_test(test_growing_heap_is_looked_at_in_proportion),
        cmocka_unit_test(test_short_collections_do_not_put_off_the_full_one),
        cmocka_unit_test(test_disabling_from_two_threads_nests),
    };
    return cmocka_run_group_tests_name("accounting", tests, NULL, NULL);
}
