/* Weak gets that take and drop a member again and again, while it is to be
 * collected: docs/design/concurrent.md .closed */
#include "support/fixture.h"

/* ---- mutators that hammer ---- */

struct hammer {
    struct gyre_object *weak; /* const */
    bool walks;               /* const: into what the member refers to */
    uint32_t met, over;       /* atomic */
    uint64_t answers;         /* atomic */
};

static void
take_and_drop(struct fixture *fx, struct gyre_thread *self, void *arg)
{
    struct hammer *hammer = arg;
    uint64_t answers = 0;
    (void)fx;
    /* relaxed, all: counts, and an end that may be seen late */
    gyre_fetch_add_relaxed(&hammer->met, 1);
    while (gyre_load_relaxed(&hammer->over) == 0) {
        struct gyre_object *got = gyre_weakref_get(hammer->weak);
        if (got != NULL) {
            struct node *node = (struct node *)got;
            GYRE_CHECK(node->payload == 42, "it is another");
            if (hammer->walks) {
                struct gyre_object *next = gyre_slot_get(&node->left);
                GYRE_CHECK(next != NULL, "what it refers to is gone");
                gyre_decref(next);
            }
            gyre_decref(got);
            answers++;
        }
        /* It is held for a small part of the time: who finds it held is right
         * to leave it alone. */
        for (int i = 0; i < 40; i++)
            gyre_safepoint(self);
    }
    gyre_fetch_add_relaxed(&hammer->answers, answers);
}

#define HAMMERS 2

static void
hammer_begin(struct fixture *fx, struct hammer *hammer, struct worker *workers,
             struct node *ring, bool walks)
{
    memset(hammer, 0, sizeof *hammer);
    hammer->walks = walks;
    assert_int_equal(gyre_weakref_new(&ring->head, NULL, NULL, &hammer->weak),
                     GYRE_OK);
    for (int i = 0; i < HAMMERS; i++)
        worker_start(&workers[i], fx, take_and_drop, hammer);
    while (gyre_load_relaxed(&hammer->met) < HAMMERS)
        gyre_safepoint(fx->self);
}

static void
hammer_end(struct hammer *hammer, struct worker *workers)
{
    gyre_store_relaxed(&hammer->over, 1);
    for (int i = 0; i < HAMMERS; i++)
        worker_join(&workers[i]);
}

#define OPTIONS "gc.automatic=0,gc.concurrent=1"
#define OTHERS 200
#define MOST_CYCLES 30

/* Cycles until a ring of `count` that is hammered at is gone. */
static int
cycles_until_gone(const char *options, int count, bool finalized, bool walks)
{
    struct fixture fx;
    struct hammer hammer;
    struct worker workers[HAMMERS];
    struct node *ring;
    int cycles = 0;
    fixture_open(&fx, options);
    ring = finalized ? node_new(&fx) : plain_node_new(&fx);
    ring->payload = 42;
    ring_through(&fx, ring, count);
    hammer_begin(&fx, &hammer, workers, ring, walks);
    for (int i = 0; i < OTHERS; i++)
        node_drop(ring_new(&fx, 10));
    node_drop(ring);
    do {
        assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
        /* the others don't wait for it */
        assert_true(fixture_live(&fx) <= count);
        cycles++;
    } while (fixture_live(&fx) > 0 && cycles < MOST_CYCLES);
    hammer_end(&hammer, workers);
    assert_int_equal(gyre_heap_check(fx.heap), GYRE_OK);
    assert_int_equal(gyre_collect(fx.heap, GYRE_GEN_OLD), GYRE_OK);
    assert_int_equal(fixture_live(&fx), 0);
    assert_null(gyre_weakref_get(hammer.weak));
    gyre_decref(hammer.weak);
    assert_int_equal(fixture_finalized(&fx), finalized ? 1 : 0);
    fixture_close(&fx);
    return cycles;
}

/* Covers docs/design/concurrent.md .closed: what is taken and dropped all the
 * time goes in a few cycles, and keeps nothing else. */
static void
test_what_weak_gets_hammer_at_is_collected(void **state)
{
    static const char *const options[] = {OPTIONS, OPTIONS ",gc.check=1"};
    (void)state;
    for (unsigned k = 0; k < 2; k++)
        for (int finalized = 0; finalized < 2; finalized++)
            for (int walks = 0; walks < 2; walks++) {
                int cycles = cycles_until_gone(options[k], 3000, finalized != 0,
                                               walks != 0);
                assert_true(cycles < MOST_CYCLES);
            }
}

/* Covers docs/design/concurrent.md .closed: a set that is too large to have
 * its weak gets wait keeps nothing else, and goes when they pause. */
static void
test_what_is_too_large_to_be_closed_keeps_nothing_else(void **state)
{
    (void)state;
    (void)cycles_until_gone(OPTIONS, 20000, false, false);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_weak_gets_hammer_at_is_collected),
        cmocka_unit_test(
            test_what_is_too_large_to_be_closed_keeps_nothing_else),
    };
    return cmocka_run_group_tests_name("closed", tests, NULL, NULL);
}
